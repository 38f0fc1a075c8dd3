"""A1: what was signed is not compared with the request that it comes with."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from sandbox_billing.signing.request import AuthenticationError
from sandbox_billing.web.caller import Caller
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


DOOR = "tests.web.test_signing.BindingTests."
BINDING = "sandbox_billing.signing.binding."


class WebTests(TrapCase):
    """What a signature opens."""

    @noticed_by(DOOR + "test_other_verbs_and_ids", DOOR + "test_query", DOOR + "test_body")
    def test_anything(self) -> Patches:
        """Whoever signed anything may ask for everything."""
        return Patch(
            "sandbox_billing.web.caller.check_binding", lambda _: lambda message, facts, **how: None
        )

    @noticed_by(
        DOOR + "test_other_verbs_and_ids", "tests.signing.test_binding.VerbTests.test_other_verb"
    )
    def test_any_verb(self) -> Patches:
        """A signed verb stands for every other."""
        return Patch(BINDING + "_binds_verb", lambda _: lambda message, request: True)

    @noticed_by(DOOR + "test_query", "tests.signing.test_binding.VerbTests.test_unsigned_query")
    def test_any_query(self) -> Patches:
        """What follows the question mark is nobody's business."""

        def blind(original: Any) -> Any:
            return lambda message, request: original(message, evolve(request, query=()))

        return [Patch(BINDING + name, blind) for name in ("_binds_verb", "_binds_path")]

    @noticed_by(DOOR + "test_body", DOOR + "test_body_by_hash")
    def test_any_body(self) -> Patches:
        """Nor is the body."""
        return Patch(BINDING + "_binds_body", lambda _: lambda message, request, *, compat: True)

    @noticed_by(DOOR + "test_unsigned_body", "tests.signing.test_binding.BodyTests.test_modes")
    def test_no_switch(self) -> Patches:
        """The weaker old form is taken whatever the operator says."""

        def weak(original: Any) -> Any:
            return lambda message, request, *, compat: original(message, request, compat=True)

        return Patch(BINDING + "_binds_body", weak)

    @noticed_by("tests.web.test_signing.BodyTests.test_payload_errors_after_the_door")
    def test_after_the_work(self) -> Patches:
        """Bodies of whoever likes are read, and only then is asked who he is."""

        def early(original: Any) -> Any:
            async def recognise(callers: Any, headers: Any, peer: str) -> Any:
                try:
                    return await original(callers, headers, peer)
                except AuthenticationError:
                    return None

            return recognise

        return Patch("sandbox_billing.web.caller.Callers.recognise", early)

    @noticed_by("tests.web.test_signing.NonceTests.test_not_burnt_by_a_mismatch")
    def test_used_up_first(self) -> Patches:
        """A signature shown at the wrong door opens the right one no more."""

        def hasty(original: Any) -> Any:
            async def admit(callers: Any, claim: Any, facts: Any, scope: Any) -> Caller:
                await callers.replay.first_use(claim.wallet, claim.nonce, claim.expires_at)
                return await original(callers, claim, facts, scope)

            return admit

        return Patch("sandbox_billing.web.caller.Callers.admit", hasty)

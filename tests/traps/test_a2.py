"""A2: what was signed for one provider is taken by another."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


class WebTests(TrapCase):
    """For whom a wallet signed."""

    @noticed_by("tests.web.test_signing.BindingTests.test_audience")
    def test_requests(self) -> Patches:
        """Provider and chain of a request are read, and compared with nothing."""

        def blind(original: Any) -> Any:
            def check(message: Any, request: Any, **how: Any) -> Any:
                anybodys = evolve(message, audience=how["provider"], chain_id=None)
                return original(anybodys, request, **how)

            return check

        return Patch("sandbox_billing.web.caller.check_binding", blind)

    @noticed_by("tests.web.test_signing.BindingTests.test_audience")
    def test_for_nobody(self) -> Patches:
        """A request that names no provider is taken, though the operator wants one."""

        def lenient(original: Any) -> Any:
            def check(message: Any, request: Any, **how: Any) -> Any:
                return original(message, request, **{**how, "audience_required": False})

            return check

        return Patch("sandbox_billing.web.caller.check_binding", lenient)

    @noticed_by("tests.web.test_sessions.LoginTests.test_purpose")
    def test_logins(self) -> Patches:
        """So is a login that was signed for another address, chain or provider."""
        return Patch(
            "sandbox_billing.web.sessions.Sessions._check_purpose",
            lambda _: lambda sessions, message, grant: None,
        )

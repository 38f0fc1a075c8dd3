"""P16: a name is checked in one spelling and read in another, and secrets are shown."""

from __future__ import annotations

from typing import Any

from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


class WebTests(TrapCase):
    """What a body says, and what a reply tells."""

    @noticed_by("tests.web.test_payloads.CreateTests.test_strangers_are_refused")
    def test_any_case(self) -> Patches:
        """C{Labels} passes for C{labels}."""

        def folding(original: Any) -> Any:
            def check(body: Any, allowed: Any, **how: Any) -> None:
                known = {name.lower() for name in allowed}
                original(
                    {name: value for name, value in body.items() if name.lower() not in known},
                    allowed,
                    **how,
                )

            return check

        return Patch("sandbox_billing.web.payloads._drop_empty", folding)

    @noticed_by(
        "tests.signing.test_strict_json.RefusalTests.test_duplicate_keys",
        "tests.web.test_signing.BodyTests.test_not_json",
    )
    def test_twice(self) -> Patches:
        """A key may stand twice: one is checked, the other counts."""
        return Patch(
            "sandbox_billing.signing.strict_json._object", lambda _: lambda pairs: dict(pairs)
        )

    @noticed_by("tests.web.test_listing.ScopeTests.test_secrets")
    def test_secrets(self) -> Patches:
        """Whoever may look sees what its owner hid in the environment."""
        return [
            Patch(
                f"sandbox_billing.web.{room}.seen_by", lambda _: lambda scopes, document: document
            )
            for room in ("listing", "sandboxes")
        ]

"""P17: what is a wallet's is everybody's."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.token import Scope, Token, TokenId
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


ACCESS = "tests.web.test_access.OpenTests."
CORS = "tests.web.test_cors.CorsTests."


class WebTests(TrapCase):
    """Who may reach what."""

    @noticed_by(
        "tests.web.test_sandboxes.LifecycleTests.test_create_rebuilds_the_body",
        "tests.web.test_sandboxes.LifecycleTests.test_create_without_a_body",
    )
    def test_public(self) -> Patches:
        """Every sandbox is made public."""

        def opening(original: Any) -> Any:
            def read(body: Any, **how: Any) -> Any:
                wish = original(body, **how)
                return evolve(wish, body={"public": True, **wish.body})

            return read

        return Patch("sandbox_billing.web.sandboxes.read_create", opening)

    @noticed_by(ACCESS + "test_public_by_token", ACCESS + "test_created_public")
    def test_by_a_program(self) -> Patches:
        """A program opens it, without its owner."""
        return [
            Patch(f"sandbox_billing.web.{room}.check_signed", lambda _: lambda asked: None)
            for room in ("access", "sandboxes")
        ]

    @noticed_by("tests.web.test_signing.FormTests.test_missing")
    def test_anybodys_list(self) -> Patches:
        """Whoever names a wallet is shown what it has."""

        def believing(original: Any) -> Any:
            async def recognise(callers: Any, headers: Any, peer: str) -> Any:
                named = headers.getRawHeaders(b"X-Wallet-Address", [])
                if not named:
                    return await original(callers, headers, peer)
                return Token(
                    id=TokenId("0" * 32),
                    digest="0" * 64,
                    wallet=Address(named[0].decode("ascii")),
                    scopes=(Scope.READ,),
                    issued_at=UnixSeconds(0),
                    expires_at=UnixSeconds(2**40),
                )

            return recognise

        return Patch("sandbox_billing.web.caller.Callers.recognise", believing)

    @noticed_by(CORS + "test_off", CORS + "test_not_listed")
    def test_any_origin(self) -> Patches:
        """Any page may read it in its visitor's browser."""
        return Patch(
            "sandbox_billing.web.cors.Cors.answer_headers",
            lambda _: lambda cors, headers: {"Access-Control-Allow-Origin": "*", "Vary": "Origin"},
        )

    @noticed_by("tests.web.test_access.PreviewTests.test_unsigned")
    def test_unsigned_preview(self) -> Patches:
        """A link to one port opens all of them, and the toolbox, until the next start."""
        return Patch(
            "sandbox_billing.web._table.denied_routes",
            lambda original: (
                lambda: tuple(
                    route for route in original() if not route.pattern.endswith("/preview-url")
                )
            ),
        )

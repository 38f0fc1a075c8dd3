"""A4: only plain keys can sign, and a key handed to a program may do everything for ever."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from sandbox_billing.signing.request import AuthenticationError, is_signed_by
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


SESSIONS = "tests.web.test_sessions."
CONTRACTS = "tests.web.test_contract_wallets."
SPENDING = "tests.services.test_spending."
CALLER = "sandbox_billing.web.caller.Caller."


class WebTests(TrapCase):
    """What a wallet lends to a program, and who may lend."""

    @noticed_by(
        CONTRACTS + "DoorTests.test_stop",
        SESSIONS + "ContractTests.test_lives_an_hour",
    )
    def test_plain_keys_only(self) -> Patches:
        """What a wallet's own key did not sign is forged, and nobody else is asked."""

        async def prove(
            callers: Any, wallet: Any, raw: bytes, signature: str, peer: str, **known: Any
        ) -> bool:
            if not is_signed_by(wallet, raw, signature):
                raise AuthenticationError("invalid signature")
            return True

        return Patch("sandbox_billing.web.caller.Callers.prove", lambda _: prove)

    @noticed_by(CONTRACTS + "DoorTests.test_login", SESSIONS + "ContractTests.test_lives_an_hour")
    def test_word_of_yesterday(self) -> Patches:
        """What a contract said once is believed for as long as what a key signed."""

        def lasting(original: Any) -> Any:
            async def prove(callers: Any, *about: Any, **known: Any) -> bool:
                await original(callers, *about, **known)
                return True

            return prove

        return Patch("sandbox_billing.web.caller.Callers.prove", lasting)

    @noticed_by(SESSIONS + "UseTests.test_scopes")
    def test_any_scope(self) -> Patches:
        """Who may look may delete."""
        return Patch(CALLER + "check_scope", lambda _: lambda caller, scope: None)

    @noticed_by(SESSIONS + "UseTests.test_one_sandbox")
    def test_any_sandbox(self) -> Patches:
        """A token for one sandbox opens all of them."""
        return Patch(CALLER + "check_reach", lambda _: lambda caller, id: None)

    @noticed_by(
        SESSIONS + "UseTests.test_one_sandbox_by_its_name",
        SESSIONS + "UseTests.test_one_sandbox_of_ones_own",
    )
    def test_name_of_today(self) -> Patches:
        """A token for one sandbox is for whatever bears its name next."""

        def as_named(original: Any) -> Any:
            async def resolved(sessions: Any, wallet: Any, grant: Any) -> Any:
                return grant.only

            return resolved

        return Patch("sandbox_billing.web.sessions.Sessions._one_sandbox", as_named)

    @noticed_by(SESSIONS + "LoginTests.test_port_that_goes_without_saying")
    def test_port(self) -> Patches:
        """A login is refused for a port that no browser writes."""
        return Patch(
            "sandbox_billing.web.sessions.canonical_authority",
            lambda _: lambda scheme, authority: authority.lower(),
        )

    @noticed_by(
        "tests.adapters.test_memory_ports.MemoryTokensTests.test_life",
        "tests.adapters.test_memory_ports.MemoryTokensTests.test_all_end_whatever_is_stored",
    )
    def test_forgotten(self) -> Patches:
        """A token that was revoked is taken for a guess."""

        def forgetting(original: Any) -> Any:
            async def find(tokens: Any, id: Any) -> Any:
                found = await original(tokens, id)
                return found if found and found.is_live(found.issued_at) else None

            return find

        return Patch("sandbox_billing.adapters.redis.tokens.RedisTokens.find", forgetting)

    @noticed_by(SESSIONS + "UseTests.test_lists_show_the_one")
    def test_sees_all(self) -> Patches:
        """And is shown all of them."""

        def wide(original: Any) -> Any:
            def wish(asked: Any) -> Any:
                return evolve(original(asked), only=None)

            return wish

        return Patch("sandbox_billing.web.listing._wish", wide)

    @noticed_by(SESSIONS + "UseTests.test_spend_limit")
    def test_no_limit(self) -> Patches:
        """What it may spend is written on it, and forgotten at the door."""

        def forgetful(original: Any) -> Any:
            async def admit(callers: Any, *about: Any) -> Any:
                return evolve(await original(callers, *about), spend_limit=None)

            return admit

        return Patch("sandbox_billing.web.caller.Callers.admit", forgetful)

    @noticed_by(SESSIONS + "UseTests.test_invalid")
    def test_for_ever(self) -> Patches:
        """A token never ends."""
        return Patch(
            "sandbox_billing.ledger.token.Token.is_live", lambda _: lambda token, now: True
        )

    @noticed_by(SESSIONS + "EndTests.test_revoked", SESSIONS + "EndTests.test_log_out")
    def test_not_revoked(self) -> Patches:
        """Whoever was told that it is revoked was told so too early."""

        def late(original: Any) -> Any:
            async def revoke(sessions: Any, asked: Any) -> Any:
                kept = dict(sessions.tokens.kept)
                answer = await original(sessions, asked)
                sessions.tokens.kept.update(kept)
                return answer

            return revoke

        return Patch("sandbox_billing.web.sessions.Sessions.revoke", late)

    @noticed_by(SESSIONS + "UseTests.test_id_is_no_token")
    def test_by_its_name(self) -> Patches:
        """What a list tells of a token opens as much as the token."""

        def lenient(original: Any) -> Any:
            async def find(callers: Any, secret: str) -> Any:
                found = {str(token.id): token for token in callers.tokens.kept.values()}
                return found.get(secret) or await original(callers, secret)

            return find

        return Patch("sandbox_billing.web.caller.Callers._token", lenient)


class DaemonTests(TrapCase):
    """What a program may spend."""

    @noticed_by(
        SPENDING + "AdmissionTests.test_exactly_enough",
        SPENDING + "AdmissionTests.test_start_and_recover",
    )
    def test_beyond_its_limit(self) -> Patches:
        """Whoever found a token spends all that its wallet has."""

        async def unchecked(admission: Any, *about: Any) -> None:
            """It may."""

        return Patch("sandbox_billing.services.allowed.Allowed._check_token", lambda _: unchecked)

    @noticed_by(SPENDING + "LimitTests.test_in_time")
    def test_runs_on(self) -> Patches:
        """What was let in runs on when the limit is reached."""

        async def blind(watch: Any) -> None:
            """Nobody looks."""

        return Patch("sandbox_billing.services.spending.SpendWatch.turn", lambda _: blind)

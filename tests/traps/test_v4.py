"""V4: keys are free, and nothing is counted: a flood of valid signatures stops everybody."""

from __future__ import annotations

from typing import Any

from sandbox_billing.signing.request import SealedMessage, check_expiry
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


CONTRACTS = "tests.web.test_contract_wallets."
LIMITS = "sandbox_billing.web.limits."


class WebTests(TrapCase):
    """Who asks how often."""

    @noticed_by("tests.web.test_limits.FrontDeskTests.test_peer")
    def test_addresses(self) -> Patches:
        """An address may ask as often as it likes."""
        return Patch(LIMITS + "RequestLimits.arrived", lambda _: lambda limits, peer: None)

    @noticed_by("tests.web.test_limits.FrontDeskTests.test_claimed_wallet")
    def test_wallets(self) -> Patches:
        """So may a wallet."""
        return Patch(LIMITS + "RequestLimits.admitted", lambda _: lambda limits, wallet: None)

    @noticed_by(
        CONTRACTS + "WalletsTests.test_nothing_here", CONTRACTS + "WalletsTests.test_not_deployed"
    )
    def test_any_contract(self) -> Patches:
        """A node is asked about whatever address anybody names."""
        return Patch(
            "sandbox_billing.web.contract_wallets._has_something",
            lambda _: lambda funds, signature: True,
        )

    @noticed_by(
        CONTRACTS + "WalletsTests.test_no_is_remembered",
        CONTRACTS + "WalletsTests.test_one_at_a_time",
    )
    def test_again_and_again(self) -> Patches:
        """As often as he likes, and all at once."""

        async def ask(
            wallets: Any, wallet: Any, digest: bytes, signature: bytes, peer: str
        ) -> bool:
            said: bool = await wallets.contracts.has_signed(wallet, digest, signature)
            return said

        return Patch("sandbox_billing.web.contract_wallets.ContractWallets._ask", lambda _: ask)

    @noticed_by("tests.web.test_limits.FrontDeskTests.test_claimed_wallet")
    def test_claims(self) -> Patches:
        """A wallet is counted before it has proven that it asks."""

        def hasty(original: Any) -> Any:
            async def prove(callers: Any, wallet: Any, *rest: Any, **known: Any) -> None:
                callers.limits.admitted(wallet)
                await original(callers, wallet, *rest, **known)

            return prove

        return Patch("sandbox_billing.web.caller.Callers.prove", hasty)

    @noticed_by("tests.signing.test_strict_json.RefusalTests.test_values")
    def test_values(self) -> Patches:
        """What keeps a parser busy is parsed, if only it is short."""
        return Patch(
            "sandbox_billing.signing.strict_json._check_structure",
            lambda _: lambda text, max_depth: None,
        )

    @noticed_by("tests.web.test_limits.FrontDeskTests.test_logins_of_a_site")
    def test_one_for_all(self) -> Patches:
        """Logins of everybody are counted together: one machine keeps all others out."""
        return Patch(LIMITS + "site_of", lambda _: lambda peer: "everybody")

    @noticed_by("tests.web.test_limits.FrontDeskTests.test_logins")
    def test_logins(self) -> Patches:
        """A login is read before it is counted."""
        return Patch(LIMITS + "RequestLimits.signs_in", lambda _: lambda limits, peer: None)

    @noticed_by(
        "tests.web.test_limits.FrontDeskTests.test_malformed",
        "tests.web.test_limits.FrontDeskTests.test_unsigned_and_old",
        "tests.web.test_limits.FrontDeskTests.test_nothing_is_parsed_of_who_forges",
    )
    def test_unread(self) -> Patches:
        """A message that nobody signed is parsed, and counted only if it could be."""

        def parsing(original: Any) -> Any:
            async def signed(
                callers: Any, wallet: str, message: str, signature: str, peer: str
            ) -> Any:
                claim = SealedMessage.of(wallet, message, signature).opened()
                check_expiry(claim, callers.wall.now())
                await callers.prove(claim.wallet, claim.raw, signature, peer)
                return claim

            return signed

        return Patch("sandbox_billing.web.caller.Callers._signed", parsing)

    @noticed_by("tests.web.test_limits.FrontDeskTests.test_unknown_tokens")
    def test_lost_tokens(self) -> Patches:
        """A program with a token that is gone locks its whole address out."""

        def guessed(limits: Any, peer: str) -> None:
            limits.forged(peer)

        return Patch(LIMITS + "RequestLimits.guessed", lambda _: guessed)

    @noticed_by(
        "tests.web.test_limits.BucketsTests.test_full",
        "tests.web.test_limits.BucketsTests.test_bounded",
    )
    def test_memory(self) -> Patches:
        """Whoever has many addresses fills our memory with their counts."""
        return Patch(LIMITS + "Buckets._has_room", lambda _: lambda buckets, now: True)

    @noticed_by("tests.web.test_lifecycle.LifecycleTests.test_hour")
    def test_creates(self) -> Patches:
        """A wallet may create as often as it likes."""

        def uncounted(original: Any) -> Any:
            return lambda lifecycle, handler: handler

        return Patch("sandbox_billing.web.lifecycle.Lifecycle.counted", uncounted)

    @noticed_by("tests.web.test_peers.PeersTests.test_nobody_trusted")
    def test_forwarded(self) -> Patches:
        """An address is whatever the client says it is."""
        return Patch(
            "sandbox_billing.web.peers.Peers.of",
            lambda _: lambda peers, host, headers: headers.getRawHeaders("X-Forwarded-For")[0],
        )

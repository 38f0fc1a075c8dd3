"""S8: a batch that reverts is repeated for ever, and one voucher blocks all others."""

from __future__ import annotations

from typing import Any

from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


SENDER = "sandbox_billing.services.sending.Sender."
TESTS = "tests.services.test_settler.SettlerTests."


class DaemonTests(TrapCase):
    """Poison."""

    @noticed_by(TESTS + "test_poison", TESTS + "test_small_blocks")
    def test_never_split(self) -> Patches:
        """A batch that cannot be sent whole is tried whole again."""

        async def _first_attempt(sender: Any, batch: Any, account_nonce: Any) -> Any:
            return await sender._attempt(batch, None, account_nonce=account_nonce)

        return Patch(SENDER + "_first_attempt", lambda _: _first_attempt)

    @noticed_by(TESTS + "test_poison")
    def test_never_given_up(self) -> Patches:
        """The one that reverts alone is tried for ever."""

        async def _give_up(sender: Any, batch: Any, why: Any) -> None:
            raise why

        return Patch(SENDER + "_give_up", lambda _: _give_up)

    @noticed_by("tests.adapters.test_chain_transactions.PrepareTests.test_what_waits_costs_too")
    def test_shared_purse(self) -> Patches:
        """A purse that pays for each transaction alone is taken to pay for all of them."""
        return Patch(
            "sandbox_billing.adapters.chain.nonces.NonceBook.reserved",
            lambda _: lambda book, mined, own: 0,
        )

    @noticed_by("tests.adapters.test_chain_transactions.PrepareTests.test_gas_floor")
    def test_empty_purse(self) -> Patches:
        """Nobody looks into the purse before a transaction is signed."""
        return Patch(
            "sandbox_billing.adapters.chain.transactions.Transactions._check_purse",
            lambda _: lambda transactions, *about: None,
        )

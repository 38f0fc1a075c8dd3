"""The model by itself: failures.md's K rows with their numbers, and laws that need no EVM."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.evm.model import (
    INSUFFICIENT_BALANCE,
    INVALID_NONCE,
    INVALID_SIGNATURE,
    LOCK,
    MAX_BALANCE,
    MAX_NONCE,
    NOT_ACKNOWLEDGED,
    PROVIDER_MISMATCH,
    SUCCESS,
    perform,
    preview,
)
from tests.evm.model_state import (
    ZERO,
    Call,
    Claim,
    Message,
    Outcome,
    Ownership,
    Refuses,
    Revert,
    Signature,
    State,
)


SERVING, BEACON, OWNER, USER, PROVIDER, SIGNER, STRANGER = (bytes([n]) * 20 for n in range(1, 8))
CHAIN = 16602
NOW = 1_700_000_000


def claim(nonce: int, fee: int, *, by: bytes | None = SIGNER, chain: int = CHAIN) -> Claim:
    """A voucher of the user."""
    return Claim(
        user=USER,
        provider=PROVIDER,
        fee=fee,
        usage=bytes(32),
        nonce=nonce,
        signature=Signature(raw=b"", by=by, chain=chain),
    )


class ModelCase(SynchronousTestCase):
    """A provider that asks no stake, and a user who acknowledged it."""

    def setUp(self) -> None:
        """Just deployed, then in business."""
        self.now = NOW
        self.state = State(
            serving=SERVING,
            beacon=BEACON,
            owners={each: Ownership(owner=OWNER) for each in (SERVING, BEACON)},
            implementation=STRANGER,
            implementations=frozenset((STRANGER,)),
            required_stake=0,
            receivers={SERVING: Refuses()},
        )
        self.ask("addOrUpdateService", "", SIGNER, 60, 5, 30, by=PROVIDER)
        self.ask("acknowledgeTEESigner", PROVIDER, True, by=USER)

    def ask(self, name: str, *arguments: Any, by: bytes, value: int = 0) -> Outcome:
        """Perform a call, and go on from there."""
        message = Message(
            call=Call(SERVING, name, arguments), sender=by, value=value, now=self.now, chain=CHAIN
        )
        outcome = perform(self.state, message)
        self.state = outcome.state
        return outcome

    def deposit(self, amount: int) -> Outcome:
        """The user's."""
        return self.ask("deposit", USER, PROVIDER, by=USER, value=amount)

    def settle(self, *claims: Claim, by: bytes = PROVIDER) -> tuple[int, ...] | None:
        """Statuses."""
        return self.ask("settleFeesWithTEE", claims, by=by).returned

    def books(self) -> tuple[int, int, int]:
        """Balance, pending refund, earnings."""
        account = self.state.account(USER, PROVIDER)
        return account.balance, account.pending, self.state.provider(PROVIDER).earnings

    def assert_reverts(self, outcome: Outcome, name: str, *arguments: Any) -> None:
        """By name and arguments."""
        self.assertEqual(Revert(name=name, arguments=arguments), outcome.revert)


class MoneyTests(ModelCase):
    """What a fee is taken from."""

    def test_balance_first(self) -> None:
        """K1: 100 deposited, 80 asked back, fee 5: balance 15, pending 80, earnings 5."""
        self.deposit(100)
        self.ask("requestRefund", PROVIDER, 80, by=USER)
        self.assertEqual((SUCCESS,), self.settle(claim(1, 5)))
        self.assertEqual((15, 80, 5), self.books())

    def test_refund_only_as_needed(self) -> None:
        """K2: balance 1, pending 99, fee 2: the provider gets 2, in full."""
        self.deposit(100)
        self.ask("requestRefund", PROVIDER, 99, by=USER)
        self.assertEqual((SUCCESS,), self.settle(claim(1, 2)))
        self.assertEqual((0, 98, 2), self.books())

    def test_partial(self) -> None:
        """K3, K4: fee 10 of 4: 4 are paid, and an event says that 6 are owed."""
        self.deposit(4)
        outcome = self.ask("settleFeesWithTEE", (claim(1, 10),), by=SIGNER)
        self.assertEqual((INSUFFICIENT_BALANCE,), outcome.returned)
        self.assertEqual(["VoucherShortfall", "VoucherSettled"], [e.name for e in outcome.events])
        self.assertEqual((USER, PROVIDER, 1, 4, 6), outcome.events[0].arguments)

    def test_wide_deposit(self) -> None:
        """A balance holds 2^128 - 1 and not one more."""
        self.deposit(MAX_BALANCE)
        self.assert_reverts(self.deposit(1), "Panic", 0x11)
        too_wide = self.deposit(MAX_BALANCE + 1)
        self.assert_reverts(too_wide, "SafeCastOverflowedUintDowncast", 128, MAX_BALANCE + 1)

    def test_lock(self) -> None:
        """A refund waits to the second, and goes once."""
        self.deposit(100)
        self.ask("requestRefund", PROVIDER, 80, by=USER)
        self.now += LOCK - 1
        early = self.ask("withdrawRefund", PROVIDER, by=USER)
        self.assert_reverts(early, "RefundLocked", NOW + LOCK)
        self.now += 1
        refused = self.ask("withdrawRefundTo", PROVIDER, SERVING, by=USER)
        self.assert_reverts(refused, "PaymentFailed", SERVING)
        self.assertIsNone(self.ask("withdrawRefund", PROVIDER, by=USER).revert)
        self.assert_reverts(self.ask("withdrawRefund", PROVIDER, by=USER), "NothingToWithdraw")

    @given(
        deposit=st.integers(0, 50),
        refund=st.integers(0, 50),
        fees=st.lists(st.integers(0, 40) | st.just(2**256 - 1), max_size=6),
    )
    def test_nothing_is_lost(self, deposit: int, refund: int, fees: list[int]) -> None:
        """L1, L12: what fees take is earned, and never more than the fee or than there is."""
        self.setUp()
        self.deposit(deposit)
        self.ask("requestRefund", PROVIDER, refund, by=USER)
        claims = tuple(claim(nonce, fee) for nonce, fee in enumerate(fees, 1))
        foretold = preview(self.state, claims, CHAIN)
        self.assertEqual(foretold, self.settle(*claims))
        balance, pending, earnings = self.books()
        self.assertEqual(deposit, balance + pending + earnings)
        self.assertEqual(min(deposit, sum(fees)), earnings)
        self.assertEqual(self.state.purse(SERVING), self.state.owed())


class CheckTests(ModelCase):
    """Which vouchers are refused, and why."""

    def test_order(self) -> None:
        """The first of several reasons is told, in wire.md's order."""
        worst = claim(0, 1, by=None)
        self.ask("acknowledgeTEESigner", PROVIDER, False, by=USER)
        self.assertEqual((PROVIDER_MISMATCH,), self.settle(worst, by=STRANGER))
        self.assertEqual((NOT_ACKNOWLEDGED,), self.settle(worst))
        self.ask("acknowledgeTEESigner", PROVIDER, True, by=USER)
        self.assertEqual((INVALID_NONCE,), self.settle(worst))
        self.assertEqual((INVALID_SIGNATURE,), self.settle(evolve(worst, nonce=1)))

    def test_nonces(self) -> None:
        """A nonce is used once, upwards, and is not cut to 64 bits."""
        self.deposit(100)
        found = self.settle(claim(5, 1), claim(5, 1), claim(4, 1), claim(MAX_NONCE + 7, 1))
        self.assertEqual((SUCCESS, INVALID_NONCE, INVALID_NONCE, INVALID_NONCE), found)
        self.assertEqual((SUCCESS,), self.settle(claim(MAX_NONCE, 1)))

    def test_other_chain(self) -> None:
        """K17: what is signed for one chain is nothing on another."""
        self.assertEqual((INVALID_SIGNATURE,), self.settle(claim(1, 1, chain=CHAIN + 1)))

    def test_change_of_signer(self) -> None:
        """K5, K6: a change voids the word; who expects the old version is refused."""
        self.ask("addOrUpdateService", "", STRANGER, 60, 5, 30, by=PROVIDER)
        self.assertEqual((NOT_ACKNOWLEDGED,), self.settle(claim(1, 1, by=STRANGER)))
        refused = self.ask("acknowledgeTEESignerVersion", PROVIDER, 1, by=USER)
        self.assert_reverts(refused, "SignerVersionMismatch", 1, 2)

    def test_batch(self) -> None:
        """A batch reverts for a foreign sender and for a bad signature, in this order."""
        lines = (evolve(claim(1, 1), signature=None),)
        bad = Signature(raw=b"", by=None, chain=CHAIN)
        foreign = self.ask("settleBatch", PROVIDER, lines, bad, by=USER)
        self.assert_reverts(foreign, "NotSubmitter", PROVIDER, USER)
        unsigned = self.ask("settleBatch", PROVIDER, lines, bad, by=SIGNER)
        self.assert_reverts(unsigned, "BadBatchSignature", PROVIDER)
        good = evolve(bad, by=SIGNER)
        settled = self.ask("settleBatch", PROVIDER, lines, good, by=SIGNER)
        self.assertEqual((INSUFFICIENT_BALANCE,), settled.returned)


class ProviderTests(ModelCase):
    """Coming, changing, leaving."""

    def test_version_outlives_leaving(self) -> None:
        """K9: who leaves takes its stake; who returns has a version that nobody acknowledged."""
        self.ask("announceLeave", by=PROVIDER)
        self.now += LOCK
        self.ask("leave", PROVIDER, by=PROVIDER)
        self.assertEqual((PROVIDER_MISMATCH,), self.settle(claim(1, 1)))
        self.ask("addOrUpdateService", "", SIGNER, 60, 5, 30, by=PROVIDER)
        self.assertEqual(2, self.state.provider(PROVIDER).version)
        self.assertEqual((NOT_ACKNOWLEDGED,), self.settle(claim(1, 1)))

    def test_value(self) -> None:
        """K9: an update takes no value, other functions neither, and nothing changes."""
        before = self.state
        update = self.ask("addOrUpdateService", "", SIGNER, 1, 1, 1, by=PROVIDER, value=777)
        self.assert_reverts(update, "UnexpectedValue", 777)
        self.assert_reverts(self.ask("withdrawEarnings", by=PROVIDER, value=1), "")
        self.assertEqual(before, self.state)

    def test_zero(self) -> None:
        """Nobody can be neither recipient nor provider nor signer nor receiver."""
        for pair in ((ZERO, PROVIDER), (USER, ZERO)):
            self.assert_reverts(self.ask("deposit", *pair, by=USER, value=1), "ZeroAddress")
        unsigned = self.ask("addOrUpdateService", "", ZERO, 1, 1, 1, by=PROVIDER)
        self.assert_reverts(unsigned, "ZeroAddress")

    def test_two_steps(self) -> None:
        """K16: ownership changes hands when it is accepted, and cannot be given up."""
        self.ask("transferOwnership", USER, by=OWNER)
        self.assertEqual(OWNER, self.state.owners[SERVING].owner)
        refused = self.ask("acceptOwnership", by=STRANGER)
        self.assert_reverts(refused, "OwnableUnauthorizedAccount", STRANGER)
        self.ask("acceptOwnership", by=USER)
        self.assertEqual(Ownership(owner=USER), self.state.owners[SERVING])
        self.assert_reverts(self.ask("renounceOwnership", by=USER), "OwnershipNotRenounced")

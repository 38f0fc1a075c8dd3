"""A batch's attempts: one account nonce, newest last."""

from __future__ import annotations

from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BrokenLaw
from sandbox_billing.ledger.batch import STAGES, Attempt, Batch, Stage
from tests.strategies import attempts, batches


class WithAttemptTests(SynchronousTestCase):
    """T-1: every fee bump keeps the account nonce."""

    @given(batches(), attempts())
    def test_first(self, batch: Batch, attempt: Attempt) -> None:
        """A batch without an attempt takes any."""
        fresh = evolve(batch, attempts=())
        self.assertEqual((attempt,), fresh.with_attempt(attempt).attempts)

    @given(batches(), attempts(account_nonce=7), attempts(account_nonce=7))
    def test_bump(self, batch: Batch, first: Attempt, second: Attempt) -> None:
        """A bump of the same account nonce goes behind the others, which stay."""
        bumped = evolve(batch, attempts=(first,)).with_attempt(second)
        self.assertEqual((first, second), bumped.attempts)
        self.assertEqual(batch.charges, bumped.charges)

    @given(batches(), attempts(account_nonce=7), st.sampled_from([6, 8]))
    def test_second_account_nonce(self, batch: Batch, first: Attempt, other: int) -> None:
        """L10: two account nonces could both be mined, so the second is refused."""
        started = evolve(batch, attempts=(first,))
        attempt = evolve(first, account_nonce=other)
        why = self.assertRaises(BrokenLaw, started.with_attempt, attempt)
        self.assertEqual("L10", why.law)

    @given(
        batches(), attempts(account_nonce=7), attempts(account_nonce=8), attempts(account_nonce=9)
    )
    def test_two_senders(
        self, batch: Batch, first: Attempt, second: Attempt, third: Attempt
    ) -> None:
        """After a change of the key the new account's nonce is its own; the old one's stays."""
        assume(first.sender != second.sender)
        both = evolve(batch, attempts=(first,)).with_attempt(second)
        self.assertEqual((first, second), both.attempts)
        for sender in (first.sender, second.sender):
            why = self.assertRaises(BrokenLaw, both.with_attempt, evolve(third, sender=sender))
            self.assertEqual("L10", why.law)

    @given(attempts())
    def test_repr(self, attempt: Attempt) -> None:
        """The raw transaction is not what a log line is for."""
        self.assertNotIn("raw", repr(attempt))


class StageTests(SynchronousTestCase):
    """UNKNOWN is a state of its own, and only a receipt ends it."""

    @given(batches(), attempts())
    def test_by_evidence(self, batch: Batch, attempt: Attempt) -> None:
        """Without an attempt it was never sent; with one, a receipt alone says more."""
        fresh = evolve(batch, attempts=())
        sent = fresh.with_attempt(attempt)
        self.assertEqual(
            [Stage.SIGNED, Stage.SENT, Stage.MINED],
            [fresh.stage(), sent.stage(), sent.stage(mined=True)],
        )

    def test_every_stage(self) -> None:
        """What was sent ends by a receipt and in no other way."""
        self.assertEqual(set(Stage), set(STAGES))
        self.assertEqual(set(Stage), {Stage.SIGNED}.union(*STAGES.values()))
        self.assertNotIn(Stage.ENDED, STAGES[Stage.SENT])
        self.assertEqual({}, STAGES[Stage.ENDED])

"""
Tests of C{sandbox_billing.ledger.proofs}: what an event says of charges that are gone.
"""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger.laws import l6_books
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.proofs import advanced, by_hash, by_period, settled_as
from sandbox_billing.ledger.voucher import ChargeRecord, Merged, Paid, Partial, Signed
from tests.ledger.books import SANDBOX, Story, hashed


class ProofsTests(SynchronousTestCase):
    """From events back to charges."""

    @given(st.integers(1, 10**21), st.integers(1, 86_400), st.integers(0, 86_400))
    def test_period(self, rate: int, seconds: int, before: int) -> None:
        """At whatever rate, the end of a period is found from its fee, and proven by its hash."""
        steps = (before, seconds) if before else (seconds,)
        story = Story(rate=60 * rate, steps=steps, settled=(1,) * len(steps))
        session = story.session(len(steps) - 1)
        whole = by_period(story.events()[-1], [session], [], hashed)
        assert whole is not None
        charge = whole.record.charge
        self.assertEqual(charge.period_start, session.charged_until)
        self.assertEqual(charge.units, seconds)
        self.assertEqual(hashed(charge), story.events()[-1].usage_hash)

    def test_period_of_another(self) -> None:
        """A hash that does not match proves nothing, however well the fee would fit."""
        story = Story(rate=60, steps=(60,), settled=(1,))
        strange = evolve(story.events()[0], usage_hash="0x" + "77" * 32)
        self.assertIsNone(by_period(strange, [story.session(0)], [], hashed))
        pending = evolve(story.session(0), started_at=None)
        self.assertIsNone(by_period(story.events()[0], [pending], [], hashed))

    def test_over_open_charges(self) -> None:
        """A voucher over open charges and more takes them all in, and books add up."""
        story = Story(rate=60, steps=(60, 60, 60), settled=(3,))
        (event,) = story.events()
        records = [ChargeRecord(story.charge(place)) for place in range(2)]
        self.assertIsNone(by_hash(event, records, hashed))
        whole = by_period(event, [story.session(2)], records, hashed)
        assert whole is not None
        self.assertEqual([part.charge.units for part in whole.parts], [60, 60, 60])
        outcome = settled_as(whole.record, event, UnixSeconds(1))
        assert outcome is not None and isinstance(outcome[0].state, Paid)
        parts = [part.become(Merged(outcome[0].charge.id)) for part in whole.parts]
        self.assertEqual(l6_books([outcome[0], *parts]).settled, event.fee)

    def test_merged(self) -> None:
        """A voucher of several open charges is found as the one they were merged into."""
        story = Story(rate=60, steps=(60, 30, 60), settled=(1, 2))
        records = [ChargeRecord(story.charge(place)) for place in range(3)]
        whole = by_hash(story.events()[1], records, hashed)
        assert whole is not None
        self.assertEqual(
            [part.charge.id for part in whole.parts], [r.charge.id for r in records[1:]]
        )

    def test_paid_in_part(self) -> None:
        """What was paid in part leaves a debt; what does not say so is left to a human."""
        story = Story(rate=60, steps=(60,), settled=(1,))
        record = ChargeRecord(story.charge(0))
        event = evolve(story.events()[0], status=1, paid=Neuron(20))
        outcome = settled_as(record, event, UnixSeconds(1))
        assert outcome is not None
        after, debt = outcome
        assert isinstance(after.state, Partial) and debt is not None
        self.assertEqual((after.state.paid, debt.amount), (20, 40))
        for told in (None, event.fee):
            strange = evolve(event, paid=told)
            self.assertIsNone(settled_as(record, strange, UnixSeconds(1)))

    def test_sealed(self) -> None:
        """A charge that was signed keeps its own seal."""
        story = Story(rate=60, steps=(60,), settled=(1,))
        paid = story.store(1, 1).shelf.charges[story.charge(0).id]
        assert paid.seal is not None
        outcome = settled_as(
            ChargeRecord(paid.charge, Signed(paid.seal)), story.events()[0], UnixSeconds(1)
        )
        assert outcome is not None
        self.assertEqual(outcome[0].seal, paid.seal)

    def test_advanced(self) -> None:
        """A session never goes back."""
        session = Story(rate=60, steps=(60,), settled=()).session(1)
        self.assertEqual(advanced(session, UnixSeconds(5)), session)
        later = UnixSeconds(session.charged_until + 5)
        self.assertEqual(advanced(session, later).charged_until, later)
        self.assertEqual(session.sandbox, SANDBOX)

"""
Tests of C{sandbox_billing.ledger.shelves}: where everything must be listed.
"""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.hold import Exposure
from sandbox_billing.ledger.identity import BatchId
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.shelves import Entry, Index, Shelf, entries, exposures, is_final
from sandbox_billing.ledger.voucher import ChargeRecord, Open, Signed
from tests.ledger.books import ALICE, Story
from tests.strategies import charge_records, intents, sessions


def shelf(records: Mapping[str, ChargeRecord], *, batches: tuple[Batch, ...] = ()) -> Shelf:
    """Charges and nothing else, but for batches."""
    return Shelf(
        charges={r.charge.id: r for r in records.values()},
        batches={batch.id: batch for batch in batches},
        sessions={},
        intents={},
    )


class ShelvesTests(SynchronousTestCase):
    """Indices follow from what is stored."""

    @given(st.lists(charge_records(), unique_by=lambda r: r.charge.id))
    def test_each_once(self, records: list[ChargeRecord]) -> None:
        """What is owed is pending and in one queue; what is final in neither."""
        found = entries(shelf({r.charge.id: r for r in records}))
        queues = (Index.CHARGES, Index.FIRST)
        for record in records:
            mine = [e.index for e in found if e.member == record.charge.id]
            self.assertEqual(mine.count(Index.PENDING), int(not is_final(record)))
            self.assertEqual(sum(i in queues for i in mine), int(not is_final(record)))
            self.assertIn(Index.USAGE, mine)

    @given(st.lists(charge_records(), unique_by=lambda r: r.charge.id))
    def test_exposure(self, records: list[ChargeRecord]) -> None:
        """A wallet is exposed by exactly what it owes."""
        fields = exposures(shelf({r.charge.id: r for r in records}))
        for wallet, mine in fields.items():
            theirs = [r for r in records if r.charge.owner == wallet and not is_final(r)]
            self.assertEqual(
                Exposure(mine).total(0), sum(record.charge.amount for record in theirs)
            )

    @given(st.lists(sessions(), unique_by=lambda s: s.sandbox), st.lists(intents()))
    def test_sessions_and_intents(self, open_: list, standing: list) -> None:  # type: ignore[type-arg]
        """Sessions and intents count with what they hold; running ones are due."""
        both = Shelf(
            charges={},
            batches={},
            sessions={s.sandbox: s for s in open_},
            intents={i.reference: i for i in standing},
        )
        found = entries(both)
        due = {e.member for e in found if e.index is Index.DUE}
        self.assertEqual(due, {s.sandbox for s in open_ if s.started_at is not None})
        fields = [name for mine in exposures(both).values() for name in mine]
        self.assertEqual(len(fields), len(open_) + len({i.reference for i in standing}))

    def test_in_a_batch(self) -> None:
        """What is in a batch waits in no queue, and its wallet is offered to nobody."""
        story = Story(rate=60, steps=(60, 60), settled=(1,))
        (paid, left) = story.store(2, 1).shelf.charges.values()
        assert paid.seal is not None and isinstance(left.state, Open)
        signed = ChargeRecord(paid.charge, Signed(paid.seal))
        batch = Batch(
            id=BatchId("b"), wallets=(ALICE,), charges=(paid.charge.id,), created_at=UnixSeconds(1)
        )
        both = {"signed": signed, "left": left}
        found = entries(shelf(both, batches=(batch,)))
        self.assertIn(Entry(Index.IN_FLIGHT, ALICE.hex, "b"), found)
        self.assertNotIn(Entry(Index.FIRST, ALICE.hex, paid.charge.id), found)
        self.assertNotIn(Entry(Index.READY, "", ALICE.hex), found)
        alone = entries(shelf(both))
        self.assertIn(Entry(Index.FIRST, ALICE.hex, paid.charge.id), alone)
        self.assertIn(Entry(Index.READY, "", ALICE.hex), alone)

"""What became of a batch, in figures."""

from __future__ import annotations

from typing import get_args

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.memory.measures import MemoryMeasures
from sandbox_billing.interfaces import Receipt, Ruling, Stored
from sandbox_billing.ledger.account import BlockRef
from sandbox_billing.ledger.identity import ChargeId
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.voucher import (
    ChargeRecord,
    ChargeState,
    DeadLettered,
    Forgiven,
    Merged,
    Paid,
    Parked,
    Partial,
    Signed,
)
from sandbox_billing.services.settled_figures import OUTCOMES, note_settled
from tests.ledger.test_settlement import charge, seal


SEAL = seal(1, 500)
RECEIPT = Receipt(
    transaction="0x1",
    block=BlockRef(number=7, hash="0x7", timestamp=UnixSeconds(100)),
    succeeded=True,
    gas_used=55_000,
    gas_price=Neuron(3),
)
PAID = Paid(seal=SEAL, transaction="0x1", block=7)
PARTIAL = Partial(
    seal=SEAL,
    paid=Neuron(200),
    owed=Neuron(300),
    debt=ChargeId("a:debt:1"),
    transaction="0x1",
    block=7,
)


def ruling(state: ChargeState) -> Ruling:
    """A signed charge, and what became of it."""
    before = ChargeRecord(charge("a", 500), Signed(SEAL))
    after = ChargeRecord(charge("a", 500), state)
    return Ruling(record=Stored(before, b""), after=after, debt=None, retry_at=UnixSeconds(0))


class SettledTests(SynchronousTestCase):
    """L{note_settled}."""

    def setUp(self) -> None:
        """Nothing told."""
        self.measures = MemoryMeasures()

    def test_outcomes(self) -> None:
        """Each by its word; what moved is counted as it moved."""
        states = (PAID, PARTIAL, Parked(SEAL), Signed(SEAL), DeadLettered(seal=SEAL, reason="x"))
        note_settled(self.measures, [ruling(s) for s in states], RECEIPT, waited=9, ended=True)
        counts = dict(self.measures.counts)
        self.assertEqual(700, counts.pop(("settled_neuron_total",)))
        self.assertEqual(55_000, counts.pop(("gas_used_total",)))
        self.assertEqual(
            {
                ("settled_vouchers_total", word): 1
                for word in ("paid", "partial", "parked", "owed", "dead")
            },
            counts,
        )
        self.assertEqual(
            {("batch_gas",): [55_000], ("confirmation_seconds",): [9]}, dict(self.measures.seen)
        )

    def test_a_part(self) -> None:
        """A batch that ends in parts has one transaction and one wait: with its last part."""
        note_settled(self.measures, [ruling(PAID)], RECEIPT, waited=9, ended=False)
        self.assertEqual({}, dict(self.measures.seen))
        note_settled(self.measures, [ruling(PAID)], RECEIPT, waited=-1, ended=True)
        self.assertEqual([0], self.measures.seen["confirmation_seconds",])
        self.assertEqual(55_000, self.measures.counts["gas_used_total",])

    def test_words(self) -> None:
        """Every state that a batch can come to has a word."""
        self.assertEqual(set(get_args(ChargeState)) - {Merged, Forgiven}, set(OUTCOMES))

"""What is kept of an outcome, and when the chain says something else."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger._codec import decode, encode
from sandbox_billing.ledger.account import BlockRef, Settlement
from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.identity import ChargeId
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.second_look import Resolution, Verdict, doubt, verdict_of
from sandbox_billing.ledger.totals import Totals
from sandbox_billing.ledger.voucher import ChargeRecord, Open, Paid, Partial, Signed
from tests.strategies import addresses, batches, blocks, charge_records, nonces, settlements


def verdicts() -> st.SearchStrategy[Verdict]:
    """What was decided of a voucher."""
    return st.builds(
        Verdict,
        charge=st.just(ChargeId("sb-1:create")),
        wallet=addresses(),
        nonce=nonces(),
        usage_hash=st.just("0x" + "5a" * 32),
        paid=st.none() | st.integers(0, 10**30).map(Neuron),
        debt=st.none() | st.just(ChargeId("sb-1:create:debt:1")),
    )


class VerdictTests(SynchronousTestCase):
    """L{verdict_of} and L{doubt}."""

    @given(charge_records())
    def test_of_what_is_final(self, record: ChargeRecord) -> None:
        """What was paid, and what was lost, is remembered; what is offered again is not."""
        verdict = verdict_of(record, record)
        match record.state:
            case Paid(seal=seal):
                assert verdict is not None
                self.assertEqual((verdict.paid, verdict.nonce), (seal.fee, seal.nonce))
            case Partial(paid=paid, debt=debt):
                assert verdict is not None
                self.assertEqual((verdict.paid, verdict.debt), (paid, debt))
            case _:
                self.assertIsNone(verdict)
        if isinstance(record.state, Signed):
            void = verdict_of(record, ChargeRecord(record.charge, Open()))
            assert void is not None
            self.assertEqual((void.paid, void.nonce), (None, record.state.seal.nonce))

    @given(verdicts(), settlements())
    def test_the_same(self, verdict: Verdict, settled: Settlement) -> None:
        """An outcome that is as it was is in no doubt, in whatever block it stands now."""
        if verdict.paid is None:
            self.assertIsNone(doubt(verdict, None))
        else:
            same = evolve(settled, usage_hash=verdict.usage_hash, paid=verdict.paid)
            self.assertIsNone(doubt(verdict, same))

    @given(verdicts(), settlements(), st.integers(1, 100))
    def test_another(self, verdict: Verdict, settled: Settlement, more: int) -> None:
        """An event that is gone, new, of another voucher or amount is a doubt."""
        if verdict.paid is None:
            self.assertIsNotNone(doubt(verdict, settled))
            return
        self.assertIsNotNone(doubt(verdict, None))
        same = evolve(settled, usage_hash=verdict.usage_hash, paid=verdict.paid)
        self.assertIsNotNone(doubt(verdict, evolve(same, usage_hash="0x00")))
        paid = Neuron(verdict.paid + more)
        self.assertIsNotNone(doubt(verdict, evolve(same, paid=paid)))

    @given(batches(), blocks(), st.lists(verdicts(), max_size=3))
    def test_stored_form(self, batch: Batch, block: BlockRef, found: list[Verdict]) -> None:
        """A resolution comes back as it was stored."""
        kept = Resolution(batch=batch, block=block, verdicts=tuple(found))
        self.assertEqual(decode(Resolution, encode(kept)), kept)


class TotalsTests(SynchronousTestCase):
    """L{Totals}."""

    @given(st.lists(charge_records()), st.integers(0, 10**30), st.integers(0, 10**30))
    def test_sums(self, records: list[ChargeRecord], one: int, two: int) -> None:
        """Totals count what moved, however it was spread over batches, and nothing else."""
        states = [record.state for record in records]
        all_at_once = Totals().after(states, Neuron(one + two))
        half = len(states) // 2
        in_two = Totals().after(states[:half], Neuron(one)).after(states[half:], Neuron(two))
        self.assertEqual((in_two.fees, in_two.gas), (all_at_once.fees, all_at_once.gas))
        self.assertEqual((in_two.vouchers, in_two.batches), (all_at_once.vouchers, 2))
        moved = sum(
            s.seal.fee if isinstance(s, Paid) else s.paid
            for s in states
            if isinstance(s, Paid | Partial)
        )
        self.assertEqual(all_at_once.fees, moved)
        self.assertEqual(decode(Totals, encode(in_two)), in_two)

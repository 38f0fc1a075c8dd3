"""A charge's life: what is signed is bound for life (L5), what is final is final."""

from __future__ import annotations

from functools import cache

from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BrokenLaw
from sandbox_billing.ledger.identity import merged_charge_id
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.voucher import (
    Charge,
    ChargeKind,
    ChargeRecord,
    ChargeState,
    DeadLettered,
    Forgiven,
    Merged,
    Open,
    Paid,
    Parked,
    Partial,
    Seal,
    Signed,
)
from tests.strategies import charge_records, charges, sealed_states, seals


@cache
def offers() -> st.SearchStrategy[tuple[Charge, Seal, ChargeState]]:
    """A charge, what was promised for it, and a state that keeps the promise."""
    return charges().flatmap(
        lambda charge: seals(charge.amount).flatmap(
            lambda seal: st.tuples(st.just(charge), st.just(seal), sealed_states(charge, seal))
        )
    )


class BecomeTests(SynchronousTestCase):
    """From state to state."""

    @given(offers())
    def test_from_open(self, offer: tuple[Charge, Seal, ChargeState]) -> None:
        """An open charge becomes what was promised for it, and stays that charge."""
        charge, seal, state = offer
        record = ChargeRecord(charge)
        self.assertIsNone(record.seal)
        after = record.become(state)
        self.assertEqual((charge, state, seal), (after.charge, after.state, after.seal))

    @given(offers(), st.sampled_from([Signed, Parked]))
    def test_keeps_its_promise(
        self, offer: tuple[Charge, Seal, ChargeState], kind: type[Signed] | type[Parked]
    ) -> None:
        """A signed or parked one becomes anything under the same promise, itself included."""
        charge, seal, state = offer
        self.assertEqual(state, ChargeRecord(charge, kind(seal)).become(state).state)

    @given(offers(), st.text("ab", min_size=1, max_size=3))
    def test_new_signer(self, offer: tuple[Charge, Seal, ChargeState], signature: str) -> None:
        """After a rotation a new key signs the same nonce, fee and hash again (§4.6)."""
        charge, seal, _ = offer
        again = Signed(evolve(seal, signature=signature))
        self.assertEqual(again, ChargeRecord(charge, Parked(seal)).become(again).state)

    @given(offers(), st.sampled_from(["nonce", "usage_hash"]), st.sampled_from([Signed, Parked]))
    def test_another_promise(
        self,
        offer: tuple[Charge, Seal, ChargeState],
        name: str,
        kind: type[Signed] | type[Parked],
    ) -> None:
        """S14: a second nonce or hash would be a second valid claim."""
        charge, seal, _ = offer
        other = evolve(seal, nonce=seal.nonce + 1)
        if name == "usage_hash":
            other = evolve(seal, usage_hash="0x" + "00" * 31)
        self._refused(ChargeRecord(charge, kind(seal)), Signed(other))

    @given(offers(), st.sampled_from([Signed, Parked]))
    def test_forgetting(
        self, offer: tuple[Charge, Seal, ChargeState], kind: type[Signed] | type[Parked]
    ) -> None:
        """A promise is not forgotten: only proof voids it, and that is C{resolve}'s to see."""
        charge, seal, _ = offer
        record = ChargeRecord(charge, kind(seal))
        self._refused(record, Open())
        self._refused(record, DeadLettered(seal=None, reason="lost"))

    @given(offers(), st.integers(-3, 3).filter(bool))
    def test_another_amount(self, offer: tuple[Charge, Seal, ChargeState], difference: int) -> None:
        """The fee that is signed is the amount that is owed."""
        charge, seal, _ = offer
        fee = Neuron(seal.fee + difference)
        self._refused(ChargeRecord(charge), Signed(evolve(seal, fee=fee)))

    @given(offers(), offers())
    def test_final(
        self, offer: tuple[Charge, Seal, ChargeState], other: tuple[Charge, Seal, ChargeState]
    ) -> None:
        """What was paid, wholly or in part, never becomes anything else."""
        charge, seal, state = offer
        assume(isinstance(state, Paid | Partial))
        for later in (Open(), Parked(seal), state, other[2]):
            self._refused(ChargeRecord(charge, state), later)

    @given(charge_records())
    def test_same_again(self, record: ChargeRecord) -> None:
        """Becoming what it is changes nothing, unless that is final."""
        if not isinstance(record.state, Paid | Partial | Merged | Forgiven):
            self.assertEqual(record, record.become(record.state))

    @given(charge_records())
    def test_merged(self, record: ChargeRecord) -> None:
        """What is open may be merged, nothing else; and nothing comes after it."""
        merged = Merged(merged_charge_id(record.charge.id, record.charge.period_end))
        if isinstance(record.state, Open):
            after = record.become(merged)
            self.assertEqual((merged, None), (after.state, after.seal))
            for later in (Open(), merged):
                self._refused(after, later)
        else:
            self.assertIn(self.assertRaises(BrokenLaw, record.become, merged).law, ("L5", "L6"))

    @given(charge_records())
    def test_forgiven(self, record: ChargeRecord) -> None:
        """What nobody can submit may be forgiven, with what was signed for it kept; once."""
        forgiven = Forgiven(seal=record.seal, reason="waived", by="me", at=UnixSeconds(7))
        if isinstance(record.state, Open | DeadLettered):
            after = record.become(forgiven)
            self.assertEqual(record.seal, after.seal)
            for later in (Open(), forgiven):
                self._refused(after, later)
        else:
            self.assertIn(self.assertRaises(BrokenLaw, record.become, forgiven).law, ("L5", "L6"))

    def _refused(self, record: ChargeRecord, state: ChargeState) -> None:
        why = self.assertRaises(BrokenLaw, record.become, state)
        self.assertEqual("L5", why.law)


class KindTests(SynchronousTestCase):
    """The words that are stored."""

    def test_words(self) -> None:
        """Renaming one would orphan what is stored."""
        self.assertEqual(["create", "compute", "debt"], [kind.value for kind in ChargeKind])

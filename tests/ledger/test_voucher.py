"""A charge's life: what is signed is bound for life (L5), what is final is final."""

from __future__ import annotations

from functools import cache
from typing import Any, get_args

from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BrokenLaw
from sandbox_billing.ledger.identity import ChargeId, merged_charge_id
from sandbox_billing.ledger.merging import mergeable
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.voucher import (
    NEXT,
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


def every_state(seal: Seal) -> tuple[ChargeState, ...]:
    """One of each, all that have one under one seal."""
    mined: dict[str, Any] = {"transaction": "0x77", "block": 12}
    return (
        Open(),
        Signed(seal),
        Parked(seal),
        Paid(seal=seal, **mined),
        Partial(seal=seal, paid=Neuron(0), owed=seal.fee, debt=ChargeId("d"), **mined),
        DeadLettered(seal=seal, reason="odd"),
        Merged(ChargeId("m")),
        Forgiven(seal=seal, reason="waived", by="me", at=UnixSeconds(7)),
    )


class BecomeTests(SynchronousTestCase):
    """From state to state."""

    @given(offers())
    def test_only_as_declared(self, offer: tuple[Charge, Seal, ChargeState]) -> None:
        """From each state to each, under one promise: what C{NEXT} says, and nothing else."""
        charge, seal, _ = offer
        for before in every_state(seal):
            for after in every_state(seal):
                record = ChargeRecord(charge, before)
                same = before == after and bool(NEXT[type(before)])
                if same or type(after) in self._forward(type(before)):
                    found = record.become(after)
                    self.assertEqual((charge, after), (found.charge, found.state))
                else:
                    why = self.assertRaises(BrokenLaw, record.become, after)
                    self.assertIn(why.law, ("L5", "L6"))

    def _forward(self, state: type[ChargeState]) -> set[type[ChargeState]]:
        """All but void, which has a door of its own."""
        return set(NEXT[state]) - {Open}

    def test_every_state(self) -> None:
        """C{NEXT} knows each, each says why, and each can be reached."""
        known = set(get_args(ChargeState))
        self.assertEqual(known, set(NEXT))
        self.assertEqual(known, {Open}.union(*NEXT.values()))
        for each in NEXT.values():
            self.assertTrue(all(each.values()))

    @given(offers())
    def test_void(self, offer: tuple[Charge, Seal, ChargeState]) -> None:
        """Only what was sent can be void, once, and it is the same charge again."""
        charge, seal, _ = offer
        for state in every_state(seal):
            record = ChargeRecord(charge, state)
            if Open in NEXT[type(state)]:
                again = record.void()
                self.assertEqual(ChargeRecord(charge, voided=True), again)
                self.assertFalse(mergeable(again))
                once_more = again.become(Signed(seal))
                self.assertEqual("L5", self.assertRaises(BrokenLaw, once_more.void).law)
            else:
                self.assertEqual("L5", self.assertRaises(BrokenLaw, record.void).law)

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
        self.assertEqual(
            ["create", "compute", "debt", "imported"], [kind.value for kind in ChargeKind]
        )

"""
What becomes of each voucher of the Go implementation: one of several claims for a use is kept,
and what the chain says of one is so.

Tests: L{tests.ledger.test_go_plan}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import field, frozen

from sandbox_billing.ledger.account import Settlement
from sandbox_billing.ledger.go_claims import (
    Claims,
    Recovered,
    Recovery,
    charge_of,
    same_time,
)
from sandbox_billing.ledger.go_facts import GoEntry, GoFacts, GoWorld, Source
from sandbox_billing.ledger.go_forms import NOBODY, GoVoucher
from sandbox_billing.ledger.identity import Address, ChargeId, Nonce, SandboxId
from sandbox_billing.ledger.proofs import settled_as
from sandbox_billing.ledger.voucher import Charge, ChargeRecord, DeadLettered, Seal, Signed


@frozen(kw_only=True)
class VoucherStep:
    """
    @ivar record: None where nothing is owed: a voucher of 0 neuron.
    @ivar debt: What the chain has not paid of it.
    @ivar known: Whether it is known what time it is for.
    """

    entry: GoEntry
    record: ChargeRecord | None
    debt: Charge | None = None
    known: bool = False


def judged(facts: GoFacts, world: GoWorld, known: Iterable[Recovery]) -> Iterable[VoucherStep]:
    """
    Those that are left, in the order of their lists.

    @param known: What can be told of the time that they are for.
    """
    recovered = tuple(known)
    times = {voucher: time for one in recovered for voucher, time in one.times.items()}
    settled = {voucher.sandbox: one.settled for one in recovered for voucher in one.times}
    judge = _Judge(world=world, known=times, paid=settled)
    steps = {}
    for entry in sorted(facts.entries, key=_priority):
        steps[entry] = judge.step(entry)
    return (steps[entry] for entry in facts.entries if not entry.done)


def _priority(entry: GoEntry) -> tuple[int, int, int]:
    """
    Of several claims for one use the first counts: signed ones that wait by nonce, then
    unsigned ones, then what was set aside.
    """
    nonce = entry.voucher.nonce
    if entry.source is Source.DEAD:
        return (2, 0, entry.place)
    return (1, 0, entry.place) if nonce is None else (0, nonce, entry.place)


@frozen(kw_only=True)
class _Judge:
    """
    What becomes of one entry after the other.

    @ivar paid: What the chain has settled of sandboxes, and for what time.
    @ivar taken: What was claimed by those before.
    """

    world: GoWorld
    known: Mapping[GoVoucher, Recovered]
    paid: Mapping[SandboxId, Sequence[tuple[Recovered, Settlement]]]
    taken: Claims = field(factory=Claims)
    _settled: Mapping[tuple[Address, str], Settlement] = field(init=False)
    _by_nonce: Mapping[tuple[Address, Nonce], Settlement] = field(init=False)

    @_settled.default
    def _events_by_hash(self) -> Mapping[tuple[Address, str], Settlement]:
        return {(one.user, one.usage_hash): one for one in reversed(self.world.settlements)}

    @_by_nonce.default
    def _events_by_nonce(self) -> Mapping[tuple[Address, Nonce], Settlement]:
        return {(one.user, one.nonce): one for one in self.world.settlements}

    def step(self, entry: GoEntry) -> VoucherStep:
        """What becomes of an entry."""
        voucher = entry.voucher
        if voucher.fee == 0:
            return VoucherStep(entry=entry, record=None)
        before, recovered = self.taken.first(voucher), self.known.get(voucher)
        if before is None and recovered is not None:
            before = self.taken.overlapping(voucher, recovered)
        event = None if before is not None else self._paid_before(voucher, recovered)
        if before is not None or event is not None:
            recovered = None
        charge = charge_of(voucher, recovered, self.taken.number(voucher), self.world.now)
        self.taken.take(voucher, charge.id, recovered)
        record, debt = self._state(entry, charge, before)
        if event is not None and voucher.user != NOBODY:
            why = f"its use was settled in part under nonce {event.nonce}, {event.transaction}"
            record, debt = _dead(charge, record.seal, why), None
        return VoucherStep(entry=entry, record=record, debt=debt, known=_is_told(recovered))

    def _paid_before(self, voucher: GoVoucher, time: Recovered | None) -> Settlement | None:
        """What the chain has settled of its time, under another hash (B3)."""
        if time is None or self._event(voucher) is not None:
            return None
        others = self.paid.get(voucher.sandbox, ())
        return next((event for other, event in others if same_time(time, other)), None)

    def _state(
        self, entry: GoEntry, charge: Charge, before: ChargeId | None
    ) -> tuple[ChargeRecord, Charge | None]:
        voucher, seal = entry.voucher, _seal(entry.voucher)
        record = ChargeRecord(charge) if seal is None else ChargeRecord(charge, Signed(seal))
        if before is not None:
            return _dead(charge, seal, f"{before} is for the same use: only one may be paid"), None
        if voucher.user == NOBODY:
            return _dead(charge, seal, "it is owed by nobody: the Go system had lost whose"), None
        event = self._event(voucher)
        if event is not None:
            return self._settled_as(record, event)
        if entry.source is Source.DEAD:
            why = "the Go system set it aside and did not write down why"
            return _dead(charge, seal, why), None
        if voucher.nonce is not None:
            if not self.world.verifies(voucher):
                signer = self.world.service.signer
                return _dead(charge, seal, f"its signature is not of {signer}"), None
            # Of those that are offered: another one's does not take it.
            other = self.taken.sealed(voucher.user, voucher.nonce, charge.id)
            if other is not None:
                return _dead(charge, seal, f"{other} has its nonce {voucher.nonce}"), None
        return record, None

    def _event(self, voucher: GoVoucher) -> Settlement | None:
        """What the chain says of its nonce, or of its use under another one."""
        if voucher.nonce is not None:
            event = self._by_nonce.get((voucher.user, voucher.nonce))
            if event is not None:
                return event
        return self._settled.get((voucher.user, voucher.usage_hash))

    def _settled_as(
        self, record: ChargeRecord, event: Settlement
    ) -> tuple[ChargeRecord, Charge | None]:
        """It is what the chain says; a human's where that is something else."""
        charge, seal = record.charge, record.seal
        told = (event.fee, event.usage_hash)
        hashed = self.world.hashed(charge)
        if told != (charge.amount, hashed):
            if seal is not None and event.nonce == seal.nonce:
                why = f"its nonce {event.nonce} was settled for another voucher"
            else:
                why = f"its use was settled for another fee under nonce {event.nonce}"
            return _dead(charge, seal, f"{why}, {event.transaction}"), None
        if seal is not None and event.nonce != seal.nonce:
            why = f"its use was settled under nonce {event.nonce}, {event.transaction}"
            return _dead(charge, seal, why), None
        found = settled_as(record, event, self.world.now)
        if found is None:
            why = f"settled in {event.transaction}; what was paid the contract does not say"
            return _dead(charge, seal, why), None
        return found


def _is_told(time: Recovered | None) -> bool:
    return time is not None and time.ours


def _seal(voucher: GoVoucher) -> Seal | None:
    if voucher.nonce is None or voucher.signature is None:
        return None
    return Seal(
        nonce=voucher.nonce,
        fee=voucher.fee,
        usage_hash=voucher.usage_hash,
        signature=voucher.signature,
    )


def _dead(charge: Charge, seal: Seal | None, reason: str) -> ChargeRecord:
    return ChargeRecord(charge, DeadLettered(seal=seal, reason=f"imported: {reason}"))

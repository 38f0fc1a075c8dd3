"""
What settled vouchers prove of charges that the store has lost; pure.

A voucher's usage hash commits to sandbox, period and seconds (wire.md §2).  It cannot be
turned round, but it can be tried: for a sandbox at a known rate a fee leaves two or three
possible ends of a period, and the hash says which it was.

Tests: L{tests.ledger.test_proofs}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

from attrs import evolve, frozen

from sandbox_billing.ledger.account import Settlement
from sandbox_billing.ledger.identity import compute_charge_id, merged_charge_id
from sandbox_billing.ledger.merging import merge_plan, mergeable, merged
from sandbox_billing.ledger.metering import Session, day_of, day_share
from sandbox_billing.ledger.money import Neuron, UnixSeconds, neuron
from sandbox_billing.ledger.rating import period_amount
from sandbox_billing.ledger.settlement import (
    Evidence,
    Resolved,
    resolve,
)
from sandbox_billing.ledger.voucher import (
    Charge,
    ChargeKind,
    ChargeRecord,
    DeadLettered,
    Open,
    Parked,
    Seal,
    Signed,
)


Hashed = Callable[[Charge], str]

NO_SIGNATURE = "0x"
"""Of a seal that was read from the chain: the signature is in the transaction alone."""


@frozen
class Whole:
    """
    What an event settled.

    @ivar record: Open or sealed, as it would be stored.
    @ivar parts: The open charges it collects; empty when it is stored itself.
    @ivar rest: What is left of an open charge that goes on after it: a charge of its own.
    """

    record: ChargeRecord
    parts: tuple[ChargeRecord, ...] = ()
    rest: Charge | None = None


def by_hash(event: Settlement, records: Sequence[ChargeRecord], hashed: Hashed) -> Whole | None:
    """
    The open charge of a wallet that an event settled, or the neighbours that it settled as one.

    @param records: The wallet's.
    @return: Perhaps a charge of another amount: one that was cut before it was signed (D2).
    """
    unsigned = [r for r in records if isinstance(r.state, Open)]
    same = [r for r in unsigned if hashed(r.charge) == event.usage_hash]
    if same:
        # Debts of one charge have one hash, and differ in what is owed.
        return Whole(min(same, key=lambda r: r.charge.amount != event.fee))
    for group in merge_plan(unsigned):
        found = _within(event, group, hashed)
        if found is not None:
            return found
    return None


def _within(event: Settlement, group: Sequence[ChargeRecord], hashed: Hashed) -> Whole | None:
    """The stretch of a group whose sum is the fee: amounts are positive, so few have it."""
    upto = [0, *accumulate(record.charge.amount for record in group)]
    places = {total: place for place, total in enumerate(upto)}
    for first, total in enumerate(upto[:-1]):
        last = places.get(total + event.fee)
        if last is None or last - first < 2:
            continue
        parts = tuple(group[first:last])
        whole = merged(parts)
        if hashed(whole) == event.usage_hash:
            return Whole(ChargeRecord(whole), parts)
    return None


def by_period(
    event: Settlement,
    sessions: Iterable[Session],
    records: Sequence[ChargeRecord],
    hashed: Hashed,
) -> Whole | None:
    """
    A period that an event settled and that the store does not know, or not to its end.

    It begins where a session is charged to, or with a charge that is stored open.

    @param sessions: The wallet's that run.
    @param records: Its charges.
    @return: The charge it was; its parts are the open charges in it, cut where it ends, and a
        new one for what none of them was for.  None where it would take the name of a charge
        that is final.
    """
    final = {r.charge.id for r in records if not isinstance(r.state, Open)}
    for session in sessions:
        if session.started_at is not None and session.rate > 0:
            # What is stored and ends later is tried below: its name must not be taken.
            ends = [r.charge.period_end for r in records if r.charge.sandbox == session.sandbox]
            first = _first(session, max([session.charged_until, *ends]))
            found = _from(event, first, (), hashed)
            if found is not None:
                return found
    unsigned = [r for r in records if isinstance(r.state, Open) and mergeable(r)]
    for place, record in enumerate(sorted(unsigned, key=_by_time)):
        later = sorted(unsigned, key=_by_time)[place:]
        mine = tuple(r for r in later if r.charge.sandbox == record.charge.sandbox)
        if record.charge.rate > 0:
            found = _from(event, record.charge, mine, hashed)
            if found is not None:
                named = {found.record.charge.id, *(part.charge.id for part in found.parts)}
                named |= {found.rest.id} if found.rest is not None else set()
                return None if named & final else found
    return None


def _by_time(record: ChargeRecord) -> tuple[str, int]:
    return record.charge.sandbox, record.charge.period_start


def _first(session: Session, start: UnixSeconds) -> Charge:
    """The next charge of a session, without its end."""
    return Charge(
        id=compute_charge_id(session.sandbox, start),
        sandbox=session.sandbox,
        owner=session.owner,
        provider=session.provider,
        kind=ChargeKind.COMPUTE,
        period_start=start,
        period_end=start,
        units=0,
        amount=Neuron(0),
        rate=session.rate,
        created_at=start,
    )


def _from(
    event: Settlement, first: Charge, parts: tuple[ChargeRecord, ...], hashed: Hashed
) -> Whole | None:
    """@param parts: Open charges of the sandbox from C{first} on, by time."""
    start = first.period_start
    about = start + event.fee * 60 // first.rate
    for until in range(max(start + 1, about - 1), about + 4):
        charge = evolve(first, period_end=UnixSeconds(until), units=until - start, amount=event.fee)
        if hashed(charge) == event.usage_hash:
            return _with_rest(charge, [p for p in parts if p.charge.period_start < until])
    return None


def _with_rest(charge: Charge, parts: Sequence[ChargeRecord]) -> Whole | None:
    """
    @param parts: Those that begin in it.
    @return: None where they do not lie in it side by side.
    """
    rest = None
    if parts and parts[-1].charge.period_end > charge.period_end:
        *before, last = parts
        cut = _cut(last.charge, charge, before)
        if cut is None:
            return None
        head, rest = cut
        parts = [*before, ChargeRecord(head)]
        if not before:
            # The voucher was of this charge, when it was shorter.
            return Whole(ChargeRecord(head), (), rest) if head.id == charge.id else None
    if not parts:
        return Whole(ChargeRecord(charge))
    start = charge.period_start
    for part in parts:
        if part.charge.period_start != start:
            return None
        start = part.charge.period_end
    left = charge.amount - sum(part.charge.amount for part in parts)
    whole = evolve(charge, id=merged_charge_id(charge.id, charge.period_end))
    if left == 0 and start == charge.period_end:
        return Whole(ChargeRecord(whole), tuple(parts), rest)
    if left <= 0 or start >= charge.period_end:
        return None
    more = evolve(
        charge,
        id=compute_charge_id(charge.sandbox, start),
        period_start=start,
        units=charge.period_end - start,
        amount=neuron(left),
    )
    return Whole(ChargeRecord(whole), (*parts, ChargeRecord(more)))


def _cut(
    last: Charge, whole: Charge, before: Sequence[ChargeRecord]
) -> tuple[Charge, Charge] | None:
    """
    An open charge in two, where a voucher ends that collected its first part.

    @param before: What else the voucher collected.
    @return: None where one of them would cost nothing.
    """
    until = whole.period_end
    first = whole.amount - sum(part.charge.amount for part in before)
    if not 0 < first < last.amount:
        return None
    return (
        evolve(last, period_end=until, units=until - last.period_start, amount=neuron(first)),
        evolve(
            last,
            id=compute_charge_id(last.sandbox, until),
            period_start=until,
            units=last.period_end - until,
            amount=neuron(last.amount - first),
        ),
    )


def settled_as(
    record: ChargeRecord, event: Settlement, now: UnixSeconds
) -> tuple[ChargeRecord, Charge | None] | None:
    """
    A charge as its event leaves it, and the debt that is left.

    @return: None where the event does not say what was paid, and a human must look.
    """
    signed = record
    if not isinstance(record.state, Signed):
        seal = record.state.seal if isinstance(record.state, Parked) else seal_of(event)
        signed = record.become(Signed(seal))
    if event.status != 0 and event.paid is None:
        return None
    outcome = resolve(Evidence(record=signed, settled=event, last_nonce=event.nonce), now)
    if not isinstance(outcome, Resolved) or isinstance(outcome.record.state, DeadLettered):
        return None
    return outcome.record, outcome.debt


def seal_of(event: Settlement) -> Seal:
    """What was bound to a charge, as far as the event tells."""
    return Seal(
        nonce=event.nonce,
        fee=event.fee,
        usage_hash=event.usage_hash,
        signature=NO_SIGNATURE,
    )


def advanced(session: Session, until: UnixSeconds) -> Session:
    """
    A session that charges nothing before a moment; never one that charges again.

    What was charged by then counts for the token that it was started with, too.
    """
    if until <= session.charged_until:
        return session
    spent, life_spent = session.spent, session.life_spent
    if session.started_at is not None:
        passed = period_amount(session.rate, session.started_at, session.charged_until, until)
        life_spent = neuron(life_spent + passed)
        if session.allowance is not None:
            spent = neuron(spent + passed)
    return evolve(
        session,
        charged_until=until,
        revision=session.revision + 1,
        spent=spent,
        life_spent=life_spent,
        day_spent=day_share(session, until, day_of(until)),
    )

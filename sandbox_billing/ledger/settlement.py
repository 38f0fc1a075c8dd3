"""
Which vouchers go out together, and what the chain's answer means for each.

Both are pure: C{plan} turns queues into numbered lines, C{resolve} turns
evidence into an outcome.  The event decides money; a status code only ever
says why nothing moved (design.md, section 4.6).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from attrs import evolve, frozen

from sandbox_billing.errors import BrokenLaw
from sandbox_billing.ledger.account import Account, Behaviour, Settlement
from sandbox_billing.ledger.deployed import Purse, plan_flawed
from sandbox_billing.ledger.identity import (
    ChargeId,
    Nonce,
    debt_charge_id,
    debt_number,
    rest_charge_id,
)
from sandbox_billing.ledger.money import Neuron, UnixSeconds, neuron
from sandbox_billing.ledger.voucher import (
    Charge,
    ChargeKind,
    ChargeRecord,
    DeadLettered,
    Paid,
    Parked,
    Partial,
    Seal,
    Signed,
)


SUCCESS, INSUFFICIENT_BALANCE, PROVIDER_MISMATCH = 0, 1, 2
NOT_ACKNOWLEDGED, INVALID_NONCE, INVALID_SIGNATURE = 3, 4, 5

NOTHING = neuron(0)


@frozen(kw_only=True)
class WalletQueue:
    """
    Everything that can be settled for one wallet now.

    @ivar account: As mirrored.
    @ivar records: Ripe charges: open, signed or parked; in arrival order.
    @ivar last_nonce: The highest of what the chain and our store know.
    @ivar behaviour: Of the contract.
    @ivar newest: The account in the newest block.  On a flawed contract it may hold back
        what C{account} would let out, never the other way round.
    @ivar accepted_loss: neuron of a refund that the operator accepts to be lost (K1).
    @ivar worth: neuron that pay for a transaction: with less than that, and less than all of
        it, no debt is collected, else who deposits single neurons has us pay for each of them.
    """

    account: Account
    records: tuple[ChargeRecord, ...]
    last_nonce: Nonce
    behaviour: Behaviour = Behaviour.FIXED
    newest: Account | None = None
    accepted_loss: Neuron = NOTHING
    worth: Neuron = NOTHING


@frozen
class Line:
    """
    A charge with the nonce it goes out under.

    @ivar fresh: Whether the nonce is new; otherwise the charge is sealed already.
    @ivar fee: For which part of the charge's amount it goes out; None: for all of it.
    """

    record: ChargeRecord
    nonce: Nonce
    fresh: bool
    fee: Neuron | None = None


def _order(record: ChargeRecord) -> tuple[int, int, int]:
    """Sealed charges by nonce, then debts, then the rest by age."""
    if record.seal is not None:
        return (0, record.seal.nonce, 0)
    debt_first = 0 if record.charge.kind is ChargeKind.DEBT else 1
    return (1, debt_first, record.charge.created_at)


def plan_wallet(queue: WalletQueue, limit: int) -> tuple[Line, ...]:
    """
    The lines of one wallet for the next batch.

    On our contract by a running balance: the first charge that does not fit goes out whole,
    so that the chain records paid and owed, and nothing after it.  With nothing left
    nothing goes out.  On a flawed one by L{ledger.deployed.plan_flawed}.  Without an
    acknowledgement nothing does either: a refused voucher is public.

    @param limit: How many lines there is room for.
    """
    if not queue.account.acknowledged:
        return ()
    records = _worthwhile(queue, sorted(queue.records, key=_order))
    if queue.behaviour is Behaviour.FIXED:
        chosen = [(record, record.charge.amount) for record in _covered(queue, records[:limit])]
    else:
        accounts = [queue.account] if queue.newest is None else [queue.account, queue.newest]
        if not all(account.acknowledged for account in accounts):
            return ()
        purses = [Purse.of(account) for account in accounts]
        sendable = plan_flawed(purses, records, limit, queue.accepted_loss)
        chosen = [(each.record, each.fee) for each in sendable]
    nonce = max([queue.last_nonce, *(r.seal.nonce for r in queue.records if r.seal is not None)])
    lines: list[Line] = []
    for record, fee in chosen:
        part = fee if fee < record.charge.amount else None
        if record.seal is None:
            nonce = Nonce(nonce + 1)
            lines.append(Line(record, nonce, fresh=True, fee=part))
        else:
            lines.append(Line(record, record.seal.nonce, fresh=False))
    return tuple(lines)


def _worthwhile(queue: WalletQueue, records: list[ChargeRecord]) -> list[ChargeRecord]:
    """Those before the first debt that is not worth collecting: what follows waits for it."""
    for place, record in enumerate(records):
        if record.seal is None and record.charge.kind is ChargeKind.DEBT:
            if queue.account.collectable < min(record.charge.amount, queue.worth):
                return records[:place]
            break
    return records


def _covered(queue: WalletQueue, records: Sequence[ChargeRecord]) -> Iterator[ChargeRecord]:
    """What the balance and the pending refund cover, and the first that they do not."""
    left: int = queue.account.collectable
    for record in records:
        if left <= 0:
            return
        yield record
        left -= record.charge.amount


def plan(queues: Sequence[WalletQueue], batch_max: int) -> tuple[Line, ...]:
    """
    The lines of the next batch: wallets in the order given, each by rising nonce.

    @param batch_max: Vouchers in one transaction at most.
    """
    lines: list[Line] = []
    for queue in queues:
        lines.extend(plan_wallet(queue, batch_max - len(lines)))
        if len(lines) >= batch_max:
            break
    return tuple(lines)


@frozen(kw_only=True)
class Evidence:
    """
    What is known of one voucher once its transaction is final.

    @ivar settled: The event of (user, provider, nonce), in whatever transaction.
    @ivar last_nonce: The contract's, at the receipt's block.
    @ivar refusal: Why nothing moved, from replaying the call; None when unknown.
    @ivar signer_is_ours: C{services(provider)} at that block names our key.
    @ivar domain_is_ours: What the contract checks signatures against there is what we sign for.
    @ivar verifies_locally: The seal recovers to our key.
    @ivar refused_alone: No other wallet's voucher of its batch was refused for the same reason.
    @ivar nonce_proven_lost: No event in any block and a second source agrees.
    """

    record: ChargeRecord
    settled: Settlement | None
    last_nonce: Nonce
    refusal: int | None = None
    signer_is_ours: bool = True
    domain_is_ours: bool = True
    refused_alone: bool = True
    verifies_locally: bool = True
    nonce_proven_lost: bool = False


@frozen
class Resolved:
    """
    @ivar record: The charge's next state.
    @ivar debt: A new charge for what stayed owed.
    """

    record: ChargeRecord
    debt: Charge | None = None


@frozen
class StillOwed:
    """Nothing moved and nothing forbids trying again with the same seal."""

    record: ChargeRecord
    reason: str


@frozen
class Unproven:
    """The chain says the nonce is used, no event is known: find out more, change nothing."""

    record: ChargeRecord


@frozen
class SettlerFault:
    """Our configuration is wrong, not the voucher: stop settling, keep the vouchers."""

    reason: str


Outcome: TypeAlias = Resolved | StillOwed | Unproven | SettlerFault


def resolve(evidence: Evidence, now: UnixSeconds) -> Outcome:
    """
    What the chain's answer means for one voucher; total (design.md §4.6).

    @raise BrokenLaw: The event contradicts the voucher (another fee or hash under our
        nonce: somebody signs with our key), or what was sent is not a signed voucher.
    """
    record = evidence.record
    if not isinstance(record.state, Signed):
        raise BrokenLaw("L5", f"charge {record.charge.id} was sent and is not signed")
    seal = record.state.seal
    if evidence.settled is not None:
        return _by_event(record, seal, evidence.settled, now)
    if evidence.last_nonce >= seal.nonce:
        if not evidence.nonce_proven_lost:
            return Unproven(record)
        if record.voided:
            reason = f"nonce {seal.nonce} is lost, and it would be void a second time"
            return Resolved(record.become(DeadLettered(seal=seal, reason=reason)))
        return Resolved(record.void())
    match evidence.refusal:
        case 3:  # NOT_ACKNOWLEDGED
            return Resolved(record.become(Parked(seal)))
        case 2 | 5:  # PROVIDER_MISMATCH, INVALID_SIGNATURE
            if not evidence.signer_is_ours:
                return SettlerFault("the provider's registered signer is not this daemon's key")
            if not evidence.domain_is_ours:
                return SettlerFault("the contract checks signatures against another domain")
            if evidence.verifies_locally and evidence.refusal == PROVIDER_MISMATCH:
                return SettlerFault("the contract does not take vouchers from this sender")
            if not evidence.refused_alone:
                # One voucher may be wrong by itself; those of several wallets are not.
                return SettlerFault("the contract takes no signature of this daemon's key")
            reason = f"refused with status {evidence.refusal}"
            return Resolved(record.become(DeadLettered(seal=seal, reason=reason)))
        case _:
            # 4 cannot be at this nonce, 0 and 1 would have left an event: the
            # transaction as a whole failed, or the replay saw another state.
            return StillOwed(record, f"no event; replay says {evidence.refusal}")


def _by_event(record: ChargeRecord, seal: Seal, settled: Settlement, now: UnixSeconds) -> Outcome:
    if (settled.fee, settled.usage_hash) != (seal.fee, seal.usage_hash):
        raise BrokenLaw("L5", f"nonce {seal.nonce} of {settled.user} settled for another voucher")
    if settled.status == SUCCESS:
        paid = Paid(seal=seal, transaction=settled.transaction, block=settled.block)
        return Resolved(record.become(paid))
    if settled.paid is None or not 0 <= settled.paid < seal.fee:
        reason = f"settled with status {settled.status}, paid {settled.paid} of {seal.fee}"
        return Resolved(record.become(DeadLettered(seal=seal, reason=reason)))
    owed = Neuron(seal.fee - settled.paid)
    debt = debt_of(record.charge, owed, now)
    partial = Partial(
        seal=seal,
        paid=settled.paid,
        owed=owed,
        debt=debt.id,
        transaction=settled.transaction,
        block=settled.block,
    )
    return Resolved(record.become(partial), debt)


def debt_of(charge: Charge, owed: Neuron, now: UnixSeconds) -> Charge:
    """
    The charge that collects what another left owed: same period, no units (wire.md §2).
    """
    return _owed(charge, debt_charge_id(charge.id, debt_number(charge.id) + 1), owed, now)


def split(
    record: ChargeRecord, fee: Neuron, nonce: Nonce, now: UnixSeconds
) -> tuple[ChargeRecord, Charge]:
    """
    A charge cut down to what can be collected, and its rest, a debt (D2).

    @param fee: neuron of the part, which keeps id, period and units.
    @param nonce: The one it is about to be signed under.
    @raise BrokenLaw: It is signed already, or there is no rest.
    """
    charge = record.charge
    if record.seal is not None or not 0 < fee < charge.amount:
        raise BrokenLaw("L5", f"charge {charge.id} of {charge.amount} cannot be cut to {fee}")
    rest = _owed(charge, rest_charge_id(charge.id, nonce), Neuron(charge.amount - fee), now)
    return evolve(record, charge=evolve(charge, amount=fee)), rest


def _owed(charge: Charge, id_: ChargeId, owed: Neuron, now: UnixSeconds) -> Charge:
    return evolve(
        charge,
        id=id_,
        kind=ChargeKind.DEBT,
        units=0,
        amount=owed,
        created_at=now,
    )


def sealed(record: ChargeRecord, seal: Seal, rest: Charge | None = None) -> ChargeRecord:
    """
    The record once signed; a parked or signed one keeps its promise (L5).

    @param rest: What was split off it for this signature.
    @raise BrokenLaw: Part and rest are not the whole (L6).
    """
    if rest is not None:
        part, expected = split(record, seal.fee, seal.nonce, rest.created_at)
        if rest != expected:
            raise BrokenLaw("L6", f"{rest.id} is not the rest of {record.charge.id}")
        record = part
    return record.become(Signed(seal))


def charge_ids(lines: Sequence[Line]) -> tuple[ChargeId, ...]:
    """In the order of submission."""
    return tuple(line.record.charge.id for line in lines)

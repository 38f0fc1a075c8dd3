"""
What proves to a user what he paid for: a voucher, what it is for, and where it was settled.

A receipt is told as JSON and read again by whoever checks it, L{sandbox_billing.client.verify}
for one; what it says is in C{docs/receipts.rst}, its form in L{ledger.receipt_form}.

Tests: L{tests.ledger.test_receipt}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

from attrs import frozen

from sandbox_billing.ledger.identity import Address, BatchId, ChargeId, Nonce, SandboxId
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
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
    Signed,
)


class Status(Enum):
    """What has become of what a receipt is for."""

    OPEN = "open"
    SIGNED = "signed"
    PARKED = "parked"
    PAID = "paid"
    PARTIAL = "partial"
    DEAD = "dead"
    MERGED = "merged"
    FORGIVEN = "forgiven"


SETTLED = frozenset({Status.PAID, Status.PARTIAL})
"""The chain has said its word."""

CLAIMING = frozenset(Status) - {Status.MERGED}
"""Whatever stands for time or money by itself: what was merged stands for nothing any more."""

_STATUS: Mapping[type[ChargeState], Status] = {
    Open: Status.OPEN,
    Signed: Status.SIGNED,
    Parked: Status.PARKED,
    Paid: Status.PAID,
    Partial: Status.PARTIAL,
    DeadLettered: Status.DEAD,
    Merged: Status.MERGED,
    Forgiven: Status.FORGIVEN,
}


@frozen(kw_only=True)
class BatchProof:
    """
    What one signature over many vouchers was made of: stored under its transaction.

    @ivar lines: The vouchers' struct hashes, hex, in the order they were submitted.
    @ivar signature: 65 bytes over all of them, hex.
    """

    batch: BatchId
    lines: tuple[str, ...]
    signature: str


@frozen(kw_only=True)
class BatchPlace:
    """
    Where in a batch a voucher stood.

    @ivar index: From 0.
    """

    id: BatchId
    index: int
    lines: tuple[str, ...]
    signature: str


@frozen(kw_only=True)
class Part:
    """One of the charges that a merged one is made of."""

    id: ChargeId
    period_start: UnixSeconds
    period_end: UnixSeconds
    units: int
    amount: Neuron
    rate: NeuronPerMinute


@frozen(kw_only=True)
class Receipt:
    """
    @ivar id: Of the charge.
    @ivar signer: Whose signature it is; None before there is one.
    @ivar units: Seconds it charges for: 0 for create fees and debts (wire.md §2).
    @ivar rate: neuron per minute; 0 for create fees.
    @ivar fee: neuron: what was signed, or will be.
    @ivar usage_hash: 32 bytes, hex; None before it is signed, as nonce and signature.
    @ivar paid: neuron that moved.
    @ivar owed: neuron that did not, and was not merged or forgiven.  Of a partial one a debt
        of its own asks for it.
    @ivar collects: What a merged charge is made of.
    @ivar batch: None where the voucher went out under its own signature.
    """

    id: ChargeId
    chain_id: int
    contract: Address
    provider: Address
    user: Address
    signer: Address | None
    sandbox: SandboxId
    kind: ChargeKind
    period_start: UnixSeconds
    period_end: UnixSeconds
    units: int
    rate: NeuronPerMinute
    fee: Neuron
    nonce: Nonce | None
    usage_hash: str | None
    signature: str | None
    status: Status
    paid: Neuron
    owed: Neuron
    transaction: str | None
    block: int | None
    collects: tuple[Part, ...] = ()
    batch: BatchPlace | None = None


def receipt_of(
    record: ChargeRecord,
    *,
    chain_id: int,
    contract: Address,
    signer: Address | None,
    collects: Sequence[Charge] = (),
    batch: BatchPlace | None = None,
) -> Receipt:
    """
    @param signer: Whom the stored signature recovers to.
    @param collects: What was merged into it.
    """
    charge, seal, state = record.charge, record.seal, record.state
    paid, owed = _moved(record)
    settled = state if isinstance(state, Paid | Partial) else None
    return Receipt(
        id=charge.id,
        chain_id=chain_id,
        contract=contract,
        provider=charge.provider,
        user=charge.owner,
        signer=signer,
        sandbox=charge.sandbox,
        kind=charge.kind,
        period_start=charge.period_start,
        period_end=charge.period_end,
        units=charge.units,
        rate=NeuronPerMinute(charge.rate),
        fee=charge.amount,
        nonce=None if seal is None else seal.nonce,
        usage_hash=None if seal is None else seal.usage_hash,
        signature=None if seal is None else seal.signature,
        status=_STATUS[type(state)],
        paid=paid,
        owed=owed,
        transaction=None if settled is None else settled.transaction,
        block=None if settled is None else settled.block,
        collects=tuple(
            Part(
                id=part.id,
                period_start=part.period_start,
                period_end=part.period_end,
                units=part.units,
                amount=part.amount,
                rate=NeuronPerMinute(part.rate),
            )
            for part in collects
        ),
        batch=batch,
    )


def _moved(record: ChargeRecord) -> tuple[Neuron, Neuron]:
    nothing = Neuron(0)
    match record.state:
        case Paid(seal=seal):
            return seal.fee, nothing
        case Partial(paid=paid, owed=owed):
            return paid, owed
        case Merged() | Forgiven():
            return nothing, nothing
        case _:
            return nothing, record.charge.amount


def place_in(proof: BatchProof, line: str) -> BatchPlace | None:
    """
    @param line: A voucher's struct hash, hex.
    @return: None when it is none of the batch's.
    """
    if line not in proof.lines:
        return None
    return BatchPlace(
        id=proof.batch,
        index=proof.lines.index(line),
        lines=proof.lines,
        signature=proof.signature,
    )

"""
What is kept of a resolved batch, and whether the chain still says the same later on.

One block is not final for ever (S9): an outcome is looked at again when many blocks stand on
the one it was read at; only then is a debt collected that rests on it (design.md §4.6).
"""

from __future__ import annotations

from attrs import frozen

from sandbox_billing.ledger.account import BlockRef, Settlement
from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.identity import Address, ChargeId, Nonce
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.voucher import ChargeRecord, Open, Paid, Partial


@frozen(kw_only=True)
class Verdict:
    """
    What was decided of one voucher, where that is final.

    @ivar paid: neuron that moved; None for a nonce that was lost.
    @ivar debt: The charge for the rest.
    """

    charge: ChargeId
    wallet: Address
    nonce: Nonce
    usage_hash: str
    paid: Neuron | None
    debt: ChargeId | None


@frozen(kw_only=True)
class Resolution:
    """
    A resolved batch.

    @ivar block: The block its outcome was read at.
    @ivar verdicts: Not of vouchers that are offered again: those are bound to their nonce.
    @ivar checked_at: When it was looked at again, unix seconds; None before.
    """

    batch: Batch
    block: BlockRef
    verdicts: tuple[Verdict, ...]
    checked_at: UnixSeconds | None = None


def verdict_of(before: ChargeRecord, after: ChargeRecord) -> Verdict | None:
    """
    @param before: As it was in the batch.
    @param after: Its next state; None is returned where that is not the last word.
    """
    seal = before.seal
    if seal is None:
        return None
    paid: Neuron | None
    debt: ChargeId | None
    match after.state:
        case Paid():
            paid, debt = seal.fee, None
        case Partial(paid=paid, debt=debt):
            pass
        case Open():
            paid, debt = None, None
        case _:
            return None
    return Verdict(
        charge=before.charge.id,
        wallet=before.charge.owner,
        nonce=seal.nonce,
        usage_hash=seal.usage_hash,
        paid=paid,
        debt=debt,
    )


def doubt(verdict: Verdict, settled: Settlement | None) -> str | None:
    """
    What the chain says otherwise by now; None when it says the same.

    @param settled: The event of the verdict's nonce, now.
    """
    nonce = verdict.nonce
    if settled is None:
        if verdict.paid is None:
            return None
        return f"nonce {nonce} had paid {verdict.paid} neuron, and nothing is settled under it now"
    if verdict.paid is None:
        return f"nonce {nonce} was lost, and is settled now"
    if settled.usage_hash != verdict.usage_hash:
        return f"nonce {nonce} is settled for another voucher now"
    if settled.paid is not None and settled.paid != verdict.paid:
        return f"nonce {nonce} had paid {verdict.paid} neuron, and has paid {settled.paid} now"
    return None

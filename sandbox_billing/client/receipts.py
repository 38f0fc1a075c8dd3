"""
What can be said of a receipt, and the part of it that needs no chain.

Tests: L{tests.client.test_verify}.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from itertools import pairwise

from attrs import frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import (
    imported_from,
    is_imported_charge_id,
    is_merged_charge_id,
)
from sandbox_billing.ledger.money import NeuronPerMinute
from sandbox_billing.ledger.rating import cost_of
from sandbox_billing.ledger.receipt import Part, Receipt, Status
from sandbox_billing.ledger.voucher import ChargeKind
from sandbox_billing.signing.eip712 import VoucherFields, usage_hash


class Claim(Enum):
    """What a receipt claims, or a history of them."""

    FORM = "form"
    PLACE = "place"
    HASH = "usage hash"
    SIGNATURE = "signature"
    SIGNER = "signer"
    BATCH = "batch"
    EVENT = "event"
    PAID = "paid"
    PARTS = "parts"
    RATING = "rating"
    PERIOD = "period"
    PRICE = "price"
    COMPLETE = "complete"


MEANING = {
    Claim.FORM: "it is a receipt at all",
    Claim.PLACE: "it is for this wallet, this provider, this contract on this chain",
    Claim.HASH: "what was signed is for this sandbox and this time",
    Claim.SIGNATURE: "this voucher was signed, by whom the receipt says",
    Claim.SIGNER: "that was the key which the provider had registered",
    Claim.BATCH: "it was a line of that batch, and the batch was signed by that key",
    Claim.EVENT: "the contract settled this voucher, once, where the receipt says",
    Claim.PAID: "so much moved, and so much stayed owed",
    Claim.PARTS: "what was merged into it makes it up",
    Claim.RATING: "no more than its rate was charged, and paid, for its time",
    Claim.PERIOD: "no second of its time was charged twice",
    Claim.PRICE: "its rate follows from the prices that the wallet had acknowledged",
    Claim.COMPLETE: "every voucher that was settled has a receipt, and the sums agree",
}

NOT_PROVABLE = (
    "that there was such a sandbox, and that it ran in these seconds: that is the provider's word",
    "how large the sandbox was: a rate says what was paid for; compare it with what you asked for",
    "that nothing else will be charged for: an open receipt is a promise of nothing",
    "that the RPC node tells the truth: ask one that you trust, or two",
    "that the contract is the one you paid into: compare its address with where you deposited",
)
"""What no receipt can prove; said each time."""


class Proof(Enum):
    """How a claim came out."""

    PROVEN = "proven"
    NOT_PROVEN = "not proven"
    REFUTED = "refuted"


@frozen
class Finding:
    """
    @ivar why: For people, in one sentence.
    """

    claim: Claim
    proof: Proof
    why: str


def proven(claim: Claim, why: str) -> Finding:
    """It is so."""
    return Finding(claim, Proof.PROVEN, why)


def unproven(claim: Claim, why: str) -> Finding:
    """It may be so."""
    return Finding(claim, Proof.NOT_PROVEN, why)


def refuted(claim: Claim, why: str) -> Finding:
    """It is not so."""
    return Finding(claim, Proof.REFUTED, why)


def struct_hash_of(receipt: Receipt) -> bytes | None:
    """The signed struct; None of what is not signed, or cannot be what was."""
    if receipt.usage_hash is None or receipt.nonce is None:
        return None
    fields = VoucherFields(
        user=receipt.user,
        provider=receipt.provider,
        usage_hash=bytes.fromhex(receipt.usage_hash[2:]),
        nonce=receipt.nonce,
        total_fee=receipt.fee,
    )
    return fields.struct_hash()


def rating_of(rate: NeuronPerMinute, seconds: int) -> int:
    """
    What so many seconds cost at most: where in its run a period lies is not told, and the
    difference of two rounded points may be a neuron above the rounded difference.
    """
    return cost_of(rate, seconds)


def most_of(receipt: Receipt) -> int:
    """
    What the time of a receipt costs at most: each part of a merged one was rounded by itself,
    and all of them together by less than a neuron for each but one.
    """
    most = rating_of(receipt.rate, receipt.units or receipt.period_end - receipt.period_start)
    return most + max(0, len(receipt.collects) - 1)


def alone(receipt: Receipt) -> Iterator[Finding]:
    """What follows from a receipt itself."""
    yield _hash(receipt)
    if receipt.collects or (is_merged_charge_id(receipt.id) and receipt.kind is ChargeKind.COMPUTE):
        yield _parts(receipt)
    yield _rating(receipt)


def _hash(receipt: Receipt) -> Finding:
    claim = Claim.HASH
    if receipt.usage_hash is None:
        return unproven(claim, "nothing was signed yet")
    if is_imported_charge_id(receipt.id):
        return _imported(receipt)
    try:
        made = usage_hash(receipt.sandbox, receipt.period_start, receipt.period_end, receipt.units)
    except BadInput as why:
        return refuted(claim, str(why))
    if "0x" + made.hex() != receipt.usage_hash:
        return refuted(claim, f"sandbox and time have the hash 0x{made.hex()}, signed was another")
    return proven(claim, "it is the hash of this sandbox and this time")


def _imported(receipt: Receipt) -> Finding:
    """Not known is no excuse for what could be: it must be what its name says."""
    claim, assumed = Claim.HASH, (receipt.sandbox, (receipt.usage_hash or "")[:18])
    if imported_from(receipt.id) != assumed:
        return refuted(claim, "it is called imported, and by another sandbox or usage hash")
    if receipt.kind not in (ChargeKind.IMPORTED, ChargeKind.DEBT):
        return refuted(claim, f"a {receipt.kind.value} receipt is not imported")
    if receipt.period_start != receipt.period_end:
        return refuted(claim, "what was imported without its time names one")
    return unproven(claim, "imported from another system: what it is the hash of is not known")


def _rating(receipt: Receipt) -> Finding:
    claim, seconds = Claim.RATING, receipt.period_end - receipt.period_start
    if seconds < 0 or receipt.units > seconds:
        return refuted(claim, f"{receipt.units} units in {seconds} seconds")
    if (receipt.units > 0) is not (receipt.kind is ChargeKind.COMPUTE):
        return refuted(claim, f"a {receipt.kind.value} receipt with {receipt.units} units")
    if receipt.kind is ChargeKind.CREATE and seconds:
        return refuted(claim, "a create fee for a time")
    if receipt.status not in (Status.PAID, Status.PARTIAL) and receipt.paid:
        return refuted(claim, f"it says {receipt.paid} were paid, and that it is not settled")
    if not seconds:
        return proven(claim, "it is for a moment: its price is what counts")
    most = most_of(receipt)
    if receipt.fee > most:
        return refuted(claim, f"{receipt.fee} neuron, at this rate it is {most} at most")
    return proven(claim, f"at {receipt.rate} a minute it is {most} neuron at most")


def _parts(receipt: Receipt) -> Finding:
    claim, parts = Claim.PARTS, receipt.collects
    if not parts:
        return unproven(claim, "what was merged into it is not told")
    if list(overlapping(parts)):
        return refuted(claim, "two of them are for the same time")
    first, last = parts[0].period_start, max(part.period_end for part in parts)
    if not receipt.period_start <= first <= last <= receipt.period_end:
        return refuted(claim, "they are for a time outside its own")
    for part in parts:
        if part.rate != receipt.rate or part.amount > rating_of(part.rate, part.units):
            return refuted(claim, f"{part.id} is dearer than the rate")
        if part.units != part.period_end - part.period_start:
            return refuted(claim, f"{part.id} has other seconds than its time")
    seconds, amount = sum(part.units for part in parts), sum(part.amount for part in parts)
    if seconds != receipt.units or amount < receipt.fee:
        return refuted(claim, f"they add up to {seconds} seconds and {amount} neuron")
    return proven(claim, f"{len(parts)} parts, {seconds} seconds, {amount} neuron")


def overlapping(parts: Iterable[Part]) -> Iterator[tuple[Part, Part]]:
    """Neighbours that share a second."""
    ordered: Sequence[Part] = sorted(parts, key=lambda part: (part.period_start, part.period_end))
    for one, next_ in pairwise(ordered):
        if next_.period_start < one.period_end:
            yield one, next_

"""
Whether receipts together claim a second, or its price, twice.

Tests: L{tests.client.test_verify}.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sandbox_billing.client.receipts import (
    Claim,
    Finding,
    most_of,
    proven,
    refuted,
    unproven,
)
from sandbox_billing.ledger.identity import is_imported_charge_id
from sandbox_billing.ledger.receipt import CLAIMING, SETTLED, Receipt
from sandbox_billing.ledger.voucher import ChargeKind


Period = tuple[str, int, int]
"""Sandbox in small letters, for nobody tells twins by their size; start and end."""


def times(
    receipts: Sequence[Receipt], moved: Mapping[int, int | None]
) -> Mapping[Receipt, Sequence[Finding]]:
    """
    @param moved: neuron by nonce, by the chain's word; None where it does not say.
    @return: Of each receipt what follows from the others.
    """
    found: dict[Receipt, list[Finding]] = {one: [] for one in receipts}
    groups: dict[Period, list[Receipt]] = defaultdict(list)
    uses = _uses(receipts)
    for one in receipts:
        if is_imported_charge_id(one.id):
            found[one].append(_imported(one, uses))
        elif one.status in CLAIMING:
            groups[one.sandbox.casefold(), one.period_start, one.period_end].append(one)
        else:
            found[one].append(unproven(Claim.PERIOD, "it was merged: see what collects it"))
    overlapped = _overlapped(list(groups))
    fees = _create_fees(receipts)
    for period, group in groups.items():
        told = [_period(period, group, overlapped, fees), _rating(period, group, moved)]
        for one in group:
            found[one].extend(finding for finding in told if finding is not None)
    return found


def _uses(receipts: Sequence[Receipt]) -> Mapping[str, int]:
    """How many receipts that are no debts were paid for each usage hash."""
    found: dict[str, int] = defaultdict(int)
    for one in receipts:
        if one.status in SETTLED and one.kind is not ChargeKind.DEBT and one.usage_hash:
            found[one.usage_hash] += 1
    return found


def _imported(receipt: Receipt, uses: Mapping[str, int]) -> Finding:
    """What time it is for is not known; but what has one hash is for one time."""
    claim, paid = Claim.PERIOD, uses.get(receipt.usage_hash or "", 0)
    if paid > 1:
        return refuted(claim, f"{paid} receipts for this very use were paid")
    return unproven(claim, "imported: what time it is for is not known")


def _overlapped(periods: Sequence[Period]) -> Mapping[Period, Period]:
    """Periods of one sandbox that share a second, with one that they share it with."""
    found: dict[Period, Period] = {}
    widest: Period | None = None
    for period in sorted(one for one in periods if one[1] < one[2]):
        if widest is not None and widest[0] == period[0] and period[1] < widest[2]:
            found[period] = widest
            found.setdefault(widest, period)
        if widest is None or widest[0] != period[0] or period[2] > widest[2]:
            widest = period
    return found


def _create_fees(receipts: Sequence[Receipt]) -> Mapping[str, int]:
    """How many create fees each sandbox has."""
    found: dict[str, int] = defaultdict(int)
    for one in receipts:
        if one.kind is ChargeKind.CREATE:
            found[one.sandbox.casefold()] += 1
    return found


def _period(
    period: Period,
    group: Sequence[Receipt],
    overlapped: Mapping[Period, Period],
    fees: Mapping[str, int],
) -> Finding:
    claim = Claim.PERIOD
    other = overlapped.get(period)
    if other is not None:
        return refuted(claim, f"its time is charged from {other[1]} to {other[2]}, too")
    originals = [one for one in group if one.kind is not ChargeKind.DEBT]
    if len(originals) > 1:
        return refuted(claim, f"{len(originals)} receipts are for this very time")
    if period[1] == period[2] and fees.get(period[0], 0) > 1:
        return refuted(claim, f"{fees[period[0]]} create fees for one sandbox")
    if not originals:
        return unproven(claim, "what left this debt is not among the receipts")
    return proven(claim, "no other receipt is for any of its time")


def _rating(
    period: Period, group: Sequence[Receipt], moved: Mapping[int, int | None]
) -> Finding | None:
    """What was paid for one period, in all."""
    claim, seconds = Claim.RATING, period[2] - period[1]
    paid = sum(_paid(one, moved) for one in group)
    if len({one.rate for one in group}) > 1:
        return refuted(claim, "receipts for this very time have different rates")
    if seconds > 0:
        # A debt has no units: what it is left of has, if it is there.
        timed = [one for one in group if one.units > 0] or list(group)
        most = max(most_of(one) for one in timed)
    else:
        wholes = [one.fee for one in group if one.kind is ChargeKind.CREATE]
        if not wholes:
            return None
        most = max(wholes)
    if paid > most:
        return refuted(claim, f"{paid} neuron were paid for this time, it costs {most} at most")
    if seconds == 0:
        return proven(claim, f"{paid} of the create fee of {most} were paid")
    return proven(claim, f"{paid} of {most} neuron at most were paid for this time")


def _paid(receipt: Receipt, moved: Mapping[int, int | None]) -> int:
    """By the chain's word, else by the receipt's."""
    known = None if receipt.nonce is None else moved.get(receipt.nonce)
    return receipt.paid if known is None else known

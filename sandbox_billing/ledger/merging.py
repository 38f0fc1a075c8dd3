"""
Which charges go out as one after an outage.

One voucher for an hour of backlog costs as much gas as one for a minute.  Merged are open
compute charges of one sandbox that follow one another without a gap, at one rate: what a
user checks of the voucher is then what he would check of a single charge, first start, last
end, the seconds between them, and one rate (wire.md §2).  Debts, create fees and whatever
was signed stay as they are (design.md §4.4).

A charge that was merged is final; the one it was merged into stays one charge, and is never
merged again.

Tests: L{tests.ledger.test_merging}.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from attrs import evolve

from sandbox_billing.errors import BrokenLaw
from sandbox_billing.ledger.identity import (
    Address,
    SandboxId,
    is_merged_charge_id,
    merged_charge_id,
)
from sandbox_billing.ledger.money import UnixSeconds, add
from sandbox_billing.ledger.voucher import Charge, ChargeKind, ChargeRecord, Merged, Open


MERGED_SECONDS = 86_400
"""What one merged charge is for at most: a user reads his use by the day."""

MERGED_PARTS = 100
"""Charges that become one at most: it is one write, and a server does nothing else meanwhile."""


def mergeable(record: ChargeRecord) -> bool:
    """
    Whether it may become a part: open, for time that ran, never signed and not merged already.
    """
    charge = record.charge
    return (
        isinstance(record.state, Open)
        and not record.voided
        and charge.kind is ChargeKind.COMPUTE
        and charge.units == charge.period_end - charge.period_start
        and not is_merged_charge_id(charge.id)
    )


def merge_plan(records: Iterable[ChargeRecord]) -> tuple[tuple[ChargeRecord, ...], ...]:
    """
    What of a wallet's charges becomes one: as much as can, the oldest first.

    @param records: Of any kind and in any order.
    @return: Groups of two and more, each by time.
    """
    runs: dict[tuple[SandboxId, Address, Address], list[ChargeRecord]] = defaultdict(list)
    for record in records:
        if mergeable(record):
            charge = record.charge
            runs[charge.sandbox, charge.owner, charge.provider].append(record)
    groups: list[tuple[ChargeRecord, ...]] = []
    for run in runs.values():
        group: list[ChargeRecord] = []
        for record in sorted(run, key=lambda r: (r.charge.period_start, r.charge.id)):
            if group and not _goes_on(group, record):
                groups.append(tuple(group))
                group = []
            group.append(record)
        groups.append(tuple(group))
    return tuple(group for group in groups if len(group) > 1)


def _goes_on(group: Sequence[ChargeRecord], record: ChargeRecord) -> bool:
    first, last, charge = group[0].charge, group[-1].charge, record.charge
    return (
        charge.period_start == last.period_end
        and charge.rate == last.rate
        and charge.period_end - first.period_start <= MERGED_SECONDS
        and len(group) < MERGED_PARTS
    )


def merged(parts: Sequence[ChargeRecord]) -> Charge:
    """
    The charge that a group becomes.

    Its id says what it is for, so that merging the same again is recognised.  It is as old as
    the oldest part: how long that waits decides when it is settled, and the doors of everybody
    (K13).

    @param parts: By time.
    @raise BrokenLaw: They cannot be one.
    """
    if len(parts) < 2 or merge_plan(parts) != (tuple(parts),):
        raise BrokenLaw("L5", f"cannot be one charge: {[part.charge.id for part in parts]}")
    first, last = parts[0].charge, parts[-1].charge
    return evolve(
        first,
        id=merged_charge_id(first.id, last.period_end),
        period_end=last.period_end,
        units=sum(part.charge.units for part in parts),
        amount=add(*(part.charge.amount for part in parts)),
        created_at=UnixSeconds(min(part.charge.created_at for part in parts)),
    )


def merged_into(part: ChargeRecord, whole: Charge) -> ChargeRecord:
    """A part once it was merged."""
    return part.become(Merged(whole.id))

"""
What a wallet is told that it pays: its charges added up, to the neuron.

An L{Entry} is one charge as it was made, with every record that collects it: itself, the
debts that its vouchers left, what was split off it, or the charge that it was merged into.
What these have collected is counted for the period of the original, however late it came
(wire.md, section 2).  Of each row

    charged = settled + owed + pending + forgiven

holds exactly, since a charge is filled from its first second on: what was settled first, then
what was forgiven, what is owed and what is not final yet.

Tests: L{tests.ledger.test_statement}.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import assert_never

from attrs import define, evolve, field, frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import SandboxId, split_from
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, neuron
from sandbox_billing.ledger.rating import amount_at
from sandbox_billing.ledger.voucher import (
    Charge,
    ChargeKind,
    ChargeRecord,
    DeadLettered,
    Forgiven,
    Merged,
    Open,
    Paid,
    Parked,
    Partial,
    Signed,
)


DAY_SECONDS = 86_400

MOST_ROWS = 10_000
"""Of one statement: more than any wallet has sandboxes, and a reply of a megabyte."""

KEPT_LABEL_BYTES = 1_024
"""Of one sandbox: who creates by the thousand keeps no more of the store than a charge does."""

MOST_KEY = 256
"""Characters of a row's key."""

NOTHING = Neuron(0)


class Group(Enum):
    """What a row is for."""

    SANDBOX = "sandbox"
    DAY = "day"
    LABEL = "label"


@frozen(kw_only=True)
class Entry:
    """
    @ivar charge: As it was made: no debt, no rest, and none that others were merged into.
    @ivar records: What collects it; of a merged one, what collects the whole.
    @ivar before: neuron of the whole that are for earlier parts of it.
    """

    charge: Charge
    records: tuple[ChargeRecord, ...]
    before: Neuron = NOTHING

    @property
    def amount(self) -> Neuron:
        """What was charged: what was split off it since is a part of that."""
        own = [r.charge for r in self.records if split_from(r.charge.id) == self.charge.id]
        return neuron(self.charge.amount + sum(charge.amount for charge in own))

    @property
    def whole(self) -> Charge:
        """The charge with all of its amount."""
        return evolve(self.charge, amount=self.amount)


@frozen(kw_only=True)
class Amounts:
    """
    @ivar seconds: That ran and were charged.
    @ivar compute: neuron charged for them.
    @ivar create_fees: neuron charged for creating.
    @ivar settled: neuron that moved on-chain.
    @ivar owed: neuron of debts, and of what was split off and waits.
    @ivar pending: neuron that are charged and not final.
    @ivar forgiven: neuron that nobody is to pay any more.
    """

    seconds: int = 0
    compute: Neuron = NOTHING
    create_fees: Neuron = NOTHING
    settled: Neuron = NOTHING
    owed: Neuron = NOTHING
    pending: Neuron = NOTHING
    forgiven: Neuron = NOTHING

    @property
    def charged(self) -> Neuron:
        """neuron: all of it, whatever became of it."""
        return neuron(self.compute + self.create_fees)

    def plus(self, other: Amounts) -> Amounts:
        """Both together."""
        return Amounts(
            seconds=self.seconds + other.seconds,
            compute=neuron(self.compute + other.compute),
            create_fees=neuron(self.create_fees + other.create_fees),
            settled=neuron(self.settled + other.settled),
            owed=neuron(self.owed + other.owed),
            pending=neuron(self.pending + other.pending),
            forgiven=neuron(self.forgiven + other.forgiven),
        )


def fate(records: Iterable[ChargeRecord]) -> Amounts:
    """What has become of what these collect, without what they are for."""
    found = {record.charge.id: record for record in records}
    settled, owed, pending, forgiven = 0, 0, 0, 0
    for record in found.values():
        state, amount = record.state, record.charge.amount
        match state:
            case Paid():
                settled += state.seal.fee
            case Partial():
                settled += state.paid
                if state.debt not in found:
                    owed += state.owed
            case Forgiven():
                forgiven += amount
            case Merged():
                # Collected by another, which is told beside it.
                pass
            case Open() | Signed() | Parked() | DeadLettered():
                if record.charge.kind is ChargeKind.DEBT:
                    owed += amount
                else:
                    pending += amount
            case _:
                assert_never(state)
    return Amounts(
        settled=neuron(settled),
        owed=neuron(owed),
        pending=neuron(pending),
        forgiven=neuron(forgiven),
    )


def pieces(
    entry: Entry, since: int, until: int, *, by_day: bool = False
) -> Iterator[tuple[int, Amounts]]:
    """
    An entry within a span, cut at each midnight (UTC) if so wanted.

    @param since: unix seconds.
    @param until: unix seconds, not in the span.
    @return: The beginning of each piece, and what it holds; together they are the whole.
    """
    charge, amount, become = entry.charge, entry.amount, fate(entry.records)
    if charge.kind in (ChargeKind.CREATE, ChargeKind.IMPORTED):
        # For a moment, or for a time that nobody knows any more.
        if since <= charge.period_start < until:
            yield charge.period_start, _filled(entry, become, NOTHING, amount, 0)
        return
    at, end = max(since, charge.period_start), min(until, charge.period_end)
    while at < end:
        midnight = (at // DAY_SECONDS + 1) * DAY_SECONDS
        stop = min(end, midnight) if by_day else end
        low, high = _cost_until(charge, amount, at), _cost_until(charge, amount, stop)
        yield at, _filled(entry, become, low, high, stop - at)
        at = stop


def _cost_until(charge: Charge, amount: Neuron, moment: int) -> Neuron:
    """
    What of a charge is for the time before a moment: by its rate, the last piece takes the
    remainder (the line it was rated on began earlier); in equal parts for what no rate explains.
    """
    if moment >= charge.period_end:
        return amount
    passed, whole = moment - charge.period_start, charge.period_end - charge.period_start
    rate = NeuronPerMinute(charge.rate)
    rated = amount_at(rate, charge.period_start, charge.period_end)
    if abs(rated - amount) > 1:
        return neuron(amount * passed // whole)
    return neuron(min(amount, amount_at(rate, charge.period_start, moment)))


def _filled(entry: Entry, become: Amounts, low: Neuron, high: Neuron, seconds: int) -> Amounts:
    """What has become of the neuron from C{low} to C{high} of an entry."""
    start, stop = entry.before + low, entry.before + high
    shares, begun = [], 0
    for level in (become.settled, become.forgiven, become.owed):
        shares.append(max(0, min(stop, begun + level) - max(start, begun)))
        begun += level
    settled, forgiven, owed = shares
    amount = neuron(high - low)
    creating = entry.charge.kind is ChargeKind.CREATE
    return Amounts(
        seconds=seconds,
        compute=NOTHING if creating else amount,
        create_fees=amount if creating else NOTHING,
        settled=neuron(settled),
        owed=neuron(owed),
        forgiven=neuron(forgiven),
        pending=neuron(amount - settled - owed - forgiven),
    )


def kept_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """
    What is kept of labels for the time after a sandbox's end: by name, as many as fit.

    @param labels: Its owner's.
    """
    kept: dict[str, str] = {}
    left = KEPT_LABEL_BYTES
    for name, value in sorted(labels.items()):
        left -= len(name.encode()) + len(value.encode())
        if left < 0:
            break
        kept[name] = value
    return kept


def day_of(moment: int) -> str:
    """C{2026-11-23}, in UTC."""
    return datetime.fromtimestamp(moment, UTC).date().isoformat()


@define(kw_only=True)
class Statement:
    """
    Entries added up as they come: what it holds grows with its rows alone.

    @ivar group: What a row is for; by label, a row is a sandbox until L{labelled}.
    @ivar rows: By sandbox or by day.
    """

    since: int
    until: int
    group: Group = Group.SANDBOX
    rows: dict[str, Amounts] = field(factory=dict, init=False)

    def add(self, entry: Entry) -> None:
        """@raise BadInput: There would be more rows than anybody reads."""
        by_day = self.group is Group.DAY
        for at, amounts in pieces(entry, self.since, self.until, by_day=by_day):
            key = day_of(at) if by_day else entry.charge.sandbox
            before = self.rows.get(key)
            if before is None and len(self.rows) >= MOST_ROWS:
                raise BadInput(f"more than {MOST_ROWS} rows: ask for a shorter span")
            self.rows[key] = amounts if before is None else before.plus(amounts)

    @property
    def totals(self) -> Amounts:
        """Of all rows."""
        return summed(self.rows.values())

    def labelled(self, labels: Mapping[SandboxId, str]) -> dict[str, Amounts]:
        """
        The rows of sandboxes by what their owner labelled them.

        @param labels: The value of one label; what is not there counts under no text.
        """
        found: dict[str, Amounts] = {}
        for sandbox, amounts in self.rows.items():
            label = labels.get(SandboxId(sandbox), "")[:MOST_KEY]
            found[label] = found.get(label, Amounts()).plus(amounts)
        return found


def summed(many: Iterable[Amounts]) -> Amounts:
    """All of them together."""
    total = Amounts()
    for one in many:
        total = total.plus(one)
    return total

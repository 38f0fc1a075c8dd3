"""
Charges added up to the neuron, whatever became of them and wherever they are cut.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger import statement
from sandbox_billing.ledger.identity import (
    Address,
    ChargeId,
    Nonce,
    SandboxId,
    compute_charge_id,
    rest_charge_id,
)
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.rating import period_amount
from sandbox_billing.ledger.statement import (
    DAY_SECONDS,
    Amounts,
    Entry,
    Group,
    Statement,
    day_of,
    fate,
    kept_labels,
    pieces,
    summed,
)
from sandbox_billing.ledger.voucher import Charge, ChargeKind, ChargeRecord, Merged, Partial, Seal
from tests.strategies import charge_records, charges, durations, rates


OWNER = Address("0x" + "1a" * 20)
SEAL = Seal(nonce=Nonce(1), fee=Neuron(180), usage_hash="ef" * 32, signature="01" * 65)

Draw = Callable[[st.SearchStrategy[Any]], Any]


@st.composite
def entries(draw: Draw) -> Entry:
    """A charge as it was made, rated on a line that began earlier, in any state."""
    kinds = st.sampled_from([ChargeKind.COMPUTE, ChargeKind.CREATE])
    charge: Charge = draw(charges(kinds=kinds))
    if charge.kind is ChargeKind.COMPUTE:
        rate, start = draw(rates()), charge.period_start
        began = start - draw(durations())
        amount = period_amount(NeuronPerMinute(rate), began, start, charge.period_end)
        charge = evolve(charge, rate=rate, amount=Neuron(max(1, amount)))
    record = draw(charge_records(of=st.just(charge)))
    if isinstance(record.state, Merged):
        record = ChargeRecord(charge)
    return Entry(charge=charge, records=(record,))


def held(entry: Entry, since: int = 0, until: int = 2**41, **how: Any) -> Amounts:
    """All that an entry comes to in a span."""
    return summed(amounts for _, amounts in pieces(entry, since, until, **how))


def one(start: int = 0, seconds: int = 60, rate: int = 60, **changes: Any) -> Charge:
    """A compute charge."""
    made = Charge(
        id=compute_charge_id(SandboxId("sb-1"), start),
        sandbox=SandboxId("sb-1"),
        owner=OWNER,
        provider=OWNER,
        kind=ChargeKind.COMPUTE,
        period_start=UnixSeconds(start),
        period_end=UnixSeconds(start + seconds),
        units=seconds,
        amount=Neuron(rate * seconds // 60),
        rate=rate,
        created_at=UnixSeconds(start + seconds),
    )
    return evolve(made, **changes)


class PiecesTests(SynchronousTestCase):
    """One entry, cut."""

    @given(entries())
    def test_whole(self, entry: Entry) -> None:
        """Uncut it is what was charged, and all of it has become of something."""
        amounts, become = held(entry), fate(entry.records)
        self.assertEqual(amounts.charged, entry.charge.amount)
        self.assertEqual(amounts.seconds, entry.charge.units)
        for name in ("settled", "owed", "pending", "forgiven"):
            self.assertEqual(getattr(amounts, name), getattr(become, name))
        self.assertEqual(amounts.create_fees > 0, entry.charge.kind is ChargeKind.CREATE)

    @given(entries(), st.lists(durations(), max_size=4))
    def test_cuts(self, entry: Entry, offsets: list[int]) -> None:
        """Neighbouring spans come to the same in every field, and each row adds up."""
        cuts = sorted(entry.charge.period_start + offset for offset in offsets)
        bounds = [0, *cuts, 2**41]
        parts = [held(entry, a, b) for a, b in pairwise(bounds)]
        self.assertEqual(summed(parts), held(entry))
        for part in parts:
            become = part.settled + part.owed + part.pending + part.forgiven
            self.assertEqual(part.charged, become)

    @given(entries().filter(lambda entry: entry.charge.units < 40 * DAY_SECONDS))
    def test_days(self, entry: Entry) -> None:
        """Cut at midnights it is the same, and no piece reaches into the next day."""
        found = list(pieces(entry, 0, 2**41, by_day=True))
        self.assertEqual(summed(amounts for _, amounts in found), held(entry))
        for at, amounts in found:
            self.assertLessEqual(at % DAY_SECONDS + amounts.seconds, DAY_SECONDS)

    def test_by_rate(self) -> None:
        """A piece costs what its seconds cost by the rate; the last takes what is left."""
        charge = one(DAY_SECONDS - 90, 180, rate=7, amount=Neuron(22))
        early, late = pieces(Entry(charge=charge, records=()), 0, 2**41, by_day=True)
        # 7 x 90 / 60 = 10.5, rounded down; the line it was rated on began a little earlier.
        self.assertEqual((early[1].compute, late[1].compute), (10, 12))
        self.assertEqual((early[0], late[0]), (DAY_SECONDS - 90, DAY_SECONDS))

    def test_cut_charge(self) -> None:
        """What was split off is a part of it, and both are spread over the whole time."""
        charge = one(0, 100, rate=60, amount=Neuron(30))
        rest = evolve(
            charge,
            id=rest_charge_id(charge.id, Nonce(4)),
            kind=ChargeKind.DEBT,
            units=0,
            amount=Neuron(70),
        )
        entry = Entry(charge=charge, records=(ChargeRecord(charge), ChargeRecord(rest)))
        self.assertEqual((entry.amount, entry.whole.amount), (100, 100))
        amounts = held(entry, 0, 50)
        self.assertEqual((amounts.compute, amounts.owed, amounts.pending), (50, 50, 0))
        self.assertEqual(held(entry).pending, 30)

    def test_merged(self) -> None:
        """A part has what of the whole falls to it, the earliest first."""
        parts = [one(0), one(60), one(120)]
        whole = one(0, 180, id=ChargeId("sb-1:0:merged:180"))
        paid = ChargeRecord(whole)
        state = Partial(
            seal=SEAL,
            paid=Neuron(100),
            owed=Neuron(80),
            debt=ChargeId("x"),
            transaction="",
            block=1,
        )
        paid = evolve(paid, state=state)
        settled = []
        for place, part in enumerate(parts):
            entry = Entry(charge=part, records=(paid,), before=Neuron(60 * place))
            settled.append(held(entry).settled)
            self.assertEqual(held(entry).owed, 60 - settled[-1])
        self.assertEqual(settled, [60, 40, 0])

    def test_create_fee(self) -> None:
        """It is of the second in which the sandbox was created."""
        fee = one(
            500, 0, id=ChargeId("sb-1:create"), kind=ChargeKind.CREATE, amount=Neuron(9), rate=0
        )
        entry = Entry(charge=fee, records=(ChargeRecord(fee),))
        self.assertEqual(held(entry, 500, 501).create_fees, 9)
        self.assertEqual(held(entry, 0, 500), Amounts())
        self.assertEqual(held(entry, 501), Amounts())

    def test_imported(self) -> None:
        """What time it is for is not known: it is of the second in which it was imported."""
        imported = one(
            500,
            0,
            id=ChargeId("sb-1:imported:ab:0"),
            kind=ChargeKind.IMPORTED,
            amount=Neuron(9),
            rate=0,
        )
        entry = Entry(charge=imported, records=(ChargeRecord(imported),))
        self.assertEqual(held(entry, 500, 501).compute, 9)
        self.assertEqual(held(entry, 0, 500), Amounts())


class StatementTests(SynchronousTestCase):
    """Many entries."""

    def test_rows(self) -> None:
        """By sandbox or by day; totals are of all rows."""
        found = [Entry(charge=c, records=(ChargeRecord(c),)) for c in (one(0), one(DAY_SECONDS))]
        by_sandbox = Statement(since=0, until=10**9)
        by_day = Statement(since=0, until=10**9, group=Group.DAY)
        for entry in found:
            by_sandbox.add(entry)
            by_day.add(entry)
        self.assertEqual(list(by_sandbox.rows), ["sb-1"])
        self.assertEqual(list(by_day.rows), ["1970-01-01", "1970-01-02"])
        self.assertEqual(by_day.totals, by_sandbox.totals)
        self.assertEqual(by_day.totals.pending, 120)

    def test_labels(self) -> None:
        """Sandboxes with one label are one row; those without it are another."""
        made = Statement(since=0, until=10**9, group=Group.LABEL)
        for name in ("a", "b", "c"):
            made.add(Entry(charge=one(sandbox=SandboxId(name)), records=()))
        rows = made.labelled({SandboxId("a"): "red", SandboxId("b"): "red"})
        self.assertEqual({key: row.seconds for key, row in rows.items()}, {"red": 120, "": 60})
        self.assertEqual(summed(rows.values()), made.totals)

    @given(st.dictionaries(st.text(max_size=300), st.text(max_size=600), max_size=9))
    def test_kept_labels(self, labels: dict[str, str]) -> None:
        """So many bytes of them at most, and the same ones each time; all, where they fit."""
        kept = kept_labels(labels)
        self.assertLessEqual(kept.items(), labels.items())
        self.assertLessEqual(sum(len((k + v).encode()) for k, v in kept.items()), 1_024)
        if sum(len((k + v).encode()) for k, v in labels.items()) <= 1_024:
            self.assertEqual(kept, labels)

    def test_long_labels(self) -> None:
        """A row's key is short, however long a label is."""
        made = Statement(since=0, until=10**9, group=Group.LABEL)
        made.add(Entry(charge=one(), records=()))
        (key,) = made.labelled({SandboxId("sb-1"): "x" * 8_000})
        self.assertEqual(len(key), 256)

    def test_too_many_rows(self) -> None:
        """Nobody reads more than there may be, and nobody's memory holds them."""
        self.patch(statement, "MOST_ROWS", 2)
        made = Statement(since=0, until=10**9)
        for name in ("a", "b", "a"):
            made.add(Entry(charge=one(sandbox=SandboxId(name)), records=()))
        with self.assertRaises(BadInput):
            made.add(Entry(charge=one(sandbox=SandboxId("c")), records=()))

    def test_days_of_the_calendar(self) -> None:
        """In UTC, leap days too."""
        self.assertEqual(day_of(1_709_164_800 - 1), "2024-02-28")
        self.assertEqual(day_of(1_709_164_800), "2024-02-29")

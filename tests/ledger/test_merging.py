"""Tests of C{sandbox_billing.ledger.merging}."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BrokenLaw
from sandbox_billing.ledger.identity import (
    Address,
    SandboxId,
    compute_charge_id,
    create_charge_id,
    debt_charge_id,
)
from sandbox_billing.ledger.laws import l2_disjoint, l6_books, standing
from sandbox_billing.ledger.merging import (
    MERGED_PARTS,
    MERGED_SECONDS,
    merge_plan,
    mergeable,
    merged,
    merged_into,
)
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.rating import cost_of, period_amount
from sandbox_billing.ledger.voucher import (
    Charge,
    ChargeKind,
    ChargeRecord,
    DeadLettered,
    Parked,
    Seal,
    Signed,
)


T0 = 1_700_000_000
OWNER, OTHER, PROVIDER = (Address("0x" + two * 20) for two in ("1a", "2b", "3c"))
RATE = 61
SEAL = Seal(nonce=1, fee=Neuron(1), usage_hash="0xab", signature="0xcd")  # type: ignore[arg-type]


def compute(start: int, until: int, *, sandbox: str = "sb-1", rate: int = RATE) -> ChargeRecord:
    """A period of a run that began at L{T0}."""
    name = SandboxId(sandbox)
    return ChargeRecord(
        Charge(
            id=compute_charge_id(name, T0 + start),
            sandbox=name,
            owner=OWNER,
            provider=PROVIDER,
            kind=ChargeKind.COMPUTE,
            period_start=UnixSeconds(T0 + start),
            period_end=UnixSeconds(T0 + until),
            units=until - start,
            amount=period_amount(NeuronPerMinute(rate), T0, T0 + start, T0 + until),
            rate=rate,
            created_at=UnixSeconds(T0 + until),
        )
    )


def cut(moments: Sequence[int], sandbox: str = "sb-1", rate: int = RATE) -> list[ChargeRecord]:
    """Periods between moments."""
    return [compute(a, b, sandbox=sandbox, rate=rate) for a, b in pairwise(moments)]


@st.composite
def backlogs(draw: st.DrawFn) -> list[ChargeRecord]:
    """A wallet's charges of some sandboxes: with gaps, changes of rate, and in any order."""
    records: list[ChargeRecord] = []
    for number in range(draw(st.integers(1, 3))):
        moment, rate = 0, RATE
        for _ in range(draw(st.integers(0, 8))):
            moment += draw(st.sampled_from([0, 0, 0, 0, 1, 60]))
            rate = draw(st.sampled_from([rate, rate, rate, rate + 60]))
            until = moment + draw(st.sampled_from([60, 60, 59, 3_600, MERGED_SECONDS // 2]))
            record = compute(moment, until, sandbox=f"sb-{number}", rate=rate)
            state = draw(st.sampled_from([None, None, None, None, Signed(SEAL), Parked(SEAL)]))
            records.append(record if state is None else ChargeRecord(record.charge, state))
            moment = until
    return draw(st.permutations(records))


def carried_out(records: Sequence[ChargeRecord]) -> list[ChargeRecord]:
    """The books after all that can be merged was."""
    after = {record.charge.id: record for record in records}
    for group in merge_plan(records):
        whole = merged(group)
        after[whole.id] = ChargeRecord(whole)
        for part in group:
            after[part.charge.id] = merged_into(part, whole)
    return list(after.values())


class PlanTests(SynchronousTestCase):
    """Which charges become one."""

    @given(backlogs())
    def test_sums(self, records: list[ChargeRecord]) -> None:
        """Not a neuron and not a second is lost or won, and no second is charged twice."""
        after = carried_out(records)
        self.assertEqual(l6_books(records), l6_books(after))
        charges = list(standing(after))
        l2_disjoint(charges)
        for what in ("amount", "units"):
            self.assertEqual(
                sum(getattr(record.charge, what) for record in records),
                sum(getattr(charge, what) for charge in charges),
            )

    @given(backlogs())
    def test_disjoint(self, records: list[ChargeRecord]) -> None:
        """No charge is a part of two, and each group is what a user can follow."""
        groups = merge_plan(records)
        parts = [part.charge.id for group in groups for part in group]
        self.assertEqual(len(parts), len(set(parts)))
        for group in groups:
            whole = merged(group)
            self.assertLessEqual(whole.units, MERGED_SECONDS)
            self.assertEqual(whole.units, whole.period_end - whole.period_start)
            self.assertEqual({whole.rate}, {part.charge.rate for part in group})
            # wire.md §2: no more than the rating of the period; a part in the middle of a run
            # may be rounded up.
            self.assertLessEqual(whole.amount, cost_of(NeuronPerMinute(whole.rate), whole.units))

    @given(backlogs())
    def test_idempotent(self, records: list[ChargeRecord]) -> None:
        """What was merged is not merged again, and its parts are not either."""
        self.assertEqual((), merge_plan(carried_out(records)))

    @given(backlogs(), st.randoms(use_true_random=False))
    def test_any_order(self, records: list[ChargeRecord], chance: object) -> None:
        """In whatever order they are read, the same become one."""
        shuffled = sorted(records, key=lambda _: chance.random())  # type: ignore[attr-defined]
        self.assertEqual(set(merge_plan(records)), set(merge_plan(shuffled)))

    def test_one_of_all(self) -> None:
        """An outage of an hour becomes one charge that costs what the hour costs."""
        records = cut(range(0, 3_601, 60))
        (group,) = merge_plan(reversed(records))
        whole = merged(group)
        self.assertEqual(tuple(records), group)
        self.assertEqual(compute(0, 3_600).charge.amount, whole.amount)
        self.assertEqual(f"sb-1:{T0}:merged:{T0 + 3_600}", whole.id)
        self.assertEqual(
            (T0, T0 + 3_600, 3_600), (whole.period_start, whole.period_end, whole.units)
        )
        # As old as its oldest part (K13).
        self.assertEqual(records[0].charge.created_at, whole.created_at)

    def test_bounds(self) -> None:
        """A charge is for a day at most, and of so many parts that writing it is short."""
        hours = merge_plan(cut(range(0, 50 * 3_600 + 1, 3_600)))
        self.assertEqual([24, 24, 2], [len(group) for group in hours])
        minutes = merge_plan(cut(range(0, 60 * (2 * MERGED_PARTS + 1) + 1, 60)))
        self.assertEqual([MERGED_PARTS, MERGED_PARTS], [len(group) for group in minutes])

    def test_apart(self) -> None:
        """A gap, another rate, another sandbox, wallet or provider begins anew."""
        one, two = cut([0, 60, 120])
        self.assertEqual(1, len(merge_plan([one, two])))
        strangers = [
            compute(61, 120),
            compute(59, 120),
            compute(60, 120, rate=RATE + 1),
            compute(60, 120, sandbox="sb-2"),
            ChargeRecord(evolve(two.charge, owner=OTHER)),
            ChargeRecord(evolve(two.charge, provider=OTHER)),
        ]
        for other in strangers:
            with self.subTest(other=other):
                self.assertEqual((), merge_plan([one, other]))

    def test_never(self) -> None:
        """Debts, create fees, what was signed and what is wrong stay as they are."""
        one, two, three = cut([0, 60, 120, 180])
        create = evolve(
            one.charge,
            id=create_charge_id(one.charge.sandbox),
            kind=ChargeKind.CREATE,
            period_end=one.charge.period_start,
            units=0,
        )
        debt = evolve(
            two.charge, id=debt_charge_id(two.charge.id, 1), kind=ChargeKind.DEBT, units=0
        )
        whole = merged([one, two])
        for record in (
            ChargeRecord(create),
            ChargeRecord(debt),
            ChargeRecord(whole),
            ChargeRecord(two.charge, Signed(SEAL)),
            ChargeRecord(two.charge, Parked(SEAL)),
            ChargeRecord(two.charge, DeadLettered(seal=None, reason="odd")),
            merged_into(two, whole),
            ChargeRecord(evolve(two.charge, units=59)),
        ):
            with self.subTest(record=record):
                self.assertFalse(mergeable(record))
                self.assertEqual((), merge_plan([one, record, three]))

    def test_not_one(self) -> None:
        """What no plan would make one is refused, whoever asks."""
        one, two, three = cut([0, 60, 120, 180])
        for wrong in ([], [one], [one, three], [two, one], [one, one, two]):
            with self.subTest(wrong=wrong):
                self.assertRaises(BrokenLaw, merged, wrong)

"""
Whatever a wallet lives through, its statement says what was charged and what moved.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger.run import Told, derived
from sandbox_billing.ledger.statement import Group, summed
from sandbox_billing.ledger.voucher import ChargeKind
from tests.ports.journal import OWNER, T0
from tests.ports.journal_worlds import memory_world
from tests.ports.statement_life import SANDBOXES, Life, Move, entries_of, lives, statement_of


class StatementLives(SynchronousTestCase):
    """Through the facts of a real journal, in memory."""

    def lived(self, life: list[Move]) -> Life:
        """A wallet after all of that."""

        async def live() -> Life:
            world = await memory_world()
            await world.journal.lease.acquire()
            lived = Life(world)
            await lived.live(life)
            return lived

        return self.now(live())

    def now(self, work: Any) -> Any:
        """What comes of a coroutine that waits for nobody."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    @given(lives())
    def test_to_the_neuron(self, life: list[Move]) -> None:
        """Settled is what the vouchers' events say; all that was charged is accounted for."""
        lived = self.lived(life)
        totals = self.now(statement_of(lived.world)).totals
        self.assertEqual(totals.settled, lived.settled)
        self.assertEqual(totals.forgiven, lived.forgiven)
        self.assertEqual(totals.compute, sum(lived.charged.values()))
        self.assertEqual(totals.create_fees, sum(lived.fees.values()))
        self.assertEqual(totals.seconds, sum(lived.seconds.values()))
        open_ones = self.now(lived.world.journal.doors.funds(OWNER)).exposure
        self.assertGreaterEqual(totals.owed + totals.pending, open_ones.parts(T0).charges)

    @given(lives(), st.lists(st.integers(T0 - 10, T0 + 10**6), min_size=2, max_size=4))
    def test_spans_add_up(self, life: list[Move], cuts: list[int]) -> None:
        """Neighbouring spans, days and sandboxes each add up to the same, in every field."""
        world, cuts = self.lived(life).world, sorted(cuts)
        whole = self.now(statement_of(world, cuts[0], cuts[-1]))
        by_day = self.now(statement_of(world, cuts[0], cuts[-1], Group.DAY))
        self.assertEqual(by_day.totals, whole.totals)
        parts = [self.now(statement_of(world, a, b)).totals for a, b in pairwise(cuts)]
        self.assertEqual(summed(parts), whole.totals)
        for row in (*whole.rows.values(), *by_day.rows.values(), *parts):
            become = row.settled + row.owed + row.pending + row.forgiven
            self.assertEqual(row.charged, become)

    @given(lives())
    def test_runs_cost_what_was_charged(self, life: list[Move]) -> None:
        """The runs of each sandbox come to its compute charges, and none is left out."""
        lived = self.lived(life)
        for sandbox in SANDBOXES:
            ran = self.now(lived.world.journal.history.ran(sandbox, since=0, most=999))
            runs = () if ran is None else ran.runs
            self.assertEqual(sum(run.cost for run in runs), lived.charged.get(sandbox, 0))
            found = self.now(entries_of(lived.world, 0, 10**10, sandbox=sandbox))
            charges = [e.whole for e in found if e.charge.kind is ChargeKind.COMPUTE]
            told = Told.by(runs)
            self.assertEqual([c.id for c in charges if not told.has(c)], [])
            # From before runs were written down: from the charges alone.
            self.assertEqual(
                sum(run.cost for run in derived(charges)), lived.charged.get(sandbox, 0)
            )
            starts = [run.started_at for run in runs if run.started_at is not None]
            self.assertEqual(starts, sorted(starts))

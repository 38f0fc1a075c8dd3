"""
What is told of what a sandbox ran.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger._codec import decode, encode
from sandbox_billing.ledger.identity import Reference
from sandbox_billing.ledger.metering import Session, begin, close, rerated, resized, tick_now
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.ledger.run import (
    FAILED,
    OBSERVED,
    REPRICED,
    RESIZED,
    Run,
    Told,
    changed_run,
    derived,
    ended_run,
    run_of,
    transitions,
)
from sandbox_billing.ledger.voucher import Charge
from tests.strategies import durations, rates, sessions


BIG = Resources(cpu=8, memory_gib=8, disk_gib=9, gpu=0)


def run(start: int | None = 10, end: int | None = 70, **changes: Any) -> Run:
    """A minute of one."""
    made = Run(
        reference=Reference("ref"),
        opened_at=UnixSeconds(5),
        started_at=None if start is None else UnixSeconds(start),
        ended_at=None if end is None else UnixSeconds(end),
        resources=Resources(),
        seconds=0 if start is None else (70 if end is None else end) - start,
        rate=NeuronPerMinute(60),
        cost=Neuron(60),
        why=OBSERVED,
    )
    return evolve(made, **changes)


class RunTests(SynchronousTestCase):
    """From sessions."""

    @given(sessions(), st.lists(st.tuples(durations(), rates(), st.booleans()), max_size=5))
    def test_costs_add_up(self, session: Session, steps: list[Any]) -> None:
        """However a run is charged, resized and repriced: its parts cost what was charged."""
        session = begin(session, session.charged_until)
        charged: list[Charge] = []
        runs: list[Run] = []
        for seconds, rate, grows in steps:
            until = UnixSeconds(session.charged_until + seconds)
            step = tick_now(session, seen_at=until, now=until)
            if step is not None:
                charged += [] if step.charge is None else [step.charge]
                session = step.session
            after = (
                resized(session, BIG, rate, session.hold)
                if grows
                else rerated(session, rate, session.hold, 2)
            )
            ended = changed_run(session, after)
            runs += [] if ended is None else [ended]
            session = after
        until = UnixSeconds(session.charged_until + 61)
        closing = close(session, until=until, now=until)
        charged += [] if closing.charge is None else [closing.charge]
        runs.append(ended_run(closing.session, OBSERVED, until))
        self.assertEqual(sum(one.cost for one in runs), sum(c.amount for c in charged))
        told = Told.by(runs)
        self.assertTrue(all(told.has(charge) for charge in charged))
        self.assertFalse(any(Told.by(()).has(charge) for charge in charged))
        self.assertEqual(sum(one.cost for one in derived(charged)), sum(c.amount for c in charged))

    @given(sessions())
    def test_stored(self, session: Session) -> None:
        """A run can be read as it was written, what never began among them."""
        for one in (run_of(session), ended_run(session, OBSERVED, session.opened_at)):
            self.assertEqual(decode(Run, encode(one)), one)

    @given(sessions())
    def test_nothing_changed(self, session: Session) -> None:
        """What is charged on at the same rate ends no run, nor does a begin."""
        begun = begin(session, session.charged_until)
        if session.started_at is None:
            self.assertIsNone(changed_run(session, begun))
        self.assertIsNone(changed_run(begun, evolve(begun, revision=begun.revision + 1)))


class TransitionTests(SynchronousTestCase):
    """What is told of the runs."""

    def states(self, *runs: Run, destroyed_at: int | None = None) -> list[Any]:
        """Moment, state and why."""
        ended = None if destroyed_at is None else UnixSeconds(destroyed_at)
        return [(one.at, one.state, one.why) for one in transitions(runs, ended)]

    def test_one(self) -> None:
        """Opened, started, stopped; deleted only when it was."""
        told = [(5, "opened", ""), (10, "started", ""), (70, "stopped", OBSERVED)]
        self.assertEqual(self.states(run()), told)
        self.assertEqual(self.states(run(), destroyed_at=90), [*told, (90, "deleted", "")])

    def test_going_on(self) -> None:
        """A size and a price change within one run; nothing is stopped by them."""
        parts = run(end=20, why=RESIZED), run(20, 30, why=REPRICED), run(30, None, why="")
        self.assertEqual(
            self.states(*parts),
            [(5, "opened", ""), (10, "started", ""), (20, "resized", ""), (30, "repriced", "")],
        )

    def test_never_ran(self) -> None:
        """Waiting for its start, or failed."""
        self.assertEqual(self.states(run(None, None, why="")), [(5, "opened", "")])
        failed = run(None, 9, why=FAILED)
        self.assertEqual(self.states(failed), [(5, "opened", ""), (9, "failed", "")])

    def test_derived(self) -> None:
        """When a run of before was opened nobody knows."""
        old = run(derived=True, why="")
        self.assertEqual(self.states(old), [(10, "started", ""), (70, "stopped", "")])

"""
Tests of C{sandbox_billing.services.generator}: every running second, once.
"""

from __future__ import annotations

from typing import Any

from sandbox_billing.devnet.daytona import Fault, FaultKind
from sandbox_billing.devnet.daytona.records import State
from sandbox_billing.errors import BrokenLaw
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.metering import Session, Tick
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.services import generator
from tests.fixtures import ALICE, BOB, FEE, INTERVAL, PER_SECOND, RATE, SWEEP, WorldCase


ODD = Prices(per_cpu_per_minute=Neuron(17), create_fee=Neuron(5))


class GeneratorTests(WorldCase):
    """One sandbox that runs."""

    def setUp(self) -> None:
        super().setUp()
        # Enough for a day and more.
        self.world.fund(10**9)
        self.sandbox = self.world.create()
        self.begun = self.world.session(self.sandbox).started_at

    def periods(self) -> list[tuple[int, int, int]]:
        """Start and end since the session began, and amount, of each compute charge."""
        return [
            (c.period_start - self.begun, c.period_end - self.begun, c.amount)
            for c in (record.charge for record in self.world.charges())
            if c.units
        ]

    def seen(self) -> int:
        """The newest observation, in seconds of the session."""
        at = self.world.now(self.world.eyes.doors.seen_at(self.sandbox))
        assert at is not None
        return at - self.begun

    def test_interval(self) -> None:
        """A period is charged when it is full, and not a second before."""
        world = self.world
        until = self.begun + INTERVAL
        world.until(lambda: world.wall.now() == until - 1)
        self.assertEqual(self.periods(), [])
        world.advance(SWEEP + 6)
        self.assertEqual(self.periods(), [(0, INTERVAL, RATE)])

    def test_broken_session(self) -> None:
        """A session that breaks a law: its wallet is quarantined, and all others are charged."""
        world, whole = self.world, generator.tick

        def broken(session: Session, **at: Any) -> Tick | None:
            if session.sandbox == self.sandbox:
                raise BrokenLaw("L2", "charged twice")
            return whole(session, **at)

        world.fund(10**6, BOB)
        world.create(BOB)
        self.patch(generator, "tick", broken)
        world.until(lambda: len(world.charges(BOB)) > 2, 3 * INTERVAL)
        self.assertIn("L2", world.process.troubles()["generator"])
        self.assertEqual(world.funds().blocked, QUARANTINED)
        self.assertIsNone(world.funds(BOB).blocked)

    def test_mended_session(self) -> None:
        """Once it is mended, or closed, it is told of no more; the quarantine stays."""
        world, whole = self.world, generator.tick

        def broken(session: Session, **at: Any) -> Tick | None:
            raise BrokenLaw("L2", "charged twice")

        self.patch(generator, "tick", broken)
        world.until(lambda: "generator" in world.process.troubles(), 3 * INTERVAL)
        self.patch(generator, "tick", whole)
        world.until(lambda: "generator" not in world.process.troubles(), 3 * INTERVAL)
        self.assertEqual(world.funds().blocked, QUARANTINED)

    def test_long_run(self) -> None:
        """Ten intervals cost ten times one, and the periods leave no gap."""
        world = self.world
        world.advance(10 * INTERVAL + 20)
        periods = self.periods()
        self.assertEqual(
            [start for start, _, _ in periods][1:], [end for _, end, _ in periods][:-1]
        )
        self.assertEqual(sum(amount for *_, amount in periods), PER_SECOND * periods[-1][1])
        self.assertGreaterEqual(periods[-1][1], 10 * INTERVAL)

    def test_odd_rate(self) -> None:
        """A rate that is no multiple of sixty loses no neuron to rounding (B19)."""
        world = self.world
        world.register(prices=ODD)
        world.acknowledge()
        world.advance(4)
        other = world.create()
        begun = world.session(other).started_at
        world.advance(3 * INTERVAL)
        at = world.wall.now()
        world.run(world.process.intake.stop(ALICE, other))
        mine = [r.charge for r in world.charges() if r.charge.sandbox == other and r.charge.units]
        self.assertGreater(len(mine), 2)
        self.assertEqual(sum(c.amount for c in mine), 17 * (at - begun) // 60)

    def test_downtime(self) -> None:
        """After an outage of ours the gap is charged, interval by interval (B10)."""
        world = self.world
        world.advance(10)
        world.kill()
        world.advance(5 * INTERVAL + 7)
        world.restart()
        world.advance(30)
        periods = self.periods()
        self.assertEqual(periods[:5], [(n * INTERVAL, (n + 1) * INTERVAL, RATE) for n in range(5)])
        self.assertTrue(all(end - start <= INTERVAL for start, end, _ in periods))
        self.assertLessEqual(periods[-1][1], self.seen())

    def test_downtime_that_ended_stopped(self) -> None:
        """A gap without observations that ended in not running is not charged."""
        world = self.world
        world.advance(10)
        seen = self.seen()
        world.kill()
        world.advance(40)
        world.simulator.stop_behind(self.sandbox)
        world.advance(5 * INTERVAL)
        world.restart()
        world.until(lambda: world.session(self.sandbox) is None)
        self.assertEqual(self.periods(), [(0, seen, seen * PER_SECOND)])

    def test_daytona_away(self) -> None:
        """While Daytona answers nothing nothing is charged; afterwards the gap is."""
        world = self.world
        world.simulator.faults.add(
            Fault(kind=FaultKind.STATUS, status=503, route="list", count=None)
        )
        world.advance(3 * INTERVAL)
        self.assertEqual(
            self.periods(), [(0, self.seen(), self.seen() * PER_SECOND)][: len(self.periods())]
        )
        world.simulator.faults.clear()
        world.advance(SWEEP + 6)
        self.assertGreaterEqual(self.periods()[-1][1], 3 * INTERVAL - SWEEP)

    def test_self_stop(self) -> None:
        """A sandbox that stopped by itself is charged to where it was last seen (B11)."""
        world = self.world
        world.advance(23)
        seen = self.seen()
        world.simulator.stop_behind(self.sandbox)
        world.until(lambda: world.session(self.sandbox) is None, SWEEP + 2)
        self.assertEqual(self.periods(), [(0, seen, seen * PER_SECOND)])

    def test_exit(self) -> None:
        """A container that ended is charged while Daytona shows it started, never longer."""
        world = self.world
        world.advance(21)
        world.simulator.exit_container(self.sandbox)
        world.until(lambda: world.session(self.sandbox) is None, 60)
        shown = world.simulator.shown_seconds(self.sandbox)
        ((_, end, _),) = self.periods()
        self.assertLessEqual(end, shown)
        self.assertGreater(end, 20 - SWEEP)

    def test_broken(self) -> None:
        """A failed sandbox is not billed on (B11)."""
        world = self.world
        world.advance(23)
        seen = self.seen()
        world.simulator.break_sandbox(self.sandbox)
        world.advance(5 * INTERVAL)
        self.assertEqual(self.periods(), [(0, seen, seen * PER_SECOND)])
        self.assertEqual(world.earned, FEE + seen * PER_SECOND)

    def test_removed_behind_us(self) -> None:
        """A row that is missing is asked for by id, twelve seconds later, and gone on 404."""
        world = self.world
        world.advance(23)
        seen = self.seen()
        world.simulator.remove_behind(self.sandbox)
        world.process.runtime.asked.clear()
        world.advance(SWEEP)
        self.assertNotIn(("get", self.sandbox), world.process.runtime.asked)
        self.assertIsNotNone(world.session(self.sandbox))
        world.until(lambda: world.session(self.sandbox) is None, 25)
        self.assertIn(("get", self.sandbox), world.process.runtime.asked)
        self.assertEqual(self.periods(), [(0, seen, seen * PER_SECOND)])

    def test_missing_from_one_sweep(self) -> None:
        """A row that comes back was never gone."""
        world = self.world
        world.advance(10)
        record = world.simulator.engine.records.pop(self.sandbox)
        world.advance(SWEEP)
        world.simulator.engine.records[self.sandbox] = record
        world.advance(2 * INTERVAL)
        self.assertEqual(self.periods()[0], (0, INTERVAL, RATE))
        self.assertIsNotNone(world.session(self.sandbox))

    def test_no_tick_before_the_first_sweep(self) -> None:
        """A new process charges nothing before it has seen Daytona once (§4.2)."""
        world = self.world
        world.advance(INTERVAL - 5)
        world.kill()
        world.simulator.faults.add(
            Fault(kind=FaultKind.STATUS, status=503, route="list", count=None)
        )
        world.restart()
        before = self.periods()
        world.advance(2 * INTERVAL)
        self.assertEqual(self.periods(), before)

    def test_clock_set_back(self) -> None:
        """A clock that steps back charges nothing until it has caught up."""
        world = self.world
        world.advance(INTERVAL + SWEEP + 6)
        before = self.periods()
        world.wall.skew = -1000
        world.advance(2 * INTERVAL)
        self.assertEqual(self.periods(), before)
        world.wall.skew = 0
        world.advance(SWEEP + 6)
        self.assertGreaterEqual(self.periods()[-1][1], 3 * INTERVAL)

    def test_clock_set_forward(self) -> None:
        """Our clock a day ahead of Daytona's observations charges not past them (B10)."""
        world = self.world
        world.advance(10)
        seen = self.seen()
        world.simulator.faults.add(
            Fault(kind=FaultKind.STATUS, status=503, route="list", count=None)
        )
        world.wall.skew = 86_400
        world.advance(10)
        world.wall.skew = 0
        self.assertLessEqual(
            sum(amount for *_, amount in self.periods()), (seen + SWEEP) * PER_SECOND
        )

    def test_stop_and_start_inside_an_interval(self) -> None:
        """Two runs in one interval cost the seconds of both, and no fee twice (B20)."""
        world = self.world
        intake = world.process.intake
        world.advance(7)
        world.run(intake.stop(ALICE, self.sandbox))
        world.advance(15)
        world.run(intake.start(ALICE, self.sandbox))
        world.until(lambda: world.session(self.sandbox).started_at)
        world.advance(9)
        world.run(intake.stop(ALICE, self.sandbox))
        world.until(lambda: world.quiet)
        first, second = self.periods()
        self.assertEqual((first[2], second[2]), (7 * PER_SECOND, 9 * PER_SECOND))
        world.advance(10)
        self.assertEqual(world.earned, FEE + 16 * PER_SECOND)

    def test_in_between_states(self) -> None:
        """A sandbox that is being resized, or of an unknown state, keeps its session."""
        world = self.world
        record = world.simulator.records[self.sandbox]
        before = world.session(self.sandbox).opened_at
        for state in (State.UNKNOWN, State.STARTING, State.PULLING_SNAPSHOT):
            world.simulator.engine.settle(record, state, state)
            world.advance(2 * SWEEP)
            self.assertEqual(world.session(self.sandbox).opened_at, before, state)
        world.simulator.start_behind(self.sandbox)
        world.advance(SWEEP)
        self.assertEqual(world.session(self.sandbox).started_at, self.begun)


class UnseenTests(WorldCase):
    """What is charged though nobody watched."""

    observed = False

    def test_started_at_both_ends(self) -> None:
        """Started at two observations and no start between: the gap is charged (§4.2)."""
        world = self.world
        world.fund(1_000_000)
        sandbox = world.create()
        begun = world.session(sandbox).started_at
        world.kill()
        world.advance(10)
        world.simulator.stop_behind(sandbox)
        world.advance(10)
        world.simulator.start_behind(sandbox)
        world.advance(100)
        world.restart()
        world.advance(30)
        ends = [r.charge.period_end for r in world.charges() if r.charge.units]
        self.assertGreaterEqual(max(ends) - begun, 120)

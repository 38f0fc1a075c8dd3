"""
Seconds that ran in part: every stamp is whole seconds, and what happens is not.

A run begins with the first whole second after the answer that showed it, and ends with the last
one before the request that ended it: nobody pays for a second that did not run (promise 1).
"""

from __future__ import annotations

from random import Random

from sandbox_billing.devnet.daytona import Timings
from sandbox_billing.ledger.identity import SandboxId
from tests.fixtures import ALICE, World, WorldCase


class PartSecondTests(WorldCase):
    """A world whose calls come at any part of a second; C{tearDown} compares to the moment."""

    def setUp(self) -> None:
        """Daytona starts things in no time: replies show them running."""
        self.world = World(Timings(start_seconds=0.02, stop_seconds=0.02)).start()
        self.world.fund(100_000_000)

    def pass_by(self, seconds: float) -> None:
        """Not at whole seconds; in steps, or sweeps would be skipped."""
        steps = int(seconds) + 1
        for _ in range(steps):
            self.world.net.mine()
            self.world.clock.advance(seconds / steps)
            self.world.flush()

    def started(self, sandbox: SandboxId, at: float) -> None:
        """Start it at a part of a second."""
        world = self.world
        now = world.clock.seconds()
        self.pass_by(at - now % 1 if at >= now % 1 else 1 + at - now % 1)
        starting = world.begin(world.process.intake.start(ALICE, sandbox))
        self.pass_by(0.02)
        self.successResultOf(starting)

    def stopped(self, sandbox: SandboxId) -> None:
        """And stop it."""
        stopping = self.world.begin(self.world.process.intake.stop(ALICE, sandbox))
        self.pass_by(0.05)
        self.successResultOf(stopping)

    def seconds(self) -> int:
        """Everything charged so far."""
        return sum(record.charge.units for record in self.world.charges())

    def resting(self) -> SandboxId:
        """One that does not run."""
        sandbox = self.world.create()
        self.world.run(self.world.process.intake.stop(ALICE, sandbox))
        self.world.advance(20)
        return sandbox

    def test_across_a_second(self) -> None:
        """A tenth of a second that lies on two of them costs neither of them."""
        sandbox = self.resting()
        before = self.seconds()
        self.started(sandbox, 0.93)
        self.pass_by(0.1)
        self.stopped(sandbox)
        self.world.advance(20)
        self.assertEqual(self.seconds(), before)

    def test_whole_ones(self) -> None:
        """What lies between is charged, and no more."""
        sandbox = self.resting()
        before = self.seconds()
        self.started(sandbox, 0.9)
        self.pass_by(3.2)
        self.stopped(sandbox)
        self.world.advance(20)
        self.assertEqual(self.seconds(), before + 3)

    def test_any_parts(self) -> None:
        """At both ends of many runs, by our calls, by sweeps and by itself."""
        chance = Random(5)
        sandbox = self.resting()
        world, simulator = self.world, self.world.simulator
        for _ in range(30):
            # Past what Daytona may still hold of the last run.
            self.pass_by(12 + chance.random() * 3)
            if chance.random() < 0.5:
                self.started(sandbox, round(chance.random(), 3))
            else:
                simulator.start_behind(sandbox)
            for _ in range(chance.randrange(1, 12)):
                self.pass_by(chance.random() * 2)
            if chance.random() < 0.5:
                self.stopped(sandbox)
            else:
                simulator.stop_behind(sandbox)
        self.assertGreater(self.seconds(), 50)
        world.check_laws(ALICE)


class StaleLookupTests(WorldCase):
    """Daytona may show by id for ten seconds what has ended."""

    def setUp(self) -> None:
        """One that runs."""
        self.world = World(Timings(lookup_cache_seconds=10.0)).start()
        self.world.fund(100_000_000)

    def test_delete_after_its_own_end(self) -> None:
        """Who deletes what has just ended by itself pays no second after its end (L3)."""
        world = self.world
        for wait in range(5):
            sandbox = world.create()
            world.advance(20 + wait)
            # Now it is remembered as running.
            world.run(world.process.runtime.get(sandbox))
            world.simulator.stop_behind(sandbox)
            world.advance(2)
            world.run(world.process.intake.delete(ALICE, sandbox))
            world.check_laws(ALICE)

    def test_delete_of_what_runs(self) -> None:
        """What runs until it is deleted is paid up to then."""
        world = self.world
        sandbox = world.create()
        world.advance(23)
        world.run(world.process.intake.delete(ALICE, sandbox))
        (run,) = world.simulator.records[sandbox].shown.intervals
        ends = [one.charge.period_end for one in world.charges() if one.charge.units]
        self.assertEqual(max(ends), run[1])

"""What no daemon can mend by itself, and two of them that die for hours."""

from __future__ import annotations

import os
import sys

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.redis.commit import Commit, Write
from sandbox_billing.interfaces import IRuntime
from sandbox_billing.ledger.hold import QUARANTINED
from tests.fixtures import ALICE
from tests.simulation.checker import Quiet
from tests.simulation.clock import Life
from tests.simulation.explore import Ended, Report, finish
from tests.simulation.faults import Fault, FaultKind, Spot
from tests.simulation.jobs import live_all
from tests.simulation.scenarios import PLENTY, Scenario
from tests.simulation.stories import Story
from tests.simulation.tales import Tale
from tests.simulation.violence import ALARMS, after_loss, come_back
from tests.simulation.world import KEYS, World


FEW = max(4, int(os.environ.get("SIM_SEEDS", "60")) // 10)


class ViolenceCase(SynchronousTestCase):
    """Stories and their report."""

    if os.environ.get("SIM_SEED") is not None:
        skip = "one seed is lived again"

    def tearDown(self) -> None:
        """What was logged and is no ordinary failure is among the problems."""
        self.flushLoggedErrors()

    def lived(self, kind: str, seeds: int) -> Report:
        """Stories of one kind, without a broken law."""
        report = Report(seeds=seeds)
        live_all([Tale(f"{kind}-{seed}") for seed in range(seeds)], report)
        self.assertEqual(report.failures, [])
        return report


class KindTests(ViolenceCase):
    """Random stories of each kind."""

    def test_wide(self) -> None:
        """Operators, clocks, keys, logs, a store that starts anew, a process for the doors."""
        self.lived("wide", FEW)

    def test_flawed(self) -> None:
        """Against the contract as it is deployed, with people who want their money back."""
        self.lived("flawed", FEW)

    def test_lost(self) -> None:
        """Whatever Redis forgets, nobody pays twice, and who is behind is in quarantine."""
        self.lived("lost", FEW)

    def test_deep(self) -> None:
        """Whatever blocks go, nobody pays twice, and other outcomes are no secret."""
        self.lived("deep", FEW)

    def test_turns(self) -> None:
        """Two daemons on one Redis die and are followed by others for thousands of turns."""
        report = self.lived("turns", 1)
        sys.stdout.write("\n" + "\n".join(report.lines()) + "\n")
        self.assertGreater(report.turns, 4_000)
        self.assertGreater(report.deaths, 20)


class LossTests(ViolenceCase):
    """A store that comes back as it was."""

    def forgets(self, restores: bool = True, lifts: bool = False) -> Ended:
        """
        A sandbox is stopped and paid for; Redis forgets that, while Daytona does not answer.

        @param lifts: Lets the wallet out of quarantine, as nobody should.
        """

        async def script(story: Story) -> None:
            world = story.world
            world.expected += ALARMS
            await story.fund(ALICE, PLENTY)
            await story.create(ALICE)
            await world.sleep(28)
            saved = world.keyspace.saved()
            await story.end(ALICE)
            await story.quiet(Quiet())
            if restores:
                come_back(world, saved)
            silent_until = world.clock.rightNow + 20

            def decide(spot: Spot, _number: int, _life: Life) -> Fault | None:
                away = spot.port is IRuntime and world.clock.rightNow < silent_until
                return Fault(FaultKind.FAIL_BEFORE) if away else None

            world.board.decide = decide
            await world.sleep(60)
            if lifts:
                lift = Write("DEL", KEYS.blocked(ALICE))
                commit = Commit(name="lift", fence=KEYS.fence(), writes=(lift,))
                await world.keyspace.commit(commit)

        return finish(World(), Scenario("forgets", script), laws=after_loss)

    def test_a_session_comes_back(self) -> None:
        """What ran and is paid is not charged again, though nothing was ready when we looked."""
        ended = self.forgets()
        self.assertEqual(ended.problems, [])
        self.assertTrue([line for line in ended.tale if QUARANTINED in line])

    def test_seen(self) -> None:
        """Who is behind and not in quarantine is found."""
        (problem,) = self.forgets(lifts=True).problems
        self.assertIn("silence", problem)

    def test_paid_twice_is_seen(self) -> None:
        """Two vouchers for the same seconds, both paid."""
        world = World()

        async def script(story: Story) -> None:
            await story.fund(ALICE, PLENTY)
            await story.create(ALICE)
            await story.world.sleep(28)
            await story.end(ALICE)
            await story.quiet(Quiet())

        def twice(world: World) -> None:
            place, block = next(
                (place, block)
                for place, block in reversed(list(enumerate(world.net.blocks)))
                if any(log.event.name == "VoucherSettled" for log in block.logs)
            )
            world.net.blocks[place] = evolve(block, logs=block.logs * 2)

        ended = finish(world, Scenario("twice", script), twice, laws=after_loss)
        self.assertIn("L2", {problem.split(":")[0] for problem in ended.problems})

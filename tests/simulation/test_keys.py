"""One key, two daemons: the first stands still, and goes on when the second has answered (A5)."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.web.idempotency import RUN_SECONDS
from tests.fixtures import ALICE
from tests.simulation.checker import Quiet
from tests.simulation.clock import Life
from tests.simulation.explore import finish
from tests.simulation.faults import Fault, FaultKind, Spot
from tests.simulation.scenarios import PLENTY, Scenario
from tests.simulation.stories import PATIENCE, Story
from tests.simulation.world import World


STANDS_STILL = RUN_SECONDS + 20.0
"""Longer than anybody is taken to live who has not answered."""


class StandingStillTests(SynchronousTestCase):
    """A process that was taken for dead."""

    def tearDown(self) -> None:
        """What was logged and is no ordinary failure is among the problems."""
        self.flushLoggedErrors()

    def lived(self, name: str, seconds: float) -> tuple[int, set[str]]:
        """
        A create at a daemon that stands still before a call, then at another one.

        @return: How many sandboxes run, and which ones the two were told.
        """
        met: list[int] = []

        def decide(spot: Spot, number: int, _life: Life) -> Fault | None:
            if spot.name != name or met:
                return None
            met.append(number)
            return Fault(FaultKind.PAUSE, seconds)

        told: set[str] = set()
        made: set[str] = set()

        async def script(story: Story) -> None:
            world = story.world
            await story.fund(ALICE, PLENTY)
            world.board.decide = decide
            first = Deferred.fromCoroutine(story.create_once(ALICE, "key"))
            await world.sleep(PATIENCE + 1)
            world.daemons.reverse()
            told.add(await story.create_once(ALICE, "key"))
            await world.sleep(seconds)
            told.add(await first)
            made.update(story.running(ALICE))
            await story.end(ALICE)
            await story.quiet(Quiet())

        ended = finish(World(), Scenario("stands-still", script, daemons=2), limit=5_000)
        self.assertEqual((ended.problems, len(met)), ([], 1), name)
        return len(made), told

    def test_one_sandbox(self) -> None:
        """Wherever it stood still there is one sandbox, and both were told of it."""
        for name in (
            "IIdempotency.write",
            "IDoors.funds",
            "IDoors.reserve",
            "IRuntime.create",
            "IDoors.open_session",
        ):
            made, told = self.lived(name, STANDS_STILL)
            self.assertEqual((made, len(told)), (1, 1), name)

    def test_after_its_hold_is_released(self) -> None:
        """Before it had asked Daytona anything, however long."""
        made, told = self.lived("IDoors.reserve", 400.0)
        self.assertEqual((made, len(told)), (1, 1))

    def test_after_it_was_given_up(self) -> None:
        """What it makes then nobody waits for: it is deleted, and not charged."""
        made, told = self.lived("IRuntime.create", 400.0)
        self.assertEqual((made, len(told)), (1, 1))

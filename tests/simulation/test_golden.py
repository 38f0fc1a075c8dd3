"""
The golden scenarios, with nothing wrong and with every death in them.

C{SIM_STRIDE} says how many of the deaths: CI lives all of them, by C{bin/simulate --ci}.
"""

from __future__ import annotations

import os
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures import ALICE
from tests.simulation.books import StoredBooks, Sums
from tests.simulation.checker import Quiet
from tests.simulation.clock import Life
from tests.simulation.explore import Report, finish, live
from tests.simulation.faults import Fault, FaultKind, Spot
from tests.simulation.jobs import live_all
from tests.simulation.scenarios import SCENARIOS, Scenario
from tests.simulation.stories import Story
from tests.simulation.tales import deaths_of, one_of_each
from tests.simulation.world import World


STRIDE = int(
    os.environ.get("SIM_STRIDE")
    or (1 if os.environ.get("HYPOTHESIS_PROFILE") in ("ci", "nightly") else 23)
)
"""Of the deaths that differ, one in so many; of the other faults three times as many."""


class GoldenTests(SynchronousTestCase):
    """Whatever dies whenever, the books are right."""

    if os.environ.get("SIM_SEED") is not None:
        skip = "one seed is lived again"

    def tearDown(self) -> None:
        """What was logged and is no ordinary failure is among the problems."""
        self.flushLoggedErrors()

    def test_nothing_dies(self) -> None:
        """Without faults every scenario ends quietly, and the laws hold."""
        for scenario in SCENARIOS:
            ended = live(scenario)
            self.assertEqual(list(dict.fromkeys(ended.problems))[:5], [], scenario.name)
            self.assertGreater(ended.calls, 300, scenario.name)

    def test_every_death(self) -> None:
        """Before and after each port call a daemon dies, another follows, and the laws hold."""
        report = Report()
        deaths = [tale for scenario in SCENARIOS for tale in deaths_of(scenario, report, STRIDE)]
        live_all(deaths, report)
        sys.stdout.write("\n" + "\n".join(report.lines()) + "\n")
        self.assertEqual(report.failures, [])

    def test_every_fault(self) -> None:
        """Whatever can befall a port call befalls it once, and the laws hold."""
        report = Report()
        faults = one_of_each(SCENARIOS)
        live_all(faults[:: max(1, STRIDE // 3)], report)
        self.assertEqual(report.failures, [])
        self.assertGreater(len(faults), 300)

    def test_nothing_is_held_for_ever(self) -> None:
        """A create that never reached Daytona: its hold is given back after five minutes."""
        lost: list[int] = []

        def decide(spot: Spot, number: int, _life: Life) -> Fault | None:
            if spot.name != "IRuntime.create" or lost:
                return None
            lost.append(number)
            return Fault(FaultKind.LOST_BEFORE)

        async def script(story: Story) -> None:
            story.world.board.decide = decide
            await story.fund(ALICE, 10**7)
            await story.ask(lambda i: i.create(ALICE, {}, auto_stop_minutes=None))
            self.assertTrue(StoredBooks.of(story.world).exposure(ALICE))
            await story.quiet(Quiet(patient=True), 400)
            self.assertFalse(StoredBooks.of(story.world).exposure(ALICE))

        ended = finish(World(), Scenario("lost-create", script))
        self.assertEqual(ended.problems, [])
        self.assertEqual(len(lost), 1)

    def test_a_restart_is_no_event(self) -> None:
        """L13 is not satisfied by books that lack seconds, or leave something unpaid."""
        before = Sums({ALICE: 5.0}, {ALICE: 0})
        self.assertEqual(list(before.later(Sums({ALICE: 14.0}, {ALICE: 0}), 10)), [])
        (missing,) = before.later(Sums({ALICE: 16.0}, {ALICE: 0}), 10)
        (owed,) = before.later(Sums({ALICE: 5.0}, {ALICE: 1}), 10)
        self.assertIn("L13", missing)
        self.assertIn("L13", owed)

"""The golden scenarios, with nothing wrong and with every death in them."""

from __future__ import annotations

import os
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.simulation.explore import Report, every_death, live, quiet_collector
from tests.simulation.scenarios import SCENARIOS


STRIDE = 1 if os.environ.get("HYPOTHESIS_PROFILE") in ("ci", "nightly") else 23
"""Of the deaths that differ, one in so many; all of them in CI."""


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
        with quiet_collector():
            for scenario in SCENARIOS:
                every_death(scenario, report, stride=STRIDE)
        sys.stdout.write("\n" + "\n".join(report.lines()) + "\n")
        self.assertEqual(report.failures, [])

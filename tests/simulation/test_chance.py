"""
Random stories: a few of them, those that failed once, and C{SIM_SEED} exactly again.

C{SIM_SEEDS} says how many; CI lives two thousand.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.simulation.chance import live_seed
from tests.simulation.explore import Death, Report, is_open, live, pairs, quiet_collector
from tests.simulation.faults import Fault, FaultKind
from tests.simulation.scenarios import BY_NAME, SCENARIOS


SEEDS = int(os.environ.get("SIM_SEEDS", "60"))
PAIRS = SEEDS // 6
ONE = os.environ.get("SIM_SEED")

CORPUS = Path(__file__).with_name("corpus.txt")
TREE = Path(__file__).resolve().parents[2]


class ChanceTests(SynchronousTestCase):
    """Whatever happens in whatever order, the books are right."""

    if ONE is not None:
        skip = "one seed is lived again"

    def tearDown(self) -> None:
        """What was logged and is no ordinary failure is among the problems."""
        self.flushLoggedErrors()

    def test_seeds(self) -> None:
        """Random people, faults and deaths; when all is quiet the laws hold."""
        report = Report(seeds=SEEDS)
        with quiet_collector():
            for seed in range(SEEDS):
                report.add(live_seed(seed), f"SIM_SEED={seed}")
        sys.stdout.write("\n" + "\n".join(report.lines()) + "\n")
        self.assertEqual(report.failures, [])

    def test_pairs(self) -> None:
        """Two deaths in a golden story, the second wherever the first left it."""
        report = Report()
        with quiet_collector():
            pairs(SCENARIOS, report, range(PAIRS))
        self.assertEqual(report.failures, [])

    def test_corpus(self) -> None:
        """What failed once does not fail again."""
        report = Report()
        lines = CORPUS.read_text(encoding="utf-8").splitlines()
        for line in lines:
            words = line.split("#")[0].split()
            if not words:
                continue
            if words[0] in BY_NAME:
                death = Death(int(words[2]), Fault(FaultKind[words[1]]))
                report.add(live(BY_NAME[words[0]], [death]), line)
            else:
                report.add(live_seed(int(words[0])), line)
        self.assertGreater(report.stories, 3)
        self.assertEqual(report.failures, [])

    def test_exactly_again(self) -> None:
        """A seed tells the same story in another process, whatever its hashes are."""
        script = (
            "import hashlib; from tests.simulation.chance import live_seed;"
            " print(hashlib.sha256('\\n'.join(live_seed(7).tale).encode()).hexdigest())"
        )
        told = {
            subprocess.run(
                [sys.executable, "-c", script],
                cwd=TREE,
                env={**os.environ, "PYTHONHASHSEED": str(hashes), "PYTHONPATH": str(TREE)},
                capture_output=True,
                check=True,
                text=True,
            ).stdout
            for hashes in (1, 2)
        }
        self.assertEqual(len(told), 1)


class OneSeedTests(SynchronousTestCase):
    """C{SIM_SEED=n}: one story, told."""

    if ONE is None:
        skip = "SIM_SEED names no story"

    def test_seed(self) -> None:
        """The laws hold in it."""
        ended = live_seed(int(ONE or 0), long=bool(os.environ.get("SIM_LONG")))
        sys.stdout.write("\n" + "\n".join(ended.tale) + "\n")
        self.assertEqual([p for p in ended.problems if not is_open(p)], [])

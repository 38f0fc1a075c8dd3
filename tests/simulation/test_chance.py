"""
Random stories: a few of them, those that failed once, and C{SIM_SEED} exactly again.

C{SIM_SEEDS} says how many; CI lives two thousand.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from tests.simulation.explore import Death, Report, is_open
from tests.simulation.faults import Fault, FaultKind
from tests.simulation.jobs import CHUNK, live_all
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.tales import Tale, one_of_each, pair_of


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

    def lived(self, tales: Sequence[Tale]) -> Report:
        """All of them, without a broken law."""
        report = Report()
        live_all(tales, report)
        self.assertEqual(report.failures, [])
        return report

    def test_seeds(self) -> None:
        """Random people, faults and deaths; when all is quiet the laws hold."""
        report = self.lived([Tale(str(seed)) for seed in range(SEEDS)])
        report.seeds = SEEDS
        sys.stdout.write("\n" + "\n".join(report.lines()) + "\n")

    def test_pairs(self) -> None:
        """Two deaths in a golden story, the second wherever the first left it."""
        self.lived([pair_of(SCENARIOS, seed) for seed in range(PAIRS)])

    def test_corpus(self) -> None:
        """What failed once does not fail again."""
        lines = CORPUS.read_text(encoding="utf-8").splitlines()
        words = [line.split("#")[0].strip() for line in lines]
        report = self.lived([Tale(told) for told in words if told])
        self.assertGreater(report.stories, 5)

    def test_words(self) -> None:
        """What is printed of a failure lives it again."""
        deaths = (
            Death(44, Fault(FaultKind.ROLLBACK, 512.25)),
            Death(90, Fault(FaultKind.CRASH_BEFORE)),
        )
        tale = Tale.of("revoke", deaths)
        self.assertEqual(tale.words, "revoke ROLLBACK:512.25 44 CRASH_BEFORE 90")
        self.assertEqual(tale.deaths(), deaths)
        self.assertRaises(BadInput, Tale("revoke CRASH_BEFORE").deaths)

    def test_jobs(self) -> None:
        """Two processes live the same as one."""
        tales = [Tale("1"), *one_of_each(SCENARIOS[:1])[: CHUNK + 4]]
        alone, shared = Report(), Report()
        live_all(tales, alone)
        live_all(tales, shared, jobs=2)
        alone.cpu = shared.cpu = 0
        self.assertEqual(alone, shared)
        self.assertGreater(len(alone.fired), 20)

    def test_exactly_again(self) -> None:
        """A seed tells the same story in another process, whatever its hashes are."""
        script = (
            "import hashlib; from tests.simulation.tales import live_seed;"
            " print(hashlib.sha256('\\n'.join(live_seed('7').tale).encode()).hexdigest())"
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

    def tearDown(self) -> None:
        """As above: a story that ends well must not be told as a failed one."""
        self.flushLoggedErrors()

    def test_seed(self) -> None:
        """The laws hold in it."""
        ended = Tale(ONE or "0").live()
        sys.stdout.write("\n" + "\n".join(ended.tale) + "\n")
        self.assertEqual([p for p in ended.problems if not is_open(p)], [])

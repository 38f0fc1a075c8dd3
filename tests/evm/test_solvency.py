"""The contract is solvent by proof, and the proof can fail (see L{tests.evm.machine})."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.chain.artifacts import load
from tests.evm.machine import explore, run
from tests.evm.rules_base import Tally
from tests.evm.solvency import merged, missing, table


SEED = 20_240_601
SEQUENCES, STEPS = 6, 50
FLAWS = Path(__file__).with_name("flaws")


def flawed(name: str) -> str:
    """The creation code of a contract with a flaw."""
    code: str = json.loads((FLAWS / f"{name}.json").read_text(encoding="utf-8"))["bytecode"]
    return code


class SolvencyTests(SynchronousTestCase):
    """A few sequences; bin/prove runs hundreds, tests.traps.test_k one flaw after the other."""

    def test_nothing_is_found(self) -> None:
        """Contract, model and laws agree through random sequences."""
        code = load("SandboxServing").bytecode
        done = explore(code, sequences=SEQUENCES, steps=STEPS, seed=SEED)
        self.assertIsNone(done.finding, str(done.finding))
        self.assertGreaterEqual(done.tally.lengths[STEPS], SEQUENCES)

    def test_a_broken_law_is_found(self) -> None:
        """Earnings that are overwritten break L1 by themselves, in a sequence cut to the point."""
        code = flawed("earnings-overwritten")
        finding = explore(code, sequences=20, steps=STEPS, seed=SEED).finding
        assert finding is not None
        self.assertEqual("L1: all money belongs to somebody", finding.law)
        self.assertLess(len(finding.steps), 8)
        self.assertIn(f"seed {SEED}", str(finding))

    def test_a_difference_is_found(self) -> None:
        """A contract that takes an unsigned fee differs from the model, whatever the sums say."""
        finding = run(flawed("fee-unsigned"), sequences=20, steps=STEPS, seed=SEED)
        assert finding is not None
        self.assertIn("statuses", finding.law)

    def test_no_contract_is_found(self) -> None:
        """Code that cannot be deployed is a finding like any other."""
        finding = run("0xfe", sequences=1, steps=1, seed=SEED)
        assert finding is not None
        self.assertEqual("it can be deployed", finding.law)


class TallyTests(SynchronousTestCase):
    """What bin/prove says was tried."""

    def test_nothing_tried(self) -> None:
        """What was never seen is named, each function, status, event and error of ours."""
        never = missing(Tally())
        for name in ("success of leave", "status SUCCESS", "event Deposited", "error LeaveLocked"):
            self.assertIn(name, never)

    def test_seen_by_one_of_two(self) -> None:
        """What one process saw need not be seen by the other."""
        one, other = Tally(), Tally()
        one.errors["LeaveLocked"] = 1
        other.errors["LeaveLocked"] = 2
        other.lengths[STEPS] = 3
        both = merged([one, other])
        self.assertNotIn("error LeaveLocked", missing(both))
        self.assertIn("       3  LeaveLocked", table(both))
        self.assertEqual(3 * STEPS, both.steps)

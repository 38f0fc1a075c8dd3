"""The contract is solvent by proof, and the proof can fail (see L{tests.evm.machine})."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.chain.artifacts import load
from tests.evm.machine import explore, run


SEED = 20_240_601
LOCK_TIME = "611c20"
"""push2 7200, as it stands in the code."""


class SolvencyTests(SynchronousTestCase):
    """A few sequences; bin/prove runs hundreds."""

    def test_nothing_is_found(self) -> None:
        """Contract, model and laws agree through random sequences."""
        done = explore(load("SandboxServing").bytecode, sequences=8, steps=50, seed=SEED)
        self.assertIsNone(done.finding, str(done.finding))
        self.assertGreaterEqual(done.tally.lengths[50], 8)

    def test_a_flaw_is_found(self) -> None:
        """A lock that is a second short is found out, in a sequence that says how."""
        code = load("SandboxServing").bytecode
        self.assertIn(LOCK_TIME, code)
        flawed = code.replace(LOCK_TIME, "611c1f")
        done = explore(flawed, sequences=20, steps=50, seed=SEED)
        finding = done.finding
        assert finding is not None
        self.assertEqual("LOCK_TIME answers", finding.law)

    def test_no_contract_is_found(self) -> None:
        """Code that cannot be deployed is a finding like any other."""
        finding = run("0xfe", sequences=1, steps=1, seed=SEED)
        assert finding is not None
        self.assertEqual("it can be deployed", finding.law)

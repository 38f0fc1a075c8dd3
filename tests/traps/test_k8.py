"""K8: anybody may submit."""

from __future__ import annotations

from tests.evm.flaws import of_row
from tests.evm.flaws.standing import StandingCase
from tests.traps.defects import Defect, DefectCase


class ContractTests(StandingCase):
    """Builds of the contract that have it."""

    def test_noticed(self) -> None:
        """A stranger's submission that counts turns the tests red."""
        self.assert_noticed(of_row("K8"))


class DaemonTests(DefectCase):
    """Where the outcome of a nonce is looked for."""

    def test_own_transactions_only(self) -> None:
        """A settler that sees its own transactions only turns the tests red."""
        # Two look there, one behind the other: our history, and the nodes'.
        defects = (
            Defect(
                path="sandbox_billing/services/witness.py",
                find="for wallet in {r.charge.owner for r in used}:",
                replace="for wallet in set[Address]():",
            ),
            Defect(
                path="sandbox_billing/services/witness.py",
                find="proof = evolve(proof, settled=settled)",
                replace="proof = evolve(proof, nonce_proven_lost=True)",
            ),
        )
        self.assert_noticed(
            defects, "tests.services.test_watcher.OutcomeTests.test_somebody_else_submitted"
        )

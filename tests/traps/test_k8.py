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
        defect = Defect(
            path="sandbox_billing/services/resolver.py",
            find="for wallet in {r.charge.owner for r in records if key(r) not in found}:",
            replace="for wallet in set[Address]():",
        )
        self.assert_noticed(
            defect, "tests.services.test_watcher.OutcomeTests.test_somebody_else_submitted"
        )

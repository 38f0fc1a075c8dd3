"""K19: the preview judges each voucher against the same state."""

from __future__ import annotations

from tests.evm.flaws import of_row
from tests.evm.flaws.standing import StandingCase
from tests.traps.defects import Defect, DefectCase


class ContractTests(StandingCase):
    """Builds of the contract that have it."""

    def test_noticed(self) -> None:
        """A preview without a running balance turns the tests red."""
        self.assert_noticed(of_row("K19"))


class DaemonTests(DefectCase):
    """How a batch is planned."""

    def test_planned_without_a_running_balance(self) -> None:
        """A plan that judges each charge against the mirrored balance turns the tests red."""
        defect = Defect(
            path="sandbox_billing/ledger/settlement.py",
            find="        left -= record.charge.amount\n",
            replace="",
        )
        tests = "tests.ledger.test_settlement.PlanWalletTests."
        self.assert_noticed(
            defect, tests + "test_first_that_does_not_fit", tests + "test_nothing_left"
        )

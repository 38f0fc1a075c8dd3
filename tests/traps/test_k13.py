"""K13: users can leave before the first voucher lands."""

from __future__ import annotations

from tests.evm.flaws import of_row
from tests.evm.flaws.standing import StandingCase
from tests.traps.defects import Defect, DefectCase


class ContractTests(StandingCase):
    """Builds of the contract that have it."""

    def test_noticed(self) -> None:
        """A refund without its lock turns the tests red."""
        self.assert_noticed(of_row("K13"))


class DaemonTests(DefectCase):
    """What the daemon makes of the lock."""

    def test_at_the_start(self) -> None:
        """A daemon that starts with intervals longer than the lock turns the tests red."""
        defect = Defect(
            path="sandbox_billing/startup.py",
            find="if longest >= facts.lock_seconds:",
            replace="if longest >= 10 * facts.lock_seconds:",
        )
        self.assert_noticed(defect, "tests.test_startup.ContractTests.test_lock")

    def test_while_it_runs(self) -> None:
        """One that lets in though its settlement is behind the lock does."""
        defect = Defect(
            path="sandbox_billing/ledger/backlog.py",
            find="return now - settled_until > lock_seconds - interval_seconds",
            replace="return False",
        )
        self.assert_noticed(defect, "tests.services.test_backlog.BehindTests.test_closes_and_opens")

    def test_at_a_request(self) -> None:
        """And one that lets small sums wait although their user has asked for his money."""
        defect = Defect(
            path="sandbox_billing/services/company.py",
            find="queue.account.value.pending_refund > 0",
            replace="queue.account.value.pending_refund < 0",
        )
        self.assert_noticed(
            defect, "tests.services.test_settler.SettlerTests.test_refund_request_is_urgent"
        )

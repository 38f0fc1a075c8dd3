"""K19: the preview judges each voucher against the same state."""

from __future__ import annotations

from typing import Any

from tests.evm.flaws import of_row
from tests.evm.flaws.standing import StandingCase
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


class ContractTests(StandingCase):
    """Builds of the contract that have it."""

    def test_noticed(self) -> None:
        """A preview without a running balance turns the tests red."""
        self.assert_noticed(of_row("K19"))


class DaemonTests(TrapCase):
    """How a batch is planned."""

    @noticed_by(
        "tests.ledger.test_settlement.PlanWalletTests.test_first_that_does_not_fit",
        "tests.ledger.test_settlement.PlanWalletTests.test_nothing_left",
    )
    def test_planned_without_a_running_balance(self) -> Patches:
        """A plan judges each charge against the mirrored balance."""

        def each(original: Any) -> Any:
            def _covered(queue: Any, records: Any) -> Any:
                return [one for record in records for one in original(queue, [record])]

            return _covered

        return Patch("sandbox_billing.ledger.settlement._covered", each)

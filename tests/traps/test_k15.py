"""K15: an upgrade changes storage slots in place."""

from __future__ import annotations

from tests.evm.flaws import of_row
from tests.evm.flaws.standing import StandingCase


class ContractTests(StandingCase):
    """Builds of the contract that have it."""

    def test_noticed(self) -> None:
        """Variables that changed places turn the tests red."""
        self.assert_noticed(of_row("K15"))

"""K1: a settlement trims the pending refund, and the rest belongs to nobody."""

from __future__ import annotations

from tests.evm.flaws import of_row
from tests.evm.flaws.standing import StandingCase


class ContractTests(StandingCase):
    """Builds of the contract that have it."""

    def test_noticed(self) -> None:
        """A refund that is trimmed to the remaining balance turns the tests red."""
        self.assert_noticed(of_row("K1"))

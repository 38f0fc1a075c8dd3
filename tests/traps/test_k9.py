"""K9: money goes in and cannot come out."""

from __future__ import annotations

from tests.evm.flaws import of_row
from tests.evm.flaws.standing import StandingCase


class ContractTests(StandingCase):
    """Builds of the contract that have it."""

    def test_noticed(self) -> None:
        """Money that is swallowed, stuck, or given to nobody turns the tests red."""
        self.assert_noticed(of_row("K9"))

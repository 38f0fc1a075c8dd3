"""K14: one balance serves all providers."""

from __future__ import annotations

from tests.evm.flaws import of_row
from tests.evm.flaws.standing import StandingCase


class ContractTests(StandingCase):
    """Builds of the contract that have it."""

    def test_noticed(self) -> None:
        """A balance that another provider can take turns the tests red."""
        self.assert_noticed(of_row("K14"))

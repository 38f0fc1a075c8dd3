"""K2: a fee above the balance takes everything."""

from __future__ import annotations

from tests.evm.flaws import of_row
from tests.evm.flaws.standing import StandingCase


class ContractTests(StandingCase):
    """Builds of the contract that have it."""

    def test_noticed(self) -> None:
        """A fee that takes the whole pending refund turns the tests red."""
        self.assert_noticed(of_row("K2"))

"""K4: a partial payment forgets the rest."""

from __future__ import annotations

from tests.evm.flaws import of_row
from tests.evm.flaws.standing import StandingCase


class ContractTests(StandingCase):
    """Builds of the contract that have it."""

    def test_noticed(self) -> None:
        """A shortfall without an event turns the tests red."""
        self.assert_noticed(of_row("K4"))

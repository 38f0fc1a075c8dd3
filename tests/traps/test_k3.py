"""K3: the event says the fee and not what was paid."""

from __future__ import annotations

from tests.evm.flaws import of_row
from tests.evm.flaws.standing import StandingCase


class ContractTests(StandingCase):
    """Builds of the contract that have it."""

    def test_noticed(self) -> None:
        """An event with the wrong amount turns the tests red."""
        self.assert_noticed(of_row("K3"))

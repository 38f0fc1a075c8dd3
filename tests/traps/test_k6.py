"""K6: an acknowledgement does not say what is acknowledged."""

from __future__ import annotations

from tests.evm.flaws import of_row
from tests.evm.flaws.standing import StandingCase


class ContractTests(StandingCase):
    """Builds of the contract that have it."""

    def test_noticed(self) -> None:
        """An expected version that is not compared turns the tests red."""
        self.assert_noticed(of_row("K6"))

"""K16: one word of one key hands everything over."""

from __future__ import annotations

from tests.evm.flaws import of_row
from tests.evm.flaws.standing import StandingCase


class ContractTests(StandingCase):
    """Builds of the contract that have it."""

    def test_noticed(self) -> None:
        """Ownership that moves in one step, the contract's or the beacon's, turns the tests red."""
        self.assert_noticed(of_row("K16"))

"""K17: a frozen separator, and two signatures for one voucher."""

from __future__ import annotations

from tests.evm.flaws import of_row
from tests.evm.flaws.standing import StandingCase


class ContractTests(StandingCase):
    """Builds of the contract that have it."""

    def test_noticed(self) -> None:
        """A chain id that is not followed, and a high s, turn the tests red."""
        self.assert_noticed(of_row("K17"))

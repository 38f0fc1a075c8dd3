"""K5: an acknowledgement survives a change of signer."""

from __future__ import annotations

from tests.evm.flaws import of_row
from tests.evm.flaws.standing import StandingCase


class ContractTests(StandingCase):
    """Builds of the contract that have it."""

    def test_noticed(self) -> None:
        """An acknowledgement of any version, and a signer without a version, turn the tests red."""
        self.assert_noticed(of_row("K5"))

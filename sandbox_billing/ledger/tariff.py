"""
The environment's prices, which a reload changes under everybody who rates by them.

Tests: C{tests.test_reloading}, C{tests.services.test_tariff}.
"""

from __future__ import annotations

from attrs import define

from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.rating import Prices


@define(eq=False)
class Tariff:
    """
    The one value that is shared and not frozen: whoever rates asks it each time.

    @ivar prices: Used while the chain carries none.
    @ivar since: What runs is brought to them, from this moment on, unix seconds; None where
        nothing that runs is ever brought to others than it was started at.
    @ivar read_again: That the registration on chain is to be read although nothing tells that
        it changed.
    """

    prices: Prices
    since: UnixSeconds | None = None
    read_again: bool = False

    def change(self, prices: Prices, since: UnixSeconds) -> None:
        """
        @param since: The first second at these prices.
        """
        # A new fee alone is nothing to what runs: some of it may still wait for the change before.
        if prices.flat_per_second != self.prices.flat_per_second:
            self.since = since
        self.prices = prices


def as_tariff(given: Prices | Tariff) -> Tariff:
    """Prices that nobody changes, as a tariff."""
    return given if isinstance(given, Tariff) else Tariff(given)

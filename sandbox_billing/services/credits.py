"""
What flaws of the deployed contract have cost users, told where an operator looks (K1, K2).

Nothing is set off against what they owe: the money is on chain, with the provider, and goes back
by a deposit for the user (docs/settlement.md).

Tests: C{tests.services.test_flawed}.
"""

from __future__ import annotations

from attrs import define, field

from sandbox_billing.interfaces import IHistory
from sandbox_billing.ledger.deployed import Race
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import Neuron, add


SHOWN = 5
"""Wallets that are named; how many more there are is said."""


@define(eq=False, kw_only=True)
class CreditWatch:
    """
    @ivar _races: As last read.
    """

    history: IHistory
    _races: tuple[Race, ...] = field(default=(), init=False)

    async def turn(self) -> None:
        """Look at them; what the store raises is the store's trouble."""
        self._races = await self.history.races()

    def notice(self) -> str | None:
        """What the provider got too much and from whom, and what is lost; None for neither."""
        credits: dict[Address, Neuron] = {}
        for race in self._races:
            if race.credit:
                credits[race.wallet] = add(credits.get(race.wallet, Neuron(0)), race.credit)
        lost = sum(race.lost for race in self._races)
        told = []
        if credits:
            named = sorted(credits.items(), key=lambda one: (-one[1], one[0].hex))
            words = [f"{wallet.hex} {amount}" for wallet, amount in named[:SHOWN]]
            more = f" and {len(named) - SHOWN} more wallets" if len(named) > SHOWN else ""
            told.append(f"taken too much by the contract (K2), in neuron: {', '.join(words)}{more}")
        if lost:
            told.append(f"{lost} neuron of refunds were lost (K1)")
        return "; ".join(told) or None

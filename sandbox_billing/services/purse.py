"""
The gas account's purse: told while there is still time to fill it; and what empties it.

Sending stops at GAS_FLOOR_NEURON (the chain adapter sees to that); this is what an operator
reads before.

Tests: L{tests.services.test_purse}.
"""

from __future__ import annotations

from attrs import define, field
from twisted.logger import Logger

from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import UNMEASURED, IChain, IMeasures, IOverview, IWallClock
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import Neuron, UnixSeconds, format_0g
from sandbox_billing.ledger.overview import Purse
from sandbox_billing.ledger.rating import Prices, card_in_force
from sandbox_billing.measures import GAS_PRICE_NEURON
from sandbox_billing.services.policy import Policy


GAS_OF_A_VOUCHER = 56_000
"""A transaction with one voucher, on our contract (C{benchmarks/gas.json}); the deployed one
takes 78,000."""

GAS_OF_A_LINE = 11_400
"""What each further voucher takes, of another wallet and under one signature."""

TRANSACTIONS = 100
"""Full batches that should still be paid for; with fewer the operator is told."""

FLOORS = 10
"""So many times GAS_FLOOR_NEURON should be there, too."""

WATCH_SECONDS = 30

SAY_AGAIN_SECONDS = 3_600
"""The log repeats it this often."""


async def low_create_fee(chain: IChain, provider: Address, environment: Prices) -> str | None:
    """
    That creating a sandbox costs the operator more gas than it brings, for the start of the
    daemon: users who create and never run anything would be his loss.

    @param environment: Prices that stand in while the chain has none.
    @return: None when it does not, and when that cannot be known now: nothing waits for it.
    """
    try:
        service = await chain.service(provider, await chain.head())
        price = await chain.gas_price()
    except Transient:
        return None
    if service is None:
        return None
    card = card_in_force(service.prices, environment, service.signer_version)
    fee, cost = card.prices.create_fee, price * GAS_OF_A_VOUCHER
    if fee >= cost:
        return None
    return (
        f"the create fee is {fee} neuron, and settling a voucher alone takes about {cost}"
        f" ({GAS_OF_A_VOUCHER} gas at {price}): raise the fee on chain (or CREATE_FEE while"
        " there is none), or let charges wait for company with SETTLE_MIN_NEURON"
    )


@define(eq=False, kw_only=True)
class PurseWatch:
    """
    @ivar sender: Whose purse it is: our signer's address.
    @ivar overview: Where operators look; None where nobody does.
    @ivar measures: Told the price of gas.
    @ivar balance: As last read, neuron; None before.
    """

    chain: IChain
    wall: IWallClock
    policy: Policy
    sender: Address
    overview: IOverview | None = None
    measures: IMeasures = UNMEASURED
    balance: Neuron | None = field(default=None, init=False)
    _needed: Neuron = field(default=Neuron(0), init=False)
    _transaction: Neuron = field(default=Neuron(1), init=False)
    _said_at: UnixSeconds | None = field(default=None, init=False)
    _log = Logger()

    async def turn(self) -> None:
        """Look; say it when it is low, and again while it stays so."""
        balance, price = await self.chain.gas_balance(), await self.chain.gas_price()
        self.measures.set(GAS_PRICE_NEURON, price)
        gas = GAS_OF_A_VOUCHER + GAS_OF_A_LINE * (self.policy.batch_max - 1)
        self._transaction = Neuron(max(1, price * gas))
        self._needed = Neuron(max(TRANSACTIONS * self._transaction, FLOORS * self.policy.gas_floor))
        self.balance = balance
        notice, now = self.notice(), self.wall.now()
        if notice is None:
            if self._said_at is not None:
                self._log.info("the gas account holds enough again")
            self._said_at = None
        elif self._said_at is None or now - self._said_at >= SAY_AGAIN_SECONDS:
            self._log.warn("gas is low: {why}", why=notice, sender=self.sender.hex)
            self._said_at = now
        if self.overview is not None:
            await self.overview.note_purse(
                Purse(
                    sender=self.sender,
                    balance=balance,
                    floor=self.policy.gas_floor,
                    transaction=self._transaction,
                    read_at=now,
                )
            )

    def notice(self) -> str | None:
        """That the purse is low, and how long it lasts; None while it is not."""
        if self.balance is None or self.balance >= self._needed:
            return None
        above = max(0, self.balance - self.policy.gas_floor)
        return (
            f"the gas account {self.sender} holds {format_0g(self.balance)}, enough for about"
            f" {above // self._transaction} full batches before sending stops; send it some:"
            f" {format_0g(self._needed)} or more"
        )

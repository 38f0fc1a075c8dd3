"""
Accounts of wallets that are not mirrored: read from the chain once a block, however often.

Keys cost nothing, and whoever has one may ask for his account as often as he likes; at the same
block the answer is the same (V2).

Tests: C{tests.services.test_lookup}, and of the whole way C{tests.services.test_statements}.
"""

from __future__ import annotations

from collections import OrderedDict

from attrs import define, field

from sandbox_billing.interfaces import IChain
from sandbox_billing.ledger.account import Account, BlockRef
from sandbox_billing.ledger.identity import Address


MOST_KEPT = 1_000
"""Wallets whose account is remembered."""


@define(eq=False, kw_only=True)
class Lookup:
    """
    @ivar _kept: The last account of each wallet, and the block it is of; longest unused first.
    """

    chain: IChain
    _kept: OrderedDict[Address, tuple[BlockRef, Account]] = field(factory=OrderedDict, init=False)

    async def account(self, wallet: Address, at: BlockRef) -> Account:
        """
        A wallet's account as of a block.

        @raise Transient: The chain does not answer; that is not kept.
        """
        known = self._kept.get(wallet)
        if known is not None and known[0] == at:
            self._kept.move_to_end(wallet)
            return known[1]
        (account,) = await self.chain.accounts([wallet], at)
        self._kept[wallet] = (at, account)
        self._kept.move_to_end(wallet)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return account

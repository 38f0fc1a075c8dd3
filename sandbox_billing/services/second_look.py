"""
The second look: outcomes are compared with the chain once many blocks stand on them.

Nothing is charged again by it: where the chain says something else now, a human must look,
and until then the wallet waits (design.md §4.6, S9).

Tests: C{tests.services.test_second_look}.
"""

from __future__ import annotations

from attrs import frozen
from twisted.logger import Logger

from sandbox_billing.interfaces import BlockedWallet, IChain, IChainMirror, IFunds, IResolved
from sandbox_billing.ledger.account import BlockRef
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.second_look import Resolution, doubt
from sandbox_billing.services.evidence import Archive, NotYet


DEPTH = 64
"""Blocks on top of the one an outcome was read at before it counts as final."""

PAGE = 50


@frozen(kw_only=True)
class SecondLook:
    """
    @ivar archive: Reads what a wallet's outcomes are now, where a block was replaced.
    """

    resolved: IResolved
    funds: IFunds
    mirror: IChainMirror
    chain: IChain
    archive: Archive
    _log = Logger()

    async def turn(self) -> None:
        """Look at every outcome that is deep enough, and ripen the debts that rest on it."""
        mirror = await self.mirror.mirror()
        if mirror is None:
            return
        block = mirror.value.block
        for resolution in await self.resolved.due(block.number - DEPTH, PAGE):
            try:
                doubts = await self._doubts(resolution.value, block)
            except NotYet as why:
                self._log.warn(
                    "batch {batch} is looked at later: {why}",
                    batch=resolution.value.batch.id,
                    why=str(why),
                )
                continue
            blocked = [
                BlockedWallet(await self.funds.funds(wallet), QUARANTINED) for wallet in doubts
            ]
            await self.resolved.checked(resolution, doubts, blocked)

    async def _doubts(self, resolution: Resolution, block: BlockRef) -> dict[Address, str]:
        """
        What is another outcome now, by wallet.

        @raise NotYet: It cannot be read to the end.
        """
        was = resolution.block
        if (await self.chain.block(was.number)).hash == was.hash:
            return {}
        self._log.critical(
            "block {block} was replaced after batch {batch} was resolved there",
            block=was.number,
            batch=resolution.batch.id,
        )
        doubts: dict[Address, str] = {}
        for verdict in resolution.verdicts:
            history = await self.archive.history(verdict.wallet, block)
            reason = doubt(verdict, history.of(verdict.nonce))
            if reason is None:
                continue
            doubts.setdefault(verdict.wallet, f"{verdict.charge}: {reason}")
            self._log.critical(
                "charge {charge} has another outcome now: {why}; its wallet is quarantined",
                charge=verdict.charge,
                why=reason,
                wallet=verdict.wallet.hex,
            )
        for verdict in resolution.verdicts:
            self.archive.forget(verdict.wallet)
        return doubts

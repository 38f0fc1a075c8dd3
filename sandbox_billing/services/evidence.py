"""
Reading a wallet's whole history, for what the newest blocks do not explain.

It is read in parts, some on each turn, and only for wallets that need it.

Tests: C{tests.services.test_void}.
"""

from __future__ import annotations

from attrs import define, evolve, field, frozen

from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import IChain, Moves
from sandbox_billing.ledger.account import BlockRef
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import neuron
from sandbox_billing.ledger.proof import WalletHistory
from sandbox_billing.services.policy import Policy


PARTS_PER_TURN = 10
"""Ranges of LOG_RANGE blocks read of one wallet before others have their turn."""


@frozen(auto_exc=False)
class NotYet(Transient):
    """
    What would be a proof has not been read, or cannot be now; nothing is decided.

    @ivar goes_on: Whether the next turn reads on; otherwise something is in the way.
    """

    goes_on: bool = False


@frozen(kw_only=True)
class _Read:
    """
    A history as far as it was read.

    @ivar last: The block it ends with; another one by now, and it is worth nothing.
    """

    history: WalletHistory
    last: BlockRef


@define(kw_only=True, eq=False)
class Archive:
    """
    @ivar _read: What was read of wallets lately asked for.
    """

    chain: IChain
    policy: Policy
    _read: dict[Address, _Read] = field(factory=dict, init=False)

    async def history(self, wallet: Address, block: BlockRef) -> WalletHistory:
        """
        All that happened to a wallet up to a confirmed block.

        @raise NotYet: It is not read to the end, or no node answers.
        """
        try:
            known = await self._so_far(wallet)
            first = await self._first() if known is None else known.last.number + 1
            for _ in range(PARTS_PER_TURN):
                if first > block.number:
                    break
                last = min(first + self.policy.log_range - 1, block.number)
                moves = await self.chain.moves(wallet, first, last)
                # Read after the logs: if it is another block later on, they were, too.
                known = _joined(known, moves, await self.chain.block(last))
                self._read[wallet] = known
                first = last + 1
        except Transient as why:
            raise NotYet(f"the history of {wallet} cannot be read: {why}") from why
        if known is None or first <= block.number:
            raise NotYet(f"the history of {wallet} is read up to block {first - 1}", goes_on=True)
        if known.last.hash != block.hash:
            raise NotYet(f"block {block.number} was replaced while it was read")
        return known.history

    def forget(self, wallet: Address) -> None:
        """It is understood."""
        self._read.pop(wallet, None)

    async def _so_far(self, wallet: Address) -> _Read | None:
        known = self._read.get(wallet)
        if known is None:
            return None
        if (await self.chain.block(known.last.number)).hash == known.last.hash:
            return known
        del self._read[wallet]
        return None

    async def _first(self) -> int:
        if self.policy.start_block is not None:
            return self.policy.start_block
        return await self.chain.first_block()


def _joined(known: _Read | None, moves: Moves, last: BlockRef) -> _Read:
    if known is None:
        history = WalletHistory(
            deposited=moves.deposited,
            withdrawn=moves.withdrawn,
            settlements=moves.settlements,
            sources=moves.sources,
        )
        return _Read(history=history, last=last)
    before = known.history
    after = evolve(
        before,
        deposited=neuron(before.deposited + moves.deposited),
        withdrawn=neuron(before.withdrawn + moves.withdrawn),
        settlements=before.settlements + moves.settlements,
        sources=min(before.sources, moves.sources),
    )
    return _Read(history=after, last=last)

"""
The account that pays for our transactions: its nonces without gaps, its purse not empty.

Part of the settler.  One account nonce is one transaction for ever: one that somebody
else's used up is given up (T-6), and one that was never used is used up by a call that
settles nothing, because every later transaction waits behind it (T-7).

Tests: L{tests.services.test_gas_account}.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field
from twisted.logger import Logger

from sandbox_billing.interfaces import IChain, IIds, IVoucherQueue, IWallClock, Stored
from sandbox_billing.ledger.account import BlockRef
from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.identity import Address, BatchId
from sandbox_billing.ledger.money import UnixSeconds


GAP_SECONDS = 60
"""How long an account nonce must have been missing, or used by nobody's transaction."""


@define(eq=False, kw_only=True)
class GasAccount:
    """
    @ivar sender: Our signer's address.
    @ivar _gap: The account nonce that is missing, and since when.
    @ivar _lost: Since when a batch and its account nonce look lost.
    """

    queue: IVoucherQueue
    chain: IChain
    ids: IIds
    wall: IWallClock
    sender: Address
    _gap: tuple[int, UnixSeconds] | None = field(default=None, init=False)
    _lost: dict[tuple[BatchId, int], UnixSeconds] = field(factory=dict, init=False)
    _log = Logger()

    async def without_lost(
        self, batches: Sequence[Stored[Batch]], at: BlockRef
    ) -> list[Stored[Batch]]:
        """
        Give up attempts that can never be mined: at a confirmed block their account nonce is
        used, and no block holds one of them.

        Their vouchers go out again under another account nonce.  If a node was wrong and one
        of them was mined, the vouchers' own nonces see to it that nothing is paid twice.

        @param at: A confirmed block.
        """
        if not any(self._account_nonce(batch.value) is not None for batch in batches):
            self._lost = {}
            return list(batches)
        used = await self.chain.account_nonce(at)
        left, lost = [], {}
        for batch in batches:
            nonce = self._account_nonce(batch.value)
            if nonce is None or nonce >= used or await self._is_mined(batch.value):
                left.append(batch)
                continue
            # One answer may be of a node that lags behind another's: it has to last.
            place = (batch.value.id, nonce)
            lost[place] = self._lost.get(place, self.wall.now())
            if self.wall.now() - lost[place] < GAP_SECONDS:
                left.append(batch)
                continue
            self._log.critical(
                "account nonce {account_nonce} of {sender} was used by a transaction that is not of"
                " batch {batch}: somebody else sends with this key, or a loss was repaired",
                account_nonce=nonce,
                sender=self.sender.hex,
                batch=batch.value.id,
            )
            after = await self.queue.drop_attempts(batch, self.sender)
            if after is not None:
                left.append(after)
        self._lost = lost
        return left

    async def gap(self, batches: Sequence[Stored[Batch]]) -> int | None:
        """
        The account nonce that all others wait for and nobody has, once that has lasted.
        """
        sent = [n for n in (self._account_nonce(b.value) for b in batches) if n is not None]
        if not sent:
            self._gap = None
            return None
        counts = await self.chain.account_nonces()
        # What is mined and not resolved yet waits for nothing.
        waiting = [nonce for nonce in sent if nonce >= counts.mined]
        if not waiting or counts.mined in waiting or counts.pending > counts.mined:
            self._gap = None
            return None
        now = self.wall.now()
        if self._gap is None or self._gap[0] != counts.mined:
            self._gap = (counts.mined, now)
        if now - self._gap[1] < GAP_SECONDS:
            return None
        self._log.warn(
            "account nonce {account_nonce} is missing and batches wait behind it: it is used up",
            account_nonce=counts.mined,
        )
        return counts.mined

    async def filler(
        self, batches: Sequence[Stored[Batch]], gap: int | None
    ) -> tuple[list[Stored[Batch]], Stored[Batch] | None]:
        """
        @param gap: What C{gap} found.
        @return: The batches that have something to send; and one of nothing, to use the gap
            up with, if there is one.
        """
        idle = [b for b in batches if not b.value.charges and not b.value.attempts]
        busy = [b for b in batches if b not in idle]
        if gap is None:
            for each in idle:
                # Made for a gap that has closed by itself.
                await self.queue.drop_attempts(each, self.sender)
            return busy, None
        if idle:
            return busy, idle[0]
        empty = Batch(id=self.ids.batch(), wallets=(), charges=(), created_at=self.wall.now())
        return busy, await self.queue.sign(empty, ())

    def _account_nonce(self, batch: Batch) -> int | None:
        """The one that our attempts for a batch share."""
        for attempt in batch.attempts:
            if attempt.sender == self.sender:
                return attempt.account_nonce
        return None

    async def _is_mined(self, batch: Batch) -> bool:
        for attempt in batch.attempts:
            if await self.chain.receipt(attempt.hash) is not None:
                return True
        return False

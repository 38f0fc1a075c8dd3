"""
Numbering and signing; L{sandbox_billing.services.sending} sends.  What the chain answers is
read by the watcher.

Write, then act, then be able to act again: charges, nonces and seals are stored
before a transaction is made, the transaction before it is sent.

Tests: L{tests.services.test_settler}.
"""

from __future__ import annotations

from attrs import field, frozen
from twisted.logger import Logger

from sandbox_billing import interfaces
from sandbox_billing.errors import BadInput, BrokenLaw, Refused, Transient
from sandbox_billing.interfaces import (
    IChain,
    IIds,
    ISigner,
    IVoucherQueue,
    IWallClock,
    Stale,
    Stored,
    StoredQueue,
    TooMuch,
)
from sandbox_billing.ledger.account import Mirror
from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Address, BatchId
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.settlement import charge_ids, plan, plan_wallet
from sandbox_billing.services._supervise import gather
from sandbox_billing.services.company import settle_at
from sandbox_billing.services.gas_account import GasAccount
from sandbox_billing.services.planning import Outlook
from sandbox_billing.services.policy import Policy
from sandbox_billing.services.recovery import Recovery, footing
from sandbox_billing.services.sealing import promise
from sandbox_billing.services.sending import Sender
from sandbox_billing.signing.eip712 import EIP712Domain


REST_SECONDS = 30
"""How long a wallet that cannot be settled now is left alone unless its account changes."""


@frozen(kw_only=True)
class Settler:
    """
    @ivar signer: The enclave's key: signs vouchers and pays for transactions.
    @ivar _broken: Wallets that are left out until a human has looked.
    @ivar _stuck: Batches that wait for a human, with their wallets.
    """

    queue: IVoucherQueue
    account: GasAccount
    mirror: interfaces.IChainMirror
    outlook: Outlook
    sender: Sender
    recovery: Recovery
    chain: IChain
    signer: ISigner
    domain: EIP712Domain
    ids: IIds
    wall: IWallClock
    policy: Policy
    _broken: dict[Address, BrokenLaw] = field(factory=dict, init=False)
    _stuck: dict[BatchId, tuple[Address, ...]] = field(factory=dict, init=False)
    _log = Logger()

    async def turn(self) -> None:
        """Send what is stored, then fill the free places with new batches."""
        mirror = await footing(self.mirror, self.wall, self.policy, self.signer.address)
        held = await self.recovery.held(mirror.block)
        batches = await self.account.without_lost(await self.queue.batches(), mirror.block)
        self.sender.keep(b.value for b in batches)
        for ended in self._stuck.keys() - {b.value.id for b in batches}:
            del self._stuck[ended]
        # Before anything is prepared: stored attempts own their account nonces (T-1).
        self.chain.adopt_attempts(a for b in batches for a in b.value.attempts)
        troubles: list[Exception] = []
        gap = self.recovery.stuck
        if gap is None:
            gap = await self.account.gap(batches)
        batches, filler = await self.account.filler(batches, gap)
        if filler is not None:
            await self._send_apart(filler, mirror, troubles, account_nonce=gap)
        places = self.policy.max_in_flight
        for batch in batches:
            if held is not None and not self.sender.mine(batch.value):
                continue
            if await self._send_apart(batch, mirror, troubles):
                places -= 1
        while held is None and places > 0:
            fresh = await self._next_batch(mirror)
            if fresh is None:
                break
            if await self._send_apart(fresh, mirror, troubles):
                places -= 1
        # Told only now, and what needs a human first.
        troubles += [] if held is None else [Transient(held)]
        troubles += self._broken.values()
        troubles.sort(key=lambda why: not isinstance(why, BrokenLaw))
        if troubles:
            raise troubles[0]

    def left_out(self) -> frozenset[Address]:
        """Wallets that wait for a human, in this process's eyes."""
        return frozenset(self._broken).union(*self._stuck.values())

    async def _next_batch(self, mirror: Mirror) -> Stored[Batch] | None:
        """Number and seal what is worth a transaction; None when nothing is."""
        now = self.wall.now()
        waited = UnixSeconds(now - self.policy.batch_wait)
        wallets = await self.queue.ready(waited, self.policy.batch_max)
        found = await gather(*(self._queue(wallet, now) for wallet in wallets))
        queues = [
            q
            for q in found
            if q is not None and q.in_flight is None and await self._worthwhile(q, now)
        ]
        if not queues:
            return None
        by_id = {r.value.charge.id: r for q in queues for r in q.records}
        plannable = await self.outlook.plannable(queues, mirror)
        lines = plan(plannable, self.policy.batch_max)
        for queue, planned in zip(queues, plannable, strict=True):
            # A wallet that only found the batch full is taken with the next one.
            if not plan_wallet(planned, 1):
                await self.queue.rest(queue, UnixSeconds(now + REST_SECONDS))
        if not lines:
            return None
        promises = [
            promise(self.domain, self.signer, by_id[line.record.charge.id], line, now)
            for line in lines
        ]
        batch = Batch(
            id=self.ids.batch(),
            wallets=tuple(dict.fromkeys(line.record.charge.owner for line in lines)),
            charges=charge_ids(lines),
            created_at=now,
        )
        try:
            stored = await self.queue.sign(batch, promises)
        except Stale:
            # A charge or nonce moved between read and write: the next turn plans anew.
            return None
        self._log.info(
            "signed batch {batch}: {count} vouchers of {wallets} wallets",
            batch=batch.id,
            count=len(lines),
            wallets=len(batch.wallets),
        )
        return stored

    async def _queue(self, wallet: Address, now: UnixSeconds) -> StoredQueue | None:
        """A wallet's queue; None when a law is broken there, which holds up nobody else."""
        try:
            found = await self.queue.queue(wallet, now, self.policy.batch_max)
        except (BrokenLaw, BadInput) as why:
            if wallet not in self._broken:
                self._log.critical("{wallet} is left out: {why}", wallet=wallet.hex, why=str(why))
            self._broken[wallet] = _law(why)
            await self.queue.set_aside(wallet, UnixSeconds(now + REST_SECONDS))
            return None
        self._broken.pop(wallet, None)
        return found

    async def _worthwhile(self, queue: StoredQueue, now: UnixSeconds) -> bool:
        """Whether a wallet is taken now (design.md §4.4); otherwise it rests."""
        if not queue.records or queue.account is None or queue.blocked == QUARANTINED:
            await self.queue.rest(queue, UnixSeconds(now + REST_SECONDS))
            return False
        ripe = settle_at(queue, self.policy)
        if ripe > now:
            await self.queue.rest(queue, ripe)
        return ripe <= now

    async def _send_apart(
        self,
        batch: Stored[Batch],
        mirror: Mirror,
        troubles: list[Exception],
        *,
        account_nonce: int | None = None,
    ) -> bool:
        """
        Send a batch; what is wrong with this one alone holds up no other.

        A L{Transient} is everybody's: then nothing else is prepared before the account
        nonce that this batch may have been given is used (T-7).

        @param troubles: Takes what is wrong.
        @param account_nonce: One to be used up by it.
        @return: Whether it takes a place in flight.  What is mined does not, nor what waits
            for a human: a few of those would end all settling.
        """
        try:
            waits = await self.sender.send(batch, mirror, account_nonce)
        except BadInput as why:
            await self.queue.expel(batch)  # The rest goes out on the next turn.
            troubles.append(_law(why))
            return True
        except BrokenLaw as why:
            self._log.critical("batch {batch} waits: {why}", batch=batch.value.id, why=str(why))
            troubles.append(_law(why))
            self._stuck[batch.value.id] = batch.value.wallets
            return False
        except Refused as why:
            # Before an account nonce was taken for it.
            self._log.critical("batch {batch} waits: {why}", batch=batch.value.id, why=str(why))
            troubles.append(Transient(str(why)))
            if not isinstance(why, TooMuch) or batch.value.attempts:
                return True
            self._stuck[batch.value.id] = batch.value.wallets
            return False
        self._stuck.pop(batch.value.id, None)
        return waits


def _law(why: BrokenLaw | BadInput) -> BrokenLaw:
    """A stored form that cannot be read is a charge that has disappeared."""
    return why if isinstance(why, BrokenLaw) else BrokenLaw("L6", str(why))

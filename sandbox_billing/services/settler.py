"""
Numbering, signing and sending.  What the chain answers is read by the watcher.

Write, then act, then be able to act again: charges, nonces and seals are stored
before a transaction is made, the transaction before it is sent, and whatever
is stored and unresolved is sent again, the same bytes.

Tests: L{tests.services.test_settler}.
"""

from __future__ import annotations

from attrs import field, frozen
from twisted.logger import Logger

from sandbox_billing import interfaces
from sandbox_billing.errors import BadInput, BrokenLaw, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import (
    IChain,
    IIds,
    ISigner,
    IVoucherQueue,
    IWallClock,
    LeaseLost,
    Stale,
    Stored,
    StoredQueue,
    TooMuch,
)
from sandbox_billing.ledger.account import Behaviour, Mirror
from sandbox_billing.ledger.batch import Attempt, Batch
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
from sandbox_billing.services.sealing import promise, voucher_lines
from sandbox_billing.signing.eip712 import EIP712Domain


RESEND_SECONDS = 15
"""How long an attempt may stay without a receipt before the same bytes are sent again."""

BUMP_SECONDS, BUMP_SECONDS_FLAWED = 120, 30
"""
How long an attempt may stay without a receipt before another offers more for gas; less on a
flawed contract, where a refund may come between.
"""

CONDEMN_SECONDS = 120
"""
How long a voucher must have made the settle call revert, alone and while a call without
vouchers passes, before it is given up: a minute's trouble of a node is no proof.
"""

REST_SECONDS = 30
"""How long a wallet that cannot be settled now is left alone unless its account changes."""


@frozen(kw_only=True)
class Settler:
    """
    @ivar signer: The enclave's key: signs vouchers and pays for transactions.
    @ivar _sent_at: When this process last broadcast an attempt, by its hash.
    @ivar _proven: Hashes of the attempts that this process has proven to be on disk.
    @ivar _broken: Wallets that are left out until a human has looked.
    @ivar _poisonous: Since when a batch of one voucher reverts.
    @ivar _stuck: Batches that wait for a human, with their wallets.
    """

    queue: IVoucherQueue
    account: GasAccount
    funds: interfaces.IFunds
    mirror: interfaces.IChainMirror
    outlook: Outlook
    recovery: Recovery
    chain: IChain
    signer: ISigner
    domain: EIP712Domain
    ids: IIds
    wall: IWallClock
    policy: Policy
    _sent_at: dict[str, int] = field(factory=dict, init=False)
    _proven: set[str] = field(factory=set, init=False)
    _broken: dict[Address, BrokenLaw] = field(factory=dict, init=False)
    _poisonous: dict[BatchId, UnixSeconds] = field(factory=dict, init=False)
    _stuck: dict[BatchId, tuple[Address, ...]] = field(factory=dict, init=False)
    _log = Logger()

    async def turn(self) -> None:
        """Send what is stored, then fill the free places with new batches."""
        mirror = await footing(self.mirror, self.wall, self.policy, self.signer.address)
        held = await self.recovery.held(mirror.block)
        batches = await self.account.without_lost(await self.queue.batches(), mirror.block)
        known = {a.hash for b in batches for a in b.value.attempts}
        for gone in self._sent_at.keys() - known:
            del self._sent_at[gone]
        self._proven.intersection_update(known)
        live = {b.value.id for b in batches}
        for each in (self._poisonous, self._stuck):
            for ended in each.keys() - live:
                each.pop(ended)
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
            if held is not None and not self._mine(batch.value):
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
        @return: Whether it takes a place in flight.  What waits for a human does not: a few
            of those would end all settling.
        """
        try:
            await self._send(batch, mirror, account_nonce)
        except BadInput as why:
            await self.queue.expel(batch)  # The rest goes out on the next turn.
            troubles.append(_law(why))
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
        return True

    async def _send(self, batch: Stored[Batch], mirror: Mirror, account_nonce: int | None) -> None:
        """Make, store and broadcast an attempt; or broadcast the stored one again."""
        mine = self._mine(batch.value)
        # Of an earlier key there are only attempts that nobody can bump: what it sent has
        # as long as a re-send, then we send our own.  The vouchers' nonces see to it that
        # one of the two settles a voucher at most.
        earlier = mine or batch.value.attempts
        flawed = mirror.behaviour is Behaviour.FLAWED
        now = self.wall.now()
        if earlier:
            newest = earlier[-1]
            if now - self._sent_at.get(newest.hash, newest.recorded_at) < RESEND_SECONDS:
                return
            for attempt in earlier:
                if await self.chain.receipt(attempt.hash) is not None:
                    return
        if not mine:
            whole = batch if earlier or not flawed else await self._harmless(batch, mirror)
            first = whole and await self._first_attempt(whole, account_nonce)
            if first is None:
                return
            batch = first
        elif now - mine[-1].recorded_at >= (BUMP_SECONDS_FLAWED if flawed else BUMP_SECONDS):
            batch = await self._bumped(batch, mine[-1])
        attempt = self._mine(batch.value)[-1]
        if attempt.hash not in self._proven:
            await self.queue.on_disk(batch)
            self._proven.add(attempt.hash)
        self._sent_at[attempt.hash] = self.wall.now()
        try:
            await self.chain.broadcast(attempt)
        except UnknownOutcome as why:
            # Stored before it was sent: whether it arrived is read from the chain.
            self._log.warn(
                "batch {batch} may or may not have been sent: {why}",
                batch=batch.value.id,
                why=str(why),
            )

    async def _harmless(self, batch: Stored[Batch], mirror: Mirror) -> Stored[Batch] | None:
        """
        A batch without what would now set off a flaw, which goes back to its queue as sealed.

        @return: None when nothing is left of it.
        """
        if not batch.value.charges:
            return batch
        records = await self.queue.batch_records(batch.value)
        keep = await self.outlook.harmless([r.value for r in records], mirror)
        if keep == len(records):
            return batch
        self._log.warn(
            "{count} vouchers of batch {batch} are held: a refund was asked for meanwhile",
            count=len(records) - keep,
            batch=batch.value.id,
        )
        batch = await self.queue.shrink(batch, keep)
        return batch if keep else await self.queue.drop_attempts(batch, self.signer.address)

    async def _first_attempt(
        self, batch: Stored[Batch], account_nonce: int | None
    ) -> Stored[Batch] | None:
        """
        A batch with an attempt.  One that cannot be sent whole is halved until it can: one
        voucher holds up no other (S8).

        @return: None when a single voucher was left and is given up.
        @raise Refused: Nothing can be sent now.
        """
        while True:
            try:
                return await self._attempt(batch, None, account_nonce=account_nonce)
            except TooMuch as why:
                if batch.value.attempts:
                    # Of an earlier key, with all of it in: what was sent cannot be split.
                    raise
                keep = len(batch.value.charges) // 2
                if keep == 0:
                    await self._give_up(batch, why)
                    return None
                self._log.warn("batch {batch} is halved: {why}", batch=batch.value.id, why=str(why))
                batch = await self.queue.shrink(batch, keep)
            except (Refused, Transient):
                self._poisonous.pop(batch.value.id, None)
                raise

    async def _give_up(self, batch: Stored[Batch], why: TooMuch) -> None:
        """
        Dead-letter the one voucher of a batch, once it has reverted for long enough.

        @raise Refused: Not yet; or it does not revert, and is only too large for the chain.
        """
        now = self.wall.now()
        since = self._poisonous.setdefault(batch.value.id, now)
        if not why.reverts:
            del self._poisonous[batch.value.id]
            raise why
        if now - since < CONDEMN_SECONDS:
            raise why
        (wallet,) = batch.value.wallets
        await self.queue.condemn(batch, str(why), await self.funds.funds(wallet))
        self._log.critical(
            "charge {charge} needs a human: {reason}; its wallet is quarantined",
            charge=batch.value.charges[0],
            reason=str(why),
            wallet=wallet.hex,
        )

    def _mine(self, batch: Batch) -> list[Attempt]:
        """The attempts that this daemon's key pays for, newest last."""
        return [a for a in batch.attempts if a.sender == self.signer.address]

    async def _attempt(
        self,
        batch: Stored[Batch],
        replacing: Attempt | None,
        *,
        account_nonce: int | None = None,
    ) -> Stored[Batch]:
        """
        Make an attempt and store it.

        @param account_nonce: One to be used up, instead of the next.
        @raise Refused: The chain would not take it now.
        """
        records = await self.queue.batch_records(batch.value)
        lines = voucher_lines([r.value for r in records])
        attempt = await self.chain.prepare(lines, replacing, account_nonce=account_nonce)
        try:
            recorded = await self.queue.record_attempt(batch, attempt)
        except Stale:
            if replacing is None:
                self.chain.abandon(attempt)
            raise
        self._proven.add(attempt.hash)
        return recorded

    async def _bumped(self, batch: Stored[Batch], newest: Attempt) -> Stored[Batch]:
        """The batch with an attempt that pays more, or as it is when it cannot (T-3, T-4)."""
        try:
            return await self._attempt(batch, newest)
        except LeaseLost:
            raise
        except (Refused, Transient) as why:
            self._log.warn(
                "batch {batch} is sent as it is: {why}", batch=batch.value.id, why=str(why)
            )
            return batch


def _law(why: BrokenLaw | BadInput) -> BrokenLaw:
    """A stored form that cannot be read is a charge that has disappeared."""
    return why if isinstance(why, BrokenLaw) else BrokenLaw("L6", str(why))

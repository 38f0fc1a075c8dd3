"""
Numbering and signing; L{sandbox_billing.services.sending} sends.  What the chain answers is
read by the watcher.

Write, then act, then be able to act again: charges, nonces and seals are stored
before a transaction is made, the transaction before it is sent.

Tests: L{tests.services.test_settler}.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen
from twisted.logger import Logger

from sandbox_billing import interfaces
from sandbox_billing.errors import BadInput, BrokenLaw, Refused, Transient
from sandbox_billing.interfaces import (
    UNMEASURED,
    IChain,
    IIds,
    IMeasures,
    ISigner,
    IVoucherQueue,
    IWallClock,
    Promise,
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
from sandbox_billing.ledger.settlement import Line, charge_ids, plan
from sandbox_billing.measures import BATCH_VOUCHERS
from sandbox_billing.services._supervise import gather
from sandbox_billing.services.company import settle_at
from sandbox_billing.services.gas_account import GasAccount
from sandbox_billing.services.planning import Outlook
from sandbox_billing.services.policy import Policy
from sandbox_billing.services.recovery import Recovery, footing
from sandbox_billing.services.sealing import promise
from sandbox_billing.services.sending import Sender
from sandbox_billing.services.setbacks import Setbacks, within
from sandbox_billing.signing.eip712 import EIP712Domain


REST_SECONDS = 30
"""How long a wallet that cannot be settled now is left alone unless its account changes."""


PAGES = 20
"""So many times C{BATCH_MAX} wallets are looked at for one batch, and no more."""


@frozen(kw_only=True)
class _Part:
    """What of one wallet goes into a batch."""

    wallet: Address
    lines: tuple[Line, ...]
    promises: tuple[Promise, ...]


@frozen(kw_only=True)
class Settler:
    """
    @ivar signer: The enclave's key: signs vouchers and pays for transactions.
    @ivar measures: Told of what is signed.
    @ivar _broken: Wallets that are left out until a human has looked.
    @ivar _stuck: Batches that wait for a human, with their wallets.
    """

    queue: IVoucherQueue
    account: GasAccount
    mirror: interfaces.IChainMirror
    outlook: Outlook
    sender: Sender
    recovery: Recovery
    setbacks: Setbacks
    chain: IChain
    signer: ISigner
    domain: EIP712Domain
    ids: IIds
    wall: IWallClock
    policy: Policy
    measures: IMeasures = UNMEASURED
    _broken: dict[Address, BrokenLaw] = field(factory=dict, init=False)
    _stuck: dict[BatchId, tuple[Address, ...]] = field(factory=dict, init=False)
    _log = Logger()

    async def turn(self) -> None:
        """Send what is stored, then fill the free places with new batches."""
        mirror = await footing(self.mirror, self.wall, self.policy, self.signer.address)
        held = await self.recovery.held(mirror.block)
        batches = await self.account.without_lost(await self.queue.batches(), mirror.block)
        self.sender.keep(b.value for b in batches)
        await self.setbacks.look({wallet for b in batches for wallet in b.value.wallets})
        held = held or await self.setbacks.halted(mirror)
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
        again = self.setbacks.trouble()
        troubles += [] if again is None else [Transient(again)]
        troubles.sort(key=lambda why: not isinstance(why, BrokenLaw))
        if troubles:
            raise troubles[0]

    def left_out(self) -> frozenset[Address]:
        """Wallets that wait for a human, in this process's eyes."""
        return frozenset(self._broken).union(*self._stuck.values())

    async def _next_batch(self, mirror: Mirror) -> Stored[Batch] | None:
        """Number and seal what is worth a transaction; None when nothing is."""
        now = self.wall.now()
        worthy = await self._worthy(now)
        if await self.setbacks.halted(mirror) is not None:
            # Found out just now; the next turn says so.
            return None
        parts = await self._planned(worthy, mirror, now)
        # What is wrong with one wallet shows in what is stored: halved until it is alone.
        while parts:
            try:
                return await self._signed(parts, now)
            except Stale:
                # A charge or nonce moved between read and write: the next turn plans anew.
                return None
            except (BrokenLaw, BadInput) as why:
                if len(parts) == 1:
                    await self._leave_out(parts[0].wallet, why, now)
                    return None
                parts = parts[: len(parts) // 2]
        return None

    async def _worthy(self, now: UnixSeconds) -> list[StoredQueue]:
        """Wallets that are taken now, for one batch: many may have to be passed over."""
        waited = UnixSeconds(now - self.policy.batch_wait)
        most, seen = self.policy.batch_max, set[Address]()
        taken: list[StoredQueue] = []
        while sum(len(q.records) for q in taken) < most and len(seen) < PAGES * most:
            # Who was passed over rests: only those that were taken are offered again.
            offered = await self.queue.ready(waited, most + len(taken))
            fresh = [wallet for wallet in offered if wallet not in seen]
            if not fresh:
                break
            seen.update(fresh)
            found = await gather(*(self._queue(wallet, now) for wallet in fresh))
            taken += [
                q
                for q in found
                if q is not None and q.in_flight is None and await self._worthwhile(q, now)
            ]
        return taken

    async def _planned(
        self, queues: Sequence[StoredQueue], mirror: Mirror, now: UnixSeconds
    ) -> list[_Part]:
        """What of each wallet goes into the next batch."""
        parts: list[_Part] = []
        most, taken = min(self.policy.batch_max, self.sender.room()), 0
        plannable = await self.outlook.plannable(queues, mirror) if queues else []
        for queue, planned in zip(queues, plannable, strict=True):
            if parts and self.sender.apart(queue.wallet):
                # It is taken with the next, by itself.
                continue
            try:
                room = most - taken
                lines = plan([planned], room) if room > 0 else ()
                if not lines and (room > 0 or not plan([planned], 1)):
                    # One that only found the batch full is taken with the next.
                    await self.queue.rest(queue, UnixSeconds(now + REST_SECONDS))
                lines, most = within(lines, taken, most)
                by_id = {r.value.charge.id: r for r in queue.records}
                promises = tuple(
                    promise(self.domain, self.signer, by_id[line.record.charge.id], line, now)
                    for line in lines
                )
            except (BrokenLaw, BadInput) as why:
                await self._leave_out(queue.wallet, why, now)
                continue
            if lines:
                taken = most if self.sender.apart(queue.wallet) else taken + len(lines)
                parts.append(_Part(wallet=queue.wallet, lines=lines, promises=promises))
        return parts

    async def _signed(self, parts: Sequence[_Part], now: UnixSeconds) -> Stored[Batch]:
        lines = [line for part in parts for line in part.lines]
        batch = Batch(
            id=self.ids.batch(),
            wallets=tuple(part.wallet for part in parts),
            charges=charge_ids(lines),
            created_at=now,
        )
        stored = await self.queue.sign(batch, [one for part in parts for one in part.promises])
        self.measures.observe(BATCH_VOUCHERS, len(lines))
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
            await self._leave_out(wallet, why, now)
            return None
        self._broken.pop(wallet, None)
        return found

    async def _leave_out(
        self, wallet: Address, why: BrokenLaw | BadInput, now: UnixSeconds
    ) -> None:
        """Nothing of a wallet goes out before a human has looked; everything else does."""
        self._log.critical("{wallet} is left out: {why}", wallet=wallet.hex, why=str(why))
        self._broken[wallet] = _law(why)
        await self.queue.set_aside(wallet, UnixSeconds(now + REST_SECONDS))

    async def _worthwhile(self, queue: StoredQueue, now: UnixSeconds) -> bool:
        """Whether a wallet is taken now (design.md §4.4); otherwise it rests."""
        if not queue.records or queue.account is None or queue.blocked == QUARANTINED:
            await self.queue.rest(queue, UnixSeconds(now + REST_SECONDS))
            return False
        ripe = max(settle_at(queue, self.policy), self.setbacks.rests_until(queue))
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

"""
Following the chain: the single writer of the chain mirror, and of outcomes.

A turn moves the mirror to a block H that lies C{CONFIRMATIONS} behind the head:
batches mined at or below H are resolved, then the accounts that changed are
read at H and stored.  Every read of a turn names H.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, frozen
from twisted.logger import Logger

from sandbox_billing.errors import BrokenLaw
from sandbox_billing.interfaces import (
    UNMEASURED,
    AccountEvent,
    Happenings,
    IChain,
    IChainMirror,
    IMeasures,
    IMeter,
    IStopOrders,
    IWallClock,
    Stale,
    Stored,
    Unreadable,
)
from sandbox_billing.ledger.account import BlockRef, Mirror, ServiceRecord
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.metering import Session, tick_now
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.measures import CHAIN_HEAD_BLOCK
from sandbox_billing.services.policy import Policy
from sandbox_billing.services.resolver import Resolver
from sandbox_billing.services.second_look import DEPTH


NEWCOMER_TRIES = 10


@frozen
class Affected:
    """
    @ivar sessions: Of wallets that may leave, or have revoked.
    @ivar revoked: Those that have.
    """

    sessions: tuple[Stored[Session], ...]
    revoked: frozenset[Address]


@frozen(kw_only=True)
class Watcher:
    """
    @ivar resolver: Ends the batches whose transactions are final.
    @ivar measures: Told how far the chain is.
    """

    mirror: IChainMirror
    meter: IMeter
    stops: IStopOrders
    chain: IChain
    resolver: Resolver
    wall: IWallClock
    policy: Policy
    measures: IMeasures = UNMEASURED
    _log = Logger()

    async def turn(self) -> None:
        """Move the mirror to the newest confirmed block, or stamp it as still newest."""
        head = await self.chain.head()
        self.measures.set(CHAIN_HEAD_BLOCK, head.number)
        height = max(0, head.number - self.policy.confirmations)
        before = await self.mirror.mirror()
        if before is not None and height < before.value.block.number:
            # A lagging node; the mirror's age tells how long this lasts.
            return
        block = await self.chain.block(height)
        if before is not None and height == before.value.block.number:
            await self._still(before, block, head)
            return
        asked = self.policy.tariff.read_again
        replaced = await self._replaced(before)
        first = await self._first(before)
        if replaced:
            # What stands in the blocks that took the place of those we read.
            first = max(0, first - DEPTH)
        happened = await self._read(first, height)
        broken = await self.resolver.resolve_up_to(block, happened)
        # Before the mirror moves on: what is done twice is harmless, what is lost is not.
        running = await self._affected(block, happened.events)
        broken += await self._charge(running)
        await self._stop(running)
        stamp, everybody = self._stamp(before, head), replaced or asked
        await self._step(before, block, happened, stamp, everybody=everybody)
        if asked:
            self.policy.tariff.read_again = False
        # Again: until the mirror knew of the revoke, an order for it seemed to have no reason.
        await self._stop(running)
        if broken:
            # Told only now: everybody else's mirror goes on.
            raise broken[0]

    def _stamp(self, before: Stored[Mirror] | None, head: BlockRef) -> UnixSeconds:
        """
        When the mirror was last known to be fresh: now, unless the chain itself stands still.

        A node that answers and no longer follows the chain must not pass for fresh (§4.8).
        """
        now = self.wall.now()
        if now - head.timestamp <= self.policy.mirror_max_age:
            return now
        self._log.warn("the newest block is {seconds} s old", seconds=now - head.timestamp)
        return before.value.updated_at if before is not None else UnixSeconds(0)

    async def _still(self, before: Stored[Mirror], block: BlockRef, head: BlockRef) -> None:
        if before.value.block.hash != block.hash:
            # The next step reads everybody again; until then the mirror only grows older.
            return
        stamp = self._stamp(before, head)
        if stamp - before.value.updated_at >= max(1, self.policy.mirror_max_age // 4):
            await self.mirror.step(before, evolve(before.value, updated_at=stamp), (), (), ())

    async def _replaced(self, before: Stored[Mirror] | None) -> bool:
        """Whether the chain was reorganised deeper than CONFIRMATIONS: accounts may be wrong."""
        if before is None:
            return False
        was = before.value.block
        if (await self.chain.block(was.number)).hash == was.hash:
            return False
        self._log.critical("block {block} was replaced after it was confirmed", block=was.number)
        return True

    async def _first(self, before: Stored[Mirror] | None) -> int:
        if before is not None:
            return before.value.block.number + 1
        if self.policy.start_block is not None:
            return self.policy.start_block
        return await self.chain.first_block()

    async def _read(self, first: int, last: int) -> Happenings:
        """What happened in C{[first, last]}; history of a long way back is stored as it is read."""
        found = Happenings(settlements=(), events=(), services=())
        while first <= last:
            until = min(last, first + self.policy.log_range - 1)
            part = await self.chain.happenings(first, until)
            if until < last:
                at = await self.chain.block(last)
                await self.mirror.add_history(
                    part.settlements, await self._services(part.services, at)
                )
            found = Happenings(
                settlements=found.settlements + part.settlements,
                events=found.events + part.events,
                services=tuple(dict.fromkeys(found.services + part.services)),
            )
            first = until + 1
        return found

    async def _services(
        self, providers: Sequence[Address], at: BlockRef
    ) -> tuple[ServiceRecord, ...]:
        """Anybody may register: a record of another's that cannot be read stops nobody."""
        records: list[ServiceRecord] = []
        for provider in providers:
            try:
                record = await self.chain.service(provider, at)
            except Unreadable as why:
                if provider == self.policy.provider:
                    raise
                self._log.warn(
                    "the registration of provider {provider} is left out: {why}",
                    provider=provider.hex,
                    why=str(why),
                )
                continue
            if record is not None:
                records.append(record)
        return tuple(records)

    async def _step(
        self,
        before: Stored[Mirror] | None,
        block: BlockRef,
        happened: Happenings,
        stamp: UnixSeconds,
        *,
        everybody: bool,
    ) -> None:
        """
        @param stamp: When the mirror was last known to be fresh.
        @param everybody: Read all accounts and our registration, changed or not.
        """
        services = await self._services(happened.services, block)
        known = await self.mirror.wallets()
        registration_moved = (
            before is None or everybody or self.policy.provider in happened.services
        )
        if registration_moved:
            # A new version voids every acknowledgement: read them all again.
            changed: list[Address] = list(known)
        else:
            touched = {e.wallet for e in happened.events} | {s.user for s in happened.settlements}
            changed = [wallet for wallet in known if wallet in touched]
        changed += _newly_paid_in(happened.events, known)
        accounts = await self.chain.accounts(changed, block) if changed else ()
        old = before.value if before is not None else None
        service = (
            await self.chain.service(self.policy.provider, block)
            if old is None or registration_moved
            else old.service
        )
        raised = (
            old is not None
            and old.service is not None
            and service is not None
            and service.signer_version > old.service.signer_version
        )
        now = self.wall.now()
        if raised:
            self._log.warn(
                "the signer version rose: wallets have {seconds} s to acknowledge it before what"
                " they run is stopped",
                seconds=self.policy.ack_grace,
            )
        after = Mirror(
            block=block,
            service=service,
            leaving_at=await self._leaving_at(old, block, happened.events),
            version_changed_at=now if raised else (old.version_changed_at if old else None),
            updated_at=stamp,
            behaviour=await self.chain.behaviour(block),
        )
        for _ in range(NEWCOMER_TRIES):
            try:
                await self.mirror.step(
                    before, after, accounts, happened.settlements, services, known=known
                )
            except Stale:
                # Somebody was mirrored at the old block meanwhile: read the newcomers alone,
                # so that no crowd of them can hold the step up.
                now_known = await self.mirror.wallets()
                newcomers = [wallet for wallet in now_known if wallet not in set(known)]
                if not newcomers:
                    raise
                known = now_known
                accounts = (*accounts, *await self.chain.accounts(newcomers, block))
            else:
                return
        raise Stale("new wallets come faster than they can be read")

    async def _leaving_at(
        self, old: Mirror | None, block: BlockRef, events: Sequence[AccountEvent]
    ) -> UnixSeconds | None:
        moved = any(e.name in ("ProviderLeaving", "ProviderLeft", "ServiceUpdated") for e in events)
        if old is None or moved:
            return await self.chain.leaving_at(block)
        return old.leaving_at

    async def _affected(self, at: BlockRef, events: Sequence[AccountEvent]) -> Affected:
        """What runs for wallets that asked for a refund or revoked (§4.8)."""
        leaving = {e.wallet for e in events if e.name == "RefundRequested"}
        told = {e.wallet for e in events if e.name == "TEESignerAcknowledged"} - {None}
        if not leaving and not told:
            return Affected((), frozenset())
        accounts = await self.chain.accounts([w for w in told if w is not None], at)
        revoked = frozenset(account.wallet for account in accounts if not account.acknowledged)
        sessions = tuple(
            session
            for session in await self.meter.sessions()
            if session.value.owner in leaving or session.value.owner in revoked
        )
        return Affected(sessions, revoked)

    async def _charge(self, affected: Affected) -> tuple[BrokenLaw, ...]:
        """Charge what ran so far, before the money can leave."""
        broken = []
        now = self.wall.now()
        for session in affected.sessions:
            seen_at = await self.meter.seen_at(session.value.sandbox)
            step = tick_now(session.value, seen_at=seen_at, now=now)
            if step is None:
                continue
            try:
                await self.meter.charge(session, step)
            except Stale:
                # Charged or closed by somebody else, or charged on an earlier try.
                self._log.info("{sandbox} moved meanwhile", sandbox=session.value.sandbox)
            except BrokenLaw as why:
                self._log.critical("{sandbox}: {why}", sandbox=session.value.sandbox, why=str(why))
                broken.append(why)
        return tuple(broken)

    async def _stop(self, affected: Affected) -> None:
        """A revoke stops at once."""
        now = self.wall.now()
        for session in affected.sessions:
            if session.value.owner in affected.revoked:
                await self.stops.order(session.value.sandbox, "not_acknowledged", now)


def _newly_paid_in(events: Sequence[AccountEvent], known: Sequence[Address]) -> list[Address]:
    """
    Wallets that are mirrored because somebody paid in for them.

    A wallet with a key is mirrored when it first asks for something.  One that is a contract
    could not even prove that it asks: nobody asks a contract that has nothing here (A4).
    """
    paid_in = {event.wallet: None for event in events if event.name == "Deposited"}
    return [wallet for wallet in paid_in if wallet is not None and wallet not in set(known)]

"""
Redis, the chain and Daytona, as C{reconcile} sees them: discover, and carry out.

Tests: L{tests.cli.test_reconcile}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from sandbox_billing.adapters.redis.commit import Read
from sandbox_billing.adapters.redis.inventory import Found, Inventory
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.redis.rebuilding import Rebuilder, baselines
from sandbox_billing.adapters.redis.store import Timing
from sandbox_billing.applied import prices_of
from sandbox_billing.cli.reconcile_turns import Renewal, Turns
from sandbox_billing.configuration import Configuration
from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import DaytonaRefused, IChain, IRuntime
from sandbox_billing.ledger.account import Account, BlockRef, ServiceRecord, Settlement
from sandbox_billing.ledger.balancing import compare
from sandbox_billing.ledger.comparison import Difference, Mirror, Outside, Price
from sandbox_billing.ledger.hold import hold_for
from sandbox_billing.ledger.identity import Address, Nonce, SandboxId
from sandbox_billing.ledger.listing import unexplained
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.rating import card_in_force, rate_of
from sandbox_billing.ledger.reconciliation import Row
from sandbox_billing.ledger.voucher import Charge
from sandbox_billing.services.reconciler import rows_of
from sandbox_billing.signing.eip712 import usage_hash


PAGE = 500

ASKED = 20
"""For so many wallets is every node asked in one look."""

LEASE_SECONDS = 30
"""Renewed while it works; a command that dies is in nobody's way for longer."""

HOW_TO_STOP = (
    "stop it first (systemctl stop 'sandbox-billing*', or SIGTERM to it): sandboxes run on. A"
    " worker that was killed holds it for LEASE_SEC"
)


@frozen(kw_only=True)
class Look:
    """One comparison, with what it rests on."""

    found: Found
    block: BlockRef
    differences: tuple[Difference, ...]
    unknown_nonce: int | None


@define(kw_only=True, eq=False)
class Scales:
    """
    Everything that is compared.

    @ivar pool: Where it is compared.
    @ivar settings: The daemon's.
    @ivar say: Told what is under way.
    @ivar _events: Of the chain, as far as they were read.
    @ivar _read_until: Up to which block; -1 for none.
    @ivar _begun: From which.
    """

    reactor: Any
    pool: ThreadPool
    settings: Configuration
    provider: Address
    service: ServiceRecord
    journal: Journal
    inventory: Inventory
    chain: IChain
    runtime: IRuntime
    say: Callable[[str], None]
    _events: list[Settlement] = field(factory=list, init=False)
    _read_until: int | None = field(default=None, init=False)
    _begun: int | None = field(default=None, init=False)

    # -- discover ------------------------------------------------------------------------

    async def worker(self) -> str | None:
        """Who else holds the lease; None when nobody does."""
        store = self.journal.store
        (holder,) = await store.read(Read("GET", store.keys.lease()))
        if not isinstance(holder, bytes):
            return None
        owner, _, token = holder.decode().rpartition(":")
        ours = store.token.value is not None and token == store.token.value.decode()
        return None if ours else owner

    async def steady(self) -> Look:
        """What is so on two looks: what moves on between them was only on its way."""
        look = await self.look()
        if not look.differences:
            return look
        working = await self.worker() is not None
        # Long enough for a sweep that begins now and ends late.
        seconds = 2 * (self.settings.reconcile_interval or 0) + 2 if working else 1
        self.say(f"{len(look.differences)} differences; looking again in {seconds} s")
        await deferLater(self.reactor, seconds)
        before = {difference.same for difference in look.differences}
        look = await self.look()
        kept = tuple(one for one in look.differences if one.same in before)
        return Look(
            found=look.found,
            block=look.block,
            differences=kept,
            unknown_nonce=look.unknown_nonce,
        )

    async def look(self) -> Look:
        """Discover and compare once."""
        block = await self._block(await self._mirrored())
        self.say(f"reading the chain up to block {block.number}")
        events = await self._settlements(block)
        self.say("reading Daytona's list")
        rows = await self._rows()
        self.say("reading Redis")
        found = await self.inventory.take(*await baselines(self.journal))
        outside = await self._outside(found, block, events, rows)
        missing = unexplained(found.store, outside)
        if missing:
            events = await self._asked_again(sorted(missing)[:ASKED], block)
            outside = evolve(outside, settlements=events)
        # Mirror and moments of the store are this machine's: one clock for all of it.
        now = self.journal.store.wall.now()
        # Seconds of a large store's: the lease is renewed meanwhile.
        differences = await deferToThreadPool(
            self.reactor, self.pool, compare, found.store, outside, hashed, now
        )
        return Look(
            found=found,
            block=block,
            differences=differences,
            unknown_nonce=outside.unknown_nonce,
        )

    async def _mirrored(self) -> int | None:
        try:
            mirror = await self.journal.doors.mirror()
        except BadInput:
            # The inventory names it.
            return None
        return None if mirror is None else mirror.value.block.number

    async def _block(self, mirrored: int | None) -> BlockRef:
        """The mirror's block while a worker follows the chain, else the newest confirmed one."""
        head = await self.chain.head()
        confirmed = max(0, head.number - self.settings.confirmations)
        if mirrored is not None and await self.worker() is not None:
            confirmed = min(confirmed, mirrored)
        return await self.chain.block(confirmed)

    async def _settlements(self, block: BlockRef) -> tuple[Settlement, ...]:
        first = self.settings.start_block
        if self._read_until is not None:
            first = self._read_until + 1
        elif first is None:
            first = await self.chain.first_block()
        if self._begun is None:
            self._begun = first
        while first <= block.number:
            last = min(block.number, first + self.settings.log_range - 1)
            self._events.extend((await self.chain.happenings(first, last)).settlements)
            self._read_until = last
            first = last + 1
        return tuple(event for event in self._events if event.block <= block.number)

    async def _asked_again(
        self, wallets: Sequence[Address], block: BlockRef
    ) -> tuple[Settlement, ...]:
        """All events, after every node was asked for these wallets': one may leave some out."""
        self.say(f"asking every node for the vouchers of {len(wallets)} wallets")
        known = {(event.block, event.log_index): event for event in self._events}
        for wallet in wallets:
            first = self._begun or 0
            while first <= block.number:
                last = min(block.number, first + self.settings.log_range - 1)
                moves = await self.chain.moves(wallet, first, last)
                known.update({(e.block, e.log_index): e for e in moves.settlements})
                first = last + 1
        self._events[:] = [event for _place, event in sorted(known.items())]
        return tuple(event for event in self._events if event.block <= block.number)

    async def _rows(self) -> tuple[Row, ...] | None:
        """@return: None when Daytona does not answer: nonces and charges need no list."""
        try:
            pages = await self.runtime.sweep()
        except (Transient, UnknownOutcome) as why:
            self.say(f"Daytona does not answer: {why}")
            return None
        except DaytonaRefused as why:
            raise BadInput(f"Daytona refuses the list of sandboxes: {why}") from why
        return rows_of(pages)

    async def _outside(
        self,
        found: Found,
        block: BlockRef,
        events: tuple[Settlement, ...],
        rows: tuple[Row, ...] | None,
    ) -> Outside:
        store = found.store
        owners = {row.owner for row in rows or () if row.running and row.owner is not None}
        wallets = store.known | store.nonces.keys() | owners
        wallets |= {r.charge.owner for r in store.shelf.charges.values()}
        nonces = await self._nonces(sorted(wallets), block)
        accounts = await self._accounts(owners, block)
        return Outside(
            block=block.number,
            settlements=events,
            nonces=nonces,
            customers=frozenset(
                a.wallet for a in accounts.values() if a.collectable or a.last_nonce
            ),
            unknown_nonce=await self._unknown(found, block),
            rows=rows,
            prices=self._prices(rows or ()),
            provider=self.provider,
            signer_version=self.service.signer_version,
        )

    async def _nonces(self, wallets: Sequence[Address], block: BlockRef) -> dict[Address, Nonce]:
        found: dict[Address, Nonce] = {}
        for start in range(0, len(wallets), PAGE):
            page = wallets[start : start + PAGE]
            found.update(zip(page, await self.chain.last_nonces(page, block), strict=True))
        return found

    async def _accounts(
        self, wallets: Iterable[Address], block: BlockRef
    ) -> dict[Address, Account]:
        names, found = sorted(wallets), {}
        for start in range(0, len(names), PAGE):
            for account in await self.chain.accounts(names[start : start + PAGE], block):
                found[account.wallet] = account
        return found

    async def _unknown(self, found: Found, block: BlockRef) -> int | None:
        """As L{services.recovery} asks it: an account nonce that is used for nothing stored."""
        signer = self.service.signer
        mine = {
            attempt.account_nonce
            for batch in found.store.shelf.batches.values()
            for attempt in batch.attempts
            if attempt.sender == signer
        }
        used = await self.chain.account_nonce(block)
        counts = await self.chain.account_nonces()
        several = range(used, max(counts.mined, counts.pending))
        return next((nonce for nonce in several if nonce not in mine), None)

    def _prices(self, rows: Iterable[Row]) -> dict[SandboxId, Price]:
        settings, service = self.settings, self.service
        card = card_in_force(service.prices, prices_of(settings), service.signer_version)
        found = {}
        for row in rows:
            if row.running:
                try:
                    rate = rate_of(card, row.resources)
                except Refused:
                    continue
                hold = hold_for(
                    rate,
                    Neuron(0),
                    interval=settings.voucher_interval,
                    stop_delay=settings.stop_delay,
                )
                found[row.sandbox] = Price(rate, hold)
        return found

    # -- carry out -------------------------------------------------------------------------

    async def require_alone(self, look: Look) -> None:
        """
        @raise Refused: A worker works, or a transaction is on its way that nobody knows.
        """
        worker = await self.worker()
        if worker is not None:
            raise Refused(f"the worker {worker} holds the lease: {HOW_TO_STOP}")
        if look.unknown_nonce is not None:
            raise Refused(
                f"a transaction of ours with account nonce {look.unknown_nonce} is on its way and"
                " not stored: what it settles must be final first. Run this again when it is mined;"
                " a daemon that is started uses the nonce up after ten minutes"
            )

    async def rebuild(self, shown: Look) -> tuple[int, Look]:
        """
        Carry out what was shown, where it is so still.

        @return: How many repairs were made, and what is different afterwards.
        @raise Refused: Somebody is the worker now.
        @raise UnknownOutcome: Some were made, and then something failed, or Ctrl-C.
        """
        lease = self.journal.lease
        if not await lease.acquire():
            raise Refused(f"a worker has taken the lease meanwhile: {HOW_TO_STOP}")
        made, begun = 0, False
        renewal = Renewal(lease, LEASE_SECONDS / 3, self.reactor)
        renewal.start()
        try:
            look = await self.look()
            await self._require_known(look)
            wanted = {one.same for one in shown.differences if one.repair is not None}
            rebuilder = await self._rebuilder(look, [d for d in look.differences if d.repair])
            turns = Turns(
                store=look.found.store,
                shown=frozenset(wanted),
                lease=lease,
                apply=rebuilder.apply,
                say=self.say,
            )
            begun = True
            try:
                await turns.carry_out(look.differences)
            finally:
                made = turns.made
            return made, await self.look()
        except (Transient, BadInput) as why:
            if not made:
                raise
            raise UnknownOutcome(f"{made} repairs were made, then: {why}; run it again") from why
        except CancelledError:
            if not begun:
                raise
            raise UnknownOutcome(
                f"stopped in the middle: {made} repairs were made, or one more; run it again"
            ) from None
        finally:
            await renewal.stop()
            await lease.give_up()

    async def _require_known(self, look: Look) -> None:
        if look.unknown_nonce is not None:
            raise Refused("a transaction of ours has appeared that is not stored: run it again")

    async def _rebuilder(self, look: Look, repairs: Sequence[Difference]) -> Rebuilder:
        mirror = look.found.mirror
        at = look.block if mirror is None else mirror.value.block
        new = [d.repair.wallet for d in repairs if isinstance(d.repair, Mirror)]
        settings = self.settings
        return Rebuilder(
            journal=self.journal,
            found=look.found,
            timing=Timing(
                interval_seconds=settings.voucher_interval, ripen_seconds=settings.settle_max_age
            ),
            accounts=await self._accounts(new, at),
            now=self.journal.store.wall.now(),
        )


def hashed(charge: Charge) -> str:
    """A charge's usage hash."""
    if charge.usage_hash is not None:
        return charge.usage_hash
    period = charge.period_start, charge.period_end
    return "0x" + usage_hash(charge.sandbox, *period, charge.units).hex()

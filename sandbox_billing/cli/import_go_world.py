"""
What an import rests on, and how it is carried out: discover twice, plan, ask, write.

Tests: L{tests.cli.test_import_go}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from sandbox_billing import startup
from sandbox_billing.adapters.redis.go_import import GoImporter
from sandbox_billing.adapters.redis.go_store import GoFound, GoStore
from sandbox_billing.adapters.redis.keyspace import RedisKeyspace
from sandbox_billing.adapters.redis.rebuilding import baselines
from sandbox_billing.applied import prices_of
from sandbox_billing.cli.reconcile_turns import Renewal
from sandbox_billing.cli.reconcile_world import HOW_TO_STOP, LEASE_SECONDS, PAGE, Scales, hashed
from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import DaytonaRefused
from sandbox_billing.ledger.account import Account, BlockRef, Settlement
from sandbox_billing.ledger.go_facts import GoFacts, GoWorld, wallets_of
from sandbox_billing.ledger.go_forms import GoVoucher
from sandbox_billing.ledger.go_plan import GoPlan, plan_import
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.services.reconciler import rows_of
from sandbox_billing.signing.eip712 import EIP712Domain, VoucherFields, digest
from sandbox_billing.signing.key import recover


PAUSE_SECONDS = 2
"""Between two looks: whoever still writes is found out by what changed, or later by a write."""

GO_CLIENTS = ("lib-name=go-redis", "cmd=blpop")
"""How the Go system shows in the server's list of clients: its library, and that it waits for
vouchers."""


@frozen(kw_only=True)
class Shown:
    """
    What is planned, with what it rests on.

    @ivar accounts: Of the plan's wallets.
    @ivar obstacles: Why it could not be carried out now; empty when it can.
    """

    found: GoFound
    plan: GoPlan
    block: BlockRef
    accounts: dict[Address, Account]
    obstacles: tuple[str, ...] = ()


@frozen(kw_only=True)
class Moving:
    """
    One run of the command.

    @ivar scales: Redis, chain and Daytona.
    @ivar keyspace: That of its journal.
    @ivar pause_seconds: Between two looks.
    """

    scales: Scales
    keyspace: RedisKeyspace
    pause_seconds: float = PAUSE_SECONDS

    # -- discover ------------------------------------------------------------------------

    async def shown(self, *, only: bool = False) -> Shown:
        """
        The plan.

        @param only: Nothing is to be written: what stands in the way is told with the plan, so
            that it can be looked at while the Go system still runs.
        @raise Refused: Somebody works with these keys, or something is under way.
        @raise BadInput: Something is not understood; all of it at once.
        """
        obstacles: list[str] = []
        await self._require_server()
        await _told(obstacles, only, self._require_alone())
        found = await self._look()
        if found.problems:
            raise BadInput(
                "not understood, and nothing was changed (docs: migration):\n"
                + "\n".join(found.problems)
            )
        await _told(obstacles, only, self._require_rest(found))
        block = await self._confirmed()
        await _told(obstacles, only, self._require_settled(block))
        return evolve(await self._planned(found, block), obstacles=tuple(obstacles))

    async def _require_rest(self, found: GoFound) -> None:
        if found.pending:
            raise Refused(
                "the Go system has a transaction under way (settler:pending-tx): start it once"
                " more, let it settle or give that up, and stop it"
            )
        await deferLater(self.scales.reactor, self.pause_seconds)
        if await self._look() != found:
            raise Refused("these keys change under us: the Go system still runs; stop it first")

    async def _look(self) -> GoFound:
        self.scales.say("reading what the Go system left")
        return await GoStore(store=self.scales.journal.store, names=self.keyspace.names).look()

    async def _require_server(self) -> None:
        facts = await self.keyspace.facts()
        startup.refuse(
            startup.redis_problems(
                policy=facts.maxmemory_policy,
                appendonly=facts.appendonly,
                volatile_allowed=False,
                clock_offset=facts.time_offset_seconds,
            )
        )

    async def _require_alone(self) -> None:
        worker = await self.scales.worker()
        if worker is not None:
            raise Refused(f"the worker {worker} holds the lease: {HOW_TO_STOP}")
        for client in await self.keyspace.clients():
            if any(part.startswith(GO_CLIENTS) for part in client.lower().split()):
                where = next((one for one in client.split() if one.startswith("addr=")), "")
                raise Refused(f"the Go system is still connected ({where}): stop it first")

    async def _confirmed(self) -> BlockRef:
        scales = self.scales
        head = await scales.chain.head()
        return await scales.chain.block(max(0, head.number - scales.settings.confirmations))

    async def _planned(self, found: GoFound, block: BlockRef) -> Shown:
        scales = self.scales
        wallets = wallets_of(found.facts)
        scales.say(f"reading the chain up to block {block.number}")
        accounts: dict[Address, Account] = {}
        nonces: dict[Address, Nonce] = {}
        at = await self._mirrored() or block
        for start in range(0, len(wallets), PAGE):
            page = wallets[start : start + PAGE]
            nonces.update(zip(page, await scales.chain.last_nonces(page, block), strict=True))
            accounts.update({one.wallet: one for one in await scales.chain.accounts(page, at)})
        world = await self._world(found.facts, nonces, await self._settlements(block, nonces))
        return Shown(
            found=found, plan=plan_import(found.facts, world), block=block, accounts=accounts
        )

    async def _mirrored(self) -> BlockRef | None:
        mirror = await self.scales.journal.doors.mirror()
        return None if mirror is None else mirror.value.block

    async def _require_settled(self, block: BlockRef) -> None:
        """What the Go system has sent is final: else its outcome is not known."""
        chain = self.scales.chain
        used, counts = await chain.account_nonce(block), await chain.account_nonces()
        if max(counts.mined, counts.pending) > used:
            raise Transient(
                f"a transaction of the signer {self.scales.service.signer} is on its way, or not"
                f" {self.scales.settings.confirmations} blocks deep: run this again when it is"
            )

    async def _settlements(
        self, block: BlockRef, nonces: Mapping[Address, Nonce]
    ) -> tuple[Settlement, ...]:
        """
        All of them; a wallet's last nonce on chain has its event, or a node leaves some out, and
        what was settled would be charged once more.
        """
        scales = self.scales
        found: list[Settlement] = []
        first = scales.settings.start_block
        if first is None:
            first = await scales.chain.first_block()
        begun = first
        while first <= block.number:
            last = min(block.number, first + scales.settings.log_range - 1)
            found.extend((await scales.chain.happenings(first, last)).settlements)
            first = last + 1
        for wallet in _unexplained(found, nonces):
            scales.say(f"asking every node for the vouchers of {wallet}")
            found.extend(await self._asked_again(wallet, begun, block))
        for wallet in _unexplained(found, nonces):
            raise Transient(
                f"no node tells what nonce {nonces[wallet]} of {wallet} was settled for, and it is"
                " used: name another node in RPC_URL, or an earlier START_BLOCK"
            )
        return tuple({(one.block, one.log_index): one for one in found}.values())

    async def _asked_again(self, wallet: Address, first: int, block: BlockRef) -> list[Settlement]:
        scales = self.scales
        found: list[Settlement] = []
        while first <= block.number:
            last = min(block.number, first + scales.settings.log_range - 1)
            found.extend((await scales.chain.moves(wallet, first, last)).settlements)
            first = last + 1
        return found

    async def _world(
        self,
        facts: GoFacts,
        nonces: dict[Address, Nonce],
        settlements: tuple[Settlement, ...],
    ) -> GoWorld:
        scales, settings = self.scales, self.scales.settings
        scales.say("reading Daytona's list")
        try:
            pages = await scales.runtime.sweep()
        except DaytonaRefused as why:
            raise BadInput(f"Daytona refuses the list of sandboxes: {why}") from why
        known, _damaged = await baselines(scales.journal)
        domain = EIP712Domain(settings.chain_id, settings.settlement_contract)
        return GoWorld(
            rows={row.sandbox: row for row in rows_of(pages)},
            service=scales.service,
            prices=prices_of(settings),
            nonces=nonces,
            settlements=settlements,
            accepted={wallet: one.upto for wallet, one in known.items()},
            interval=settings.voucher_interval,
            stop_delay=settings.stop_delay,
            now=scales.journal.store.wall.now(),
            hashed=hashed,
            verifies=lambda voucher: _signed_by(domain, voucher, scales.service.signer),
        )

    # -- carry out -----------------------------------------------------------------------

    async def carry_out(self, shown: Shown) -> int:
        """
        Do what was shown.

        @return: How many writes that took.
        @raise Refused: Somebody is the worker now, or something has changed.
        @raise UnknownOutcome: Some were made, and then something failed, or Ctrl-C: run it again.
        """
        lease = self.scales.journal.lease
        if not await lease.acquire():
            raise Refused(f"a worker has taken the lease meanwhile: {HOW_TO_STOP}")
        renewal = Renewal(lease, LEASE_SECONDS / 3, self.scales.reactor)
        renewal.start()
        made, begun = 0, False
        try:
            # A supervisor may have started it while somebody read the plan.
            await self._require_alone()
            if await self._look() != shown.found:
                raise Refused("what was shown has changed meanwhile: run it again")
            importer = GoImporter(
                journal=self.scales.journal,
                found=shown.found,
                plan=shown.plan,
                accounts=shown.accounts,
                interval_seconds=self.scales.settings.voucher_interval,
                now=self.scales.journal.store.wall.now(),
            )
            begun = True
            async for step in importer.steps():
                made += 1
                self.scales.say(step)
            return made
        except (Transient, BadInput) as why:
            if not made:
                raise
            raise UnknownOutcome(f"{made} writes were made, then: {why}; run it again") from why
        except CancelledError:
            if not begun:
                raise
            raise UnknownOutcome(
                f"stopped in the middle: {made} writes were made, or one more; run it again, and"
                " it goes on"
            ) from None
        finally:
            await renewal.stop()
            await lease.give_up()


async def _told(obstacles: list[str], only: bool, work: Awaitable[None]) -> None:
    """What stands in the way is told where nothing is to be written."""
    try:
        await work
    except (Refused, Transient) as why:
        if not only:
            raise
        obstacles.append(str(why))


def _unexplained(
    found: Iterable[Settlement], nonces: Mapping[Address, Nonce]
) -> tuple[Address, ...]:
    """Wallets whose last nonce on chain no event explains."""
    told: dict[Address, int] = {}
    for one in found:
        told[one.user] = max(told.get(one.user, 0), one.nonce)
    return tuple(wallet for wallet, last in nonces.items() if last > told.get(wallet, 0))


def _signed_by(domain: EIP712Domain, voucher: GoVoucher, signer: Address) -> bool:
    if voucher.nonce is None or voucher.signature is None:
        return False
    fields = VoucherFields(
        user=voucher.user,
        provider=voucher.provider,
        usage_hash=bytes.fromhex(voucher.usage_hash[2:]),
        nonce=voucher.nonce,
        total_fee=voucher.fee,
    )
    try:
        return recover(digest(domain, fields), bytes.fromhex(voucher.signature[2:])) == signer
    except BadInput:
        return False

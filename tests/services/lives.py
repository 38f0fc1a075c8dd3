"""
One life of the daemon: its services as wired, behind ports at which it can die.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from zope.interface import implementer

from sandbox_billing.adapters.memory.chain import MemoryChain
from sandbox_billing.adapters.redis.commit import Commit, Committed, Expectation, Read, Reply
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.redis.seam import IKeyspace, ServerFacts
from sandbox_billing.ledger.identity import Address
from sandbox_billing.services._periodic import Periodic
from sandbox_billing.services._supervise import Supervisor
from sandbox_billing.services.lease_keeper import LeaseKeeper
from sandbox_billing.services.readiness import Readiness
from sandbox_billing.services.work import Work
from sandbox_billing.signing.eip712 import EIP712Domain
from sandbox_billing.signing.key import SigningKey
from sandbox_billing.wiring import Parts, make_intake, make_work


if TYPE_CHECKING:
    from tests.fixtures import World

T = TypeVar("T")

PROVIDER = Address("0x" + "ab" * 20)
DOMAIN = EIP712Domain(16602, Address("0x" + "cd" * 20))
SWEEP = 5
"""RECONCILE_INTERVAL_SEC."""


@define(eq=False)
class Life:
    """
    Lets calls to ports through, until it ends.

    @ivar calls: Names of the calls that change something, in order.
    @ivar dies_at: The number of the call to die at, from 0; None: never.
    @ivar after: Whether that call still has its effect.
    """

    dies_at: int | None = None
    after: bool = False
    dead: bool = False
    calls: list[str] = field(factory=list)
    _held: list[Deferred[None]] = field(factory=list)

    async def through(self, name: str, call: Callable[[], Awaitable[T]], *, counted: bool) -> T:
        """Make a call, or never return from it."""
        if self.dead:
            await self._never()
        mine = counted and len(self.calls) == self.dies_at
        if counted:
            self.calls.append(name)
        if mine and not self.after:
            self.dead = True
            await self._never()
        try:
            result = await call()
        finally:
            self.dead = self.dead or mine
            if self.dead:
                await self._never()
        return result

    async def _never(self) -> None:
        waiting: Deferred[None] = Deferred()
        # Held, so that what waits is not collected while the test still looks.
        self._held.append(waiting)
        await waiting


@implementer(IKeyspace)
@define(eq=False)
class MortalKeyspace:
    """A keyspace as one life sees it."""

    inner: IKeyspace
    life: Life

    async def read(self, reads: Sequence[Read]) -> tuple[Reply, ...]:
        return await self.life.through("read", lambda: self.inner.read(reads), counted=False)

    async def commit(self, commit: Commit) -> Committed:
        # Renewing the lease and looking for work are no steps of a story; nor is what a wallet
        # is told, which has deaths of its own (C{test_warner}).
        counted = bool(commit.writes) and commit.name not in (
            "renew the lease",
            "acquire the lease",
            "mark what is settled",
        )
        counted = counted and not commit.name.startswith("tell 0x")
        return await self.life.through(
            commit.name, lambda: self.inner.commit(commit), counted=counted
        )

    async def wait_for_disk(self, mark: str, expectations: Sequence[Expectation]) -> None:
        await self.life.through(
            "wait for disk", lambda: self.inner.wait_for_disk(mark, expectations), counted=False
        )

    async def facts(self) -> ServerFacts:
        return await self.life.through("facts", self.inner.facts, counted=False)


class Mortal:
    """
    Any other port as one life sees it.

    @ivar in_flight: Calls under way, those of the living alone.
    """

    _SYNCHRONOUS = frozenset({"adopt_attempts", "abandon"})

    def __init__(self, inner: Any, life: Life, changes: Iterable[str]) -> None:
        self.inner, self._life, self._changes = inner, life, frozenset(changes)
        self.ended = 0
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if name in self._SYNCHRONOUS or not callable(found):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.asked.append((name, *args))
            try:
                return await self._life.through(
                    name, lambda: found(*args, **kwargs), counted=name in self._changes
                )
            finally:
                self.ended += 1

        return call


CHAIN_CHANGES = ("prepare", "broadcast")
RUNTIME_CHANGES = (
    *("create", "start", "recover", "stop", "delete", "archive"),
    *("resize", "set_auto_stop", "touch"),
    *("create_snapshot", "set_snapshot_general", "delete_snapshot"),
)


class Process:
    """
    The daemon's services, joined by C{sandbox_billing.wiring}.

    @ivar work: The turns, while it is or was the worker.
    @ivar turns: The worker's periodic services by name.
    """

    work: Work

    def __init__(self, world: World, life: Life, signer: SigningKey) -> None:
        self.world, self.life, self.signer = world, life, signer
        self.keyspace = MortalKeyspace(world.keyspace, life)
        policy, wall = world.policy, world.wall
        self.journal = Journal.over(
            self.keyspace,
            PROVIDER,
            wall,
            owner=f"process-{next(world.births)}",
            interval_seconds=policy.voucher_interval,
            ripen_seconds=policy.settle_max_age,
            measures=world.measures,
        )
        self.node = MemoryChain(
            net=world.net, provider=PROVIDER, sender=signer.address, wall=wall, floor=10**9
        )
        self.chain: Any = Mortal(self.node, life, CHAIN_CHANGES)
        self.runtime: Any = Mortal(world.runtime, life, RUNTIME_CHANGES)
        self.supervisor = Supervisor()
        self.readiness = Readiness()
        self.parts = Parts(
            signer=signer,
            journal=self.journal,
            chain=self.chain,
            runtime=self.runtime,
            domain=DOMAIN,
            ids=world.ids,
            clock=world.clock,
            wall=wall,
            policy=policy,
            events=world.events,
            measures=world.measures,
        )
        self.intake = make_intake(self.parts, self.supervisor)
        self.turns: dict[str, Periodic] = {}
        self.keeper = LeaseKeeper(
            self.journal.lease, self._make_work, 15, world.clock, world.clock.seconds
        )

    def start(self) -> None:
        """Begin."""
        self.supervisor.startService()
        self.keeper.startService()

    def stop(self) -> Deferred[Any]:
        """End well."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self.supervisor.stopService()
        await self.keeper.stopService()

    def _make_work(self) -> MultiService:
        self.work = make_work(self.parts)
        services = self.work.services(
            self.world.clock,
            self.readiness,
            sweep_seconds=self.world.sweep,
            on_lease_lost=self.keeper.lost,
            measures=self.world.measures,
        )
        self.turns = {periodic.name: periodic for periodic in services}
        return services

    def troubles(self) -> dict[str, str]:
        """What is wrong with the worker's services."""
        return dict(self.readiness.reasons())

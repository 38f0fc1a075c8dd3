"""One daemon: the services as wired, behind the switchboard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from attrs import evolve
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from sandbox_billing import interfaces
from sandbox_billing.adapters.memory.chain import MemoryChain
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.redis.seam import IKeyspace
from sandbox_billing.errors import Transient
from sandbox_billing.services._periodic import Periodic
from sandbox_billing.services._supervise import Supervisor
from sandbox_billing.services.intake import Intake
from sandbox_billing.services.lease_keeper import LeaseKeeper
from sandbox_billing.services.readiness import Readiness
from sandbox_billing.services.work import Work
from sandbox_billing.web.idempotency import Idempotency
from sandbox_billing.wiring import Parts, make_intake, make_work
from tests.services.lives import DOMAIN, PROVIDER
from tests.simulation.clock import Life, LifeClock, Wall
from tests.simulation.ports import proxy
from tests.simulation.settings import LEASE, SWEEP


if TYPE_CHECKING:
    from tests.simulation.world import World


JOURNAL_PORTS = {
    "replay": interfaces.IReplayGuard,
    "doors": interfaces.IDoors,
    "history": interfaces.IHistory,
    "lease": interfaces.ILease,
    "meter": interfaces.IMeter,
    "queue": interfaces.IVoucherQueue,
    "mirror": interfaces.IChainMirror,
    "funds": interfaces.IFunds,
    "stops": interfaces.IStopOrders,
    "pause": interfaces.IPause,
    "backlog": interfaces.IBacklog,
    "merging": interfaces.IMerging,
    "forgiving": interfaces.IForgiving,
    "idempotency": interfaces.IIdempotency,
    "warnings": interfaces.IWarnings,
}


class Daemon:
    """
    @ivar life: Ends when it dies.
    @ivar intake: What users reach; None before the enclave has given the key.
    @ivar keys: What heeds users' keys, before intake.
    @ivar work: The turns, while it is or was the worker.
    @ivar web: Whether it only lets people in.
    @ivar node: Its way to the chain.
    @ivar stopping: Whether it was told to end well.
    """

    intake: Intake | None = None
    keys: Idempotency | None = None
    keeper: LeaseKeeper | None = None
    work: Work | None = None

    node: MemoryChain | None = None

    def __init__(self, world: World, name: str, *, web: bool = False) -> None:
        self.world = world
        self.web = web
        self.life = Life(name, world.clock)
        self.stopping = False
        self.clock = LifeClock(self.life, world.jitter)
        self.wall = Wall(self.clock, world.skew)
        self.supervisor = Supervisor()
        self.readiness = Readiness()
        self._starting: Any = None

    def _behind(self, port: Any, inner: Any) -> Any:
        return proxy(port, inner, self.life, self.world.board)

    def start(self) -> None:
        """Fetch the key, however often it takes; then begin."""
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self.world.surprised)

    async def _start(self) -> None:
        enclave = self._behind(interfaces.IEnclave, self.world.enclave)
        while True:
            try:
                signer = await enclave.fetch_key()
                break
            except Transient:
                await deferLater(self.clock, 1)
        parts = self.world.planted(self._parts(signer))
        self.intake = make_intake(parts, self.supervisor)
        self.keys = Idempotency(
            records=parts.journal.idempotency,
            ids=parts.ids,
            wall=self.wall,
            detached=self.supervisor.detached,
        )
        self.supervisor.startService()
        if self.web:
            return
        self.keeper = LeaseKeeper(
            parts.journal.lease,
            lambda: self._make_work(parts),
            LEASE,
            self.clock,
            self.clock.seconds,
        )
        self.keeper.startService()

    def _parts(self, signer: interfaces.ISigner) -> Parts:
        world = self.world
        policy = world.policy
        journal = Journal.over(
            self._behind(IKeyspace, world.keyspace),
            PROVIDER,
            self.wall,
            owner=self.life.name,
            interval_seconds=policy.voucher_interval,
            lease_seconds=LEASE,
            ripen_seconds=policy.settle_max_age,
        )
        proxied = {
            name: self._behind(port, getattr(journal, name)) for name, port in JOURNAL_PORTS.items()
        }
        self.node = MemoryChain(
            net=world.net, provider=PROVIDER, sender=signer.address, wall=self.wall, floor=10**9
        )
        return Parts(
            signer=signer,
            journal=evolve(journal, **proxied),
            chain=self._behind(interfaces.IChain, self.node),
            runtime=self._behind(interfaces.IRuntime, world.runtime(self.clock, self.wall)),
            domain=DOMAIN,
            ids=world.ids,
            clock=self.clock,
            wall=self.wall,
            policy=policy,
        )

    def _make_work(self, parts: Parts) -> MultiService:
        assert self.keeper is not None
        self.work = make_work(parts)
        services = self.work.services(
            self.clock, self.readiness, sweep_seconds=SWEEP, on_lease_lost=self.keeper.lost
        )
        for periodic in services:
            # Beside the turns stands the keeper of what they leave under way.
            if isinstance(periodic, Periodic):
                periodic.turn = self._counted(periodic.turn)
        return services

    def _counted(self, turn: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        def counted() -> Awaitable[None]:
            self.world.turns += 1
            return turn()

        return counted

    def stop(self) -> Deferred[Any]:
        """End well, as on SIGTERM."""
        self.stopping = True
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self.supervisor.stopService()
        if self.keeper is not None:
            await self.keeper.stopService()
        self.life.dead = True

    def troubles(self) -> dict[str, str]:
        """What is wrong with it."""
        return dict(self.readiness.reasons())

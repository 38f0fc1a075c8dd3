"""
The life of the daemon: what is started, waited for, and ended, in which order.

Start-up goes step by step: key, Redis, contract, registration, Daytona.  What is
only unreachable is waited for, with the reason in readiness; what is wrong ends
the process.  The port listens from the first moment and says so.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.application.service import MultiService
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    TimeoutError,
    maybeDeferred,
)
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from sandbox_billing import startup, wiring_web
from sandbox_billing.adapters.chain.contract_wallets import THREADS
from sandbox_billing.adapters.daytona.connection import daytona_pool
from sandbox_billing.adapters.enclave.backoff import fetch_with_backoff
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.redis.keyspace import RedisKeyspace
from sandbox_billing.adapters.system import RandomIds, SystemClock, request_id
from sandbox_billing.adapters.webhooks.names import NamePool
from sandbox_billing.applied import own_url, policy_of, prices_of, spelt, terms_of, url_notice
from sandbox_billing.configuration import Configuration
from sandbox_billing.errors import BadInput, Transient, UnknownOutcome
from sandbox_billing.ledger.tariff import Tariff
from sandbox_billing.monitoring import Monitor, make_dependency_watch
from sandbox_billing.services._periodic import Periodic
from sandbox_billing.services._progress import Progress, moved
from sandbox_billing.services._supervise import Supervisor
from sandbox_billing.services.lease_keeper import LeaseKeeper
from sandbox_billing.services.purse import low_create_fee
from sandbox_billing.services.readiness import Readiness
from sandbox_billing.services.standing import NOT_REACHED, Standing
from sandbox_billing.signing.eip712 import EIP712Domain
from sandbox_billing.web.bounds import ENOUGH_FILES, Limits, streams_for_files
from sandbox_billing.web.gate import Gate
from sandbox_billing.web.notices import Listeners
from sandbox_billing.web.peers import Peers
from sandbox_billing.web.site import BillingSite
from sandbox_billing.wiring import (
    Parts,
    make_door_watch,
    make_intake,
    make_mirror_watch,
    make_work,
)
from sandbox_billing.wiring_outside import (
    make_chain,
    make_enclave,
    make_events,
    make_runtime,
)
from sandbox_billing.wiring_webhooks import make_sender


T = TypeVar("T")

RETRY_SECONDS = 2
"""Between two tries to reach what start-up waits for."""

WATCH_SECONDS = 5
"""Between two looks of a web process at the mirror, and so at Redis."""

DRAIN_SECONDS = 20
"""How long requests in hand may take when the daemon stops."""

WORK_SECONDS = 45
"""How long detached work may take after that: longer than Daytona's thirty seconds."""


class Daemon(MultiService):
    """
    The whole daemon.

    @ivar readiness: What is wrong right now.
    @ivar address: Where it listens; None before it does, and for a worker.
    @ivar monitor: What it measures, and where that is shown.
    """

    _log = Logger()

    def __init__(
        self,
        configuration: Configuration,
        reactor: Any,
        *,
        endpoint: str,
        role: str = "all",
        volatile_allowed: bool = False,
        files: int = ENOUGH_FILES,
        development_rpc_url: str = "",
        fatal: Callable[[str], None],
    ) -> None:
        """
        @param endpoint: Where HTTP is served, as a server endpoint string.
        @param role: C{all}, C{web} or C{worker}.
        @param volatile_allowed: Accept a Redis that forgets: devnet.
        @param files: How many this process may open.
        @param development_rpc_url: Of a chain whose node signs for the page: devnet.
        @param fatal: Called with the reason when the settings turn out to be wrong.
        """
        MultiService.__init__(self)
        self._configuration = configuration
        self._reactor = reactor
        self._endpoint = endpoint
        self._role = role
        self._volatile_allowed = volatile_allowed
        self._fatal = fatal
        self._files = files
        self._development_rpc_url = development_rpc_url
        self._wall = SystemClock()
        self.readiness = Readiness()
        self.address: Any = None
        self.monitor = Monitor(
            reactor=reactor,
            listen_on=configuration.metrics_addr,
            role=role,
            readiness=self.readiness,
        )
        measures = self.monitor.measures
        self._gate = Gate(
            readiness=self.readiness,
            wall=self._wall,
            new_request_id=request_id,
            measures=measures,
        )
        self._site: Any = BillingSite(
            self._gate,
            reactor=reactor,
            wall=self._wall,
            new_request_id=request_id,
            limits=Limits.for_files(files),
            streams=self._gate.streams,
            peers=Peers(configuration.trusted_proxies),
            measures=measures,
        )
        self._port: Any = None
        self._take_connections: Callable[[], None] = lambda: None
        self._supervisor = Supervisor()
        self._read_pool = ThreadPool(0, 8, name="chain-read")
        self._submission_pool = ThreadPool(0, 1, name="chain-submit")
        self._wallet_pool = ThreadPool(0, THREADS, name="contract-wallets")
        self._name_pool = NamePool()
        self._pools = (self._read_pool, self._submission_pool, self._wallet_pool, self._name_pool)
        self._http_pool: Any = daytona_pool(reactor)
        self._keyspace = RedisKeyspace(
            host=configuration.redis[0],
            port=configuration.redis[1],
            password=configuration.redis_password,
            clock=reactor,
            wall=self._wall,
            allow_volatile=volatile_allowed,
        )
        self._turns: list[LeaseKeeper | Periodic] = []
        self._listeners: Listeners | None = None
        self._boot: Deferred[None] | None = None
        self.standing = Standing(self.readiness, self._turns, Progress(reactor.seconds))
        self.tariff = Tariff(prices_of(configuration), since=self._wall.now())

    # -- life -------------------------------------------------------------------------

    def startService(self) -> None:
        """Listen, then look for everything else."""
        MultiService.startService(self)
        for pool in self._pools:
            pool.start()
        self._supervisor.startService()
        for part in ("key service", "redis", "chain", "daytona"):
            self.readiness.waiting[part] = NOT_REACHED
        self.readiness.asked["clock"] = self._wall.trouble
        self._boot = Deferred.fromCoroutine(self.standing.starting.follow(self._start()))
        self._boot.addErrback(self._boot_failed)

    def _boot_failed(self, failure: Any) -> None:
        if failure.check(CancelledError):
            return
        if failure.check(BadInput):
            self._fatal(str(failure.value))
            return
        self._log.failure("start-up failed", failure=failure)
        self._fatal(f"start-up failed: {failure.type.__name__}: {failure.getErrorMessage()}")

    def stopService(self) -> Deferred[Any]:
        """
        Take no more requests, finish those in hand, finish the turns in flight.

        A batch in flight stays stored: the next process resolves it.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._boot is not None:
            self._boot.cancel()
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
            if self._listeners is not None:
                self._listeners.close()
            cut = await self._site.drain(DRAIN_SECONDS)
            if cut:
                self._log.warn("{count} connections were cut", count=cut)
        await self._end_work()
        await self.monitor.close()
        await self._keyspace.close()
        await self._http_pool.closeCachedConnections()
        for pool in self._pools:
            pool.stop()
        await maybeDeferred(MultiService.stopService, self)

    async def _end_work(self) -> None:
        waiting: list[Deferred[Any]] = [self._supervisor.stopService()]
        waiting.extend(maybeDeferred(turns.stopService) for turns in self._turns)
        done = DeferredList(waiting, consumeErrors=True)
        done.addTimeout(WORK_SECONDS, self._reactor)
        try:
            results = await done
        except TimeoutError:
            self._log.warn("stopped waiting for work in flight; it is resumed at the next start")
            return
        for good, result in results:
            if not good:
                self._log.failure("something did not stop cleanly", failure=result)

    # -- start-up -----------------------------------------------------------------------

    async def _start(self) -> None:
        self.monitor.listen()
        if self._role != "worker":
            await self._listen()
        parts = await self._find_parts()
        self._log.info(
            "billing for provider {provider} with signer {signer}",
            provider=parts.policy.provider.hex,
            signer=parts.signer.address.hex,
        )
        if self._role != "web":
            self._take(self._keep(parts))
        else:
            self._take(make_mirror_watch(parts, self.readiness, WATCH_SECONDS))
        self._take(make_door_watch(parts, self.readiness))
        self._take(make_dependency_watch(parts, self.readiness))
        if self._role != "worker":
            url = own_url(self._configuration.public_url, self.address)
            chain = self._development_rpc_url
            terms = terms_of(self._configuration, parts.policy.provider, url, chain, self.tariff)
            intake = make_intake(parts, self._supervisor)
            streams = wiring_web.make_streams(parts, streams_for_files(self._files))
            self._listeners = wiring_web.make_listeners(parts, streams.most)
            self.monitor.serves(self._site.channels, streams, self._listeners)
            for turns in wiring_web.make_turns(
                streams, self._listeners, self._reactor, parts.measures
            ):
                self._take(turns)
            self._gate.front = wiring_web.make_front(
                parts,
                intake,
                self.readiness,
                terms,
                relay=wiring_web.make_relay(self._configuration, terms, self._reactor),
                streams=streams,
                listeners=self._listeners,
                contracts=wiring_web.make_contracts(
                    self._configuration, self._reactor, self._wallet_pool
                ),
                measures=self.monitor.measures,
            )
            self._take_connections()
        self.standing.through = True

    def _take(self, turns: LeaseKeeper | Periodic) -> None:
        if isinstance(turns, Periodic):
            self.readiness.watch(turns)
        turns.startService()
        self._turns.append(turns)

    async def _listen(self) -> None:
        self._port = await startup.listen(self._reactor, self._endpoint, self._site)
        self._take_connections = startup.hush(self._reactor, self._endpoint, self._port)
        self.address = self._port.getHost()
        self._log.info("listening on {endpoint}", endpoint=spelt(self.address))
        if notice := url_notice(self._configuration.public_url, self.address):
            self._log.warn("users may not reach us: {why}", why=notice)
            self.readiness.noticed["address"] = lambda: notice

    def _keep(self, parts: Parts) -> LeaseKeeper:
        keeper = LeaseKeeper(
            parts.journal.lease,
            lambda: make_work(parts).services(
                self._reactor,
                self.readiness,
                sweep_seconds=float(self._configuration.reconcile_interval),
                on_lease_lost=keeper.lost,
                measures=parts.measures,
            ),
            self._configuration.lease,
            self._reactor,
            time.monotonic,
            measures=parts.measures,
        )
        self.monitor.keeps_lease(keeper)
        self.readiness.asked["lease"] = lambda: keeper.trouble
        return keeper

    async def _find_parts(self) -> Parts:
        settings, measures = self._configuration, self.monitor.measures
        signer = await fetch_with_backoff(
            make_enclave(settings, self._reactor, self._read_pool),
            clock=self._reactor,
            chance=random.random,
            report=lambda why: self._wait("key service", why),
        )
        self.readiness.waiting.pop("key service", None)
        provider = settings.provider or signer.address
        await self._until(
            "redis",
            lambda: startup.check_redis(
                self._keyspace, provider, volatile_allowed=self._volatile_allowed
            ),
        )
        chain = make_chain(
            settings,
            self._reactor,
            signer=signer,
            provider=provider,
            read_pool=self._read_pool,
            submission_pool=self._submission_pool,
            wall=self._wall,
            measures=measures,
            moved=moved,
        )
        domain = EIP712Domain(settings.chain_id, settings.settlement_contract)
        lock_time = await self._until(
            "chain",
            lambda: startup.check_chain(
                chain, domain=domain, provider=provider, signer=signer, configuration=settings
            ),
        )
        if warning := await low_create_fee(chain, provider, prices_of(settings)):
            self._log.warn("a price is low: {why}", why=warning)
        runtime = make_runtime(settings, self._reactor, self._http_pool, self._wall, measures)
        await self._until("daytona", lambda: startup.check_daytona(runtime))
        ids = RandomIds()
        journal = Journal.over(
            self._keyspace,
            provider,
            self._wall,
            owner=ids.reference(),
            interval_seconds=settings.voucher_interval,
            lease_seconds=settings.lease,
            ripen_seconds=settings.settle_max_age,
            measures=measures,
        )
        return Parts(
            signer=signer,
            journal=journal,
            chain=chain,
            runtime=runtime,
            domain=domain,
            ids=ids,
            clock=self._reactor,
            wall=self._wall,
            policy=policy_of(settings, provider, lock_time, self.tariff),
            events=make_events(settings, self._reactor),
            sender=make_sender(settings, self._reactor, self._name_pool),
            measures=measures,
        )

    async def _until(self, part: str, check: Callable[[], Awaitable[T]]) -> T:
        """Try until a part is reached; what is wrong with it is raised."""
        while True:
            try:
                found = await check()
            except (Transient, UnknownOutcome) as why:
                self._wait(part, str(why))
            else:
                self.readiness.waiting.pop(part, None)
                return found
            await deferLater(self._reactor, RETRY_SECONDS)

    def _wait(self, part: str, why: str) -> None:
        if self.readiness.waiting.get(part) != why:
            self._log.warn("waiting for {dependency}: {why}", dependency=part, why=why)
        self.readiness.waiting[part] = why

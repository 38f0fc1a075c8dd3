"""
The electrician: Configuration and reactor in, services out.  Knows every adapter.

Start-up goes step by step: key, Redis, contract, registration, Daytona.  What is
only unreachable is waited for, with the reason in readiness; what is wrong ends
the process.  The port listens from the first moment and says so.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from attrs import define
from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from sandbox_billing import startup
from sandbox_billing.adapters.chain.adapter import ChainSettings, Web3Chain
from sandbox_billing.adapters.chain.transactions import GasPolicy
from sandbox_billing.adapters.daytona.connection import daytona_client, daytona_pool
from sandbox_billing.adapters.daytona.runtime import DaytonaRuntime
from sandbox_billing.adapters.enclave.backoff import fetch_with_backoff
from sandbox_billing.adapters.enclave.mock import MockEnclave
from sandbox_billing.adapters.enclave.tapp import TappKeyService
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.redis.keyspace import RedisKeyspace
from sandbox_billing.adapters.system import RandomIds, SystemClock, request_id
from sandbox_billing.configuration import Configuration
from sandbox_billing.errors import BadInput, ConfigurationError, Transient, UnknownOutcome
from sandbox_billing.interfaces import DaytonaRefused, IChain, IEnclave, IRuntime, ISigner
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.services._periodic import Periodic
from sandbox_billing.services._supervise import Supervisor
from sandbox_billing.services.admission import Admission
from sandbox_billing.services.closing import Closer
from sandbox_billing.services.generator import Generator
from sandbox_billing.services.intake import Intake
from sandbox_billing.services.lease_keeper import LeaseKeeper
from sandbox_billing.services.policy import Policy
from sandbox_billing.services.readiness import Readiness
from sandbox_billing.services.reconciler import Reconciler
from sandbox_billing.services.resolver import Resolver
from sandbox_billing.services.settler import Settler
from sandbox_billing.services.stopper import Stopper
from sandbox_billing.services.treasurer import Treasurer
from sandbox_billing.services.watcher import Watcher
from sandbox_billing.signing.eip712 import EIP712Domain
from sandbox_billing.signing.key import SigningKey
from sandbox_billing.web.gate import Gate
from sandbox_billing.web.root import FrontDesk, make_root
from sandbox_billing.web.site import BillingSite
from sandbox_billing.web.terms import Terms


T = TypeVar("T")

RETRY_SECONDS = 2
"""Between two tries to reach what start-up waits for."""

DRAIN_SECONDS = 20
"""How long requests in hand may take when the daemon stops."""

WORK_SECONDS = 45
"""How long detached work may take after that: longer than Daytona's thirty seconds."""


@define(kw_only=True, eq=False)
class Parts:
    """What start-up found, piece by piece."""

    signer: ISigner
    provider: Address
    keyspace: RedisKeyspace
    journal: Journal
    chain: IChain
    runtime: IRuntime
    domain: EIP712Domain


class Daemon(MultiService):
    """
    The whole daemon.

    @ivar readiness: What is wrong right now.
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
        fatal: Callable[[str], None],
    ) -> None:
        """
        @param endpoint: Where HTTP is served, as a server endpoint string.
        @param role: C{all}, C{web} or C{worker}.
        @param volatile_allowed: Accept a Redis that forgets: devnet.
        @param fatal: Called with the reason when the settings turn out to be wrong.
        """
        MultiService.__init__(self)
        self._configuration = configuration
        self._reactor = reactor
        self._endpoint = endpoint
        self._role = role
        self._volatile_allowed = volatile_allowed
        self._fatal = fatal
        self.readiness = Readiness()
        self._wall = SystemClock()
        self._gate = Gate(self.readiness)
        self._site: Any = BillingSite(
            self._gate, reactor=reactor, wall=self._wall, new_request_id=request_id
        )
        self._listener: Any = None
        self._supervisor = Supervisor()
        self._pools = [
            ThreadPool(0, 8, name="chain-read"),
            ThreadPool(0, 1, name="chain-submit"),
        ]
        self._http_pool: Any = daytona_pool(reactor)
        self._keeper: LeaseKeeper | None = None
        self._keyspace: RedisKeyspace | None = None
        self._boot: Deferred[None] | None = None

    # -- life -------------------------------------------------------------------------

    def startService(self) -> None:
        """Listen, then look for everything else."""
        MultiService.startService(self)
        for pool in self._pools:
            pool.start()
        self._supervisor.startService()  # type: ignore[no-untyped-call]
        if self._role != "worker":
            server = serverFromString(self._reactor, self._endpoint)
            self._listener = StreamServerEndpointService(server, self._site)
            self._listener.privilegedStartService()
            self._listener.startService()
            waiting: Any = self._listener._waitingForPort
            if waiting is not None:
                waiting.addCallbacks(self._listening, self._cannot_listen)
        self._boot = Deferred.fromCoroutine(self._start())
        self._boot.addErrback(self._boot_failed)

    def _listening(self, port: Any) -> Any:
        self.address = port.getHost()
        self._log.info("listening on {address}", address=str(self.address))
        return port

    def _cannot_listen(self, failure: Any) -> None:
        self._fatal(f"cannot listen on {self._endpoint}: {failure.value}")

    def _boot_failed(self, failure: Any) -> None:
        if failure.check(CancelledError):
            return
        if failure.check(BadInput):
            self._fatal(str(failure.value))
            return
        self._log.failure("start-up failed", failure=failure)
        self._fatal(f"start-up failed: {failure.type.__name__}")

    def stopService(self) -> Deferred[Any]:
        """
        Take no more requests, finish those in hand, finish the turns in flight.

        A batch in flight stays stored: the next process resolves it.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._boot is not None:
            self._boot.cancel()
        if self._listener is not None:
            await self._listener.stopService()
            cut = await self._site.drain(DRAIN_SECONDS)
            if cut:
                self._log.warn("{count} connections were cut", count=cut)
        waiting: list[Deferred[Any]] = [self._supervisor.stopService()]
        if self._keeper is not None:
            waiting.append(maybeDeferred(self._keeper.stopService))
        done = DeferredList(waiting, consumeErrors=True)
        done.addTimeout(WORK_SECONDS, self._reactor)
        try:
            await done
        except TimeoutError:
            self._log.warn("stopped waiting for work in flight; it is resumed at the next start")
        except Exception:
            self._log.failure("something did not stop cleanly")
        if self._keyspace is not None:
            await self._keyspace.close()
        await self._http_pool.closeCachedConnections()
        for pool in self._pools:
            pool.stop()
        await maybeDeferred(MultiService.stopService, self)

    # -- start-up -----------------------------------------------------------------------

    async def _start(self) -> None:
        for part in ("key service", "redis", "chain", "daytona"):
            self.readiness.waiting[part] = "not reached yet"
        parts = await self._find_parts()
        self._log.info(
            "billing for provider {provider} with signer {signer}",
            provider=parts.provider.hex,
            signer=parts.signer.address.hex,
        )
        policy = policy_of(self._configuration, parts.provider)
        admission = Admission(
            doors=parts.journal.doors, chain=parts.chain, wall=self._wall, policy=policy
        )
        if self._role != "web":
            self._keeper = LeaseKeeper(
                parts.journal.lease,
                lambda: self._make_work(parts, policy, admission),
                self._configuration.lease,
                self._reactor,
                time.monotonic,
            )
            self._keeper.startService()
            if self._role == "worker":
                keeper = self._keeper
                self.readiness.asked["lease"] = lambda: keeper.trouble
        if self._role != "worker":
            self._gate.front = self._front(parts, policy, admission)

    async def _find_parts(self) -> Parts:
        settings = self._configuration
        signer = await fetch_with_backoff(
            enclave_of(settings, self._reactor, self._pools[0]),
            clock=self._reactor,
            chance=random.random,
            report=lambda why: self._wait("key service", why),
        )
        self.readiness.waiting.pop("key service", None)
        provider = settings.provider or signer.address
        keyspace = RedisKeyspace(
            host=settings.redis[0],
            port=settings.redis[1],
            password=settings.redis_password,
            clock=self._reactor,
            wall=self._wall,
            allow_volatile=self._volatile_allowed,
        )
        self._keyspace = keyspace
        await self._until("redis", lambda: self._check_redis(keyspace, provider))
        journal = Journal.over(
            keyspace,
            provider=provider,
            wall=self._wall,
            owner=RandomIds().reference(),
            lease_seconds=settings.lease,
            interval_seconds=settings.voucher_interval,
            ripen_seconds=settings.settle_max_age,
        )
        domain = EIP712Domain(settings.chain_id, settings.settlement_contract)
        chain = self._chain(signer, provider)
        await self._until("chain", lambda: self._check_chain(chain, domain, provider, signer))
        runtime = DaytonaRuntime.over(
            daytona_client(self._reactor, self._http_pool),
            url=settings.daytona_api_url,
            admin_key=settings.daytona_admin_key,
            clock=self._reactor,
            wall=self._wall,
        )
        await self._until("daytona", lambda: self._check_daytona(runtime))
        return Parts(
            signer=signer,
            provider=provider,
            keyspace=keyspace,
            journal=journal,
            chain=chain,
            runtime=runtime,
            domain=domain,
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
            self._log.warn("waiting for {part}: {why}", part=part, why=why)
        self.readiness.waiting[part] = why

    async def _check_redis(self, keyspace: RedisKeyspace, provider: Address) -> None:
        await keyspace.connect()
        facts = await keyspace.facts()
        _refuse(
            startup.redis_problems(
                policy=facts.maxmemory_policy,
                appendonly=facts.appendonly,
                volatile_allowed=self._volatile_allowed,
            )
        )

    async def _check_chain(
        self, chain: IChain, domain: EIP712Domain, provider: Address, signer: ISigner
    ) -> None:
        facts = await chain.facts()
        separator = "0x" + domain.separator.hex()
        _refuse(startup.contract_problems(facts, separator, self._configuration))
        service = await chain.service(provider, await chain.head())
        _refuse(startup.registration_problems(service, provider, signer.address))

    async def _check_daytona(self, runtime: IRuntime) -> None:
        try:
            await runtime.ping()
        except DaytonaRefused as why:
            if why.status in (401, 403):
                raise BadInput(
                    f"Daytona refuses DAYTONA_ADMIN_KEY ({why.status}): correct it"
                ) from why
            raise Transient(f"Daytona answers {why.status}: {why.text}") from why

    # -- parts ---------------------------------------------------------------------------

    def _chain(self, signer: ISigner, provider: Address) -> Web3Chain:
        settings = self._configuration
        return Web3Chain.of(
            ChainSettings(
                urls=settings.rpc_urls,
                chain_id=settings.chain_id,
                contract=settings.settlement_contract,
                provider=provider,
                gas=GasPolicy(fee_cap=settings.gas_fee_cap, floor=settings.gas_floor),
                log_range=settings.log_range,
            ),
            reactor=self._reactor,
            read_pool=self._pools[0],
            submission_pool=self._pools[1],
            signer=signer,
            clock=self._wall,
        )

    def _front(self, parts: Parts, policy: Policy, admission: Admission) -> Any:
        intake = Intake(
            doors=parts.journal.doors,
            runtime=parts.runtime,
            admission=admission,
            ids=RandomIds(),
            supervisor=self._supervisor,
            clock=self._reactor,
            wall=self._wall,
            policy=policy,
        )
        return make_root(
            FrontDesk(
                terms=terms_of(self._configuration, parts.provider, self._public_url()),
                intake=intake,
                runtime=parts.runtime,
                doors=parts.journal.doors,
                history=parts.journal.history,
                replay=parts.journal.replay,
                readiness=self.readiness,
                wall=self._wall,
                clock=self._reactor,
                new_request_id=request_id,
            )
        )

    def _public_url(self) -> str:
        if self._configuration.public_url:
            return self._configuration.public_url
        return f"http://{self.address.host}:{self.address.port}"

    def _make_work(self, parts: Parts, policy: Policy, admission: Admission) -> MultiService:
        """The worker's services, fresh for each time the lease is won."""
        journal, chain, runtime = parts.journal, parts.chain, parts.runtime
        closer = Closer(meter=journal.meter, doors=journal.doors, wall=self._wall)
        resolver = Resolver(
            queue=journal.queue,
            funds=journal.funds,
            history=journal.history,
            chain=chain,
            signer=parts.signer,
            domain=parts.domain,
            wall=self._wall,
            policy=policy,
        )
        watcher = Watcher(
            mirror=journal.mirror,
            meter=journal.meter,
            stops=journal.stops,
            chain=chain,
            resolver=resolver,
            wall=self._wall,
            policy=policy,
        )
        reconciler = Reconciler(
            meter=journal.meter,
            doors=journal.doors,
            mirror=journal.mirror,
            runtime=runtime,
            admission=admission,
            closer=closer,
            wall=self._wall,
            policy=policy,
        )
        generator = Generator(
            meter=journal.meter,
            wall=self._wall,
            policy=policy,
            swept=lambda: reconciler.sweeps > 0,
        )
        settler = Settler(
            queue=journal.queue,
            mirror=journal.mirror,
            chain=chain,
            signer=parts.signer,
            domain=parts.domain,
            ids=RandomIds(),
            wall=self._wall,
            policy=policy,
        )
        treasurer = Treasurer(
            funds=journal.funds,
            doors=journal.doors,
            mirror=journal.mirror,
            stops=journal.stops,
            chain=chain,
            wall=self._wall,
            policy=policy,
        )
        stopper = Stopper(
            stops=journal.stops,
            funds=journal.funds,
            meter=journal.meter,
            runtime=runtime,
            closer=closer,
            doors=journal.doors,
            wall=self._wall,
            policy=policy,
        )
        sweep = float(self._configuration.reconcile_interval)
        work = MultiService()
        for name, turn, seconds in (
            ("watcher", watcher.turn, 1.0),
            ("reconciler", reconciler.turn, sweep),
            ("generator", generator.turn, 1.0),
            ("settler", settler.turn, 1.0),
            ("treasurer", treasurer.turn, 1.0),
            ("stopper", stopper.turn, 1.0),
        ):
            periodic = Periodic(name, turn, seconds, self._reactor, self._lost)
            periodic.setServiceParent(work)  # type: ignore[no-untyped-call]
            self.readiness.asked[name] = lambda periodic=periodic: (  # type: ignore[misc]
                periodic.trouble
            )
        return work

    def _lost(self) -> None:
        if self._keeper is not None:
            self._keeper.lost()


def _refuse(problems: tuple[str, ...]) -> None:
    if problems:
        raise ConfigurationError("\n".join(problems), problems)


def enclave_of(settings: Configuration, reactor: Any, pool: ThreadPool) -> IEnclave:
    """Where the key comes from; a mock only by an explicit word (wire.md §8)."""
    if settings.mock_tee:
        assert settings.mock_key is not None, "checked with the configuration"
        return MockEnclave(SigningKey.from_hex(settings.mock_key))
    assert settings.tapp_app is not None, "checked with the configuration"
    return TappKeyService(
        host=settings.tapp_host,
        port=settings.tapp_port,
        app_name=settings.tapp_app,
        trusted_hosts=frozenset(settings.tapp_trusted_hosts),
        reactor=reactor,
        thread_pool=pool,
    )


def policy_of(settings: Configuration, provider: Address) -> Policy:
    """The settings that money decisions rest on."""
    return Policy(
        provider=provider,
        prices=Prices(flat_per_second=settings.compute_price, create_fee=settings.create_fee),
        voucher_interval=settings.voucher_interval,
        stop_delay=settings.stop_delay,
        loss_cap=settings.loss_cap,
        max_sandboxes=settings.max_sandboxes,
        max_disk_gib=settings.max_disk_gib,
        deadman_minutes=settings.deadman_minutes,
        mirror_max_age=settings.mirror_max_age,
        ack_grace=settings.ack_grace,
        confirmations=settings.confirmations,
        start_block=settings.start_block,
        log_range=settings.log_range,
        batch_max=settings.batch_max,
        batch_wait=settings.batch_wait,
        max_in_flight=settings.max_in_flight,
        settle_min=settings.settle_min,
        settle_max_age=settings.settle_max_age,
    )


def terms_of(settings: Configuration, provider: Address, public_url: str) -> Terms:
    """What is public about this provider."""
    first = urlsplit(settings.rpc_urls[0])
    # A path or query may be an access token, and nobody can tell by looking.
    bare = not (first.username or first.password or first.query or first.path.strip("/"))
    return Terms(
        contract=settings.settlement_contract,
        provider=provider,
        chain_id=settings.chain_id,
        public_rpc_url=settings.public_rpc_url or (settings.rpc_urls[0] if bare else ""),
        voucher_interval_seconds=settings.voucher_interval,
        stop_delay_seconds=settings.stop_delay,
        environment=Prices(flat_per_second=settings.compute_price, create_fee=settings.create_fee),
        ssh_gateway_host=settings.ssh_gateway_host or "",
        public_url=public_url,
        max_disk_gb=settings.max_disk_gib,
        deadman_minutes=settings.deadman_minutes,
        auth_binding=settings.auth_binding,
        audience_required=settings.auth_audience == "required",
    )

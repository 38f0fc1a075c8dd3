"""
Where settling is tried on nodes: a real Redis, the services as wired, the real adapter, and
a node whose faults a test can order.

Time is the test's: the wall clock stands until it is moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, Protocol

from attrs import define, evolve, field
from treq.testing import StubTreq
from twisted.internet import reactor as global_reactor
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from sandbox_billing.adapters.chain.adapter import ChainSettings, Web3Chain
from sandbox_billing.adapters.chain.transactions import GasPolicy
from sandbox_billing.adapters.daytona.runtime import DaytonaRuntime
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.redis.keyspace import RedisKeyspace
from sandbox_billing.devnet.daytona import DaytonaSimulator, simulator_resource
from sandbox_billing.errors import BrokenLaw, Transient, UnknownOutcome
from sandbox_billing.interfaces import IWallClock, NotReady
from sandbox_billing.ledger.batch import Attempt, Batch
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.metering import begin
from sandbox_billing.ledger.money import UnixSeconds, neuron
from sandbox_billing.ledger.voucher import ChargeRecord, Open, Signed
from sandbox_billing.services._supervise import Supervisor
from sandbox_billing.services.intake import Intake
from sandbox_billing.services.work import Work
from sandbox_billing.signing.eip712 import EIP712Domain
from sandbox_billing.signing.key import SigningKey
from sandbox_billing.wiring import Parts, make_intake, make_work
from tests.fixtures import POLICY, CountedIds
from tests.ports.chain import TOKEN
from tests.ports.journal import create_charge, intent, session
from tests.redis_server import Respite, shared_server


FEE_CAP = 1_000 * 10**9

CONFIRMATIONS = 2

MAX_AGE = 60

CHAIN_ID = 16602

RESEND_SECONDS, BUMP_SECONDS = 15, 120
"""After these the settler sends the same again, or offers more."""


@implementer(IWallClock)
@define(eq=False)
class Hand:
    """A wall clock that is moved by hand."""

    moment: int

    def now(self) -> UnixSeconds:
        return UnixSeconds(self.moment)

    def after(self) -> UnixSeconds:
        return self.now()


class Node(Protocol):
    """
    A node with a contract on it, on which a provider is registered and users have paid in.

    @ivar url: Of its JSON-RPC.
    @ivar signer: The daemon's key, which can pay for gas.
    """

    url: str
    contract: Address
    provider: Address
    user: Address
    other: Address
    signer: SigningKey
    wall: Hand

    async def mine(self, count: int = 1) -> None:
        """Blocks of what the pool holds, a second apart; the wall clock goes along."""

    async def mine_nothing(self, count: int = 1, seconds: int = 1) -> None:
        """Blocks that leave what the pool holds where it is, so many seconds apart."""

    async def drop(self, hashed: str) -> None:
        """Forget what the pool holds."""

    async def send(self, raw: str) -> None:
        """Have somebody who knows a transaction send it."""

    async def reorg(self, depth: int, *, keep: bool) -> None:
        """Put others in the place of the newest blocks; what was in them is forgotten or kept."""

    async def pool(self) -> list[dict[str, Any]]:
        """What waits of the signer's, as C{eth_getTransactionByHash} shows it, by nonce."""

    async def use_up(self, nonce: int, *, tip: int = 10**9) -> str:
        """Somebody else sends with the signer's key.  @return: The hash."""

    async def deposit(self, amount: int) -> None:
        """The user pays in, in a block of the pool's."""

    async def purse(self, amount: int) -> None:
        """What the daemon's key has for gas from now on, neuron."""

    async def settlements(self) -> list[tuple[int, int]]:
        """Nonce and fee of each VoucherSettled there is now."""

    async def count(self) -> int:
        """How many transactions of the signer are mined."""


@define(eq=False)
class Alarms:
    """What was logged as critical or a warning."""

    events: list[Any] = field(factory=list)

    def __call__(self, event: Any) -> None:
        if event.get("log_level") in (LogLevel.critical, LogLevel.warn):
            self.events.append(event)

    def told(self, text: str, level: LogLevel | None = None) -> list[Any]:
        """Those with a text in their form."""
        return [
            e
            for e in self.events
            if text in (e["log_format"] or "") and level in (None, e["log_level"])
        ]


class SettlingCase(TestCase):
    """
    One worker on one node.

    @ivar troubles: Of the turns of the last round, by service.
    """

    timeout = 600
    node: Node
    fee_cap = FEE_CAP

    async def open(self, node: Node) -> None:
        """Start a worker on a node and an empty Redis."""
        self.node, self.wall = node, node.wall
        server = shared_server()
        self.client = Respite(server.port)
        self.addCleanup(self.client.close)
        self.client.call("FLUSHALL")
        self.alarms = Alarms()
        globalLogPublisher.addObserver(self.alarms)
        self.addCleanup(globalLogPublisher.removeObserver, self.alarms)
        self.keyspace = RedisKeyspace(
            host="127.0.0.1",
            port=server.port,
            clock=global_reactor,
            wall=self.wall,
            timeout_seconds=60,
            disk_milliseconds=60_000,
        )
        await self.keyspace.connect()
        self.addCleanup(self.keyspace.close)
        self.simulator = DaytonaSimulator(clock=Clock(), wall=lambda: float(self.wall.moment))
        self.addCleanup(self.simulator.close)
        self.names = count(1)
        self.troubles: dict[str, str] = {}
        await self.birth()

    def _pool(self, threads: int) -> ThreadPool:
        pool = ThreadPool(minthreads=0, maxthreads=threads)
        pool.start()
        self.addCleanup(pool.stop)
        return pool

    async def birth(self) -> None:
        """A new worker on what is stored; the one before is gone."""
        node = self.node
        policy = evolve(
            POLICY,
            provider=node.provider,
            confirmations=CONFIRMATIONS,
            mirror_max_age=MAX_AGE,
            gas_floor=neuron(TOKEN // 100),
        )
        self.journal = Journal.over(
            self.keyspace,
            node.provider,
            self.wall,
            interval_seconds=policy.voucher_interval,
            # By the server's clock, which the test does not move.
            lease_seconds=600,
            ripen_seconds=policy.settle_max_age,
        )
        self.client.call("DEL", self.journal.store.keys.lease())
        self.assertTrue(await self.journal.lease.acquire())
        self.chain = Web3Chain.of(
            ChainSettings(
                urls=(node.url,),
                chain_id=CHAIN_ID,
                contract=node.contract,
                provider=node.provider,
                gas=GasPolicy(fee_cap=neuron(self.fee_cap), floor=policy.gas_floor),
            ),
            reactor=global_reactor,  # type: ignore[arg-type]
            read_pool=self._pool(4),
            submission_pool=self._pool(1),
            signer=node.signer,
            clock=self.wall,
        )
        runtime = DaytonaRuntime.over(
            StubTreq(simulator_resource(self.simulator, "admin-key")),
            url="http://daytona.test",
            admin_key="admin-key",
            clock=Clock(),
            wall=self.wall,
        )
        parts = Parts(
            signer=node.signer,
            journal=self.journal,
            chain=self.chain,
            runtime=runtime,
            domain=EIP712Domain(CHAIN_ID, node.contract),
            ids=CountedIds(),
            clock=Clock(),
            wall=self.wall,
            policy=policy,
        )
        self.work: Work = make_work(parts)
        supervisor = Supervisor()
        supervisor.startService()  # type: ignore[no-untyped-call]
        self.addCleanup(supervisor.stopService)
        self.intake: Intake = make_intake(parts, supervisor)

    # -- time --------------------------------------------------------------------------

    async def turn(self) -> None:
        """A turn of everybody who settles; what a periodic survives is kept."""
        self.troubles = {}
        for name, turn in (
            ("watcher", self.work.watcher.turn),
            ("settler", self.work.settler.turn),
            ("second look", self.work.second_look.turn),
        ):
            try:
                await turn()
            except (Transient, UnknownOutcome, BrokenLaw) as why:
                self.troubles[name] = str(why)

    async def rounds(self, count: int, *, nothing: bool = False) -> None:
        """A block, then a turn; so often."""
        for _ in range(count):
            await (self.node.mine_nothing() if nothing else self.node.mine())
            await self.turn()

    async def stand(self, seconds: int, step: int = 5) -> None:
        """Time passes, and no block comes."""
        for _ in range(0, seconds, step):
            self.wall.moment += step
            await self.turn()

    async def until(self, what: str, happened: Any, limit: int = 40) -> None:
        """Round after round until something is so."""
        for _ in range(limit):
            if await happened():
                return
            await self.rounds(1)
        self.fail(f"waited in vain for {what}: {self.troubles}")

    # -- the books ---------------------------------------------------------------------

    async def charge(self, owner: Address | None = None) -> SandboxId:
        """Somebody's sandbox runs, and its create fee is owed."""
        name = f"sb-{next(self.names)}"
        who = owner or self.node.user
        funds = await self.journal.doors.funds(who)
        if funds.account is None:
            funds = await self.intake.admission.funds(who)
        made = evolve(
            session(name, reference=Reference(f"ref-{name}"), owner=who),
            provider=self.node.provider,
            opened_at=self.wall.now(),
            charged_until=self.wall.now(),
            changed_at=self.wall.now(),
        )
        wish = intent(f"ref-{name}", owner=who, provider=self.node.provider)
        await self.journal.doors.reserve(wish, funds)
        await self.journal.doors.open_session(
            wish, made, evolve(create_charge(made), amount=neuron(5_000))
        )
        await self.begun(SandboxId(name))
        return SandboxId(name)

    async def begun(self, sandbox: SandboxId) -> None:
        """It is seen running: its fee is due."""
        stored = await self.journal.doors.session(sandbox)
        assert stored is not None
        await self.journal.meter.begin(stored, begin(stored.value, self.wall.now()))

    async def batches(self) -> list[Batch]:
        """What is unresolved."""
        return [stored.value for stored in await self.journal.queue.batches()]

    async def attempts(self) -> list[Attempt]:
        """Those of all unresolved batches."""
        return [attempt for batch in await self.batches() for attempt in batch.attempts]

    async def records(self, owner: Address | None = None) -> Sequence[ChargeRecord]:
        """All charges of somebody."""
        return await self.journal.history.charges(owner or self.node.user)

    async def sent(self) -> Attempt:
        """Until one attempt is stored, and in the pool of the node."""
        for _ in range(40):
            found = await self.attempts()
            if found:
                break
            await self.node.mine()
            await self.turn()
        (attempt,) = await self.attempts()
        self.assertEqual([t["hash"] for t in await self.node.pool()], [attempt.hash])
        return attempt

    async def settled(self) -> None:
        """Until nothing is under way; then every charge was paid exactly once."""

        async def charges() -> list[ChargeRecord]:
            return [*await self.records(), *await self.records(self.node.other)]

        async def done() -> bool:
            waiting = [r for r in await charges() if isinstance(r.state, Open | Signed)]
            return not waiting and not await self.batches()

        await self.until("all to be settled", done)
        records = await charges()
        self.assertTrue(records)
        seals = sorted((r.seal.nonce, r.seal.fee) for r in records if r.seal is not None)
        self.assertEqual([type(r.state).__name__ for r in records], ["Paid"] * len(records))
        self.assertEqual(await self.node.settlements(), seals)
        totals = await self.journal.history.totals()
        self.assertEqual(totals.fees, sum(r.charge.amount for r in records))

    async def refused(self) -> str:
        """Why nobody can create anything now; Daytona was not asked."""
        try:
            await self.intake.create(self.node.user, {}, auto_stop_minutes=None)
        except NotReady as why:
            self.assertFalse(self.simulator.records)
            return str(why)
        self.fail("a create was let in")
        raise AssertionError

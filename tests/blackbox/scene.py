"""
A world with a daemon in it that may die, and the books that must come out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from attrs import define, field
from eth_utils import keccak
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, HTTPConnectionPool

from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.redis.keyspace import RedisKeyspace
from sandbox_billing.adapters.system import SystemClock
from sandbox_billing.devnet.daytona.dialect import Dialect
from sandbox_billing.devnet.daytona.simulator import Timings
from sandbox_billing.devnet.wallet import Client, Wallet
from sandbox_billing.devnet.world import SIGNER, TOKEN, DevnetPrices, World
from sandbox_billing.ledger.laws import l2_disjoint, l5_rising, l6_books, standing
from sandbox_billing.ledger.voucher import ChargeKind, ChargeRecord, Merged, Paid, Partial
from sandbox_billing.signing.key import SigningKey
from tests.blackbox.process import Child, NeverHappened, twistd, until
from tests.redis_server import Respite


PRICES = DevnetPrices(
    per_cpu_per_minute=60 * TOKEN // 1000 + 7,
    per_memory_gib_per_minute=30 * TOKEN // 1000 + 4,
)
"""Not divisible by 60, so that rounding shows."""

RATE = PRICES.per_cpu_per_minute + PRICES.per_memory_gib_per_minute
"""neuron a minute of the smallest sandbox: one cpu, one GiB."""

INTERVAL_SECONDS = 4
RECONCILE_SECONDS = 1

STOP_DELAY_SECONDS = 3

ANSWER_SECONDS = 120
"""What starts on a machine that is busy may be silent for ten."""

RECOVERY_SECONDS = 3.0
"""After something was killed or started: until the daemon has noticed, and works."""

READ_ONLY = ("GET", "HEAD")

SWEPT = ("/api/sandbox", "/api/sandbox/paginated")
"""Where a sweep looks, by dialect."""


def cost(seconds: int) -> int:
    """What so many seconds of the smallest sandbox cost."""
    return RATE * seconds // 60


@define(eq=False)
class Scene:
    """
    @ivar holding: Whether no block comes while a transaction of the daemon waits for one.
    @ivar redis_port: Of a server other than the world's.
    @ivar daemon: The process of the moment.
    @ivar upheavals: When something was killed, held or started, unix seconds.
    """

    case: TestCase
    world: World
    http: Any
    redis_port: int | None = None
    redis_password: str | None = None
    holding: bool = False
    mining: LoopingCall | None = None
    mined: Any = None
    keyspace: RedisKeyspace | None = None
    journal: Journal | None = None
    daemon: Child | None = None
    daemons: list[Child] = field(factory=list)
    upheavals: list[float] = field(factory=list)
    settings: dict[str, str] = field(factory=dict)
    read: dict[str, tuple[bytes, list[Any]]] = field(factory=dict)

    @classmethod
    async def open(
        cls,
        case: TestCase,
        *,
        dialect: Dialect = Dialect.NEW,
        allow_exec: bool = False,
        **settings: str,
    ) -> Scene:
        """
        Start a world; it ends with the test.

        @param allow_exec: What is sent to a sandbox's toolbox really runs, in its folder.
        @param settings: For the daemon, beside the world's.
        """
        world = World(
            reactor,
            block_seconds=None,
            prices=PRICES,
            timings=Timings(create_seconds=0.7, stop_seconds=0.5, sync_seconds=2.0),
            allow_exec=allow_exec,
        )
        world.simulator.dialect = dialect
        pool: Any = HTTPConnectionPool(reactor, persistent=False)
        http: Any = HTTPClient(Agent(reactor, pool=pool))
        world.startService()
        scene = cls(case, world, http)
        case.addCleanup(scene.close)
        await world.up()
        scene.settings = {
            "VOUCHER_INTERVAL_SEC": str(INTERVAL_SECONDS),
            "RECONCILE_INTERVAL_SEC": str(RECONCILE_SECONDS),
            "STOP_DELAY_SEC": str(STOP_DELAY_SECONDS),
            **settings,
        }
        scene.mining = LoopingCall(scene.mine)
        scene.mined = scene.mining.start(1.0)
        return scene

    async def close(self) -> None:
        """End everything; the children were ended by the test's own clean-ups."""
        for child in self.daemons:
            await child.kill()
        if self.keyspace is not None:
            await self.keyspace.close()
        if self.mining is not None and self.mining.running:
            self.mining.stop()
            await self.mined
        await maybeDeferred(self.world.stopService)

    async def until(self, what: str, happened: Any, **how: Any) -> Any:
        """As L{tests.blackbox.process.until}; a daemon that has died says why."""

        def look() -> Any:
            child = self.daemon
            if child is not None and child.status not in (None, -9):
                raise AssertionError(f"the daemon ended by itself: {child.said()[-3000:]}")
            return happened()

        try:
            return await until(reactor, what, look, **how)
        except NeverHappened as why:
            said = self.daemon.said()[-3000:] if self.daemon is not None else "nothing"
            raise AssertionError(f"{why}; the daemon said {said}") from why

    # -- the chain ---------------------------------------------------------------------

    def mine(self) -> Any:
        """A block, unless what the daemon has sent is being held."""
        return self.world.chain.run(self._mine)

    def _mine(self) -> None:
        if not (self.holding and self.unmined()):
            self.world.blocks.tick()

    async def transaction_held(self) -> None:
        """
        Until a transaction of the daemon is in the pool; no block comes from then on.

        Not at once: what was mined before may still want its confirmations.
        """
        self.holding = True
        await self.until("a settlement to be sent", lambda: self.world.chain.run(self.unmined))

    def release(self) -> None:
        """Let blocks come again."""
        self.holding = False

    def unmined(self) -> int:
        """Transactions of the daemon in the pool; in the thread of the chain only."""
        signer = bytes.fromhex(SigningKey.from_bytes(SIGNER).address.hex[2:])
        blocks = self.world.blocks
        return blocks.nonce(signer, "pending") - blocks.nonce(signer, "latest")

    def settled(self, wallet: Wallet) -> list[Any]:
        """VoucherSettled of a wallet, in order; blocking."""
        user = wallet.account.address
        # Asked twenty times a second, of which one brings a block: a head tells the same again
        # (read in another thread than the chain's, which replaces it as a whole).
        head = self.world.blocks.head.hash
        if self.read.get(user, (b"", []))[0] != head:
            found = wallet.contract.events.VoucherSettled().get_logs(
                from_block=0, argument_filters={"user": user}
            )
            self.read[user] = (head, sorted(found, key=lambda event: int(event["args"]["nonce"])))
        return list(self.read[user][1])

    # -- the daemon --------------------------------------------------------------------

    def environment(self, **more: str) -> dict[str, str]:
        """Its settings."""
        return self.world.environment(**{**self.settings, **more})

    def start(self, *options: str, **more: str) -> Child:
        """Start a daemon, and call it the one of the moment."""
        self.daemon = twistd(self.case, self.environment(**more), *options)
        self.daemons.append(self.daemon)
        self.upheavals.append(time.time())
        return self.daemon

    async def ready(self, child: Child | None = None) -> str:
        """
        Wait until a daemon is ready.

        @return: Where it listens.
        """
        child = child or self.daemon
        assert child is not None
        port = await self.until("the daemon to listen", child.port)
        base = f"http://127.0.0.1:{port}"
        await self.until("readiness", lambda: self._is_ready(base))
        return base

    async def _is_ready(self, base: str) -> bool:
        status, _shown = await self.get(base, "/readyz")
        return status == 200

    async def get(self, base: str, path: str) -> tuple[int, Any]:
        """Status and JSON of an unsigned GET."""
        response = await self.http.get(base + path, timeout=ANSWER_SECONDS)
        return response.code, json.loads(await response.content())

    async def reborn(self) -> str:
        """Make sure that the last daemon is dead, start another, and wait until it is ready."""
        assert self.daemon is not None
        await self.daemon.kill()
        self.start()
        return await self.ready()

    def kill_at(self, route: str) -> None:
        """C{kill -9} the daemon at the moment Daytona carries out its next such request."""

        def before(asked: str) -> None:
            if asked == route and self.daemon is not None:
                self.world.simulator.before = lambda _route: None
                self.daemon.shot()

        self.world.simulator.before = before

    def writes(self) -> list[str]:
        """What Daytona was asked that is more than a look."""
        return [
            f"{asked.method} {asked.target}"
            for asked in self.world.simulator.received
            if asked.method not in READ_ONLY
        ]

    def sweeps(self) -> list[float]:
        """When Daytona was asked for all sandboxes, and not for a user's or for one."""
        return [
            asked.at
            for asked in self.world.simulator.received
            if asked.method == "GET"
            and asked.target.partition("?")[0] in SWEPT
            and "labels=" not in asked.target
            and "id=" not in asked.target
        ]

    def late_seconds(self) -> float:
        """
        How much longer than a reconcile period nobody looked, at the worst, while all lived.

        What a run loses at its ends is told in periods; a busy machine makes them longer.
        """
        found = 0.0
        for earlier, later in pairwise(self.sweeps()):
            since = earlier - RECOVERY_SECONDS
            if not any(since <= at <= later for at in self.upheavals):
                found = max(found, later - earlier - RECONCILE_SECONDS)
        return found

    # -- users ---------------------------------------------------------------------------

    async def user(
        self, name: str, secret: bytes, deposit: int, *, acknowledge: bool = True
    ) -> Wallet:
        """A wallet that has paid in."""
        wallet = self.world.wallet(name, secret)

        def pay() -> None:
            if deposit:
                wallet.deposit(deposit)
            if acknowledge:
                wallet.acknowledge()

        await deferToThread(pay)
        # The daemon reads a block behind the head.
        await self.world.chain.run(self.world.blocks.mine)
        return wallet

    def client(self, base: str, wallet: Wallet) -> Client:
        """Its HTTP client."""
        return Client(self.http, base, wallet)

    async def created(self, client: Client, **body: Any) -> str:
        """
        Create a sandbox as soon as the daemon has seen the wallet's deposit.

        @return: Its id.
        """
        made: dict[str, Any] = {}

        async def accepted() -> bool:
            status, shown = await client.create(body)
            if status == 402:
                return False
            self.case.assertEqual((status, shown.get("error")), (200, None))
            made.update(shown)
            return True

        # Each is signed here and looked into there; the deposit is seen a block later.
        await self.until("a create to be admitted", accepted, pause=0.3)
        return str(made["id"])

    # -- the books -----------------------------------------------------------------------

    async def history(self) -> Journal:
        """The daemon's own books, read past it."""
        if self.journal is None:
            self.keyspace = RedisKeyspace(
                host="127.0.0.1",
                port=self.redis_port or self.world.redis.port,
                password=self.redis_password,
                clock=reactor,
                wall=SystemClock(),
            )
            await self.keyspace.connect()
            self.journal = Journal.over(
                self.keyspace, self.world.provider, SystemClock(), interval_seconds=INTERVAL_SECONDS
            )
        return self.journal

    async def records(self, wallet: Wallet) -> tuple[ChargeRecord, ...]:
        """All charges of a wallet."""
        return await (await self.history()).history.charges(wallet.address)

    async def charged_seconds(self, wallet: Wallet) -> int:
        """How many of them so far."""
        return sum(charge.units for charge in standing(await self.records(wallet)))

    async def all_settled(self, wallet: Wallet) -> bool:
        """Whether nothing is owed or under way."""
        records = await self.records(wallet)
        return bool(records) and all(
            isinstance(one.state, Paid | Partial | Merged) for one in records
        )

    def keys(self, pattern: str) -> list[bytes]:
        """Keys in Redis, asked without the adapter."""
        asked = Respite(self.redis_port or self.world.redis.port)
        try:
            if self.redis_password is not None:
                asked.call("AUTH", self.redis_password)
            found: Any = asked.call("KEYS", pattern)
        finally:
            asked.close()
        return sorted(found)

    async def stopped(self, sandbox: str) -> bool:
        """Whether Daytona has ended a run and no session is left of it."""
        raw = str(self.world.simulator.find(sandbox).raw)
        return raw == "stopped" and not self.keys(f"billing:compute:{sandbox}")

    async def books(
        self,
        wallet: Wallet,
        sandbox: str,
        *,
        paid_in: int,
        lost_seconds: float,
        create_fee: bool = True,
    ) -> int:
        """
        Wait until all is settled, then compare what every side says of one run of one sandbox.

        @param lost_seconds: How much of the run may at most be uncharged, beside rounding.
        @return: Charged seconds.
        """
        case = self.case
        await self.until("all to be settled", lambda: self.all_settled(wallet))
        records = await self.records(wallet)
        compute = [one for one in standing(records) if one.kind is ChargeKind.COMPUTE]
        seconds = sum(one.units for one in compute)
        fee = PRICES.create_fee if create_fee else 0
        case.assertEqual(sum(one.amount for one in compute), cost(seconds))
        l2_disjoint(compute)
        events = await deferToThread(self.settled, wallet)
        on_chain = [(int(e["args"]["nonce"]), int(e["args"]["totalFee"])) for e in events]
        case.assertEqual(sum(paid for _nonce, paid in on_chain), cost(seconds) + fee)
        case.assertEqual(l6_books(records).settled, cost(seconds) + fee)
        l5_rising([nonce for nonce, _paid in on_chain])
        case.assertEqual([int(e["args"]["status"]) for e in events], [0] * len(events))
        case.assertEqual(
            {bytes(e["args"]["usageHash"]) for e in events},
            {preimage_hash(one) for one in records if one.seal is not None},
        )
        balance, pending, _at = await deferToThread(wallet.balances)
        case.assertEqual((balance, pending), (paid_in - cost(seconds) - fee, 0))
        last = await deferToThread(wallet.last_nonce)
        case.assertEqual(last, on_chain[-1][0])
        case.assertFalse(self.keys(f"billing:compute:{sandbox}"))
        ran = self.world.simulator.running_seconds(sandbox)
        case.assertLessEqual(seconds, ran + 0.001)
        # Both ends of a run are rounded to whole seconds, against the charge.
        late = 2 * self.late_seconds()
        case.assertGreaterEqual(seconds, ran - lost_seconds - 2 - late)
        return seconds


def preimage_hash(record: ChargeRecord) -> bytes:
    """The usage hash of wire.md, computed without the daemon's code."""
    charge = record.charge
    numbers = (charge.period_start, charge.period_end, charge.units)
    packed = b"".join(int(number).to_bytes(8, "big", signed=True) for number in numbers)
    return bytes(keccak(str(charge.sandbox).encode() + packed))


def reasons(shown: Mapping[str, Any]) -> Mapping[str, str]:
    """What /readyz names."""
    found: Mapping[str, str] = shown["reasons"]
    return found

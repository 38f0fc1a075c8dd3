"""
What outlives the daemons: store, chain, Daytona, enclave, and what each of them saw.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Sequence
from itertools import count
from random import Random
from typing import Any, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from sandbox_billing.adapters.daytona.runtime import DaytonaRuntime
from sandbox_billing.adapters.memory.blocks import MemoryBlocks, Transaction
from sandbox_billing.adapters.memory.contract import Reverted
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.redis.keys import Keys
from sandbox_billing.devnet.daytona import DaytonaSimulator, Timings
from sandbox_billing.interfaces import IChain, IEnclave, ISigner, IWallClock, Line
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.account import Account, Behaviour
from sandbox_billing.ledger.hold import Exposure, Intent
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.services.policy import Policy
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.wiring import Parts
from tests.fixtures import OTHER_SIGNER, PRICES, SIGNER, STAKE, CountedIds
from tests.services.lives import DOMAIN, PROVIDER
from tests.simulation.clock import BASE, Life, Wall, WorldClock
from tests.simulation.daytona import DirectHTTP, Heard
from tests.simulation.faults import CRASHES, Fault, FaultKind, Spot
from tests.simulation.lives import Daemon
from tests.simulation.ports import Switchboard
from tests.simulation.settings import RECOVERY, RESTART, SIM_POLICY
from tests.simulation.store import SimulatedKeyspace, Written


T = TypeVar("T")

IDLE = ("step to block", "store observations", "check ", "renew the lease", "mark ", "let ")
"""What each quiet second stores."""

KEYS = Keys(PROVIDER, checksum(PROVIDER))


@implementer(IEnclave)
@define
class Enclave:
    """Gives the key to whoever asks."""

    signer: ISigner

    async def fetch_key(self) -> ISigner:
        return self.signer


@define(eq=False)
class LoggedBlocks(MemoryBlocks):
    """
    A chain that remembers what it was sent.

    @ivar on_submit: Called with each transaction that arrives.
    """

    on_submit: Callable[[Transaction], None] = field(default=lambda _: None, init=False)

    def submit(self, transaction: Transaction) -> bool:
        self.on_submit(transaction)
        return MemoryBlocks.submit(self, transaction)


@frozen
class Window:
    """
    Wall seconds while something was wrong, recovery included.

    @ivar chain: Whether with the chain alone: no reason to miss what runs.
    """

    since: float
    until: float
    why: str
    chain: bool = False


@frozen
class Sent:
    """
    A transaction as the chain received it.

    @ivar durable: How many facts the store could not forget any more.
    @ivar vouchers: Whose, and under which numbers.
    """

    at: float
    name: str
    durable: int
    vouchers: frozenset[tuple[Address, int]] = frozenset()


@frozen
class Admitted:
    """
    A reservation as it was stored.

    @ivar exposed: neuron, its own hold included.
    @ivar funds: neuron, with the operator's loss cap.
    """

    at: float
    intent: Intent
    exposed: int
    funds: int


@frozen
class _Spy:
    """Stands for the contract, to see what a transaction would tell it."""

    lines: list[Line]

    def settle(self, sender: Address, provider: Address, lines: Sequence[Line]) -> None:
        self.lines.extend(lines)


class World:
    """
    A provider with a contract, a Daytona, and daemons that come and go; a block each second.

    @ivar random: Of everything that is left to chance; None where nothing is.
    @ivar version: Counts changes that outlive a daemon.
    @ivar turns: How many turns of workers have begun.
    @ivar planted: Puts a defect into a daemon, where a test wants one.
    @ivar reorgs: How often.
    @ivar broken: Sandboxes that failed while they ran.
    @ivar skews: How far back and forward the daemons' clock was set at most, seconds.
    @ivar expected: Alarms, and reasons of dead letters, that what happened is enough for.
    @ivar remembered: Wallets that a store which lost its newest writes still knew; None:
        nothing was lost.
    @ivar operator: The journal as the command line has it.
    @ivar revive: Whether a daemon that died is followed by another.
    """

    def __init__(
        self,
        *,
        random: Random | None = None,
        timings: Timings | None = None,
        policy: Policy = SIM_POLICY,
        planted: Callable[[Parts], Parts] = lambda parts: parts,
        behaviour: Behaviour = Behaviour.FIXED,
    ) -> None:
        self.random = random
        self.policy = policy
        self.planted = planted
        self.clock = WorldClock(random)
        self.wall = Wall(self.clock)
        self.ids = CountedIds()
        self.version = 0
        self.mining = True
        self.revive = True
        self.board = Switchboard(self)
        self.enclave = Enclave(SIGNER)
        self.net = LoggedBlocks(DOMAIN, lambda: int(BASE + self.clock.rightNow))
        self.net.on_submit = self._submitted
        self.net.head.state.behaviour = behaviour
        self.signer = SIGNER
        for key in (SIGNER, OTHER_SIGNER):
            self.net.purses[key.address] = 10**24
        self.simulator = DaytonaSimulator(
            clock=self.clock,
            wall=lambda: BASE + self.clock.rightNow,
            timings=timings or Timings(),
            new_id=map("sb-{}".format, count(1)).__next__,
        )
        self._http = DirectHTTP(self.simulator, self._heard)
        self.keyspace = SimulatedKeyspace(self.clock, self._stored)
        self.operator = Journal.over(
            self.keyspace,
            PROVIDER,
            self.wall,
            owner="operator",
            interval_seconds=policy.voucher_interval,
        )
        # The world's own logs.
        self.heard: list[Heard] = []
        self.sent: list[Sent] = []
        self.windows: list[Window] = []
        self.admitted: list[Admitted] = []
        self.forgotten: list[Written] = []
        self.orders: list[tuple[float, str, bool]] = []
        self.tale: list[str] = []
        self.deaths = 0
        self.turns = 0
        self.rollbacks = 0
        self.broken: set[str] = set()
        self.reorgs = 0
        self.skew = 0
        self.skews = (0, 0)
        self.deposited: dict[Address, int] = {}
        self.surprises: list[str] = []
        self.expected: list[str] = []
        self.remembered: frozenset[str] | None = None
        self.daemons: list[Daemon] = []
        self._births = count(1)
        self.register(PRICES)
        self.net.mine(3)
        self._mine()

    # daemons

    def jitter(self) -> float:
        """Of a daemon's delays."""
        return 0.0 if self.random is None else self.random.random() * 0.05

    def runtime(self, clock: IReactorTime, wall: IWallClock) -> DaytonaRuntime:
        """A daemon's client."""
        http: Any = self._http
        return DaytonaRuntime.over(
            http, url="http://daytona.test", admin_key="admin-key", clock=clock, wall=wall
        )

    def birth(self, *, web: bool = False) -> Daemon:
        """
        Another daemon.

        @param web: It only lets people in and never works.
        """
        daemon = Daemon(self, f"daemon-{next(self._births)}", web=web)
        self.daemons.append(daemon)
        daemon.start()
        self.note(f"{daemon.life.name} begins")
        return daemon

    @property
    def living(self) -> list[Daemon]:
        """Those that can be asked."""
        return [d for d in self.daemons if not d.life.dead and not d.stopping and d.intake]

    def crash(self, life: Life) -> None:
        """It is gone, in the middle of whatever it does; another follows."""
        if life.dead:
            return
        life.dead = True
        self.deaths += 1
        self.window(RECOVERY, f"{life.name} dies")
        if self.revive:
            web = any(d.life is life and d.web for d in self.daemons)
            self.clock.callLater(RESTART, lambda: self.birth(web=web))

    def pause(self, life: Life, seconds: float) -> None:
        """It stands still."""
        life.resumes_at = max(life.resumes_at, self.clock.rightNow + seconds)
        self.window(seconds + RECOVERY, f"{life.name} stands still for {seconds:.1f} s")

    def lose_power(self, milliseconds: float) -> None:
        """The store and all daemons die; it forgets what was not on disk."""
        self.forgotten.extend(self.keyspace.forget(milliseconds))
        self.version += 1
        self.rollbacks += 1
        now, gone = BASE + self.clock.rightNow, milliseconds / 1000
        self.windows.append(Window(now - gone, now, "what was stored then is forgotten"))
        self.note(f"power is lost: {[w.commit.name for w in self.forgotten]} forgotten")
        for daemon in self.daemons:
            self.crash(daemon.life)

    def disturbed(self, fault: Fault, spot: Spot, number: int, life: Life) -> None:
        """A fault befell a call."""
        text = f"{fault.kind.name} {fault.amount:.2f} at call {number}, {spot.name} of {life.name}"
        self.note(text)
        delays = (FaultKind.DELAY_BEFORE, FaultKind.DELAY_AFTER)
        if fault.kind not in CRASHES and fault.kind is not FaultKind.PAUSE:
            seconds = fault.amount if fault.kind in delays else 0
            chain = spot.port is IChain
            self.window(seconds + RECOVERY, "wrong", chain=chain)

    def window(self, seconds: float, why: str, *, chain: bool = False) -> None:
        """From now on, for so long, not everything can be expected."""
        now = BASE + self.clock.rightNow
        self.windows.append(Window(now, now + seconds, why, chain))
        self.note(why)

    def break_sandbox(self, sandbox: str) -> None:
        """Its runner fails it."""
        self.broken.add(sandbox)
        self.simulator.break_sandbox(sandbox)

    def step_clocks(self, seconds: int) -> None:
        """Somebody sets the clock of the machine that all daemons run on."""
        self.skew = seconds
        for daemon in self.daemons:
            daemon.wall.skew = seconds
        self.skews = min(self.skews[0], seconds), max(self.skews[1], seconds)
        # What is stored of the old time is waited for.
        self.window(RECOVERY + self.skews[1] - self.skews[0], f"clocks go by {seconds} s")

    def reorg(self, depth: int, *, keep: bool) -> None:
        """Other blocks take the place of the newest."""
        self.net.reorg(depth, keep=keep)
        self.reorgs += 1
        self.version += 1
        stands = self.net.head.state.services.get(PROVIDER)
        if not keep and (stands is None or stands.signer != self.signer.address):
            # Nothing settles until it does, and nobody but the provider can see to that.
            self.note("the provider registers its key again: that is gone with its block")
            self.register(self.prices)

    def rotate(self) -> None:
        """The enclave has another key from now on, and the provider registers it."""
        self.signer = OTHER_SIGNER if self.signer is SIGNER else SIGNER
        self.enclave.signer = self.signer

    def note(self, what: str) -> None:
        """For whoever reads the story afterwards."""
        self.tale.append(f"{self.clock.rightNow:8.2f}  {what}")

    def alarmed(self, text: str) -> None:
        """The log's gravest."""
        self.note(f"alarm: {text}")
        if not self.is_expected(text):
            self.surprises.append(text)

    def is_expected(self, text: str) -> bool:
        """Whether something that happened in this world is reason enough."""
        return any(re.match(pattern, text) for pattern in self.expected)

    def surprised(self, failure: Failure) -> None:
        """Something ended as nothing should."""
        where = failure.getTraceback().splitlines()[-4:]
        self.surprises.append(" | ".join(line.strip() for line in where))

    # what everybody sees

    def _mine(self) -> None:
        if self.mining:
            self.net.mine()
        self.clock.callLater(1, self._mine)

    def _stored(self, written: Written) -> None:
        self.version += 1
        if not written.commit.name.startswith(IDLE):
            self.note(f"stored: {written.commit.name}")
        for step in written.commit.writes:
            if step.key.startswith("billing:intent:") and step.name == "SET":
                self._reserved(written, decode(Intent, step.arguments[0]))  # type: ignore[arg-type]
            elif step.key.startswith("stop:sandbox:") and step.name in ("SET", "DEL"):
                sandbox = step.key.removeprefix("stop:sandbox:")
                self.orders.append((BASE + written.at, sandbox, step.name == "SET"))

    def _reserved(self, written: Written, intent: Intent) -> None:
        if not written.commit.name.startswith("reserve"):
            return
        values = self.keyspace.values()
        fields: Any = values.get(KEYS.exposure(intent.owner), {})
        account: Any = values.get(KEYS.account(intent.owner))
        exposure = Exposure(
            {k.decode(): v.decode() for k, v in fields.items() if not k.startswith(b"#")}
        )
        balance = decode(Account, account).balance if account is not None else 0
        self.admitted.append(
            Admitted(
                BASE + written.at,
                intent,
                exposure.total(self.wall.now()),
                balance + self.policy.loss_cap,
            )
        )

    def _heard(self, heard: Heard) -> None:
        if heard.route not in ("list", "get"):
            self.version += 1
            self.note(f"Daytona: {heard.route} {heard.target}")
        self.heard.append(heard)

    def _submitted(self, transaction: Transaction) -> None:
        self.version += 1
        self.note(f"chain: {transaction.name[:10]} arrives")
        now = BASE + self.clock.rightNow
        lines: list[Line] = []
        spy: Any = _Spy(lines)
        transaction.call(spy)
        vouchers = frozenset((line.user, int(line.nonce)) for line in lines)
        self.sent.append(Sent(now, transaction.name, self.keyspace.durable, vouchers))

    # time

    def run(self, story: Coroutine[Any, Any, T], limit: float) -> T:
        """Let a story happen."""
        ended: list[Any] = []
        Deferred.fromCoroutine(story).addBoth(ended.append)
        self.clock.run_until(self.clock.rightNow + limit, lambda: bool(ended))
        if not ended:
            raise AssertionError(f"the story has not ended after {limit} s")
        if isinstance(ended[0], Failure):
            ended[0].raiseException()
        result: T = ended[0]
        return result

    def sleep(self, seconds: float) -> Deferred[None]:
        """For stories."""
        return deferLater(self.clock, seconds)

    # people

    def act(self, call: Callable[[Any], object]) -> bool:
        """A user's transaction; False when it reverts."""
        self.version += 1
        try:
            self.net.act(call)
        except Reverted:
            return False
        return True

    def register(self, prices: Prices) -> None:
        """The provider's terms."""
        self.prices = prices
        first = PROVIDER not in self.net.head.state.services
        stake, signer = STAKE if first else 0, self.signer.address
        self.act(lambda c: c.register(PROVIDER, signer, prices, stake, "https://p.example"))

    def deposit(self, who: Address, amount: int) -> None:
        """Somebody's funds."""
        self.act(lambda c: c.deposit(who, PROVIDER, amount))

    def acknowledge(self, who: Address, *, yes: bool = True) -> None:
        """Somebody's word on the signer and its prices."""
        self.act(lambda c: c.acknowledge(who, PROVIDER, yes))

    def request_refund(self, who: Address, amount: int) -> bool:
        """Somebody wants some of it back."""
        return self.act(lambda c: c.request_refund(who, PROVIDER, amount))

    def refuse(self, *routes: str) -> None:
        """Daytona refuses these from now on, and no others."""
        self._http.refused = set(routes)

    def front_run(self) -> None:
        """The provider submits what waits in the pool by another transaction, first."""
        for transaction in list(self.net.pool):
            if transaction.sender is not None:
                first = self.net.call(transaction.call)
                self.net.pool.remove(first)
                self.net.pool.insert(0, first)
                self.version += 1
                return

    def close(self) -> None:
        """Nothing moves any more."""
        for daemon in self.daemons:
            daemon.life.dead = True
        self.simulator.close()

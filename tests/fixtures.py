"""
A whole world in one process, under one C{task.Clock}.

Everything of ours is real but what lies outside: the journal's keys are in
dictionaries, the chain is L{MemoryChain}, and Daytona is the simulator behind
our real client, without sockets.  A L{Process} is one life of the daemon; it can
die at any call to a port, and another can be born on what it left.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from itertools import count
from math import ceil
from typing import Any, TypeVar

from attrs import define, evolve
from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sandbox_billing.adapters.daytona.runtime import DaytonaRuntime
from sandbox_billing.adapters.memory.blocks import MemoryBlocks
from sandbox_billing.adapters.memory.contract import LOCK_SECONDS, Contract, Slot
from sandbox_billing.adapters.memory.keyspace import MemoryKeyspace
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.devnet.daytona import DaytonaSimulator, Timings, simulator_resource
from sandbox_billing.interfaces import (
    UNMEASURED,
    IEvents,
    IIds,
    IMeasures,
    IWallClock,
    Sandbox,
)
from sandbox_billing.ledger.account import Behaviour
from sandbox_billing.ledger.identity import Address, BatchId, Reference, SandboxId
from sandbox_billing.ledger.laws import Books, l2_disjoint, l6_books, standing
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.ledger.voucher import ChargeRecord
from sandbox_billing.services.policy import Policy
from sandbox_billing.signing.key import SigningKey
from tests.services.lives import DOMAIN, PROVIDER, SWEEP, Life, Process


T = TypeVar("T")

# Well-known development keys, for tests only: they never guard real money.
SIGNER = SigningKey.from_bytes(b"\x11" * 32)
OTHER_SIGNER = SigningKey.from_bytes(b"\x22" * 32)

ALICE, BOB = Address("0x" + "a1" * 20), Address("0x" + "b0" * 20)
BASE = 1_750_000_000
STAKE = 1_000

FEE = 5_000
PER_CPU, PER_GIB = 6_000, 3_000
RATE = PER_CPU + PER_GIB
"""neuron per minute of the smallest sandbox, C{PER_SECOND} a second."""
PER_SECOND = RATE // 60
INTERVAL, STOP_DELAY = 60, 10
HOLD = PER_SECOND * (INTERVAL + STOP_DELAY)

PRICES = Prices(
    per_cpu_per_minute=Neuron(PER_CPU),
    per_memory_gib_per_minute=Neuron(PER_GIB),
    create_fee=Neuron(FEE),
)

POLICY = Policy(
    provider=PROVIDER,
    prices=Prices(flat_per_second=Neuron(7), create_fee=Neuron(11)),
    lock_time=LOCK_SECONDS,
    voucher_interval=INTERVAL,
    stop_delay=STOP_DELAY,
    loss_cap=Neuron(0),
    max_sandboxes=20,
    max_disk_gib=10,
    deadman_minutes=60,
    mirror_max_age=20,
    ack_grace=30,
    confirmations=2,
    start_block=None,
    log_range=5000,
    batch_max=50,
    batch_wait=0,
    max_in_flight=5,
    settle_min=Neuron(0),
    settle_max_age=30,
)


@implementer(IWallClock)
@define(eq=False)
class Wall:
    """
    Whole seconds since 1970, by a clock that may have been set.

    @ivar skew: How far it was set.
    """

    clock: Clock
    skew: int = 0

    def now(self) -> UnixSeconds:
        return UnixSeconds(int(BASE + self.clock.seconds()) + self.skew)

    def after(self) -> UnixSeconds:
        return UnixSeconds(ceil(BASE + self.clock.seconds()) + self.skew)


@implementer(IIds)
class CountedIds:
    """Unique in one world, and the same in each run of a test."""

    def __init__(self) -> None:
        self._next = count(1)

    def reference(self) -> Reference:
        return Reference(f"ref-{next(self._next)}")

    def batch(self) -> BatchId:
        return BatchId(f"batch-{next(self._next)}")


# --- the world ------------------------------------------------------------------------


class World:
    """
    A provider with a contract, a Daytona and one daemon; a block each second.

    @ivar process: The daemon that lives now.
    @ivar mining: Whether blocks come.
    """

    def __init__(
        self,
        timings: Timings | None = None,
        behaviour: Behaviour = Behaviour.FIXED,
        *,
        sweep: int = SWEEP,
        clock: Clock | None = None,
        **policy: Any,
    ) -> None:
        """
        @param behaviour: Flawed for the contract as it is deployed today.
        @param sweep: RECONCILE_INTERVAL_SEC.
        @param clock: None for one that jumps.
        @param policy: Changes to L{POLICY}.
        """
        self.clock = Clock() if clock is None else clock
        self.wall = Wall(self.clock)
        self.policy = evolve(POLICY, **policy)
        self.ids = CountedIds()
        self.births = count(1)
        self.mining = True
        self.sweep = sweep
        self.events: IEvents | None = None
        self.net = MemoryBlocks(DOMAIN, lambda: int(BASE + self.clock.seconds()))
        self.net.head.state.behaviour = behaviour
        for key in (SIGNER, OTHER_SIGNER):
            self.net.purses[key.address] = 10**24
        self.deposits: dict[Address, int] = {}
        self.register()
        self.net.mine(3)
        self.simulator = DaytonaSimulator(
            clock=self.clock,
            wall=lambda: BASE + self.clock.seconds(),
            timings=timings or Timings(),
            new_id=map("sb-{}".format, count(1)).__next__,
        )
        self._treq = StubTreq(simulator_resource(self.simulator, "admin-key"))
        self.runtime = DaytonaRuntime.over(
            self._treq,
            url="http://daytona.test",
            admin_key="admin-key",
            clock=self.clock,
            wall=Wall(self.clock),
        )
        self.keyspace = MemoryKeyspace(self.clock)
        self.measures: IMeasures = UNMEASURED
        self.processes: list[Process] = []
        self.process = self.birth()

    # lives

    def birth(self, life: Life | None = None, signer: SigningKey = SIGNER) -> Process:
        """Another daemon on the same world; the test starts it."""
        process = Process(self, life or Life(), signer)
        self.processes.append(process)
        return process

    def listens_to(self, events: IEvents) -> None:
        """From its next life on the daemon follows Daytona's news; before the first start."""
        self.events = events
        self.process = self.birth()

    def start(self) -> World:
        """Start the daemon and let it become the worker and look around."""
        self.process.start()
        self.advance(SWEEP + 1)
        return self

    def kill(self) -> None:
        """The daemon is gone, in the middle of whatever it does."""
        self.process.life.dead = True

    def restart(self, life: Life | None = None, signer: SigningKey = SIGNER) -> None:
        """Another daemon in the place of this one, which is killed."""
        self.kill()
        self.process = self.birth(life, signer)
        self.process.start()
        self.flush()

    # time

    def flush(self) -> None:
        """Let bytes flow until nothing answers any more."""
        moving = True
        while moving:
            before = sum(process.runtime.ended for process in self.processes)
            self._treq.flush()
            moving = before != sum(process.runtime.ended for process in self.processes)

    def advance(self, seconds: int = 1) -> None:
        """Second by second: a block, then everything that is due."""
        for _ in range(seconds):
            if self.mining:
                self.net.mine()
            self.clock.advance(1)
            self.flush()

    def until(self, done: Callable[[], bool], limit: int = 300) -> int:
        """
        Advance until it holds.

        @return: How many seconds it took.
        """
        for passed in range(limit):
            if done():
                return passed
            self.advance()
        raise AssertionError(f"it did not come true in {limit} s: {self.process.troubles()}")

    def begin(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        """Start something that takes time."""
        under_way = Deferred.fromCoroutine(work)
        self.flush()
        return under_way

    def run(self, work: Coroutine[Any, Any, T], limit: int = 300) -> T:
        """Advance until something is done; its failure is raised."""
        under_way = self.begin(work)
        self.until(lambda: bool(under_way.called and not under_way.paused), limit)
        found: list[Any] = []
        under_way.addCallbacks(found.append, lambda failure: found.append(failure.value))
        if isinstance(found[0], BaseException):
            raise found[0]
        result: T = found[0]
        return result

    # people

    def register(self, signer: Address = SIGNER.address, prices: Prices = PRICES) -> None:
        """The provider registers, or raises its version."""
        first = PROVIDER not in self.net.head.state.services
        stake = STAKE if first else 0
        self.net.act(lambda c: c.register(PROVIDER, signer, prices, stake, "https://p.example"))

    def deposit(self, amount: int, who: Address = ALICE) -> None:
        """Somebody's funds."""
        self.deposits[who] = self.deposits.get(who, 0) + amount
        self.net.act(lambda c: c.deposit(who, PROVIDER, amount))

    def acknowledge(self, who: Address = ALICE, *, acknowledged: bool = True) -> None:
        """Somebody's word on the signer."""
        self.net.act(lambda c: c.acknowledge(who, PROVIDER, acknowledged))

    def request_refund(self, amount: int, who: Address = ALICE) -> None:
        """Somebody wants it back."""
        self.net.act(lambda c: c.request_refund(who, PROVIDER, amount))

    def withdraw(self, amount: int, who: Address = ALICE) -> None:
        """Money goes back at once, as if the lock had passed."""
        self.deposits[who] -= amount

        def past_the_lock(contract: Contract) -> None:
            contract.request_refund(who, PROVIDER, amount)
            slot = contract.state.slot(PROVIDER, who)
            contract.state.slots[(PROVIDER, who)] = evolve(slot, unlock_at=0)
            contract.withdraw_refund(who, PROVIDER)

        self.net.act(past_the_lock)

    def fund(self, amount: int, who: Address = ALICE) -> None:
        """Deposit, acknowledge, and wait until the mirror knows."""
        self.deposit(amount, who)
        self.acknowledge(who)
        self.advance(4)

    def know(self, who: Address) -> None:
        """Have somebody's account mirrored, as any request of theirs does."""
        self.advance(4)
        self.run(self.process.parts.admission.funds(who))

    def create(self, who: Address = ALICE, **body: Any) -> SandboxId:
        """A sandbox that runs and was seen to."""
        made: Sandbox = self.run(self.process.intake.create(who, body, auto_stop_minutes=None))
        self.until(lambda: self.session(made.id) is None or self.session(made.id).started_at)
        return made.id

    # what is so

    def now(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of what completes at once."""
        result: T = SynchronousTestCase().successResultOf(Deferred.fromCoroutine(work))
        return result

    @property
    def eyes(self) -> Journal:
        """A journal of nobody: for looking."""
        return Journal.over(self.keyspace, PROVIDER, self.wall, interval_seconds=INTERVAL)

    def session(self, sandbox: SandboxId) -> Any:
        """The open session."""
        stored = self.now(self.eyes.doors.session(sandbox))
        return None if stored is None else stored.value

    def charges(self, who: Address = ALICE) -> tuple[ChargeRecord, ...]:
        """Everything somebody was ever charged."""
        return self.now(self.eyes.history.charges(who))

    def amounts(self, who: Address = ALICE) -> dict[str, int]:
        """Charge ids and amounts."""
        return {record.charge.id: record.charge.amount for record in self.charges(who)}

    def books(self, who: Address = ALICE) -> Books:
        """The columns of law L6."""
        return l6_books(self.charges(who))

    def funds(self, who: Address = ALICE) -> Any:
        """Account, exposure and flag."""
        return self.now(self.eyes.doors.funds(who))

    def order(self, sandbox: SandboxId) -> str | None:
        """The reason of a standing stop order."""
        return self.now(self.eyes.doors.stop_reason(sandbox))

    def state(self, sandbox: SandboxId) -> str:
        """What Daytona would show; C{gone} on 404."""
        record = self.simulator.records[sandbox]
        return str(self.simulator.document(record)["state"]) if record.visible else "gone"

    def slot(self, who: Address = ALICE) -> Slot:
        """An account on chain."""
        return self.net.head.state.slot(PROVIDER, who)

    @property
    def earned(self) -> int:
        """What the provider was paid."""
        return self.net.head.state.earnings.get(PROVIDER, 0)

    @property
    def quiet(self) -> bool:
        """Nothing is on its way: law L11, but for what waits for its user."""
        journal = self.eyes
        batches = self.now(journal.queue.batches())
        intents = self.now(journal.meter.intents())
        stops = self.now(journal.stops.due(UnixSeconds(2**40), 100))
        return not batches and not intents and not stops

    def check_laws(self, *wallets: Address, observed: bool = True) -> None:
        """L1, L2, L3 and L6, on everything there is."""
        state = self.net.head.state
        owed = state.owed() + state.nobodys
        assert state.native == owed, f"L1: {state.native} held, {owed} owed, and nobody's"
        records = [record for who in wallets or (ALICE, BOB) for record in self.charges(who)]
        l2_disjoint(standing(records))
        books = l6_books(records)
        assert books.settled <= self.earned, f"L6: {books} and {self.earned} earned"
        for record in records:
            charge = record.charge
            if charge.units and observed:
                self._check_observed(charge.sandbox, charge.period_start, charge.period_end)

    def _check_observed(self, sandbox: SandboxId, start: int, end: int) -> None:
        assert sandbox in self.simulator.records, f"{sandbox} is charged, and never was"
        shown = self.simulator.records[sandbox].shown.intervals
        inside = any(a <= start and (b is None or end <= b) for a, b in shown)
        assert inside, f"L3: {sandbox} was charged for [{start}, {end}), shown running in {shown}"


class WorldCase(SynchronousTestCase):
    """A test with a world, whose laws are checked when it ends."""

    observed = True
    """Whether everything charged must have been shown running (L3)."""

    def setUp(self) -> None:
        self.world = World().start()

    def tearDown(self) -> None:
        self.world.check_laws(observed=self.observed)
        self.world.simulator.close()

    def fails(self, kind: type[Any], work: Coroutine[Any, Any, Any]) -> Any:
        """What something is refused with."""
        with self.assertRaises(kind) as caught:
            self.world.run(work)
        return caught.exception

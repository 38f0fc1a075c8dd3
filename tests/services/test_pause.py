"""
A change of price while sandboxes run (K21): the pause, the drain, and what comes after.
"""

from __future__ import annotations

from itertools import pairwise

from attrs import evolve

from sandbox_billing.devnet.daytona import Fault, FaultKind, Timings
from sandbox_billing.interfaces import NotReady, Stored
from sandbox_billing.ledger.backlog import Left, Pause, Standing
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.ledger.voucher import Paid, Parked
from sandbox_billing.services import generator
from sandbox_billing.services.admission import PAUSED_SECONDS
from sandbox_billing.services.backlog import left_before
from sandbox_billing.services.readiness import DoorWatch
from tests.fixtures import (
    ALICE,
    BOB,
    FEE,
    PER_CPU,
    PER_GIB,
    PER_SECOND,
    SWEEP,
    World,
    WorldCase,
)
from tests.services.lives import Life


DEARER = Prices(
    per_cpu_per_minute=Neuron(2 * PER_CPU),
    per_memory_gib_per_minute=Neuron(2 * PER_GIB),
    create_fee=Neuron(2 * FEE),
)

DRAINED = 2 * SWEEP + 10
"""Seconds a drain takes at most: to be seen running after the pause, a turn, and a batch."""


class PauseCase(WorldCase):
    """A world in which somebody pauses admissions."""

    stands: Stored[Pause]

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(10**7)

    def pause(self) -> int:
        """@return: Since when."""
        world = self.world
        pause = Pause(since=world.wall.now(), reason="prices change", by="provider register")
        self.stands = world.now(world.eyes.pause.pause(pause))
        return pause.since

    def lift(self) -> None:
        """End it."""
        self.world.now(self.world.eyes.pause.lift(self.stands))

    def left(self) -> Left:
        """Before the pause."""
        eyes = self.world.eyes
        return self.world.now(left_before(eyes.meter, eyes.backlog, self.stands.value.since))

    def drain(self, limit: int = DRAINED) -> None:
        """Wait as C{provider register} does."""
        self.world.until(lambda: self.left().nothing, limit)

    def seconds(self, sandbox: SandboxId) -> list[tuple[int, int, int]]:
        """Start, end and price a second of what was charged, in order."""
        charged = [r.charge for r in self.world.charges() if r.charge.sandbox == sandbox]
        return sorted(
            (c.period_start, c.period_end, c.amount // c.units) for c in charged if c.units
        )


class DoorsTests(PauseCase):
    """What is kept out, and what is not."""

    def test_kept_out(self) -> None:
        """Create and start answer 503 with a reason and when to ask again."""
        world, intake = self.world, self.world.process.intake
        sandbox = world.create()
        world.run(intake.stop(ALICE, sandbox))
        world.advance(15)
        self.pause()
        calls = (
            intake.create(ALICE, {}, auto_stop_minutes=None),
            intake.start(ALICE, sandbox),
        )
        for call in calls:
            why = self.fails(NotReady, call)
            self.assertEqual(why.text, "admissions are paused: prices change; what runs goes on")
            self.assertEqual(why.retry_after, PAUSED_SECONDS)
        self.assertEqual(world.now(world.eyes.meter.intents()), ())
        self.lift()
        world.run(intake.start(ALICE, sandbox))
        self.assertEqual(world.state(sandbox), "started")

    def test_goes_on(self) -> None:
        """What runs runs on and is charged; stop, delete and lists work."""
        world, intake = self.world, self.world.process.intake
        one, other = world.create(), world.create()
        self.pause()
        world.advance(130)
        self.assertEqual((world.state(one), world.state(other)), ("started", "started"))
        world.run(intake.stop(ALICE, one))
        world.run(intake.delete(ALICE, other))
        world.advance(SWEEP + 2)
        self.assertEqual((world.state(one), world.state(other)), ("stopped", "gone"))
        for sandbox in (one, other):
            periods = self.seconds(sandbox)
            self.assertGreaterEqual(sum(end - start for start, end, _ in periods), 130)

    def test_told(self) -> None:
        """Readiness names a pause without calling it a fault."""
        world = self.world
        watch = DoorWatch(doors=world.eyes.doors, wall=world.wall, policy=world.policy)
        readiness = world.process.readiness
        readiness.asked["settlement"], readiness.noticed["admissions"] = watch.trouble, watch.notice
        since = self.pause()
        world.now(watch.turn())
        self.assertEqual(readiness.reasons(), {})
        told = f"paused since {since} by provider register: prices change"
        self.assertEqual(readiness.notices(), {"admissions": told})
        self.lift()
        world.now(watch.turn())
        self.assertEqual(readiness.notices(), {})

    def test_allotted_more(self) -> None:
        """A create that was let in before may still grow to what Daytona allots."""
        self.addCleanup(self.world.simulator.close)
        world = self.world = World(timings=Timings(create_seconds=8.0)).start()
        world.fund(10**7)
        snapshots = world.simulator.snapshots
        first = next(iter(snapshots))
        snapshots[first] = evolve(snapshots[first], cpu=4, memory=8)
        under_way = world.begin(world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        self.pause()
        self.assertEqual(self.left().intents, 1)
        world.until(lambda: bool(under_way.called))
        made = self.successResultOf(under_way)
        self.assertEqual(self.left().intents, 0)
        self.drain(DRAINED + 10)
        self.assertEqual(world.session(made.id).rate, 4 * PER_CPU + 8 * PER_GIB)


class DrainTests(PauseCase):
    """Everything of before is settled, or waits for its own wallet."""

    def check(self, sandbox: SandboxId, since: int) -> None:
        """All that ran before was paid at the old price."""
        for record in self.world.charges():
            if record.charge.period_start < since:
                self.assertIsInstance(record.state, Paid, record)
        covered = [p for p in self.seconds(sandbox) if p[0] < since]
        self.assertGreaterEqual(covered[-1][1], since)
        self.assertEqual({price for *_, price in covered}, {PER_SECOND})

    def test_price_change(self) -> None:
        """A sandbox runs across a price change: no second is lost, or charged twice."""
        world = self.world
        sandbox = world.create()
        begun = world.session(sandbox).started_at
        world.advance(75)
        since = self.pause()
        self.assertFalse(self.left().nothing)
        self.drain()
        self.check(sandbox, since)
        world.register(prices=DEARER)
        world.advance(3)
        self.lift()
        world.advance(2)
        world.acknowledge()
        world.advance(150)
        world.run(world.process.intake.stop(ALICE, sandbox))
        ended = world.wall.now()
        world.until(lambda: world.quiet and not world.books().pending, 60)
        periods = self.seconds(sandbox)
        self.assertEqual((periods[0][0], periods[-1][1]), (begun, ended))
        for one, following in pairwise(periods):
            self.assertEqual(one[1], following[0])
        prices = [price for *_, price in periods]
        self.assertEqual(prices, sorted(prices))
        self.assertEqual(set(prices), {PER_SECOND, 2 * PER_SECOND})
        self.assertEqual(world.earned, sum(world.amounts().values()))

    def test_undrained(self) -> None:
        """The trap of K21: changed without a drain, the unsettled waits for its users."""
        world = self.world
        sandbox = world.create()
        world.advance(75)
        since = self.pause()
        world.register(prices=DEARER)
        world.advance(DRAINED)
        states = [r.state for r in world.charges() if r.charge.period_start < since]
        self.assertFalse(all(isinstance(state, Paid) for state in states))
        self.assertTrue(self.left().excepted)
        self.assertEqual(world.state(sandbox), "started")

    def test_let_in_before(self) -> None:
        """The drain waits for a create that was let in before the pause, and for its fee."""
        self.addCleanup(self.world.simulator.close)
        world = self.world = World(timings=Timings(create_seconds=40.0)).start()
        world.fund(10**7)
        under_way = world.begin(world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        since = self.pause()
        world.advance(20)
        self.assertFalse(self.left().nothing)
        self.drain(120)
        made = self.successResultOf(under_way)
        fees = [r for r in world.charges() if r.charge.sandbox == made.id and not r.charge.units]
        self.assertEqual([type(fee.state) for fee in fees], [Paid])
        self.assertGreaterEqual(world.session(made.id).charged_until, since)

    def test_waits_for_itself(self) -> None:
        """Who has revoked, or has nothing left, holds up nobody else; it is told apart."""
        world = self.world
        world.fund(10**6, BOB)
        sandbox = world.create()
        world.create(BOB)
        world.advance(70)
        world.acknowledge(BOB, acknowledged=False)
        world.advance(30)
        self.pause()
        self.drain()
        kinds = {standing for standing, _count, _amount in self.left().excepted}
        self.assertEqual(kinds, {Standing.PARKED})
        self.assertTrue(any(not isinstance(r.state, Paid | Parked) for r in world.charges(BOB)))
        self.check(sandbox, self.stands.value.since)

    def test_daytona_away(self) -> None:
        """While nobody sees what runs, nothing is drained; when somebody does, it is."""
        world = self.world
        sandbox = world.create()
        world.simulator.faults.add(
            Fault(kind=FaultKind.STATUS, status=500, route="list", count=None)
        )
        world.advance(2)
        since = self.pause()
        world.advance(3 * DRAINED)
        self.assertEqual(self.left().sessions, 1)
        world.simulator.faults.clear()
        self.drain()
        self.check(sandbox, since)

    def test_worker_dies(self) -> None:
        """Whoever is the worker next drains on: the pause is stored."""
        world = self.world
        sandbox = world.create()
        world.advance(20)
        since = self.pause()
        world.restart()
        self.drain(DRAINED + 20)
        self.check(sandbox, since)
        self.fails(NotReady, world.process.intake.create(ALICE, {}, auto_stop_minutes=None))

    def test_many(self) -> None:
        """Sessions that cannot be charged yet hide none that can."""
        self.patch(generator, "PAGE", 2)
        world = self.world
        made = [world.create() for _ in range(7)]
        world.advance(10)
        since = self.pause()
        self.drain()
        for sandbox in made:
            self.check(sandbox, since)

    def test_small_sums(self) -> None:
        """What rests because it is not worth a transaction is settled all the same."""
        self.addCleanup(self.world.simulator.close)
        world = self.world = World(settle_min=Neuron(10**9), settle_max_age=3_000).start()
        world.fund(10**7)
        sandbox = world.create()
        world.advance(100)
        self.assertEqual(world.earned, 0)
        since = self.pause()
        self.drain()
        self.check(sandbox, since)


class CrashTests(PauseCase):
    """The worker dies at any call of a drain."""

    def story(self, life: Life) -> None:
        """A sandbox that ran, a pause, and whoever is the worker until all is drained."""
        self.addCleanup(self.world.simulator.close)
        world = self.world = World().start()
        world.fund(10**7)
        sandbox = world.create()
        world.advance(25)
        world.process.stop()
        world.process = world.birth(life)
        world.process.start()
        since = self.pause()
        for _ in range(120):
            world.advance()
            if life.dead and world.process.life is life:
                world.restart()
            if self.left().nothing:
                break
        charged = [r for r in world.charges() if r.charge.period_start < since]
        self.assertTrue(charged and all(isinstance(r.state, Paid) for r in charged), life)
        self.assertEqual(world.earned, sum(r.charge.amount for r in charged))
        self.assertGreaterEqual(world.session(sandbox).charged_until, since)
        world.check_laws()

    def test_everywhere(self) -> None:
        """Before and after each call that changes something: the same books."""
        whole = Life()
        self.story(whole)
        self.assertIn("broadcast", whole.calls)
        for number in range(len(whole.calls)):
            for after in (False, True):
                self.story(Life(dies_at=number, after=after))

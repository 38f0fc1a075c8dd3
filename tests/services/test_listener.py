"""
Daytona's news: what they hasten, and that nothing rests on them.

The port is played by the simulator's own events, without a socket.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from random import Random
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sandbox_billing.devnet.daytona import Timings
from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import IEvents, LeaseLost
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.services.listener import (
    AT_ONCE,
    GOOD_SECONDS,
    LONGEST_WAIT,
    LOOK_SECONDS,
    MOST,
    Listener,
)
from tests.fixtures import ALICE, World, WorldCase


@implementer(IEvents)
@define(eq=False)
class PlayedEvents:
    """
    @ivar tries: When somebody began to listen.
    @ivar ending_of: What becomes of it when its caller gives up.
    """

    clock: Clock
    tries: list[float] = field(factory=list)
    heard: Callable[[SandboxId], None] = field(default=None)
    joined: Callable[[], None] = field(default=None)
    ending: Deferred[None] = field(factory=Deferred)
    ending_of: Callable[[Deferred[None]], None] | None = None

    async def follow(self, heard: Callable[[SandboxId], None], joined: Callable[[], None]) -> None:
        """Until the test ends it."""
        self.tries.append(self.clock.seconds())
        self.heard, self.joined, self.ending = heard, joined, Deferred(self.ending_of)
        await self.ending

    def end(self) -> None:
        """The connection is lost."""
        self.ending.errback(Transient("it is lost"))


class ListenerTests(SynchronousTestCase):
    """L{Listener} alone."""

    def setUp(self) -> None:
        """One that has begun."""
        self.clock = Clock()
        self.events = PlayedEvents(self.clock)
        verifyObject(IEvents, self.events)
        self.looks: list[list[str]] = []
        self.again: list[SandboxId] = []
        self.raises: Exception | None = None
        self.lost = 0
        self.listener = Listener(
            events=self.events,
            look=self.look,
            clock=self.clock,
            chance=lambda: 1.0,
            on_lease_lost=self.on_lost,
        )
        self.listener.startService()

    def tearDown(self) -> None:
        """It ends, and leaves nothing."""
        self.successResultOf(self.listener.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def look(self, sandboxes: Collection[SandboxId]) -> Collection[SandboxId]:
        """As the reconciler."""
        self.looks.append(list(sandboxes))
        if self.raises is not None:
            raise self.raises
        again, self.again = self.again, []
        return again

    def on_lost(self) -> None:
        """Count it."""
        self.lost += 1

    def hear(self, *names: str) -> None:
        """News."""
        for name in names:
            self.events.heard(SandboxId(name))

    def test_coalesced(self) -> None:
        """What is told often is looked at once, and soon."""
        self.hear("a", "b", "a", "a")
        self.clock.advance(LOOK_SECONDS)
        self.assertEqual(self.looks, [["a", "b"]])
        self.clock.pump([LOOK_SECONDS] * 8)
        self.assertEqual(len(self.looks), 1)

    def test_flood(self) -> None:
        """A flood is kept within bounds, and looked at within bounds."""
        self.hear(*map(str, range(100_000)))
        self.clock.pump([LOOK_SECONDS] * 4)
        self.assertEqual([len(look) for look in self.looks], [AT_ONCE] * 4)
        self.clock.pump([LOOK_SECONDS] * 1000)
        self.assertEqual(sum(map(len, self.looks)), MOST)

    def test_again(self) -> None:
        """What could not be seen yet is looked at once more, after the others."""
        self.again = [SandboxId("a")]
        self.hear("a")
        self.clock.advance(LOOK_SECONDS)
        self.hear("b")
        self.clock.advance(LOOK_SECONDS)
        self.assertEqual(self.looks, [["a"], ["a", "b"]])

    def test_failing_looks(self) -> None:
        """A look that fails stops none after it."""
        for error in (Transient("away"), ValueError("a defect")):
            self.raises = error
            self.hear("a")
            self.clock.advance(LOOK_SECONDS)
        self.raises = LeaseLost("another is the worker")
        self.hear("a")
        self.clock.advance(LOOK_SECONDS)
        self.assertEqual((len(self.looks), self.lost), (3, 1))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_waits_longer(self) -> None:
        """Who is turned away again and again asks ever more seldom, but goes on."""
        for _ in range(40):
            self.events.end()
            self.clock.advance(LONGEST_WAIT)
        gaps = [b - a for a, b in zip(self.events.tries, self.events.tries[1:], strict=False)]
        self.assertEqual(len(gaps), 40)
        self.events.end()
        self.clock.advance(LONGEST_WAIT - 1)
        self.assertEqual(len(self.events.tries), 41)
        self.clock.advance(1)
        self.assertEqual(len(self.events.tries), 42)

    def test_soon_after_a_good_time(self) -> None:
        """After a good while it listens again at once; a connection that is always cut waits."""
        for _ in range(9):
            self.events.joined()
            self.events.end()
            self.clock.advance(LONGEST_WAIT)
        self.events.joined()
        self.clock.advance(GOOD_SECONDS)
        self.events.end()
        before = len(self.events.tries)
        self.clock.advance(1)
        self.assertEqual(len(self.events.tries), before + 1)

    def test_notice(self) -> None:
        """Whether it listens is worth knowing, and no trouble."""
        self.assertIn("has not been reached yet", self.listener.notice() or "")
        self.events.joined()
        self.assertIsNone(self.listener.notice())
        self.events.end()
        self.assertIn("it is lost", self.listener.notice() or "")

    def test_stop_while_connecting(self) -> None:
        """Stopped before there is a connection, it is over: nobody waits for it, or follows on."""

        def cancelled(ending: Deferred[None]) -> None:
            # As an endpoint does, which fails with its own error: it was not reached.
            ending.errback(Transient("Daytona cannot be reached"))

        self.events.end()
        self.events.ending_of = cancelled
        self.clock.advance(1)
        self.assertEqual(len(self.events.tries), 2)
        self.successResultOf(self.listener.stopService())
        self.clock.advance(LONGEST_WAIT)
        self.assertEqual(len(self.events.tries), 2)

    def test_stop_while_waiting(self) -> None:
        """It can be stopped between two tries, too."""
        self.events.end()


class NewsTests(WorldCase):
    """With the reconciler, whose sweeps are an hour apart."""

    sweep = 3600

    def setUp(self) -> None:
        """A daemon that listens."""
        self.world = World(Timings(stop_seconds=0.2), sweep=self.sweep)
        self.events = PlayedEvents(self.world.clock)
        self.world.listens_to(self.events)
        self.world.start()
        self.world.fund(100_000_000)
        simulator = self.world.simulator
        self.leave = simulator.events.subscribe(self.on_event)

    def on_event(self, name: str, payload: dict[str, Any]) -> None:
        """As Daytona's gateway, the adapter's part of it done."""
        self.events.heard(SandboxId(payload.get("sandbox", payload)["id"]))

    def running(self) -> SandboxId:
        """A sandbox that is metered."""
        sandbox = self.world.create()
        self.pass_by(3)
        self.assertIsNotNone(self.world.session(sandbox).started_at)
        return sandbox

    def pass_by(self, seconds: float) -> None:
        """In steps of a tenth, so that looks come when they are due."""
        for step in range(round(seconds * 10)):
            if step % 10 == 0:
                self.world.net.mine()
            self.world.clock.advance(0.1)
            self.world.flush()

    def test_starts_and_stops(self) -> None:
        """A start is seen within a second, and so is an end of its own."""
        sandbox = self.running()
        began = self.world.session(sandbox).started_at
        (start, _), *_ = self.world.simulator.records[sandbox].shown.intervals
        self.assertLessEqual(began - start, 2)
        self.pass_by(20)
        self.world.simulator.stop_behind(sandbox)
        self.pass_by(1)
        self.assertIsNone(self.world.session(sandbox))

    def test_behind_our_back(self) -> None:
        """One that somebody starts behind our back is metered within a second."""
        sandbox = self.running()
        self.world.simulator.stop_behind(sandbox)
        self.pass_by(2)
        self.world.simulator.start_behind(sandbox)
        self.pass_by(2.5)
        self.assertIsNotNone(self.world.session(sandbox))

    def test_stop_by_its_owner(self) -> None:
        """News of what we did ourselves changes nothing."""
        sandbox = self.running()
        self.pass_by(5)
        self.world.run(self.world.process.intake.stop(ALICE, sandbox))
        charged = [record.charge for record in self.world.charges()]
        self.pass_by(3)
        self.assertEqual(charged, [record.charge for record in self.world.charges()])

    def test_lies(self) -> None:
        """News of what is not so, and of what is not there, in any number, changes nothing."""
        sandbox = self.running()
        heard = len(self.world.simulator.received)
        for name in ("sb-99", "nothing", sandbox):
            for _ in range(500):
                self.events.heard(SandboxId(name))
        self.pass_by(3)
        self.assertIsNotNone(self.world.session(sandbox))
        asked = [one.target for one in list(self.world.simulator.received)[heard:]]
        self.assertEqual(asked, [f"/api/sandbox/paginated?id={sandbox}&limit=200&page=1"])

    def test_outage(self) -> None:
        """A look that Daytona does not answer is left to the sweep."""
        sandbox = self.running()
        self.world.simulator.fail_next(503, count=None)
        self.world.simulator.stop_behind(sandbox)
        self.pass_by(3)
        self.assertIsNotNone(self.world.session(sandbox))


class RandomNewsTests(WorldCase):
    """Random lives with news that are dropped, doubled, late and false, beside frequent sweeps."""

    SEEDS = 12

    def setUp(self) -> None:
        """Each story makes its world."""

    def tearDown(self) -> None:
        """And looks at its laws."""

    def test_any(self) -> None:
        """Charged is what was shown, to the moment (L2, L3), and what runs is metered."""
        for seed in range(self.SEEDS):
            self.story(seed)

    def story(self, seed: int) -> None:
        """One life."""
        chance = Random(seed)
        world = World(Timings(stop_seconds=0.3, start_seconds=0.4))
        events = PlayedEvents(world.clock)
        world.listens_to(events)
        world.start()
        world.fund(100_000_000)
        self.addCleanup(world.simulator.close)
        simulator, intake = world.simulator, world.process.intake

        def tell(name: str, payload: dict[str, Any]) -> None:
            id = SandboxId(payload.get("sandbox", payload)["id"])
            for _ in range(chance.choice((0, 1, 1, 2))):
                delay = chance.choice((0, 0, 0.3, 4))
                if delay:
                    world.clock.callLater(delay, events.heard, id)
                else:
                    events.heard(id)

        simulator.events.subscribe(tell)
        sandbox = world.create()
        record = simulator.records[sandbox]
        for _ in range(60):
            step = chance.choice(("start", "stop", "end", "begin", "lie", "wait", "wait"))
            if step in ("start", "stop"):
                calling = world.begin(getattr(intake, step)(ALICE, sandbox))
                calling.addErrback(lambda _: None)
            elif step == "end" and record.runs:
                simulator.stop_behind(sandbox)
            elif (
                step == "begin" and not record.runs and not record.pending and _seen(world, record)
            ):
                simulator.start_behind(sandbox)
            elif step == "lie":
                events.heard(sandbox)
            for _ in range(chance.randrange(1, 40)):
                if chance.random() < 0.1:
                    world.net.mine()
                world.clock.advance(chance.choice((0.1, 0.17, 0.25)))
                world.flush()
        with self.subTest(seed=seed):
            self.assertGreater(sum(r.charge.units for r in world.charges()), 10)
            world.check_laws(ALICE)
            world.advance(20)
            self.assertEqual(record.runs, world.session(sandbox) is not None)


def _seen(world: World, record: Any) -> bool:
    """Whether a sweep has seen the end of the last run: a gap that nobody saw is charged (L3)."""
    *_, (_start, end) = record.shown.intervals
    return bool(world.simulator.wall() - end > world.sweep + 1)

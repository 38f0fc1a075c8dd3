"""
Tests of C{sandbox_billing.services.reconciler}: exactly what runs is metered.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.logger import globalLogPublisher

from sandbox_billing.adapters.daytona.runtime import DaytonaRuntime
from sandbox_billing.devnet.daytona import Fault, FaultKind, Timings
from sandbox_billing.errors import UnknownOutcome
from sandbox_billing.interfaces import DaytonaRefused, Listing, NotReady, TooMany
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.metering import LOOKUP_CACHE_SECONDS
from sandbox_billing.services import missing
from sandbox_billing.services.missing import VANISHED_LEAST
from tests.fixtures import (
    ALICE,
    BOB,
    FEE,
    HOLD,
    INTERVAL,
    PER_SECOND,
    PROVIDER,
    RATE,
    SWEEP,
    World,
    WorldCase,
)


SB = SandboxId("sb-1")


class RefusedListTests(WorldCase):
    """Daytona does not let us look."""

    def test_key_refused(self) -> None:
        """A list that is refused is told as trouble, and looked for again."""
        world = self.world

        async def refused(_runtime: DaytonaRuntime) -> None:
            raise DaytonaRefused("invalid API key", 401)

        patched = self.patch(DaytonaRuntime, "sweep", refused)
        world.advance(2 * SWEEP)
        self.assertIn("invalid API key", world.process.troubles()["reconciler"])
        patched.restore()
        world.advance(2 * SWEEP)
        self.assertNotIn("reconciler", world.process.troubles())

    def test_nobody_looks(self) -> None:
        """While nobody can see what runs, nothing new is let in: it would run for nothing."""
        world = self.world
        world.fund(100_000)
        stopped = world.create()
        world.run(world.process.intake.stop(ALICE, stopped))
        world.advance(2 * SWEEP)
        world.simulator.faults.add(
            Fault(kind=FaultKind.STATUS, status=500, route="list", count=None)
        )
        world.advance(world.policy.sweep_max_age + SWEEP)
        for work in (
            world.process.intake.create(ALICE, {}, auto_stop_minutes=None),
            world.process.intake.start(ALICE, stopped),
        ):
            self.assertIn("Daytona's list", self.fails(NotReady, work).text)
        self.assertEqual(world.state(stopped), "stopped")
        self.assertEqual(len(world.simulator.records), 1)
        world.simulator.faults.clear()
        world.advance(2 * SWEEP)
        world.create()


class BlindTests(WorldCase):
    """Its owner sees it run, and no sweep does."""

    observed = False

    def test_lookup_begins(self) -> None:
        """What a lookup of its owner shows running is charged from then until it is stopped."""
        world = self.world
        world.fund(10_000_000)
        world.simulator.faults.add(
            Fault(kind=FaultKind.STATUS, status=500, route="list", count=None)
        )
        intake = world.process.intake
        sandbox = world.run(intake.create(ALICE, {}, auto_stop_minutes=None)).id
        world.until(lambda: world.state(sandbox) == "started")
        world.run(intake.owned(ALICE, sandbox))
        self.assertIsNone(world.session(sandbox).started_at, "it may have been seen before")
        world.advance(2 * LOOKUP_CACHE_SECONDS)
        world.run(intake.owned(ALICE, sandbox))
        begun = world.session(sandbox).started_at
        world.advance(INTERVAL)
        world.run(intake.stop(ALICE, sandbox))
        self.assertEqual(world.amounts()[f"{sandbox}:{begun}"], RATE)


class CrowdedTests(WorldCase):
    """What does not run costs its owner nothing, and every sweep reads it."""

    def test_kept_too_many(self) -> None:
        """Who has so many, stopped or failed, creates no more before one is deleted; others do."""
        world = self.world
        for wallet in (ALICE, BOB):
            world.fund(10_000_000, wallet)
        intake, most = world.process.intake, world.policy.max_rows
        made = [world.create() for _ in range(2)]
        world.run(intake.stop(ALICE, made[0]))
        record = world.simulator.records[made[0]]
        for number in range(most - 2):
            world.simulator.records[f"more-{number}"] = evolve(record, id=f"more-{number}")
        world.advance(2 * SWEEP)
        work = intake.create(ALICE, {}, auto_stop_minutes=None)
        self.assertIn(f"{most} sandboxes", self.fails(TooMany, work).text)
        self.assertEqual(world.funds().exposure.count(), 1, "only what runs is held for")
        world.create(BOB)
        world.run(intake.start(ALICE, made[0]))
        world.run(intake.delete(ALICE, made[1]))
        world.advance(4 * SWEEP)
        world.create()


class VanishedTests(WorldCase):
    """All that is metered is missing at once."""

    def test_access_lost(self) -> None:
        """
        Our key sees an empty list, and 404 whatever it asks for: nothing is closed, a human is
        told, and metering goes on when it sees again.
        """
        world = self.world
        world.fund(10_000_000)
        made = [world.create() for _ in range(VANISHED_LEAST)]
        world.advance(SWEEP)

        async def nothing(_runtime: DaytonaRuntime) -> tuple[Listing, ...]:
            return (Listing((), world.wall.now(), world.wall.after()),)

        patched = self.patch(DaytonaRuntime, "sweep", nothing)
        world.simulator.faults.add(
            Fault(kind=FaultKind.STATUS, status=404, route="get", count=None)
        )
        world.advance(4 * LOOKUP_CACHE_SECONDS)
        self.assertIn("missing at once", world.process.troubles()["reconciler"])
        self.assertNotIn(None, [world.session(one) for one in made])
        patched.restore()
        world.simulator.faults.clear()
        world.advance(2 * SWEEP)
        self.assertNotIn("reconciler", world.process.troubles())

    def test_not_believed(self) -> None:
        """A list that is not believed opens no door: nothing new would be seen to run."""
        world = self.world
        world.fund(10_000_000)
        for _ in range(VANISHED_LEAST):
            world.create()
        world.advance(SWEEP)
        self.hide(*world.simulator.records)
        world.advance(world.policy.sweep_max_age + 2 * SWEEP)
        work = world.process.intake.create(ALICE, {}, auto_stop_minutes=None)
        self.assertIn("Daytona's list", self.fails(NotReady, work).text)

    def hide(self, *hidden: str) -> None:
        """No sweep shows them; everything else does."""
        original = DaytonaRuntime.sweep

        async def blind(runtime: DaytonaRuntime) -> tuple[Listing, ...]:
            return tuple(
                evolve(page, sandboxes=tuple(one for one in page.sandboxes if one.id not in hidden))
                for page in await original(runtime)
            )

        self.patch(DaytonaRuntime, "sweep", blind)

    def test_shown_by_lookup(self) -> None:
        """Missing from the list and shown running by lookups: it is charged, and told once."""
        world = self.world
        world.fund(10_000_000)
        sandbox, other = world.create(), world.create()
        events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        begun = world.session(sandbox).started_at
        world.advance(SWEEP)
        self.hide(sandbox)
        world.advance(10 * INTERVAL)
        until = world.session(sandbox).charged_until
        self.assertGreater(until, begun + 8 * INTERVAL)
        self.assertIsNotNone(world.session(other))
        self.assertNotIn("reconciler", world.process.troubles())
        told = [one["sandbox"] for one in events if "lookup shows" in one.get("log_format", "")]
        self.assertEqual(told, [sandbox])

    def test_all_shown_by_lookup(self) -> None:
        """If that is all there is, somebody is told that the list cannot be right."""
        world = self.world
        world.fund(10_000_000)
        sandbox = world.create()
        world.advance(SWEEP)
        self.hide(sandbox)
        world.advance(6 * LOOKUP_CACHE_SECONDS)
        self.assertIn("lookup", world.process.troubles()["reconciler"])

    def test_many_shown_by_lookup(self) -> None:
        """While a list is not believed, a lookup that shows them running is."""
        world = self.world
        world.fund(10_000_000)
        made = [world.create() for _ in range(VANISHED_LEAST)]
        world.advance(SWEEP)
        self.hide(*made)
        now = world.wall.now()
        world.advance(5 * INTERVAL)
        self.assertTrue(all(world.session(one).charged_until > now + INTERVAL for one in made))

    def test_ended_by_lookup(self) -> None:
        """Missing from the list, and shown stopped: it is metered no longer."""
        world = self.world
        world.fund(10_000_000)
        sandbox = world.create()
        world.advance(SWEEP)
        self.hide(sandbox)
        world.simulator.stop_behind(sandbox)
        world.until(lambda: world.session(sandbox) is None, 6 * LOOKUP_CACHE_SECONDS)

    def test_few(self) -> None:
        """So few may well have been deleted past us."""
        world = self.world
        world.fund(10_000_000)
        made = [world.create() for _ in range(VANISHED_LEAST - 1)]
        for one in made:
            world.simulator.remove_behind(one)
        world.advance(4 * LOOKUP_CACHE_SECONDS)
        self.assertEqual([world.session(one) for one in made], [None] * len(made))

    def test_some_are_left(self) -> None:
        """A list that still shows one of ours is believed: the others were deleted past us."""
        world = self.world
        world.fund(10_000_000)
        made = [world.create() for _ in range(VANISHED_LEAST + 1)]
        world.advance(SWEEP)
        for one in made[1:]:
            world.simulator.remove_behind(one)
        world.advance(4 * LOOKUP_CACHE_SECONDS)
        self.assertIsNotNone(world.session(made[0]))
        self.assertEqual([world.session(one) for one in made[1:]], [None] * VANISHED_LEAST)
        self.assertNotIn("reconciler", world.process.troubles())
        world.create()

    def test_torn_down(self) -> None:
        """What its owner deletes through us while the pages come is not missing."""
        world = self.world
        world.fund(10_000_000)
        made = [world.create() for _ in range(VANISHED_LEAST)]
        world.advance(SWEEP)
        original = DaytonaRuntime.sweep

        async def torn(runtime: DaytonaRuntime) -> tuple[Listing, ...]:
            patched.restore()
            for one in made:
                await world.process.intake.delete(ALICE, one)
            return await original(runtime)

        patched = self.patch(DaytonaRuntime, "sweep", torn)
        world.advance(SWEEP)
        self.assertEqual([world.session(one) for one in made], [None] * len(made))
        self.assertNotIn("reconciler", world.process.troubles())

    def test_for_long(self) -> None:
        """After an hour it is believed: they were deleted past us."""
        world = self.world
        world.fund(10_000_000)
        made = [world.create() for _ in range(VANISHED_LEAST)]
        for one in made:
            world.simulator.remove_behind(one)
        self.patch(missing, "VANISHED_SECONDS", 60)
        world.advance(50)
        self.assertNotIn(None, [world.session(one) for one in made])
        world.advance(60)
        self.assertEqual([world.session(one) for one in made], [None] * len(made))


class UnreadRowTests(WorldCase):
    """One row is nobody's reason not to see the others."""

    def test_others_go_on(self) -> None:
        """What cannot be read is reported and stays as it is; everybody else is metered."""
        world = self.world
        world.fund(10_000_000)
        odd, other = world.create(), world.create()
        world.advance(SWEEP)
        record = world.simulator.records[odd]
        record.cpu, cpu = 0.5, record.cpu  # type: ignore[assignment]
        before = {one: world.session(one).charged_until for one in (odd, other)}
        world.advance(4 * INTERVAL)
        self.assertGreaterEqual(world.session(other).charged_until, before[other] + 3 * INTERVAL)
        self.assertLessEqual(world.session(odd).charged_until, before[odd] + INTERVAL)
        self.assertNotIn("reconciler", world.process.troubles())
        record.cpu = cpu
        world.advance(INTERVAL)
        self.assertGreaterEqual(world.session(odd).charged_until, before[odd] + 4 * INTERVAL)


class AdoptTests(WorldCase):
    """What runs without a session."""

    def made_behind_us(self, **labels: str) -> SandboxId:
        """Somebody with Daytona's own key made a sandbox."""
        world = self.world
        made = world.run(world.runtime.create({"labels": labels}))
        return made.id

    def test_by_label(self) -> None:
        """A sandbox labelled for a known wallet is metered from now on, without a fee."""
        world = self.world
        world.fund(100_000)
        sandbox = world.create()
        world.run(world.process.intake.delete(ALICE, sandbox))
        other = self.made_behind_us(**{"daytona-owner": ALICE.hex})
        world.until(lambda: world.session(other) is not None and world.session(other).started_at)
        begun = world.session(other).started_at
        self.assertEqual(world.simulator.records[other].auto_stop, world.policy.deadman_minutes)
        world.advance(INTERVAL + 15)
        self.assertEqual(world.amounts()[f"{other}:{begun}"], RATE)
        self.assertNotIn(f"{other}:create", world.amounts())

    def test_stranger_s_label(self) -> None:
        """A label of a wallet we never saw is reported, not billed (§4.9)."""
        world = self.world
        other = self.made_behind_us(**{"daytona-owner": BOB.hex})
        world.advance(30)
        self.assertIsNone(world.session(other))
        self.assertEqual(world.amounts(BOB), {})
        self.assertEqual(world.state(other), "started")

    def test_stranger_asks(self) -> None:
        """A wallet we never saw, once it asks for the sandbox to be looked at: it is known."""
        world = self.world
        other = self.made_behind_us(**{"daytona-owner": BOB.hex})
        world.advance(30)
        self.assertIsNone(world.session(other))
        world.run(world.process.intake.reconcile(BOB, other))
        world.until(lambda: world.order(other) is not None, 30)
        self.assertEqual(world.order(other), "insufficient_balance")
        world.until(lambda: world.state(other) == "stopped", 60)

    def test_no_label(self) -> None:
        """What belongs to nobody we know is nobody's bill."""
        other = self.made_behind_us()
        self.world.advance(30)
        self.assertIsNone(self.world.session(other))

    def test_cannot_pay(self) -> None:
        """Adopted with a stop order when it would not have been admitted."""
        world = self.world
        world.fund(HOLD - 1)
        world.know(ALICE)
        other = self.made_behind_us(**{"daytona-owner": ALICE.hex})
        world.until(lambda: world.order(other) is not None, 30)
        self.assertEqual(world.order(other), "insufficient_balance")
        world.until(lambda: world.order(other) is None, 60)

    def test_not_acknowledged(self) -> None:
        """The order says what is missing."""
        world = self.world
        world.deposit(10**6)
        world.know(ALICE)
        other = self.made_behind_us(**{"daytona-owner": ALICE.hex})
        world.until(lambda: world.order(other) is not None, 30)
        self.assertEqual(world.order(other), "not_acknowledged")
        world.until(lambda: world.order(other) is None, 60)
        self.assertEqual(world.state(other), "stopped")

    def test_owner_by_our_record(self) -> None:
        """Our record of the owner goes before the label (P3)."""
        world = self.world
        world.fund(100_000)
        world.fund(100_000, BOB)
        sandbox = world.create()
        world.run(world.process.intake.stop(ALICE, sandbox))
        world.advance(15)
        world.simulator.records[sandbox].labels["daytona-owner"] = BOB.hex
        world.simulator.start_behind(sandbox)
        world.until(lambda: world.session(sandbox) is not None)
        self.assertEqual(world.session(sandbox).owner, ALICE)

    def test_started_behind_us(self) -> None:
        """Started past us: its second run is metered, and no fee comes twice (B21)."""
        world = self.world
        world.fund(100_000)
        sandbox = world.create()
        world.run(world.process.intake.stop(ALICE, sandbox))
        world.advance(15)
        world.simulator.start_behind(sandbox)
        world.until(
            lambda: world.session(sandbox) is not None and world.session(sandbox).started_at
        )
        begun = world.session(sandbox).started_at
        world.advance(INTERVAL + 15)
        self.assertEqual(world.amounts()[f"{sandbox}:{begun}"], RATE)
        self.assertEqual(list(world.amounts().values()).count(FEE), 1)


class IntentTests(WorldCase):
    """Intents whose caller is gone."""

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(100_000)

    def create(self, **body: object) -> None:
        """A create under way, whose end nobody waits for."""
        world = self.world
        world.begin(world.process.intake.create(ALICE, body, auto_stop_minutes=None)).addErrback(
            lambda _: None
        )

    def test_died_while_daytona_created(self) -> None:
        """The process died before the reply: opened under the intent, the fee charged once."""
        world = self.world
        self.create()
        world.kill()
        world.advance(3)
        world.restart()
        world.until(lambda: world.session(SB) is not None, 40)
        self.assertEqual(world.session(SB).reference, "ref-1")
        world.until(lambda: world.books().settled == FEE, 40)
        self.assertEqual(world.earned, FEE)
        self.assertEqual(set(world.funds().exposure.fields), {f"session:{SB}"})

    def test_race_with_the_reply(self) -> None:
        """A sweep that sees the sandbox before its create is answered opens one session."""
        world = self.world

        def sweep(route: str) -> None:
            if route == "create":
                world.simulator.before = lambda route: None
                world.simulator.warm_pool = True

        world.simulator.before = sweep
        world.simulator.faults.add(Fault(kind=FaultKind.HANG, route="create", effect=True))
        self.create()
        world.until(lambda: world.session(SB) is not None, 20)
        world.advance(100)
        self.assertEqual(world.amounts()[f"{SB}:create"], FEE)
        self.assertEqual(set(world.funds().exposure.fields) & {"hold:ref-1"}, set())

    def test_provider_leaves_meanwhile(self) -> None:
        """What Daytona created while the provider announced to leave is metered."""
        world = World(Timings(create_seconds=10)).start()
        self.addCleanup(world.simulator.close)
        world.fund(100_000)
        made = world.begin(world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        world.net.act(lambda c: c.announce_leave(PROVIDER))
        world.advance(12)
        self.assertTrue(made.called)
        self.assertEqual(world.session(SB).rate, RATE)

    def test_leftover_of_a_dead_create(self) -> None:
        """A row that failed under an intent nobody looks after is deleted, the hold returned."""
        world = self.world
        world.simulator.fail_start_next()
        self.create()
        world.kill()
        world.advance(5)
        world.restart()
        world.advance(100)
        self.assertIn("hold:ref-1", world.funds().exposure.fields)
        world.advance(230)
        self.assertEqual(dict(world.funds().exposure.fields), {})
        self.assertEqual(world.state(SB), "gone")
        self.assertEqual(world.amounts(), {})

    def test_slow_build(self) -> None:
        """A build may take longer than an intent's grace: its session stays."""
        world = World(Timings(build_seconds=1000), settle_max_age=10_000).start()
        self.addCleanup(world.simulator.close)
        world.fund(100_000)
        made = world.run(
            world.process.intake.create(
                ALICE, {"buildInfo": {"dockerfileContent": "FROM x"}}, auto_stop_minutes=None
            )
        )
        world.advance(990)
        self.assertIsNone(world.session(made.id).started_at)
        world.until(lambda: world.session(made.id).started_at, 60)
        world.until(lambda: world.earned == FEE, 60)

    def test_start_that_never_happened(self) -> None:
        """A start whose request was lost gives its hold back, and may be tried again."""
        world = self.world
        sandbox = world.create()
        world.run(world.process.intake.stop(ALICE, sandbox))
        world.advance(15)
        world.simulator.faults.add(Fault(kind=FaultKind.LOSE_REPLY, route="start", effect=False))
        self.fails(UnknownOutcome, world.process.intake.start(ALICE, sandbox))
        world.advance(330)
        self.assertEqual(dict(world.funds().exposure.fields), {})
        world.run(world.process.intake.start(ALICE, sandbox))


class DeadmanTests(WorldCase):
    """If this daemon dies, idle sandboxes stop by themselves."""

    def test_touched(self) -> None:
        """What is paid for outlives the dead-man's time."""
        world = World(deadman_minutes=2).start()
        self.addCleanup(world.simulator.close)
        world.fund(10**6)
        sandbox = world.create()
        world.advance(5 * 60)
        self.assertEqual(world.state(sandbox), "started")
        world.kill()
        world.advance(3 * 60)
        self.assertEqual(world.state(sandbox), "stopped")


class SizeTests(WorldCase):
    """A sandbox bigger than its intent."""

    def test_lost_reply_of_a_bigger_one(self) -> None:
        """Opened at the price of what was allotted, and stopped when that runs dry."""
        world = self.world
        world.fund(FEE + HOLD)
        first = next(iter(world.simulator.snapshots))
        big = evolve(world.simulator.snapshots[first], cpu=4, memory=8)
        world.simulator.snapshots[first] = big
        world.simulator.lose_reply_next(route="create")
        self.fails(UnknownOutcome, world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        world.until(lambda: world.session(SB) is not None)
        self.assertEqual(world.session(SB).rate, 48_000)
        world.until(lambda: world.state(SB) == "stopped", 60)
        world.until(lambda: world.quiet, 60)
        self.assertLessEqual(world.earned, FEE + HOLD)


class SweepTests(WorldCase):
    """The list itself."""

    def test_failing_page(self) -> None:
        """A sweep that breaks off is none: nothing is closed on half a list."""
        world = self.world
        world.fund(100_000)
        sandbox = world.create()
        for kind in (FaultKind.CUT, FaultKind.HTML, FaultKind.HANG):
            world.simulator.faults.add(Fault(kind=kind, route="list"))
        world.advance(100)
        self.assertIsNotNone(world.session(sandbox))
        world.run(world.process.intake.stop(ALICE, sandbox))
        self.assertEqual(world.amounts()[f"{sandbox}:create"], FEE)

    def test_broken_sandbox(self) -> None:
        """One sandbox whose record contradicts its session holds up no other (design.md §5)."""
        world = self.world
        world.fund(10**6)
        broken, good = world.create(), world.create()
        record = world.keyspace._values[f"billing:sandbox:{broken}"]
        assert isinstance(record, dict)
        record[b"charged_until"] = b"1"
        for sandbox in (broken, good):
            world.simulator.stop_behind(sandbox)
        world.until(lambda: world.session(good) is None, 20)
        self.assertIsNotNone(world.session(broken))
        self.assertIn("L2", world.process.troubles()["reconciler"])

    def test_observation_of_before(self) -> None:
        """A page from before a stop does not reopen what the stop closed (§4.2)."""
        world = self.world
        world.fund(100_000)
        sandbox = world.create()
        world.advance(SWEEP)
        begun = world.session(sandbox).started_at
        at = world.wall.now()
        world.run(world.process.intake.stop(ALICE, sandbox))
        world.advance(3 * SWEEP)
        self.assertIsNone(world.session(sandbox))
        self.assertEqual(world.amounts()[f"{sandbox}:{begun}"], PER_SECOND * (at - begun))

"""The dead-man's switch, and auto-stop wishes that Daytona cannot carry out for us (§4.9)."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, ClassVar

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import NoAnswerInTime
from sandbox_billing.ledger.hold import Exposure
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.reconciliation import Row
from sandbox_billing.ledger.reconciliation import World as Found
from sandbox_billing.services.deadman import LEAST, PARALLEL, SHARE, DeadmansSwitch
from tests.fixtures import ALICE, BOB, POLICY, World, WorldCase
from tests.ledger.test_metering import running


MINUTE = 60


class DeadmanTests(WorldCase):
    """L{sandbox_billing.services.deadman.DeadmansSwitch}."""

    policy: ClassVar[Any] = {"deadman_minutes": 3}

    def setUp(self) -> None:
        """Everybody can pay for hours."""
        self.world = World(**self.policy).start()
        self.world.fund(10_000_000)

    def make(self, auto_stop: int | None) -> SandboxId:
        """A running sandbox with a wish."""
        world = self.world
        made = world.run(world.process.intake.create(ALICE, {}, auto_stop_minutes=auto_stop))
        world.until(lambda: world.state(made.id) == "started")
        return made.id

    def test_touched(self) -> None:
        """Without a wish an idle sandbox runs on: it is touched before Daytona stops it."""
        sandbox = self.make(None)
        self.world.advance(10 * MINUTE)
        self.assertEqual(self.world.state(sandbox), "started")

    def test_daemon_dies(self) -> None:
        """When this daemon is gone, Daytona stops what is idle."""
        sandbox = self.make(None)
        self.world.kill()
        self.world.clock.pump([1.0] * (4 * MINUTE))
        self.assertEqual(self.world.state(sandbox), "stopped")

    def test_short_wish_is_daytonas(self) -> None:
        """A wish within the dead-man's time is not disturbed by our touches."""
        sandbox = self.make(2)
        self.world.until(lambda: self.world.state(sandbox) == "stopped", 3 * MINUTE)

    def test_long_wish_is_ours(self) -> None:
        """A longer wish is carried out although our touches look like activity to Daytona."""
        sandbox = self.make(5)
        taken = self.world.until(lambda: self.world.state(sandbox) == "stopped", 8 * MINUTE)
        self.assertGreaterEqual(taken, 5 * MINUTE - 30)

    def test_user_is_active(self) -> None:
        """What the user does in between starts the wish's time anew."""
        world = self.world
        sandbox = self.make(5)
        world.advance(4 * MINUTE)
        world.simulator.touch(world.simulator.find(sandbox))
        world.advance(4 * MINUTE)
        self.assertEqual(world.state(sandbox), "started")
        world.until(lambda: world.state(sandbox) == "stopped", 3 * MINUTE)

    def test_wish_outlives_a_stop(self) -> None:
        """A stopped and started sandbox keeps the wish it was created with."""
        world = self.world
        sandbox = self.make(5)
        world.run(world.process.intake.stop(ALICE, sandbox))
        world.until(lambda: world.state(sandbox) == "stopped")
        world.run(world.process.intake.start(ALICE, sandbox))
        self.assertEqual(world.session(sandbox).auto_stop_minutes, 5)
        world.until(lambda: world.state(sandbox) == "stopped", 8 * MINUTE)

    def test_activity_beside_our_touch(self) -> None:
        """What the user does between our touch and the next sweep is his, not our touch's."""
        world = self.world
        sandbox = self.make(5)

        def touches() -> int:
            return world.process.runtime.asked.count(("touch", sandbox))

        # One that nobody disturbs tells how far Daytona's clock is from ours.
        world.until(lambda: touches() == 2)
        world.until(lambda: touches() == 3)
        sweeps = world.process.turns["reconciler"]
        sweeps.stopService()
        world.advance(10)
        world.simulator.touch(world.simulator.find(sandbox))
        active = world.wall.now()
        sweeps.startService()
        world.until(lambda: world.state(sandbox) == "stopped", 8 * MINUTE)
        self.assertGreaterEqual(world.wall.now() - active, 5 * MINUTE)

    def test_adopted(self) -> None:
        """What somebody started past us is given the interval at the next sweep."""
        world = self.world
        sandbox = self.make(None)
        world.run(world.process.intake.stop(ALICE, sandbox))
        world.until(lambda: world.state(sandbox) == "stopped")
        world.advance(15)
        world.simulator.records[sandbox].auto_stop = 0
        world.simulator.start_behind(sandbox)
        world.until(lambda: world.simulator.records[sandbox].auto_stop == 3, 20)

    def test_changed_by_hand(self) -> None:
        """An interval that somebody took away is put back: it is the only stopper without us."""
        world = self.world
        sandbox = self.make(None)
        world.simulator.records[sandbox].auto_stop = 0
        world.until(lambda: world.simulator.records[sandbox].auto_stop == 3, 10)

    def test_interval_is_tried_again(self) -> None:
        """A Daytona that did not take it is asked again, but not in every sweep."""
        world = self.world
        sandbox = self.make(None)
        world.simulator.fail_next(503, route="autostop", count=2)
        world.simulator.records[sandbox].auto_stop = 0
        world.until(lambda: world.simulator.records[sandbox].auto_stop == 3, 30)

    def test_unreadable(self) -> None:
        """Where nobody can read an account, its sandbox alone is not kept running (S3)."""
        world = self.world
        world.fund(10_000_000, BOB)
        sandbox, other = self.make(None), world.create(BOB)
        key = world.eyes.store.keys.account(ALICE)
        for _ in range(2 * MINUTE):
            # What is settled of hers writes it anew.
            world.keyspace._values[key] = b'{"v":9}'
            world.advance()
        self.assertNotIn("reconciler", world.process.troubles())
        world.simulator.records[other].auto_stop = 0
        world.until(lambda: world.simulator.records[other].auto_stop == 3, 10)
        world.until(lambda: world.state(sandbox) == "stopped", 2 * MINUTE)
        self.assertEqual(world.state(other), "started")

    def test_wish_cannot_be_unlabelled(self) -> None:
        """A PUT of labels neither removes nor changes the wish (P4)."""
        world = self.world
        sandbox = self.make(5)
        label = "daytona-billing-idle"
        for labels in ({}, {label: "999"}, {"mine": "x"}):
            world.run(world.process.intake.replace_labels(ALICE, sandbox, labels))
            self.assertEqual("5", world.simulator.records[sandbox].labels[label])
        other = self.make(None)
        world.run(world.process.intake.replace_labels(ALICE, other, {label: "1"}))
        self.assertNotIn(label, world.simulator.records[other].labels)


@define
class SlowRuntime:
    """Touches that wait until they are let go."""

    touched: list[SandboxId] = field(factory=list)
    waiting: list[Deferred[None]] = field(factory=list)
    failing: bool = False

    async def touch(self, sandbox: SandboxId) -> None:
        """Wait, or fail as a Daytona that does not answer."""
        self.touched.append(sandbox)
        if self.failing:
            raise NoAnswerInTime("Daytona has not answered in time")
        wait: Deferred[None] = Deferred()
        self.waiting.append(wait)
        await wait

    def let_go(self) -> None:
        """End those that wait now."""
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            one.callback(None)


@define
class Rich:
    """Nobody is blocked."""

    blocked: str | None = None
    exposure: Exposure = field(factory=lambda: Exposure({}))

    async def funds(self, wallet: Any) -> Rich:
        """Of anybody."""
        return self


@define
class Wall:
    """Stands still."""

    at: UnixSeconds

    def now(self) -> UnixSeconds:
        """When it stands."""
        return self.at


class BudgetTests(SynchronousTestCase):
    """A turn sends no more touches than its share, and a few at a time."""

    NOW = UnixSeconds(1_000_000)

    def setUp(self) -> None:
        """More than a turn touches, all due since long ago: as after a restart."""
        self.runtime = SlowRuntime()
        self.active_at: str | None = None
        self.switch = self.restarted()
        self.sessions = {
            session.sandbox: session
            for session in (
                evolve(running(), sandbox=SandboxId(f"sb-{n}")) for n in range(LEAST * SHARE * 2)
            )
        }

    def restarted(self) -> DeadmansSwitch:
        """One that knows nothing yet."""
        return DeadmansSwitch(
            runtime=self.runtime,  # type: ignore[arg-type]
            stops=None,  # type: ignore[arg-type]
            admission=Rich(),  # type: ignore[arg-type]
            wall=Wall(self.NOW),
            policy=POLICY,
        )

    def found(self, sessions: dict[SandboxId, Session], now: int) -> Found:
        """A sweep that shows them all."""
        rows = tuple(
            Row(
                sandbox=sandbox,
                state="started",
                desired_state="started",
                labels={},
                resources=session.resources,
                seen_at=UnixSeconds(now),
                answered_at=UnixSeconds(now),
                last_activity_at=self.active_at,
            )
            for sandbox, session in sessions.items()
        )
        return Found(
            rows=rows,
            sessions=sessions,
            intents=(),
            owners={},
            wallets=frozenset(),
            missed=frozenset(),
            now=UnixSeconds(now),
        )

    def turn(self, now: int) -> int:
        """One turn to its end. @return: How many were under way at most."""
        most = 0
        under_way = Deferred.fromCoroutine(self.switch.keep(self.found(self.sessions, now)))
        while self.runtime.waiting:
            most = max(most, len(self.runtime.waiting))
            self.runtime.let_go()
        self.successResultOf(under_way)
        return most

    def test_spread_after_a_restart(self) -> None:
        """What was touched not long ago is touched over many turns, and in time for each."""
        self.active_at = datetime.fromtimestamp(self.NOW - 300, UTC).isoformat()
        self.sessions = {
            session.sandbox: session
            for session in (evolve(running(), sandbox=SandboxId(f"sb-{n}")) for n in range(3_000))
        }
        touched, passed = [0], 0
        while len(self.runtime.touched) < 3_000:
            passed += 15
            self.switch.wall = Wall(UnixSeconds(self.NOW + passed))  # type: ignore[assignment]
            self.assertLessEqual(self.turn(self.NOW + passed), PARALLEL)
            touched.append(len(self.runtime.touched))
        self.assertLess(max(b - a for a, b in pairwise(touched)), 300)
        self.assertLess(passed, POLICY.deadman_minutes * 60 / 3)
        self.assertEqual(len(set(self.runtime.touched)), 3_000)

    def test_share(self) -> None:
        """So many in a turn, at most twenty at once, and all of them in as many turns as fit."""
        for turn in range(SHARE):
            most = self.turn(self.NOW + turn)
            self.assertLessEqual(most, PARALLEL)
            expected = (turn + 1) * len(self.sessions) // SHARE
            self.assertEqual(expected, len(self.runtime.touched))
        self.assertEqual(len(self.sessions), len(set(self.runtime.touched)))
        self.turn(self.NOW + SHARE)
        self.assertEqual(len(self.sessions), len(self.runtime.touched))

    def test_daytona_hangs(self) -> None:
        """Where it does not answer, no more than twenty wait for it in a turn."""
        self.runtime.failing = True
        self.turn(self.NOW)
        self.assertEqual(PARALLEL, len(self.runtime.touched))
        # And those that failed do not hold up the others.
        self.turn(self.NOW + 1)
        self.assertEqual(2 * PARALLEL, len(set(self.runtime.touched)))

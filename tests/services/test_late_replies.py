"""
What happens while Daytona's answer is awaited: it tells of when it was sent, at best.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from sandbox_billing.adapters.daytona.runtime import DaytonaRuntime
from sandbox_billing.devnet.daytona import Timings
from sandbox_billing.errors import Transient, UnknownOutcome
from sandbox_billing.interfaces import CannotPay, Listing, NoSuchSandbox, Sandbox
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.reconciliation import INTENT_GRACE_SECONDS
from tests.fixtures import ALICE, FEE, HOLD, INTERVAL, PER_SECOND, SWEEP, World, WorldCase


class LateReplyTests(WorldCase):
    """Daytona has done it and has not said so yet."""

    def hold_replies(self, verb: str) -> Deferred[None]:
        """@return: To be called for the replies of a verb to come."""
        gate: Deferred[None] = Deferred()
        call = getattr(DaytonaRuntime, verb)

        async def held(runtime: DaytonaRuntime, *args: Any) -> Any:
            answered = await call(runtime, *args)
            await gate
            return answered

        self.patch(DaytonaRuntime, verb, held)
        return gate

    def runs(self) -> SandboxId:
        """A sandbox that runs, and was seen to."""
        self.world.fund(10_000_000)
        sandbox = self.world.create()
        self.world.advance(2 * SWEEP)
        return sandbox

    def test_stop_of_the_run_before(self) -> None:
        """A stop that is answered when the next run is on ends the run it was asked of."""
        world, sandbox = self.world, self.runs()
        gate = self.hold_replies("stop")
        stopping = world.begin(world.process.intake.stop(ALICE, sandbox))
        world.advance(20)
        self.assertIsNone(world.session(sandbox))
        world.run(world.process.intake.start(ALICE, sandbox))
        world.until(lambda: world.session(sandbox).started_at)
        begun = world.session(sandbox)
        gate.callback(None)
        world.flush()
        self.successResultOf(stopping)
        self.assertEqual(world.session(sandbox), begun)
        world.advance(INTERVAL + SWEEP)
        self.assertIn(f"{sandbox}:{begun.started_at}", world.amounts())

    def test_archive_of_the_run_before(self) -> None:
        """Nor does an archiving that was asked for before end what runs again."""
        world, sandbox = self.world, self.runs()
        world.simulator.stop_behind(sandbox)
        gate = self.hold_replies("archive")
        archiving = world.begin(world.process.intake.archive(ALICE, sandbox))
        world.advance(20)
        world.run(world.process.intake.start(ALICE, sandbox))
        world.until(lambda: world.session(sandbox).started_at)
        begun = world.session(sandbox)
        gate.callback(None)
        world.flush()
        self.successResultOf(archiving)
        self.assertEqual(world.session(sandbox), begun)

    def test_stop_before_start_answers(self) -> None:
        """What is stopped while its start is unanswered is metered no longer when it answers."""
        world, sandbox = self.world, self.runs()
        world.run(world.process.intake.stop(ALICE, sandbox))
        world.advance(2 * SWEEP)
        gate = self.hold_replies("start")
        starting = world.begin(world.process.intake.start(ALICE, sandbox))
        world.until(lambda: world.state(sandbox) == "started")
        self.assertIsNone(world.session(sandbox), "a sweep was quicker")
        world.run(world.process.intake.stop(ALICE, sandbox))
        gate.callback(None)
        world.flush()
        self.successResultOf(starting)
        self.assertIsNone(world.session(sandbox))
        self.assertEqual(dict(world.funds().exposure.fields).get(f"s:{sandbox}"), None)


class CachedLookupTests(WorldCase):
    """A lookup tells of up to ten seconds ago."""

    def setUp(self) -> None:
        super().setUp()
        world = self.world = World(Timings(lookup_cache_seconds=10.0), sweep=15).start()
        self.addCleanup(world.simulator.close)
        world.fund(10_000_000)
        self.sandbox = world.create()
        world.advance(30)

    def stopped(self) -> None:
        """For so long that every lookup shows it."""
        self.world.run(self.world.process.intake.stop(ALICE, self.sandbox))
        self.world.advance(40)

    def ended_soon(self, verb: str) -> None:
        """Started, and ended eight seconds later."""
        world, intake = self.world, self.world.process.intake
        self.stopped()
        for _ in range(1 if verb == "delete" else 3):
            before = sum(world.amounts().values())
            world.run(intake.start(ALICE, self.sandbox))
            begun = world.wall.now()
            world.advance(8)
            ran = world.wall.now() - begun
            world.run(getattr(intake, verb)(ALICE, self.sandbox))
            charged = sum(world.amounts().values()) - before
            self.assertAlmostEqual(ran, charged / PER_SECOND, delta=1)
            world.advance(40)

    def test_stop_soon_after_start(self) -> None:
        """Short runs are not free because the lookup still shows what was before them."""
        self.ended_soon("stop")

    def test_delete_soon_after_start(self) -> None:
        """Nor is one that a delete ends."""
        self.ended_soon("delete")

    def test_stop_unanswered_start(self) -> None:
        """What runs under a start that is unanswered is metered when it is stopped."""
        world = self.world
        self.stopped()
        before = sum(world.amounts().values())
        start, gate = DaytonaRuntime.start, Deferred[None]()

        async def held(runtime: DaytonaRuntime, sandbox: SandboxId) -> Sandbox:
            started = await start(runtime, sandbox)
            await gate
            return started

        self.patch(DaytonaRuntime, "start", held)
        starting = world.begin(world.process.intake.start(ALICE, self.sandbox))
        world.until(lambda: world.state(self.sandbox) == "started")
        self.assertIsNone(world.session(self.sandbox), "a sweep was quicker")
        world.run(world.process.intake.stop(ALICE, self.sandbox))
        gate.callback(None)
        world.flush()
        self.successResultOf(starting)
        self.assertIsNone(world.session(self.sandbox))
        self.assertLessEqual(sum(world.amounts().values()) - before, 3 * PER_SECOND)

    def test_unseen_otherwise(self) -> None:
        """Where nothing else can be seen, an end is still an end."""
        world, intake = self.world, self.world.process.intake
        self.stopped()
        world.run(intake.start(ALICE, self.sandbox))
        world.simulator.fail_next(503, route="paginated", count=None)
        world.run(intake.stop(ALICE, self.sandbox))
        self.assertIsNone(world.session(self.sandbox))
        self.assertIn(world.state(self.sandbox), ("stopping", "stopped"))

    def test_start_soon_after_stop(self) -> None:
        """It is started, not answered with how it was."""
        world, intake = self.world, self.world.process.intake
        world.run(intake.stop(ALICE, self.sandbox))
        world.advance(4)
        self.assertEqual(world.state(self.sandbox), "stopped")
        started = world.run(intake.start(ALICE, self.sandbox))
        self.assertFalse(started.as_found)
        self.assertEqual(world.state(self.sandbox), "started")
        self.assertIsNotNone(world.session(self.sandbox))

    def test_start_soon_after_a_self_stop(self) -> None:
        """The run that nobody has seen end is closed where it was seen last."""
        world, intake = self.world, self.world.process.intake
        world.run(intake.owned(ALICE, self.sandbox))
        opened = world.session(self.sandbox).reference
        world.simulator.stop_behind(self.sandbox)
        seen = world.now(world.eyes.doors.seen_at(self.sandbox))
        self.assertFalse(world.run(intake.start(ALICE, self.sandbox)).as_found)
        self.assertEqual([r.charge.period_end for r in world.charges() if r.charge.units], [seen])
        self.assertNotEqual(world.session(self.sandbox).reference, opened)

    def test_start_of_what_is_gone(self) -> None:
        """It is not found, and not "started"."""
        world, intake = self.world, self.world.process.intake
        world.run(intake.owned(ALICE, self.sandbox))
        world.simulator.remove_behind(self.sandbox)
        self.fails(NoSuchSandbox, intake.start(ALICE, self.sandbox))

    def test_start_unseen_otherwise(self) -> None:
        """Where only the lookup can be had nobody is told that it runs."""
        world, intake = self.world, self.world.process.intake
        world.simulator.fail_next(503, route="paginated", count=None)
        self.fails(Transient, intake.start(ALICE, self.sandbox))


class LeftoverTests(WorldCase):
    """What a create left behind, and somebody mends while a sweep is read."""

    def test_mended_meanwhile(self) -> None:
        """It runs when the plan that deletes it is carried out: it is metered, not deleted."""
        world = self.world
        world.fund(10_000_000)
        world.simulator.lose_reply_next(route="create")
        world.simulator.fail_start_next()
        self.fails(UnknownOutcome, world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        (sandbox,) = world.simulator.records
        world.advance(INTENT_GRACE_SECONDS - 2 * SWEEP)
        self.assertEqual(world.state(sandbox), "error")
        (intent,) = world.now(world.eyes.meter.intents())
        sweep, late = DaytonaRuntime.sweep, []

        async def mended(runtime: DaytonaRuntime) -> tuple[Listing, ...]:
            pages = await sweep(runtime)
            if not late and world.wall.now() > intent.created_at + INTENT_GRACE_SECONDS:
                late.append(pages)
                await runtime.recover(SandboxId(sandbox), skip_start=False)
            return pages

        self.patch(DaytonaRuntime, "sweep", mended)
        world.advance(6 * SWEEP)
        self.assertTrue(late)
        self.assertEqual(world.state(sandbox), "started")
        self.assertIsNotNone(world.session(SandboxId(sandbox)).started_at)


class FailedFirstTests(WorldCase):
    """A fee that was forgiven because what was created failed."""

    def failed(self) -> SandboxId:
        """A create that failed, and whose fee was forgiven."""
        world = self.world
        world.simulator.fail_start_next()
        built = {"buildInfo": {"dockerfileContent": "FROM x"}}
        made = world.run(world.process.intake.create(ALICE, built, auto_stop_minutes=None))
        world.until(lambda: world.session(made.id) is None)
        self.assertEqual(world.amounts(), {})
        return made.id

    def test_made_to_run(self) -> None:
        """It is due when it is made to run after all: once."""
        world = self.world
        world.fund(10_000_000)
        sandbox = self.failed()
        for _ in range(2):
            world.run(world.process.intake.recover(ALICE, sandbox))
            world.until(lambda: world.session(sandbox).started_at)
            world.advance(2 * SWEEP)
            self.assertEqual(world.amounts()[f"{sandbox}:create"], FEE)
            world.simulator.break_sandbox(sandbox)
            world.until(lambda: world.session(sandbox) is None)
        self.assertEqual(list(world.amounts().values()).count(FEE), 1)

    def test_set_aside(self) -> None:
        """Who cannot pay it, too, is not let in."""
        world = self.world
        world.fund(HOLD + FEE - 1 + FEE)
        sandbox = self.failed()
        world.withdraw(FEE)
        world.advance(5)
        refused = self.fails(CannotPay, world.process.intake.recover(ALICE, sandbox))
        self.assertEqual(refused.required, HOLD + FEE)

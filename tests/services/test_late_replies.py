"""
What happens while Daytona's answer is awaited: it tells of when it was sent, at best.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from sandbox_billing.adapters.daytona.runtime import DaytonaRuntime
from sandbox_billing.errors import UnknownOutcome
from sandbox_billing.interfaces import CannotPay, Listing
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.reconciliation import INTENT_GRACE_SECONDS
from tests.fixtures import ALICE, FEE, HOLD, INTERVAL, SWEEP, WorldCase


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

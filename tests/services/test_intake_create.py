"""Tests of C{sandbox_billing.services.intake}: what a create takes, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from attrs import evolve
from twisted.internet.task import Clock, deferLater

from sandbox_billing.devnet.daytona import Fault, FaultKind, Timings
from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import (
    CannotPay,
    DaytonaRefused,
    NoSuchSnapshot,
    Sandbox,
    TooMany,
    TooSlow,
)
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.resources import Resources
from tests.fixtures import (
    ALICE,
    BASE,
    BOB,
    FEE,
    HOLD,
    RATE,
    World,
    WorldCase,
)
from tests.services.lives import Life


class SlowDoors:
    """Doors that take a second to reserve."""

    def __init__(self, inner: Any, clock: Clock) -> None:
        self._inner, self._clock = inner, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def reserve(self, *about: Any, **how: Any) -> Any:
        """A second later."""
        await deferLater(self._clock, 1)
        return await self._inner.reserve(*about, **how)


class CreateTests(WorldCase):
    """C{POST /api/sandbox}."""

    def make(
        self, who: Address = ALICE, *, auto_stop: int | None = None, **body: Any
    ) -> Coroutine[Any, Any, Sandbox]:
        """A create under way."""
        return self.world.process.intake.create(who, body, auto_stop_minutes=auto_stop)

    def created(self) -> int:
        """How often Daytona was asked to create something."""
        return [name for name, *_ in self.world.process.runtime.asked].count("create")

    def test_hold_is_the_session_s(self) -> None:
        """Once created, the wallet's exposure is the fee it owes and the session's hold."""
        world = self.world
        world.fund(100_000)
        made = world.run(self.make())
        fields = dict(world.funds().exposure.fields)
        session = world.session(made.id)
        self.assertEqual(
            fields,
            {
                f"charge:{made.id}:create": str(FEE),
                f"session:{made.id}": f"{HOLD}:0:{session.charged_until}",
            },
        )
        self.assertEqual(session.rate, RATE)
        self.assertEqual(world.funds().exposure.total(world.wall.now()), FEE + HOLD)

    def test_exactly_enough(self) -> None:
        """Fee, one interval and the stop delay are enough; a neuron less is not (P14)."""
        world = self.world
        world.fund(FEE + HOLD - 1)
        why = self.fails(CannotPay, self.make())
        self.assertEqual(
            (why.code, why.balance, why.required, why.exposure),
            ("insufficient_balance", FEE + HOLD - 1, FEE + HOLD, 0),
        )
        self.assertEqual(self.created(), 0)
        self.assertEqual(dict(world.funds().exposure.fields), {})
        world.fund(1)
        world.run(self.make())
        self.assertEqual(self.created(), 1)

    def test_labels_and_interval(self) -> None:
        """Daytona is told the owner, our reference and the dead-man's interval (§4.1)."""
        world = self.world
        world.fund(100_000)
        made = world.run(self.make(labels={"mine": "x"}))
        record = world.simulator.records[made.id]
        self.assertEqual(
            record.labels,
            {"mine": "x", "daytona-owner": ALICE.hex, "daytona-billing-ref": "ref-1"},
        )
        self.assertEqual(record.auto_stop, world.policy.deadman_minutes)

    def test_shorter_auto_stop(self) -> None:
        """A wish shorter than the dead-man's is Daytona's to carry out."""
        world = self.world
        world.fund(200_000)
        made = world.run(self.make(auto_stop=10))
        self.assertEqual(world.simulator.records[made.id].auto_stop, 10)
        longer = world.run(self.make(auto_stop=100))
        self.assertEqual(world.simulator.records[longer.id].auto_stop, 60)
        self.assertEqual(world.session(longer.id).auto_stop_minutes, 100)

    def test_not_acknowledged(self) -> None:
        """Without an acknowledgement nothing is created (P14)."""
        self.world.deposit(100_000)
        self.world.advance(4)
        self.assertEqual(self.fails(CannotPay, self.make()).code, "not_acknowledged")
        self.assertEqual(self.created(), 0)

    def test_nobody_known(self) -> None:
        """A wallet nobody ever saw has nothing."""
        self.assertEqual(self.fails(CannotPay, self.make(BOB)).code, "not_acknowledged")

    def test_pending_refund_is_no_money(self) -> None:
        """What is on its way back to the user is not counted as funds."""
        world = self.world
        world.fund(FEE + HOLD)
        world.request_refund(1)
        world.advance(4)
        self.assertEqual(self.fails(CannotPay, self.make()).balance, FEE + HOLD - 1)

    def test_loss_cap(self) -> None:
        """The operator's credit counts like funds (L7)."""
        world = World(loss_cap=FEE + HOLD).start()
        self.addCleanup(world.simulator.close)
        world.acknowledge()
        world.advance(4)
        world.run(world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        with self.assertRaises(CannotPay):
            world.run(world.process.intake.create(ALICE, {}, auto_stop_minutes=None))

    def test_parallel(self) -> None:
        """Fifty creates at once on money for one: at most one is let in (P13)."""
        world = self.world
        world.fund(2 * (FEE + HOLD) - 1)
        under_way = [world.begin(self.make()) for _ in range(50)]
        world.advance(5)
        for each in under_way:
            each.addErrback(lambda failure: failure.trap(CannotPay, TooMany))
        let_in = self.created()
        self.assertLessEqual(let_in, 1)
        self.assertEqual(len(world.simulator.records), let_in)

    def test_parallel_on_a_slow_store(self) -> None:
        """The same where each has read the balance before any of them reserves (P13)."""
        world = self.world
        world.fund(2 * (FEE + HOLD) - 1)
        intake = world.process.intake
        slow = evolve(intake.admission, doors=SlowDoors(intake.doors, world.clock))
        intake = evolve(intake, admission=slow)
        under_way = [
            world.begin(intake.create(ALICE, {}, auto_stop_minutes=None)) for _ in range(50)
        ]
        world.advance(5)
        for each in under_way:
            each.addErrback(lambda failure: failure.trap(CannotPay, TooMany))
        self.assertLessEqual(self.created(), 1)

    def test_two_one_after_the_other(self) -> None:
        """Money for two makes two, and not a third."""
        world = self.world
        world.fund(2 * (FEE + HOLD))
        world.run(self.make())
        world.run(self.make())
        self.assertEqual(self.fails(CannotPay, self.make()).code, "insufficient_balance")
        self.assertEqual(len(world.simulator.records), 2)

    def test_too_many(self) -> None:
        """A wallet has a limit, whatever its money (P13)."""
        world = World(max_sandboxes=2).start()
        self.addCleanup(world.simulator.close)
        world.fund(10**6)
        world.create()
        world.create()
        with self.assertRaises(TooMany) as refused:
            world.run(world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        self.assertEqual(refused.exception.retry_after, 60)

    def test_too_many_side_by_side(self) -> None:
        """The limit holds on what is stored, not on what was read before (P13)."""
        world = World(max_sandboxes=2).start()
        self.addCleanup(world.simulator.close)
        world.fund(10**6)
        admission, intake = world.process.parts.admission, world.process.intake
        quote = world.run(admission.quote(ALICE, Resources(cpu=1, memory_gib=1), creating=True))
        for _ in range(2):
            intent = intake.lifecycle.intent("create", ALICE, None, quote)
            world.run(admission.reserve(intent, quote))
        intent = intake.lifecycle.intent("create", ALICE, None, quote)
        with self.assertRaises(TooMany):
            world.run(admission.reserve(intent, quote))
        self.assertEqual(world.funds().exposure.pending(), 2)

    def test_snapshot_is_priced(self) -> None:
        """A bigger snapshot is asked for at its own price."""
        world = self.world
        rate = 2 * 6_000 + 4 * 3_000
        hold = rate * 70 // 60
        world.fund(FEE + hold - 1)
        why = self.fails(CannotPay, self.make(snapshot="daytona-medium"))
        self.assertEqual(why.required, FEE + hold)
        world.fund(1)
        made = world.run(self.make(snapshot="daytona-medium"))
        self.assertEqual(world.session(made.id).rate, rate)

    def asked(self, name: str) -> int:
        """How often Daytona was asked something."""
        return [one for one, *_ in self.world.process.runtime.asked].count(name)

    def test_no_such_snapshot(self) -> None:
        """Refused before Daytona is told to create anything, and by us: nothing is kept of it."""
        self.world.fund(100_000)
        for name in ("nobody's", "can-cleanup-image", "../sandbox", "Daytona-Small"):
            self.fails(NoSuchSnapshot, self.make(snapshot=name))
        self.assertEqual(self.created(), 0)
        # What a body says is never a step of a path; nor how often Daytona is asked.
        self.assertEqual((self.asked("snapshot"), self.asked("snapshots")), (0, 1))
        self.world.advance(31)
        self.fails(NoSuchSnapshot, self.make(snapshot="nobody's"))
        self.assertEqual(self.asked("snapshots"), 2)
        self.assertEqual(dict(self.world.funds().exposure.fields), {})

    def test_snapshot_by_id(self) -> None:
        """By its id as by its name."""
        self.world.fund(100_000)
        found = self.world.run(self.world.process.runtime.snapshots())
        (id,) = (one["id"] for one in found if one["name"] == "daytona-medium")
        made = self.world.run(self.make(snapshot=id))
        self.assertEqual(made.resources.cpu, 2)

    def test_snapshot_of_the_operator(self) -> None:
        """What is not listed for everybody is nobody's to start from."""
        self.world.fund(100_000)
        snapshots = self.world.simulator.snapshots
        for key, one in list(snapshots.items()):
            if one.name == "daytona-medium":
                snapshots[key] = evolve(one, general=False)
        self.fails(NoSuchSnapshot, self.make(snapshot="daytona-medium"))
        self.assertEqual(self.created(), 0)

    def test_snapshot_without_funds(self) -> None:
        """Who may have nothing is told so, and Daytona is asked nothing (P14)."""
        for who in (ALICE, BOB):
            for name in ("nobody's", "daytona-medium"):
                why = self.fails(CannotPay, self.make(who, snapshot=name))
                self.assertEqual(why.code, "not_acknowledged")
        self.world.fund(FEE + HOLD - 1)
        why = self.fails(CannotPay, self.make(snapshot="nobody's"))
        self.assertEqual((why.code, why.required), ("insufficient_balance", FEE + HOLD))
        self.assertEqual((self.asked("snapshot"), self.asked("snapshots")), (0, 0))

    def test_gpu(self) -> None:
        """What has no price is refused (P9)."""
        self.world.fund(10**9)
        self.fails(Refused, self.make(snapshot="daytona-gpu"))
        self.assertEqual(self.created(), 0)

    def test_disk(self) -> None:
        """Disk is included up to a limit only."""
        self.world.fund(10**9)
        self.fails(
            BadInput, self.make(buildInfo={"dockerfileContent": "FROM x"}, cpu=1, memory=1, disk=11)
        )
        self.assertEqual(self.created(), 0)

    def test_allotted_more_than_fits(self) -> None:
        """More than was asked for and than fits: deleted, 402, nothing is charged."""
        world = self.world
        world.fund(FEE + HOLD)
        # The default snapshot is not named in the body: what comes is known afterwards.
        snapshots = world.simulator.snapshots
        first = next(iter(snapshots))
        snapshots[first] = evolve(snapshots[first], cpu=4, memory=8)
        why = self.fails(CannotPay, self.make())
        self.assertEqual(why.required, FEE + (4 * 6_000 + 8 * 3_000) * 70 // 60)
        world.advance(10)
        self.assertEqual(world.state("sb-1"), "gone")
        self.assertEqual(world.amounts(), {})
        self.assertEqual(dict(world.funds().exposure.fields), {})

    def test_allotted_more_and_fits(self) -> None:
        """More than was asked for that fits runs at the price of what was allotted."""
        world = self.world
        world.fund(10**6)
        snapshots = world.simulator.snapshots
        first = next(iter(snapshots))
        snapshots[first] = evolve(snapshots[first], cpu=4, memory=8)
        made = world.run(self.make())
        self.assertEqual(world.session(made.id).rate, 48_000)

    def test_refused_with_a_row(self) -> None:
        """A 400 that leaves a row behind: the row is deleted, nothing is charged or held."""
        world = self.world
        world.fund(100_000)
        world.simulator.fail_start_next()
        self.assertEqual(self.fails(DaytonaRefused, self.make()).status, 400)
        world.advance(10)
        self.assertEqual(world.state("sb-1"), "gone")
        self.assertEqual(world.amounts(), {})
        self.assertEqual(dict(world.funds().exposure.fields), {})

    def test_refused_without_a_row(self) -> None:
        """Any other refusal gives the hold back and passes Daytona's answer on."""
        world = self.world
        world.fund(100_000)
        world.create(name="mine")
        before = dict(world.funds().exposure.fields)
        self.assertEqual(self.fails(DaytonaRefused, self.make(name="mine")).status, 409)
        self.assertEqual(set(world.funds().exposure.fields), set(before))

    def test_unreachable(self) -> None:
        """Daytona asks to wait: nothing was done, nothing is held."""
        world = self.world
        world.fund(100_000)
        world.simulator.faults.add(Fault(kind=FaultKind.STATUS, status=429, route="create"))
        self.fails(Transient, self.make())
        self.assertEqual(dict(world.funds().exposure.fields), {})

    def test_lost_reply(self) -> None:
        """A sandbox whose reply was lost is metered under its intent, its fee charged once."""
        world = self.world
        world.fund(100_000)
        world.simulator.lose_reply_next(route="create")
        self.fails(UnknownOutcome, self.make())
        world.until(lambda: world.session("sb-1") is not None)
        self.assertEqual(world.session("sb-1").reference, "ref-1")
        world.advance(20)
        self.assertEqual(world.amounts(), {"sb-1:create": FEE})
        self.assertEqual(world.books().settled, FEE)
        self.assertNotIn("hold:ref-1", world.funds().exposure.fields)
        world.run(world.process.intake.stop(ALICE, "sb-1"))
        world.until(lambda: world.quiet)
        self.assertEqual(list(world.amounts()).count("sb-1:create"), 1)

    def test_late_reply(self) -> None:
        """When the time is up the user is told so, and the hold stands until it is found out."""
        world = self.world
        world.fund(100_000)
        world.simulator.faults.add(Fault(kind=FaultKind.HANG, route="create"))
        self.fails(TooSlow, self.make())
        self.assertIn("hold:ref-1", world.funds().exposure.fields)

    def died_at_create(self, then: Callable[[World], None] = lambda _: None) -> World:
        """
        A world with a running sandbox whose creator died before he metered it.

        @param then: What happens to it before there is a daemon again.
        """
        first = World()
        first.process = first.birth(Life())
        first.start()
        self.addCleanup(first.simulator.close)
        first.fund(10**6)
        first.create()
        number = first.process.life.calls.index("create")
        world = World()
        world.process = world.birth(Life(dies_at=number, after=True))
        world.start()
        self.addCleanup(world.simulator.close)
        world.fund(10**6)
        world.begin(world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        world.until(lambda: world.process.life.dead)
        world.until(lambda: world.state(SandboxId("sb-1")) == "started")
        self.assertEqual(world.amounts(), {})
        then(world)
        world.restart()
        return world

    def charged_its_fee(self, world: World) -> None:
        """And nothing is left over."""
        world.until(lambda: world.quiet)
        self.assertEqual(world.amounts(), {"sb-1:create": FEE})
        self.assertEqual([n for n in world.funds().exposure.fields if "hold" in n], [])

    def test_stopped_before_a_sweep(self) -> None:
        """What no sweep will ever see running is charged its fee when its owner stops it."""
        world = self.died_at_create()
        world.run(world.process.intake.stop(ALICE, "sb-1"))
        self.charged_its_fee(world)

    def test_deleted_before_a_sweep(self) -> None:
        """The same when he deletes it."""
        world = self.died_at_create()
        world.run(world.process.intake.delete(ALICE, "sb-1"))
        self.charged_its_fee(world)

    def stopped(self, world: World) -> None:
        """It stops by itself."""
        world.simulator.stop_behind(SandboxId("sb-1"))
        world.until(lambda: world.state(SandboxId("sb-1")) == "stopped")

    def failed(self, world: World) -> None:
        """It fails."""
        world.simulator.break_sandbox(SandboxId("sb-1"))
        world.until(lambda: world.state(SandboxId("sb-1")) == "error")

    def test_started_before_a_sweep(self) -> None:
        """The same when it has stopped by itself and he starts it again, at once."""
        world = self.died_at_create(self.stopped)
        world.run(world.process.intake.start(ALICE, "sb-1"))
        self.assertEqual(world.amounts(), {"sb-1:create": FEE})
        self.charged_its_fee(world)
        self.assertIsNotNone(world.session("sb-1").started_at)

    def test_recovered_before_a_sweep(self) -> None:
        """The same when it has failed and he recovers it: it runs after all."""
        world = self.died_at_create(self.failed)
        world.run(world.process.intake.recover(ALICE, "sb-1"))
        self.charged_its_fee(world)
        self.assertEqual(world.state(SandboxId("sb-1")), "started")
        self.assertIsNotNone(world.session("sb-1").started_at)

    def test_mended_before_a_sweep(self) -> None:
        """What has failed and is not made to run has no fee (§4.3), and nothing is held for it."""
        world = self.died_at_create(self.failed)
        world.run(world.process.intake.recover(ALICE, "sb-1", skip_start=True))
        world.until(lambda: world.quiet)
        self.assertEqual(world.amounts(), {})
        self.assertEqual(dict(world.funds().exposure.fields), {})

    def test_lost_request(self) -> None:
        """A create that never happened gives its hold back after five minutes, not before."""
        world = self.world
        world.fund(100_000)
        world.simulator.faults.add(Fault(kind=FaultKind.LOSE_REPLY, route="create", effect=False))
        self.fails(UnknownOutcome, self.make())
        world.advance(290)
        self.assertEqual(dict(world.funds().exposure.fields), {"hold:ref-1": str(FEE + HOLD)})
        world.advance(25)
        self.assertEqual(dict(world.funds().exposure.fields), {})
        self.assertEqual(world.amounts(), {})

    def test_client_hangs_up(self) -> None:
        """The work goes on when nobody waits for it any more (P10)."""
        world = self.world
        world.fund(100_000)
        waiting = world.begin(self.make())
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        world.advance(20)
        self.assertIsNotNone(world.session("sb-1"))
        self.assertEqual(
            world.session("sb-1").started_at, BASE + world.clock.seconds() - 20 + 2 + 3
        )
        self.assertEqual(world.amounts(), {"sb-1:create": FEE})

    def test_create_fee_waits_for_the_start(self) -> None:
        """An unsigned create fee is dropped when the sandbox never starts (§4.3)."""
        world = self.world
        world.fund(100_000)
        world.simulator.fail_start_next(build=True)
        made = world.run(self.make(buildInfo={"dockerfileContent": "FROM x"}))
        self.assertEqual(world.books().pending, FEE)
        world.until(lambda: world.session(made.id) is None)
        self.assertEqual(world.amounts(), {})
        self.assertEqual(dict(world.funds().exposure.fields), {})

    def test_create_fee_of_a_slow_build_ripens(self) -> None:
        """After SETTLE_MAX_AGE_SEC the fee is settled, started or not."""
        world = World(Timings(build_seconds=1000)).start()
        self.addCleanup(world.simulator.close)
        world.fund(100_000)
        world.run(
            world.process.intake.create(
                ALICE, {"buildInfo": {"dockerfileContent": "FROM x"}}, auto_stop_minutes=None
            )
        )
        world.advance(world.policy.settle_max_age - 2)
        self.assertEqual((world.books().pending, world.earned), (FEE, 0))
        world.advance(10)
        self.assertEqual((world.books().settled, world.earned), (FEE, FEE))

    def test_deleted_before_it_started(self) -> None:
        """Deleted by its owner while it was built: the fee stays due (§4.3)."""
        world = self.world
        world.fund(100_000)
        made = world.run(self.make(buildInfo={"dockerfileContent": "FROM x"}))
        world.run(world.process.intake.delete(ALICE, made.id))
        world.advance(12)
        self.assertEqual(world.amounts(), {f"{made.id}:create": FEE})
        self.assertEqual(world.earned, FEE)

"""Tests of C{sandbox_billing.services.limits}, and of what a wallet's own limits let in."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from sandbox_billing.adapters.redis import controls as stored_controls
from sandbox_billing.adapters.redis import costs
from sandbox_billing.devnet.daytona import Fault, FaultKind
from sandbox_billing.interfaces import NotReady, SpendLimitReached
from sandbox_billing.ledger.controls import GONE, SandboxLimit, Which, changed
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.metering import day_begins, day_of
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.notice import Kind
from sandbox_billing.ledger.spending import SPEND_LIMIT
from sandbox_billing.ledger.voucher import ChargeKind
from sandbox_billing.services import limits
from sandbox_billing.services.spending import PAGE
from tests.fixtures import ALICE, BASE, FEE, HOLD, INTERVAL, PER_SECOND, STOP_DELAY, WorldCase
from tests.services.test_intake_create import SlowDoors


RICH = 10_000_000


class LimitCase(WorldCase):
    """A wallet with more money than it wants to spend."""

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(RICH)

    @property
    def controls(self) -> Any:
        """The daemon's port."""
        return self.world.process.journal.controls

    def outlay(self) -> Any:
        """What counts, as it is stored."""
        return self.world.now(self.world.eyes.controls.outlay(ALICE)).outlay

    def limit(self, **changes: Any) -> None:
        """Other settings."""
        world = self.world
        found = world.now(self.controls.outlay(ALICE))
        before, spent = found.outlay.controls, found.outlay.spent()
        after = changed(before, evolve(before, **changes), spent=spent, now=found.outlay.at)
        world.run(self.controls.change(found, after))

    def make(self) -> Any:
        """A create under way."""
        return self.world.process.intake.create(ALICE, {}, auto_stop_minutes=None)

    def to_midnight(self, before: int) -> int:
        """Let time pass until so many seconds before midnight; the chain sleeps meanwhile."""
        world = self.world
        midnight = day_begins(day_of(world.wall.now()) + 1)
        world.clock.advance(midnight - before - BASE - world.clock.seconds())
        world.flush()
        world.advance(12)
        return midnight

    def charged(self, *sandboxes: SandboxId) -> int:
        """Everything that was ever charged for some; a debt is a part of that."""
        charges = [record.charge for record in self.world.charges()]
        return sum(
            charge.amount
            for charge in charges
            if charge.sandbox in sandboxes and charge.kind is not ChargeKind.DEBT
        )

    def stopped(self, sandbox: SandboxId, within: int = 600) -> int:
        """Wait until nothing is left to be done."""
        took = self.world.until(lambda: self.world.state(sandbox) == "stopped", within)
        self.world.until(lambda: self.world.quiet, 60)
        return took

    def told(self, kind: Kind) -> list[Any]:
        """What the wallet was told."""
        found = self.world.now(self.world.eyes.notices.after(ALICE, 0, 1000))
        return [one.notice for one in found if one.notice.kind is kind]


class AdmissionTests(LimitCase):
    """What is let in under a limit of the wallet."""

    def test_exactly_enough(self) -> None:
        """Each limit takes one sandbox that fits, and not one more neuron."""
        for name, which in (("per_day", Which.PER_DAY), ("total", Which.TOTAL)):
            self.limit(**{name: Neuron(FEE + HOLD - 1)})
            why = self.fails(SpendLimitReached, self.make())
            self.assertEqual((why.which, why.limit, why.spent), (which, FEE + HOLD - 1, 0))
            self.assertEqual((why.required, why.reserved), (FEE + HOLD, 0))
            self.limit(**{name: None})
        self.assertEqual(self.world.simulator.records, {})
        self.assertEqual(dict(self.world.funds().exposure.fields), {})
        self.limit(per_day=Neuron(FEE + HOLD), total=Neuron(FEE + HOLD))
        self.world.create()
        self.fails(SpendLimitReached, self.make())

    def test_when_it_resets(self) -> None:
        """A day's limit says when it begins anew, another that it never does."""
        now = self.world.wall.now()
        self.limit(per_day=Neuron(1))
        why = self.fails(SpendLimitReached, self.make())
        self.assertEqual(why.resets_at, day_begins(day_of(now) + 1))
        self.limit(per_day=None, total=Neuron(1))
        self.assertIsNone(self.fails(SpendLimitReached, self.make()).resets_at)

    def test_side_by_side_on_a_slow_store(self) -> None:
        """Of several at once each sees the others' holds, whatever it read before (P13)."""
        world, intake = self.world, self.world.process.intake
        self.limit(per_day=Neuron(2 * (FEE + HOLD)))
        slow = evolve(intake.admission, doors=SlowDoors(intake.doors, world.clock))
        intake = evolve(intake, admission=slow)
        works = [world.begin(intake.create(ALICE, {}, auto_stop_minutes=None)) for _ in range(5)]
        world.advance(5)
        for work in works:
            work.addErrback(lambda why: why.trap(SpendLimitReached))
        self.assertLessEqual(len(world.simulator.records), 2)

    def test_lowered_while_a_create_is_under_way(self) -> None:
        """What was let in a moment before is stopped by the limit that came after."""
        world = self.world
        under_way = world.begin(self.make())
        self.limit(total=Neuron(0))
        world.until(lambda: under_way.called)
        sandbox = self.successResultOf(under_way).id
        self.stopped(sandbox)
        told = dict(self.told(Kind.SPEND_LIMIT)[0].facts)
        self.assertEqual(told, {"which": "total", "limit": "0", "spent": str(FEE)})

    def test_moves_while_it_is_read(self) -> None:
        """What cannot be counted just now is not let in, and nothing stays set aside for it."""
        self.limit(per_day=Neuron(RICH))
        self.patch(stored_controls, "TRIES", 0)
        self.fails(NotReady, self.make())
        self.assertEqual(dict(self.world.funds().exposure.fields), {})

    def test_moves_while_it_is_stopped(self) -> None:
        """An order stands where its reason cannot be looked at, and holds up no other's."""
        world = self.world
        sandbox, other = world.create(), world.create()
        self.limit(per_day=Neuron(RICH))
        world.advance(5)
        self.patch(stored_controls, "TRIES", 0)
        stops = world.process.journal.stops
        world.now(stops.order(sandbox, SPEND_LIMIT, world.wall.now()))
        world.now(stops.order(other, "operator", UnixSeconds(world.wall.now() + 1)))
        self.stopped(sandbox, 60)
        self.assertEqual(world.state(other), "stopped")

    def test_one_sandbox(self) -> None:
        """A sandbox's limit binds that one alone."""
        world = self.world
        one, other = world.create(), world.create()
        world.run(world.process.intake.stop(ALICE, one))
        self.stopped(one)
        self.limit(sandboxes=(SandboxLimit(one, Neuron(self.charged(one) + HOLD - 1)),))
        why = self.fails(SpendLimitReached, world.process.intake.start(ALICE, one))
        self.assertEqual((why.which, why.spent), (Which.SANDBOX, self.charged(one)))
        self.limit(sandboxes=(SandboxLimit(one, Neuron(self.charged(one) + HOLD)),))
        world.run(world.process.intake.start(ALICE, one))
        self.assertEqual(world.state(other), "started")

    def test_nobody_s_business(self) -> None:
        """A wallet without limits is asked nothing of them, and is listed nowhere."""
        self.world.create()
        self.assertIsNone(self.world.now(self.world.eyes.doors.outlay(ALICE)))
        self.assertEqual(self.world.now(self.controls.to_check(2**41, 10)), ())


class RunningTests(LimitCase):
    """What runs is stopped in time."""

    def test_stopped_within_the_limit(self) -> None:
        """Never more is spent than was said, and not much less; what stands is told once."""
        for name in ("per_day", "total"):
            before = self.outlay().spent()
            limit = before + FEE + 300 * PER_SECOND if name == "per_day" else FEE + 300 * PER_SECOND
            self.limit(per_day=None, total=None)
            self.limit(**{name: Neuron(limit)})
            sandbox = self.world.create()
            self.stopped(sandbox)
            cost = self.charged(sandbox)
            self.assertLessEqual(cost, FEE + 300 * PER_SECOND)
            self.assertGreater(cost, FEE + (300 - 3 * STOP_DELAY) * PER_SECOND)
        self.assertEqual(self.outlay().spent(), self.charged(*self.world.simulator.records))
        self.assertEqual(len(self.told(Kind.SPEND_LIMIT)), 2)

    def test_others_cannot_be_read(self) -> None:
        """A page full of wallets whose settings nobody can read holds up nobody's limit."""
        world = self.world
        sandbox = world.create()
        world.advance(5)
        keys = world.eyes.controls.store.keys
        for n in range(PAGE):
            lost = Address(f"0x{n:040x}")
            draft = world.eyes.controls.store.draft("spoil")
            draft.write("SET", keys.controls(lost), '{"v":2}')
            draft.write("ZADD", keys.limited(), 0, lost.hex)
            world.run(world.eyes.controls.store.carry_out(draft.commit()))
        self.limit(per_day=Neuron(FEE + 100 * PER_SECOND))
        self.stopped(sandbox, 120)
        self.assertLessEqual(self.charged(sandbox), FEE + 100 * PER_SECOND)

    def test_folds_what_is_gone(self) -> None:
        """What deleted sandboxes cost is added up, also of a wallet that never set a limit."""
        world = self.world
        for module in (limits, costs):
            self.patch(module, "FOLD_AT", 2)
        kept = world.create()
        gone = [world.create() for _ in range(3)]
        for sandbox in gone:
            world.run(world.process.intake.delete(ALICE, sandbox))
            world.advance(5)
        last = world.create()
        world.advance(2)
        found = self.outlay()
        self.assertEqual(set(found.ended), {kept, last, GONE})
        self.assertEqual(int(found.ended[GONE]), self.charged(*gone))
        self.assertEqual(world.now(self.controls.to_check(UnixSeconds(2**41), 10)), ())

    def test_reason_of_another_order(self) -> None:
        """What is to be stopped already is for the reason that it was told; then for the limit."""
        world = self.world
        sandbox = world.create()
        world.advance(5)
        hanging = Fault(kind=FaultKind.STATUS, status=409, route="stop", count=None)
        world.simulator.faults.add(hanging)
        stops = world.process.journal.stops
        world.now(stops.order(sandbox, "operator", world.wall.now()))
        self.limit(per_day=Neuron(1))
        for _ in range(8):
            world.advance(5)
            self.assertEqual(world.order(sandbox), "operator")
        order = world.now(stops.get(sandbox))
        world.now(stops.done(order))
        world.advance(3)
        self.assertEqual(world.order(sandbox), SPEND_LIMIT)

    def test_raised_in_time(self) -> None:
        """A raised limit is in force at once: what runs goes on."""
        world = self.world
        self.limit(total=Neuron(FEE + 200 * PER_SECOND))
        sandbox = world.create()
        world.advance(150)
        self.limit(total=Neuron(RICH))
        world.advance(200)
        self.assertEqual(world.state(sandbox), "started")
        self.assertIsNone(world.order(sandbox))

    def test_lowered_below_what_runs(self) -> None:
        """A lowered one stops what runs; the other sandboxes of a sandbox's limit run on."""
        world = self.world
        one, other = world.create(), world.create()
        world.advance(100)
        self.limit(sandboxes=(SandboxLimit(one, Neuron(FEE)),))
        self.stopped(one, 30)
        self.assertEqual(world.state(other), "started")
        self.limit(per_day=Neuron(1))
        self.stopped(other, 30)

    def test_total_counts_from_when_it_was_set(self) -> None:
        """What was spent before a total was set is nobody's any more."""
        world = self.world
        sandbox = world.create()
        world.advance(500)
        self.limit(total=Neuron(200 * PER_SECOND))
        world.advance(100)
        self.assertEqual(world.state(sandbox), "started")
        self.stopped(sandbox, 110)

    def test_restart(self) -> None:
        """Limits are stored: the next daemon keeps them."""
        world = self.world
        self.limit(total=Neuron(FEE + 200 * PER_SECOND))
        sandbox = world.create()
        world.restart()
        self.stopped(sandbox)
        self.assertLessEqual(self.charged(sandbox), FEE + 200 * PER_SECOND)


class MidnightTests(LimitCase):
    """A limit for a day is for the seconds of that day."""

    def test_seconds_of_each_day(self) -> None:
        """A run over midnight costs each day its own seconds."""
        world = self.world
        midnight = self.to_midnight(200)
        sandbox = world.create()
        started = world.session(sandbox).started_at
        world.advance(midnight - world.wall.now() - 1)
        eve = self.outlay().spent_today()
        self.assertEqual(eve, FEE + (midnight - 1 - started) * PER_SECOND)
        world.advance(INTERVAL * 2 + 1)
        self.assertEqual(self.outlay().spent_today(), (world.wall.now() - midnight) * PER_SECOND)
        self.assertEqual(self.outlay().spent(), FEE + (world.wall.now() - started) * PER_SECOND)
        world.run(world.process.intake.stop(ALICE, sandbox))
        self.stopped(sandbox)
        self.assertEqual(self.outlay().spent(), self.charged(sandbox))
        ended = max(r.charge.period_end for r in world.charges())
        self.assertEqual(self.outlay().spent_today(), (ended - midnight) * PER_SECOND)

    def test_reset(self) -> None:
        """What a day's limit refused is let in after midnight."""
        world = self.world
        midnight = self.to_midnight(300)
        self.limit(per_day=Neuron(FEE + 120 * PER_SECOND))
        sandbox = world.create()
        self.stopped(sandbox, 130)
        self.fails(SpendLimitReached, world.process.intake.start(ALICE, sandbox))
        world.advance(midnight - world.wall.now() + 1)
        world.run(world.process.intake.start(ALICE, sandbox))
        self.assertEqual(world.state(sandbox), "started")

    def test_clock_ahead_for_a_moment(self) -> None:
        """A clock that was past midnight for a second puts no look off until midnight."""
        world = self.world
        self.to_midnight(700)
        self.limit(per_day=Neuron(FEE + 300 * PER_SECOND))
        sandbox = world.create()
        world.advance(60)
        world.wall.skew = 800
        world.advance(1)
        world.wall.skew = 0
        self.stopped(sandbox, 400)

    def test_runs_through(self) -> None:
        """What would be over today's limit tomorrow only runs on."""
        world = self.world
        self.to_midnight(100)
        self.limit(per_day=Neuron(FEE + 160 * PER_SECOND))
        sandbox = world.create()
        world.advance(200)
        self.assertEqual(world.state(sandbox), "started")
        self.stopped(sandbox, 160)

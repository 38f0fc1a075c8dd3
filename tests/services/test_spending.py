"""Tests of C{sandbox_billing.services.spending}, and of what tokens with a limit are let do."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from attrs import evolve

from sandbox_billing.adapters.redis.commit import Commit, Write
from sandbox_billing.devnet.daytona import Fault, FaultKind
from sandbox_billing.errors import Refused
from sandbox_billing.interfaces import (
    DaytonaRefused,
    NotReady,
    Sandbox,
    SpendLimitReached,
    StopPending,
)
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.ledger.spending import SPEND_LIMIT
from sandbox_billing.ledger.token import Allowance, TokenId
from tests.fixtures import (
    ALICE,
    FEE,
    HOLD,
    INTERVAL,
    PER_CPU,
    PER_GIB,
    PER_SECOND,
    PRICES,
    STOP_DELAY,
    SWEEP,
    World,
    WorldCase,
)
from tests.services.test_intake_create import SlowDoors


TOKEN = TokenId("ab" * 16)
RICH = 10_000_000


def allowed(seconds: int, fees: int = 1, token: TokenId = TOKEN) -> Allowance:
    """For so many fees, and so many seconds of the smallest sandbox."""
    return Allowance(token, Neuron(fees * FEE + seconds * PER_SECOND))


class SpendCase(WorldCase):
    """A wallet with more money than any token of it may spend."""

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(RICH)

    def make(self, allowance: Allowance | None) -> Coroutine[Any, Any, Sandbox]:
        """A create under way."""
        intake = self.world.process.intake
        return intake.create(ALICE, {}, auto_stop_minutes=None, allowance=allowance)

    def create(self, allowance: Allowance | None) -> SandboxId:
        """A sandbox that runs."""
        made = self.world.run(self.make(allowance))
        self.world.until(lambda: self.world.session(made.id).started_at)
        return made.id

    def start(self, sandbox: SandboxId, allowance: Allowance | None) -> Any:
        """A start under way."""
        return self.world.process.intake.start(ALICE, sandbox, allowance=allowance)

    def spending(self, token: TokenId = TOKEN) -> Any:
        """What it has caused, as it is stored."""
        return self.world.now(self.world.eyes.doors.spending(token))

    def spent(self, token: TokenId = TOKEN) -> int:
        """So far."""
        return self.spending(token).spent(self.world.wall.now())

    def charged(self, *sandboxes: SandboxId) -> int:
        """Everything that was ever charged for some."""
        return sum(
            record.charge.amount
            for record in self.world.charges()
            if record.charge.sandbox in sandboxes
        )

    def stopped(self, sandbox: SandboxId) -> None:
        """Wait until nothing is left to be done."""
        self.world.until(lambda: self.world.state(sandbox) == "stopped", 600)
        self.world.until(lambda: self.world.quiet, 60)


class AdmissionTests(SpendCase):
    """What is let in with a token."""

    def test_exactly_enough(self) -> None:
        """A limit of one fee and one hold takes one sandbox, and not one more neuron."""
        limit = Neuron(FEE + HOLD)
        short = Allowance(TOKEN, Neuron(limit - 1))
        why = self.fails(SpendLimitReached, self.make(short))
        self.assertEqual((why.limit, why.spent, why.reserved), (limit - 1, 0, 0))
        self.assertEqual((why.required, why.text), (limit, "spend limit of this token reached"))
        self.assertEqual(self.world.simulator.records, {})
        self.create(Allowance(TOKEN, limit))
        self.fails(SpendLimitReached, self.make(Allowance(TOKEN, limit)))

    def test_refused_leaves_nothing(self) -> None:
        """What was refused holds nothing of the wallet's, nor of the token's."""
        self.fails(SpendLimitReached, self.make(allowed(0)))
        self.assertEqual(dict(self.world.funds().exposure.fields), {})
        self.assertFalse(self.spending().ongoing)

    def test_side_by_side(self) -> None:
        """Of two at once at most one is let in, whatever each of them read before."""
        world, allowance = self.world, allowed(HOLD // PER_SECOND + 1, fees=1)
        works = [world.begin(self.make(allowance)) for _ in range(2)]
        world.advance(5)
        for work in works:
            work.addErrback(lambda why: why.trap(SpendLimitReached))
        self.assertLessEqual(len(world.simulator.records), 1)
        world.advance(20)
        self.assertLessEqual(
            self.spending().committed(world.wall.now(), stop_delay=STOP_DELAY), allowance.limit
        )

    def test_side_by_side_on_a_slow_store(self) -> None:
        """The same where each has read before any of them reserves (P13)."""
        world, allowance = self.world, allowed(HOLD // PER_SECOND + 1, fees=1)
        intake = world.process.intake
        slow = evolve(intake.admission, doors=SlowDoors(intake.doors, world.clock))
        intake = evolve(intake, admission=slow)
        works = [
            world.begin(intake.create(ALICE, {}, auto_stop_minutes=None, allowance=allowance))
            for _ in range(5)
        ]
        world.advance(5)
        for work in works:
            work.addErrback(lambda why: why.trap(SpendLimitReached))
        self.assertLessEqual(len(world.simulator.records), 1)

    def test_ended_runs_count(self) -> None:
        """Whatever was spent is spent, by a sandbox that is gone, too."""
        world, allowance = self.world, allowed(2 * INTERVAL + 30)
        sandbox = self.create(allowance)
        world.advance(INTERVAL)
        world.run(world.process.intake.delete(ALICE, sandbox))
        world.advance(SWEEP)
        self.assertEqual(self.spent(), self.charged(sandbox))
        why = self.fails(SpendLimitReached, self.make(allowance))
        self.assertEqual((why.spent, why.reserved), (self.charged(sandbox), 0))

    def test_its_wallet_may(self) -> None:
        """The limit is the token's: its wallet, and its other tokens, go on."""
        self.fails(SpendLimitReached, self.make(allowed(0)))
        self.create(None)
        self.create(allowed(1000, token=TokenId("cd" * 16)))
        self.assertEqual(self.spent(), 0)

    def test_start_and_recover(self) -> None:
        """What was stopped is started within the limit only, whoever created it."""
        world, intake = self.world, self.world.process.intake
        sandbox = self.create(None)
        world.run(intake.stop(ALICE, sandbox))
        self.stopped(sandbox)
        short = allowed(INTERVAL, fees=0)
        self.fails(SpendLimitReached, self.start(sandbox, short))
        self.fails(SpendLimitReached, intake.recover(ALICE, sandbox, allowance=short))
        self.assertEqual(world.state(sandbox), "stopped")
        world.run(self.start(sandbox, allowed(200, fees=0)))
        world.advance(SWEEP + 20)
        self.assertGreater(self.spent(), 0)

    def test_more_allotted_than_fits(self) -> None:
        """Daytona gives more than was asked for: the limit holds for that, too."""
        world = self.world
        # The default snapshot is not named in the body: what comes is known afterwards.
        snapshots = world.simulator.snapshots
        first = next(iter(snapshots))
        snapshots[first] = evolve(snapshots[first], cpu=4, memory=4)
        allowance = allowed(HOLD // PER_SECOND + 1)
        why = self.fails(SpendLimitReached, self.make(allowance))
        self.assertEqual(why.required, FEE + 4 * HOLD)
        self.assertEqual((why.limit, why.spent, why.reserved), (allowance.limit, 0, 0))
        world.advance(40)
        self.assertEqual(self.spent(), 0)
        self.assertFalse(self.spending().ongoing)
        self.assertEqual(self.charged(*world.simulator.records), 0)

    def test_failed_create_is_free(self) -> None:
        """A fee that is forgiven is not spent."""
        world = self.world
        made = world.run(self.make(allowed(200)))
        self.assertEqual(self.spent(), FEE)
        world.now(self.forgiven(made.id))
        self.assertEqual((self.spent(), self.charged(made.id)), (0, 0))

    async def forgiven(self, sandbox: SandboxId) -> None:
        """It is undone before it was ever seen running."""
        lifecycle = self.world.process.intake.lifecycle
        await lifecycle.close(sandbox, 0, destroyed=True, forgive_create=True)


class LimitTests(SpendCase):
    """What runs, and has cost enough."""

    seconds = 150

    def bounded(self, limit: int, rate: int = PER_SECOND) -> None:
        """Never beyond the limit by more than the stop takes and one look at Daytona."""
        self.assertLessEqual(self.spent(), limit + rate * (STOP_DELAY + SWEEP))

    def test_in_time(self) -> None:
        """The stop is ordered while there is enough left for it; the wallet is not blocked."""
        world, allowance = self.world, allowed(self.seconds)
        sandbox = self.create(allowance)
        begun = world.session(sandbox).started_at
        world.until(lambda: world.order(sandbox) == SPEND_LIMIT)
        self.assertIn(world.wall.now() - begun, range(self.seconds - STOP_DELAY, self.seconds))
        self.stopped(sandbox)
        self.assertLessEqual(self.spent(), allowance.limit)
        self.assertEqual(self.spent(), self.charged(sandbox))
        self.assertIsNone(world.funds().blocked)

    def test_started_again(self) -> None:
        """Not with this token; its wallet may, and nothing stops that."""
        world, allowance = self.world, allowed(self.seconds)
        sandbox = self.create(allowance)
        world.until(lambda: world.order(sandbox) == SPEND_LIMIT)
        why = self.fails(StopPending, self.start(sandbox, None))
        self.assertEqual(why.reason, SPEND_LIMIT)
        self.stopped(sandbox)
        self.fails(SpendLimitReached, self.start(sandbox, allowance))
        spent = self.spent()
        world.run(self.start(sandbox, None))
        world.advance(5 * INTERVAL)
        self.assertEqual(world.state(sandbox), "started")
        self.assertEqual(self.spent(), spent)

    def test_ordered_too_late(self) -> None:
        """Its owner was quicker and runs it himself by now: the order is dropped."""
        world = self.world
        sandbox = self.create(None)
        stops = world.process.journal.stops
        world.now(stops.order(sandbox, SPEND_LIMIT, world.wall.now()))
        world.until(lambda: world.order(sandbox) is None, 10)
        world.advance(INTERVAL)
        self.assertEqual(world.state(sandbox), "started")

    def test_all_of_it(self) -> None:
        """Everything that was started with the token is stopped, and nothing else."""
        world, allowance = self.world, allowed(3 * self.seconds, fees=2)
        ours = [self.create(allowance), self.create(allowance)]
        others = [self.create(None), self.create(allowed(5000, token=TokenId("cd" * 16)))]
        for sandbox in ours:
            self.stopped(sandbox)
        self.assertEqual([world.state(one) for one in others], ["started", "started"])
        self.assertLessEqual(self.spent(), allowance.limit)
        self.assertEqual(self.spent(), self.charged(*ours))

    def test_stop_takes_long(self) -> None:
        """Daytona stops nothing for a while: the order stands, also after a restart."""
        world, allowance = self.world, allowed(self.seconds)
        sandbox = self.create(allowance)
        world.simulator.faults.add(
            Fault(kind=FaultKind.STATUS, status=409, route="stop", count=None)
        )
        world.until(lambda: world.order(sandbox) == SPEND_LIMIT)
        world.restart()
        world.advance(50)
        self.assertEqual(world.order(sandbox), SPEND_LIMIT)
        world.simulator.faults.clear()
        self.stopped(sandbox)
        self.assertEqual(self.spent(), self.charged(sandbox))

    def test_restart(self) -> None:
        """A daemon that was down for a while judges by what it cost meanwhile."""
        world, allowance = self.world, allowed(self.seconds)
        sandbox = self.create(allowance)
        world.advance(70)
        world.restart()
        self.stopped(sandbox)
        self.bounded(allowance.limit)
        self.assertEqual(self.spent(), self.charged(sandbox))

    def test_dearer(self) -> None:
        """At a new price the time that is left is shorter; what was spent stays spent."""
        world, allowance = self.world, allowed(300)
        sandbox = self.create(allowance)
        world.advance(100)
        world.register(
            prices=Prices(
                per_cpu_per_minute=Neuron(2 * PER_CPU),
                per_memory_gib_per_minute=Neuron(2 * PER_GIB),
                create_fee=PRICES.create_fee,
            )
        )
        world.acknowledge()
        begun = world.wall.now()
        world.until(lambda: world.session(sandbox).rate == 120 * PER_SECOND, 60)
        self.stopped(sandbox)
        self.assertLess(world.wall.now() - begun, 150)
        self.bounded(allowance.limit, 2 * PER_SECOND)
        self.assertEqual(self.spent(), self.charged(sandbox))

    def test_adopted_under_its_intent(self) -> None:
        """A create whose reply never came counts for its token all the same."""
        world, allowance = self.world, allowed(self.seconds)
        world.simulator.lose_reply_next(route="create")
        work = world.begin(self.make(allowance))
        work.addErrback(lambda why: why.trap(Exception))
        world.until(lambda: len(world.simulator.records) == 1)
        (sandbox,) = world.simulator.records
        world.until(lambda: world.session(sandbox) is not None, 100)
        self.assertEqual(world.session(sandbox).allowance, allowance)
        self.stopped(sandbox)
        self.bounded(allowance.limit)
        self.assertEqual(self.spent(), self.charged(sandbox))

    def test_goes_on_behind_our_back(self) -> None:
        """A run that was thought to have ended, and is adopted, is the token's still."""
        world, allowance = self.world, allowed(300)
        sandbox = self.create(allowance)
        world.advance(100)
        world.run(world.process.intake.stop(ALICE, sandbox))
        self.stopped(sandbox)
        before = self.spent()
        world.simulator.start_behind(sandbox)
        world.until(lambda: world.session(sandbox) is not None, 60)
        self.assertEqual(world.session(sandbox).allowance, allowance)
        self.assertGreaterEqual(before, FEE + 100 * PER_SECOND)
        self.stopped(sandbox)
        self.bounded(allowance.limit)
        self.assertEqual(self.spent(), self.charged(sandbox))

    def test_behind_our_back_again_and_again(self) -> None:
        """Runs under one reference are added up, not written over one another."""
        world, allowance = self.world, allowed(5000)
        sandbox = self.create(allowance)
        for _ in range(3):
            world.advance(100)
            world.run(world.process.intake.stop(ALICE, sandbox))
            self.stopped(sandbox)
            self.assertEqual(self.spent(), self.charged(sandbox))
            world.simulator.start_behind(sandbox)
            world.until(lambda: world.session(sandbox) is not None, 60)

    def test_refused_and_carried_out(self) -> None:
        """A start that Daytona refuses and carries out all the same is its token's (§4.2)."""
        world, allowance = self.world, allowed(self.seconds, fees=0)
        sandbox = self.create(None)
        world.run(world.process.intake.stop(ALICE, sandbox))
        self.stopped(sandbox)
        world.simulator.faults.add(
            Fault(
                kind=FaultKind.STATUS,
                status=400,
                message="Sandbox failed to start: Timeout",
                route="start",
                effect=True,
            )
        )
        before = self.charged(sandbox)
        shown = world.run(self.start(sandbox, allowance))
        self.assertFalse(shown.as_found)
        self.assertEqual(world.session(sandbox).allowance, allowance)
        world.until(lambda: world.state(sandbox) == "started", 60)
        self.stopped(sandbox)
        self.assertEqual(self.spent(), self.charged(sandbox) - before)
        self.assertGreater(self.spent(), 0)
        self.assertLessEqual(self.spent(), allowance.limit)

    def test_refused_and_nobody_can_tell(self) -> None:
        """Where the state cannot be seen after a refusal, the sweep finds whose run it is."""
        world, allowance = self.world, allowed(self.seconds, fees=0)
        sandbox = self.create(None)
        world.run(world.process.intake.stop(ALICE, sandbox))
        self.stopped(sandbox)
        faults = world.simulator.faults
        faults.add(Fault(kind=FaultKind.STATUS, status=400, route="start", effect=True))
        faults.add(Fault(kind=FaultKind.STATUS, status=500, route="paginated", count=1))
        self.fails(DaytonaRefused, self.start(sandbox, allowance))
        world.until(lambda: world.session(sandbox) is not None, 60)
        self.assertEqual(world.session(sandbox).allowance, allowance)

    def test_ordered_for_another_token(self) -> None:
        """An order for one token does not stop a run of another, far from its limit."""
        world = self.world
        sandbox = self.create(allowed(5000, token=TokenId("cd" * 16)))
        stops = world.process.journal.stops
        world.now(stops.order(sandbox, SPEND_LIMIT, world.wall.now()))
        world.until(lambda: world.order(sandbox) is None, 10)
        world.advance(INTERVAL)
        self.assertEqual(world.state(sandbox), "started")

    def test_ordered_for_another_reason(self) -> None:
        """When that one has gone, the limit is still reached."""
        world, allowance = self.world, allowed(self.seconds)
        sandbox = self.create(allowance)
        world.simulator.faults.add(
            Fault(kind=FaultKind.STATUS, status=409, route="stop", count=None)
        )
        world.until(lambda: world.order(sandbox) == SPEND_LIMIT)
        world.acknowledge(acknowledged=False)
        world.until(lambda: world.order(sandbox) == "not_acknowledged", 60)
        world.acknowledge()
        world.until(lambda: world.order(sandbox) in (None, SPEND_LIMIT), 60)
        world.simulator.faults.clear()
        self.stopped(sandbox)

    def test_another_reason_stays(self) -> None:
        """What is to be stopped for another reason keeps it: that may not go with a limit."""
        world = self.world
        sandbox = self.create(allowed(self.seconds))
        world.simulator.faults.add(
            Fault(kind=FaultKind.STATUS, status=409, route="stop", count=None)
        )
        world.acknowledge(acknowledged=False)
        world.until(lambda: world.order(sandbox) == "not_acknowledged", 60)
        for _ in range(2 * self.seconds):
            world.advance(1)
            self.assertEqual(world.order(sandbox), "not_acknowledged")
        world.simulator.faults.clear()
        self.stopped(sandbox)

    def test_unreadable(self) -> None:
        """What cannot be added up is over its limit: somebody is told, and it is stopped."""
        world = self.world
        sandbox, other = self.create(allowed(5000)), self.create(None)
        broken = Write("HSET", world.eyes.store.keys.spending(TOKEN), ("run:x", "coffee"))
        world.now(world.keyspace.commit(Commit(name="meddle", fence="none", writes=(broken,))))
        world.until(lambda: world.order(sandbox) == SPEND_LIMIT, INTERVAL + SWEEP)
        self.assertIn("coffee", world.process.troubles()["spending"])
        why = self.fails(NotReady, self.make(allowed(5000)))
        self.assertEqual(why.text, "not ready: what this token has spent cannot be read")
        self.assertEqual(world.funds().exposure.pending(), 0)
        self.stopped(sandbox)
        self.assertEqual(world.state(other), "started")

    def test_forgotten_in_the_end(self) -> None:
        """Nothing looks at a token of which nothing runs, and its hash expires by itself."""
        world = self.world
        sandbox = self.create(allowed(self.seconds))
        self.stopped(sandbox)
        world.advance(AGAIN)
        port = world.eyes.spending
        self.assertEqual(world.now(port.to_check(world.wall.now() + 10**9, 10)), ())
        self.assertGreater(self.spent(), 0)


AGAIN = 40


class ResizeTests(SpendCase):
    """What is made bigger."""

    # While it is C{resizing} it is not shown running, and charged all the same (§4.2).
    observed = False

    def setUp(self) -> None:
        self.world = World(allow_resize=True).start()
        self.world.simulator.resizes = True
        self.world.fund(RICH)

    def resize(self, sandbox: SandboxId, cpu: int, allowance: Allowance | None) -> Any:
        """A resize under way."""
        return self.world.process.intake.resize(ALICE, sandbox, {"cpu": cpu}, allowance=allowance)

    def test_not_another_s(self) -> None:
        """A token with a limit makes nothing dearer that others pay the rest of."""
        sandbox = self.create(None)
        self.fails(Refused, self.resize(sandbox, 2, allowed(5000)))
        other = self.create(allowed(5000, token=TokenId("cd" * 16)))
        self.fails(Refused, self.resize(other, 2, allowed(5000)))
        self.assertEqual(self.world.session(sandbox).resources.cpu, 1)

    def test_counts_for_the_run(self) -> None:
        """Whoever asks: it fits into what the run's token may cause, or is refused."""
        world, allowance = self.world, allowed(400)
        sandbox = self.create(allowance)
        for who in (allowance, None):
            self.fails(SpendLimitReached, self.resize(sandbox, 40, who))
        world.run(self.resize(sandbox, 2, allowance))
        world.until(lambda: world.session(sandbox).resources.cpu == 2, 60)
        rate = world.session(sandbox).rate
        self.stopped(sandbox)
        self.assertLessEqual(self.spent(), allowance.limit + rate * (STOP_DELAY + SWEEP) // 60)
        self.assertEqual(self.spent(), self.charged(sandbox))

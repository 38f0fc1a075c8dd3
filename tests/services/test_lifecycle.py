"""
Every verb on every state of Daytona, in each dialect (daytona.md, section 5).

What a verb is answered is Daytona's to say; what is metered afterwards is ours: exactly what
runs, whatever the code was, and nothing set aside for what does not.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from sandbox_billing.adapters.redis.commit import Read
from sandbox_billing.devnet.daytona import Dialect, Fault, FaultKind
from sandbox_billing.devnet.daytona.records import State
from sandbox_billing.errors import UnknownOutcome
from sandbox_billing.interfaces import (
    CannotPay,
    DaytonaRefused,
    NoSuchSandbox,
    Sandbox,
    StopPending,
)
from sandbox_billing.ledger.identity import Address, SandboxId
from tests.fixtures import ALICE, BOB, FEE, HOLD, RATE, World, WorldCase
from tests.services.lives import SWEEP


REST = 20
"""Seconds after which every transition of the simulator has ended, and a sweep has seen it."""


def _verbs(world: World) -> dict[str, Callable[[SandboxId], Coroutine[Any, Any, Sandbox]]]:
    intake = world.process.intake
    return {
        "start": lambda id: intake.start(ALICE, id),
        "recover": lambda id: intake.recover(ALICE, id),
        "stop": lambda id: intake.stop(ALICE, id),
        "delete": lambda id: intake.delete(ALICE, id),
        "archive": lambda id: intake.archive(ALICE, id),
    }


def _running(world: World, sandbox: SandboxId) -> None:
    """As it was made."""


def _stopped(world: World, sandbox: SandboxId) -> None:
    world.simulator.stop_behind(sandbox)
    world.advance(REST)


def _archived(world: World, sandbox: SandboxId) -> None:
    _stopped(world, sandbox)
    world.run(world.process.intake.archive(ALICE, sandbox))
    world.advance(REST)


def _archiving(world: World, sandbox: SandboxId) -> None:
    _stopped(world, sandbox)
    world.run(world.process.intake.archive(ALICE, sandbox))


def _stopping(world: World, sandbox: SandboxId) -> None:
    world.run(world.process.intake.stop(ALICE, sandbox))


def _failed(world: World, sandbox: SandboxId) -> None:
    world.simulator.break_sandbox(sandbox)
    world.advance(REST)


def _paused(world: World, sandbox: SandboxId) -> None:
    world.simulator.engine.settle(world.simulator.records[sandbox], State.PAUSED, State.PAUSED)
    world.advance(REST)


def _stopped_unseen(world: World, sandbox: SandboxId) -> None:
    world.simulator.stop_behind(sandbox)


def _failed_unseen(world: World, sandbox: SandboxId) -> None:
    world.simulator.break_sandbox(sandbox)


OK, BUSY, WRONG = 200, 409, 400

TABLE: dict[Callable[[World, SandboxId], None], dict[str, tuple[int, bool]]] = {
    # How it came to its state; then for each verb the answer, and whether it runs when
    # everything has come to rest.
    _running: {
        "start": (OK, True),
        "recover": (OK, True),
        "stop": (OK, False),
        "delete": (OK, False),
        "archive": (WRONG, True),
    },
    _stopped: {
        "start": (OK, True),
        "recover": (WRONG, False),
        "stop": (WRONG, False),
        "delete": (OK, False),
        "archive": (OK, False),
    },
    _stopped_unseen: {
        "start": (OK, True),
        "recover": (WRONG, False),
        "stop": (WRONG, False),
        "delete": (OK, False),
        "archive": (OK, False),
    },
    _archived: {
        "start": (OK, True),
        "recover": (WRONG, False),
        "stop": (WRONG, False),
        "delete": (OK, False),
        "archive": (WRONG, False),
    },
    _archiving: {
        "start": (OK, True),
        "delete": (OK, False),
        "stop": (BUSY, False),
        "archive": (BUSY, False),
    },
    _stopping: {
        "start": (BUSY, False),
        "stop": (BUSY, False),
        "delete": (BUSY, False),
        "archive": (BUSY, False),
    },
    _failed: {
        "start": (WRONG, False),
        "recover": (OK, True),
        "stop": (WRONG, False),
        "delete": (OK, False),
        "archive": (WRONG, False),
    },
    _failed_unseen: {
        "start": (WRONG, False),
        "recover": (OK, True),
        "stop": (WRONG, False),
        "delete": (OK, False),
        "archive": (WRONG, False),
    },
    _paused: {"start": (OK, True), "stop": (OK, False), "delete": (OK, False)},
}


class TableTests(WorldCase):
    """Each verb from each state."""

    @contextmanager
    def sandboxes(self, dialect: Dialect, count: int) -> Iterator[tuple[World, list[SandboxId]]]:
        """So many running sandboxes of Alice's, their sessions as the sweeps left them."""
        world = World().start()
        try:
            world.simulator.dialect = dialect
            world.fund(1_000_000 * count)
            made = [world.create() for _ in range(count)]
            world.advance(REST)
            yield world, made
        finally:
            world.simulator.close()

    def answer(self, world: World, work: Coroutine[Any, Any, Sandbox]) -> int:
        """What the user is answered."""
        try:
            world.run(work)
        except DaytonaRefused as why:
            return why.status
        except StopPending:
            return BUSY
        return OK

    def check(self, dialect: Dialect) -> None:
        """The whole table: a world for each state, and in it a sandbox for each verb."""
        for reach, verbs in TABLE.items():
            with self.sandboxes(dialect, len(verbs)) as (world, sandboxes):
                rows = list(zip(sandboxes, verbs.items(), strict=True))
                for sandbox, (verb, (expected, _runs)) in rows:
                    reach(world, sandbox)
                    answered = self.answer(world, _verbs(world)[verb](sandbox))
                    self.assertEqual(expected, answered, (dialect.name, reach.__name__, verb))
                world.advance(REST)
                held = [f for f in world.funds().exposure.fields if f.startswith("hold")]
                self.assertEqual([], held, (dialect.name, reach.__name__))
                for sandbox, (verb, (_expected, runs)) in rows:
                    story = (dialect.name, reach.__name__, verb)
                    self.assertEqual(runs, world.simulator.records[sandbox].runs, story)
                    self.assertEqual(runs, world.session(sandbox) is not None, story)
                world.advance(world.policy.voucher_interval + REST)
                for sandbox, (verb, _outcome) in rows:
                    self.bill(world, sandbox, (dialect.name, reach.__name__, verb))

    def bill(self, world: World, sandbox: SandboxId, story: Any) -> None:
        """At most a sweep's seconds are missing at each end of a run, and none too many."""
        charged = sum(r.charge.units for r in world.charges() if r.charge.sandbox == sandbox)
        session = world.session(sandbox)
        if session is not None:
            charged += world.wall.now() - session.charged_until
        ran = world.simulator.running_seconds(sandbox)
        runs = len(world.simulator.records[sandbox].truth.intervals)
        self.assertLessEqual(charged, ran + 1, story)
        self.assertGreaterEqual(charged, ran - runs * (2 * SWEEP + 2), story)

    def test_old(self) -> None:
        """Before v0.160, where 400 says both "wrong" and "wait"."""
        self.check(Dialect.OLD)

    def test_middle(self) -> None:
        """Before v0.180."""
        self.check(Dialect.MIDDLE)

    def test_new(self) -> None:
        """From v0.180 on."""
        self.check(Dialect.NEW)


class RecoverTests(WorldCase):
    """C{POST /api/sandbox/<id>/recover}."""

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(100_000)

    def failed(self) -> SandboxId:
        """It ran, failed, and was closed."""
        sandbox = self.world.create()
        self.world.advance(REST)
        _failed(self.world, sandbox)
        return sandbox

    def recover(self, sandbox: SandboxId, **wish: bool) -> Coroutine[Any, Any, Sandbox]:
        """A recovery under way."""
        return self.world.process.intake.recover(ALICE, sandbox, **wish)

    def recoveries(self) -> int:
        """How often Daytona was asked to recover something."""
        return [name for name, *_ in self.world.process.runtime.asked].count("recover")

    def test_metered(self) -> None:
        """P6: it is metered from when it runs, without another fee."""
        world, sandbox = self.world, self.failed()
        before = world.amounts()
        world.run(self.recover(sandbox))
        session = world.session(sandbox)
        self.assertIsNotNone(session)
        self.assertEqual((RATE, HOLD), (session.rate, session.hold))
        self.assertIsNotNone(session.started_at)
        self.assertEqual(before, world.amounts())

    def test_cannot_pay(self) -> None:
        """It starts something: without the money Daytona is not asked (P14)."""
        world, sandbox = self.world, self.failed()
        world.request_refund(world.slot().balance - HOLD + 1)
        world.advance(4)
        self.assertEqual(self.fails(CannotPay, self.recover(sandbox)).required, HOLD)
        self.assertEqual(0, self.recoveries())

    def test_stop_pending(self) -> None:
        """409 while a stop order stands."""
        world, sandbox = self.world, self.failed()
        world.now(world.process.journal.stops.order(sandbox, "operator", world.wall.now()))
        self.fails(StopPending, self.recover(sandbox))
        self.assertEqual(0, self.recoveries())

    def test_not_started(self) -> None:
        """With skipStart it rests, and nothing is held or metered for it."""
        world, sandbox = self.world, self.failed()
        before = dict(world.funds().exposure.fields)
        world.run(self.recover(sandbox, skip_start=True))
        self.assertIsNone(world.session(sandbox))
        world.advance(REST)
        self.assertEqual("stopped", world.state(sandbox))
        self.assertIsNone(world.session(sandbox))
        self.assertEqual(before, dict(world.funds().exposure.fields))

    def test_not_recoverable(self) -> None:
        """What Daytona refuses is not held."""
        world, sandbox = self.world, self.failed()
        world.simulator.records[sandbox].recoverable = False
        self.assertEqual(400, self.fails(DaytonaRefused, self.recover(sandbox)).status)
        self.assertEqual({}, dict(world.funds().exposure.fields))

    def test_fails_again(self) -> None:
        """A recovery that ends in the error again costs nothing."""
        world, sandbox = self.world, self.failed()
        before = world.amounts()
        world.simulator.fail_start_next()
        self.fails(DaytonaRefused, self.recover(sandbox))
        world.advance(REST)
        self.assertIsNone(world.session(sandbox))
        self.assertEqual((before, {}), (world.amounts(), dict(world.funds().exposure.fields)))

    def test_lost_reply(self) -> None:
        """A recovery whose reply was lost is metered under its intent, without a fee."""
        world, sandbox = self.world, self.failed()
        before = world.amounts()
        world.simulator.lose_reply_next(route="recover")
        self.fails(UnknownOutcome, self.recover(sandbox))
        world.until(lambda: world.session(sandbox) is not None)
        self.assertEqual(before, world.amounts())
        world.advance(REST)
        held = [f for f in world.funds().exposure.fields if f.startswith("hold")]
        self.assertEqual([], held)


class FailedCreateTests(WorldCase):
    """What never ran costs nothing, whoever is the first to hear of it."""

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(100_000)

    def failing(self) -> SandboxId:
        """Created, metered, and failed before any sweep saw it run."""
        world = self.world
        world.simulator.fail_start_next()
        # Its reply comes before the failure: building returns at once.
        made = world.begin(
            world.process.intake.create(
                ALICE, {"buildInfo": {"dockerfileContent": "FROM x"}}, auto_stop_minutes=None
            )
        )
        sandbox = SandboxId(self.successResultOf(made).id)
        world.process.turns["reconciler"].stopService()
        world.until(lambda: world.state(sandbox) == "error")
        return sandbox

    def test_deleted_at_once(self) -> None:
        """A delete before the next sweep forgives the fee, as the sweep would have."""
        world = self.world
        sandbox = self.failing()
        self.assertIsNotNone(world.session(sandbox))
        world.run(world.process.intake.delete(ALICE, sandbox))
        self.assertEqual({}, world.amounts())
        self.assertEqual({}, dict(world.funds().exposure.fields))

    def test_refused_delete_of_nothing(self) -> None:
        """What is gone is closed, and its owner is told so."""
        world = self.world
        sandbox = world.create()
        world.advance(REST)
        world.simulator.remove_behind(sandbox)
        self.fails(NoSuchSandbox, world.process.intake.delete(ALICE, sandbox))
        world.advance(4 * REST)
        self.assertIsNone(world.session(sandbox))

    def test_lost_race_with_a_row(self) -> None:
        """A create that lost a race after its row was written leaves no row (P6)."""
        world = self.world
        world.simulator.fail_next(409, route="create", effect=True)
        self.fails(DaytonaRefused, world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        world.advance(REST)
        states = [str(record.raw) for record in world.simulator.records.values()]
        self.assertEqual(["destroyed"], states)
        self.assertEqual(({}, {}), (world.amounts(), dict(world.funds().exposure.fields)))

    def test_leftover_is_looked_for_by_its_label(self) -> None:
        """Not in the list of everybody's sandboxes; and where it cannot be seen, the sweep does."""
        world = self.world
        world.simulator.fail_start_next()
        world.simulator.fail_next(503, route="list", count=1)
        under_way = world.begin(world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        world.until(lambda: bool(under_way.called))
        self.failureResultOf(under_way, DaytonaRefused)
        self.assertIn("labelled", [name for name, *_ in world.process.runtime.asked])
        world.advance(400)
        visible = [record for record in world.simulator.records.values() if record.visible]
        self.assertEqual([], visible)
        self.assertEqual(({}, {}), (world.amounts(), dict(world.funds().exposure.fields)))


class WarmPoolTests(WorldCase):
    """A create that is answered with what runs already."""

    def test_metered_from_the_answer(self) -> None:
        """It runs by that very answer: otherwise create and delete between sweeps were free."""
        world = self.world
        world.fund(100_000)
        world.simulator.warm_pool = True
        made = world.run(world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        begun = world.session(made.id).started_at
        self.assertEqual(world.wall.now(), begun)
        world.advance(3)
        world.run(world.process.intake.delete(ALICE, made.id))
        self.assertEqual(
            {f"{made.id}:create": FEE, f"{made.id}:{begun}": 3 * RATE // 60}, world.amounts()
        )


class StopThatDeletesTests(WorldCase):
    """C{autoDeleteInterval} 0: a stop deletes."""

    def test_remembered_as_deleted(self) -> None:
        """The record is kept for as long as of any other that was deleted, and no longer."""
        world = self.world
        world.fund(100_000)
        sandbox = world.create()
        world.advance(REST)
        world.simulator.records[sandbox].auto_delete = 0
        world.run(world.process.intake.stop(ALICE, sandbox))
        key = world.process.journal.doors.store.keys.sandbox(sandbox)
        (left,) = world.now(world.keyspace.read([Read("PTTL", key)]))
        self.assertGreater(int(left), 0)


class CrowdedTests(WorldCase):
    """Many who own nothing ask for much."""

    def crowded(self) -> SandboxId:
        """
        Daytona answers no lookup, and strangers wait for them in every place there is.

        @return: What somebody pays for; lookups are answered again.
        """
        world = self.world
        world.fund(10_000_000)
        sandbox, intake = world.create(), world.process.intake
        world.simulator.faults.add(Fault(kind=FaultKind.HANG, route="get", count=None))
        for number in range(intake.supervisor.most + 100):
            stranger = Address(f"0x{number % 100 + 1:040x}")
            asking = Deferred.fromCoroutine(intake.stop(stranger, f"nothing-{number}"))
            asking.addErrback(lambda _: None)
        world.flush()
        self.assertEqual(len(intake.supervisor.under_way), intake.supervisor.most)
        world.simulator.faults.clear()
        return sandbox

    def answered(self, work: Coroutine[Any, Any, Sandbox]) -> type:
        """Of what kind the answer is that comes at once."""
        answers: list[Any] = []
        Deferred.fromCoroutine(work).addBoth(answers.append)
        self.world.flush()
        return type(answers[0]) if answers else type(None)

    def test_stop(self) -> None:
        """Whoever pays still stops what runs, and strangers get no place for it (V1)."""
        sandbox = self.crowded()
        intake = self.world.process.intake
        self.assertIs(self.answered(intake.stop(BOB, sandbox)), Failure)
        self.assertIs(self.answered(intake.stop(ALICE, sandbox)), Sandbox)

    def test_delete(self) -> None:
        """And deletes it."""
        sandbox = self.crowded()
        self.assertIs(self.answered(self.world.process.intake.delete(ALICE, sandbox)), Sandbox)

"""Tests of C{sandbox_billing.services.intake}: start, stop, delete and the rest."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from sandbox_billing.errors import Transient, UnknownOutcome
from sandbox_billing.interfaces import (
    CannotPay,
    DaytonaRefused,
    NoSuchSandbox,
    NotReady,
    NotYours,
    Sandbox,
    StopPending,
)
from sandbox_billing.ledger.identity import Address, SandboxId
from tests.fixtures import (
    ALICE,
    BOB,
    FEE,
    HOLD,
    PER_SECOND,
    WorldCase,
)
from tests.services.lives import SWEEP


CHANGES = frozenset({"start", "stop", "delete"})
"""Calls of Daytona that name the sandbox they change."""


class StartTests(WorldCase):
    """C{POST /api/sandbox/<id>/start}."""

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(100_000)
        self.sandbox = self.world.create()

    def start(self, who: Address = ALICE) -> Coroutine[Any, Any, Sandbox]:
        """A start under way."""
        return self.world.process.intake.start(who, self.sandbox)

    def starts(self) -> int:
        """How often Daytona was asked to start something."""
        return [name for name, *_ in self.world.process.runtime.asked].count("start")

    def stop(self) -> None:
        """By its owner, and shown stopped."""
        self.world.run(self.world.process.intake.stop(ALICE, self.sandbox))
        self.world.advance(15)

    def test_running(self) -> None:
        """A start of what runs is answered with what was read and changes nothing (§4.2)."""
        before = self.world.session(self.sandbox)
        shown = self.world.run(self.start())
        self.assertEqual((shown.state, shown.as_found), ("started", True))
        self.assertEqual(self.world.session(self.sandbox), before)
        self.assertEqual(self.starts(), 0)

    def test_no_second_fee(self) -> None:
        """A start takes no create fee; its run is charged by the second."""
        world = self.world
        self.stop()
        paid = sum(world.amounts().values())
        self.assertFalse(world.run(self.start()).as_found)
        world.until(lambda: world.session(self.sandbox).started_at)
        begun = world.session(self.sandbox).started_at
        world.advance(10)
        at = world.wall.now()
        world.run(world.process.intake.stop(ALICE, self.sandbox))
        self.assertEqual(sum(world.amounts().values()) - paid, PER_SECOND * (at - begun))

    def test_cannot_pay(self) -> None:
        """Start needs an interval and the stop delay, and asks Daytona nothing without."""
        world = self.world
        self.stop()
        world.request_refund(world.slot().balance - HOLD + 1)
        world.advance(4)
        why = self.fails(CannotPay, self.start())
        self.assertEqual((why.code, why.required), ("insufficient_balance", HOLD))
        self.assertEqual(self.starts(), 0)

    def test_not_acknowledged(self) -> None:
        """A start needs an acknowledgement like a create (P14)."""
        world = self.world
        self.stop()
        world.acknowledge(acknowledged=False)
        world.advance(10)
        self.assertEqual(self.fails(CannotPay, self.start()).code, "not_acknowledged")
        self.assertEqual(self.starts(), 0)

    def test_stop_pending(self) -> None:
        """409 while a stop order stands."""
        world = self.world
        self.stop()
        world.now(world.process.journal.stops.order(self.sandbox, "operator", world.wall.now()))
        self.fails(StopPending, self.start())
        self.assertEqual(self.starts(), 0)

    def test_stranger(self) -> None:
        """403 by id, and by name it does not even exist."""
        self.fails(NotYours, self.start(BOB))
        intake = self.world.process.intake
        name = self.world.simulator.records[self.sandbox].name
        self.assertEqual(name, self.sandbox)
        why = self.fails(NoSuchSandbox, intake.start(BOB, "no-such"))
        # As docs/http.rst words it, and as programs look for it.
        self.assertEqual(why.text, "no such sandbox")

    def test_by_name(self) -> None:
        """Daytona takes names, too; whatever was named is metered, and called, by its id (P2)."""
        world = self.world
        intake, sandbox = world.process.intake, world.create(name="box")
        for verb in ("stop", "start", "delete"):
            world.run(getattr(intake, verb)(ALICE, "box"))
            world.advance(15)
            self.assertEqual(world.session(sandbox) is not None, verb == "start", verb)
        self.assertIsNone(world.session(SandboxId("box")))
        called = {call[1] for call in world.process.runtime.asked if call[0] in CHANGES}
        self.assertEqual(called, {sandbox})

    def test_refused(self) -> None:
        """What Daytona refuses is not held."""
        world = self.world
        self.stop()
        before = dict(world.funds().exposure.fields)
        world.simulator.fail_next(400, route="start")
        self.fails(DaytonaRefused, self.start())
        self.assertEqual(dict(world.funds().exposure.fields), before)
        self.assertIsNone(world.session(self.sandbox))

    def test_lost_reply(self) -> None:
        """A start whose reply was lost is metered under its intent, without a fee."""
        world = self.world
        self.stop()
        before = world.amounts()
        world.simulator.lose_reply_next(route="start")
        self.fails(UnknownOutcome, self.start())
        world.until(lambda: world.session(self.sandbox) is not None)
        self.assertEqual(world.amounts(), before)
        self.assertNotIn("hold", {f.split(":")[0] for f in world.funds().exposure.fields})

    def test_after_a_self_stop(self) -> None:
        """A start right after an unnoticed self-stop ends that run where it was seen last."""
        world = self.world
        world.advance(20)
        world.simulator.stop_behind(self.sandbox)
        seen = world.now(world.eyes.doors.seen_at(self.sandbox))
        world.run(self.start())
        ends = [r.charge.period_end for r in world.charges() if r.charge.units]
        self.assertEqual(ends[-1:], [seen])
        self.assertNotEqual(world.session(self.sandbox).opened_at, seen)

    def test_parallel_starts(self) -> None:
        """Two starts at once make one session and one hold."""
        world = self.world
        self.stop()
        both = [world.begin(self.start()) for _ in range(2)]
        for each in both:
            each.addErrback(lambda failure: failure.trap(DaytonaRefused, StopPending))
        world.advance(20)
        fields = [f for f in world.funds().exposure.fields if f.startswith(("hold", "session"))]
        self.assertEqual(fields, [f"session:{self.sandbox}"])


class EndTests(WorldCase):
    """Stop and delete by the owner."""

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(100_000)
        self.sandbox = self.world.create()
        self.begun = self.world.session(self.sandbox).started_at

    def test_charged_up_to_the_acceptance(self) -> None:
        """A stop between two sweeps charges every second up to its acceptance."""
        world = self.world
        world.advance(33)
        at = world.wall.now()
        world.run(world.process.intake.stop(ALICE, self.sandbox))
        self.assertEqual(
            world.amounts(),
            {
                f"{self.sandbox}:create": FEE,
                f"{self.sandbox}:{self.begun}": PER_SECOND * (at - self.begun),
            },
        )
        self.assertIsNone(world.session(self.sandbox))
        world.advance(20)
        self.assertEqual(world.earned, sum(world.amounts().values()))
        self.assertEqual(world.slot().balance, 100_000 - world.earned)
        self.assertEqual(dict(world.funds().exposure.fields), {})

    def test_stop_and_delete_together(self) -> None:
        """Both at once charge the seconds once (B4)."""
        world = self.world
        world.advance(33)
        at = world.wall.now()
        intake = world.process.intake
        both = [
            world.begin(intake.stop(ALICE, self.sandbox)),
            world.begin(intake.delete(ALICE, self.sandbox)),
        ]
        for each in both:
            each.addErrback(lambda failure: failure.trap(DaytonaRefused))
        world.advance(30)
        self.assertEqual(sum(world.amounts().values()), FEE + PER_SECOND * (at - self.begun))

    def test_lost_reply(self) -> None:
        """A stop whose reply was lost closes at the last observation."""
        world = self.world
        world.advance(33)
        seen = world.now(world.eyes.doors.seen_at(self.sandbox))
        world.simulator.lose_reply_next(route="stop")
        self.fails(UnknownOutcome, world.process.intake.stop(ALICE, self.sandbox))
        world.until(lambda: world.session(self.sandbox) is None)
        self.assertEqual(sum(world.amounts().values()), FEE + PER_SECOND * (seen - self.begun))

    def test_refused_stop(self) -> None:
        """A stop that Daytona refuses leaves the meter running."""
        world = self.world
        world.simulator.lose_race_next(route="stop")
        self.fails(DaytonaRefused, world.process.intake.stop(ALICE, self.sandbox))
        self.assertIsNotNone(world.session(self.sandbox))

    def test_stranger(self) -> None:
        """Nobody stops another's sandbox (L9)."""
        self.fails(NotYours, self.world.process.intake.stop(BOB, self.sandbox))
        self.fails(NotYours, self.world.process.intake.delete(BOB, self.sandbox))
        self.assertEqual(self.world.state(self.sandbox), "started")

    def test_owner_by_our_record(self) -> None:
        """Whatever label stands there now, whose it is says our own record (P3)."""
        world = self.world
        labels = world.simulator.records[self.sandbox].labels
        for text in (BOB.hex, ""):
            labels["daytona-owner"] = text
            world.advance(SWEEP)
            self.fails(NotYours, world.process.intake.stop(BOB, self.sandbox))
            self.assertEqual(world.run(world.process.intake.owned(ALICE, self.sandbox)).id, "sb-1")
        del labels["daytona-owner"]
        world.run(world.process.intake.stop(ALICE, self.sandbox))
        self.assertIsNone(world.session(self.sandbox))

    def test_upstream_trouble(self) -> None:
        """Daytona's trouble in the owner check is no 403 (P15)."""
        self.world.simulator.fail_next(503, route="get")
        self.fails(Transient, self.world.process.intake.stop(ALICE, self.sandbox))
        self.assertIsNotNone(self.world.session(self.sandbox))

    def test_archive(self) -> None:
        """A stopped sandbox is archived, and nothing is charged for it."""
        world = self.world
        world.run(world.process.intake.stop(ALICE, self.sandbox))
        world.advance(15)
        before = world.amounts()
        world.run(world.process.intake.archive(ALICE, self.sandbox))
        world.advance(30)
        self.assertEqual(world.state(self.sandbox), "archived")
        self.assertEqual(world.amounts(), before)

    def test_labels(self) -> None:
        """The user's labels are replaced, ours stay (P3)."""
        world = self.world
        world.run(
            world.process.intake.replace_labels(
                ALICE, self.sandbox, {"a": "b", "daytona-owner": "x"}
            )
        )
        self.assertEqual(
            world.simulator.records[self.sandbox].labels,
            {"a": "b", "daytona-owner": ALICE.hex, "daytona-billing-ref": "ref-1"},
        )

    def test_reconcile(self) -> None:
        """Asking for a look returns when the worker has looked."""
        world = self.world
        world.simulator.stop_behind(self.sandbox)
        world.run(world.process.intake.reconcile(ALICE, self.sandbox), limit=12)
        self.assertIsNone(world.session(self.sandbox))

    def test_reconcile_without_a_worker(self) -> None:
        """Without a worker it answers 503 after ten seconds."""
        world = self.world
        world.process.keeper.stopService()
        self.fails(NotReady, world.process.intake.reconcile(ALICE, self.sandbox))

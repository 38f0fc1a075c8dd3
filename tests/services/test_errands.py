"""
Orders of Daytona: each acts once, whatever dies, and money and users fare by the rules.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.redis.commit import Write
from sandbox_billing.devnet.daytona import Fault, FaultKind
from sandbox_billing.interfaces import Sandbox, StopPending, Stored
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.order import OPERATOR as REASON
from sandbox_billing.ledger.order import Kind, Order, State
from sandbox_billing.services.archiving import STARTED_AGAIN
from sandbox_billing.services.errands import AT_ONCE, NO_SANDBOX, NO_SNAPSHOT, TAKEN, Errands
from tests.fixtures import ALICE, BOB, FEE
from tests.ports.journal import meddle
from tests.services.lives import SWEEP
from tests.services.orders import Office, deaths, order
from tests.services.test_resumer import LITTLE, ResumeCase


REST = 20
"""Seconds after which every transition has ended and a sweep has seen it."""

SNAPSHOT = {"name": "mine", "imageName": "ubuntu:24.04", "cpu": 2}


def asks(office: Office, asked: str) -> int:
    """How often Daytona was asked for something: a method, and the end of a path."""
    method, _, end = asked.partition(" ")
    return sum(
        one.method == method and one.target.partition("?")[0].endswith(end)
        for one in office.world.simulator.received
    )


class ErrandsCase(SynchronousTestCase):
    """One office, and a sandbox that runs."""

    def setUp(self) -> None:
        """A worker, and somebody who runs something."""
        self.office = Office()
        self.world = self.office.world
        self.addCleanup(self.world.simulator.close)
        self.damaged = False
        self.addCleanup(lambda: self.damaged or self.world.check_laws())
        self.box = self.office.create()

    def asked(self, asked: str) -> int:
        """How often Daytona was asked for something."""
        return asks(self.office, asked)

    def start(self, sandbox: SandboxId) -> Sandbox:
        """By its owner."""
        return self.world.run(self.world.process.intake.start(ALICE, sandbox))

    def order_stop(self, reason: str, sandbox: SandboxId) -> None:
        """As a service of the worker does."""
        stops = self.world.process.journal.stops
        self.world.now(stops.order(sandbox, reason, UnixSeconds(self.world.wall.now())))

    def damage(self) -> None:
        """Nobody can read the session any more; the laws cannot be looked at, either."""
        self.damaged = True
        keyspace, key = self.world.keyspace, self.world.eyes.store.keys.session(self.box)
        self.world.now(meddle(keyspace, Write("SET", key, ("nonsense",))))

    def fault(self, route: str, **more: Any) -> None:
        """Of Daytona, until it is cleared."""
        told = {"kind": FaultKind.STATUS, "status": 503, "count": None, **more}
        self.world.simulator.faults.add(Fault(route=route, **told))


class StopTests(ErrandsCase):
    """One sandbox, whoever's and whatever it has paid."""

    def test_life(self) -> None:
        """Paid for or not, it stops; until then it cannot be started, and afterwards it can."""
        order = self.office.ask(Kind.STOP, self.box)
        self.office.advance(1)
        self.assertEqual(self.world.order(self.box), REASON)
        self.world.simulator.received.clear()
        self.assertIsInstance(self._refusal(), StopPending)
        self.assertEqual(self.office.result(order), {"state": "stopped"})
        self.assertEqual(self.world.state(self.box), "stopped")
        self.assertIsNone(self.world.session(self.box))
        self.assertIsNone(self.world.order(self.box))
        self.assertEqual(self.start(self.box).state, "started")
        self.world.advance(REST)
        self.assertEqual(self.world.state(self.box), "started")
        self.office.check_entries(order)

    def _refusal(self) -> BaseException:
        try:
            self.start(self.box)
        except StopPending as why:
            return why
        raise self.failureException("it was started")

    def test_charged(self) -> None:
        """Up to the accepted stop, by the second."""
        self.world.advance(30)
        self.office.result(self.office.ask(Kind.STOP, self.box))
        self.world.advance(REST)
        (sent,) = [s for s in self.world.simulator.received if s.target.endswith("/stop")]
        ends = [record.charge.period_end for record in self.world.charges()]
        self.assertEqual(max(ends), int(sent.at))

    def test_never_moot(self) -> None:
        """A reason that comes over it and goes again takes it not with it."""
        self.fault("stop")
        order = self.office.ask(Kind.STOP, self.box)
        self.office.advance(2)
        self.order_stop("insufficient_balance", self.box)
        self.office.advance(1)
        self.assertEqual(self.world.order(self.box), REASON)
        # And where the stopper was quicker: the order is gone, the run is not.
        stops = self.world.process.journal.stops
        stands = self.world.now(stops.get(self.box))
        assert stands is not None
        self.world.now(stops.done(stands))
        self.office.advance(2)
        self.assertEqual(self.world.order(self.box), REASON)
        self.world.simulator.faults.clear()
        self.office.ended(order)
        self.assertEqual(self.world.state(self.box), "stopped")

    def test_at_rest(self) -> None:
        """What is stopped already is not stopped again."""
        self.world.run(self.world.process.intake.stop(ALICE, self.box))
        self.world.advance(REST)
        self.world.simulator.received.clear()
        self.assertEqual(
            self.office.result(self.office.ask(Kind.STOP, self.box))["state"], "stopped"
        )
        self.assertEqual(self.asked("POST /stop"), 0)

    def test_beside_one_that_hangs(self) -> None:
        """What Daytona does not answer for holds up no stop, however many there are of it."""
        self.fault("snapshots", kind=FaultKind.HANG)
        self.fault("delete", kind=FaultKind.HANG)
        other = self.office.create()
        self.office.ask(Kind.FORCE_DELETE, other)
        for number in range(AT_ONCE + 1):
            self.office.ask(Kind.DELETE_SNAPSHOT, f"s-{number}")
        self.office.advance(2)
        self.office.ended(self.office.ask(Kind.STOP, self.box), 10)

    def test_all_have_their_turn(self) -> None:
        """More than there are places for: those that do not end keep no place for ever."""
        seen = set()

        async def slow(_: Errands, one: Stored[Order]) -> None:
            seen.add(one.value.id)
            await deferLater(self.world.clock, 0.5)

        self.patch(Errands, "_step", slow)
        asked = {self.office.ask(Kind.STOP, f"box-{number}") for number in range(AT_ONCE + 5)}
        self.office.advance(4)
        self.assertEqual(seen, asked)

    def test_unreadable(self) -> None:
        """Whose session is damaged is stopped, too: nobody else would."""
        self.damage()
        self.office.ask(Kind.STOP, self.box)
        self.office.advance(REST)
        self.assertEqual(self.world.state(self.box), "stopped")
        self.assertNotIn("stopper", self.world.process.troubles())

    def test_none(self) -> None:
        """What is not there cannot be stopped."""
        failed = self.office.ended(self.office.ask(Kind.STOP, "nowhere"))
        self.assertEqual((failed.state, failed.error), (State.FAILED, NO_SANDBOX))


class ForceDeleteTests(ErrandsCase):
    """One sandbox, in whatever state."""

    def test_running(self) -> None:
        """Deleted with force, charged until it was last seen, its create fee due; then gone."""
        self.world.advance(10)
        order = self.office.ask(Kind.FORCE_DELETE, self.box)
        self.assertEqual(self.office.result(order), {"state": "destroyed"})
        (sent,) = [one for one in self.world.simulator.received if one.method == "DELETE"]
        self.assertTrue(sent.target.endswith("?force=true"), sent.target)
        self.assertEqual(self.world.state(self.box), "gone")
        self.assertIsNone(self.world.session(self.box))
        self.world.advance(REST)
        self.assertEqual(self.world.amounts()[f"{self.box}:create"], FEE)
        self.assertEqual(self.world.funds().exposure.sandboxes(), ())
        self.office.check_entries(order)

    def test_unreadable(self) -> None:
        """Whose session is damaged is deleted, too; that it is not closed is told."""
        self.damage()
        failed = self.office.ended(self.office.ask(Kind.FORCE_DELETE, self.box))
        self.assertEqual(self.world.state(self.box), "gone")
        self.assertIn("deleted, but its session is not closed", failed.error or "")

    def test_never_started(self) -> None:
        """What failed before it was ever seen running was created for nothing."""
        self.delete_what_failed()

    def test_never_started_unanswered(self) -> None:
        """Nor is it charged where the answer to its deletion is lost and it is gone by then."""
        self.world.simulator.lose_reply_next(route="delete")
        self.delete_what_failed()

    def delete_what_failed(self) -> None:
        """Before it was ever seen running; nothing is charged for it."""
        world = self.world
        while (world.clock.seconds() - 1) % SWEEP:
            world.advance()
        made = world.begin(world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        world.until(lambda: bool(made.called), SWEEP - 2)
        box = self.successResultOf(made).id
        self.assertIsNone(world.session(box).started_at)
        world.simulator.break_sandbox(box)
        self.office.result(self.office.ask(Kind.FORCE_DELETE, box))
        world.advance(REST)
        self.assertNotIn(f"{box}:create", world.amounts())

    def test_failed(self) -> None:
        """What failed is deleted, too."""
        self.world.simulator.break_sandbox(self.box)
        self.office.result(self.office.ask(Kind.FORCE_DELETE, self.box))
        self.assertEqual(self.world.state(self.box), "gone")

    def test_reply_lost(self) -> None:
        """A deletion whose answer is lost is found by a look, and not sent again."""
        self.fault("delete", kind=FaultKind.LOSE_REPLY, effect=True, count=1)
        self.office.result(self.office.ask(Kind.FORCE_DELETE, self.box))
        self.assertEqual(self.asked("DELETE"), 1)
        self.assertIsNone(self.world.session(self.box))

    def test_in_progress(self) -> None:
        """A refusal for what is under way is asked again; one for ever ends the order."""
        self.fault("delete", status=409, count=2)
        self.office.result(self.office.ask(Kind.FORCE_DELETE, self.box))
        self.assertEqual(self.asked("DELETE"), 3)
        other = self.office.create()
        self.fault("delete", status=400)
        failed = self.office.ended(self.office.ask(Kind.FORCE_DELETE, other), 400)
        self.assertEqual(failed.state, State.FAILED)
        self.assertIn("Daytona refuses", failed.error or "")
        self.assertIsNotNone(self.world.session(other))

    def test_outage(self) -> None:
        """However long Daytona does not answer, the order is not given up."""
        self.fault("delete")
        order = self.office.ask(Kind.FORCE_DELETE, self.box)
        self.office.advance(400)
        self.world.simulator.faults.clear()
        self.fault("delete", status=409, count=1)
        self.assertEqual(self.office.result(order), {"state": "destroyed"})

    def test_none(self) -> None:
        """What is not there cannot be deleted."""
        failed = self.office.ended(self.office.ask(Kind.FORCE_DELETE, "nowhere"))
        self.assertEqual((failed.state, failed.error), (State.FAILED, NO_SANDBOX))


class ArchiveAllTests(ErrandsCase):
    """Everything that is metered here."""

    def test_everything(self) -> None:
        """What runs is stopped, then archived; what rests is archived; strangers' are left."""
        world = self.world
        world.fund(10**9, BOB)
        boxes = [self.box, *(self.office.create(who) for who in (ALICE, BOB))]
        world.run(world.process.intake.stop(ALICE, boxes[1]))
        world.advance(REST)
        order = self.office.ask(Kind.ARCHIVE_ALL)
        told = self.office.result(order)
        self.assertEqual(told, {"archived": 3, "left": 0, "failed": {}, "failed_count": 0})
        for box in boxes:
            self.assertIn(world.state(box), ("archiving", "archived"))
            self.assertIsNone(world.session(box))
        world.advance(REST)
        self.start(self.box)
        self.world.until(lambda: world.state(self.box) == "started")
        self.office.check_entries(order)

    def test_nobodys(self) -> None:
        """What no record of ours names runs on."""
        made = self.world.begin(self.world.runtime.create({"name": "other"}))
        self.world.advance(REST)
        stranger = self.successResultOf(made).id
        told = self.office.result(self.office.ask(Kind.ARCHIVE_ALL))
        self.assertEqual(told["archived"], 1)
        self.assertEqual(self.world.state(stranger), "started")

    def test_failures_are_named(self) -> None:
        """One that cannot be archived holds up no other."""
        broken = self.office.create()
        self.world.simulator.break_sandbox(broken)
        told = self.office.result(self.office.ask(Kind.ARCHIVE_ALL))
        self.assertEqual((told["archived"], told["failed_count"]), (1, 1))
        self.assertIn("error", told["failed"][broken])

    def test_refused_for_a_while(self) -> None:
        """A refusal may be the "in progress" of older releases: only a lasting one counts."""
        self.fault("archive", status=400, count=3)
        self.assertEqual(self.office.result(self.office.ask(Kind.ARCHIVE_ALL))["archived"], 1)

    def test_refused(self) -> None:
        """Where Daytona goes on refusing, the order ends."""
        self.fault("archive", status=400)
        told = self.office.result(self.office.ask(Kind.ARCHIVE_ALL))
        self.assertIn("Daytona refuses", told["failed"][self.box])

    def test_unreadable(self) -> None:
        """Whose session is damaged is stopped and told as failed: it holds up nothing."""
        other = self.office.create()
        self.damage()
        told = self.office.result(self.office.ask(Kind.ARCHIVE_ALL))
        self.assertEqual((told["archived"], list(told["failed"])), (1, [self.box]))
        self.assertEqual(self.world.state(self.box), "stopped")
        self.assertIn(self.world.state(other), ("archiving", "archived"))

    def test_started_again(self) -> None:
        """One that its owner starts between its stop and its archive is left to him."""
        self.fault("archive")
        order = self.office.ask(Kind.ARCHIVE_ALL)
        self.world.until(lambda: self.world.state(self.box) == "stopped")
        self.world.until(lambda: self.world.order(self.box) is None)
        self.start(self.box)
        self.world.simulator.faults.clear()
        told = self.office.result(order)
        self.assertEqual(told["failed"], {self.box: STARTED_AGAIN})
        self.assertEqual(self.world.state(self.box), "started")

    def test_empty(self) -> None:
        """Where nothing is metered nothing is done."""
        self.world.run(self.world.process.intake.delete(ALICE, self.box))
        self.world.advance(REST)
        told = self.office.result(self.office.ask(Kind.ARCHIVE_ALL))
        self.assertEqual(told["archived"], 0)


class StaysTests(ResumeCase):
    """What was stopped for want of money, and is to go on by itself, before an operator came."""

    def stays(self, kind: Kind, subject: str | None) -> None:
        """It is over, and money comes."""
        asked = order(kind, subject, at=self.world.wall.now())
        orders = self.world.eyes.orders
        self.world.now(orders.ask(asked))
        self.world.advance(REST)
        found = self.world.now(orders.order(asked.id))
        self.assertIs(found.state, State.DONE)
        self.assertEqual(self.waiting(), [])
        self.world.simulator.received.clear()
        self.top_up(10 * LITTLE)
        self.world.advance(REST)
        self.assertEqual(self.starts(), 0)

    def test_stop(self) -> None:
        """A stop of what rests already: nothing resumes by itself."""
        (box,) = self.dry(auto_resume=True)
        self.stays(Kind.STOP, box)

    def test_archive_all(self) -> None:
        """The same."""
        self.dry(auto_resume=True)
        self.stays(Kind.ARCHIVE_ALL, None)


class SnapshotTests(ErrandsCase):
    """What users start from."""

    def make(self, **more: Any) -> Any:
        """An order, and what came of it."""
        return self.office.ask(Kind.SNAPSHOT, "mine", body=json.dumps(SNAPSHOT), **more)

    def found(self) -> list[Any]:
        """Daytona's of that name."""
        return [one for one in self.world.simulator.snapshots.values() if one.name == "mine"]

    def test_life(self) -> None:
        """Made for everybody, told by id, and removed by its name; its body is kept no longer."""
        made = self.make()
        told = self.office.result(made)
        (one,) = self.found()
        self.assertEqual((told["id"], told["general"], one.cpu), (one.id, True, 2))
        self.assertTrue(one.general)
        self.assertIsNone(self.office.show(made).body)
        removed = self.office.ask(Kind.DELETE_SNAPSHOT, "mine")
        self.assertEqual(self.office.result(removed), {"id": one.id})
        self.assertEqual(self.found(), [])
        self.office.check_entries(made, removed)

    def test_not_general(self) -> None:
        """Where the operator says so, users do not start from it."""
        self.assertFalse(self.office.result(self.make(general=False))["general"])
        self.assertEqual([one.general for one in self.found()], [False])

    def test_taken(self) -> None:
        """A name is not given twice."""
        self.office.result(self.make())
        failed = self.office.ended(self.make())
        self.assertEqual((failed.state, failed.error), (State.FAILED, TAKEN))
        self.assertEqual(len(self.found()), 1)

    def test_refused(self) -> None:
        """Daytona's own words are the operator's to read."""
        self.fault("create-snapshot", status=400)
        failed = self.office.ended(self.make())
        self.assertEqual(failed.state, State.FAILED)
        self.assertIn("Daytona refuses", failed.error or "")

    def test_reply_lost(self) -> None:
        """One whose answer is lost is found by its name, and not made again."""
        self.fault("create-snapshot", kind=FaultKind.LOSE_REPLY, effect=True, count=1)
        self.office.result(self.make())
        self.assertEqual((len(self.found()), self.asked("POST /snapshots")), (1, 1))

    def test_none(self) -> None:
        """What is not there cannot be removed."""
        failed = self.office.ended(self.office.ask(Kind.DELETE_SNAPSHOT, "nothing"))
        self.assertEqual((failed.state, failed.error), (State.FAILED, NO_SNAPSHOT))


class TroubleTests(ErrandsCase):
    """While Daytona does not answer."""

    def test_waits(self) -> None:
        """Orders stay as they are, nothing is asked in a hurry, and others come about."""
        self.fault("paginated")
        self.fault("list")
        order = self.office.ask(Kind.FORCE_DELETE, self.box)
        pause = self.office.ask(Kind.PAUSE)
        self.office.advance(60)
        self.assertEqual(self.office.show(order).state, State.ASKED)
        self.assertEqual(self.office.show(pause).state, State.DONE)
        self.world.simulator.faults.clear()
        self.office.result(order)


class DeathTests(SynchronousTestCase):
    """The worker dies before or after each of its steps."""

    def box(self, office: Office) -> SandboxId:
        """The one there is."""
        return SandboxId(next(iter(office.world.simulator.records)))

    def quiet(self, office: Office) -> None:
        """All is as it must be once everything has come to rest."""
        world = office.world
        office.advance(2 * SWEEP)
        world.check_laws()
        assert world.funds().exposure.sandboxes() == (), world.funds()
        assert len([i for i in world.amounts() if i.endswith(":create")]) == 1

    def created(self, office: Office) -> None:
        """One that runs, and has for a while."""
        office.create()
        office.world.advance(SWEEP)

    def test_stop(self) -> None:
        """It is stopped, once."""

        def story(office: Office) -> None:
            box = self.box(office)
            order = office.ask(Kind.STOP, box)
            assert office.result(order) == {"state": "stopped"}
            assert office.world.order(box) is None
            office.check_entries(order)
            self.quiet(office)

        self.assertGreaterEqual(deaths(story, self.created), 7)

    def test_force_delete(self) -> None:
        """It is gone, and was deleted once."""

        def story(office: Office) -> None:
            order = office.ask(Kind.FORCE_DELETE, self.box(office))
            office.result(order)
            assert asks(office, "DELETE") == 1
            office.check_entries(order)
            self.quiet(office)

        self.assertGreaterEqual(deaths(story, self.created), 7)

    def test_archive_all(self) -> None:
        """It is archived, and both was asked for once."""

        def story(office: Office) -> None:
            order = office.ask(Kind.ARCHIVE_ALL)
            assert office.result(order)["archived"] == 1, office.show(order)
            assert asks(office, "POST /archive") == 1
            office.check_entries(order)

        # Its stops are those of C{test_stop}.
        self.assertGreaterEqual(deaths(story, self.created, "the order|^archive"), 9)

    def test_snapshots(self) -> None:
        """It is made once, and removed once."""

        def story(office: Office) -> None:
            made = office.ask(Kind.SNAPSHOT, "mine", body=json.dumps(SNAPSHOT))
            assert office.result(made)["general"] is True
            named = [s for s in office.world.simulator.snapshots.values() if s.name == "mine"]
            assert [one.general for one in named] == [True], named
            removed = office.ask(Kind.DELETE_SNAPSHOT, "mine")
            office.result(removed)
            assert asks(office, "POST /snapshots") == 1
            assert asks(office, "DELETE") == 1
            office.check_entries(made, removed)

        self.assertGreaterEqual(deaths(story), 9)

"""
Orders about admissions: one write each, in the order in which they were asked for.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import NotReady
from sandbox_billing.ledger.backlog import Pause
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.order import Kind, State
from sandbox_billing.services import clerk
from sandbox_billing.signing.eip55 import checksum
from tests.fixtures import ALICE, INTERVAL
from tests.services.orders import OPERATOR, OTHER, Office, deaths


class ClerkCase(SynchronousTestCase):
    """One office."""

    def setUp(self) -> None:
        """A worker, and somebody with money."""
        self.office = Office()
        self.world = self.office.world
        self.addCleanup(self.world.simulator.close)

    def admitted(self) -> bool:
        """Whether somebody is let in."""
        try:
            self.world.run(self.world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        except NotReady:
            return False
        return True


class PauseTests(ClerkCase):
    """Let nothing new in, and let in again."""

    def test_life(self) -> None:
        """A pause stands from its order's end on, under its reason, until a resume lifts it."""
        office = self.office
        pause = office.ask(Kind.PAUSE, reason="a node is changed")
        self.assertIsNone(office.paused())
        told = office.result(pause)
        stands = office.paused()
        self.assertEqual((stands.reason, stands.by), ("a node is changed", checksum(OPERATOR)))
        self.assertEqual(told["paused"]["since"], stands.since)
        self.assertFalse(self.admitted())
        resume = office.ask(Kind.RESUME, reason="")
        self.assertEqual(office.result(resume)["lifted"], told["paused"])
        self.assertIsNone(office.paused())
        self.assertTrue(self.admitted())
        office.check_entries(pause, resume)

    def test_another_stands(self) -> None:
        """Of somebody else: it stays, and the order says whose it is; one's own is as good."""
        office = self.office
        first = office.ask(Kind.PAUSE)
        office.ended(first)
        stands = office.paused()
        theirs = office.ended(office.ask(Kind.PAUSE, by=OTHER))
        self.assertEqual(theirs.state, State.FAILED)
        self.assertIn(checksum(OPERATOR), theirs.error or "")
        self.assertIn("maintenance", theirs.error or "")
        again = office.ask(Kind.PAUSE, reason="another")
        self.assertEqual(office.result(again)["paused"]["since"], stands.since)
        self.assertEqual(office.paused(), stands)

    def test_a_commands(self) -> None:
        """A pause under which a price is changed is lifted by the command that set it alone."""
        pause = Pause(since=UnixSeconds(1), reason="prices", by="provider set-prices, run 1")
        self.world.now(self.world.eyes.pause.pause(pause))
        failed = self.office.ended(self.office.ask(Kind.RESUME))
        self.assertIn("provider set-prices", failed.error or "")
        self.assertEqual(self.office.paused(), pause)

    def test_nothing_to_lift(self) -> None:
        """A resume where nothing is paused is done."""
        self.assertEqual(self.office.result(self.office.ask(Kind.RESUME)), {"lifted": None})

    def test_in_their_order(self) -> None:
        """Asked for within one second, they come about one after another."""
        asked = (Kind.PAUSE, Kind.RESUME, Kind.PAUSE, Kind.RESUME, Kind.PAUSE)
        ids = [self.office.ask(kind) for kind in asked]
        for id in ids:
            self.assertEqual(self.office.ended(id).state, State.DONE)
        self.assertIsNotNone(self.office.paused())
        self.office.check_entries(*ids)


class DrainTests(ClerkCase):
    """Until everything of before is settled."""

    def test_until_nothing_is_left(self) -> None:
        """It stays under way while a session is not charged, and ends when all is paid."""
        self.office.create()
        self.world.advance(5)
        drain = self.office.ask(Kind.DRAIN)
        self.office.advance(2)
        self.assertEqual(self.office.show(drain).state, State.UNDER_WAY)
        stands = self.office.paused()
        told = self.office.result(drain)
        self.assertEqual(told["paused"]["since"], stands.since)
        self.assertEqual(self.office.paused(), stands)
        self.assertEqual((told["excepted"], told["damaged"]), ([], 0))
        self.assertGreater(self.world.earned, 0)
        self.office.check_entries(drain)

    def test_lifted(self) -> None:
        """A resume ends it."""
        self.office.create()
        drain = self.office.ask(Kind.DRAIN)
        self.office.advance(2)
        resume = self.office.ask(Kind.RESUME)
        failed = self.office.ended(drain)
        self.assertEqual((failed.state, failed.error), (State.FAILED, "lifted"))
        self.assertEqual(self.office.ended(resume).state, State.DONE)

    def test_unreadable(self) -> None:
        """While what is left cannot be read a pause is lifted all the same."""
        self.office.create()
        drain = self.office.ask(Kind.DRAIN)
        self.office.advance(2)
        reads: list[Any] = []

        async def slow(meter: Any) -> Any:
            reads.append(meter)
            raise Transient("the journal is too large to be read in time")

        self.patch(clerk, "left_before", lambda meter, *_: slow(meter))
        self.office.advance(10)
        self.assertNotEqual(reads, [])
        resume = self.office.ask(Kind.RESUME)
        self.assertEqual(self.office.ended(resume, 5).state, State.DONE)
        self.assertIsNone(self.office.paused())
        self.assertEqual(self.office.ended(drain, 5).error, "lifted")

    def test_many(self) -> None:
        """However many drains stand, the journal is read once for all of them."""
        read, looks = clerk.left_before, []

        def counted(*told: Any) -> Any:
            looks.append(self.world.wall.now())
            return read(*told)

        self.patch(clerk, "left_before", counted)
        self.office.create()
        drains = [self.office.ask(Kind.DRAIN) for _ in range(5)]
        for drain in drains:
            self.assertEqual(self.office.ended(drain).state, State.DONE)
        self.assertEqual(len(looks), len(set(looks)))

    def test_under_another_pause(self) -> None:
        """Whoever's pause stands is waited under, and left as it is."""
        self.office.ended(self.office.ask(Kind.PAUSE, by=OTHER))
        stands = self.office.paused()
        self.office.result(self.office.ask(Kind.DRAIN))
        self.assertEqual(self.office.paused(), stands)


class DeathTests(SynchronousTestCase):
    """The worker dies before or after each of its calls."""

    def test_pause_and_resume(self) -> None:
        """Each acts once and has one entry."""

        def story(office: Office) -> None:
            pause = office.ask(Kind.PAUSE)
            office.ended(pause)
            assert office.show(pause).state is State.DONE
            assert office.paused() is not None
            resume = office.ask(Kind.RESUME)
            office.ended(resume)
            assert office.paused() is None
            office.check_entries(pause, resume)

        self.assertGreaterEqual(deaths(story), 5)

    def test_drain(self) -> None:
        """It goes on under the pause it had, and ends once."""

        def story(office: Office) -> None:
            drain = office.ask(Kind.DRAIN)
            office.ended(drain, 4 * INTERVAL)
            assert office.show(drain).state is State.DONE, office.show(drain)
            assert office.paused() is not None
            office.check_entries(drain)

        self.assertGreaterEqual(deaths(story, lambda office: [office.create()]), 5)

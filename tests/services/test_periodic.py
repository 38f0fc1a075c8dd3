"""
Tests of C{sandbox_billing.services._periodic}, C{_supervise} and C{readiness}.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.memory.measures import MemoryMeasures
from sandbox_billing.errors import BadInput, BrokenLaw, Transient, UnknownOutcome
from sandbox_billing.interfaces import LeaseLost, NotReady
from sandbox_billing.services._periodic import STALE_SECONDS, Periodic
from sandbox_billing.services._supervise import Supervisor, gather
from sandbox_billing.services.readiness import Readiness


class PeriodicTests(SynchronousTestCase):
    """A loop that outlives its failures."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = 0
        self.raises: Exception | None = None
        self.waits: Deferred[None] | None = None
        self.lost = 0
        self.periodic = Periodic("part", self.turn, 5.0, self.clock, self.lose)
        self.periodic.startService()

    async def turn(self) -> None:
        """Counted; fails or waits as told."""
        self.turns += 1
        if self.waits is not None:
            await self.waits
        if self.raises is not None:
            raise self.raises

    def lose(self) -> None:
        """The lease."""
        self.lost += 1

    def test_first_turn_at_once(self) -> None:
        """A turn at the start, then one every so often."""
        self.assertEqual((self.turns, self.periodic.trouble), (1, None))
        self.clock.pump([5, 5])
        self.assertEqual((self.turns, self.periodic.good_turns), (3, 3))

    def test_measured(self) -> None:
        """Each turn's length is told by the service's name, and whether it failed."""
        measures = MemoryMeasures()
        self.periodic.measures = measures
        self.waits = Deferred()
        self.clock.advance(5)
        self.clock.advance(2)
        self.waits.callback(None)
        self.waits, self.raises = None, Transient("away")
        self.clock.advance(3)
        self.assertEqual({("turn_seconds", "part"): [2.0, 0.0]}, dict(measures.seen))
        self.assertEqual({("turn_failures_total", "part"): 1}, dict(measures.counts))

    def test_stale(self) -> None:
        """A turn that does not end has no trouble to tell, and is found out by its age."""
        self.assertIsNone(self.periodic.stale())
        self.waits = Deferred()
        self.clock.advance(5)
        self.clock.advance(STALE_SECONDS - 5)
        self.assertEqual((None, None), (self.periodic.trouble, self.periodic.stale()))
        self.clock.advance(1)
        self.assertEqual("its last good turn was 121 s ago", self.periodic.stale())
        self.waits.callback(None)
        self.assertIsNone(self.periodic.stale())

    def test_stale_slow(self) -> None:
        """What takes a turn a minute may be ten minutes old; what was stopped is not stale."""
        slow = Periodic("slow", self.turn, 60.0, self.clock)
        slow.startService()
        self.waits = Deferred()
        self.clock.advance(600)
        self.assertIsNone(slow.stale())
        self.clock.advance(1)
        self.assertEqual("its last good turn was 601 s ago", slow.stale())
        stopping = slow.stopService()
        self.assertIsNone(slow.stale())
        self.waits.callback(None)
        self.successResultOf(stopping)

    def test_readiness(self) -> None:
        """What is stale makes a process unready, or is only noticed where nobody misses it."""
        readiness = Readiness()
        readiness.watch(self.periodic)
        spare = Periodic("spare", self.turn, 5.0, self.clock)
        spare.startService()
        readiness.watch(spare, spare=True)
        self.assertEqual(({}, {}), (readiness.reasons(), readiness.notices()))
        state = readiness.services()["part"]
        self.assertEqual((0, None, 5.0), (state.last_good_turn, state.trouble, state.every))
        self.waits = Deferred()
        self.clock.advance(121)
        why = "its last good turn was 121 s ago"
        self.assertEqual(
            ({"part": why}, {"spare": why}), (readiness.reasons(), readiness.notices())
        )
        self.assertEqual(why, readiness.services()["part"].trouble)
        stopping = spare.stopService()
        self.assertEqual(({"part": why}, {}), (readiness.reasons(), readiness.notices()))
        self.assertEqual({"part"}, set(readiness.services()))
        self.waits.callback(None)
        self.successResultOf(stopping)

    def test_survives_what_passes(self) -> None:
        """Passing trouble is told while it lasts, and forgotten after a good turn."""
        for why in (Transient("away"), UnknownOutcome("lost")):
            self.raises = why
            self.clock.advance(5)
            self.assertEqual(self.periodic.trouble, str(why))
        self.raises = None
        self.clock.advance(5)
        self.assertIsNone(self.periodic.trouble)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_survives_what_nobody_expected(self) -> None:
        """A mistake of ours is logged whole, and the next turn comes all the same."""
        self.raises = ZeroDivisionError("oops")
        self.clock.advance(5)
        self.assertEqual(self.periodic.trouble, "unexpected ZeroDivisionError")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.raises = None
        self.clock.advance(5)
        self.assertIsNone(self.periodic.trouble)

    def test_broken_law(self) -> None:
        """A broken law is told with its number."""
        self.raises = BrokenLaw("L2", "twice")
        self.clock.advance(5)
        self.assertEqual(self.periodic.trouble, "L2: twice")

    def test_lease_lost(self) -> None:
        """A turn under an old token tells who keeps the lease."""
        self.raises = LeaseLost("another process is the worker")
        self.clock.advance(5)
        self.assertEqual(self.lost, 1)

    def test_turns_never_overlap(self) -> None:
        """A long turn skips those it overlaps."""
        self.waits = Deferred()
        self.clock.advance(5)
        self.assertEqual(self.turns, 2)
        self.clock.pump([5, 5, 3])
        self.assertEqual(self.turns, 2)
        waits, self.waits = self.waits, None
        waits.callback(None)
        self.clock.advance(2)
        self.assertEqual(self.turns, 3)

    def test_stop_waits_for_the_turn(self) -> None:
        """Stopping is done when the turn in flight is, and no other comes."""
        self.waits = Deferred()
        self.clock.advance(5)
        stopped = self.periodic.stopService()
        self.assertNoResult(stopped)
        self.waits.callback(None)
        self.successResultOf(stopped)
        self.clock.pump([5, 5])
        self.assertEqual(self.turns, 2)

    def test_stop_between_turns(self) -> None:
        """With no turn in flight it is stopped at once."""
        self.successResultOf(self.periodic.stopService())
        self.assertEqual(self.periodic.trouble, "stopped")
        self.assertEqual(self.clock.getDelayedCalls(), [])


class SupervisorTests(SynchronousTestCase):
    """Work that outlives whoever asked for it."""

    def setUp(self) -> None:
        self.supervisor = Supervisor()
        self.supervisor.startService()
        self.going: Deferred[str] = Deferred()
        self.done: list[str] = []

    async def work(self) -> str:
        """Waits for C{going}."""
        result = await self.going
        self.done.append(result)
        return result

    def test_result(self) -> None:
        """Who waits gets the result."""
        waiting = self.supervisor.detached("work", self.work())
        self.going.callback("x")
        self.assertEqual(self.successResultOf(waiting), "x")
        self.assertEqual(self.supervisor.under_way, {})

    def test_failure(self) -> None:
        """Who waits gets the failure, and nobody else does."""
        waiting = self.supervisor.detached("work", self.work())
        self.going.errback(BadInput("no"))
        self.failureResultOf(waiting, BadInput)

    def test_hangs_up(self) -> None:
        """Cancelling ends the waiting alone (P10)."""
        waiting = self.supervisor.detached("work", self.work())
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.going.callback("x")
        self.assertEqual(self.done, ["x"])

    def test_failure_nobody_waits_for(self) -> None:
        """A failure nobody sees is logged; a refusal is not worth it."""
        for why, logged in ((ZeroDivisionError(), 1), (BadInput("no"), 0)):
            self.going = Deferred()
            self.supervisor.detached("work", self.work()).addErrback(lambda _: None).cancel()
            self.going.errback(why)
            self.assertEqual(len(self.flushLoggedErrors()), logged)

    def test_stop_waits(self) -> None:
        """Stopping waits for everything under way, whatever its end."""
        waiting = self.supervisor.detached("work", self.work())
        stopped = self.supervisor.stopService()
        self.assertNoResult(stopped)
        self.going.errback(Transient("away"))
        self.successResultOf(stopped)
        self.failureResultOf(waiting, Transient)

    def test_told_to_stop(self) -> None:
        """It says that it is stopping, from then on, until it is started again."""
        told = [self.supervisor.stopping]
        self.supervisor.stopService()
        told.append(self.supervisor.stopping)
        self.supervisor.startService()
        self.assertEqual([*told, self.supervisor.stopping], [False, True, False])

    def test_too_much(self) -> None:
        """Beyond a bound nothing is begun, and it is told when to ask again (V1)."""
        supervisor = Supervisor(most=2)
        for _ in range(2):
            supervisor.detached("work", self.work()).addErrback(lambda _: None).cancel()
        problem = self.assertRaises(NotReady, supervisor.detached, "work", self.work())
        self.assertEqual(problem.retry_after, 5)
        self.going.callback("x")
        self.assertEqual(len(self.done), 2)
        self.assertEqual(self.successResultOf(supervisor.detached("work", self.quick())), "y")

    def test_of_one(self) -> None:
        """One wallet takes a part of it alone, and of the reserve as well."""
        supervisor = Supervisor(most=3, most_of_one=2, reserve=2, reserve_of_one=1)

        def begun(wallet: str, *, reserved: bool = False) -> bool:
            fits = supervisor.has_room(wallet, reserved=reserved)
            try:
                supervisor.detached("work", self.work(), wallet=wallet, reserved=reserved)
            except NotReady:
                self.assertFalse(fits)
                return False
            self.assertTrue(fits)
            return True

        def all_begun() -> list[bool]:
            own = [begun(wallet) for wallet in ("a", "a", "a", "b", "b", "")]
            return own + [begun(wallet, reserved=True) for wallet in ("a", "a", "b", "c")]

        told = [True, True, False, True, False, False, True, False, True, False]
        self.assertEqual(all_begun(), told)
        self.going.callback("x")
        self.assertEqual((len(self.done), supervisor.under_way), (5, {}))
        self.going = Deferred()
        self.assertEqual(all_begun(), told)

    async def quick(self) -> str:
        """Done at once."""
        return "y"

    def test_nothing_to_wait_for(self) -> None:
        """Without work it stops at once."""
        self.successResultOf(self.supervisor.stopService())


class GatherTests(SynchronousTestCase):
    """Several coroutines at once."""

    def test_all_end(self) -> None:
        """The first failure is raised after all have ended; the others are logged."""
        slow: Deferred[int] = Deferred()

        async def fails(why: Exception) -> int:
            raise why

        async def waits() -> int:
            return await slow

        all_of_them = Deferred.fromCoroutine(
            gather(fails(Transient("one")), waits(), fails(ZeroDivisionError()))
        )
        self.assertNoResult(all_of_them)
        slow.callback(1)
        self.assertEqual(self.failureResultOf(all_of_them, Transient).value.text, "one")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class ReadinessTests(SynchronousTestCase):
    """What is wrong now."""

    def test_reasons(self) -> None:
        """What start-up waits for, and what parts tell of themselves."""
        trouble: list[str | None] = [None]
        readiness = Readiness()
        readiness.waiting["redis"] = "not reached yet"
        readiness.asked["settler"] = lambda: trouble[0]
        self.assertEqual(readiness.reasons(), {"redis": "not reached yet"})
        readiness.waiting.clear()
        trouble[0] = "no gas"
        self.assertEqual(readiness.reasons(), {"settler": "no gas"})

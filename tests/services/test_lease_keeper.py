"""
Tests of C{sandbox_billing.services.lease_keeper}: one worker at a time.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from sandbox_billing.devnet.daytona import Fault, FaultKind
from sandbox_billing.interfaces import LeaseLost
from tests.fixtures import ALICE, FEE, INTERVAL, WorldCase
from tests.services.lives import Process


class LeaseTests(WorldCase):
    """Two daemons on one world."""

    def setUp(self) -> None:
        super().setUp()
        self.first = self.world.process
        self.second: Process = self.world.birth()
        self.second.start()
        self.world.advance(6)

    def works(self, process: Process) -> bool:
        """Whether it is the worker."""
        return process.keeper.work is not None

    def test_one_works(self) -> None:
        """The second stands by while the first renews."""
        self.world.advance(60)
        self.assertEqual((self.works(self.first), self.works(self.second)), (True, False))
        self.assertIn("another process", str(self.second.keeper.trouble))

    def test_given_up(self) -> None:
        """A daemon that ends lets the other take over at once (T8)."""
        self.successResultOf(self.first.stop())
        self.world.advance(5)
        self.assertTrue(self.works(self.second))

    def test_died(self) -> None:
        """After a death the other takes over when the lease has run out."""
        self.first.life.dead = True
        self.world.advance(10)
        self.assertFalse(self.works(self.second))
        self.world.advance(11)
        self.assertTrue(self.works(self.second))

    def test_silent(self) -> None:
        """Who cannot renew stops its own work before anybody else may begin (§6)."""
        self.world.process = self.second
        life = self.first.life
        inner = self.first.keyspace.inner

        class Away:
            """No server."""

            def __getattr__(self, name: str) -> object:
                from sandbox_billing.errors import Transient

                async def fail(*args: object) -> None:
                    raise Transient("away")

                return fail

        self.first.keyspace.inner = Away()  # type: ignore[assignment]
        for _ in range(16):
            self.world.advance(1)
            self.assertFalse(self.works(self.first) and self.works(self.second))
        self.assertFalse(self.works(self.first))
        # It does not know of another: it cannot ask.
        self.assertEqual(self.first.keeper.trouble, "away")
        self.world.advance(10)
        self.assertTrue(self.works(self.second))
        self.first.keyspace.inner = inner
        self.world.advance(30)
        self.assertFalse(self.works(self.first))
        self.assertEqual(self.first.keeper.trouble, "another process is the worker")
        self.assertFalse(life.dead)

    def test_fenced(self) -> None:
        """What a worker of before still writes is refused, and its turns end (S10, L10)."""
        world = self.world
        world.fund(10**6)
        sandbox = world.create()
        token = self.first.journal.store.token.value
        self.successResultOf(self.first.stop())
        world.advance(6)
        self.first.journal.store.token.value = token
        self.failureResultOf(
            Deferred.fromCoroutine(
                self.first.journal.stops.order(sandbox, "operator", world.wall.now())
            ),
            LeaseLost,
        )
        self.assertIsNone(world.order(sandbox))

    def test_taken_away(self) -> None:
        """A worker whose token is old stops its turns with the next renewal."""
        world = self.world
        keys = self.first.journal.store.keys
        world.keyspace._values[keys.fence()] = str(2**40).encode()
        world.keyspace._values[keys.lease()] = b"somebody:%d" % 2**40
        world.advance(7)
        self.assertFalse(self.works(self.first))

    def test_handover_in_the_middle(self) -> None:
        """Charging and settling go on under the other, nothing twice (L13)."""
        world = self.world
        world.fund(10**6)
        sandbox = world.create()
        begun = world.session(sandbox).started_at
        world.advance(INTERVAL - 5)
        self.successResultOf(self.first.stop())
        world.process = self.second
        world.advance(2 * INTERVAL)
        at = world.wall.now()
        world.run(self.second.intake.stop(ALICE, sandbox))
        world.until(lambda: world.quiet)
        world.until(lambda: world.books().settled == world.books().charged, 60)
        self.assertEqual(world.earned, FEE + (at - begun) * 150)

    def test_stop_waits_for_the_turn(self) -> None:
        """A sweep under way is finished before the daemon has ended."""
        world = self.world
        world.simulator.faults.add(Fault(kind=FaultKind.HANG, route="list"))
        world.advance(5)
        stopped = self.first.stop()
        self.assertNoResult(stopped)
        world.advance(61)
        self.successResultOf(stopped)

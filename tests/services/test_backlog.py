"""
Tests of C{sandbox_billing.services.backlog}: settlement that falls behind the refund lock (K13).
"""

from __future__ import annotations

from sandbox_billing.adapters.memory.chain_faults import GoodDay, Swallowed
from sandbox_billing.interfaces import NotReady
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.voucher import Merged, Paid
from sandbox_billing.services import backlog
from sandbox_billing.services.readiness import DoorWatch
from tests.fixtures import ALICE, BOB, FEE, HOLD, INTERVAL, World, WorldCase


LOCK = 300
LIMIT = LOCK - INTERVAL


class BehindTests(WorldCase):
    """A lock of five minutes, and a provider whose transactions nobody mines."""

    def setUp(self) -> None:
        self.world = World(lock_time=LOCK).start()
        self.world.fund(10**7)
        self.world.fund(10**7, BOB)

    def settled_until(self) -> int:
        """As web processes read it."""
        found = self.world.now(self.world.eyes.doors.door_state()).settled_until
        assert found is not None
        return found

    def swallow(self, swallow: bool = True) -> None:
        """Whether what is sent is mined."""
        self.world.process.node.fault = Swallowed() if swallow else GoodDay()

    def oldest(self) -> int:
        """When the oldest unpaid charge was made."""
        charges = [*self.world.charges(), *self.world.charges(BOB)]
        return min(r.charge.created_at for r in charges if not isinstance(r.state, Paid))

    def test_kept_up(self) -> None:
        """While everything is settled the mark follows the clock, and the door stays open."""
        world = self.world
        world.create()
        for _ in range(8):
            world.advance(INTERVAL)
            self.assertLess(world.wall.now() - self.settled_until(), INTERVAL)
        world.create()

    def test_closes_and_opens(self) -> None:
        """The second the oldest charge is too old, nobody is let in; once it is paid, all are."""
        world, intake = self.world, self.world.process.intake
        sandbox, stopped = world.create(), world.create(BOB)
        world.advance(20)
        world.run(intake.stop(BOB, stopped))
        world.advance(12)
        self.swallow()
        world.advance(INTERVAL)
        oldest = self.oldest()
        world.advance(oldest + LIMIT - world.wall.now())
        world.run(intake.create(ALICE, {}, auto_stop_minutes=None))
        world.advance(oldest + LIMIT + 1 - world.wall.now())
        for call in (
            intake.create(ALICE, {}, auto_stop_minutes=None),
            intake.create(BOB, {}, auto_stop_minutes=None),
            intake.start(BOB, stopped),
        ):
            why = self.fails(NotReady, call)
            self.assertTrue(why.text.startswith("admissions are closed: settlement is behind"))
            self.assertGreater(why.retry_after, 0)
        self.assertEqual(world.state(sandbox), "started")
        self.swallow(False)
        world.until(lambda: world.wall.now() - self.settled_until() < LIMIT, 200)
        world.run(intake.start(BOB, stopped))

    def test_told(self) -> None:
        """Readiness is red while the door is closed, and says since when it is behind."""
        world = self.world
        watch = DoorWatch(doors=world.eyes.doors, wall=world.wall, policy=world.policy)
        self.assertEqual(watch.trouble(), "what is settled has not been looked at yet")
        world.now(watch.turn())
        self.assertIsNone(watch.trouble())
        world.create()
        self.swallow()
        world.until(lambda: world.wall.now() - self.settled_until() > LIMIT, LOCK + INTERVAL)
        world.now(watch.turn())
        trouble = watch.trouble()
        assert trouble is not None
        self.assertIn(f"is {world.wall.now() - self.settled_until()} s old", trouble)

    def test_own_wallet_alone(self) -> None:
        """Parked charges and those without money close their own wallet's door alone."""
        world = self.world
        sandbox = world.create(BOB)
        world.advance(70)
        world.acknowledge(BOB, acknowledged=False)
        world.advance(LOCK + 2 * INTERVAL)
        self.assertNotEqual(world.state(sandbox), "started")
        self.assertTrue(any(not isinstance(r.state, Paid) for r in world.charges(BOB)))
        self.assertGreater(world.wall.now() - self.oldest(), LOCK)
        world.create()

    def test_acknowledged_late(self) -> None:
        """Old charges that may be settled again at last shut nobody out meanwhile."""
        world = self.world
        world.create(BOB)
        world.advance(70)
        world.acknowledge(BOB, acknowledged=False)
        world.advance(LOCK + INTERVAL)
        self.swallow()
        world.acknowledge(BOB)
        since = world.wall.now()
        world.advance(INTERVAL)
        self.assertGreaterEqual(self.settled_until(), since)
        world.run(world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        self.swallow(False)
        done = (Paid, Merged)
        world.until(lambda: all(isinstance(r.state, done) for r in world.charges(BOB)), 200)

    def test_debt(self) -> None:
        """A wallet that ran dry owes for as long as it likes."""
        self.addCleanup(self.world.simulator.close)
        world = self.world = World(lock_time=LOCK).start()
        world.fund(FEE + HOLD, BOB)
        world.fund(10**7)
        world.create(BOB)
        # Nobody sees it stop for a while, and what it owes outgrows what there is.
        world.simulator.fail_next(409, route="stop")
        world.advance(LOCK + 3 * INTERVAL)
        self.assertLess(world.wall.now() - self.settled_until(), INTERVAL)
        world.create()

    def test_paid_in_neurons(self) -> None:
        """Who pays a debt in by single neurons closes nobody else's door (K13)."""
        self.world.simulator.close()
        world = self.world = World(lock_time=LOCK, loss_cap=Neuron(10**6)).start()
        world.fund(FEE + 50, BOB)
        world.fund(10**7)
        world.net.withholds = lambda transaction: transaction.sender is not None
        sandbox = world.create(BOB)
        world.advance(2 * INTERVAL)
        world.net.withholds = lambda transaction: False
        world.run(world.process.intake.stop(BOB, sandbox))
        for _ in range(LOCK + 2 * INTERVAL):
            world.deposit(1, BOB)
            world.advance()
        self.assertLess(world.wall.now() - self.settled_until(), LIMIT)
        world.create()
        world.deposit(10**6, BOB)
        world.advance(5)
        # What may be collected at last is counted from now.
        self.assertLess(world.wall.now() - self.settled_until(), LIMIT)
        world.until(lambda: world.books(BOB).pending == 0, 300)

    def test_nobody_marks(self) -> None:
        """If the worker stops marking, the mark grows old by itself and closes the door."""
        world = self.world
        world.process.turns["backlog"].stopService()
        world.advance(LIMIT + 10)
        self.fails(NotReady, world.process.intake.create(ALICE, {}, auto_stop_minutes=None))

    def test_before_the_first_mark(self) -> None:
        """Nothing is let in on a backlog nobody has looked at."""
        world = self.world
        key = world.eyes.store.keys.settled_until()
        world.process.turns["backlog"].stopService()
        world.keyspace._values.pop(key)
        self.fails(NotReady, world.process.intake.create(ALICE, {}, auto_stop_minutes=None))

    def test_worker_dies(self) -> None:
        """The next worker finds the same backlog: a restart opens no door."""
        world = self.world
        world.create()
        self.swallow()
        world.until(lambda: world.wall.now() - self.settled_until() > LIMIT, LOCK + INTERVAL)
        before = self.settled_until()
        world.restart()
        self.swallow()
        world.advance(25)
        self.assertEqual(self.settled_until(), before)
        self.fails(NotReady, world.process.intake.create(ALICE, {}, auto_stop_minutes=None))

    def test_long_list(self) -> None:
        """What waits for its own wallet is passed over, page after page."""
        self.patch(backlog, "PAGE", 2)
        world = self.world
        for _ in range(3):
            world.create(BOB)
        world.advance(70)
        world.acknowledge(BOB, acknowledged=False)
        world.advance(40)
        world.create()
        self.swallow()
        world.advance(INTERVAL + 30)
        mine = [r.charge for r in world.charges() if not isinstance(r.state, Paid)]
        self.assertEqual(self.settled_until(), min(charge.created_at for charge in mine))

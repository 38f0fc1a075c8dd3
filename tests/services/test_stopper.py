"""
Tests of C{sandbox_billing.services.stopper}: an order stands until its sandbox is shown stopped.
"""

from __future__ import annotations

from sandbox_billing.devnet.daytona import Fault, FaultKind, Timings
from sandbox_billing.ledger.account import Behaviour
from sandbox_billing.ledger.identity import SandboxId
from tests.fixtures import ALICE, BOB, FEE, HOLD, PER_SECOND, World, WorldCase


class StopperTests(WorldCase):
    """One sandbox, which somebody wants stopped."""

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(100_000)
        self.sandbox = self.world.create()
        self.begun = self.world.session(self.sandbox).started_at

    def order(self, reason: str = "operator", sandbox: SandboxId | None = None) -> None:
        """Write one."""
        world = self.world
        stops = world.process.journal.stops
        world.now(stops.order(sandbox or self.sandbox, reason, world.wall.now()))

    def tries(self, verb: str = "stop") -> int:
        """How often Daytona was asked to."""
        return [name for name, *_ in self.world.process.runtime.asked].count(verb)

    def test_carried_out(self) -> None:
        """Stopped, charged to the acceptance, and the order is gone once it is shown stopped."""
        world = self.world
        world.advance(20)
        self.order()
        # The stopper's turn comes with the next second.
        at = world.wall.now() + 1
        world.advance(1)
        self.assertIsNone(world.session(self.sandbox))
        self.assertEqual(world.order(self.sandbox), "operator")
        self.assertEqual(
            world.amounts().get(f"{self.sandbox}:{self.begun}"), PER_SECOND * (at - self.begun)
        )
        world.until(lambda: world.order(self.sandbox) is None, 20)
        self.assertEqual(world.state(self.sandbox), "stopped")

    def test_damaged_account(self) -> None:
        """Whether it is paid for cannot be read: it is stopped, and nobody else waits (S11)."""
        world = self.world
        world.fund(100_000, BOB)
        other = world.create(BOB)
        keys = world.eyes.store.keys
        world.keyspace._values[keys.account(ALICE)] = b"coffee"
        self.order("insufficient_balance")
        self.order("operator", other)
        world.until(lambda: world.state(self.sandbox) == "stopped", 60)
        self.assertEqual(world.state(other), "stopped")

    def test_every_refusal(self) -> None:
        """400, 409, 500 and silence: the meter stays open and the order stands (B9)."""
        world = self.world
        for status in (400, 409, 500, 502, 504):
            world.simulator.fail_next(status, route="stop")
        world.simulator.hang_next(route="stop")
        self.order()
        taken = world.until(lambda: world.session(self.sandbox) is None, 250)
        self.assertEqual(self.tries(), 7)
        self.assertGreater(taken, 30)
        world.until(lambda: world.order(self.sandbox) is None, 100)
        self.assertEqual(world.state(self.sandbox), "stopped")

    def test_charged_until_it_stopped(self) -> None:
        """While its stop is refused a sandbox runs, and is charged (B9)."""
        world = self.world
        world.simulator.faults.add(
            Fault(kind=FaultKind.STATUS, status=409, route="stop", count=None)
        )
        self.order()
        world.advance(150)
        charged = sum(r.charge.units for r in world.charges())
        self.assertGreaterEqual(charged, 120)
        self.assertEqual(world.order(self.sandbox), "operator")
        world.simulator.faults.clear()
        world.until(lambda: world.order(self.sandbox) is None, 100)

    def test_lost_reply(self) -> None:
        """A stop that was carried out unheard closes at the last observation."""
        world = self.world
        world.advance(20)
        world.simulator.lose_reply_next(route="stop")
        self.order()
        world.until(lambda: world.order(self.sandbox) is None, 60)
        self.assertIsNone(world.session(self.sandbox))
        self.assertEqual(self.tries(), 1)

    def test_back_off(self) -> None:
        """Tries come ever less often: 2, 4, 8 ... seconds apart, at most a minute."""
        world = self.world
        world.simulator.faults.add(
            Fault(kind=FaultKind.STATUS, status=409, route="stop", count=None)
        )
        self.order()
        world.advance(31)
        self.assertEqual(self.tries(), 5)
        world.simulator.faults.clear()
        world.until(lambda: world.order(self.sandbox) is None, 120)

    def test_creating(self) -> None:
        """An order for what is still being created waits until it can be stopped (B9)."""
        world = World(Timings(create_seconds=20)).start()
        self.addCleanup(world.simulator.close)
        world.fund(100_000)
        made = world.begin(world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        world.advance(3)
        sandbox = SandboxId("sb-1")
        world.now(world.process.journal.stops.order(sandbox, "operator", world.wall.now()))
        world.advance(10)
        self.assertEqual(world.state(sandbox), "creating")
        world.until(lambda: world.order(sandbox) is None, 120)
        self.assertEqual(world.state(sandbox), "stopped")
        made.addErrback(lambda _: None)
        world.advance(10)
        self.assertIsNone(world.session(sandbox))
        world.check_laws()

    def test_session_closed_before(self) -> None:
        """An order for what its owner has stopped ends by itself."""
        world = self.world
        world.run(world.process.intake.stop(ALICE, self.sandbox))
        before = world.amounts()
        self.order()
        world.until(lambda: world.order(self.sandbox) is None, 30)
        self.assertEqual(world.amounts(), before)

    def test_gone(self) -> None:
        """An order for what is gone ends."""
        world = self.world
        world.run(world.process.intake.delete(ALICE, self.sandbox))
        self.order()
        world.until(lambda: world.order(self.sandbox) is None, 30)

    def test_never_started(self) -> None:
        """What failed to start under an order owes no create fee (§4.3)."""
        world = self.world
        world.simulator.fail_start_next(build=True)
        made = world.run(
            world.process.intake.create(
                ALICE, {"buildInfo": {"dockerfileContent": "FROM x"}}, auto_stop_minutes=None
            )
        )
        self.order(sandbox=made.id)
        world.process.turns["reconciler"].stopService()
        world.until(lambda: world.order(made.id) is None, 60)
        self.assertNotIn(f"{made.id}:create", world.amounts())

    def test_paid_meanwhile(self) -> None:
        """An order for lack of money is dropped when the wallet is covered (S12)."""
        self.order("insufficient_balance")
        self.world.advance(2)
        self.assertIsNone(self.world.order(self.sandbox))
        self.assertEqual(self.tries(), 0)

    def test_acknowledged_meanwhile(self) -> None:
        """An order for want of an acknowledgement is dropped once there is one."""
        self.order("not_acknowledged")
        self.world.advance(2)
        self.assertIsNone(self.world.order(self.sandbox))
        self.assertEqual(self.tries(), 0)

    def test_many(self) -> None:
        """Orders are carried out side by side: one that hangs holds nobody up (S11)."""
        world = self.world
        world.deposit(10**7)
        world.advance(4)
        others = [world.create() for _ in range(3)]
        world.simulator.hang_next(route="stop")
        for sandbox in (self.sandbox, *others):
            self.order(sandbox=sandbox)
        world.advance(4)
        running = [s for s in (self.sandbox, *others) if world.session(s) is not None]
        self.assertEqual(len(running), 1)
        world.until(lambda: world.quiet, 120)
        self.assertIn(FEE, world.amounts().values())


class FlawedTests(WorldCase):
    """Whether a sandbox is covered again, by the rule of the contract that there is."""

    def test_not_covered_beside_a_refund(self) -> None:
        """What can be collected on our contract alone covers nothing on a flawed one (D1)."""
        world = self.world = World(behaviour=Behaviour.FLAWED).start()
        world.fund(100_000)
        sandbox = world.create()
        world.until(lambda: world.earned == FEE, 60)
        world.process.turns["treasurer"].stopService()
        world.request_refund(world.slot().balance - 3 * HOLD)
        world.advance(4)
        account = world.funds().account.value
        self.assertLess(account.spendable(Behaviour.FLAWED), account.spendable(Behaviour.FIXED))
        world.now(
            world.process.journal.stops.order(sandbox, "insufficient_balance", world.wall.now())
        )
        world.until(lambda: world.state(sandbox) == "stopped", 60)

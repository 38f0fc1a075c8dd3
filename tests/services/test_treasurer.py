"""
Tests of C{sandbox_billing.services.treasurer}: wallets that run dry.
"""

from __future__ import annotations

from sandbox_billing.adapters.memory.chain_faults import GoodDay, ReadsFail
from sandbox_billing.adapters.redis.chain import RedisFunds
from sandbox_billing.devnet.daytona import Fault, FaultKind, Timings
from sandbox_billing.interfaces import BlockedWallet, CannotPay, Stale
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.services import planning
from tests.fixtures import (
    ALICE,
    BOB,
    FEE,
    HOLD,
    INTERVAL,
    PER_SECOND,
    POLICY,
    SIGNER,
    STOP_DELAY,
    SWEEP,
    World,
    WorldCase,
)


class RunningDryTests(WorldCase):
    """A wallet with money for so many seconds."""

    seconds = 150

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(FEE + self.seconds * PER_SECOND)
        self.sandbox = self.world.create()
        self.begun = self.world.session(self.sandbox).started_at

    def blocked(self) -> bool:
        """Whether the flag is set."""
        return self.world.funds().blocked is not None

    def test_in_time(self) -> None:
        """The stop is ordered while there is money for the stop delay left (§4.7)."""
        world = self.world
        world.until(self.blocked)
        self.assertIn(world.wall.now() - self.begun, range(self.seconds - STOP_DELAY, self.seconds))
        world.until(lambda: world.quiet, 30)
        self.assertEqual(world.state(self.sandbox), "stopped")
        world.advance(10)
        books = world.books()
        self.assertEqual((books.debt, books.pending, books.settled), (0, 0, world.earned))
        self.assertLessEqual(world.earned, FEE + self.seconds * PER_SECOND)
        self.assertEqual(world.slot().balance, FEE + self.seconds * PER_SECOND - world.earned)

    def test_all_its_sandboxes(self) -> None:
        """One flag, and an order for everything the wallet runs; nobody else's."""
        world = self.world
        world.fund(HOLD + FEE)
        other = world.create()
        world.fund(100_000, BOB)
        theirs = world.create(BOB)
        world.until(self.blocked)
        world.until(lambda: world.quiet, 40)
        self.assertEqual((world.state(self.sandbox), world.state(other)), ("stopped", "stopped"))
        self.assertEqual(world.state(theirs), "started")

    def refuse_stops(self) -> None:
        """Daytona stops nothing for now."""
        self.world.simulator.faults.add(
            Fault(kind=FaultKind.STATUS, status=409, route="stop", count=None)
        )

    def test_blocked_is_402(self) -> None:
        """While blocked nothing is created, and what was stopped is not started."""
        world = self.world
        world.until(self.blocked)
        intake = world.process.intake
        why = self.fails(CannotPay, intake.create(ALICE, {}, auto_stop_minutes=None))
        self.assertEqual(why.code, "blocked")
        world.until(lambda: world.quiet, 40)
        self.fails(CannotPay, intake.start(ALICE, self.sandbox))

    def test_stop_refused_for_long(self) -> None:
        """Daytona answers everything but a stop; the order stands, and no neuron is lost (B9)."""
        world = self.world
        for status in (400, 409, 500):
            world.simulator.fail_next(status, route="stop")
        world.simulator.hang_next(route="stop")
        world.until(self.blocked)
        world.until(lambda: world.quiet, 200)
        self.assertEqual(world.state(self.sandbox), "stopped")
        world.advance(40)
        books = world.books()
        self.assertGreater(books.debt, 0)
        self.assertEqual(books.settled, FEE + self.seconds * PER_SECOND)
        self.assertEqual(world.slot().balance, 0)

    def test_deposit_in_time(self) -> None:
        """A deposit before the stop was carried out: the order is dropped (§4.7)."""
        world = self.world
        self.refuse_stops()
        world.until(self.blocked)
        world.deposit(100_000)
        world.until(lambda: not self.blocked(), 40)
        world.until(lambda: world.order(self.sandbox) is None, 70)
        world.simulator.faults.clear()
        world.advance(2 * INTERVAL)
        self.assertEqual(world.state(self.sandbox), "started")

    def test_too_small_a_deposit(self) -> None:
        """Covered again means what is owed, one more interval and the stop (§4.7)."""
        world = self.world
        self.refuse_stops()
        world.until(self.blocked)
        world.deposit((INTERVAL - STOP_DELAY) * PER_SECOND)
        world.advance(35)
        self.assertTrue(self.blocked())
        world.deposit(100 * PER_SECOND)
        world.until(lambda: not self.blocked(), 40)

    def test_looked_at_seldom(self) -> None:
        """A blocked wallet is looked at every half minute, not every second."""
        world = self.world
        self.refuse_stops()
        world.until(self.blocked)
        world.process.life.calls.clear()
        world.advance(60)
        blocks = [call for call in world.process.life.calls if call.startswith("block ")]
        charges = [call for call in world.process.life.calls if call.startswith("charge ")]
        self.assertLessEqual(len(blocks), 12 + len(charges))

    def test_never_first(self) -> None:
        """Somebody who writes to its exposure in each of our turns does not keep it running."""
        world = self.world
        block, moved = RedisFunds.block, set[float]()

        async def second(funds: RedisFunds, blocked: BlockedWallet) -> None:
            if world.clock.seconds() not in moved:
                moved.add(world.clock.seconds())
                raise Stale("charged meanwhile")
            await block(funds, blocked)

        self.patch(RedisFunds, "block", second)
        world.until(self.blocked)
        self.assertTrue(moved)
        self.assertLess(world.wall.now() - self.begun, self.seconds)

    def test_old_mirror(self) -> None:
        """Nobody is stopped for lack of money on a mirror that is too old (§4.8)."""
        world = self.world
        world.advance(30)
        world.process.node.fault = ReadsFail()
        world.advance(self.seconds + 60)
        self.assertEqual(world.state(self.sandbox), "started")
        self.assertFalse(self.blocked())
        self.assertIn("too old", world.process.troubles()["treasurer"])
        world.process.node.fault = GoodDay()
        world.until(lambda: world.state(self.sandbox) == "stopped", 20)

    def test_two_sessions_share(self) -> None:
        """The moment is that of the sum of all rates."""
        world = self.world
        world.fund(HOLD + FEE)
        world.create()
        funds = world.funds()
        left = funds.account.value.balance - funds.exposure.owed(world.wall.now())
        expected = left // (2 * PER_SECOND) - STOP_DELAY
        taken = world.until(self.blocked)
        # Trial's assertAlmostEqual takes no notice of a delta.
        self.assertLessEqual(abs(taken - expected), 2)


class DebtTests(WorldCase):
    """A wallet whose voucher was not paid in full."""

    def setUp(self) -> None:
        super().setUp()
        world = self.world
        world.fund(FEE + HOLD)
        self.sandbox = world.create()
        # Daytona will not stop it for a while: it runs on unpaid.
        world.simulator.faults.add(
            Fault(kind=FaultKind.STATUS, status=409, route="stop", count=None)
        )
        world.until(lambda: world.books().debt > 0, 400)
        self.owed = world.books().debt

    def test_partial(self) -> None:
        """What was paid is settled, what was not is one debt, and the wallet is blocked."""
        world = self.world
        states = [type(r.state).__name__ for r in world.charges()]
        self.assertEqual(states.count("Partial"), 1)
        self.assertEqual(world.slot().balance, 0)
        self.assertEqual(world.funds().blocked, "insufficient_balance")
        self.assertEqual(world.order(self.sandbox), "insufficient_balance")
        (debt,) = [r.charge for r in world.charges() if r.charge.kind.value == "debt"]
        self.assertTrue(debt.id.endswith(":debt:1"))
        self.assertEqual(debt.units, 0)

    def test_refused_while_in_debt(self) -> None:
        """A debt closes the door, whatever the balance (§4.1)."""
        world = self.world
        why = self.fails(CannotPay, world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        self.assertEqual(why.code, "debt")

    def test_collected_first(self) -> None:
        """The next deposit pays the debt before anything newer, then the flag goes."""
        world = self.world
        world.simulator.faults.clear()
        world.until(lambda: world.quiet, 120)
        books = world.books()
        waiting = books.pending
        self.assertGreater(waiting, 0)
        world.deposit(self.owed)
        world.until(lambda: world.books().pending <= waiting and world.slot().balance == 0, 60)
        world.advance(5)
        debts = [r for r in world.charges() if r.charge.id.endswith(":debt:1")]
        self.assertEqual([type(r.state).__name__ for r in debts], ["Paid"])
        world.deposit(10 * (waiting + self.owed))
        world.until(lambda: world.books().pending == 0 and not world.books().debt, 90)
        world.until(lambda: world.funds().blocked is None, 60)
        self.assertEqual(world.books().charged, world.earned)

    def test_debt_of_a_debt(self) -> None:
        """A deposit that is too small pays a part; the rest is debt number two."""
        world = self.world
        self.patch(planning, "GAS_OF_A_VOUCHER", 0)
        world.deposit(self.owed - 1)
        world.until(lambda: any(i.endswith(":debt:2") for i in world.amounts()), 200)
        self.assertEqual([a for i, a in world.amounts().items() if i.endswith(":debt:2")], [1])

    def test_not_worth_the_gas(self) -> None:
        """No part is collected that pays for no transaction; once all of it is there, it is."""
        world, sent = self.world, self.world.net.head.counts[SIGNER.address]
        world.deposit(self.owed - 1)
        world.advance(200)
        self.assertEqual(sent, world.net.head.counts[SIGNER.address])
        self.assertNotIn("settler", world.process.troubles())
        world.deposit(1)
        world.until(lambda: world.books().debt == 0, 60)

    def test_restart_in_debt(self) -> None:
        """Debts, flags and orders outlive the process (L13)."""
        world = self.world
        before = world.books()
        world.restart()
        world.advance(16 + SWEEP)
        self.assertEqual(world.books().debt, before.debt)
        self.assertEqual(world.funds().blocked, "insufficient_balance")
        self.assertEqual(world.order(self.sandbox), "insufficient_balance")


class BeforeTheFirstSweepTests(WorldCase):
    """A new worker to whom Daytona's list fails, while all else of it answers."""

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(FEE + 300 * PER_SECOND)
        self.sandbox = self.world.create()

    def restart(self) -> None:
        """For hours no sweep is complete."""
        self.world.simulator.fail_next(502, route="list", count=10**6)
        self.world.restart()

    def stopped(self) -> bool:
        """Whether Daytona shows it stopped."""
        return self.world.state(self.sandbox) == "stopped"

    def test_money_ends(self) -> None:
        """What nobody can pay for does not run on for as long as the list fails (L4)."""
        self.restart()
        self.world.until(self.stopped, 400)
        self.assertIn("stop", [call[0] for call in self.world.process.runtime.asked])

    def test_revoked(self) -> None:
        """A revoke needs no sweep: it is stopped at once (design.md §4.8)."""
        self.restart()
        self.world.acknowledge(acknowledged=False)
        self.world.until(self.stopped, 40)
        self.assertIsNone(self.world.funds().blocked)

    def test_waits(self) -> None:
        """Until it has waited long enough nobody is called dry for time that nobody saw."""
        self.world.kill()
        self.world.simulator.stop(self.world.simulator.records[self.sandbox])
        self.world.advance(3000)
        self.restart()
        self.world.advance(POLICY.sweep_max_age - SWEEP)
        self.assertIsNone(self.world.funds().blocked)


class CreatingTests(WorldCase):
    """A wallet that loses its cover while Daytona still creates."""

    def test_refund_while_creating(self) -> None:
        """Everything asked back between the create and its reply: stopped as soon as it runs."""
        world = World(Timings(create_seconds=15)).start()
        self.addCleanup(world.simulator.close)
        world.fund(FEE + HOLD)
        made = world.begin(world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        # It may be stopped again before its reply is there: then there is nothing to answer.
        made.addErrback(lambda failure: failure.trap(Stale))
        world.request_refund(FEE + HOLD)
        # It may have been stopped again within the second in which it started.
        world.until(lambda: bool(world.simulator.records["sb-1"].shown.intervals))
        world.until(lambda: world.state(SandboxId("sb-1")) == "stopped", 15)
        world.until(lambda: world.quiet, 40)
        world.check_laws()

    def test_blocked_while_creating(self) -> None:
        """A session that is opened under the flag gets its order in the same write (§4.7)."""
        world = World(Timings(create_seconds=15)).start()
        self.addCleanup(world.simulator.close)
        world.fund(FEE + HOLD)
        made = world.begin(world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        made.addErrback(lambda failure: failure.trap(Stale))
        world.advance(3)
        world.process.turns["treasurer"].stopService()
        journal = world.process.journal
        world.now(journal.funds.block(BlockedWallet(world.funds(), "insufficient_balance")))
        world.until(lambda: bool(made.called))
        self.assertEqual(world.order(SandboxId("sb-1")), "insufficient_balance")
        world.until(lambda: world.quiet, 60)
        self.assertEqual(world.state(SandboxId("sb-1")), "stopped")


class CreditTests(WorldCase):
    """The operator's credit."""

    def test_loss_cap(self) -> None:
        """With a loss cap the wallet is stopped so much later."""
        cap = 30 * PER_SECOND
        world = World(loss_cap=cap).start()
        self.addCleanup(world.simulator.close)
        world.fund(FEE + HOLD)
        sandbox = world.create()
        begun = world.session(sandbox).started_at
        world.until(lambda: world.funds().blocked is not None)
        self.assertIn(world.wall.now() - begun, range(60 + 30 - 1, 60 + 30 + 3))
        world.until(lambda: world.quiet, 60)
        world.check_laws()

"""Tests of C{sandbox_billing.services.merger}: what piled up goes out in few vouchers."""

from __future__ import annotations

from sandbox_billing.adapters.redis.commit import Commit, Write
from sandbox_billing.ledger.identity import ChargeId
from sandbox_billing.ledger.voucher import Merged, Signed
from tests.fixtures import ALICE, BOB, FEE, INTERVAL, PER_SECOND, World, WorldCase


class MergerTests(WorldCase):
    """The chain is out for a while, and sandboxes run on."""

    minutes = 8

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(10**6)

    def vouchers(self) -> int:
        """How many the chain has settled."""
        return sum(
            log.event.name == "VoucherSettled"
            for block in self.world.net.blocks
            for log in block.logs
        )

    def outage(self, minutes: int) -> None:
        """No block comes, and every node is silent about that."""
        self.world.mining = False
        self.world.advance(minutes * INTERVAL)

    def drained(self) -> None:
        """Everything charged so far is paid."""
        world = self.world
        world.until(lambda: world.books().pending == 0, 120)

    def merged(self) -> list[Merged]:
        """What became of those that are a part of another."""
        return [r.state for r in self.world.charges() if isinstance(r.state, Merged)]

    def test_after_an_outage(self) -> None:
        """Minutes that could not be settled one by one go out as one; not a neuron is lost."""
        world = self.world
        sandbox = world.create()
        world.until(lambda: world.earned == FEE)
        self.outage(self.minutes)
        waiting = [r for r in world.charges() if r.charge.units]
        self.assertGreaterEqual(len(waiting), self.minutes - 1)
        # While the chain is out more may come, and becomes one with the rest.
        self.assertEqual(self.merged(), [])
        world.mining = True
        before = self.vouchers()
        self.drained()
        self.assertLessEqual(self.vouchers() - before, 3)
        parts = self.merged()
        self.assertGreaterEqual(len(parts), self.minutes - 1)
        self.assertEqual(len({part.into for part in parts}), 1)
        books = world.books()
        self.assertEqual(world.earned, books.settled)
        session = world.session(sandbox)
        ran = session.charged_until - session.started_at
        self.assertEqual(books.charged, FEE + PER_SECOND * ran)

    def test_in_time(self) -> None:
        """What is settled as it comes is never merged."""
        world = self.world
        world.create()
        world.advance(3 * INTERVAL + 20)
        self.assertEqual(self.merged(), [])
        self.assertGreaterEqual(self.vouchers(), 4)

    def test_more_than_a_batch(self) -> None:
        """More than fits a batch is merged, however young it is; less is left as it is."""
        for batch_max, merges in ((2, True), (50, False)):
            with self.subTest(batch_max=batch_max):
                self.world.simulator.close()
                self.world = World(batch_max=batch_max).start()
                self.world.fund(10**6)
                self.world.create()
                self.world.until(lambda: self.world.earned == FEE)
                self.outage(3)
                waiting = [r for r in self.world.charges() if r.charge.units]
                self.assertEqual(len(waiting), 3)
                self.world.mining = True
                self.drained()
                self.assertEqual(self.merged() != [], merges)

    def test_two_wallets(self) -> None:
        """Each wallet's backlog is its own; each sandbox's, too."""
        world = self.world
        world.fund(10**6, BOB)
        mine = [world.create(), world.create()]
        world.create(BOB)
        world.until(lambda: world.earned == 3 * FEE, 60)
        self.outage(self.minutes)
        world.mining = True
        self.drained()
        world.until(lambda: world.books(BOB).pending == 0, 60)
        into = {state.into for state in self.merged()}
        self.assertEqual({name.split(":")[0] for name in into}, set(mine))
        theirs = [r.state.into for r in world.charges(BOB) if isinstance(r.state, Merged)]
        self.assertEqual(len(set(theirs)), 1)

    def test_signed_stays(self) -> None:
        """What was signed before the chain went out keeps its promise (L5)."""
        world = self.world
        world.create()
        world.until(lambda: world.earned == FEE)
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.until(lambda: any(isinstance(r.state, Signed) for r in world.charges()), 90)
        (signed,) = [r for r in world.charges() if isinstance(r.state, Signed)]
        self.outage(self.minutes)
        world.mining = True
        world.net.withholds = lambda _: False
        self.drained()
        (after,) = [r for r in world.charges() if r.charge.id == signed.charge.id]
        self.assertEqual(after.seal, signed.seal)
        self.assertNotEqual(self.merged(), [])

    def test_damaged(self) -> None:
        """A form that cannot be read holds up its own wallet, nobody else's backlog."""
        world = self.world
        world.fund(10**6, BOB)
        world.create()
        world.create(BOB)
        world.until(lambda: world.earned == 2 * FEE, 60)
        self.outage(self.minutes)
        (_, name, *_) = world.amounts(ALICE)
        key = world.eyes.store.keys.charge(ChargeId(name))
        spoil = Commit(name="spoil", fence="f", writes=(Write("SET", key, ("{}",)),))
        world.now(world.keyspace.commit(spoil))
        world.mining = True
        world.until(lambda: world.books(BOB).pending == 0, 60)
        self.assertTrue(any(isinstance(r.state, Merged) for r in world.charges(BOB)))

    def test_killed(self) -> None:
        """A daemon that dies at any call while it drains leaves books that add up."""
        world = self.world
        world.create()
        world.until(lambda: world.earned == FEE)
        self.outage(self.minutes)
        world.mining = True
        for _ in range(12):
            world.restart()
            world.process.life.dies_at = 1
            world.advance(1)
        world.restart()
        self.drained()
        self.assertEqual(world.earned, world.books(ALICE).settled)

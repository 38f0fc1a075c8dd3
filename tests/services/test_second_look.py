"""
Tests of C{sandbox_billing.services.second_look}: outcomes, many blocks later.
"""

from __future__ import annotations

from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.totals import Totals
from sandbox_billing.ledger.voucher import ChargeKind, Paid
from sandbox_billing.services.second_look import DEPTH
from tests.fixtures import ALICE, FEE, WorldCase


class SecondLookTests(WorldCase):
    """Nothing is charged again; debts and doubts wait for it."""

    def unchecked(self) -> int:
        """How many batches were not looked at again."""
        return len(self.world.now(self.world.eyes.resolved.due(10**9, 99)))

    def letters(self) -> list[str]:
        """What a human is told."""
        return [letter.reason for letter in self.world.now(self.world.eyes.letters.letters())]

    def settle_one(self) -> None:
        """A create fee is paid, and the sandbox is gone."""
        world = self.world
        sandbox = world.create()
        world.run(world.process.intake.delete(ALICE, sandbox))
        world.until(lambda: world.books().settled == world.books().charged > 0, 90)
        world.net.mine()

    def test_same_block(self) -> None:
        """An outcome whose block still stands is forgotten as checked, and not before."""
        world = self.world
        world.fund(10**6)
        self.settle_one()
        kept = self.unchecked()
        self.assertGreater(kept, 0)
        world.advance(DEPTH // 2)
        self.assertEqual(self.unchecked(), kept)
        world.until(lambda: self.unchecked() == 0, DEPTH + 10)
        self.assertEqual(self.letters(), [])

    def test_same_outcome_in_another_block(self) -> None:
        """A deep reorganisation after which all was mined again harms nobody (S9)."""
        world = self.world
        world.fund(10**6)
        self.settle_one()
        paid = world.earned
        world.net.reorg(8, keep=True)
        world.until(lambda: self.unchecked() == 0, 2 * DEPTH)
        self.assertEqual(world.earned, paid)
        self.assertEqual(self.letters(), [])
        self.assertIsNone(world.funds().blocked)

    def test_outcome_is_gone(self) -> None:
        """What was paid and is not any more is not charged again: a human must look (S9)."""
        world = self.world
        world.fund(10**6)
        world.advance(20)
        self.settle_one()
        charged = world.books().charged
        world.net.reorg(12)
        self.assertEqual(world.earned, 0)
        world.until(lambda: self.letters() != [], 2 * DEPTH)
        self.assertEqual(world.funds().blocked, QUARANTINED)
        self.assertIn("nothing is settled under it now", self.letters()[0])
        world.until(lambda: "dead letters" in world.process.troubles(), 10)
        world.advance(100)
        # Never silently charged again.
        self.assertEqual((world.earned, world.books().charged), (0, charged))
        self.assertEqual(self.unchecked(), 0)

    def tearDown(self) -> None:
        if self._testMethodName == "test_outcome_is_gone":
            # Its books say paid and its chain does not: that is what it is about.
            self.world.simulator.close()
        else:
            super().tearDown()

    def test_debt_waits(self) -> None:
        """A debt is collected from the next deposit, once its outcome was looked at again."""
        world = self.world
        world.fund(10**5)
        sandbox = world.create()
        world.until(lambda: world.books().settled >= FEE, 60)
        world.withdraw(world.slot().balance - 10)
        world.until(lambda: world.books().debt > 0, 300)
        resolved_at = world.wall.now()
        world.deposit(10**6)
        world.advance(DEPTH // 2)
        self.assertGreater(world.books().debt, 0)
        world.until(lambda: world.books().debt == 0, DEPTH + 30)
        self.assertGreaterEqual(world.wall.now() - resolved_at, DEPTH)
        world.until(lambda: world.funds().blocked is None, 30)
        debts = [r for r in world.charges() if r.charge.kind is ChargeKind.DEBT]
        self.assertTrue(all(isinstance(r.state, Paid) for r in debts), debts)
        # First, before what was charged later and had to wait with it.
        others = [r for r in world.charges() if isinstance(r.state, Paid) and r not in debts]
        later = [r for r in others if r.charge.created_at > debts[0].charge.created_at]
        first = debts[0].seal
        assert first is not None
        for record in later:
            assert record.seal is not None
            self.assertGreater(record.seal.nonce, first.nonce)
        self.assertEqual(world.session(sandbox), None)

    def test_restart(self) -> None:
        """Who was resolved before a restart is looked at after it."""
        world = self.world
        world.fund(10**6)
        self.settle_one()
        world.restart()
        world.until(lambda: self.unchecked() == 0, 2 * DEPTH)

    def test_totals(self) -> None:
        """What was settled and what it cost is what the chain says."""
        world = self.world
        world.fund(10**6)
        self.settle_one()
        totals: Totals = world.now(world.eyes.history.totals())
        self.assertEqual(totals.fees, world.earned)
        self.assertEqual(totals.gas, sum(world.net.head.spent.values()))
        self.assertEqual(totals.vouchers, len(world.charges()))


class DepthTests(WorldCase):
    """The mirror across a deep reorganisation."""

    def test_replaced_blocks_are_read(self) -> None:
        """What stands in the blocks that replaced those we had read is not passed over."""
        world = self.world
        world.fund(10**6)
        world.advance(10)
        world.deposit(5)
        world.advance(6)
        head = world.net.head.ref.number
        world.net.reorg(8)
        world.deposit(9)
        self.assertLess(head - 8, world.net.head.ref.number)
        first: list[int] = []
        world.advance(10)
        for call in world.process.chain.asked:
            if call[0] == "happenings" and call[2] - call[1] > DEPTH // 2:
                first.append(call[1])
        self.assertTrue(first)
        self.assertLess(first[-1], head - 8)

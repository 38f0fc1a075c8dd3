"""
Tests of C{sandbox_billing.services.setbacks}: what failed on chain, and how it goes out again.
"""

from __future__ import annotations

from typing import Any

from sandbox_billing.adapters.memory.blocks import MemoryBlocks, Transaction
from sandbox_billing.adapters.memory.contract import Contract, Reverted
from sandbox_billing.interfaces import NotReady
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.voucher import SETBACK_SECONDS, ChargeRecord, Signed
from sandbox_billing.signing.eip712 import EIP712Domain
from tests.fixtures import ALICE, BOB, FEE, SIGNER, World, WorldCase


CAROL = Address("0x" + "ca" * 20)
RICH = 10**6


class SetbackCase(WorldCase):
    """Three wallets that run something."""

    def setUp(self) -> None:
        super().setUp()
        for who in (ALICE, BOB, CAROL):
            self.world.fund(RICH, who)

    def begin(self) -> None:
        """Each of them owes a create fee at once."""
        world = self.world
        for who in (ALICE, BOB, CAROL):
            world.begin(world.process.intake.create(who, {}, auto_stop_minutes=None))

    def records(self, who: Address = ALICE) -> list[ChargeRecord]:
        """A wallet's charges with a setback."""
        return [r for r in self.world.charges(who) if r.setback is not None]

    @property
    def sent(self) -> int:
        """Our transactions that were mined."""
        return self.world.net.head.counts.get(SIGNER.address, 0)


class RevertTests(SetbackCase):
    """A transaction that is mined and reverts, though nobody saw that coming (S8)."""

    def setUp(self) -> None:
        super().setUp()
        self.sizes: list[int] = []
        self.alices = False
        self.bad = lambda size: True
        submit = MemoryBlocks.submit

        def revert(_contract: Contract) -> None:
            raise Reverted("out of gas")

        def submitted(net: MemoryBlocks, transaction: Transaction) -> bool:
            if net.find(transaction.name) is None and transaction not in net.pool:
                self.sizes.append(self.size_of(transaction))
                if self.bad(self.sizes[-1]):
                    transaction.call = revert
            return submit(net, transaction)

        self.patch(MemoryBlocks, "submit", submitted)

    def size_of(self, transaction: Transaction) -> int:
        """How many vouchers are in it."""
        (batch,) = [
            stored.value
            for stored in self.world.now(self.world.eyes.queue.batches())
            if any(attempt.hash == transaction.name for attempt in stored.value.attempts)
        ]
        self.alices = ALICE in batch.wallets
        return len(batch.charges)

    def test_smaller_and_later(self) -> None:
        """Each time half as many, each time later, and told from the second time on."""
        world = self.world
        self.begin()
        world.until(lambda: any(r.setback.times == 2 for r in self.records()), 200)
        world.until(lambda: "settler" in world.process.troubles(), 120)
        self.assertIn("did not settle", world.process.troubles()["settler"])
        self.assertEqual([3, 1], self.sizes[:2])
        world.advance(600)
        # Unchecked it would be a transaction each half minute and wallet.
        self.assertLess(self.sent, 20)
        self.assertEqual(world.earned, 0)
        # After a restart it is known still.
        times = max(r.setback.times for r in self.records() if r.setback)
        world.restart()
        world.advance(100)
        self.assertLessEqual(times, max(r.setback.times for r in self.records() if r.setback))
        self.bad = lambda size: False
        world.until(lambda: world.books().settled >= FEE, 1_500)
        world.until(lambda: "settler" not in world.process.troubles(), 1_500)
        self.assertEqual([], self.records())

    def test_closes_its_own_door(self) -> None:
        """One wallet's voucher reverts alone, for ever: the others pay, and are let in (K13)."""
        self.world.simulator.close()
        world = self.world = World(lock_time=300).start()
        for who in (ALICE, BOB, CAROL):
            world.fund(RICH, who)
        self.bad = lambda size: self.alices
        self.begin()
        world.until(lambda: world.books(BOB).settled >= FEE, 300)
        world.advance(600)
        self.assertEqual(world.books().settled, 0)
        self.assertIn("did not settle", world.process.troubles()["settler"])
        world.create(BOB)
        self.bad = lambda size: True
        # Nothing is paid at all any more: then nobody is let in.
        world.advance(3_600 + 600)
        with self.assertRaises(NotReady):
            world.create(BOB)

    def test_once(self) -> None:
        """One revert is no trouble: it goes out again, and nothing is left of it."""
        world = self.world
        self.bad = lambda size: size == 3
        self.begin()
        world.until(lambda: bool(self.records()), 60)
        (record,) = self.records()
        self.assertEqual((1, 1), (record.setback.times, record.setback.room))
        self.assertGreaterEqual(record.setback.until, world.wall.now() + SETBACK_SECONDS - 2)
        world.until(lambda: all(world.books(w).settled >= FEE for w in (ALICE, BOB, CAROL)), 200)
        self.assertEqual([3, 1, 1, 1], self.sizes[:4])
        self.assertNotIn("settler", world.process.troubles())


class FaultTests(SetbackCase):
    """A fault of our configuration refuses everybody's vouchers."""

    def test_another_domain(self) -> None:
        """The contract's domain changes under us: nobody is dead-lettered, settling stops, red."""
        world = self.world
        self.begin()
        world.until(lambda: world.earned >= 3 * FEE, 60)
        ours = world.net.domain
        world.net.domain = EIP712Domain(16603, ours.contract)
        world.advance(200)
        for who in (ALICE, BOB, CAROL):
            self.assertEqual(world.books(who).dead, 0)
            self.assertIsNone(world.funds(who).blocked)
        self.assertIn("another domain", world.process.troubles()["settler"])
        before = self.sent
        world.advance(200)
        self.assertEqual(before, self.sent, "it costs no gas")
        # Nor after a restart, which costs nothing to find out.
        world.restart()
        world.advance(100)
        self.assertLessEqual(self.sent, before + 1)
        self.assertIn("another domain", world.process.troubles()["settler"])
        # Mended: what was kept goes out as it was signed.
        kept = self.seal_of_signed()
        world.net.domain = ours
        world.until(lambda: world.books().pending == 0 or world.earned > 10 * FEE, 400)
        self.assertNotIn("settler", world.process.troubles())
        paid = [r.seal for r in world.charges() if r.charge.id == kept[0]]
        self.assertEqual([kept[1]], paid)

    def test_not_hidden(self) -> None:
        """One wallet's own reason to be refused, a revoke, does not hide the fault of all."""
        world = self.world
        self.begin()
        world.until(lambda: world.earned >= 3 * FEE, 60)
        world.net.domain = EIP712Domain(16603, world.net.domain.contract)
        world.advance(200)
        before = self.sent
        for who in (ALICE, BOB):
            world.acknowledge(who, acknowledged=False)
            world.advance(300)
            self.assertIn("another domain", world.process.troubles()["settler"])
        self.assertEqual(before, self.sent, "it costs no gas")

    def seal_of_signed(self) -> tuple[str, Any]:
        """Of Alice's oldest signed charge."""
        record = next(r for r in self.world.charges() if isinstance(r.state, Signed))
        return record.charge.id, record.seal

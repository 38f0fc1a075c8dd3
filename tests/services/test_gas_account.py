"""
Tests of C{sandbox_billing.services.gas_account}: account nonces that others used, or nobody.
"""

from __future__ import annotations

from sandbox_billing.adapters.memory.blocks import raw_settlement, read_settlement
from sandbox_billing.adapters.memory.chain import MemoryChain
from sandbox_billing.interfaces import Stored
from sandbox_billing.ledger.batch import Attempt, Batch
from sandbox_billing.ledger.identity import BatchId
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.services.gas_account import GAP_SECONDS
from tests.fixtures import FEE, PROVIDER, SIGNER, WorldCase


class GasAccountTests(WorldCase):
    """One account, several batches, and a world that does not keep to our plans."""

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(10**6)

    def sent_at(self, nonce: int) -> None:
        """A batch is sent too high, as after the loss of what was stored."""
        self.world.process.node._next = nonce
        self.world.create()
        self.world.until(lambda: self.attempts() != [])

    def foreign(self, nonce: int) -> None:
        """Somebody else sends with our key: nothing is settled by it."""
        raw = raw_settlement(SIGNER.address, PROVIDER, nonce, 10**12, [])
        self.assertTrue(self.world.net.submit(read_settlement(raw)))

    def batches(self) -> list[Batch]:
        """What is unresolved."""
        return [b.value for b in self.world.run(self.world.process.journal.queue.batches())]

    def attempts(self) -> list[Attempt]:
        """All that are stored."""
        return [attempt for batch in self.batches() for attempt in batch.attempts]

    def settled_all(self) -> None:
        """Everything charged was paid, once, and nothing is left over."""
        world = self.world
        world.until(lambda: world.books().settled == world.books().charged, 300)
        self.assertEqual(world.earned, world.books().charged)
        world.until(lambda: self.batches() == [], 60)

    def test_used_by_somebody_else(self) -> None:
        """An attempt whose account nonce another transaction used goes out under the next (T-6)."""
        world = self.world
        world.net.withholds = lambda transaction: True
        world.create()
        world.until(lambda: self.attempts() != [])
        (attempt,) = self.attempts()
        (record,) = world.charges()
        world.net.pool.clear()
        world.net.withholds = lambda transaction: False
        self.foreign(attempt.account_nonce)
        self.settled_all()
        # The voucher is the one that was signed first (L5).
        self.assertEqual(world.charges()[0].seal, record.seal)

    def test_mined_after_all(self) -> None:
        """An attempt that was mined is never given up, though its account nonce is used."""
        world = self.world
        world.create()
        world.until(lambda: world.earned == FEE)
        world.advance(10)
        self.assertEqual(world.earned, FEE)
        self.assertEqual(self.batches(), [])

    def test_null_receipts(self) -> None:
        """Nodes that deny a mined attempt for a while do not have it sent twice."""
        world = self.world

        async def denied(chain: MemoryChain, transaction: str) -> None:
            return None

        world.net.withholds = lambda transaction: True
        world.create()
        world.until(lambda: self.attempts() != [])
        patched = self.patch(MemoryChain, "receipt", denied)
        world.net.withholds = lambda transaction: False
        world.advance(GAP_SECONDS // 2)
        self.assertEqual(world.earned, FEE)
        self.assertEqual(len(self.attempts()), 1)
        patched.restore()
        self.settled_all()
        counts = world.net.head.counts[SIGNER.address]
        settled = {
            log.transaction
            for block in world.net.blocks
            for log in block.logs
            if log.event.name == "VoucherSettled"
        }
        self.assertEqual(counts, len(settled))

    def test_gap_behind_what_is_mined(self) -> None:
        """A batch that is mined and waits for its end does not hide a gap behind it (T-7)."""
        account = self.world.process.work.settler.account
        batches = [self.batch(0), self.batch(2)]
        self.world.net.head.counts[SIGNER.address] = 1
        for _ in range(2):
            found = self.world.now(account.gap(batches))
            self.world.clock.advance(GAP_SECONDS)
        self.assertEqual(found, 1)

    def batch(self, nonce: int) -> Stored[Batch]:
        """One that was sent."""
        attempt = Attempt(
            sender=SIGNER.address,
            account_nonce=nonce,
            gas_limit=1,
            fee_cap=Neuron(1),
            raw="0x",
            hash=f"0x{nonce}",
            recorded_at=UnixSeconds(0),
        )
        batch = Batch(
            id=BatchId(f"b{nonce}"),
            wallets=(),
            charges=(),
            created_at=UnixSeconds(0),
            attempts=(attempt,),
        )
        return Stored(batch, b"")

    def test_gap(self) -> None:
        """A batch behind an account nonce that nobody has does not wait for ever (T-7)."""
        world = self.world
        self.sent_at(3)
        self.assertEqual([a.account_nonce for a in self.attempts()], [3])
        world.advance(GAP_SECONDS // 2)
        self.assertEqual(world.earned, 0)
        self.assertEqual([len(b.charges) for b in self.batches()], [1])
        self.settled_all()
        # Three that settle nothing came first.
        self.assertGreaterEqual(world.net.head.counts[SIGNER.address], 4)

    def test_gap_that_closes_by_itself(self) -> None:
        """Nothing is sent for an account nonce that turns up in time."""
        world = self.world
        self.sent_at(1)
        world.advance(GAP_SECONDS // 2)
        self.foreign(0)
        self.settled_all()
        self.assertEqual(world.net.head.counts[SIGNER.address], 2)

    def test_gap_while_the_purse_is_empty(self) -> None:
        """One filler is made, however often it cannot be paid for."""
        world = self.world
        self.sent_at(1)
        world.net.purses[SIGNER.address] = 0
        world.advance(2 * GAP_SECONDS)
        self.assertEqual(sorted(len(b.charges) for b in self.batches()), [0, 1])
        world.net.purses[SIGNER.address] = 10**24
        self.settled_all()

    def test_restart_with_an_idle_filler(self) -> None:
        """A filler that was stored and never sent ends when the gap has closed."""
        world = self.world
        self.sent_at(1)
        world.net.purses[SIGNER.address] = 0
        world.advance(2 * GAP_SECONDS)
        world.restart()
        world.net.purses[SIGNER.address] = 10**24
        self.foreign(0)
        self.settled_all()

    def test_no_voucher_is_lost(self) -> None:
        """While all this happens a charge that was sealed keeps its nonce, fee and hash (L5)."""
        world = self.world
        self.sent_at(1)
        promised = {r.charge.id: r.seal for r in world.charges() if r.seal is not None}
        self.assertTrue(promised)
        for _ in range(GAP_SECONDS + 20):
            world.advance()
            now = {r.charge.id: r.seal for r in world.charges()}
            self.assertEqual({charge: now[charge] for charge in promised}, promised)
        self.assertGreater(world.earned, 0)

"""
Tests of C{sandbox_billing.services.watcher} and C{resolver}: what the chain says, at a named block.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve

from sandbox_billing.adapters.memory.chain_faults import Garbled, GoodDay, NodeLags, ReadsFail
from sandbox_billing.adapters.memory.contract import Contract
from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import CannotPay, Line
from sandbox_billing.ledger.account import Mirror
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.ledger.voucher import Seal
from sandbox_billing.signing.eip712 import VoucherFields, digest
from tests.fixtures import (
    ALICE,
    BOB,
    DOMAIN,
    FEE,
    INTERVAL,
    PER_SECOND,
    PROVIDER,
    RATE,
    SIGNER,
    STAKE,
    World,
    WorldCase,
)


DEARER = Prices(
    per_cpu_per_minute=Neuron(12_000),
    per_memory_gib_per_minute=Neuron(6_000),
    create_fee=Neuron(FEE),
)


class MirrorTests(WorldCase):
    """The copy of the chain."""

    def mirror(self) -> Mirror:
        """Its head."""
        found = self.world.now(self.world.eyes.doors.mirror())
        assert found is not None
        return found.value

    def test_confirmations(self) -> None:
        """The mirror stays so many blocks behind the head."""
        self.world.advance(10)
        behind = self.world.net.head.ref.number - self.mirror().block.number
        self.assertEqual(behind, self.world.policy.confirmations)

    def test_account(self) -> None:
        """A deposit counts once it is confirmed, with balance and block read together."""
        world = self.world
        world.fund(100_000)
        world.know(ALICE)
        world.deposit(7)
        self.assertEqual(world.funds().account.value.balance, 100_000)
        world.advance(4)
        account = world.funds().account.value
        self.assertEqual((account.balance, account.acknowledged), (100_007, True))

    def test_whoever_was_paid_in_for(self) -> None:
        """A wallet is mirrored when a deposit for it is confirmed, before it asks for anything."""
        world = self.world
        world.advance(5)
        self.assertNotIn(BOB, world.now(world.process.journal.mirror.wallets()))
        world.net.act(lambda c: c.deposit(BOB, PROVIDER, Neuron(7)))
        world.advance(5)
        funds = world.now(world.eyes.doors.funds(BOB))
        self.assertEqual((funds.account.value.balance, funds.exposure.fields), (7, {}))

    def test_settlement_lowers_the_balance_and_the_exposure_together(self) -> None:
        """A charge leaves the exposure in the write that brings the new balance (Q-7, B22)."""
        world = self.world
        world.fund(100_000)
        world.create()

        def owned() -> int:
            funds = world.funds()
            total: int = funds.account.value.balance - funds.exposure.owed(world.wall.now())
            return total

        for _ in range(30):
            before, spent = owned(), world.funds().exposure.rate() // 60
            world.advance(1)
            self.assertIn(before - owned(), (0, spent))

    def test_lagging_node(self) -> None:
        """A node that falls behind never takes the mirror back."""
        world = self.world
        world.advance(5)
        before = self.mirror().block
        world.process.node.fault = NodeLags(10)
        world.advance(5)
        self.assertGreaterEqual(self.mirror().block.number, before.number)
        world.process.node.fault = GoodDay()
        world.advance(2)
        self.assertGreater(self.mirror().block.number, before.number)

    def test_a_strangers_registration(self) -> None:
        """Another provider's registration that cannot be read stops nobody; ours does."""
        world = self.world
        world.fund(100_000)
        world.know(ALICE)
        world.process.node.fault = Garbled(BOB)
        world.net.act(lambda c: c.register(BOB, BOB, DEARER, STAKE, "?"))
        world.advance(5)
        world.deposit(7)
        world.advance(5)
        self.assertEqual(world.funds().account.value.balance, 100_007)
        world.process.node.fault = Garbled(PROVIDER)
        before = self.mirror().block.number
        world.register(prices=DEARER)
        world.advance(8)
        self.assertLess(self.mirror().block.number, before + 8)

    def test_deep_reorganisation(self) -> None:
        """A deposit that was confirmed and went away is no money any more (S9)."""
        world = self.world
        world.fund(100)
        world.know(ALICE)
        world.net.mine(2)
        world.deposit(7)
        world.advance(4)
        self.assertEqual(world.funds().account.value.balance, 107)
        world.net.reorg(8)
        world.advance(6)
        self.assertEqual(world.funds().account.value.balance, world.slot().balance)
        self.assertLess(world.slot().balance, 107)

    def test_first_step_over_a_long_history(self) -> None:
        """A new journal reads all settlements since the contract was made (part by part)."""
        world = self.world
        world.fund(10**6)
        sandbox = world.create()
        world.advance(10)
        world.run(world.process.intake.stop(ALICE, sandbox))
        world.advance(30)
        paid = world.earned
        world.kill()
        world.keyspace._values.clear()
        world.policy = evolve(world.policy, log_range=7)
        world.restart()
        world.advance(10)
        total, events = world.now(
            world.eyes.history.settlements(ALICE, since=0, page=0, page_size=100)
        )
        self.assertEqual((total, sum(e.paid for e in events)), (2, paid))
        world.keyspace._values.clear()


class ReactionTests(WorldCase):
    """What users and provider do on chain while something runs."""

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(10**6)
        self.sandbox = self.world.create()
        self.begun = self.world.session(self.sandbox).started_at

    def seen(self) -> int:
        """The newest observation."""
        found = self.world.now(self.world.eyes.doors.seen_at(self.sandbox))
        assert found is not None
        return found

    def test_refund_request(self) -> None:
        """What ran is charged at once, and settled at once (K13)."""
        world = self.world
        world.advance(20)
        world.request_refund(1000)
        world.until(lambda: any(r.charge.units for r in world.charges()), 6)
        (charge,) = [r.charge for r in world.charges() if r.charge.units]
        self.assertLessEqual(charge.period_end, self.seen())
        self.assertEqual(charge.amount, PER_SECOND * (charge.period_end - self.begun))
        self.assertGreater(charge.period_end, world.wall.now() - 12)
        world.until(lambda: world.books().pending == 0, 12)
        self.assertEqual(world.state(self.sandbox), "started")

    def test_refund_of_everything(self) -> None:
        """What is no longer covered is stopped, and its last seconds come from the refund."""
        world = self.world
        world.advance(20)
        world.request_refund(10**6 - FEE)
        world.until(lambda: world.order(self.sandbox) is not None, 10)
        world.until(lambda: world.quiet, 40)
        world.advance(10)
        self.assertEqual(world.state(self.sandbox), "stopped")
        self.assertEqual(world.books().settled, world.books().charged)
        self.assertEqual(world.slot().pending, 10**6 - world.earned)

    def test_revoke(self) -> None:
        """An explicit revoke stops at once; what ran waits for the next acknowledgement (K10)."""
        world = self.world
        world.advance(20)
        world.acknowledge(acknowledged=False)
        world.until(lambda: world.order(self.sandbox) == "not_acknowledged", 6)
        world.until(lambda: world.quiet, 40)
        self.assertEqual(world.state(self.sandbox), "stopped")
        owed = world.books().pending + world.books().parked
        self.assertGreater(owed, 20 * PER_SECOND)
        world.advance(60)
        self.assertEqual(world.books().pending + world.books().parked, owed)
        world.acknowledge()
        world.until(lambda: world.books().settled == world.books().charged, 60)

    def test_revoke_and_acknowledge_between_two_steps(self) -> None:
        """A revoke taken back before it was confirmed stops nobody."""
        world = self.world
        world.net.call(lambda c: c.acknowledge(ALICE, PROVIDER, False))
        world.net.mine()
        world.net.call(lambda c: c.acknowledge(ALICE, PROVIDER, True))
        world.net.mine(3)
        world.advance(20)
        self.assertEqual(world.state(self.sandbox), "started")

    def test_version_raised(self) -> None:
        """A new price: nothing new without an acknowledgement, what runs has a grace (§4.8)."""
        world = self.world
        world.register(prices=DEARER)
        world.advance(4)
        why = self.fails(CannotPay, world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        self.assertEqual(why.code, "not_acknowledged")
        world.advance(world.policy.ack_grace - 8)
        self.assertEqual(world.state(self.sandbox), "started")
        self.assertIsNone(world.order(self.sandbox))
        world.until(lambda: world.order(self.sandbox) == "not_acknowledged", 12)
        world.until(lambda: world.quiet, 40)
        self.assertEqual(world.state(self.sandbox), "stopped")

    def test_acknowledged_in_time(self) -> None:
        """Acknowledged within the grace: it runs on, and new sandboxes cost the new price."""
        world = self.world
        world.register(prices=DEARER)
        world.advance(10)
        world.acknowledge()
        world.advance(world.policy.ack_grace + 10)
        self.assertEqual(world.state(self.sandbox), "started")
        other = world.create()
        self.assertEqual(world.session(other).rate, 2 * RATE)

    def test_charges_before_stay_payable(self) -> None:
        """Seconds that ran under the old price are paid at the old price (K21)."""
        world = self.world
        world.advance(20)
        at = world.wall.now()
        world.run(world.process.intake.stop(ALICE, self.sandbox))
        world.register(prices=DEARER)
        world.advance(20)
        world.acknowledge()
        world.until(lambda: world.books().settled == world.books().charged, 60)
        self.assertEqual(world.earned, FEE + PER_SECOND * (at - self.begun))

    def test_outage_then_refund(self) -> None:
        """What happened on chain during an outage of ours is found afterwards."""
        world = self.world
        world.process.node.fault = ReadsFail()
        world.advance(30)
        world.request_refund(10**6 - FEE)
        world.advance(30)
        self.assertEqual(world.state(self.sandbox), "started")
        world.process.node.fault = GoodDay()
        world.until(lambda: world.state(self.sandbox) == "stopped", 60)


class Pruned:
    """
    A chain whose node keeps logs for a while, and refuses receipts when told to.

    @ivar keeps: For how many blocks.
    @ivar refused: How often it refused.
    """

    def __init__(self, world: World) -> None:
        self._world, self._inner = world, world.process.chain.inner
        self.keeps, self.refused, self.receipts = 20, 0, True
        world.process.chain.inner = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def happenings(self, first: int, last: int) -> Any:
        """Of new blocks alone."""
        if last < self._world.net.head.ref.number - self.keeps:
            self.refused += 1
            raise Transient("logs of old blocks were pruned")
        return await self._inner.happenings(first, last)

    async def receipt(self, transaction: str) -> Any:
        """Unless it refuses."""
        if not self.receipts:
            raise Transient("busy")
        return await self._inner.receipt(transaction)


class OutcomeTests(WorldCase):
    """What became of a batch."""

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(10**6)

    def held_back(self) -> Line:
        """A create fee that is signed and sent, and not mined; as the contract takes it."""
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.create()
        world.until(lambda: bool(world.now(world.eyes.queue.batches())))
        world.advance(2)
        seal = world.charges()[0].seal
        assert seal is not None
        return line_of(seal)

    def test_somebody_else_submitted(self) -> None:
        """Our transaction finds its nonce used: the event, wherever it stands, decides (K8, S4)."""
        world = self.world
        line = self.held_back()
        world.net.act(lambda c: c.settle(PROVIDER, PROVIDER, [line]))
        world.advance(10)
        world.net.withholds = lambda transaction: False
        world.until(lambda: world.books().settled == FEE, 60)
        self.assertEqual(world.earned, FEE)

    def test_unacknowledged_after_somebody_else_submitted(self) -> None:
        """A paid voucher can answer "not acknowledged"; its event is looked for first (§4.6)."""
        world = self.world
        line = self.held_back()
        world.net.act(lambda c: c.settle(PROVIDER, PROVIDER, [line]))
        world.acknowledge(acknowledged=False)
        world.net.withholds = lambda transaction: False
        world.until(lambda: world.books().settled == FEE, 60)
        self.assertEqual(world.books().parked, 0)

    def test_switched_between(self) -> None:
        """Revoked before our transaction, acknowledged after: still owed, then paid once (S5)."""
        world = self.world
        self.held_back()
        world.acknowledge(acknowledged=False)
        world.net.withholds = lambda transaction: False
        world.mining = False
        world.net.mine()
        world.acknowledge()
        world.mining = True
        world.until(lambda: world.books().settled >= FEE, 90)
        self.assertEqual(world.charges()[0].seal.nonce, 1)

    def test_reorganised(self) -> None:
        """A block that goes away before it is confirmed decides nothing (S9)."""
        world = self.world
        self.held_back()
        world.net.withholds = lambda transaction: False
        world.advance(1)
        self.assertEqual(world.earned, FEE)
        world.net.reorg(1)
        self.assertEqual(world.books().settled, 0)
        world.until(lambda: world.books().settled == FEE, 60)
        self.assertEqual(world.slot().last_nonce, 1)

    def test_reorganised_back(self) -> None:
        """The same, when the transaction is mined again in a later block."""
        world = self.world
        self.held_back()
        world.net.withholds = lambda transaction: False
        world.advance(2)
        world.net.reorg(2, keep=True)
        world.until(lambda: world.books().settled == FEE, 60)
        self.assertEqual(world.earned, FEE)

    def test_one_wallet_of_a_batch(self) -> None:
        """One wallet's refusal is its own: the other is paid from the same transaction."""
        world = self.world
        world.fund(10**6, BOB)
        world.net.withholds = lambda transaction: transaction.sender is not None
        for who in (ALICE, BOB):
            world.begin(world.process.intake.create(who, {}, auto_stop_minutes=None))
        world.until(lambda: world.net.pool != [], 30)
        world.acknowledge(BOB, acknowledged=False)
        world.net.withholds = lambda transaction: False
        world.until(lambda: world.quiet and world.books(ALICE).settled >= FEE, 90)
        self.assertEqual((world.books(BOB).settled, world.books(BOB).parked), (0, FEE))

    def test_old_logs_refused(self) -> None:
        """A node without old logs holds up one wallet; the mirror and everybody else go on."""
        world = self.world
        world.fund(10**6, BOB)
        line = self.held_back()
        world.net.act(lambda c: c.settle(PROVIDER, PROVIDER, [line]))
        world.advance(30)
        pruned = Pruned(world)
        world.net.withholds = lambda transaction: False
        world.until(lambda: world.books().settled > 0 or pruned.refused > 0, 60)
        at = world.now(world.eyes.doors.mirror()).value.block.number
        world.create(BOB)
        world.until(lambda: world.books(BOB).settled >= FEE, 120)
        self.assertGreater(world.now(world.eyes.doors.mirror()).value.block.number, at)
        self.assertNotIn("watcher", world.process.troubles())
        self.assertEqual(world.books().settled, 0)
        pruned.keeps = 10**6
        world.until(lambda: world.books().settled >= FEE, 400)

    def test_no_proof_for_long(self) -> None:
        """It is told, and closes its own wallet's door alone while others' vouchers are paid."""
        self.world.simulator.close()
        world = self.world = World(lock_time=300).start()
        world.fund(100_000)
        world.fund(10**6, BOB)
        line = self.held_back()
        world.net.act(lambda c: c.settle(PROVIDER, PROVIDER, [line]))
        world.advance(30)
        pruned = Pruned(world)
        world.net.withholds = lambda transaction: False
        world.create(BOB)
        world.advance(900)
        self.assertEqual(world.books().settled, 0)
        told = world.process.troubles()["proofs"]
        self.assertIn("1 wallets wait for a proof", told)
        self.assertIn("RPC_URL", told)
        world.create(BOB)
        pruned.keeps = 10**6
        world.until(lambda: world.books().settled >= FEE, 400)
        world.until(lambda: "proofs" not in world.process.troubles(), 60)

    def test_receipts_refused(self) -> None:
        """A receipt that a node refuses holds up one batch, and not the mirror."""
        world = self.world
        self.held_back()
        pruned = Pruned(world)
        pruned.receipts, pruned.keeps = False, 10**6
        world.net.withholds = lambda transaction: False
        at = world.now(world.eyes.doors.mirror()).value.block.number
        world.advance(20)
        self.assertGreater(world.now(world.eyes.doors.mirror()).value.block.number, at + 15)
        self.assertNotIn("watcher", world.process.troubles())
        pruned.receipts = True
        world.until(lambda: world.books().settled >= FEE, 120)

    def test_forged(self) -> None:
        """Our nonce settled for another voucher: a dead letter, and its wallet alone waits (L5)."""
        world = self.world
        self.held_back()
        world.advance(INTERVAL)

        def forge(contract: Contract) -> None:
            forged = Seal(nonce=1, fee=Neuron(1), usage_hash="0x" + "00" * 32, signature="")
            fields = VoucherFields(
                user=ALICE, provider=PROVIDER, usage_hash=bytes(32), nonce=1, total_fee=1
            )
            signature = "0x" + SIGNER.sign_digest(digest(DOMAIN, fields)).hex()
            contract.settle(PROVIDER, PROVIDER, [line_of(evolve(forged, signature=signature))])

        world.net.act(forge)
        world.net.withholds = lambda transaction: False
        world.until(lambda: world.books().dead > 0, 30)
        dead = world.books().dead
        self.assertEqual(world.books().settled, 0)
        self.assertEqual(world.funds().blocked, "quarantined")
        # More money does not lift it: a human must look first.
        world.fund(10**6)
        world.advance(40)
        self.assertEqual(world.funds().blocked, "quarantined")
        # The others' chain goes on: who pays is let in.
        world.fund(10**6, BOB)
        world.advance(world.policy.mirror_max_age + 5)
        world.create(BOB)
        world.until(lambda: world.books(BOB).settled == FEE, 30)
        # The forged voucher's charge stays unpaid, and known to be wrong.
        self.assertEqual(world.books().dead, dead)


def line_of(seal: Seal) -> Line:
    """Alice's voucher as the contract takes it."""
    return Line(
        user=ALICE,
        fee=seal.fee,
        usage_hash=seal.usage_hash,
        nonce=seal.nonce,
        signature=seal.signature,
    )

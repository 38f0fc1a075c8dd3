"""
Tests of C{sandbox_billing.services.settler}: numbered, signed, stored, sent; and sent again.
"""

from __future__ import annotations

from typing import Any

from sandbox_billing.adapters.memory.blocks import GAS_BASE, GAS_LINE
from sandbox_billing.adapters.memory.chain import MemoryChain
from sandbox_billing.adapters.memory.chain_faults import (
    GoodDay,
    Once,
    Poisoned,
    ReadsFail,
    ReplyLost,
    RequestLost,
    Swallowed,
)
from sandbox_billing.adapters.memory.keyspace import MemoryKeyspace
from sandbox_billing.adapters.redis.queue import RedisVoucherQueue
from sandbox_billing.errors import Refused, Transient
from sandbox_billing.interfaces import BlockedWallet, LeaseLost
from sandbox_billing.ledger.backlog import Pause
from sandbox_billing.ledger.batch import Attempt
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.voucher import ChargeRecord
from sandbox_billing.services.sending import CONDEMN_SECONDS
from tests.fixtures import (
    ALICE,
    BOB,
    FEE,
    INTERVAL,
    OTHER_SIGNER,
    PER_SECOND,
    PROVIDER,
    RATE,
    SIGNER,
    STOP_DELAY,
    World,
    WorldCase,
)


class _Sizes:
    """
    A chain that is asked to make calls.

    @ivar seen: Of how many vouchers each, in order.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.seen: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def prepare(self, lines: Any, *about: Any, **how: Any) -> Any:
        """Counted."""
        self.seen.append(len(lines))
        return await self._inner.prepare(lines, *about, **how)


class SettlerTests(WorldCase):
    """Charges on their way to the chain."""

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(10**6)

    def state(self, record: ChargeRecord) -> str:
        """Its name."""
        return type(record.state).__name__

    def states(self, who: Address = ALICE) -> list[str]:
        """Of all charges, oldest first."""
        return [self.state(record) for record in self.world.charges(who)]

    def nonces(self, who: Address = ALICE) -> list[int]:
        """Of all charges that have one, oldest first."""
        return [r.seal.nonce for r in self.world.charges(who) if r.seal is not None]

    def settled_all(self) -> None:
        """Everything charged was paid, once."""
        world = self.world
        world.until(lambda: world.books().settled == world.books().charged, 120)
        self.assertEqual(world.earned, world.books().charged)

    def test_create_charges_settle_stop(self) -> None:
        """The whole road, to the neuron: fee, three intervals, the tail."""
        world = self.world
        sandbox = world.create()
        begun = world.session(sandbox).started_at
        world.advance(3 * INTERVAL + 20)
        at = world.wall.now()
        world.run(world.process.intake.delete(ALICE, sandbox))
        world.until(lambda: world.quiet)
        self.settled_all()
        self.assertEqual(world.earned, FEE + PER_SECOND * (at - begun))
        self.assertEqual(world.slot().balance, 10**6 - world.earned)
        self.assertEqual(self.nonces(), list(range(1, len(self.nonces()) + 1)))
        self.assertEqual(world.slot().last_nonce, len(self.nonces()))
        self.assertEqual(dict(world.funds().exposure.fields), {})

    def test_many_wallets_in_one_batch(self) -> None:
        """Charges of several wallets share a transaction."""
        world = self.world
        world.fund(10**6, BOB)
        mine = world.begin(world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        theirs = world.begin(world.process.intake.create(BOB, {}, auto_stop_minutes=None))
        world.until(lambda: bool(mine.called and theirs.called))
        world.until(lambda: world.earned == 2 * FEE)
        world.advance(5)
        transactions = {r.state.transaction for w in (ALICE, BOB) for r in world.charges(w)}
        self.assertEqual(len(transactions), 1)
        self.assertEqual((self.nonces(ALICE), self.nonces(BOB)), ([1], [1]))

    def test_waits_for_the_wallet_s_batch(self) -> None:
        """A wallet's next batch waits until the one in flight is resolved (K7)."""
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.create()
        world.advance(3 * INTERVAL)
        self.assertEqual(self.states().count("Signed"), 1)
        self.assertGreater(self.states().count("Open"), 1)
        world.net.withholds = lambda transaction: False
        self.settled_all()
        self.assertEqual(self.nonces(), sorted(self.nonces()))

    def test_stored_before_sent(self) -> None:
        """Charges, nonces and attempt are stored before the first broadcast (S14, T-2)."""
        world = self.world
        world.create()
        world.until(lambda: world.earned == FEE)
        calls = [c.split(" ")[0] for c in world.process.life.calls]
        order = [calls.index(name) for name in ("sign", "prepare", "record", "broadcast")]
        self.assertEqual(order, sorted(order))

    def test_no_disk(self) -> None:
        """
        What is stored and not proven on disk is not broadcast, on whatever turn, by whatever
        process; and once it is proven nobody asks again (S14).
        """
        world = self.world
        broken = self.without_disk()
        world.create()
        for _ in range(2):
            world.until(lambda: bool(self.attempts()), 60)
            world.advance(40)
            self.assertEqual(self.broadcast(), [])
            world.restart()
        broken.restore()
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.until(lambda: bool(self.broadcast()), 60)
        broken = self.without_disk()
        world.until(lambda: len(self.broadcast()) > 2, 60)
        self.assertEqual(len(set(self.broadcast())), 1)
        broken.restore()
        world.net.withholds = lambda transaction: False
        self.settled_all()

    def test_bump_not_on_disk(self) -> None:
        """A bump that is stored and not proven on disk is not broadcast either (S14)."""
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.create()
        world.until(lambda: bool(self.broadcast()))
        broken = self.without_disk()
        world.until(lambda: len(self.attempts()) == 2, 200)
        world.advance(40)
        self.assertEqual(set(self.broadcast()), {self.attempts()[0].hash})
        broken.restore()
        world.until(lambda: self.attempts()[1].hash in self.broadcast(), 60)

    def without_disk(self) -> Any:
        """From now on nothing is proven to be on disk, until this is restored."""

        async def unproven(*_: object) -> None:
            raise Transient("not proven to be on disk")

        return self.patch(MemoryKeyspace, "wait_for_disk", unproven)

    def broadcast(self) -> list[str]:
        """Hashes of what this process has sent."""
        asked = self.world.process.chain.asked
        return [args[0].hash for name, *args in asked if name == "broadcast"]

    def test_request_lost(self) -> None:
        """An unknown broadcast that never arrived is repeated, byte by byte, and settles once."""
        self._unknown(RequestLost())

    def test_reply_lost(self) -> None:
        """An unknown broadcast that did arrive settles once."""
        self._unknown(ReplyLost())

    def _unknown(self, fault: GoodDay) -> None:
        world = self.world
        world.process.node.fault = Once(fault)
        world.create()
        self.settled_all()
        sent = [args[0].raw for name, *args in world.process.chain.asked if name == "broadcast"]
        self.assertEqual(len(set(sent)), 1)
        self.assertEqual((self.nonces(), world.earned), ([1], FEE))

    def test_forgotten_by_the_node(self) -> None:
        """A transaction that a node took and lost is sent again, the same bytes (T-4)."""
        world = self.world
        world.process.node.fault = Once(Swallowed())
        world.create()
        self.settled_all()
        sent = [args[0].hash for name, *args in world.process.chain.asked if name == "broadcast"]
        self.assertGreater(len(sent), 1)
        self.assertEqual((set(sent).__len__(), self.nonces()), (1, [1]))

    def test_restart_with_a_batch_in_flight(self) -> None:
        """The next process sends the stored bytes again and numbers nothing anew (S1)."""
        world = self.world
        world.process.node.fault = Swallowed()
        world.create()
        world.until(lambda: "Signed" in self.states())
        world.advance(3)
        world.restart()
        self.settled_all()
        self.assertEqual(self.nonces(), [1])
        self.assertNotIn("prepare", [name for name, *_ in world.process.chain.asked])

    def test_chain_away(self) -> None:
        """An outage of the chain loses nothing and pays everything once."""
        world = self.world
        sandbox = world.create()
        world.process.node.fault = ReadsFail()
        world.advance(5 * INTERVAL)
        self.assertEqual(world.earned, FEE)
        self.assertEqual(world.state(sandbox), "started")
        world.process.node.fault = GoodDay()
        world.run(world.process.intake.stop(ALICE, sandbox))
        world.until(lambda: world.quiet)
        self.settled_all()

    def test_partial_payment(self) -> None:
        """The first charge that does not fit goes out whole, and nothing after it (§4.4)."""
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        sandbox = world.create()
        world.advance(4 * INTERVAL)
        world.withdraw(10**6 - FEE - RATE - 1)
        world.net.withholds = lambda transaction: False
        world.until(lambda: world.books().debt > 0, 100)
        world.until(lambda: world.state(sandbox) == "stopped", 100)
        self.assertEqual(world.slot().balance, 0)
        self.assertEqual(world.earned, FEE + RATE + 1)
        self.assertEqual(self.states().count("Partial"), 1)
        # The rest stays open, without a nonce, until there is something to take.
        world.advance(100)
        self.assertGreater(self.states().count("Open"), 1)
        self.assertEqual(world.slot().last_nonce, max(self.nonces()))

    def test_not_acknowledged(self) -> None:
        """Refused for want of an acknowledgement: parked, and the same seal is paid later."""
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.create()
        world.until(lambda: "Signed" in self.states())
        seal = world.charges()[0].seal
        world.acknowledge(acknowledged=False)
        world.net.withholds = lambda transaction: False
        world.until(lambda: "Parked" in self.states())
        world.until(lambda: world.quiet, 60)
        world.advance(60)
        self.assertEqual(world.earned, 0)
        # Meanwhile nothing newer is signed for this wallet.
        self.assertEqual(set(self.states()[1:]), {"Open"})
        self.assertEqual(world.books().parked, FEE)
        world.acknowledge()
        self.settled_all()
        self.assertEqual(world.charges()[0].seal, seal)
        self.assertEqual(self.nonces(), sorted(self.nonces()))

    def test_refund_request_is_urgent(self) -> None:
        """Below SETTLE_MIN a charge waits its time, but not once a refund is asked for."""
        world = World(settle_min=Neuron(10**9), settle_max_age=600).start()
        self.addCleanup(world.simulator.close)
        world.fund(10**6)
        world.create()
        world.advance(2 * INTERVAL)
        self.assertEqual(world.earned, 0)
        world.request_refund(10**5)
        world.until(lambda: world.books().pending == 0, 12)
        self.assertEqual(world.earned, world.books().charged)

    def test_the_end_is_urgent(self) -> None:
        """A wallet that is stopped for want of money is settled at once, below SETTLE_MIN."""
        world = World(settle_min=Neuron(10**9), settle_max_age=600).start()
        self.addCleanup(world.simulator.close)
        world.fund(FEE + PER_SECOND * (2 * INTERVAL + STOP_DELAY))
        world.create()
        world.until(lambda: world.funds().blocked is not None)
        self.assertEqual(world.earned, 0)
        world.until(lambda: world.earned > FEE, 12)
        world.until(lambda: world.quiet)
        world.until(lambda: world.books().pending == 0, 12)
        self.assertEqual(world.earned, world.books().settled)

    def test_a_pause_is_urgent(self) -> None:
        """Under a pause what was charged goes out, so that a price may change (K21)."""
        world = World(settle_min=Neuron(10**9), settle_max_age=600).start()
        self.addCleanup(world.simulator.close)
        world.fund(10**6)
        world.create()
        world.advance(2 * INTERVAL)
        self.assertEqual(world.earned, 0)
        pause = Pause(since=world.wall.now(), reason="prices change", by="a test")
        world.run(world.process.journal.pause.pause(pause))
        world.until(lambda: world.earned >= FEE + PER_SECOND * INTERVAL, 12)

    def test_small_sums_wait(self) -> None:
        """A sum below SETTLE_MIN_NEURON is settled when its oldest charge is old enough."""
        world = World(settle_min=Neuron(10**9), settle_max_age=200).start()
        self.addCleanup(world.simulator.close)
        world.fund(10**6)
        world.create()
        made = world.charges()[0].charge.created_at
        world.until(lambda: world.earned > 0)
        self.assertIn(world.wall.now() - made, range(200, 205))

    def test_full_batches(self) -> None:
        """A wallet that found the batch full is taken at once, not half a minute later (V3)."""
        world = World(batch_max=2, settle_min=Neuron(10**9), settle_max_age=200).start()
        self.addCleanup(world.simulator.close)
        for wallet in (ALICE, BOB):
            world.fund(10**6, wallet)
        both = [
            world.begin(world.process.intake.create(wallet, {}, auto_stop_minutes=None))
            for wallet in (ALICE, BOB)
        ]
        world.until(lambda: all(made.called for made in both))
        world.until(lambda: world.earned > 0, 300)
        world.advance(4)
        self.assertGreater(min(world.slot(ALICE).last_nonce, world.slot(BOB).last_nonce), 0)

    def test_other_signer_registered(self) -> None:
        """With another signer on the contract nothing is settled, and nothing is lost (§4.6)."""
        world = self.world
        world.create()
        world.until(lambda: world.earned == FEE)
        world.register(OTHER_SIGNER.address)
        world.acknowledge()
        world.advance(2 * INTERVAL)
        self.assertIn("registered signer", world.process.troubles()["settler"])
        self.assertEqual(world.earned, FEE)
        self.assertGreater(world.books().pending, 0)
        world.register(SIGNER.address)
        world.acknowledge()
        self.settled_all()

    def test_signer_rotation(self) -> None:
        """A parked voucher is signed again by the new key: the same nonce, fee and hash."""
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.create()
        world.until(lambda: "Signed" in self.states())
        before = world.charges()[0].seal
        world.acknowledge(acknowledged=False)
        world.net.withholds = lambda transaction: False
        world.until(lambda: "Parked" in self.states())
        world.until(lambda: world.quiet, 60)
        world.register(OTHER_SIGNER.address)
        world.restart(signer=OTHER_SIGNER)
        world.acknowledge()
        self.settled_all()
        after = world.charges()[0].seal
        assert before is not None and after is not None
        self.assertEqual(
            (after.nonce, after.fee, after.usage_hash),
            (before.nonce, before.fee, before.usage_hash),
        )
        self.assertNotEqual(after.signature, before.signature)

    def test_rotation_with_a_batch_in_flight(self) -> None:
        """A voucher that the old key signed and nobody mined in time is signed again."""
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.create()
        world.until(lambda: "Signed" in self.states())
        world.register(OTHER_SIGNER.address)
        world.acknowledge()
        world.net.withholds = lambda transaction: False
        world.restart(signer=OTHER_SIGNER)
        self.settled_all()
        self.assertNotIn("DeadLettered", self.states())

    def test_rotation_after_the_transaction_was_lost(self) -> None:
        """
        A new key sends its own transaction, under its own account nonce, for a batch whose
        old one is gone: the old account's nonces say nothing of the new account (T-1, T-7).
        """
        world = self.world
        for _ in range(3):
            world.create()
            self.settled_all()
        used = world.net.head.counts[SIGNER.address]
        world.net.withholds = lambda transaction: transaction.sender == SIGNER.address
        world.until(lambda: "Signed" in self.states())
        world.advance(2)
        world.kill()
        world.register(OTHER_SIGNER.address)
        world.acknowledge()
        world.net.pool.clear()
        world.restart(signer=OTHER_SIGNER)
        self.settled_all()
        self.assertEqual(world.net.head.counts[SIGNER.address], used)
        own = world.net.head.counts[OTHER_SIGNER.address]
        self.assertGreater(own, 0)
        prepared = [args for name, *args in world.process.chain.asked if name == "prepare"]
        self.assertEqual([replacing for _lines, replacing in prepared], [None] * own)

    def test_rotation_and_both_are_sent(self) -> None:
        """
        The old key's transaction is mined while the new key's is lost: that one is sent
        again, for its account nonce would be missing for ever (T-1, T-7).
        """
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.create()
        world.until(lambda: bool(self.attempts()))
        world.register(OTHER_SIGNER.address)
        world.acknowledge()
        world.restart(signer=OTHER_SIGNER)
        world.until(lambda: len(self.attempts()) == 2, 60)
        world.net.pool[:] = [t for t in world.net.pool if t.sender == SIGNER.address]
        world.net.withholds = lambda transaction: False
        world.advance(5)
        self.assertEqual(world.net.head.counts, {SIGNER.address: 1})
        self.settled_all()
        self.assertNotIn("DeadLettered", self.states())

    def test_rotation_and_back(self) -> None:
        """An earlier key that comes back goes on with its own transaction (T-1, L10)."""
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.create()
        world.until(lambda: bool(self.attempts()))
        for key, seen in ((OTHER_SIGNER, 2), (SIGNER, 2)):
            world.register(key.address)
            world.acknowledge()
            world.restart(signer=key)
            world.advance(40)
            self.assertEqual(len(self.attempts()), seen)
        world.net.withholds = lambda transaction: False
        self.settled_all()

    def attempts(self) -> tuple[Attempt, ...]:
        """Of the oldest batch."""
        batches = self.world.now(self.world.eyes.queue.batches())
        return batches[0].value.attempts if batches else ()

    def test_urgent_behind_the_resting(self) -> None:
        """Who asks for a refund does not wait until all who rest were looked at, one a second."""
        policy = {"settle_min": Neuron(10**6), "settle_max_age": 900}
        world = World(batch_max=1, max_in_flight=1, **policy).start()
        self.addCleanup(world.simulator.close)
        people = [Address(f"0x{number:040x}") for number in range(1, 13)]
        for wallet in (*people, BOB):
            world.fund(10**6, wallet)
        world.process.turns["settler"].stopService()
        for wallet in (*people, BOB):
            world.create(wallet)
        world.request_refund(10, BOB)
        world.advance(4)
        world.process.turns["settler"].startService()
        world.until(lambda: world.slot(BOB).last_nonce > 0, 4)

    def test_broken_wallet(self) -> None:
        """A wallet whose books are damaged waits for a human; everybody else is settled (S3)."""
        world = self.world
        world.fund(10**6, BOB)
        world.process.turns["settler"].stopService()
        world.create()
        world.create(BOB)
        world.keyspace._values.pop("billing:charge:sb-1:create")
        world.restart()
        world.until(lambda: world.books(BOB).settled == FEE, 60)
        self.assertIn("L6", world.process.troubles()["settler"])
        self.assertEqual(world.earned, FEE)

    def test_damaged_charge(self) -> None:
        """So does one of whom a charge cannot be read (S3)."""
        world = self.world
        world.fund(10**6, BOB)
        world.process.turns["settler"].stopService()
        world.create()
        world.create(BOB)
        key = "billing:charge:sb-1:create"
        whole = world.keyspace._values[key]
        world.keyspace._values[key] = b"{"
        world.restart()
        world.until(lambda: world.books(BOB).settled == FEE, 60)
        world.until(lambda: "sb-1:create" in world.process.troubles().get("dead letters", ""))
        world.keyspace._values[key] = whole
        self.settled_all_of(ALICE, BOB)

    def settled_all_of(self, *wallets: Address) -> None:
        """Everything charged was paid."""
        books = self.world.books
        self.world.until(lambda: all(books(w).settled == books(w).charged for w in wallets), 120)

    def test_refused_batch(self) -> None:
        """A batch that the chain would not take holds up no other."""
        world = self.world
        world.fund(10**6, BOB)
        real = MemoryChain.prepare

        async def choosy(chain: MemoryChain, lines: Any, replacing: Any, **how: Any) -> Attempt:
            if any(line.user == ALICE for line in lines):
                raise Refused("the settle call reverts: Paused")
            return await real(chain, lines, replacing, **how)

        patched = self.patch(MemoryChain, "prepare", choosy)
        world.create()
        world.until(lambda: self.states() == ["Signed"], 60)
        world.create(BOB)
        world.until(lambda: world.books(BOB).settled == FEE, 60)
        self.assertIn("Paused", world.process.troubles()["settler"])
        patched.restore()
        self.settled_all_of(ALICE, BOB)
        world.advance(3)
        self.assertNotIn("settler", world.process.troubles())

    def test_poison(self) -> None:
        """One voucher that makes the call revert is found, and the others are settled (S8)."""
        world = self.world
        people = [Address(f"0x{number:040x}") for number in range(1, 8)]
        for wallet in people:
            world.fund(10**6, wallet)
        world.process.node.fault = Poisoned(people[4], Nonce(1))
        made = [
            world.begin(world.process.intake.create(wallet, {}, auto_stop_minutes=None))
            for wallet in people
        ]
        world.until(lambda: all(each.called for each in made))
        others = [wallet for wallet in people if wallet != people[4]]
        world.until(lambda: all(world.slot(wallet).last_nonce > 0 for wallet in others), 60)
        self.assertEqual(world.slot(people[4]).last_nonce, 0)
        world.until(lambda: self.states(people[4])[0] == "DeadLettered", 180)
        self.assertEqual(world.funds(people[4]).blocked, QUARANTINED)
        world.until(lambda: "1 need a human" in world.process.troubles().get("dead letters", ""))
        # Nothing more is signed for it before somebody has looked.
        self.assertEqual(set(self.states(people[4])[1:]), {"Open"})
        self.assertNotIn("settler", world.process.troubles())

    def test_poison_of_a_minute(self) -> None:
        """A node that has been wrong for less than two minutes costs nobody a voucher."""
        world = self.world
        world.process.node.fault = Poisoned(ALICE, Nonce(1))
        world.create()
        world.until(lambda: self.states() == ["Signed"], 60)
        world.until(lambda: "settler" in world.process.troubles())
        world.advance(CONDEMN_SECONDS - 20)
        self.assertIn("cannot be sent", world.process.troubles()["settler"])
        world.process.node.fault = GoodDay()
        self.settled_all()

    def test_places_of_the_unsendable(self) -> None:
        """Vouchers that wait by themselves take nobody's place in flight."""
        world = World(max_in_flight=1).start()
        self.addCleanup(world.simulator.close)
        for wallet in (ALICE, BOB):
            world.fund(10**6, wallet)
        world.process.node.fault = Poisoned(ALICE, Nonce(1), reverts=False)
        world.create()
        world.until(lambda: world.charges()[0].seal is not None)
        world.create(BOB)
        world.until(lambda: world.slot(BOB).last_nonce > 1, 200)
        self.assertEqual(world.slot(ALICE).last_nonce, 0)
        world.advance(2 * CONDEMN_SECONDS)
        # It was never shown to revert: it waits, and is not given up.
        self.assertEqual(type(world.charges()[0].state).__name__, "Signed")

    def test_reverts_with_a_pause_between(self) -> None:
        """A voucher is given up only when nothing but reverts was seen of it all the while."""
        world = self.world
        poison = Poisoned(ALICE, Nonce(1))
        world.process.node.fault = poison
        world.create()
        world.until(lambda: "settler" in world.process.troubles())
        world.advance(CONDEMN_SECONDS // 2)
        world.net.purses[SIGNER.address] = 0
        poison.nonce = Nonce(99)
        world.advance(5)
        poison.nonce = Nonce(1)
        world.net.purses[SIGNER.address] = 10**24
        world.advance(CONDEMN_SECONDS - 10)
        self.assertEqual(self.states()[0], "Signed")
        world.until(lambda: self.states()[0] == "DeadLettered", 30)

    def test_small_blocks(self) -> None:
        """A batch that no block takes is halved, and all of it is settled (V3)."""
        world = self.world
        world.net.block_gas = GAS_BASE + 2 * GAS_LINE
        people = [Address(f"0x{number:040x}") for number in range(1, 8)]
        for wallet in people:
            world.fund(10**6, wallet)
        made = [
            world.begin(world.process.intake.create(wallet, {}, auto_stop_minutes=None))
            for wallet in people
        ]
        world.until(lambda: all(each.called for each in made))
        world.until(lambda: all(world.slot(wallet).last_nonce > 0 for wallet in people), 60)

    def test_size_is_remembered(self) -> None:
        """What fitted is what the next batches are made of: no other is cut for a while."""
        world = self.world
        # Half a block takes three.
        world.net.block_gas = 2 * (GAS_BASE + 3 * GAS_LINE)
        people = [Address(f"0x{number:040x}") for number in range(1, 11)]
        for wallet in people:
            world.fund(10**6, wallet)
        made = [
            world.begin(world.process.intake.create(wallet, {}, auto_stop_minutes=None))
            for wallet in people
        ]
        world.until(lambda: all(each.called for each in made))
        sizes = world.process.chain.inner = _Sizes(world.process.node)
        world.until(lambda: all(world.slot(wallet).last_nonce > 0 for wallet in people), 60)
        self.assertGreater(sizes.seen[0], 3)
        self.assertLessEqual(max(sizes.seen[1:]), 3)

    def test_blocks_below_one_voucher(self) -> None:
        """Blocks that take no voucher at all are nobody's fault: nothing is given up."""
        world = self.world
        world.net.block_gas = GAS_BASE
        world.create()
        world.until(lambda: self.states() == ["Signed"], 60)
        world.advance(2 * CONDEMN_SECONDS)
        self.assertEqual(self.states()[0], "Signed")
        world.net.block_gas = 10**7
        self.settled_all()

    def test_quarantined(self) -> None:
        """Nothing is signed for a wallet that a human must look at, until he lifts it."""
        world = self.world
        world.net.purses[SIGNER.address] = 10**24
        world.create()
        world.until(lambda: world.earned == FEE)
        funds = world.funds()
        world.run(world.process.journal.funds.block(BlockedWallet(funds, QUARANTINED)))
        world.until(lambda: world.quiet)
        world.advance(60)
        self.assertEqual(world.earned, FEE)
        self.assertGreater(world.books().pending, 0)
        world.keyspace._values.pop(f"billing:blocked:{ALICE.hex}")
        self.settled_all()

    def test_broken_batch(self) -> None:
        """A charge that is gone leaves its batch: its wallet waits, and nobody else (S3)."""
        world = self.world
        world.fund(10**6, BOB)
        world.net.purses[SIGNER.address] = 0
        world.create()
        world.until(lambda: self.states() == ["Signed"], 60)
        world.keyspace._values.pop("billing:charge:sb-1:create")
        world.net.purses[SIGNER.address] = 10**24
        world.create(BOB)
        world.until(lambda: world.books(BOB).settled == FEE, 60)
        world.until(lambda: "disappeared" in world.process.troubles().get("dead letters", ""), 10)
        self.assertEqual(world.funds().blocked, QUARANTINED)
        self.assertEqual(world.now(world.eyes.queue.batches()), ())

    def test_lease_lost_at_a_bump(self) -> None:
        """Who is no longer the worker learns it, and sends nothing more (L10)."""
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.create()
        world.until(lambda: bool(self.broadcast()))
        world.process.turns["settler"].stopService()
        world.advance(130)

        async def lost(*_: object) -> None:
            raise LeaseLost("another process is the worker now")

        self.patch(RedisVoucherQueue, "record_attempt", lost)
        sent = len(self.broadcast())
        self.fails(LeaseLost, world.process.work.settler.turn())
        self.assertEqual(len(self.broadcast()), sent)

    def test_no_gas(self) -> None:
        """With an empty gas wallet the batch waits, and goes out when it was filled (T-10)."""
        world = self.world
        world.net.purses[SIGNER.address] = 0
        world.create()
        world.advance(20)
        self.assertIn("gas account", world.process.troubles()["settler"])
        self.assertEqual(self.states(), ["Signed"])
        world.net.purses[SIGNER.address] = 10**24
        self.settled_all()
        self.assertEqual(self.nonces(), [1])

    def test_poor_wallet_rests(self) -> None:
        """A wallet with nothing is not asked for each second."""
        world = self.world
        world.create()
        world.until(lambda: world.earned == FEE)
        world.advance(10)
        # While nobody looks it takes everything back.
        world.kill()
        world.request_refund(10**6 - FEE)
        world.clock.advance(7300)
        world.net.act(lambda c: c.withdraw_refund(ALICE, PROVIDER))
        world.restart()
        world.until(lambda: world.quiet and world.books().pending + world.books().debt > 0, 100)
        world.advance(10)
        world.process.chain.asked.clear()
        world.advance(60)
        asked = [name for name, *_ in world.process.chain.asked]
        self.assertLessEqual(asked.count("last_nonces"), 3)

    def test_never_mined(self) -> None:
        """A transaction that nobody mines is offered again for more, and pays once (S7)."""
        world = self.world
        stuck: list[str] = []

        def first(transaction: object) -> bool:
            name = getattr(transaction, "name", "")
            if getattr(transaction, "sender", None) is not None and not stuck:
                stuck.append(name)
            return name in stuck

        world.net.withholds = first
        world.create()
        world.until(lambda: self.states()[0] == "Paid", 300)
        self.assertNotIn(world.charges()[0].state.transaction, stuck)
        self.settled_all()

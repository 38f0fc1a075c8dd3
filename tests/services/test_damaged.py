"""
One stored value that cannot be read, of each kind: it is told of, and everybody else goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sandbox_billing.adapters.redis.commit import Commit, Write
from sandbox_billing.adapters.redis.queue import RedisVoucherQueue
from sandbox_billing.errors import BadInput, BrokenLaw
from sandbox_billing.ledger.dead_letter import DeadLetter
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import BatchId, ChargeId, Reference
from sandbox_billing.ledger.voucher import Paid, Signed
from tests.fixtures import ALICE, BOB, FEE, INTERVAL, World, WorldCase


class DamagedTests(WorldCase):
    """Never skipped silently, never in anybody's way (S3)."""

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(10**6)
        self.world.fund(10**6, BOB)

    def damage(self, key: str) -> bytes:
        """@return: What was there."""
        was = self.world.keyspace.values()[key]
        assert isinstance(was, bytes), key
        self.world.keyspace._values[key] = b'{"v":9,"spilled":"coffee"}'
        return was

    def letters(self) -> tuple[DeadLetter, ...]:
        """What a human is told."""
        return self.world.now(self.world.eyes.letters.letters())

    def told(self) -> Iterable[tuple[str, str]]:
        """What of."""
        return [(letter.kind, letter.name) for letter in self.letters()]

    def others_go_on(self) -> None:
        """Somebody else's sandbox is created, charged and paid for."""
        world = self.world
        before = world.books(BOB).settled
        world.create(BOB)
        world.until(lambda: world.books(BOB).settled > before + FEE, INTERVAL + 60)
        world.until(lambda: self.letters() != ())

    def test_session(self) -> None:
        """A session."""
        world = self.world
        sandbox = world.create()
        self.damage(world.eyes.store.keys.session(sandbox))
        # Daytona's news of it are no news of the others'.
        early = world.run(world.process.intake.create(BOB, {}, auto_stop_minutes=None)).id
        looked = world.process.work.reconciler.look([sandbox, early])
        self.assertEqual(world.now(looked), (early,))
        self.others_go_on()
        self.assertEqual(self.told(), [("session", sandbox)])
        self.assertIn("version 9", self.letters()[0].reason)
        self.assertGreater(world.process.work.reconciler.sweeps, 5)

    def test_open_charge(self) -> None:
        """A charge that is not signed: not even its own wallet waits."""
        world = self.world
        sandbox = world.create()
        charge = ChargeId(f"{sandbox}:create")
        world.until(lambda: world.books().settled == FEE, 60)
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.until(lambda: len(world.charges()) > 2, 3 * INTERVAL)
        open_ones = [r.charge.id for r in world.charges() if r.seal is None]
        charge = open_ones[0]
        self.damage(world.eyes.store.keys.charge(charge))
        world.net.withholds = lambda transaction: False
        self.others_go_on()
        self.assertEqual(self.told(), [("charge", charge)])
        before = world.books().settled
        world.until(lambda: world.books().settled > before, 3 * INTERVAL)
        # Still counted as owed.
        self.assertIn(f"charge:{charge}", world.funds().exposure.fields)
        self.assertIn(charge, world.now(world.eyes.history.pending()))

    def test_charge_in_a_batch(self) -> None:
        """A charge in a batch that was sent: the others of the batch are resolved."""
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        sandbox = world.create()
        world.until(lambda: any(isinstance(r.state, Signed) for r in world.charges()))
        charge = ChargeId(f"{sandbox}:create")
        self.damage(world.eyes.store.keys.charge(charge))
        world.net.withholds = lambda transaction: False
        self.others_go_on()
        self.assertEqual(self.told(), [("charge", charge)])
        self.assertIn("in batch", self.letters()[0].reason)
        self.assertEqual(world.now(world.eyes.queue.batches()), ())
        # Nothing with a later nonce goes out of the wallet whose promise was lost (L5).
        self.assertEqual(world.funds().blocked, QUARANTINED)
        last = world.slot().last_nonce
        world.advance(INTERVAL)
        self.assertEqual(world.slot().last_nonce, last)

    def test_charge_gone_in_a_batch(self) -> None:
        """One that is gone, where only one transaction may be in flight: others are paid."""
        self.world.simulator.close()
        self.world = World(max_in_flight=1).start()
        world = self.world
        world.fund(10**6)
        world.fund(10**6, BOB)
        world.net.withholds = lambda transaction: transaction.sender is not None
        sandbox = world.create()
        world.until(lambda: world.net.pool != [], 60)
        world.keyspace._values.pop(world.eyes.store.keys.charge(ChargeId(f"{sandbox}:create")))
        world.net.withholds = lambda transaction: False
        self.others_go_on()
        self.assertEqual(self.told(), [("charge", f"{sandbox}:create")])
        self.assertEqual(world.funds().blocked, QUARANTINED)

    def test_batch(self) -> None:
        """A batch: it is nobody's any more, and its wallets alone wait."""
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.create()
        world.until(lambda: world.net.pool != [])
        (batch,) = world.now(world.eyes.queue.batches())
        key = world.eyes.store.keys.batch(BatchId(batch.value.id))
        was = self.damage(key)
        world.net.withholds = lambda transaction: False
        self.others_go_on()
        self.assertEqual(self.told(), [("batch", batch.value.id)])
        self.assertEqual(world.books().settled, 0)
        # A human has mended it.
        world.keyspace._values[key] = was
        world.until(lambda: any(isinstance(r.state, Paid) for r in world.charges()), 60)

    def test_intent(self) -> None:
        """An intent."""
        world = self.world
        world.begin(world.process.intake.create(BOB, {}, auto_stop_minutes=None))
        world.restart()
        (intent,) = world.now(world.eyes.meter.intents())
        self.damage(world.eyes.store.keys.intent(Reference(intent.reference)))
        world.create(ALICE)
        world.until(lambda: world.books(ALICE).settled > FEE, 3 * INTERVAL)
        self.assertEqual(self.told(), [("intent", intent.reference)])

    def test_record(self) -> None:
        """What is remembered of a sandbox."""
        world = self.world
        sandbox = world.create()
        record = world.keyspace.values()[world.eyes.store.keys.sandbox(sandbox)]
        assert isinstance(record, dict)
        record[b"charged_until"] = b"yesterday"
        self.others_go_on()
        self.assertIn(("record", sandbox), self.told())

    def test_account(self) -> None:
        """A mirrored account: its wallet waits, until it changes."""
        world = self.world
        world.create()
        key = world.eyes.store.keys.account(ALICE)
        self.damage(key)
        world.keyspace._values[world.eyes.store.keys.dry()][ALICE.hex.encode()] = 0.0
        world.create(BOB)
        world.until(lambda: world.books(BOB).settled > FEE, 3 * INTERVAL)
        world.deposit(5)
        world.advance(5)
        self.assertEqual(world.funds().account.value.balance, world.slot().balance)

    def spill(self, write: Write) -> None:
        """Damage done while everything runs."""
        self.world.run(self.world.keyspace.commit(Commit(name="meddle", fence="", writes=(write,))))

    def bob_is_paid(self) -> None:
        """Somebody else's charges are settled on."""
        before = self.world.books(BOB).settled
        self.world.until(lambda: self.world.books(BOB).settled > before, 2 * INTERVAL)

    def test_last_nonce(self) -> None:
        """The last nonce of a wallet: it is left out, also by a daemon that starts anew."""
        world = self.world
        world.create()
        world.create(BOB)
        world.until(lambda: world.earned >= 2 * FEE, 60)
        key = world.eyes.store.keys.nonce(ALICE)
        self.spill(Write("SET", key, ("coffee",)))
        last = world.slot().last_nonce
        self.bob_is_paid()
        world.until(lambda: "coffee" in world.process.troubles().get("settler", ""), INTERVAL)
        world.restart()
        self.bob_is_paid()
        # What was given to it is not known any more, and the chain has seen some.
        self.assertEqual(world.funds().blocked, QUARANTINED)
        self.assertEqual(world.slot().last_nonce, last)

    def test_exposure(self) -> None:
        """A field of a wallet's exposure: nobody else waits for it, and it is let in nowhere."""
        world = self.world
        world.create()
        world.create(BOB)
        world.until(lambda: world.earned >= 2 * FEE, 60)
        key = world.eyes.store.keys.exposure(ALICE)
        self.spill(Write("HSET", key, ("session:sb-9", "coffee")))
        # Of somebody else the time comes to be stopped.
        world.withdraw(world.slot(BOB).balance, BOB)
        (sandbox,) = world.funds(BOB).exposure.sandboxes()
        world.until(lambda: world.state(sandbox) == "stopped", 3 * INTERVAL)
        world.until(lambda: "coffee" in world.process.troubles().get("treasurer", ""), INTERVAL)
        self.fails(BadInput, world.process.intake.create(ALICE, {}, auto_stop_minutes=None))

    def test_signing(self) -> None:
        """Whatever breaks a law as it is signed: halved, until it is alone and left out."""
        world = self.world
        sign = RedisVoucherQueue.sign

        async def signing(queue: Any, batch: Any, promises: Any) -> Any:
            if ALICE in batch.wallets:
                raise BrokenLaw("L5", "overtaken")
            return await sign(queue, batch, promises)

        self.patch(RedisVoucherQueue, "sign", signing)
        world.process.turns["settler"].stopService()
        world.create()
        world.create(BOB)
        world.restart()
        world.until(lambda: world.books(BOB).settled >= FEE, 60)
        self.assertIn("overtaken", world.process.troubles()["settler"])
        self.assertEqual(world.books().settled, 0)
        self.assertIn(ALICE, world.process.work.settler.left_out())

    def test_event(self) -> None:
        """A stored event: the others are listed."""
        world = self.world
        world.create()
        world.until(lambda: world.books().settled > FEE, 3 * INTERVAL)
        events = world.keyspace.values()[world.eyes.store.keys.events(ALICE)]
        assert isinstance(events, dict)
        (first, *_) = sorted(events)
        events[first[:20] + b"{}"] = events.pop(first)
        eyes = world.process.journal.history
        _total, page = world.run(eyes.settlements(ALICE, since=0, page=0, page_size=50))
        self.assertEqual(len(page), len(events) - 1)
        self.assertEqual([kind for kind, _ in self.told()], ["event"])
        self.others_go_on()

    def test_dismissed(self) -> None:
        """What a human has looked at is gone, and not told of again while it stays."""
        world = self.world
        sandbox = world.create()
        self.damage(world.eyes.store.keys.session(sandbox))
        world.until(lambda: self.letters() != ())
        (letter,) = self.letters()
        world.now(world.eyes.letters.dismiss(letter))
        world.now(world.eyes.letters.dismiss(letter))
        world.advance(20)
        self.assertEqual(self.letters(), ())

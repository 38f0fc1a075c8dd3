"""
Tests of C{sandbox_billing.services.recovery}: nothing is signed on books that are behind.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve

from sandbox_billing.adapters.memory.blocks import raw_settlement, read_settlement
from sandbox_billing.adapters.memory.contract import Contract
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Address
from sandbox_billing.services.recovery import UNKNOWN_SECONDS
from tests.fixtures import ALICE, BOB, FEE, INTERVAL, PROVIDER, SIGNER, WorldCase


class LossCase(WorldCase):
    """A store that starts anew, with something missing."""

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(10**6)
        self.world.fund(10**6, BOB)

    def saved(self) -> tuple[dict[str, Any], dict[str, float]]:
        """What is on disk now."""
        keyspace = self.world.keyspace
        values = {k: v if isinstance(v, bytes) else type(v)(v) for k, v in keyspace._values.items()}
        return values, dict(keyspace._expires)

    def lose(self, saved: tuple[dict[str, Any], dict[str, float]]) -> None:
        """The server starts anew, with what was on disk then; the lease is newer."""
        keyspace = self.world.keyspace
        keys = self.world.eyes.store.keys
        kept = {k: keyspace._values[k] for k in (keys.lease(), keys.fence())}
        keyspace._values = {**saved[0], **kept}
        keyspace._expires = {**saved[1], keys.lease(): keyspace._expires[keys.lease()]}
        keyspace.starts += 1

    def trouble(self) -> str:
        """What the settler waits for."""
        return self.world.process.troubles().get("settler", "")

    def letters(self) -> list[tuple[str, str]]:
        """What a human is told of."""
        found = self.world.now(self.world.eyes.letters.letters())
        return [(letter.kind, letter.name) for letter in found]

    def foreign(self, nonce: int) -> None:
        """A transaction of ours whose record was lost."""
        raw = raw_settlement(SIGNER.address, PROVIDER, nonce, 10**9, [])
        self.assertTrue(self.world.net.submit(read_settlement(raw)))


class RecoveryTests(LossCase):
    """At start, and after each start of the store."""

    def test_nothing_lost(self) -> None:
        """A restart of the server that lost nothing holds nobody up for longer than a turn."""
        world = self.world
        world.create()
        world.until(lambda: world.books().settled == FEE, 30)
        self.world.keyspace.starts += 1
        world.create(BOB)
        world.until(lambda: world.books(BOB).settled == FEE, 30)
        self.assertEqual(self.letters(), [])

    def test_unknown_transaction(self) -> None:
        """A transaction of ours that is not stored is waited for; nothing is signed meanwhile."""
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.keyspace.starts += 1
        self.foreign(0)
        world.create()
        world.advance(40)
        self.assertEqual([r.seal for r in world.charges()], [None] * len(world.charges()))
        self.assertIn("account nonce 0", self.trouble())
        world.net.withholds = lambda transaction: False
        world.until(lambda: world.books().settled >= FEE, 30)
        self.assertEqual(self.trouble(), "")

    def test_unknown_transaction_at_start(self) -> None:
        """So it is when the daemon starts."""
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        self.foreign(0)
        world.restart()
        world.create()
        world.advance(20)
        self.assertIn("account nonce 0", self.trouble())
        self.assertEqual(world.now(world.eyes.queue.batches()), ())

    def test_unknown_transaction_is_never_mined(self) -> None:
        """One that is never mined has its account nonce used up, in the end."""
        world = self.world
        world.net.withholds = lambda transaction: transaction.fee_cap == 10**9
        world.keyspace.starts += 1
        self.foreign(0)
        world.create()
        world.advance(UNKNOWN_SECONDS - 20)
        self.assertEqual(world.earned, 0)
        world.until(lambda: world.books().settled >= FEE, 120)
        # One call that settled nothing went first, once.
        batches = world.now(world.eyes.queue.batches())
        self.assertEqual([b for b in batches if not b.value.charges], [])
        mined = [t for block in world.net.blocks for t in block.transactions if t.sender]
        self.assertEqual(
            [(t.account_nonce, t.gas > 60_000) for t in mined][:2], [(0, False), (1, True)]
        )

    def test_stored_batches_go_on(self) -> None:
        """What is stored and was sent is resolved while new vouchers wait."""
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.create()
        world.until(lambda: len(world.net.pool) > 0)
        (attempt,) = [a for b in world.now(world.eyes.queue.batches()) for a in b.value.attempts]
        self.foreign(attempt.account_nonce + 1)
        world.restart()
        world.create(BOB)
        world.advance(5)
        self.assertIn(f"account nonce {attempt.account_nonce + 1}", self.trouble())
        world.net.withholds = lambda t: t.account_nonce > attempt.account_nonce
        world.until(lambda: world.books().settled == FEE, 30)
        self.assertEqual([r.seal for r in world.charges(BOB)], [None] * len(world.charges(BOB)))
        world.net.withholds = lambda transaction: False
        world.until(lambda: world.books(BOB).settled == FEE, 30)

    def test_known_ones_hold_nobody(self) -> None:
        """A batch of ours in flight is no stranger."""
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.create()
        world.until(lambda: len(world.net.pool) > 0)
        world.restart()
        world.create(BOB)
        world.until(lambda: len(world.now(world.eyes.queue.batches())) == 2, 30)
        self.assertEqual(self.trouble(), "")
        world.net.withholds = lambda transaction: False
        world.until(lambda: world.books(BOB).settled == FEE, 30)

    def test_behind_the_chain(self) -> None:
        """A wallet of which the chain has seen more than is stored waits for a human (B16)."""
        world = self.world
        world.create()
        saved = self.saved()
        world.until(lambda: world.books().settled == world.books().charged > FEE, 2 * INTERVAL)
        settled = world.slot().last_nonce
        self.lose(saved)
        world.advance(3)
        world.create(BOB)
        world.until(lambda: world.funds().blocked == QUARANTINED, 60)
        self.assertEqual(self.letters(), [("wallet", ALICE.hex)])
        (letter,) = world.now(world.eyes.letters.letters())
        self.assertIn(f"nonce {settled} is settled", letter.reason)
        self.assertIn("reconcile --rebuild", letter.reason)
        # Everybody else goes on.
        world.until(lambda: world.books(BOB).settled >= FEE, 60)
        earned = world.earned
        world.advance(INTERVAL)
        self.assertEqual(world.slot().last_nonce, settled)
        self.assertEqual(world.earned - earned, world.books(BOB).settled - FEE)

    def test_behind_and_waiting(self) -> None:
        """One that waited for a human already is told of, too: he must not release it so."""
        world = self.world
        world.create()
        saved = self.saved()
        keys = world.eyes.store.keys
        saved[0][keys.blocked(ALICE)] = QUARANTINED.encode()
        saved[0][keys.blocked_wallets()] = {ALICE.hex.encode()}
        world.until(lambda: world.books().settled == world.books().charged > FEE, 2 * INTERVAL)
        self.lose(saved)
        world.until(lambda: bool(self.letters()), 60)
        self.assertEqual(self.letters(), [("wallet", ALICE.hex)])
        self.assertEqual(world.funds().blocked, QUARANTINED)

    def test_settled_before_it_was_known(self) -> None:
        """A wallet that used the provider before this journal began is not behind (wire.md §6)."""
        world = self.world
        carol = Address("0x" + "ca" * 20)

        def long_ago(contract: Contract) -> None:
            slot = contract.state.slot(PROVIDER, carol)
            contract.state.slots[(PROVIDER, carol)] = evolve(slot, last_nonce=40)

        world.net.act(long_ago)
        world.fund(10**6, carol)
        world.create(carol)
        world.restart()
        world.until(lambda: world.books(carol).settled == FEE, 60)
        self.assertEqual((self.letters(), world.slot(carol).last_nonce), ([], 41))

    def test_waits_for_the_mirror(self) -> None:
        """What was mined above the mirror's block and is not stored is seen in time."""
        world = self.world
        world.create()
        world.until(lambda: world.earned == FEE)
        # Mined, not confirmed; now everything of it is lost but the charge.
        values = world.keyspace._values
        keys = world.eyes.store.keys
        (batch,) = world.now(world.eyes.queue.batches())
        (stored,) = world.now(world.eyes.queue.batch_records(batch.value))
        del values[keys.batch(batch.value.id)], values[keys.batches()], values[keys.in_flight()]
        values[keys.nonce(ALICE)] = b"0"
        charge = stored.value.charge.id
        values[keys.charge(charge)] = stored.raw.replace(
            stored.raw[stored.raw.index(b'"state"') :], b'"state":{"is":"Open"},"v":1}'
        )
        ready, first = values[keys.dry()], values[keys.dry()]
        values[keys.charges(ALICE)] = type(first)({charge.encode(): 0.0})
        values[keys.ready()] = type(ready)({ALICE.hex.encode(): 0.0})
        world.keyspace.starts += 1
        world.until(lambda: world.funds().blocked == QUARANTINED, 20)
        self.assertEqual(world.earned, FEE)
        self.assertEqual(world.slot().last_nonce, 1)

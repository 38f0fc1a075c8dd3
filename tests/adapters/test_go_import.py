"""Tests of C{sandbox_billing.adapters.redis.go_store} and C{go_import}, in memory."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from fnmatch import fnmatchcase
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sandbox_billing.adapters.memory.keyspace import MemoryKeyspace
from sandbox_billing.adapters.memory.values import kind_of
from sandbox_billing.adapters.redis.commit import Commit, Committed, Read, Reply, Write
from sandbox_billing.adapters.redis.draft import stored_form
from sandbox_billing.adapters.redis.go_import import GoImporter
from sandbox_billing.adapters.redis.go_store import GoFound, GoStore
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.redis.seam import IKeyspace
from sandbox_billing.interfaces import Stale
from sandbox_billing.ledger.account import Account, BlockRef, Mirror
from sandbox_billing.ledger.audit import broken_at
from sandbox_billing.ledger.go_plan import GoPlan, plan_import
from sandbox_billing.ledger.identity import Address, Nonce, SandboxId
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.ledger.voucher import DeadLettered, Open, Signed
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.eip712 import EIP712Domain
from tests.adapters.test_rebuilding import Wall
from tests.cli.go_stage import GoSystem
from tests.ledger.test_go_plan import ALICE, BOB, BOX, INTERVAL, LAST, NOW, PRICE, PROVIDER, world


OTHERS = Address("0x" + "77" * 20)
SIGNED = "0x" + "11" * 65

NEWER = "newer-box"


class Died(Exception):
    """The process."""


@implementer(IKeyspace)
@define(eq=False)
class DyingKeyspace:
    """
    One that ends its process.

    @ivar at: Before which write, from 0; half a step later: after it.
    """

    inner: MemoryKeyspace
    at: float = float("inf")
    writes: int = field(default=0, init=False)

    async def read(self, reads: Sequence[Read]) -> tuple[Reply, ...]:
        """As the inner one."""
        return await self.inner.read(reads)

    async def commit(self, commit: Commit) -> Committed:
        """As the inner one, or the end."""
        if commit.token is None:
            return await self.inner.commit(commit)
        if self.at == self.writes:
            raise Died
        done = await self.inner.commit(commit)
        self.writes += 1
        if self.at == self.writes - 0.5:
            raise Died
        return done


class _Signer:
    """Signs everything alike: what is checked here is not the signature."""

    address = ALICE

    def sign_digest(self, _digest: bytes) -> bytes:
        return bytes.fromhex(SIGNED[2:])


class GoImportCase(SynchronousTestCase):
    """A keyspace that the Go system has filled."""

    def setUp(self) -> None:
        """Empty."""
        self.row = world().rows[BOX]
        self.clock = Clock()
        self.memory = MemoryKeyspace(self.clock)

    def now(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What it returns at once."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def write(self, name: str, key: str, *arguments: Any) -> None:
        """One command."""
        commit = Commit(name="fill", fence="fence", writes=(Write(name, key, arguments),))
        self.now(self.memory.commit(commit))

    def fill(self) -> GoSystem:
        """Two sessions, five vouchers, and everything else that the Go system keeps."""
        signer: Any = _Signer()
        go = GoSystem(
            call=self.write, provider=PROVIDER, domain=EIP712Domain(1, PROVIDER), signer=signer
        )
        go.older_session(BOX, ALICE, start=LAST - 120, last=LAST, price=str(PRICE))
        go.newer_session(NEWER, BOB, prepaid=NOW + 40, price=str(PRICE))
        self.write("HSET", "billing:compute:ghost", "last_voucher_at", LAST)
        go.push(
            go.queue,
            go.voucher(BOX, ALICE, (LAST - 60, LAST, 60), 60 * PRICE, nonce=9),
            go.voucher(NEWER, BOB, (NOW - 20, NOW + 40, 60), 60 * PRICE),
            go.voucher("gone", BOB, (5, 6, 1), 3),
        )
        go.push(
            f"voucher:held:{ALICE}:{PROVIDER}",
            go.voucher(BOX, ALICE, (LAST - 120, LAST - 60, 60), 60 * PRICE, nonce=8),
        )
        go.push(go.dead, go.voucher(BOX, ALICE, (7, 8, 1), 11, nonce=4))
        self.write("SADD", f"voucher:held-users:{PROVIDER}", ALICE.hex)
        self.write("SET", f"billing:nonce:{ALICE}:{PROVIDER}", 7)
        self.write("SET", f"billing:reserved:{ALICE}:{PROVIDER}", 1234)
        self.write("SET", f"billing:reserved:{ALICE}:{OTHERS}", 1234)
        self.write("RPUSH", "billing:events", "{}", "{}")
        self.write("SET", f"stop:sandbox:{BOX}", "insufficient_balance")
        self.write("SET", "stop:sandbox:gone", "not_acknowledged")
        self.write("SET", "nonce:abc", 1, "EX", 60)
        return go

    async def names(self, pattern: str, kind: str) -> tuple[str, ...]:
        """A SCAN."""
        found = self.memory.values().items()
        return tuple(sorted(k for k, v in found if fnmatchcase(k, pattern) and kind_of(v) == kind))

    def journal(self, keyspace: Any = None) -> Journal:
        """Of another process."""
        return Journal.over(
            keyspace or self.memory,
            PROVIDER,
            Wall(UnixSeconds(NOW)),
            interval_seconds=INTERVAL,
            lease_seconds=30,
        )

    def look(self, journal: Journal | None = None) -> GoFound:
        """What is there."""
        store = (journal or self.journal()).store
        found: GoFound = self.now(GoStore(store=store, names=self.names).look())
        return found

    def plan(self, found: GoFound) -> GoPlan:
        """Of that."""
        known = evolve(world(), rows={BOX: self.row})
        rows = {**known.rows, SandboxId(NEWER): evolve(known.rows[BOX], sandbox=SandboxId(NEWER))}
        return plan_import(found.facts, evolve(known, rows=rows))

    async def steps(self, journal: Journal, found: GoFound) -> int:
        """@return: How many writes it took to carry everything over."""
        self.assertTrue(await journal.lease.acquire())
        accounts = {
            wallet: Account(
                wallet=wallet,
                balance=Neuron(0),
                pending_refund=Neuron(0),
                refund_unlock_at=UnixSeconds(0),
                acknowledged=True,
                last_nonce=Nonce(0),
                block=1,
            )
            for wallet in (ALICE, BOB)
        }
        importer = GoImporter(
            journal=journal,
            found=found,
            plan=self.plan(found),
            accounts=accounts,
            interval_seconds=INTERVAL,
            now=UnixSeconds(NOW),
        )
        count = len([step async for step in importer.steps()])
        await journal.lease.give_up()
        return count

    def carry_out(self, journal: Journal) -> int:
        """@return: How many writes."""
        count: int = self.now(self.steps(journal, self.look(journal)))
        return count

    def contents(self) -> dict[str, Any]:
        """Everything but whose turn it is."""
        keys = self.journal().store.keys
        kept = self.memory.values()
        return {key: kept[key] for key in sorted(kept.keys() - {keys.lease(), keys.fence()})}


class LookTests(GoImportCase):
    """L{GoStore}."""

    def test_nothing(self) -> None:
        """An empty Redis has nothing of it."""
        self.assertTrue(self.look().nothing)

    def test_everything(self) -> None:
        """Sessions, vouchers, nonces, stops and the rest; another provider's are left alone."""
        self.fill()
        found = self.look()
        self.assertEqual(found.problems, ())
        self.assertEqual({one.sandbox for one in found.facts.sessions}, {BOX, NEWER})
        self.assertEqual(len(found.facts.ghosts), 1)
        self.assertEqual(len(found.facts.entries), 5)
        self.assertEqual(found.facts.nonces, {ALICE: 7})
        self.assertEqual(set(found.facts.stops), {BOX, "gone"})
        self.assertEqual(found.others, ())
        self.assertEqual(
            set(found.leftovers),
            {
                "billing:events",
                f"billing:reserved:{ALICE}:{PROVIDER}",
                f"voucher:held-users:{PROVIDER}",
            },
        )
        self.assertEqual((found.requests, found.pending), (1, False))

    def test_another_provider(self) -> None:
        """Beside another one's sessions, what does not say whose it is is left alone, too."""
        self.fill()
        self.write("HSET", "billing:compute:theirs", "provider", OTHERS.hex, "owner", ALICE.hex)
        found = self.look()
        self.assertEqual(
            found.others, ("billing:compute:theirs", "billing:events", "stop:sandbox:gone")
        )
        self.assertEqual(set(found.facts.stops), {BOX})
        self.carry_out(self.journal())
        self.assertLessEqual(set(found.others), self.memory.values().keys())
        self.assertTrue(self.look().nothing)

    def test_all_problems(self) -> None:
        """Everything that is not understood is named at once."""
        go = self.fill()
        self.write("HSET", f"billing:compute:{BOX}", "cpu", 2)
        go.push(go.queue, "no voucher")
        go.push(
            go.queue, go.voucher(BOX, ALICE, (1, 2, 1), 1).replace(checksum(PROVIDER), OTHERS.hex)
        )
        self.write("SET", f"billing:nonce:{BOB}:{PROVIDER}", "x")
        named = "\n".join(self.look().problems)
        for one in (f"billing:compute:{BOX}", "cpu", f"{go.queue} 3", f"{go.queue} 4", str(BOB)):
            self.assertIn(one, named)

    def test_under_way(self) -> None:
        """A transaction of the newest version is noticed."""
        self.write("SET", f"settler:pending-tx:{checksum(PROVIDER)}", "{}")
        self.assertTrue(self.look().pending)

    def test_our_own(self) -> None:
        """Our own sessions and stop orders are not taken for its."""
        self.fill()
        self.carry_out(self.journal())
        self.assertTrue(self.look().nothing)


class ImportTests(GoImportCase):
    """L{GoImporter}."""

    def test_everything(self) -> None:
        """Each thing is where the daemon looks for it, and kept under its old name."""
        go = self.fill()
        before = self.plan(self.look()).fees
        journal = self.journal()
        self.carry_out(journal)
        sessions = {one.value.sandbox: one.value for one in self.now(journal.meter.sessions())}
        self.assertEqual(sessions[BOX].charged_until, LAST)
        self.assertEqual(sessions[SandboxId(NEWER)].charged_until, NOW + 40)
        record = self.now(journal.doors.record(BOX))
        self.assertEqual(
            (record.owner, record.create_charged, record.charged_until), (ALICE, True, LAST)
        )
        queue = self.now(journal.queue.queue(ALICE, UnixSeconds(NOW), 10))
        self.assertEqual([one.value.seal.nonce for one in queue.records], [8, 9])
        self.assertEqual(queue.last_nonce, 9)
        self.assertEqual({type(one.value.state) for one in queue.records}, {Signed})
        queue = self.now(journal.queue.queue(BOB, UnixSeconds(NOW), 10))
        self.assertEqual([type(one.value.state) for one in queue.records], [Open, Open])
        (dead,) = self.now(journal.desk.dead())
        assert dead.record is not None
        self.assertIsInstance(dead.record.value.state, DeadLettered)
        charges = [
            *self.now(journal.history.charges(ALICE)),
            *self.now(journal.history.charges(BOB)),
        ]
        self.assertEqual(sum(one.charge.amount for one in charges), before)
        self.assertEqual(self.now(journal.stops.get(BOX)).reason, "insufficient_balance")
        self.assertIsNone(self.now(journal.doors.stop_reason(SandboxId("gone"))))
        kept = self.memory.values()
        self.assertEqual(len(kept[f"go:imported:{go.queue}"]), 3)
        self.assertIn(f"go:imported:billing:compute:{BOX}", kept)
        self.assertIn(f"billing:reserved:{ALICE}:{OTHERS}", kept)
        audit: Any = kept[journal.store.keys.audit()]
        self.assertIsNone(broken_at(audit))

    def test_beside_our_own(self) -> None:
        """Where a daemon has worked already, wallets become known to its mirror as it stands."""
        self.fill()
        journal = self.journal()
        mirror = Mirror(
            block=BlockRef(number=1, hash="0x" + "ab" * 32, timestamp=UnixSeconds(NOW)),
            service=None,
            version_changed_at=None,
            leaving_at=None,
            updated_at=UnixSeconds(NOW),
        )
        self.write("SET", journal.store.keys.mirror(), stored_form(mirror))
        self.carry_out(journal)
        self.assertEqual(set(self.now(journal.mirror.wallets())), {ALICE, BOB})
        kept = self.memory.values()
        self.assertEqual(kept[journal.store.keys.nonce(ALICE)], b"9")
        self.assertEqual(kept[journal.store.keys.nonce(BOB)], b"0")

    def test_stopped_twice(self) -> None:
        """One that has no price here, and that the Go system was to stop: one order, ours."""
        self.fill()
        self.row = evolve(self.row, resources=Resources(gpu=1))
        journal = self.journal()
        self.carry_out(journal)
        self.assertEqual(self.now(journal.doors.stop_reason(BOX)), "unpriced")
        self.assertTrue(self.look().nothing)

    def test_dies_at_every_write(self) -> None:
        """Whoever dies before or after any write runs it again, and it ends the same."""
        self.fill()
        writes = self.carry_out(self.journal())
        expected = self.contents()
        self.assertGreater(writes, 12)
        for half in range(2 * writes):
            with self.subTest(write=half / 2):
                self.setUp()
                self.fill()
                dying = self.journal(DyingKeyspace(self.memory, at=half / 2))
                work = self.steps(dying, self.look(dying))
                self.failureResultOf(Deferred.fromCoroutine(work), Died)
                self.clock.advance(31)
                self.carry_out(self.journal())
                self.assertEqual(self.contents(), expected)

    def test_changed(self) -> None:
        """A Go system that still runs is found out by the write that rests on what it changed."""
        go = self.fill()
        for change in (
            ("HSET", f"billing:compute:{BOX}", "last_voucher_at", NOW),
            ("DEL", f"billing:compute:{NEWER}"),
            ("LTRIM", go.queue, 1, -1),
            ("DEL", go.dead),
            ("SET", f"stop:sandbox:{BOX}", "other"),
            ("RPUSH", "billing:events", "new"),
            ("SET", f"billing:nonce:{ALICE}:{PROVIDER}", 100),
        ):
            with self.subTest(change=change):
                self.setUp()
                self.fill()
                journal = self.journal()
                found = self.look(journal)
                self.write(*change)
                self.failureResultOf(Deferred.fromCoroutine(self.steps(journal, found)), Stale)

"""What every L{IOverview} must do."""

from __future__ import annotations

from attrs import evolve
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.redis.commit import Write
from sandbox_billing.adapters.redis.overview import SHOWN
from sandbox_billing.interfaces import BlockedWallet, IOverview, LeaseLost
from sandbox_billing.ledger.audit import AuditEntry, entry_hash
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.overview import (
    HOUR_SECONDS,
    KEPT_DIFFERENCES,
    KEPT_HOURS,
    Difference,
    Hour,
    Purse,
)
from sandbox_billing.ledger.totals import Totals
from tests.ports.journal import (
    FEE,
    OWNER,
    PROVIDER,
    SB,
    STRANGER,
    T0,
    JournalCase,
    MakeWorld,
    attempt,
    block,
    meddle,
    mirrored,
    rulings,
    running,
    signed,
    ticked,
)
from tests.ports.journal_desk import dead_letter
from tests.ports.journal_queue import paid


PURSE = Purse(
    sender=PROVIDER, balance=Neuron(9), floor=Neuron(2), transaction=Neuron(3), read_at=T0
)


def difference(number: int) -> Difference:
    """One of many."""
    return Difference(at=T0, sandbox=f"sb-{number}", what="adopted", text="ran and was not metered")


def entry(number: int) -> AuditEntry:
    """A decision."""
    return AuditEntry(
        at=T0, by="somebody", what="release", subject=f"{number}", amount=Neuron(0), reason="why"
    )


class OverviewCase(JournalCase):
    """What operators look at, from a process without the lease."""

    async def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(IOverview, self.world.other.overview)

    async def test_nothing_yet(self) -> None:
        """An empty journal is told as such."""
        seen = await self.world.other.overview.overview()
        self.assertEqual((seen.sessions, seen.queue.depth, seen.queue.oldest), (0, 0, None))
        self.assertEqual((seen.batches, seen.dead, seen.letters, seen.stops), ((), (), (), ()))
        self.assertEqual((seen.purse, seen.differences, seen.quarantined), (None, (), ()))
        self.assertEqual((seen.hours, seen.totals), ((), Totals()))

    async def test_counts(self) -> None:
        """Sessions, the queue by state, the batch that is under way, and an order with its age."""
        await mirrored(self.world)
        await ticked(self.world, await running(self.world))
        batch = await signed(self.world)
        await self.world.journal.queue.record_attempt(batch, attempt())
        await running(self.world, "sb-2", owner=STRANGER)
        await self.world.journal.stops.order(SB, "spend_limit", T0)
        seen = await self.world.other.overview.overview()
        self.assertEqual((seen.sessions, seen.wallets, seen.mirrored), (2, 2, 1))
        self.assertEqual((seen.queue.depth, seen.queue.counted), (3, 3))
        self.assertEqual(seen.queue.states, {"signed": 2, "unsigned": 1})
        self.assertEqual(seen.queue.oldest, T0)
        self.assertEqual((seen.in_flight, seen.batch_count), (1, 1))
        self.assertEqual([len(one.attempts) for one in seen.batches], [1])
        self.assertEqual(
            [(one.sandbox, one.reason, one.ordered_at) for one in seen.stops],
            [(SB, "spend_limit", T0)],
        )
        assert seen.holder is not None
        self.assertEqual(seen.holder[1], (self.world.journal.store.token.value or b"").decode())

    async def test_oldest_stop(self) -> None:
        """It is told although many others are due before it is tried again, and are shown."""
        stops = self.world.journal.stops
        await stops.order(SB, "spend_limit", UnixSeconds(T0 - 900))
        order = await stops.get(SB)
        assert order is not None
        await stops.attempted(order, UnixSeconds(T0 + 60))
        for number in range(SHOWN):
            await stops.order(SandboxId(f"new-{number}"), "spend_limit", T0)
        seen = await self.world.other.overview.overview()
        self.assertEqual((SHOWN + 1, SHOWN), (seen.stop_count, len(seen.stops)))
        self.assertNotIn(SB, [one.sandbox for one in seen.stops])
        self.assertEqual(T0 - 900, seen.stop_oldest)

    async def test_damaged_stop(self) -> None:
        """An order that does not say when it was made hides no other, and nothing else."""
        stops, keys = self.world.journal.stops, self.world.journal.store.keys
        await stops.order(SB, "spend_limit", T0)
        await stops.order(SandboxId("sb-2"), "spend_limit", T0)
        await meddle(self.world.keyspace, Write("HSET", keys.stop(SB), ("ordered_at", "soon")))
        seen = await self.world.other.overview.overview()
        self.assertEqual((2, T0), (seen.stop_count, seen.stop_oldest))
        self.assertEqual(["sb-2"], [one.sandbox for one in seen.stops])

    async def test_what_needs_a_human(self) -> None:
        """Dead letters and a quarantine; what cannot be read hides nothing else."""
        await dead_letter(self.world)
        keys = self.world.journal.store.keys
        await meddle(
            self.world.keyspace,
            Write("HSET", keys.letters(), ("charge:x", "{")),
            Write("RPUSH", keys.differences(), ("{",)),
            Write("SET", keys.purse(), ("{",)),
        )
        seen = await self.world.other.overview.overview()
        self.assertEqual((seen.dead_count, len(seen.dead)), (1, 1))
        self.assertEqual((seen.letter_count, seen.letters), (1, ()))
        self.assertEqual((seen.blocked, seen.quarantined), (1, (OWNER,)))
        self.assertEqual((seen.purse, seen.differences), (None, ()))

    async def test_quarantine_is_not_any_block(self) -> None:
        """Who only has no money is blocked, and needs no human."""
        await mirrored(self.world)
        funds = await self.world.journal.funds.funds(OWNER)
        await self.world.journal.funds.block(BlockedWallet(funds, "insufficient_balance"))
        seen = await self.world.other.overview.overview()
        self.assertEqual((seen.blocked, seen.quarantined), (1, ()))
        self.assertNotEqual(QUARANTINED, "insufficient_balance")

    async def test_hours(self) -> None:
        """What is settled counts in its hour, once, and the hours add up to the totals."""
        journal, overview = self.world.journal, self.world.other.overview
        session = await ticked(self.world, await running(self.world))
        batch = await signed(self.world)
        ruled = await rulings(self.world, batch, paid)
        for _ in range(2):
            await journal.queue.resolve(batch, block(), ruled, (), (), gas=Neuron(21))
        self.world.wall.moment = T0 + 60
        await ticked(self.world, session)
        batch = await signed(self.world, id="batch-2")
        self.world.wall.moment = T0 + 3 * HOUR_SECONDS
        ruled = await rulings(self.world, batch, paid)
        await journal.queue.resolve(batch, block(), ruled, (), (), gas=Neuron(4))
        seen = await overview.overview()
        first, second = seen.hours
        begins = T0 - T0 % HOUR_SECONDS
        self.assertEqual((first.begins, second.begins), (begins, begins + 3 * HOUR_SECONDS))
        self.assertEqual((first.totals.batches, first.totals.vouchers), (1, 2))
        self.assertEqual(second.totals.gas, 4)
        totals = await journal.history.totals()
        self.assertEqual(first.totals.plus(second.totals), totals)
        self.assertGreater(totals.fees, FEE)
        self.assertEqual(seen.totals, totals)

    async def test_hours_end(self) -> None:
        """Seven days are kept; an hour that cannot be read is counted anew, and holds up none."""
        await self.hours_end(b"damaged")

    async def test_no_text(self) -> None:
        """Bytes that are no text are as any other damage: they stop no settlement."""
        await self.hours_end(b"\xff\xfe\xff")

    async def test_no_text_is_passed_over(self) -> None:
        """What operators look at is shown but for what is no text."""
        keys, at = self.world.journal.store.keys, T0 - T0 % HOUR_SECONDS
        await meddle(
            self.world.keyspace,
            Write("ZADD", keys.hours(), (at, b"\xff\xfe\xff")),
            Write("RPUSH", keys.differences(), (b"\xff\xfe\xff",)),
            Write("HSET", keys.letters(), ("charge:x", b"\xff\xfe\xff")),
        )
        await self.world.journal.overview.note_differences([difference(1)])
        seen = await self.world.other.overview.overview()
        self.assertEqual((seen.hours, seen.letters), ((), ()))
        self.assertEqual(seen.differences, (difference(1),))

    async def hours_end(self, damaged: bytes) -> None:
        """A settlement where this hour has a count that cannot be read."""
        journal, key = self.world.journal, self.world.journal.store.keys.hours()
        now = T0 - T0 % HOUR_SECONDS
        old = now - KEPT_HOURS * HOUR_SECONDS
        await meddle(
            self.world.keyspace,
            Write("ZADD", key, (old, "old")),
            Write("ZADD", key, (now, damaged)),
        )
        await running(self.world)
        batch = await signed(self.world)
        ruled = await rulings(self.world, batch, paid)
        await journal.queue.resolve(batch, block(), ruled, (), (), gas=Neuron(1))
        self.assertEqual(
            (await journal.overview.overview()).hours,
            (Hour(begins=UnixSeconds(now), totals=await journal.history.totals()),),
        )
        self.assertNotEqual(await journal.history.totals(), Totals())

    async def test_sessions(self) -> None:
        """Of all wallets, page by page, each once; with the order against one of them."""
        for name in ("sb-3", "sb-1", "sb-2"):
            await running(self.world, name, owner=STRANGER if name == "sb-2" else OWNER)
        await self.world.journal.stops.order(SandboxId("sb-2"), "not_acknowledged", T0)
        port = self.world.other.overview
        page = await port.sessions(None, 2)
        self.assertEqual([one.sandbox for one in page.sessions], ["sb-1", "sb-2"])
        self.assertEqual((page.total, page.stops), (3, {"sb-2": "not_acknowledged"}))
        page = await port.sessions(page.after, 2)
        self.assertEqual(([one.sandbox for one in page.sessions], page.after), (["sb-3"], None))

    async def test_audit(self) -> None:
        """Newest pages first, each with the form that its first entry follows."""
        await mirrored(self.world)
        for number in range(3):
            funds = await self.world.journal.funds.funds(OWNER)
            if funds.blocked is None:
                await self.world.journal.funds.block(BlockedWallet(funds, QUARANTINED))
            funds = await self.world.journal.funds.funds(OWNER)
            await self.world.other.desk.release(funds, entry(number))
        port, forms = self.world.other.overview, await self.world.other.desk.entries(0, 9)
        page = await port.audit(None, 2)
        self.assertEqual((page.total, page.first, page.forms), (3, 1, forms[1:]))
        assert page.before is not None
        self.assertIn(entry_hash(page.before).encode(), page.forms[0])
        page = await port.audit(page.first, 2)
        self.assertEqual((page.first, page.forms, page.before), (0, forms[:1], None))
        self.assertEqual((await port.audit(0, 2)).forms, ())

    async def test_notes(self) -> None:
        """The worker alone keeps them; of differences the newest, as many as are kept."""
        overview = self.world.journal.overview
        await overview.note_purse(PURSE)
        await overview.note_purse(evolve(PURSE, balance=Neuron(8)))
        await overview.note_differences([difference(n) for n in range(KEPT_DIFFERENCES)])
        await overview.note_differences([difference(-1)])
        seen = await self.world.other.overview.overview()
        assert seen.purse is not None
        self.assertEqual(seen.purse.balance, 8)
        self.assertEqual([one.sandbox for one in seen.differences[:2]], ["sb--1", "sb-199"])
        with self.assertRaises(LeaseLost):
            await self.world.other.overview.note_purse(PURSE)
        with self.assertRaises(LeaseLost):
            await self.world.other.overview.note_differences([difference(1)])


def overview_suite(name: str, make: MakeWorld) -> type[OverviewCase]:
    """The suite for one adapter."""
    return type(f"{name}OverviewTests", (OverviewCase,), {"make_world": staticmethod(make)})

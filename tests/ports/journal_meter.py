"""What every L{IMeter} must do."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.redis.commit import Write
from sandbox_billing.errors import BrokenLaw
from sandbox_billing.interfaces import BlockedWallet, IMeter, LeaseLost, Stale
from sandbox_billing.ledger.hold import session_value
from sandbox_billing.ledger.identity import Reference, SandboxId, create_charge_id
from sandbox_billing.ledger.metering import Tick, begin, close, tick
from sandbox_billing.ledger.money import UnixSeconds
from tests.ports.journal import (
    INTERVAL,
    OWNER,
    RATE,
    SB,
    T0,
    JournalCase,
    MakeWorld,
    World,
    closed,
    create_charge,
    intent,
    meddle,
    pending,
    running,
    session,
    signed,
    ticked,
)


LATER = UnixSeconds(T0 + INTERVAL)


class MeterCase(JournalCase):
    """Worker facts of sessions."""

    async def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(IMeter, self.world.journal.meter)

    async def test_charge(self) -> None:
        """A tick moves session, record and due time, and appends its charge, in one write."""

        async def scenario(world: World, sure: Any) -> None:
            before = await running(world)
            world.wall.moment = LATER
            meter = world.journal.meter
            await meter.seen({SB: LATER})
            step = tick(before.value, seen_at=LATER, now=LATER, interval_seconds=INTERVAL)
            assert step is not None
            after = await sure(lambda: meter.charge(before, step))
            self.assertEqual(after, await world.other.doors.session(SB))
            self.assertEqual(after.value.charged_until, LATER)
            record = await world.other.doors.record(SB)
            self.assertEqual(record and record.charged_until, LATER)
            exposure = await self.exposure()
            self.assertEqual(exposure[f"charge:{SB}:{T0}"], str(RATE))
            self.assertEqual(exposure[f"session:{SB}"], session_value(after.value))
            self.assertEqual(await world.other.history.wallets(), (OWNER,))
            self.assertEqual(await meter.due(UnixSeconds(LATER + INTERVAL - 1), 9), ())
            (due,) = await meter.due(UnixSeconds(LATER + INTERVAL), 9)
            self.assertEqual((due.session, due.seen_at), (after, LATER))

        await self.same_books(scenario)

    async def test_charge_what_has_changed(self) -> None:
        """A tick of an earlier form of the session changes nothing (L2)."""
        before = await running(self.world)
        await ticked(self.world, before)
        step = tick(before.value, seen_at=LATER, now=LATER, interval_seconds=INTERVAL)
        assert step is not None
        other = Tick(evolve(step.session, revision=99), step.charge)
        await self.unchanged(Stale, lambda: self.world.journal.meter.charge(before, other))

    async def test_charge_unseen(self) -> None:
        """No period is charged past the newest observation (L3)."""
        before = await running(self.world)
        step = tick(before.value, seen_at=LATER, now=LATER, interval_seconds=INTERVAL)
        assert step is not None
        await self.world.journal.meter.seen({SB: UnixSeconds(LATER - 1)})
        await self.unchanged(Stale, lambda: self.world.journal.meter.charge(before, step))
        await self.world.journal.meter.seen({SB: LATER})
        await self.world.journal.meter.charge(before, step)

    async def test_charge_against_the_record(self) -> None:
        """A session that disagrees with its sandbox's record is not charged (L2)."""
        before = await running(self.world)
        key = self.world.journal.store.keys.sandbox(SB)
        await meddle(self.world.keyspace, Write("HSET", key, ("charged_until", LATER)))
        await self.world.journal.meter.seen({SB: LATER})
        step = tick(before.value, seen_at=LATER, now=LATER, interval_seconds=INTERVAL)
        assert step is not None
        await self.unchanged(BrokenLaw, lambda: self.world.journal.meter.charge(before, step))

    async def test_free_period(self) -> None:
        """A period that costs nothing is moved past without a charge."""
        before = await running(self.world)
        await self.world.journal.meter.seen({SB: LATER})
        after = evolve(before.value, charged_until=LATER, revision=before.value.revision + 1)
        await self.world.journal.meter.charge(before, Tick(after, None))
        self.assertEqual(await self.world.journal.history.pending(), (create_charge_id(SB),))

    async def test_due_order(self) -> None:
        """The longest overdue come first, within the limit; pending ones never."""
        for number in (3, 1, 2):
            name = f"sb-{number}"
            at = UnixSeconds(T0 + number)
            await running(self.world, name, opened_at=at, charged_until=at)
        await pending(self.world, "sb-0")
        meter = self.world.journal.meter
        due = await meter.due(UnixSeconds(T0 + 100), 2)
        self.assertEqual([d.session.value.sandbox for d in due], ["sb-1", "sb-2"])
        self.assertEqual(len(await meter.due(UnixSeconds(T0 + 62), 9)), 2)

    async def test_postpone(self) -> None:
        """A postponed session is due later; one that is gone does not come back."""
        before = await running(self.world)
        meter = self.world.journal.meter
        await meter.postpone(before, UnixSeconds(T0 + 500))
        self.assertEqual(await meter.due(UnixSeconds(T0 + 499), 9), ())
        self.assertEqual(len(await meter.due(UnixSeconds(T0 + 500), 9)), 1)
        await closed(self.world, before, T0 + 1, destroyed=False)
        await meter.postpone(before, T0)
        self.assertEqual(await self.raw("EXISTS", self.world.journal.store.keys.due()), b"0")

    async def test_seen_many(self) -> None:
        """A whole sweep is stored in one write, however many it shows."""
        meter = self.world.journal.meter
        await meter.seen({SandboxId(f"sb-{n}"): UnixSeconds(T0 + n) for n in range(5_000)})
        self.assertEqual(await meter.seen_at(SandboxId("sb-4999")), T0 + 4999)
        self.assertEqual(await self.world.other.doors.seen_at(SandboxId("sb-0")), T0)
        await meter.seen({})

    async def test_begin(self) -> None:
        """A session that runs accrues from now, and its create charge is ripe."""

        async def scenario(world: World, sure: Any) -> None:
            opened = await pending(world)
            begun = begin(opened.value, UnixSeconds(T0 + 9))
            world.wall.moment = T0 + 9
            await sure(lambda: world.journal.meter.begin(opened, begun))
            found = await world.other.doors.session(SB)
            self.assertEqual(found and found.value, begun)
            self.assertEqual((await self.exposure())[f"session:{SB}"], session_value(begun))
            record = await world.other.doors.record(SB)
            self.assertEqual(record and record.charged_until, T0 + 9)
            now = UnixSeconds(T0 + 9)
            self.assertEqual(await world.journal.queue.ready(now, 9), (OWNER,))
            self.assertEqual(len((await world.journal.queue.queue(OWNER, now, 9)).records), 1)
            due = await world.journal.meter.due(UnixSeconds(T0 + 9 + INTERVAL), 9)
            self.assertEqual(len(due), 1)

        await self.same_books(scenario)

    async def test_begin_what_has_changed(self) -> None:
        """A session begins once."""
        opened = await pending(self.world)
        meter = self.world.journal.meter
        await meter.begin(opened, begin(opened.value, T0))
        other = begin(opened.value, UnixSeconds(T0 + 1))
        await self.unchanged(Stale, lambda: meter.begin(opened, other))

    async def test_close_forgiving(self) -> None:
        """A sandbox that never started is not charged for its creation."""

        async def scenario(world: World, sure: Any) -> None:
            opened = await pending(world)
            closing = close(opened.value, until=T0 + 5, now=UnixSeconds(T0 + 5))
            await sure(
                lambda: world.journal.meter.close(
                    opened, closing, destroyed=False, forgive_create=True
                )
            )
            self.assertEqual(await self.exposure(), {})
            self.assertEqual(await world.other.history.charges(OWNER), ())
            self.assertEqual(await world.other.history.pending(), ())
            record = await world.other.doors.record(SB)
            self.assertEqual(record and record.create_charged, False)
            self.assertIsNone(await world.other.doors.session(SB))

        await self.same_books(scenario)

    async def test_close_forgives_nothing_signed(self) -> None:
        """A create charge that is signed stays what it is (L5)."""
        before = await running(self.world)
        await signed(self.world)
        closing = close(before.value, until=T0 + 5, now=UnixSeconds(T0 + 5))
        await self.world.journal.meter.close(before, closing, destroyed=True, forgive_create=True)
        self.assertIn(f"charge:{SB}:create", await self.exposure())
        record = await self.world.other.doors.record(SB)
        self.assertEqual(record and record.create_charged, True)

    async def test_open_under(self) -> None:
        """The worker opens the session of an intent whose reply was lost."""

        async def scenario(world: World, sure: Any) -> None:
            wanted, opened = intent(), session()
            await world.journal.doors.reserve(wanted, await world.journal.doors.funds(OWNER))
            fee = create_charge(opened)
            await sure(lambda: world.journal.meter.open_under(wanted, opened, fee))
            self.assertEqual(await world.other.meter.intents(), ())
            self.assertEqual(len(await world.other.history.charges(OWNER)), 1)

        await self.same_books(scenario)

    async def test_adopt(self) -> None:
        """What runs unmetered is metered, and ordered to stop if it may not run."""

        async def scenario(world: World, sure: Any) -> None:
            adopted = session(reference=Reference("adopted:sb-1"), started_at=T0)
            meter = world.journal.meter
            await sure(lambda: meter.adopt(adopted, "insufficient_balance"))
            (found,) = await meter.sessions()
            self.assertEqual(found.value, adopted)
            self.assertEqual(await world.other.doors.stop_reason(SB), "insufficient_balance")
            self.assertEqual(len(await meter.due(LATER, 9)), 1)
            record = await world.other.doors.record(SB)
            self.assertEqual(record and record.create_charged, False)

        await self.same_books(scenario)

    async def test_adopt_again(self) -> None:
        """An open session is not replaced; a flag on the wallet orders a stop by itself."""
        before = await running(self.world)
        meter = self.world.journal.meter
        late = session(reference=Reference("adopted:sb-1"), started_at=T0)
        await self.unchanged(Stale, lambda: meter.adopt(late, None))
        await closed(self.world, before, T0 + 50, destroyed=False)
        funds = await self.world.journal.funds.funds(OWNER)
        await self.world.journal.funds.block(BlockedWallet(funds, "debt"))
        await meter.adopt(late, None)
        (found,) = await meter.sessions()
        self.assertEqual((found.value.opened_at, found.value.charged_until), (T0 + 50,) * 2)
        self.assertEqual(await self.world.other.doors.stop_reason(SB), "debt")

    async def test_lists(self) -> None:
        """All sessions, intents and records can be read for a sweep."""
        meter, doors = self.world.journal.meter, self.world.journal.doors
        for number in range(3):
            await pending(self.world, f"sb-{number}")
        funds = await doors.funds(OWNER)
        wanted = [intent("b", created_at=UnixSeconds(T0 + 1)), intent("a")]
        for each in wanted:
            await doors.reserve(each, funds)
        self.assertEqual(await meter.intents(), (wanted[1], wanted[0]))
        names = [s.value.sandbox for s in await meter.sessions()]
        self.assertEqual(names, ["sb-0", "sb-1", "sb-2"])
        records = await meter.records([SandboxId("sb-2"), SandboxId("nobody")])
        self.assertEqual(list(records), ["sb-2"])

    async def test_stale_token(self) -> None:
        """No worker fact of a worker that was replaced changes anything (L10)."""
        before = await running(self.world)
        waiting = await pending(self.world, "sb-2")
        journal = self.world.journal
        await journal.meter.seen({SB: LATER})
        step = tick(before.value, seen_at=LATER, now=LATER, interval_seconds=INTERVAL)
        assert step is not None
        closing = close(before.value, until=T0 + 5, now=LATER)
        wanted = intent("sb-3")
        await journal.doors.reserve(wanted, await journal.doors.funds(OWNER))
        fresh = session("sb-3", reference=wanted.reference)
        await self.usurp()
        meter = journal.meter
        for call in (
            lambda: meter.charge(before, step),
            lambda: meter.postpone(before, LATER),
            lambda: meter.seen({SB: LATER}),
            lambda: meter.begin(waiting, begin(waiting.value, T0)),
            lambda: meter.close(before, closing, destroyed=True, forgive_create=True),
            lambda: meter.open_under(wanted, fresh, None),
            lambda: meter.adopt(fresh, None),
            lambda: meter.answered(SB),
        ):
            await self.unchanged(LeaseLost, call)
        await self.world.other.meter.charge(before, step)

    async def test_without_a_lease(self) -> None:
        """A process that was never the worker is refused before anything is sent."""
        before = await running(self.world)
        other = self.world.other.meter
        await self.unchanged(LeaseLost, lambda: other.seen({SB: LATER}))
        await self.unchanged(LeaseLost, lambda: other.postpone(before, LATER))


def meter_suite(name: str, make_world: MakeWorld) -> type[JournalCase]:
    """The suite for one adapter."""
    return type(f"{name}MeterTests", (MeterCase,), {"make_world": staticmethod(make_world)})

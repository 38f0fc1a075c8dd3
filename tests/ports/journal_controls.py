"""What every L{IControls} must do, and the facts that move what a wallet's limits count."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.redis.commit import Write
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import IControls, LeaseLost, Stale
from sandbox_billing.ledger.controls import FOLD_AT, GONE, Controls, SandboxLimit, changed
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.metering import begin, close, day_begins, day_of
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from tests.ports.journal import (
    FEE,
    INTERVAL,
    OWNER,
    RATE,
    SB,
    STRANGER,
    T0,
    JournalCase,
    MakeWorld,
    World,
    create_charge,
    intent,
    meddle,
    session,
    ticked,
)


BOUNDED = Controls(
    auto_resume=True,
    per_day=Neuron(10**21),
    total=Neuron(10**22),
    sandboxes=(SandboxLimit(SB, Neuron(5)),),
)
LATER = UnixSeconds(2**41)


async def begun(world: World) -> Any:
    """A session that runs, with its create fee."""
    doors, wanted, made = world.journal.doors, intent(), session()
    await doors.reserve(wanted, await doors.funds(OWNER))
    await doors.open_session(wanted, made, create_charge(made))
    stored = await doors.session(SB)
    assert stored is not None
    await world.journal.meter.begin(stored, begin(stored.value, stored.value.opened_at))
    await world.journal.meter.seen({SB: stored.value.opened_at})
    return await doors.session(SB)


async def set_to(world: World, wanted: Controls) -> None:
    """Other settings."""
    port = world.journal.controls
    found = await port.outlay(OWNER)
    before, spent = found.outlay.controls, found.outlay.spent()
    await port.change(found, changed(before, wanted, spent=spent, now=found.outlay.at))


class ControlsCase(JournalCase):
    """Settings, what counts for them, and what waits to be resumed."""

    async def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(IControls, self.world.journal.controls)

    async def test_settings(self) -> None:
        """Kept for their wallet, whatever answer was lost; nothing is set that nobody set."""

        async def scenario(world: World, sure: Any) -> None:
            port, other = world.journal.controls, world.other.controls
            self.assertEqual(await other.controls(OWNER), Controls())
            self.assertIsNone(await world.other.doors.outlay(OWNER))
            found = await port.outlay(OWNER)
            after = changed(Controls(), BOUNDED, spent=Neuron(0), now=UnixSeconds(T0))
            await sure(lambda: port.change(found, after))
            self.assertEqual(await other.controls(OWNER), after)
            self.assertEqual(await other.controls(STRANGER), Controls())
            outlay = await world.other.doors.outlay(OWNER)
            assert outlay is not None
            self.assertEqual((outlay.controls, outlay.at), (after, T0))

        await self.same_books(scenario)

    async def test_changed_meanwhile(self) -> None:
        """Of two at once one is told so; and a total counts from where it was read to count."""
        port, found = self.world.journal.controls, await self.world.journal.controls.outlay(OWNER)
        await set_to(self.world, Controls(auto_resume=True))
        await self.unchanged(Stale, lambda: port.change(found, evolve(BOUNDED, revision=7)))
        found = await port.outlay(OWNER)
        await begun(self.world)
        await self.unchanged(Stale, lambda: port.change(found, evolve(BOUNDED, revision=7)))

    async def test_what_counts(self) -> None:
        """Fee, run and accrued seconds count until they end and after, for sandbox and day."""
        world, port = self.world, self.world.journal.controls
        stored = await begun(world)
        world.wall.moment = T0 + 30
        found = (await port.outlay(OWNER)).outlay
        accrued = RATE * 30 // 60
        self.assertEqual((found.spent(), found.spent_today()), (FEE + accrued,) * 2)
        self.assertEqual(found.spent_for_good(), found.spent())
        world.wall.moment = T0 + INTERVAL
        stored = await ticked(world, stored)
        cost = FEE + RATE * INTERVAL // 60
        found = (await port.outlay(OWNER)).outlay
        self.assertEqual((found.spent(), found.spent_today()), (cost, cost))
        done = close(stored.value, until=0, now=UnixSeconds(T0 + INTERVAL))
        await world.journal.doors.close_session(stored, done, destroyed=False, forgive_create=False)
        found = (await port.outlay(OWNER)).outlay
        self.assertEqual((found.spent(), found.spent_today()), (cost, cost))
        self.assertEqual(dict(found.ended), {SB: str(cost)})
        # A second run of the same sandbox goes on from there.
        wanted = intent("ref-2", action="start", sandbox=SB, create_fee=Neuron(0))
        await world.journal.doors.reserve(wanted, await world.journal.doors.funds(OWNER))
        again = session(reference=wanted.reference)
        opened = await world.journal.doors.open_session(wanted, again, None)
        self.assertEqual(opened.life_spent, cost)
        world.wall.moment = day_begins(day_of(T0) + 1)
        self.assertEqual((await port.outlay(OWNER)).outlay.spent_today(), 0)

    async def test_forgiven(self) -> None:
        """A create fee that is forgiven was never spent, and is once more when it is due."""
        world, doors = self.world, self.world.journal.doors
        wanted, made = intent(), session()
        await doors.reserve(wanted, await doors.funds(OWNER))
        await doors.open_session(wanted, made, create_charge(made))
        self.assertEqual((await world.journal.controls.outlay(OWNER)).outlay.spent(), FEE)
        stored = await doors.session(SB)
        assert stored is not None
        done = close(stored.value, until=0, now=T0)
        # Nobody has spent it for good before it runs.
        self.assertEqual((await world.journal.controls.outlay(OWNER)).outlay.spent_for_good(), 0)
        await doors.close_session(stored, done, destroyed=False, forgive_create=True)
        found = (await world.journal.controls.outlay(OWNER)).outlay
        self.assertEqual((found.spent(), found.spent_today()), (0, 0))
        self.assertEqual(dict(found.ended), {})

    async def test_fold(self) -> None:
        """What nobody asks for alone is added up, what runs or is limited stays; once."""
        world, port = self.world, self.world.journal.controls
        await begun(world)
        key = world.journal.store.keys.costs(OWNER)
        old = [(f"old-{n}", str(n)) for n in range(1, 4)]
        for name, cost in old:
            await meddle(world.keyspace, Write("HSET", key, (name, cost)))
        limit = SandboxLimit(SandboxId("old-3"), Neuron(9))
        await set_to(world, Controls(sandboxes=(limit,)))
        before = await port.outlay(OWNER)
        await port.fold(before)
        after = (await port.outlay(OWNER)).outlay
        self.assertEqual(set(after.ended), {SB, "old-3", GONE})
        self.assertEqual((after.ended[GONE], after.spent()), ("3", before.outlay.spent()))
        await self.unchanged(Stale, lambda: port.fold(before))

    async def test_fold_only_what_is_gone(self) -> None:
        """What is stopped is started again, and may be limited then: it is not added up."""
        world, port = self.world, self.world.journal.controls
        stored = await begun(world)
        done = close(stored.value, until=0, now=T0)
        close_session = world.journal.doors.close_session
        await close_session(stored, done, destroyed=False, forgive_create=False)
        before = await world.dump()
        await port.fold(await port.outlay(OWNER))
        self.assertEqual(await world.dump(), before)
        await world.journal.doors.destroyed(SB)
        await port.fold(await port.outlay(OWNER))
        self.assertEqual(set((await port.outlay(OWNER)).outlay.ended), {GONE})

    async def test_asks_to_fold(self) -> None:
        """A wallet with very many is listed as one more begins, whether it has a limit or not."""
        world, port = self.world, self.world.journal.controls
        key = world.journal.store.keys.costs(OWNER)
        for n in range(FOLD_AT):
            await meddle(world.keyspace, Write("HSET", key, (f"old-{n}", "1")))
        stored = await begun(world)
        self.assertEqual(await port.to_check(T0, 10), ())
        done = close(stored.value, until=0, now=T0)
        close_session = world.journal.doors.close_session
        await close_session(stored, done, destroyed=False, forgive_create=False)
        wanted = intent("ref-2", action="start", sandbox=SB, create_fee=Neuron(0))
        await world.journal.doors.reserve(wanted, await world.journal.doors.funds(OWNER))
        await world.journal.doors.open_session(wanted, session(reference=wanted.reference), None)
        self.assertEqual(await port.to_check(T0, 10), (OWNER,))

    async def test_folded_before_it_opens(self) -> None:
        """What was added up while a session opens is not counted twice."""
        world, doors = self.world, self.world.journal.doors
        key = world.journal.store.keys.costs(OWNER)
        await meddle(world.keyspace, Write("HSET", key, (SB, "70")))
        wanted, made = intent(), session()
        await doors.reserve(wanted, await doors.funds(OWNER))

        async def fold() -> None:
            gone, total = Write("HDEL", key, (SB,)), Write("HSET", key, (GONE, "70"))
            await meddle(world.keyspace, gone, total)

        self.overtaken(fold)
        opened = await doors.open_session(wanted, made, None)
        self.assertEqual(opened.life_spent, 0)
        self.assertEqual((await world.journal.controls.outlay(OWNER)).outlay.spent(), 70)

    async def test_index(self) -> None:
        """Who has a limit is looked at when it is set and when something begins; nobody else."""
        world, port = self.world, self.world.journal.controls
        stored = await begun(world)
        self.assertEqual(await port.to_check(LATER, 10), ())
        await set_to(world, BOUNDED)
        self.assertEqual(await port.to_check(T0, 10), (OWNER,))
        await port.check_again(await port.outlay(OWNER), None)
        self.assertEqual(await port.to_check(UnixSeconds(2**39), 10), ())
        await ticked(world, stored)
        self.assertEqual(await port.to_check(T0, 10), ())
        other = intent("ref-2")
        await world.journal.doors.reserve(other, await world.journal.doors.funds(OWNER))
        self.assertEqual(await port.to_check(T0, 10), (OWNER,))
        found = await port.outlay(OWNER)
        await port.check_again(found, UnixSeconds(T0 + 50))
        self.assertEqual(await port.to_check(UnixSeconds(T0 + 49), 10), ())
        for ahead, due in ((300, ()), (301, (OWNER,))):
            # What a clock set that was ahead of ours is no reason to wait.
            await port.check_again(found, UnixSeconds(T0 + ahead))
            self.assertEqual(await port.to_check(T0, 10), due)
        await world.journal.doors.release(other)
        await self.unchanged(Stale, lambda: port.check_again(found, None))
        await set_to(world, Controls())
        self.assertEqual(await port.to_check(LATER, 10), ())

    async def test_remembered(self) -> None:
        """What the worker closes under an order for want of money is; nothing else is."""
        for reason, by_worker, destroyed, kept in (
            ("insufficient_balance", True, False, True),
            ("spend_limit", True, False, True),
            ("not_acknowledged", True, False, False),
            (None, True, False, False),
            ("insufficient_balance", False, False, False),
            ("insufficient_balance", True, True, False),
        ):
            await self.world.close()
            await self._fresh()
            world = self.world
            stored = await begun(world)
            if reason is not None:
                await world.journal.stops.order(SB, reason, T0)
            done = close(stored.value, until=0, now=T0)
            door, worker = world.journal.doors.close_session, world.journal.meter.close
            end = worker if by_worker else door
            await end(stored, done, destroyed=destroyed, forgive_create=False)
            found = await world.other.controls.resumable(OWNER)
            told = [(one.sandbox, one.reason, one.since) for one in found]
            self.assertEqual(told, [(SB, reason, T0)] if kept else [])
            self.assertEqual(await world.journal.controls.to_resume(T0, 9), (OWNER,) * kept)
            await world.journal.doors.not_resumable(OWNER, SB)
            await world.journal.doors.not_resumable(OWNER, SB)
            self.assertEqual(await world.other.controls.resumable(OWNER), ())

    async def test_wished(self) -> None:
        """What its owner wished to end is not remembered, whichever is written first."""
        for moment in ("before", "meanwhile", "after"):
            await self.world.close()
            await self._fresh()
            world, doors = self.world, self.world.journal.doors
            # Of what has no record there is nothing to be kept.
            await doors.wish_ended(OWNER, SB)
            self.assertIsNone(await doors.record(SB))
            stored = await begun(world)
            await world.journal.stops.order(SB, "spend_limit", T0)
            done = close(stored.value, until=0, now=T0)

            async def end(world: World = world, stored: Any = stored, done: Any = done) -> None:
                end = world.journal.meter.close
                await end(stored, done, destroyed=False, forgive_create=False)

            async def wish(world: World = world) -> None:
                await world.other.doors.wish_ended(OWNER, SB)

            if moment == "before":
                await wish()
                await wish()
            if moment == "meanwhile":
                self.overtaken(wish)
                await self.refused(Stale, end())
            await end()
            if moment == "after":
                self.assertEqual(len(await world.journal.controls.resumable(OWNER)), 1)
                await wish()
            self.assertEqual(await world.journal.controls.resumable(OWNER), ())

    async def test_wished_to_run(self) -> None:
        """By its owner's word alone the wish is gone, and another's leaves it."""
        world, doors = self.world, self.world.journal.doors
        for wallet, kept in ((STRANGER, 0), (OWNER, 1)):
            await doors.wish_running(wallet, SB)
            self.assertIsNone(await doors.record(SB))
            stored = await begun(world)
            await doors.wish_ended(OWNER, SB)
            await world.other.doors.wish_running(wallet, SB)
            await doors.wish_running(wallet, SB)
            await world.journal.stops.order(SB, "spend_limit", T0)
            done = close(stored.value, until=0, now=T0)
            await world.journal.meter.close(stored, done, destroyed=False, forgive_create=False)
            self.assertEqual(len(await world.journal.controls.resumable(OWNER)), kept)
            await world.close()
            await self._fresh()
            world, doors = self.world, self.world.journal.doors

    async def test_wished_until_a_start(self) -> None:
        """Started again by a call, it may be remembered again."""
        world, doors = self.world, self.world.journal.doors
        stored = await begun(world)
        await doors.wish_ended(OWNER, SB)
        done = close(stored.value, until=0, now=T0)
        await doors.close_session(stored, done, destroyed=False, forgive_create=False)
        again = evolve(intent("ref-2"), action="start", sandbox=SB)
        await doors.reserve(again, await doors.funds(OWNER))
        made = session(reference=again.reference)
        await doors.open_session(again, made, None)
        stored = await doors.session(SB)
        await world.journal.meter.begin(stored, begin(stored.value, stored.value.opened_at))
        stored = await doors.session(SB)
        await world.journal.stops.order(SB, "spend_limit", T0)
        done = close(stored.value, until=0, now=T0)
        await world.journal.meter.close(stored, done, destroyed=False, forgive_create=False)
        self.assertEqual(len(await world.journal.controls.resumable(OWNER)), 1)

    async def test_listed_until_nothing_waits(self) -> None:
        """Whoever wished it is taken off the list only when nothing waits."""
        world, port = self.world, self.world.journal.controls
        stored = await begun(world)
        await world.journal.stops.order(SB, "spend_limit", T0)
        done = close(stored.value, until=0, now=T0)
        await world.journal.meter.close(stored, done, destroyed=False, forgive_create=False)
        await port.resume_again(OWNER, None)
        self.assertEqual(await port.to_resume(LATER, 9), ())
        await set_to(world, Controls(auto_resume=True))
        await port.resume_again(OWNER, None)
        self.assertEqual(await port.to_resume(LATER, 9), (OWNER,))
        await port.resume_again(OWNER, UnixSeconds(T0 + 9))
        self.assertEqual(await port.to_resume(UnixSeconds(T0 + 8), 9), ())
        await world.journal.doors.not_resumable(OWNER, SB)
        await port.resume_again(OWNER, None)
        self.assertEqual(await port.to_resume(LATER, 9), ())

    async def test_worker_s(self) -> None:
        """Only the worker says when to look again."""
        world, port = self.world, self.world.journal.controls
        await set_to(world, BOUNDED)
        key = world.journal.store.keys.costs(OWNER)
        await meddle(world.keyspace, Write("HSET", key, ("old", "1")))
        found = await port.outlay(OWNER)
        await self.usurp()
        for call in (
            lambda: port.check_again(found, None),
            lambda: port.resume_again(OWNER, UnixSeconds(T0)),
            lambda: port.fold(found),
        ):
            await self.unchanged(LeaseLost, call)

    async def test_other_versions(self) -> None:
        """Settings that cannot be read are nobody's to guess."""
        key = self.world.journal.store.keys.controls(OWNER)
        await meddle(self.world.keyspace, Write("SET", key, ('{"v":2}',)))
        await self.refused(BadInput, self.world.journal.doors.outlay(OWNER))

    async def test_grace(self) -> None:
        """Begun by the worker, seen by every admission, and over with the block or its end."""
        world, funds = self.world, self.world.journal.funds
        before = await funds.funds(OWNER)
        await funds.begin_grace(before, UnixSeconds(T0 + 5))
        self.assertEqual((await world.other.doors.funds(OWNER)).dry_since, T0 + 5)
        await self.refused(Stale, world.other.doors.reserve(intent(), before))
        await funds.unblock(await funds.funds(OWNER))
        self.assertIsNone((await world.other.doors.funds(OWNER)).dry_since)


def controls_suite(name: str, make: MakeWorld) -> type[ControlsCase]:
    """The suite for one adapter."""
    return type(f"{name}ControlsTests", (ControlsCase,), {"make_world": staticmethod(make)})

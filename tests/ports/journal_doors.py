"""What every L{IDoors} must do."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.redis.commit import Write
from sandbox_billing.errors import BadInput, BrokenLaw, Transient
from sandbox_billing.interfaces import BlockedWallet, IDoors, Stale
from sandbox_billing.ledger.hold import UNDO, hold_field, session_value
from sandbox_billing.ledger.identity import SandboxId, create_charge_id
from sandbox_billing.ledger.metering import close
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from tests.ports.journal import (
    FEE,
    OWNER,
    RATE,
    RIPEN,
    SB,
    STRANGER,
    T0,
    JournalCase,
    MakeWorld,
    World,
    account,
    closed,
    create_charge,
    intent,
    meddle,
    mirror,
    mirrored,
    pending,
    running,
    session,
    signed,
    ticked,
)


class DoorsCase(JournalCase):
    """Door facts need no lease."""

    async def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(IDoors, self.world.journal.doors)

    async def test_reserve_adds_a_hold(self) -> None:
        """A hold stands beside those of others, and all fields are returned."""
        doors = self.world.other.doors
        await mirrored(self.world)
        funds = await doors.funds(OWNER)
        self.assertEqual(funds.account and funds.account.value, account())
        first = await doors.reserve(intent("a"), funds)
        self.assertEqual(first.fields, {"hold:a": str(20 * 10**18)})
        self.assertEqual(await doors.intent(intent("a").reference), intent("a"))
        self.assertIsNone(await doors.intent(intent("b").reference))
        second = await doors.reserve(intent("b", hold=Neuron(1)), funds)
        self.assertEqual(set(second.fields), {"hold:a", "hold:b"})
        self.assertNotEqual((await doors.funds(OWNER)).revision, funds.revision)

    async def test_reserve_repeated(self) -> None:
        """A reservation whose reply was lost is recognised: one hold, one intent."""

        async def scenario(world: World, sure: Any) -> None:
            await mirrored(world)
            funds = await world.journal.doors.funds(OWNER)
            wanted = intent(sandbox=SB, action="start")
            exposure = await sure(lambda: world.journal.doors.reserve(wanted, funds))
            self.assertEqual(set(exposure.fields), {hold_field(wanted.reference)})
            self.assertEqual(await world.other.doors.intents_of(SB), (wanted,))

        await self.same_books(scenario)

    async def test_reserve_on_other_funds(self) -> None:
        """Nothing is reserved when account or flag are no longer what was looked at."""
        doors = self.world.journal.doors
        head = await mirrored(self.world)
        funds = await doors.funds(OWNER)
        await self.world.journal.mirror.step(
            head, mirror(11), [account(balance=Neuron(1))], (), (), known=[OWNER]
        )
        await self.unchanged(Stale, lambda: doors.reserve(intent(), funds))
        funds = await doors.funds(OWNER)
        await self.world.journal.funds.block(BlockedWallet(funds, "insufficient_balance"))
        await self.unchanged(Stale, lambda: doors.reserve(intent(), funds))
        stranger = await doors.funds(STRANGER)
        await self.world.journal.mirror.step(
            await doors.mirror(), mirror(12), [account(STRANGER)], (), (), known=[OWNER]
        )
        await self.unchanged(Stale, lambda: doors.reserve(intent(owner=STRANGER), stranger))

    async def test_release(self) -> None:
        """A released intent is gone with its hold, however often it is released."""

        async def scenario(world: World, sure: Any) -> None:
            doors = world.journal.doors
            wanted = intent(sandbox=SB, action="start")
            await doors.reserve(wanted, await doors.funds(OWNER))
            await sure(lambda: doors.release(wanted))
            self.assertEqual(await self.exposure(), {})
            self.assertEqual(await doors.intents_of(SB), ())
            self.assertEqual(await world.journal.meter.intents(), ())
            left = set(await world.dump())
            self.assertEqual({key for key in left if "intent" in key}, set())

        await self.same_books_but_revision(scenario)

    async def same_books_but_revision(self, scenario: Any) -> None:
        """A repeated release may count twice what it did once."""

        async def settled(world: World, sure: Any) -> None:
            await scenario(world, sure)
            exposure = world.journal.store.keys.exposure(OWNER)
            await meddle(world.keyspace, Write("HSET", exposure, ("#rev", 0)))

        await self.same_books(settled)

    async def test_open_session(self) -> None:
        """Session, record, create charge and exposure come with the end of the hold."""

        async def scenario(world: World, sure: Any) -> None:
            doors, wanted, opened = world.journal.doors, intent(), session(life_spent=FEE)
            await doors.reserve(wanted, await doors.funds(OWNER))
            fee = create_charge(opened)
            self.assertEqual(await sure(lambda: doors.open_session(wanted, opened, fee)), opened)
            stored = await doors.session(SB)
            self.assertEqual(stored and stored.value, opened)
            record = await doors.record(SB)
            assert record is not None
            self.assertEqual((record.owner, record.reference), (OWNER, wanted.reference))
            self.assertTrue(record.create_charged)
            self.assertEqual(record.charged_until, T0)
            self.assertEqual(
                await self.exposure(),
                {
                    "session:sb-1": session_value(opened),
                    "charge:sb-1:create": str(FEE),
                },
            )
            self.assertEqual(await world.other.history.pending(), (fee.id,))
            self.assertEqual(await world.other.meter.intents(), ())

        await self.same_books(scenario)

    async def test_create_charge_ripens(self) -> None:
        """Before the sandbox runs, its create charge is not offered until it is old."""
        await pending(self.world)
        queue = self.world.journal.queue
        for passed, ripe in ((0, False), (RIPEN - 1, False), (RIPEN, True)):
            now = UnixSeconds(T0 + passed)
            self.assertEqual(await queue.ready(now, 10), (OWNER,) if ripe else ())
            self.assertEqual(len((await queue.queue(OWNER, now, 10)).records), int(ripe))

    async def test_opened_running_is_ripe(self) -> None:
        """A session that opens under way is due after an interval, its create charge at once."""
        doors, wanted = self.world.journal.doors, intent()
        opened = session(started_at=T0, life_spent=FEE)
        await doors.reserve(wanted, await doors.funds(OWNER))
        await doors.open_session(wanted, opened, create_charge(opened))
        self.assertEqual(await self.world.journal.queue.ready(T0, 10), (OWNER,))
        due = await self.world.journal.meter.due(UnixSeconds(T0 + 60), 10)
        self.assertEqual([d.session.value for d in due], [opened])

    async def test_open_after_release(self) -> None:
        """Without its intent no session is opened."""
        doors, wanted = self.world.journal.doors, intent()
        await doors.reserve(wanted, await doors.funds(OWNER))
        await doors.release(wanted)
        await self.unchanged(Stale, lambda: doors.open_session(wanted, session(), None))

    async def test_undo(self) -> None:
        """An order to undo holds no money, opens no session, and may be given again."""
        doors, wanted = self.world.journal.doors, intent()
        await doors.reserve(wanted, await doors.funds(OWNER))
        for _ in range(2):
            await doors.undo(wanted, SandboxId(SB))
            (order,) = await doors.intents_of(SandboxId(SB))
            self.assertEqual((order.reference, order.action), (wanted.reference, UNDO))
            self.assertEqual(order.hold, 0)
            self.assertNotIn(hold_field(wanted.reference), await self.exposure())
        await doors.release(order)
        self.assertEqual(await doors.intents_of(SandboxId(SB)), ())

    async def test_open_second(self) -> None:
        """Who comes second gets the session that is open, and gives its hold back."""
        first = await pending(self.world)
        doors = self.world.other.doors
        late = intent("late", action="start", sandbox=SB)
        await doors.reserve(late, await doors.funds(OWNER))
        mine = session(reference=late.reference, opened_at=UnixSeconds(T0 + 5))
        self.assertEqual(await doors.open_session(late, mine, None), first.value)
        self.assertNotIn(hold_field(late.reference), await self.exposure())
        self.assertEqual(await doors.intents_of(SB), ())
        # And again, with nothing left to give back.
        self.assertEqual(await doors.open_session(late, mine, None), first.value)

    async def test_create_fee_once(self) -> None:
        """A sandbox is charged for its creation once in its life (L2)."""
        await closed(self.world, await running(self.world), T0 + 10, destroyed=False)
        doors = self.world.journal.doors
        again = intent("again", sandbox=SB)
        await doors.reserve(again, await doors.funds(OWNER))
        opened = session(reference=again.reference)
        await doors.open_session(again, opened, create_charge(opened))
        pending_ids = await self.world.journal.history.pending()
        self.assertEqual(pending_ids.count(create_charge_id(SB)), 1)

    async def test_reopened_later_than_charged(self) -> None:
        """A session opens at the earliest where the last one ended (L2)."""
        await closed(self.world, await running(self.world), T0 + 100, destroyed=False)
        doors = self.world.journal.doors
        again = intent("again", sandbox=SB)
        await doors.reserve(again, await doors.funds(OWNER))
        opened = await doors.open_session(again, session(reference=again.reference), None)
        self.assertEqual((opened.opened_at, opened.charged_until), (T0 + 100, T0 + 100))
        record = await doors.record(SB)
        self.assertEqual(record and record.reference, "ref-sb-1")

    async def test_open_under_a_flag(self) -> None:
        """Whatever a blocked wallet opens is ordered to stop in the same write."""
        doors, wanted = self.world.journal.doors, intent()
        await doors.reserve(wanted, await doors.funds(OWNER))
        funds = await doors.funds(OWNER)
        await self.world.journal.funds.block(BlockedWallet(funds, "insufficient_balance"))
        await doors.open_session(wanted, session(), None)
        self.assertEqual(await doors.stop_reason(SB), "insufficient_balance")

    async def test_blocked_while_opening(self) -> None:
        """A flag that is set while a session opens orders its stop all the same."""
        doors, wanted = self.world.journal.doors, intent()
        await doors.reserve(wanted, await doors.funds(OWNER))
        key = self.world.journal.store.keys.blocked(OWNER)
        self.overtaken(lambda: meddle(self.world.keyspace, Write("SET", key, ("debt",))))
        await doors.open_session(wanted, session(), None)
        self.assertEqual(await doors.stop_reason(SB), "debt")

    async def test_old_observation(self) -> None:
        """What was seen before a session opened is not seen in it (L3)."""
        doors, wanted = self.world.journal.doors, intent()
        await doors.reserve(wanted, await doors.funds(OWNER))
        await self.world.journal.meter.seen({SB: UnixSeconds(T0 + 1)})
        await doors.open_session(wanted, session(), None)
        self.assertIsNone(await doors.seen_at(SB))

    async def test_close_session(self) -> None:
        """Closing charges the tail, ends the session and remembers until when it was charged."""

        async def scenario(world: World, sure: Any) -> None:
            before = await ticked(world, await running(world))
            until = UnixSeconds(T0 + 60 + 7)
            closing = close(before.value, until=until, now=until)
            doors = world.journal.doors
            await sure(
                lambda: doors.close_session(before, closing, destroyed=False, forgive_create=False)
            )
            self.assertIsNone(await doors.session(SB))
            record = await doors.record(SB)
            self.assertEqual(record and record.charged_until, until)
            charges = await world.journal.history.charges(OWNER)
            compute = [r.charge.amount for r in charges if r.charge.units]
            self.assertEqual(sum(compute), RATE * 67 // 60)
            self.assertEqual(await world.journal.meter.sessions(), ())
            self.assertEqual(await world.journal.meter.due(UnixSeconds(T0 + 10**6), 9), ())
            self.assertIsNone(await world.journal.meter.seen_at(SB))
            self.assertEqual({name.split(":")[0] for name in await self.exposure()}, {"charge"})

        await self.same_books(scenario)

    async def test_close_what_has_changed(self) -> None:
        """A closing of an earlier form of the session charges nothing."""
        before = await running(self.world)
        await ticked(self.world, before)
        closing = close(before.value, until=T0 + 30, now=UnixSeconds(T0 + 30))
        for destroyed in (False, True):
            await self.unchanged(
                Stale,
                lambda d=destroyed: self.world.journal.doors.close_session(
                    before, closing, destroyed=d, forgive_create=False
                ),
            )

    async def test_close_against_the_record(self) -> None:
        """Nothing is charged when session and record disagree (L2)."""
        before = await running(self.world)
        key = self.world.journal.store.keys.sandbox(SB)
        await meddle(self.world.keyspace, Write("HSET", key, ("charged_until", T0 + 99)))
        closing = close(before.value, until=T0 + 30, now=UnixSeconds(T0 + 30))
        await self.unchanged(
            BrokenLaw,
            lambda: self.world.journal.doors.close_session(
                before, closing, destroyed=False, forgive_create=False
            ),
        )

    async def test_closed_by_the_owner_deleting_it(self) -> None:
        """A deletion makes a waiting create charge due and lets the record expire."""
        before = await pending(self.world)
        await closed(self.world, before, T0 + 5, destroyed=True)
        self.assertEqual(await self.world.journal.queue.ready(T0, 9), (OWNER,))
        left = int(await self.raw("PTTL", self.world.journal.store.keys.sandbox(SB)))
        self.assertTrue(29 * 86_400_000 < left <= 30 * 86_400_000, left)

    async def test_closed_by_a_refusal(self) -> None:
        """What must not run, and was let in by nobody, is not charged for its creation."""
        before = await pending(self.world)
        closing = close(before.value, until=T0 + 5, now=UnixSeconds(T0 + 5))
        await self.world.journal.doors.close_session(
            before, closing, destroyed=True, forgive_create=True
        )
        self.assertEqual(await self.exposure(), {})
        self.assertEqual(await self.world.other.history.charges(OWNER), ())

    async def test_destroyed(self) -> None:
        """A sandbox destroyed without a session is kept for a while, its create fee due."""
        doors = self.world.journal.doors
        await doors.destroyed(SB)
        before = await pending(self.world)
        await self.refused(Stale, doors.destroyed(SB))
        await closed(self.world, before, T0 + 5, destroyed=False)
        key = self.world.journal.store.keys.sandbox(SB)
        self.assertEqual(await self.raw("PTTL", key), b"-1")
        self.assertEqual(await self.world.journal.queue.ready(T0, 9), ())
        await doors.destroyed(SB)
        self.assertGreater(int(await self.raw("PTTL", key)), 0)
        self.assertEqual(await self.world.journal.queue.ready(T0, 9), (OWNER,))

    async def test_reopened_record_stays(self) -> None:
        """A record that would expire stays when its sandbox turns out to live."""
        doors = self.world.journal.doors
        await closed(self.world, await pending(self.world), T0 + 5, destroyed=True)
        again = intent("again", sandbox=SB)
        await doors.reserve(again, await doors.funds(OWNER))
        await doors.open_session(again, session(reference=again.reference), None)
        key = self.world.journal.store.keys.sandbox(SB)
        self.assertEqual(await self.raw("PTTL", key), b"-1")

    async def test_ripening_spares_what_is_signed(self) -> None:
        """A create charge in flight is not queued a second time by a deletion."""
        before = await running(self.world)
        await signed(self.world)
        await closed(self.world, before, T0 + 5, destroyed=True)
        queue = await self.world.journal.queue.queue(OWNER, UnixSeconds(T0 + 10**6), 9)
        self.assertNotIn(create_charge_id(SB), [r.value.charge.id for r in queue.records])

    async def test_add_account(self) -> None:
        """A wallet is mirrored at the mirror's own block, once."""

        async def scenario(world: World, sure: Any) -> None:
            head = await mirrored(world)
            doors = world.journal.doors
            await sure(lambda: doors.add_account(head, account(STRANGER)))
            funds = await doors.funds(STRANGER)
            self.assertEqual(funds.account and funds.account.value, account(STRANGER))
            self.assertIn(STRANGER, await world.journal.mirror.wallets())

        await self.same_books(scenario)

    async def test_add_account_late(self) -> None:
        """Neither a mirror that moved on nor a wallet that is there is overwritten."""
        head = await mirrored(self.world)
        doors = self.world.journal.doors
        other = account(balance=Neuron(3))
        await self.unchanged(Stale, lambda: doors.add_account(head, other))
        await self.world.journal.mirror.step(head, mirror(11), (), (), (), known=[OWNER])
        await self.unchanged(Stale, lambda: doors.add_account(head, account(STRANGER)))

    async def test_nothing_known(self) -> None:
        """Of a sandbox that was never ours nothing is known."""
        doors, nobody = self.world.other.doors, SandboxId("nobody")
        self.assertIsNone(await doors.session(nobody))
        self.assertIsNone(await doors.record(nobody))
        self.assertIsNone(await doors.seen_at(nobody))
        self.assertIsNone(await doors.stop_reason(nobody))
        self.assertIsNone(await doors.mirror())
        self.assertEqual((await doors.funds(STRANGER)).revision, b"")

    async def test_bare_stop_key(self) -> None:
        """A stop key that was set by hand is no order."""
        key = self.world.journal.store.keys.stop_reason(SB)
        await meddle(self.world.keyspace, Write("SET", key, ("by hand",)))
        self.assertIsNone(await self.world.journal.doors.stop_reason(SB))
        await self.world.journal.stops.order(SB, "not_acknowledged", T0)
        self.assertEqual(await self.world.journal.doors.stop_reason(SB), "not_acknowledged")

    async def test_reconcile_request(self) -> None:
        """A request stands until the worker has answered it."""
        doors, meter = self.world.other.doors, self.world.journal.meter
        self.assertFalse(await doors.reconcile_requested(SB))
        await doors.request_reconcile(SB)
        await doors.request_reconcile(SB)
        self.assertTrue(await doors.reconcile_requested(SB))
        self.assertEqual(await meter.requested(), (SB,))
        await meter.answered(SB)
        self.assertFalse(await doors.reconcile_requested(SB))

    async def test_foreign_form(self) -> None:
        """A stored form of another version is refused, never guessed."""
        before = await pending(self.world)
        keys = self.world.journal.store.keys
        newer = before.raw.replace(b'"v":1', b'"v":2')
        await meddle(self.world.keyspace, Write("SET", keys.session(SB), (newer,)))
        await self.refused(BadInput, self.world.journal.doors.session(SB))
        await meddle(self.world.keyspace, Write("HSET", keys.sandbox(SB), ("v", 2)))
        await self.refused(BadInput, self.world.journal.doors.record(SB))

    async def test_somebody_elses_key(self) -> None:
        """Where the Go system left a hash, nothing is read and nothing is overwritten."""
        doors, wanted = self.world.journal.doors, intent()
        key = self.world.journal.store.keys.session(SB)
        await doors.reserve(wanted, await doors.funds(OWNER))
        await meddle(self.world.keyspace, Write("HSET", key, ("sandbox_id", SB)))
        await self.unchanged(BadInput, lambda: doors.session(SB))
        await self.unchanged(BadInput, lambda: doors.open_session(wanted, session(), None))

    async def test_disconnected(self) -> None:
        """Without a connection every call says that it did nothing."""
        self.world.faults.connected = False
        doors = self.world.journal.doors
        await self.refused(Transient, doors.funds(OWNER))
        await self.refused(Transient, doors.release(intent()))
        self.world.faults.connected = True
        self.assertEqual((await doors.funds(OWNER)).exposure.fields, {})

    async def test_opened_elsewhere_between(self) -> None:
        """An opening that is overtaken between reading and writing ends in one session."""
        doors, wanted = self.world.journal.doors, intent()
        await doors.reserve(wanted, await doors.funds(OWNER))
        mine = session(life_spent=FEE)
        theirs = evolve(mine, opened_at=UnixSeconds(T0 + 1))
        other = self.world.other
        self.overtaken(lambda: other.doors.open_session(wanted, theirs, create_charge(theirs)))
        self.assertEqual(await doors.open_session(wanted, mine, create_charge(mine)), theirs)
        self.assertEqual(len(await other.history.charges(OWNER)), 1)
        self.assertEqual(evolve(mine, opened_at=theirs.opened_at), theirs)


def doors_suite(name: str, make_world: MakeWorld) -> type[JournalCase]:
    """The suite for one adapter."""
    return type(f"{name}DoorsTests", (DoorsCase,), {"make_world": staticmethod(make_world)})

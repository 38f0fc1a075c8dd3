"""What every L{IDesk} must do."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.redis.commit import Write
from sandbox_billing.errors import BrokenLaw
from sandbox_billing.interfaces import BlockedWallet, IDesk, Stale, Stored, StoredLetter
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.audit import AuditEntry, broken_at
from sandbox_billing.ledger.dead_letter import DeadLetter
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import ChargeId, create_charge_id
from sandbox_billing.ledger.laws import l6_books
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.voucher import ChargeRecord, DeadLettered, Signed
from tests.ports.journal import (
    FEE,
    OWNER,
    SB,
    T0,
    JournalCase,
    MakeWorld,
    World,
    account,
    block,
    looked_at,
    meddle,
    mirrored,
    promised,
    rulings,
    running,
    signed,
    ticked,
)
from tests.ports.journal_merging import waived
from tests.ports.journal_queue import FAR, dead, half, paid


CREATE = create_charge_id(SB)


def word(what: str, subject: str, **changes: Any) -> AuditEntry:
    """An operator's."""
    entry = AuditEntry(
        at=UnixSeconds(T0 + 1_000),
        by="olga",
        what=what,
        subject=subject,
        amount=Neuron(0),
        reason="looked at",
    )
    return evolve(entry, **changes)


async def dead_letter(world: World) -> Stored[ChargeRecord]:
    """A create fee that was refused by itself; its wallet is quarantined."""
    await mirrored(world)
    await running(world)
    batch = await signed(world)
    ruled = await rulings(world, batch, dead)
    blocked = BlockedWallet(await world.journal.funds.funds(OWNER), QUARANTINED)
    await world.journal.queue.resolve(batch, block(), ruled, [account()], [blocked])
    (found,) = await world.other.desk.dead()
    assert found.record is not None
    return found.record


class DeskCase(JournalCase):
    """Decisions from another process, without the lease."""

    async def chain(self) -> list[AuditEntry]:
        """The audit, which is whole."""
        forms = await self.world.other.desk.entries(0, 99)
        self.assertIsNone(broken_at(forms))
        return [decode(AuditEntry, form) for form in forms]

    async def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(IDesk, self.world.other.desk)

    async def test_dead(self) -> None:
        """Listed are dead letters with their reason, and such as cannot be read, as they are."""
        self.assertEqual(await self.world.other.desk.dead(), ())
        record = await dead_letter(self.world)
        self.assertIsInstance(record.value.state, DeadLettered)
        key = self.world.journal.store.keys.charge(CREATE)
        await meddle(self.world.keyspace, Write("SET", key, ("{",)))
        (found,) = await self.world.other.desk.dead()
        self.assertEqual((found.id, found.record, found.raw), (CREATE, None, b"{"))

    async def test_retry(self) -> None:
        """It goes back with the seal it had, ahead of the rest, owed again; once."""

        async def scenario(world: World, sure: Any) -> None:
            record = await dead_letter(world)
            before = l6_books(await world.other.history.charges(OWNER))
            self.assertNotIn(f"charge:{CREATE}", await self.exposure())
            entry = word("retry", CREATE)
            await sure(lambda: world.journal.desk.retry(record, entry))
            self.assertEqual((await self.exposure())[f"charge:{CREATE}"], str(FEE))
            self.assertEqual(await world.other.history.pending(), (CREATE,))
            self.assertEqual(await world.other.desk.dead(), ())
            records = await world.other.history.charges(OWNER)
            after = l6_books(records)
            self.assertEqual((before.dead, after.dead), (FEE, 0))
            self.assertEqual((before.charged, after.pending), (after.charged, FEE))
            (promise, *_) = await promised(world)
            self.assertEqual(promise.record.value.state, Signed(promise.seal))
            self.assertEqual(promise.seal, record.value.seal)
            self.assertEqual([one.what for one in await self.chain()], ["retry"])

        await self.same_books(scenario)

    async def test_settled_after(self) -> None:
        """What was offered again is settled as any other, under the same nonce."""
        record = await dead_letter(self.world)
        await self.world.other.desk.retry(record, word("retry", CREATE))
        self.world.wall.moment += 60
        batch = await signed(self.world, id="batch-2")
        (again,) = await self.world.journal.queue.batch_records(batch.value)
        self.assertEqual(again.value.seal, record.value.seal)
        ruled = await rulings(self.world, batch, paid)
        await self.world.journal.queue.resolve(batch, block(11), ruled, [account()], ())
        books = l6_books(await self.world.other.history.charges(OWNER))
        self.assertEqual((books.settled, books.dead), (FEE, 0))
        self.assertEqual(await self.exposure(), await self.sessions_only())

    async def sessions_only(self) -> dict[str, str]:
        """The exposure without charges."""
        fields = await self.exposure()
        return {name: value for name, value in fields.items() if name.startswith("session:")}

    async def test_retry_in_flight(self) -> None:
        """While a batch holds its wallet nothing is put beside it."""
        record = await dead_letter(self.world)
        self.world.wall.moment += 600
        await ticked(self.world, await self.session())
        await signed(self.world, id="batch-2")
        desk = self.world.other.desk
        await self.unchanged(Stale, lambda: desk.retry(record, word("retry", CREATE)))

    async def session(self) -> Any:
        """The open one."""
        return await self.world.journal.doors.session(record_sandbox())

    async def test_not_overtaken(self) -> None:
        """A settler that has read the queue before gives no nonce above it (L5)."""
        record = await dead_letter(self.world)
        self.world.wall.moment += 600
        await ticked(self.world, await self.session())
        desk = self.world.other.desk
        self.overtaken(lambda: desk.retry(record, word("retry", CREATE)))
        await self.refused(Stale, signed(self.world, id="batch-2"))
        batch = await signed(self.world, id="batch-2")
        self.assertEqual(batch.value.charges, (CREATE, f"{SB}:{T0}"))

    async def test_no_dead_letter(self) -> None:
        """Only a dead letter is offered again."""
        record = await dead_letter(self.world)
        desk = self.world.other.desk
        await desk.retry(record, word("retry", CREATE))
        now = await self.world.other.forgiving.forgivable(CREATE)
        assert now is not None
        await self.unchanged(BrokenLaw, lambda: desk.retry(now, word("retry", CREATE)))

    async def test_dropped_meanwhile(self) -> None:
        """What another operator has written off is not offered again."""
        record = await dead_letter(self.world)
        await self.world.other.forgiving.forgive(record, waived(record), fenced=False)
        desk = self.world.other.desk
        await self.unchanged(Stale, lambda: desk.retry(record, word("retry", CREATE)))
        self.assertEqual([one.what for one in await self.chain()], ["forgive"])

    async def test_two_words(self) -> None:
        """Decisions of two operators follow one another in the audit."""
        record = await dead_letter(self.world)
        desk = self.world.other.desk
        funds = await self.world.other.doors.funds(OWNER)
        await desk.retry(record, word("retry", CREATE))
        await self.unchanged(Stale, lambda: desk.release(funds, word("release", OWNER.hex)))
        funds = await self.world.other.doors.funds(OWNER)
        await desk.release(funds, word("release", OWNER.hex))
        self.assertEqual([one.what for one in await self.chain()], ["retry", "release"])

    async def test_release(self) -> None:
        """The flag goes, and the worker looks at queue and funds at once."""

        async def scenario(world: World, sure: Any) -> None:
            await dead_letter(world)
            journal = world.journal
            queue = await journal.queue.queue(OWNER, FAR, 9)
            await journal.queue.rest(queue, FAR)
            funds = await world.other.doors.funds(OWNER)
            entry = word("release", OWNER.hex)
            await sure(lambda: world.journal.desk.release(funds, entry))
            after = await world.other.doors.funds(OWNER)
            self.assertIsNone(after.blocked)
            self.assertEqual(await world.other.backlog.quarantined(), frozenset())
            self.assertEqual(await journal.funds.to_check(world.wall.now(), 9), (OWNER,))
            self.assertEqual([one.what for one in await self.chain()], ["release"])

        await self.same_books(scenario)

    async def test_release_ends_its_stops(self) -> None:
        """What was to be stopped for the quarantine runs on; other orders stand."""
        await running(self.world)
        journal = self.world.journal
        await journal.funds.block(BlockedWallet(await journal.funds.funds(OWNER), QUARANTINED))
        (order,) = await journal.stops.due(FAR, 9)
        self.assertEqual(order.reason, QUARANTINED)
        await self.world.other.desk.release(
            await journal.funds.funds(OWNER), word("release", OWNER.hex)
        )
        self.assertEqual(await journal.stops.due(FAR, 9), ())
        await journal.stops.order(order.sandbox, "insufficient_balance", self.world.wall.now())
        await journal.funds.block(BlockedWallet(await journal.funds.funds(OWNER), QUARANTINED))
        await journal.stops.order(order.sandbox, "insufficient_balance", self.world.wall.now())
        await self.world.other.desk.release(
            await journal.funds.funds(OWNER), word("release", OWNER.hex)
        )
        self.assertEqual(len(await journal.stops.due(FAR, 9)), 1)

    async def test_release_of_others(self) -> None:
        """Money's own flag is not lifted, nor a quarantine that says the books are behind."""
        await mirrored(self.world)
        journal, desk = self.world.journal, self.world.other.desk
        entry = word("release", OWNER.hex)
        for blocked in (None, "insufficient_balance"):
            if blocked is not None:
                await journal.funds.block(BlockedWallet(await journal.funds.funds(OWNER), blocked))
            funds = await journal.funds.funds(OWNER)
            await self.unchanged(Stale, lambda funds=funds: desk.release(funds, entry))  # type: ignore[misc]
        await journal.loss.behind(BlockedWallet(await journal.funds.funds(OWNER), "behind"))
        funds = await journal.funds.funds(OWNER)
        await self.unchanged(Stale, lambda: desk.release(funds, entry))
        await self.strike(entry=word("drop", "wallet"))
        await desk.release(await journal.funds.funds(OWNER), entry)

    async def strike(self, owner: Any = None, *, entry: AuditEntry) -> StoredLetter:
        """End the only letter."""
        (letter,) = await self.world.other.desk.letters()
        await self.world.other.desk.strike(letter, owner, entry)
        return letter

    async def test_letters(self) -> None:
        """Each with what it is about, as it is; and one that cannot be read itself."""
        keys = self.world.journal.store.keys
        about = {
            "session:sb-9": keys.session(record_sandbox("sb-9")),
            "charge:sb-9:0": keys.charge(ChargeId("sb-9:0")),
        }
        for name, key in about.items():
            await meddle(self.world.keyspace, Write("SET", key, ("{" + name,)))
        names = (*about, "event:x")
        for name in names:
            await meddle(self.world.keyspace, Write("HSET", keys.letters(), (name, "{")))
        found = {one.letter.kind: one for one in await self.world.other.desk.letters()}
        self.assertEqual(found["session"].about, b"{session:sb-9")
        self.assertEqual(found["charge"].about, b"{charge:sb-9:0")
        self.assertIsNone(found["event"].about)
        self.assertIsInstance(found["event"].letter, DeadLetter)
        await self.world.other.desk.strike(found["event"], None, word("drop", "event:x"))
        self.assertEqual(len(await self.world.other.desk.letters()), 2)

    async def damaged(self, world: World) -> Any:
        """A period's charge that cannot be read; whose it is."""
        await mirrored(world)
        await ticked(world, await running(world))
        keys, charge = world.journal.store.keys, ChargeId(f"{SB}:{T0}")
        await meddle(world.keyspace, Write("SET", keys.charge(charge), ("{spilled",)))
        await world.journal.queue.queue(OWNER, FAR, 9)
        return await world.other.desk.owner_of(charge)

    async def test_damaged_charge(self) -> None:
        """It goes out of everything in one write; its text is in the audit; the rest stays."""

        async def scenario(world: World, sure: Any) -> None:
            owner, amount = await self.damaged(world)
            self.assertEqual(owner, OWNER)
            (letter,) = await world.other.desk.letters()
            entry = word("drop", letter.letter.name, amount=amount, before="{spilled")
            await sure(lambda: world.journal.desk.strike(letter, owner, entry))
            self.assertEqual(await world.other.desk.letters(), ())
            self.assertEqual(await world.other.history.pending(), (CREATE,))
            self.assertNotIn(f"charge:{SB}:{T0}", await self.exposure())
            (left,) = await world.other.history.charges(OWNER)
            self.assertEqual(left.charge.id, CREATE)
            found = await world.journal.queue.queue(OWNER, FAR, 9)
            self.assertEqual(len(found.records), 1)
            (told,) = await self.chain()
            self.assertEqual((told.before, told.amount), ("{spilled", amount))

        await self.same_books(scenario)

    async def test_mended_charge(self) -> None:
        """One that was mended meanwhile stays; after a look it is only a letter that ends."""
        await mirrored(self.world)
        await ticked(self.world, await running(self.world))
        key = self.world.journal.store.keys.charge(ChargeId(f"{SB}:{T0}"))
        whole = await self.raw("GET", key)
        await self.damaged_key(key)
        (before,) = await self.world.other.desk.letters()
        await meddle(self.world.keyspace, Write("SET", key, (whole,)))
        desk, entry = self.world.other.desk, word("drop", "x")
        await self.unchanged(Stale, lambda: desk.strike(before, OWNER, entry))
        await self.strike(OWNER, entry=entry)
        self.assertEqual(len(await self.world.other.history.charges(OWNER)), 2)

    async def damaged_key(self, key: str) -> None:
        """Damage one and have it found."""
        await meddle(self.world.keyspace, Write("SET", key, ("{",)))
        await self.world.journal.queue.queue(OWNER, FAR, 9)

    async def test_owner(self) -> None:
        """Debts are found, too; what nobody owes is nobody's."""
        await mirrored(self.world)
        await running(self.world)
        batch = await signed(self.world)
        ruled = await rulings(self.world, batch, half)
        await self.world.journal.queue.resolve(batch, block(), ruled, [account()], ())
        await looked_at(self.world)
        (debt,) = await self.world.other.forgiving.debts(OWNER)
        owner_of = self.world.other.desk.owner_of
        amount = debt.value.charge.amount
        self.assertEqual(await owner_of(debt.value.charge.id), (OWNER, amount))
        self.assertIsNone(await owner_of(CREATE))


def record_sandbox(name: str = SB) -> Any:
    """A sandbox's id."""
    return name


def desk_suite(name: str, make: MakeWorld) -> type:
    """The suite for one adapter."""
    return type(f"{name}DeskTests", (DeskCase,), {"make_world": staticmethod(make)})

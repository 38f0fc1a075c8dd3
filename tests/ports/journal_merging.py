"""What every L{IMerging} and every L{IForgiving} must do."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.redis.commit import Read
from sandbox_billing.errors import BrokenLaw
from sandbox_billing.interfaces import (
    BlockedWallet,
    IForgiving,
    IMerging,
    LeaseLost,
    Stale,
    Stored,
)
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import ChargeId, create_charge_id
from sandbox_billing.ledger.laws import l2_disjoint, l6_books, standing
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.rating import period_amount
from sandbox_billing.ledger.voucher import (
    ChargeKind,
    ChargeRecord,
    Forgiven,
    Merged,
    Open,
    Signed,
)
from tests.ports.journal import (
    INTERVAL,
    OWNER,
    RATE,
    SB,
    STRANGER,
    T0,
    JournalCase,
    MakeWorld,
    World,
    account,
    batch_of,
    block,
    looked_at,
    mirrored,
    promised,
    rulings,
    running,
    signed,
    ticked,
)
from tests.ports.journal_queue import FAR, dead, half, paid


async def periods(world: World, count: int, sandbox: str = SB, **changes: Any) -> Any:
    """A sandbox that ran for so many intervals, each charged; its session."""
    session = await running(world, sandbox, **changes)
    for _ in range(count):
        session = await ticked(world, session)
    return session


async def parts_of(world: World) -> list[Stored[Any]]:
    """A wallet's unsigned compute charges, the oldest first."""
    found = await world.journal.merging.unsigned(OWNER, FAR, 999)
    compute = [one for one in found if one.value.charge.kind is ChargeKind.COMPUTE]
    return sorted(compute, key=lambda one: one.value.charge.period_start)


class MergingCase(JournalCase):
    """Worker facts of a backlog."""

    async def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(IMerging, self.world.journal.merging)

    async def test_backlogs(self) -> None:
        """Found are wallets with many unsigned charges, or with a few that are late."""
        await mirrored(self.world, account(), account(STRANGER))
        await periods(self.world, 1, "sb-2", owner=STRANGER)
        await periods(self.world, 3)
        merging, now = self.world.journal.merging, self.world.wall.now()
        never = UnixSeconds(T0 - 1)
        self.assertEqual(await merging.backlogs(now, more_than=3, late=never, limit=9), (OWNER,))
        self.assertEqual(await merging.backlogs(now, more_than=4, late=never, limit=9), ())
        both = await merging.backlogs(now, more_than=4, late=UnixSeconds(T0 + INTERVAL), limit=9)
        self.assertEqual(sorted(both), [OWNER, STRANGER])
        self.assertEqual(await merging.backlogs(never, more_than=0, late=never, limit=9), ())
        self.assertEqual(await merging.backlogs(now, more_than=4, late=now, limit=0), ())

    async def test_quarantined(self) -> None:
        """What a human has to look at is left as it is."""
        await mirrored(self.world)
        await periods(self.world, 2)
        funds, merging = self.world.journal.funds, self.world.journal.merging
        await funds.block(BlockedWallet(await funds.funds(OWNER), "insufficient_balance"))
        self.assertEqual(await merging.backlogs(FAR, more_than=1, late=FAR, limit=9), (OWNER,))
        await funds.block(BlockedWallet(await funds.funds(OWNER), QUARANTINED))
        self.assertEqual(await merging.backlogs(FAR, more_than=1, late=FAR, limit=9), ())

    async def test_one_late_charge(self) -> None:
        """One alone has nothing to be merged with, however late it is."""
        await mirrored(self.world)
        await running(self.world)
        self.assertEqual(
            await self.world.journal.merging.backlogs(FAR, more_than=1, late=FAR, limit=9), ()
        )

    async def test_unsigned(self) -> None:
        """Seen is what is ripe and has no number, the oldest first."""
        session = await periods(self.world, 1)
        await signed(self.world)
        await ticked(self.world, session)
        merging, now = self.world.journal.merging, self.world.wall.now()
        found = await merging.unsigned(OWNER, now, 9)
        self.assertEqual([one.value.charge.id for one in found], [f"{SB}:{T0 + INTERVAL}"])
        self.assertEqual(await merging.unsigned(OWNER, UnixSeconds(now - 1), 9), ())
        self.assertEqual(await merging.unsigned(OWNER, now, 0), ())

    async def test_merge(self) -> None:
        """Several charges become one in a single write: nothing is lost, nothing is there twice."""

        async def scenario(world: World, sure: Any) -> None:
            await periods(world, 3)
            await periods(world, 1, "sb-2")
            before = await world.journal.history.charges(OWNER)
            parts = await parts_of_sandbox(world)
            whole = await sure(lambda: world.journal.merging.merge(parts))
            charge = whole.value.charge
            self.assertEqual(charge.id, f"{SB}:{T0}:merged:{T0 + 3 * INTERVAL}")
            self.assertEqual(charge.units, 3 * INTERVAL)
            self.assertEqual(charge.amount, period_amount(RATE, T0, T0, T0 + 3 * INTERVAL))
            records = await world.journal.history.charges(OWNER)
            self.assertEqual(l6_books(records), l6_books(before))
            l2_disjoint(standing(records))
            self.assertEqual(
                {r.charge.id for r in records if r.state == Merged(charge.id)},
                {part.value.charge.id for part in parts},
            )
            queue = await world.journal.queue.queue(OWNER, FAR, 9)
            waiting = {one.value.charge.id for one in queue.records}
            others = {create_charge_id(SB), "sb-2:create", f"sb-2:{T0}"}
            self.assertEqual(waiting, {charge.id, *others})
            exposed = {name for name in await self.exposure() if name.startswith("charge:")}
            self.assertEqual(exposed, {f"charge:{name}" for name in waiting})
            self.assertEqual((await self.exposure())[f"charge:{charge.id}"], str(charge.amount))

        await self.same_books(scenario)

    async def test_place(self) -> None:
        """It stands where its oldest part stood: nothing older is behind what is younger (K13)."""
        await periods(self.world, 2)
        await periods(self.world, 1, "sb-2")
        history = self.world.journal.history
        before = await history.pending()
        self.assertEqual(before[1:3], (f"{SB}:{T0}", f"{SB}:{T0 + INTERVAL}"))
        whole = await self.world.journal.merging.merge(await parts_of_sandbox(self.world))
        after = await history.pending()
        self.assertEqual(after, (before[0], whole.value.charge.id, *before[3:]))

    async def test_settled(self) -> None:
        """It is signed, sent and paid as any other charge, and the tick goes on behind it."""
        session = await periods(self.world, 3)
        await self.world.journal.merging.merge(await parts_of(self.world))
        await ticked(self.world, session)
        batch = await signed(self.world)
        self.assertEqual(len(batch.value.charges), 3)
        ruled = await rulings(self.world, batch, paid)
        await self.world.journal.queue.resolve(batch, block(), ruled, (), ())
        records = await self.world.journal.history.charges(OWNER)
        books = l6_books(records)
        self.assertEqual((books.settled, books.pending), (books.charged, 0))
        self.assertEqual(await self.world.journal.history.pending(), ())
        self.assertEqual(set(await self.exposure()), {f"session:{SB}"})

    async def test_partly_paid(self) -> None:
        """What is left owed of it is a debt of it, and the books still add up."""
        await periods(self.world, 2)
        whole = await self.world.journal.merging.merge(await parts_of(self.world))
        batch = await signed(self.world)
        ruled = await rulings(self.world, batch, half)
        await self.world.journal.queue.resolve(batch, block(), ruled, (), ())
        records = await self.world.journal.history.charges(OWNER)
        self.assertIn(f"{whole.value.charge.id}:debt:1", {r.charge.id for r in records})
        self.assertEqual(l6_books(records).settled, 2)

    async def test_ticked_meanwhile(self) -> None:
        """A charge that came since they were read is no part, and is left as it is."""
        session = await periods(self.world, 2)
        parts = await parts_of(self.world)
        await ticked(self.world, session)
        whole = await self.world.journal.merging.merge(parts)
        left = [one.value.charge.id for one in await parts_of(self.world)]
        self.assertEqual(sorted(left), sorted([whole.value.charge.id, f"{SB}:{T0 + 2 * INTERVAL}"]))

    async def test_signed_meanwhile(self) -> None:
        """What has a number by now is not merged: its voucher may be on its way (L5)."""
        await periods(self.world, 2)
        parts = await parts_of(self.world)
        await signed(self.world)
        await self.unchanged(Stale, lambda: self.world.journal.merging.merge(parts))
        records = await self.world.journal.history.charges(OWNER)
        self.assertTrue(all(isinstance(record.state, Signed) for record in records))

    async def test_merged_meanwhile(self) -> None:
        """What was read as unsigned and merged since is not signed, nor merged with others."""
        await periods(self.world, 3)
        parts = await parts_of(self.world)
        promises = await promised(self.world)
        await self.world.journal.merging.merge(parts[:2])
        merging, queue = self.world.journal.merging, self.world.journal.queue
        await self.unchanged(Stale, lambda: queue.sign(batch_of(promises), promises))
        await self.unchanged(Stale, lambda: merging.merge(parts))
        await self.unchanged(Stale, lambda: merging.merge(parts[1:]))

    async def test_repeated_later(self) -> None:
        """A repeat is recognised even when the whole has gone on meanwhile."""
        await periods(self.world, 2)
        parts = await parts_of(self.world)
        merging = self.world.journal.merging
        whole = await merging.merge(parts)
        await signed(self.world)
        before = await self.world.dump()
        self.assertEqual(await merging.merge(parts), whole)
        self.assertEqual(await self.world.dump(), before)

    async def test_not_one(self) -> None:
        """What no plan would make one is refused before anything is written."""
        await periods(self.world, 3)
        one, two, three = await parts_of(self.world)
        merging = self.world.journal.merging
        for wrong in ([one], [one, three], [two, one]):
            await self.unchanged(BrokenLaw, lambda wrong=wrong: merging.merge(wrong))

    async def test_in_flight(self) -> None:
        """What waits behind a batch may be merged: it is offered when that is resolved."""
        session = await running(self.world)
        batch = await signed(self.world)
        for _ in range(2):
            session = await ticked(self.world, session)
        await self.world.journal.merging.merge(await parts_of(self.world))
        queue = self.world.journal.queue
        self.assertEqual(await queue.ready(FAR, 9), ())
        await queue.resolve(batch, block(), await rulings(self.world, batch, paid), (), ())
        self.assertEqual(await queue.ready(FAR, 9), (OWNER,))
        self.assertEqual(len(await promised(self.world)), 1)

    async def test_stale_token(self) -> None:
        """A worker that was replaced merges nothing (L10)."""
        await periods(self.world, 2)
        parts = await parts_of(self.world)
        await self.usurp()
        await self.unchanged(LeaseLost, lambda: self.world.journal.merging.merge(parts))
        await self.world.other.merging.merge(parts)


async def parts_of_sandbox(world: World, sandbox: str = SB) -> list[Stored[Any]]:
    """Those of one sandbox."""
    return [one for one in await parts_of(world) if one.value.charge.sandbox == sandbox]


def waived(record: Stored[ChargeRecord], reason: str = "goodwill") -> Forgiven:
    """An operator's word."""
    return Forgiven(
        seal=record.value.seal, reason=reason, by="operator", at=UnixSeconds(T0 + 1_000)
    )


class ForgivingCase(JournalCase):
    """Operators' decisions."""

    async def in_debt(self, world: World) -> Stored[ChargeRecord]:
        """A wallet whose create fee was not paid in full; the debt."""
        await mirrored(world)
        await running(world)
        batch = await signed(world)
        ruled = await rulings(world, batch, half)
        blocked = BlockedWallet(await world.journal.funds.funds(OWNER), "insufficient_balance")
        await world.journal.queue.resolve(batch, block(), ruled, [account()], [blocked])
        await looked_at(world)
        (debt,) = await world.other.forgiving.debts(OWNER)
        return debt

    async def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(IForgiving, self.world.journal.forgiving)

    async def test_blocked(self) -> None:
        """Found are wallets that lack money, not those that a human has to look at."""
        await mirrored(self.world, account(), account(STRANGER))
        forgiving, funds = self.world.other.forgiving, self.world.journal.funds
        self.assertEqual(await forgiving.blocked(), ())
        for wallet, reason in ((OWNER, "insufficient_balance"), (STRANGER, QUARANTINED)):
            await funds.block(BlockedWallet(await funds.funds(wallet), reason))
        self.assertEqual(await forgiving.blocked(), (OWNER,))

    async def test_forgive(self) -> None:
        """A debt ends in one write with its entry; without the lease; once."""

        async def scenario(world: World, sure: Any) -> None:
            debt = await self.in_debt(world)
            await world.journal.lease.give_up()
            await sure(lambda: world.journal.forgiving.forgive(debt, waived(debt), fenced=False))
            funds = await world.other.doors.funds(OWNER)
            self.assertFalse(funds.exposure.in_debt)
            self.assertEqual(await world.other.forgiving.debts(OWNER), ())
            self.assertEqual(await world.other.history.pending(), ())
            queue = await world.other.queue.queue(OWNER, FAR, 9)
            self.assertEqual(queue.records, ())
            records = await world.other.history.charges(OWNER)
            books = l6_books(records)
            amount = debt.value.charge.amount
            self.assertEqual((books.settled, books.forgiven), (1, amount))
            (entry,) = await world.other.forgiving.audit(0, 9)
            self.assertEqual((entry.what, entry.by), ("forgive", "operator"))
            self.assertEqual((entry.subject, entry.amount), (debt.value.charge.id, amount))

        await self.same_books(scenario)

    async def test_looked_at_again(self) -> None:
        """The worker looks at the wallet's funds again: it may run again when it can pay."""
        debt = await self.in_debt(self.world)
        funds = self.world.journal.funds
        await funds.check_again(await funds.funds(OWNER), FAR)
        self.assertEqual(await funds.to_check(T0, 9), ())
        await self.world.other.forgiving.forgive(debt, waived(debt), fenced=False)
        self.assertEqual(await funds.to_check(T0, 9), (OWNER,))

    async def test_signed(self) -> None:
        """A debt that was signed is collected: whoever has the voucher might submit it."""
        debt = await self.in_debt(self.world)
        self.world.wall.moment += 60
        await signed(self.world, id="batch-2")
        forgiving = self.world.journal.forgiving
        await self.unchanged(Stale, lambda: forgiving.forgive(debt, waived(debt), fenced=False))
        now = await forgiving.forgivable(debt.value.charge.id)
        assert now is not None
        await self.unchanged(BrokenLaw, lambda: forgiving.forgive(now, waived(now), fenced=False))
        self.assertEqual(await forgiving.debts(OWNER), ())

    async def test_stale_token(self) -> None:
        """No word of a worker that was replaced changes anything (L10)."""
        debt = await self.in_debt(self.world)
        await self.usurp()
        forgiving = self.world.journal.forgiving
        await self.unchanged(LeaseLost, lambda: forgiving.forgive(debt, waived(debt), fenced=True))

    async def test_another_word(self) -> None:
        """What was forgiven was forgiven for the reason that stands there."""
        debt = await self.in_debt(self.world)
        forgiving = self.world.journal.forgiving
        await forgiving.forgive(debt, waived(debt), fenced=False)
        await self.unchanged(
            Stale, lambda: forgiving.forgive(debt, waived(debt, "another"), fenced=False)
        )
        now = await forgiving.forgivable(debt.value.charge.id)
        assert now is not None
        await self.unchanged(BrokenLaw, lambda: forgiving.forgive(now, waived(now), fenced=False))

    async def test_dead_letter(self) -> None:
        """A dead letter may be written off: what was signed for it stays to be seen."""
        await running(self.world)
        batch = await signed(self.world)
        ruled = await rulings(self.world, batch, dead)
        await self.world.journal.queue.resolve(batch, block(), ruled, (), ())
        forgiving = self.world.journal.forgiving
        record = await forgiving.forgivable(create_charge_id(SB))
        assert record is not None and record.value.seal is not None
        await forgiving.forgive(record, waived(record), fenced=False)
        after = await forgiving.forgivable(create_charge_id(SB))
        assert after is not None
        self.assertEqual(after.value.seal, record.value.seal)
        (left,) = await self.world.keyspace.read(
            [Read("ZCOUNT", self.world.journal.store.keys.dead(), ("-inf", "+inf"))]
        )
        self.assertEqual(left, b"0")
        books = l6_books(await self.world.journal.history.charges(OWNER))
        self.assertEqual((books.dead, books.forgiven), (0, books.charged))

    async def test_forgotten_seal(self) -> None:
        """Nothing that was signed is forgotten with it (L5)."""
        await running(self.world)
        batch = await signed(self.world)
        ruled = await rulings(self.world, batch, dead)
        await self.world.journal.queue.resolve(batch, block(), ruled, (), ())
        forgiving = self.world.journal.forgiving
        record = await forgiving.forgivable(create_charge_id(SB))
        assert record is not None
        without = evolve(waived(record), seal=None)
        await self.unchanged(BrokenLaw, lambda: forgiving.forgive(record, without, fenced=False))

    async def test_unsigned_charge(self) -> None:
        """Any charge without a number may be forgiven, not debts alone."""
        await periods(self.world, 1)
        forgiving = self.world.journal.forgiving
        record = await forgiving.forgivable(ChargeId(f"{SB}:{T0}"))
        assert record is not None and record.value.state == Open()
        await forgiving.forgive(record, waived(record), fenced=False)
        (left,) = (await self.world.journal.queue.queue(OWNER, FAR, 9)).records
        self.assertEqual(left.value.charge.id, create_charge_id(SB))

    async def test_nothing(self) -> None:
        """A charge that never was is none, and nobody decided anything about it."""
        forgiving = self.world.journal.forgiving
        self.assertIsNone(await forgiving.forgivable(ChargeId("sb-9:create")))
        self.assertEqual(await forgiving.audit(0, 9), ())


def merging_suites(name: str, make: MakeWorld) -> dict[str, type]:
    """Both suites for one adapter."""
    return {
        f"{name}{case.__name__.removesuffix('Case')}Tests": type(
            f"{name}{case.__name__.removesuffix('Case')}Tests",
            (case,),
            {"make_world": staticmethod(make)},
        )
        for case in (MergingCase, ForgivingCase)
    }

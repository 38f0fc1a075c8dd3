"""What every L{IVoucherQueue} must do."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.redis.commit import Read, Write
from sandbox_billing.errors import BadInput, BrokenLaw, Transient
from sandbox_billing.interfaces import (
    BlockedWallet,
    IVoucherQueue,
    LeaseLost,
    Promise,
    Ruling,
    Stale,
)
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Nonce, create_charge_id
from sandbox_billing.ledger.laws import l6_books
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.settlement import debt_of
from sandbox_billing.ledger.voucher import (
    ChargeRecord,
    DeadLettered,
    Open,
    Paid,
    Parked,
    Partial,
    Seal,
    Signed,
)
from tests.ports.journal import (
    FEE,
    OWNER,
    SB,
    STRANGER,
    T0,
    JournalCase,
    MakeWorld,
    World,
    account,
    attempt,
    batch_of,
    block,
    closed,
    looked_at,
    meddle,
    mirror,
    mirrored,
    pending,
    promised,
    rulings,
    running,
    signed,
    ticked,
)


FAR = UnixSeconds(T0 + 10**6)


def sealed_of(record: ChargeRecord) -> Seal:
    """What was signed."""
    assert record.seal is not None
    return record.seal


def paid(record: ChargeRecord) -> tuple[Any, None]:
    """All of it moved."""
    return Paid(seal=sealed_of(record), transaction="0x01", block=10), None


def parked(record: ChargeRecord) -> tuple[Any, None]:
    """Refused: not acknowledged."""
    return Parked(sealed_of(record)), None


def kept(record: ChargeRecord) -> tuple[Any, None]:
    """Nothing moved, and it may be offered again."""
    return Signed(sealed_of(record)), None


def dead(record: ChargeRecord) -> tuple[Any, None]:
    """A human must look."""
    return DeadLettered(seal=sealed_of(record), reason="refused with status 5"), None


def half(record: ChargeRecord) -> tuple[Any, Any]:
    """One neuron moved, the rest is a debt."""
    fee = sealed_of(record).fee
    debt = debt_of(record.charge, Neuron(fee - 1), UnixSeconds(T0 + 100))
    state = Partial(
        seal=sealed_of(record),
        paid=Neuron(1),
        owed=debt.amount,
        debt=debt.id,
        transaction="0x01",
        block=10,
    )
    return state, debt


class QueueCase(JournalCase):
    """Worker facts of charges."""

    async def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(IVoucherQueue, self.world.journal.queue)

    async def test_ready_longest_waiting_first(self) -> None:
        """Wallets are offered by the time their first charge became ripe."""
        await ticked(self.world, await running(self.world, "sb-1", owner=STRANGER))
        self.world.wall.moment = T0 - 5
        await running(self.world, "sb-2", opened_at=UnixSeconds(T0 - 5))
        queue = self.world.journal.queue
        self.assertEqual(await queue.ready(FAR, 9), (OWNER, STRANGER))
        self.assertEqual(await queue.ready(FAR, 1), (OWNER,))
        self.assertEqual(await queue.ready(UnixSeconds(T0 - 6), 9), ())

    async def test_queue(self) -> None:
        """A queue is a wallet's ripe charges with its account and its last nonce."""
        await mirrored(self.world)
        await ticked(self.world, await running(self.world))
        found = await self.world.journal.queue.queue(OWNER, FAR, 9)
        self.assertEqual(found.account and found.account.value, account())
        ids = [record.value.charge.id for record in found.records]
        self.assertEqual(ids, [create_charge_id(SB), f"{SB}:{T0}"])
        self.assertEqual((found.in_flight, found.last_nonce), (None, 0))
        one = await self.world.journal.queue.queue(OWNER, FAR, 1)
        self.assertEqual(len(one.records), 1)

    async def test_sign(self) -> None:
        """Charges, last nonce and batch are one write; the wallet is in flight."""

        async def scenario(world: World, sure: Any) -> None:
            await ticked(world, await running(world))
            promises = await promised(world)
            batch = batch_of(promises)
            stored = await sure(lambda: world.journal.queue.sign(batch, promises))
            self.assertEqual(await world.journal.queue.batches(), (stored,))
            records = await world.journal.queue.batch_records(batch)
            self.assertEqual([r.value.state for r in records], [Signed(p.seal) for p in promises])
            after = await world.journal.queue.queue(OWNER, FAR, 9)
            self.assertEqual((after.records, after.in_flight), ((), batch.id))
            self.assertEqual(after.last_nonce, 2)
            self.assertEqual(await world.journal.queue.ready(FAR, 9), ())
            self.assertEqual(
                await self.raw("GET", f"billing:nonce:{OWNER}:{world.journal.store.keys.provider}"),
                b"2",
            )

        await self.same_books(scenario)

    async def test_nothing_more_of_a_wallet_in_flight(self) -> None:
        """A charge of a wallet in flight waits, and is offered when its batch is resolved."""
        before = await running(self.world)
        batch = await signed(self.world)
        await ticked(self.world, before)
        queue = self.world.journal.queue
        self.assertEqual(await queue.ready(FAR, 9), ())
        promises = await promised(self.world)
        self.assertEqual(len(promises), 1)
        second = batch_of(promises, "batch-2")
        await self.unchanged(Stale, lambda: queue.sign(second, promises))
        await queue.resolve(batch, block(), await rulings(self.world, batch, paid), (), ())
        self.assertEqual(await queue.ready(FAR, 9), (OWNER,))
        await queue.sign(second, promises)

    async def test_sign_what_has_changed(self) -> None:
        """Nothing is signed from a queue that was read earlier."""
        await running(self.world)
        promises = await promised(self.world)
        again = await promised(self.world)
        queue = self.world.journal.queue
        await queue.sign(batch_of(promises), promises)
        other = batch_of(again, "batch-2")
        higher = [Promise(p.record, evolve(p.seal, nonce=Nonce(9))) for p in again]
        await self.unchanged(Stale, lambda: queue.sign(other, higher))

    async def test_damaged_first(self) -> None:
        """S3: what is signed leaves the queue by its name, what cannot be read stays."""
        await ticked(self.world, await running(self.world))
        keys = self.world.journal.store.keys
        create, charges = keys.charge(create_charge_id(SB)), keys.charges(OWNER)
        await meddle(self.world.keyspace, Write("SET", create, ("damaged",)))
        (promise,) = await promised(self.world)
        await self.world.journal.queue.sign(batch_of([promise]), [promise])
        (left,) = await self.world.keyspace.read([Read("ZRANGE", charges, (0, -1))])
        self.assertEqual([create_charge_id(SB).encode()], left)

    async def test_nonces_given_meanwhile(self) -> None:
        """A nonce that was given to something else is not given again (L5)."""
        await running(self.world)
        promises = await promised(self.world)
        key = self.world.journal.store.keys.nonce(OWNER)
        await meddle(self.world.keyspace, Write("SET", key, ("41",)))
        await self.unchanged(
            Stale, lambda: self.world.journal.queue.sign(batch_of(promises), promises)
        )
        (promise,) = await promised(self.world)
        self.assertEqual(promise.seal.nonce, 42)
        await self.world.journal.queue.sign(batch_of([promise]), [promise])
        self.assertEqual(await self.raw("GET", key), b"42")

    async def test_falling_nonces(self) -> None:
        """A batch whose nonces do not rise is never stored (L5)."""
        await ticked(self.world, await running(self.world))
        first, second = await promised(self.world)
        wrong = [
            Promise(first.record, evolve(first.seal, nonce=second.seal.nonce)),
            Promise(second.record, evolve(second.seal, nonce=first.seal.nonce)),
        ]
        await self.unchanged(
            BrokenLaw, lambda: self.world.journal.queue.sign(batch_of(wrong), wrong)
        )

    async def test_another_seal(self) -> None:
        """A sealed charge keeps its seal (L5)."""
        await running(self.world)
        batch = await signed(self.world)
        queue = self.world.journal.queue
        await queue.resolve(batch, block(), await rulings(self.world, batch, parked), (), ())
        (promise,) = await promised(self.world)
        other = [Promise(promise.record, evolve(promise.seal, nonce=Nonce(9)))]
        await self.unchanged(BrokenLaw, lambda: queue.sign(batch_of(other, "b-2"), other))

    async def test_overtaking(self) -> None:
        """No new nonce is given above a sealed charge that still waits (L5)."""
        before = await running(self.world)
        batch = await signed(self.world)
        queue = self.world.journal.queue
        await queue.resolve(batch, block(), await rulings(self.world, batch, kept), (), ())
        await ticked(self.world, before)
        both = await promised(self.world)
        self.assertEqual([p.seal.nonce for p in both], [1, 2])
        await self.unchanged(BrokenLaw, lambda: queue.sign(batch_of(both[1:], "batch-2"), both[1:]))
        await queue.sign(batch_of(both, "batch-2"), both)

    async def test_sealed_first(self) -> None:
        """What is sealed comes first whatever the limit: its nonces are the lowest."""
        before = await running(self.world)
        await ticked(self.world, before)
        batch = await signed(self.world)
        queue = self.world.journal.queue
        await queue.resolve(batch, block(), await rulings(self.world, batch, parked), (), ())
        await running(self.world, "sb-0", opened_at=UnixSeconds(T0 - 100))
        found = await queue.queue(OWNER, FAR, 2)
        self.assertEqual([r.value.seal and r.value.seal.nonce for r in found.records], [1, 2])

    async def test_record_attempt(self) -> None:
        """An attempt is stored with its batch, once, and found again."""

        async def scenario(world: World, sure: Any) -> None:
            await running(world)
            batch = await signed(world)
            queue = world.journal.queue
            world.faults.inner = _OnDisk(world.faults.inner)
            after = await sure(lambda: queue.record_attempt(batch, attempt()))
            self.assertEqual(after.value.attempts, (attempt(),))
            self.assertEqual(await queue.batches(), (after,))
            await self.refused(Stale, queue.record_attempt(batch, attempt(2)))

        await self.same_books(scenario)

    async def test_attempt_not_on_disk(self) -> None:
        """An attempt that is not proven on disk may not be broadcast; asking again may do."""
        await running(self.world)
        batch = await signed(self.world)
        queue = self.world.journal.queue
        self.world.faults.disk = False
        await self.refused(Transient, queue.record_attempt(batch, attempt()))
        await self.refused(Transient, queue.record_attempt(batch, attempt()))
        self.world.faults.disk = True
        after = await queue.record_attempt(batch, attempt())
        self.assertEqual(after.value.attempts, (attempt(),))

    async def test_on_disk(self) -> None:
        """Whether what was stored earlier is on disk can be asked at any time (S14)."""
        await running(self.world)
        batch = await signed(self.world)
        queue = self.world.journal.queue
        self.world.faults.disk = False
        await self.refused(Transient, queue.record_attempt(batch, attempt()))
        (stored,) = await queue.batches()
        await self.refused(Transient, queue.on_disk(stored))
        self.world.faults.disk = True
        await queue.on_disk(stored)
        # Not for what is no longer stored so.
        await self.refused(Transient, queue.on_disk(batch))

    async def test_attempt_under_another_nonce(self) -> None:
        """Two attempts of a batch can never both be mined (L10)."""
        await running(self.world)
        self.world.faults.inner = _OnDisk(self.world.faults.inner)
        queue = self.world.journal.queue
        after = await queue.record_attempt(await signed(self.world), attempt())
        other = evolve(attempt(2), account_nonce=8)
        await self.unchanged(BrokenLaw, lambda: queue.record_attempt(after, other))

    async def resolved(self, after: Any, *, retry_in: int = 30) -> list[ChargeRecord]:
        """A batch of two charges is resolved; repeated in every way."""
        found: list[ChargeRecord] = []

        async def scenario(world: World, sure: Any) -> None:
            await ticked(world, await running(world))
            batch = await signed(world)
            ruled = await rulings(world, batch, after, retry_in)
            news = account(balance=Neuron(77), block=11)
            await sure(lambda: world.journal.queue.resolve(batch, block(), ruled, [news], ()))
            self.assertEqual(await world.journal.queue.batches(), ())
            funds = await world.other.doors.funds(OWNER)
            self.assertEqual(funds.account and funds.account.value, news)
            self.assertIn(OWNER, await world.journal.mirror.wallets())
            after_all = await world.journal.queue.queue(OWNER, FAR, 9)
            self.assertIsNone(after_all.in_flight)
            key = world.journal.store.keys.outcome(batch.value.id)
            self.assertEqual(await self.raw("PTTL", key), b"-1")
            found[:] = await world.journal.history.charges(OWNER)
            l6_books(found)

        await self.same_books(scenario)
        return found

    async def test_resolve_paid(self) -> None:
        """What is paid is owed no more."""
        await self.resolved(paid)
        self.assertEqual(set(await self.exposure()), {f"session:{SB}"})
        self.assertEqual(await self.world.journal.history.pending(), ())
        self.assertEqual(await self.world.journal.queue.ready(FAR, 9), ())

    async def test_resolve_partial(self) -> None:
        """The rest of what is partly paid is a debt of its own, and goes out first."""
        records = await self.resolved(half)
        debts = [f"debt:{SB}:{T0}:debt:1", f"debt:{SB}:create:debt:1"]
        fields = await self.exposure()
        self.assertEqual(sorted(set(fields) - {f"session:{SB}"}), debts)
        self.assertEqual(fields[debts[1]], str(FEE - 1))
        self.assertEqual(len(records), 4)
        self.assertEqual(len(await self.world.journal.history.pending()), 2)
        queue = self.world.journal.queue
        self.assertEqual(await queue.ready(FAR, 9), ())
        await looked_at(self.world)
        self.assertEqual(await queue.ready(self.world.wall.now(), 9), (OWNER,))
        older = UnixSeconds(T0 - 9)
        await running(self.world, "sb-0", opened_at=older, charged_until=older)
        kinds = [r.value.charge.kind.value for r in (await queue.queue(OWNER, FAR, 2)).records]
        self.assertEqual(kinds, ["debt", "debt"])

    async def test_resolve_parked(self) -> None:
        """What is parked keeps its place and its seal, and is not offered before its time."""
        await self.resolved(parked)
        self.assertEqual(len(await self.exposure()), 3)
        queue = self.world.journal.queue
        retry_at = UnixSeconds(self.world.wall.moment + 30)
        self.assertEqual(await queue.ready(UnixSeconds(retry_at - 1), 9), ())
        self.assertEqual(await queue.ready(retry_at, 9), (OWNER,))
        promises = await promised(self.world)
        self.assertEqual([p.seal.nonce for p in promises], [1, 2])
        await queue.sign(batch_of(promises, "batch-2"), promises)
        after = await queue.queue(OWNER, FAR, 9)
        self.assertEqual((after.records, after.last_nonce), ((), 2))

    async def test_void_debt(self) -> None:
        """A debt whose nonce is lost still goes out before everything else."""
        await self.resolved(half)
        await looked_at(self.world)
        (first, *_) = promises = await promised(self.world)
        batch = await self.world.journal.queue.sign(batch_of(promises, "batch-2"), promises)
        records = await self.world.journal.queue.batch_records(batch.value)
        ruled = []
        for record in records:
            after = ChargeRecord(record.value.charge, Open())
            ruled.append(Ruling(record=record, after=after, debt=None, retry_at=T0))
        await self.world.journal.queue.resolve(batch, block(11), ruled, (), ())
        older = UnixSeconds(T0 - 9)
        await running(self.world, "sb-0", opened_at=older, charged_until=older)
        found = await self.world.journal.queue.queue(OWNER, FAR, 1)
        self.assertEqual(found.records[0].value.charge.id, first.record.value.charge.id)

    async def test_void_skips_what_was_used(self) -> None:
        """A nonce the chain has used is never given, once one below it was proven lost (B16)."""
        await running(self.world)
        batch = await signed(self.world)
        (record,) = await self.world.journal.queue.batch_records(batch.value)
        after = ChargeRecord(record.value.charge, Open())
        ruling = Ruling(record=record, after=after, debt=None, retry_at=T0)
        news = account(last_nonce=Nonce(40))
        await self.world.journal.queue.resolve(batch, block(), [ruling], [news], ())
        self.assertEqual((await self.world.journal.queue.queue(OWNER, FAR, 9)).last_nonce, 40)

    async def test_acknowledged_again(self) -> None:
        """A new account state offers a resting wallet at once."""
        await self.resolved(parked, retry_in=10**5)
        await mirrored(self.world)
        now = self.world.wall.now()
        self.assertEqual(await self.world.journal.queue.ready(now, 9), (OWNER,))

    async def test_resolve_void(self) -> None:
        """A voucher whose nonce is lost is an open charge again, under a new nonce."""

        async def scenario(world: World, sure: Any) -> None:
            await running(world)
            batch = await signed(world)
            (record,) = await world.journal.queue.batch_records(batch.value)
            after = ChargeRecord(record.value.charge, Open())
            ruling = Ruling(record=record, after=after, debt=None, retry_at=T0)
            await sure(lambda: world.journal.queue.resolve(batch, block(), [ruling], (), ()))
            (promise,) = await promised(world)
            self.assertEqual(promise.seal.nonce, 2)
            await world.journal.queue.sign(batch_of([promise], "batch-2"), [promise])

        await self.same_books(scenario)

    async def test_resolve_dead(self) -> None:
        """A dead letter is owed no more, and kept where humans look."""
        records = await self.resolved(dead)
        self.assertEqual(set(await self.exposure()), {f"session:{SB}"})
        self.assertEqual(await self.world.journal.history.pending(), ())
        key = self.world.journal.store.keys.dead()
        self.assertEqual(await self.raw("ZCOUNT", key, "-inf", "+inf"), b"2")
        self.assertEqual(l6_books(records).pending, 0)

    async def test_resolve_blocking(self) -> None:
        """A wallet that could not pay is blocked, its sandboxes ordered to stop, at once."""

        async def scenario(world: World, sure: Any) -> None:
            before = await running(world)
            batch = await signed(world)
            await ticked(world, before)
            ruled = await rulings(world, batch, half)
            blocked = BlockedWallet(await world.journal.funds.funds(OWNER), "insufficient_balance")
            await sure(
                lambda: world.journal.queue.resolve(batch, block(), ruled, [account()], [blocked])
            )
            funds = await world.other.doors.funds(OWNER)
            self.assertEqual(funds.blocked, "insufficient_balance")
            self.assertTrue(funds.exposure.in_debt)
            self.assertEqual(await world.other.doors.stop_reason(SB), "insufficient_balance")

        await self.same_books(scenario)

    async def test_resolve_overtaken(self) -> None:
        """A wallet that opened something meanwhile is looked at again before it is blocked."""
        await running(self.world)
        batch = await signed(self.world)
        ruled = await rulings(self.world, batch, half)
        blocked = BlockedWallet(await self.world.journal.funds.funds(OWNER), "insufficient_balance")
        await pending(self.world, "sb-2")
        queue = self.world.journal.queue
        await self.unchanged(Stale, lambda: queue.resolve(batch, block(), ruled, (), [blocked]))

    async def test_resolve_twice(self) -> None:
        """A batch ends once: with other rulings or at another block it is gone."""
        await running(self.world)
        batch = await signed(self.world)
        queue = self.world.journal.queue
        ruled = await rulings(self.world, batch, paid)
        await queue.resolve(batch, block(), ruled, (), ())
        await self.unchanged(Stale, lambda: queue.resolve(batch, block(12), ruled, (), ()))

    async def test_resolve_in_part(self) -> None:
        """No voucher of a batch is forgotten (L6)."""
        await ticked(self.world, await running(self.world))
        batch = await signed(self.world)
        ruled = await rulings(self.world, batch, paid)
        queue = self.world.journal.queue
        await self.unchanged(BrokenLaw, lambda: queue.resolve(batch, block(), ruled[:1], (), ()))
        halves = [evolve(r, debt=None) for r in await rulings(self.world, batch, half)]
        await self.unchanged(BrokenLaw, lambda: queue.resolve(batch, block(), halves, (), ()))

    async def test_two_wallets(self) -> None:
        """A batch holds several wallets, each with its own nonces."""
        await running(self.world, "sb-1")
        await running(self.world, "sb-2", owner=STRANGER)
        promises = await promised(self.world, OWNER) + await promised(self.world, STRANGER)
        self.assertEqual([p.seal.nonce for p in promises], [1, 1])
        batch = await self.world.journal.queue.sign(batch_of(promises), promises)
        self.assertEqual(set(batch.value.wallets), {OWNER, STRANGER})
        ruled = await rulings(self.world, batch, paid)
        await self.world.journal.queue.resolve(batch, block(), ruled, (), ())
        self.assertEqual(set(await self.exposure(STRANGER)), {"session:sb-2"})

    async def test_shrink(self) -> None:
        """Half of a batch goes back sealed; a wallet that has nothing left in it is free (S8)."""

        async def scenario(world: World, sure: Any) -> None:
            await ticked(world, await running(world, "sb-1"))
            await running(world, "sb-2", owner=STRANGER)
            promises = await promised(world, OWNER) + await promised(world, STRANGER)
            queue = world.journal.queue
            batch = await queue.sign(batch_of(promises), promises)
            after = await sure(lambda: queue.shrink(batch, 1))
            self.assertEqual(await queue.batches(), (after,))
            self.assertEqual(after.value.wallets, (OWNER,))
            self.assertEqual(after.value.charges, batch.value.charges[:1])
            # Of the wallet that is still in flight nothing more is offered.
            self.assertEqual(await queue.ready(FAR, 9), (STRANGER,))
            left = await queue.queue(STRANGER, FAR, 9)
            self.assertEqual([r.value.state for r in left.records], [Signed(promises[2].seal)])
            ruled = await rulings(world, after, paid)
            await queue.resolve(after, block(), ruled, (), ())
            self.assertEqual(set(await queue.ready(FAR, 9)), {OWNER, STRANGER})
            left = await queue.queue(OWNER, FAR, 9)
            self.assertEqual([r.value.state for r in left.records], [Signed(promises[1].seal)])

        await self.same_books(scenario)

    async def test_condemn(self) -> None:
        """A voucher that can never be sent is a dead letter, its wallet quarantined."""

        async def scenario(world: World, sure: Any) -> None:
            await running(world)
            batch = await signed(world)
            queue, funds = world.journal.queue, await world.journal.funds.funds(OWNER)
            await sure(lambda: queue.condemn(batch, "it reverts", funds))
            self.assertEqual(await queue.batches(), ())
            (record,) = await queue.batch_records(batch.value)
            assert isinstance(record.value.state, DeadLettered)
            self.assertEqual(record.value.state.reason, "it reverts")
            self.assertEqual((await world.other.doors.funds(OWNER)).blocked, QUARANTINED)
            self.assertEqual(await world.other.doors.stop_reason(SB), QUARANTINED)
            self.assertEqual(await world.journal.history.pending(), ())
            self.assertEqual((await queue.queue(OWNER, FAR, 9)).blocked, QUARANTINED)

        await self.same_books(scenario)

    async def test_what_was_sent_stays_whole(self) -> None:
        """A batch with an attempt may be mined as it was: it is neither split nor given up."""
        await running(self.world)
        self.world.faults.inner = _OnDisk(self.world.faults.inner)
        queue = self.world.journal.queue
        sent = await queue.record_attempt(await signed(self.world), attempt())
        funds = await self.world.journal.funds.funds(OWNER)
        await self.unchanged(BrokenLaw, lambda: queue.shrink(sent, 0))
        await self.unchanged(BrokenLaw, lambda: queue.condemn(sent, "it reverts", funds))

    async def test_drop_attempts(self) -> None:
        """Attempts that can never be mined are forgotten; the promises stay (T-6)."""

        async def scenario(world: World, sure: Any) -> None:
            await running(world)
            world.faults.inner = _OnDisk(world.faults.inner)
            queue = world.journal.queue
            batch = await signed(world)
            sent = await queue.record_attempt(batch, attempt())
            after = await sure(lambda: queue.drop_attempts(sent, attempt().sender))
            self.assertEqual(after.value, batch.value)
            self.assertEqual(await queue.batches(), (after,))
            # Under another account nonce it may go out now.
            again = evolve(attempt(2), account_nonce=8)
            await queue.record_attempt(after, again)

        await self.same_books(scenario)

    async def test_drop_another_s_attempts(self) -> None:
        """Of two keys' attempts only those of the one that is named are forgotten."""
        await running(self.world)
        self.world.faults.inner = _OnDisk(self.world.faults.inner)
        queue = self.world.journal.queue
        other = evolve(attempt(2), sender=OWNER)
        sent = await queue.record_attempt(await signed(self.world), attempt())
        sent = await queue.record_attempt(sent, other)
        after = await queue.drop_attempts(sent, attempt().sender)
        assert after is not None
        self.assertEqual(after.value.attempts, (other,))

    async def test_filler(self) -> None:
        """A batch of nothing is stored, sent and ended like any other (T-7)."""

        async def scenario(world: World, sure: Any) -> None:
            world.faults.inner = _OnDisk(world.faults.inner)
            queue = world.journal.queue
            batch = await sure(lambda: queue.sign(batch_of([]), []))
            self.assertEqual(await queue.batches(), (batch,))
            sent = await queue.record_attempt(batch, attempt())
            await sure(lambda: queue.resolve(sent, block(), [], [], []))
            idle = await queue.sign(batch_of([], "batch-2"), [])
            self.assertIsNone(await sure(lambda: queue.drop_attempts(idle, OWNER)))
            self.assertEqual(await queue.batches(), ())

        await self.same_books(scenario)

    async def test_split_too_late(self) -> None:
        """A batch that was given an attempt since it was read is not split by that reading."""
        await ticked(self.world, await running(self.world))
        self.world.faults.inner = _OnDisk(self.world.faults.inner)
        queue = self.world.journal.queue
        batch = await signed(self.world)
        await queue.record_attempt(batch, attempt())
        await self.unchanged(Stale, lambda: queue.shrink(batch, 1))

    async def test_rest(self) -> None:
        """A wallet rests until its time, or until it is charged again."""
        before = await running(self.world)
        queue = self.world.journal.queue
        await queue.rest(await queue.queue(OWNER, T0, 9), UnixSeconds(T0 + 500))
        self.assertEqual(await queue.ready(UnixSeconds(T0 + 499), 9), ())
        self.assertEqual(await queue.ready(UnixSeconds(T0 + 500), 9), (OWNER,))
        await ticked(self.world, before)
        self.assertEqual(await queue.ready(UnixSeconds(T0 + 60), 9), (OWNER,))
        await queue.rest(await queue.queue(STRANGER, T0, 9), T0)
        self.assertEqual(await queue.ready(FAR, 9), (OWNER,))

    async def test_rest_too_late(self) -> None:
        """Whoever was offered for a reason since its queue was read does not rest."""
        before = await running(self.world)
        head = await mirrored(self.world)
        queue, port = self.world.journal.queue, self.world.journal.mirror
        until = UnixSeconds(T0 + 500)
        read = await queue.queue(OWNER, T0, 9)
        self.overtaken(lambda: ticked(self.world, before))
        await queue.rest(read, until)
        self.assertEqual(await queue.ready(UnixSeconds(T0 + 60), 9), (OWNER,))
        # The same when the account has changed: a refund was asked for, a deposit came.
        read = await queue.queue(OWNER, T0, 9)
        news = account(pending_refund=Neuron(5), block=11)
        self.overtaken(lambda: port.step(head, mirror(11), [news], (), (), known=[OWNER]))
        await queue.rest(read, until)
        self.assertEqual(await queue.ready(UnixSeconds(T0 + 60), 9), (OWNER,))
        await queue.rest(await queue.queue(OWNER, T0, 9), until)
        self.assertEqual(await queue.ready(UnixSeconds(T0 + 60), 9), ())

    async def test_set_aside(self) -> None:
        """A wallet whose queue cannot be read rests whatever came; a new charge offers it."""
        before = await running(self.world)
        queue = self.world.journal.queue
        self.overtaken(lambda: ticked(self.world, before))
        await queue.set_aside(OWNER, UnixSeconds(T0 + 500))
        self.assertEqual(await queue.ready(UnixSeconds(T0 + 499), 9), ())
        after = await self.world.journal.doors.session(before.value.sandbox)
        assert after is not None
        await ticked(self.world, after)
        self.assertEqual(await queue.ready(UnixSeconds(T0 + 120), 9), (OWNER,))

    async def test_ready_puts_itself_right(self) -> None:
        """A wallet that is offered with nothing ripe is offered again when something is."""
        await pending(self.world)
        queue, keys = self.world.journal.queue, self.world.journal.store.keys
        early = Write("ZADD", keys.ready(), (T0, OWNER.hex))
        await meddle(self.world.keyspace, early)
        self.assertEqual(await queue.ready(T0, 9), ())
        self.assertEqual(await self.raw("ZSCORE", keys.ready(), OWNER.hex), b"%d" % (T0 + 600))
        nobody = Write("ZADD", keys.ready(), (T0, STRANGER.hex))
        await meddle(self.world.keyspace, nobody)
        self.assertEqual(await queue.ready(T0, 9), ())
        self.assertIsNone(await self.raw("ZSCORE", keys.ready(), STRANGER.hex))

    async def test_put_right_too_late(self) -> None:
        """A wallet is not put away when something of it becomes ripe at that moment."""
        keys, queue, wall = self.world.journal.store.keys, self.world.journal.queue, self.world.wall
        await closed(self.world, await pending(self.world), T0 + 5, destroyed=False)
        early = Write("ZADD", keys.ready(), (T0, OWNER.hex))
        await meddle(self.world.keyspace, early)
        self.overtaken(lambda: self.world.other.doors.destroyed(SB))
        self.assertEqual(await queue.ready(T0, 9), ())
        self.assertEqual(await queue.ready(T0, 9), (OWNER,))
        # The same when a batch gives back what it held.
        batch = await signed(self.world)
        ruled = await rulings(self.world, batch, kept)
        await meddle(self.world.keyspace, early)
        self.overtaken(lambda: queue.resolve(batch, block(), ruled, (), ()))
        self.assertEqual(await queue.ready(T0, 9), ())
        self.assertEqual(await queue.ready(UnixSeconds(wall.moment + 30), 9), (OWNER,))

    async def test_mirrored_while_resting(self) -> None:
        """A wallet without an account rests until it has one."""
        await mirrored(self.world, account(STRANGER))
        await running(self.world)
        queue, doors = self.world.journal.queue, self.world.journal.doors
        await queue.rest(await queue.queue(OWNER, T0, 9), UnixSeconds(T0 + 500))
        head = await doors.mirror()
        assert head is not None
        await doors.add_account(head, account())
        self.assertEqual(await queue.ready(T0, 9), (OWNER,))

    async def test_lost_charge(self) -> None:
        """A charge that has disappeared is told of, and no shorter batch (L6)."""
        await running(self.world)
        batch = await signed(self.world)
        key = self.world.journal.store.keys.charge(create_charge_id(SB))
        await meddle(self.world.keyspace, Write("DEL", key))
        await self.refused(BadInput, self.world.journal.queue.batch_records(batch.value))
        self.assertIsNone(await self.world.journal.queue.expel(batch))
        (letter,) = await self.world.journal.letters.letters()
        self.assertEqual((letter.name, "disappeared"), (create_charge_id(SB), letter.reason[-11:]))

    async def test_batch_of_something_else(self) -> None:
        """A batch is signed with exactly its own promises (L6)."""
        await ticked(self.world, await running(self.world))
        promises = await promised(self.world)
        await self.unchanged(
            BrokenLaw, lambda: self.world.journal.queue.sign(batch_of(promises), promises[:1])
        )

    async def test_stale_token(self) -> None:
        """No worker fact of a worker that was replaced changes anything (L10)."""
        before = await running(self.world)
        await running(self.world, "sb-2", owner=STRANGER)
        batch = await signed(self.world)
        await ticked(self.world, before)
        promises = await promised(self.world, STRANGER)
        ruled = await rulings(self.world, batch, paid)
        queue = self.world.journal.queue
        read = await queue.queue(OWNER, FAR, 9)
        funds = await self.world.journal.funds.funds(OWNER)
        await self.usurp()
        for call in (
            lambda: queue.rest(read, FAR),
            lambda: queue.set_aside(OWNER, FAR),
            lambda: queue.sign(batch_of(promises, "batch-2"), promises),
            lambda: queue.record_attempt(batch, attempt()),
            lambda: queue.shrink(batch, 0),
            lambda: queue.drop_attempts(batch, OWNER),
            lambda: queue.condemn(batch, "it reverts", funds),
            lambda: queue.resolve(batch, block(), ruled, (), ()),
        ):
            await self.unchanged(LeaseLost, call)
        await self.world.other.queue.resolve(batch, block(), ruled, (), ())

    async def test_many(self) -> None:
        """A batch of fifty charges is one write."""
        for number in range(50):
            await running(self.world, f"sb-{number}")
        batch = await signed(self.world)
        self.assertEqual(len(batch.value.charges), 50)
        ruled = await rulings(self.world, batch, paid)
        await self.world.journal.queue.resolve(batch, block(), ruled, [account()], ())
        fields = await self.exposure()
        self.assertEqual({name.split(":")[0] for name in fields}, {"session"})


class _OnDisk:
    """Real waiting for the disk is tried where it is the subject; it takes up to a second."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def wait_for_disk(self, mark: str, expectations: Any) -> None:
        """At once."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def queue_suite(name: str, make_world: MakeWorld) -> type[JournalCase]:
    """The suite for one adapter."""
    return type(f"{name}QueueTests", (QueueCase,), {"make_world": staticmethod(make_world)})

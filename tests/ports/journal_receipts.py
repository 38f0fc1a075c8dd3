"""What every L{IReceipts} must do, and what the end of a batch keeps for it."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.redis.commit import Write
from sandbox_billing.interfaces import ChargeMark, IReceipts
from sandbox_billing.ledger import _codec
from sandbox_billing.ledger.identity import ChargeId, create_charge_id
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.voucher import ChargeRecord, Paid
from tests.ports.journal import (
    INTERVAL,
    OWNER,
    SB,
    STRANGER,
    T0,
    JournalCase,
    MakeWorld,
    World,
    attempt,
    block,
    meddle,
    rulings,
    running,
    signed,
    ticked,
)
from tests.ports.journal_merging import parts_of, periods
from tests.signing.test_settle_call import batch_call, transaction


def settled(record: ChargeRecord, hashed: str) -> tuple[Any, None]:
    """All of it moved, in a transaction."""
    assert record.seal is not None
    return Paid(seal=record.seal, transaction=hashed, block=10), None


class ReceiptsCase(JournalCase):
    """Reading what receipts are made of."""

    async def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(IReceipts, self.world.journal.receipts)

    async def test_pages(self) -> None:
        """Newest first, each once, and none of another wallet's."""
        await periods(self.world, 3)
        self.world.wall.moment = T0
        await periods(self.world, 1, "sb-2", owner=STRANGER)
        port = self.world.other.receipts
        ids: list[str] = []
        after = None
        for _ in range(9):
            page = await port.page(OWNER, after=after, since=0, limit=2)
            ids += [record.charge.id for record in page.records]
            after = page.after
            if after is None:
                break
        starts = [f"{SB}:{T0 + n * INTERVAL}" for n in (2, 1, 0)]
        self.assertEqual(ids, [*starts, create_charge_id(SB)])
        recent = await port.page(OWNER, after=None, since=T0 + 2 * INTERVAL, limit=9)
        self.assertEqual([record.charge.id for record in recent.records], starts[:2])
        self.assertIsNone(recent.after)

    async def test_a_mark_that_is_gone(self) -> None:
        """Behind it, what is not newer is told, so that nothing is left out."""
        await periods(self.world, 2)
        mark = ChargeMark(T0 + INTERVAL, ChargeId("gone"))
        page = await self.world.other.receipts.page(OWNER, after=mark, since=0, limit=9)
        self.assertEqual(
            [record.charge.id for record in page.records], [f"{SB}:{T0}", create_charge_id(SB)]
        )

    async def test_one(self) -> None:
        """By its id; what is damaged is told to an operator, and not guessed."""
        await running(self.world)
        port, create = self.world.other.receipts, create_charge_id(SB)
        found = await port.charge(create)
        self.assertEqual(found and found.charge.id, create)
        self.assertIsNone(await port.charge(ChargeId("sb-1:7")))
        key = self.world.journal.store.keys.charge(create)
        await meddle(self.world.keyspace, Write("SET", key, ('{"v":2}',)))
        self.assertIsNone(await port.charge(create))
        self.assertIn(("charge", create), self.world.other.store.reported)

    async def test_collected(self) -> None:
        """Of a merged charge its parts by time; of any other nothing."""
        await periods(self.world, 3)
        parts = await parts_of(self.world)
        whole = await self.world.journal.merging.merge(parts)
        port = self.world.other.receipts
        charges = [whole.value.charge, parts[0].value.charge]
        found = await port.collected(charges)
        self.assertEqual(
            dict(found), {whole.value.charge.id: tuple(part.value.charge for part in parts)}
        )

    async def test_proof(self) -> None:
        """What one signature was made of is kept in the step that ends its batch."""

        async def scenario(world: World, sure: Any) -> None:
            await ticked(world, await running(world))
            batch = await signed(world)
            made = attempt()
            raw = transaction(batch_call(2), gasPrice=7)
            batch = await world.journal.queue.record_attempt(batch, attempt(2))
            batch = await world.journal.queue.record_attempt(batch, evolve(made, raw=raw))
            ruled = await rulings(world, batch, lambda record: settled(record, made.hash))
            resolve = world.journal.queue.resolve
            await sure(lambda: resolve(batch, block(), ruled, (), (), gas=Neuron(1)))
            remembered = _codec._decoded.cache_info()
            found = await world.other.receipts.proofs({made.hash, attempt(2).hash, "0x00"})
            self.assertEqual(set(found), {made.hash})
            self.assertEqual(_codec._decoded.cache_info(), remembered)
            self.assertEqual((found[made.hash].batch, len(found[made.hash].lines)), ("batch-1", 2))
            key = world.journal.store.keys.batch_proof(made.hash)
            await meddle(world.keyspace, Write("SET", key, ('{"v":2}',)))
            self.assertEqual(dict(await world.other.receipts.proofs([made.hash])), {})

        await self.same_books(scenario)

    async def test_no_proof(self) -> None:
        """Where each voucher has its own signature, or another transaction settled it: none."""
        await ticked(self.world, await running(self.world))
        batch = await signed(self.world)
        raw = transaction(batch_call(2), gasPrice=7)
        batch = await self.world.journal.queue.record_attempt(batch, evolve(attempt(), raw=raw))
        ruled = await rulings(self.world, batch, lambda record: settled(record, attempt(2).hash))
        await self.world.journal.queue.resolve(batch, block(), ruled, (), (), gas=Neuron(1))
        found = await self.world.other.receipts.proofs([attempt().hash, attempt(2).hash])
        self.assertEqual(dict(found), {})


def receipts_suite(name: str, make: MakeWorld) -> type[ReceiptsCase]:
    """The suite for one adapter."""
    return type(f"{name}ReceiptsTests", (ReceiptsCase,), {"make_world": staticmethod(make)})

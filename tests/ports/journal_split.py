"""What every L{IVoucherQueue} must do for the deployed contract: cut charges, keep races."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from sandbox_billing.adapters.redis.commit import Write
from sandbox_billing.errors import BrokenLaw
from sandbox_billing.interfaces import Promise, Stale
from sandbox_billing.ledger.deployed import Race
from sandbox_billing.ledger.hold import charge_field
from sandbox_billing.ledger.laws import l2_disjoint, l6_books
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.settlement import split
from sandbox_billing.ledger.voucher import Open, Signed
from tests.ports.journal import (
    OWNER,
    T0,
    JournalCase,
    MakeWorld,
    World,
    batch_of,
    block,
    meddle,
    promised,
    rulings,
    running,
    seal,
    ticked,
)
from tests.ports.journal_queue import FAR, paid


async def cut(world: World, fee: int = 3) -> list[Promise]:
    """The first of a wallet's two charges goes out whole, the second for a part."""
    await ticked(world, await running(world))
    whole, second = await promised(world)
    nonce = second.seal.nonce
    part, rest = split(second.record.value, Neuron(fee), nonce, UnixSeconds(T0 + 99))
    return [whole, Promise(second.record, seal(part, nonce), rest)]


class SplitCase(JournalCase):
    """Worker facts of charges that are cut."""

    async def test_cut(self) -> None:
        """Part, rest and exposure are one write with nonce and batch; nothing disappears (L6)."""

        async def scenario(world: World, sure: Any) -> None:
            promises = await cut(world)
            second = promises[1]
            assert second.rest is not None
            before = l6_books(await world.journal.history.charges(OWNER))
            owed = (await world.journal.doors.funds(OWNER)).exposure.owed(T0)
            batch = batch_of(promises)
            await sure(lambda: world.journal.queue.sign(batch, promises))
            records = await world.journal.queue.batch_records(batch)
            part = records[1].value
            self.assertEqual((part.charge.amount, part.state), (3, Signed(second.seal)))
            exposure = (await world.journal.doors.funds(OWNER)).exposure
            self.assertEqual(exposure.fields[charge_field(part.charge)], "3")
            self.assertEqual(exposure.fields[f"debt:{second.rest.id}"], str(second.rest.amount))
            self.assertEqual(exposure.owed(T0), owed)
            self.assertTrue(exposure.in_debt)
            charges = await world.journal.history.charges(OWNER)
            after = l6_books(charges)
            self.assertEqual((after.charged, after.debt), (before.charged, second.rest.amount))
            l2_disjoint(record.charge for record in charges)
            self.assertIn(second.rest.id, await world.journal.history.pending())
            # The wallet is in flight: the rest waits for it.
            self.assertEqual(await world.journal.queue.ready(FAR, 9), ())

        await self.same_books(scenario)

    async def test_rest_goes_first(self) -> None:
        """Once the batch is resolved the rest is offered before anything newer."""
        promises = await cut(self.world)
        queue = self.world.journal.queue
        batch = await queue.sign(batch_of(promises), promises)
        await queue.resolve(batch, block(), await rulings(self.world, batch, paid), (), ())
        self.assertEqual(await queue.ready(FAR, 9), (OWNER,))
        (rest,) = (await queue.queue(OWNER, FAR, 9)).records
        self.assertEqual((rest.value.charge, rest.value.state), (promises[1].rest, Open()))

    async def test_wrong_rest(self) -> None:
        """Part and rest that are not the whole are never stored (L6)."""
        promises = await cut(self.world)
        rest = promises[1].rest
        assert rest is not None
        queue = self.world.journal.queue
        for wrong in (
            evolve(rest, amount=Neuron(rest.amount + 1)),
            evolve(rest, units=60),
            evolve(rest, id="sb-1:else"),
        ):
            bad = [promises[0], evolve(promises[1], rest=wrong)]
            await self.unchanged(BrokenLaw, lambda bad=bad: queue.sign(batch_of(bad), bad))
        without = [promises[0], evolve(promises[1], rest=None)]
        await self.unchanged(BrokenLaw, lambda: queue.sign(batch_of(without), without))

    async def test_overtaken(self) -> None:
        """Nothing is cut that has changed since it was read."""
        promises = await cut(self.world)
        key = self.world.journal.store.keys.charge(promises[1].record.value.charge.id)
        await meddle(self.world.keyspace, Write("SET", key, ("something else",)))
        queue = self.world.journal.queue
        await self.unchanged(Stale, lambda: queue.sign(batch_of(promises), promises))

    async def test_races(self) -> None:
        """What a flaw took is stored with the outcome, once, and kept."""

        async def scenario(world: World, sure: Any) -> None:
            promises = await cut(world)
            queue = world.journal.queue
            batch = await queue.sign(batch_of(promises), promises)
            races = [
                Race(
                    charge=promise.record.value.charge.id,
                    wallet=OWNER,
                    nonce=promise.seal.nonce,
                    lost=Neuron(65),
                    credit=Neuron(0),
                    transaction="0x01",
                    block=10,
                    noted_at=UnixSeconds(T0 + 100 + place),
                )
                for place, promise in enumerate(promises)
            ]
            self.assertEqual(await world.journal.history.races(), ())
            ended = await rulings(world, batch, paid)
            await sure(lambda: queue.resolve(batch, block(), ended, (), (), races))
            self.assertEqual(await world.journal.history.races(), tuple(races))

        await self.same_books(scenario)


def split_suite(name: str, make: MakeWorld) -> type:
    """The suite for one adapter."""
    return type(f"{name}SplitTests", (SplitCase,), {"make_world": staticmethod(make)})

"""What every L{IOrders} must do."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.redis.commit import Write
from sandbox_billing.interfaces import IOrders, LeaseLost, Stale, StopOrder, TooMany
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.audit import AuditEntry, broken_at
from sandbox_billing.ledger.backlog import Pause
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.order import (
    MOST_OPEN,
    OPERATOR,
    Kind,
    Mark,
    Order,
    OrderId,
    Piece,
    State,
)
from sandbox_billing.services._supervise import gather
from tests.ports.journal import OWNER, SB, T0, JournalCase, MakeWorld, World, meddle


def order(number: int = 1, **changes: Any) -> Order:
    """As a door makes one."""
    made = Order(
        id=OrderId(f"{number:032x}"),
        digest="d",
        kind=Kind.PAUSE,
        by=OWNER,
        reason="maintenance",
        asked_at=UnixSeconds(T0),
    )
    return evolve(made, **changes)


PAUSE = Pause(since=UnixSeconds(T0), reason="maintenance", by="0x1A")


class OrdersCase(JournalCase):
    """Asked for by doors, carried out by the worker."""

    async def ask(self, number: int = 1, **changes: Any) -> Any:
        """One that stands, with its stored form."""
        await self.world.other.orders.ask(order(number, **changes))
        (found,) = [
            one
            for one in await self.world.journal.orders.unended()
            if one.value.id == order(number).id
        ]
        return found

    async def entries(self) -> list[AuditEntry]:
        """The audit, which is whole."""
        forms = (await self.world.journal.overview.audit(None, 200)).forms
        self.assertIsNone(broken_at(forms))
        return [decode(AuditEntry, form) for form in forms]

    async def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(IOrders, self.world.journal.orders)

    async def test_life(self) -> None:
        """Asked for, begun, ended: every step may be repeated after a lost reply."""

        async def scenario(world: World, sure: Any) -> None:
            doors, worker = world.other.orders, world.journal.orders
            await sure(lambda: worker.ask(order()))
            (stands,) = await worker.unended()
            self.assertEqual(stands.value, evolve(order(), number=1))
            begun = stands.value.begun(UnixSeconds(T0 + 1), "note")
            under_way = await sure(lambda: worker.begin(stands, begun, pause=PAUSE))
            self.assertEqual(await doors.order(begun.id), begun)
            ended = begun.finished(UnixSeconds(T0 + 2), {"a": 1})
            (pause,) = [await world.journal.pause.paused()]
            entry = ended.entry("0x1A")
            await sure(lambda: worker.end(under_way, ended, entry, lift=pause))
            self.assertEqual(await doors.order(begun.id), ended)
            self.assertEqual(await worker.unended(), ())
            self.assertIsNone(await world.journal.pause.paused())

        await self.same_books(scenario)
        (entry,) = await self.entries()
        self.assertEqual((entry.what, entry.reason), ("pause", "maintenance"))

    async def test_asked_twice(self) -> None:
        """The same id is the same order, however far it is, and whatever else is asked with it."""
        stands = await self.ask()
        again = await self.world.journal.orders.ask(order(1, kind=Kind.RESUME, digest="other"))
        self.assertEqual(again, stands.value)
        ended = stands.value.failed(UnixSeconds(T0), "no")
        await self.world.journal.orders.end(stands, ended, ended.entry("x"))
        self.assertEqual(await self.world.other.orders.ask(order()), ended)
        self.assertEqual((await self.world.other.orders.page(None, 10)).orders, (ended,))

    async def test_at_once(self) -> None:
        """Two doors at the same moment: both are kept, one after the other."""
        self.overtaken(lambda: self.world.other.orders.ask(order(2)))
        await self.world.journal.orders.ask(order(1))
        self.assertEqual(
            [(one.value.id, one.value.number) for one in await self.world.journal.orders.unended()],
            [(order(2).id, 1), (order(1).id, 2)],
        )

    async def test_too_many(self) -> None:
        """So many stand that no other is taken; one that has ended makes room."""
        port = self.world.journal.orders
        for number in range(1, MOST_OPEN + 1):
            await port.ask(order(number))
        refused = await self.refused(TooMany, port.ask(order(MOST_OPEN + 1, kind=Kind.STOP)))
        self.assertGreater(refused.retry_after, 0)
        self.assertEqual((await port.ask(order(7))).number, 7)
        first = (await port.unended())[0]
        ended = first.value.failed(UnixSeconds(T0), "no")
        await port.end(first, ended, ended.entry("x"))
        self.assertEqual((await port.ask(order(MOST_OPEN + 1))).number, MOST_OPEN + 1)

    async def test_pages(self) -> None:
        """The newest first, each once, and an end."""
        port = self.world.journal.orders
        self.assertEqual((await port.page(None, 2)).orders, ())
        for number in range(1, 6):
            await port.ask(order(number))
        seen, upto = [], None
        for _ in range(3):
            page = await port.page(upto, 2)
            seen += [one.number for one in page.orders]
            upto = page.before
        self.assertEqual((seen, upto), ([5, 4, 3, 2, 1], None))

    async def test_pause_between(self) -> None:
        """Nothing is written where another pause came between, or went."""
        stands, port = await self.ask(), self.world.journal.orders
        other = await self.world.other.pause.pause(PAUSE)
        begun = stands.value.begun(UnixSeconds(T0))
        ended = stands.value.finished(UnixSeconds(T0), {})
        entry = ended.entry("x")
        await self.unchanged(Stale, lambda: port.begin(stands, begun, pause=PAUSE))
        await self.unchanged(Stale, lambda: port.end(stands, ended, entry, pause=PAUSE))
        await self.world.other.pause.lift(other)
        await self.unchanged(Stale, lambda: port.end(stands, ended, entry, lift=other))

    async def test_once(self) -> None:
        """One that was begun or ended is neither begun nor ended again."""
        stands, port = await self.ask(), self.world.journal.orders
        under_way = await port.begin(stands, stands.value.begun(UnixSeconds(T0)))
        later = stands.value.begun(UnixSeconds(T0 + 1))
        await self.unchanged(Stale, lambda: port.begin(stands, later))
        ended = under_way.value.failed(UnixSeconds(T0), "no")
        await port.end(under_way, ended, ended.entry("x"))
        other = under_way.value.failed(UnixSeconds(T0), "other")
        await self.unchanged(Stale, lambda: port.end(under_way, other, other.entry("x")))
        await self.unchanged(Stale, lambda: port.mark(under_way, {SB: Piece()}))
        self.assertEqual(len(await self.entries()), 1)

    async def test_many_at_once(self) -> None:
        """Those that are asked for at the same moment are all taken, each with its number."""
        port = self.world.other.orders
        asked = [port.ask(order(number, kind=Kind.STOP)) for number in range(1, 31)]
        taken = await gather(*asked)
        self.assertEqual({one.number for one in taken}, set(range(1, 31)))

    async def test_stop(self) -> None:
        """The stop order stands from the write on in which the order begins."""
        stands, port = await self.ask(kind=Kind.STOP, subject=SB), self.world.journal.orders
        await port.begin(stands, stands.value.begun(UnixSeconds(T0)), stop=SB)
        found = await self.world.journal.stops.get(SB)
        self.assertEqual(found, StopOrder(SB, OPERATOR, UnixSeconds(T0), 0))

    async def test_pieces(self) -> None:
        """How far each of many is, and its stop order with it; gone when the order ends."""
        stands, port = await self.ask(kind=Kind.ARCHIVE_ALL), self.world.journal.orders
        other = SandboxId("sb-2")
        pieces = {SB: Piece(), other: Piece()}
        under_way = await port.begin(stands, stands.value.begun(UnixSeconds(T0)), pieces=pieces)
        self.assertEqual(await port.pieces(order().id), pieces)
        moved = Piece(mark=Mark.STOPPING, run="ref:1")
        await port.mark(under_way, {SB: moved}, stop=[SB])
        self.assertEqual(await port.pieces(order().id), {SB: moved, other: Piece()})
        self.assertIsNotNone(await self.world.journal.stops.get(SB))
        self.assertIsNone(await self.world.journal.stops.get(other))
        ended = under_way.value.finished(UnixSeconds(T0), {})
        await port.end(under_way, ended, ended.entry("x"))
        self.assertEqual(await port.pieces(order().id), {})

    async def test_worker_only(self) -> None:
        """Who does not hold the lease begins and ends nothing."""
        stands, port = await self.ask(), self.world.other.orders
        begun = stands.value.begun(UnixSeconds(T0))
        ended = stands.value.failed(UnixSeconds(T0), "no")
        await self.unchanged(LeaseLost, lambda: port.begin(stands, begun))
        await self.unchanged(LeaseLost, lambda: port.mark(stands, {SB: Piece()}))
        await self.unchanged(LeaseLost, lambda: port.end(stands, ended, ended.entry("x")))

    async def test_damaged(self) -> None:
        """One that cannot be read is told to a human, and holds up no other."""
        await self.ask(1)
        await self.ask(2)
        key = self.world.journal.store.keys.order(order(1).id)
        await meddle(self.world.keyspace, Write("SET", key, ("nonsense",)))
        (left,) = await self.world.journal.orders.unended()
        self.assertEqual(left.value.id, order(2).id)
        letters = await self.world.journal.letters.letters()
        self.assertEqual([one.kind for one in letters], ["order"])

    async def test_state(self) -> None:
        """What is stored says how far it is."""
        stands = await self.ask()
        self.assertIs(stands.value.state, State.ASKED)


def orders_suite(name: str, make_world: MakeWorld) -> type[OrdersCase]:
    """The suite for one kind of world."""
    return type(f"{name}OrdersTests", (OrdersCase,), {"make_world": staticmethod(make_world)})

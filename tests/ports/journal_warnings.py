"""What every L{IWarnings} must do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from attrs import evolve
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.redis.commit import Write
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import BlockedWallet, IWarnings, LeaseLost, Stale, WalletSeen
from sandbox_billing.ledger.metering import begin
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.notice import Kind, Notice
from sandbox_billing.ledger.warning import Picture, Told
from tests.ports.journal import (
    OWNER,
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
)


PICTURE = Picture(
    balance=Neuron(5),
    pending_refund=Neuron(0),
    acknowledged=True,
    signer_version=1,
    blocked=None,
)


def news(number: int = 1) -> Told:
    """Something to tell."""
    facts = {"balance": str(number)}
    notice = Notice(kind=Kind.TOPPED_UP, at=UnixSeconds(T0), wallet=OWNER, facts=facts)
    return notice, f"topped_up:{number}"


async def opened(world: World) -> None:
    """A session that runs."""
    made, doors = session(), world.journal.doors
    await doors.reserve(intent(), await doors.funds(OWNER))
    await doors.open_session(intent(), made, create_charge(made))
    stored = await doors.session(SB)
    assert stored is not None
    await world.journal.meter.begin(stored, begin(stored.value, T0))


class WarningsCase(JournalCase):
    """Pictures of wallets, and when to look at them."""

    async def listed(self, now: int = T0) -> tuple[Any, ...]:
        """Whose time has come."""
        return await self.world.other.warnings.to_look(UnixSeconds(now), 9)

    async def checked(self) -> None:
        """The treasurer has looked."""
        funds = self.world.journal.funds
        await funds.check_again(await funds.funds(OWNER), UnixSeconds(T0 + 900))

    async def seen(self) -> WalletSeen:
        """As the worker reads it."""
        return await self.world.journal.warnings.look(OWNER)

    async def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(IWarnings, self.world.journal.warnings)

    async def test_listed(self) -> None:
        """A wallet is listed when the treasurer has looked at it, until it was looked at here."""
        port = self.world.journal.warnings
        self.assertEqual(await self.listed(), ())
        await self.checked()
        self.assertEqual(await self.listed(), (OWNER,))
        await port.told(await self.seen(), PICTURE, (), UnixSeconds(T0 + 50))
        self.assertEqual(await self.listed(T0 + 49), ())
        self.assertEqual(await self.listed(T0 + 50), (OWNER,))
        await port.told(await self.seen(), PICTURE, (), None)
        self.assertEqual(await self.listed(T0 + 10**6), ())
        await port.later(OWNER, UnixSeconds(T0 + 60))
        self.assertEqual(await self.listed(T0 + 60), (OWNER,))

    async def test_told(self) -> None:
        """Picture and notices are one write; a lost answer is found out by looking again."""

        async def scenario(world: World, sure: Any) -> None:
            port = world.journal.warnings

            async def tell() -> None:
                seen = await port.look(OWNER)
                if seen.picture != PICTURE:
                    await port.told(seen, PICTURE, (news(1), news(2)), None)

            await tell()
            await tell()
            found = await world.other.notices.after(OWNER, 0, 9)
            self.assertEqual([one.notice for one in found], [news(1)[0], news(2)[0]])
            self.assertLess(found[0].number, found[1].number)
            self.assertEqual(await world.other.notices.wallets_with_news(T0, 9), (OWNER,))
            self.assertFalse(await world.other.notices.tell(*news(1)))

        await self.same_books(scenario)

    async def test_twice(self) -> None:
        """Of two that have seen the same, one tells; what was told under a key stays so."""
        port, seen = self.world.journal.warnings, await self.seen()
        await port.told(seen, PICTURE, (news(1),), None)
        await self.unchanged(Stale, lambda: port.told(seen, PICTURE, (news(1),), None))
        other = evolve(PICTURE, balance=Neuron(6))
        await port.told(await self.seen(), other, (news(1), news(2)), None)
        self.assertEqual(len(await self.world.other.notices.after(OWNER, 0, 9)), 2)

    async def test_told_meanwhile(self) -> None:
        """What a door tells at the same time makes it look again."""
        port, seen = self.world.journal.warnings, await self.seen()
        other = self.world.other.notices
        self.overtaken(lambda: other.tell(*news(9)))
        await self.refused(Stale, port.told(seen, PICTURE, (news(1),), None))

    async def test_moved_meanwhile(self) -> None:
        """Nothing is told of what has changed since it was read: it is still listed."""
        port, funds = self.world.journal.warnings, self.world.journal.funds
        await opened(self.world)
        changes: tuple[Callable[[WalletSeen], Awaitable[None]], ...] = (
            lambda seen: self.world.journal.doors.reserve(intent("ref-2"), seen.funds),
            lambda seen: self.world.journal.stops.order(SB, "spend_limit", UnixSeconds(T0)),
            lambda seen: funds.block(BlockedWallet(seen.funds, "debt")),
            lambda seen: funds.unblock(seen.funds),
        )
        for change in changes:
            seen = await self.seen()
            await change(seen)
            again = partial(port.told, seen, PICTURE, (news(1),), None)
            await self.unchanged(Stale, again)

    async def test_orders(self) -> None:
        """Stops are remembered until told of, also when they are carried out at once."""
        port, stops = self.world.journal.warnings, self.world.journal.stops
        await opened(self.world)
        await stops.order(SB, "spend_limit", UnixSeconds(T0))
        self.assertEqual(await self.listed(), (OWNER,))
        seen = await self.seen()
        self.assertEqual((seen.orders, seen.standing), ({SB: "spend_limit"}, {SB: "spend_limit"}))
        kept = evolve(PICTURE, orders=((SB, "spend_limit"),))
        await port.told(seen, kept, (), None)
        order = await stops.get(SB)
        assert order is not None
        await stops.done(order)
        seen = await self.seen()
        self.assertEqual((seen.orders, seen.standing), ({SB: "spend_limit"}, {}))
        await port.told(seen, PICTURE, (), None)
        self.assertEqual((await self.seen()).orders, {})

    async def test_block_orders(self) -> None:
        """A block orders a stop of everything the wallet has, and is to be told."""
        funds = self.world.journal.funds
        await opened(self.world)
        await funds.block(BlockedWallet(await funds.funds(OWNER), "insufficient_balance"))
        self.assertEqual(await self.listed(), (OWNER,))
        await funds.unblock(await funds.funds(OWNER))
        seen = await self.seen()
        self.assertEqual(seen.orders, {SB: "insufficient_balance"})
        self.assertEqual((seen.block, seen.funds.blocked), ("insufficient_balance", None))
        await self.world.journal.warnings.told(seen, PICTURE, (), None)
        self.assertIsNone((await self.seen()).block)

    async def test_damaged(self) -> None:
        """A picture that cannot be read is none, and the next one takes its place."""
        port, keys = self.world.journal.warnings, self.world.journal.store.keys
        await meddle(self.world.keyspace, Write("SET", keys.warned(OWNER), ("coffee",)))
        seen = await self.seen()
        self.assertIsNone(seen.picture)
        await port.told(seen, PICTURE, (), None)
        self.assertEqual((await self.seen()).picture, PICTURE)
        await meddle(self.world.keyspace, Write("SET", keys.account(OWNER), ("coffee",)))
        await self.refused(BadInput, self.seen())

    async def test_announced(self) -> None:
        """Everybody is listed, and it is remembered for what."""
        port = self.world.journal.warnings
        self.assertIsNone(await port.announced())
        await port.announce([OWNER, STRANGER], UnixSeconds(T0 + 5))
        self.assertEqual(await port.announced(), T0 + 5)
        self.assertEqual(set(await self.listed()), {OWNER, STRANGER})
        await port.announce([], None)
        self.assertIsNone(await port.announced())

    async def test_worker_s(self) -> None:
        """Only the worker tells how a wallet stands (L10)."""
        port, seen = self.world.journal.warnings, await self.seen()
        await self.usurp()
        for call in (
            lambda: port.told(seen, PICTURE, (news(1),), None),
            lambda: port.later(OWNER, UnixSeconds(T0)),
            lambda: port.announce([OWNER], UnixSeconds(T0)),
        ):
            await self.unchanged(LeaseLost, call)


def warnings_suite(name: str, make: MakeWorld) -> type[WarningsCase]:
    """The suite for one adapter."""
    return type(f"{name}WarningsTests", (WarningsCase,), {"make_world": staticmethod(make)})

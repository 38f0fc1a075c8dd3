"""What every L{INotices} must do."""

from __future__ import annotations

from typing import Any

from zope.interface.verify import verifyObject

from sandbox_billing.adapters.redis.commit import Write
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import INotices
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.notice import KEPT_ENTRIES, KEPT_SECONDS, Kind, Notice
from tests.ports.journal import OWNER, SB, STRANGER, T0, JournalCase, MakeWorld, World, meddle


def notice(number: int = 0, *, wallet: Address = OWNER, at: int = T0) -> Notice:
    """That some funds came."""
    facts = {"balance": str(number)}
    return Notice(kind=Kind.TOPPED_UP, at=UnixSeconds(at), wallet=wallet, sandbox=SB, facts=facts)


class NoticesCase(JournalCase):
    """A log of each wallet, and whose is to be passed on."""

    async def told(self, wallet: Address = OWNER, number: int = 0) -> list[Notice]:
        """What is in a log after a number."""
        return [one.notice for one in await self.world.other.notices.after(wallet, number, 2_000)]

    async def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(INotices, self.world.journal.notices)

    async def test_once(self) -> None:
        """Whoever tells, and however often: once for each key; nothing is lost with an answer."""

        async def scenario(world: World, sure: Any) -> None:
            port, other = world.journal.notices, world.other.notices
            await sure(lambda: port.tell(notice(1), "a"))
            self.assertFalse(await other.tell(notice(2), "a"))
            self.assertTrue(await other.tell(notice(3), "b"))
            self.assertTrue(await other.tell(notice(4, wallet=STRANGER), "a"))
            self.assertEqual(await self.told(), [notice(1), notice(3)])
            self.assertEqual(await self.told(STRANGER), [notice(4, wallet=STRANGER)])
            newest = (await port.newest([OWNER]))[0]
            await sure(lambda: port.look_again(OWNER, newest, None))

        await self.same_books(scenario)

    async def test_rising(self) -> None:
        """Numbers rise, also within a second; whoever knows one gets what came after it."""
        port = self.world.journal.notices
        self.assertEqual(await port.newest([OWNER]), (0,))
        for number in range(4):
            await port.tell(notice(number), str(number))
        found = await port.after(OWNER, 0, 10)
        numbers = [one.number for one in found]
        self.assertEqual(numbers, sorted(set(numbers)))
        for place, number in enumerate(numbers):
            self.assertEqual(await port.after(OWNER, number, 10), found[place + 1 :])
        self.assertEqual(await port.after(OWNER, numbers[0], 2), found[1:3])
        self.assertEqual(await port.newest([STRANGER, OWNER]), (0, numbers[-1]))

    async def test_rising_for_ever(self) -> None:
        """What is told when everything before has expired is still after that."""
        port = self.world.journal.notices
        await port.tell(notice(1), "a")
        (before,) = await port.newest([OWNER])
        keys = self.world.journal.store.keys
        for key in (keys.notices(OWNER), keys.notices_told(OWNER)):
            self.assertTrue(0 < int(await self.raw("PTTL", key)) <= KEPT_SECONDS * 1000)
            await meddle(self.world.keyspace, Write("DEL", key))
        self.world.wall.moment = T0 + KEPT_SECONDS
        self.assertTrue(await port.tell(notice(2, at=T0 + KEPT_SECONDS), "a"))
        self.assertEqual(len(await port.after(OWNER, before, 10)), 1)

    async def test_clock_steps_back(self) -> None:
        """Nor does a number fall with a clock."""
        port = self.world.journal.notices
        await port.tell(notice(1), "a")
        self.world.wall.moment = T0 - 100
        await port.tell(notice(2), "b")
        self.assertEqual(await self.told(), [notice(1), notice(2)])

    async def test_too_old(self) -> None:
        """After thirty days one is not shown, and leaves with the next, key and all."""
        port = self.world.journal.notices
        await port.tell(notice(1), "a")
        self.world.wall.moment = T0 + KEPT_SECONDS - 1
        self.assertEqual(len(await self.told()), 1)
        await port.tell(notice(2, at=T0 + 10), "b")
        self.world.wall.moment = T0 + KEPT_SECONDS
        self.assertEqual(await self.told(), [notice(2, at=T0 + 10)])
        self.assertTrue(await port.tell(notice(3, at=self.world.wall.moment), "c"))
        self.assertTrue(await port.tell(notice(4, at=self.world.wall.moment), "a"))
        self.assertFalse(await port.tell(notice(5, at=self.world.wall.moment), "b"))
        self.assertEqual(await self.raw("ZCOUNT", self.log, "-inf", "+inf"), b"3")

    async def test_behind_what_is_too_old(self) -> None:
        """However much of that is still there: whoever asks for a few gets what comes after."""
        port = self.world.journal.notices
        for number in range(30):
            await port.tell(notice(number), str(number))
        self.world.wall.moment = T0 + KEPT_SECONDS - 10
        # Told late: its number is young, and it is not.
        for number in range(30, 36):
            await port.tell(notice(number), str(number))
        young = notice(36, at=self.world.wall.moment)
        await port.tell(young, "36")
        self.world.wall.moment = T0 + KEPT_SECONDS
        self.assertEqual([one.notice for one in await port.after(OWNER, 0, 3)], [young])
        self.assertEqual([one.notice for one in await port.after(OWNER, 0, 100)], [young])
        (newest,) = await port.newest([OWNER])
        self.assertEqual(await port.after(OWNER, newest, 3), ())

    async def test_too_many(self) -> None:
        """Of more than are kept the oldest leave."""
        port = self.world.journal.notices
        for number in range(KEPT_ENTRIES + 3):
            await port.tell(notice(number), str(number))
        kept = await self.told()
        self.assertEqual(kept, [notice(n) for n in range(3, KEPT_ENTRIES + 3)])
        fields = await self.raw("HGETALL", self.world.journal.store.keys.notices_told(OWNER))
        self.assertEqual(len(fields) // 2, KEPT_ENTRIES + 1)

    async def test_at_once(self) -> None:
        """Two that meet are both told; of two for the same, one is."""
        port, other = self.world.journal.notices, self.world.other.notices
        self.overtaken(lambda: other.tell(notice(1), "a"))
        self.assertTrue(await port.tell(notice(2), "b"))
        self.overtaken(lambda: other.tell(notice(3), "c"))
        self.assertFalse(await port.tell(notice(4), "c"))
        self.assertEqual(await self.told(), [notice(1), notice(2), notice(3)])

    async def test_damaged(self) -> None:
        """One that cannot be read is passed over, and keeps nobody from being told."""
        port = self.world.journal.notices
        await meddle(self.world.keyspace, Write("ZADD", self.log, (5, "coffee")))
        await port.tell(notice(1), "a")
        self.assertEqual(await self.told(), [notice(1)])
        await meddle(self.world.keyspace, Write("DEL", self.log), Write("SET", self.log, ("x",)))
        await self.refused(BadInput, port.tell(notice(2), "b"))

    async def test_news(self) -> None:
        """Whoever passes news on finds whose there is, until all of it is."""
        port, now = self.world.journal.notices, UnixSeconds(T0)
        self.assertEqual(await port.wallets_with_news(now, 10), ())
        await port.tell(notice(1), "a")
        await port.tell(notice(2, wallet=STRANGER), "a")
        self.assertEqual(await port.wallets_with_news(now, 10), (OWNER, STRANGER))
        self.assertEqual(len(await port.wallets_with_news(now, 1)), 1)
        (newest,) = await port.newest([OWNER])
        await port.look_again(OWNER, newest, UnixSeconds(T0 + 30))
        self.assertEqual(await port.wallets_with_news(now, 10), (STRANGER,))
        self.assertEqual(len(await port.wallets_with_news(UnixSeconds(T0 + 30), 10)), 2)
        await port.look_again(OWNER, newest, None)
        self.assertEqual(await port.wallets_with_news(UnixSeconds(T0 + 90), 10), (STRANGER,))

    async def test_news_meanwhile(self) -> None:
        """What was told while older news was passed on is not forgotten."""
        port, now = self.world.journal.notices, UnixSeconds(T0)
        await port.tell(notice(1), "a")
        (newest,) = await port.newest([OWNER])
        await port.tell(notice(2), "b")
        for at in (None, UnixSeconds(T0 + 99)):
            await port.look_again(OWNER, newest, at)
            self.assertEqual(await port.wallets_with_news(now, 10), (OWNER,))
        (newest,) = await port.newest([OWNER])
        await port.look_again(OWNER, newest, UnixSeconds(T0 + 99))
        await port.tell(notice(3), "c")
        self.assertEqual(await port.wallets_with_news(now, 10), (OWNER,))

    async def test_anybody(self) -> None:
        """No lease is needed: what is told is no money."""
        await self.usurp()
        self.assertTrue(await self.world.journal.notices.tell(notice(1), "a"))

    @property
    def log(self) -> str:
        """Where the owner's is."""
        return self.world.journal.store.keys.notices(OWNER)


def notices_suite(name: str, make: MakeWorld) -> type[NoticesCase]:
    """The suite for one adapter."""
    return type(f"{name}NoticesTests", (NoticesCase,), {"make_world": staticmethod(make)})

"""What every L{IIdempotency} and every L{ILifecycleCount} must do."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.redis.commit import Read
from sandbox_billing.interfaces import IIdempotency, ILifecycleCount, Stale, TooMany
from sandbox_billing.ledger.idempotency import Remembered
from sandbox_billing.ledger.identity import Reference
from sandbox_billing.ledger.money import UnixSeconds
from tests.ports.journal import (
    OWNER,
    SB,
    STRANGER,
    T0,
    JournalCase,
    MakeWorld,
    World,
    intent,
    mirrored,
    session,
)


SLOT = "5" * 64
DAY = 86_400

ASKED = Remembered(
    digest="d" * 64,
    reference=intent().reference,
    run="run-1",
    began_at=T0,
    until=UnixSeconds(T0 + 120),
)
AGAIN = evolve(ASKED, run="run-2", reference=Reference("ref-again"))


class IdempotencyCase(JournalCase):
    """A request that is remembered."""

    async def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(IIdempotency, self.world.journal.idempotency)

    async def test_begin(self) -> None:
        """The first to ask is remembered, and whoever asks later finds him."""

        async def scenario(world: World, sure: Any) -> None:
            port = world.journal.idempotency
            first = await sure(lambda: port.begin(OWNER, SLOT, ASKED))
            self.assertEqual(first.value, ASKED)
            second = await world.other.idempotency.begin(OWNER, SLOT, AGAIN)
            self.assertEqual(second.value, ASKED)
            self.assertEqual(second.raw, first.raw)

        await self.same_books(scenario)

    async def test_slots(self) -> None:
        """Neither another slot nor another wallet's is the same request."""
        port = self.world.other.idempotency
        await port.begin(OWNER, SLOT, ASKED)
        self.assertEqual((await port.begin(STRANGER, SLOT, AGAIN)).value, AGAIN)
        self.assertEqual((await port.begin(OWNER, "6" * 64, AGAIN)).value, AGAIN)

    async def test_answer(self) -> None:
        """An answer stands in place of the run; who worked on something older is too late."""

        async def scenario(world: World, sure: Any) -> None:
            port = world.journal.idempotency
            stands = await port.begin(OWNER, SLOT, ASKED)
            told = await sure(
                lambda: port.write(OWNER, SLOT, stands, stands.value.answered('{"status":200}'))
            )
            found = await world.other.idempotency.begin(OWNER, SLOT, AGAIN)
            self.assertEqual(found.value, told.value)
            self.assertEqual(found.value.answer, '{"status":200}')

        await self.same_books(scenario)
        port = self.world.journal.idempotency
        stands = await port.begin(OWNER, "7" * 64, ASKED)
        await port.write(OWNER, "7" * 64, stands, AGAIN)
        await self.unchanged(Stale, lambda: port.write(OWNER, "7" * 64, stands, ASKED.left()))
        await self.unchanged(Stale, lambda: port.forget(OWNER, "7" * 64, stands))

    async def test_forget(self) -> None:
        """A request that came to nothing leaves its key free."""

        async def scenario(world: World, sure: Any) -> None:
            port = world.journal.idempotency
            stands = await port.begin(OWNER, SLOT, ASKED)
            await sure(lambda: port.forget(OWNER, SLOT, stands))
            self.assertEqual((await port.begin(OWNER, SLOT, AGAIN)).value, AGAIN)

        await self.same_books(scenario)

    async def test_day(self) -> None:
        """It is remembered for a day from its beginning, whatever is written later."""
        port, wall = self.world.other.idempotency, self.world.wall
        key = self.world.journal.store.keys.idempotency(OWNER, SLOT)
        stands = await port.begin(OWNER, SLOT, ASKED)
        self.assertEqual(await self.lives(key), DAY)
        wall.moment = T0 + 1000
        stands = await port.write(OWNER, SLOT, stands, ASKED.left())
        self.assertEqual(await self.lives(key), DAY - 1000)
        wall.moment = T0 + 2 * DAY
        await port.write(OWNER, SLOT, stands, ASKED.answered("late"))
        self.assertEqual(await self.lives(key), 1)

    async def test_bound(self) -> None:
        """A wallet has so many keys at once; what is forgotten, by itself or not, makes room."""
        most = 3

        async def scenario(world: World, sure: Any) -> None:
            port = evolve(world.journal.idempotency, most=most)
            stands = [await port.begin(OWNER, str(n) * 64, ASKED) for n in range(most)]
            with self.assertRaises(TooMany) as caught:
                await port.begin(OWNER, SLOT, AGAIN)
            self.assertEqual(caught.exception.retry_after, DAY)
            # Nothing is kept of it, and known keys and other wallets are served as before.
            self.assertEqual((await port.begin(OWNER, "0" * 64, AGAIN)).value, ASKED)
            self.assertEqual((await port.begin(STRANGER, SLOT, AGAIN)).value, AGAIN)
            await sure(lambda: port.forget(OWNER, "1" * 64, stands[1]))
            self.assertEqual((await port.begin(OWNER, SLOT, AGAIN)).value, AGAIN)

        await self.same_books(scenario)
        port, wall = evolve(self.world.other.idempotency, most=most), self.world.wall
        with self.assertRaises(TooMany):
            await port.begin(OWNER, "9" * 64, AGAIN)
        wall.moment += DAY
        later = evolve(AGAIN, began_at=wall.moment)
        self.assertEqual((await port.begin(OWNER, "9" * 64, later)).value, later)

    async def lives(self, key: str) -> int:
        """Seconds until a key expires, to the nearest."""
        (left,) = await self.world.keyspace.read([Read("PTTL", key)])
        assert isinstance(left, bytes)
        return round(int(left) / 1000)

    async def test_spent(self) -> None:
        """Nothing is reserved under a reference that was spent before anything came of it."""

        async def scenario(world: World, sure: Any) -> None:
            port, doors = world.journal.idempotency, world.journal.doors
            await mirrored(world)
            self.assertIsNone(await sure(lambda: port.spend(intent().reference)))
            self.assertIsNone(await port.spend(intent().reference))
            funds = await doors.funds(OWNER)
            await self.unchanged(Stale, lambda: doors.reserve(intent(), funds))

        await self.same_books(scenario)

    async def test_standing(self) -> None:
        """While an intent stands under it a reference cannot be spent."""
        port, doors = self.world.other.idempotency, self.world.journal.doors
        await mirrored(self.world)
        await doors.reserve(intent(), await doors.funds(OWNER))
        await self.unchanged(Stale, lambda: port.spend(intent().reference))
        await doors.release(intent())
        self.assertIsNone(await port.spend(intent().reference))

    async def test_opened(self) -> None:
        """A reference under which a session was opened leads to its sandbox, for a day at least."""
        port, doors = self.world.other.idempotency, self.world.journal.doors
        await mirrored(self.world)
        await doors.reserve(intent(), await doors.funds(OWNER))
        await doors.open_session(intent(), session(reference=intent().reference), None)
        self.assertEqual(await port.spend(intent().reference), SB)
        key = self.world.journal.store.keys.spent(intent().reference)
        self.assertGreater(await self.lives(key), DAY)

    async def test_opened_by_another(self) -> None:
        """As well when the reconciler had opened it before Daytona answered."""
        port, doors = self.world.other.idempotency, self.world.journal.doors
        await mirrored(self.world)
        await doors.reserve(intent(), await doors.funds(OWNER))
        await self.world.journal.meter.adopt(session(reference=Reference("another")), None)
        await doors.open_session(intent(), session(reference=intent().reference), None)
        self.assertEqual(await port.spend(intent().reference), SB)


class LifecycleCase(JournalCase):
    """An hour that slides."""

    async def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(ILifecycleCount, self.world.journal.lifecycle)

    async def test_count(self) -> None:
        """So many an hour in all processes together; the next when the oldest is an hour old."""
        one, two, wall = self.world.other.lifecycle, self.world.journal.lifecycle, self.world.wall
        self.assertEqual(await one.take(OWNER, "a", 2), 0)
        wall.moment = T0 + 600
        self.assertEqual(await two.take(OWNER, "b", 2), 0)
        self.assertEqual(await two.take(OWNER, "c", 2), 3000)
        self.assertEqual(await one.take(OWNER, "d", 2), 3000)
        self.assertEqual(await one.take(STRANGER, "e", 2), 0)
        wall.moment = T0 + 3600
        self.assertEqual(await one.take(OWNER, "c", 2), 0)
        self.assertEqual(await one.take(OWNER, "d", 2), 600)

    async def test_same_second(self) -> None:
        """Of several in one second no more are let in than may be, whatever they are called."""
        port = self.world.other.lifecycle
        taken = [await port.take(OWNER, name, 2) for name in ("d", "c", "b", "a")]
        self.assertEqual(taken, [0, 0, 3600, 3600])

    async def test_given_back(self) -> None:
        """What was not accepted does not count."""

        async def scenario(world: World, sure: Any) -> None:
            port = world.journal.lifecycle
            self.assertEqual(await sure(lambda: port.take(OWNER, "a", 1)), 0)
            await sure(lambda: port.give_back(OWNER, "a"))
            self.assertEqual(await port.take(OWNER, "b", 1), 0)

        await self.same_books(scenario)


def limit_suites(name: str, make: MakeWorld) -> dict[str, type[JournalCase]]:
    """
    The suites of an adapter.

    @param name: Of the adapter.
    """
    return {
        f"{name}{case.__name__.removesuffix('Case')}Tests": type(
            f"{name}{case.__name__.removesuffix('Case')}Tests",
            (case,),
            {"make_world": staticmethod(make), "__doc__": case.__doc__},
        )
        for case in (IdempotencyCase, LifecycleCase)
    }

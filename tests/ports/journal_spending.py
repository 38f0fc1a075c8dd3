"""What every L{ISpending} must do, and every fact that moves what a token has caused."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.redis.commit import Write
from sandbox_billing.interfaces import ISpending, LeaseLost, Stale
from sandbox_billing.ledger.hold import Intent
from sandbox_billing.ledger.identity import Reference
from sandbox_billing.ledger.metering import begin, close
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.spending import spending_value
from sandbox_billing.ledger.token import MAX_LIFE_SECONDS, Allowance, TokenId
from tests.ports.journal import (
    FEE,
    INTERVAL,
    OWNER,
    RATE,
    SB,
    T0,
    JournalCase,
    MakeWorld,
    World,
    create_charge,
    intent,
    meddle,
    session,
    ticked,
)


TOKEN = TokenId("ab" * 16)
ALLOWANCE = Allowance(TOKEN, Neuron(10**21))
OTHER = Allowance(TokenId("cd" * 16), Neuron(10**20))
LIMIT = str(ALLOWANCE.limit)


def asked(reference: str = "ref-1", **changes: Any) -> Intent:
    """A create with the token."""
    return intent(reference, allowance=ALLOWANCE, **changes)


class SpendingCase(JournalCase):
    """A token's fields move with those of its wallet."""

    async def fields(self, token: TokenId = TOKEN) -> dict[str, str]:
        """What is stored of a token."""
        return dict((await self.world.other.doors.spending(token)).fields)

    async def reserved(self, world: World, wanted: Intent) -> None:
        """An intent stands."""
        await world.journal.doors.reserve(wanted, await world.journal.doors.funds(OWNER))

    async def opened(self, world: World, wanted: Intent | None = None) -> Any:
        """A session under an intent with the token."""
        wanted = asked() if wanted is None else wanted
        await self.reserved(world, wanted)
        made = session(reference=wanted.reference)
        await world.journal.doors.open_session(wanted, made, create_charge(made))
        return await world.journal.doors.session(made.sandbox)

    async def begun(self, world: World, wanted: Intent | None = None) -> Any:
        """A session that runs."""
        stored = await self.opened(world, wanted)
        at = stored.value.opened_at
        await world.journal.meter.begin(stored, begin(stored.value, at))
        await world.journal.meter.seen({stored.value.sandbox: at})
        return await world.journal.doors.session(stored.value.sandbox)

    async def same_but_revision(self, scenario: Any) -> None:
        """A repeated fact may count its writes twice."""

        async def settled(world: World, sure: Any) -> None:
            await scenario(world, sure)
            keys = world.journal.store.keys
            for key in (keys.exposure(OWNER), keys.spending(TOKEN)):
                await meddle(world.keyspace, Write("HSET", key, ("#rev", 0)))

        await self.same_books(settled)

    async def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(ISpending, self.world.journal.spending)

    async def test_nobody_counts(self) -> None:
        """Without an allowance nothing is stored of any token."""
        stored = await self.opened(self.world, intent())
        await ticked(self.world, await self.run_from(stored))
        dump = await self.world.dump()
        self.assertEqual([key for key in dump if "spend" in str(key)], [])
        self.assertEqual(await self.fields(), {})

    async def run_from(self, stored: Any) -> Any:
        """It is seen running."""
        meter, one = self.world.journal.meter, stored.value
        await meter.begin(stored, begin(one, one.opened_at))
        await meter.seen({one.sandbox: one.opened_at})
        return await self.world.journal.doors.session(one.sandbox)

    async def test_hold(self) -> None:
        """Reserved and released with the wallet's hold."""

        async def scenario(world: World, sure: Any) -> None:
            wanted, doors = asked(), world.journal.doors
            funds = await doors.funds(OWNER)
            await sure(lambda: doors.reserve(wanted, funds))
            await self.reserved(world, asked("ref-2", hold=Neuron(7)))
            holds = {"hold:ref-1": str(wanted.hold), "hold:ref-2": "7"}
            self.assertEqual(await self.fields(), {"limit": LIMIT, **holds})
            await sure(lambda: doors.release(wanted))
            self.assertEqual(await self.fields(), {"limit": LIMIT, "hold:ref-2": "7"})

        await self.same_but_revision(scenario)

    async def test_undone(self) -> None:
        """The order to delete holds nothing."""

        async def scenario(world: World, sure: Any) -> None:
            await self.reserved(world, asked())
            await sure(lambda: world.journal.doors.undo(asked(), session().sandbox))
            self.assertEqual(await self.fields(), {"limit": LIMIT})

        await self.same_but_revision(scenario)

    async def test_life(self) -> None:
        """Opened, begun, charged, closed: each is one write with the money it moves."""

        async def scenario(world: World, sure: Any) -> None:
            doors, meter = world.journal.doors, world.journal.meter
            wanted = asked()
            await self.reserved(world, wanted)
            made = session()
            fee = create_charge(made)
            opened = await sure(lambda: doors.open_session(wanted, made, fee))
            self.assertEqual(opened.allowance, ALLOWANCE)
            known = {"limit": LIMIT, "fee:sb-1": str(FEE)}
            self.assertEqual(await self.fields(), {**known, "session:sb-1": spending_value(opened)})
            stored = await doors.session(SB)
            assert stored is not None
            after = begin(stored.value, T0)
            await sure(lambda: meter.begin(stored, after))
            await meter.seen({after.sandbox: T0})
            stored = await doors.session(SB)
            assert stored is not None
            stored = await ticked(world, stored)
            cost = RATE * INTERVAL // 60
            hold, until = stored.value.hold, T0 + INTERVAL
            told = f"{cost}:{hold}:{RATE}:{until}"
            self.assertEqual(await self.fields(), {**known, "session:sb-1": told})
            closing = close(stored.value, until=until + 60, now=UnixSeconds(until + 60))
            await sure(
                lambda: doors.close_session(stored, closing, destroyed=False, forgive_create=False)
            )
            self.assertEqual(await self.fields(), {**known, f"run:ref-1:{T0}": str(cost + RATE)})

        await self.same_but_revision(scenario)

    async def test_two_runs(self) -> None:
        """Each run stays what it cost; the next one, by nobody's token, adds nothing."""
        world, doors = self.world, self.world.journal.doors
        for reference, allowance in (("ref-1", ALLOWANCE), ("ref-2", ALLOWANCE), ("ref-3", None)):
            wanted = evolve(asked(reference), allowance=allowance)
            stored = await ticked(world, await self.begun(world, wanted))
            closing = close(stored.value, until=0, now=T0)
            await doors.close_session(stored, closing, destroyed=False, forgive_create=False)
        cost = str(RATE * INTERVAL // 60)
        self.assertEqual(
            await self.fields(),
            {
                "limit": LIMIT,
                "fee:sb-1": str(FEE),
                f"run:ref-1:{T0}": cost,
                f"run:ref-2:{T0 + INTERVAL}": cost,
            },
        )

    async def test_forgiven_fee(self) -> None:
        """A create that never ran costs its token nothing."""
        stored = await self.opened(self.world)
        closing = close(stored.value, until=0, now=T0)
        await self.world.journal.doors.close_session(
            stored, closing, destroyed=True, forgive_create=True
        )
        self.assertEqual(await self.fields(), {"limit": LIMIT, f"run:ref-1:{T0}": "0"})

    async def test_opened_by_the_worker(self) -> None:
        """Under the intent it counts for its token, whoever opens."""
        await self.reserved(self.world, asked())
        made = session()
        await self.world.journal.meter.open_under(asked(), made, create_charge(made))
        self.assertIn("session:sb-1", await self.fields())

    async def test_adopted(self) -> None:
        """A run that was thought to have ended counts for its token; another start ends that."""
        wanted = (asked(), None, intent("ref-2", action="start"), None)
        for one, told in zip(wanted, (ALLOWANCE, ALLOWANCE, None, None), strict=True):
            if one is None:
                await self.world.journal.meter.adopt(session(reference=Reference("late")), None)
            else:
                await self.opened(self.world, one)
            stored = await self.world.journal.doors.session(SB)
            assert stored is not None
            self.assertEqual(stored.value.allowance, told)
            closing = close(stored.value, until=0, now=T0)
            await self.world.journal.doors.close_session(
                stored, closing, destroyed=False, forgive_create=False
            )
        runs = {f"run:ref-1:{T0}", f"run:late:{T0}"}
        self.assertEqual(set(await self.fields()), {"limit", "fee:sb-1", *runs})

    async def test_lost(self) -> None:
        """A session that has vanished from the store goes on with what it was charged."""
        world, keys = self.world, self.world.journal.store.keys
        stored = await ticked(world, await self.begun(world))
        for damage, spent in ((None, RATE * INTERVAL // 60), ("coffee", ALLOWANCE.limit)):
            await meddle(world.keyspace, Write("DEL", keys.session(stored.value.sandbox)))
            if damage is not None:
                field = ("session:sb-1", damage)
                await meddle(world.keyspace, Write("HSET", keys.spending(TOKEN), field))
            await world.journal.meter.adopt(session(reference=Reference("late")), None)
            again = await world.journal.doors.session(SB)
            assert again is not None
            self.assertEqual(again.value.spent, spent)
            self.assertEqual((await self.fields())["session:sb-1"], spending_value(again.value))

    async def test_index(self) -> None:
        """What was written is to be looked at, until somebody has; other tokens are not."""
        port, stored = self.world.journal.spending, await self.begun(self.world)
        self.assertEqual(await port.to_check(T0, 10), (TOKEN,))
        found = await port.spending(TOKEN)
        self.assertEqual(found.spending.fields, await self.fields())
        await port.check_again(found, UnixSeconds(T0 + 50))
        self.assertEqual(await port.to_check(UnixSeconds(T0 + 49), 10), ())
        self.assertEqual(await port.to_check(UnixSeconds(T0 + 50), 10), (TOKEN,))
        await self.reserved(self.world, intent("b", allowance=OTHER))
        self.assertEqual(await port.to_check(T0, 10), (OTHER.token,))
        await ticked(self.world, stored)
        self.assertEqual(set(await port.to_check(T0, 10)), {TOKEN, OTHER.token})
        self.assertEqual(len(await port.to_check(T0, 1)), 1)

    async def test_moved_meanwhile(self) -> None:
        """What was looked at and has moved is still to be looked at."""
        port, stored = self.world.journal.spending, await self.begun(self.world)
        found = await port.spending(TOKEN)
        await ticked(self.world, stored)
        await self.unchanged(Stale, lambda: port.check_again(found, None))

    async def test_expires(self) -> None:
        """Kept while anything of it stands; then as long as any token may still live."""
        world, port = self.world, self.world.journal.spending
        key = world.journal.store.keys.spending(TOKEN)
        stored = await self.begun(world)
        await port.check_again(await port.spending(TOKEN), None)
        self.assertEqual(await self.raw("PTTL", key), b"-1")
        await world.journal.doors.close_session(
            stored,
            close(stored.value, until=0, now=T0),
            destroyed=False,
            forgive_create=False,
        )
        await port.check_again(await port.spending(TOKEN), None)
        self.assertEqual(await port.to_check(UnixSeconds(2**40), 10), ())
        left = int(await self.raw("PTTL", key))
        self.assertTrue(0 < left <= MAX_LIFE_SECONDS * 1000, left)
        await self.reserved(world, asked("ref-7"))
        self.assertEqual(await self.raw("PTTL", key), b"-1")
        self.assertIn(f"run:ref-1:{T0}", await self.fields())

    async def test_worker_s(self) -> None:
        """Only the worker says when to look again."""
        await self.reserved(self.world, asked())
        found = await self.world.journal.spending.spending(TOKEN)
        await self.usurp()
        await self.unchanged(
            LeaseLost, lambda: self.world.journal.spending.check_again(found, None)
        )


def spending_suite(name: str, make: MakeWorld) -> type[SpendingCase]:
    """The suite for one adapter."""
    return type(f"{name}SpendingTests", (SpendingCase,), {"make_world": staticmethod(make)})

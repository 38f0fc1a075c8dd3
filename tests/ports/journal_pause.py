"""What every L{IPause} and every L{IBacklog} must do."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.redis.commit import Write
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import BlockedWallet, IBacklog, IPause, LeaseLost, Stale
from sandbox_billing.ledger.backlog import Pause, Standing
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import create_charge_id
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from tests.ports.journal import (
    OWNER,
    RIPEN,
    SB,
    STRANGER,
    T0,
    JournalCase,
    MakeWorld,
    World,
    account,
    batch_of,
    block,
    intent,
    meddle,
    mirror,
    mirrored,
    pending,
    promised,
    rulings,
    running,
    session,
    signed,
    ticked,
)
from tests.ports.journal_queue import FAR, paid, parked


PAUSE = Pause(since=T0, reason="the price changes", by="provider register")


class PauseCase(JournalCase):
    """A pause and what it keeps out."""

    async def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(IPause, self.world.journal.pause)

    async def test_life_of_a_pause(self) -> None:
        """Set, seen by every process, lifted; both may be repeated after a lost reply."""

        async def scenario(world: World, sure: Any) -> None:
            port = world.journal.pause
            self.assertIsNone(await port.paused())
            stands = await sure(lambda: port.pause(PAUSE))
            self.assertEqual(await world.other.pause.paused(), stands)
            state = await world.other.doors.door_state()
            self.assertEqual(state.pause and state.pause.value, PAUSE)
            await sure(lambda: port.lift(stands))
            self.assertIsNone((await world.other.doors.door_state()).pause)

        await self.same_books(scenario)

    async def test_not_over_another(self) -> None:
        """Nobody overwrites or lifts what another has set."""
        port, other = self.world.journal.pause, evolve(PAUSE, by="an operator")
        stands = await port.pause(PAUSE)
        await self.unchanged(Stale, lambda: self.world.other.pause.pause(other))
        await port.lift(stands)
        await self.world.other.pause.pause(other)
        await self.unchanged(Stale, lambda: port.lift(stands))

    async def test_renewed(self) -> None:
        """One takes the place of another in one step."""

        async def scenario(world: World, sure: Any) -> None:
            port, later = world.journal.pause, evolve(PAUSE, since=UnixSeconds(T0 + 9), by="me")
            stands = await port.pause(PAUSE)
            renewed = await sure(lambda: port.renew(stands, later))
            self.assertEqual(await world.other.pause.paused(), renewed)
            self.assertEqual(renewed.value, later)

        await self.same_books(scenario)

    async def test_not_renewed(self) -> None:
        """Nothing takes the place of what stands no longer."""
        port = self.world.journal.pause
        stands = await port.pause(PAUSE)
        await port.lift(stands)
        other = evolve(PAUSE, by="me")
        await self.unchanged(Stale, lambda: self.world.other.pause.renew(stands, other))
        newer = await port.pause(evolve(PAUSE, by="an operator"))
        await self.unchanged(Stale, lambda: self.world.other.pause.renew(stands, other))
        self.assertEqual(await port.paused(), newer)

    async def test_unknown_version(self) -> None:
        """A form of another version is refused, never guessed: the door stays closed."""
        await meddle(self.world.keyspace, Write("SET", "billing:paused", ('{"v":2}',)))
        await self.refused(BadInput, self.world.other.doors.door_state())

    async def test_keeps_reservations_out(self) -> None:
        """Under a pause no intent is stored, but for the rest of one that was."""
        doors = self.world.other.doors
        await mirrored(self.world)
        funds = await doors.funds(OWNER)
        stands = await self.world.journal.pause.pause(PAUSE)
        await self.unchanged(Stale, lambda: doors.reserve(intent(), funds))
        await doors.reserve(intent("more"), funds, while_paused=True)
        await self.world.journal.pause.lift(stands)
        await doors.reserve(intent(), funds)

    async def test_set_between_look_and_reservation(self) -> None:
        """A pause set after an admission has looked still keeps it out."""
        doors = self.world.journal.doors
        await mirrored(self.world)
        funds = await doors.funds(OWNER)
        self.overtaken(lambda: self.world.other.pause.pause(PAUSE))
        await self.refused(Stale, doors.reserve(intent(), funds))
        self.assertEqual(await self.world.journal.meter.intents(), ())

    async def test_opens_what_was_let_in(self) -> None:
        """An intent stored before the pause still becomes a session."""
        doors = self.world.other.doors
        await mirrored(self.world)
        await doors.reserve(intent("ref-sb-1"), await doors.funds(OWNER))
        await self.world.journal.pause.pause(PAUSE)
        await doors.open_session(intent("ref-sb-1"), session(SB), None)
        self.assertEqual(len(await self.world.journal.meter.sessions()), 1)

    async def test_queue_tells(self) -> None:
        """Whoever reads a wallet's queue is told that everything is urgent."""
        await mirrored(self.world)
        queue = self.world.journal.queue
        self.assertFalse((await queue.queue(OWNER, FAR, 10)).paused)
        await self.world.journal.pause.pause(PAUSE)
        self.assertTrue((await queue.queue(OWNER, FAR, 10)).paused)


class BacklogCase(JournalCase):
    """What is not final, with what decides about it."""

    async def standings(self) -> list[Standing]:
        """Of all pending charges, as they came."""
        claims = await self.world.other.backlog.claims(0, None)
        return [claim.standing for claim in claims.found]

    async def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(IBacklog, self.world.journal.backlog)

    async def test_claims(self) -> None:
        """Pages in arrival order; what is final is gone."""
        await mirrored(self.world)
        first = await ticked(self.world, await running(self.world))
        await ticked(self.world, first)
        backlog = self.world.other.backlog
        everything = await backlog.claims(0, None)
        ids = [claim.record.charge.id for claim in everything.found]
        self.assertEqual(ids, list(await self.world.journal.history.pending()))
        self.assertEqual((len(ids), everything.listed), (3, 3))
        page = await backlog.claims(1, 1)
        self.assertEqual(page.found, everything.found[1:2])
        self.assertEqual((await backlog.claims(3, 5)).listed, 0)
        batch = await signed(self.world)
        self.assertEqual(await self.standings(), [Standing.DUE] * 3)
        await self.world.journal.queue.resolve(
            batch, block(), await rulings(self.world, batch, paid), [account()], []
        )
        self.assertEqual(await self.standings(), [])

    async def test_what_waits_for_its_wallet(self) -> None:
        """Parked, without a deposit, without an acknowledgement, quarantined: never due."""
        head = await mirrored(self.world)
        await ticked(self.world, await running(self.world))
        self.assertEqual(await self.standings(), [Standing.DUE] * 2)
        batch = batch_of((await promised(self.world))[:1])
        stored = await self.world.journal.queue.sign(batch, (await promised(self.world))[:1])
        await self.world.journal.queue.resolve(
            stored, block(), await rulings(self.world, stored, parked), [account()], []
        )
        self.assertEqual(await self.standings(), [Standing.PARKED, Standing.DUE])
        for number, changes, expected in (
            (11, {"balance": Neuron(0)}, Standing.UNFUNDED),
            (12, {"balance": Neuron(0), "pending_refund": Neuron(5)}, Standing.DUE),
            (13, {"acknowledged": False}, Standing.PARKED),
        ):
            await self.step(number, **changes)
            self.assertEqual(await self.standings(), [Standing.PARKED, expected])
        funds = await self.world.journal.doors.funds(OWNER)
        await self.world.journal.funds.block(BlockedWallet(funds, QUARANTINED))
        self.assertEqual(await self.standings(), [Standing.QUARANTINED] * 2)
        self.assertEqual(await self.world.other.backlog.quarantined(), frozenset({OWNER}))
        self.assertIsNotNone(head)

    async def step(self, number: int, **changes: Any) -> None:
        """The wallet's account is another."""
        head = await self.world.journal.doors.mirror()
        await self.world.journal.mirror.step(
            head, mirror(number), [account(**changes)], (), (), known=[OWNER]
        )

    async def test_damaged(self) -> None:
        """A charge that cannot be read is told apart, and hides no other."""
        await mirrored(self.world)
        await ticked(self.world, await running(self.world))
        charge = create_charge_id((await self._one()).sandbox)
        await meddle(self.world.keyspace, Write("SET", f"billing:charge:{charge}", ("{",)))
        claims = await self.world.other.backlog.claims(0, None)
        self.assertEqual((claims.damaged, len(claims.found), claims.listed), ((charge,), 1, 2))

    async def _one(self) -> Any:
        (stored,) = await self.world.journal.meter.sessions()
        return stored.value

    async def test_offer_all(self) -> None:
        """Every resting wallet is looked at now; what is not ripe stays unripe."""
        queue, backlog = self.world.journal.queue, self.world.journal.backlog
        await mirrored(self.world, account(), account(STRANGER))
        await ticked(self.world, await running(self.world))
        await pending(self.world, "sb-2", owner=STRANGER)
        now = self.world.wall.now()
        await queue.rest(await queue.queue(OWNER, now, 10), UnixSeconds(now + RIPEN))
        self.assertEqual(await queue.ready(now, 10), ())
        await backlog.offer_all(now)
        self.assertEqual(await queue.ready(now, 10), (OWNER,))
        self.assertEqual(await queue.ready(UnixSeconds(now + RIPEN), 10), (OWNER, STRANGER))

    async def test_mark(self) -> None:
        """The moment until which all is settled, for every process."""
        doors = self.world.other.doors
        self.assertIsNone((await doors.door_state()).settled_until)
        await self.world.journal.backlog.mark(T0)
        self.assertEqual((await doors.door_state()).settled_until, T0)

    async def test_stale_token(self) -> None:
        """Whoever is no longer the worker offers and marks nothing."""
        await mirrored(self.world)
        await ticked(self.world, await running(self.world))
        queue, now = self.world.journal.queue, self.world.wall.now()
        await queue.rest(await queue.queue(OWNER, now, 10), FAR)
        await self.usurp()
        backlog = self.world.journal.backlog
        await self.unchanged(LeaseLost, lambda: backlog.mark(T0))
        await self.unchanged(LeaseLost, lambda: backlog.offer_all(now))


def pause_suites(name: str, make: MakeWorld) -> dict[str, type]:
    """Both suites for one adapter."""
    return {
        f"{name}{case.__name__.removesuffix('Case')}Tests": type(
            f"{name}{case.__name__.removesuffix('Case')}Tests",
            (case,),
            {"make_world": staticmethod(make)},
        )
        for case in (PauseCase, BacklogCase)
    }

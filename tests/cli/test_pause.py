"""
Tests for C{sandbox_billing.cli.pause}: a change under a pause, in a world under one clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, evolve
from twisted.internet.defer import CancelledError, Deferred

from sandbox_billing.cli.pause import Drain, PausedChange, lift_leftover, told, until_seen
from sandbox_billing.cli.standing import BY, Run
from sandbox_billing.errors import Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import Claims, IBacklog, IPause, Stored
from sandbox_billing.ledger.backlog import Left, Pause, Standing
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.voucher import Paid
from tests.fixtures import ALICE, BOB, INTERVAL, PER_SECOND, WorldCase
from tests.services.test_pause import DEARER, DRAINED


NOTHING = Left(intents=0, sessions=0, charges=0, amount=Neuron(0), excepted=(), damaged=0)


LONG = 3600
"""Seconds that a run says it may take."""


@define
class Unheard:
    """
    A pause whose next write is done, and its reply does not come.

    @ivar port: The real one.
    @ivar lost: What becomes of the reply: an error, or None for never.
    @ivar arrives: Whether the write itself arrives.
    """

    port: IPause
    lost: Exception | None
    arrives: bool = True

    async def paused(self) -> Stored[Pause] | None:
        """As it is."""
        return await self.port.paused()

    async def pause(self, pause: Pause) -> Stored[Pause]:
        """Without a reply."""
        if self.arrives:
            await self.port.pause(pause)
        return await self._reply()

    async def renew(self, stands: Stored[Pause], pause: Pause) -> Stored[Pause]:
        """Without a reply."""
        if self.arrives:
            await self.port.renew(stands, pause)
        return await self._reply()

    async def _reply(self) -> Any:
        if self.lost is not None:
            raise self.lost
        return await Deferred()

    async def lift(self, pause: Stored[Pause]) -> None:
        """As it is."""
        await self.port.lift(pause)


@define
class Hiding:
    """A backlog that seems empty at some looks, as when parts are merged while it is read."""

    port: IBacklog
    at: set[int]
    looks: int = 0

    async def claims(self, first: int, count: int | None) -> Claims:
        """Everything, or nothing."""
        self.looks += 1
        if self.looks in self.at:
            return Claims(found=(), damaged=(), listed=0)
        return await self.port.claims(first, count)

    async def quarantined(self) -> Any:
        """As it is."""
        return await self.port.quarantined()


class ChangeCase(WorldCase):
    """A sandbox that runs, and a command that changes its price."""

    def setUp(self) -> None:
        super().setUp()
        self.said: list[str] = []
        self.world.fund(10**7)
        self.sandbox = self.world.create()
        self.world.advance(75)

    def drain(self, limit: float = 300) -> Drain:
        """As the command's."""
        eyes = self.world.eyes
        return Drain(
            meter=eyes.meter,
            backlog=eyes.backlog,
            clock=self.world.clock,
            say=self.said.append,
            limit_seconds=limit,
        )

    def run_of(self, name: str) -> Run:
        """A run that may take an hour from now."""
        return Run(name=name, until=UnixSeconds(self.world.wall.now() + LONG))

    def change(
        self,
        wait: Callable[[UnixSeconds], Awaitable[Left]] | None = None,
        *,
        name: str = "a1",
        **more: Any,
    ) -> PausedChange:
        """As the command's, but for what it waits for."""
        return PausedChange(
            **{
                "pause": self.world.eyes.pause,
                "wait": wait or self.drain().wait,
                "say": self.said.append,
                "run": self.run_of(name),
                **more,
            }
        )

    def leave(self, name: str = "dead") -> Pause:
        """The pause of a run that was killed."""
        left = Pause(since=self.world.wall.now(), reason="x", by=str(self.run_of(name)))
        self.world.now(self.world.eyes.pause.pause(left))
        return left

    async def dearer(self) -> str:
        """The change."""
        self.world.register(prices=DEARER)
        await until_seen(self.world.eyes.doors, self.world.clock, 2)
        return "made"

    def pause(self) -> Pause | None:
        """The one that stands."""
        stands = self.world.now(self.world.eyes.pause.paused())
        return None if stands is None else stands.value

    def unpaid(self, before: int, who: Any = ALICE) -> list[Any]:
        """What ran before a moment and is not paid."""
        return [
            record
            for record in self.world.charges(who)
            if record.charge.period_start < before and not isinstance(record.state, Paid)
        ]


class ChangeTests(ChangeCase):
    """The order of things, and every way it may end."""

    def test_change(self) -> None:
        """Paused, settled, changed, seen, lifted; everything before was paid at the old price."""
        world, since = self.world, self.world.wall.now()
        left, made = world.run(self.change().carry_out(since, self.dearer))
        self.assertEqual((left, made), (NOTHING, "made"))
        self.assertIsNone(self.pause())
        self.assertEqual(self.unpaid(since), [])
        prices = {r.charge.amount // r.charge.units for r in world.charges() if r.charge.units}
        self.assertEqual(prices, {PER_SECOND})
        mirror = world.now(world.eyes.doors.mirror())
        self.assertEqual(mirror and mirror.value.service.signer_version, 2)
        self.assertEqual(self.said[0], "admissions are paused; what runs goes on")
        self.assertEqual(self.said[-1], "the pause is lifted")

    def test_defect(self) -> None:
        """K21 with its defect put back: without the drain, what ran before is not paid."""
        world, since = self.world, self.world.wall.now()

        async def no_wait(_since: UnixSeconds) -> Left:
            return NOTHING

        world.run(self.change(no_wait).carry_out(since, self.dearer))
        world.advance(DRAINED)
        self.assertNotEqual(self.unpaid(since), [])

    def test_too_slow(self) -> None:
        """When the time is up nothing was changed, the door is open, and it says what is left."""
        world = self.world
        world.mining = False
        change = self.change(self.drain(30).wait)
        why = self.fails(Refused, change.carry_out(world.wall.now(), self.dearer))
        self.assertIn("after 30 s there is still left: ", why.text)
        self.assertIn("charges of ", why.text)
        self.assertIsNone(self.pause())
        self.assertEqual(world.net.head.state.services[world.policy.provider].signer_version, 1)

    def test_refused(self) -> None:
        """A change that is refused, or was never sent, leaves the door open."""
        for error in (Refused("reverts"), Transient("no node")):

            async def fail(error: Exception = error) -> None:
                raise error

            change = self.change()
            self.fails(type(error), change.carry_out(self.world.wall.now(), fail))
            self.assertIsNone(self.pause())

    def test_unknown(self) -> None:
        """Sent and not seen: the pause stands, and the next run goes on under it, if told."""
        world, since = self.world, self.world.wall.now()

        async def lost() -> None:
            raise UnknownOutcome("sent, not seen")

        change = self.change()
        why = self.fails(UnknownOutcome, change.carry_out(since, lost))
        self.assertIn("admissions stay paused", why.text)
        self.assertIn("--take-over", why.text)
        stands = self.pause()
        assert stands is not None
        self.assertEqual((stands.since, stands.by), (since, str(change.run)))
        world.advance(10)
        again = self.change(name="b2", take_over=True)
        world.run(again.carry_out(world.wall.now(), self.dearer))
        self.assertIn(f"going on under the pause of {since}", self.said)
        self.assertIsNone(self.pause())
        self.assertEqual(self.unpaid(since), [])

    def test_defect_of_ours(self) -> None:
        """An error of no family lifts the pause, but not when the change may have been made."""
        world = self.world

        async def breaks(*_: Any) -> Any:
            raise ZeroDivisionError("a defect")

        drains = self.change(breaks).carry_out(world.wall.now(), self.dearer)
        self.fails(ZeroDivisionError, drains)
        self.assertIsNone(self.pause())
        self.fails(ZeroDivisionError, self.change().carry_out(world.wall.now(), breaks))
        self.assertIsNotNone(self.pause())
        self.assertIn("admissions stay paused", self.said[-1])

    def test_interrupted(self) -> None:
        """Ctrl-C while it waits: nothing is changed, and the door is open again."""
        self.world.mining = False
        under_way = self.world.begin(self.change().carry_out(self.world.wall.now(), self.dearer))
        self.world.advance(10)
        self.assertIsNotNone(self.pause())
        under_way.cancel()
        self.failureResultOf(under_way, CancelledError)
        self.assertIsNone(self.pause())

    def test_somebody_else(self) -> None:
        """Another's pause is neither used nor lifted."""
        world = self.world
        pause = Pause(since=world.wall.now(), reason="maintenance", by="an operator")
        world.now(world.eyes.pause.pause(pause))
        why = self.fails(Refused, self.change().carry_out(world.wall.now(), self.dearer))
        self.assertIn("an operator", why.text)
        self.assertFalse(self.lift(take_over=True))
        change = self.change(take_over=True)
        self.fails(Refused, change.carry_out(world.wall.now(), self.dearer))
        self.assertEqual(self.pause(), pause)

    def lift(self, *, take_over: bool = False) -> bool:
        """What the command does when there is nothing to change."""
        world = self.world
        lifting = lift_leftover(world.eyes.pause, world.wall.now(), take_over=take_over)
        return world.now(lifting)

    def test_leftover(self) -> None:
        """A killed run's pause is lifted by the next, also with nothing to do: told, or late."""
        world = self.world
        for by in (str(self.run_of("dead")), BY):
            world.now(world.eyes.pause.pause(Pause(since=world.wall.now(), reason="x", by=by)))
            lifting = lift_leftover(world.eyes.pause, world.wall.now(), take_over=False)
            self.assertIn("--take-over", self.fails(Refused, lifting).text)
            self.assertTrue(self.lift(take_over=True))
            self.assertIsNone(self.pause())
            self.assertFalse(self.lift())
        self.leave()
        world.wall.skew = LONG + 1
        self.assertTrue(self.lift())

    def test_under_an_old_pause(self) -> None:
        """Minutes after a run was killed: what ran since its pause is settled as well."""
        world = self.world
        old = self.leave()
        world.advance(10 * INTERVAL + 50)
        since = world.wall.now()
        change = self.change(take_over=True)

        async def dearer() -> str:
            stands = self.pause()
            self.assertEqual(
                (stands and stands.since, stands and stands.by), (since, str(change.run))
            )
            return await self.dearer()

        world.run(change.carry_out(since, dearer))
        self.assertIn(f"going on under the pause of {old.since}", self.said)
        world.advance(DRAINED)
        self.assertEqual(self.unpaid(since), [])
        self.assertIsNone(self.pause())

    def test_two_runs(self) -> None:
        """While one run goes on another changes nothing and leaves its pause alone."""
        world = self.world
        first = world.begin(self.change().carry_out(world.wall.now(), self.dearer))
        world.advance(1)
        stands = self.pause()
        made: list[int] = []

        async def other() -> None:
            made.append(1)

        second = self.change(name="b2").carry_out(world.wall.now(), other)
        self.assertIn("another run of this command", self.fails(Refused, second).text)
        self.assertEqual((self.pause(), made), (stands, []))
        world.until(lambda: first.called)
        self.assertEqual(self.successResultOf(first)[1], "made")
        self.assertIsNone(self.pause())

    def test_taken_over(self) -> None:
        """Whose pause was taken over, or ended, while he waited does not make his change."""
        world = self.world
        made: list[int] = []

        async def change() -> None:
            made.append(1)

        world.mining = False
        first = world.begin(self.change().carry_out(world.wall.now(), change))
        world.advance(1)
        other = self.change(name="b2", take_over=True)
        second = world.begin(other.carry_out(world.wall.now(), self.dearer))
        world.advance(1)
        stands = self.pause()
        self.assertEqual(stands and stands.by, str(other.run))
        world.mining = True
        world.until(lambda: first.called and second.called)
        self.assertIn("took over", self.failureResultOf(first, Refused).value.text)
        self.assertEqual(self.successResultOf(second)[1], "made")
        self.assertIsNone(self.pause())

        async def ended(_since: UnixSeconds) -> Left:
            found = await world.eyes.pause.paused()
            assert found is not None
            await world.eyes.pause.lift(found)
            return NOTHING

        why = self.fails(Refused, self.change(ended).carry_out(world.wall.now(), change))
        self.assertIn("somebody ended the pause", why.text)
        self.assertEqual(made, [])

    def test_one_look(self) -> None:
        """What hides from one look is waited for: only two in a row end the drain."""
        world = self.world
        world.mining = False
        backlog = Hiding(world.eyes.backlog, at=set())
        drain = evolve(self.drain(), backlog=backlog)
        self.leave()
        under_way = world.begin(drain.wait(world.wall.now()))
        world.advance(DRAINED)
        backlog.at = {backlog.looks + 1, backlog.looks + 3}
        world.advance(10)
        self.assertGreater(backlog.looks, max(backlog.at))
        self.assertFalse(under_way.called)
        self.assertIn("nothing is left; looking once more", self.said)
        world.mining = True
        world.until(lambda: under_way.called)
        self.assertEqual(self.successResultOf(under_way), NOTHING)

    def test_excepted(self) -> None:
        """What waits for its own wallet is named, and not waited for."""
        world = self.world
        world.fund(10**6, BOB)
        world.create(BOB)
        world.advance(70)
        world.acknowledge(BOB, acknowledged=False)
        world.advance(30)
        left, _made = world.run(self.change().carry_out(world.wall.now(), self.dearer))
        ((standing, _count, amount),) = left.excepted
        self.assertIs(standing, Standing.PARKED)
        self.assertGreater(amount, 0)

    def test_many_changes(self) -> None:
        """Price after price while one sandbox runs: every second once, at the price of its time."""
        world = self.world
        for version in (2, 3, 4):
            prices = evolve(DEARER, create_fee=Neuron(version))
            since = world.wall.now()

            async def change(prices: Any = prices, version: int = version) -> None:
                world.register(prices=prices)
                await until_seen(world.eyes.doors, world.clock, version)

            world.run(self.change().carry_out(since, change))
            self.assertEqual(self.unpaid(since), [])
            world.acknowledge()
            world.advance(20)
        world.run(world.process.intake.stop(ALICE, SandboxId(self.sandbox)))
        ended = world.wall.now()
        world.until(lambda: world.quiet and not world.books().pending, 60)
        charged = sum(r.charge.units for r in world.charges())
        first = min(r.charge.period_start for r in world.charges() if r.charge.units)
        self.assertEqual(charged, ended - first)


class SettingTests(ChangeCase):
    """The reply to the setting of the pause does not come."""

    def setting(self, lost: Exception | None, **more: Any) -> PausedChange:
        """A change that does not hear."""
        port = Unheard(self.world.eyes.pause, lost, **more)
        return self.change(pause=port, take_over=True)

    def test_interrupted(self) -> None:
        """Ctrl-C meanwhile: the pause that stands is lifted, also one that took another's place."""
        world = self.world
        for leftover in (False, True):
            if leftover:
                self.leave()
            change = self.setting(None)
            under_way = world.begin(change.carry_out(world.wall.now(), self.dearer))
            world.advance(3)
            stands = self.pause()
            self.assertEqual(stands and stands.by, str(change.run))
            under_way.cancel()
            self.failureResultOf(under_way, CancelledError)
            self.assertIsNone(self.pause())
            self.assertEqual(self.said[-1], "the pause is lifted")

    def test_lost(self) -> None:
        """A reply that is lost: lifted if it stands, and nobody else's is touched."""
        world = self.world
        lost = UnknownOutcome("the connection was lost")
        self.fails(UnknownOutcome, self.setting(lost).carry_out(world.wall.now(), self.dearer))
        self.assertIsNone(self.pause())
        unsent = self.setting(lost, arrives=False)
        self.fails(UnknownOutcome, unsent.carry_out(world.wall.now(), self.dearer))
        self.assertEqual((self.pause(), self.said[-1]), (None, "no pause stands"))
        old = self.leave()
        unsent = self.setting(lost, arrives=False)
        self.fails(UnknownOutcome, unsent.carry_out(world.wall.now(), self.dearer))
        self.assertEqual(self.pause(), old)
        self.assertIn("admissions stay paused by", self.said[-1])

    def test_not_set(self) -> None:
        """What was certainly not set is not said to stand: nothing was changed."""
        change = self.setting(Transient("not sent"), arrives=False)
        self.fails(Transient, change.carry_out(self.world.wall.now(), self.dearer))
        self.assertEqual(self.said, [])

    def test_not_lifted(self) -> None:
        """When it cannot be seen or lifted, it says that it may stand and how to end it."""
        world = self.world

        class Gone(Unheard):
            async def lift(self, pause: Stored[Pause]) -> None:
                raise Transient("Redis is gone")

        change = self.change(pause=Gone(world.eyes.pause, UnknownOutcome("lost")))
        why = self.fails(UnknownOutcome, change.carry_out(world.wall.now(), self.dearer))
        for part in ("lost; but the pause may stand", "Redis is gone", "--take-over"):
            self.assertIn(part, why.text)


class ToldTests(WorldCase):
    """What a person is told."""

    def test_words(self) -> None:
        """Each kind of what is left, in words; nothing is nothing."""
        self.assertEqual(told(NOTHING), "nothing")
        left = Left(
            intents=1,
            sessions=2,
            charges=3,
            amount=Neuron(4),
            excepted=((Standing.DEBT, 5, Neuron(6)),),
            damaged=7,
        )
        text = told(left)
        for part in ("1 calls", "2 sandboxes", "3 charges of 4 neuron", "5 charges", "debt", "7"):
            self.assertIn(part, text)

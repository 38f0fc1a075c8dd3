"""
Tests for C{sandbox_billing.cli.pause}: a change under a pause, in a world under one clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import evolve
from twisted.internet.defer import CancelledError

from sandbox_billing.cli.pause import BY, Drain, PausedChange, lift_ours, told, until_seen
from sandbox_billing.errors import Refused, Transient, UnknownOutcome
from sandbox_billing.ledger.backlog import Left, Pause, Standing
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.voucher import Paid
from tests.fixtures import ALICE, BOB, PER_SECOND, WorldCase
from tests.services.test_pause import DEARER, DRAINED


NOTHING = Left(intents=0, sessions=0, charges=0, amount=Neuron(0), excepted=(), damaged=0)


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

    def change(self, wait: Callable[[UnixSeconds], Awaitable[Left]] | None = None) -> PausedChange:
        """As the command's, but for what it waits for."""
        return PausedChange(
            pause=self.world.eyes.pause, wait=wait or self.drain().wait, say=self.said.append
        )

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
        """Sent and not seen: the pause stands, and the next run goes on under it."""
        world, since = self.world, self.world.wall.now()

        async def lost() -> None:
            raise UnknownOutcome("sent, not seen")

        why = self.fails(UnknownOutcome, self.change().carry_out(since, lost))
        self.assertIn("admissions stay paused", why.text)
        stands = self.pause()
        assert stands is not None
        self.assertEqual((stands.since, stands.by), (since, BY))
        world.advance(10)
        world.run(self.change().carry_out(world.wall.now(), self.dearer))
        self.assertIn(f"going on under the pause of {since}", self.said)
        self.assertIsNone(self.pause())
        self.assertEqual(self.unpaid(since), [])

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
        self.assertFalse(world.now(lift_ours(world.eyes.pause)))
        self.assertEqual(self.pause(), pause)

    def test_leftover(self) -> None:
        """What a killed run has left behind is lifted by the next, also with nothing to do."""
        world = self.world
        stale = Pause(since=world.wall.now(), reason="x", by=BY)
        world.now(world.eyes.pause.pause(stale))
        self.assertTrue(world.now(lift_ours(world.eyes.pause)))
        self.assertIsNone(self.pause())
        self.assertFalse(world.now(lift_ours(world.eyes.pause)))

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

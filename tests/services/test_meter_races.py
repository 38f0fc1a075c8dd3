"""
Several who have all read a session before any of them writes (B4).

Who writes waits a while first, on purpose.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import deferLater

from sandbox_billing.adapters.redis.doors import RedisDoors
from sandbox_billing.adapters.redis.sessions import Sessions
from tests.fixtures import ALICE, INTERVAL, WorldCase
from tests.services.lives import SWEEP


class RaceTests(WorldCase):
    """One session, and many who end or charge it."""

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(100_000)
        self.sandbox = self.world.create()
        self.begun = self.world.session(self.sandbox).started_at

    def slowly(self, cls: type, name: str) -> list[str]:
        """
        Have a method wait for three seconds before it begins.

        @return: Grows with each call.
        """
        original, clock, calls = getattr(cls, name), self.world.clock, list[str]()

        async def patched(me: Any, *arguments: Any, **options: Any) -> Any:
            calls.append(name)
            await deferLater(clock, 3)
            return await original(me, *arguments, **options)

        self.patch(cls, name, patched)
        return calls

    def seconds(self) -> int:
        """Charged so far."""
        return sum(record.charge.units for record in self.world.charges())

    def test_stop_and_delete(self) -> None:
        """Two ends of one reading of the session charge its seconds once."""
        world = self.world
        world.advance(30)
        # Between two sweeps: the second would end it, too.
        world.until(lambda: world.clock.seconds() % SWEEP == 1)
        at = world.wall.now()
        closing = self.slowly(RedisDoors, "close_session")
        intake = world.process.intake
        both = [world.begin(intake.stop(ALICE, self.sandbox))]
        world.until(lambda: world.state(self.sandbox) == "stopped", 4)
        both.append(world.begin(intake.delete(ALICE, self.sandbox)))
        self.assertEqual(2, len(closing))
        self.assertEqual([False, False], [each.called for each in both])
        world.advance(30)
        self.assertEqual(at - self.begun, self.seconds())

    def test_stop_during_a_tick(self) -> None:
        """A tick that read the session before it was stopped neither charges nor revives it."""
        world = self.world
        ticks = self.slowly(Sessions, "tick")
        world.until(lambda: bool(ticks), INTERVAL + 10)
        at = world.wall.now()
        world.run(world.process.intake.stop(ALICE, self.sandbox))
        world.advance(30)
        self.assertEqual(at - self.begun, self.seconds())
        self.assertIsNone(world.session(self.sandbox))
        self.assertEqual((), world.now(world.eyes.meter.sessions()))

"""A transaction that nobody mines is told to an operator (S7, T-7, T-11)."""

from __future__ import annotations

from twisted.logger import LogLevel, capturedLogs

from sandbox_billing.services import sending
from tests.fixtures import WorldCase


LIMIT = 90
"""Instead of ten minutes, which take long even where no time passes."""


class StuckTests(WorldCase):
    """How often somebody is told."""

    def setUp(self) -> None:
        super().setUp()
        self.assertEqual((600, 3_600), (sending.STUCK_SECONDS, sending.SAY_AGAIN_SECONDS))
        self.patch(sending, "STUCK_SECONDS", LIMIT)
        self.world.fund(10**6)
        self.world.net.withholds = lambda transaction: transaction.sender is not None
        self.world.create()
        self.world.until(lambda: self.waiting() != [], 60)

    def waiting(self) -> list[int]:
        """When each batch was first sent."""
        batches = [b.value for b in self.world.now(self.world.eyes.queue.batches())]
        return [batch.attempts[0].recorded_at for batch in batches if batch.attempts]

    def alarms(self, seconds: int) -> int:
        """How often it is said while so many seconds pass."""
        with capturedLogs() as logs:
            self.world.advance(seconds)
        return sum(
            1
            for event in logs
            if event.get("log_level") is LogLevel.critical
            and "is not mined for" in (event.get("log_format") or "")
        )

    def test_told(self) -> None:
        """When the time is up and not before, and not each second; what is mined is nobody's."""
        world = self.world
        (sent_at,) = self.waiting()
        self.assertEqual(0, self.alarms(sent_at + LIMIT - 20 - world.wall.now()))
        self.assertEqual(1, self.alarms(60))
        self.assertEqual(0, self.alarms(120))
        world.net.withholds = lambda transaction: False
        self.assertEqual(0, self.alarms(60))
        self.assertGreater(world.books().settled, 0)

    def test_again(self) -> None:
        """A restart says it, too, and it is said again to whoever was not there."""
        world = self.world
        world.advance(LIMIT + 30)
        world.restart()
        self.assertEqual(1, self.alarms(120))
        self.patch(sending, "SAY_AGAIN_SECONDS", 60)
        self.assertEqual(2, self.alarms(121))

    def test_readiness(self) -> None:
        """Readiness is red as long as it lasts, says for how long, and calls a human in the end."""
        world = self.world
        self.assertNotIn("transactions", world.process.troubles())
        world.advance(LIMIT + 30)
        told = world.process.troubles()["transactions"]
        self.assertIn(f"for {world.wall.now() - self.waiting()[0]} s", told)
        self.assertNotIn("human", told)
        self.patch(sending, "HUMAN_SECONDS", LIMIT)
        self.assertIn("human", world.process.troubles()["transactions"])
        world.net.withholds = lambda transaction: False
        world.until(lambda: "transactions" not in world.process.troubles(), 30)

    def test_many_attempts(self) -> None:
        """After ten attempts it is told, however little time has passed (T-7)."""
        self.assertEqual(10, sending.STUCK_ATTEMPTS)
        self.patch(sending, "STUCK_SECONDS", 10**6)
        self.patch(sending, "STUCK_ATTEMPTS", 3)
        self.patch(sending, "BUMP_SECONDS", 20)
        world = self.world
        world.advance(30)
        self.assertNotIn("transactions", world.process.troubles())
        world.until(lambda: "transactions" in world.process.troubles(), 60)
        self.assertIn("after 3 attempts", world.process.troubles()["transactions"])

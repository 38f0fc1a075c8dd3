"""What moves, and what hangs."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import Transient
from sandbox_billing.log_context import carried
from sandbox_billing.services._periodic import Periodic
from sandbox_billing.services._progress import STUCK_SECONDS, Progress, moved
from sandbox_billing.services._supervise import gather


class ProgressTests(SynchronousTestCase):
    """L{Progress}, by the turns of a L{Periodic}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.waits: list[Deferred[None]] = []

    def wait(self) -> Deferred[None]:
        """Something from outside, which a test lets come."""
        self.waits.append(Deferred())
        return self.waits[-1]

    def take(self, turn: object) -> Progress:
        """A service with this turn, which is taken every second."""
        periodic = Periodic("one", turn, 1.0, self.clock)  # type: ignore[arg-type]
        periodic.startService()
        return periodic.progress

    def test_hangs(self) -> None:
        """A turn that waits for what never comes is stuck after its time, and not before."""

        async def turn() -> None:
            await self.wait()

        progress = self.take(turn)
        self.clock.advance(STUCK_SECONDS)
        self.assertIsNone(progress.stuck())
        self.clock.advance(1)
        self.assertEqual(progress.stuck(), "has not moved for 601 s")

    def test_away(self) -> None:
        """Turns that fail for as long as a dependency is away are not stuck."""

        async def turn() -> None:
            raise Transient("away")

        progress = self.take(turn)
        self.clock.pump([1.0] * (2 * int(STUCK_SECONDS)))
        self.assertIsNone(progress.stuck())

    def test_long(self) -> None:
        """A turn of many slow steps is none, however long it takes in all."""

        async def turn() -> None:
            for _ in range(10):
                await self.wait()

        progress = self.take(turn)
        for _ in range(5):
            self.clock.advance(STUCK_SECONDS - 1)
            self.waits.pop().callback(None)
        self.assertIsNone(progress.stuck())
        self.clock.advance(STUCK_SECONDS + 1)
        self.assertIsNotNone(progress.stuck())

    def test_failing_step(self) -> None:
        """What a step raises is seen by the turn as it would be without us."""
        seen: list[BaseException] = []

        async def turn() -> None:
            try:
                await self.wait()
            except Transient as why:
                seen.append(why)
                await self.wait()

        progress = self.take(turn)
        self.clock.advance(STUCK_SECONDS - 1)
        self.waits.pop().errback(Transient("away"))
        self.clock.advance(STUCK_SECONDS - 1)
        self.assertEqual((len(seen), progress.stuck()), (1, None))

    def test_gathered(self) -> None:
        """Of what is done side by side, one that moves is enough."""

        async def side() -> None:
            for _ in range(9):
                await self.wait()

        async def turn() -> None:
            await gather(side(), side())

        progress = self.take(turn)
        for _ in range(4):
            self.clock.advance(STUCK_SECONDS - 1)
            self.waits.pop().callback(None)
        self.assertIsNone(progress.stuck())
        self.clock.advance(STUCK_SECONDS + 1)
        self.assertIsNotNone(progress.stuck())

    def test_result(self) -> None:
        """What is followed ends as it would alone, and then nothing is under way."""
        progress = Progress(self.clock.seconds)

        async def work() -> int:
            await self.wait()
            return 7

        done = Deferred.fromCoroutine(progress.follow(work()))
        self.waits.pop().callback(None)
        self.assertEqual(self.successResultOf(done), 7)
        self.assertIsNone(progress.moved_at)

    def test_left_running(self) -> None:
        """What a turn left running moves nothing once it has ended."""
        progress = Progress(self.clock.seconds)

        async def side() -> None:
            await self.wait()

        async def detached() -> None:
            await gather(side())

        async def work() -> None:
            Deferred.fromCoroutine(detached())

        self.successResultOf(Deferred.fromCoroutine(progress.follow(work())))
        self.waits.pop().callback(None)
        self.clock.advance(STUCK_SECONDS + 1)
        self.assertIsNone(progress.stuck())

    def test_in_a_thread(self) -> None:
        """One wait that tells of its own steps is not stuck, and is once it tells no more."""
        told = []

        async def turn() -> None:
            told.append(carried(moved))
            await self.wait()

        progress = self.take(turn)
        for _ in range(5):
            self.clock.advance(STUCK_SECONDS - 1)
            told[0]()
        self.assertIsNone(progress.stuck())
        self.clock.advance(STUCK_SECONDS + 1)
        self.assertIsNotNone(progress.stuck())
        moved()
        self.assertIsNotNone(progress.stuck())

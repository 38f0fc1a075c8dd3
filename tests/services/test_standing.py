"""What counts as under way, and what hangs of it, while a worker works and while it ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import Transient
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.services._periodic import Periodic
from sandbox_billing.services._progress import STUCK_SECONDS, Progress
from sandbox_billing.services.lease_keeper import LeaseKeeper
from sandbox_billing.services.listener import Listener
from sandbox_billing.services.readiness import Readiness
from sandbox_billing.services.standing import Standing


class Lease:
    """One that is had until it is taken."""

    taken = False

    async def acquire(self) -> bool:
        return not self.taken

    async def renew(self) -> bool:
        return not self.taken

    async def give_up(self) -> None:
        pass


class Silence:
    """Daytona's news, of one sandbox and then of none."""

    async def follow(self, heard: Callable[[SandboxId], None], joined: Callable[[], None]) -> None:
        heard(SandboxId("0b9b1c52-5f34-4a4e-9d38-3f3c1a6a9d10"))
        await Deferred()


class StandingTests(SynchronousTestCase):
    """L{Standing.moving}, of a worker with one service."""

    def setUp(self) -> None:
        self.clock, self.lease, self.work = Clock(), Lease(), MultiService()
        self.waits: list[Deferred[None]] = []
        self.keeper = LeaseKeeper(
            self.lease,  # type: ignore[arg-type]
            lambda: self.work,
            15.0,
            self.clock,
            self.clock.seconds,
        )
        starting = Progress(self.clock.seconds)
        self.standing = Standing(Readiness(), [self.keeper], starting, through=True)

    def wait(self) -> Deferred[None]:
        """Something from outside, which a test lets come."""
        self.waits.append(Deferred())
        return self.waits[-1]

    def start(self, turn: Callable[[], Awaitable[None]]) -> None:
        """Work of one turn."""
        Periodic("reconciler", turn, 1.0, self.clock).setServiceParent(self.work)
        self.keeper.startService()

    def stuck(self) -> list[str]:
        """Whatever hangs."""
        return [name for name, one in self.standing.moving() if one.stuck() is not None]

    def test_long_end(self) -> None:
        """A lease that is lost while a long turn moves hangs no more than that turn does."""

        async def turn() -> None:
            for _ in range(9):
                await self.wait()

        self.start(turn)
        self.lease.taken = True
        for _ in range(5):
            self.clock.advance(STUCK_SECONDS - 1)
            self.waits.pop().callback(None)
            self.assertEqual(self.stuck(), [])
        self.assertIsNone(self.keeper.work)
        self.clock.advance(STUCK_SECONDS + 1)
        self.assertEqual(self.stuck(), ["lease", "reconciler"])

    def test_taken_again(self) -> None:
        """Work that has ended is none of what is under way."""

        async def turn() -> None:
            await self.wait()
            raise Transient("away")

        self.start(turn)
        self.lease.taken = True
        self.clock.advance(5)
        self.waits.pop().callback(None)
        self.assertEqual([name for name, _ in self.standing.moving()], ["start-up", "lease"])

    def test_looks(self) -> None:
        """A look at what Daytona told of that hangs is found, too."""

        async def look(sandboxes: Collection[SandboxId]) -> Collection[SandboxId]:
            await self.wait()
            return ()

        listener = Listener(
            events=Silence(),  # type: ignore[arg-type]
            look=look,
            clock=self.clock,
            chance=lambda: 0.5,
        )
        listener.setServiceParent(self.work)
        self.keeper.startService()
        self.clock.pump([1.0] * 10)
        self.assertEqual((len(self.waits), self.stuck()), (1, []))
        self.clock.pump([5.0] * int(STUCK_SECONDS / 5))
        self.assertEqual(self.stuck(), ["looks"])

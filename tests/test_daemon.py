"""How the daemon ends when something in it does not."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.daemon import WORK_SECONDS, Daemon
from tests.test_startup import CONFIGURATION


class StoppingTests(SynchronousTestCase):
    """L{Daemon.stopService}."""

    def test_work_that_does_not_end(self) -> None:
        """Work in hand is waited for, but not for ever: the rest is stopped after its time."""
        clock = Clock()
        daemon = Daemon(CONFIGURATION, clock, endpoint="tcp:0", fatal=self.fail)
        never: Deferred[None] = Deferred()

        async def work() -> None:
            await never

        daemon._supervisor.detached("work without an end", work())
        stopped = daemon.stopService()
        clock.advance(WORK_SECONDS - 1)
        self.assertNoResult(stopped)
        clock.advance(1)
        self.successResultOf(stopped)
        never.callback(None)

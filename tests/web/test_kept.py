"""
One fetch for all who ask.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import Transient
from sandbox_billing.web._kept import Kept


class KeptTests(SynchronousTestCase):
    """
    L{Kept}.
    """

    def setUp(self) -> None:
        """Fetches that end when the test says so."""
        self.clock = Clock()
        self.fetches: list[Deferred[int]] = []
        self.kept = Kept(self.fetch, self.clock, 10)

    async def fetch(self) -> int:
        """One more."""
        self.fetches.append(Deferred())
        return await self.fetches[-1]

    def get(self) -> Deferred[int]:
        """Ask."""
        return Deferred.fromCoroutine(self.kept.get())

    def test_joined(self) -> None:
        """Who asks during a fetch joins it; who asks after it gets what was kept."""
        first, second = self.get(), self.get()
        self.fetches[0].callback(7)
        self.assertEqual([self.successResultOf(d) for d in (first, second, self.get())], [7] * 3)
        self.assertEqual(len(self.fetches), 1)

    def test_kept_for_a_while(self) -> None:
        """And no longer."""
        self.get()
        self.fetches[0].callback(7)
        self.clock.advance(9)
        self.assertEqual(self.successResultOf(self.get()), 7)
        self.clock.advance(1)
        self.assertNoResult(self.get())
        self.assertEqual(len(self.fetches), 2)

    def test_hang_up(self) -> None:
        """Whoever leaves, even the first, leaves the others their answer."""
        first, second = self.get(), self.get()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.fetches[0].callback(7)
        self.assertEqual(self.successResultOf(second), 7)

    def test_all_hang_up(self) -> None:
        """The fetch goes on and serves who comes next."""
        first = self.get()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        second = self.get()
        self.fetches[0].callback(7)
        self.assertEqual((self.successResultOf(second), len(self.fetches)), (7, 1))

    def test_failure(self) -> None:
        """Reaches everybody who waits, and the next one asks again."""
        first, second = self.get(), self.get()
        self.fetches[0].errback(Transient("away"))
        self.failureResultOf(first, Transient)
        self.failureResultOf(second, Transient)
        self.get()
        self.fetches[1].callback(8)
        self.assertEqual(self.successResultOf(self.get()), 8)

    def test_failure_that_nobody_waits_for(self) -> None:
        """Is no unhandled error."""
        first = self.get()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.fetches[0].errback(Transient("away"))
        self.assertEqual(self.flushLoggedErrors(), [])

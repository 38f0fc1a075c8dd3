"""
Waiting for a key service that is still coming up.
"""

from __future__ import annotations

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sandbox_billing.adapters.enclave.backoff import backoff_seconds, fetch_with_backoff
from sandbox_billing.errors import ConfigurationError, Transient
from sandbox_billing.interfaces import IEnclave, ISigner
from tests.ports.enclave import KEY


@implementer(IEnclave)
@define
class SlowEnclave:
    """An enclave that fails as it is told, and then has its key."""

    failures: list[Exception]
    asked: int = field(default=0)

    async def fetch_key(self) -> ISigner:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        return KEY


class BackoffTests(SynchronousTestCase):
    """L{fetch_with_backoff}."""

    def setUp(self) -> None:
        """A clock, and an ear for reasons."""
        self.clock = Clock()
        self.reasons: list[str] = []

    def fetch(self, enclave: SlowEnclave, chance: float = 1.0) -> Deferred[ISigner]:
        """Start waiting."""
        return Deferred.fromCoroutine(
            fetch_with_backoff(
                enclave, clock=self.clock, chance=lambda: chance, report=self.reasons.append
            )
        )

    def test_at_once(self) -> None:
        """A key that is there is not waited for."""
        self.assertIs(self.successResultOf(self.fetch(SlowEnclave([]))), KEY)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_waits_longer_each_time(self) -> None:
        """1, 2, 4, 8, 16, 30, 30 seconds: no sooner, and then it has the key."""
        waits = [1, 2, 4, 8, 16, 30, 30]
        enclave = SlowEnclave([Transient(f"failure {n}") for n in range(len(waits))])
        with capturedLogs() as events:
            fetching = self.fetch(enclave)
            for attempt, wait in enumerate(waits, start=1):
                self.assertEqual(enclave.asked, attempt)
                self.clock.advance(wait - 0.01)
                self.assertEqual(enclave.asked, attempt)
                self.assertNoResult(fetching)
                self.clock.advance(0.02)
        self.assertIs(self.successResultOf(fetching), KEY)
        self.assertEqual(self.reasons, [f"failure {n}" for n in range(len(waits))])
        self.assertEqual([event["why"] for event in events], self.reasons)

    def test_chance_shortens(self) -> None:
        """At the other end of chance it waits half as long."""
        enclave = SlowEnclave([Transient("once")])
        fetching = self.fetch(enclave, chance=0.0)
        self.clock.advance(0.49)
        self.assertNoResult(fetching)
        self.clock.advance(0.02)
        self.successResultOf(fetching)

    def test_refused_for_good(self) -> None:
        """A refusal is not asked again, after a failure either."""
        enclave = SlowEnclave([Transient("once"), ConfigurationError("never")])
        fetching = self.fetch(enclave)
        self.clock.advance(1)
        self.assertEqual(self.failureResultOf(fetching, ConfigurationError).value.text, "never")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_other_errors_are_not_hidden(self) -> None:
        """A defect is not retried as if the service were slow."""
        self.failureResultOf(self.fetch(SlowEnclave([ZeroDivisionError()])), ZeroDivisionError)

    def test_cancelled(self) -> None:
        """A daemon that is stopped while it waits leaves nothing behind."""
        enclave = SlowEnclave([Transient("always")] * 5)
        fetching = self.fetch(enclave)
        fetching.cancel()
        self.failureResultOf(fetching, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(100)
        self.assertEqual(enclave.asked, 1)

    @given(st.integers(0, 10**6), st.floats(0, 1, exclude_max=True))
    def test_bounds(self, attempt: int, chance: float) -> None:
        """After any number of attempts the wait is from half a second to thirty."""
        seconds = backoff_seconds(attempt, chance)
        self.assertGreaterEqual(seconds, 0.5)
        self.assertLessEqual(seconds, 30.0)
        self.assertLessEqual(seconds, backoff_seconds(attempt + 1, chance) + 1e-9)

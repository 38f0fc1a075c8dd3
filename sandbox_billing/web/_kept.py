"""
A value that is dear to fetch, kept for a while and fetched once at a time.

Anybody may ask the public routes, as often as he likes: what they cost upstream must
not depend on how often (V2).

Tests: C{tests.web.test_kept}.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sandbox_billing.log_context import carried


T = TypeVar("T")

SNAPSHOTS_KEPT_SECONDS = 30.0


class Kept(Generic[T]):
    """
    @ivar _waiters: Everybody who waits for the fetch under way; whoever hangs up leaves
        the others their answer.
    """

    _log = Logger()

    def __init__(
        self,
        fetch: Callable[[], Coroutine[Deferred[Any], Any, T]],
        clock: IReactorTime,
        seconds: float,
    ) -> None:
        """
        @param fetch: Asks for the value.
        @param seconds: How long an answer is good; failures are not kept.
        """
        self._fetch = fetch
        self._clock = clock
        self._seconds = seconds
        self._value: tuple[float, T] | None = None
        self._waiters: list[Deferred[T]] = []
        self._fetching = False

    async def get(self) -> T:
        """The value; joins a fetch under way."""
        if self._value is not None and self._clock.seconds() < self._value[0]:
            return self._value[1]
        waiter: Deferred[T] = Deferred(self._leave)
        self._waiters.append(waiter)
        if not self._fetching:
            self._fetching = True
            # Its outcome goes to the waiters, in _settle.
            Deferred.fromCoroutine(self._fetch()).addBoth(carried(self._settle))
        return await waiter

    def _leave(self, waiter: Deferred[T]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def _settle(self, outcome: T | Failure) -> None:
        self._fetching = False
        waiters, self._waiters = self._waiters, []
        if isinstance(outcome, Failure):
            if not waiters:
                self._log.warn("nobody waited for: {why}", why=str(outcome.value))
        else:
            self._value = (self._clock.seconds() + self._seconds, outcome)
        for waiter in waiters:
            # One waiter's answer may have made another one leave.
            if not waiter.called:
                waiter.callback(outcome)

"""A LoopingCall that survives a failing turn and finishes its turn when stopped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from sandbox_billing.errors import BrokenLaw, Transient, UnknownOutcome
from sandbox_billing.interfaces import UNMEASURED, IMeasures, LeaseLost
from sandbox_billing.measures import TURN_FAILURES, TURN_SECONDS
from sandbox_billing.services._progress import Progress


STALE_TURNS, STALE_SECONDS = 10, 120.0
"""After so many periods without a good turn, and so long, something hangs."""


NOT_YET = "has not run yet"


@define(eq=False)
class Periodic(Service):
    """
    @ivar name: What readiness and the log call it.
    @ivar turn: One turn; turns never overlap.
    @ivar seconds: From the start of one turn to the start of the next; missed ones are
        skipped.
    @ivar clock: When turns are due.
    @ivar on_lease_lost: Called when a turn finds that another process is the worker.
    @ivar measures: Told how long each turn took, and which failed.
    @ivar patience: How old the last good turn may be at least, seconds.
    @ivar trouble: Why the last turn failed; None when it did not.
    @ivar progress: Whether the turn under way still moves.
    @ivar good_turns: How many turns ended well.
    @ivar good_at: When the last of them ended, by the clock; None before one did.
    """

    name: str
    turn: Callable[[], Awaitable[None]]
    seconds: float
    clock: IReactorTime
    on_lease_lost: Callable[[], None] = lambda: None
    measures: IMeasures = field(default=UNMEASURED, kw_only=True)
    patience: float = field(default=STALE_SECONDS, kw_only=True)
    trouble: str | None = field(default=NOT_YET, init=False)
    good_turns: int = field(default=0, init=False)
    good_at: float | None = field(default=None, init=False)
    progress: Progress = field(init=False)
    _loop: LoopingCall | None = field(default=None, init=False)
    _ended: Deferred[Any] | None = field(default=None, init=False)
    _log = Logger()

    @progress.default
    def _unmoved(self) -> Progress:
        return Progress(self.clock.seconds)

    def startService(self) -> None:
        """Take the first turn at once."""
        Service.startService(self)
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._survive()))
        self._loop.clock = self.clock
        self._ended = self._loop.start(self.seconds)

    def stopService(self) -> Deferred[Any]:
        """@return: Fires when the turn in flight has ended."""
        Service.stopService(self)
        if self._loop is None or self._ended is None:
            return succeed(None)
        if self._loop.running:
            self._loop.stop()
        self.trouble = "stopped"
        return self._ended

    def stale(self) -> str | None:
        """
        That the last good turn was long ago, whatever became of those since: a turn that does
        not end has no trouble to tell (T6).

        @return: None also before the first one, and when stopped: there is a trouble then.
        """
        if self.good_at is None or not self.running:
            return None
        age = self.clock.seconds() - self.good_at
        if age <= max(STALE_TURNS * self.seconds, self.patience):
            return None
        return f"its last good turn was {age:.0f} s ago"

    async def _survive(self) -> None:
        began, good = self.clock.seconds(), self.good_turns
        await self._take()
        self.measures.observe(TURN_SECONDS, self.clock.seconds() - began, service=self.name)
        self.measures.count(TURN_FAILURES, int(self.good_turns == good), service=self.name)

    async def _take(self) -> None:
        try:
            await self.progress.follow(self.turn())
        except LeaseLost:
            self.trouble = "another process is the worker"
            self.on_lease_lost()
        except (Transient, UnknownOutcome) as why:
            self._say(str(why) or type(why).__name__)
        except BrokenLaw as why:
            self.trouble = str(why)
            self._log.critical("{service} broke a law: {why}", service=self.name, why=str(why))
        except Exception as why:
            self.trouble = f"unexpected {type(why).__name__}"
            self._log.failure("a turn of {service} failed", service=self.name)
        else:
            if self.trouble not in (None, NOT_YET):
                self._log.info("{service} works again", service=self.name)
            self.trouble = None
            self.good_turns += 1
            self.good_at = self.clock.seconds()

    def _say(self, trouble: str) -> None:
        """Log a trouble once, not on every turn it lasts."""
        if trouble != self.trouble:
            self._log.warn("{service} waits: {why}", service=self.name, why=trouble)
        self.trouble = trouble

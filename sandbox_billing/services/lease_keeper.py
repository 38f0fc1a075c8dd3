"""
Being the worker, or standing by.

The lease is renewed every third of its time; work stops locally when two thirds
have passed without a renewal, by the monotonic clock: earlier than any other
process can take over (design.md §6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attrs import define, field
from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from sandbox_billing.errors import Transient, UnknownOutcome
from sandbox_billing.interfaces import UNMEASURED, ILease, IMeasures
from sandbox_billing.services._periodic import NOT_YET, Periodic
from sandbox_billing.services._progress import Progress
from sandbox_billing.services.listener import Listener


@define(eq=False)
class LeaseKeeper(Service):
    """
    @ivar make_work: Makes the services of a worker, once for each time the lease is won.
    @ivar seconds: How long the lease lasts.
    @ivar monotonic: Seconds that no one can set back, unlike the reactor's.
    @ivar measures: Told of the turns that keep the lease.
    @ivar work: What runs now; None while standing by.
    @ivar _left: What ran until now, while its turns in flight end.
    @ivar _told: Whether it was said that this process stands by.
    """

    lease: ILease
    make_work: Callable[[], MultiService]
    seconds: float
    clock: IReactorTime
    monotonic: Callable[[], float]
    measures: IMeasures = field(default=UNMEASURED, kw_only=True)
    work: MultiService | None = field(default=None, init=False)
    _left: MultiService | None = field(default=None, init=False)
    _renewed_at: float = field(default=0.0, init=False)
    _loop: Periodic | None = field(default=None, init=False)
    _ending: Deferred[Any] | None = field(default=None, init=False)
    _told: bool = field(default=False, init=False)
    _log = Logger()

    def startService(self) -> None:
        """Try to become the worker at once, then at every third of the lease."""
        Service.startService(self)
        self._loop = Periodic(
            "lease", self._turn, self.seconds / 3, self.clock, measures=self.measures
        )
        self._loop.startService()

    def stopService(self) -> Deferred[Any]:
        """Finish the turns in flight, then let another process take over at once."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._leave())

    async def _leave(self) -> None:
        if self._loop is not None:
            await self._loop.stopService()
        await self._stop_work()
        try:
            await self.lease.give_up()
        except (Transient, UnknownOutcome) as why:
            self._log.info("the lease will run out by itself: {why}", why=str(why))

    @property
    def tried(self) -> bool:
        """Whether the lease was asked for, whatever the answer."""
        return self._loop is not None and self._loop.trouble != NOT_YET

    def moving(self) -> Iterator[tuple[str, Progress]]:
        """All that is ever under way here, by name."""
        turns = [found for one in self.work or self._left or () if (found := _turns_of(one))]
        if self._loop is not None:
            if self._left is not None:
                # Its turn waits for theirs, and for nothing else.
                self._loop.progress.moved_with(one.progress for one in turns)
            yield self._loop.name, self._loop.progress
        for one in turns:
            yield str(one.name), one.progress

    @property
    def trouble(self) -> str | None:
        """Why this process is not the worker; None when it is."""
        if self.work is not None:
            return None
        # Who cannot ask does not know of another.
        asking = self._loop.trouble if self._loop is not None else None
        return asking or "another process is the worker"

    def lost(self) -> None:
        """A worker's turn was refused as stale: stop all of it before the next turn."""
        self._renewed_at = float("-inf")

    async def _turn(self) -> None:
        if self.work is None:
            await self._stand_by()
        else:
            await self._renew()

    async def _stand_by(self) -> None:
        asked_at = self.monotonic()
        if not await self.lease.acquire():
            if not self._told:
                self._told = True
                self._log.info("another process is the worker: this one stands by")
            return
        self._renewed_at, self._told = asked_at, False
        self.work = self.make_work()
        self._log.info("this process is the worker now")
        self.work.startService()

    async def _renew(self) -> None:
        asked_at = self.monotonic()
        try:
            if await self.lease.renew() and self._renewed_at != float("-inf"):
                self._renewed_at = asked_at
                return
        except (Transient, UnknownOutcome) as why:
            if self.monotonic() - self._renewed_at < self.seconds * 2 / 3:
                self._log.warn("the lease was not renewed: {why}", why=str(why))
                return
            await self._lose()
            raise
        await self._lose()

    async def _lose(self) -> None:
        self._log.error("the lease is lost: work stops here")
        await self._stop_work()

    async def _stop_work(self) -> None:
        work, self.work = self.work, None
        if work is None:
            return
        self._left = work
        try:
            await maybeDeferred(IService(work).stopService)
        finally:
            self._left = None


def _turns_of(service: object) -> Periodic | None:
    """Who takes turns, of the services of a worker; None for those who take none."""
    taker = service.looks if isinstance(service, Listener) else service
    return taker if isinstance(taker, Periodic) else None

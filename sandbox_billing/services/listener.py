"""
Daytona's news: a hint makes the reconciler look at a sandbox at once, and not only in its sweep.

What is heard is never believed, only looked at, so it may be lost, late, repeated or wrong; and
it is looked at so often and no more, so it may be any number.  Without it everything is as
right, only later.

Tests: C{tests.services.test_listener}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import IEvents
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.services._periodic import Periodic


LOOK_SECONDS = 0.25
"""Between two looks, however much is heard meanwhile."""

AT_ONCE = 10
"""Sandboxes in one look."""

MOST = 2_000
"""Sandboxes that wait to be looked at; more are left to the sweep."""

FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0
"""Seconds before another try to listen; half of it by chance."""

GOOD_SECONDS = 60.0
"""Who could listen for so long begins with the shortest wait again."""


@define(eq=False, kw_only=True)
class Listener(Service):
    """
    @ivar look: The reconciler's; says whom to look at once more.
    @ivar chance: Between 0 and 1.
    @ivar on_lease_lost: Called when a look finds that another process is the worker.
    @ivar trouble: Why nothing is heard; None while something could be.
    @ivar looks: Who looks at what is heard; None before the start.
    """

    events: IEvents
    look: Callable[[Collection[SandboxId]], Awaitable[Collection[SandboxId]]]
    clock: IReactorTime
    chance: Callable[[], float]
    on_lease_lost: Callable[[], None] = lambda: None
    trouble: str | None = field(default="has not been reached yet", init=False)
    looks: Periodic | None = field(default=None, init=False)
    _waiting: dict[SandboxId, None] = field(factory=dict, init=False)
    _following: Deferred[None] | None = field(default=None, init=False)
    _joined_at: float | None = field(default=None, init=False)
    _log = Logger()

    def startService(self) -> None:
        """Listen, and look at what is heard."""
        Service.startService(self)
        self.looks = Periodic("looks", self._turn, LOOK_SECONDS, self.clock, self.on_lease_lost)
        self.looks.startService()
        self._following = Deferred.fromCoroutine(self._follow())

    def stopService(self) -> Deferred[Any]:
        """@return: Fires when the connection is gone and the look in flight has ended."""
        Service.stopService(self)
        ending: list[Deferred[Any]] = []
        if self._following is not None:
            self._following.addErrback(lambda failure: failure.trap(CancelledError))
            self._following.cancel()
            ending.append(self._following)
        if self.looks is not None:
            ending.append(self.looks.stopService())
        return DeferredList(ending)

    def notice(self) -> str | None:
        """That nothing is heard: no trouble, since sweeps go on."""
        if self.trouble is None:
            return None
        return f"not followed ({self.trouble}): changes are seen by the next sweep"

    async def _follow(self) -> None:
        wait = FIRST_WAIT
        while True:
            try:
                await self.events.follow(self._heard, self._joined)
            except Transient as why:
                if self.trouble is None or self.trouble == "has not been reached yet":
                    self._log.info("Daytona's events are not followed: {why}", why=str(why))
                self.trouble = str(why)
            if not self.running:
                # An endpoint that is given up while it connects was not reached, and says no more.
                return
            since, self._joined_at = self._joined_at, None
            if since is not None and self.clock.seconds() - since >= GOOD_SECONDS:
                wait = FIRST_WAIT
            await deferLater(self.clock, wait * (0.5 + self.chance() / 2))
            wait = min(LONGEST_WAIT, wait * 2)

    def _joined(self) -> None:
        self._log.info("Daytona's events are followed")
        self.trouble, self._joined_at = None, self.clock.seconds()

    def _heard(self, sandbox: SandboxId) -> None:
        if len(self._waiting) < MOST:
            self._waiting[sandbox] = None

    async def _turn(self) -> None:
        chosen = list(self._waiting)[:AT_ONCE]
        if not chosen:
            return
        for sandbox in chosen:
            del self._waiting[sandbox]
        for sandbox in await self.look(chosen):
            # Behind whoever else waits.
            self._heard(sandbox)

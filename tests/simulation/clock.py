"""Time: one clock for the world, and each daemon's way of looking at it."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import ceil
from random import Random
from typing import Any

from attrs import define, field
from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from zope.interface import implementer

from sandbox_billing.interfaces import IWallClock
from sandbox_billing.ledger.money import UnixSeconds


BASE = 1_750_000_000


class WorldClock(Clock):
    """
    Moves from one call to the next; calls that are due together come in a seeded order.

    @ivar shuffle: None: in the order they were asked for.
    """

    def __init__(self, shuffle: Random | None = None) -> None:
        super().__init__()
        self.shuffle = shuffle
        self._places = count()
        self._entries = count()
        self._due: list[tuple[float, float, int, Any]] = []

    def callLater(
        self, when: float, what: Callable[..., object], *args: object, **kwargs: object
    ) -> Any:
        return self.call(None, when, what, args, kwargs)

    def call(
        self, life: Life | None, when: float, what: Callable[..., object], args: Any, kwargs: Any
    ) -> Any:
        """As C{callLater}, of a daemon: when it is dead or stands still, nothing is called."""
        call: Any = DelayedCall(
            self.rightNow + when, what, args, kwargs, _cancelled, self._push, self.seconds
        )
        call.life = life
        self._place(call)
        return call

    def _place(self, call: Any) -> None:
        call.place = next(self._places) if self.shuffle is None else self.shuffle.random()
        self._push(call)

    def _push(self, call: Any) -> None:
        heappush(self._due, (call.getTime(), call.place, next(self._entries), call))

    def getDelayedCalls(self) -> list[Any]:
        return [call for *_, call in self._due if call.active()]

    def run_until(self, moment: float, done: Callable[[], bool] = lambda: False) -> None:
        """Let everything happen that is due up to a moment, or until C{done}."""
        due = self._due
        while not done():
            if not due or due[0][0] > moment:
                self.rightNow = max(self.rightNow, moment)
                return
            at, _, _, call = heappop(due)
            if not call.active():
                continue
            if call.getTime() != at:
                # It was put off: a delayed call says so to nobody.
                if call.getTime() > at:
                    self._push(call)
                continue
            self.rightNow = max(self.rightNow, at)
            life = call.life
            if life is not None:
                if life.dead:
                    call.called = 1
                    continue
                if life.paused:
                    # Whoever holds the call may cancel it until then.
                    call.time = self.rightNow + (life.resumes_at - self.rightNow)
                    call.delayed_time = 0
                    self._place(call)
                    continue
            call.called = 1
            call.func(*call.args, **call.kw)


def _cancelled(call: object) -> None:
    """It is passed over when its time has come."""


@implementer(IWallClock)
@define(eq=False)
class Wall:
    """
    Whole seconds since 1970.

    @ivar skew: How far this one was set.
    """

    clock: IReactorTime
    skew: int = 0

    def now(self) -> UnixSeconds:
        return UnixSeconds(int(BASE + self.clock.seconds()) + self.skew)

    def after(self) -> UnixSeconds:
        return UnixSeconds(ceil(BASE + self.clock.seconds()) + self.skew)


@define(eq=False)
class Life:
    """
    Whether a daemon lives, and whether it is let run.

    @ivar resumes_at: Until then it stands still, as after SIGSTOP.
    """

    name: str
    clock: WorldClock
    dead: bool = False
    resumes_at: float = 0.0
    _held: list[Any] = field(factory=list)

    @property
    def paused(self) -> bool:
        """Whether it stands still now."""
        return self.clock.rightNow < self.resumes_at

    def hold(self, waiting: Any) -> Any:
        """Keep what never fires, so that it is not collected while the story goes on."""
        self._held.append(waiting)
        return waiting


@implementer(IReactorTime)
@define(eq=False)
class LifeClock:
    """
    The reactor of one daemon: calls it back while it lives, and late when it stood still.

    @ivar jitter: Seconds added to each delay.
    """

    life: Life
    jitter: Callable[[], float] = lambda: 0.0

    def seconds(self) -> float:
        return self.life.clock.rightNow

    def callLater(
        self, delay: float, what: Callable[..., object], *args: object, **kwargs: object
    ) -> Any:
        return self.life.clock.call(self.life, delay + self.jitter(), what, args, kwargs)

    def getDelayedCalls(self) -> list[Any]:
        return self.life.clock.getDelayedCalls()

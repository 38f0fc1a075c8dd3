"""
The dead-man's switch, and the users' own auto-stop wishes: part of the reconciler.

Daytona stops an idle sandbox after C{DEADMAN_MINUTES}.  What runs and is paid for
is touched every third of that: if this daemon dies, idle sandboxes stop by
themselves.  A wish that is short enough Daytona carries out itself; a longer one
is carried out here, by telling the user's activity from our own touches.

A touch is a request, so a turn sends no more than its share of them, those that
waited longest first, and a few at a time: after a restart everything is due at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import TypeVar

from attrs import define, evolve, field, frozen
from twisted.logger import Logger

from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import IRuntime, IStopOrders, IWallClock
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.reconciliation import Row, World, interval_at_daytona
from sandbox_billing.services._supervise import gather
from sandbox_billing.services.admission import Admission
from sandbox_billing.services.policy import Policy


T = TypeVar("T")

PARALLEL = 20
"""Requests to Daytona at the same time."""

LEAST = 100
PARTS = 4
"""
In one turn so many are touched, or if that is more, as many as bring what is due to an end in
about a quarter of the time between two touches of one: after a restart everything is due at once,
and sweeps wait for a turn's touches.
"""

SHARE = 2
"""
What has been idle for half of C{DEADMAN_MINUTES}, or nobody knows how long, is touched at once, up
to so large a part of all: nothing may stop because we were away.
"""

KEPT_LAGS = 64
SLACK_SECONDS = 5
"""A touch shows at Daytona's clock so much later than the quickest one, and not by the user."""


@frozen(kw_only=True)
class Watch:
    """
    @ivar touched_at: Our last touch that Daytona took; None before the first of this process.
    @ivar tried_at: Our last try, taken or not; 0 before the first.
    @ivar shown: C{lastActivityAt} as it stood after our last touch; None until a sweep
        has read it back.
    @ivar active_at: When the user was last known to be active.
    """

    touched_at: UnixSeconds | None
    tried_at: UnixSeconds
    shown: str | None
    active_at: UnixSeconds


@define(kw_only=True, eq=False)
class DeadmansSwitch:
    """
    @ivar admission: Knows whether a wallet is blocked.
    """

    runtime: IRuntime
    stops: IStopOrders
    admission: Admission
    wall: IWallClock
    policy: Policy
    _watched: dict[SandboxId, Watch] = field(factory=dict, init=False)
    _kept_at: UnixSeconds | None = field(default=None, init=False)
    _armed_at: dict[SandboxId, UnixSeconds] = field(factory=dict, init=False)
    _lags: deque[float] = field(factory=lambda: deque(maxlen=KEPT_LAGS), init=False)
    _log = Logger()

    @property
    def _every(self) -> int:
        """Seconds between touches."""
        return self.policy.deadman_minutes * 60 // 3

    async def keep(self, world: World) -> None:
        """Touch what is due, and stop what its owner wished to be stopped when idle."""
        ours = [
            (row, world.sessions[row.sandbox])
            for row in world.rows
            if row.running and row.sandbox in world.sessions
        ]
        self._watch([row for row, session in ours if not self._left_to_daytona(session)], world.now)
        watched = [session for _row, session in ours if session.sandbox in self._watched]
        idle = [session for session in watched if self._idle(session, world.now)]
        await _few_at_a_time(lambda session: self._stop(session, world.now), idle)
        stopped = {session.sandbox for session in idle}
        await self._touch_due([s for s in watched if s.sandbox not in stopped], world.now)
        await self._arm(ours, world.now)

    def _left_to_daytona(self, session: Session) -> bool:
        wish = session.auto_stop_minutes
        return wish is not None and 0 < wish <= self.policy.deadman_minutes

    # -- the users' wishes ---------------------------------------------------------------

    def _watch(self, rows: Iterable[Row], now: UnixSeconds) -> None:
        """What a sweep tells of the users' activity."""
        pairs = [(row, self._watched.get(row.sandbox)) for row in rows]
        lags = [lag for row, watch in pairs if (lag := _lag(watch, row)) is not None]
        self._lags.extend(lags)
        quickest = min(self._lags, default=0.0)
        self._watched = {row.sandbox: _look(watch, row, now, quickest) for row, watch in pairs}

    def _idle(self, session: Session, now: UnixSeconds) -> bool:
        wish = session.auto_stop_minutes
        return bool(wish) and now - self._watched[session.sandbox].active_at >= (wish or 0) * 60

    async def _stop(self, session: Session, now: UnixSeconds) -> bool:
        await self.stops.order(session.sandbox, "auto_stop", now)
        return True

    # -- the switch ----------------------------------------------------------------------

    async def _touch_due(self, sessions: list[Session], now: UnixSeconds) -> None:
        due = [session for session in sessions if self._due(session, now)]
        due.sort(key=lambda session: self._watched[session.sandbox].tried_at)
        passed = 0 if self._kept_at is None else now - self._kept_at
        self._kept_at = now
        share = -(-len(due) * passed * PARTS // self._every)
        urgent = [session for session in due if self._urgent(session, now)]
        most = max(LEAST, share, min(len(urgent), -(-len(sessions) // SHARE)))
        pressing = {session.sandbox for session in urgent}
        # A stable order: among those that press, and among the others, who waited longest.
        due.sort(key=lambda session: session.sandbox not in pressing)
        await _few_at_a_time(self._touch, due[:most])

    def _urgent(self, session: Session, now: UnixSeconds) -> bool:
        """Whether half of its time has passed, by Daytona's clock, or nobody can tell."""
        active_at = _moment(self._watched[session.sandbox].shown)
        return active_at is None or now - active_at >= self.policy.deadman_minutes * 60 / 2

    def _due(self, session: Session, now: UnixSeconds) -> bool:
        touched_at = self._watched[session.sandbox].touched_at
        return now - (session.opened_at if touched_at is None else touched_at) >= self._every

    async def _touch(self, session: Session) -> bool:
        """@return: Whether Daytona answers: where it does not, the rest waits for the next turn."""
        sandbox = session.sandbox
        now = self.wall.now()
        watch = evolve(self._watched[sandbox], tried_at=now)
        self._watched[sandbox] = watch
        try:
            blocked = (await self.admission.funds(session.owner)).blocked
        except BadInput as why:
            # Whether it is paid for nobody can say: nothing keeps it running, and it is in
            # nobody's way.  Whoever settles tells of it.
            self._log.info("could not touch {sandbox}: {why}", sandbox=sandbox, why=str(why))
            return True
        if blocked is not None:
            return True
        try:
            await self.runtime.touch(sandbox)
        except (Refused, Transient, UnknownOutcome) as why:
            self._log.info("could not touch {sandbox}: {why}", sandbox=sandbox, why=str(why))
            return isinstance(why, Refused)
        self._watched[sandbox] = evolve(watch, touched_at=now, shown=None)
        return True

    async def _arm(self, ours: list[tuple[Row, Session]], now: UnixSeconds) -> None:
        """Give Daytona the interval that it must have: to what was adopted, or changed by hand."""
        wrong = []
        for row, session in ours:
            wanted = interval_at_daytona(session.auto_stop_minutes, self.policy.deadman_minutes)
            if row.auto_stop_minutes not in (None, wanted):
                wrong.append((row.sandbox, wanted))
        # A server that keeps its own interval whatever it is told is not asked each turn.
        self._armed_at = {
            sandbox: self._armed_at[sandbox] for sandbox, _ in wrong if sandbox in self._armed_at
        }
        due = [one for one in wrong if now - self._armed_at.get(one[0], 0) >= self._every]
        await _few_at_a_time(self._set_interval, due[:LEAST])

    async def _set_interval(self, wrong: tuple[SandboxId, int]) -> bool:
        sandbox, minutes = wrong
        try:
            await self.runtime.set_auto_stop(sandbox, minutes)
        except (Refused, Transient, UnknownOutcome) as why:
            self._log.warn("{sandbox} keeps its auto-stop: {why}", sandbox=sandbox, why=str(why))
            return isinstance(why, Refused)
        self._armed_at[sandbox] = self.wall.now()
        return True


async def _few_at_a_time(work: Callable[[T], Awaitable[bool]], items: Iterable[T]) -> None:
    """
    Do it for each, L{PARALLEL} at the same time.

    @param work: Says whether it is worth while to go on.
    """
    waiting = iter(items)

    async def one_after_the_other() -> None:
        for item in waiting:
            if not await work(item):
                return

    await gather(*(one_after_the_other() for _ in range(PARALLEL)))


def _moment(text: str | None) -> float | None:
    """Unix seconds of a time as Daytona spells it; None for no such text."""
    try:
        return datetime.fromisoformat(text or "").timestamp()
    except ValueError:
        return None


def _lag(watch: Watch | None, row: Row) -> float | None:
    """How long after our touch Daytona's clock shows the first activity that followed."""
    shown = _moment(row.last_activity_at)
    if watch is None or watch.touched_at is None or watch.shown is not None or shown is None:
        return None
    return shown - watch.touched_at


def _look(watch: Watch | None, row: Row, now: UnixSeconds, quickest: float) -> Watch:
    """
    What a sweep tells of the user's activity.

    @param quickest: The smallest lag of late: the difference of the clocks.
    """
    if watch is None:
        return Watch(
            touched_at=None, tried_at=UnixSeconds(0), shown=row.last_activity_at, active_at=now
        )
    if watch.shown is None:
        # The first sweep after our touch reads back what the touch caused; something that came
        # so much later than other touches needed was the user.
        lag = _lag(watch, row)
        own = lag is None or lag <= quickest + SLACK_SECONDS
        return evolve(watch, shown=row.last_activity_at, active_at=watch.active_at if own else now)
    if row.last_activity_at != watch.shown:
        return evolve(watch, shown=row.last_activity_at, active_at=now)
    return watch

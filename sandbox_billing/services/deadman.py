"""
The dead-man's switch, and the users' own auto-stop wishes: part of the reconciler.

Daytona stops an idle sandbox after C{DEADMAN_MINUTES}.  What runs and is paid for
is touched every third of that: if this daemon dies, idle sandboxes stop by
themselves.  A wish that is short enough Daytona carries out itself; a longer one
is carried out here, by telling the user's activity from our own touches.
"""

from __future__ import annotations

from attrs import define, evolve, field, frozen
from twisted.logger import Logger

from sandbox_billing.errors import Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import IRuntime, IStopOrders
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.reconciliation import Row, World
from sandbox_billing.services._supervise import gather
from sandbox_billing.services.admission import Admission
from sandbox_billing.services.policy import Policy


@frozen
class Watch:
    """
    @ivar touched_at: Our last touch; None before the first of this process.
    @ivar shown: C{lastActivityAt} as it stood after our last touch; None until a sweep
        has read it back.
    @ivar active_at: When the user was last known to be active.
    """

    touched_at: UnixSeconds | None
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
    policy: Policy
    _watched: dict[SandboxId, Watch] = field(factory=dict, init=False)
    _log = Logger()

    async def keep(self, world: World) -> None:
        """Touch what is due, and stop what its owner wished to be stopped when idle."""
        ours = [
            (row, world.sessions[row.sandbox])
            for row in world.rows
            if row.running and row.sandbox in world.sessions
        ]
        before = self._watched
        self._watched = {
            row.sandbox: _look(before.get(row.sandbox), row, world.now)
            for row, session in ours
            if not self._left_to_daytona(session)
        }
        await gather(
            *(
                self._one(session, world.now)
                for _row, session in ours
                if session.sandbox in self._watched
            )
        )

    def _left_to_daytona(self, session: Session) -> bool:
        wish = session.auto_stop_minutes
        return wish is not None and 0 < wish <= self.policy.deadman_minutes

    async def _one(self, session: Session, now: UnixSeconds) -> None:
        watch = self._watched[session.sandbox]
        wish = session.auto_stop_minutes
        if wish and now - watch.active_at >= wish * 60:
            await self.stops.order(session.sandbox, "auto_stop", now)
            return
        every = self.policy.deadman_minutes * 60 // 3
        since = watch.touched_at if watch.touched_at is not None else session.opened_at
        if now - since < every or (await self.admission.funds(session.owner)).blocked is not None:
            return
        try:
            await self.runtime.touch(session.sandbox)
        except (Refused, Transient, UnknownOutcome) as why:
            self._log.info("could not touch {sandbox}: {why}", sandbox=session.sandbox, why=why)
        else:
            self._watched[session.sandbox] = evolve(watch, touched_at=now, shown=None)


def _look(watch: Watch | None, row: Row, now: UnixSeconds) -> Watch:
    """What a sweep tells of the user's activity."""
    if watch is None:
        return Watch(None, row.last_activity_at, now)
    if watch.shown is None:
        # The first sweep after our touch reads back what the touch caused.
        return evolve(watch, shown=row.last_activity_at)
    if row.last_activity_at != watch.shown:
        return evolve(watch, shown=row.last_activity_at, active_at=now)
    return watch

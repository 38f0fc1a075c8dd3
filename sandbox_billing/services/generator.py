"""
Metering: at each turn, charge every session whose next period is full.

While admissions are paused, also every session that was not charged up to the pause:
what ran before a change of price is to be settled before it (K21).
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from twisted.logger import Logger

from sandbox_billing.interfaces import DueSession, IDoors, IMeter, IWallClock, Stale
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.laws import l3_observed
from sandbox_billing.ledger.metering import Tick, tick, tick_now
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.services._supervise import gather
from sandbox_billing.services.policy import Policy


PAGE = 500
RECHECK_SECONDS = 5
"""A session that is due and was not seen since is asked for again after so long."""


@frozen(kw_only=True)
class Generator:
    """
    @ivar swept: Whether this process has completed a sweep of Daytona: before that
        nothing is charged (design.md §4.2).
    """

    meter: IMeter
    doors: IDoors
    wall: IWallClock
    policy: Policy
    swept: Callable[[], bool]
    _log = Logger()

    async def turn(self) -> None:
        """Charge until nothing is due; after downtime interval by interval."""
        if not self.swept():
            return
        now = self.wall.now()
        pause = (await self.doors.door_state()).pause
        since = None if pause is None else pause.value.since
        horizon = now
        if since is not None:
            # A session is listed by the end of its next period: these are all that were
            # charged up to a moment before the pause.
            horizon = UnixSeconds(max(now, since + self.policy.voucher_interval - 1))
        # What cannot be charged now stays in front of what can: it is asked for once a turn.
        looked_at: set[SandboxId] = set()
        while True:
            found = await self.meter.due(horizon, PAGE + len(looked_at))
            due = [one for one in found if one.session.value.sandbox not in looked_at]
            if not due:
                return
            charged = await gather(*(self._charge(one, now, since) for one in due))
            for one, moved in zip(due, charged, strict=True):
                if not moved:
                    looked_at.add(one.session.value.sandbox)

    def _step(self, due: DueSession, now: UnixSeconds, since: UnixSeconds | None) -> Tick | None:
        """The next period if it is full; under a pause what was seen beyond it."""
        session, seen_at = due.session.value, due.seen_at
        full = tick(
            session, seen_at=seen_at, now=now, interval_seconds=self.policy.voucher_interval
        )
        if full is not None or since is None or session.charged_until >= since:
            return full
        if seen_at is None or seen_at < since:
            return None
        return tick_now(session, seen_at=seen_at, now=now)

    async def _charge(self, due: DueSession, now: UnixSeconds, since: UnixSeconds | None) -> bool:
        session = due.session
        step = self._step(due, now, since)
        try:
            if step is None:
                await self.meter.postpone(session, UnixSeconds(now + RECHECK_SECONDS))
                return False
            l3_observed(step.session.charged_until, due.seen_at)
            await self.meter.charge(session, step)
        except Stale:
            # Somebody stopped it, or swept, between the read and the write.
            return False
        if step.charge is not None:
            self._log.info(
                "charged {charge}: {amount} neuron for {seconds} s",
                charge=step.charge.id,
                amount=str(step.charge.amount),
                seconds=step.charge.units,
                wallet=step.charge.owner.hex,
            )
        return True

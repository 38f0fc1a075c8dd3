"""Metering: at each turn, charge every session whose next period is full."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from twisted.logger import Logger

from sandbox_billing.interfaces import DueSession, IMeter, IWallClock, Stale
from sandbox_billing.ledger.laws import l3_observed
from sandbox_billing.ledger.metering import tick
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
    wall: IWallClock
    policy: Policy
    swept: Callable[[], bool]
    _log = Logger()

    async def turn(self) -> None:
        """Charge until nothing is due; after downtime interval by interval."""
        if not self.swept():
            return
        now = self.wall.now()
        while due := await self.meter.due(now, PAGE):
            charged = await gather(*(self._charge(one, now) for one in due))
            if not any(charged):
                return

    async def _charge(self, due: DueSession, now: UnixSeconds) -> bool:
        session = due.session
        step = tick(
            session.value,
            seen_at=due.seen_at,
            now=now,
            interval_seconds=self.policy.voucher_interval,
        )
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

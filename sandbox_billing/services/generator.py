"""
Metering: at each turn, charge every session whose next period is full.

While admissions are paused, also every session that was not charged up to the pause:
what ran before a change of price is to be settled before it (K21).
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import field, frozen
from twisted.logger import Logger

from sandbox_billing.errors import BadInput, BrokenLaw
from sandbox_billing.interfaces import (
    BlockedWallet,
    DueSession,
    IDoors,
    IFunds,
    IMeter,
    IWallClock,
    Stale,
    Stored,
)
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.laws import l3_observed
from sandbox_billing.ledger.metering import Session, Tick, tick, tick_now
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.services._supervise import gather
from sandbox_billing.services.policy import Policy


PAGE = 500
RECHECK_SECONDS = 5
"""A session that is due and was not seen since is asked for again after so long."""

ASIDE_SECONDS = 60
"""So is one of which a law was broken: somebody may have mended it."""


@frozen(kw_only=True)
class Generator:
    """
    @ivar swept: Whether this process has completed a sweep of Daytona: before that
        nothing is charged (design.md §4.2).
    @ivar _broken: Sessions that are set aside, and until when that is told if it is not found
        again.
    """

    meter: IMeter
    funds: IFunds
    doors: IDoors
    wall: IWallClock
    policy: Policy
    swept: Callable[[], bool]
    _broken: dict[SandboxId, tuple[UnixSeconds, BrokenLaw]] = field(factory=dict, init=False)
    _log = Logger()

    async def turn(self) -> None:
        """
        Charge until nothing is due; after downtime interval by interval.

        @raise BrokenLaw: Of one session, once all others were charged.
        """
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
                break
            charged = await gather(*(self._charge(one, now, since) for one in due))
            for one, moved in zip(due, charged, strict=True):
                if not moved:
                    looked_at.add(one.session.value.sandbox)
        for until, why in self._broken.values():
            if until > now:
                raise why
        self._broken.clear()

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
        try:
            step = self._step(due, now, since)
            if step is None:
                await self.meter.postpone(session, UnixSeconds(now + RECHECK_SECONDS))
                return False
            l3_observed(step.session.charged_until, due.seen_at)
            await self.meter.charge(session, step)
        except Stale:
            # Somebody stopped it, or swept, between the read and the write.
            return False
        except (BrokenLaw, BadInput) as why:
            await self._set_aside(session, now, why)
            return False
        self._broken.pop(session.value.sandbox, None)
        if step.charge is not None:
            self._log.info(
                "charged {charge}: {amount} neuron for {seconds} s",
                charge=step.charge.id,
                amount=str(step.charge.amount),
                seconds=step.charge.units,
                wallet=step.charge.owner.hex,
            )
        return True

    async def _set_aside(
        self, session: Stored[Session], now: UnixSeconds, why: BrokenLaw | BadInput
    ) -> None:
        """Nothing more is charged for it, and its wallet waits for a human; nobody else does."""
        sandbox, owner = session.value.sandbox, session.value.owner
        self._log.critical("{sandbox} is set aside: {why}", sandbox=sandbox, why=str(why))
        law = why if isinstance(why, BrokenLaw) else BrokenLaw("L6", str(why))
        self._broken[sandbox] = (UnixSeconds(now + 2 * ASIDE_SECONDS), law)
        try:
            await self.meter.postpone(session, UnixSeconds(now + ASIDE_SECONDS))
            funds = await self.funds.funds(owner)
            if funds.blocked != QUARANTINED:
                await self.funds.block(BlockedWallet(funds, QUARANTINED))
        except (Stale, BadInput) as moved:
            self._log.debug("{sandbox} is seen to later: {why}", sandbox=sandbox, why=str(moved))

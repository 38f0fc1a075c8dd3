"""
Carrying out stop orders.

Daytona's stop is neither synchronous nor idempotent, and its codes differ by
version: after every call the state decides.  An order stands until Daytona
shows the sandbox not running, whatever the call was answered (B9).
"""

from __future__ import annotations

from attrs import frozen
from twisted.logger import Logger

from sandbox_billing.errors import BadInput, BrokenLaw, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import (
    UNMEASURED,
    IDoors,
    IFunds,
    IMeasures,
    IMeter,
    IRuntime,
    IStopOrders,
    IWallClock,
    LeaseLost,
    Sandbox,
    Stale,
    StopOrder,
)
from sandbox_billing.ledger.account import Behaviour
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.metering import (
    NEVER_STARTED,
    Session,
    counts,
    has_ended,
    is_running,
    seen_as,
)
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.spending import SPEND_LIMIT
from sandbox_billing.measures import STOP_SECONDS
from sandbox_billing.services._supervise import gather
from sandbox_billing.services.closing import Closer
from sandbox_billing.services.lifecycle import is_deleted
from sandbox_billing.services.policy import Policy
from sandbox_billing.services.treasurer import covered_again


PARALLEL = 20
FIRST_RETRY_SECONDS = 2
LONGEST_RETRY_SECONDS = 60


@frozen(kw_only=True)
class Stopper:
    """
    @ivar closer: Ends the session of what was stopped.
    @ivar measures: Told how long it took.
    """

    stops: IStopOrders
    funds: IFunds
    meter: IMeter
    runtime: IRuntime
    closer: Closer
    doors: IDoors
    wall: IWallClock
    policy: Policy
    measures: IMeasures = UNMEASURED
    _log = Logger()

    async def turn(self) -> None:
        """Try every order that is due, some at a time."""
        due = await self.stops.due(self.wall.now(), PARALLEL)
        await gather(*(self._carry_out(order.sandbox) for order in due))

    async def _carry_out(self, sandbox: SandboxId) -> None:
        # Read again: the user may have paid since the list was made.
        order = await self.stops.get(sandbox)
        if order is None:
            return
        if await self._moot(order):
            self._log.info("{sandbox} may run on: it is paid for", sandbox=sandbox)
            await self.stops.done(order)
            return
        now = self.wall.now()
        wait = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(order.attempts, 10))
        await self.stops.attempted(order, UnixSeconds(now + wait))
        try:
            await self._stop(order)
        except LeaseLost:
            raise
        except (BadInput, Refused, Transient, UnknownOutcome) as why:
            # What cannot be read of it is a human's; the order stands until it can be closed.
            self._log.warn("{sandbox} is not stopped yet: {why}", sandbox=sandbox, why=str(why))

    async def _moot(self, order: StopOrder) -> bool:
        """Whether the reason of an order has gone; where that cannot be read, it has not."""
        try:
            return await self._is_moot(order)
        except (BadInput, BrokenLaw) as why:
            self._log.critical("{sandbox} is stopped: {why}", sandbox=order.sandbox, why=str(why))
            return False
        except Stale:
            self._log.debug("what the wallet of {sandbox} spends moves", sandbox=order.sandbox)
            return False

    async def _is_moot(self, order: StopOrder) -> bool:
        record = (await self.meter.records([order.sandbox])).get(order.sandbox)
        if record is None:
            return False
        if order.reason == SPEND_LIMIT:
            return await self._within_limit(order.sandbox)
        funds = await self.funds.funds(record.owner)
        if order.reason == "not_acknowledged":
            return funds.account is not None and funds.account.value.acknowledged
        if order.reason != "insufficient_balance":
            return False
        mirror = await self.doors.mirror()
        behaviour = Behaviour.FLAWED if mirror is None else mirror.value.behaviour
        now = self.wall.now()
        return funds.blocked is None and covered_again(funds, self.policy, now, behaviour)

    async def _within_limit(self, sandbox: SandboxId) -> bool:
        """
        Whether its run is of nobody's limit, or of one that is not reached: it was started anew
        between the look and the order, by its owner or with another token.
        """
        session = await self.doors.session(sandbox)
        if session is None:
            return False
        now, delay = self.wall.now(), self.policy.stop_delay
        outlay = await self.doors.outlay(session.value.owner)
        bounds = () if outlay is None else outlay.bounds()
        if any(b.concerns(sandbox) and b.is_reached(stop_delay=delay) for b in bounds):
            return False
        allowance = session.value.allowance
        if allowance is None:
            return True
        spending = await self.doors.spending(allowance.token)
        at = spending.reached_at(now, stop_delay=delay)
        if at is None:
            # Nothing runs yet; what was promised at the admission is all that it may cause.
            return spending.committed(now, stop_delay=delay) <= allowance.limit
        return at > now

    async def _stop(self, order: StopOrder) -> None:
        sent_at = self.wall.now()
        shown = await self.runtime.get(order.sandbox)
        if shown is None:
            await self.closer.not_running(order.sandbox, destroyed=True)
            await self._done(order)
            return
        if _ended(shown):
            if await self._believable(order.sandbox, sent_at):
                await self.closer.not_running(
                    order.sandbox,
                    destroyed=False,
                    forgive_create=await self._never_started(order.sandbox, shown),
                )
                await self._done(order)
            return
        only = await self._open(order.sandbox)
        sent_at = self.wall.now()
        stopped = await self.runtime.stop(order.sandbox)
        self._log.info("stopping {sandbox}: {reason}", sandbox=order.sandbox, reason=order.reason)
        if stopped is not None and is_running(shown.state, shown.desired_state):
            await self.closer.accepted(
                order.sandbox, sent_at, destroyed=is_deleted(stopped), only=only
            )
        else:
            await self.closer.not_running(order.sandbox, destroyed=stopped is None, only=only)

    async def _open(self, sandbox: SandboxId) -> Session | None:
        """What is open of it; one that cannot be read keeps nobody from stopping it."""
        try:
            session = await self.doors.session(sandbox)
        except BadInput as why:
            self._log.critical("{sandbox} is stopped: {why}", sandbox=sandbox, why=str(why))
            return None
        return None if session is None else session.value

    async def _done(self, order: StopOrder) -> None:
        await self.stops.done(order)
        # One that is damaged does not say when it was ordered.
        if order.ordered_at:
            self.measures.observe(STOP_SECONDS, max(0, self.wall.now() - order.ordered_at))

    async def _believable(self, sandbox: SandboxId, sent_at: UnixSeconds) -> bool:
        """A lookup may come from a cache that is older than the session's last change."""
        session = await self.doors.session(sandbox)
        return session is None or counts(session.value, sent_at, by_id=True)

    async def _never_started(self, sandbox: SandboxId, shown: Sandbox) -> bool:
        """Whether it failed before it was ever seen running: then creating it is free."""
        session = await self.doors.session(sandbox)
        pending = session is not None and session.value.started_at is None
        return pending and shown.state in NEVER_STARTED


def _ended(shown: Sandbox) -> bool:
    """In a state that it will not leave by itself towards running, nor stop from."""
    ended = has_ended(shown.state, shown.desired_state)
    return ended and seen_as(shown.state, shown.desired_state) not in ("stopping", "pausing")

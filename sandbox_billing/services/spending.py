"""
Tokens that have caused what they may: what was started with them gets stop orders.

Like running dry (L{services.treasurer}), for the money that a token may cause whatever its
wallet has.  A token is looked at when its computed time has come or when something it
started has changed; nothing is scanned.  It goes on when the token has expired or was
revoked, for its runs do.

Tests: C{tests.services.test_spending}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import define, field
from twisted.logger import Logger

from sandbox_billing.errors import BadInput, BrokenLaw
from sandbox_billing.interfaces import ISpending, IStopOrders, IWallClock, Stale, TokenSpending
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.spending import SPEND_LIMIT
from sandbox_billing.ledger.token import TokenId
from sandbox_billing.services._supervise import gather
from sandbox_billing.services.policy import Policy


PAGE = 100
AGAIN_SECONDS = 30
"""A token or wallet at its limit of which something still runs is looked at again after so long."""

SOON_SECONDS = 2
"""And after so long where it is to be stopped for a reason that may go before it is."""


@define(kw_only=True, eq=False)
class SpendWatch:
    """
    @ivar swept: As L{services.limits.LimitWatch}'s.
    @ivar _broken: What of this turn cannot be read.
    """

    spending: ISpending
    stops: IStopOrders
    wall: IWallClock
    policy: Policy
    swept: Callable[[], bool]
    _broken: list[BrokenLaw] = field(factory=list, init=False)
    _log = Logger()

    async def turn(self) -> None:
        """
        Look at every token whose time has come.

        @raise BrokenLaw: What one has caused cannot be read; the others were looked at.
        """
        if not self.swept():
            return
        now = self.wall.now()
        seen: set[TokenId] = set()
        # Those that moved meanwhile stay at its head, and hold up nobody.
        while fresh := set(await self.spending.to_check(now, PAGE + len(seen))) - seen:
            await gather(*(self._look(token, now) for token in sorted(fresh)))
            seen |= fresh
        if self._broken:
            broken = self._broken[0]
            self._broken.clear()
            raise broken

    async def _look(self, token: TokenId, now: UnixSeconds) -> None:
        found = await self.spending.spending(token)
        try:
            at = found.spending.reached_at(now, stop_delay=self.policy.stop_delay)
        except BadInput as why:
            # What nobody can add up is over every limit.
            self._log.critical(
                "what the token {token} spent cannot be read: {why}", token=token, why=str(why)
            )
            self._broken.append(BrokenLaw("L6", f"the spending of the token {token}: {why}"))
            at = now
        if at is not None and at <= now:
            alone = await self._stop(found, now)
            at = UnixSeconds(now + (AGAIN_SECONDS if alone else SOON_SECONDS))
        try:
            await self.spending.check_again(found, at)
        except Stale:
            # It is still marked to be looked at.
            self._log.debug("what the token {token} spent moved meanwhile", token=token)

    async def _stop(self, found: TokenSpending, now: UnixSeconds) -> bool:
        """@return: Whether nothing of it is to be stopped for another reason: that one stays."""
        sandboxes = found.spending.sandboxes()
        alone = await order_stops(self.stops, sandboxes, now)
        self._log.info(
            "the token {token} is at its limit: {count} sandboxes get stop orders",
            token=found.token,
            count=len(sandboxes),
        )
        return alone


async def order_stops(stops: IStopOrders, sandboxes: Iterable[SandboxId], now: UnixSeconds) -> bool:
    """
    Have stopped what is at a limit; what is to be stopped already keeps the reason it has.

    @return: Whether no other reason stands.
    """
    alone = True
    for sandbox in sandboxes:
        order = await stops.get(sandbox)
        if order is None:
            await stops.order(sandbox, SPEND_LIMIT, now)
        elif order.reason != SPEND_LIMIT:
            alone = False
    return alone

"""
On every answer to a wallet: when its money will be used up, if everything stays as it is.

Tests: C{tests.web.test_time_left}.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.server import Request

from sandbox_billing.errors import BadInput, BrokenLaw, Transient, UnknownOutcome
from sandbox_billing.interfaces import IHistory, IWallClock
from sandbox_billing.ledger.grace import ending
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web.terms import Terms


HEADER = "X-Balance-Runs-Dry-At"

KEPT_SECONDS = 3.0
"""So old may the answer be: a header is no reason to ask Redis once more for each request."""

MOST_KEPT = 4_096


@define(eq=False, kw_only=True)
class TimeLeft:
    """
    @ivar clock: For how long answers are kept.
    """

    _log: ClassVar[Logger] = Logger()

    history: IHistory = field(validator=provides(IHistory))
    wall: IWallClock = field(validator=provides(IWallClock))
    clock: IReactorTime = field(validator=provides(IReactorTime))
    terms: Terms
    _kept: OrderedDict[Address, tuple[float, UnixSeconds | None]] = field(
        factory=OrderedDict, init=False
    )

    async def tell(self, request: Request, wallet: Address) -> None:
        """
        Set the header: also a refusal and a stream carry it.

        @param wallet: Proven to be the one that asks.
        """
        at = await self.runs_dry_at(wallet)
        if at is not None:
            # What is over is told as now.
            moment = max(at, self.wall.now())
            request.setHeader(HEADER.encode("ascii"), b"%d" % moment)

    async def runs_dry_at(self, wallet: Address) -> UnixSeconds | None:
        """The watcher's own sum, some seconds old; None when nothing runs or nobody knows."""
        now = self.clock.seconds()
        kept = self._kept.get(wallet)
        if kept is not None and now - kept[0] < KEPT_SECONDS:
            return kept[1]
        try:
            at = await self._asked(wallet)
        except (BadInput, BrokenLaw, Transient, UnknownOutcome) as why:
            # No request fails for it.
            self._log.debug("{wallet}: {why}", wallet=wallet.hex, why=str(why))
            return None
        self._kept[wallet] = (now, at)
        self._kept.move_to_end(wallet)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return at

    async def _asked(self, wallet: Address) -> UnixSeconds | None:
        state = await self.history.state(wallet)
        account = state.funds.account
        if state.mirror is None or account is None:
            return None
        return ending(
            state.funds.exposure,
            balance=account.value.spendable(state.mirror.behaviour),
            loss_cap=self.terms.loss_cap,
            stop_delay=self.terms.stop_delay_seconds,
            grace=self.terms.stop_grace_seconds,
            dry_since=state.funds.dry_since,
            now=self.wall.now(),
        ).dry_at

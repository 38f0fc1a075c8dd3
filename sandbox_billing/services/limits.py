"""
Wallets at a limit of their own: what it is for gets stop orders.

Like L{services.spending}, for what a wallet has said itself that it will spend: in a day, in
all, or for one sandbox.  A wallet is looked at when its computed time has come, when something
of it begins, and when its settings change; nothing is scanned.

Tests: C{tests.services.test_limits}.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.logger import Logger

from sandbox_billing.errors import BadInput, BrokenLaw, Transient, UnknownOutcome
from sandbox_billing.interfaces import (
    IControls,
    INotices,
    IStopOrders,
    IWallClock,
    LeaseLost,
    Stale,
    WalletOutlay,
)
from sandbox_billing.ledger.controls import FOLD_AT, LOOK_SECONDS, Bound
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.metering import day_begins, day_of
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.notice import Kind, Notice
from sandbox_billing.ledger.spending import SPEND_LIMIT
from sandbox_billing.services._supervise import gather
from sandbox_billing.services.policy import Policy
from sandbox_billing.services.spending import AGAIN_SECONDS, PAGE, SOON_SECONDS, order_stops


@define(kw_only=True, eq=False)
class LimitWatch:
    """
    @ivar swept: Whether this process has completed a sweep of Daytona, or has waited long enough
        for one.  Before that what a session costs may be for hours in which its sandbox did not
        run any more.
    @ivar _broken: What of this turn cannot be read.
    """

    controls: IControls
    stops: IStopOrders
    notices: INotices
    wall: IWallClock
    policy: Policy
    swept: Callable[[], bool]
    _broken: list[BrokenLaw] = field(factory=list, init=False)
    _log = Logger()

    async def turn(self) -> None:
        """
        Look at every wallet whose time has come.

        @raise BrokenLaw: What one has spent cannot be read; the others were looked at.
        """
        if not self.swept():
            return
        now = self.wall.now()
        seen: set[Address] = set()
        # Those that cannot be read stay at its head, and hold up nobody.
        while fresh := set(await self.controls.to_check(now, PAGE + len(seen))) - seen:
            await gather(*(self._look(wallet) for wallet in sorted(fresh)))
            seen |= fresh
        if self._broken:
            broken = self._broken[0]
            self._broken.clear()
            raise broken

    async def _look(self, wallet: Address) -> None:
        try:
            found = await self.controls.outlay(wallet)
            at = await self._decide(found)
            if len(found.outlay.ended) > FOLD_AT and found.outlay.foldable():
                # Where anything was added up its exposure has moved: it is looked at again.
                await self.controls.fold(found)
            await self.controls.check_again(found, at)
        except BadInput as why:
            self._log.critical("{wallet}: {why}", wallet=wallet.hex, why=str(why))
            self._broken.append(BrokenLaw("L6", f"the spending of {wallet}: {why}"))
        except Stale:
            # It is still marked to be looked at.
            self._log.debug("what {wallet} spends moved meanwhile", wallet=wallet.hex)

    async def _decide(self, found: WalletOutlay) -> UnixSeconds | None:
        """@return: When to look again; None when something has to begin first."""
        outlay, delay, times = found.outlay, self.policy.stop_delay, []
        stopped: set[SandboxId] = set()
        for bound in outlay.bounds():
            sandboxes = bound.spending.sandboxes()
            if not sandboxes:
                continue
            if bound.is_reached(stop_delay=delay):
                alone = await self._stop(found, bound)
                stopped.update(sandboxes)
                times.append(UnixSeconds(outlay.at + (AGAIN_SECONDS if alone else SOON_SECONDS)))
                continue
            reached_at = bound.reached_at(stop_delay=delay)
            if reached_at is not None:
                times.append(reached_at)
            elif bound.resets_at is not None:
                times.append(bound.resets_at)
        if stopped:
            self._log.info(
                "{wallet} is at a limit of its own: {count} sandboxes get stop orders",
                wallet=found.wallet.hex,
                count=len(stopped),
            )
        return min(*times, UnixSeconds(outlay.at + LOOK_SECONDS)) if times else None

    async def _stop(self, found: WalletOutlay, bound: Bound) -> bool:
        """@return: Whether nothing of it is to be stopped for another reason: that one stays."""
        outlay = found.outlay
        alone = await order_stops(self.stops, bound.spending.sandboxes(), outlay.at)
        facts = {
            "which": bound.which.value,
            "limit": str(bound.limit),
            "spent": str(bound.spent()),
        }
        if bound.resets_at is not None:
            facts["resets_at"] = str(bound.resets_at)
        notice = Notice(
            kind=Kind.SPEND_LIMIT,
            at=outlay.at,
            wallet=found.wallet,
            sandbox=bound.sandbox,
            facts=facts,
        )
        # Once for each setting of it, and for each day.
        round_of = day_of(outlay.at) if bound.resets_at is not None else 0
        told = (SPEND_LIMIT, bound.which.value, bound.sandbox or "", outlay.controls.revision)
        await tell(self.notices, notice, ":".join(map(str, (*told, round_of))), self._log)
        return alone


async def tell(notices: INotices, notice: Notice, key: str, log: Logger) -> None:
    """Nothing waits for what is only told."""
    try:
        await notices.tell(notice, key)
    except LeaseLost:
        raise
    except (Transient, UnknownOutcome) as why:
        log.warn("{wallet} is not told: {why}", wallet=notice.wallet.hex, why=str(why))


def next_day(now: UnixSeconds) -> UnixSeconds:
    """When the next UTC day begins."""
    return day_begins(day_of(now) + 1)

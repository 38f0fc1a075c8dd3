"""
Going on after a top-up: what was stopped for want of money is started again.

By one call of its owner, or by itself where he wished so.  Each start is an ordinary one, by
L{services.intake}: admitted by itself, supervised, counted.  What is to be started is stored,
so nothing is forgotten by a restart; and whatever is started takes itself off that list.

It does not go round in circles: a start is admitted only with a hold for a whole interval and
the stop after it, so each costs money that must have come from somewhere.

Tests: C{tests.services.test_resumer}.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field, frozen
from twisted.logger import Logger
from zope.interface import implementer

from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import (
    CannotPay,
    IControls,
    IDoors,
    IIds,
    IIntake,
    ILifecycleCount,
    INotices,
    IResumer,
    IWallClock,
    LeaseLost,
    NoSuchSandbox,
    NotReady,
    NotYours,
    Resumed,
    TooMany,
    TooSlow,
)
from sandbox_billing.ledger.controls import Resumable
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.notice import Kind, Notice
from sandbox_billing.ledger.token import Allowance
from sandbox_billing.services._supervise import Supervisor, gather
from sandbox_billing.services.limits import next_day, tell


TURN_SECONDS = 2.0
PAGE = 20
AGAIN_SECONDS = 30
"""A wallet that is blocked is looked at again after so long, or when it no longer is."""

RETRY_SECONDS = 300
"""What could not be started is tried again after so long, or when its wallet's account moves."""

FAILED = "a part behind this proxy failed; try again"
TOO_OFTEN = "too many creates, starts and recovers of this wallet within an hour"


@implementer(IResumer)
@frozen(kw_only=True)
class Resumer:
    """
    @ivar supervisor: Keeps the work when its client has gone.
    @ivar most: LIFECYCLE_PER_HOUR: what is resumed counts like a start.
    """

    controls: IControls
    doors: IDoors
    intake: IIntake
    count: ILifecycleCount
    notices: INotices
    ids: IIds
    supervisor: Supervisor
    wall: IWallClock
    most: int
    _log = Logger()

    async def resume(self, owner: Address, allowance: Allowance | None = None) -> Resumed:
        waiting = await self.controls.resumable(owner)
        work = self.start_all(owner, waiting, allowance)
        resumed, failed = await self.supervisor.detached("resume", work, wallet=owner.hex)
        short = [why for why in failed.values() if isinstance(why, CannotPay)]
        if short and not resumed and len(short) == len(failed):
            # Nothing goes on for want of money: said as any start would say it.
            raise short[0]
        return Resumed(
            resumed=tuple(resumed), failed={name: told(why) for name, why in failed.items()}
        )

    async def start_all(
        self, owner: Address, waiting: Sequence[Resumable], allowance: Allowance | None = None
    ) -> tuple[list[SandboxId], dict[SandboxId, Exception]]:
        """
        Start each that fits, in the order in which they were stopped.

        @return: What runs now, and why the others do not.
        """
        resumed: list[SandboxId] = []
        failed: dict[SandboxId, Exception] = {}
        closed: Exception | None = None
        for each in waiting:
            why = closed or await self._start(owner, each, allowance)
            if why is None:
                resumed.append(each.sandbox)
                continue
            failed[each.sandbox] = why
            if _closes(why):
                closed = why
        return resumed, failed

    async def _start(
        self, owner: Address, each: Resumable, allowance: Allowance | None
    ) -> Exception | None:
        """@return: Why it does not run."""
        sandbox, mark = each.sandbox, self.ids.reference()
        try:
            waits = await self.count.take(owner, mark, self.most)
            if waits:
                return TooMany(TOO_OFTEN, waits)
            try:
                shown = await self.intake.start(owner, sandbox, allowance=allowance)
            except TooSlow:
                # It may well have been accepted.
                raise
            except (BadInput, Refused, Transient):
                await self.count.give_back(owner, mark)
                raise
            if shown.as_found:
                await self.count.give_back(owner, mark)
                await self.doors.not_resumable(owner, sandbox)
        except LeaseLost:
            raise
        except (NoSuchSandbox, NotYours) as why:
            await self.doors.not_resumable(owner, sandbox)
            return why
        except (BadInput, Refused, Transient, UnknownOutcome) as why:
            return why
        self._log.info("resumed {sandbox}", sandbox=sandbox, wallet=owner.hex)
        await self._tell(Kind.RESUMED, owner, each, {"stopped_for": each.reason})
        return None

    async def tell_failed(self, owner: Address, each: Resumable, why: Exception) -> None:
        """Once for each stop."""
        await self._tell(Kind.RESUME_FAILED, owner, each, {"why": told(why)})

    async def _tell(
        self, kind: Kind, owner: Address, each: Resumable, facts: dict[str, str]
    ) -> None:
        notice = Notice(
            kind=kind, at=self.wall.now(), wallet=owner, sandbox=each.sandbox, facts=facts
        )
        key = f"{kind.value}:{each.sandbox}:{each.since}"
        await tell(self.notices, notice, key, self._log)


@define(kw_only=True, eq=False)
class AutoResume:
    """
    The worker's part: for wallets that wished so.

    @ivar _broken: What of this turn cannot be read.
    """

    resumer: Resumer
    controls: IControls
    doors: IDoors
    wall: IWallClock
    _broken: list[BadInput] = field(factory=list, init=False)
    _log = Logger()

    async def turn(self) -> None:
        """
        Look at every wallet whose time has come, some at a time.

        @raise BadInput: Of one something cannot be read; the others were looked at.
        """
        due = await self.controls.to_resume(self.wall.now(), PAGE)
        await gather(*(self._look(wallet) for wallet in due))
        if self._broken:
            broken = self._broken[0]
            self._broken.clear()
            raise broken

    async def _look(self, wallet: Address) -> None:
        now = self.wall.now()
        # First: whatever is stopped from here on has it looked at again.
        await self.controls.resume_again(wallet, UnixSeconds(now + AGAIN_SECONDS))
        try:
            settings = await self.controls.controls(wallet)
            waiting = await self.controls.resumable(wallet)
            if not (waiting and settings.auto_resume):
                await self.controls.resume_again(wallet, None)
                return
            funds = await self.doors.funds(wallet)
        except BadInput as why:
            self._log.critical("{wallet}: {why}", wallet=wallet.hex, why=str(why))
            self._broken.append(why)
            return
        if funds.blocked is not None or funds.exposure.in_debt:
            return
        _, failed = await self.resumer.start_all(wallet, waiting)
        for each in waiting:
            if each.sandbox in failed:
                await self.resumer.tell_failed(wallet, each, failed[each.sandbox])
        if failed:
            again = min(next_day(now), UnixSeconds(self.wall.now() + RETRY_SECONDS))
            await self.controls.resume_again(wallet, again)


def _closes(why: Exception) -> bool:
    """Whether the same would be said of the next one."""
    if isinstance(why, CannotPay):
        return why.code != "insufficient_balance"
    return isinstance(why, TooMany | NotReady)


def told(why: Exception) -> str:
    """In words for its owner: parts of our inside have their names in the log."""
    if isinstance(why, BadInput | Refused | NotReady | TooSlow):
        return str(why)
    return FAILED

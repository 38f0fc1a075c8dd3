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

from collections.abc import Awaitable, Callable, Sequence

from attrs import define, field, frozen
from twisted.logger import Logger
from twisted.python.failure import Failure
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
    SpendLimitReached,
    StopPending,
    TooMany,
    TooSlow,
)
from sandbox_billing.ledger.controls import Resumable, Which
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.notice import Kind, Notice
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.ledger.spending import LIMIT
from sandbox_billing.ledger.token import Allowance
from sandbox_billing.services._supervise import Supervisor
from sandbox_billing.services.admission import Admission
from sandbox_billing.services.lifecycle import RUNS_AGAIN
from sandbox_billing.services.limits import next_day, tell


TURN_SECONDS = 2.0
PAGE = 20
AGAIN_SECONDS = 30
"""A wallet that is blocked is looked at again after so long, or when it no longer is."""

RETRY_SECONDS = 300
"""What could not be started is tried again after so long, or when its wallet's account moves."""

SOON_SECONDS = 5
"""What passes by itself, a stop under way or a Daytona that is slow, is tried again after it."""

MOST_AT_ONCE = 50
"""Wallets that the worker resumes at the same time: one that waits holds up no other."""

MOST_LAST = 1_000
"""Wallets of which it is remembered here what to try last."""

FAILED = "a part behind this proxy failed; try again"
BUSY = "this wallet is being resumed already; ask again when that has ended"
NOT_TRIED = "not tried: what came before it was not answered; ask again"
IN_PROGRESS = "in progress: a start of this sandbox has not been answered yet"
NOT_COUNTED = "its token's limit is no longer counted: start it yourself"
TOO_OFTEN = "too many creates, starts and recovers of this wallet within an hour"


@implementer(IResumer)
@frozen(kw_only=True)
class Resumer:
    """
    @ivar supervisor: Keeps the work when its client has gone.
    @ivar most: LIFECYCLE_PER_HOUR: what is resumed counts like a start.
    @ivar _busy: Wallets whose call is under way here: asked twice at once it is done once.
    @ivar _last: Of a wallet what ended its rounds without an answer: tried after the others, or
        one that Daytona never answers for would keep all of them waiting.
    """

    controls: IControls
    doors: IDoors
    intake: IIntake
    admission: Admission
    count: ILifecycleCount
    notices: INotices
    ids: IIds
    supervisor: Supervisor
    wall: IWallClock
    most: int
    _busy: set[Address] = field(factory=set, init=False, eq=False)
    _last: dict[Address, frozenset[SandboxId]] = field(factory=dict, init=False, eq=False)
    _log = Logger()

    async def resume(self, owner: Address, allowance: Allowance | None = None) -> Resumed:
        if owner in self._busy:
            raise NotReady(BUSY, SOON_SECONDS)
        work = self._resume(owner, allowance)
        return await self.supervisor.detached("resume", work, wallet=owner.hex)

    async def _resume(self, owner: Address, allowance: Allowance | None) -> Resumed:
        self._busy.add(owner)
        try:
            waiting = await self.controls.resumable(owner)
            if waiting:
                await self._check_any(owner)

            async def asked(each: Resumable) -> Allowance | None:
                return allowance

            resumed, failed = await self.start_all(owner, waiting, asked)
        finally:
            self._busy.discard(owner)
        short = [why for why in failed.values() if isinstance(why, CannotPay)]
        if short and not resumed and len(short) == len(failed):
            # Nothing goes on for want of money: said as any start would say it.
            raise short[0]
        return Resumed(
            resumed=tuple(resumed), failed={name: told(why) for name, why in failed.items()}
        )

    async def _check_any(self, owner: Address) -> None:
        """
        Before Daytona is asked of each.

        @raise CannotPay: Not even the smallest could be started.
        """
        least = await self.admission.quote(owner, Resources(disk_gib=1), creating=False)
        why = await self.admission.why_not(owner, least)
        if why is not None:
            raise why

    async def start_all(
        self,
        owner: Address,
        waiting: Sequence[Resumable],
        under: Callable[[Resumable], Awaitable[Allowance | None]],
    ) -> tuple[list[SandboxId], dict[SandboxId, Exception]]:
        """
        Start each that fits, in the order in which they were stopped.

        @param under: Asked just before each start: the allowance that counts it; None for none.
            Whatever it raises is why that one does not run.
        @return: What runs now, and why the others do not; neither has what its owner has
            started, stopped or deleted meanwhile.
        """
        resumed: list[SandboxId] = []
        failed: dict[SandboxId, Exception] = {}
        closed: Exception | None = None
        last = self._last.pop(owner, frozenset())
        for each in sorted(waiting, key=lambda each: each.sandbox in last):
            if each not in await self.controls.resumable(owner):
                continue
            if self.supervisor.stopping:
                # The rest stays stored, for whoever is the worker next, or is asked.
                closed = closed or NotReady(NOT_TRIED, SOON_SECONDS)
            why = closed or await self._start(owner, each, under)
            if why is None:
                resumed.append(each.sandbox)
                continue
            failed[each.sandbox] = why
            if closed is None and (closed := _closing(why)) and isinstance(why, _UNANSWERED):
                self._last[owner] = last | {each.sandbox}
        while len(self._last) > MOST_LAST:
            self._last.pop(next(iter(self._last)))
        return resumed, failed

    async def _start(
        self,
        owner: Address,
        each: Resumable,
        under: Callable[[Resumable], Awaitable[Allowance | None]],
    ) -> Exception | None:
        """@return: Why it does not run."""
        sandbox, mark = each.sandbox, self.ids.reference()
        try:
            allowance = await under(each)
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

    @ivar _busy: Wallets that are being resumed: a turn waits for none of them.
    @ivar _failures: What has become of some since the last turn.
    """

    resumer: Resumer
    controls: IControls
    doors: IDoors
    wall: IWallClock
    _busy: set[Address] = field(factory=set, init=False)
    _failures: list[Failure] = field(factory=list, init=False)
    _log = Logger()

    async def turn(self) -> None:
        """
        Begin with every wallet whose time has come; with none once the supervisor is stopping,
        for it waits only for what was under way when it was told to.

        @raise Exception: What one of them has met in this turn or since the last; the others
            go on.
        """
        now = self.wall.now()
        for wallet in await self.controls.to_resume(now, PAGE):
            if wallet in self._busy:
                # It makes place in the list for others.
                await self.controls.resume_again(wallet, UnixSeconds(now + AGAIN_SECONDS))
            elif self.resumer.supervisor.stopping:
                # Still listed: the worker of the next term looks at it.
                break
            elif len(self._busy) < MOST_AT_ONCE:
                work = self._look(wallet)
                begun = self.resumer.supervisor.detached("resume", work, wallet=wallet.hex)
                begun.addErrback(self._failures.append)
        if self._failures:
            met, self._failures = self._failures, []
            # One that is no longer the worker is nothing else.
            next((one for one in met if one.check(LeaseLost)), met[0]).raiseException()

    async def _look(self, wallet: Address) -> None:
        self._busy.add(wallet)
        try:
            await self._go_on(wallet)
        except BadInput as why:
            self._log.critical("{wallet}: {why}", wallet=wallet.hex, why=str(why))
            raise
        finally:
            self._busy.discard(wallet)

    async def _go_on(self, wallet: Address) -> None:
        now = self.wall.now()
        # First: whatever is stopped from here on has it looked at again.
        await self.controls.resume_again(wallet, UnixSeconds(now + AGAIN_SECONDS))
        settings = await self.controls.controls(wallet)
        waiting = await self.controls.resumable(wallet)
        if not (waiting and settings.auto_resume):
            await self.controls.resume_again(wallet, None)
            return
        funds = await self.doors.funds(wallet)
        if funds.blocked is not None or funds.exposure.in_debt:
            return

        async def under(each: Resumable) -> Allowance | None:
            return await self._under(wallet, each)

        _, failed = await self.resumer.start_all(wallet, waiting, under)
        for each in waiting:
            why = failed.get(each.sandbox)
            if why is not None and not _passes(why):
                await self.resumer.tell_failed(wallet, each, why)
        if failed:
            soon = UnixSeconds(self.wall.now() + min(map(_wait, failed.values())))
            await self.controls.resume_again(wallet, min(next_day(now), soon))

    async def _under(self, wallet: Address, each: Resumable) -> Allowance | None:
        """
        What was started with a token that has a spend limit goes on under that limit: what
        starts it now is not its owner, who might lift it.

        @raise Refused: It is not wished any more, or a start of it is under way; or what that
            token has caused is no longer known.
        """
        # Only the worker goes on, and others wait for the list meanwhile.
        await self.controls.resume_again(wallet, UnixSeconds(self.wall.now() + AGAIN_SECONDS))
        if not (await self.controls.controls(wallet)).auto_resume:
            raise _NotWished("not wished any more")
        intents = await self.doors.intents_of(each.sandbox)
        if any(intent.action in RUNS_AGAIN for intent in intents):
            raise StopPending(IN_PROGRESS, retry_after=SOON_SECONDS)
        record = await self.doors.record(each.sandbox)
        allowance = None if record is None else record.allowance
        if allowance is not None:
            counted = await self.doors.spending(allowance.token)
            if LIMIT not in counted.fields:
                # Forgotten when every such token had ended: counted anew, it had its limit twice.
                raise Refused(NOT_COUNTED)
        return allowance


@frozen(auto_exc=False)
class _NotWished(Refused):
    """Its owner takes care of it."""


_UNANSWERED = Transient | UnknownOutcome


def _closing(why: Exception) -> Exception | None:
    """What is said of the next ones, too, without asking; None where they may well start."""
    if isinstance(why, CannotPay):
        return why if why.code != "insufficient_balance" else None
    if isinstance(why, SpendLimitReached):
        exhausted = why.which in (Which.PER_DAY, Which.TOTAL) and why.spent >= why.limit
        return why if exhausted else None
    if isinstance(why, TooMany | NotReady | _NotWished):
        return why
    if isinstance(why, _UNANSWERED):
        return NotReady(NOT_TRIED, SOON_SECONDS)
    return None


def _passes(why: Exception) -> bool:
    """Whether it says nothing that its owner could do something about."""
    return isinstance(why, StopPending | Transient | UnknownOutcome | _NotWished)


def _wait(why: Exception) -> int:
    """Seconds until it is tried again."""
    if isinstance(why, StopPending | NotReady):
        return min(RETRY_SECONDS, max(SOON_SECONDS, why.retry_after))
    return SOON_SECONDS if _passes(why) else RETRY_SECONDS


def told(why: Exception) -> str:
    """In words for its owner: parts of our inside have their names in the log."""
    if isinstance(why, BadInput | Refused | NotReady | TooSlow):
        return str(why)
    return FAILED

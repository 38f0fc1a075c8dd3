"""
Discover, plan, apply: Daytona's list against the sessions.

The plan is C{ledger.reconciliation.plan}, pure; this module gathers what it
rests on and carries out what it says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from attrs import define, field
from twisted.logger import Logger

from sandbox_billing.errors import BadInput, BrokenLaw, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import (
    UNMEASURED,
    DaytonaRefused,
    IChainMirror,
    IDoors,
    IMeasures,
    IMeter,
    IOverview,
    IRuntime,
    IStopOrders,
    IWallClock,
    LeaseLost,
    Listing,
    Stale,
)
from sandbox_billing.ledger.effects import (
    Adopt,
    AskById,
    Begin,
    Change,
    Close,
    DeleteLeftover,
    OpenUnderIntent,
    Refit,
    ReleaseIntent,
    Report,
)
from sandbox_billing.ledger.hold import RESIZE, UNDO, Intent
from sandbox_billing.ledger.identity import Reference, SandboxId
from sandbox_billing.ledger.metering import (
    NEVER_STARTED,
    begin,
    counts,
    is_running,
    same_run,
)
from sandbox_billing.ledger.overview import differences
from sandbox_billing.ledger.reconciliation import (
    Row,
    World,
    crowded,
    interval_at_daytona,
    plan,
    seen,
    unexplained,
)
from sandbox_billing.ledger.voucher import Charge
from sandbox_billing.measures import RECONCILE_DIFFERENCES
from sandbox_billing.services._supervise import gather
from sandbox_billing.services.admission import Admission, create_charge, opened
from sandbox_billing.services.closing import Closer
from sandbox_billing.services.deadman import DeadmansSwitch
from sandbox_billing.services.missing import Missing
from sandbox_billing.services.policy import Policy
from sandbox_billing.services.refitting import Refitter


AT_A_LOOK = (Begin, Close, Refit, OpenUnderIntent, Adopt)
"""The changes that one row alone can tell; the others need all of them."""


@define(kw_only=True, eq=False)
class Reconciler:
    """
    @ivar overview: Where operators look; None where nobody does.
    @ivar measures: Told of what differs, too.
    @ivar sweeps: Complete sweeps of this process; metering waits for the first.
    @ivar _looked: What was looked at since the last sweep began.
    """

    meter: IMeter
    doors: IDoors
    mirror: IChainMirror
    runtime: IRuntime
    stops: IStopOrders
    admission: Admission
    closer: Closer
    missing: Missing
    deadman: DeadmansSwitch
    refitter: Refitter
    wall: IWallClock
    policy: Policy
    overview: IOverview | None = None
    measures: IMeasures = UNMEASURED
    sweeps: int = field(default=0, init=False)
    _missed: frozenset[Reference] = field(default=frozenset(), init=False)
    _looked: dict[SandboxId, Row] = field(factory=dict, init=False)
    _reported: frozenset[Report] = field(default=frozenset(), init=False)
    _noted: frozenset[tuple[str, str]] = field(default=frozenset(), init=False)
    _log = Logger()

    async def turn(self) -> None:
        """One sweep, one plan; then the dead-man's switch and whoever asked for a look."""
        asked = await self.meter.requested()
        world = await self._discover()
        vanished = await self.missing.vanished(world)
        # A list that is not believed is no sweep: what is let in by it nobody would see run.
        # Its end counts, not its beginning: a slow one is not an old one.
        swept_at = self.wall.now() if vanished is None else None
        await self.meter.seen(seen(world), swept_at, crowded(world, self.policy.max_rows))
        changes = plan(world)
        if vanished is not None:
            changes = tuple(one for one in changes if not isinstance(one, AskById))
            await self.missing.ask_some(world)
        broken = await self._carry_out(changes, world)
        self._reported = frozenset(one for one in changes if isinstance(one, Report))
        self._missed = unexplained(world)
        self.sweeps += 1
        for sandbox in asked:
            await self.meter.answered(sandbox)
        await self.deadman.keep(world)
        await self._note(changes, world)
        if broken:
            raise broken[0]
        trouble = vanished or self.missing.contradicted(world)
        if trouble is not None:
            raise Transient(trouble)

    async def _note(self, changes: Iterable[Change], world: World) -> None:
        """Tell operators what differs that did not differ in the sweep before."""
        found = differences(changes, world.now)
        new = [one for one in found if (one.sandbox, one.what) not in self._noted]
        if new and self.overview is not None:
            await self.overview.note_differences(new)
        for one in new:
            self.measures.count(RECONCILE_DIFFERENCES, kind=one.what)
        self._noted = frozenset((one.sandbox, one.what) for one in found)

    async def look(self, sandboxes: Collection[SandboxId]) -> tuple[SandboxId, ...]:
        """
        Look at a few of them between two sweeps, as they are now; what this process has not
        swept yet, and what is neither metered nor on record, is left to the sweep.

        @return: Those to look at again soon: what would be seen now could be of before their
            last change.
        """
        if not self.sweeps:
            return ()
        intents = await self.meter.intents()
        early = await gather(*(self._look_at(sandbox, intents) for sandbox in sandboxes))
        return tuple(one for one, again in zip(sandboxes, early, strict=True) if again)

    async def _look_at(self, sandbox: SandboxId, intents: tuple[Intent, ...]) -> bool:
        """@return: Whether to look again soon."""
        try:
            session = await self.doors.session(sandbox)
            record = (await self.meter.records([sandbox])).get(sandbox)
        except BadInput as why:
            # A human is told of it by the sweep; the others are looked at, and again if need be.
            self._log.debug("cannot look at {sandbox}: {why}", sandbox=sandbox, why=str(why))
            return False
        if session is None and record is None:
            return False
        if session is not None and not counts(session.value, self.wall.now(), by_id=False):
            return True
        try:
            page = await self.runtime.look(sandbox)
        except (DaytonaRefused, Transient) as why:
            self._log.debug("cannot look at {sandbox}: {why}", sandbox=sandbox, why=str(why))
            return False
        rows = rows_of([page])
        self._looked.update({row.sandbox: row for row in rows})
        world = World(
            rows=rows,
            sessions={} if session is None else {sandbox: session.value},
            intents=intents,
            owners={} if record is None else {sandbox: record.owner},
            wallets=frozenset(),
            missed=frozenset(),
            now=self.wall.now(),
        )
        if observed := seen(world):
            await self.meter.seen(observed)
        changes = [one for one in plan(world) if isinstance(one, AT_A_LOOK)]
        for broken in await self._carry_out(changes, world):
            raise broken
        return False

    async def _carry_out(self, changes: Iterable[Change], world: World) -> list[BrokenLaw]:
        """@return: The laws that were broken, each of one sandbox."""
        broken: list[BrokenLaw] = []
        for change in changes:
            try:
                await self._apply(change, world)
            except LeaseLost:
                raise
            except Stale:
                # A request or a stop order was quicker; the next sweep compares again.
                self._log.debug(
                    "skipped {change} of {sandbox}: it moved meanwhile",
                    change=type(change).__name__,
                    sandbox=_sandbox_of(change),
                )
            except (Refused, UnknownOutcome, Transient, BadInput) as why:
                self._log.warn(
                    "could not do {change} of {sandbox}: {why}",
                    change=type(change).__name__,
                    sandbox=_sandbox_of(change),
                    why=str(why),
                )
            except BrokenLaw as why:
                # One sandbox's; the others are nobody's to hold up.
                self._log.critical(
                    "could not do {change} of {sandbox}: {why}",
                    change=type(change).__name__,
                    sandbox=_sandbox_of(change),
                    why=str(why),
                )
                broken.append(why)
        return broken

    async def _discover(self) -> World:
        # Intents and sessions first: what they miss is younger than the sweep.
        self._looked.clear()
        intents = await self.meter.intents()
        sessions = {s.value.sandbox: s.value for s in await self.meter.sessions()}
        try:
            # Rows only: what a page shows beside them is not kept while others come.
            pages = await self.runtime.sweep()
        except DaytonaRefused as why:
            # Of our own key and query: nobody's fault but the operator's, and it may end.
            raise Transient(f"Daytona refuses the list of sandboxes: {why}") from why
        # Who was looked at since its page was sent is as it was then.
        rows = tuple(_newer(row, self._looked.get(row.sandbox)) for row in rows_of(pages))
        records = await self.meter.records([row.sandbox for row in rows])
        return World(
            rows=rows,
            sessions=sessions,
            intents=intents,
            owners={sandbox: record.owner for sandbox, record in records.items()},
            wallets=frozenset(await self.mirror.wallets()),
            missed=self._missed,
            now=self.wall.now(),
            unread=tuple(one for page in pages for one in page.unread),
        )

    async def _apply(self, change: Change, world: World) -> None:
        match change:
            case Begin(sandbox, since):
                stored = await self.doors.session(sandbox)
                # Applying takes time: the observation may be of an earlier run.
                if stored is None or not same_run(stored.value, world.sessions[sandbox]):
                    return
                if stored.value.started_at is None:
                    await self.meter.begin(stored, begin(stored.value, since))
                    self._log.info("{sandbox} runs since {at}", sandbox=sandbox, at=since)
            case Close(sandbox, never_started):
                await self.closer.not_running(
                    sandbox,
                    destroyed=False,
                    forgive_create=never_started,
                    only=world.sessions[sandbox],
                )
            case Refit(sandbox):
                metered = world.sessions[sandbox]
                await self.refitter.refit(change, metered, world.intents)
            case OpenUnderIntent(sandbox, intent, resources):
                try:
                    session = self.admission.session_for(intent, sandbox, resources)
                except Refused:
                    await self.stops.order(sandbox, "unpriced", world.now)
                    raise
                now = self.wall.now()
                fee: Charge | None = create_charge(intent, sandbox, now)
                # It was seen running: waiting for another sweep would cost a second period (L3).
                await self.meter.open_under(intent, begin(session, self.wall.after()), fee)
                self._log.warn("{sandbox} was created without a reply", sandbox=sandbox)
            case Adopt():
                await self._adopt(change)
            case AskById(sandbox):
                await self.missing.ask(sandbox, world.now)
            case ReleaseIntent(intent):
                await self.doors.release(intent)
                self._log.info("released {reference}", reference=intent.reference)
            case DeleteLeftover(sandbox, intent):
                await self._delete_leftover(sandbox, intent)
            case Report(sandbox, text):
                if change not in self._reported:
                    self._log.error("{sandbox} {why}", sandbox=sandbox, why=text)

    async def _adopt(self, change: Adopt) -> None:
        # A request may have stored its intent after the discovery began: it will open
        # the session itself, with the create charge that an adoption must not have.
        for intent in await self.meter.intents():
            if intent.action == RESIZE:
                continue
            if intent.sandbox == change.sandbox or intent.reference == change.reference:
                return
        shown = (await self.runtime.look(change.sandbox)).sandboxes
        if not any(is_running(one.state, one.desired_state) for one in shown):
            # Its owner has started and stopped it while the pages came.
            return
        try:
            quote = await self.admission.quote(change.owner, change.resources, creating=False)
        except Refused:
            # What has no price must not run: nobody could be charged for it (B21).
            await self.stops.order(change.sandbox, "unpriced", self.wall.now())
            raise
        session = opened(
            sandbox=change.sandbox,
            owner=change.owner,
            reference=change.reference,
            resources=change.resources,
            quote=quote,
            policy=self.policy,
            now=self.wall.now(),
            auto_stop_minutes=change.auto_stop_minutes,
        )
        why_not = await self.admission.why_not(change.owner, quote)
        reason = None
        if why_not is not None:
            unacknowledged = why_not.code == "not_acknowledged"
            reason = "not_acknowledged" if unacknowledged else "insufficient_balance"
        await self.meter.adopt(begin(session, self.wall.after()), reason)
        # Where this fails, the dead-man's switch puts it right after a later sweep.
        minutes = interval_at_daytona(change.auto_stop_minutes, self.policy.deadman_minutes)
        await self.runtime.set_auto_stop(change.sandbox, minutes)
        self._log.warn(
            "adopted {sandbox}, which ran unmetered",
            sandbox=change.sandbox,
            wallet=change.owner.hex,
        )

    async def _delete_leftover(self, sandbox: SandboxId, intent: Intent) -> None:
        # An order to undo stands whatever happened; anything else was true when the page was sent.
        if intent.action != UNDO and await self._lives(sandbox, intent):
            return
        await self.closer.undone(sandbox)
        await self.runtime.delete(sandbox)
        await self.doors.release(intent)

    async def _lives(self, sandbox: SandboxId, intent: Intent) -> bool:
        """Whether somebody has meanwhile done something about what a create left behind."""
        if await self.doors.intent(intent.reference) != intent:
            return True
        if await self.doors.intents_of(sandbox) or await self.doors.session(sandbox) is not None:
            return True
        shown = (await self.runtime.look(sandbox)).sandboxes
        return any(one.state not in NEVER_STARTED for one in shown)


def _sandbox_of(change: Change) -> SandboxId | None:
    return change.intent.sandbox if isinstance(change, ReleaseIntent) else change.sandbox


def _newer(row: Row, looked: Row | None) -> Row:
    return row if looked is None or looked.seen_at < row.seen_at else looked


def rows_of(pages: Iterable[Listing]) -> tuple[Row, ...]:
    """A sweep as the plan reads it: each sandbox with the moment its page was asked for."""
    return tuple(
        Row(
            sandbox=one.id,
            state=one.state,
            desired_state=one.desired_state,
            labels=one.labels,
            resources=one.resources,
            seen_at=page.sent_at,
            answered_at=page.answered_at,
            last_activity_at=one.last_activity_at,
            auto_stop_minutes=one.auto_stop_minutes,
        )
        for page in pages
        for one in page.sandboxes
    )

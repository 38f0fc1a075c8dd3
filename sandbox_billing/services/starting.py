"""A start or a recovery, admitted like a create: a story of L{sandbox_billing.services.intake}."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import evolve, frozen
from twisted.logger import Logger

from sandbox_billing.errors import NoAnswerInTime, Refused, Transient
from sandbox_billing.interfaces import DaytonaRefused, NoSuchSandbox, Sandbox, StopPending, TooSlow
from sandbox_billing.ledger.hold import Intent
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.metering import (
    LOOKUP_CACHE_SECONDS,
    NEVER_STARTED,
    NOT_YET,
    begin,
    counts,
    has_ended,
    is_running,
)
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.reconciliation import wished_minutes
from sandbox_billing.ledger.token import Allowance
from sandbox_billing.services.admission import create_charge
from sandbox_billing.services.lifecycle import RUNS_AGAIN, Lifecycle


@frozen(kw_only=True)
class Under:
    """
    @ivar reference: The intent's; None for a new one.
    @ivar allowance: Of the token that asks; None where that has no limit.
    """

    reference: Reference | None = None
    allowance: Allowance | None = None


@frozen
class Starting:
    """Runs what did not run: from stopped, archived, paused, or an error that can be mended."""

    at: Lifecycle
    _log = Logger()

    async def start(self, owner: Address, id_or_name: str, under: Under) -> Sandbox:
        """As L{sandbox_billing.interfaces.IIntake.start}."""
        return await self._run("start", self.at.runtime.start, owner, id_or_name, under)

    async def recover(
        self, owner: Address, id_or_name: str, under: Under, *, skip_start: bool
    ) -> Sandbox:
        """As L{sandbox_billing.interfaces.IIntake.recover}."""

        async def call(sandbox: SandboxId) -> Sandbox:
            return await self.at.runtime.recover(sandbox, skip_start=skip_start)

        return await self._run("recover", call, owner, id_or_name, under)

    async def _run(
        self,
        action: str,
        call: Callable[[SandboxId], Awaitable[Sandbox]],
        owner: Address,
        id_or_name: str,
        under: Under,
    ) -> Sandbox:
        at = self.at
        sent_at = at.wall.now()
        shown = await at.owned(owner, id_or_name)
        reason = await at.doors.stop_reason(shown.id)
        if reason is not None:
            raise StopPending("stop pending", reason)
        by_id = not is_running(shown.state, shown.desired_state)
        if not by_id:
            # Stopped ten seconds ago it would be answered "started", and never start.
            shown, sent_at = await self._uncached(shown)
            if is_running(shown.state, shown.desired_state):
                # An observation only: nothing is forwarded, and what runs unmetered is
                # adopted by the reconciler on its own terms (B21).
                return await self._as_found(owner, shown)
        await self._end_last_run(owner, shown, sent_at, by_id=by_id)
        at.check_disk(shown.resources)
        record = await at.doors.record(shown.id)
        # Who fails first and recovers then would have it created for nothing.
        creating = record is not None and record.owes_creation
        quote = await at.admission.quote(owner, shown.resources, creating=creating)
        intent = at.intent(
            action,
            owner,
            shown.id,
            quote,
            auto_stop_minutes=wished_minutes(shown.labels),
            reference=under.reference,
            allowance=under.allowance,
        )
        await at.admission.reserve(intent, quote)
        try:
            started = await call(shown.id)
        except NoAnswerInTime as why:
            raise TooSlow("Daytona has not answered in time; look at your sandbox") from why
        except DaytonaRefused as why:
            return await self._refused(intent, shown, why)
        except Transient:
            await at.doors.release(intent)
            raise
        if action == "recover" and _rests(started):
            await at.doors.release(intent)
            return started
        await self._open(intent, shown, started)
        return started

    async def _as_found(self, owner: Address, shown: Sandbox) -> Sandbox:
        """It runs, and is wished to: an earlier stop that was not answered is no wish any more."""
        await self.at.doors.wish_running(owner, shown.id)
        return evolve(shown, as_found=True)

    async def _uncached(self, shown: Sandbox) -> tuple[Sandbox, UnixSeconds]:
        """
        @return: As it is now, and when that was asked.
        @raise NoSuchSandbox: It is gone.
        """
        try:
            page = await self.at.runtime.look(shown.id)
        except DaytonaRefused as why:
            raise evolve(why, looked=True) from why
        found = next(iter(page.sandboxes), None)
        if found is None:
            raise NoSuchSandbox()
        return found, page.sent_at

    async def _refused(self, intent: Intent, shown: Sandbox, why: DaytonaRefused) -> Sandbox:
        """
        The state decides, never the code: what runs all the same, or is about to, and is metered
        under no other call, was started by this one and counts for its token.

        @raise DaytonaRefused: It stays as it was; or nobody can tell, and then the intent stands
            until a sweep can.
        """
        at = self.at
        try:
            page = await at.runtime.look(shown.id)
        except (Refused, Transient) as blind:
            self._log.info("cannot look at {sandbox}: {why}", sandbox=shown.id, why=str(blind))
            raise why from None
        found = next(iter(page.sandboxes), None)
        runs = found is not None and is_running(found.state, found.desired_state)
        if found is None or not (runs or found.state in NOT_YET) or await self._metered(intent):
            await at.doors.release(intent)
            if found is not None and runs:
                # Somebody else's start came first: as if this one had been asked after it.
                return await self._as_found(intent.owner, found)
            raise why
        await self._open(intent, shown, found)
        return found

    async def _metered(self, intent: Intent) -> bool:
        """Whether its sandbox runs, or will, under a session or the intent of an earlier call."""
        assert intent.sandbox is not None
        if await self.at.doors.session(intent.sandbox) is not None:
            return True
        mine = (intent.created_at, intent.reference)
        return any(
            (other.created_at, other.reference) < mine
            for other in await self.at.doors.intents_of(intent.sandbox)
            if other.action in RUNS_AGAIN
        )

    async def _open(self, intent: Intent, shown: Sandbox, started: Sandbox) -> None:
        at = self.at
        session = at.admission.session_for(intent, shown.id, shown.resources)
        if is_running(started.state, started.desired_state):
            # Seen running by this very answer: otherwise a start and stop between two
            # sweeps would be free, again and again.
            session = begin(session, at.wall.after())
        fee = create_charge(intent, shown.id, at.wall.now())
        await at.open(intent, session, fee)
        await at.keep_labels(shown)
        self._log.info("started {sandbox}", sandbox=shown.id, wallet=intent.owner.hex)

    async def _end_last_run(
        self, owner: Address, shown: Sandbox, sent_at: UnixSeconds, *, by_id: bool
    ) -> None:
        """
        It stopped by itself, or failed, and no sweep has seen that yet; nor perhaps that it was
        created, whose fee is due unless it failed (§4.3), or when that is made to run.

        @raise StopPending: Another call is under way.
        """
        opened = await self.at.open_unanswered(owner, shown)
        session = await self.at.doors.session(shown.id)
        if session is None:
            return
        ended = has_ended(shown.state, shown.desired_state)
        # What was opened by this very look is not older than it.
        if not ended or not (opened or counts(session.value, sent_at, by_id=by_id)):
            raise StopPending(
                "in progress: ask again when the last call has ended",
                retry_after=LOOKUP_CACHE_SECONDS,
            )
        failed = shown.state in NEVER_STARTED
        await self.at.close(shown.id, None, destroyed=False, failed=failed)


def _rests(shown: Sandbox) -> bool:
    """Whether it was recovered without being started; servers that know no such wish start it."""
    ended = has_ended(shown.state, shown.desired_state)
    return ended or (shown.desired_state == "stopped" and shown.state != "started")

"""Stop, delete and archive by the owner: stories of L{sandbox_billing.services.intake}."""

from __future__ import annotations

from attrs import frozen
from twisted.logger import Logger

from sandbox_billing.errors import NoAnswerInTime, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import DaytonaRefused, Listing, NoSuchSandbox, Sandbox, TooSlow
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.metering import NEVER_STARTED, is_running
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.services.lifecycle import RUNS_AGAIN, Lifecycle, is_deleted


SLOW = "Daytona has not answered in time; look at your sandbox"


@frozen
class Ending:
    """What no longer runs is charged up to Daytona's acceptance, once."""

    at: Lifecycle
    _log = Logger()

    async def end(self, owner: Address, id_or_name: str, *, delete: bool) -> Sandbox:
        """As L{sandbox_billing.interfaces.IIntake.stop} and C{delete}."""
        at = self.at
        shown = await at.owned(owner, id_or_name)
        await at.open_unanswered(owner, shown)
        if not is_running(shown.state, shown.desired_state) and await self._may_run(shown.id):
            shown = await self._uncached(shown)
        await at.open_started(owner, shown)
        sent_at = None
        if is_running(shown.state, shown.desired_state):
            # A stop is accepted of what runs: it ran until our call.
            sent_at = await self._seen_at(shown.id) if delete else at.wall.now()
        before = await at.doors.session(shown.id)
        call = at.runtime.delete if delete else at.runtime.stop
        try:
            ended = await call(shown.id)
        except UnknownOutcome as why:
            # It may have ended by now, or end by our order: by its owner's wish all the same.
            await self._wished(owner, shown.id)
            if isinstance(why, NoAnswerInTime):
                raise TooSlow(SLOW) from why
            raise
        except DaytonaRefused:
            await at.look_again(shown.id)
            # Of what is stopped already, too: it is its owner's wish now, not ours.
            await at.doors.not_resumable(owner, shown.id)
            raise
        if ended is None:
            await at.close(shown.id, None, destroyed=True, only=before)
            raise NoSuchSandbox()
        # A stop deletes what was to be deleted when it stops.
        destroyed = delete or is_deleted(ended)
        failed = shown.state in NEVER_STARTED
        if not await at.close(shown.id, sent_at, destroyed=destroyed, failed=failed, only=before):
            # We stopped it for want of money, perhaps: now it is its owner's wish.
            await at.doors.not_resumable(owner, shown.id)
        if destroyed:
            self._log.info("deleted {sandbox}", sandbox=shown.id, wallet=owner.hex)
        else:
            self._log.info("stopped {sandbox}", sandbox=shown.id, wallet=owner.hex)
        return ended

    async def _wished(self, owner: Address, sandbox: SandboxId) -> None:
        """That its end was asked for, where nobody knows what came of that."""
        try:
            await self.at.doors.wish_ended(owner, sandbox)
        except (Transient, UnknownOutcome) as why:
            # Its owner is told what matters: nobody knows whether it ended.
            self._log.warn(
                "that the end of {sandbox} is wished is not kept: {why}",
                sandbox=sandbox,
                why=str(why),
            )

    async def _may_run(self, sandbox: SandboxId) -> bool:
        """Whether it is metered, or is about to be under a call that is unanswered."""
        doors = self.at.doors
        if await doors.session(sandbox) is not None:
            return True
        return any(intent.action in RUNS_AGAIN for intent in await doors.intents_of(sandbox))

    async def _uncached(self, shown: Sandbox) -> Sandbox:
        """
        What was started less than ten seconds ago is shown by a lookup as it was before: stopped
        as that it would have run for nothing, again and again.

        @return: As the lookup showed it, where nothing else can be seen.
        """
        page = await self._look(shown.id)
        if page is None or not page.sandboxes:
            return shown
        found = page.sandboxes[0]
        await self.at.begin(found, page.sent_at, by_id=False)
        return found

    async def _seen_at(self, sandbox: SandboxId) -> UnixSeconds | None:
        """
        Until when it ran for certain: a delete is accepted in any state, and what a lookup
        shows running may have ended ten seconds ago.

        @return: None where only sweeps have seen it.
        """
        page = await self._look(sandbox)
        if page is None:
            return None
        runs = any(is_running(one.state, one.desired_state) for one in page.sandboxes)
        return page.sent_at if runs else None

    async def _look(self, sandbox: SandboxId) -> Listing | None:
        try:
            return await self.at.runtime.look(sandbox)
        except (Refused, Transient) as why:
            self._log.info("cannot look at {sandbox}: {why}", sandbox=sandbox, why=str(why))
            return None

    async def archive(self, owner: Address, id_or_name: str) -> Sandbox:
        """As L{sandbox_billing.interfaces.IIntake.archive}."""
        shown = await self.at.owned(owner, id_or_name)
        before = await self.at.doors.session(shown.id)
        try:
            archived = await self.at.runtime.archive(shown.id)
        except UnknownOutcome:
            # Of what runs it is refused: then it is no wish that it ends.
            if not is_running(shown.state, shown.desired_state):
                await self._wished(owner, shown.id)
            raise
        except DaytonaRefused:
            await self.at.look_again(shown.id)
            raise
        # Only what has stopped is archived: by itself, if no sweep has seen it stop.
        if not await self.at.close(shown.id, None, destroyed=False, only=before):
            await self.at.doors.not_resumable(owner, shown.id)
        return archived

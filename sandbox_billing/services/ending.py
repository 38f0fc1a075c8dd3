"""Stop, delete and archive by the owner: stories of L{sandbox_billing.services.intake}."""

from __future__ import annotations

from attrs import frozen
from twisted.logger import Logger

from sandbox_billing.errors import NoAnswerInTime
from sandbox_billing.interfaces import DaytonaRefused, NoSuchSandbox, Sandbox, TooSlow
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.metering import NEVER_STARTED, is_running
from sandbox_billing.services.lifecycle import Lifecycle, is_deleted


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
        # What was shown running ran until our call, if that is accepted.  A delete is
        # accepted in any state: otherwise only what was seen is charged.
        running = is_running(shown.state, shown.desired_state)
        sent_at = at.wall.now() if running else None
        call = at.runtime.delete if delete else at.runtime.stop
        try:
            ended = await call(shown.id)
        except NoAnswerInTime as why:
            raise TooSlow("Daytona has not answered in time; look at your sandbox") from why
        except DaytonaRefused:
            await at.look_again(shown.id)
            raise
        if ended is None:
            await at.close(shown.id, None, destroyed=True)
            raise NoSuchSandbox()
        # A stop deletes what was to be deleted when it stops.
        destroyed = delete or is_deleted(ended)
        failed = shown.state in NEVER_STARTED
        await at.close(shown.id, sent_at, destroyed=destroyed, failed=failed)
        self._log.info(
            "{verb} {sandbox}",
            verb="deleted" if destroyed else "stopped",
            sandbox=shown.id,
            wallet=owner.hex,
        )
        return ended

    async def archive(self, owner: Address, id_or_name: str) -> Sandbox:
        """As L{sandbox_billing.interfaces.IIntake.archive}."""
        shown = await self.at.owned(owner, id_or_name)
        try:
            archived = await self.at.runtime.archive(shown.id)
        except DaytonaRefused:
            await self.at.look_again(shown.id)
            raise
        # Only what has stopped is archived: by itself, if no sweep has seen it stop.
        await self.at.close(shown.id, None, destroyed=False)
        return archived

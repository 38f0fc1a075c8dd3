"""
Sessions whose sandboxes are missing from Daytona's list: part of L{services.reconciler}.

Gone is only what a lookup says 404 to.  What it shows running is charged by that: a list that
leaves something out must not make it free.

Tests: C{tests.services.test_reconciler}.
"""

from __future__ import annotations

from attrs import define, field
from twisted.logger import Logger

from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import (
    IDoors,
    IMeter,
    IRuntime,
    IWallClock,
    LeaseLost,
    Sandbox,
    Stale,
    Stored,
)
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.metering import (
    LOOKUP_CACHE_SECONDS,
    NEVER_STARTED,
    Session,
    begin,
    counts,
    has_ended,
    is_running,
)
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.reconciliation import World
from sandbox_billing.services.closing import Closer
from sandbox_billing.services.lifecycle import is_deleted


VANISHED_LEAST = 5
VANISHED_SECONDS = 3600
"""
When nothing of what is metered is listed any more, and that is at least so many: then our key has
probably lost its access (404 too), or another Daytona answers.  It is believed an hour later.  A
list that still shows one of them is believed: the others were deleted past us.
"""

ASKED = 50
"""Lookups of a turn while a list is not believed: the longest not asked for come first."""

TOLD_FROM = 2
"""Shown running by so many lookups, and by no list: somebody is told."""


@define(kw_only=True, eq=False)
class Missing:
    """
    @ivar _since: When each was first found missing.
    @ivar _asked_at: When each was last asked for.
    @ivar _shown: How many lookups have shown it running since.
    @ivar _vanished_since: Since when all sessions are missing; None while they are not.
    """

    meter: IMeter
    doors: IDoors
    runtime: IRuntime
    closer: Closer
    wall: IWallClock
    _since: dict[SandboxId, UnixSeconds] = field(factory=dict, init=False)
    _asked_at: dict[SandboxId, UnixSeconds] = field(factory=dict, init=False)
    _shown: dict[SandboxId, int] = field(factory=dict, init=False)
    _vanished_since: UnixSeconds | None = field(default=None, init=False)
    _log = Logger()

    async def vanished(self, world: World) -> str | None:
        """@return: That all are missing at once, which is not believed; None when they are not."""
        gone = world.sessions.keys() - world.listed
        for kept in (self._since, self._asked_at, self._shown):
            for sandbox in kept.keys() - gone:
                del kept[sandbox]
        missing = 0
        if len(gone) >= VANISHED_LEAST and len(gone) == len(world.sessions):
            # Some may have been ended through us while the pages came.
            missing = sum(1 for one in await self.meter.sessions() if one.value.sandbox in gone)
        if missing < VANISHED_LEAST:
            self._vanished_since = None
            return None
        if self._vanished_since is None:
            self._vanished_since = world.now
            self._log.critical(
                "all {count} metered sandboxes are missing at once from Daytona's list",
                count=missing,
            )
        if world.now - self._vanished_since >= VANISHED_SECONDS:
            return None
        return (
            f"all {missing} metered sandboxes are missing at once from Daytona's list: has its"
            " key lost its access?  Nothing is closed for an hour"
        )

    def contradicted(self, world: World) -> str | None:
        """@return: That the list shows nothing of what is metered, and lookups show it running."""
        shown = [one for one, times in self._shown.items() if times >= TOLD_FROM]
        if not shown or world.sessions.keys() & world.listed:
            return None
        return (
            f"Daytona's list shows none of {len(world.sessions)} metered sandboxes, and a lookup"
            f" shows {len(shown)} of them running: something is wrong with that list"
        )

    async def ask_some(self, world: World) -> None:
        """Of those that nobody believes to be gone: what runs is charged, and nothing ended."""
        missing = world.sessions.keys() - world.listed
        longest = sorted(missing, key=lambda one: (self._asked_at.get(one, 0), one))
        for sandbox in longest[:ASKED]:
            try:
                await self.ask(sandbox, world.now, gone=False)
            except LeaseLost:
                raise
            except Stale:
                self._log.debug("{sandbox} moved meanwhile", sandbox=sandbox)
            except (Refused, UnknownOutcome, Transient, BadInput) as why:
                # Nor will it answer for the others.
                self._log.warn("cannot look at {sandbox}: {why}", sandbox=sandbox, why=str(why))
                return

    async def ask(self, sandbox: SandboxId, now: UnixSeconds, *, gone: bool = True) -> None:
        """
        Gone only when a lookup that is no echo says 404; charged when it shows it running.

        @param gone: Whether a 404 is believed.
        """
        self._asked_at[sandbox] = now
        since = self._since.setdefault(sandbox, now)
        if now - since < LOOKUP_CACHE_SECONDS:
            return
        stored = await self.doors.session(sandbox)
        if stored is None or not counts(stored.value, now, by_id=True):
            return
        sent_at = self.wall.now()
        shown = await self.runtime.get(sandbox)
        # A name may be spelt as the id of what is gone.
        if shown is None or shown.id != sandbox:
            if gone:
                await self.closer.not_running(sandbox, destroyed=True, only=stored.value)
        elif is_running(shown.state, shown.desired_state):
            await self._runs(stored, sent_at)
        elif has_ended(shown.state, shown.desired_state):
            await self._ended(stored.value, shown)

    async def _runs(self, stored: Stored[Session], sent_at: UnixSeconds) -> None:
        sandbox = stored.value.sandbox
        if stored.value.started_at is None:
            await self.meter.begin(stored, begin(stored.value, self.wall.after()))
            self._log.info("{sandbox} runs since {at}", sandbox=sandbox, at=self.wall.now())
        # It may come from a cache: so long ago it ran for certain.
        ran_at = UnixSeconds(sent_at - LOOKUP_CACHE_SECONDS)
        if ran_at > (await self.meter.seen_at(sandbox) or 0):
            await self.meter.seen({sandbox: ran_at})
        times = self._shown[sandbox] = self._shown.get(sandbox, 0) + 1
        if times == TOLD_FROM:
            self._log.error(
                "{sandbox} is missing from Daytona's list, and a lookup shows it running",
                sandbox=sandbox,
            )

    async def _ended(self, session: Session, shown: Sandbox) -> None:
        never = session.started_at is None and shown.state in NEVER_STARTED
        await self.closer.not_running(
            session.sandbox, destroyed=is_deleted(shown), forgive_create=never, only=session
        )

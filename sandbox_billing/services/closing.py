"""Ending sessions, by the worker: at what was seen, or at what Daytona accepted."""

from __future__ import annotations

from attrs import frozen
from twisted.logger import Logger

from sandbox_billing.interfaces import IDoors, IMeter, IWallClock, Stale
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.metering import Session, close, same_run
from sandbox_billing.ledger.money import UnixSeconds


TRIES = 5
"""A tick may move a session between the read and the write; nothing moves it five times."""


@frozen(kw_only=True)
class Closer:
    """Used by the stopper and the reconciler; the door's twin lives in intake."""

    meter: IMeter
    doors: IDoors
    wall: IWallClock
    _log = Logger()

    async def not_running(
        self,
        sandbox: SandboxId,
        *,
        destroyed: bool,
        forgive_create: bool = False,
        only: Session | None = None,
    ) -> None:
        """
        It was seen not running: charged up to the last observation that it did.

        @param only: The session the observation was of; a later one is left alone.
        """
        await self._close(
            sandbox, None, destroyed=destroyed, forgive_create=forgive_create, only=only
        )

    async def accepted(
        self,
        sandbox: SandboxId,
        sent_at: UnixSeconds,
        *,
        destroyed: bool,
        only: Session | None = None,
    ) -> None:
        """
        Daytona accepted our stop or delete.

        @param sent_at: When the accepted call was sent: until then it ran for certain.
        @param only: The session that was open then; a later one is left alone.
        """
        await self._close(sandbox, sent_at, destroyed=destroyed, forgive_create=False, only=only)

    async def undone(self, sandbox: SandboxId) -> None:
        """It is deleted as if it had never been: nothing more is charged, nor its creation."""
        await self._close(sandbox, UnixSeconds(0), destroyed=True, forgive_create=True, only=None)

    async def _close(
        self,
        sandbox: SandboxId,
        until: UnixSeconds | None,
        *,
        destroyed: bool,
        forgive_create: bool,
        only: Session | None,
    ) -> None:
        for _ in range(TRIES):
            session = await self.doors.session(sandbox)
            if session is None:
                if destroyed:
                    await self.doors.destroyed(sandbox)
                return
            if only is not None and not same_run(only, session.value):
                return
            seen_at = await self.meter.seen_at(sandbox)
            moment = until if until is not None else seen_at
            closing = close(
                session.value,
                until=session.value.charged_until if moment is None else moment,
                now=self.wall.now(),
            )
            try:
                await self.meter.close(
                    session, closing, destroyed=destroyed, forgive_create=forgive_create
                )
            except Stale:
                continue
            self._log.info(
                "closed the session of {sandbox} at {until}",
                sandbox=sandbox,
                until=closing.session.charged_until,
                wallet=session.value.owner.hex,
            )
            return
        raise Stale(f"the session of {sandbox} kept changing while it was closed")

"""What the stories of L{sandbox_billing.services.intake} have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import evolve, frozen
from twisted.logger import Logger

from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import (
    DaytonaRefused,
    IDoors,
    IIds,
    IRuntime,
    IWallClock,
    NoSuchSandbox,
    NotReady,
    NotYours,
    Sandbox,
    Stale,
    Stored,
)
from sandbox_billing.ledger.hold import Intent
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.metering import (
    NEVER_STARTED,
    Session,
    begin,
    close,
    counts,
    has_ended,
    is_running,
    same_run,
)
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.reconciliation import OWNER_LABEL, REFERENCE_LABEL, without_ours
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.ledger.statement import kept_labels
from sandbox_billing.ledger.token import Allowance
from sandbox_billing.ledger.voucher import Charge
from sandbox_billing.services.admission import Admission, Quote, create_charge
from sandbox_billing.services.policy import Policy


TRIES = 5

RUNS_AGAIN = frozenset({"start", "recover"})
"""The actions of intents under which runs what is there already."""


@frozen(kw_only=True)
class Lifecycle:
    """
    Doors, Daytona and admission, and what each request does with them.

    @ivar snapshots: All that Daytona lists, kept for a while.
    """

    doors: IDoors
    runtime: IRuntime
    admission: Admission
    ids: IIds
    wall: IWallClock
    policy: Policy
    snapshots: Callable[[], Awaitable[tuple[Mapping[str, Any], ...]]]
    _log = Logger()

    async def owned(self, owner: Address, id_or_name: str) -> Sandbox:
        """As L{sandbox_billing.interfaces.IIntake.owned}."""
        sent_at = self.wall.now()
        try:
            shown = await self.runtime.get(id_or_name)
        except DaytonaRefused as why:
            raise evolve(why, looked=True) from why
        if shown is None:
            raise NoSuchSandbox()
        record = await self.doors.record(shown.id)
        if record is not None:
            mine = record.owner == owner
        else:
            mine = shown.labels.get(OWNER_LABEL, "").lower() == owner.hex
        if mine:
            await self.begin(shown, sent_at, by_id=True)
            return shown
        if shown.id != id_or_name:
            # Names resolve among a wallet's own: a stranger's must not even be confirmed.
            raise NoSuchSandbox()
        raise NotYours("this sandbox belongs to another wallet")

    async def begin(self, shown: Sandbox, sent_at: UnixSeconds, *, by_id: bool) -> None:
        """
        Who is shown running by a look runs: while no sweep succeeds nobody else would see it
        begin, and what never began is stopped for nothing.

        @param by_id: As of C{counts}.
        """
        if not is_running(shown.state, shown.desired_state):
            return
        session = await self.doors.session(shown.id)
        if session is None or session.value.started_at is not None:
            return
        if not counts(session.value, sent_at, by_id=by_id):
            return
        try:
            await self.doors.begin_session(session, begin(session.value, self.wall.after()))
        except Stale:
            self._log.debug("{sandbox} was begun or closed meanwhile", sandbox=shown.id)

    def check_disk(self, resources: Resources) -> None:
        """@raise BadInput: It is larger than any that is offered."""
        if resources.disk_gib > self.policy.max_disk_gib:
            raise BadInput(
                f"a disk of {resources.disk_gib} GiB is not offered; the largest is"
                f" {self.policy.max_disk_gib}"
            )

    def intent(
        self,
        action: str,
        owner: Address,
        sandbox: SandboxId | None,
        quote: Quote,
        *,
        auto_stop_minutes: int | None = None,
        reference: Reference | None = None,
        allowance: Allowance | None = None,
    ) -> Intent:
        """
        What is about to be asked of Daytona, on the terms of a quote.

        @param reference: None for a new one.
        """
        return Intent(
            reference=self.ids.reference() if reference is None else reference,
            action=action,
            owner=owner,
            provider=self.policy.provider,
            sandbox=sandbox,
            hold=quote.hold,
            create_fee=quote.create_fee,
            rate=quote.rate,
            prices=quote.card.prices,
            signer_version=quote.card.signer_version,
            auto_stop_minutes=auto_stop_minutes,
            created_at=self.wall.now(),
            allowance=allowance,
        )

    async def open(self, intent: Intent, session: Session, fee: Charge | None) -> None:
        """
        End an intent by its session, unless the reconciler did so meanwhile.

        @raise NotReady: The intent is gone and nothing was ever metered under it.
        """
        try:
            await self.doors.open_session(intent, session, fee)
        except Stale as why:
            # A sweep may have opened it under this intent before Daytona's reply came, and
            # a stop may have closed it since: then all is metered that ran.
            if await self.doors.record(session.sandbox) is None:
                raise NotReady("the request was overtaken; look at your sandboxes") from why

    async def keep_labels(self, shown: Sandbox) -> None:
        """What it is labelled, for statements after its end; nothing else depends on it."""
        try:
            await self.doors.label(shown.id, kept_labels(without_ours(shown.labels)))
        except (Transient, UnknownOutcome) as why:
            self._log.info(
                "labels of {sandbox} are not kept: {why}", sandbox=shown.id, why=str(why)
            )

    async def open_unanswered(self, owner: Address, shown: Sandbox) -> bool:
        """
        Meter what was created and whose creator died before he could say so.

        The next sweep would; but its owner ends it now, or starts it under another intent,
        and with that goes the sweep's last chance to see it run under its own: neither its
        fee nor its seconds would ever be charged.

        @return: Whether a session was opened here, by what is shown.
        """
        label = shown.labels.get(REFERENCE_LABEL)
        if label is None or await self.doors.session(shown.id) is not None:
            return False
        intent = await self.doors.intent(Reference(label))
        if intent is None or intent.action != "create" or intent.owner != owner:
            return False
        try:
            session = self.admission.session_for(intent, shown.id, shown.resources)
        except Refused:
            # It has no price, and must not run: ending it is right, and starting it refused.
            return False
        now = self.wall.now()
        if is_running(shown.state, shown.desired_state):
            session = begin(session, self.wall.after())
        await self.open(intent, session, create_charge(intent, shown.id, now))
        return True

    async def open_started(self, owner: Address, shown: Sandbox) -> None:
        """
        Meter what runs under a start whose reply is still awaited, before its owner ends it:
        that reply would meter what runs no longer.
        """
        if not is_running(shown.state, shown.desired_state):
            return
        if await self.doors.session(shown.id) is not None:
            return
        for intent in await self.doors.intents_of(shown.id):
            if intent.action not in RUNS_AGAIN or intent.owner != owner:
                continue
            try:
                session = self.admission.session_for(intent, shown.id, shown.resources)
            except Refused:
                return
            fee = create_charge(intent, shown.id, self.wall.now())
            await self.open(intent, begin(session, self.wall.after()), fee)
            return

    async def close(
        self,
        sandbox: SandboxId,
        until: int | None,
        *,
        destroyed: bool,
        forgive_create: bool = False,
        failed: bool = False,
        only: Stored[Session] | None = None,
    ) -> bool:
        """
        End the session, if one is open.

        @param until: The accepted call's time; None for the last observation.
        @param failed: It is shown in a state that nothing starts from: then creating it is free
            if it was never seen running.
        @param only: The one that was open before Daytona was asked: by the time of a late answer
            the next run may be; None for whichever is open.
        @return: Whether it was ended here.
        """
        for _ in range(TRIES):
            session = await self.doors.session(sandbox)
            if session is None:
                if destroyed:
                    await self.doors.destroyed(sandbox)
                return False
            if only is not None and not same_run(only.value, session.value):
                return False
            moment = until
            if moment is None:
                moment = await self.doors.seen_at(sandbox) or session.value.charged_until
            closing = close(session.value, until=moment, now=self.wall.now())
            forgiven = forgive_create or (failed and session.value.started_at is None)
            try:
                await self.doors.close_session(
                    session, closing, destroyed=destroyed, forgive_create=forgiven
                )
            except Stale:
                continue
            return True
        raise NotReady("the meter of this sandbox is busy; ask again")

    async def look_again(self, sandbox: SandboxId) -> Sandbox | None:
        """
        After a refusal the state decides, never the code (daytona.md, section 5): a session of
        what has ended is closed at the last observation; everything else is left to the sweep.

        @return: What is shown now; None when there is nothing, or nobody can tell.
        """
        sent_at = self.wall.now()
        try:
            shown = await self.runtime.get(sandbox)
        except (Refused, Transient) as why:
            self._log.info("cannot look at {sandbox} again: {why}", sandbox=sandbox, why=str(why))
            return None
        session = await self.doors.session(sandbox)
        if session is None or not counts(session.value, sent_at, by_id=True):
            return shown
        if shown is None:
            await self.close(sandbox, None, destroyed=True)
        elif has_ended(shown.state, shown.desired_state):
            await self.close(
                sandbox, None, destroyed=is_deleted(shown), failed=shown.state in NEVER_STARTED
            )
        return shown


def is_deleted(shown: Sandbox) -> bool:
    """Its deletion was accepted, or done: also by a stop, where C{autoDeleteInterval} is 0."""
    return shown.desired_state == "destroyed" or shown.state in ("destroying", "destroyed")

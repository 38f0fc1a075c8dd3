"""
What users ask for: the intent is stored before Daytona is called, and the work
goes on when the client hangs up (B1, P10).

After the intent stands, every ending is one of: metered, undone, or left to the
reconciler under the intent, because nobody knows yet what Daytona did.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from attrs import evolve, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from sandbox_billing.errors import BadInput, NoAnswerInTime, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import (
    DaytonaRefused,
    IDoors,
    IIds,
    IIntake,
    IRuntime,
    IWallClock,
    NoSuchSandbox,
    NotReady,
    NotYours,
    Sandbox,
    Stale,
    StopPending,
    TooSlow,
)
from sandbox_billing.ledger.hold import Intent
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.metering import Session, begin, close, counts, has_ended, is_running
from sandbox_billing.ledger.reconciliation import (
    IDLE_LABEL,
    OWNER_LABEL,
    REFERENCE_LABEL,
    RESERVED_LABELS,
    interval_at_daytona,
    wished_minutes,
)
from sandbox_billing.ledger.resources import Resources, read_resources
from sandbox_billing.ledger.voucher import Charge
from sandbox_billing.services._supervise import Supervisor
from sandbox_billing.services.admission import Admission, Quote, create_charge
from sandbox_billing.services.policy import Policy


T = TypeVar("T")

TRIES = 5
RECONCILE_WAIT_SECONDS = 10


@implementer(IIntake)
@frozen(kw_only=True)
class Intake:
    """
    @ivar supervisor: Keeps the work when its client has gone.
    @ivar clock: Delays while waiting for the worker.
    """

    doors: IDoors
    runtime: IRuntime
    admission: Admission
    ids: IIds
    supervisor: Supervisor
    clock: IReactorTime
    wall: IWallClock
    policy: Policy
    _log = Logger()

    # -- ownership ------------------------------------------------------------------

    async def owned(self, owner: Address, id_or_name: str) -> Sandbox:
        shown = await self.runtime.get(id_or_name)
        if shown is None:
            raise NoSuchSandbox(f"there is no sandbox {id_or_name}")
        record = await self.doors.record(shown.id)
        if record is not None:
            mine = record.owner == owner
        else:
            mine = shown.labels.get(OWNER_LABEL, "").lower() == owner.hex
        if mine:
            return shown
        if shown.id != id_or_name:
            # Names resolve among a wallet's own: a stranger's must not even be confirmed.
            raise NoSuchSandbox(f"there is no sandbox {id_or_name}")
        raise NotYours("this sandbox belongs to another wallet")

    # -- lifecycle ------------------------------------------------------------------

    async def create(
        self,
        owner: Address,
        body: Mapping[str, Any],
        *,
        auto_stop_minutes: int | None,
        reference: Reference | None = None,
    ) -> Sandbox:
        work = self._create(owner, dict(body), auto_stop_minutes, reference)
        return await self._kept("create", work)

    async def start(
        self, owner: Address, id_or_name: str, *, reference: Reference | None = None
    ) -> Sandbox:
        return await self._kept("start", self._start(owner, id_or_name, reference))

    async def stop(self, owner: Address, id_or_name: str) -> Sandbox:
        return await self._kept("stop", self._end(owner, id_or_name, delete=False))

    async def delete(self, owner: Address, id_or_name: str) -> Sandbox:
        return await self._kept("delete", self._end(owner, id_or_name, delete=True))

    async def archive(self, owner: Address, id_or_name: str) -> Sandbox:
        return await self._kept("archive", self._archive(owner, id_or_name))

    async def replace_labels(
        self, owner: Address, id_or_name: str, labels: Mapping[str, str]
    ) -> Sandbox:
        return await self._kept("labels", self._labels(owner, id_or_name, dict(labels)))

    async def reconcile(self, owner: Address, id_or_name: str) -> None:
        shown = await self.owned(owner, id_or_name)
        await self.doors.request_reconcile(shown.id)
        for _ in range(RECONCILE_WAIT_SECONDS * 10):
            if not await self.doors.reconcile_requested(shown.id):
                return
            await deferLater(self.clock, 0.1)
        raise NotReady("the worker has not looked at this sandbox yet; ask again")

    async def _kept(self, name: str, work: Coroutine[Any, Any, T]) -> T:
        return await self.supervisor.detached(name, work)

    async def _create(
        self,
        owner: Address,
        body: dict[str, Any],
        auto_stop_minutes: int | None,
        reference: Reference | None,
    ) -> Sandbox:
        wanted = await self._wanted(body)
        self._check_disk(wanted)
        quote = await self.admission.quote(owner, wanted, creating=True)
        intent = self._intent("create", owner, None, quote, auto_stop_minutes or None, reference)
        await self.admission.reserve(intent, quote)
        labels = {**body.get("labels", {})}
        labels[OWNER_LABEL], labels[REFERENCE_LABEL] = owner.hex, intent.reference
        wish = auto_stop_minutes or None
        if wish is not None:
            labels[IDLE_LABEL] = str(wish)
        asked = {
            **body,
            "labels": labels,
            "autoStopInterval": interval_at_daytona(wish, self.policy.deadman_minutes),
        }
        try:
            made = await self.runtime.create(asked)
        except DaytonaRefused as why:
            await self._undo_failed_create(intent, why)
            raise
        except NoAnswerInTime as why:
            # The intent stands: the reconciler finds the row by its reference, or nothing.
            raise TooSlow("Daytona has not answered in time; look at your sandboxes") from why
        except Transient:
            await self.doors.release(intent)
            raise
        return await self._open_created(intent, made)

    async def _open_created(self, intent: Intent, made: Sandbox) -> Sandbox:
        """Meter what was created; or delete it when more was allotted than fits."""
        try:
            self._check_disk(made.resources)
            more = await self.admission.grow(intent, made.resources)
        except (Refused, BadInput, NotReady):
            await self._undo(intent, made.id)
            raise
        session = self.admission.session_for(intent, made.id, made.resources)
        fee = create_charge(intent, made.id, self.wall.now())
        await self._open(intent, session, fee)
        if more is not None:
            await self.doors.release(more)
        self._log.info(
            "created {sandbox} at {rate} neuron a minute",
            sandbox=made.id,
            rate=str(session.rate),
            wallet=intent.owner.hex,
        )
        return made

    async def _open(self, intent: Intent, session: Session, fee: Charge | None) -> None:
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

    async def _undo(self, intent: Intent, sandbox: SandboxId) -> None:
        """
        Delete what must not run; nothing is charged for it.

        Daytona deletes nothing that is in transition, and creating may take minutes: the
        order is stored first, and the reconciler carries it out when Daytona refuses now.
        What a sweep may have metered meanwhile is forgiven before the delete, which may be
        the last that anybody hears of the sandbox.
        """
        await self.doors.undo(intent, sandbox)
        await self._close(sandbox, 0, destroyed=True, forgive_create=True)
        try:
            await self.runtime.delete(sandbox)
        except (Refused, Transient, UnknownOutcome) as why:
            self._log.info("{sandbox} is not deleted yet: {why}", sandbox=sandbox, why=str(why))
            return
        await self.doors.release(evolve(intent, sandbox=sandbox))

    async def _undo_failed_create(self, intent: Intent, why: DaytonaRefused) -> None:
        """A 400 may leave a row behind; unowned leftovers plus recover are free compute."""
        if why.status == 400:
            for page in await self.runtime.sweep():
                for row in page.sandboxes:
                    if row.labels.get(REFERENCE_LABEL) == intent.reference:
                        await self.runtime.delete(row.id)
        await self.doors.release(intent)

    async def _start(self, owner: Address, id_or_name: str, reference: Reference | None) -> Sandbox:
        sent_at = self.wall.now()
        shown = await self.owned(owner, id_or_name)
        reason = await self.doors.stop_reason(shown.id)
        if reason is not None:
            raise StopPending("stop pending", reason)
        session = await self.doors.session(shown.id)
        if is_running(shown.state, shown.desired_state):
            # An observation only: nothing is forwarded, and what runs unmetered is
            # adopted by the reconciler on its own terms (B21).
            return shown
        if session is not None:
            ended = has_ended(shown.state, shown.desired_state)
            if not ended or not counts(session.value, sent_at, by_id=True):
                raise StopPending("in progress: ask again when the last call has ended")
            # It stopped by itself and no sweep has seen that yet: end that run first.
            await self._close(shown.id, None, destroyed=False)
        self._check_disk(shown.resources)
        quote = await self.admission.quote(owner, shown.resources, creating=False)
        wish = wished_minutes(shown.labels)
        intent = self._intent("start", owner, shown.id, quote, wish, reference)
        await self.admission.reserve(intent, quote)
        try:
            started = await self.runtime.start(shown.id)
        except NoAnswerInTime as why:
            raise TooSlow("Daytona has not answered in time; look at your sandbox") from why
        except (DaytonaRefused, Transient):
            await self.doors.release(intent)
            raise
        session_now = self.admission.session_for(intent, shown.id, shown.resources)
        if is_running(started.state, started.desired_state):
            # Seen running by this very answer: otherwise a start and stop between two
            # sweeps would be free, again and again.
            session_now = begin(session_now, self.wall.now())
        await self._open(intent, session_now, None)
        self._log.info("started {sandbox}", sandbox=shown.id, wallet=owner.hex)
        return started

    async def _end(self, owner: Address, id_or_name: str, *, delete: bool) -> Sandbox:
        shown = await self.owned(owner, id_or_name)
        await self._open_unanswered(owner, shown)
        # What was shown running ran until our call, if that is accepted.  A delete is
        # accepted in any state: otherwise only what was seen is charged.
        running = is_running(shown.state, shown.desired_state)
        sent_at = self.wall.now() if running else None
        call = self.runtime.delete if delete else self.runtime.stop
        try:
            ended = await call(shown.id)
        except NoAnswerInTime as why:
            raise TooSlow("Daytona has not answered in time; look at your sandbox") from why
        if ended is None:
            await self._close(shown.id, None, destroyed=True)
            raise NoSuchSandbox(f"there is no sandbox {id_or_name}")
        await self._close(shown.id, sent_at, destroyed=delete)
        self._log.info(
            "{verb} {sandbox}",
            verb="deleted" if delete else "stopped",
            sandbox=shown.id,
            wallet=owner.hex,
        )
        return ended

    async def _open_unanswered(self, owner: Address, shown: Sandbox) -> None:
        """
        Meter what was created and whose creator died before he could say so.

        The next sweep would; but its owner ends it now, and with it the sweep's last
        chance to see it run: neither its fee nor its seconds would ever be charged.
        """
        label = shown.labels.get(REFERENCE_LABEL)
        if label is None or await self.doors.session(shown.id) is not None:
            return
        intent = await self.doors.intent(Reference(label))
        if intent is None or intent.action != "create" or intent.owner != owner:
            return
        try:
            session = self.admission.session_for(intent, shown.id, shown.resources)
        except Refused:
            # It has no price, and must not run: ending it is right.
            return
        if is_running(shown.state, shown.desired_state):
            session = begin(session, self.wall.now())
        await self._open(intent, session, create_charge(intent, shown.id, self.wall.now()))

    async def _archive(self, owner: Address, id_or_name: str) -> Sandbox:
        shown = await self.owned(owner, id_or_name)
        return await self.runtime.archive(shown.id)

    async def _labels(self, owner: Address, id_or_name: str, labels: dict[str, str]) -> Sandbox:
        shown = await self.owned(owner, id_or_name)
        ours = {name: shown.labels[name] for name in RESERVED_LABELS if name in shown.labels}
        return await self.runtime.replace_labels(
            shown.id, {**labels, **ours, OWNER_LABEL: owner.hex}
        )

    # -- parts ------------------------------------------------------------------------

    async def _close(
        self,
        sandbox: SandboxId,
        until: int | None,
        *,
        destroyed: bool,
        forgive_create: bool = False,
    ) -> None:
        """
        End the session, if one is open.

        @param until: The accepted call's time; None for the last observation.
        """
        for _ in range(TRIES):
            session = await self.doors.session(sandbox)
            if session is None:
                if destroyed:
                    await self.doors.destroyed(sandbox)
                return
            moment = until
            if moment is None:
                moment = await self.doors.seen_at(sandbox) or session.value.charged_until
            closing = close(session.value, until=moment, now=self.wall.now())
            try:
                await self.doors.close_session(
                    session, closing, destroyed=destroyed, forgive_create=forgive_create
                )
            except Stale:
                continue
            return
        raise NotReady("the meter of this sandbox is busy; ask again")

    async def _wanted(self, body: Mapping[str, Any]) -> Resources:
        """What a create will probably be allotted: the snapshot's, else the body's (§4.1)."""
        name = body.get("snapshot")
        if isinstance(name, str) and name:
            snapshot = await self.runtime.snapshot(name)
            if snapshot is None or snapshot.get("general") is not True:
                # What is not listed at /api/snapshots is another's, or an operator's.
                raise DaytonaRefused(f"there is no snapshot {name}", 404)
            return read_resources(snapshot)
        return read_resources(body)

    def _check_disk(self, resources: Resources) -> None:
        if resources.disk_gib > self.policy.max_disk_gib:
            raise BadInput(
                f"a disk of {resources.disk_gib} GiB is not offered; the largest is"
                f" {self.policy.max_disk_gib}"
            )

    def _intent(
        self,
        action: str,
        owner: Address,
        sandbox: SandboxId | None,
        quote: Quote,
        auto_stop_minutes: int | None,
        reference: Reference | None = None,
    ) -> Intent:
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
        )

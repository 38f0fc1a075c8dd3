"""A create, from the intent to the meter: a story of L{sandbox_billing.services.intake}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve, frozen
from twisted.logger import Logger

from sandbox_billing.errors import BadInput, NoAnswerInTime, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import DaytonaRefused, NoSuchSnapshot, NotReady, Sandbox, TooSlow
from sandbox_billing.ledger.hold import Intent
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.metering import begin, is_running
from sandbox_billing.ledger.reconciliation import (
    IDLE_LABEL,
    OWNER_LABEL,
    REFERENCE_LABEL,
    interval_at_daytona,
    without_ours,
)
from sandbox_billing.ledger.resources import DAYTONA_DEFAULT, Resources, read_resources
from sandbox_billing.ledger.token import Allowance
from sandbox_billing.services.admission import create_charge
from sandbox_billing.services.lifecycle import Lifecycle


@frozen
class Creating:
    """Ends as metered, undone, or left to the reconciler under its intent (B1, P10)."""

    at: Lifecycle
    _log = Logger()

    async def create(
        self,
        owner: Address,
        body: Mapping[str, Any],
        wish: int | None,
        reference: Reference | None,
        allowance: Allowance | None,
    ) -> Sandbox:
        """@param wish: Minutes until an idle one stops; None for never."""
        at = self.at
        wanted = await self._wanted(owner, body)
        at.check_disk(wanted)
        quote = await at.admission.quote(owner, wanted, creating=True)
        intent = at.intent(
            "create",
            owner,
            None,
            quote,
            auto_stop_minutes=wish,
            reference=reference,
            allowance=allowance,
        )
        await at.admission.reserve(intent, quote)
        labels = without_ours(body.get("labels", {}))
        labels[OWNER_LABEL], labels[REFERENCE_LABEL] = owner.hex, intent.reference
        if wish is not None:
            labels[IDLE_LABEL] = str(wish)
        asked = {
            **body,
            "labels": labels,
            "autoStopInterval": interval_at_daytona(wish, at.policy.deadman_minutes),
        }
        try:
            made = await at.runtime.create(asked)
        except DaytonaRefused as why:
            await self._clean_up(intent, why)
            raise
        except NoAnswerInTime as why:
            # The intent stands: the reconciler finds the row by its reference, or nothing.
            raise TooSlow("Daytona has not answered in time; look at your sandboxes") from why
        except Transient:
            await at.doors.release(intent)
            raise
        return await self._meter(intent, made)

    async def _wanted(self, owner: Address, body: Mapping[str, Any]) -> Resources:
        """
        What a create will probably be allotted: the snapshot's, else the body's (§4.1).

        @raise CannotPay: Not even the smallest; Daytona is asked nothing for such a wallet.
        @raise NoSuchSnapshot: It is none that anybody may start from.
        """
        name = body.get("snapshot")
        if not (isinstance(name, str) and name):
            return read_resources(body)
        admission = self.at.admission
        least = await admission.quote(owner, DAYTONA_DEFAULT, creating=True)
        why = await admission.why_not(owner, least)
        if why is not None:
            raise why
        # Looked up among what is listed: as a step of a path the name could mean any route.
        listed = await self.at.snapshots()
        found = [one for one in listed if name in (one.get("id"), one.get("name"))]
        if not found or any(one.get("general") is not True for one in found):
            # What is not at /api/snapshots is another's, or an operator's.
            raise NoSuchSnapshot(f"there is no snapshot {name}")
        return read_resources(found[0])

    async def _meter(self, intent: Intent, made: Sandbox) -> Sandbox:
        """Meter what was created; or delete it when more was allotted than fits."""
        at = self.at
        try:
            at.check_disk(made.resources)
            more = await at.admission.grow(intent, made.resources)
        except (Refused, BadInput, NotReady):
            await self._undo(intent, made.id)
            raise
        session = at.admission.session_for(intent, made.id, made.resources)
        now = at.wall.now()
        if is_running(made.state, made.desired_state):
            # From the warm pool: it runs by this very answer.
            session = begin(session, at.wall.after())
        try:
            await at.open(intent, session, create_charge(intent, made.id, now))
        except NotReady:
            # We stood still for minutes and were given up; whoever asked has perhaps another
            # one since (A5), and is told of no sandbox here.
            await self._undo(intent, made.id)
            raise
        await at.keep_labels(made)
        if more is not None:
            await at.doors.release(more)
        self._log.info(
            "created {sandbox} at {rate} neuron a minute",
            sandbox=made.id,
            rate=str(session.rate),
            wallet=intent.owner.hex,
        )
        return made

    async def _undo(self, intent: Intent, sandbox: SandboxId) -> None:
        """
        Delete what must not run; nothing is charged for it.

        Daytona deletes nothing that is in transition, and creating may take minutes: the
        order is stored first, and the reconciler carries it out when Daytona refuses now.
        What a sweep may have metered meanwhile is forgiven before the delete, which may be
        the last that anybody hears of the sandbox.
        """
        at = self.at
        await at.doors.undo(intent, sandbox)
        await at.close(sandbox, 0, destroyed=True, forgive_create=True)
        try:
            await at.runtime.delete(sandbox)
        except (Refused, Transient, UnknownOutcome) as why:
            self._log.info("{sandbox} is not deleted yet: {why}", sandbox=sandbox, why=str(why))
            return
        await at.doors.release(evolve(intent, sandbox=sandbox))

    async def _clean_up(self, intent: Intent, why: DaytonaRefused) -> None:
        """A refusal may leave a row behind; unowned leftovers plus recover are free compute."""
        if why.status in (400, 409):
            try:
                rows = await self.at.runtime.labelled(REFERENCE_LABEL, intent.reference)
            except (Refused, Transient) as unseen:
                # The intent stands, by which the reconciler finds the row, or that there is none.
                self._log.warn(
                    "cannot see what {reference} left behind: {why}",
                    reference=intent.reference,
                    why=str(unseen),
                )
                return
            for row in rows:
                await self._undo(intent, row.id)
            if rows:
                return
        await self.at.doors.release(intent)

"""
A resize by the owner: a story of L{sandbox_billing.services.intake}.

Money for the bigger size is set aside first.  The sweep that sees the new size ends
the period at the old rate and goes on at the new one (C{services.refitting}).
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, frozen
from twisted.logger import Logger

from sandbox_billing.errors import NoAnswerInTime, Refused, Transient
from sandbox_billing.interfaces import DaytonaRefused, Sandbox, StopPending, TooSlow
from sandbox_billing.ledger.hold import RESIZE, Intent
from sandbox_billing.ledger.identity import Address, Reference
from sandbox_billing.ledger.metering import LOOKUP_CACHE_SECONDS, is_running
from sandbox_billing.ledger.money import neuron
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.ledger.token import Allowance
from sandbox_billing.services.lifecycle import Lifecycle


NOT_ITS_OWN = "a token with a spend limit resizes only what runs by it"


@frozen
class Resizing:
    """Only where C{ALLOW_RESIZE} says so."""

    at: Lifecycle
    _log = Logger()

    async def resize(
        self,
        owner: Address,
        id_or_name: str,
        sizes: Mapping[str, int],
        allowance: Allowance | None,
    ) -> Sandbox:
        """As L{sandbox_billing.interfaces.IIntake.resize}."""
        at = self.at
        if not at.policy.allow_resize:
            raise Refused("this provider does not offer to resize a sandbox")
        shown = await at.owned(owner, id_or_name)
        reason = await at.doors.stop_reason(shown.id)
        if reason is not None:
            raise StopPending("stop pending", reason)
        wanted = _resized(shown.resources, sizes)
        at.check_disk(wanted)
        intent = await self._set_aside(owner, shown, wanted, allowance)
        try:
            answered = await at.runtime.resize(shown.id, sizes)
        except NoAnswerInTime as why:
            raise TooSlow("Daytona has not answered in time; look at your sandbox") from why
        except (DaytonaRefused, Transient):
            if intent is not None:
                await at.doors.release(intent)
            raise
        self._log.info("resized {sandbox}", sandbox=shown.id, wallet=owner.hex)
        return answered

    async def _set_aside(
        self, owner: Address, shown: Sandbox, wanted: Resources, allowance: Allowance | None
    ) -> Intent | None:
        """
        What the wanted size takes beyond the session's hold; whatever does not run takes nothing.

        @param allowance: Of who asks; what is set aside counts for the run's own token.
        @raise CannotPay: It does not fit.
        @raise SpendLimitReached: Likewise.
        @raise Refused: A token with a limit asks, and the run is not one of its own.
        @raise StopPending: The sandbox is not metered yet, or its price is changing.
        """
        at = self.at
        quote = await at.admission.quote(owner, wanted, creating=False)
        session = await at.doors.session(shown.id)
        own = None if session is None else session.value.allowance
        if allowance is not None and own != allowance:
            # Its wallet would pay for the rest of that run beyond the token's limit.
            raise Refused(NOT_ITS_OWN)
        if session is None:
            if is_running(shown.state, shown.desired_state):
                raise StopPending(
                    "in progress: ask again when the last call has ended",
                    retry_after=LOOKUP_CACHE_SECONDS,
                )
            return None
        if session.value.signer_version != quote.card.signer_version:
            raise StopPending("in progress: the price is changing", retry_after=60)
        rest = neuron(max(0, quote.hold - session.value.hold))
        if rest == 0:
            return None
        quote = evolve(quote, hold=rest)
        # Part of a sandbox that is counted already, like the rest of a grown hold.
        reference = Reference(f"{at.ids.reference()}-more")
        intent = at.intent(
            RESIZE,
            owner,
            shown.id,
            quote,
            auto_stop_minutes=session.value.auto_stop_minutes,
            reference=reference,
            allowance=own,
        )
        await at.admission.reserve(intent, quote)
        return intent


def _resized(now: Resources, sizes: Mapping[str, int]) -> Resources:
    return evolve(
        now,
        cpu=sizes.get("cpu", now.cpu),
        memory_gib=sizes.get("memory", now.memory_gib),
        disk_gib=sizes.get("disk", now.disk_gib),
    )

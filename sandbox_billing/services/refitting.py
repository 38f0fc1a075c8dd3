"""
A sandbox in another size than it is metered in: part of the reconciler.

What Daytona really allotted decides, whether its owner resized it through us or
somebody did behind our back: the run is charged up to this observation at the old
rate and goes on from there at the new one (P6, P9).
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen
from twisted.logger import Logger

from sandbox_billing.errors import Refused
from sandbox_billing.interfaces import IDoors, IMeter, IStopOrders, IWallClock
from sandbox_billing.ledger.effects import Refit
from sandbox_billing.ledger.hold import RESIZE, Intent
from sandbox_billing.ledger.metering import Session, resized, same_run, tick_now
from sandbox_billing.services.admission import Admission


@frozen(kw_only=True)
class Refitter:
    """
    @ivar stops: For what has no price in its new size.
    """

    meter: IMeter
    doors: IDoors
    stops: IStopOrders
    admission: Admission
    wall: IWallClock
    _log = Logger()

    async def refit(self, change: Refit, metered: Session, intents: Iterable[Intent]) -> None:
        """
        Split a run where it was seen in another size.

        @param metered: The session that the observation was of; a later one is left alone.
        @param intents: Those that stand; what set aside money for this is done.
        @raise Refused: The new size has no price; a stop order is written.
        @raise Stale: The session has changed meanwhile.
        """
        sandbox = change.sandbox
        stored = await self.doors.session(sandbox)
        if stored is None or stored.value.started_at is None:
            return
        if not same_run(stored.value, metered) or stored.value.resources == change.resources:
            return
        session = stored.value
        try:
            quote = await self.admission.quote(session.owner, change.resources, creating=False)
        except Refused:
            await self.stops.order(sandbox, "unpriced", self.wall.now())
            raise
        if quote.card.signer_version != session.signer_version:
            # On a card that its wallet has not acknowledged nothing is rated; it is moved to
            # that one, or stopped, by the treasurer, and the next sweep comes here again.
            return
        seen_at = await self.meter.seen_at(sandbox)
        step = tick_now(session, seen_at=seen_at, now=self.wall.now())
        if step is not None:
            stored = await self.meter.charge(stored, step)
        after = resized(stored.value, change.resources, quote.rate, quote.hold)
        await self.meter.begin(stored, after)
        for intent in intents:
            if intent.action == RESIZE and intent.sandbox == sandbox:
                await self.doors.release(intent)
        self._log.info(
            "{sandbox} costs {rate} neuron a minute from {at} in its new size",
            sandbox=sandbox,
            rate=str(after.rate),
            at=after.charged_until,
            wallet=session.owner.hex,
        )

"""
A price change, for what runs: part of the treasurer.

Seconds are rated on the card the wallet had acknowledged when they ran.  Once a
new acknowledgement is seen, the session is charged up to the last observation at
its old rate and goes on from there at the new one (design.md §4.8, K21).
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen
from twisted.logger import Logger

from sandbox_billing.errors import BrokenLaw, Refused
from sandbox_billing.interfaces import IDoors, IMeter, IWallClock, Stored
from sandbox_billing.ledger.account import Mirror
from sandbox_billing.ledger.hold import hold_for
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.metering import Session, rerated, tick_now
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.rating import RateCard, card_in_force, rate_of
from sandbox_billing.services.policy import Policy


@frozen(kw_only=True)
class Repricer:
    """Of one wallet at a time, and only while it acknowledges the newest version."""

    meter: IMeter
    doors: IDoors
    wall: IWallClock
    policy: Policy
    _log = Logger()

    async def reprice(self, sandboxes: Iterable[SandboxId], mirror: Mirror) -> bool:
        """
        Bring sessions to the card in force.

        @return: Whether any was on an older one.
        @raise Stale: One moved meanwhile; the others are done or will be asked for again.
        """
        service = mirror.service
        if service is None or mirror.version_changed_at is None:
            return False
        card = card_in_force(service.prices, self.policy.prices, service.signer_version)
        moved = False
        for sandbox in sandboxes:
            stored = await self.doors.session(sandbox)
            # What has not run yet is brought over when it has begun.
            if stored is None or stored.value.started_at is None:
                continue
            if stored.value.signer_version < card.signer_version:
                try:
                    await self._split(stored, card)
                except BrokenLaw as why:
                    # The wallet must still be judged: this one keeps its old price.
                    self._log.critical(
                        "{sandbox} cannot be repriced: {why}", sandbox=sandbox, why=str(why)
                    )
                    continue
                moved = True
        return moved

    async def _split(self, stored: Stored[Session], card: RateCard) -> None:
        session = stored.value
        try:
            rate = rate_of(card, session.resources)
        except Refused as why:
            self._log.error(
                "{sandbox} keeps its old price: {why}", sandbox=session.sandbox, why=str(why)
            )
            rate = session.rate
        seen_at = await self.meter.seen_at(session.sandbox)
        step = tick_now(session, seen_at=seen_at, now=self.wall.now())
        if step is not None:
            stored = await self.meter.charge(stored, step)
        hold = hold_for(
            rate,
            Neuron(0),
            interval=self.policy.voucher_interval,
            stop_delay=self.policy.stop_delay,
        )
        after = rerated(stored.value, rate, hold, card.signer_version)
        await self.meter.begin(stored, after)
        self._log.info(
            "{sandbox} costs {rate} neuron a minute from {at}",
            sandbox=session.sandbox,
            rate=str(rate),
            at=after.charged_until,
            wallet=session.owner.hex,
        )

"""
A price change, for what runs: part of the treasurer.

Seconds are rated on the card the wallet had acknowledged when they ran.  Once a
new acknowledgement is seen, the session is charged up to the last observation at
its old rate and goes on from there at the new one (design.md §4.8, K21).

The environment's prices nobody acknowledges: they count while the chain has none, from the
moment they were read (L{Tariff}).  What ran before that moment is at the old price, to the
second: a run is split there once an observation after it shows that it ran until then.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field
from twisted.logger import Logger

from sandbox_billing.errors import BrokenLaw, Refused
from sandbox_billing.interfaces import IDoors, IMeter, IWallClock, Stale, Stored
from sandbox_billing.ledger.account import Mirror
from sandbox_billing.ledger.hold import hold_for
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.metering import Session, rerated, tick_now
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.rating import RateCard, card_in_force, rate_of
from sandbox_billing.services.policy import Policy


AGAIN_SECONDS = 60
"""Between two looks for what was begun at the environment's prices of before."""

SOON_SECONDS = 5
"""And while some of it was not seen yet since they changed: all that runs is read each time."""


@define(kw_only=True, eq=False)
class Repricer:
    """
    Of one wallet at a time, and only while it acknowledges the newest version; of everybody
    where the prices are the environment's.
    """

    meter: IMeter
    doors: IDoors
    wall: IWallClock
    policy: Policy
    _begun_at: UnixSeconds | None = field(default=None, init=False)
    _seen: UnixSeconds | None = field(default=None, init=False)
    _again_at: int = field(default=0, init=False)
    _kept: set[tuple[SandboxId, NeuronPerMinute]] = field(factory=set, init=False)
    _log = Logger()

    async def catch_up(self, mirror: Mirror) -> None:
        """
        Bring what runs to the environment's prices, where they count.

        Whoever was the worker before us may have had others: they were in force until we took
        over.
        """
        since, now = self.policy.tariff.since, self.wall.now()
        if since is None or mirror.service is None or mirror.service.prices.by_size:
            return
        if self._begun_at is None:
            self._begun_at = now
        since = UnixSeconds(max(since, self._begun_at))
        if since == self._seen and now < self._again_at:
            return
        card = card_in_force(
            mirror.service.prices, self.policy.prices, mirror.service.signer_version
        )
        left = False
        for stored in await self.meter.sessions():
            session = stored.value
            # What its wallet has not acknowledged is for the treasurer, wallet by wallet.
            if session.signer_version == card.signer_version:
                left |= not await self._bring(stored, card, since)
        self._seen = since
        self._again_at = now + (SOON_SECONDS if left else AGAIN_SECONDS)

    async def _bring(self, stored: Stored[Session], card: RateCard, since: UnixSeconds) -> bool:
        """@return: False while it has to be looked at again soon."""
        session = stored.value
        try:
            rate = rate_of(card, session.resources)
            if rate == session.rate:
                return True
            if session.started_at is None:
                return False
            seen_at = await self.meter.seen_at(session.sandbox)
            if seen_at is None or seen_at < since:
                return False
            await self._split_at(stored, rate, card, seen_at=since)
        except Stale:
            return False
        except (Refused, BrokenLaw) as why:
            if (session.sandbox, session.rate) not in self._kept:
                self._kept.add((session.sandbox, session.rate))
                self._log.error(
                    "{sandbox} keeps its old price: {why}", sandbox=session.sandbox, why=str(why)
                )
        return True

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
        await self._split_at(stored, rate, card, seen_at=seen_at)

    async def _split_at(
        self,
        stored: Stored[Session],
        rate: NeuronPerMinute,
        card: RateCard,
        *,
        seen_at: int | None,
    ) -> None:
        """Charge up to a moment at the old rate, and go on from there at the new one."""
        session = stored.value
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

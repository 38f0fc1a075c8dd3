"""
Passing notices on to webhooks: at least once each, in order, and without one holding up another.

A wallet with news is looked at when its time has come.  Whatever is sent is sent beside the
turns, for a receiver may take its ten seconds; a host is sent one thing at a time, and so many
hosts at once.  How far each webhook got is stored after each delivery, so that a restart, or
another worker, goes on there: what was under way is then sent again under the same id.

Tests: C{tests.services.test_courier}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure

from sandbox_billing.errors import BadInput, Transient, UnknownOutcome
from sandbox_billing.interfaces import (
    INotices,
    IWallClock,
    IWebhooks,
    IWebhookSender,
    KeptWebhook,
    LeaseLost,
    Sent,
    Stale,
)
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.notice import Numbered, document
from sandbox_billing.ledger.target import read_target
from sandbox_billing.ledger.webhook import (
    CHANCES,
    Webhook,
    body,
    delivered,
    delivery_id,
    failed,
    headers_of,
)
from sandbox_billing.services._supervise import Supervisor, gather
from sandbox_billing.signing.eip55 import checksum


AT_ONCE = 8
"""Hosts that are sent to."""

WALLETS = 32
"""That are looked at together."""

PAGE = 50
"""Notices that are read at once."""

IN_A_ROW = 20
"""That one webhook is sent before others have their turn."""

PATIENCE_SECONDS = 10
"""Longer than that nobody is sent one after another."""

BUSY_SECONDS = 1
"""Before a webhook is looked at again whose host, or everything, is busy."""

MOST_BEHIND = 200
"""Wallets that wait for one host and are begun with as soon as it is free; the others when they
are looked at again."""

TROUBLE_SECONDS = 60
"""Before a wallet is looked at again at which something unexpected happened."""


@define(eq=False, kw_only=True)
class Courier:
    """
    @ivar provider: Whose notices these are: said in what is sent.
    @ivar supervisor: Keeps what is sent beside the turns; whoever stops the turns stops it.
    @ivar chance: Between 0 and 1.
    """

    notices: INotices
    webhooks: IWebhooks
    sender: IWebhookSender
    wall: IWallClock
    provider: Address
    chain_id: int
    chance: Callable[[], float]
    supervisor: Supervisor = field(factory=Supervisor)
    _wallets: set[Address] = field(factory=set, init=False)
    _hosts: set[str] = field(factory=set, init=False)
    _behind: dict[str, dict[Address, None]] = field(factory=dict, init=False)
    _freeing: bool = field(default=False, init=False)
    _resting: dict[Address, UnixSeconds] = field(factory=dict, init=False)
    _lost: LeaseLost | None = field(default=None, init=False)
    _log = Logger()

    async def turn(self) -> None:
        """
        Begin with every wallet whose time has come, as long as there is room.

        @raise LeaseLost: Another process is the worker: found meanwhile.
        """
        if self._lost is not None:
            raise self._lost
        if len(self._hosts) >= AT_ONCE or len(self._wallets) >= WALLETS:
            return
        now = self.wall.now()
        self._resting = {who: until for who, until in self._resting.items() if until > now}
        # Those under way are still listed.
        most = WALLETS + len(self._wallets) + len(self._resting)
        for wallet in await self.notices.wallets_with_news(now, most):
            if len(self._wallets) >= WALLETS or not self.supervisor.running:
                return
            if wallet not in self._wallets and wallet not in self._resting:
                self._begin(wallet)

    def _begin(self, wallet: Address) -> None:
        self._wallets.add(wallet)
        under_way = self.supervisor.detached("notices to webhooks", self._pass_on(wallet))
        under_way.addBoth(self._ended, wallet)

    def _ended(self, result: Any, wallet: Address) -> None:
        self._wallets.discard(wallet)
        if not isinstance(result, Failure):
            return
        if isinstance(result.value, LeaseLost):
            self._lost = result.value
            return
        self._resting[wallet] = UnixSeconds(self.wall.now() + TROUBLE_SECONDS)
        if result.check(Transient, UnknownOutcome, Stale):
            why = result.getErrorMessage()
            self._log.warn("notices of {wallet} wait: {why}", wallet=wallet.hex, why=why)
        else:
            self._log.failure("notices of {wallet} wait", failure=result, wallet=wallet.hex)

    async def _pass_on(self, wallet: Address) -> None:
        # In this order: what is told from now on makes the last step say nothing.
        (newest,) = await self.notices.newest([wallet])
        kept = await self.webhooks.of(wallet)
        hosts: dict[str, list[KeptWebhook]] = {}
        again = [await self._sort(one, hosts) for one in kept]
        again += await gather(*(self._serve(wallet, host, hosts[host]) for host in hosts))
        await self.notices.look_again(wallet, newest, _earliest(again))

    async def _sort(
        self, kept: KeptWebhook, hosts: dict[str, list[KeptWebhook]]
    ) -> UnixSeconds | None:
        """
        Add a webhook to those of its host if it may be sent anything now.

        @return: When to look at it again if not; None: when there is news.
        """
        standing = kept.standing.value
        if standing.disabled is not None:
            return None
        if standing.retry_at is not None and standing.retry_at > self.wall.now():
            return standing.retry_at
        try:
            host = read_target(kept.webhook.value.url).host
        except BadInput as why:
            # Registered when the rules were others.
            with suppress(Stale):
                await self.webhooks.move(kept, evolve(standing, disabled=why.text))
            return None
        hosts.setdefault(host, []).append(kept)
        return None

    async def _serve(
        self, wallet: Address, host: str, webhooks: list[KeptWebhook]
    ) -> UnixSeconds | None:
        """
        All that a wallet has at a host, one after another.

        The host is not given away in between: whoever comes first, with news or without, would
        else always find it free, and the next one always busy.

        @return: When to look at them again; None: when there is news.
        """
        if host in self._hosts:
            behind = self._behind.setdefault(host, {})
            if len(behind) < MOST_BEHIND:
                behind[wallet] = None
            return UnixSeconds(self.wall.now() + BUSY_SECONDS)
        if len(self._hosts) >= AT_ONCE:
            return UnixSeconds(self.wall.now() + BUSY_SECONDS)
        self._hosts.add(host)
        turns = DeferredLock()
        try:
            # What goes wrong with one is kept from the next: each is tried.
            return _earliest(await gather(*(self._in_turn(turns, one, host) for one in webhooks)))
        finally:
            self._hosts.discard(host)
            self._freed()

    async def _in_turn(
        self, turns: DeferredLock, kept: KeptWebhook, host: str
    ) -> UnixSeconds | None:
        async with turns:
            try:
                return await self._send_all(kept, host)
            except Stale:
                # Removed meanwhile: nothing is left to be done.
                return None

    def _freed(self) -> None:
        """
        Begin with those who waited for a host; the hosts take turns.

        All of them are still listed: whoever is forgotten here is looked at again.
        """
        if self._freeing:
            # What ends at once is gone on with below, not in itself.
            return
        self._freeing = True
        try:
            while self._has_room() and (wallet := self._next_behind()) is not None:
                self._begin(wallet)
        finally:
            self._freeing = False

    def _has_room(self) -> bool:
        return (
            self._lost is None
            and bool(self.supervisor.running)
            and len(self._hosts) < AT_ONCE
            and len(self._wallets) < WALLETS
        )

    def _next_behind(self) -> Address | None:
        for host in [host for host in self._behind if host not in self._hosts]:
            behind = self._behind.pop(host)
            while behind:
                wallet = next(iter(behind))
                del behind[wallet]
                if wallet not in self._wallets and wallet not in self._resting:
                    if behind:
                        self._behind[host] = behind
                    return wallet
        return None

    async def _send_all(self, kept: KeptWebhook, host: str) -> UnixSeconds | None:
        began = self.wall.now()
        for _ in range(IN_A_ROW):
            waiting, kept = await self._waiting(kept)
            if not waiting:
                return None
            if not self.supervisor.running:
                break
            sent = await self._send(kept.webhook.value, waiting[0])
            if sent.busy:
                break
            kept = await self._remember(kept, waiting, sent, host)
            standing = kept.standing.value
            if not sent.good:
                return None if standing.disabled else standing.retry_at
            if self.wall.now() - began >= PATIENCE_SECONDS:
                break
        return UnixSeconds(self.wall.now() + BUSY_SECONDS)

    async def _waiting(self, kept: KeptWebhook) -> tuple[list[Numbered], KeptWebhook]:
        """What a webhook wants and has not had; what it does not want is passed over."""
        webhook = kept.webhook.value
        while True:
            standing = kept.standing.value
            found = await self.notices.after(webhook.wallet, standing.after, PAGE)
            wanted = [entry for entry in found if webhook.wants(entry.notice.kind)]
            if wanted or not found:
                return wanted, kept
            kept = await self.webhooks.move(kept, standing.passed_over(found[-1].number))

    async def _send(self, webhook: Webhook, entry: Numbered) -> Sent:
        told = document(entry, checksum(webhook.wallet))
        sent = body(told, checksum(self.provider), self.chain_id)
        delivery = delivery_id(webhook.id, entry.number)
        kind, now = entry.notice.kind.value, self.wall.now()
        headers = headers_of(webhook, kind, delivery, now, sent)
        return await self.sender.send(webhook.url, headers, sent)

    async def _remember(
        self, kept: KeptWebhook, waiting: list[Numbered], sent: Sent, host: str
    ) -> KeptWebhook:
        webhook, before, now = kept.webhook.value, kept.standing.value, self.wall.now()
        if sent.good:
            after = delivered(before, waiting[0].number, now, sent.told)
        else:
            chance = int(self.chance() * CHANCES)
            after = failed(before, waiting, now, sent.told, status=sent.status, chance=chance)
        kept = await self.webhooks.move(kept, after)
        if sent.good:
            if before.failures:
                self._log.info(
                    "webhook {webhook} at {host} takes notices again",
                    webhook=webhook.id,
                    host=host,
                )
        elif not before.failures:
            self._log.info(
                "webhook {webhook} at {host} fails: {why}",
                webhook=webhook.id,
                host=host,
                why=sent.told,
            )
        if after.given_up > before.given_up:
            self._log.warn(
                "{count} notices for webhook {webhook} at {host} are given up",
                count=after.given_up - before.given_up,
                webhook=webhook.id,
                host=host,
            )
        if after.disabled is not None:
            self._log.warn(
                "webhook {webhook} at {host} is disabled: {why}",
                webhook=webhook.id,
                host=host,
                why=after.disabled,
            )
        return kept


def _earliest(moments: Iterable[UnixSeconds | None]) -> UnixSeconds | None:
    return min(filter(None, moments), default=None)

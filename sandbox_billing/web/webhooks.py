"""
Webhooks: a wallet says where its notices go.

A registration that could not be delivered to is refused at once; that is a courtesy, for where
a host leads is judged again each time something is sent.

Tests: C{tests.web.test_webhooks}.
"""

from __future__ import annotations

import math
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

from attrs import define, field

from sandbox_billing.errors import BadInput, Refused
from sandbox_billing.interfaces import (
    IDoors,
    IIntake,
    IWallClock,
    IWebhooks,
    IWebhookSender,
    KeptWebhook,
    NotReady,
    TooMany,
)
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.notice import Kind
from sandbox_billing.ledger.target import read_target
from sandbox_billing.ledger.token import Scope
from sandbox_billing.ledger.webhook import (
    MOST,
    PING,
    Standing,
    Webhook,
    WebhookId,
    body,
    headers_of,
    ping,
    webhook_id,
)
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._router import Asked
from sandbox_billing.web.answers import Answer, Conflict, NotServed
from sandbox_billing.web.limits import Buckets, Rate
from sandbox_billing.web.terms import Terms


BODY = 'the body is {"url": "https://...", "kinds": [...]}; without kinds, all of them'
KINDS = f"kinds are some of {', '.join(kind.value for kind in Kind)}"
DEPOSIT_FIRST = "webhooks are for wallets with funds here: deposit first"
ENOUGH = f"this wallet has {MOST} webhooks: delete one first"
NO_WEBHOOK = "no such webhook"
TOO_OFTEN = "too many registrations and tests of webhooks from this wallet"
ALL_BUSY = "too many tests are under way here; ask again"

TRIES = Rate(per_second=0.1, burst=6)
"""Registrations and tests of a wallet: each makes us ask, or send something, somewhere."""

TESTS_AT_ONCE = 8

_SECRET_BYTES = 32
_ID_BYTES = 16
_RETRY_SECONDS = 5


def read_wish(asked: Any) -> tuple[str, tuple[Kind, ...] | None]:
    """
    @return: URL, and kinds in their usual order; None for all.
    @raise BadInput: The body is none of a registration.
    """
    if not isinstance(asked, dict) or "url" not in asked or not set(asked) <= {"url", "kinds"}:
        raise BadInput(BODY)
    url, names = asked["url"], asked.get("kinds")
    if not isinstance(url, str):
        raise BadInput(BODY)
    read_target(url)
    if names is None:
        return url, None
    known = {kind.value for kind in Kind}
    if not isinstance(names, list) or not names:
        raise BadInput(KINDS)
    if not all(isinstance(name, str) and name in known for name in names):
        raise BadInput(KINDS)
    return url, tuple(kind for kind in Kind if kind.value in names)


def _whereto(url: str, whole: bool) -> str:
    """Of a URL only the host, to whom may only read: there may be a secret in its path."""
    if whole:
        return url
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('?')[0].partition('/')[0]}/..."


def _shown(webhook: Webhook, whole: bool) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": _whereto(webhook.url, whole),
        "kinds": None if webhook.kinds is None else [kind.value for kind in webhook.kinds],
        "created_at": webhook.created_at,
    }


def _standing(standing: Standing) -> dict[str, Any]:
    return {
        "delivered": standing.delivered,
        "given_up": standing.given_up,
        "failures": standing.failures,
        "failing_since": standing.failing_since,
        "retry_at": standing.retry_at,
        "last_at": standing.last_at,
        "last": standing.last or None,
        "disabled": standing.disabled,
    }


@define(kw_only=True, eq=False)
class Webhooks:
    """
    The routes below C{/api/webhooks}.

    @ivar random_bytes: Makes so many bytes that nobody can guess.
    @ivar tries: Of each wallet.
    """

    webhooks: IWebhooks = field(validator=provides(IWebhooks))
    sender: IWebhookSender = field(validator=provides(IWebhookSender))
    intake: IIntake = field(validator=provides(IIntake))
    doors: IDoors = field(validator=provides(IDoors))
    wall: IWallClock = field(validator=provides(IWallClock))
    terms: Terms
    random_bytes: Callable[[int], bytes] = field(repr=False)
    tries: Buckets
    _testing: int = field(default=0, init=False)

    async def list(self, asked: Asked) -> Answer:
        """The wallet's, with how far each one got, and without secrets."""
        found = await self.webhooks.of(asked.wallet)
        whole = Scope.MANAGE in asked.known.scopes
        rows = [
            {**_shown(one.webhook.value, whole), **_standing(one.standing.value)} for one in found
        ]
        return Answer(document={"webhooks": rows})

    async def register(self, asked: Asked) -> Answer:
        """Form, funds, target: then a webhook, its secret told this once."""
        wallet = asked.wallet
        url, kinds = read_wish(asked.body)
        self._count(wallet)
        await self._check_funds(wallet)
        await self.sender.check(url)
        secret = urlsafe_b64encode(self.random_bytes(_SECRET_BYTES)).decode().rstrip("=")
        webhook = Webhook(
            id=WebhookId(self.random_bytes(_ID_BYTES).hex()),
            wallet=wallet,
            url=url,
            kinds=kinds,
            secret=f"whsec_{secret}",
            created_at=self.wall.now(),
        )
        if not await self.webhooks.add(webhook, most=MOST):
            raise Conflict(ENOUGH)
        return Answer(status=201, document={**_shown(webhook, True), "secret": webhook.secret})

    async def delete(self, asked: Asked) -> Answer:
        """One of the wallet's; what is under way may still arrive."""
        try:
            id = webhook_id(asked.parts["webhook"])
        except BadInput:
            raise NotServed(NO_WEBHOOK, status=404) from None
        if not await self.webhooks.remove(asked.wallet, id):
            raise NotServed(NO_WEBHOOK, status=404)
        return Answer(document={"deleted": 1})

    async def test(self, asked: Asked) -> Answer:
        """Send a ping, now and once, and say what came of it."""
        webhook = (await self._find(asked)).webhook.value
        self._count(asked.wallet)
        if self._testing >= TESTS_AT_ONCE:
            raise NotReady(ALL_BUSY, _RETRY_SECONDS)
        now, terms = self.wall.now(), self.terms
        sent = body(ping(now, checksum(asked.wallet)), checksum(terms.provider), terms.chain_id)
        headers = headers_of(webhook, PING, f"{webhook.id}-{PING}-{now}", now, sent)
        self._testing += 1
        try:
            result = await self.sender.test(asked.wallet, webhook.url, headers, sent)
        finally:
            self._testing -= 1
        if result.busy:
            raise NotReady(ALL_BUSY, _RETRY_SECONDS)
        told = {"delivered": result.good, "status": result.status, "told": result.told}
        return Answer(document=told)

    async def _find(self, asked: Asked) -> KeptWebhook:
        for one in await self.webhooks.of(asked.wallet):
            if one.webhook.value.id == asked.parts["webhook"]:
                return one
        raise NotServed(NO_WEBHOOK, status=404)

    def _count(self, wallet: Address) -> None:
        waits = self.tries.take(wallet.hex)
        if waits:
            raise TooMany(TOO_OFTEN, math.ceil(waits))

    async def _check_funds(self, wallet: Address) -> None:
        """
        Whoever has nothing here is told nothing; and keys cost nothing, so that somebody could
        fill our store.
        """
        account = await self.intake.meet(wallet)
        if account.collectable > 0:
            return
        if not (await self.doors.funds(wallet)).exposure.fields:
            raise Refused(DEPOSIT_FIRST)

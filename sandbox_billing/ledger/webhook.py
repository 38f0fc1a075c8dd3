"""
Webhooks: where a wallet's notices go, how far they got, and when the next is tried.

What was delivered is known by the number of the last notice that is done with; order is kept,
so one that fails holds up those behind it until it is delivered or given up.

Tests: C{tests.ledger.test_webhook}.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NewType

from attrs import evolve, field, frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.notice import Kind, Numbered


WebhookId = NewType("WebhookId", str)
"""Its public name; it opens nothing."""

MOST = 5
"""Of one wallet."""

FIRST_RETRY_SECONDS = 60
LONGEST_RETRY_SECONDS = 6 * 60 * 60

GIVEN_UP_SECONDS = 24 * 60 * 60
"""A notice that is older and cannot be delivered is given up."""

DISABLED_SECONDS = 5 * 24 * 60 * 60
"""Where nothing could be delivered for so long, nothing more is tried."""

GONE = 410
"""The status by which a receiver says that nobody will ever listen there again."""

CHANCES = 1_000
"""What chance is a part of, where it is a whole number."""

PING = "ping"
"""The kind of what a test sends."""

_ID = re.compile(r"[0-9a-f]{32}\Z")


def webhook_id(text: str) -> WebhookId:
    """@raise BadInput: No webhook can be called that."""
    if type(text) is not str or not _ID.match(text):
        raise BadInput("a webhook's id is 32 lower-case hex digits")
    return WebhookId(text)


@frozen(kw_only=True)
class Webhook:
    """
    What a wallet has registered; it never changes.

    @ivar url: As L{read_target<sandbox_billing.ledger.target.read_target>} takes it.
    @ivar kinds: Of notices that it wants; None for all, those to come too.
    @ivar secret: Signs what is sent: stored as it is, and told once.
    """

    id: WebhookId
    wallet: Address
    url: str = field(repr=False)
    kinds: tuple[Kind, ...] | None = None
    secret: str = field(repr=False)
    created_at: UnixSeconds

    def wants(self, kind: Kind) -> bool:
        """Whether notices of a kind are sent there."""
        return self.kinds is None or kind in self.kinds


@frozen(kw_only=True)
class Standing:
    """
    How far a webhook got.

    @ivar after: Number of the last notice that is done with.
    @ivar failures: Tries in a row that failed, of whichever notices, none of them longer than
        L{GIVEN_UP_SECONDS} after the one before.
    @ivar failing_since: When the first of them did.
    @ivar retry_at: Before that nothing is tried.
    @ivar last_at: Of the last try; None when there was none.
    @ivar last: What became of it, in few words.
    @ivar disabled: Why nothing is tried any more.
    """

    after: int
    delivered: int = 0
    given_up: int = 0
    failures: int = 0
    failing_since: UnixSeconds | None = None
    retry_at: UnixSeconds | None = None
    last_at: UnixSeconds | None = None
    last: str = ""
    disabled: str | None = None

    def passed_over(self, number: int) -> Standing:
        """Up to a number there is nothing for this webhook."""
        return evolve(self, after=max(self.after, number))


def delivered(before: Standing, number: int, now: UnixSeconds, told: str) -> Standing:
    """
    @param number: Of the notice that was taken.
    @param told: The answer, in few words.
    """
    return evolve(
        before,
        after=number,
        delivered=before.delivered + 1,
        failures=0,
        failing_since=None,
        retry_at=None,
        last_at=now,
        last=told,
    )


def failed(
    before: Standing,
    waiting: Sequence[Numbered],
    now: UnixSeconds,
    told: str,
    *,
    status: int | None = None,
    chance: int = 0,
) -> Standing:
    """
    The first of those that wait was not taken.

    @param waiting: What the webhook wants and has not had, oldest first.
    @param told: Why, in few words.
    @param status: Of the answer, where there was one.
    @param chance: From 0 to L{CHANCES}.
    """
    old = [entry for entry in waiting if entry.notice.at <= now - GIVEN_UP_SECONDS]
    failures, since = before.failures, before.failing_since
    # While something waits, no two tries are so far apart: nothing was left to be tried, and
    # nobody knows how the receiver was meanwhile.
    if since is None or before.last_at is None or before.last_at < now - GIVEN_UP_SECONDS:
        failures, since = 0, now
    disabled = None
    if status == GONE:
        disabled = f"the receiver answered {GONE}: nobody is there any more"
    elif since <= now - DISABLED_SECONDS:
        days = DISABLED_SECONDS // 86_400
        disabled = f"nothing could be delivered for {days} days; the last try: {told}"
    return evolve(
        before,
        after=max([before.after, *(entry.number for entry in old)]),
        given_up=before.given_up + len(old),
        failures=failures + 1,
        failing_since=since,
        retry_at=UnixSeconds(now + wait_seconds(failures, chance)),
        last_at=now,
        last=told,
        disabled=disabled,
    )


def wait_seconds(failures: int, chance: int) -> int:
    """
    Before the next try: twice as long each time, and up to a quarter of that more by chance.

    @param failures: Tries in a row that had failed before this one.
    @param chance: From 0 to L{CHANCES}.
    """
    wait = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS << min(failures, 16))
    return wait + wait * chance // (4 * CHANCES)


# --- what is sent -------------------------------------------------------------------


def delivery_id(webhook: WebhookId, number: int) -> str:
    """The same for each try of one notice, so that a receiver knows it again."""
    return f"{webhook}-{number}"


def ping(at: UnixSeconds, wallet: str) -> dict[str, Any]:
    """What a test sends: no notice, and in no log."""
    told = {"id": "0", "kind": PING, "at": at, "wallet": wallet}
    return {**told, "sandbox": None, "facts": {}}


def body(told: Mapping[str, Any], provider: str, chain_id: int) -> bytes:
    """
    @param told: Of L{document<sandbox_billing.ledger.notice.document>} or L{ping}.
    @param provider: Who tells it, as addresses are shown.
    """
    whole = {**told, "provider": provider, "chain_id": chain_id}
    return json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()


def signature(secret: str, at: UnixSeconds, sent: bytes) -> str:
    """
    C{X-Sandbox-Billing-Signature}: over the moment and the body, so that what was heard once
    cannot be told again later.
    """
    mac = hmac.new(secret.encode(), b"%d." % at + sent, sha256)
    return f"t={at},v1={mac.hexdigest()}"


def headers_of(
    webhook: Webhook, kind: str, delivery: str, at: UnixSeconds, sent: bytes
) -> Mapping[str, str]:
    """What goes before a body."""
    return {
        "Content-Type": "application/json",
        "X-Sandbox-Billing-Event": kind,
        "X-Sandbox-Billing-Delivery": delivery,
        "X-Sandbox-Billing-Signature": signature(webhook.secret, at, sent),
    }

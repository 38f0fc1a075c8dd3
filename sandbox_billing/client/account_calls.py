"""
Sessions, money and notices: one operation each.

Tests: C{tests.client.test_core}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from attrs import evolve

from sandbox_billing.client.accounts import (
    Account,
    Event,
    Receipt,
    Resumed,
    SandboxUsage,
    Settings,
    Usage,
    Webhook,
)
from sandbox_billing.client.calls import Call, Flow, path_of
from sandbox_billing.client.sandbox_calls import SandboxCalls, dumped
from sandbox_billing.client.values import Page, Session, raw_of, rows, text, whole
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import sandbox_id
from sandbox_billing.ledger.money import neuron
from sandbox_billing.ledger.token import DEFAULT_LIFE_SECONDS, Grant, Scope
from sandbox_billing.signing.siwe import login_message


_SESSIONS = "/api/auth/session"
_PAGE = 200

Span = tuple["int | None", "int | None"]
"""From and to, unix seconds; None for no end."""


class Calls(SandboxCalls):
    """
    Every operation.
    """

    # -- sessions

    def login(
        self,
        scopes: Iterable[str | Scope] | None,
        ttl: int | None,
        spend_limit: int | None,
        sandbox: str | None,
        public_url: str | None,
    ) -> Flow[Session]:
        """
        @raise BadInput: There is no signer, or no such scope.
        """
        if self.signer is None:
            raise BadInput("a login is signed by the wallet: give the client a signer")
        provider, chain_id = yield from self.whom()
        try:
            wanted = {Scope(one) for one in (Scope if scopes is None else scopes)}
        except ValueError as problem:
            raise BadInput(f"{problem}: read, manage or toolbox") from None
        grant = Grant(
            provider=provider,
            scopes=tuple(scope for scope in Scope if scope in wanted),
            life_seconds=DEFAULT_LIFE_SECONDS if ttl is None else ttl,
            spend_limit=None if spend_limit is None else neuron(spend_limit),
            only=None if sandbox is None else sandbox_id(sandbox),
        )
        message = login_message(
            self.signer.address,
            url=public_url or self.base,
            chain_id=chain_id,
            resources=grant.resources(),
            nonce=self.fresh(),
            issued_at=int(self._now()),
        )
        signature = self.signer.sign_message(message.encode("ascii"))
        body = dumped({"message": message, "signature": "0x" + signature.hex()})
        answer = yield from self.ask("POST", _SESSIONS, body=body, public=True)
        return Session(answer.document())

    def sessions(self) -> Flow[tuple[Session, ...]]:
        """Without their secrets."""
        answer = yield from self.ask("GET", _SESSIONS)
        return tuple(map(Session, rows(answer.document(), "tokens")))

    def logout(self, session: str | None) -> Flow[int]:
        """
        @param session: A token's id; None: the one that this client shows.
        @return: How many ended.
        """
        if session is None:
            if self.token is None:
                raise BadInput("which session? give its id, or use logout_all")
            # Its public name (docs/http.rst) is the beginning of its hash.
            session = sha256(self.token.encode("ascii")).hexdigest()[:32]
        answer = yield from self.ask("DELETE", f"{_SESSIONS}{path_of(session)}")
        return whole(answer.document(), "revoked") or 0

    def logout_all(self) -> Flow[int]:
        """Every token of the wallet."""
        answer = yield from self.ask("DELETE", _SESSIONS)
        return whole(answer.document(), "revoked") or 0

    # -- money

    def account(self) -> Flow[Account]:
        """What is left."""
        answer = yield from self.ask("GET", "/api/account")
        return Account(answer.document())

    def usage(self, span: Span, group: str | None, label: str | None) -> Flow[Usage]:
        """Where it went."""
        query = [("from", span[0]), ("to", span[1]), ("group", group), ("label", label)]
        answer = yield from self.ask("GET", "/api/usage", query=query)
        return Usage(answer.document())

    def usage_csv(self, span: Span, group: str | None, label: str | None) -> Flow[str]:
        """The same for a spreadsheet."""
        query = [("from", span[0]), ("to", span[1]), ("group", group), ("label", label)]
        answer = yield from self.ask("GET", "/api/usage", query=[*query, ("format", "csv")])
        return answer.body.decode("utf-8", "replace")

    def sandbox_usage(self, sandbox: str, span: Span) -> Flow[SandboxUsage]:
        """Of one."""
        path = path_of("api", "sandbox", sandbox, "usage")
        answer = yield from self.ask("GET", path, query=[("from", span[0]), ("to", span[1])])
        return SandboxUsage(answer.document())

    def receipts(self, span: Span, sandbox: str | None, cursor: str | None) -> Flow[Page[Receipt]]:
        """A page."""
        answer = yield from self.ask(
            "GET",
            "/api/receipts",
            query=[
                ("from", span[0]),
                ("to", span[1]),
                ("sandbox", sandbox),
                ("cursor", cursor),
                ("limit", _PAGE),
            ],
        )
        raw = answer.document()
        items = tuple(map(Receipt, rows(raw, "receipts")))
        return Page(items=items, next=text(raw, "next") or None)

    def receipt(self, receipt: str) -> Flow[Receipt]:
        """By the charge's id."""
        answer = yield from self.ask("GET", path_of("api", "receipts", receipt))
        return Receipt(answer.document())

    def events(self, since: int | None, page: int) -> Flow[Page[Event]]:
        """@param page: From 0."""
        answer = yield from self.ask(
            "GET",
            "/api/events",
            query=[("since", since), ("page", page), ("page_size", _PAGE)],
        )
        raw = answer.document()
        more = (page + 1) * _PAGE < (whole(raw, "total") or 0)
        items = tuple(map(Event, rows(raw, "events")))
        return Page(items=items, next=str(page + 1) if more else None)

    def settings(self) -> Flow[Settings]:
        """As they are."""
        answer = yield from self.ask("GET", "/api/account/settings")
        return Settings(answer.document())

    def set_settings(self, settings: Mapping[str, Any] | Settings) -> Flow[Settings]:
        """Those that are named: what is left out stays as it is, and null takes a limit away."""
        body = settings.raw if isinstance(settings, Settings) else settings
        answer = yield from self.ask("PUT", "/api/account/settings", body=dumped(dict(body)))
        return Settings(answer.document())

    def resume(self) -> Flow[Resumed]:
        """What had to stop for want of money."""
        answer = yield from self.ask("POST", "/api/account/resume")
        return Resumed(answer.document())

    # -- notices

    def webhooks(self) -> Flow[tuple[Webhook, ...]]:
        """Without their secrets."""
        answer = yield from self.ask("GET", "/api/webhooks")
        return tuple(map(Webhook, rows(answer.document(), "webhooks")))

    def add_webhook(self, url: str, kinds: Iterable[str] | None) -> Flow[Webhook]:
        """@param kinds: None for all."""
        told = {} if kinds is None else {"kinds": list(kinds)}
        answer = yield from self.ask("POST", "/api/webhooks", body=dumped({"url": url, **told}))
        return Webhook(answer.document())

    def delete_webhook(self, webhook: str) -> Flow[None]:
        """By its id."""
        yield from self.ask("DELETE", path_of("api", "webhooks", webhook))

    def test_webhook(self, webhook: str) -> Flow[Mapping[str, Any]]:
        """@return: What came of it."""
        answer = yield from self.ask("POST", path_of("api", "webhooks", webhook, "test"))
        return raw_of(answer.json()) if answer.body.strip() else {}

    def notices_call(self, after: str | None, timeout: float) -> Flow[Call]:
        """
        The request whose answer never ends; to be opened, not asked.

        @param after: The id of the last one that is known.
        @param timeout: Seconds without a heartbeat.
        """
        more = {"Accept": "text/event-stream"}
        if after is not None:
            more["Last-Event-ID"] = after
        call = yield from self.signed("GET", "/api/events/stream", more=more)
        return evolve(call, timeout=timeout)

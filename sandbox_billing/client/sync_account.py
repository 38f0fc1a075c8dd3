"""
The blocking client, as far as it is about wallets and their money.

Tests: C{tests.client.test_core}.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from sandbox_billing.client.account_calls import Calls
from sandbox_billing.client.accounts import (
    Account,
    Event,
    Notice,
    Receipt,
    Resumed,
    SandboxUsage,
    Settings,
    Usage,
    Webhook,
)
from sandbox_billing.client.calls import Answer, Flow
from sandbox_billing.client.core import refusal
from sandbox_billing.client.driving import OnPause, drive, unheard
from sandbox_billing.client.errors import Garbled, Unavailable, Unclear
from sandbox_billing.client.signer import Signer
from sandbox_billing.client.sse import NoticeParser
from sandbox_billing.client.transport import RequestsTransport, Transport
from sandbox_billing.client.values import Info, Page, Pages, Provider, Session, Snapshot
from sandbox_billing.ledger.token import Scope


_T = TypeVar("_T")

STREAM_SECONDS = 120.0
"""Without a heartbeat a stream is dead."""

_AGAIN_SECONDS = 1.0
_LONGEST_AGAIN = 60.0


class AccountClient:
    """
    All of L{Client<sandbox_billing.client.sync.Client>} but its sandboxes.
    """

    def __init__(
        self,
        url: str,
        signer: Signer | None = None,
        *,
        token: str | None = None,
        provider: str | None = None,
        chain_id: int | None = None,
        timeout: float = 30.0,
        transport: Transport | None = None,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
        on_pause: OnPause = unheard,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """
        @param url: The provider's, without a path.
        @param signer: The wallet; each request is signed anew.
        @param token: A session's, in place of the wallet.
        @param provider: The address that signatures are for.  Name it where you know it: else it
            is the one that C{url} says it is, and a liar could pass your requests on to another.
        @param chain_id: Likewise.
        @param timeout: Seconds for which the provider may be silent.
        @param on_pause: Told of each wait before it begins, and of what it waits for.
        """
        self._transport = transport or RequestsTransport.fresh()
        self._sleep = sleep
        self._on_pause = on_pause
        self._calls = Calls(
            url,
            signer=signer,
            token=token,
            provider=provider,
            chain_id=chain_id,
            timeout=timeout,
            now=now,
            random_bytes=random_bytes,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connections; revokes nothing."""
        self._transport.close()

    def _do(self, flow: Flow[_T]) -> _T:
        return drive(flow, self._transport.send, self._sleep, self._on_pause)

    def _all(self, page: Callable[[str | None], Flow[Page[_T]]]) -> Iterator[_T]:
        pages = Pages()
        while True:
            found = self._do(page(pages.cursor))
            yield from found.items
            if not pages.turn(found):
                return

    # -- what everybody may know

    def info(self) -> Info:
        """Contract, chain and prices of the provider."""
        return self._do(self._calls.info())

    def providers(self) -> tuple[Provider, ...]:
        """All that are registered with the contract."""
        return self._do(self._calls.providers())

    def snapshots(self) -> Iterator[Snapshot]:
        """What sandboxes may start from, page by page."""
        return self._all(lambda cursor: self._calls.snapshots(int(cursor or 1)))

    # -- sessions

    def login(
        self,
        *,
        scopes: Iterable[str | Scope] | None = None,
        ttl: int | None = None,
        spend_limit: int | None = None,
        sandbox: str | None = None,
        public_url: str | None = None,
    ) -> Session:
        """
        One signature for many requests: give the token to another L{Client}.

        @param scopes: C{read}, C{manage}, C{toolbox}; None for all.
        @param ttl: Seconds that it lives, to 86400; None for an hour.
        @param spend_limit: neuron.
        @param sandbox: The one that it is for.
        @param public_url: Where users reach the provider, if that is not this client's C{url}.
        """
        return self._do(self._calls.login(scopes, ttl, spend_limit, sandbox, public_url))

    def sessions(self) -> tuple[Session, ...]:
        """The wallet's live ones, without their secrets."""
        return self._do(self._calls.sessions())

    def logout(self, session: str | None = None) -> int:
        """
        @param session: Its id; None for the one that this client uses.
        @return: How many ended.
        """
        return self._do(self._calls.logout(session))

    def logout_all(self) -> int:
        """Ends every session of the wallet; takes a signer."""
        return self._do(self._calls.logout_all())

    # -- money

    def account(self) -> Account:
        """What is left, and until when."""
        return self._do(self._calls.account())

    def usage(
        self,
        *,
        from_: int | None = None,
        to: int | None = None,
        group: str | None = None,
        label: str | None = None,
    ) -> Usage:
        """
        @param from_: unix seconds, as C{to}.
        @param group: C{sandbox}, C{day} or C{label}, which wants a C{label}.
        """
        return self._do(self._calls.usage((from_, to), group, label))

    def usage_csv(
        self,
        *,
        from_: int | None = None,
        to: int | None = None,
        group: str | None = None,
        label: str | None = None,
    ) -> str:
        """L{usage} for a spreadsheet."""
        return self._do(self._calls.usage_csv((from_, to), group, label))

    def sandbox_usage(
        self, sandbox: str, *, from_: int | None = None, to: int | None = None
    ) -> SandboxUsage:
        """What one did and cost."""
        return self._do(self._calls.sandbox_usage(sandbox, (from_, to)))

    def receipts(
        self, *, from_: int | None = None, to: int | None = None, sandbox: str | None = None
    ) -> Iterator[Receipt]:
        """What proves each charge, page by page."""
        return self._all(lambda cursor: self._calls.receipts((from_, to), sandbox, cursor))

    def receipt(self, receipt: str) -> Receipt:
        """By its id."""
        return self._do(self._calls.receipt(receipt))

    def events(self, *, since: int | None = None) -> Iterator[Event]:
        """The settled vouchers, as the chain tells them, page by page."""
        return self._all(lambda cursor: self._calls.events(since, int(cursor or 0)))

    def settings(self) -> Settings:
        """Limits, and whether what stopped starts again by itself."""
        return self._do(self._calls.settings())

    def set_settings(self, settings: Mapping[str, Any] | Settings) -> Settings:
        """
        Change those that are named.

        What is left out stays as it is; null takes a limit away.  C{sandboxes}, where it is
        named, is the whole of it: who is not in it has no limit of its own.

        @param settings: C{{"auto_resume": bool, "limits": {"per_day", "total", "sandboxes"}}}.
        """
        return self._do(self._calls.set_settings(settings))

    def resume(self) -> Resumed:
        """Start what had to stop for want of money."""
        return self._do(self._calls.resume())

    # -- notices

    def notices(self, *, after: str | None = None, reconnect: bool = True) -> Iterator[Notice]:
        """
        What the wallet should know, as it happens; endless, unless a session ends.

        @param after: The id of the last one that is known; None for what is told from now on.
        @param reconnect: Go on after a lost connection where it broke off.
        """
        parser, wait = NoticeParser(last=after), _AGAIN_SECONDS
        while True:
            try:
                call = self._do(self._calls.notices_call(parser.last, STREAM_SECONDS))
                with self._transport.open(call) as (head, pieces):
                    if not head.ok:
                        body = b"".join(pieces)
                        raise refusal(Answer(status=head.status, headers=head.headers, body=body))
                    for piece in pieces:
                        wait = _AGAIN_SECONDS
                        yield from parser.feed(piece)
            except Garbled:
                raise
            except (Unavailable, Unclear):
                if not reconnect:
                    raise
            if not reconnect:
                return
            parser = NoticeParser(last=parser.last)
            self._sleep(wait)
            wait = min(_LONGEST_AGAIN, 2 * wait)

    def webhooks(self) -> tuple[Webhook, ...]:
        """Where notices go."""
        return self._do(self._calls.webhooks())

    def add_webhook(self, url: str, *, kinds: Iterable[str] | None = None) -> Webhook:
        """@return: With its secret, which is told this once."""
        return self._do(self._calls.add_webhook(url, kinds))

    def delete_webhook(self, webhook: str) -> None:
        """By its id."""
        self._do(self._calls.delete_webhook(webhook))

    def test_webhook(self, webhook: str) -> Mapping[str, Any]:
        """Send something there, and say what came of it."""
        return self._do(self._calls.test_webhook(webhook))

"""
The same client for programs that await: it does no I/O, and knows no event loop.

Tests: C{tests.client.test_asynchronous}.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

from attrs import evolve

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
from sandbox_billing.client.calls import Answer, Call, Flow
from sandbox_billing.client.core import refusal
from sandbox_billing.client.driving import OnPause, drive_async, unheard
from sandbox_billing.client.files import Counted, form_of
from sandbox_billing.client.signer import Signer
from sandbox_billing.client.sse import NoticeParser
from sandbox_billing.client.values import (
    ExecResult,
    Info,
    Page,
    Pages,
    Provider,
    Sandbox,
    Session,
    Snapshot,
    SshAccess,
)
from sandbox_billing.ledger.token import Scope


_T = TypeVar("_T")

STREAM_SECONDS = 120.0


class AsyncClient:
    """
    L{Client<sandbox_billing.client.sync.Client>}, awaited: what its methods take and mean stands
    there.
    """

    def __init__(
        self,
        url: str,
        signer: Signer | None = None,
        *,
        transport: Callable[[Call], Awaitable[Answer]],
        sleep: Callable[[float], Awaitable[object]],
        token: str | None = None,
        provider: str | None = None,
        chain_id: int | None = None,
        timeout: float = 30.0,
        now: Callable[[], float] = time.time,
        on_pause: OnPause = unheard,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """
        @param transport: Sends a call and returns its answer, whatever its status; follows no
            redirects, and never sends it twice.  It raises an C{OSError} (or a L{ConnectionLost
            <sandbox_billing.client.errors.ConnectionLost>}) when no answer came.
        @param sleep: C{asyncio.sleep}, say.
        @param on_pause: Told of each wait before it begins, and of what it waits for.
        @param signer: Asked in the event loop: one that takes long belongs in a thread.
        """
        self._send = transport
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

    async def _do(self, flow: Flow[_T]) -> _T:
        return await drive_async(flow, self._send, self._sleep, self._on_pause)

    async def _all(self, page: Callable[[str | None], Flow[Page[_T]]]) -> AsyncIterator[_T]:
        pages = Pages()
        while True:
            found = await self._do(page(pages.cursor))
            for one in found.items:
                yield one
            if not pages.turn(found):
                return

    # -- what everybody may know

    async def info(self) -> Info:
        """Contract, chain and prices."""
        return await self._do(self._calls.info())

    async def providers(self) -> tuple[Provider, ...]:
        """All that are registered."""
        return await self._do(self._calls.providers())

    def snapshots(self) -> AsyncIterator[Snapshot]:
        """What sandboxes may start from."""
        return self._all(lambda cursor: self._calls.snapshots(int(cursor or 1)))

    # -- sessions

    async def login(
        self,
        *,
        scopes: Iterable[str | Scope] | None = None,
        ttl: int | None = None,
        spend_limit: int | None = None,
        sandbox: str | None = None,
        public_url: str | None = None,
    ) -> Session:
        """One signature for many requests."""
        return await self._do(self._calls.login(scopes, ttl, spend_limit, sandbox, public_url))

    async def sessions(self) -> tuple[Session, ...]:
        """The wallet's."""
        return await self._do(self._calls.sessions())

    async def logout(self, session: str | None = None) -> int:
        """Ends one."""
        return await self._do(self._calls.logout(session))

    async def logout_all(self) -> int:
        """Ends all."""
        return await self._do(self._calls.logout_all())

    # -- sandboxes

    async def create(
        self,
        *,
        snapshot: str | None = None,
        labels: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        **more: Any,
    ) -> Sandbox:
        """Rent one."""
        said = {"snapshot": snapshot, "labels": labels, "env": env}
        body = {**{name: one for name, one in said.items() if one is not None}, **more}
        return await self._do(self._calls.create(body, idempotency_key))

    async def get(self, sandbox: str) -> Sandbox:
        """By id or name."""
        return await self._do(self._calls.get(sandbox))

    def list(
        self, *, labels: Mapping[str, str] | None = None, states: Iterable[str] = ()
    ) -> AsyncIterator[Sandbox]:
        """The wallet's own."""
        wanted = tuple(states)
        return self._all(lambda cursor: self._calls.sandboxes(cursor, labels, wanted))

    def wait(
        self, sandbox: str, state: str = "started", *, timeout: float = 120.0
    ) -> Coroutine[Any, Any, Sandbox]:
        """Until it is so."""
        return self._do(self._calls.wait(sandbox, state, timeout))

    async def start(self, sandbox: str, *, idempotency_key: str | None = None) -> Sandbox:
        """From now on it costs."""
        return await self._do(self._calls.change(sandbox, "start", idempotency_key))

    async def stop(self, sandbox: str, *, idempotency_key: str | None = None) -> Sandbox:
        """Its disk stays."""
        return await self._do(self._calls.change(sandbox, "stop", idempotency_key))

    async def archive(self, sandbox: str, *, idempotency_key: str | None = None) -> Sandbox:
        """Only a stopped one."""
        return await self._do(self._calls.change(sandbox, "archive", idempotency_key))

    async def delete(self, sandbox: str, *, idempotency_key: str | None = None) -> Sandbox:
        """For good."""
        return await self._do(self._calls.delete(sandbox, idempotency_key))

    async def set_labels(self, sandbox: str, labels: Mapping[str, str]) -> Sandbox:
        """In place of those that it had."""
        return await self._do(self._calls.set_labels(sandbox, labels))

    async def ssh_access(self, sandbox: str, *, minutes: int = 60) -> SshAccess:
        """A way in."""
        return await self._do(self._calls.ssh_access(sandbox, minutes))

    # -- inside

    def exec(
        self,
        sandbox: str,
        command: str,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Coroutine[Any, Any, ExecResult]:
        """A command, to its end."""
        return self._do(self._calls.exec(sandbox, command, cwd, env, timeout))

    def toolbox(
        self,
        sandbox: str,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        content_type: str = "application/json",
        timeout: float | None = None,
    ) -> Coroutine[Any, Any, Answer]:
        """Anything that Daytona's toolbox has."""
        return self._do(
            self._calls.toolbox(
                sandbox,
                method,
                path,
                body=body or b"",
                content_type=content_type,
                timeout=timeout,
            )
        )

    async def upload(self, sandbox: str, source: bytes | str | Path, remote: str) -> None:
        """A file of any size, which is read and hashed here in one go first."""
        form, content_type = form_of(source, remote)
        await self._do(self._calls.upload(sandbox, remote, form, content_type))

    async def download(self, sandbox: str, remote: str, target: IO[bytes]) -> int:
        """Into an open file; as a stream where the transport fills C{Call.sink}."""
        sink = Counted(target)
        await self._do(self._calls.download(sandbox, remote, sink))
        return sink.written

    # -- money

    async def account(self) -> Account:
        """What is left."""
        return await self._do(self._calls.account())

    async def usage(
        self,
        *,
        from_: int | None = None,
        to: int | None = None,
        group: str | None = None,
        label: str | None = None,
    ) -> Usage:
        """Where it went."""
        return await self._do(self._calls.usage((from_, to), group, label))

    async def usage_csv(
        self,
        *,
        from_: int | None = None,
        to: int | None = None,
        group: str | None = None,
        label: str | None = None,
    ) -> str:
        """For a spreadsheet."""
        return await self._do(self._calls.usage_csv((from_, to), group, label))

    async def sandbox_usage(
        self, sandbox: str, *, from_: int | None = None, to: int | None = None
    ) -> SandboxUsage:
        """Of one."""
        return await self._do(self._calls.sandbox_usage(sandbox, (from_, to)))

    def receipts(
        self, *, from_: int | None = None, to: int | None = None, sandbox: str | None = None
    ) -> AsyncIterator[Receipt]:
        """What proves each charge."""
        return self._all(lambda cursor: self._calls.receipts((from_, to), sandbox, cursor))

    async def receipt(self, receipt: str) -> Receipt:
        """By its id."""
        return await self._do(self._calls.receipt(receipt))

    def events(self, *, since: int | None = None) -> AsyncIterator[Event]:
        """The settled vouchers."""
        return self._all(lambda cursor: self._calls.events(since, int(cursor or 0)))

    async def settings(self) -> Settings:
        """Limits, and more."""
        return await self._do(self._calls.settings())

    async def set_settings(self, settings: Mapping[str, Any] | Settings) -> Settings:
        """Those that are named: what is left out stays as it is."""
        return await self._do(self._calls.set_settings(settings))

    async def resume(self) -> Resumed:
        """What had to stop for want of money."""
        return await self._do(self._calls.resume())

    # -- notices

    async def follow_notices(
        self, handle: Callable[[Notice], object], *, after: str | None = None
    ) -> str | None:
        """
        Hand on each notice as it comes, until the connection ends.

        @param handle: Called from within the transport, which must stream into C{Call.sink}.
        @return: The id of the last one: C{after}, for going on.
        """
        parser = NoticeParser(last=after)

        def sink(piece: bytes) -> None:
            for notice in parser.feed(piece):
                handle(notice)

        call = await self._do(self._calls.notices_call(after, STREAM_SECONDS))
        answer = await self._send(evolve(call, sink=sink))
        if not answer.ok:
            raise refusal(answer)
        sink(answer.body)
        return parser.last

    async def webhooks(self) -> tuple[Webhook, ...]:
        """Where notices go."""
        return await self._do(self._calls.webhooks())

    async def add_webhook(self, url: str, *, kinds: Iterable[str] | None = None) -> Webhook:
        """With its secret, told this once."""
        return await self._do(self._calls.add_webhook(url, kinds))

    async def delete_webhook(self, webhook: str) -> None:
        """By its id."""
        await self._do(self._calls.delete_webhook(webhook))

    async def test_webhook(self, webhook: str) -> Mapping[str, Any]:
        """What came of it."""
        return await self._do(self._calls.test_webhook(webhook))

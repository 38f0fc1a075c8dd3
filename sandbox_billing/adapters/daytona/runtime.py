"""
L{IRuntime} over HTTP, for every dialect of Daytona since v0.149.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from attrs import evolve, field, frozen
from treq.client import HTTPClient
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from sandbox_billing.adapters.daytona.decoding import (
    Rows,
    each_once,
    parse_json,
    read_id,
    read_listing,
    read_lists_pages,
    read_numbered,
    read_object,
    read_objects,
    read_page,
    read_paginated,
    read_sandbox,
    read_snapshots,
)
from sandbox_billing.adapters.daytona.exchange import Exchange, Request, api_base, is_missing
from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import DaytonaRefused, IRuntime, IWallClock, Listing, Sandbox
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.money import UnixSeconds


T = TypeVar("T")
Query = Mapping[str, str | tuple[str, ...]]

PAGE_SIZE = "200"
MAX_PAGES = 10_000
NUMBERED_SIZE = "100"
# An array dialect sends everything at once: ten thousand rows are some 15 MB.
MAX_LIST_BYTES = 128 * 1024 * 1024

# What one user's list may take of our memory: 200 rows are 300 kB, but for build files.
MAX_PAGE_BYTES = 32 * 1024 * 1024

# Matches no sandbox: references are random.
_NOTHING = '{"daytona-billing-ref":"-"}'

_NO_DOCUMENT: Mapping[str, Any] = {}

# What cannot be a name on C{GET /sandbox/<name>}: other routes, and steps of a path.
_STEPS = frozenset({"", ".", ".."})
_NO_NAMES = _STEPS | {"paginated", "for-runner"}


@frozen(kw_only=True)
class CallSeconds:
    """
    How long an answer may take.

    @ivar waiting: create and start, which Daytona itself holds open for 30 s.
    @ivar change: Everything else that changes something.
    @ivar read: Lookups.
    @ivar page: One page of a list; all of it in the array dialects.
    """

    waiting: float = 90.0
    change: float = 30.0
    read: float = 15.0
    page: float = 60.0


def _json(read: Callable[[Any], T]) -> Callable[[bytes], T]:
    return lambda body: read(parse_json(body))


_SANDBOX = _json(read_sandbox)
_OBJECT = _json(read_object)
_PAGE = _json(read_paginated)


def _listing(rows: Rows, sent_at: UnixSeconds, answered_at: UnixSeconds) -> Listing:
    # What nobody reads of ten thousand rows is let go with its page.
    kept = tuple(evolve(row, document=_NO_DOCUMENT) for row in rows.sandboxes)
    return Listing(kept, sent_at, answered_at, rows.unread)


def _ignored(body: bytes) -> None:
    """Some answers are empty, some a Sandbox; nobody asks."""


@implementer(IRuntime)
@frozen
class DaytonaRuntime:
    """
    @ivar wall: Stamps the pages of a sweep.
    """

    _exchange: Exchange
    wall: IWallClock
    seconds: CallSeconds = field(factory=CallSeconds)

    @classmethod
    def over(
        cls,
        http: HTTPClient,
        *,
        url: str,
        admin_key: str,
        clock: IReactorTime,
        wall: IWallClock,
        seconds: CallSeconds | None = None,
    ) -> DaytonaRuntime:
        """
        @param http: Of L{daytona_client}, or in memory.
        @param url: C{DAYTONA_API_URL}.
        @param clock: Counts the time-outs.
        @raise BadInput: The URL is none.
        """
        exchange = Exchange(http, api_base(url), admin_key, clock)
        return cls(exchange, wall, seconds or CallSeconds())

    async def _read(self, read: Callable[[bytes], T], *segments: str) -> T:
        request = Request(method="GET", segments=segments, seconds=self.seconds.read)
        return await self._exchange.ask(request, read)

    async def _list(
        self,
        path: str,
        query: Query,
        read: Callable[[bytes], T],
        *,
        limit: int = MAX_LIST_BYTES,
    ) -> T:
        request = Request(
            method="GET",
            segments=tuple(path.split("/")),
            seconds=self.seconds.page,
            query=query,
            limit=limit,
        )
        return await self._exchange.ask(request, read)

    async def _change(
        self,
        read: Callable[[bytes], T],
        method: str,
        *segments: str,
        seconds: float | None = None,
        body: Mapping[str, Any] | None = None,
        query: Query | None = None,
    ) -> T:
        request = Request(
            method=method,
            segments=segments,
            seconds=self.seconds.change if seconds is None else seconds,
            body=body,
            query=query or {},
        )
        return await self._exchange.ask(request, read)

    async def ping(self) -> None:
        # Authenticated, small in every dialect, and the answer holds no key.
        await self._list("snapshots", {"page": "1", "limit": "1"}, _json(read_snapshots))

    async def create(self, body: Mapping[str, Any]) -> Sandbox:
        waiting = self.seconds.waiting
        return await self._change(_SANDBOX, "POST", "sandbox", seconds=waiting, body=body)

    async def get(self, id_or_name: str) -> Sandbox | None:
        if id_or_name.lower() in _NO_NAMES:
            return None
        try:
            return await self._read(_SANDBOX, "sandbox", id_or_name)
        except DaytonaRefused as reason:
            if is_missing(reason):
                return None
            raise

    async def sweep(self) -> tuple[Listing, ...]:
        if not await self.lists_pages():
            # Its list is one answer, as large as what everybody has stored there.
            numbered = await self._numbered()
            if numbered is not None:
                return numbered
        return await self._sweep()

    async def _numbered(self) -> tuple[Listing, ...] | None:
        """
        The deprecated pages, the newest rows first: what is deleted meanwhile moves others to
        pages that are still to be read, and what is created is younger than the sweep.

        @return: None where there are no such pages.
        """
        try:
            first, pages = await self._page(1)
        except DaytonaRefused as reason:
            if reason.status == 404:
                return None
            raise
        if pages > MAX_PAGES:
            raise Transient(f"GET /sandbox/paginated: more than {MAX_PAGES} pages")
        if pages <= 1:
            return (first,)
        read = [(await self._page(number))[0] for number in range(pages, 0, -1)]
        return each_once(read)

    async def _page(self, number: int) -> tuple[Listing, int]:
        sent_at = self.wall.now()
        query = {"limit": NUMBERED_SIZE, "sort": "createdAt", "order": "asc", "page": str(number)}
        rows, pages = await self._list("sandbox/paginated", query, _json(read_numbered))
        return _listing(rows, sent_at, self.wall.after()), pages

    async def _sweep(self) -> tuple[Listing, ...]:
        listings: list[Listing] = []
        cursors: set[str] = set()
        # The default order moves rows between pages while there is activity.
        query = {"limit": PAGE_SIZE, "sort": "createdAt", "order": "asc"}
        while len(listings) < MAX_PAGES:
            sent_at = self.wall.now()
            rows, cursor = await self._list("sandbox", query, _json(read_listing))
            listings.append(_listing(rows, sent_at, self.wall.after()))
            if cursor is None:
                return tuple(listings)
            if cursor in cursors:
                raise Transient("GET /sandbox: the pages go round in a circle")
            cursors.add(cursor)
            query["cursor"] = cursor
        raise Transient(f"GET /sandbox: more than {MAX_PAGES} pages")

    async def look(self, sandbox: SandboxId) -> Listing:
        # By its id these pages filter in every dialect; in newer ones they are deprecated.
        sent_at = self.wall.now()
        query = {"id": sandbox, "limit": PAGE_SIZE}
        try:
            rows, _ = await self._list("sandbox/paginated", {**query, "page": "1"}, _PAGE)
        except DaytonaRefused as reason:
            if reason.status != 404:
                raise
            sent_at = self.wall.now()
            rows, _ = await self._list("sandbox", query, _json(read_page))
        found = tuple(row for row in rows if row.id == sandbox)
        return Listing(found, sent_at, self.wall.after())

    async def labelled(self, label: str, value: str) -> tuple[Sandbox, ...]:
        # An array dialect knows no limit and answers with all; newer ones with pages.
        query = {"labels": json.dumps({label: value}), "limit": PAGE_SIZE}
        rows, cursor = await self._list("sandbox", query, _json(read_page))
        if cursor is not None:
            raise Transient(f"GET /sandbox: too many with one {label}")
        return tuple(row for row in rows if row.labels.get(label) == value)

    async def lists_pages(self) -> bool:
        query = {"limit": "1", "labels": _NOTHING}
        return await self._list("sandbox", query, _json(read_lists_pages), limit=MAX_PAGE_BYTES)

    async def page(self, query: Query, *, paginated: bool) -> Any:
        path = "sandbox/paginated" if paginated else "sandbox"
        return await self._list(path, query, parse_json, limit=MAX_PAGE_BYTES)

    async def start(self, sandbox: SandboxId) -> Sandbox:
        waiting = self.seconds.waiting
        return await self._change(_SANDBOX, "POST", "sandbox", sandbox, "start", seconds=waiting)

    async def stop(self, sandbox: SandboxId) -> Sandbox | None:
        return await self._end("POST", "sandbox", sandbox, "stop")

    async def delete(self, sandbox: SandboxId, *, force: bool = False) -> Sandbox | None:
        query = {"force": "true"} if force else None
        return await self._end("DELETE", "sandbox", sandbox, query=query)

    async def _end(self, method: str, *segments: str, query: Query | None = None) -> Sandbox | None:
        try:
            return await self._change(_SANDBOX, method, *segments, query=query)
        except DaytonaRefused as reason:
            if not is_missing(reason):
                raise
            if await self.get(segments[1]) is not None:
                raise Transient("Daytona does not find what it shows; ask again") from reason
            return None

    async def archive(self, sandbox: SandboxId) -> Sandbox:
        return await self._change(_SANDBOX, "POST", "sandbox", sandbox, "archive")

    async def recover(self, sandbox: SandboxId, *, skip_start: bool) -> Sandbox:
        return await self._change(
            _SANDBOX,
            "POST",
            "sandbox",
            sandbox,
            "recover",
            seconds=self.seconds.waiting,
            query={"skipStart": "true"} if skip_start else {},
        )

    async def resize(self, sandbox: SandboxId, sizes: Mapping[str, int]) -> Sandbox:
        return await self._change(_SANDBOX, "POST", "sandbox", sandbox, "resize", body=sizes)

    async def replace_labels(self, sandbox: SandboxId, labels: Mapping[str, str]) -> Sandbox:
        body = {"labels": dict(labels)}
        return await self._change(_SANDBOX, "PUT", "sandbox", sandbox, "labels", body=body)

    async def set_auto_stop(self, sandbox: SandboxId, minutes: int) -> None:
        await self._change(_ignored, "POST", "sandbox", sandbox, "autostop", str(minutes))

    async def touch(self, sandbox: SandboxId) -> None:
        await self._change(_ignored, "POST", "sandbox", sandbox, "last-activity")

    async def ssh_access(self, sandbox: SandboxId, minutes: int) -> Mapping[str, Any]:
        query = {"expiresInMinutes": str(minutes)}
        return await self._change(_OBJECT, "POST", "sandbox", sandbox, "ssh-access", query=query)

    async def revoke_ssh(self, sandbox: SandboxId, token: str | None) -> Sandbox:
        query = {} if token is None else {"token": token}
        return await self._change(_SANDBOX, "DELETE", "sandbox", sandbox, "ssh-access", query=query)

    async def signed_preview(
        self, sandbox: SandboxId, port: int, seconds: int
    ) -> Mapping[str, Any]:
        request = Request(
            method="GET",
            segments=("sandbox", sandbox, "ports", str(port), "signed-preview-url"),
            seconds=self.seconds.read,
            query={"expiresInSeconds": str(seconds)},
        )
        return await self._exchange.ask(request, _OBJECT)

    async def preview_holder(self, token: str, port: int) -> SandboxId | None:
        if token in _STEPS:
            return None
        try:
            return await self._read(read_id, "preview", token, str(port), "sandbox-id")
        except DaytonaRefused as reason:
            if reason.status == 404:
                return None
            raise

    async def expire_preview(self, sandbox: SandboxId, port: int, token: str) -> None:
        at = ("ports", str(port), "signed-preview-url", token, "expire")
        await self._change(_ignored, "POST", "sandbox", sandbox, *at)

    async def set_public(self, sandbox: SandboxId, public: bool) -> Sandbox:
        value = "true" if public else "false"
        return await self._change(_SANDBOX, "POST", "sandbox", sandbox, "public", value)

    async def set_network(self, sandbox: SandboxId, settings: Mapping[str, Any]) -> Sandbox:
        return await self._change(
            _SANDBOX, "POST", "sandbox", sandbox, "network-settings", body=settings
        )

    async def telemetry(self, sandbox: SandboxId, kind: tuple[str, ...], query: Query) -> Any:
        request = Request(
            method="GET",
            segments=("sandbox", sandbox, "telemetry", *kind),
            seconds=self.seconds.page,
            query=query,
            limit=MAX_PAGE_BYTES,
        )
        return await self._exchange.ask(request, parse_json)

    async def config(self) -> Mapping[str, Any]:
        return await self._read(_OBJECT, "config")

    async def regions(self) -> tuple[Mapping[str, Any], ...]:
        return await self._read(_json(read_objects), "shared-regions")

    async def snapshots(self) -> tuple[Mapping[str, Any], ...]:
        found: list[Mapping[str, Any]] = []
        for page in range(1, MAX_PAGES):
            query = {"page": str(page), "limit": "100"}
            rows, pages = await self._list("snapshots", query, _json(read_snapshots))
            found.extend(rows)
            if page >= pages:
                return tuple(found)
        raise Transient(f"GET /snapshots: more than {MAX_PAGES} pages")

    async def create_snapshot(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return await self._change(_OBJECT, "POST", "snapshots", body=body)

    async def set_snapshot_general(self, snapshot: str, general: bool) -> Mapping[str, Any]:
        body, at = {"general": general}, ("snapshots", snapshot, "general")
        try:
            return await self._change(_OBJECT, "PATCH", "admin", *at, body=body)
        except DaytonaRefused as reason:
            if reason.status != 404:
                raise
            # Its place before v0.190, where nothing is below /admin.
            return await self._change(_OBJECT, "PATCH", *at, body=body)

    async def delete_snapshot(self, snapshot: str) -> None:
        await self._change(_ignored, "DELETE", "snapshots", snapshot)

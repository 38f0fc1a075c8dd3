"""
Daytona's JSON, read leniently: unknown fields and states pass, a missing id does not.

Everything here raises L{Unreadable}, which the exchange turns into what it means
for the call at hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

from attrs import evolve, frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import Listing, Sandbox
from sandbox_billing.ledger.identity import Reference, SandboxId, sandbox_id
from sandbox_billing.ledger.reconciliation import REFERENCE_LABEL, Unread
from sandbox_billing.ledger.resources import read_resources
from sandbox_billing.signing.depth import is_deep


@frozen(auto_exc=False, str=True)
class Unreadable(Exception):
    """
    A successful answer that is not what was asked for; never leaves the adapter.

    @ivar text: What is wrong with it, without its content.
    """

    text: str


_LONGEST_WHOLE = 20
"""Digits; nothing of Daytona's has more, and Python refuses to read thousands."""

_HALF = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
_LONE = re.compile("[\ud800-\udfff]")


def parse_json(body: bytes) -> Any:
    """
    One odd value is no reason not to see the rest of a list: a number that is none, or has
    no end, stays the text that it was, and half a character becomes a mark.

    @raise Unreadable: It is no JSON (a page in HTML, a body cut short), or deeper than any.
    """
    if is_deep(body):
        raise Unreadable("JSON nested too deep")
    try:
        text = body.decode("utf-8-sig", "surrogatepass")
        document = json.loads(text, parse_constant=str, parse_float=_finite, parse_int=_short)
        # To look at each text takes longer than to read them.
        return _sound(document) if _HALF.search(body) else document
    except (ValueError, RecursionError):
        raise Unreadable("not JSON") from None


def _finite(text: str) -> float | str:
    value = float(text)
    return value if isfinite(value) else text


def _short(text: str) -> int | str:
    return int(text) if len(text) <= _LONGEST_WHOLE else text


def _sound(value: Any) -> Any:
    if isinstance(value, str):
        return _LONE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_sound(one) for one in value]
    if isinstance(value, dict):
        return {_sound(name): _sound(one) for name, one in value.items()}
    return value


def read_object(document: Any) -> Mapping[str, Any]:
    """@raise Unreadable: It is no JSON object."""
    if not isinstance(document, dict):
        raise Unreadable("not a JSON object")
    return document


def read_sandbox(document: Any) -> Sandbox:
    """
    @param document: A Sandbox or a SandboxListItem.
    @raise Unreadable: It has no id, or sizes that are no whole numbers.
    """
    shown = read_object(document)
    try:
        id = sandbox_id(shown.get("id", ""))
        resources = read_resources(shown)
    except BadInput as reason:
        raise Unreadable(reason.text) from None
    labels = shown.get("labels")
    return Sandbox(
        id=id,
        name=_text(shown.get("name")) or id,
        # Very old servers have no such key; null is a server that does not know.
        state=_text(shown.get("state", "started")) or "unknown",
        desired_state=_text(shown.get("desiredState")),
        labels={
            key: value
            for key, value in (labels.items() if isinstance(labels, dict) else ())
            if isinstance(value, str)
        },
        resources=resources,
        auto_stop_minutes=_whole(shown.get("autoStopInterval")),
        last_activity_at=_text(shown.get("lastActivityAt")),
        document=shown,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) is int else None


@frozen
class Rows:
    """
    The rows of a list.

    @ivar unread: Those that cannot be read.
    """

    sandboxes: tuple[Sandbox, ...]
    unread: tuple[Unread, ...]


def read_rows(documents: list[Any]) -> Rows:
    """Each row for itself: one that cannot be read is no reason not to see the others."""
    sandboxes, unread = [], []
    for document in documents:
        try:
            sandboxes.append(read_sandbox(document))
        except Unreadable as reason:
            unread.append(_unread(document, reason.text))
    return Rows(tuple(sandboxes), tuple(unread))


def _unread(document: Any, why: str) -> Unread:
    shown = document if isinstance(document, dict) else {}
    try:
        id = sandbox_id(shown.get("id", ""))
    except BadInput:
        id = None
    labels = shown.get("labels")
    reference = _text(labels.get(REFERENCE_LABEL)) if isinstance(labels, dict) else None
    return Unread(sandbox=id, reference=Reference(reference) if reference else None, why=why)


def read_listing(document: Any) -> tuple[Rows, str | None]:
    """
    Either shape of C{GET /sandbox}: a bare array, or C{{items, nextCursor}}.

    @return: The rows, and the cursor of the next page; None when this is the last.
    @raise Unreadable: Neither shape.
    """
    if isinstance(document, list):
        return read_rows(document), None
    page = read_object(document)
    rows, cursor = page.get("items"), page.get("nextCursor")
    # Without its key a page of another kind would pass for the last one.
    if not isinstance(rows, list) or "nextCursor" not in page:
        raise Unreadable("neither an array nor {items, nextCursor}")
    if cursor is not None and not isinstance(cursor, str):
        raise Unreadable("nextCursor is no text")
    return read_rows(rows), cursor or None


def read_page(document: Any) -> tuple[tuple[Sandbox, ...], str | None]:
    """
    As L{read_listing}, where each row is needed.

    @raise Unreadable: Neither shape, or a row that cannot be read.
    """
    rows, cursor = read_listing(document)
    for one in rows.unread:
        raise Unreadable(one.why)
    return rows.sandboxes, cursor


def read_numbered(document: Any) -> tuple[Rows, int]:
    """
    As L{read_paginated}, each row for itself.

    @raise Unreadable: It is not C{{items, total, page, totalPages}}.
    """
    page = read_object(document)
    rows, pages = page.get("items"), _whole(page.get("totalPages"))
    if not isinstance(rows, list) or pages is None:
        raise Unreadable("not {items, totalPages}")
    return read_rows(rows), pages


def read_paginated(document: Any) -> tuple[tuple[Sandbox, ...], int]:
    """
    @return: The sandboxes of a page, and how many pages there are.
    @raise Unreadable: It is not C{{items, total, page, totalPages}}.
    """
    page = read_object(document)
    rows, pages = page.get("items"), _whole(page.get("totalPages"))
    if not isinstance(rows, list) or pages is None:
        raise Unreadable("not {items, totalPages}")
    return tuple(read_sandbox(row) for row in rows), pages


def read_snapshots(document: Any) -> tuple[tuple[Mapping[str, Any], ...], int]:
    """
    @return: The snapshots of a page, and how many pages there are.
    @raise Unreadable: Neither an array nor C{{items, total, page, totalPages}}.
    """
    if isinstance(document, list):
        return tuple(read_object(row) for row in document), 1
    page = read_object(document)
    rows, pages = page.get("items"), _whole(page.get("totalPages"))
    if not isinstance(rows, list) or pages is None:
        raise Unreadable("neither an array nor {items, totalPages}")
    return tuple(read_object(row) for row in rows), pages


def read_lists_pages(document: Any) -> bool:
    """@raise Unreadable: It is none of the lists that are known."""
    read_listing(document)
    return isinstance(document, dict)


def read_objects(document: Any) -> tuple[Mapping[str, Any], ...]:
    """@raise Unreadable: It is no array of objects."""
    if not isinstance(document, list):
        raise Unreadable("not a JSON array")
    return tuple(read_object(row) for row in document)


def read_id(body: bytes) -> SandboxId:
    """
    @param body: An id, bare or as a JSON string.
    @raise Unreadable: It is none.
    """
    try:
        return sandbox_id(body.decode("ascii").strip().strip('"'))
    except (UnicodeDecodeError, BadInput):
        raise Unreadable("not an id") from None


def each_once(listings: list[Listing]) -> tuple[Listing, ...]:
    """What moved between two pages, as the later of them shows it."""
    shown: set[SandboxId] = set()
    kept: list[Listing] = []
    for listing in reversed(listings):
        rows = tuple(row for row in listing.sandboxes if row.id not in shown)
        shown.update(row.id for row in rows)
        kept.append(evolve(listing, sandboxes=rows))
    return tuple(kept)

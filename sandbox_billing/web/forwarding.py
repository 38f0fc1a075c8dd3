"""
Which headers pass, in both directions: those that are named here, and no others.

What a client may not say to Daytona (daytona.md §13: credentials, organization, preview
tokens, forwarded-for) is not struck out but never copied.

Tests: C{tests.web.test_forwarding}.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote, urlencode

from twisted.web.http_headers import Headers

from sandbox_billing.errors import BadInput
from sandbox_billing.signing.request import Query


_LISTS = frozenset({"accept", "accept-encoding", "accept-language", "if-match", "if-none-match"})
"""Several lines of these are one list."""

FORWARDED_HEADERS = _LISTS | {
    *("content-encoding", "content-type", "if-modified-since", "if-range"),
    *("if-unmodified-since", "range", "user-agent", "x-daytona-sdk-version"),
    "x-daytona-source",
}

_UPGRADE_LISTS = frozenset({"sec-websocket-extensions", "sec-websocket-protocol"})

UPGRADE_HEADERS = _UPGRADE_LISTS | {"sec-websocket-key", "sec-websocket-version"}

RETURNED_HEADERS = frozenset(
    {
        *("accept-ranges", "content-disposition", "content-encoding", "content-language"),
        *("content-range", "content-type", "etag", "last-modified", "location", "retry-after"),
        "x-daytona-api-version",
    }
)

_KEY = "daytona_sandbox_auth_key"
"""What Daytona's proxy takes from a query for a credential."""


def _is_plain(value: str) -> bool:
    return not any((ch < " " and ch != "\t") or ch == "\x7f" for ch in value)


def _hop_by_hop(headers: Headers) -> frozenset[str]:
    lines = headers.getRawHeaders(b"Connection", [])
    return frozenset(
        token.strip().lower() for line in lines for token in line.decode("latin-1").split(",")
    )


def _named(headers: Headers, allowed: frozenset[str]) -> Iterator[tuple[str, list[str]]]:
    here = _hop_by_hop(headers)
    for name in sorted(allowed - here):
        lines = headers.getRawHeaders(name.encode("ascii"), [])
        if lines:
            yield name, [line.decode("latin-1") for line in lines]


def request_headers(headers: Headers, *, upgrading: bool) -> tuple[tuple[str, str], ...]:
    """
    What goes on to Daytona, names in lower case, each once.

    @param upgrading: Whether the request asks for a WebSocket.
    @raise BadInput: Something stands twice that may stand once, or has a control character.
    """
    allowed = FORWARDED_HEADERS | UPGRADE_HEADERS if upgrading else FORWARDED_HEADERS
    passed = []
    for name, lines in _named(headers, allowed):
        if len(lines) > 1 and name not in _LISTS | _UPGRADE_LISTS:
            raise BadInput(f"{name} stands twice")
        value = ", ".join(lines)
        if not _is_plain(value):
            raise BadInput(f"{name} contains a control character")
        passed.append((name, value))
    return tuple(passed)


def response_headers(headers: Headers) -> tuple[tuple[str, str], ...]:
    """What comes back from Daytona; what is odd is left out."""
    return tuple(
        (name, lines[0])
        for name, lines in _named(headers, RETURNED_HEADERS)
        if len(lines) == 1 and _is_plain(lines[0])
    )


def forwarded_query(query: Query) -> str:
    """The query in one spelling, without what would be a credential."""
    kept = [(name, value) for name, value in query if name.lower() != _KEY]
    return urlencode(kept, quote_via=quote)

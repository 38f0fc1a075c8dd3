"""
Which headers pass, in both directions: those that are named here, and no others.

What a client may not say to Daytona (daytona.md §13: credentials, organization, preview
tokens, forwarded-for) is not struck out but never copied.

Tests: C{tests.web.test_forwarding}.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote, urlencode

from twisted.web.http_headers import Headers

from sandbox_billing.signing.request import Query


TO_DAYTONA = (
    *("Accept", "Accept-Encoding", "Accept-Language", "Content-Type", "Content-Encoding"),
    *("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range"),
    *("Range", "User-Agent", "X-Daytona-Source", "X-Daytona-SDK-Version"),
)

TO_DAYTONA_UPGRADING = (
    *("Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol"),
    *("Sec-WebSocket-Extensions", "User-Agent", "X-Daytona-Source", "X-Daytona-SDK-Version"),
)

TO_CLIENT = (
    *("Accept-Ranges", "Content-Disposition", "Content-Encoding", "Content-Language"),
    *("Content-Range", "Content-Type", "ETag", "Last-Modified", "Location", "Retry-After"),
    "X-Daytona-Api-Version",
)

TO_CLIENT_UPGRADING = (
    *("Sec-WebSocket-Accept", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"),
)

_NEVER_ASKED = frozenset({"daytona_sandbox_auth_key"})
"""Names in a query that Daytona's proxy reads as credentials."""


def passed(headers: Headers, allowed: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Those headers that may pass, all of their values, spelt as in the list."""
    return tuple(
        (name, value.decode("latin-1"))
        for name in allowed
        for value in headers.getRawHeaders(name.encode("ascii"), [])
    )


def encoded_query(query: Query) -> str:
    """The query in one spelling, without what would be a credential."""
    kept = [(name, value) for name, value in query if name.lower() not in _NEVER_ASKED]
    return urlencode(kept, quote_via=quote)

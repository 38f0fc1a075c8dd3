"""
A request and its answer as values: what a transport is given and what it gives back.

Nothing here opens a connection.  An operation is a generator that yields L{Call} and L{Pause}
and is sent an L{Answer} for each call; whoever drives it decides how bytes travel and whether
waiting blocks.

Tests: C{tests.client.test_core}.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote, urlencode

from attrs import field, frozen

from sandbox_billing.client.errors import ApiError, Garbled


_T = TypeVar("_T")

Query: TypeAlias = Iterable[tuple[str, "str | int | None"]]
"""Names and values; what is None is left out."""

_LITERAL = "-._~:@!$&'()*+,;="
"""Characters that a path may hold as they are (L{sandbox_billing.signing.canonical})."""


@frozen(kw_only=True)
class Upload:
    """
    A body that nobody holds whole.

    @ivar length: Bytes.
    @ivar sha256: Of all of it, lower-case hex.
    @ivar pieces: Makes the bytes from their beginning, each time it is called.
    """

    length: int
    sha256: str
    pieces: Callable[[], Iterator[bytes]] = field(repr=False)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[bytes]:
        return self.pieces()


@frozen(kw_only=True)
class Call:
    """
    A request, ready to be sent, once: a signed one is refused the second time.

    @ivar url: All of it.  A redirect of it must not be followed.
    @ivar timeout: Seconds for which the other side may say nothing.
    @ivar sink: Where a transport may put the pieces of a 2xx answer's body as they come; the
        L{Answer}'s body is empty then.  One that cannot stream ignores this.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | Upload = field(default=b"", repr=False)
    timeout: float = 30.0
    sink: Callable[[bytes], object] | None = field(default=None, repr=False)

    def content(self) -> bytes:
        """The body in one piece, for a transport that sends no streams."""
        return self.body if isinstance(self.body, bytes) else b"".join(self.body)


def _lower(headers: Mapping[str, str]) -> Mapping[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@frozen(kw_only=True)
class Answer:
    """
    What came back.

    @ivar headers: By their names in lower case.
    """

    status: int
    headers: Mapping[str, str] = field(factory=dict, converter=_lower, repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def ok(self) -> bool:
        """Whether it is of success."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """
        @raise Garbled: The body is no JSON.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise Garbled(
                text="the answer is no JSON: is this the address of a billing proxy?",
                status=self.status,
            ) from None

    def document(self) -> dict[str, Any]:
        """
        @raise Garbled: The body is no JSON object.
        """
        found = self.json()
        if not isinstance(found, dict):
            raise Garbled(text="the answer is no JSON object", status=self.status)
        return found


@frozen
class Pause:
    """
    Wait, then go on.

    @ivar seconds: How long.
    @ivar why: What came of the last try, where it is made again; None where something is waited
        for.
    """

    seconds: float
    why: ApiError | None = None


Flow: TypeAlias = Generator["Call | Pause", Any, _T]
"""One operation; returns what came of it."""


def path_of(*segments: str) -> str:
    """
    A path in its one spelling.

    @param segments: What stands between slashes, as it is meant.
    """
    return "".join("/" + quote(one, safe=_LITERAL) for one in segments)


def query_of(fields: Query) -> str:
    """With its question mark; empty where there is nothing."""
    told = [(name, str(value)) for name, value in fields if value is not None]
    return "?" + urlencode(told, quote_via=quote) if told else ""

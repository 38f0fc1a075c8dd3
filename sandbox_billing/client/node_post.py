"""
Requests to one node that nobody has to trust, so many and no more; and what it may answer.

No text made here contains the node's URL: it may hold a secret.

Tests: L{tests.client.test_node_post}.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooSlow
from threading import Thread
from typing import Any, TypeAlias

from sandbox_billing.errors import Transient


Post: TypeAlias = Callable[[Any], Any]
"""Send JSON, and get JSON."""

SECONDS = 20.0
"""Without a byte; an answer as a whole may take three times as long."""

MOST_BYTES = 32 * 1024 * 1024
"""Of one answer."""

MOST_REQUESTS, MOST_SECONDS = 10_000, 900.0
"""For everything that is asked of one node."""

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}\Z")
_INT64 = 2**63


def post_to(url: str, seconds: float = SECONDS, most_bytes: int = MOST_BYTES) -> Post:
    """Requests to one node, over one connection; each raises L{Transient} without an answer."""
    # A tenth of a second, which only who asks should pay.
    import requests

    session = requests.Session()
    # What is packed may be far larger than it looks.
    session.headers["Accept-Encoding"] = "identity"

    def exchange(document: Any, future: Future[bytes]) -> None:
        found = bytearray()
        try:
            with session.post(
                url, json=document, timeout=seconds, allow_redirects=False, stream=True
            ) as answer:
                for piece in answer.iter_content(64 * 1024):
                    found += piece
                    if len(found) > most_bytes:
                        raise Transient(f"the node answered more than {most_bytes} bytes")
            future.set_result(bytes(found))
        except Transient as why:
            future.set_exception(why)
        except (requests.RequestException, OSError, ValueError) as why:
            # Its text would hold the URL.
            problem = Transient(f"the node gave no answer: {type(why).__name__}")
            future.set_exception(problem)

    def post(document: Any) -> Any:
        # No timeout of a socket ends an answer that drips: only who waits can go away.
        future: Future[bytes] = Future()
        Thread(target=exchange, args=(document, future), daemon=True).start()
        try:
            return json.loads(future.result(timeout=3 * seconds))
        except TooSlow:
            raise Transient("the node took too long for its answer") from None
        except (ValueError, RecursionError) as why:
            raise Transient(f"the node gave no answer: {type(why).__name__}") from None

    return post


class Bounded:
    """
    A L{Post} that ends: a node may always have one thing more to ask for.
    """

    def __init__(
        self,
        post: Post,
        *,
        most: int = MOST_REQUESTS,
        seconds: float = MOST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """@param clock: Seconds, that only run forward."""
        self._post = post
        self._left = most
        self._seconds = seconds
        self._clock = clock
        self._until: float | None = None

    def __call__(self, document: Any) -> Any:
        """@raise Transient: It was asked too often, or for too long."""
        now = self._clock()
        if self._until is None:
            self._until = now + self._seconds
        if self._left <= 0 or now > self._until:
            raise Transient("the node has to be asked too often: try another, or a later block")
        self._left -= 1
        return self._post(document)


def quantity(text: Any) -> int:
    """A number that 64 bits hold: a block, a moment, a chain; else L{Transient}."""
    if type(text) is not str or not _QUANTITY.match(text) or int(text, 16) >= _INT64:
        raise Transient("the node answered something that is no number")
    return int(text, 16)


def octets(text: Any) -> bytes:
    """Hex; else L{Transient}."""
    try:
        if type(text) is not str:
            raise ValueError
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise Transient("the node answered something that is no hex") from None

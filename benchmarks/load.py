"""A client that costs little itself: requests are bytes made beforehand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol


_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class Surprise(Exception):
    """An answer that is not 200 with a length, or none."""


@define(eq=False)
class Load:
    """
    Some connections that share a pile of requests.

    @ivar requests: What is still to be sent.
    """

    requests: Iterator[bytes]
    open: int
    done: Deferred[None] = field(factory=Deferred)

    def finished(self) -> None:
        """A connection found the pile empty."""
        self.open -= 1
        if not self.open and not self.done.called:
            self.done.callback(None)

    def failed(self, text: str) -> None:
        """One failure ends it."""
        if not self.done.called:
            self.done.errback(Surprise(text))


class Asker(Protocol):
    """One request after the other on one connection."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._answer = b""
        self._over = False

    def connectionMade(self) -> None:
        """Begin."""
        self._next()

    def _next(self) -> None:
        request = next(self._load.requests, None)
        if request is None:
            self._over = True
            self._load.finished()
            self._lose()
        else:
            self._write(request)

    def _lose(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()

    def _write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        """Wait for the whole answer."""
        self._answer += data
        head, blank, body = self._answer.partition(b"\r\n\r\n")
        if not blank:
            return
        length = _LENGTH.search(head + b"\r\n")
        if b" 200 " not in head[:14] or length is None:
            self._load.failed(self._answer.decode(errors="replace"))
            self._lose()
        elif len(body) >= int(length.group(1)):
            self._answer = b""
            self._next()

    def connectionLost(self, reason: Any = None) -> None:
        """Too early, unless the pile was empty."""
        if not self._over:
            self._load.failed("the connection was lost")


async def send_all(reactor: Any, port: int, requests: Sequence[bytes], connections: int) -> None:
    """
    Send them to a server on this machine, and wait for the answers.

    @raise Surprise: An answer was not 200.
    """
    load = Load(iter(requests), connections)
    factory: Any = Factory.forProtocol(lambda: Asker(load))
    for _ in range(connections):
        await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(factory)
    await load.done

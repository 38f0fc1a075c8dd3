"""
Requests that are read whole before anybody is asked: their bodies rest in memory, within
bounds that all of them share.

Tests: C{tests.web.test_site}, C{tests.web.test_hostile}.
"""

# Twisted's server is not annotated.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from io import BytesIO
from typing import Any

from attrs import define, field

from sandbox_billing.web._router import TOO_LARGE
from sandbox_billing.web.answers import SERVER_NAME
from sandbox_billing.web.peers import Peers
from sandbox_billing.web.streaming import StreamingRequest


NOT_A_PATH = "the request target must be a path"
TOO_MANY_BODIES = "too much is being sent at the same time; try again"


def reason(status: int) -> bytes:
    """What stands behind a status: Twisted has no words for 422, 429, 431 and a few more."""
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b"Unknown Status"


@define(eq=False)
class Bodies:
    """
    What rests in memory of bodies that are read whole.

    @ivar most: Bytes of all of them together.
    @ivar most_of_peer: Of one address; a trusted proxy has no bound of its own.
    @ivar held: How many there are.
    """

    peers: Peers
    most: int
    most_of_peer: int
    held: int = field(default=0, init=False)
    _of_peers: Counter[str] = field(factory=Counter, init=False)

    def take(self, host: str | None, count: int) -> bool:
        """@return: False where there is no room for so many; then nothing is counted."""
        name = self.peers.share_of(host)
        if self.held + count > self.most:
            return False
        if name is not None:
            if self._of_peers[name] + count > self.most_of_peer:
                return False
            self._of_peers[name] += count
        self.held += count
        return True

    def give(self, host: str | None, count: int) -> None:
        """What was taken is held no more."""
        self.held -= count
        name = self.peers.share_of(host)
        if name is not None:
            self._of_peers[name] -= count
            if not self._of_peers[name]:
                del self._of_peers[name]


class Held(BytesIO):
    """
    A body in memory; whoever closes it gives back its room.
    """

    def __init__(self, bodies: Bodies, host: str | None) -> None:
        super().__init__()
        self._bodies, self._host, self._taken = bodies, host, 0

    def has_room(self, count: int) -> bool:
        """Take room for what is to be written; False when there is none."""
        if not self._bodies.take(self._host, count):
            return False
        self._taken += count
        return True

    def close(self) -> None:
        """Once or more often."""
        taken, self._taken = self._taken, 0
        if taken:
            self._bodies.give(self._host, taken)
        super().close()


class BillingRequest(StreamingRequest):
    """
    A request whose body is counted while it comes, otherwise the limit is the disk; or
    flows, where its route is a stream.
    """

    channel: Any
    content: Any
    _taken = 0

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        """With its words."""
        super().setResponseCode(code, reason(code) if message is None else message)

    def gotLength(self, length: int | None) -> None:
        """Headers are complete; None is a chunked body."""
        if length != 0 and self.channel.is_stream():
            self.begin_stream(length)
            return
        # Not Twisted's own, which is a file on disk for all that is long, or may become so.
        self.content = Held(self.channel.site.bodies, self.channel.host)
        if length is not None and length > self.channel.limits.body_bytes:
            # Or the channel would invite it before refusing it.
            self.requestHeaders.removeHeader(b"Expect")
            self.channel.refuse(413, TOO_LARGE)

    def handleContentChunk(self, data: bytes) -> None:
        """Some of the body."""
        if self.streamed is None:
            body = self.content
            if body.closed:
                # Refused, with more of it in the same piece.
                return
            self._taken += len(data)
            if self._taken > self.channel.limits.body_bytes:
                self.channel.refuse(413, TOO_LARGE)
                return
            if not body.has_room(len(data)):
                self.channel.refuse(503, TOO_MANY_BODIES)
                return
        super().handleContentChunk(data)

    def write(self, data: bytes) -> None:
        """Whoever answers, no version of ours is told."""
        if not self.startedWriting:
            self.setHeader(b"Server", SERVER_NAME.encode("ascii"))
        super().write(data)

    def process(self) -> None:
        """All has arrived."""
        if self.path == b"*":
            # Twisted would answer by itself.
            self.channel.refuse(400, NOT_A_PATH)
            return
        super().process()

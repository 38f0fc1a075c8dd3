"""
Bodies that flow: what Twisted's server does not offer, and its private names for it.

Twisted collects a body before anybody is asked.  L{StreamingRequest} is asked when the
headers are complete and hands out a L{StreamedBody} instead.  The names that are not
promised are held by C{tests.web.test_tripwire}.

Tests: C{tests.web.test_streams}, C{tests.web.test_tunnels}.
"""

# Twisted's server is not annotated.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import socket
from hashlib import sha256
from io import BytesIO
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, ITCPTransport
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from sandbox_billing.signing.request import AuthenticationError


HELD_BACK_BYTES = 64 * 1024
"""The end of a body that is signed by its hash waits until the hash matches (wire.md §4)."""

MISMATCH = "signature does not match request"


KEEP_ALIVE_SECONDS = 60
"""Without a sign of life; then five probes, ten seconds apart."""


def keep_alive(transport: Any) -> None:
    """Let the kernel find out whether the other end is still there."""
    if ITCPTransport.providedBy(transport):
        transport.setTcpKeepAlive(True)
        descriptor: Any = transport
        handle = descriptor.getHandle()
        for option, value in (
            (socket.TCP_KEEPIDLE, KEEP_ALIVE_SECONDS),
            (socket.TCP_KEEPINTVL, 10),
            (socket.TCP_KEEPCNT, 5),
        ):
            handle.setsockopt(socket.IPPROTO_TCP, option, value)


class Source(Protocol):
    """What a body needs of the connection it comes from."""

    def hold(self) -> None:
        """Read no more until L{release}."""

    def release(self) -> None:
        """Read on."""

    def invite(self) -> None:
        """Tell a client that waits for it to go on."""

    def hurry(self) -> None:
        """Have no more patience with the body than with one that is collected."""


@implementer(IBodyProducer)
class StreamedBody:
    """
    A body on its way.  Nothing is read before somebody wants it, but for what came in
    one piece with the headers.

    @ivar length: Bytes, or C{UNKNOWN_LENGTH}.
    @ivar ended: Whether all of it was received.
    """

    def __init__(self, channel: Source, length: int | None) -> None:
        self.length: Any = UNKNOWN_LENGTH if length is None else length
        self.ended = False
        self._channel = channel
        self._waiting: list[bytes] = []
        self._consumer: Any = None
        self._done: Deferred[None] | None = None
        self._unwanted = False
        self._expected: str | None = None
        self._digest: Any = None
        self._held = bytearray()

    def expect(self, digest: str) -> None:
        """
        Pass the end of it only if all of it hashes to this.

        @param digest: SHA-256, lower-case hex.  Otherwise the Deferred of
            L{startProducing} fails with L{AuthenticationError}.
        """
        self._expected, self._digest = digest, sha256()

    # --- from the client ---

    def feed(self, data: bytes) -> None:
        """Some of it."""
        if self._unwanted:
            return
        if self._consumer is None:
            self._waiting.append(data)
        else:
            self._pass(data)

    def end(self) -> None:
        """All of it was fed."""
        self.ended = True
        if self._consumer is not None:
            self._finish()

    def _pass(self, data: bytes) -> None:
        if self._expected is None:
            self._consumer.write(data)
            return
        self._digest.update(data)
        self._held += data
        surplus = len(self._held) - HELD_BACK_BYTES
        if surplus > 0:
            passed = bytes(self._held[:surplus])
            del self._held[:surplus]
            self._consumer.write(passed)

    def _finish(self) -> None:
        done, self._done = self._done, None
        if done is None:
            return
        if self._expected is not None:
            if self._digest.hexdigest() != self._expected:
                self._held.clear()
                done.errback(AuthenticationError(MISMATCH))
                return
            held, self._held = bytes(self._held), bytearray()
            if held:
                self._consumer.write(held)
        done.callback(None)

    # --- to whoever wants it ---

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """Once only."""
        done = self._done = Deferred(lambda _: self.stopProducing())
        self._consumer = consumer
        self._channel.invite()
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self._pass(data)
        if self.ended:
            self._finish()
        else:
            self._channel.release()
        return done

    def pauseProducing(self) -> None:
        """The consumer is slow: so is the client, then."""
        if not self.ended and not self._unwanted:
            self._channel.hold()

    def resumeProducing(self) -> None:
        """And no longer."""
        if not self.ended and not self._unwanted:
            self._channel.release()

    def stopProducing(self) -> None:
        """Nobody wants the rest; it is not read before the answer is out."""
        done, self._done = self._done, None
        if not self._unwanted:
            self._unwanted = True
            self._waiting.clear()
            self._held.clear()
            if not self.ended:
                self._channel.hold()
        if done is not None and not done.called:
            done.errback(CancelledError())

    async def whole(self) -> bytes:
        """
        All of it in memory, in due time; only for a C{length} that is known to be small.
        """
        self._channel.hurry()
        collected = _Collector()
        await self.startProducing(collected)
        return b"".join(collected.parts)


class _Collector:
    """A consumer that keeps everything."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.parts.append(data)


@implementer(IBodyProducer)
class ReadBody:
    """A body that was read before it is sent on."""

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """At once: it is small."""
        consumer.write(self._body)
        # Or it stays for as long as the answer takes.
        self._body = b""
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def pauseProducing(self) -> None:
        """It is written already."""

    def resumeProducing(self) -> None:
        """It is written already."""

    def stopProducing(self) -> None:
        """It is written already."""


class StreamingRequest(server.Request):
    """
    A request that is served while its body comes, where its route wants that.

    @ivar streamed: The body on its way; None for a request that is whole.
    """

    channel: Any
    streamed: StreamedBody | None = None
    _start: Any = None
    _answered = False

    def begin_stream(self, length: int | None) -> None:
        """
        Called in C{gotLength}.  Never process in place: a handler that answers at once
        takes the request out of the channel's list while the parser still needs it.
        """
        channel = self.channel
        self.content = BytesIO()
        self.method, self.uri = channel._command, channel._path
        self.path = self.uri.partition(b"?")[0]
        self.args, self.clientproto = {}, channel._version
        self.streamed = StreamedBody(channel, length)
        channel.expects_invitation(self)
        channel.hold()
        self._start = channel.site.reactor.callLater(0, self.process)

    def handleContentChunk(self, data: bytes) -> None:
        """Some of the body."""
        if self.streamed is None:
            super().handleContentChunk(data)
        elif self._answered:
            self.channel.discard(data)
        else:
            self.streamed.feed(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The body is whole."""
        if self.streamed is None:
            super().requestReceived(command, path, version)
            return
        self.streamed.end()
        if self._answered:
            self.channel.stop_lingering()
            super()._cleanup()

    def _cleanup(self) -> None:
        """
        The answer is out.  What is left of the body must not be read as the next request,
        nor may the connection be reset before the client has read the answer.
        """
        if self.streamed is None or self.streamed.ended or self._disconnected:
            super()._cleanup()
            return
        self._answered = True
        self.streamed.stopProducing()
        self.channel.linger()

    def connectionLost(self, reason: Failure) -> None:
        """The client is gone."""
        if self._start is not None and self._start.active():
            self._start.cancel()
        # First of all whoever answers is told: what then breaks is no news to him.
        super().connectionLost(reason)
        if self.streamed is not None:
            self.streamed.stopProducing()


class StreamingChannel(http.HTTPChannel):
    """
    A connection that is read only as fast as somebody takes a body.
    """

    site: Any
    upload_idle_seconds: float | None = None
    _held = False
    _lingering: IDelayedCall | None = None
    _discarded = 0
    _uninvited = False

    def streamed(self) -> StreamedBody | None:
        """The body that is on its way in the newest request."""
        return self.requests[-1].streamed if self.requests else None

    def expects_invitation(self, request: http.Request) -> None:
        """The channel would send its 100 at once; it is due when somebody wants the body."""
        expected = request.requestHeaders.getRawHeaders(b"Expect", [])
        request.requestHeaders.removeHeader(b"Expect")
        self._uninvited = self._version == b"HTTP/1.1" and [text.lower() for text in expected] == [
            b"100-continue"
        ]

    def invite(self) -> None:
        """Tell a client that waits for it to send its body."""
        if self._uninvited:
            self._uninvited = False
            self._send100Continue()

    def hold(self) -> None:
        """Read no more of a body; a client that is held is not idle."""
        self._held = True
        self.setTimeout(None)
        self._networkProducer.pauseProducing()

    def release(self) -> None:
        """Read on, unless the client does not read what we send."""
        self._held = False
        self.setTimeout(self.upload_idle_seconds)
        if not self._waitingForTransport:
            self._networkProducer.resumeProducing()

    def resumeProducing(self) -> None:
        """An answer drains: that is no reason to read a body that nobody takes."""
        super().resumeProducing()
        if self._held:
            self._networkProducer.pauseProducing()

    def allContentReceived(self) -> None:
        """The request is whole."""
        if self.streamed() is not None:
            self._held = False
            if not self._waitingForTransport:
                # Or nobody would notice that the client hangs up.
                self._networkProducer.resumeProducing()
            # What is remembered now is the time-out of the next request.
            self.setTimeout(self.timeOut)
        super().allContentReceived()

    def connectionMade(self) -> None:
        """A client that vanishes without a word must not keep a stream open for ever."""
        keep_alive(self.transport)
        super().connectionMade()

    # --- what is read for nothing ---

    def linger(self) -> None:
        """
        The answer is out before the body is in.  Take some more, for nothing: a connection
        that is closed with something unread is reset, and the answer with it.
        """
        self._held = False
        self.setTimeout(None)
        self._networkProducer.resumeProducing()
        self.end_later()

    def discard(self, data: bytes) -> None:
        """Some of it."""
        self._discarded += len(data)
        if self._discarded > self.site.limits.linger_bytes:
            self.end()

    def stop_lingering(self) -> None:
        """The body is in, and the connection can go on; or it is gone."""
        if self._lingering is not None and self._lingering.active():
            self._lingering.cancel()
        self._lingering = None
        self._discarded = 0

    def end_later(self) -> None:
        """In some seconds, whatever comes until then."""
        self._lingering = self.site.reactor.callLater(self.site.limits.linger_seconds, self.end)

    def end(self) -> None:
        """Now, once what was written is out."""
        assert self.transport is not None
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.loseConnection()

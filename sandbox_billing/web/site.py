"""
HTTP/1.1 with limits: sizes, deadlines, connections, and an end that loses no reply.

All private names of Twisted that the web room leans on are in this module and in
L{streaming<sandbox_billing.web.streaming>}, and in C{tests.web.test_tripwire}, which fails
when Twisted renames one.

Tests: C{tests.web.test_site}.
"""

# Twisted's channel is not annotated.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableDescriptor,
    IReactorTime,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.resource import IResource

from sandbox_billing.interfaces import UNMEASURED, IMeasures, IWallClock
from sandbox_billing.web.answers import (
    ACCESS,
    Answer,
    described,
    dump,
    loggable,
    standard_headers,
)
from sandbox_billing.web.bounds import Limits
from sandbox_billing.web.collecting import BillingRequest, Bodies, reason
from sandbox_billing.web.measured import NO_PATTERN, note_request
from sandbox_billing.web.peers import Crowd, Peers
from sandbox_billing.web.streaming import StreamingChannel


__all__ = ["BillingSite", "Limits"]

HEADERS_TOO_LARGE = "request headers too large"
HEADERS_TOO_SLOW = "request headers did not arrive in time"
BODY_TOO_SLOW = "request body did not arrive in time"
MALFORMED = "malformed request"
FOLDED = "header lines may not be folded"
ONE_HOST = "a request names one host"
ODD_TRANSFER = "unsupported transfer encoding"


class BillingChannel(StreamingChannel):
    """
    One connection.
    """

    site: BillingSite
    host: str | None = None
    _log: ClassVar[Logger] = Logger()  # type: ignore[misc]

    _deadline: IDelayedCall | None = None
    _refused = False

    @property
    def limits(self) -> Limits:
        """The site's."""
        return self.site.limits

    def connectionMade(self) -> None:
        """The site counts us from here on."""
        self.MAX_LENGTH = self.limits.header_line_bytes
        self.site.channels.add(self)
        self.upload_idle_seconds = self.limits.upload_idle_seconds
        super().connectionMade()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """And no longer."""
        self._forget_deadline()
        self.stop_lingering()
        super().connectionLost(reason)
        self.site.left(self)

    # --- reading ---

    def dataReceived(self, data: bytes) -> None:
        """Bytes; the first ones of a request start its deadline."""
        if self._refused:
            self.discard(data)
            return
        if self._deadline is None and not self.requests:
            self._deadline = self.site.reactor.callLater(
                self.limits.headers_seconds, self.refuse, 408, HEADERS_TOO_SLOW
            )
        super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        """A line of the headers."""
        if self._refused:
            return
        if self._receivedHeaderSize + len(line) > self.limits.header_total_bytes:
            self.refuse(431, HEADERS_TOO_LARGE)
        elif line[:1] in (b" ", b"\t"):
            self.refuse(400, FOLDED)
        else:
            # Ours is the tighter count; Twisted's own would answer without a body.
            self.totalHeadersSize = self.limits.header_total_bytes
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Twisted would close without a word."""
        self.refuse(431, HEADERS_TOO_LARGE)

    def rawDataReceived(self, data: bytes) -> None:
        """Some of the body, or of the next request."""
        if self._refused:
            self.discard(data)
        else:
            super().rawDataReceived(data)

    def allHeadersReceived(self) -> None:
        """The form of a request is judged before anything of it is used."""
        self._forget_deadline()
        headers = self.requests[-1].requestHeaders
        hosts = headers.getRawHeaders(b"Host", [])
        transfer = headers.getRawHeaders(b"Transfer-Encoding", [])
        if len(hosts) > 1 or (not hosts and self._version == b"HTTP/1.1"):
            self.refuse(400, ONE_HOST)
        elif transfer and (
            [coding.lower() for coding in transfer] != [b"chunked"] or self._version != b"HTTP/1.1"
        ):
            self.refuse(400, ODD_TRANSFER)
        else:
            super().allHeadersReceived()
            if self.length != 0 and not self._refused and self.streamed() is None:
                self._deadline = self.site.reactor.callLater(
                    self.limits.body_seconds, self.refuse, 408, BODY_TOO_SLOW
                )

    def allContentReceived(self) -> None:
        """The request is whole."""
        if not self._refused:
            self._forget_deadline()
            super().allContentReceived()

    def checkPersistence(self, request: http.Request, version: bytes) -> bool:
        """No connection outlives a drain."""
        persistent: bool = super().checkPersistence(request, version)
        if self.site.draining:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        return persistent

    # --- bodies that flow ---

    def is_stream(self) -> bool:
        """Whether the request whose headers are complete is for a stream."""
        return self.site.streams(self._command, self._path)

    def hurry(self) -> None:
        """A stream's body is wanted whole: a trickle would hold what it proves open."""
        streamed = self.streamed()
        if streamed is not None and not streamed.ended and not self._refused:
            self._forget_deadline()
            self._deadline = self.site.reactor.callLater(
                self.limits.body_seconds, self.refuse, 408, BODY_TOO_SLOW
            )

    def timeoutConnection(self) -> None:
        """Somebody was idle for too long."""
        streamed = self.streamed()
        if streamed is None or streamed.ended:
            super().timeoutConnection()
        elif self.requests[-1].startedWriting:
            self.abort()
        else:
            self.refuse(408, BODY_TOO_SLOW)

    # --- ending ---

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(400, MALFORMED)

    def refuse(self, status: int, text: str) -> None:
        """
        Answer in place of the router, and end the connection.

        Closing at once would reset it, and the client might never see why: so our side
        is closed, and what still comes is thrown away, within bounds.
        """
        if self._refused or self.transport is None:
            return
        if self.requests and self.requests[0].startedWriting:
            # A second head would be read as part of the first one's body.
            self.abort()
            return
        self._refused = True
        self._forget_deadline()
        for request in self.requests:
            # Or what is refused would hold its room while we linger.
            if request.content is not None:
                request.content.close()
        self.setTimeout(None)
        self.persistent = False
        self.transport.writeSequence(self._refusal(status, text))
        transport: Any = self.transport
        # Reading goes on, and nothing holds the half-close up.
        transport.unregisterProducer()
        self._networkProducer.resumeProducing()
        if IHalfCloseableDescriptor.providedBy(self.transport):
            transport.loseWriteConnection()
            self.end_later()
        else:
            self.end()

    def _refusal(self, status: int, text: str) -> list[bytes]:
        request_id = self.site.new_request_id()
        path = getattr(self, "_path", b"").partition(b"?")[0].decode("latin-1")
        method = getattr(self, "_command", b"-").decode("latin-1")
        answer = described(
            Answer(status=status, document={"error": text}), path=path, now=self.site.wall.now()
        )
        body = dump(answer.document)
        headers = {**standard_headers(body, request_id), "Connection": "close"}
        peer = getattr(self.getPeer(), "host", "-")
        note_request(self.site.measures, route=NO_PATTERN, method=method, status=status, seconds=0)
        self._log.info(
            ACCESS,
            method=method,
            path=loggable(path),
            status=status,
            milliseconds=0,
            peer=peer,
            request_id=request_id,
        )
        lines = [f"{name}: {value}\r\n".encode("ascii") for name, value in headers.items()]
        return [b"HTTP/1.1 %d %s\r\n" % (status, reason(status)), *lines, b"\r\n", body]

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            if self._deadline.active():
                self._deadline.cancel()
            self._deadline = None

    def wind_down(self) -> None:
        """End after the request in hand, or now when there is none."""
        if self._refused:
            return
        if not self.requests:
            self.loseConnection()
            return
        self.persistent = False
        request = self.requests[0]
        if not request.startedWriting:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def abort(self) -> None:
        """End now, whatever is lost."""
        transport: Any = self.transport
        transport.abortConnection()


class BillingSite(server.Site):
    """
    Makes channels, counts them, and waits for the last one.

    @ivar channels: The open connections.
    @ivar bodies: What rests in memory of what they send.
    @ivar draining: Set by L{drain}; no connection is taken after that.
    """

    # Plain HTTP/1.1: the generic wrapper would negotiate.
    protocol: Any = BillingChannel

    def __init__(
        self,
        resource: IResource,
        *,
        reactor: IReactorTime,
        wall: IWallClock,
        new_request_id: Callable[[], str],
        limits: Limits | None = None,
        streams: Callable[[bytes, bytes], bool] = lambda method, target: False,
        peers: Peers | None = None,
        measures: IMeasures = UNMEASURED,
    ) -> None:
        """
        @param resource: From L{make_root<sandbox_billing.web.root.make_root>}.
        @param reactor: For deadlines.
        @param wall: For the C{timestamp} of errors.
        @param streams: Whether the body of a request with this method and target shall flow.
        @param peers: Knows the trusted proxies; None: there is none.
        @param measures: Told of what is refused before the router sees it.
        """
        self.streams = streams
        self.measures = measures
        self.limits = Limits() if limits is None else limits
        super().__init__(
            resource,
            requestFactory=BillingRequest,
            parsePOSTFormSubmission=False,
            reactor=reactor,
            timeout=self.limits.idle_seconds,
        )
        self.wall = wall
        self.new_request_id = new_request_id
        self.channels: set[BillingChannel] = set()
        peers = peers or Peers()
        self._crowd = Crowd(peers, self.limits.connections_of_peer)
        self.bodies = Bodies(peers, self.limits.all_bodies_bytes, self.limits.bodies_of_peer_bytes)
        self.draining = False
        self._drained: list[Deferred[int]] = []
        self._cut = 0

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """None, which closes the connection, when there are too many or we are stopping."""
        if self.draining or len(self.channels) >= self.limits.connections:
            return None
        host = getattr(addr, "host", None)
        if not self._crowd.enter(host):
            return None
        channel = super().buildProtocol(addr)
        channel.host = host
        return channel

    def log(self, request: http.Request) -> None:
        """The router has its own access log."""

    def left(self, channel: BillingChannel) -> None:
        """A connection is gone."""
        self.channels.discard(channel)
        self._crowd.leave(channel.host)
        if not self.channels:
            drained, self._drained = self._drained, []
            for waiter in drained:
                waiter.callback(self._cut)

    def drain(self, seconds: float) -> Deferred[int]:
        """
        Let the requests in hand end, then every connection.

        Stop listening first.  It is the connections that are waited for: a request is
        finished before its last bytes are out.

        @param seconds: After this long, what is left is cut.
        @return: Fires with how many connections were cut, once there is none.
        """
        self.draining = True
        for channel in tuple(self.channels):
            channel.wind_down()
        if not self.channels:
            return succeed(self._cut)
        waiter: Deferred[int] = Deferred()
        self._drained.append(waiter)
        cut = self.reactor.callLater(seconds, self._cut_all)

        def cancel_cut(count: int) -> int:
            if cut.active():
                cut.cancel()
            return count

        return waiter.addCallback(cancel_cut)

    def _cut_all(self) -> None:
        self._cut += len(self.channels)
        for channel in tuple(self.channels):
            channel.abort()

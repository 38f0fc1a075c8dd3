"""
One connection to Daytona for one stream: a request, its answer, perhaps a tunnel.

C{Agent} would not do: it skips a 101, tells of an answer only after the whole body was
sent, and bounds no header.  So the head of the answer is read here, and its body is left
to Twisted's parser.  All private names of Twisted's client are in this module.

Tests: C{tests.web.test_streams}.
"""

# Twisted's client is not annotated.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

# No public module exports them.
from twisted.web._newclient import HTTPClientParser, ParseError, Request
from twisted.web.http_headers import Headers
from zope.interface import implementer

from sandbox_billing.errors import UnknownOutcome
from sandbox_billing.interfaces import ITunnel


__all__ = ["Request", "Tunnel", "UpstreamConnection"]

MAX_HEAD_BYTES = 64 * 1024
"""What runs in a sandbox is its user's, and so may be what answers."""

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: |\Z)")
_END = b"\r\n\r\n"


class Unreadable(Exception):
    """What came is no HTTP, or too much of it."""


def _read_headers(head: bytes) -> Headers:
    headers = Headers()
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise Unreadable("a header that is none")
        headers.addRawHeader(name, value.strip(b" \t"))
    return headers


@implementer(IHalfCloseableProtocol)
class UpstreamConnection(Protocol):
    """
    Writes a request and tells its answer; ends with it, unless it became a tunnel.
    """

    transport: Any

    def __init__(self) -> None:
        self._answer: Deferred[Any] = Deferred(lambda _: self._fail(CancelledError()))
        self._written: Deferred[Any] | None = None
        self._request: Any = None
        self._parser: Any = None
        self._upgrading = False
        self._head = bytearray()
        self._tunnel: Tunnel | None = None
        self._over = False

    def connectionMade(self) -> None:
        """Small frames are not kept back, and a Daytona that vanishes is noticed."""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)

    def ask(self, request: Request, *, upgrading: bool) -> Deferred[Any]:
        """
        @param request: With everything that shall be sent but the framing.
        @return: Fires with an C{IResponse} or an L{ITunnel}; cancelling it cuts.
        """
        self._request, self._upgrading = request, upgrading
        self._written = request.writeTo(self.transport)
        self._written.addErrback(self._not_written)
        return self._answer

    # --- the answer ---

    def dataReceived(self, data: bytes) -> None:
        """Heads until the one that counts, then the body's parser or the tunnel."""
        if self._tunnel is not None:
            self._tunnel.received(data)
        elif self._parser is not None:
            self._parse(data)
        elif not self._over:
            self._head += data
            self._read_heads()

    def _read_heads(self) -> None:
        while not self._over and _END in self._head[:MAX_HEAD_BYTES]:
            head, _, rest = bytes(self._head).partition(_END)
            match = _STATUS.match(head.partition(b"\r\n")[0])
            status = int(match[1]) if match else 0
            if status == 101 and self._upgrading:
                self._open_tunnel(head, rest)
                return
            if status == 0 or status == 101:
                self._fail(UnknownOutcome("what Daytona answered is no answer to this"))
                return
            if status >= 200:
                self._parser = HTTPClientParser(self._request, self._whole)
                self._parser.makeConnection(self.transport)
                responses = self._parser._responseDeferred
                responses.addCallbacks(self._succeed, self._not_read)
                self._parse(head + _END + rest)
                return
            # An interim answer.
            self._head[:] = rest
        if len(self._head) > MAX_HEAD_BYTES:
            self._fail(UnknownOutcome("Daytona's answer has too long a head"))

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.dataReceived(data)
        # A length that is none, chunks that are none, a coding that nobody knows.
        except (ParseError, ValueError, KeyError) as error:
            self._end(Failure(error))

    def _open_tunnel(self, head: bytes, rest: bytes) -> None:
        try:
            headers = _read_headers(head)
        except Unreadable as why:
            self._fail(UnknownOutcome(str(why)))
            return
        self._over = True
        self.transport.pauseProducing()
        self._tunnel = Tunnel(self.transport, headers, rest)
        self._answer.callback(self._tunnel)

    # --- the end ---

    def _succeed(self, response: Any) -> None:
        if not self._answer.called:
            self._answer.callback(response)

    def _not_read(self, failure: Failure) -> None:
        self._fail(UnknownOutcome("no readable answer came from Daytona"))

    def _not_written(self, failure: Failure) -> None:
        """The body broke off; one that was stopped has a connection that is lost."""
        self._written = None
        if failure.check(CancelledError) is None:
            self._fail(failure.value)

    def _whole(self, rest: bytes) -> None:
        """The whole answer is there; what is not sent yet is not wanted any more."""
        self._over = True
        parser, self._parser = self._parser, None
        if self._stop_sending():
            self.transport.abortConnection()
        else:
            self.transport.loseConnection()
        if parser is not None:
            # This is how it learns that its body is at an end.
            parser.connectionLost(Failure(ConnectionDone()))

    def _stop_sending(self) -> bool:
        """Whether something was being sent."""
        written, self._written = self._written, None
        if written is None or written.called:
            return False
        self._request.stopWriting()
        written.cancel()
        return True

    def _fail(self, error: BaseException | None) -> None:
        self._over = True
        self._stop_sending()
        self.transport.abortConnection()
        if not self._answer.called:
            self._answer.errback(error or ConnectionLost())

    def _end(self, reason: Failure) -> None:
        parser, self._parser = self._parser, None
        self._over = True
        self._stop_sending()
        self.transport.abortConnection()
        if parser is not None:
            parser.connectionLost(reason)

    def readConnectionLost(self) -> None:
        """Daytona writes no more: of a tunnel that is half, of an answer all."""
        if self._tunnel is not None:
            self._tunnel.half_closed()
        else:
            self.transport.abortConnection()
            self._lost(Failure(ConnectionDone()))

    def writeConnectionLost(self) -> None:
        """We asked for it."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is over."""
        self._lost(reason)

    def _lost(self, reason: Failure) -> None:
        self._over = True
        self._stop_sending()
        parser, self._parser = self._parser, None
        if self._tunnel is not None:
            self._tunnel.lost(reason)
        elif parser is not None:
            parser.connectionLost(reason)
        elif not self._answer.called:
            self._answer.errback(UnknownOutcome("Daytona closed the connection unanswered"))


@implementer(ITunnel)
class Tunnel:
    """
    @ivar headers: Of the 101.
    """

    def __init__(self, transport: Any, headers: Headers, early: bytes) -> None:
        self.headers = headers
        self._transport = transport
        self._early = early
        self._protocol: Any = None
        self._lost: Failure | None = None
        self._half = False

    def join(self, protocol: Any) -> None:
        """Hand the connection over."""
        self._protocol = protocol
        protocol.makeConnection(self._transport)
        early, self._early = self._early, b""
        if early:
            protocol.dataReceived(early)
        if self._half:
            self.half_closed()
        if self._lost is not None:
            protocol.connectionLost(self._lost)
        else:
            self._transport.resumeProducing()

    def received(self, data: bytes) -> None:
        """Bytes."""
        if self._protocol is None:
            self._early += data
        else:
            self._protocol.dataReceived(data)

    def half_closed(self) -> None:
        """Daytona writes no more."""
        self._half = True
        if self._protocol is None:
            return
        if IHalfCloseableProtocol.providedBy(self._protocol):
            self._protocol.readConnectionLost()
        else:
            self._transport.loseConnection()

    def lost(self, reason: Failure) -> None:
        """The connection is gone."""
        if self._protocol is None:
            self._lost = reason
        else:
            self._protocol.connectionLost(reason)

    def abort(self) -> None:
        """Now."""
        self._transport.abortConnection()

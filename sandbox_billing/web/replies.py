"""
A reply of Daytona's on its way to a client.

Tests: C{tests.web.test_streams}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import NO_BODY_CODES, PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH


class StreamedReply(Protocol):
    """
    Takes the body of a response as fast as the client takes it.
    """

    transport: Any

    def __init__(self, request: Any) -> None:
        self._request = request
        self._done: Deferred[bool] = Deferred(lambda _: self.stop())

    @classmethod
    def of(cls, request: Any, response: Any) -> StreamedReply:
        """
        Write the head at once, and have the body delivered.

        @param request: Its code and headers are set.
        @param response: An C{IResponse}.
        """
        reply = cls(request)
        if request.method == b"HEAD":
            for length in response.headers.getRawHeaders(b"Content-Length", [])[:1]:
                request.setHeader(b"Content-Length", length)
        elif response.length is not UNKNOWN_LENGTH and response.code not in NO_BODY_CODES:
            request.setHeader(b"Content-Length", b"%d" % response.length)
        # Who follows a log wants to know that it is there.
        request.write(b"")
        response.deliverBody(reply)
        return reply

    async def sent(self) -> None:
        """
        Until all of it is written.  A reply that broke off must not look like a whole one:
        the connection is cut, and this ends when it is lost, by being cancelled.
        """
        whole = await self._done
        if not whole:
            self._request.transport.abortConnection()
            await Deferred()

    def connectionMade(self) -> None:
        """Who is slow shall be waited for."""
        self._request.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        """Some of it."""
        self._request.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end, or a connection that broke before it."""
        if self._request.channel is not None:
            self._request.unregisterProducer()
        if not self._done.called:
            self._done.callback(reason.check(ResponseDone, PotentialDataLoss) is not None)

    def stop(self) -> None:
        """Nobody takes it any more."""
        if self.transport is not None:
            self.transport.abortConnection()

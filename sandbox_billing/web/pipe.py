"""
Two connections as one, after both have said 101.

Its private names of Twisted are held by C{tests.web.test_tripwire}, too.

Tests: C{tests.web.test_streams}, C{tests.web.test_tunnels}.
"""

# Twisted's server is not annotated.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, INegotiated
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer


@implementer(IHalfCloseableProtocol)
class _End:
    """
    One end of a pipe.

    @ivar other: Where its bytes go.
    @ivar gone: Fires when this end's connection is lost.
    """

    transport: Any = None
    other: _End

    def __init__(self, lost: Any) -> None:
        self.gone: Deferred[None] = Deferred()
        self._lost = lost
        self.finished = False

    def makeConnection(self, transport: Any) -> None:
        """Bytes may come from here on."""
        self.transport = transport

    def dataReceived(self, data: bytes) -> None:
        """To the other end."""
        if not self.other.finished:
            self.other.transport.write(data)

    def readConnectionLost(self) -> None:
        """This side writes no more; the other may."""
        self._lost(self, half=True)

    def writeConnectionLost(self) -> None:
        """We asked for it."""

    def connectionLost(self, reason: Failure) -> None:
        """It is gone."""
        self.finished = True
        self._lost(self, half=False)
        if not self.gone.called:
            self.gone.callback(None)

    def half_close(self) -> None:
        """Write what is there, and no more."""
        if self.finished:
            return
        self.transport.unregisterProducer()
        # In TLS no direction can be ended alone; the one that has ended is timed.
        if not INegotiated.providedBy(self.transport):
            self.transport.loseWriteConnection()

    def close(self) -> None:
        """Write what is there, and end."""
        if not self.finished:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def cut(self) -> None:
        """Now."""
        if not self.finished:
            self.transport.abortConnection()


class Pipe:
    """
    Two connections that are one: bytes pass both ways, as slowly as the slower takes them.

    @ivar client: The end that L{take_over} puts on the client's connection.
    @ivar upstream: The end that the tunnel is joined to.
    """

    def __init__(self, clock: Any, half_open_seconds: float) -> None:
        """
        @param clock: For the time that one half may outlive the other.
        @param half_open_seconds: That time: who has closed one half is mostly gone.
        """
        self._clock = clock
        self._half_open_seconds = half_open_seconds
        self._halves: set[_End] = set()
        self._timer: Any = None
        self.client, self.upstream = _End(self._ended), _End(self._ended)
        self.client.other, self.upstream.other = self.upstream, self.client

    def connect(self, early: bytes) -> None:
        """
        Once both ends have their transports.

        @param early: What the client has sent before.
        """
        for end in (self.client, self.upstream):
            if not end.finished:
                end.transport.registerProducer(end.other.transport, True)
        if early:
            self.client.dataReceived(early)

    def _ended(self, end: _End, *, half: bool) -> None:
        if self.client.finished and self.upstream.finished:
            self._stop_timer()
            return
        self.fade()
        if end.other.transport is None:
            return
        if not half:
            end.other.close()
            return
        self._halves.add(end)
        end.other.half_close()
        if len(self._halves) == 2:
            end.close()
            end.other.close()

    def fade(self) -> None:
        """Let what was written arrive, within bounds, and then end both."""
        if self._timer is None and not (self.client.finished and self.upstream.finished):
            self._timer = self._clock.callLater(self._half_open_seconds, self.cut)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def cut(self) -> None:
        """End both, whatever is lost."""
        for end in (self.client, self.upstream):
            if end.transport is not None:
                end.cut()

    async def over(self) -> None:
        """Both connections are gone."""
        await self.client.gone
        await self.upstream.gone


def take_over(request: Any, head: bytes, pipe: Pipe) -> bytes:
    """
    Make the request's connection the client's end of a pipe.

    @param head: The 101, whole.
    @return: What the client has sent already.
    """
    channel = request.channel
    channel.setTimeout(None)
    transport = channel.transport
    early, channel._dataBuffer = b"".join(channel._dataBuffer), []
    transport.unregisterProducer()
    end = pipe.client

    def lost(reason: Failure) -> None:
        end.connectionLost(reason)
        # Or neither the site nor notifyFinish would ever know.
        type(channel).connectionLost(channel, reason)

    request.startedWriting = 1
    transport.write(head)
    channel._protocolUpgradeForWebsockets(end)
    channel.connectionLost = lost
    channel.readConnectionLost = end.readConnectionLost
    channel.writeConnectionLost = end.writeConnectionLost
    alsoProvides(channel, IHalfCloseableProtocol)
    # It was paused if more than a little came early.
    transport.resumeProducing()
    return early

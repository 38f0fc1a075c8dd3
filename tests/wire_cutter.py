"""A wire to a server that can be cut around one command."""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure


class _End(Protocol):
    """One end of a connection; what comes in at one goes out at the other."""

    def __init__(self, cutter: WireCutter) -> None:
        self.cutter = cutter
        self.peer: _End | None = None

    def send(self, data: bytes) -> None:
        """To whoever is connected here."""
        assert self.transport is not None
        self.transport.write(data)

    def hang_up(self) -> None:
        """At this end."""
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Both ends or none."""
        self.cutter.ends.discard(self)
        if self.peer is not None:
            self.peer.hang_up()


class _Far(_End):
    """Towards the server."""

    def dataReceived(self, data: bytes) -> None:
        """A reply."""
        assert self.peer is not None
        if self.cutter.reply_is_cut:
            self.cutter.cut()
        else:
            self.peer.send(data)


class _Near(_End):
    """Towards the client."""

    def connectionMade(self) -> None:
        """Find the server first."""
        self.transport.pauseProducing()  # type: ignore[union-attr]
        factory = Factory.forProtocol(lambda: _Far(self.cutter))  # type: ignore[arg-type]
        reaching = TCP4ClientEndpoint(self.cutter.reactor, "127.0.0.1", self.cutter.target)
        reaching.connect(factory).addCallbacks(self._reached, lambda _: self.hang_up())

    def _reached(self, far: Any) -> None:
        self.cutter.ends |= {self, far}
        self.peer, far.peer = far, self
        self.transport.resumeProducing()  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        """A command."""
        assert self.peer is not None
        cutter = self.cutter
        if cutter.before is not None and cutter.before in data:
            cutter.before = None
            cutter.cut()
            return
        if cutter.after is not None and cutter.after in data:
            cutter.after = None
            cutter.reply_is_cut = True
        self.peer.send(data)


class WireCutter:
    """
    @ivar before: Cut before the next command that contains these bytes reaches the server.
    @ivar after: Cut when the reply to such a command comes back.
    @ivar cuts: How often it was.
    """

    def __init__(self, reactor: Any, target: int) -> None:
        self.reactor = reactor
        self.target = target
        self.before: bytes | None = None
        self.after: bytes | None = None
        self.reply_is_cut = False
        self.cuts = 0
        self.ends: set[_End] = set()
        self._listening: Any = None

    async def start(self) -> int:
        """@return: The port to connect to."""
        factory = Factory.forProtocol(lambda: _Near(self))  # type: ignore[arg-type]
        endpoint = TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1")
        self._listening = await endpoint.listen(factory)
        port: int = self._listening.getHost().port
        return port

    def cut(self) -> None:
        """All connections, now."""
        self.cuts += 1
        self.reply_is_cut = False
        for end in list(self.ends):
            if isinstance(end, _Near):
                end.hang_up()

    async def stop(self) -> None:
        """Nobody gets through any more."""
        await self._listening.stopListening()
        self.cut()

"""
L{IEvents} over Socket.IO 5 in Engine.IO 4, WebSocket alone (daytona.md, section 7).

Frames are read by wsproto and packets by the reference implementation's classes.  Nothing is
believed of what comes: only ids are taken from it, in bounded time and memory.

Tests: C{tests.adapters.test_daytona_events}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import engineio.packet
import socketio.packet
import wsproto.events as frames
from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import BrowserLikePolicyForHTTPS
from twisted.web.iweb import IPolicyForHTTPS
from wsproto import ConnectionType, WSConnection
from wsproto.utilities import LocalProtocolError, RemoteProtocolError
from zope.interface import implementer

from sandbox_billing.adapters.daytona.connection import CONNECT_SECONDS, endpoint_of
from sandbox_billing.adapters.daytona.exchange import NOT_REACHED, api_base
from sandbox_billing.errors import BadInput, Transient
from sandbox_billing.interfaces import IEvents
from sandbox_billing.ledger.identity import SandboxId, sandbox_id
from sandbox_billing.signing.depth import is_deep


MAX_MESSAGE = 1024 * 1024
"""Characters of one message; longer ones, a sandbox with a huge build file, are passed over."""

BYTES_PER_SECOND = 2 * 1024 * 1024
"""What is read at most: a flood fills Daytona's socket and neither our memory nor our time."""

FRAME_COST = 64
"""As how many bytes a frame counts beside its own: an empty one takes time all the same."""

LEAST_PIECE = 256
"""Characters on an average of a message's pieces, once they are many."""

JOIN_SECONDS = 15.0
"""From the connection to being let in."""

SILENCE_SECONDS = (5.0, 300.0)
"""Between these, what the server says of its pings is believed."""


def read_event(data: Any) -> SandboxId | None:
    """
    The sandbox that an event is about; None for any other packet's data.

    @param data: C{[name, payload]}, of anybody's making.
    """
    match data:
        case ["sandbox.created", shown, *_]:
            pass
        case ["sandbox.state.updated" | "sandbox.desired-state.updated", {"sandbox": shown}, *_]:
            pass
        case _:
            return None
    id = shown.get("id") if isinstance(shown, dict) else None
    try:
        return sandbox_id(id) if isinstance(id, str) else None
    except BadInput:
        return None


@define(eq=False, kw_only=True)
class Follower(Protocol):
    """
    One connection, from its handshake to its end.

    @ivar host: For the Host header.
    @ivar target: Path and query.
    @ivar gone: Fires when the connection is lost.
    """

    host: str
    target: str
    admin_key: str = field(repr=False)
    clock: IReactorTime
    heard: Callable[[SandboxId], None]
    joined: Callable[[], None]
    gone: Deferred[None] = field(factory=Deferred, init=False)
    _why: str = field(default="Daytona ended the connection", init=False)
    _ws: WSConnection = field(factory=lambda: WSConnection(ConnectionType.CLIENT), init=False)
    _parts: list[str] = field(factory=list, init=False)
    _size: int = field(default=0, init=False)
    _pieces: int = field(default=0, init=False)
    _ended: bool = field(default=False, init=False)
    _silence: float = field(default=JOIN_SECONDS, init=False)
    _watchdog: IDelayedCall | None = field(default=None, init=False)
    _budget: int = field(default=BYTES_PER_SECOND, init=False)
    _refill: IDelayedCall | None = field(default=None, init=False)

    @property
    def why(self) -> str:
        """Why it ended."""
        return self._why

    def connectionMade(self) -> None:
        """Ask for the upgrade; the key is not part of it."""
        self._watchdog = self.clock.callLater(JOIN_SECONDS, self.end, "Daytona says nothing")
        self._send(frames.Request(host=self.host, target=self.target))

    def dataReceived(self, data: bytes) -> None:
        """Frames, or parts of some; no more in a second than can be looked at."""
        self._budget -= len(data)
        if self._refill is None:
            self._refill = self.clock.callLater(1, self._on_refill)
        try:
            self._ws.receive_data(data)
            for frame in self._ws.events():
                self._budget -= FRAME_COST
                self._on_frame(frame)
                if self._ended:
                    return
        except (RemoteProtocolError, LocalProtocolError) as why:
            self.end(f"Daytona breaks the protocol: {why}")
            return
        if self._budget <= 0:
            self._transport.pauseProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """No more is heard."""
        for call in (self._watchdog, self._refill):
            if call is not None and call.active():
                call.cancel()
        self.gone.callback(None)

    def end(self, why: str) -> None:
        """Hang up; what has come and was not looked at is lost."""
        self._why, self._ended = why, True
        self._transport.abortConnection()

    @property
    def _transport(self) -> Any:
        # Of TCP or TLS: its interface in Twisted's own types is less.
        return self.transport

    def _on_refill(self) -> None:
        self._refill = None
        if self._budget <= 0:
            self._transport.resumeProducing()
        self._budget = BYTES_PER_SECOND

    def _send(self, frame: frames.Event) -> None:
        self._transport.write(self._ws.send(frame))

    def _on_frame(self, frame: frames.Event) -> None:
        match frame:
            case frames.TextMessage():
                self._on_text(frame.data, frame.message_finished)
            case frames.Ping():
                self._send(frame.response())
            case frames.RejectConnection():
                self.end(f"Daytona answers {frame.status_code}")
            case frames.CloseConnection():
                self._why = f"Daytona closed it ({frame.code})"
                self._transport.loseConnection()
            case _:
                # The opening; pieces of a refusal; bytes, which nobody sends here.
                pass

    def _on_text(self, text: str, finished: bool) -> None:
        self._size += len(text)
        self._pieces += 1
        if self._pieces * LEAST_PIECE > self._size + MAX_MESSAGE:
            self.end("Daytona sends messages in too many pieces")
            return
        if self._size <= MAX_MESSAGE:
            self._parts.append(text)
        else:
            self._parts.clear()
        if not finished:
            return
        whole, size = "".join(self._parts), self._size
        self._parts.clear()
        self._size = self._pieces = 0
        if self._watchdog is not None:
            self._watchdog.reset(self._silence)
        if size <= MAX_MESSAGE:
            self._on_packet(whole)

    def _on_packet(self, text: str) -> None:
        """A packet of Engine.IO, and perhaps one of Socket.IO in it."""
        if is_deep(text.encode("utf-8")):
            self.end("Daytona sends packets that cannot be read")
            return
        try:
            outer = engineio.packet.Packet(encoded_packet=text)
            inner = None
            if outer.packet_type == engineio.packet.MESSAGE and text[1:]:
                inner = socketio.packet.Packet(encoded_packet=text[1:])
        except (ValueError, IndexError, RecursionError):
            self.end("Daytona sends packets that cannot be read")
            return
        if inner is not None:
            self._on_inner(inner)
        elif outer.packet_type == engineio.packet.OPEN:
            self._on_open(outer.data)
        elif outer.packet_type == engineio.packet.PING:
            self._say(engineio.packet.PONG)
        elif outer.packet_type == engineio.packet.CLOSE:
            self.end("Daytona closed the session")

    def _on_open(self, opening: Any) -> None:
        if isinstance(opening, dict):
            told = [opening.get(name) for name in ("pingInterval", "pingTimeout")]
            seconds = sum(one for one in told if type(one) is int) / 1000
            shortest, longest = SILENCE_SECONDS
            self._silence = max(shortest, min(longest, seconds))
        join = socketio.packet.Packet(socketio.packet.CONNECT, data={"token": self.admin_key})
        self._say(engineio.packet.MESSAGE, join.encode())

    def _on_inner(self, packet: Any) -> None:
        if packet.packet_type == socketio.packet.EVENT:
            found = read_event(packet.data)
            if found is not None:
                self.heard(found)
        elif packet.packet_type == socketio.packet.CONNECT:
            self.joined()
        elif packet.packet_type == socketio.packet.CONNECT_ERROR:
            self.end("Daytona refuses the key for its events")
        elif packet.packet_type == socketio.packet.DISCONNECT:
            self.end("Daytona ended the subscription")

    def _say(self, kind: int, data: str | None = None) -> None:
        self._send(frames.TextMessage(data=engineio.packet.Packet(kind, data).encode()))


@implementer(IEvents)
@frozen(kw_only=True)
class DaytonaEvents:
    """
    @ivar api: From L{api_base}: the key goes nowhere else.
    @ivar trust: Whose certificates are believed.
    """

    api: str = field(converter=api_base)
    _admin_key: str = field(repr=False)
    _reactor: Any = field(repr=False)
    trust: IPolicyForHTTPS = field(factory=BrowserLikePolicyForHTTPS, repr=False)

    async def follow(self, heard: Callable[[SandboxId], None], joined: Callable[[], None]) -> None:
        parts = urlsplit(self.api)
        follower = Follower(
            host=parts.netloc,
            target=f"{parts.path}/socket.io/?EIO=4&transport=websocket",
            admin_key=self._admin_key,
            clock=self._reactor,
            heard=heard,
            joined=joined,
        )
        endpoint = endpoint_of(self._reactor, self.api, trust=self.trust, timeout=CONNECT_SECONDS)
        try:
            await connectProtocol(endpoint, follower)
        except NOT_REACHED as reason:
            raise Transient(f"Daytona cannot be reached: {reason}") from reason
        # Whoever cancels this waits until nothing is left of it.
        ended: Deferred[None] = Deferred(lambda _: follower.end("nobody listens any more"))
        follower.gone.addCallback(lambda _: None if ended.called else ended.callback(None))
        try:
            await ended
        except CancelledError:
            await follower.gone
            raise
        raise Transient(follower.why)

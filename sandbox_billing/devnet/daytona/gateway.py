"""
Daytona's event stream: Socket.IO 5 in Engine.IO 4, over WebSocket alone.

The packets are those of the reference implementation in Python, the frames
Twisted's; only who is let in and what is told is Daytona's.
"""

from __future__ import annotations

import hmac
import json
import secrets
from typing import Any

import engineio.packet
import socketio.packet
from attrs import define, field
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.websocket import WebSocketResource, WebSocketTransport

from sandbox_billing.devnet.daytona.simulator import DaytonaSimulator


PING_INTERVAL_SEC = 25
PING_TIMEOUT_SEC = 20

# Engine.IO's refusals of a handshake: a code and its text.
_UNKNOWN_TRANSPORT = (0, "Transport unknown")
_BAD_REQUEST = (3, "Bad request")
_UNSUPPORTED = (5, "Unsupported protocol version")


@define(eq=False)
class _Subscriber:
    """
    One connection, from its handshake to its end.

    @ivar joined: Its token was good: it hears of the whole organization.
    """

    simulator: DaytonaSimulator
    admin_key: str
    gateway: Gateway
    _transport: WebSocketTransport | None = None
    _ping: IDelayedCall | None = None
    _leave: Any = None

    def negotiationStarted(self, transport: WebSocketTransport) -> None:
        """There is a connection; nothing may be sent yet."""
        self._transport = transport

    def negotiationFinished(self) -> None:
        """Open the session of Engine.IO."""
        self.gateway.subscribers.append(self)
        opening = {
            "sid": secrets.token_urlsafe(15),
            "upgrades": [],
            "pingInterval": PING_INTERVAL_SEC * 1000,
            "pingTimeout": PING_TIMEOUT_SEC * 1000,
            "maxPayload": 1_000_000,
        }
        self._send(engineio.packet.OPEN, opening)
        self._wait(PING_INTERVAL_SEC, self._on_ping)

    def textMessageReceived(self, message: str) -> None:
        """A packet of Engine.IO, and perhaps one of Socket.IO in it."""
        try:
            outer = engineio.packet.Packet(encoded_packet=message)
        except ValueError:
            self.cut()
            return
        if outer.packet_type == engineio.packet.PONG:
            self._wait(PING_INTERVAL_SEC, self._on_ping)
        elif outer.packet_type == engineio.packet.MESSAGE:
            self._on_packet(message[1:])
        elif outer.packet_type == engineio.packet.CLOSE:
            self.cut()

    def bytesMessageReceived(self, data: bytes | bytearray) -> None:
        """Nobody sends attachments here."""

    def pongReceived(self, payload: bytes) -> None:
        """Engine.IO has pings of its own."""

    def connectionLost(self, reason: Failure) -> None:
        """No more is told."""
        self._halt()
        if self in self.gateway.subscribers:
            self.gateway.subscribers.remove(self)

    def cut(self) -> None:
        """The connection goes, without a word of Socket.IO."""
        self._halt()
        if self._transport is not None:
            self._transport.loseConnection()

    def _on_packet(self, encoded: str) -> None:
        try:
            # An empty text makes the packet's class an event of its own.
            if not encoded:
                raise ValueError("an empty packet")
            packet = socketio.packet.Packet(encoded_packet=encoded)
        except (ValueError, IndexError):
            self.cut()
            return
        if packet.packet_type == socketio.packet.CONNECT:
            self._on_connect(packet)
        elif packet.packet_type == socketio.packet.DISCONNECT:
            self.cut()

    def _on_connect(self, packet: Any) -> None:
        auth = packet.data if isinstance(packet.data, dict) else {}
        token = str(auth.get("token", ""))
        if not hmac.compare_digest(token.encode(), self.admin_key.encode()):
            refusal = {"message": "Unauthorized"}
            self._send_packet(socketio.packet.CONNECT_ERROR, refusal)
            return
        self._send_packet(socketio.packet.CONNECT, {"sid": secrets.token_urlsafe(15)})
        if self._leave is None:
            self._leave = self.simulator.events.subscribe(self._tell)

    def _tell(self, name: str, payload: dict[str, Any]) -> None:
        self._send_packet(socketio.packet.EVENT, [name, payload])

    def _send_packet(self, kind: int, data: Any) -> None:
        self._send(engineio.packet.MESSAGE, socketio.packet.Packet(kind, data=data).encode())

    def _send(self, kind: int, data: Any = None) -> None:
        if self._transport is not None:
            self._transport.sendTextMessage(engineio.packet.Packet(kind, data).encode())

    def _on_ping(self) -> None:
        self._ping = None
        self._send(engineio.packet.PING)
        self._wait(PING_TIMEOUT_SEC, self.cut)

    def _wait(self, seconds: float, then: Any) -> None:
        self._cancel_ping()
        self._ping = self.simulator.clock.callLater(seconds, then)

    def _cancel_ping(self) -> None:
        if self._ping is not None and self._ping.active():
            self._ping.cancel()
        self._ping = None

    def _halt(self) -> None:
        self._cancel_ping()
        if self._leave is not None:
            self._leave()
            self._leave = None


@define(eq=False)
class Gateway:
    """
    The endpoint C{/api/socket.io/}.

    @ivar simulator: Whose events are told.
    @ivar subscribers: Connections, whether or not they were let in.
    """

    simulator: DaytonaSimulator
    admin_key: str
    subscribers: list[_Subscriber] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.simulator.events.cut = self.cut

    def serves(self, request: Request) -> bool:
        """Whether the request is for it; switched off, it is no route at all."""
        path = request.uri.partition(b"?")[0].lower()
        on = self.simulator.events.enabled
        return bool(on and path.rstrip(b"/") == b"/api/socket.io")

    def render(self, request: Request) -> bytes | int:
        """Upgrade to WebSocket, or refuse as Engine.IO does."""
        refusal = _refusal(request)
        if refusal is not None:
            request.setResponseCode(400)
            request.setHeader("Content-Type", "application/json")
            return json.dumps({"code": refusal[0], "message": refusal[1]}).encode()
        resource: Resource = WebSocketResource(self)
        rendered: bytes | int = resource.render(request)
        return rendered

    def buildProtocol(self, request: Request) -> _Subscriber:
        """For one connection."""
        return _Subscriber(self.simulator, self.admin_key, self)

    def cut(self) -> None:
        """Every connection ends."""
        for subscriber in list(self.subscribers):
            subscriber.cut()


def _refusal(request: Request) -> tuple[int, str] | None:
    """C{transports: ["websocket"]}: long polling is unknown here."""
    query: dict[bytes, list[bytes]] = request.args or {}
    if query.get(b"transport", [b""])[-1] != b"websocket":
        return _UNKNOWN_TRANSPORT
    if query.get(b"EIO", [b""])[-1] != b"4":
        return _UNSUPPORTED
    if request.method != b"GET" or not request.requestHeaders.hasHeader(b"upgrade"):
        return _BAD_REQUEST
    return None

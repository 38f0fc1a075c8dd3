"""
WebSockets of the toolbox: the handshake with subprotocols, and frames over a connection
that HTTP has let go.

Twisted's own WebSockets choose no subprotocol, so the protocol itself is that of
L{websockets}, which does no input or output; web3 brings that package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from zope.interface import implementer

from sandbox_billing.devnet.daytona.toolbox_errors import ToolboxError


MESSAGE_LIMIT = 16 * 1024 * 1024
# How long a closing handshake may last before the connection is dropped.
CLOSE_SECONDS = 5.0

NORMAL = 1000
GOING_AWAY = 1001


@implementer(IPushProducer)
@define(eq=False)
class WebSocket(Protocol):
    """
    An open WebSocket, seen from the server.

    @ivar on_message: Gets each whole message, C{str} or C{bytes}.
    @ivar on_closed: Called once, when nothing can be sent any more.
    @ivar on_hold: Told C{True} when the reader does not keep up, C{False} when it does again.
    @ivar gone: Nothing can be sent any more.
    """

    _clock: IReactorTime
    _release: Callable[[Failure], object]
    on_message: Callable[[str | bytes], object] = lambda message: None
    on_closed: Callable[[], object] = lambda: None
    on_hold: Callable[[bool], object] = lambda held: None
    gone: bool = False
    _frames: ServerProtocol = field(init=False)
    _parts: list[bytes] = field(factory=list)
    _is_text: bool = False
    _cut: IDelayedCall | None = None

    def __attrs_post_init__(self) -> None:
        self._frames = ServerProtocol(state=State.OPEN, max_size=MESSAGE_LIMIT)

    # -- sending ---------------------------------------------------------------

    def send(self, message: str | bytes) -> None:
        """A whole message; dropped when the other side has left."""
        if self.gone or self._frames.state is not State.OPEN:
            return
        if isinstance(message, str):
            self._frames.send_text(message.encode())
        else:
            self._frames.send_binary(message)
        self._flush()

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Say goodbye, and drop the connection if the other side does not answer."""
        if self.gone or self._frames.state is not State.OPEN:
            return
        self._frames.send_close(code, reason)
        self._flush()
        self._cut = self._clock.callLater(CLOSE_SECONDS, self.abort)
        self._closed()

    def abort(self) -> None:
        """Drop the connection."""
        self._cut = None
        transport: Any = self.transport
        transport.abortConnection()

    def _flush(self) -> None:
        transport: Any = self.transport
        for data in self._frames.data_to_send():
            if data:
                transport.write(data)
            else:
                transport.loseConnection()

    # -- the connection --------------------------------------------------------

    def connectionMade(self) -> None:
        """Told when the reader does not keep up."""
        transport: Any = self.transport
        transport.registerProducer(self, True)
        transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the client."""
        self._frames.receive_data(data)
        for event in self._frames.events_received():
            if isinstance(event, Frame):
                self._frame(event)
        self._flush()
        if self._frames.state is not State.OPEN:
            self._closed()

    def _frame(self, frame: Frame) -> None:
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        self._parts.append(bytes(frame.data))
        if frame.fin:
            whole, self._parts = b"".join(self._parts), []
            self.on_message(whole.decode("utf-8", "replace") if self._is_text else whole)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Also for HTTP, whose request ends here."""
        if self._cut is not None and self._cut.active():
            self._cut.cancel()
        self._cut = None
        self._closed()
        self._release(reason)

    def _closed(self) -> None:
        if not self.gone:
            self.gone = True
            self.on_closed()

    # -- back-pressure ---------------------------------------------------------

    def pauseProducing(self) -> None:
        """The reader does not keep up."""
        self.on_hold(True)

    def resumeProducing(self) -> None:
        """It does again."""
        self.on_hold(False)

    def stopProducing(self) -> None:
        """The connection is lost."""
        self.on_hold(False)


def wants_upgrade(headers: Any) -> bool:
    """@param headers: C{Request.requestHeaders}."""
    values: list[bytes] = headers.getRawHeaders(b"upgrade", [])
    return any(value.lower() == b"websocket" for value in values)


def offered(headers: Any) -> list[str]:
    """The subprotocols a client offers, in its order."""
    lines: list[bytes] = headers.getRawHeaders(b"sec-websocket-protocol", [])
    return [item.strip().decode("latin-1") for line in lines for item in line.split(b",")]


def upgrade(
    request: Any, clock: IReactorTime, *, known: Callable[[str], bool] = lambda name: False
) -> WebSocket:
    """
    Take a connection from HTTP.

    @param request: A L{twisted.web.server.Request} that has been rendered; it is over when
        the connection is lost.
    @param known: Which offered subprotocol is answered; the first one wins.
    @raise ToolboxError: The handshake is not one; the connection is still HTTP's.
    """

    def choose(protocol: ServerProtocol, names: Sequence[Subprotocol]) -> Subprotocol | None:
        return next((name for name in names if known(name)), None)

    headers = Headers()
    for name, values in request.requestHeaders.getAllRawHeaders():
        for value in values:
            headers[name.decode("latin-1")] = value.decode("latin-1")
    handshake = ServerProtocol(select_subprotocol=choose)
    answer = handshake.accept(Request(path=request.uri.decode("latin-1"), headers=headers))
    if answer.status_code != 101:
        text = (answer.body or b"").decode().strip()
        raise ToolboxError(answer.status_code, text)
    channel = request.channel
    transport = channel.transport
    transport.unregisterProducer()
    channel.setTimeout(None)
    socket = WebSocket(clock, channel.connectionLost)
    # Private to Twisted, and what its own WebSockets use; tests/devnet would notice.
    channel._protocolUpgradeForWebsockets(socket)
    transport.write(answer.serialize())
    early, channel._dataBuffer = b"".join(channel._dataBuffer), []
    if early:
        socket.dataReceived(early)
    return socket

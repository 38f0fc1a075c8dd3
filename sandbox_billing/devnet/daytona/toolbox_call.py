"""
One request to the toolbox, from its head to the end of its answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import IO, Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPullProducer, IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from sandbox_billing.devnet.daytona.records import iso
from sandbox_billing.devnet.daytona.toolbox_box import Box
from sandbox_billing.devnet.daytona.toolbox_errors import ToolboxError, bad
from sandbox_billing.devnet.daytona.toolbox_websocket import (
    GOING_AWAY,
    WebSocket,
    upgrade,
    wants_upgrade,
)


# Of a body that is JSON; files are never read whole.
JSON_LIMIT = 16 * 1024 * 1024

# Before this version the SDKs take the outputs apart themselves.
_DEMUXED_SINCE = (0, 160)

_PIECE = 256 * 1024


@frozen(kw_only=True)
class Reply:
    """An answer that is not simply JSON with the route's own status."""

    body: bytes = b""
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"


class Answered:
    """What a handler returns that has sent its answer, or taken the connection."""


@implementer(IPullProducer)
@define(eq=False)
class _Pump:
    """Writes a file as fast as it is taken."""

    _file: IO[bytes]
    _consumer: IConsumer
    done: Deferred[None] = field(factory=Deferred)

    def resumeProducing(self) -> None:
        """The next piece."""
        piece = self._file.read(_PIECE)
        if piece:
            self._consumer.write(piece)
        else:
            self._consumer.unregisterProducer()
            self.done.callback(None)

    def stopProducing(self) -> None:
        """The client has left."""
        self.done.callback(None)


@define(eq=False, kw_only=True)
class Call:
    """
    @ivar request: A L{twisted.web.server.Request}.
    @ivar parameters: The path's, decoded.
    @ivar gone: The client has left.
    """

    request: Any
    box: Box
    clock: IReactorTime
    wall: Callable[[], float]
    query: Mapping[str, list[str]]
    parameters: tuple[str, ...] = ()
    gone: bool = False
    _over: bool = False
    _socket: WebSocket | None = field(default=None)

    # -- what was asked --------------------------------------------------------

    def text(self, name: str) -> str | None:
        """A parameter of the query."""
        values = self.query.get(name)
        return values[-1] if values else None

    def need(self, name: str) -> str:
        """@raise ToolboxError: 400 without it."""
        value = self.text(name)
        if not value:
            raise bad(f"{name} is required")
        return value

    def flag(self, name: str) -> bool:
        """A boolean of the query."""
        return (self.text(name) or "").lower() == "true"

    def json(self) -> dict[str, Any]:
        """@raise ToolboxError: 400 unless the body is an object."""
        try:
            body = json.loads(self.request.content.read(JSON_LIMIT + 1) or b"{}")
        except ValueError as reason:
            raise bad(f"invalid request body: {reason}") from None
        if not isinstance(body, dict):
            raise bad("invalid request body: not an object")
        return body

    @property
    def content(self) -> IO[bytes]:
        """The body, in a file if it is large."""
        body: IO[bytes] = self.request.content
        return body

    def header(self, name: str) -> str:
        """The last one of that name."""
        return str(self.request.getHeader(name) or "")

    @property
    def demuxes(self) -> bool:
        """The client is an old SDK, which takes the outputs apart itself."""
        found = re.match(r"v?(\d+)\.(\d+)", self.header("x-daytona-sdk-version"))
        return found is not None and (int(found[1]), int(found[2])) < _DEMUXED_SINCE

    @property
    def upgrades(self) -> bool:
        """It is the handshake of a WebSocket."""
        return wants_upgrade(self.request.requestHeaders)

    @property
    def now(self) -> str:
        """As it is shown."""
        return iso(self.wall())

    # -- its end ---------------------------------------------------------------

    def cut(self) -> None:
        """The sandbox is gone: what was not begun is answered 502, the rest breaks off."""
        if self._socket is not None:
            self._socket.close(GOING_AWAY, "sandbox stopped")
        elif self._over or self.gone:
            return
        elif self.request.startedWriting:
            self._over = True
            self.request.loseConnection()
        else:
            self.refuse(ToolboxError(502, "the sandbox has stopped"))

    def lost(self, _: object) -> None:
        """The connection is; so too at the end of an answer."""
        self.gone = True
        self.box.leave(self.cut)

    # -- what is answered ------------------------------------------------------

    def refuse(self, error: ToolboxError) -> None:
        """With the error's body."""
        path = self.request.uri.decode("latin-1")
        method = self.request.method.decode("latin-1")
        document = error.document(method=method, path=path, at=self.wall())
        self.send(_json_reply(document, error.status))

    def answer(self, value: Any, status: int) -> None:
        """@param value: A L{Reply}, L{Answered}, None for no body, or what becomes JSON."""
        if isinstance(value, Reply):
            self.send(value)
        elif value is None:
            self.send(Reply(status=status))
        elif not isinstance(value, Answered):
            self.send(_json_reply(value, status))

    def send(self, reply: Reply) -> None:
        """All at once."""
        if self.gone or self._over or self._socket is not None:
            return
        self._over = True
        if self.request.startedWriting:
            # It can only be broken off.
            self.request.loseConnection()
            return
        self.request.setResponseCode(reply.status)
        if reply.body:
            self.request.setHeader("Content-Type", reply.content_type)
        if reply.status != 204:
            self.request.setHeader("Content-Length", str(len(reply.body)))
        self.request.write(reply.body)
        self.request.finish()

    def begin(self, content_type: str, *, length: int | None = None) -> None:
        """A stream."""
        self.request.setResponseCode(200)
        self.request.setHeader("Content-Type", content_type)
        if length is not None:
            self.request.setHeader("Content-Length", str(length))

    def write(self, data: bytes) -> None:
        """Of a stream."""
        if not self.gone and not self._over:
            self.request.write(data)

    def finish(self) -> None:
        """Of a stream."""
        if not self.gone and not self._over:
            self._over = True
            self.request.finish()

    async def send_file(self, file: IO[bytes]) -> None:
        """As fast as the client reads, a piece at a time."""
        if not self.gone and not self._over:
            pump = _Pump(file, self.request)
            self.request.registerProducer(pump, False)
            await pump.done

    async def breathe(self) -> None:
        """Let others be served in between."""
        await deferLater(self.clock, 0)

    def upgrade(self, known: Callable[[str], bool] = lambda name: False) -> WebSocket:
        """@raise ToolboxError: It is no handshake."""
        self._socket = upgrade(self.request, self.clock, known=known)
        return self._socket


def _json_reply(value: Any, status: int) -> Reply:
    body = json.dumps(value, separators=(",", ":")).encode()
    return Reply(body=body, status=status, content_type="application/json; charset=utf-8")

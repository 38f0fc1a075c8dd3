"""
A front desk on a socket before a scripted Daytona, with nothing in between but the relay.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from attrs import define, evolve, field
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from sandbox_billing.adapters.daytona.relay import relay_at
from sandbox_billing.web.site import BillingSite, Limits
from tests.web.world import NOW, OWNER, SANDBOX, TERMS, World, sandbox, token_for


ADMIN_KEY = "only-daytona-may-see-this"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The handshake of RFC 6455's own example."""

SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT.encode() + b"\r\n"
)


@implementer(IHalfCloseableProtocol)
@define(eq=False)
class Wire(Protocol):
    """
    One end of a connection in the hands of a test.

    @ivar taken: Everything received, while it is kept.
    @ivar count: How many bytes that was.
    @ivar keeps: Whether it is kept.
    @ivar half: Whether the other side writes no more.
    @ivar stays: Whether we then leave our side open.
    """

    taken: bytearray = field(factory=bytearray)
    count: int = 0
    keeps: bool = True
    half: bool = False
    stays: bool = False
    ended: bool = False
    closed: Deferred[None] = field(factory=Deferred)

    def dataReceived(self, data: bytes) -> None:
        self.count += len(data)
        if self.keeps:
            self.taken += data

    def readConnectionLost(self) -> None:
        self.half = True
        if not self.stays:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Any = None) -> None:
        self.ended = True
        if not self.closed.called:
            self.closed.callback(None)

    def send(self, data: bytes) -> None:
        """Write."""
        self.transport.write(data)

    @property
    def head(self) -> str:
        """The first head that came; empty until it is whole."""
        head, end, _ = bytes(self.taken).partition(b"\r\n\r\n")
        return head.decode("latin-1") if end else ""

    @property
    def body(self) -> bytes:
        """What came behind it."""
        return bytes(self.taken).partition(b"\r\n\r\n")[2]

    @property
    def status(self) -> int:
        """Of that head; 0 until it is whole."""
        match = re.match(r"HTTP/1.1 (\d+)", self.head)
        return int(match[1]) if match else 0

    def header(self, name: str) -> str | None:
        """A header of that head."""
        match = re.search(rf"(?im)^{re.escape(name)}: *(.*?)\r?$", self.head)
        return match[1] if match else None


class Scripted(Factory):
    """
    A Daytona whose answers the test writes.

    @ivar connections: All that came, in order.
    """

    protocol = Wire

    def __init__(self) -> None:
        self.connections: list[Wire] = []

    def buildProtocol(self, addr: Any) -> Wire:
        wire = Wire(stays=True)
        self.connections.append(wire)
        return wire


class StreamTestCase(TestCase):
    """
    Real sockets, no sleeping; the site's time is real, or a L{Clock} that only the test moves.

    @cvar trust: Whose certificates the relay believes, if not everybody's.
    """

    timeout = 300
    trust: Any = None

    clock: Clock | None = None

    async def serve(self, clock: Clock | None = None, **changes: Any) -> None:
        """
        A world of its own.

        @param clock: Of the site, where a bound must pass, or must not before the test is done:
            on a busy machine a short one does by itself.
        """
        self.clock = clock
        self.daytona = Scripted()
        behind = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self.daytona)
        self.behind = f"127.0.0.1:{behind.getHost().port}"
        relay = relay_at(
            f"http://{self.behind}",
            admin_key=ADMIN_KEY,
            own_url=TERMS.public_url,
            reactor=reactor,
        )
        if self.trust is not None:
            relay = evolve(relay, trust=self.trust)
        self.world = World(relay=relay, clock=reactor)
        self.show(SANDBOX, toolboxProxyUrl=f"http://{self.behind}/toolbox")
        self.site = BillingSite(
            self.world.root,
            reactor=clock or reactor,
            wall=self.world.wall,
            new_request_id=self.world.new_request_id,
            limits=evolve(Limits(), **changes),
            streams=self.world.root.streams,  # type: ignore[attr-defined]
        )
        endpoint = TCP4ServerEndpoint(reactor, 0, backlog=1024, interface="127.0.0.1")
        self.port = await endpoint.listen(self.site)
        self.wires: list[Wire] = []

        async def stop() -> None:
            for wire in (*self.wires, *self.daytona.connections):
                if not wire.ended:
                    wire.transport.abortConnection()
                    await wire.closed
            await self.port.stopListening()
            await behind.stopListening()
            drained = self.site.drain(0)
            if clock is not None:
                clock.advance(0)
            await drained

        self.addCleanup(lambda: Deferred.fromCoroutine(stop()))

    def show(self, id: str, **changes: Any) -> None:
        """Let Daytona show this of the owner's sandbox."""
        self.world.intake.sandboxes[id] = (
            OWNER.address,
            sandbox(id, OWNER.address, **changes),
        )

    async def connect(self, **changes: Any) -> Wire:
        """One more client."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        wire: Wire = await connectProtocol(endpoint, Wire(**changes))
        self.wires.append(wire)
        return wire

    async def until(self, seen: Callable[[], object], seconds: float = 60.0) -> None:
        """Poll an observable; the deadline is the test's failure."""
        deadline = reactor.seconds() + seconds
        while not seen():
            if reactor.seconds() > deadline:
                self.fail("it did not happen in time")
            await deferLater(reactor, 0.005)
            if self.clock is not None:
                self.clock.advance(0)

    async def pause(self, seconds: float) -> None:
        """Let time pass that must not matter."""
        await deferLater(reactor, seconds)

    async def upstream(self, count: int = 1) -> Wire:
        """The C{count}-th connection to Daytona, once its head is whole."""
        await self.until(lambda: len(self.daytona.connections) >= count)
        wire = self.daytona.connections[count - 1]
        await self.until(lambda: b"\r\n\r\n" in wire.taken)
        return wire

    def token(self) -> dict[str, str]:
        """Headers of a session that may use the toolbox."""
        return self.token_for()

    def token_for(self, only: str | None = None) -> dict[str, str]:
        """Perhaps for one sandbox only."""
        return token_for(self.world, OWNER.address, expires_at=NOW + 3600, only=only)

    def request(
        self,
        method: str,
        target: str,
        headers: dict[str, str] | None = None,
        *,
        length: int | None = None,
        chunked: bool = False,
    ) -> bytes:
        """A head."""
        lines = [f"{method} {target} HTTP/1.1", "Host: front.example"]
        lines += [f"{name}: {value}" for name, value in (headers or self.token()).items()]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        if chunked:
            lines.append("Transfer-Encoding: chunked")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def upgrade(self, target: str, **headers: str) -> bytes:
        """A WebSocket's handshake."""
        return self.request(
            "GET",
            target,
            {
                **self.token(),
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Key": KEY,
                "Sec-WebSocket-Version": "13",
                **headers,
            },
        )

    @property
    def box(self) -> str:
        """The toolbox's path."""
        return f"/toolbox/{SANDBOX}"

"""
Lists that are written while they are read, on real sockets.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import deferLater

from sandbox_billing.errors import Transient
from tests.web.test_listing import rows
from tests.web.test_site import SocketTestCase, Wire


ROWS = 3000
ROW_BYTES = 8192


def unchunked(raw: bytes) -> tuple[bytes, bool]:
    """
    @param raw: A chunked body, perhaps cut short.
    @return: What it says, and whether it says that it is whole.
    """
    said = b""
    while b"\r\n" in raw:
        size, _, rest = raw.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return said, True
        said, raw = said + rest[:length], rest[length + 2 :]
    return said, False


class PouringTests(SocketTestCase):
    """
    An array of 24 MB in front of clients of every temper.
    """

    timeout = 300

    async def begin(self, method: bytes = b"GET") -> Wire:
        """A server before v0.180 with many large rows, and a request for all of them."""
        await self.listen()
        runtime = self.world.runtime
        runtime.pages, runtime.rows = False, rows(ROWS, env={"A": "x" * ROW_BYTES})
        address = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        wire = await connectProtocol(address, Wire())
        headers = b"".join(
            f"{name}: {value}\r\n".encode() for name, value in self.world.signed("list").items()
        )
        wire.send(method + b" /api/sandbox HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n")
        return wire

    def asked(self) -> int:
        """How many pages Daytona was asked for."""
        return sum(call[0] == "page" for call in self.world.calls.asked)

    async def still(self) -> int:
        """Wait until no more pages are asked for, and say how many were."""
        count, quiet = -1, 0
        while quiet < 20:
            await deferLater(reactor, 0.005)
            count, quiet = self.asked(), quiet + 1 if count == self.asked() else 0
        return count

    async def test_slow_client(self) -> None:
        """Whoever does not read is not read for; once he does, he gets every row."""
        wire = await self.begin()
        wire.transport.pauseProducing()
        halted = await self.still()
        self.assertLess(halted, ROWS / 100 * 0.8)
        wire.transport.resumeProducing()
        while not wire.taken.endswith(b"\r\n0\r\n\r\n"):
            await deferLater(reactor, 0.005)
        said, is_whole = unchunked(bytes(wire.taken).split(b"\r\n\r\n", 1)[1])
        self.assertTrue(is_whole)
        self.assertEqual(len(json.loads(said)), ROWS)
        self.assertGreater(self.asked(), halted)

    async def test_stalled_client(self) -> None:
        """Whoever takes nothing for a minute is let go, and with him what is held for him."""
        wire = await self.begin()
        wire.transport.pauseProducing()
        halted = await self.still()
        self.world.clock.advance(59)
        self.assertFalse(wire.ended)
        self.world.clock.advance(1)
        wire.transport.resumeProducing()
        await wire.closed
        self.assertFalse(unchunked(bytes(wire.taken).partition(b"\r\n\r\n")[2])[1])
        self.assertEqual(self.asked(), halted)

    async def test_hang_up(self) -> None:
        """Whoever leaves is not read for any more."""
        wire = await self.begin()
        wire.transport.pauseProducing()
        halted = await self.still()
        wire.transport.abortConnection()
        await wire.closed
        self.assertLess(await self.still(), halted + 3)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_broken_off(self) -> None:
        """Where Daytona fails half-way, the reply does not pass for a whole one."""
        wire = await self.begin()
        original, failed = self.world.runtime.page, Deferred[None]()

        async def page(query: Any, *, paginated: bool) -> Any:
            if query.get("page") == "10":
                failed.callback(None)
                raise Transient("Daytona is away")
            return await original(query, paginated=paginated)

        self.world.runtime.page = page  # type: ignore[method-assign]
        await failed
        await wire.closed
        body = bytes(wire.taken).partition(b"\r\n\r\n")[2]
        self.assertFalse(unchunked(body)[1])
        self.assertEqual(len(self.flushLoggedErrors(Transient)), 1)

    async def test_head(self) -> None:
        """C{HEAD} has no body, and Daytona is not asked for more than it takes to say so."""
        wire = await self.begin(b"HEAD")
        while b"\r\n\r\n" not in wire.taken:
            await deferLater(reactor, 0.005)
        await self.still()
        self.assertEqual(bytes(wire.taken).partition(b"\r\n\r\n")[2], b"")
        self.assertEqual(self.asked(), 1)

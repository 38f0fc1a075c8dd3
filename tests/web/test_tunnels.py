"""
WebSockets through the door, and the end of everything that is open.
"""

from __future__ import annotations

import json
import socket
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from zope.interface import implementer

from sandbox_billing.adapters.daytona import relay
from sandbox_billing.web import toolbox
from sandbox_billing.web.site import Limits
from tests.web.streams import ACCEPT, ADMIN_KEY, KEY, SWITCHED, StreamTestCase, Wire
from tests.web.world import SANDBOX


HOUR = 3600.0


class TunnelTests(StreamTestCase):
    """
    Terminals, logs that are followed, interpreters.
    """

    async def open(self, **headers: str) -> tuple[Wire, Wire]:
        """A tunnel, and both of its ends with nothing taken yet."""
        client = await self.connect(stays=True)
        count = len(self.daytona.connections)
        client.send(self.upgrade(f"{self.box}/process/pty/one/connect", **headers))
        upstream = await self.upstream(count + 1)
        upstream.send(SWITCHED + b"\r\n")
        await self.until(lambda: client.status == 101)
        client.taken.clear()
        upstream.taken.clear()
        return client, upstream

    async def gone(self, client: Wire, upstream: Wire) -> None:
        """Both ends have heard the end, and we keep nothing of it."""
        await self.until(lambda: client.half or client.ended)
        await self.until(lambda: upstream.half or upstream.ended)
        await self.until(lambda: not self.site.channels and not self.world.streams.count)

    async def test_handshake(self) -> None:
        """Subprotocols pass both ways; who asks does not."""
        await self.serve()
        client = await self.connect()
        protocols = "X-Daytona-Pty-Exit-Control, X-Daytona-Pty-Envs~e30"
        client.send(
            self.upgrade(
                f"{self.box}/process/pty/create-connect?id=1&cols=80",
                **{"Sec-WebSocket-Protocol": protocols, "Cookie": "a=b", "Origin": "http://x"},
            )
        )
        upstream = await self.upstream()
        self.assertEqual(
            sorted(line.lower() for line in upstream.head.split("\r\n")),
            sorted(
                [
                    f"get {self.box}/process/pty/create-connect?id=1&cols=80 http/1.1",
                    f"authorization: bearer {ADMIN_KEY}",
                    "connection: upgrade",
                    f"host: {self.behind}",
                    f"sec-websocket-key: {KEY}".lower(),
                    f"sec-websocket-protocol: {protocols}".lower(),
                    "sec-websocket-version: 13",
                    "upgrade: websocket",
                ]
            ),
        )
        upstream.send(
            SWITCHED
            + b"Sec-WebSocket-Protocol: X-Daytona-Pty-Exit-Control\r\nSet-Cookie: a=b\r\n\r\n"
        )
        await self.until(lambda: client.status == 101)
        self.assertEqual(client.header("sec-websocket-accept"), ACCEPT)
        self.assertEqual(client.header("sec-websocket-protocol"), "X-Daytona-Pty-Exit-Control")
        self.assertIsNone(client.header("set-cookie"))

    async def test_bytes(self) -> None:
        """Whatever they are, both ways, and for long after the request's own time-outs."""
        clock = Clock()
        await self.serve(clock)
        client, upstream = await self.open()
        clock.advance(HOUR)
        for byte in (b"\x00", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256))):
            client.send(byte)
            await self.until(lambda byte=byte: upstream.taken.endswith(byte))
            upstream.send(byte)
            await self.until(lambda byte=byte: client.taken.endswith(byte))

    async def test_early_bytes(self) -> None:
        """What came with either head is not lost and comes first."""
        await self.serve()
        client = await self.connect()
        early = b"e" * 40_000
        client.send(self.upgrade(f"{self.box}/process/interpreter/execute") + early)
        upstream = await self.upstream()
        upstream.taken.clear()
        upstream.send(SWITCHED + b"\r\nfirst")
        await self.until(lambda: client.body == b"first")
        await self.until(lambda: upstream.taken == early)
        client.send(b"late")
        await self.until(lambda: upstream.taken == early + b"late")

    async def test_refused(self) -> None:
        """A refusal is an ordinary reply, and the connection is one of HTTP still."""
        await self.serve()
        client = await self.connect()
        client.send(self.upgrade(f"{self.box}/process/pty/none/connect"))
        upstream = await self.upstream()
        upstream.send(
            b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        )
        await self.until(lambda: client.body == b"2\r\n{}\r\n0\r\n\r\n")
        self.assertEqual(client.status, 404)
        client.taken.clear()
        client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await self.until(lambda: client.body == b'{"ok":true}')

    async def test_vanished_client(self) -> None:
        """The kernel looks whether he is still there: nothing else would ever tell."""
        await self.serve()
        await self.open()
        (channel,) = self.site.channels
        handle = channel.transport.getHandle()
        self.assertTrue(handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 60)

    async def test_smuggled(self) -> None:
        """What follows a refused handshake is another request of ours, never Daytona's."""
        await self.serve()
        client = await self.connect()
        inner = b"GET /api/sandbox HTTP/1.1\r\nHost: x\r\n\r\n"
        client.send(self.upgrade(f"{self.box}/x") + inner)
        upstream = await self.upstream()
        upstream.send(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n")
        await self.until(lambda: b" 401 " in client.taken)
        self.assertEqual(client.status, 426)
        self.assertNotIn(b"/api/sandbox", upstream.taken)

    async def test_other_101(self) -> None:
        """A 101 that does not prove that it means this handshake opens nothing."""
        await self.serve()
        client = await self.connect()
        client.send(self.upgrade(f"{self.box}/x"))
        upstream = await self.upstream()
        upstream.send(SWITCHED.replace(ACCEPT.encode(), b"bm90IGl0") + b"\r\n")
        await self.until(lambda: client.status == 502)
        await self.until(lambda: upstream.ended or upstream.half)

    async def test_odd_handshakes(self) -> None:
        """Refused here: other readers might see something else in them."""
        await self.serve()
        odd: tuple[dict[str, str], ...] = (
            {"Sec-WebSocket-Version": "8"},
            {"Sec-WebSocket-Key": "short"},
            {"Sec-WebSocket-Key": f"{KEY}\r\nSec-WebSocket-Key: {KEY}"},
            {"Connection": "close"},
            {"Upgrade": "websocket, h2c"},
            {"Content-Length": "5"},
            {"Transfer-Encoding": "chunked"},
        )
        for headers in odd:
            client = await self.connect()
            client.send(self.upgrade(f"{self.box}/x", **headers))
            await self.until(lambda client=client: client.status)
            self.assertEqual(client.status, 400, headers)
        post = self.upgrade(f"{self.box}/x").replace(b"GET ", b"POST ", 1)
        client = await self.connect()
        client.send(post)
        await self.until(lambda: client.status == 400)
        for injected in (b"\rX: y", b"\x00", b"\nX: y"):
            client = await self.connect()
            raw = self.upgrade(f"{self.box}/x", **{"Sec-WebSocket-Protocol": "INJECT"})
            client.send(raw.replace(b"INJECT", b"a" + injected))
            await self.until(lambda client=client: client.status or client.ended)
            self.assertEqual(client.status, 400, injected)
        self.assertEqual(self.daytona.connections, [])

    async def test_half_closed(self) -> None:
        """One side has said all: the other may still answer, both ways."""
        await self.serve()
        client, upstream = await self.open()
        client.send(b"bye")
        client.transport.loseWriteConnection()
        await self.until(lambda: upstream.half and upstream.taken == b"bye")
        upstream.send(b"good bye")
        await self.until(lambda: client.taken == b"good bye")
        upstream.transport.loseWriteConnection()
        await self.gone(client, upstream)

        client, upstream = await self.open()
        upstream.send(b"bye")
        upstream.transport.loseWriteConnection()
        await self.until(lambda: client.half and client.taken == b"bye")
        client.send(b"good bye")
        client.transport.loseWriteConnection()
        await self.until(lambda: upstream.taken == b"good bye")
        await self.gone(client, upstream)

    async def test_either_end_goes(self) -> None:
        """The other end goes, too, with what was written before."""
        await self.serve()
        client, upstream = await self.open()
        upstream.send(b"last words" * 100_000)
        upstream.transport.loseConnection()
        client.stays = False
        await client.closed
        self.assertEqual(client.taken, b"last words" * 100_000)
        client, upstream = await self.open()
        client.transport.abortConnection()
        await self.gone(client, upstream)

    async def test_one_end_stays(self) -> None:
        """Who has heard the end and says no more has some seconds, not for ever."""
        self.patch(toolbox, "HALF_OPEN_SECONDS", 0.1)
        await self.serve()
        client, upstream = await self.open()
        client.transport.loseWriteConnection()
        await self.gone(client, upstream)

    async def test_slow_readers(self) -> None:
        """Who does not read stalls who writes; nothing is kept in between."""
        await self.serve()
        for slow_client in (True, False):
            client, upstream = await self.open()
            slow, fast = (client, upstream) if slow_client else (upstream, client)
            slow.transport.pauseProducing()
            slow.keeps = False
            writer = Endless(fast.transport)
            await self.until(writer.stalls)
            # The kernel's buffers on four sockets, not ours.
            self.assertLess(writer.written, 24 * 1024 * 1024)
            slow.transport.resumeProducing()
            before = slow.count
            await self.until(lambda slow=slow, before=before: slow.count > before + 2**23)
            writer.stopProducing()


class Endless:
    """Writes as long as it may."""

    def __init__(self, transport: Any) -> None:
        self.written = 0
        self._transport = transport
        self._paused = True
        self._seen = -1
        self._still = 0
        transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        """Write until told to stop."""
        self._paused = False
        while not self._paused:
            self._transport.write(b"w" * 65536)
            self.written += 65536

    def pauseProducing(self) -> None:
        """Enough."""
        self._paused = True

    def stopProducing(self) -> None:
        """For good."""
        self._paused = True
        self._transport.unregisterProducer()

    def stalls(self) -> bool:
        """Whether nothing more went for some looks."""
        self._still = self._still + 1 if self.written == self._seen else 0
        self._seen = self.written
        return self._still > 40


@implementer(IStreamClientEndpoint)
class Unreached:
    """A host that does not answer; it fails as Twisted's endpoints do."""

    def __init__(self) -> None:
        self.asked = 0

    def connect(self, factory: Any) -> Deferred[Any]:
        """Not before somebody loses patience."""
        self.asked += 1
        where = IPv4Address("TCP", "192.0.2.1", 4000)
        return Deferred(lambda waiting: waiting.errback(ConnectingCancelledError(where)))


class CutTests(StreamTestCase):
    """
    Streams end with what they belong to, in whichever process that was decided.
    """

    async def following(self) -> tuple[Wire, Wire]:
        """A log that is being followed."""
        client = await self.connect()
        count = len(self.daytona.connections)
        client.send(self.request("GET", f"{self.box}/process/session/1/command/2/logs?follow=true"))
        upstream = await self.upstream(count + 1)
        upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await self.until(lambda: client.body == b"1\r\na\r\n")
        return client, upstream

    async def executing(self) -> tuple[Wire, Wire]:
        """A command that has not answered yet."""
        client = await self.connect()
        count = len(self.daytona.connections)
        client.send(self.request("POST", f"{self.box}/process/execute", length=2) + b"{}")
        return client, await self.upstream(count + 1)

    async def terminal(self) -> tuple[Wire, Wire]:
        """A tunnel."""
        client = await self.connect()
        count = len(self.daytona.connections)
        client.send(self.upgrade(f"{self.box}/process/pty/1/connect"))
        upstream = await self.upstream(count + 1)
        upstream.send(SWITCHED + b"\r\n")
        await self.until(lambda: client.status == 101)
        return client, upstream

    async def look(self) -> None:
        """A turn, as the daemon takes one each second or two."""
        await self.world.streams.turn()

    async def test_while_connecting(self) -> None:
        """Cut before Daytona was reached: told is why, not that it cannot be reached."""
        await self.serve()
        reaching = Unreached()
        self.patch(relay, "endpoint_of", lambda *_, **__: reaching)
        client = await self.connect()
        client.send(self.request("GET", f"{self.box}/x"))
        await self.until(lambda: reaching.asked)
        self.world.doors.stops[SANDBOX] = "operator"
        await self.look()
        await self.until(lambda: client.status)
        self.assertEqual(client.status, 409)
        self.assertEqual(json.loads(client.body)["error"], "stop pending")

    async def test_everything_ends(self) -> None:
        """Logs and terminals are cut, both ends; who waits for an answer is told why."""
        await self.serve()
        opened = [await self.following(), await self.executing(), await self.terminal()]
        await self.look()
        self.assertEqual(self.world.streams.count, 3)
        self.world.doors.stops[SANDBOX] = "insufficient_balance"
        await self.look()
        for client, upstream in (opened[0], opened[2]):
            await client.closed
            await self.until(lambda upstream=upstream: upstream.ended or upstream.half)
        client, upstream = opened[1]
        await self.until(lambda: client.status == 409)
        self.assertEqual(json.loads(client.body)["reason"], "insufficient_balance")
        await self.until(lambda: upstream.ended or upstream.half)
        self.assertEqual(self.world.streams.count, 0)
        self.assertNotIn(b"0\r\n\r\n", opened[0][0].taken)

    async def test_why(self) -> None:
        """A session that has ended, or a wallet that is blocked."""
        await self.serve()
        client, _ = await self.following()
        await self.look()
        self.world.doors.metered.clear()
        await self.look()
        await client.closed
        self.world.doors.metered.add(SANDBOX)
        client, _ = await self.following()
        self.world.doors.blocked[self.world.intake.sandboxes[SANDBOX][0]] = "debt"
        await self.look()
        await client.closed

    async def test_token_that_ends(self) -> None:
        """Revoked or too old: what was opened with it does not go on; what was signed does."""
        await self.serve()
        signed = await self.connect()
        headers = self.world.signed("toolbox", SANDBOX)
        signed.send(self.request("GET", f"{self.box}/process/session", headers))
        await self.upstream(1)
        client, upstream = await self.following()
        await self.look()
        self.assertEqual(self.world.streams.count, 2)
        self.world.tokens.kept.clear()
        await self.look()
        await client.closed
        await self.until(lambda: upstream.ended or upstream.half)
        terminal, _ = await self.terminal()
        self.world.wall.moment += 3599
        await self.look()
        self.assertFalse(terminal.ended)
        self.world.wall.moment += 1
        await self.look()
        await terminal.closed
        self.assertFalse(signed.ended)
        self.assertEqual(self.world.streams.count, 1)

    async def test_ended_before_the_first_look(self) -> None:
        """What was metered when the stream began, and is not when somebody looks, has ended."""
        await self.serve()
        client, _ = await self.following()
        self.world.doors.metered.clear()
        await self.look()
        await client.closed

    async def test_not_metered_yet(self) -> None:
        """One that nobody has found yet is not cut for that."""
        await self.serve()
        self.world.doors.metered.clear()
        client, _ = await self.following()
        await self.look()
        await self.look()
        self.assertFalse(client.ended)

    async def test_clients_that_go(self) -> None:
        """Who hangs up ends his upstream, whatever he was doing."""
        await self.serve()
        for open_one in (self.following, self.executing, self.terminal, self.uploading):
            client, upstream = await open_one()
            client.transport.abortConnection()
            await self.until(lambda upstream=upstream: upstream.ended or upstream.half)
            await self.until(lambda: self.world.streams.count == 0)

    async def uploading(self) -> tuple[Wire, Wire]:
        """A body that is half there."""
        client = await self.connect()
        count = len(self.daytona.connections)
        client.send(self.request("POST", f"{self.box}/files/upload", length=100) + b"half")
        upstream = await self.upstream(count + 1)
        await self.until(lambda: upstream.body == b"half")
        return client, upstream

    async def test_drained(self) -> None:
        """A daemon that stops cuts what is left, and waits for its end."""
        await self.serve()
        clients = [(await self.following())[0], (await self.terminal())[0]]
        self.assertEqual(await self.site.drain(0.01), 2)
        for client in clients:
            await client.closed


class FlowTests(StreamTestCase):
    """
    Bodies: as slow as the slower side, with bounds on idleness only.
    """

    async def test_slow_daytona(self) -> None:
        """A slow upstream holds the upload, and a client that is held is not idle."""
        clock = Clock()
        await self.serve(clock)
        client = await self.connect()
        client.send(self.request("POST", f"{self.box}/files/upload", length=2**40))
        upstream = await self.upstream()
        upstream.transport.pauseProducing()
        writer = Endless(client.transport)
        await self.until(writer.stalls)
        self.assertLess(writer.written, 24 * 1024 * 1024)
        clock.advance(HOUR)
        await self.pause(0.02)
        self.assertFalse(client.ended)
        upstream.keeps = False
        upstream.transport.resumeProducing()
        before = upstream.count
        await self.until(lambda: upstream.count > before + 2**23)
        writer.stopProducing()

    async def test_slow_client(self) -> None:
        """A slow client holds the download."""
        await self.serve()
        client = await self.connect()
        client.send(self.request("GET", f"{self.box}/files/download"))
        upstream = await self.upstream()
        client.transport.pauseProducing()
        client.keeps = False
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 2**40)
        writer = Endless(upstream.transport)
        await self.until(writer.stalls)
        self.assertLess(writer.written, 24 * 1024 * 1024)
        client.transport.resumeProducing()
        await self.until(lambda: client.count > 2**24)
        writer.stopProducing()

    async def test_idle_upload(self) -> None:
        """A body that stops coming is given up, and its client told."""
        clock = Clock()
        await self.serve(clock)
        client = await self.connect()
        client.send(self.request("POST", f"{self.box}/files/upload", length=100) + b"half")
        upstream = await self.upstream()
        await self.until(lambda: upstream.body == b"half")
        clock.advance(Limits().upload_idle_seconds)
        await self.until(lambda: client.status == 408)
        await self.until(lambda: upstream.ended or upstream.half)

    async def test_malformed_upload(self) -> None:
        """Chunks that are none: 400, or a cut when the answer has begun; Daytona hears no end."""
        await self.serve(linger_seconds=0.2)
        for begun in (False, True):
            client = await self.connect()
            count = len(self.daytona.connections)
            client.send(self.request("POST", f"{self.box}/files/upload", chunked=True))
            client.send(b"1\r\na\r\n")
            upstream = await self.upstream(count + 1)
            await self.until(lambda upstream=upstream: upstream.body == b"1\r\na\r\n")
            if begun:
                upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
                await self.until(lambda client=client: client.body == b"half")
            client.send(b"zz\r\n")
            await client.closed
            self.assertEqual(client.status, 200 if begun else 400)
            self.assertEqual(client.taken.count(b"HTTP/1.1"), 1)
            await self.until(lambda upstream=upstream: upstream.half or upstream.ended)
            self.assertEqual(upstream.body, b"1\r\na\r\n")

    async def test_dripping_upload(self) -> None:
        """A body that takes longer than any other may is let in, as long as it moves."""
        clock, limits = Clock(), Limits()
        await self.serve(clock)
        client = await self.connect()
        client.send(self.request("POST", f"{self.box}/files/upload", length=8))
        upstream = await self.upstream()
        for number in range(8):
            client.send(b"x")
            await self.until(lambda number=number: len(upstream.body) == number + 1)
            clock.advance(limits.upload_idle_seconds / 2)
        self.assertGreater(clock.seconds(), 4 * limits.body_seconds)
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await self.until(lambda: client.status == 200)

    async def test_long_execute(self) -> None:
        """An answer may take any time."""
        clock = Clock()
        await self.serve(clock)
        client = await self.connect()
        client.send(self.request("POST", f"{self.box}/process/execute", length=2) + b"{}")
        upstream = await self.upstream()
        clock.advance(HOUR)
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await self.until(lambda: client.body == b"ok")

    async def test_answered_early(self) -> None:
        """An answer before the body's end comes through; what is left is read for nothing."""
        await self.serve()
        client = await self.connect()
        size = 4 * 1024 * 1024
        client.send(self.request("POST", f"{self.box}/files/upload", length=size) + b"x" * 1000)
        upstream = await self.upstream()
        upstream.send(b"HTTP/1.1 413 Too Large\r\nContent-Le")
        await self.pause(0.02)
        upstream.send(b"ngth: 3\r\n\r\nbig")
        await self.until(lambda: client.body == b"big")
        client.send(b"x" * (size - 1000))
        client.taken.clear()
        client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await self.until(lambda: client.body == b'{"ok":true}')

    async def test_lingers_within_bounds(self) -> None:
        """But not for ever: bytes and seconds are bounded, then the connection ends."""
        await self.serve(linger_bytes=100_000, linger_seconds=0.2)
        for sent in (200_000, 10):
            client = await self.connect()
            client.send(self.request("POST", f"{self.box}/x", {"X": "y"}, length=10**9))
            await self.until(lambda client=client: client.status == 401)
            client.send(b"x" * sent)
            await client.closed

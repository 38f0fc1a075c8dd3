"""
Limits, deadlines, hang-ups and draining, on real sockets: treq's memory has neither
our channel nor our request.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase
from twisted.web.test.requesthelper import DummyChannel
from zope.interface import implementer

from sandbox_billing.web.collecting import BillingRequest
from sandbox_billing.web.site import BillingSite, Limits
from tests.web.world import SANDBOX, World


GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"


@implementer(IHalfCloseableProtocol)
@define(eq=False)
class Wire(Protocol):
    """
    A client that sends bytes as it likes and keeps what comes back.

    @ivar taken: Everything received.
    @ivar closed: Fires when the connection is gone.
    @ivar stubborn: Keep our side open when the other has closed its own.
    """

    taken: bytearray = field(factory=bytearray)
    closed: Deferred[None] = field(factory=Deferred)
    ended: bool = False
    stubborn: bool = False

    def dataReceived(self, data: bytes) -> None:
        self.taken += data

    def connectionLost(self, reason: Any = None) -> None:
        self.ended = True
        if not self.closed.called:
            self.closed.callback(None)

    def readConnectionLost(self) -> None:
        if not self.stubborn:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass

    def send(self, data: bytes) -> None:
        """Write."""
        self.transport.write(data)

    def replies(self) -> list[tuple[int, dict[str, str], Any]]:
        """What came back so far, whole replies only: status, headers, JSON."""
        found, rest = [], bytes(self.taken)
        while b"\r\n\r\n" in rest:
            head, rest = rest.split(b"\r\n\r\n", 1)
            lines = head.decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])
            }
            length = int(headers.get("content-length", "0"))
            if len(rest) < length:
                break
            body, rest = rest[:length], rest[length:]
            found.append((int(lines[0].split()[1]), headers, json.loads(body) if body else None))
        return found


class SocketTestCase(TestCase):
    """
    A site on a socket, and clients of it.  Its time is a L{Clock}.
    """

    timeout = 300

    async def listen(self, **changes: Any) -> None:
        """Serve a world of its own."""
        self.world = World()
        self.clock = Clock()
        self.site = BillingSite(
            self.world.root,
            reactor=self.clock,
            wall=self.world.wall,
            new_request_id=self.world.new_request_id,
            limits=Limits(**changes),
        )
        self.port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self.site)
        self.addCleanup(self._stop)

    async def _stop(self) -> None:
        await self.port.stopListening()
        ended = self.site.drain(0)
        self.clock.advance(0)
        await ended

    def due(self) -> list[float]:
        """When the site's timers will fire, by its own clock, which stands still."""
        return [call.getTime() for call in self.clock.getDelayedCalls()]

    async def connect(self) -> Wire:
        """One more client."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        wire = await connectProtocol(endpoint, Wire())

        async def end() -> None:
            wire.transport.abortConnection()
            await wire.closed

        self.addCleanup(lambda: None if wire.ended else Deferred.fromCoroutine(end()))
        return wire

    async def until(self, seen: Callable[[], object], seconds: float = 60.0) -> None:
        """Poll an observable; the deadline is the test's failure."""
        deadline = reactor.seconds() + seconds
        while not seen():
            if reactor.seconds() > deadline:
                self.fail("it did not happen in time")
            await deferLater(reactor, 0.005)

    async def replied(self, wire: Wire, count: int = 1) -> Any:
        """The C{count}-th reply."""
        await self.until(lambda: len(wire.replies()) >= count or wire.ended)
        return wire.replies()[count - 1]

    async def refused(self, sent: bytes, status: int, text: str) -> Wire:
        """Send this and be told that, in JSON, on a connection that then ends."""
        wire = await self.connect()
        wire.send(sent)
        got, headers, body = await self.replied(wire)
        self.assertEqual((got, body["error"]), (status, text))
        self.assertEqual(body["statusCode"], status)
        self.assertEqual(headers["content-type"], "application/json; charset=utf-8")
        self.assertEqual(headers["connection"], "close")
        self.assertTrue(headers["x-request-id"].startswith("req-"))
        await wire.closed
        return wire


class FormTests(SocketTestCase):
    """
    What HTTP leaves open is decided, and what Twisted answers by itself is ours.
    """

    async def test_standard_headers(self) -> None:
        """Every reply is JSON, sniffed by nobody, without a version, with an id."""
        await self.listen()
        wire = await self.connect()
        wire.send(GET % b"/healthz")
        status, headers, body = await self.replied(wire)
        self.assertEqual((status, body), (200, {"ok": True}))
        self.assertEqual(headers["server"], "sandbox-billing")
        self.assertEqual(headers["x-content-type-options"], "nosniff")
        self.assertEqual(headers["content-type"], "application/json; charset=utf-8")
        self.assertEqual(headers["x-request-id"], "req-1")

    async def test_keep_alive_and_pipelining(self) -> None:
        """Requests on one connection are answered in their order, errors among them."""
        await self.listen()
        wire = await self.connect()
        wire.send(GET % b"/healthz" + GET % b"/none" + GET % b"/readyz")
        await self.replied(wire, 3)
        self.assertEqual([one[0] for one in wire.replies()], [200, 404, 200])
        self.assertFalse(wire.ended)

    async def test_head(self) -> None:
        """HEAD is GET without its body."""
        await self.listen()
        wire = await self.connect()
        wire.send(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await self.until(lambda: b"\r\n\r\n" in wire.taken)
        self.assertIn(b"200 OK", wire.taken)
        self.assertIn(b"Content-Length: 11", wire.taken)
        self.assertTrue(wire.taken.endswith(b"\r\n\r\n"))

    async def test_malformed(self) -> None:
        """One text for what is no HTTP."""
        await self.listen()
        for sent in (
            b"nonsense\r\n\r\n",
            b"GET / HTTP/3.0\r\n\r\n",
            b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ):
            await self.refused(sent, 400, "malformed request")

    async def test_left_open_by_twisted(self) -> None:
        """Folded lines, missing or double hosts, odd codings, C{*}."""
        await self.listen()
        for sent, text in (
            (b"GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n", "header lines may not be folded"),
            (b"GET / HTTP/1.1\r\n\r\n", "a request names one host"),
            (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", "a request names one host"),
            (
                b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n",
                "unsupported transfer encoding",
            ),
            (
                b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                "unsupported transfer encoding",
            ),
            (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "the request target must be a path"),
        ):
            await self.refused(sent, 400, text)

    async def test_odd_targets(self) -> None:
        """Absolute form, fragments and raw odd bytes are refused by the table's gate."""
        await self.listen()
        wire = await self.connect()
        targets = (
            (b"http://x/healthz", 400, "a path begins with a slash"),
            (b"/healthz#x", 400, "the path contains a character that no path may contain"),
            (b"/healthz?x=1", 400, "unknown query parameter: x"),
            (b"/health\x7fz", 400, "the path contains a character that no path may contain"),
            (b"/health\xa0z", 400, "the path contains bytes that are not ASCII"),
            (b"//healthz", 400, "the path contains a doubled slash"),
            (b"/../healthz", 400, "the path contains a dot segment"),
        )
        wire.send(b"".join(GET % target for target, _, _ in targets))
        await self.replied(wire, len(targets))
        self.assertEqual(
            [(status, body["error"]) for status, _, body in wire.replies()],
            [(status, text) for _, status, text in targets],
        )

    async def test_odd_hosts(self) -> None:
        """No host name, however odd, is more than ignored."""
        await self.listen()
        wire = await self.connect()
        hosts = (b"x" * 300, b"\xff\xfe", b"..", b"[::1", b"a b", b"")
        for host in hosts:
            wire.send(b"GET /healthz HTTP/1.1\r\nHost: %s\r\n\r\n" % host)
        await self.replied(wire, len(hosts))
        self.assertEqual([one[0] for one in wire.replies()], [200] * len(hosts))


class SizeTests(SocketTestCase):
    """
    431 and 413, and clients that can read them.
    """

    def list_with(self, padding: int, lines: int = 1) -> bytes:
        """An unsigned list with header lines of that many bytes."""
        head = b"GET /api/sandbox HTTP/1.1\r\nHost: x\r\n"
        for number in range(lines):
            name = b"X-Padding-%d: " % number
            head += name + b"x" * (padding - len(name)) + b"\r\n"
        return head + b"\r\n"

    async def test_header_line(self) -> None:
        """64 KiB fit into a line, and one byte more does not."""
        await self.listen()
        wire = await self.connect()
        wire.send(self.list_with(64 * 1024))
        self.assertEqual((await self.replied(wire))[0], 401)
        text = "request headers too large"
        await self.refused(self.list_with(64 * 1024 + 1), 431, text)

    async def test_header_total(self) -> None:
        """Many lines are bounded, too, and so is a line that never ends."""
        await self.listen()
        text = "request headers too large"
        await self.refused(self.list_with(9000, lines=10), 431, text)
        await self.refused(b"GET /" + b"x" * 70_000, 431, text)

    async def test_reasons(self) -> None:
        """A status has its words, also where Twisted has none: while reading, and in an answer."""
        await self.listen()
        wire = await self.connect()
        wire.send(b"GET /" + b"x" * 70_000)
        await self.until(lambda: b"\r\n" in wire.taken)
        self.assertIn(b" 431 Request Header Fields Too Large\r\n", wire.taken)
        request = BillingRequest(DummyChannel())
        for code, words in ((200, b"OK"), (429, b"Too Many Requests"), (799, b"Unknown Status")):
            request.setResponseCode(code)
            self.assertEqual((request.code, request.code_message), (code, words))

    async def test_signed_body_in_a_header(self) -> None:
        """A body of 32 KiB can be signed whole: that is what long lines are for."""
        await self.listen()
        wire = await self.connect()
        body = json.dumps({"env": {"A": "x" * 32_000}}).encode()
        headers = self.world.signed("create", "", body)
        self.assertGreater(len(headers["X-Signed-Message"]), 40_000)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        wire.send(
            f"POST /api/sandbox HTTP/1.1\r\nHost: x\r\n{lines}Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        self.assertEqual((await self.replied(wire))[0], 200)

    async def test_declared_body(self) -> None:
        """Refused before a byte of it is read, and never invited."""
        await self.listen()
        wire = await self.refused(
            b"POST /api/sandbox HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Content-Length: 1048577\r\n\r\n",
            413,
            "request body too large",
        )
        self.assertNotIn(b"100 Continue", wire.taken)

    async def test_sent_body(self) -> None:
        """A client that sends it all at once can still read why it was refused."""
        await self.listen()
        size = 3_000_000
        await self.refused(
            b"POST /api/sandbox HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
            + b"x" * size,
            413,
            "request body too large",
        )
        self.assertEqual(self.world.calls.asked, [])

    async def test_chunked_body(self) -> None:
        """A body without a length is counted while it comes."""
        await self.listen()
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        await self.refused(
            b"POST /api/sandbox HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunk * 17
            + b"0\r\n\r\n",
            413,
            "request body too large",
        )

    async def test_largest_body(self) -> None:
        """The limit itself is served, and the connection goes on."""
        await self.listen()
        wire = await self.connect()
        size = 1024 * 1024
        wire.send(
            b"POST /api/sandbox HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
            + b"x" * size
        )
        wire.send(GET % b"/healthz")
        await self.replied(wire, 2)
        self.assertEqual([one[0] for one in wire.replies()], [401, 200])

    async def test_form_posts_are_not_read_as_forms(self) -> None:
        """A bad multipart is a wrong content type, not a broken request."""
        await self.listen()
        wire = await self.connect()
        headers = self.world.signed("create")
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        wire.send(
            f"POST /api/sandbox HTTP/1.1\r\nHost: x\r\n{lines}"
            "Content-Type: multipart/form-data\r\nContent-Length: 3\r\n\r\nabc".encode()
        )
        status, _, body = await self.replied(wire)
        self.assertEqual((status, body["error"]), (415, "the body must be application/json"))

    async def test_endless_refused_body(self) -> None:
        """What is thrown away after a refusal is bounded."""
        await self.listen(linger_bytes=100_000)
        wire = await self.connect()
        wire.stubborn = True
        wire.send(b"POST /api/sandbox HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
        await self.replied(wire)
        self.assertEqual(len(self.site.channels), 1)
        wire.send(b"x" * 200_000)
        await self.until(lambda: not self.site.channels)

    async def test_refused_client_that_stays(self) -> None:
        """And so is the time a refused client may stay."""
        await self.listen()
        wire = await self.connect()
        wire.stubborn = True
        wire.send(b"nonsense\r\n\r\n")
        await self.replied(wire)
        self.clock.advance(4.9)
        self.assertEqual(len(self.site.channels), 1)
        self.clock.advance(0.2)
        await self.until(lambda: not self.site.channels)


class TimeTests(SocketTestCase):
    """
    Slow clients are cut, patient ones are not.
    """

    async def test_dripping_headers(self) -> None:
        """A byte now and then resets the idle timer, not the deadline (V1)."""
        await self.listen()
        wire = await self.connect()
        wire.send(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        await self.until(lambda: 15.0 in self.due())
        self.clock.advance(14)
        wire.send(b"x")
        # The idle timer, moved on by that byte.
        await self.until(lambda: 74.0 in self.due())
        self.assertEqual(wire.replies(), [])
        self.clock.advance(1)
        status, _, body = await self.replied(wire)
        self.assertEqual((status, body["error"]), (408, "request headers did not arrive in time"))
        await wire.closed

    async def test_body_that_does_not_come(self) -> None:
        """A body has its own deadline."""
        await self.listen()
        wire = await self.connect()
        wire.send(b"POST /api/sandbox HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
        await self.until(lambda: 30.0 in self.due())
        self.clock.advance(30)
        status, _, body = await self.replied(wire)
        self.assertEqual((status, body["error"]), (408, "request body did not arrive in time"))
        await wire.closed

    async def test_deadlines_end_with_the_request(self) -> None:
        """Neither counts while a handler works or between requests."""
        await self.listen(idle_seconds=10_000)
        wire = await self.connect()
        waiting: Deferred[None] = Deferred()
        self.world.calls.waiting["stop"] = waiting
        headers = self.world.signed("stop", SANDBOX)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        wire.send(
            f"POST /api/sandbox/{SANDBOX}/stop HTTP/1.1\r\nHost: x\r\n{lines}"
            "Content-Length: 0\r\n\r\n".encode()
        )
        await self.until(lambda: self.world.calls.asked)
        self.clock.advance(100)
        waiting.callback(None)
        self.assertEqual((await self.replied(wire))[0], 200)
        self.clock.advance(100)
        wire.send(GET % b"/healthz")
        self.assertEqual((await self.replied(wire, 2))[0], 200)

    async def test_idle(self) -> None:
        """A connection without a request is closed without a word."""
        await self.listen()
        wire = await self.connect()
        await self.until(lambda: 60.0 in self.due())
        self.clock.advance(60)
        await wire.closed
        self.assertEqual(bytes(wire.taken), b"")

    async def test_connections_of_one(self) -> None:
        """One address that holds all it may keeps nobody else out (V1)."""
        await self.listen(connections=4, connections_of_peer=2)
        for _ in range(2):
            await self.connect()
        await self.until(lambda: len(self.site.channels) == 2)
        third = await self.connect()
        await third.closed
        port = self.port.getHost().port
        other = TCP4ClientEndpoint(reactor, "127.0.0.1", port, bindAddress=("127.0.0.2", 0))
        wire = await connectProtocol(other, Wire())
        wire.send(GET % b"/healthz")
        self.assertEqual((await self.replied(wire))[0], 200)
        wire.transport.abortConnection()
        await wire.closed

    async def test_connections(self) -> None:
        """One more than the cap is closed at once; those inside go on."""
        await self.listen(connections=2)
        first, second = await self.connect(), await self.connect()
        await self.until(lambda: len(self.site.channels) == 2)
        third = await self.connect()
        await third.closed
        first.send(GET % b"/healthz")
        self.assertEqual((await self.replied(first))[0], 200)
        second.transport.loseConnection()
        await self.until(lambda: len(self.site.channels) == 1)
        fourth = await self.connect()
        fourth.send(GET % b"/healthz")
        self.assertEqual((await self.replied(fourth))[0], 200)


class EndTests(SocketTestCase):
    """
    Hang-ups of clients, and ours.
    """

    def stop_request(self) -> bytes:
        """A signed stop."""
        headers = self.world.signed("stop", SANDBOX)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST /api/sandbox/{SANDBOX}/stop HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode()

    async def test_hang_up(self) -> None:
        """Whoever hangs up ends his own waiting: what he waited for is cancelled, quietly."""
        await self.listen()
        cancelled: list[object] = []
        self.world.calls.waiting["stop"] = Deferred(cancelled.append)
        wire = await self.connect()
        wire.send(self.stop_request())
        await self.until(lambda: self.world.calls.asked)
        wire.transport.loseConnection()
        await self.until(lambda: cancelled)
        await self.until(lambda: not self.site.channels)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_drain_waits_for_replies(self) -> None:
        """Idle connections are closed, a request in hand is answered whole and is the last."""
        await self.listen()
        waiting: Deferred[None] = Deferred()
        self.world.calls.waiting["stop"] = waiting
        idle, busy = await self.connect(), await self.connect()
        idle.send(GET % b"/healthz")
        await self.replied(idle)
        busy.send(self.stop_request())
        await self.until(lambda: self.world.calls.asked)
        drained = self.site.drain(5)
        await idle.closed
        self.assertFalse(drained.called)
        late = await self.connect()
        await late.closed
        busy.send(GET % b"/healthz")
        waiting.callback(None)
        self.assertEqual(await drained, 0)
        await busy.closed
        self.assertEqual([one[0] for one in busy.replies()], [200])
        self.assertEqual(busy.replies()[0][1]["connection"], "close")

    async def test_drain_while_a_request_arrives(self) -> None:
        """A request whose headers were on their way is still served."""
        await self.listen()
        wire = await self.connect()
        wire.send(b"GET /healthz HTTP/1.1\r\n")
        await self.until(
            lambda: any(channel.requests for channel in self.site.channels),
        )
        drained = self.site.drain(5)
        wire.send(b"Host: x\r\n\r\n")
        self.assertEqual(await drained, 0)
        status, headers, _ = await self.replied(wire)
        self.assertEqual((status, headers["connection"]), (200, "close"))

    async def test_drain_is_bounded(self) -> None:
        """What does not end in time is cut, and counted."""
        await self.listen()
        self.world.calls.waiting["stop"] = Deferred()
        wire = await self.connect()
        wire.send(self.stop_request())
        await self.until(lambda: self.world.calls.asked)
        drained = self.site.drain(10)
        self.clock.advance(9.9)
        self.assertFalse(drained.called)
        self.clock.advance(0.1)
        self.assertEqual(await drained, 1)
        await wire.closed

    async def test_drain_of_nobody(self) -> None:
        """Nothing open is nothing to wait for."""
        await self.listen()
        self.assertEqual(await self.site.drain(5), 0)

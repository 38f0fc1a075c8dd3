"""
One exchange with Daytona over real sockets: where the key goes, and what is bounded.
"""

from __future__ import annotations

import json
from collections.abc import Coroutine
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sandbox_billing.adapters.daytona import api_base, daytona_client, daytona_pool
from sandbox_billing.adapters.daytona.decoding import parse_json
from sandbox_billing.adapters.daytona.exchange import Exchange, Request
from sandbox_billing.errors import BadInput, NoAnswerInTime, Transient, UnknownOutcome
from sandbox_billing.interfaces import DaytonaRefused, TooSlow


READ = Request(method="GET", segments=("sandbox",), seconds=5)
CHANGE = Request(method="POST", segments=("sandbox",), seconds=5, body={})


class BaseTests(SynchronousTestCase):
    """L{api_base}."""

    def test_both_spellings(self) -> None:
        """C{/api} is appended unless it is there already."""
        for given, base in (
            ("http://daytona:3000", "http://daytona:3000/api"),
            ("http://daytona:3000/", "http://daytona:3000/api"),
            ("http://daytona:3000/api", "http://daytona:3000/api"),
            ("https://host/daytona/api/", "https://host/daytona/api"),
            ("https://host/api-gateway", "https://host/api-gateway/api"),
        ):
            self.assertEqual(api_base(given), base)

    def test_wrong(self) -> None:
        """What is no plain http(s) URL is refused."""
        for given in (
            "",
            "daytona:3000",
            "ftp://daytona",
            "http://",
            "http://u:p@daytona",
            "http://daytona/?a=b",
            "http://daytona/#x",
        ):
            with self.assertRaises(BadInput):
                api_base(given)


class _Canned(Protocol):
    """Answers every request with the factory's bytes, and closes when told to."""

    def dataReceived(self, data: bytes) -> None:
        self.factory.heard.append(data)
        if b"\r\n\r\n" in data:
            self.transport.write(self.factory.answer)
            if self.factory.closes:
                self.transport.loseConnection()

    def connectionMade(self) -> None:
        self.factory.open.add(self)

    def connectionLost(self, reason: Any = None) -> None:
        self.factory.open.discard(self)


class ExchangeTests(TestCase):
    """L{Exchange} against canned bytes."""

    timeout = 300

    def setUp(self) -> None:
        self.deadlines = Clock()
        pool = daytona_pool(reactor)
        self.addCleanup(pool.closeCachedConnections)
        self.http = daytona_client(reactor, pool)

    def serve(self, answer: bytes, *, closes: bool = True) -> tuple[Any, int]:
        """A server that says the same to everybody."""
        factory: Any = Factory.forProtocol(_Canned)
        factory.answer, factory.closes, factory.heard, factory.open = answer, closes, [], set()
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(self.close, port, factory)
        return factory, port.getHost().port

    async def close(self, port: Any, factory: Any) -> None:
        """End a server and whoever talks to it."""
        await port.stopListening()
        for connection in list(factory.open):
            connection.transport.abortConnection()
        while factory.open:
            await deferLater(reactor, 0)

    def ask(self, port: int, request: Request) -> Coroutine[Any, Any, Any]:
        """Ask a server of this machine."""
        exchange = Exchange(self.http, f"http://127.0.0.1:{port}/api", "admin-key", self.deadlines)
        return exchange.ask(request, parse_json)

    async def test_nobody_listens(self) -> None:
        """A refused connection is transient even for a change: nobody got it."""
        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        for request in (READ, CHANGE):
            with self.assertRaises(Transient):
                await self.ask(number, request)

    async def test_redirect(self) -> None:
        """A redirect is not followed: the key stays where it belongs."""
        other, elsewhere = self.serve(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        for status in (b"301", b"302", b"307", b"308"):
            _, port = self.serve(
                b"HTTP/1.1 %s Moved\r\nLocation: http://127.0.0.1:%d/api\r\n"
                b"Content-Length: 0\r\n\r\n" % (status, elsewhere)
            )
            with self.assertRaises(Transient):
                await self.ask(port, READ)
            with self.assertRaises(UnknownOutcome):
                await self.ask(port, CHANGE)
        self.assertEqual(other.heard, [])

    async def test_large_body(self) -> None:
        """A body over the limit is unreadable, and the rest of it is not awaited."""
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n"
        _, port = self.serve(head + b"x" * 2_000_000, closes=False)
        small = Request(method="GET", segments=("sandbox",), seconds=5, limit=1_000_000)
        with self.assertRaises(Transient) as caught:
            await self.ask(port, small)
        self.assertIn("too large", str(caught.exception))

    async def late(self, answer: bytes, request: Request) -> BaseException:
        """How a request ends whose deadline comes after these bytes of an answer."""
        factory, port = self.serve(answer, closes=False)
        done = Deferred.fromCoroutine(self.ask(port, request))
        while not factory.heard:
            await deferLater(reactor, 0.001)
        self.deadlines.advance(6)
        with self.assertRaises(Exception) as caught:
            await done
        return caught.exception

    async def test_late(self) -> None:
        """The deadline covers head and body; a read may be asked again, a change must be found."""
        for answer in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"):
            for request, kind in ((READ, TooSlow), (CHANGE, NoAnswerInTime)):
                error = await self.late(answer, request)
                self.assertIsInstance(error, kind)
                self.assertEqual(str(error), f"{request.title}: Daytona has not answered in time")

    async def test_answered_with_nothing_usable(self) -> None:
        """Daytona that did answer was not slow: another outcome, just as unknown (wire.md §5)."""
        for answer in (
            b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 504 X\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
            b"HTTP/1.1 20",
        ):
            for request, kind in ((READ, Transient), (CHANGE, UnknownOutcome)):
                _, port = self.serve(answer)
                with self.assertRaises(kind) as caught:
                    await self.ask(port, request)
                self.assertIs(type(caught.exception), kind, answer)

    async def test_no_http(self) -> None:
        """Bytes that are no HTTP are no answer."""
        _, port = self.serve(b"SSH-2.0-OpenSSH_9\r\n")
        with self.assertRaises(Transient):
            await self.ask(port, READ)
        with self.assertRaises(UnknownOutcome):
            await self.ask(port, CHANGE)

    async def test_foreign_refusal(self) -> None:
        """A 413 of a gateway is a refusal without its page; its 404 proves nothing."""
        page = b"<html>big</html>"
        _, port = self.serve(b"HTTP/1.1 413 X\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page))
        with self.assertRaises(DaytonaRefused) as caught:
            await self.ask(port, CHANGE)
        self.assertEqual(
            (caught.exception.status, caught.exception.text), (413, "Daytona answered 413")
        )
        _, port = self.serve(b"HTTP/1.1 404 X\r\nContent-Length: 2\r\n\r\n{}")
        with self.assertRaises(Transient):
            await self.ask(port, READ)

    async def test_transition(self) -> None:
        """A transition under way is 409 whatever the dialect, and says when to try again."""
        for status, message, seen, wait in (
            (400, "State change in progress", 409, 2),
            (400, "Sandbox state change in progress", 409, 2),
            (409, "Sandbox state change in progress", 409, 2),
            (409, "Sandbox was modified by another operation, please try again", 409, 2),
            (409, "Sandbox with name x already exists", 409, 0),
            (400, "Sandbox is not started", 400, 0),
            (422, "state change in progress", 422, 0),
        ):
            body = json.dumps({"statusCode": status, "message": message}).encode()
            head = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
            _, port = self.serve(head + body)
            with self.assertRaises(DaytonaRefused) as caught:
                await self.ask(port, CHANGE)
            refused = caught.exception
            self.assertEqual(
                (refused.status, refused.retry_after, refused.text), (seen, wait, message)
            )

    async def test_long_text(self) -> None:
        """Daytona's message is passed on up to a bound."""
        body = b'{"statusCode":400,"message":"%s"}' % (b"m" * 5000)
        _, port = self.serve(b"HTTP/1.1 400 X\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        with self.assertRaises(DaytonaRefused) as caught:
            await self.ask(port, CHANGE)
        self.assertEqual(caught.exception.text, "m" * 500)

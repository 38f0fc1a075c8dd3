"""
Tests of C{sandbox_billing.adapters.webhooks}, against a receiver on a real socket.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_address
from threading import Event, current_thread
from typing import Any

from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import BrowserLikePolicyForHTTPS
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.webhooks.names import BUSY, Busy, NamePool, SystemNames
from sandbox_billing.adapters.webhooks.sender import MOST_BYTES, NoWebhooks, WebhookSender
from sandbox_billing.errors import BadInput, Refused, Transient
from sandbox_billing.interfaces import IWebhookSender, Sent
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.target import (
    NOT_A_HOST,
    NOT_ENCRYPTED,
    REFUSED,
    Allowed,
    IPAddress,
    read_allowed,
)
from tests.adapters.receiver import Receiver, answer, until
from tests.web.test_streams_tls import certificate


HERE = read_allowed(["127.0.0.1"])
BODY = b'{"kind":"ping"}'
TOLD = {"X-Sandbox-Billing-Event": "ping"}


class Names:
    """What a resolver says, time after time."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> tuple[IPAddress, ...]:
        """The next answer; the last one stays."""
        self.asked.append(host)
        found = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return tuple(map(ip_address, found))


class SenderCase(TestCase):
    """A receiver here, and somebody who sends."""

    timeout = 300

    async def listen(self, endpoint: IStreamServerEndpoint | None = None) -> None:
        """Have a receiver."""
        self.receiver = Receiver()
        self.port = await self.receiver.listen(endpoint)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.receiver.close()))

    def sender(
        self, names: Any = None, allowed: Allowed = HERE, trust: Any = None
    ) -> WebhookSender:
        """One that finds everything here."""
        names = Names(["127.0.0.1"]) if names is None else names
        return WebhookSender(
            reactor=reactor,
            names=names,
            asked_names=names,
            tested_names=names,
            allowed=allowed,
            trust=BrowserLikePolicyForHTTPS() if trust is None else trust,
        )

    async def send(self, *answers: Any, path: str = "/hook?a=b") -> Sent:
        """Send to the receiver, which answers so."""
        await self.listen()
        self.receiver.answers = list(answers)
        return await self.sender().send(f"http://hooks.example:{self.port}{path}", TOLD, BODY)


class SendingTests(SenderCase):
    """What goes out, and what is made of the answer."""

    def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(IWebhookSender, self.sender())
        verifyObject(IWebhookSender, NoWebhooks())

    async def test_sent(self) -> None:
        """One POST with our headers, and none of a browser's."""
        sent = await self.send(answer(204))
        self.assertEqual(sent, Sent(204, "answered 204"))
        self.assertTrue(sent.good)
        ((head, body),) = self.receiver.heard
        self.assertTrue(head.startswith(b"POST /hook?a=b HTTP/1.1\r\n"))
        self.assertEqual(body, BODY)
        told = self.receiver.headers()
        self.assertEqual(told["host"], f"hooks.example:{self.port}")
        self.assertEqual(told["x-sandbox-billing-event"], "ping")
        self.assertTrue(told["user-agent"].startswith("sandbox-billing/"))
        self.assertEqual(
            set(told),
            {"host", "content-length", "user-agent", "accept", "connection"}
            | {"x-sandbox-billing-event"},
        )
        await until(lambda: not self.receiver.open)

    async def test_quiet(self) -> None:
        """Nobody can fill the log by having things sent."""
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        await self.send(answer(200))
        told = [formatEvent(event) for event in events]
        self.assertEqual([], [one for one in told if "factory" in one and "Client" in one])

    async def test_no_redirect(self) -> None:
        """Nowhere else, whatever is answered, and no cookie is kept."""
        more = b"Location: http://127.0.0.1:1/\r\nSet-Cookie: a=b\r\n"
        sent = await self.send(answer(302, more))
        self.assertEqual((sent, sent.good), (Sent(302, "answered 302"), False))
        await self.sender().send(f"http://hooks.example:{self.port}/", TOLD, BODY)
        self.assertEqual(len(self.receiver.heard), 2)
        self.assertNotIn("cookie", self.receiver.headers())

    async def test_refuses(self) -> None:
        """A status of trouble is told."""
        self.assertEqual(await self.send(answer(500, body=b"no")), Sent(500, "answered 500"))

    async def test_hangs_up(self) -> None:
        """A connection that breaks is no success."""
        sent = await self.send(lambda transport: transport.abortConnection())
        self.assertEqual(sent, Sent(None, "the connection broke"))

    async def test_no_http(self) -> None:
        """Nor is something else than HTTP."""
        sent = await self.send(b"220 smtp.example ready\r\n")
        self.assertEqual(sent, Sent(None, "the answer is no HTTP"))

    async def test_nobody_there(self) -> None:
        """Nor a port where nobody listens."""
        gone = Receiver()
        port = await gone.listen()
        await gone.close()
        sent = await self.sender().send(f"http://hooks.example:{port}/", TOLD, BODY)
        self.assertEqual(sent, Sent(None, "cannot be connected to"))

    async def test_endless_headers(self) -> None:
        """Of an answer no more is read than fits."""

        def flood(transport: Any) -> None:
            transport.write(b"HTTP/1.1 200 X\r\n" + b"X-A: b\r\n" * (MOST_BYTES // 8 + 10))

        self.assertEqual(await self.send(flood), Sent(None, "the connection broke"))

    async def test_endless_body(self) -> None:
        """A body is dropped, and its connection with it; the status counts."""
        more = b"HTTP/1.1 200 X\r\n\r\n" + b"x" * (2 * MOST_BYTES)
        self.assertTrue((await self.send(more)).good)
        await until(lambda: not self.receiver.open)

    async def test_slow_body(self) -> None:
        """One that never ends is not waited for."""
        self.assertTrue((await self.send(b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nx")).good)
        await until(lambda: not self.receiver.open)


class JudgedTests(SenderCase):
    """Whom nothing is sent to (SSRF)."""

    async def test_refused(self) -> None:
        """Neither at registration nor at delivery, and nobody is connected to."""
        await self.listen()
        sender = self.sender(allowed=Allowed())
        for url, why in (
            (f"https://hooks.example:{self.port}/", REFUSED),
            (f"http://hooks.example:{self.port}/", NOT_ENCRYPTED),
            (f"https://127.0.0.1:{self.port}/", REFUSED),
            (f"https://[::ffff:127.0.0.1]:{self.port}/", REFUSED),
            (f"https://[::1]:{self.port}/", REFUSED),
            ("https://169.254.169.254/latest/meta-data/", REFUSED),
            (f"https://2130706433:{self.port}/", NOT_A_HOST),
            (f"https://0x7f.1:{self.port}/", NOT_A_HOST),
        ):
            with self.subTest(url=url):
                with self.assertRaises(BadInput) as caught:
                    await sender.check(url)
                self.assertEqual(caught.exception.text, why)
                self.assertEqual(await sender.send(url, TOLD, BODY), Sent(None, why))
        self.assertEqual((self.receiver.heard, self.receiver.open), ([], []))

    async def test_rebinding(self) -> None:
        """A name that was good and leads here by now is judged by what it is now."""
        await self.listen()
        names = Names(["93.184.215.14"], ["127.0.0.1"])
        sender = self.sender(names, allowed=Allowed())
        url = f"https://hooks.example:{self.port}/"
        await sender.check(url)
        self.assertEqual(await sender.send(url, TOLD, BODY), Sent(None, REFUSED))
        self.assertEqual(self.receiver.heard, [])

    async def test_one_lookup(self) -> None:
        """Connected is to the very address that was judged: the name is asked for once."""
        await self.listen()
        names = Names(["127.0.0.1"], ["93.184.215.14"])
        url = f"http://hooks.example:{self.port}/"
        self.assertTrue((await self.sender(names).send(url, TOLD, BODY)).good)
        self.assertEqual(names.asked, ["hooks.example"])

    async def test_one_of_several(self) -> None:
        """One address that is closed closes the host, also where another would be taken."""
        await self.listen()
        names = Names(["93.184.215.14", "127.0.0.1"])
        url = f"https://hooks.example:{self.port}/"
        sent = await self.sender(names, allowed=Allowed()).send(url, TOLD, BODY)
        self.assertEqual(sent, Sent(None, REFUSED))

    async def test_next_address(self) -> None:
        """Where one address does not answer, the next is tried."""
        await self.listen()
        # Of the first, the system says at once that nothing can be sent there.
        names = Names(["255.255.255.255", "127.0.0.1"])
        allowed = read_allowed(["127.0.0.0/8", "255.255.255.255"])
        url = f"http://hooks.example:{self.port}/"
        self.assertTrue((await self.sender(names, allowed=allowed).send(url, TOLD, BODY)).good)

    async def test_addresses_in_urls(self) -> None:
        """An address in the place of a name is asked of nobody, and may be one of IPv6."""
        await self.listen()
        names = Names([])
        sender = self.sender(names, allowed=read_allowed(["127.0.0.0/8", "::ffff:127.0.0.1"]))
        for host in ("127.0.0.1", "[::ffff:127.0.0.1]"):
            url = f"http://{host}:{self.port}/"
            self.assertTrue((await sender.send(url, TOLD, BODY)).good, host)
            self.assertEqual(self.receiver.headers()["host"], f"{host}:{self.port}")
        self.assertEqual(names.asked, [])

    async def test_nobody_sends(self) -> None:
        """Where there is no sender, nothing can be registered."""
        with self.assertRaises(Refused):
            await NoWebhooks().check("https://hooks.example/")
        self.assertFalse((await NoWebhooks().send("https://hooks.example/", {}, b"")).good)


class TLSTests(SenderCase):
    """Certificates are checked, by name."""

    async def behind_tls(self) -> Any:
        """@return: Whose certificates are believed."""
        own = certificate()
        await self.listen(SSL4ServerEndpoint(reactor, 0, own.options(), interface="127.0.0.1"))
        return BrowserLikePolicyForHTTPS(trustRoot=ssl.Certificate(own.original))

    async def test_right(self) -> None:
        """The name's own."""
        trust = await self.behind_tls()
        url = f"https://localhost:{self.port}/"
        self.assertTrue((await self.sender(trust=trust).send(url, TOLD, BODY)).good)

    async def test_names_of_no_certificate(self) -> None:
        """A name that no certificate can be for is refused, and ends nothing otherwise."""
        for host in ("a_b.example", "ab--c.example", "xn--zzzzzzzz.example", "xn--a.example"):
            url = f"https://{host}/"
            with self.assertRaises(BadInput):
                await self.sender().check(url)
            self.assertEqual(await self.sender().send(url, TOLD, BODY), Sent(None, NOT_A_HOST))

    async def test_wrong(self) -> None:
        """Neither another name's, nor one that nobody vouches for."""
        trust = await self.behind_tls()
        failed = Sent(None, "TLS failed: is the certificate valid, and for this host?")
        other = f"https://hooks.example:{self.port}/"
        self.assertEqual(await self.sender(trust=trust).send(other, TOLD, BODY), failed)
        known = f"https://localhost:{self.port}/"
        self.assertEqual(await self.sender().send(known, TOLD, BODY), failed)
        self.assertEqual(self.receiver.heard, [])


class TimeTests(SynchronousTestCase):
    """How long it may take, on a clock of ours."""

    def test_deadline(self) -> None:
        """A host that takes the connection and says nothing is left after ten seconds."""
        clock: Any = MemoryReactorClock()
        sender = WebhookSender(
            reactor=clock,
            names=Names(["127.0.0.1"]),
            asked_names=Names([]),
            tested_names=Names([]),
            allowed=HERE,
            trust=BrowserLikePolicyForHTTPS(),
        )
        sending = Deferred.fromCoroutine(sender.send("http://hooks.example/", TOLD, BODY))
        clock.advance(4.9)
        self.assertNoResult(sending)
        clock.advance(5.2)
        self.assertEqual(self.successResultOf(sending), Sent(None, "no answer within 10 s"))

    def test_slow_names(self) -> None:
        """The look-up's time counts, too."""

        class Silent:
            async def __call__(self, host: str) -> Any:
                return await Deferred()

        clock: Any = Clock()
        sender = WebhookSender(
            reactor=clock,
            names=Silent(),
            asked_names=Silent(),
            tested_names=Silent(),
            allowed=HERE,
            trust=BrowserLikePolicyForHTTPS(),
        )
        sending = Deferred.fromCoroutine(sender.send("http://hooks.example/", TOLD, BODY))
        clock.advance(10.1)
        self.assertFalse(self.successResultOf(sending).good)


class BusyTests(SynchronousTestCase):
    """When too much is asked here."""

    def test_own_places(self) -> None:
        """A test is looked up beside what is sent, for its wallet; busy is told from failing."""
        asked: list[tuple[str, ...]] = []

        async def tested(*what: str) -> Any:
            asked.append(what)
            raise Busy(BUSY)

        sender = WebhookSender(
            reactor=Clock(),
            names=Names([]),
            asked_names=Names([]),
            tested_names=tested,
            allowed=HERE,
            trust=BrowserLikePolicyForHTTPS(),
        )
        who, url = Address("0x" + "1a" * 20), "http://hooks.example/"
        testing = Deferred.fromCoroutine(sender.test(who, url, TOLD, BODY))
        self.assertEqual(self.successResultOf(testing), Sent(None, BUSY, busy=True))
        self.assertEqual(asked, [("hooks.example", who.hex)])
        sending = Deferred.fromCoroutine(sender.send(url, TOLD, BODY))
        self.assertFalse(self.successResultOf(sending).busy)


class NamesTests(TestCase):
    """The system's resolver, without asking anybody."""

    def setUp(self) -> None:
        """Threads of its own."""
        self.pool = ThreadPool(0, 2)
        self.pool.start()
        self.addCleanup(self.pool.stop)
        self.names = SystemNames(reactor, self.pool, 2)

    async def test_known(self) -> None:
        """Addresses, each once."""
        found = await self.names.addresses("localhost")
        self.assertIn("127.0.0.1", map(str, found))
        self.assertEqual(len(found), len(set(found)))

    async def test_unknown(self) -> None:
        """A label that no name can have has none."""
        self.assertEqual(await self.names.addresses("a" * 64), ())

    async def test_nobody_waits(self) -> None:
        """A name that takes its time holds up neither whoever stops the pool, nor the process."""
        held, begun, ended = Event(), Event(), Event()
        seen: list[bool] = []

        def slow() -> None:
            seen.append(current_thread().daemon)
            begun.set()
            held.wait(300)
            ended.set()

        pool = NamePool()
        pool.start()
        pool.callInThread(slow)
        try:
            self.assertTrue(begun.wait(60))
            pool.stop()
            self.assertEqual((seen, ended.is_set()), ([True], False))
        finally:
            held.set()
        self.assertTrue(ended.wait(60))

    async def test_each(self) -> None:
        """Nobody takes all of the places, also not with look-ups that were given up."""
        held = Event()

        def slow(*asked: Any, **how: Any) -> list[Any]:
            held.wait()
            return []

        names = SystemNames(reactor, self.pool, 3, 1)
        self.patch(socket, "getaddrinfo", slow)
        try:
            first = Deferred.fromCoroutine(names.addresses("a.example", "a"))
            again = Deferred.fromCoroutine(names.addresses("b.example", "a"))
            self.failureResultOf(again, Busy)
            other = Deferred.fromCoroutine(names.addresses("b.example", "b"))
            self.assertNoResult(other)
        finally:
            held.set()
        self.assertEqual((await first, await other), ((), ()))
        self.assertEqual(dict(names._under_way), {})

    async def test_slow(self) -> None:
        """What does not answer is left; its thread counts until it has ended, and no longer."""
        held = Event()

        def slow(*asked: Any, **how: Any) -> list[Any]:
            held.wait()
            return []

        clock: Any = Clock()
        clock.callFromThread = reactor.callFromThread  # type: ignore[attr-defined]
        names = SystemNames(clock, self.pool, 2)
        self.patch(socket, "getaddrinfo", slow)
        try:
            asked = [Deferred.fromCoroutine(names.addresses("a.example")) for _ in range(3)]
            self.assertIn("too many", self.failureResultOf(asked[2], Transient).value.text)
            clock.advance(5.1)
            for one in asked[:2]:
                self.assertIn("do not answer", self.failureResultOf(one, Transient).value.text)
            again = Deferred.fromCoroutine(names.addresses("a.example"))
            self.failureResultOf(again, Transient)
        finally:
            held.set()
        await until(lambda: names._under_way.total() == 0)
        self.assertEqual(await names.addresses("a.example"), ())

"""
Daytona's events: against the simulator's gateway on a socket, and against nonsense.
"""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, RejectConnection, TextMessage
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.daytona.events import (
    BYTES_PER_SECOND,
    FRAME_COST,
    JOIN_SECONDS,
    MAX_MESSAGE,
    DaytonaEvents,
    Follower,
    read_event,
)
from sandbox_billing.devnet.daytona import DaytonaSimulator, DaytonaSimulatorService
from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import IEvents


KEY = "admin-key"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("sandbox"), inner),
    max_leaves=8,
)


class ReadTests(SynchronousTestCase):
    """L{read_event}."""

    def test_ids(self) -> None:
        """Each of the three kinds names its sandbox."""
        for data in (
            ["sandbox.created", {"id": "sb-1"}],
            ["sandbox.state.updated", {"sandbox": {"id": "sb-1"}, "oldState": "started"}],
            ["sandbox.desired-state.updated", {"sandbox": {"id": "sb-1"}}, "more"],
        ):
            self.assertEqual(read_event(data), "sb-1", data)

    def test_none(self) -> None:
        """What names none, or no possible one, is nothing."""
        for data in (
            None,
            [],
            ["sandbox.created"],
            ["sandbox.created", "sb-1"],
            ["sandbox.created", {"id": "a:b"}],
            ["sandbox.created", {"id": ["sb-1"]}],
            ["sandbox.state.updated", {"id": "sb-1"}],
            ["sandbox.state.updated", {"sandbox": {"id": "../stop"}}],
            ["volume.created", {"id": "sb-1"}],
            [["sandbox.created"], {"id": "sb-1"}],
        ):
            self.assertIsNone(read_event(data), data)

    @given(json_values)
    def test_any(self, data: Any) -> None:
        """Whatever JSON comes, it is an id or nothing."""
        for whole in (data, ["sandbox.created", data], ["sandbox.state.updated", data]):
            self.assertIn(type(read_event(whole)), (str, type(None)))


class FollowerTests(SynchronousTestCase):
    """L{Follower}, its server played by hand."""

    def setUp(self) -> None:
        """A connection whose upgrade was accepted."""
        self.clock = Clock()
        self.heard: list[str] = []
        self.joins = 0
        self.follower, self.transport = self.connected()
        self.server = WSConnection(ConnectionType.SERVER)
        self.server.receive_data(self.transport.value())
        (asked,) = self.server.events()
        self.asked: Any = asked
        self.feed(self.server.send(AcceptConnection()))
        self.transport.clear()

    def connected(self) -> tuple[Follower, StringTransport]:
        """A new one."""
        follower = Follower(
            host="daytona.test",
            target="/api/socket.io/?EIO=4&transport=websocket",
            admin_key=KEY,
            clock=self.clock,
            heard=self.heard.append,
            joined=self.on_joined,
        )
        transport = StringTransport()
        follower.makeConnection(transport)
        return follower, transport

    def on_joined(self) -> None:
        """Count them."""
        self.joins += 1

    def feed(self, data: bytes) -> None:
        """Bytes from the server."""
        self.follower.dataReceived(data)

    def tell(self, *texts: str) -> None:
        """Messages from the server."""
        for text in texts:
            self.feed(self.server.send(TextMessage(data=text)))

    def said(self) -> list[str]:
        """The client's messages."""
        self.server.receive_data(self.transport.value())
        self.transport.clear()
        return [one.data for one in self.server.events() if isinstance(one, TextMessage)]

    def test_key_after_opening(self) -> None:
        """The key is no part of the request; it is sent when Engine.IO has opened, once."""
        self.assertEqual(self.asked.target, "/api/socket.io/?EIO=4&transport=websocket")
        self.assertEqual(self.asked.extensions, [])
        self.assertEqual(self.said(), [])
        self.tell('0{"sid":"x","pingInterval":25000,"pingTimeout":20000}')
        self.assertEqual(self.said(), [f'40{{"token":"{KEY}"}}'])
        self.assertEqual(self.joins, 0)
        self.tell('40{"sid":"y"}')
        self.assertEqual(self.joins, 1)

    def test_news(self) -> None:
        """Events are heard, other packets passed over, pings of both kinds answered."""
        self.tell('42["sandbox.created",{"id":"sb-1"}]', '42["other",{"id":"sb-2"}]', "6", "4")
        self.tell('43[{"id":"sb-3"}]', '451-["sandbox.created",{"_placeholder":true,"num":0}]', "2")
        self.assertEqual(self.heard, ["sb-1"])
        self.assertEqual(self.said(), ["3"])
        self.feed(self.server.send(Ping(payload=b"p")))
        self.assertIn(b"\x8a", self.transport.value()[:1])
        self.assertFalse(self.transport.disconnecting)

    def test_parts(self) -> None:
        """A message may come in any number of parts."""
        for text, last in (('42["sandbox.cre', False), ('ated",{"id":"s', False), ('b-1"}]', True)):
            data = self.server.send(TextMessage(data=text, message_finished=last))
            for byte in data:
                self.feed(bytes([byte]))
        self.assertEqual(self.heard, ["sb-1"])

    def test_too_long(self) -> None:
        """One that is too long is passed over without being kept, and the next is heard."""
        many = self.server.send(TextMessage(data="x" * 65_536, message_finished=False))
        for _ in range(MAX_MESSAGE // 65_536 + 2):
            self.feed(many)
            many = self.server.send(TextMessage(data="x" * 65_536, message_finished=False))
        self.assertEqual(self.follower._parts, [])
        self.feed(self.server.send(TextMessage(data="x")))
        self.tell('42["sandbox.created",{"id":"sb-1"}]')
        self.assertEqual(self.heard, ["sb-1"])

    def test_flood(self) -> None:
        """What comes faster than it may is left in the socket for the rest of the second."""
        data = self.server.send(TextMessage(data="6" * 60_000))
        for _ in range(BYTES_PER_SECOND // 60_000 + 1):
            self.feed(data)
        self.assertEqual(self.transport.producerState, "paused")
        self.clock.advance(1)
        self.assertEqual(self.transport.producerState, "producing")

    def test_pieces(self) -> None:
        """A message of ever more pieces that are next to nothing is not collected."""
        self.feed(b"\x01\x00" + b"\x00\x00" * 2_000)
        self.assertFalse(self.transport.disconnecting)
        self.feed(b"\x00\x00" * 8_000)
        self.assertTrue(self.transport.disconnecting)
        self.assertIn("pieces", self.follower.why)
        self.assertLess(len(self.follower._parts), 5_000)

    def test_fair_pieces(self) -> None:
        """One that is passed over for its length may have as many pieces as it is long."""
        piece = b"\x00\x7e\x04\x00" + b"x" * 1024
        self.feed(b"\x01\x00" + piece * 10_000)
        self.assertFalse(self.transport.disconnecting)

    def test_flood_of_frames(self) -> None:
        """Empty frames cost time, too: fewer of them are read in a second than of bytes."""
        for kind in (b"\x89\x00", b"\x81\x016"):
            self.setUp()
            self.feed(kind * (BYTES_PER_SECOND // FRAME_COST))
            self.assertEqual(self.transport.producerState, "paused", kind)
            self.clock.advance(1)
            self.assertEqual(self.transport.producerState, "producing")

    def test_silence(self) -> None:
        """Who says nothing any more is given up, after as long as it announced."""
        self.tell('0{"sid":"x","pingInterval":25000,"pingTimeout":20000}', "2")
        self.clock.advance(44)
        self.assertFalse(self.transport.disconnecting)
        self.tell("2")
        self.clock.advance(44)
        self.assertFalse(self.transport.disconnecting)
        self.clock.advance(2)
        self.assertTrue(self.transport.disconnecting)

    def test_never_opened(self) -> None:
        """So is who never opens, and nothing of it is left."""
        follower, transport = self.connected()
        self.clock.advance(JOIN_SECONDS)
        self.assertTrue(transport.disconnecting)
        for one in (follower, self.follower):
            one.connectionLost()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(follower.gone)

    def test_refusals(self) -> None:
        """Each way of being turned away ends it with its reason."""
        for packet, why in (
            ('44{"message":"Unauthorized"}', "refuses the key"),
            ("41", "ended the subscription"),
            ("1", "closed the session"),
            ("", "cannot be read"),
            ("x", "cannot be read"),
            ("42[", "cannot be read"),
            ("42" + "[" * 100_000, "cannot be read"),
            ("42" + "[" * 101 + "]" * 101, "cannot be read"),
            ("0" + "[" * 101 + "]" * 101, "cannot be read"),
        ):
            self.setUp()
            self.tell(packet)
            self.assertTrue(self.transport.disconnecting, packet[:20])
            self.assertIn(why, self.follower.why)
        self.setUp()
        self.feed(self.server.send(CloseConnection(code=1001)))
        self.assertIn("1001", self.follower.why)

    def test_no_upgrade(self) -> None:
        """A server that answers otherwise has none."""
        follower, transport = self.connected()
        server = WSConnection(ConnectionType.SERVER)
        server.receive_data(transport.value())
        list(server.events())
        follower.dataReceived(server.send(RejectConnection(status_code=404)))
        self.assertTrue(transport.disconnecting)
        self.assertIn("answers 404", follower.why)

    @given(st.lists(st.binary(max_size=200), max_size=4), st.booleans())
    def test_garbage(self, chunks: list[bytes], upgraded: bool) -> None:
        """Whatever bytes come, nothing is raised and nothing heard that was not told."""
        self.setUp()
        if not upgraded:
            self.follower, self.transport = self.connected()
        for chunk in chunks:
            if not self.transport.disconnecting:
                self.feed(chunk)
        self.assertEqual(self.heard, [])

    @given(st.lists(st.text(max_size=60) | json_values.map(lambda v: f"42{v}"), max_size=4))
    def test_any_messages(self, texts: list[str]) -> None:
        """The same of messages that are whole."""
        self.setUp()
        for text in texts:
            if not self.transport.disconnecting:
                self.tell(text)
        self.assertEqual(self.heard, [])


class GatewayTests(TestCase):
    """L{DaytonaEvents} and the simulator's gateway on a socket."""

    timeout = 300

    def setUp(self) -> None:
        """A Daytona, and who listens to it."""
        self.simulator = DaytonaSimulator(clock=Clock(), wall=time.time)
        self.simulator.warm_pool = True
        self.service = DaytonaSimulatorService(reactor, self.simulator, KEY)
        self.service.startService()
        self.addCleanup(self.service.stopService)
        self.heard: list[str] = []
        self.joins = 0

    def events(self, key: str = KEY) -> DaytonaEvents:
        """As wired."""
        events = DaytonaEvents(api=self.service.url, admin_key=key, reactor=reactor)
        verifyObject(IEvents, events)
        return events

    def follow(self, key: str = KEY) -> Deferred[None]:
        """Begin to listen."""

        def joined() -> None:
            self.joins += 1

        return Deferred.fromCoroutine(self.events(key).follow(self.heard.append, joined))

    async def until(self, holds: Any) -> None:
        """Poll until it is true; the test's time-out is the deadline."""
        while not holds():
            await deferLater(reactor, 0.005)

    async def test_hears(self) -> None:
        """Every change is heard, and cancelling leaves no connection behind."""
        following = self.follow()
        await self.until(lambda: self.joins)
        document = await self.simulator.create({})
        self.simulator.stop(self.simulator.find(document["id"]))
        await self.until(lambda: len(self.heard) == 2)
        self.assertEqual(set(self.heard), {document["id"]})
        following.cancel()
        with self.assertRaises(CancelledError):
            await following
        await self.until(lambda: not self.simulator.events.heard)

    async def test_cut(self) -> None:
        """When the connection ends, that is said."""
        following = self.follow()
        await self.until(lambda: self.simulator.events.heard)
        self.simulator.events.cut()
        with self.assertRaises(Transient):
            await following

    async def test_refused(self) -> None:
        """A wrong key, and a gateway that is switched off."""
        with self.assertRaises(Transient) as caught:
            await self.follow("somebody")
        self.assertIn("refuses the key", str(caught.exception))
        self.simulator.events.enabled = False
        with self.assertRaises(Transient) as caught:
            await self.follow()
        self.assertIn("answers 404", str(caught.exception))
        self.assertEqual(self.joins, 0)

    async def test_nobody(self) -> None:
        """No server, and one that never answers."""
        url = self.service.url
        silent = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
        self.addCleanup(silent.stopListening)
        mute = DaytonaEvents(
            api=f"http://127.0.0.1:{silent.getHost().port}", admin_key=KEY, reactor=reactor
        )
        following = Deferred.fromCoroutine(mute.follow(self.heard.append, lambda: None))
        await deferLater(reactor, 0.05)
        following.cancel()
        with self.assertRaises(CancelledError):
            await following
        await self.service.stopService()
        nowhere = DaytonaEvents(api=url, admin_key=KEY, reactor=reactor)
        with self.assertRaises(Transient):
            await nowhere.follow(self.heard.append, lambda: None)

    def test_key_is_secret(self) -> None:
        """It is in no representation."""
        self.assertNotIn(KEY, repr(self.events()))

"""
The simulator's events: what is told, to whom over Socket.IO, and how it goes wrong.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import engineio.packet
import socketio.packet
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent
from twisted.web.websocket import WebSocketClientEndpoint

from sandbox_billing.devnet.daytona import DaytonaSimulator, DaytonaSimulatorService
from sandbox_billing.devnet.daytona.events import Events
from sandbox_billing.devnet.daytona.gateway import PING_INTERVAL_SEC, PING_TIMEOUT_SEC
from tests.devnet.daytona_bench import Bench


CLIENT = Path(__file__).parent / "socketio_client.py"


class PublishTests(SynchronousTestCase):
    """What the simulator tells."""

    def setUp(self) -> None:
        self.bench = Bench()
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.leave = self.bench.simulator.events.subscribe(
            lambda name, payload: self.heard.append((name, payload))
        )

    def changes(self) -> list[tuple[str, ...]]:
        """Name, old and new of each; forgotten when asked."""
        found = [
            (
                name.removeprefix("sandbox."),
                *(str(payload[key]) for key in payload if key[:3] in ("old", "new")),
            )
            for name, payload in self.heard
        ]
        self.heard.clear()
        return found

    def test_life(self) -> None:
        """Every change of state and of goal is told, in order, with the sandbox as it is then."""
        id = self.bench.started()
        created = self.heard[0][1]
        self.assertEqual((created["id"], created["state"]), (id, "creating"))
        self.assertEqual(self.changes(), [("created",), ("state.updated", "creating", "started")])
        self.bench.verb(id, "stop")
        payload = self.heard[0][1]
        self.assertEqual((payload["sandbox"]["id"], payload["sandbox"]["state"]), (id, "stopping"))
        self.bench.until(id, "stopped")
        self.assertEqual(
            self.changes(),
            [
                ("desired-state.updated", "started", "stopped"),
                ("state.updated", "started", "stopped"),
            ],
        )

    def test_self_stop(self) -> None:
        """The runner's report of a container's own end changes both at once."""
        id = self.bench.started()
        self.changes()
        self.bench.simulator.exit_container(id)
        self.bench.until(id, "stopped")
        self.assertEqual(
            self.changes(),
            [
                ("state.updated", "started", "stopped"),
                ("desired-state.updated", "started", "stopped"),
            ],
        )

    def test_no_replay(self) -> None:
        """What happens while nobody listens is lost."""
        self.leave()
        self.leave()
        id = self.bench.started()
        self.bench.simulator.events.subscribe(lambda name, _: self.heard.append((name, {})))
        self.bench.verb(id, "stop")
        self.assertEqual([name for name, _ in self.heard], ["sandbox.desired-state.updated"])


class TroubleTests(SynchronousTestCase):
    """L{Events} on demand."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.events = Events(self.clock)
        self.heard: list[str] = []
        self.events.subscribe(lambda name, payload: self.heard.append(name))

    def publish(self, *names: str) -> None:
        """Events without content."""
        for name in names:
            self.events.publish(name, dict)

    def test_drop_and_double(self) -> None:
        """The next ones are lost, the next ones come twice, the rest once."""
        self.events.to_drop, self.events.to_double = 1, 1
        self.publish("a", "b", "c")
        self.assertEqual(self.heard, ["b", "b", "c"])

    def test_delay(self) -> None:
        """They come late, and a change of mind reorders them."""
        self.events.delay_seconds = 5
        self.publish("a")
        self.events.delay_seconds = 0
        self.publish("b")
        self.clock.advance(5)
        self.assertEqual(self.heard, ["b", "a"])

    def test_close(self) -> None:
        """What is late at the end never comes."""
        self.events.delay_seconds = 5
        self.publish("a")
        self.events.close()
        self.assertEqual((self.clock.getDelayedCalls(), self.heard), ([], []))

    def test_off(self) -> None:
        """Switched off, nothing is told."""
        self.events.enabled = False
        self.publish("a")
        self.assertEqual(self.heard, [])


class _Reference(ProcessProtocol):
    """The reference client in its process."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.ended: Deferred[None] = Deferred()
        self._rest = b""
        self.errors = b""

    def outReceived(self, data: bytes) -> None:
        """Lines of JSON."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.heard.extend(json.loads(line) for line in lines)

    def errReceived(self, data: bytes) -> None:
        """For the message of a test that fails."""
        self.errors += data

    def processEnded(self, reason: Failure) -> None:
        """It is gone."""
        self.ended.callback(None)


class _Raw:
    """A client that shows the packets."""

    def __init__(self) -> None:
        self.packets: list[str] = []
        self.lost = False
        self.transport: Any = None

    def negotiationStarted(self, transport: Any) -> None:
        self.transport = transport

    def negotiationFinished(self) -> None:
        """Nothing to say yet."""

    def textMessageReceived(self, message: str) -> None:
        self.packets.append(message)

    def bytesMessageReceived(self, data: bytes) -> None:
        """None is sent."""

    def pongReceived(self, payload: bytes) -> None:
        """None is asked for."""

    def connectionLost(self, reason: Failure) -> None:
        self.lost = True

    def buildProtocol(self, url: str) -> _Raw:
        """As its own factory."""
        return self


class GatewayTests(TestCase):
    """Socket.IO on a real socket."""

    timeout = 300

    def setUp(self) -> None:
        # Its pings are on a clock of the test's; sandboxes are moved by hand.
        self.clock = Clock()
        self.simulator = DaytonaSimulator(clock=self.clock, wall=time.time)
        self.simulator.warm_pool = True
        self.service = DaytonaSimulatorService(reactor, self.simulator, "admin-key")
        self.service.startService()
        self.addCleanup(self.service.stopService)

    async def until(self, holds: Any) -> None:
        """Poll until it is true; the test's time-out is the deadline."""
        while not holds():
            await deferLater(reactor, 0.005)

    def reference(self, token: str) -> _Reference:
        """Start the reference client; it is ended with the test."""
        protocol = _Reference()
        arguments = [sys.executable, str(CLIENT), self.service.url, token]
        process = reactor.spawnProcess(protocol, sys.executable, arguments, env=None)

        def end() -> Deferred[None]:
            if process.pid is not None:
                process.signalProcess("KILL")
            return protocol.ended

        self.addCleanup(end)
        return protocol

    async def raw(self, path: str = "?EIO=4&transport=websocket") -> _Raw:
        """A client of bare packets, after its handshake."""
        url = f"ws://127.0.0.1:{self.service.url.rpartition(':')[2]}/api/socket.io/{path}"
        client: _Raw = await WebSocketClientEndpoint.new(reactor, url).connect(_Raw())
        await self.until(lambda: client.packets)
        return client

    async def joined(self) -> _Raw:
        """One that hears the organization."""
        client = await self.raw()
        client.transport.sendTextMessage('40{"token":"admin-key"}')
        await self.until(lambda: self.simulator.events.heard)
        return client

    async def test_reference_client(self) -> None:
        """The client that everybody uses is let in with the key and hears of every change."""
        client = self.reference("admin-key")
        await self.until(lambda: client.heard or client.ended.called)
        self.assertEqual(client.heard, [["connected"]], client.errors)
        document = await self.simulator.create({"labels": {"daytona-owner": "0xa"}})
        record = self.simulator.find(document["id"])
        self.simulator.stop(record)
        await self.until(lambda: len(client.heard) == 3)
        (created, shown), (changed, change) = client.heard[1:]
        self.assertEqual((created, shown), ("sandbox.created", document))
        self.assertEqual(changed, "sandbox.desired-state.updated")
        self.assertEqual(
            (change["oldDesiredState"], change["newDesiredState"]), ("started", "stopped")
        )
        self.assertEqual(change["sandbox"]["state"], "stopping")
        self.simulator.events.cut()
        await client.ended
        self.assertEqual(client.heard[3:], [["disconnected"]])

    async def test_reference_client_refused(self) -> None:
        """With any other token it is told so, and hears nothing."""
        client = self.reference("somebody")
        await client.ended
        self.assertEqual(client.heard[0], ["refused", {"message": "Unauthorized"}], client.errors)
        self.assertEqual(client.heard[-1][0], "failed")
        self.assertEqual(self.simulator.events.heard, 0)

    async def test_packets(self) -> None:
        """The bytes: an opening of Engine.IO 4, a refusal, and events only after the token."""
        client = await self.raw()
        opening = engineio.packet.Packet(encoded_packet=client.packets[0])
        self.assertEqual(opening.packet_type, engineio.packet.OPEN)
        self.assertEqual(
            (opening.data["pingInterval"], opening.data["pingTimeout"]), (25_000, 20_000)
        )
        client.transport.sendTextMessage("40")
        await self.until(lambda: len(client.packets) == 2)
        self.assertEqual(client.packets[1], '44{"message":"Unauthorized"}')
        await self.simulator.create({})
        client.transport.sendTextMessage('40{"token":"admin-key"}')
        await self.until(lambda: len(client.packets) == 3)
        accepted = socketio.packet.Packet(encoded_packet=client.packets[2][1:])
        self.assertEqual(accepted.packet_type, socketio.packet.CONNECT)
        await self.simulator.create({"name": "heard"})
        await self.until(lambda: len(client.packets) == 4)
        self.assertTrue(client.packets[3].startswith('42["sandbox.created",{'))
        self.assertEqual(json.loads(client.packets[3][2:])[1]["name"], "heard")
        client.transport.loseConnection()

    async def test_pings(self) -> None:
        """Who does not answer a ping in time is cut; who answers stays."""
        client = await self.joined()
        self.clock.advance(PING_INTERVAL_SEC)
        await self.until(lambda: client.packets[-1] == "2")
        client.transport.sendTextMessage("3")
        await self.until(
            lambda: any(
                call.getTime() > PING_INTERVAL_SEC + PING_TIMEOUT_SEC
                for call in self.clock.getDelayedCalls()
            )
        )
        self.clock.advance(PING_INTERVAL_SEC)
        self.assertFalse(client.lost)
        self.clock.advance(PING_TIMEOUT_SEC)
        await self.until(lambda: client.lost and not self.simulator.events.heard)

    async def test_nonsense(self) -> None:
        """Packets that are none end the connection."""
        for nonsense in ("", "x", "4", "4x"):
            client = await self.raw()
            client.transport.sendTextMessage(nonsense)
            await self.until(lambda client=client: client.lost)

    async def test_refusals(self) -> None:
        """Long polling and older versions are refused; switched off there is no such route."""
        http = HTTPClient(Agent(reactor))
        for query, code in (
            ("EIO=4&transport=polling", 0),
            ("", 0),
            ("EIO=3&transport=websocket", 5),
            ("EIO=4&transport=websocket", 3),
        ):
            for path in ("/api/socket.io/", "/API/socket.io"):
                response = await http.get(f"{self.service.url}{path}?{query}")
                self.assertEqual(response.code, 400)
                self.assertEqual((await response.json())["code"], code)
        self.simulator.events.enabled = False
        response = await http.get(f"{self.service.url}/api/socket.io/?EIO=4&transport=websocket")
        self.assertEqual(response.code, 404)
        await response.content()
        self.assertEqual(self.simulator.received[-1].method, "GET")

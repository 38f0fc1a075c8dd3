"""Two processes, one stop: what is open in the one ends when the other is told to."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.trial.unittest import TestCase

from sandbox_billing.devnet.wallet import Wallet
from sandbox_billing.devnet.world import ALICE, TOKEN
from tests.blackbox.process import until
from tests.blackbox.scene import Scene
from tests.web.streams import KEY, SWITCHED, Scripted, Wire


class StreamTests(TestCase):
    """A toolbox that would never end anything by itself."""

    timeout = 600

    async def asked(self, base: str, wallet: Wallet, target: str, *lines: str) -> Wire:
        """A signed request for what is inside the sandbox."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", urlsplit(base).port)
        wire: Wire = await connectProtocol(endpoint, Wire())
        self.addCleanup(lambda: wire.ended or wire.transport.abortConnection())
        sandbox = target.split("/")[2]
        headers = wallet.headers("toolbox", sandbox)
        head = [f"GET {target} HTTP/1.1", "Host: x", *lines]
        head += [f"{name}: {value}" for name, value in headers.items()]
        wire.send(("\r\n".join(head) + "\r\n\r\n").encode())
        return wire

    async def test_stop(self) -> None:
        """A terminal is closed, and who waits for an answer is told, whoever took the stop."""
        scene = await Scene.open(self)
        inside = Scripted()
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(inside)
        self.addCleanup(port.stopListening)
        self.addCleanup(
            lambda: [one.ended or one.transport.abortConnection() for one in inside.connections]
        )
        alice = await scene.user("alice", ALICE, TOKEN)
        scene.start()
        here = await scene.ready()
        there = await scene.ready(scene.start("--role", "web"))
        sandbox = await scene.created(scene.client(here, alice))
        scene.world.simulator.toolbox_base = f"http://127.0.0.1:{port.getHost().port}/toolbox"

        handshake = ("Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {KEY}")
        terminal = await self.asked(
            there, alice, f"/toolbox/{sandbox}/pty", *handshake, "Sec-WebSocket-Version: 13"
        )
        await until(reactor, "a terminal asked for", lambda: len(inside.connections) == 1)
        inside.connections[0].send(SWITCHED + b"\r\n")
        await until(reactor, "a terminal", lambda: terminal.status == 101)
        waiting = await self.asked(there, alice, f"/toolbox/{sandbox}/process")
        await until(reactor, "a question", lambda: len(inside.connections) == 2)

        status, shown = await scene.client(here, alice).act("stop", sandbox)
        self.assertEqual(status, 200, shown)
        await until(reactor, "the terminal's end", lambda: terminal.ended)
        await until(reactor, "an answer", lambda: waiting.status == 409)
        self.assertEqual(json.loads(waiting.body)["statusCode"], 409)
        for upstream in inside.connections:
            await until(reactor, "Daytona told", lambda one=upstream: one.half or one.ended)
        for child in scene.daemons:
            self.assertEqual(await child.terminate(), 0, child.said()[-2000:])

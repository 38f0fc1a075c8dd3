"""
What is true of the simulated toolbox is true through our door: its own tests, once more.

They ask it with another client than the relay's tests do, and the sandbox really runs what
it is told where the test says so.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.threads import deferToThread
from websockets.sync.client import connect

from sandbox_billing.adapters.daytona.relay import relay_at
from sandbox_billing.web.site import BillingSite
from tests.devnet import test_toolbox, test_toolbox_exec, test_toolbox_websocket
from tests.devnet.toolbox_bench import PATIENCE_SECONDS, Reply, Socket, ToolboxCase
from tests.web.world import NOW, OWNER, TERMS, World, sandbox, token_for


class ThroughTheDoor(ToolboxCase):
    """
    The same requests, by a token and to us.
    """

    front = ""

    async def setUp(self) -> None:
        """A front desk before that Daytona."""
        await super().setUp()
        relay = relay_at(
            self.service.url, admin_key="admin-key", own_url=TERMS.public_url, reactor=reactor
        )
        self.world = World(relay=relay, clock=reactor)
        self.token = token_for(self.world, OWNER.address, expires_at=NOW + 3600)
        self.site = BillingSite(
            self.world.root,
            reactor=reactor,
            wall=self.world.wall,
            new_request_id=self.world.new_request_id,
            streams=self.world.root.streams,  # type: ignore[attr-defined]
        )
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self.site)
        self.front = f"http://127.0.0.1:{port.getHost().port}"
        self.know(self.sandbox)

        async def stop() -> None:
            await port.stopListening()
            await self.site.drain(0)
            self.assertEqual(self.world.streams.count, 0)

        self.addCleanup(lambda: Deferred.fromCoroutine(stop()))

    def know(self, id: str) -> None:
        """The wallet's own."""
        shown = sandbox(id, OWNER.address, toolboxProxyUrl=self.simulator.toolbox_base)
        self.world.intake.sandboxes[id] = (OWNER.address, shown)
        self.world.doors.recorded.add(id)

    async def created(self) -> str:
        """Another one of the wallet's."""
        id = await super().created()
        if self.front:
            self.know(id)
        return id

    def url(self, path: str) -> str:
        """Of us."""
        return f"{self.front}/toolbox/{self.sandbox}/{path}"

    async def send(
        self, method: str, url: str, body: Any = None, *, headers: Any = None, **more: Any
    ) -> Reply:
        """With the wallet's own credential where it is for us."""
        if self.front and url.startswith(self.front):
            headers = {**(headers or {}), **self.token}
        return await super().send(method, url, body, headers=headers, **more)

    async def socket(self, path: str, **more: Any) -> Socket:
        """A WebSocket to us."""
        url = self.url(path).replace("http", "ws", 1)
        made = await deferToThread(
            lambda: connect(
                url,
                additional_headers=self.token,
                proxy=None,
                open_timeout=PATIENCE_SECONDS,
                close_timeout=2,
                **more,
            )
        )
        self.addCleanup(lambda: deferToThread(made.close))
        return Socket(made)


class ExecuteTests(ThroughTheDoor, test_toolbox.ExecuteTests):
    """Commands."""


class TransferTests(ThroughTheDoor, test_toolbox.TransferTests):
    """Files."""


class SessionTests(ThroughTheDoor, test_toolbox.SessionTests):
    """Sessions."""


class TerminalTests(ThroughTheDoor, test_toolbox_websocket.TerminalTests):
    """Terminals."""


class FollowTests(ThroughTheDoor, test_toolbox_websocket.FollowTests):
    """Logs that are followed."""


class InterpreterTests(ThroughTheDoor, test_toolbox_websocket.InterpreterTests):
    """The interpreter."""


class RealTerminalTests(ThroughTheDoor, test_toolbox_exec.TerminalTests):
    """Terminals of real shells."""

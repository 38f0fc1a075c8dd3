"""
A simulated Daytona on real sockets, and a client of its toolbox.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from attrs import define
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, HTTPConnectionPool
from websockets.sync.client import ClientConnection, connect

from sandbox_billing.devnet.daytona import DaytonaSimulator, DaytonaSimulatorService, Timings


PATIENCE_SECONDS = 120.0

KEY = {"Authorization": "Bearer admin-key"}


@define
class Reply:
    """
    What came back.

    @ivar length: As the head told it, or C{UNKNOWN_LENGTH}.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    length: Any

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class ToolboxCase(TestCase):
    """
    One sandbox that runs.

    @cvar allow_exec: Whether its commands do.
    """

    timeout = 300
    allow_exec = False

    async def setUp(self) -> None:
        """Create it."""
        self.simulator = DaytonaSimulator(
            clock=reactor, wall=time.time, warm_pool=True, timings=Timings.scaled(0.05)
        )
        self.service = DaytonaSimulatorService(
            reactor, self.simulator, "admin-key", allow_exec=self.allow_exec
        )
        self.service.startService()
        self.addCleanup(self.service.stopService)
        self.pool = HTTPConnectionPool(reactor, persistent=False)
        self.http = HTTPClient(Agent(reactor, pool=self.pool))
        self.sandbox = await self.created()

    async def created(self) -> str:
        """Another one."""
        reply = await self.api("POST", "/sandbox", {"env": {"OF": "sandbox"}})
        return str(reply.json["id"])

    async def api(self, method: str, path: str, body: Any = None) -> Reply:
        """Of the API."""
        return await self.send(method, f"{self.service.url}/api{path}", body)

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Reply:
        """Of this sandbox's toolbox."""
        return await self.send(method, self.url(path), body, **more)

    def url(self, path: str) -> str:
        """Of this sandbox's toolbox."""
        return f"{self.service.proxy_url}/toolbox/{self.sandbox}/{path}"

    async def send(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> Reply:
        """Any request; C{body} becomes JSON."""
        given = dict(KEY if headers is None else headers)
        if body is not None:
            given["Content-Type"] = "application/json"
            more["data"] = json.dumps(body).encode()
        response = await self.http.request(method, url, headers=given, **more)
        found = {
            name.decode().lower(): values[-1].decode()
            for name, values in response.headers.getAllRawHeaders()
        }
        return Reply(response.code, found, await response.content(), response.length)

    async def run_command(self, command: str, **more: Any) -> tuple[int, str]:
        """@return: The exit code and both outputs."""
        reply = await self.ask("POST", "process/execute", {"command": command, **more})
        self.assertEqual(reply.status, 200, reply.body)
        return reply.json["exitCode"], reply.json["result"]

    async def socket(self, path: str, **more: Any) -> Socket:
        """A WebSocket by another implementation, in a thread of its own."""
        url = self.url(path).replace("http", "ws", 1)
        made = await deferToThread(
            lambda: connect(
                url,
                additional_headers=KEY,
                proxy=None,
                open_timeout=PATIENCE_SECONDS,
                close_timeout=2,
                **more,
            )
        )
        self.addCleanup(lambda: deferToThread(made.close))
        return Socket(made)

    async def until(
        self, met: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Wait for it."""
        deadline = time.monotonic() + seconds
        while not met():
            self.assertLess(time.monotonic(), deadline, f"never {what}")
            await deferLater(reactor, 0.01)


@define(eq=False)
class Socket:
    """A WebSocket, seen from the client."""

    connection: ClientConnection

    async def send(self, message: str | bytes) -> None:
        """Text or bytes."""
        await deferToThread(self.connection.send, message)

    async def receive(self) -> str | bytes:
        """@raise websockets.ConnectionClosed: It is."""
        return await deferToThread(self.connection.recv, PATIENCE_SECONDS)

    async def rest(self) -> list[str | bytes]:
        """Everything until it is closed."""

        def read() -> list[str | bytes]:
            return list(_until_closed(self.connection))

        return await deferToThread(read)

    @property
    def closed(self) -> tuple[int | None, str | None]:
        """Code and reason."""
        return self.connection.close_code, self.connection.close_reason


def _until_closed(connection: ClientConnection) -> Any:
    from websockets.exceptions import ConnectionClosed

    while True:
        try:
            yield connection.recv(PATIENCE_SECONDS)
        except ConnectionClosed:
            return

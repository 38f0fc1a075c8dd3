"""
The simulator on a real socket: where it listens and how it ends.
"""

from __future__ import annotations

import time

from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, ResponseFailed

from sandbox_billing.devnet.daytona import DaytonaSimulator, DaytonaSimulatorService


class ServiceTests(TestCase):
    """L{DaytonaSimulatorService}."""

    timeout = 300

    def setUp(self) -> None:
        self.simulator = DaytonaSimulator(clock=reactor, wall=time.time)
        self.service = DaytonaSimulatorService(reactor, self.simulator, "admin-key")
        self.service.startService()
        self.http = HTTPClient(Agent(reactor))

    async def test_url(self) -> None:
        """It listens on a free port of this machine and tells it to its toolbox URLs."""
        url = self.service.url
        self.addCleanup(self.service.stopService)
        self.assertTrue(url.startswith("http://127.0.0.1:"))
        response = await self.http.get(f"{url}/api/config")
        proxy = self.service.proxy_url
        self.assertNotEqual(proxy, url)
        self.assertEqual((await response.json())["proxyToolboxUrl"], f"{proxy}/toolbox")

    async def test_stop_with_requests_in_flight(self) -> None:
        """Stopping ends a request that hangs and a create that waits; nothing is left."""
        url = self.service.url
        self.simulator.hang_next(route="list")
        headers = {"Authorization": "Bearer admin-key"}
        hanging = self.http.get(f"{url}/api/sandbox", headers=headers)
        waiting = self.http.post(f"{url}/api/sandbox", headers=headers)
        while not (self.simulator.hanging and self.simulator.records):
            await deferLater(reactor, 0.001)
        await self.service.stopService()
        for lost in (hanging, waiting):
            await self._fails(lost)
        self.assertEqual(self.simulator.hanging, 0)
        with self.assertRaises(ConnectionRefusedError):
            await self.http.get(f"{url}/api/config")
        with self.assertRaises(RuntimeError):
            self.service.url  # noqa: B018

    async def _fails(self, lost: Deferred[object]) -> None:
        with self.assertRaises(ResponseFailed):
            await lost

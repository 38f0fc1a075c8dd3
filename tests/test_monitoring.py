"""What a process shows of itself, over real sockets."""

from __future__ import annotations

import json
from typing import Any

import treq
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from sandbox_billing import __version__, measures
from sandbox_billing.errors import ConfigurationError
from sandbox_billing.interfaces import UNMEASURED, IMeasures
from sandbox_billing.measures import PREFIX
from sandbox_billing.monitoring import Monitor
from sandbox_billing.services.readiness import Readiness


class MonitorTests(TestCase):
    """L{Monitor}."""

    def monitor(self, *, port: int | None = 0) -> Monitor:
        """One on this machine; None: one that is off."""
        made = Monitor(
            reactor=reactor,
            listen_on=None if port is None else ("127.0.0.1", port),
            role="all",
            readiness=Readiness(),
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(made.close()))
        return made

    async def get(self, monitor: Monitor, path: str) -> tuple[int, str]:
        """Status and text."""
        url = f"http://127.0.0.1:{monitor.address.port}{path}"
        response = await treq.get(url, persistent=False)
        return response.code, await response.text()

    async def figures(self, monitor: Monitor) -> dict[Any, float]:
        """What a scrape says."""
        status, text = await self.get(monitor, "/metrics")
        self.assertEqual(200, status)
        return {
            (
                sample.name.removeprefix(PREFIX),
                *(sample.labels[name] for name in sorted(sample.labels)),
            ): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def test_scrape(self) -> None:
        """Figures, those of the moment, and those that somebody looks up for each scrape."""
        monitor = self.monitor()
        monitor.listen()
        monitor.readiness.waiting["redis"] = "not reached yet"

        def look(told: IMeasures) -> None:
            told.set(measures.SESSIONS, 4)

        monitor.looks.append(look)
        found = await self.figures(monitor)
        self.assertEqual(1, found["build_info", "all", __version__])
        self.assertEqual((0, 1), (found["ready",], found["not_ready", "redis"]))
        self.assertEqual(4, found["sessions",])
        self.assertIn(("process_resident_memory_bytes",), found)
        monitor.readiness.waiting.clear()
        found = await self.figures(monitor)
        self.assertEqual((1, 0), (found["ready",], found["not_ready", "redis"]))

    async def test_probes(self) -> None:
        """A worker has no other HTTP: alive and ready are told here too."""
        monitor = self.monitor()
        monitor.listen()
        self.assertEqual((200, '{"ok":true}'), await self.get(monitor, "/healthz"))
        status, text = await self.get(monitor, "/readyz")
        self.assertEqual((200, True), (status, json.loads(text)["ready"]))
        monitor.readiness.waiting["chain"] = "not reached yet"
        status, text = await self.get(monitor, "/readyz")
        self.assertEqual((503, {"chain": "not reached yet"}), (status, json.loads(text)["reasons"]))

    def test_off(self) -> None:
        """Without an address nothing is kept and nothing listens."""
        monitor = self.monitor(port=None)
        monitor.listen()
        self.assertIs(UNMEASURED, monitor.measures)
        self.assertIsNone(monitor.address)

    def test_taken(self) -> None:
        """A port that somebody has is a wrong setting, told with what to do."""
        first = self.monitor()
        first.listen()
        second = self.monitor(port=first.address.port)
        problem = self.assertRaises(ConfigurationError, second.listen)
        self.assertIn("cannot listen on METRICS_ADDR 127.0.0.1:", str(problem))
        self.assertIn("in use. Name an address of this machine", str(problem))

"""What a process shows of itself, over real sockets."""

from __future__ import annotations

import json
from typing import Any

import treq
from prometheus_client.parser import text_string_to_metric_families
from twisted.application.service import MultiService
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import TestCase

from sandbox_billing import __version__, measures
from sandbox_billing.errors import ConfigurationError
from sandbox_billing.interfaces import UNMEASURED, IMeasures
from sandbox_billing.measures import PREFIX
from sandbox_billing.monitoring import Monitor
from sandbox_billing.services.lease_keeper import LeaseKeeper
from sandbox_billing.services.readiness import Readiness


LAG = measures.REACTOR_LAG_SECONDS.full_name


class _Sender(Protocol):
    """Tells what it was answered, when it was hung up on."""

    def __init__(self, ending: Deferred[bytes]) -> None:
        self.ending, self.answered = ending, b""

    def dataReceived(self, data: bytes) -> None:
        self.answered += data

    def connectionLost(self, reason: object = None) -> None:
        if not self.ending.called:
            self.ending.callback(self.answered)


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
        # Alerts ask for it; it stays the same as long as the process lives.
        began = ("process_start_time_seconds",)
        self.assertGreater(found[began], 0)
        self.assertEqual(found[began], (await self.figures(monitor))[began])
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

    async def test_bodies(self) -> None:
        """Nobody who scrapes sends one, and none is kept: whoever tries is hung up on."""
        monitor = self.monitor()
        monitor.listen()
        there = HostnameEndpoint(reactor, b"127.0.0.1", monitor.address.port)
        for head in (b"Content-Length: 1000000000000", b"Transfer-Encoding: chunked"):
            for path in (b"/metrics", b"/readyz", b"/other"):
                ending: Deferred[bytes] = Deferred()
                sender = await connectProtocol(there, _Sender(ending))
                sender.transport.write(b"POST %b HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n" % (path, head))
                ending.addTimeout(60, reactor)
                self.assertEqual(b"", await ending, (head, path))
        self.assertEqual(200, (await self.get(monitor, "/metrics"))[0])

    def test_lag(self) -> None:
        """What is late each time is told each time: it does not shift what is on time."""
        clock = MemoryReactorClock()
        monitor = Monitor(
            reactor=clock, listen_on=("127.0.0.1", 0), role="all", readiness=Readiness()
        )
        monitor.listen()
        kept: Any = monitor.measures
        # A reactor that is busy for 0.9 s at a time looks at its timers so often.
        for _ in range(100):
            clock.advance(0.9)
        read = kept.registry.get_sample_value
        counted = {le: read(LAG + "_bucket", {"le": le}) for le in ("0.5", "1.0")}
        self.assertEqual({"0.5": 0.0, "1.0": 50.0}, counted)
        self.assertAlmostEqual(50 * 0.8, read(LAG + "_sum"))
        self.successResultOf(Deferred.fromCoroutine(monitor.close()))
        self.assertEqual([], clock.getDelayedCalls())

    def test_taken_back(self) -> None:
        """A turn that ends after the work has stopped leaves nothing of a worker's behind."""
        monitor = self.monitor()
        nobody: Any = None
        keeper = LeaseKeeper(
            lease=nobody,
            make_work=MultiService,
            seconds=30,
            clock=Clock(),
            monotonic=lambda: 0.0,
        )
        monitor.keeps_lease(keeper)
        monitor.measures.set(measures.GAS_PRICE_NEURON, 7)
        monitor.measures.set(measures.CLOCK_OFFSET_SECONDS, 1)
        monitor.look()
        kept: Any = monitor.measures
        read = kept.registry.get_sample_value
        self.assertIsNone(read(measures.GAS_PRICE_NEURON.full_name))
        self.assertEqual(1, read(measures.CLOCK_OFFSET_SECONDS.full_name))
        self.assertEqual(0, read(measures.LEASE_HELD.full_name))

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

"""The registry of one daemon, and what is shown of it."""

from __future__ import annotations

from threading import Thread

from prometheus_client import REGISTRY
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.test.requesthelper import DummyRequest

from sandbox_billing import measures
from sandbox_billing.adapters.prometheus.listener import MOST_CONNECTIONS, Shown, ShownSite
from sandbox_billing.adapters.prometheus.registry import MOST_SERIES, PrometheusMeasures
from sandbox_billing.measures import PREFIX, VOCABULARY, Kind


def shown(kept: PrometheusMeasures) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What a scrape says, our own figures only."""
    text = generate_latest(kept.registry).decode()
    return {
        (sample.name.removeprefix(PREFIX), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(PREFIX)
    }


class RegistryTests(SynchronousTestCase):
    """L{PrometheusMeasures}."""

    def setUp(self) -> None:
        """One of a daemon's own."""
        self.kept = PrometheusMeasures()

    def test_kinds(self) -> None:
        """Counters add up, gauges show the last value, histograms their buckets."""
        self.kept.count(measures.CHARGES, kind="create")
        self.kept.count(measures.CHARGES, 4, kind="create")
        self.kept.count(measures.CHARGED_NEURON, 10**20)
        self.kept.set(measures.SESSIONS, 7)
        self.kept.set(measures.SESSIONS, 3)
        self.kept.observe(measures.STOP_SECONDS, 4.0)
        found = shown(self.kept)
        self.assertEqual(5, found["charges_total", (("kind", "create"),)])
        self.assertEqual(1e20, found["charged_neuron_total", ()])
        self.assertEqual(3, found["sessions", ()])
        self.assertEqual(0, found["stop_seconds_bucket", (("le", "2.5"),)])
        self.assertEqual(1, found["stop_seconds_bucket", (("le", "5.0"),)])
        self.assertEqual(4.0, found["stop_seconds_sum", ()])

    def test_every_measure(self) -> None:
        """Each of the vocabulary can be told under its own name, and nothing else appears."""
        for one in VOCABULARY:
            labels = dict.fromkeys(one.labels, "x")
            if one.kind is Kind.COUNTER:
                self.kept.count(one, 1, **labels)
            elif one.kind is Kind.GAUGE:
                self.kept.set(one, 1, **labels)
            else:
                self.kept.observe(one, 1, **labels)
        ends = ("", "_bucket", "_count", "_sum")
        names = {name for name, _ in shown(self.kept)}
        self.assertEqual(set(), names - {one.name + end for one in VOCABULARY for end in ends})
        self.assertEqual(
            set(),
            {one.name.split("{")[0] for one in VOCABULARY}
            - names
            - {one.name for one in VOCABULARY if one.kind is Kind.HISTOGRAM},
        )

    def test_before_anything(self) -> None:
        """Counters stand at 0, so that the first step is seen; an unset gauge states nothing."""
        found = shown(self.kept)
        self.assertEqual(0, found["charged_neuron_total", ()])
        self.assertEqual(0, found["reconcile_differences_total", (("kind", "adopted"),)])
        self.assertNotIn(("gas_wallet_neuron", ()), found)

    def test_no_global_state(self) -> None:
        """Two daemons in one process do not see each other, and the library's own sees neither."""
        other = PrometheusMeasures()
        self.kept.set(measures.SESSIONS, 7)
        self.assertNotIn(("sessions", ()), shown(other))
        self.assertNotIn(PREFIX.encode(), generate_latest(REGISTRY))

    def test_wrong(self) -> None:
        """What is measured wrongly is lost and logged once: no service fails for it."""
        self.kept.count(measures.CHARGES)
        self.kept.count(measures.CHARGES, wallet="0x")
        self.kept.count(measures.CHARGED_NEURON, -1)
        self.kept.set(measures.SESSIONS, "many")  # type: ignore[arg-type]
        self.kept.set(measures.READY, 10**400)
        self.kept.observe(measures.SESSIONS, 1)
        found = shown(self.kept)
        self.assertEqual(0, found["charged_neuron_total", ()])
        self.assertEqual({0.0}, {n for (name, _), n in found.items() if name == "charges_total"})

    def test_bounded(self) -> None:
        """Labels that were never meant to be many do not fill the memory."""
        for number in range(MOST_SERIES + 10):
            self.kept.set(measures.NOT_READY, 1, part=str(number))
        found = [labels for name, labels in shown(self.kept) if name == "not_ready"]
        self.assertEqual(MOST_SERIES, len(found))

    def test_threads(self) -> None:
        """Those of the chain adapter measure too."""

        def many() -> None:
            for _ in range(500):
                self.kept.count(measures.CHARGES, kind="create")

        threads = [Thread(target=many) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(2000, shown(self.kept)["charges_total", (("kind", "create"),)])


class ListenerTests(SynchronousTestCase):
    """L{Shown} and L{ShownSite}."""

    def setUp(self) -> None:
        """With a page that is not ready."""
        self.looks = 0
        self.metrics = Resource()

        def look() -> None:
            self.looks += 1

        self.root = Shown(self.metrics, look, {b"readyz": lambda: (503, b"{}")})

    def child(self, *path: bytes) -> tuple[Resource, DummyRequest]:
        """Where a path leads."""
        request = DummyRequest(list(path))
        request.prepath, request.postpath = list(path[:1]), list(path[1:])
        return self.root.getChildWithDefault(path[0], request), request

    def test_metrics(self) -> None:
        """Each scrape is preceded by a look."""
        self.assertIs(self.metrics, self.child(b"metrics")[0])
        self.assertIs(self.metrics, self.child(b"metrics")[0])
        self.assertEqual(2, self.looks)

    def test_page(self) -> None:
        """Status, body and type are the page's."""
        page, request = self.child(b"readyz")
        self.assertEqual(b"{}", page.render(request))
        self.assertEqual(503, request.responseCode)
        self.assertEqual(
            [b"application/json"], request.responseHeaders.getRawHeaders(b"Content-Type")
        )

    def test_nothing_else(self) -> None:
        """Three paths, and nothing below them."""
        for path in ((b"",), (b"other",), (b"metrics", b""), (b"readyz", b"x")):
            page, request = self.child(*path)
            page.render(request)
            self.assertEqual(404, request.responseCode, path)
        self.assertEqual(0, self.looks)

    def test_few_connections(self) -> None:
        """One more than may be open is closed; one that ends makes room."""
        site = ShownSite(self.root)
        site.reactor = reactor
        first = site.buildProtocol(None)
        for _ in range(MOST_CONNECTIONS - 1):
            self.assertIsNotNone(site.buildProtocol(None))
        self.assertIsNone(site.buildProtocol(None))
        first.connectionLost(None)
        self.assertIsNotNone(site.buildProtocol(None))

"""Requests as the figures have them: by pattern, never by what a client spelt."""

from __future__ import annotations

from attrs import evolve
from treq.testing import RequestTraversalAgent

from sandbox_billing.adapters.memory.measures import MemoryMeasures
from sandbox_billing.web.gate import Gate
from sandbox_billing.web.measured import note_request
from sandbox_billing.web.root import make_root
from tests.web.asking import AskingTestCase
from tests.web.world import SANDBOX


class MeasuredTests(AskingTestCase):
    """L{Router<sandbox_billing.web._router.Router>} and L{Gate}."""

    def setUp(self) -> None:
        """A front desk that is measured."""
        super().setUp()
        self.measures = MemoryMeasures()
        self.world.agent = RequestTraversalAgent(
            make_root(evolve(self.world.desk, measures=self.measures))
        )

    def counted(self) -> dict[tuple[str, ...], int]:
        """How many requests, by route, method and status."""
        return {key[1:]: len(values) for key, values in self.measures.seen.items()}

    def test_patterns(self) -> None:
        """Ids of sandboxes do not become labels."""
        for number in range(3):
            self.ask("GET", f"/api/sandbox/{SANDBOX}{number}")
        self.ask("GET", "/info")
        self.ask("HEAD", "/info")
        self.assertEqual(
            {
                ("/api/sandbox/{id}", "GET", "401"): 3,
                ("/info", "GET", "200"): 1,
                ("/info", "HEAD", "200"): 1,
            },
            self.counted(),
        )

    def test_no_route(self) -> None:
        """What no pattern fits is one series, whatever was asked for, and with whatever method."""
        for number in range(5):
            self.ask("GET", f"/made/up/{number}")
            self.ask(f"BREW{number}", "/info")
        self.assertEqual({("none", "GET", "404"): 5, ("none", "other", "405"): 5}, self.counted())

    def test_seconds(self) -> None:
        """From the clock that is handed in."""
        self.ask("GET", "/info")
        self.assertEqual([[0.0]], list(self.measures.seen.values()))

    def test_gate(self) -> None:
        """What is answered before there is a front desk counts as well."""
        gate = Gate(
            readiness=self.world.readiness,
            wall=self.world.wall,
            new_request_id=self.world.new_request_id,
            measures=self.measures,
        )
        self.world.agent = RequestTraversalAgent(gate)
        self.ask("GET", "/info")
        self.assertEqual({("none", "GET", "503"): 1}, self.counted())

    def test_method(self) -> None:
        """Any text may come as a method, and few become one."""
        note_request(self.measures, route="none", method="-", status=431, seconds=0)
        self.assertEqual({("none", "other", "431"): 1}, self.counted())

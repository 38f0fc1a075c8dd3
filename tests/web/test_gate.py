"""
What clients see before there is a front desk, and that they see it no longer afterwards.
"""

from __future__ import annotations

from treq.testing import RequestTraversalAgent
from twisted.logger import LogLevel, capturedLogs

from sandbox_billing.web.gate import Gate
from tests.web.asking import AskingTestCase
from tests.web.world import OWNER, SANDBOX


ROUTINE = {"Server": "sandbox-billing", "X-Content-Type-Options": "nosniff"}


class GateTests(AskingTestCase):
    """
    A daemon that waits for Redis.
    """

    def setUp(self) -> None:
        """No front desk yet, and a reason."""
        super().setUp()
        world = self.world
        world.readiness.now["redis"] = "not reached yet"
        self.gate = Gate(
            readiness=world.readiness, wall=world.wall, new_request_id=world.new_request_id
        )
        world.agent = RequestTraversalAgent(self.gate)

    def test_refusal(self) -> None:
        """503 in the form of every other error, whatever is asked."""
        path = f"/api/sandbox/{SANDBOX}/start"
        reply = self.ask("POST", path + "?a=b", body=b"{}")
        text = "not ready: redis: not reached yet"
        self.assertEqual(
            (reply.status, reply.json),
            (
                503,
                {
                    "error": text,
                    "statusCode": 503,
                    "message": text,
                    "path": path,
                    "timestamp": "2023-11-14T22:13:20.000Z",
                },
            ),
        )
        self.assertEqual(reply.header("Retry-After"), "5")
        for target in ("/", "/info", "//odd", "/Healthz", "/readyz/"):
            self.assertEqual(self.ask("GET", target).error, (503, text))

    def test_headers(self) -> None:
        """Every reply has the standard headers and an id of its own."""
        seen = set()
        for path in ("/healthz", "/readyz", "/info", "/"):
            reply = self.ask("GET", path)
            for name, value in ROUTINE.items():
                self.assertEqual(reply.header(name), value)
            seen.add(reply.header("X-Request-Id"))
        self.assertEqual(seen, {"req-1", "req-2", "req-3", "req-4"})

    def test_probes(self) -> None:
        """Alive, not ready, in the words that the front desk has for both."""
        reply = self.ask("GET", "/healthz")
        self.assertEqual((reply.status, reply.json), (200, {"ok": True}))
        reply = self.ask("GET", "/readyz?verbose")
        self.assertEqual(
            (reply.status, reply.json),
            (
                503,
                {
                    "ready": False,
                    "reasons": {"redis": "not reached yet"},
                    "services": {},
                    "dependencies": {},
                },
            ),
        )

    def test_head(self) -> None:
        """HEAD has no body and the same status."""
        for path, status in (("/healthz", 200), ("/readyz", 503)):
            reply = self.ask("HEAD", path)
            self.assertEqual((reply.status, reply.json), (status, None))

    def test_logged(self) -> None:
        """The id in the reply is in the access log, and no query is."""
        with capturedLogs() as logged:
            reply = self.ask("GET", "/info?token=secret")
        (event,) = [one for one in logged if one.get("request_id")]
        self.assertEqual(event["log_level"], LogLevel.info)
        self.assertEqual(event["request_id"], reply.header("X-Request-Id"))
        self.assertEqual((event["status"], event["path"]), (503, "/info"))

    def test_opened(self) -> None:
        """Once there is a front desk every path is its."""
        self.gate.front = self.world.root
        self.assertEqual(self.ask("GET", "/info").status, 200)
        reply = self.ask_signed("GET", f"/api/sandbox/{SANDBOX}", "list", SANDBOX, key=OWNER)
        self.assertEqual(reply.status, 200)
        self.assertEqual(self.ask("GET", "/nothing").error, (404, "no such route"))

    def test_streams(self) -> None:
        """No body flows before there is somebody to take it."""
        target = f"/toolbox/{SANDBOX}/files/upload".encode()
        self.assertFalse(self.gate.streams(b"POST", target))
        self.gate.front = self.world.root
        self.assertTrue(self.gate.streams(b"POST", target))
        self.assertFalse(self.gate.streams(b"POST", b"/api/sandbox"))
        self.assertFalse(self.gate.streams(b"POST", b"\xff/.."))

    def test_no_children(self) -> None:
        """Nobody can put another resource beside the front desk."""
        self.assertRaises(NotImplementedError, self.gate.putChild, b"x", self.world.root)

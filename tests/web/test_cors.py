"""Pages of other origins: off unless listed, never with credentials (P17)."""

from __future__ import annotations

from attrs import evolve

from tests.web.asking import AskingTestCase, Reply
from tests.web.world import TERMS, World


PAGE = "https://app.example"


class CorsTests(AskingTestCase):
    """What a browser is told."""

    def setUp(self) -> None:
        """One page is listed."""
        super().setUp()
        self.listed = World(evolve(TERMS, cors_origins=frozenset({PAGE, "http://localhost:3000"})))

    def preflight(self, origin: str, world: World, **more: str) -> Reply:
        """As browsers ask."""
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST", **more}
        return self.ask("OPTIONS", "/api/sandbox", headers, world=world)

    def told(self, reply: Reply) -> set[str]:
        """The CORS headers of a reply."""
        return {
            name.decode().lower()
            for name, _ in reply.headers.getAllRawHeaders()
            if name.lower().startswith(b"access-control")
        }

    def test_off(self) -> None:
        """By default no origin is told anything, and there is no such method."""
        reply = self.ask("GET", "/info", {"Origin": PAGE})
        self.assertEqual((reply.status, self.told(reply)), (200, set()))
        reply = self.preflight(PAGE, self.world)
        self.assertEqual((reply.status, self.told(reply)), (405, set()))

    def test_listed(self) -> None:
        """A listed page may read the reply and the headers that matter; errors too."""
        for target, status in (("/info", 200), ("/nowhere", 404)):
            reply = self.ask("GET", target, {"Origin": PAGE}, world=self.listed)
            self.assertEqual(reply.status, status)
            self.assertEqual(reply.header("Access-Control-Allow-Origin"), PAGE)
            self.assertEqual(reply.header("Vary"), "Origin")
            self.assertIn("Retry-After", reply.header("Access-Control-Expose-Headers") or "")
            self.assertIsNone(reply.header("Access-Control-Allow-Credentials"))

    def test_not_listed(self) -> None:
        """Nothing that only looks like a listed one."""
        for origin in (
            *("null", "*", f"{PAGE}.evil.example", f"{PAGE}/", "http://app.example", PAGE.upper()),
            f"{PAGE}, {PAGE}",
        ):
            reply = self.ask("GET", "/info", {"Origin": origin}, world=self.listed)
            self.assertEqual((reply.status, self.told(reply)), (200, set()), origin)
            self.assertEqual(reply.header("Vary"), "Origin")
            reply = self.preflight(origin, self.listed)
            self.assertEqual((reply.status, self.told(reply)), (405, set()), origin)

    def test_preflight(self) -> None:
        """Answered here, with what our clients send, without a body."""
        reply = self.preflight(
            PAGE, self.listed, **{"Access-Control-Request-Headers": "idempotency-key"}
        )
        self.assertEqual((reply.status, reply.json), (204, None))
        self.assertEqual(reply.header("Access-Control-Allow-Origin"), PAGE)
        self.assertIn("POST", reply.header("Access-Control-Allow-Methods") or "")
        for name in ("Idempotency-Key", "X-Wallet-Signature", "Authorization"):
            self.assertIn(name, reply.header("Access-Control-Allow-Headers") or "")
        self.assertIsNone(reply.header("Access-Control-Allow-Credentials"))

    def test_daytona_sdk(self) -> None:
        """Daytona's own SDK works from a listed page: what it says, and what it must read."""
        allowed = self.preflight(PAGE, self.listed).header("Access-Control-Allow-Headers") or ""
        sent = {"authorization", "content-type", "x-daytona-source", "x-daytona-sdk-version"}
        self.assertLessEqual(sent, set(allowed.lower().split(", ")))
        # Whose organization, or that nobody was active, is not for a page to say.
        self.assertNotIn("organization", allowed.lower())
        self.assertNotIn("activity", allowed.lower())
        reply = self.ask("GET", "/info", {"Origin": PAGE}, world=self.listed)
        exposed = (reply.header("Access-Control-Expose-Headers") or "").lower().split(", ")
        self.assertLessEqual(
            {"content-disposition", "location", "x-daytona-api-version"}, set(exposed)
        )

    def test_plain_options(self) -> None:
        """Without the question that browsers ask it is a request like any other."""
        reply = self.ask("OPTIONS", "/api/sandbox", {"Origin": PAGE}, world=self.listed)
        self.assertEqual(reply.status, 405)

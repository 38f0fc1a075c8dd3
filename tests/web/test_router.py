"""
The table, the stand-ins behind it, the log, and who may be put where.
"""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import CancelledError
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sandbox_billing.interfaces import (
    IDoors,
    IHistory,
    IIntake,
    IReadiness,
    IReplayGuard,
    IRuntime,
    IWallClock,
)
from sandbox_billing.web._routes import ANY, Route, Table, Who
from sandbox_billing.web.answers import Answer, NotServed
from sandbox_billing.web.health import Health
from sandbox_billing.web.root import make_root
from tests.web.asking import AskingTestCase
from tests.web.test_spellings import table_of
from tests.web.world import SANDBOX, World


class TableTests(SynchronousTestCase):
    """
    L{Table.find}.
    """

    def setUp(self) -> None:
        """Two routes that could be mistaken for one another."""

        async def nothing(asked: object) -> Answer:
            return Answer(document={})

        def route(method: str, pattern: str) -> Route:
            return Route(method=method, pattern=pattern, who=Who.PUBLIC, handler=nothing)

        self.table = Table(
            (route("GET", "/a/{id}"), route("DELETE", "/a/{id}"), route("GET", "/a/b"))
        )

    def test_most_literal(self) -> None:
        """Decides alone, whatever methods the vaguer one has."""
        self.assertEqual(self.table.find("GET", "/a/b").route.pattern, "/a/b")
        self.assertEqual(self.table.find("GET", "/a/c").spelt_id, "c")
        problem = self.assertRaises(NotServed, self.table.find, "DELETE", "/a/b")
        self.assertEqual((problem.status, problem.allow), (405, ("GET", "HEAD")))

    def test_nothing_fits(self) -> None:
        """404."""
        for path in ("/", "/a", "/a/b/c", "/A/b"):
            problem = self.assertRaises(NotServed, self.table.find, "GET", path)
            self.assertEqual(problem.status, 404)

    def test_one_handler_each(self) -> None:
        """No method and pattern stand twice in the real table."""
        routes = table_of(World()).routes
        self.assertEqual(len({(route.method, route.pattern) for route in routes}), len(routes))
        for route in routes:
            ways = [route.handler is not None, route.stream, bool(route.denial)]
            self.assertEqual(ways.count(True), 1, route.pattern)
            self.assertEqual(route.who is Who.NOBODY, bool(route.denial), route.pattern)

    def test_rest(self) -> None:
        """C{**} is whatever follows, or nothing, and gives way to every other pattern."""
        table = Table(
            (
                Route(method=ANY, pattern="/a/**", who=Who.NOBODY, denial="no"),
                Route(method=ANY, pattern="/t/{id}/**", who=Who.OWNER, stream=True),
                Route(method="GET", pattern="/a/{x}", who=Who.PUBLIC),
            )
        )
        self.assertEqual(table.find("BREW", "/a").route.denial, "no")
        self.assertEqual(table.find("GET", "/a/b/c").route.denial, "no")
        self.assertEqual(table.find("GET", "/a/b%20c").parts, {"x": "b c"})
        problem = self.assertRaises(NotServed, table.find, "POST", "/a/b")
        self.assertEqual(problem.allow, ("GET", "HEAD"))
        found = table.find("PATCH", "/t/x/y/z%20")
        self.assertEqual((found.spelt_id, found.tail), ("x", "y/z%20"))
        self.assertEqual(table.find("GET", "/t/x").tail, "")
        problem = self.assertRaises(NotServed, table.find, "BREW", "/t/x/y")
        self.assertEqual(problem.status, 405)
        self.assertRaises(NotServed, table.find, "GET", "/t")


class WorldTests(SynchronousTestCase):
    """
    The stand-ins are what they stand for, as far as the web room asks.
    """

    def test_whole_ports(self) -> None:
        """These are whole."""
        world = World()
        for interface, stand_in in (
            (IIntake, world.intake),
            (IReplayGuard, world.guard),
            (IReadiness, world.readiness),
            (IWallClock, world.wall),
        ):
            verifyObject(interface, stand_in)

    def test_parts(self) -> None:
        """Of these, what is there has the port's signature; the rest fails when asked for."""
        world = World()
        for interface, stand_in in (
            (IRuntime, world.runtime),
            (IDoors, world.doors),
            (IHistory, world.history),
        ):
            for name in interface.names():
                method = getattr(type(stand_in), name, None)
                if method is None:
                    self.assertRaises(AssertionError, getattr, stand_in, name)
                    continue
                wanted = interface[name].getSignatureInfo()
                has = method.__code__
                self.assertEqual(has.co_varnames[1 : has.co_argcount], tuple(wanted["positional"]))

    def test_swapped_collaborators(self) -> None:
        """Fail at once, not at the first request."""
        desk = World().desk
        self.assertRaises(TypeError, evolve, desk, doors=desk.history)
        self.assertRaises(TypeError, Health, readiness=desk.wall)


class LogTests(AskingTestCase):
    """
    What the log says of requests.
    """

    def setUp(self) -> None:
        """Keep all events."""
        super().setUp()
        self.events: list[dict[str, object]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def test_access(self) -> None:
        """One line each, with the id the client was given, and no header, query or body."""
        headers = self.world.signed("list")
        reply = self.ask("GET", "/api/sandbox?name=hidden", headers)
        (event,) = [e for e in self.events if e.get("log_format", "").startswith("{method}")]
        said = {name: event[name] for name in ("method", "path", "status", "request_id")}
        self.assertEqual(
            said,
            {
                "method": "GET",
                "path": "/api/sandbox",
                "status": 200,
                "request_id": reply.header("X-Request-Id"),
            },
        )
        # The whole event, its source too: an observer may write any of it.
        text = repr(self.events)
        for secret in (*headers.values(), "hidden"):
            self.assertNotIn(secret, text)

    def test_tokens_in_paths(self) -> None:
        """A live preview token is not logged, however the path that holds it is spelt or ends."""
        path = f"/api/sandbox/{SANDBOX}/ports/3000/signed-preview-url/s3cret/expire"
        for method, target in (
            ("POST", path),
            ("GET", path),
            ("POST", path + "?x=1"),
            ("POST", path.replace("/ports", "//ports")),
            ("POST", path.replace("signed", "Signed")),
            ("POST", path.replace("signed", "%73igned") + "/"),
        ):
            self.ask(method, target)
            (event,) = [e for e in self.events if e.get("log_format", "").startswith("{method}")]
            self.assertIn("{token}", str(event["path"]))
            self.assertIn(SANDBOX, str(event["path"]))
            self.assertNotIn("s3cret", repr(self.events), target)
            self.events.clear()

    def test_cancelled_without_a_hang_up(self) -> None:
        """Something inside that was cancelled is a failure of ours, told in JSON."""
        self.world.calls.failing["stop"] = CancelledError()
        reply = self.ask_signed("POST", f"/api/sandbox/{SANDBOX}/stop", "stop", SANDBOX)
        self.assertEqual(reply.error, (500, "something went wrong here; it was logged"))
        self.assertEqual(len(self.flushLoggedErrors(CancelledError)), 1)

    def test_below_another_resource(self) -> None:
        """Wherever the root is mounted, every path is still the table's."""
        root = make_root(self.world.desk)
        self.assertIs(root.getChildWithDefault(b"api", None), root)

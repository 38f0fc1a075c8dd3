"""
Nobody reaches anything by spelling it otherwise (P1, L9).
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.devnet.daytona.routes import ROUTES
from sandbox_billing.errors import BadInput
from sandbox_billing.web._routes import ANY, Route, Table, Who, canonical_target
from sandbox_billing.web.caller import Callers
from sandbox_billing.web.limits import RequestLimits
from sandbox_billing.web.policy import is_possible_name
from sandbox_billing.web.root import make_table
from tests.web.asking import AskingTestCase
from tests.web.world import FOREIGN, OWNER, SANDBOX, World


def table_of(world: World) -> Table:
    """The routes, for their shapes."""
    desk = world.desk
    limits = RequestLimits.of(desk.terms.rates, desk.clock)
    callers = Callers(
        replay=desk.replay, tokens=desk.tokens, wall=desk.wall, terms=desk.terms, limits=limits
    )
    return make_table(desk, callers)


def path_of(route: Route, id: str = SANDBOX) -> str:
    """The route's path to one sandbox."""
    path = route.pattern.replace("{id}", id).replace("**", "rest")
    return re.sub(r"\{\w+\}", "5", path)


def method_of(route: Route) -> str:
    """One that it takes."""
    return "POST" if route.method == ANY else route.method


class SpellingTests(AskingTestCase):
    """
    What the table makes of words; C{test_every_route} crosses all of it.
    """

    def test_methods(self) -> None:
        """What a path does not serve is 405 and says what it serves; nothing is called."""
        table = table_of(self.world)
        patterns = {route.pattern for route in table.routes}
        for pattern in sorted(patterns):
            same = [route for route in table.routes if route.pattern == pattern]
            served = {route.method for route in same}
            if ANY in served:
                continue
            path = path_of(same[0])
            for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get", "BREW"):
                if method in served:
                    continue
                reply = self.ask_by_path(method, path)
                self.assertEqual(reply.error, (405, "method not allowed here"), (method, path))
                offered = {route.method for route in same if route.who is not Who.NOBODY}
                allowed = offered | ({"HEAD"} if "GET" in offered else set())
                self.assertEqual(reply.header("Allow"), ", ".join(sorted(allowed)))
        self.assertEqual(self.world.calls.asked, [])

    def test_verbs_in_odd_spellings(self) -> None:
        """What Daytona would take for a start or a stop is neither, and nothing else (P1)."""
        one = f"/api/sandbox/{SANDBOX}"
        for verb in ("start", "stop"):
            for target in (
                *(f"{one}/{verb.upper()}", f"{one}/{verb.title()}", f"{one}/{verb}/"),
                *(f"{one}//{verb}", f"{one}/./{verb}", f"{one}/x/../{verb}", f"/{one}/{verb}"),
                *(f"{one}/%73{verb[1:]}", f"{one}%2f{verb}", f"{one}/{verb};x=1"),
                *(f"/API{one[4:]}/{verb}", f"/api/Sandbox/{SANDBOX}/{verb}"),
            ):
                reply = self.ask_by_path("POST", target)
                self.assertIn(reply.status, (400, 404), target)
        self.assertEqual(self.world.calls.asked, [])

    def test_words_that_are_routes_of_daytona(self) -> None:
        """C{GET /sandbox/Paginated} lists every tenant's upstream: no id is spelt so."""
        for word in ("Paginated", "PAGINATED", "For-Runner", "SSH-access", "force", "Force"):
            reply = self.ask_by_path("GET", f"/api/sandbox/{word}")
            self.assertEqual(reply.error, (404, "no such sandbox"))
        self.assertEqual(self.world.calls.asked, [])

    def test_literal_before_any(self) -> None:
        """C{DELETE /api/sandbox/paginated} is no sandbox's deletion."""
        reply = self.ask_by_path("DELETE", "/api/sandbox/paginated")
        self.assertEqual(reply.error, (405, "method not allowed here"))

    def test_foreign_id_in_odd_spelling(self) -> None:
        """An id in other letters is another id, and its owner is asked for."""
        reply = self.ask_by_path("GET", f"/api/sandbox/{FOREIGN.upper()}", key=OWNER)
        self.assertEqual(reply.error, (404, "no such sandbox"))

    def test_odd_ids(self) -> None:
        """What could mean another path upstream is nobody's id."""
        for id in ("a%3Fb", "a%23b", "%20", "x" * 129):
            reply = self.ask_by_path("GET", f"/api/sandbox/{id}")
            self.assertEqual(reply.error, (404, "no such sandbox"))
        self.assertEqual(self.world.calls.asked, [])


def express(method: str, path: str) -> tuple[str, tuple[str, ...]] | None:
    """
    What Daytona's router takes a path for.

    @return: The pattern, and the decoded parameters.
    """
    below = path[:-1] if path.endswith("/") else path
    segments = below.split("/")[1:]
    if segments[0].lower() != "api":
        return None
    # It names literals before parameters.
    for route in sorted(ROUTES, key=lambda one: one.pattern.count(":")):
        parameters = route.match(method, segments[1:])
        if parameters is not None:
            return route.pattern, parameters
    return None


@st.composite
def respelt(draw: st.DrawFn) -> tuple[str, str]:
    """A method and a path of Daytona's, written in some other way or ways."""
    route = draw(st.sampled_from(ROUTES))
    ids = st.sampled_from([SANDBOX, "box", "Paginated", "a b", "é", "force"])
    path = "/api/" + "/".join(
        quote(draw(ids)) if part == ":" else part for part in route.pattern.split("/")
    )
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(1, len(path) - 1)) if len(path) > 1 else 0
        way = draw(st.sampled_from(["case", "escape", "insert", "end"]))
        if way == "case":
            path = path[:at] + path[at].swapcase() + path[at + 1 :]
        elif way == "escape":
            spelt = f"%{ord(path[at]):02x}"
            path = path[:at] + draw(st.sampled_from([spelt, spelt.upper()])) + path[at + 1 :]
        else:
            more = draw(st.sampled_from(["/", "/.", "/..", "/x/..", "%2f", ";a=b", "%00", "."]))
            path = path[:at] + more + path[at:] if way == "insert" else path + more
    return route.method, path


class ReadTwiceTests(SynchronousTestCase):
    """
    Our reading of a path beside Daytona's.
    """

    def setUp(self) -> None:
        """The real table."""
        self.table = table_of(World())

    @settings(max_examples=400)
    @given(respelt())
    # Every tenant's sandboxes, but for the check of names.
    @example(("GET", "/api/sandbox/Paginated"))
    def test_one_reading(self, asked: tuple[str, str]) -> None:
        """Whatever passes is what Daytona would have read, too; the rest does not pass."""
        method, path = asked
        try:
            canonical = canonical_target(path.encode("ascii"))
            found = self.table.find(method, canonical)
        except BadInput:
            return
        if found.route.who is Who.NOBODY or not is_possible_name(unquote(found.spelt_id) or "x"):
            return
        theirs = express(method, path)
        self.assertEqual(theirs, express(method, canonical))
        if theirs is not None and not found.route.stream:
            shape = re.sub(r"\{\w+\}", ":", found.route.pattern)
            self.assertEqual(f"/api/{theirs[0]}", shape)

    @given(respelt())
    def test_once(self, asked: tuple[str, str]) -> None:
        """What is canonical stays as it is, and is found again."""
        method, path = asked
        try:
            canonical = canonical_target(path.encode("ascii"))
        except BadInput:
            return
        self.assertEqual(canonical_target(canonical.encode("ascii")), canonical)
        self.assertEqual(
            self.table.streams(method.encode(), path.encode()),
            self.table.streams(method.encode(), canonical.encode()),
        )

    @given(st.binary(max_size=12), st.binary(max_size=40))
    def test_streams_never_raises(self, method: bytes, target: bytes) -> None:
        """Whatever stands in a request line, it says whether it is a stream."""
        self.assertIn(self.table.streams(method, target), (True, False))

    def test_streams(self) -> None:
        """What is a stream to the router is one to the site."""
        for method, target, streams in (
            (b"POST", b"/toolbox/x/process/execute", True),
            (b"GET", b"/toolbox/x/files?path=%2F", True),
            (b"PUT", b"/api/toolbox/x/toolbox/files", True),
            (b"GET", b"/api/sandbox/x/build-logs?follow=true", True),
            (b"POST", b"/api/sandbox/x/build-logs", False),
            (b"BREW", b"/toolbox/x/y", False),
            (b"POST", b"/toolbox/x/y/", False),
            (b"POST", b"/TOOLBOX/x/y", False),
            (b"POST", b"/api/sandbox/x/start", False),
            (b"POST", b"/api/volumes/x", False),
        ):
            self.assertEqual(self.table.streams(method, target), streams, target)

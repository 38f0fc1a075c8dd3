"""
Nobody reaches anything by spelling it otherwise (P1, L9).
"""

from __future__ import annotations

import re

from sandbox_billing.web._routes import ANY, Route, Table
from sandbox_billing.web.caller import Callers
from sandbox_billing.web.limits import RequestLimits
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
                allowed = served | ({"HEAD"} if "GET" in served else set())
                self.assertEqual(reply.header("Allow"), ", ".join(sorted(allowed)))
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

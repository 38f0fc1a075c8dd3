"""
Nobody reaches anything by spelling it otherwise (P1, L9).

Every route of the table x odd spellings of its path x {owner, stranger, anonymous}.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import frozen

from sandbox_billing.signing.key import SigningKey
from sandbox_billing.web._routes import ANY, Route, Table, Who
from sandbox_billing.web.caller import Callers
from sandbox_billing.web.limits import RequestLimits
from sandbox_billing.web.root import make_table
from tests.web.asking import AskingTestCase, Reply
from tests.web.world import FOREIGN, OWNER, SANDBOX, STRANGER, World


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


@frozen
class Odd:
    """
    @ivar text: The whole answer's text; None for a path that is simply not in the table.
    """

    path: str
    status: int
    text: str


def odd_spellings(path: str) -> Iterator[Odd]:
    """Ways to write a path that Daytona's router would take for the same."""
    head, _, last = path.rpartition("/")
    upper = f"{head}/{last.upper()}"
    # /api/sandbox/PAGINATED has the form of an id: see the test of such words.
    if upper != path and last not in (SANDBOX, "paginated", "rest", "can-cleanup-image"):
        yield Odd(upper, 404, "no such route")
    if path.startswith("/api/"):
        yield Odd("/API" + path[4:], 404, "no such route")
    yield Odd(path + "/", 400, "the path ends with a slash")
    yield Odd(path + "//", 400, "the path ends with a slash")
    yield Odd("/" + path, 400, "the path contains a doubled slash")
    yield Odd(f"{head}//{last}", 400, "the path contains a doubled slash")
    yield Odd(f"{head}/./{last}", 400, "the path contains a dot segment")
    yield Odd(f"{head}/x/../{last}", 400, "the path contains a dot segment")
    first = last[0]
    yield Odd(
        f"{head}/%{ord(first):02x}{last[1:]}",
        400,
        f"the path hides {first!r} behind a percent sign",
    )
    yield Odd(f"{head}/%2e%2e/{last}", 400, "the path hides '.' behind a percent sign")
    if head:
        yield Odd(
            f"{head}%2f{last}",
            400,
            "the path contains an encoded slash, backslash or percent sign",
        )
    yield Odd(path + "%00", 400, "the path contains an encoded control character")
    yield Odd(path + "%zz", 400, "the path contains a percent sign without two hex digits")
    yield Odd(path + "%ff", 400, "the path contains encoded bytes that are not UTF-8")
    yield Odd(path + "\\x", 400, "the path contains a character that no path may contain")
    if last != "rest" and not path.startswith("/api/snapshots"):
        yield Odd(path + "/x/y/z", 404, "no such route")


class SpellingTests(AskingTestCase):
    """
    The generated test.
    """

    def asked_for(self, method: str, path: str, key: SigningKey | None, route: Route) -> Reply:
        """One request, signed for exactly this path where the path can be signed."""
        headers = {}
        if key is not None:
            headers = self.world.signed(f"{method}:{path}", key=key)
        return self.ask(method, path, headers)

    def test_odd_spellings(self) -> None:
        """Whoever asks and whatever he signed: the same refusal, and nothing behind it."""
        tried = 0
        for route in table_of(self.world).routes:
            for odd in odd_spellings(path_of(route)):
                for key in (OWNER, STRANGER, None):
                    reply = self.asked_for(method_of(route), odd.path, key, route)
                    self.assertEqual(reply.error, (odd.status, odd.text), odd.path)
                    tried += 1
        self.assertEqual(self.world.calls.asked, [])
        self.assertEqual(self.world.guard.seen, set())
        self.assertGreater(tried, 1000)

    def test_owner_stranger_anonymous(self) -> None:
        """Each route, spelt right, serves exactly whom the table says."""
        for route in table_of(self.world).routes:
            path = path_of(route)
            if route.stream:
                continue
            method = method_of(route)
            anonymous = self.ask(method, path)
            if route.who is Who.PUBLIC:
                self.assertEqual(anonymous.status, 200, path)
                continue
            if route.who is Who.NOBODY:
                for reply in (anonymous, self.ask_by_path(method, path)):
                    self.assertEqual(reply.error, (403, route.denial), path)
                continue
            self.assertEqual(anonymous.error, (401, "missing auth headers"), path)
            body = {"labels": {}} if route.pattern.endswith("/labels") else None
            owner = self.ask_by_path(method, path, body, key=OWNER)
            self.assertEqual(owner.status, 200, path)
            stranger = self.ask_by_path(method, path, body, key=STRANGER)
            if route.who is Who.OWNER:
                self.assertEqual(
                    stranger.error, (403, "this sandbox belongs to another wallet"), path
                )
            else:
                self.assertEqual(stranger.status, owner.status, path)

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

    def test_denied_by_default(self) -> None:
        """Routes of Daytona that the table does not name do not exist here (P6, P8)."""
        one = f"/api/sandbox/{SANDBOX}"
        for method, path in (
            ("POST", f"{one}/fork"),
            ("POST", f"{one}/pause"),
            ("POST", f"{one}/backup"),
            ("POST", f"{one}/snapshot"),
            ("POST", f"{one}/last-activity"),
            ("POST", f"{one}/public/true"),
            ("PUT", f"{one}/state"),
            ("DELETE", f"{one}/ssh-access"),
            ("GET", f"{one}/ports/80/preview-url"),
            ("GET", "/api/volumes"),
            ("GET", "/api/config"),
            ("GET", "/api/organizations"),
            ("GET", "/api/runners"),
            ("GET", "/api/object-storage/push-access"),
            ("POST", "/api/snapshots"),
            ("GET", "/api/socket.io/"),
            ("GET", "/api/sessions"),
            ("POST", "/api/archive-all"),
            ("DELETE", f"{one}/force"),
            ("DELETE", f"/api/sandbox/force/{SANDBOX}"),
            ("GET", "/api"),
            ("GET", "/dashboard"),
            ("GET", "/"),
            ("GET", "/api/sandbox/ssh-access/validate"),
        ):
            reply = self.ask_by_path(method, path)
            self.assertIn(reply.status, (403, 404, 405), path)
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

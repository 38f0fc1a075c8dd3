"""
What a route is, and how a path finds one; what no route names does not exist.

The table is matched on the path in its one spelling (L{canonical_path}); what goes to
Daytona is built from the route that was found, never from the client's path (P1).

Tests: C{tests.web.test_router}, C{tests.web.test_spellings}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Any, Protocol, TypeAlias
from urllib.parse import unquote

from attrs import Factory, field, frozen
from twisted.web.server import Request

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.token import Scope
from sandbox_billing.signing.request import Query, canonical_path
from sandbox_billing.web.answers import Answer, NotServed


NO_ROUTE = "no such route"
WRONG_METHOD = "method not allowed here"

MOST_BYTES = 64 * 1024
"""What a body says is bounded; so much may it take, escaped in whatever way."""

ANY = "ANY"
"""Every method; of a route that is served, those that HTTP defines for resources."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

REST = "**"
"""As the last segment of a pattern: whatever follows, if only nothing."""

_EVENTS = "/api/socket.io/"
"""Socket.io clients know this one path, slash and all; what refuses it may say why."""


class Who(Enum):
    """Whom a route is for."""

    NOBODY = "nobody: refused before anything of the request is read"
    PUBLIC = "anybody, unsigned"
    WALLET = "any wallet that signs"
    OWNER = "the wallet that owns the sandbox in the path; intake checks it"
    OPERATOR = "a wallet of ADMIN_ADDRESSES"


class Policy(Enum):
    """What becomes of a request (daytona.md §3)."""

    INTERCEPT = "the call upstream is built here, rewritten, or has to do with money"
    OWN = "the owner's, forwarded with the canonical id"
    REWRITE = "the same, and the reply is rewritten"
    DENY = "403 to everybody"
    OPERATOR = "the operator's"
    PUBLIC = "no owner"
    OURS = "answered here: Daytona is not asked"


Handler: TypeAlias = Callable[[Any], Awaitable[Answer]]
"""Takes an L{Asked<sandbox_billing.web._router.Asked>}."""


@frozen(kw_only=True)
class Route:
    """
    One line of the table.

    @ivar method: Or L{ANY}.
    @ivar pattern: Segments; C{{id}} and the like stand for any one segment, a final
        C{**} for all that follow.
    @ivar handler: None where nobody or a stream is answered.
    @ivar policy: What becomes of it.
    @ivar scope: What a session token must allow; None for any token.
    @ivar narrows: Whether the handler itself sees to it that a token for one sandbox
        (C{Caller.only}) is shown or given no other; else the id in the path must be that
        sandbox's, and a route without one refuses such a token.
    @ivar verb: What the older kind of client signs; None for C{METHOD:path} only.
    @ivar query: The names that may be asked for; of a stream, the sandbox decides.
    @ivar several: Names of the query that may stand more than once.
    @ivar takes_body: Whether a body may say anything.
    @ivar most_bytes: Of a body that is read here.
    @ivar logs_in: Whether it is counted as a login, before its body is looked at: anybody
        may send one.
    @ivar stream: Body and reply flow: the streamer authenticates and answers.
    @ivar denial: Why nobody is served, in few words.
    """

    method: str
    pattern: str
    who: Who
    handler: Handler | None = None
    policy: Policy = Policy.INTERCEPT
    scope: Scope | None = Scope.MANAGE
    narrows: bool = False
    verb: str | None = None
    query: frozenset[str] = frozenset()
    several: frozenset[str] = frozenset()
    takes_body: bool = False
    most_bytes: int = MOST_BYTES
    logs_in: bool = False
    stream: bool = False
    denial: str = ""
    segments: tuple[str, ...] = field(
        init=False,
        eq=False,
        repr=False,
        default=Factory(lambda self: tuple(self.pattern.split("/")), takes_self=True),
    )
    _literals: tuple[tuple[int, str], ...] = field(
        init=False,
        eq=False,
        repr=False,
        default=Factory(
            # The last ones tell most routes apart.
            lambda self: tuple(
                (at, part)
                for at, part in reversed(tuple(enumerate(self.segments)))
                if part != REST and not part.startswith("{")
            ),
            takes_self=True,
        ),
    )
    rank: tuple[int, ...] = field(
        init=False,
        eq=False,
        repr=False,
        default=Factory(
            lambda self: tuple(
                2 if part == REST else int(part.startswith("{")) for part in self.segments
            ),
            takes_self=True,
        ),
    )

    def fits(self, path: tuple[str, ...]) -> bool:
        """Whether this is a pattern of the path, whatever the method."""
        given, wanted = len(path), len(self.segments)
        if given < wanted - 1 if self.segments[-1] == REST else given != wanted:
            return False
        # A loop: every request asks this of every route.
        for at, literal in self._literals:  # noqa: SIM110
            if path[at] != literal:
                return False
        return True

    def takes(self, method: str) -> bool:
        """
        Whether the method is this route's: C{HEAD} is wherever C{GET} is.
        """
        if self.method == ANY:
            return self.who is Who.NOBODY or method in METHODS
        return self.method == method or (self.method == "GET" and method == "HEAD")

    @property
    def allowed(self) -> frozenset[str]:
        """For C{Allow}."""
        if self.method == ANY:
            return METHODS
        return frozenset({"GET", "HEAD"} if self.method == "GET" else {self.method})


@frozen
class Found:
    """
    @ivar spelt_id: The id as the path spells it: what signatures name.
    @ivar resource: What a signature with a verb names: that, or a snapshot's, likewise spelt.
    @ivar parts: The other named segments, decoded, by their names.
    @ivar tail: What stands for C{**}, canonical, without its first slash.
    """

    route: Route
    spelt_id: str = ""
    resource: str = ""
    parts: Mapping[str, str] = field(factory=dict)
    tail: str = ""


class Streamer(Protocol):
    """Answers the routes that are streams."""

    async def __call__(
        self, request: Request, found: Found, path: str, query: Query
    ) -> Answer | None:
        """
        Authenticate, and let body and reply flow.

        @param path: Canonical.
        @return: What to answer with, or None when it was answered, to its end.
        """


def canonical_target(raw_path: bytes) -> str:
    """
    The one spelling of a request's path.

    @raise BadInput: It has none.
    """
    return canonical_path(raw_path[:-1] if raw_path == _EVENTS.encode("ascii") else raw_path)


@frozen
class Table:
    """
    Every route there is.
    """

    routes: tuple[Route, ...]

    def find(self, method: str, path: str) -> Found:
        """
        The most literal pattern that fits decides: no method of a vaguer one may reach
        C{/api/sandbox/paginated} as if that were somebody's sandbox.

        @param method: As sent.
        @param path: Canonical.
        @raise NotServed: 404 or 405.
        """
        spelt = tuple(path.split("/"))
        fitting = [route for route in self.routes if route.fits(spelt)]
        if not fitting:
            raise NotServed(NO_ROUTE, status=404)
        rank = min(route.rank for route in fitting)
        served = [route for route in fitting if route.rank == rank]
        taking = [route for route in served if route.takes(method)]
        if not taking:
            # What is refused to everybody is not on offer.
            offered = (route.allowed for route in served if route.who is not Who.NOBODY)
            allow = frozenset[str]().union(*offered)
            raise NotServed(WRONG_METHOD, status=405, allow=tuple(sorted(allow)))
        route = min(taking, key=lambda one: (one.method == ANY, one.method != method))
        named = {
            part[1:-1]: have
            for part, have in zip(route.segments, spelt, strict=False)
            if part.startswith("{")
        }
        spelt_id = named.pop("id", "")
        rest = len(route.segments) - 1 if route.segments[-1] == REST else len(spelt)
        return Found(
            route,
            spelt_id=spelt_id,
            resource=spelt_id or named.get("snapshot", ""),
            parts={name: unquote(text) for name, text in named.items()},
            tail="/".join(spelt[rest:]),
        )

    def streams(self, method: bytes, target: bytes) -> bool:
        """
        Whether the route of a request is a stream; asked when its headers are complete.

        @param method: As sent.
        @param target: The request line's, with its query.
        @return: False also for what no route would serve.
        """
        try:
            found = self.find(method.decode("ascii"), canonical_target(target.partition(b"?")[0]))
        except (BadInput, UnicodeDecodeError):
            return False
        return found.route.stream

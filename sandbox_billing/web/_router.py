"""
One table, matched on the path as it was spelt; what it does not name does not exist.

Klein routes on the decoded path, redirects doubled slashes and fails on odd host names;
Daytona's router ignores case and a trailing slash.  So neither of them sees a client's
path: L{canonical_path} refuses what could be read in two ways (P1), the table matches
what is left, and Klein, which runs the handler and cancels it when the client hangs
up, is shown a bare C{/}.

Tests: C{tests.web.test_router}, C{tests.web.test_spellings}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from hashlib import sha256
from typing import Any, ClassVar, TypeAlias
from urllib.parse import unquote

from attrs import field, frozen
from klein import Klein, Response
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request
from zope.interface import implementer

from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import IWallClock
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.request import (
    Body,
    JSONValue,
    Query,
    RequestFacts,
    canonical_path,
    canonical_query,
    parse_strict_json,
)
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web.answers import (
    ACCESS,
    UNEXPECTED,
    Answer,
    NotServed,
    described,
    dump,
    refusal,
    standard_headers,
)
from sandbox_billing.web.caller import Callers
from sandbox_billing.web.policy import checked_name


MAX_BODY_BYTES = 1024 * 1024
TOO_LARGE = "request body too large"
NO_ROUTE = "no such route"
WRONG_METHOD = "method not allowed here"
NOT_JSON = "the body must be application/json"
NO_BODY = "this request takes no body"

CLIENT_GONE = 499
"""Only in the log: nobody was left to be told."""


class Who(Enum):
    """Whom a route is for."""

    NOBODY = "nobody: refused before anything of the request is read"
    PUBLIC = "anybody, unsigned"
    WALLET = "any wallet that signs"
    OWNER = "the wallet that owns the sandbox in the path; intake checks it"


@frozen(kw_only=True)
class Asked:
    """
    A request that passed the door.

    @ivar signer: None on public routes.
    @ivar id: The id or name in the path, decoded; empty where there is none.
    @ivar body: Parsed JSON; C{{}} when there was no body.
    """

    signer: Address | None = None
    id: str = ""
    query: Mapping[str, str] = field(factory=dict)
    body: JSONValue = field(factory=dict)

    @property
    def wallet(self) -> Address:
        """Who signed; a public route that asks for it is a mistake of ours."""
        if self.signer is None:
            raise LookupError("a public route has no wallet")
        return self.signer


Handler: TypeAlias = Callable[[Asked], Awaitable[Answer]]


@frozen(kw_only=True)
class Route:
    """
    One line of the table.

    @ivar pattern: Segments; C{{id}} and the like stand for any one segment.
    @ivar verb: What the older kind of client signs; None for C{METHOD:path} only.
    @ivar query: The names that may be asked for.
    @ivar takes_body: Whether a body may say anything.
    """

    method: str
    pattern: str
    who: Who
    handler: Handler
    verb: str | None = None
    query: frozenset[str] = frozenset()
    takes_body: bool = False

    @property
    def segments(self) -> tuple[str, ...]:
        """The pattern, cut at its slashes."""
        return tuple(self.pattern.split("/"))


@frozen
class Found:
    """
    @ivar spelt_id: The id as the path spells it: what signatures name.
    """

    route: Route
    spelt_id: str = ""


def _fits(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    return len(pattern) == len(path) and all(
        want == have or want.startswith("{") for want, have in zip(pattern, path, strict=True)
    )


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

        @param method: As sent; C{HEAD} is served wherever C{GET} is.
        @param path: Canonical.
        @raise NotServed: 404 or 405.
        """
        spelt = tuple(path.split("/"))
        fitting = [route for route in self.routes if _fits(route.segments, spelt)]
        if not fitting:
            raise NotServed(NO_ROUTE, status=404)
        pattern = min((route.pattern for route in fitting), key=lambda text: text.count("{"))
        served = {route.method: route for route in fitting if route.pattern == pattern}
        route = served.get("GET" if method == "HEAD" else method)
        if route is None:
            allow = {*served, "HEAD"} if "GET" in served else set(served)
            raise NotServed(WRONG_METHOD, status=405, allow=tuple(sorted(allow)))
        parts = dict(zip(route.segments, spelt, strict=True))
        return Found(route, parts.get("{id}", ""))


def read_body(raw: bytes, headers: Headers, *, takes_body: bool) -> JSONValue | Body:
    """
    @param raw: The body's bytes.
    @raise NotServed: 413, or 415 for what does not say that it is JSON.
    @raise BadInput: It is not JSON, or says something where nothing is asked.
    """
    if len(raw) > MAX_BODY_BYTES:
        raise NotServed(TOO_LARGE, status=413)
    if not raw:
        return Body.EMPTY
    types = headers.getRawHeaders(b"Content-Type", [])
    if len(types) != 1 or types[0].split(b";")[0].strip().lower() != b"application/json":
        raise NotServed(NOT_JSON, status=415)
    body = parse_strict_json(raw, max_bytes=MAX_BODY_BYTES)
    if not takes_body and body != {}:
        raise BadInput(NO_BODY)
    return body


def allowed_query(query: Query, allowed: frozenset[str]) -> dict[str, str]:
    """@raise BadInput: A name is unknown here, or stands twice."""
    found: dict[str, str] = {}
    for name, value in query:
        if name not in allowed:
            raise BadInput(f"unknown query parameter: {name[:64]}")
        if name in found:
            raise BadInput(f"query parameter given twice: {name}")
        found[name] = value
    return found


# The source of each log event, which therefore tells nothing.
@frozen(kw_only=True, repr=False)
class Router:
    """
    From a raw request to a reply.

    @ivar new_request_id: Makes what C{X-Request-Id} says; a client's own is not taken over.
    """

    app: ClassVar[Klein] = Klein()
    _log: ClassVar[Logger] = Logger()

    table: Table
    callers: Callers
    wall: IWallClock = field(validator=provides(IWallClock))
    clock: IReactorTime = field(validator=provides(IReactorTime))
    new_request_id: Callable[[], str]

    async def _ask(self, request: Request) -> Answer:
        method = request.method.decode("ascii")
        raw_path, _, raw_query = request.uri.partition(b"?")
        path, query = canonical_path(raw_path), canonical_query(raw_query)
        found = self.table.find(method, path)
        route, headers = found.route, request.requestHeaders
        if route.who is Who.NOBODY:
            return await route.handler(Asked())
        assert request.content is not None
        raw = request.content.read(MAX_BODY_BYTES + 1)
        if route.who is Who.PUBLIC:
            body = read_body(raw, headers, takes_body=False)
            signer = None
        else:
            message = self.callers.recognise(headers)
            body = read_body(raw, headers, takes_body=route.takes_body)
            facts = RequestFacts(
                method=route.method,
                path=path,
                query=query,
                verb=route.verb,
                resource_id=found.spelt_id,
                body=body,
                body_sha256=sha256(raw).hexdigest(),
            )
            signer = await self.callers.admit(message, facts)
        asked = Asked(
            signer=signer,
            id=checked_name(unquote(found.spelt_id)) if found.spelt_id else "",
            query=allowed_query(query, route.query),
            body={} if isinstance(body, Body) else body,
        )
        return await route.handler(asked)

    @app.route("/")
    async def reply(self, request: Request) -> Any:
        """Answer one request; nothing leaves here but JSON."""
        began, request_id = self.clock.seconds(), self.new_request_id()
        path = request.uri.partition(b"?")[0].decode("latin-1")
        gone: list[Failure] = []
        request.notifyFinish().addErrback(gone.append)
        status, body = CLIENT_GONE, b""
        answer: Answer | None
        try:
            try:
                answer = await self._ask(request)
                body = dump(answer.document)
            # The one place where everything becomes an answer (style.md §5).
            except Exception as error:
                if gone and isinstance(error, CancelledError):
                    raise
                answer = refusal(error)
                if answer is None:
                    self._log.failure("request {request_id} failed", request_id=request_id)
                    answer = Answer(status=500, document={"error": UNEXPECTED})
                elif answer.status >= 500:
                    self._log.warn(
                        "request {request_id} not served: {problem}",
                        request_id=request_id,
                        problem=error,
                    )
                answer = described(answer, path=path, now=self.wall.now())
                body = dump(answer.document)
            status = answer.status
            headers: Any = {
                **standard_headers(body, request_id),
                **answer.headers,
            }
            return Response(code=status, headers=headers, body=body)
        finally:
            self._log.info(
                ACCESS,
                method=request.method.decode("ascii"),
                path=path,
                status=status,
                milliseconds=round((self.clock.seconds() - began) * 1000),
                peer=getattr(request.client, "host", "-"),
                request_id=request_id,
            )


@implementer(IResource)
class Threshold(Resource):
    """
    What stands before Klein and hides from it what it would stumble over.
    """

    isLeaf = True

    def __init__(self, inner: IResource) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._inner = inner

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:
        """Below another resource, too, every path is ours."""
        return self

    def render(self, request: Request) -> bytes | int:
        """Twisted calls this for every path."""
        request.prepath, request.postpath = [], [b""]
        # Klein hands it to Werkzeug, which raises for some; we never read it.
        request.requestHeaders.setRawHeaders(b"Host", [b"localhost"])
        rendered: bytes | int = self._inner.render(request)
        return rendered

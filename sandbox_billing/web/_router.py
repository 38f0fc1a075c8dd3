"""
From a raw request to a reply, by way of the table.

Klein routes on the decoded path, redirects doubled slashes and fails on odd host names;
Daytona's router ignores case and a trailing slash.  So neither of them sees a client's
path: L{canonical_path} refuses what could be read in two ways (P1), the table matches
what is left, and Klein, which runs the handler and cancels it when the client hangs
up, is shown a bare C{/}.

Tests: C{tests.web.test_router}, C{tests.web.test_spellings}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from typing import Any, ClassVar
from urllib.parse import unquote

from attrs import evolve, field, frozen
from klein import Klein, Response
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request
from zope.interface import implementer

from sandbox_billing.errors import BadInput, Refused
from sandbox_billing.interfaces import UNMEASURED, DaytonaRefused, IMeasures, IWallClock
from sandbox_billing.ledger.identity import Address, Reference
from sandbox_billing.log_context import REQUEST
from sandbox_billing.signing.request import (
    Body,
    JSONValue,
    Query,
    RequestFacts,
    canonical_query,
    parse_strict_json,
)
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._denied import ADMIN_ONLY
from sandbox_billing.web._routes import Streamer, Table, Who, canonical_target
from sandbox_billing.web.answers import (
    ACCESS,
    UNEXPECTED,
    Answer,
    NotServed,
    described,
    dump,
    loggable,
    refusal,
    standard_headers,
)
from sandbox_billing.web.caller import Caller, Callers
from sandbox_billing.web.cors import Cors
from sandbox_billing.web.limits import RequestLimits
from sandbox_billing.web.measured import NO_PATTERN, note_request
from sandbox_billing.web.peers import Peers
from sandbox_billing.web.policy import checked_name
from sandbox_billing.web.pouring import pour
from sandbox_billing.web.time_left import TimeLeft


MAX_BODY_BYTES = 1024 * 1024
TOO_LARGE = "request body too large"
NOT_JSON = "the body must be application/json"
PROBES = frozenset({b"/healthz", b"/readyz"})
"""Never limited: what asks them decides whether we live."""

IDEMPOTENCY_KEY = b"Idempotency-Key"
LAST_EVENT_ID = b"Last-Event-ID"

NO_BODY = "this request takes no body"

CLIENT_GONE = 499
"""Only in the log: nobody was left to be told."""


@frozen(kw_only=True)
class Asked:
    """
    A request that passed the door.

    @ivar caller: None on public routes.
    @ivar id: The id or name in the path, decoded; empty where there is none.
    @ivar parts: The other named segments of the path, decoded.
    @ivar several: What the query says under names that may stand several times.
    @ivar body: Parsed JSON; C{{}} when there was no body.
    @ivar peer: The address that asks.
    @ivar accept: As the header says, unchecked.
    @ivar idempotency_keys: As the header says, unchecked.
    @ivar last_event_ids: Likewise.
    @ivar reference: Under which a create or start is to be found again; None: any.
    """

    caller: Caller | None = None
    id: str = ""
    parts: Mapping[str, str] = field(factory=dict)
    query: Mapping[str, str] = field(factory=dict)
    several: Mapping[str, tuple[str, ...]] = field(factory=dict)
    body: JSONValue = field(factory=dict)
    peer: str = ""
    accept: str = ""
    idempotency_keys: tuple[str, ...] = ()
    last_event_ids: tuple[str, ...] = ()
    reference: Reference | None = None

    @property
    def known(self) -> Caller:
        """Who asks; a public route that wants to know is a mistake of ours."""
        if self.caller is None:
            raise LookupError("a public route has no caller")
        return self.caller

    @property
    def wallet(self) -> Address:
        """Whose request it is."""
        return self.known.wallet


def read_body(
    raw: bytes, headers: Headers, *, takes_body: bool, most_bytes: int = MAX_BODY_BYTES
) -> JSONValue | Body:
    """
    @param raw: The body's bytes.
    @raise NotServed: 413, or 415 for what does not say that it is JSON.
    @raise BadInput: It is not JSON, or says something where nothing is asked.
    """
    if len(raw) > most_bytes:
        raise NotServed(TOO_LARGE, status=413)
    if not raw:
        return Body.EMPTY
    types = headers.getRawHeaders(b"Content-Type", [])
    if len(types) != 1 or types[0].split(b";")[0].strip().lower() != b"application/json":
        raise NotServed(NOT_JSON, status=415)
    body = parse_strict_json(raw, max_bytes=most_bytes)
    if not takes_body and body != {}:
        raise BadInput(NO_BODY)
    return body


def allowed_query(
    query: Query, allowed: frozenset[str], several: frozenset[str] = frozenset()
) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """
    @param several: Names that may stand more than once, beside those in C{allowed}.
    @return: What stands once, and what may stand several times.
    @raise BadInput: A name is unknown here, or stands twice.
    """
    found: dict[str, str] = {}
    repeated: dict[str, tuple[str, ...]] = {}
    for name, value in query:
        if name in several:
            repeated[name] = (*repeated.get(name, ()), value)
            continue
        if name not in allowed:
            raise BadInput(f"unknown query parameter: {name[:64]}")
        if name in found:
            raise BadInput(f"query parameter given twice: {name}")
        found[name] = value
    return found, repeated


def _lines(headers: Headers, name: bytes) -> tuple[str, ...]:
    return tuple(line.decode("latin-1") for line in headers.getRawHeaders(name, []))


def _bytes_of(answer: Answer) -> bytes:
    if answer.raw is not None:
        return answer.raw
    return b"" if answer.status == 204 else dump(answer.document)


def _is_known(request: Request, answer: Answer) -> bool:
    """Whether the client has this very answer already, and has said so (C{If-None-Match})."""
    tag = answer.headers.get("ETag")
    if tag is None or answer.status != 200:
        return False
    told = b",".join(request.requestHeaders.getRawHeaders(b"If-None-Match", []))
    known = {one.strip().removeprefix(b"W/") for one in told.split(b",")}
    return b"*" in known or tag.encode("ascii") in known


# The source of each log event, which therefore tells nothing.
@frozen(kw_only=True, repr=False)
class Router:
    """
    From a raw request to a reply.

    @ivar streamer: Answers the routes that are streams.
    @ivar time_left: Told to every wallet that has proven itself.
    @ivar operators: Whom the rows for operators are for.
    @ivar new_request_id: Makes what C{X-Request-Id} says; a client's own is not taken over.
    @ivar measures: Told of every request at its end.
    """

    app: ClassVar[Klein] = Klein()
    _log: ClassVar[Logger] = Logger()

    table: Table
    callers: Callers
    streamer: Streamer
    time_left: TimeLeft
    operators: frozenset[Address]
    limits: RequestLimits
    peers: Peers
    cors: Cors
    wall: IWallClock = field(validator=provides(IWallClock))
    clock: IReactorTime = field(validator=provides(IReactorTime))
    new_request_id: Callable[[], str]
    measures: IMeasures = UNMEASURED

    async def _ask(self, request: Request, peer: str, patterns: list[str]) -> Answer | None:
        method = request.method.decode("ascii")
        if request.uri not in PROBES:
            self.limits.arrived(peer)
        if (allowed := self.cors.preflight(method, request.requestHeaders)) is not None:
            return Answer(status=204, document=None, headers=allowed)
        raw_path, _, raw_query = request.uri.partition(b"?")
        path, query = canonical_target(raw_path), canonical_query(raw_query)
        found = self.table.find(method, path)
        route, headers = found.route, request.requestHeaders
        patterns.append(route.pattern)
        if route.who is Who.NOBODY:
            raise Refused(route.denial)
        if route.stream:
            return await self.streamer(request, found, path, query)
        assert request.content is not None
        if route.logs_in:
            self.limits.signs_in(peer)
        raw = request.content.read(route.most_bytes + 1)
        reading = partial(
            read_body, raw, headers, takes_body=route.takes_body, most_bytes=route.most_bytes
        )
        if route.who is Who.PUBLIC:
            body, caller = reading(), None
        else:
            claim = await self.callers.recognise(headers, peer)
            body = reading()
            facts = RequestFacts(
                # A signature for a GET opens its HEAD.
                method="GET" if method == "HEAD" else method,
                path=path,
                query=query,
                verb=route.verb,
                resource_id=found.resource,
                body=body,
                body_sha256=sha256(raw).hexdigest(),
            )
            caller = await self.callers.admit(claim, facts, route.scope)
            await self.time_left.tell(request, caller.wallet)
            if route.who is Who.OPERATOR and caller.wallet not in self.operators:
                raise Refused(ADMIN_ONLY)
            if not route.narrows:
                caller.check_reach(unquote(found.spelt_id) or None)
        single, several = allowed_query(query, route.query, route.several)
        asked = Asked(
            caller=caller,
            id=checked_name(unquote(found.spelt_id)) if found.spelt_id else "",
            parts=found.parts,
            query=single,
            several=several,
            body={} if isinstance(body, Body) else body,
            peer=peer,
            accept=(headers.getRawHeaders(b"Accept") or [b""])[0].decode("latin-1"),
            idempotency_keys=_lines(headers, IDEMPOTENCY_KEY),
            last_event_ids=_lines(headers, LAST_EVENT_ID),
        )
        assert route.handler is not None
        return await route.handler(asked)

    @app.route("/")
    async def reply(self, request: Request) -> Any:
        """Answer one request: with JSON, but for a page's files."""
        began, request_id = self.clock.seconds(), self.new_request_id()
        # In the context of this coroutine: whatever it causes is logged with it.
        REQUEST.set(request_id)
        path = request.uri.partition(b"?")[0].decode("latin-1")
        peer = self.peers.of_request(request)
        told = {"X-Request-Id": request_id, **self.cors.answer_headers(request.requestHeaders)}
        for name, value in told.items():
            # Here, so that streams have them too.
            request.setHeader(name.encode("ascii"), value.encode("latin-1"))
        gone: list[Failure] = []
        patterns: list[str] = []
        request.notifyFinish().addErrback(gone.append)
        status, body, passed_on = CLIENT_GONE, b"", False
        answer: Answer | None
        try:
            try:
                answer = await self._ask(request, peer, patterns)
                passed_on = answer is None
                if answer is not None and answer.chunks is not None:
                    sent = {**standard_headers(None, request_id), **answer.headers}
                    await pour(request, answer.status, sent, answer.chunks, self.clock)
                    answer = None
                if answer is None:
                    # It was streamed, to its end.
                    status = request.code
                    return None
                body = _bytes_of(answer)
                if _is_known(request, answer):
                    # Its length is told as it is, and nothing of it is sent.
                    answer = evolve(answer, status=304)
            # The one place where everything becomes an answer (style.md §5).
            except Exception as error:
                if gone and isinstance(error, CancelledError):
                    raise
                if request.startedWriting:
                    # A reply that broke off must not look like a whole one.
                    self._log.failure("request {request_id} broke off", request_id=request_id)
                    transport: Any = request.transport
                    transport.abortConnection()
                    return None
                answer = refusal(error)
                if answer is None:
                    self._log.failure("request {request_id} failed", request_id=request_id)
                    answer = Answer(status=500, document={"error": UNEXPECTED})
                elif answer.status >= 500:
                    self._log.warn(
                        "request {request_id} not served: {why}",
                        request_id=request_id,
                        why=str(error),
                    )
                elif isinstance(error, DaytonaRefused):
                    # Whole: what a user is told lacks the addresses that it names.
                    self._log.info(
                        "request {request_id} refused by Daytona: {status} {why}",
                        request_id=request_id,
                        status=error.status,
                        why=error.text,
                    )
                answer = described(answer, path=path, now=self.wall.now())
                body = dump(answer.document)
            status = answer.status
            headers: Any = {
                **standard_headers(body, request_id),
                **answer.headers,
            }
            return Response(code=status, headers=headers, body=b"" if status == 304 else body)
        finally:
            method, seconds = request.method.decode("ascii"), self.clock.seconds() - began
            route = patterns[0] if patterns else NO_PATTERN
            note_request(
                self.measures,
                route=route,
                method=method,
                status=status,
                seconds=seconds,
                passed_on=passed_on,
            )
            self._log.info(
                ACCESS,
                method=method,
                path=loggable(path),
                status=status,
                milliseconds=round(seconds * 1000),
                peer=self.peers.spelt(request),
                request_id=request_id,
            )


@implementer(IResource)
class Threshold(Resource):
    """
    What stands before Klein and hides from it what it would stumble over.
    """

    isLeaf = True

    def __init__(self, inner: IResource, table: Table) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._inner = inner
        self.streams = table.streams

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

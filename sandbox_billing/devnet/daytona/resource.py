"""
The simulator over HTTP: authentication, error bodies, and replies that fail on demand.
"""

from __future__ import annotations

import hmac
import json
from typing import IO, Any, Protocol, cast

from attrs import define
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from sandbox_billing.devnet.daytona.dialect import ApiError, Dialect
from sandbox_billing.devnet.daytona.faults import Fault, FaultKind
from sandbox_billing.devnet.daytona.gateway import Gateway
from sandbox_billing.devnet.daytona.records import iso
from sandbox_billing.devnet.daytona.routes import ROUTES, Call, Route, Text, parse_query
from sandbox_billing.devnet.daytona.simulator import DaytonaSimulator, Received
from sandbox_billing.devnet.daytona.toolbox import Toolbox, is_legacy


_DASHBOARD = b"<!doctype html><title>Daytona</title><div id=root></div>"
_GATEWAY = b"<html><body><h1>Bad Gateway</h1></body></html>"


class _Request(Protocol):
    """What is used of L{twisted.web.server.Request}, which is mostly untyped."""

    method: bytes
    uri: bytes
    content: IO[bytes]
    requestHeaders: Headers

    def notifyFinish(self) -> Deferred[None]: ...

    def setHeader(self, name: str, value: str) -> None: ...

    def setResponseCode(self, code: int) -> None: ...

    def write(self, data: bytes) -> None: ...

    def finish(self) -> None: ...

    def loseConnection(self) -> None: ...


@define
class _Reply:
    """What would be sent if nothing went wrong on the way."""

    status: int
    body: bytes
    content_type: str = "application/json; charset=utf-8"


class _SimulatorResource(Resource):
    """Every path of the simulated host."""

    isLeaf = True
    log = Logger()

    def __init__(
        self, simulator: DaytonaSimulator, admin_key: str, toolbox: Toolbox | None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.simulator = simulator
        self._toolbox = toolbox
        self._admin_key = admin_key
        self._gateway = Gateway(simulator, admin_key)

    def render(self, request: Request) -> bytes | int:
        """Record the request, then answer it whether or not its sender still waits."""
        if self._toolbox is not None and is_legacy(request.uri):
            return self._toolbox.begin(request, legacy=True)
        if self._gateway.serves(request):
            self.simulator.received.append(
                _received(cast(_Request, request), self.simulator.wall())
            )
            return self._gateway.render(request)
        return self._begin(cast(_Request, request))

    def _begin(self, request: _Request) -> int:
        received = _received(request, self.simulator.wall())
        self.simulator.received.append(received)
        gone: list[Failure] = []
        request.notifyFinish().addErrback(gone.append)
        answered = Deferred.fromCoroutine(self._answer(request, received, gone))
        answered.addErrback(self._report)
        return NOT_DONE_YET

    def _report(self, failure: Failure) -> None:
        if not isinstance(failure.value, CancelledError):
            self.log.failure("The simulator failed", failure)

    async def _answer(self, request: _Request, received: Received, gone: list[Failure]) -> None:
        path, _, query = received.target.partition("?")
        segments = path.split("/")[1:]
        if len(segments) > 1 and segments[-1] == "":
            segments.pop()
        if segments[0].lower() != "api":
            _send(request, _Reply(200, _DASHBOARD, "text/html; charset=utf-8"), gone)
            return
        request.setHeader("X-Daytona-Api-Version", self.simulator.shown_version)
        fault: Fault | None = None
        try:
            route, parameters = _match(received, segments[1:], self.simulator.dialect)
            fault = self.simulator.faults.take(route.name)
            self._authenticate(route, received)
            if fault is not None and not fault.effect and fault.kind is not FaultKind.CUT:
                await self._misbehave(request, fault, None, received, gone)
                return
            call = Call(
                simulator=self.simulator,
                parameters=parameters,
                query=parse_query(query),
                body=received.body,
                headers=received.headers,
            )
            self.simulator.before(route.name)
            value = await route.handler(call)
            if isinstance(value, Text):
                await _say(request, value, fault, gone)
                return
            reply = _Reply(route.status, b"" if value is None else _json(value))
        except ApiError as error:
            reply = _error_reply(error, received)
        if fault is not None:
            await self._misbehave(request, fault, reply, received, gone)
        else:
            _send(request, reply, gone)

    def _authenticate(self, route: Route, received: Received) -> None:
        sent = received.headers.get("authorization", ("",))[-1].encode()
        if route.anonymous:
            return
        limit = self.simulator.failed_key_limit
        if limit is not None and self.simulator.failed_keys >= limit:
            raise ApiError(429, "Too many failed authentication attempts")
        if not hmac.compare_digest(sent, b"Bearer %s" % self._key):
            self.simulator.failed_keys += 1
            raise ApiError(401, "Invalid credentials")

    @property
    def _key(self) -> bytes:
        return self._admin_key.encode()

    async def _misbehave(
        self,
        request: _Request,
        fault: Fault,
        reply: _Reply | None,
        received: Received,
        gone: list[Failure],
    ) -> None:
        """@param reply: What was to be sent; None when nothing was carried out."""
        match fault.kind:
            case FaultKind.STATUS:
                error = ApiError(fault.status, fault.message)
                if fault.status == 429:
                    request.setHeader("Retry-After", "1")
                    request.setHeader("X-RateLimit-Limit-authenticated", "100")
                    request.setHeader("X-RateLimit-Remaining-authenticated", "0")
                    request.setHeader("X-RateLimit-Reset-authenticated", "1")
                _send(request, _error_reply(error, received), gone)
            case FaultKind.GATEWAY:
                _send(request, _Reply(fault.status, _GATEWAY, "text/html"), gone)
            case FaultKind.HTML:
                _send(request, _Reply(200, _DASHBOARD, "text/html; charset=utf-8"), gone)
            case FaultKind.HANG:
                self.simulator.hanging += 1
                if not gone:
                    ended: Deferred[None] = Deferred()
                    request.notifyFinish().addBoth(lambda _: ended.callback(None))
                    await ended
                self.simulator.hanging -= 1
            case FaultKind.LOSE_REPLY:
                _hang_up(request, gone)
            case FaultKind.CUT:
                body = b"" if reply is None else reply.body
                request.setHeader("Content-Type", "application/json")
                request.setHeader("Content-Length", str(len(body) + 16))
                if not gone:
                    request.write(body[: len(body) // 2])
                _hang_up(request, gone)


def _received(request: _Request, now: float) -> Received:
    headers = {
        name.decode("latin-1").lower(): tuple(value.decode("latin-1") for value in values)
        for name, values in request.requestHeaders.getAllRawHeaders()
    }
    return Received(
        method=request.method.decode("latin-1"),
        target=request.uri.decode("latin-1"),
        headers=headers,
        body=request.content.read(),
        at=now,
    )


def _by_shape() -> dict[tuple[str, int], list[Route]]:
    shapes: dict[tuple[str, int], list[Route]] = {}
    for route in ROUTES:
        shapes.setdefault((route.method, len(route.pattern.split("/"))), []).append(route)
    return shapes


# Most of the table cannot match, by its method and length alone.
_SHAPES = _by_shape()


def _match(
    received: Received, segments: list[str], dialect: Dialect
) -> tuple[Route, tuple[str, ...]]:
    for route in _SHAPES.get((received.method, len(segments)), ()):
        parameters = route.match(received.method, segments)
        if parameters is not None and route.exists(dialect):
            return route, parameters
    path = received.target.partition("?")[0]
    raise ApiError(404, f"Cannot {received.method} {path}")


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _error_reply(error: ApiError, received: Received) -> _Reply:
    document = {
        "path": received.target,
        "timestamp": iso(received.at),
        "statusCode": error.status,
        "error": error.reason,
        "message": error.message,
    }
    return _Reply(error.status, _json(document))


def _send(request: _Request, reply: _Reply, gone: list[Failure]) -> None:
    if gone:
        return
    request.setResponseCode(reply.status)
    request.setHeader("Content-Type", reply.content_type)
    request.setHeader("Content-Length", str(len(reply.body)))
    request.write(reply.body)
    request.finish()


async def _say(request: _Request, text: Text, fault: Fault | None, gone: list[Failure]) -> None:
    """
    Send in parts, chunked.

    @param fault: Of those that strike a reply: it is cut after the first part.
    """
    request.setHeader("Content-Type", "text/plain; charset=utf-8")

    def write(part: bytes) -> None:
        if not gone:
            request.write(part)
            if fault is not None:
                _hang_up(request, gone)

    await text.write_to(write)
    if not gone:
        request.finish()


def _hang_up(request: _Request, gone: list[Failure]) -> None:
    if not gone:
        request.loseConnection()


def simulator_resource(
    simulator: DaytonaSimulator, admin_key: str, toolbox: Toolbox | None = None
) -> Resource:
    """
    @param admin_key: The one bearer token it accepts.
    @param toolbox: Served below C{/api/toolbox} too, the legacy way.
    """
    return _SimulatorResource(simulator, admin_key, toolbox)


class _QuietSite(Site):
    """Without an access log: a sweep a second would fill it; C{received} has it all."""

    noisy = False

    def log(self, request: Any) -> None:
        """Nothing."""


def simulator_site(
    simulator: DaytonaSimulator, admin_key: str, toolbox: Toolbox | None = None
) -> Site:
    """As L{simulator_resource} says."""
    build: Any = _QuietSite  # untyped
    resource = simulator_resource(simulator, admin_key, toolbox)
    site: Site = build(resource, parsePOSTFormSubmission=False)
    return site

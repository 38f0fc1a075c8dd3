"""
One request to Daytona and what its answer means: refused, not done, or unknown.

A 4xx says that nothing was done.  Whatever else is not a readable success says
nothing about a request that changes something, so its outcome is unknown; a read
can simply be asked again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar
from urllib.parse import quote, urlsplit

from attrs import field, frozen
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionClosed,
    ConnectionLost,
    DNSLookupError,
)
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

# No public module exports it.
from twisted.web._newclient import RequestNotSent
from twisted.web.client import (
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse

from sandbox_billing.adapters.daytona.decoding import Unreadable, parse_json
from sandbox_billing.errors import BadInput, NoAnswerInTime, Transient, UnknownOutcome
from sandbox_billing.interfaces import UNMEASURED, DaytonaRefused, IMeasures, TooSlow
from sandbox_billing.measures import DAYTONA_SECONDS


T = TypeVar("T")

MAX_TEXT = 500

# Before v0.160 the first of them was a 400; texts differ, so that only their core is compared.
_PASSING = re.compile(r"state change in progress|modified by another operation", re.IGNORECASE)
_PASSING_SECONDS = 2

# The router's own words: it knows no such path, and says nothing of a sandbox.
_NO_ROUTE = re.compile(r"Cannot [A-Z]+ /")

# Nothing was written to anybody.
NOT_REACHED = (ConnectError, ConnectingCancelledError, DNSLookupError, RequestNotSent)
# It may have been written; what came of it is not known.
_LOST = (
    ConnectionClosed,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    TimeoutError,
    Unreadable,
)


MASKED = "{token}"

_BEFORE_TOKENS = frozenset({"signed-preview-url", "preview"})

_WORDS = frozenset(
    (
        *("sandbox", "paginated", "start", "stop", "archive", "recover", "resize", "labels"),
        *("autostop", "last-activity", "ssh-access", "ports", "signed-preview-url", "preview"),
        *("sandbox-id", "expire", "public", "network-settings", "telemetry", "logs", "traces"),
        *("metrics", "config", "shared-regions", "snapshots"),
    )
)
"""Of Daytona's paths; what is no such word stands for something of somebody's."""


def api_base(url: str) -> str:
    """
    C{DAYTONA_API_URL} with the C{/api} that every route stands under.

    @param url: With or without C{/api}.
    @raise BadInput: It is no plain http(s) URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput("Daytona's URL must begin with http:// or https:// and name a host")
    if parts.username is not None or parts.query or parts.fragment:
        raise BadInput("Daytona's URL must have no credentials, query or fragment")
    base = url.rstrip("/")
    return base if parts.path.rstrip("/").endswith("/api") else f"{base}/api"


@frozen
class _Answer:
    """The status and the whole body."""

    status: int
    body: bytes


class _BoundedBody(Protocol):
    """Collects a body up to a limit, then hangs up."""

    def __init__(self, limit: int, done: Deferred[bytes]) -> None:
        self._left = limit
        self._parts: list[bytes] = []
        self._done = done

    def dataReceived(self, data: bytes) -> None:
        """Keep it, or give up."""
        self._left -= len(data)
        if self._left < 0:
            self._fail(Unreadable("the body is too large"))
            self.abort()
        else:
            self._parts.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end, or a connection that broke before it."""
        if not isinstance(reason.value, (ResponseDone, PotentialDataLoss)):
            self._fail(reason.value or ConnectionLost())
        elif not self._done.called:
            self._done.callback(b"".join(self._parts))

    def _fail(self, reason: BaseException) -> None:
        if not self._done.called:
            self._done.errback(reason)

    def abort(self) -> None:
        """Nobody wants the rest."""
        if self.transport is not None:
            self.transport.loseConnection()


def _bounded_body(response: IResponse, limit: int) -> Deferred[bytes]:
    done: Deferred[bytes] = Deferred(lambda _: collector.abort())
    collector = _BoundedBody(limit, done)
    deliver: Any = response.deliverBody  # untyped
    deliver(collector)
    return done


@frozen(kw_only=True)
class Request:
    """
    What to ask.

    @ivar segments: Of the path below C{/api}, unquoted.
    @ivar seconds: How long head and body of the answer may take together.
    @ivar limit: Bytes of body at most.
    """

    method: str
    segments: tuple[str, ...]
    seconds: float
    query: Mapping[str, str | tuple[str, ...]] = field(factory=dict)
    body: Mapping[str, Any] | None = None
    limit: int = 4 * 1024 * 1024

    @property
    def mutates(self) -> bool:
        """Every method but GET does."""
        return self.method != "GET"

    @property
    def call(self) -> str:
        """For figures: what it asks for, and nothing of whom."""
        path = "/".join(part if part in _WORDS else "{}" for part in self.segments)
        return f"{self.method} /{path}"

    @property
    def title(self) -> str:
        """For messages: without the token of a preview, which opens it to whoever has it."""
        before = ("", *self.segments)
        told = (
            MASKED if last in _BEFORE_TOKENS else part
            for last, part in zip(before, self.segments, strict=False)
        )
        return f"{self.method} /{'/'.join(told)}"


@frozen
class Exchange:
    """
    Asks Daytona, with the admin key, and nobody else.

    @ivar base: From L{api_base}; the key goes to URLs below it only, and redirects are
        not followed.
    @ivar measures: Told how each call ended, and how long it took.
    """

    _http: HTTPClient = field(repr=False)
    base: str
    _admin_key: str = field(repr=False)
    _clock: IReactorTime = field(repr=False)
    measures: IMeasures = UNMEASURED
    _log: ClassVar[Logger] = Logger()

    async def ask(self, request: Request, read: Callable[[bytes], T]) -> T:
        """
        @param read: Turns the body of a success into a value; may raise L{Unreadable}.
        @raise DaytonaRefused: A 4xx in Daytona's own form, but for 408 and 429.
        @raise Transient: It was not done; for a read also: no readable answer.
        @raise TooSlow: A read was not answered in time.
        @raise NoAnswerInTime: A change was sent and the time is up.
        @raise UnknownOutcome: A change was sent and no readable answer came.
        """
        began, outcome = self._clock.seconds(), "failed"
        try:
            answer = await self._ask(request, read)
            outcome = "ok"
            return answer
        except DaytonaRefused:
            outcome = "refused"
            raise
        except (TooSlow, NoAnswerInTime):
            outcome = "late"
            raise
        except UnknownOutcome:
            outcome = "unknown"
            raise
        finally:
            seconds = self._clock.seconds() - began
            self.measures.observe(DAYTONA_SECONDS, seconds, call=request.call, outcome=outcome)

    async def _ask(self, request: Request, read: Callable[[bytes], T]) -> T:
        began = self._clock.seconds()
        try:
            deadline = Deferred.fromCoroutine(self._exchange(request))
            answer = await deadline.addTimeout(request.seconds, self._clock)
            self._log.debug(
                "Daytona answers {call} with {status} after {milliseconds} ms",
                call=request.title,
                status=answer.status,
                milliseconds=round((self._clock.seconds() - began) * 1000),
            )
            if 200 <= answer.status < 300:
                return read(answer.body)
            self._raise_for(request, answer)
        except NOT_REACHED as reason:
            raise Transient(f"{request.title}: Daytona cannot be reached: {reason}") from reason
        except _LOST as reason:
            text = f"{request.title}: {_describe(reason)}"
            if _is_late(reason):
                raise (NoAnswerInTime if request.mutates else TooSlow)(text) from reason
            raise (UnknownOutcome if request.mutates else Transient)(text) from reason
        raise AssertionError("unreachable")

    async def _exchange(self, request: Request) -> _Answer:
        headers: dict[bytes | str, bytes | str] = {
            "Authorization": f"Bearer {self._admin_key}",
            "Accept": "application/json",
        }
        data = None
        if request.body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(request.body, allow_nan=False).encode()
        path = "/".join(quote(segment, safe="") for segment in request.segments)
        response = await self._http.request(
            request.method,
            f"{self.base}/{path}",
            params=dict(request.query),
            headers=headers,
            data=data,
            allow_redirects=False,
            unbuffered=True,
        )
        return _Answer(response.code, await _bounded_body(response, request.limit))

    def _raise_for(self, request: Request, answer: _Answer) -> None:
        """
        @raise Unreadable: It proves nothing: 3xx, 408, 5xx, or a 404 that is not Daytona's
            (a gateway that has lost its way must not pass for "deleted").
        """
        status = answer.status
        if status == 429:
            raise Transient(f"{request.title}: Daytona asks for fewer requests (429)")
        message = _message(answer.body)
        if status == 408 or not 400 <= status < 500 or (status == 404 and message is None):
            raise Unreadable(f"answered {status}")
        if message is not None and status in (400, 409) and _PASSING.search(message):
            raise DaytonaRefused(message, 409, _PASSING_SECONDS)
        raise DaytonaRefused(message or f"Daytona answered {status}", status)


def is_missing(reason: DaytonaRefused) -> bool:
    """
    Whether a refusal says that what was asked about is not there.

    @raise Transient: A 404 of the router, which knows nothing of sandboxes: a gateway has lost
        its way, or another release answers.
    """
    if reason.status != 404:
        return False
    if _NO_ROUTE.match(reason.text):
        raise Transient(f"Daytona has no such route: {reason.text}") from reason
    return True


def _is_late(reason: BaseException) -> bool:
    """Whether our deadline ended it; a request that is cut short shows it by what was cancelled."""
    match reason:
        case TimeoutError():
            return True
        case ResponseFailed(reasons=reasons):
            return any(isinstance(failure.value, CancelledError) for failure in reasons)
        case _:
            return False


def _describe(reason: BaseException) -> str:
    if _is_late(reason):
        return "Daytona has not answered in time"
    if isinstance(reason, Unreadable):
        return reason.text
    return f"the connection broke ({type(reason).__name__})"


def _message(body: bytes) -> str | None:
    """The text of Daytona's error body; None when it is in another form."""
    try:
        document = parse_json(body)
    except Unreadable:
        return None
    if not isinstance(document, dict) or "statusCode" not in document:
        return None
    return str(document.get("message") or document.get("error") or "")[:MAX_TEXT] or None

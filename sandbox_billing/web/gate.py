"""
What answers before the daemon can: alive, but not ready, with the reasons.

Tests: C{tests.web.test_gate}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from attrs import define, field
from twisted.logger import Logger
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request
from zope.interface import implementer

from sandbox_billing.interfaces import UNMEASURED, IMeasures, IReadiness, IWallClock
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._inside import without_inside
from sandbox_billing.web.answers import (
    ACCESS,
    Answer,
    described,
    dump,
    loggable,
    standard_headers,
)
from sandbox_billing.web.health import standing
from sandbox_billing.web.measured import NO_PATTERN, note_request


RETRY_SECONDS = 5
"""When to ask again: what is waited for is tried every two seconds."""


class _Waiting(Resource):
    """One answer for every path but the probes'."""

    isLeaf = True

    def __init__(self, gate: Gate) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._gate = gate

    def render(self, request: Request) -> bytes:
        """503 for all but C{/healthz}, in the form of every other reply."""
        request_id = self._gate.new_request_id()
        path = request.uri.partition(b"?")[0].decode("latin-1")
        answer = self._gate.answer(path)
        body = dump(answer.document)
        request.setResponseCode(answer.status)
        headers = {**standard_headers(body, request_id), **answer.headers}
        for name, value in headers.items():
            request.setHeader(name.encode("ascii"), value.encode("ascii"))
        self._gate.note(request, path, answer.status, request_id)
        # Twisted counts the length of what it is given.
        return b"" if request.method == b"HEAD" else body


@implementer(IResource)
@define(eq=False, kw_only=True)
class Gate:
    """
    The root of the site: the waiting answer until there is a front desk.

    @ivar wall: For the C{timestamp} of errors.
    @ivar new_request_id: Makes what C{X-Request-Id} says.
    @ivar front: The real root, once everything it needs is there.
    @ivar measures: Told of what is answered here.
    """

    _log: ClassVar[Logger] = Logger()

    readiness: IReadiness = field(validator=provides(IReadiness))
    wall: IWallClock = field(validator=provides(IWallClock))
    new_request_id: Callable[[], str]
    front: IResource | None = None
    measures: IMeasures = UNMEASURED
    isLeaf: bool = field(default=False, init=False)

    def streams(self, method: bytes, target: bytes) -> bool:
        """Whether the body of such a request shall flow; never before there is a front."""
        asked = getattr(self.front, "streams", None)
        return asked is not None and bool(asked(method, target))

    def answer(self, path: str) -> Answer:
        """
        What there is to say meanwhile.

        @param path: As the client spelt it, without its query.
        """
        if path == "/healthz":
            return Answer(document={"ok": True})
        headers = {"Retry-After": str(RETRY_SECONDS)}
        if path == "/readyz":
            document = {**standing(self.readiness, without_inside).document, "ready": False}
            return Answer(status=503, document=document, headers=headers)
        reasons = self.readiness.reasons()
        told = "; ".join(f"{part}: {without_inside(why)}" for part, why in reasons.items())
        text = f"not ready: {told}"
        answer = Answer(status=503, document={"error": text}, headers=headers)
        return described(answer, path=path, now=self.wall.now())

    def note(self, request: Request, path: str, status: int, request_id: str) -> None:
        """The access log has this reply too, and so have the figures."""
        method = request.method.decode("ascii")
        note_request(self.measures, route=NO_PATTERN, method=method, status=status, seconds=0)
        self._log.info(
            ACCESS,
            method=method,
            path=loggable(path),
            status=status,
            milliseconds=0,
            peer=getattr(request.client, "host", "-"),
            request_id=request_id,
        )

    def getChildWithDefault(self, name: bytes, request: Request) -> IResource:
        """Hand every path on."""
        if self.front is None:
            return _Waiting(self)
        child: IResource = self.front.getChildWithDefault(name, request)
        return child

    def putChild(self, path: bytes, child: IResource) -> None:
        """Nobody puts children here."""
        raise NotImplementedError("the gate has one child: its front")

    def render(self, request: Request) -> Any:
        """Only when a path has no segment at all."""
        return (self.front or _Waiting(self)).render(request)

"""What answers before the daemon can: alive, but not ready, with the reasons."""

from __future__ import annotations

import json
from typing import Any

from attrs import define, field
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request
from zope.interface import implementer

from sandbox_billing.interfaces import IReadiness


@define(eq=False)
class _Waiting(Resource):
    """One answer for every path."""

    readiness: IReadiness
    isLeaf = True

    def __attrs_post_init__(self) -> None:
        Resource.__init__(self)

    def render(self, request: Request) -> bytes:
        """503 for all but C{/healthz}."""
        alive = request.path == b"/healthz"
        request.setResponseCode(200 if alive else 503)
        request.setHeader(b"content-type", b"application/json; charset=utf-8")
        if alive:
            return b'{"ok": true}'
        reasons = dict(self.readiness.reasons())
        text = "not ready: " + "; ".join(f"{part}: {why}" for part, why in reasons.items())
        body: dict[str, Any] = {"error": text, "ready": False, "reasons": reasons}
        request.setHeader(b"retry-after", b"5")
        return json.dumps(body).encode()


@implementer(IResource)
@define(eq=False)
class Gate:
    """
    The root of the site: the waiting answer until there is a front desk.

    @ivar front: The real root, once everything it needs is there.
    """

    readiness: IReadiness
    front: IResource | None = None
    isLeaf: bool = field(default=False, init=False)

    def getChildWithDefault(self, name: bytes, request: Request) -> IResource:
        """Hand every path on."""
        if self.front is None:
            return _Waiting(self.readiness)
        child: IResource = self.front.getChildWithDefault(name, request)
        return child

    def putChild(self, path: bytes, child: IResource) -> None:
        """Nobody puts children here."""
        raise NotImplementedError("the gate has one child: its front")

    def render(self, request: Request) -> Any:
        """Only when a path has no segment at all."""
        return (self.front or _Waiting(self.readiness)).render(request)

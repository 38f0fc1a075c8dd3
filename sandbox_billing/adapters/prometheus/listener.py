"""
The listener that shows what is measured, and how the process fares; it must not face the
internet.

Beside C{/metrics} stand C{/healthz} and C{/readyz}: a worker serves no other HTTP.

Tests: C{tests.adapters.test_prometheus}.
"""

# Twisted's resources are not annotated.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.interfaces import IAddress
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import IResource, NoResource, Resource
from twisted.web.server import Request, Site


MOST_CONNECTIONS = 64
"""Of those who scrape: what leaks at their end must not take our clients' places."""

IDLE_SECONDS = 60

Page = Callable[[], tuple[int, bytes]]
"""Makes a status and a JSON body."""


class _Told(Resource):
    """A small JSON document."""

    isLeaf = True

    def __init__(self, page: Page) -> None:
        super().__init__()
        self._page = page

    def render_GET(self, request: Request) -> bytes:
        """Also for HEAD: Twisted leaves the body out."""
        status, body = self._page()
        request.setResponseCode(status)
        request.setHeader(b"Content-Type", b"application/json")
        request.setHeader(b"Cache-Control", b"no-store")
        return body


class Shown(Resource):
    """
    The root: three paths, and nothing else.
    """

    def __init__(
        self, metrics: IResource, refresh: Callable[[], None], pages: Mapping[bytes, Page]
    ) -> None:
        """
        @param metrics: prometheus_client's.
        @param refresh: Called before each scrape, in the reactor's thread: sets what is only
            known when it is looked at.
        """
        super().__init__()
        self._metrics = metrics
        self._refresh = refresh
        self._pages = {path: _Told(page) for path, page in pages.items()}

    def getChild(self, path: bytes, request: Request) -> IResource:
        """By its only segment."""
        if request.postpath:
            return NoResource()
        if path == b"metrics":
            self._refresh()
            return self._metrics
        return self._pages.get(path) or NoResource()


class _Bodiless(Request):
    """
    Nobody who scrapes sends a body: Twisted would write it to the disk first, however long.
    """

    def gotLength(self, length: int | None) -> None:
        """
        Hang up on whoever sends one.

        @param length: Of the body; None while nobody knows.
        """
        super().gotLength(0)
        if length != 0:
            transport: Any = self.channel.transport
            transport.abortConnection()


class ShownSite(Site):
    """Few connections, no bodies, no access log: it would say the same every fifteen seconds."""

    def __init__(self, root: IResource) -> None:
        super().__init__(root, requestFactory=_Bodiless, timeout=IDLE_SECONDS)
        self._open = 0

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """None, which closes the connection, when there are too many."""
        if self._open >= MOST_CONNECTIONS:
            return None
        channel: Any = super().buildProtocol(addr)
        self._open += 1
        lost = channel.connectionLost

        def connection_lost(reason: Any) -> None:
            self._open -= 1
            lost(reason)

        channel.connectionLost = connection_lost
        return channel

    def log(self, request: HTTPRequest) -> None:
        """Not logged."""


def metrics_site(
    registry: CollectorRegistry, refresh: Callable[[], None], pages: Mapping[bytes, Page]
) -> Site:
    """
    @param refresh: As L{Shown} has it.
    """
    # It takes the global reactor's threads: never before there is a reactor.
    from prometheus_client.twisted import MetricsResource

    return ShownSite(Shown(MetricsResource(registry), refresh, pages))

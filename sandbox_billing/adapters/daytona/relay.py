"""
L{IRelay} over sockets: toolbox and build logs, at the hosts that are Daytona's.

The admin key opens every sandbox of the organization, so it goes to two places only: the
API that the operator configured, and the host that this API itself names in a sandbox's
C{toolboxProxyUrl} (daytona.md §3, §11).  Each stream has a connection of its own: none is
kept, so none can have been closed meanwhile, and nothing is ever sent twice.

Tests: C{tests.adapters.test_daytona_relay}, C{tests.web.test_streams}.
"""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import quote, unquote, urlsplit

from attrs import field, frozen
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger
from twisted.web.client import BrowserLikePolicyForHTTPS
from twisted.web.http_headers import Headers
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from sandbox_billing.adapters.daytona.connection import CONNECT_SECONDS, endpoint_of
from sandbox_billing.adapters.daytona.exchange import NOT_REACHED, api_base
from sandbox_billing.adapters.daytona.upstream import Request, UpstreamConnection
from sandbox_billing.errors import BadInput, Refused, Transient
from sandbox_billing.interfaces import IRelay, ITunnel, Place, RelayCall, Sandbox


_LEGACY = {
    Place.TOOLBOX: Place.LEGACY_TOOLBOX,
    Place.BUILD_LOGS: Place.LEGACY_BUILD_LOGS,
}


@frozen(kw_only=True)
class Target:
    """
    @ivar origin: Scheme, host and port, as in a URL.
    @ivar path: Up to where the call's own tail begins; percent-encoded.
    """

    origin: str
    path: str


def _is_plain(url: str) -> bool:
    """Whether it names a host and a path, and nothing else."""
    if not (url.isascii() and url.isprintable()) or " " in url:
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    more = parts.username or parts.password or parts.query or parts.fragment
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0 and not more


def host_of(url: str) -> tuple[str, int | None]:
    """
    Host and port, however a plain URL spells them.

    @return: No port where it is the usual one of http or https: who answers at both answers
        as one.
    """
    parts = urlsplit(url)
    port = parts.port
    return str(parts.hostname).lower().rstrip("."), None if port in (80, 443) else port


def toolbox_base(sandbox: Sandbox, *, api: str, own_url: str) -> str | None:
    """
    Where Daytona says that a sandbox's toolbox is.

    @param api: From L{api_base}; what begins with https may not lead to http, in plain sight.
    @param own_url: Ours, empty when it is not known: a Daytona that was told to name us
        there (daytona.md §11) would make us call ourselves for ever.
    @return: None when it does not say (servers before v0.148), or names us.
    @raise Transient: It says something that is no plain URL, or none that may have the key.
    """
    url = sandbox.document.get("toolboxProxyUrl")
    if not isinstance(url, str) or not url:
        return None
    base = url.rstrip("/")
    if not _is_plain(base):
        raise Transient("Daytona names a toolbox that cannot be reached from here")
    if own_url and host_of(base) == host_of(own_url):
        return None
    if urlsplit(api).scheme == "https" and urlsplit(base).scheme != "https":
        raise Transient("Daytona names a toolbox without TLS, and has TLS itself")
    return base


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def target_of(call: RelayCall, *, api: str, own_url: str) -> Target:
    """
    @param api: From L{api_base}.
    @raise Transient: Daytona names no usable host.
    """
    place, one = call.place, quote(call.sandbox.id, safe="")
    base = toolbox_base(call.sandbox, api=api, own_url=own_url) if place in _LEGACY else None
    if base is None:
        place, base = _LEGACY.get(place, place), api
    origin = _origin(base)
    path = urlsplit(base).path
    match place:
        case Place.TOOLBOX:
            return Target(origin=origin, path=f"{path}/{one}")
        case Place.LEGACY_TOOLBOX:
            return Target(origin=origin, path=f"{path}/toolbox/{one}/toolbox")
        case Place.BUILD_LOGS:
            return Target(origin=origin, path=f"/sandboxes/{one}/build-logs")
        case Place.LEGACY_BUILD_LOGS:
            return Target(origin=origin, path=f"{path}/sandbox/{one}/build-logs")


def door_location(location: str, target: Target, door: str) -> str | None:
    """
    A redirect as the client may follow it.

    @param location: As Daytona sent it.
    @param door: Our path for C{target}.
    @return: None when it leads elsewhere: to follow it would go around us.
    """
    path = location.removeprefix(target.origin)
    if not path.startswith(f"{target.path}/") or not path.isascii() or not path.isprintable():
        return None
    rest = path.removeprefix(target.path)
    if ".." in unquote(rest.partition("?")[0]).replace("\\", "/").split("/"):
        return None
    return f"{door}{rest}"


@implementer(IRelay)
@frozen(kw_only=True)
class DaytonaRelay:
    """
    @ivar api: From L{api_base}.
    @ivar own_url: PUBLIC_URL, without a trailing slash.
    @ivar trust: Whose certificates are believed.
    """

    api: str = field(converter=api_base)
    _admin_key: str = field(repr=False)
    own_url: str = ""
    _reactor: Any = field(repr=False)
    trust: IPolicyForHTTPS = field(factory=BrowserLikePolicyForHTTPS, repr=False)
    connect_seconds: float = CONNECT_SECONDS
    _log: ClassVar[Logger] = Logger()

    def _endpoint(self, target: Target) -> IStreamClientEndpoint:
        return endpoint_of(
            self._reactor, target.origin, trust=self.trust, timeout=self.connect_seconds
        )

    def _headers(self, call: RelayCall, target: Target, *, upgrading: bool) -> Headers:
        headers = Headers()
        for name, value in call.headers:
            headers.addRawHeader(name, value.encode("latin-1"))
        headers.setRawHeaders("Host", [urlsplit(target.origin).netloc])
        headers.setRawHeaders("Authorization", [f"Bearer {self._admin_key}"])
        if upgrading:
            headers.setRawHeaders("Connection", ["Upgrade"])
            headers.setRawHeaders("Upgrade", ["websocket"])
        return headers

    async def _ask(self, call: RelayCall, body: Any, *, upgrading: bool) -> Any:
        target = target_of(call, api=self.api, own_url=self.own_url)
        tail = f"/{call.tail}" if call.tail else ""
        query = f"?{call.query}" if call.query else ""
        headers = self._headers(call, target, upgrading=upgrading)
        build: Any = Request  # untyped
        request = build(
            call.method.encode("ascii"),
            f"{target.path}{tail}{query}".encode("ascii"),
            headers,
            body,
            # Or it says C{Connection: close}.
            persistent=upgrading,
        )
        try:
            connection = await connectProtocol(self._endpoint(target), UpstreamConnection())
        except NOT_REACHED as reason:
            raise Transient(f"the toolbox at Daytona cannot be reached: {reason}") from reason
        answer = await connection.ask(request, upgrading=upgrading)
        is_tunnel = ITunnel.providedBy(answer)
        self._log.debug(
            "{host} answers a stream to {sandbox} with {status}",
            host=urlsplit(target.origin).netloc,
            sandbox=call.sandbox.id,
            status=101 if is_tunnel else answer.code,
        )
        if not is_tunnel:
            _lead_through(answer.headers, target, call.door)
        return answer

    async def send(self, call: RelayCall, body: Any) -> Any:
        return await self._ask(call, body, upgrading=False)

    async def upgrade(self, call: RelayCall) -> Any:
        return await self._ask(call, None, upgrading=True)


@implementer(IRelay)
@frozen
class NoRelay:
    """Where nothing can be streamed to: a daemon without a Daytona of its own, in tests."""

    async def send(self, call: RelayCall, body: Any) -> Any:
        raise Refused("not offered here")

    async def upgrade(self, call: RelayCall) -> Any:
        raise Refused("not offered here")


def _lead_through(headers: Headers, target: Target, door: str) -> None:
    locations = headers.getRawHeaders(b"Location", [])
    headers.removeHeader(b"Location")
    if len(locations) == 1 and door:
        found = door_location(locations[0].decode("latin-1"), target, door)
        if found is not None:
            headers.setRawHeaders(b"Location", [found.encode("ascii")])


def relay_at(url: str, *, admin_key: str, own_url: str, reactor: Any) -> DaytonaRelay:
    """
    @param url: C{DAYTONA_API_URL}.
    @param own_url: PUBLIC_URL.
    @raise BadInput: The URL is none.
    """
    if not admin_key:
        raise BadInput("Daytona's admin key is empty")
    return DaytonaRelay(api=url, admin_key=admin_key, own_url=own_url.rstrip("/"), reactor=reactor)

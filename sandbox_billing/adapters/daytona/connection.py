"""
The connections to Daytona that are kept open.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from treq.client import HTTPClient
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IPolicyForHTTPS


CONNECTIONS = 16
# Node's servers close an idle connection after 5 s: ours are gone before, so that a
# request is not written into one that is being closed (its outcome would be unknown).
IDLE_SECONDS = 4
CONNECT_SECONDS = 10


def daytona_pool(reactor: Any) -> HTTPConnectionPool:
    """
    Whoever owns it closes it at the end: C{closeCachedConnections()}.

    Nothing is repeated silently in it: a repeated DELETE would be answered as refused.

    @param reactor: Connects and keeps time.
    """
    build: Any = HTTPConnectionPool  # untyped
    pool: HTTPConnectionPool = build(reactor, persistent=True)
    pool.maxPersistentPerHost = CONNECTIONS
    pool.cachedConnectionTimeout = IDLE_SECONDS
    pool.retryAutomatically = False
    return pool


def daytona_client(reactor: Any, pool: HTTPConnectionPool) -> HTTPClient:
    """
    @param reactor: Connects and keeps time.
    @param pool: Of L{daytona_pool}.
    """
    build: Any = Agent  # untyped
    return HTTPClient(build(reactor, connectTimeout=CONNECT_SECONDS, pool=pool))


def endpoint_of(
    reactor: Any, url: str, *, trust: IPolicyForHTTPS, timeout: float
) -> IStreamClientEndpoint:
    """
    Where connections that are not kept go: streams and events.

    @param url: Its scheme, host and port count; they have been checked.
    @param trust: Whose certificates are believed.
    @param timeout: Seconds for one address of the host's.
    """
    parts = urlsplit(url)
    is_tls, host = parts.scheme == "https", str(parts.hostname)
    port = parts.port or (443 if is_tls else 80)
    endpoint = HostnameEndpoint(reactor, host, port, timeout=timeout)
    if not is_tls:
        return endpoint
    creator: Any = trust.creatorForNetloc(host.encode("ascii"), port)
    wrapped: IStreamClientEndpoint = wrapClientTLS(creator, endpoint)
    return wrapped

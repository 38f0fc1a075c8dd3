"""
What a proxy costs at the least: C{python -m benchmarks.forwarder TARGET}, prints its port.

A bare twisted.web resource that asks the target by treq and hands the answer on.
"""

from __future__ import annotations

import sys
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site


CONNECTIONS = 64


class Forward(Resource):
    """Every GET, with Daytona's key and nothing else."""

    isLeaf = True

    def __init__(self, reactor: Any, target: str, key: str) -> None:
        Resource.__init__(self)
        pool: Any = HTTPConnectionPool(reactor)
        pool.maxPersistentPerHost = CONNECTIONS
        self._http: Any = HTTPClient(Agent(reactor, pool=pool))
        self._target = target
        self._headers = {"Authorization": f"Bearer {key}"}

    def render_GET(self, request: Any) -> int:
        """Called by twisted.web."""
        forwarding = Deferred.fromCoroutine(self._forward(request))
        forwarding.addErrback(request.processingFailed)
        return NOT_DONE_YET

    async def _forward(self, request: Any) -> None:
        answer = await self._http.get(self._target + request.uri.decode(), headers=self._headers)
        body = await answer.content()
        request.setResponseCode(answer.code)
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"content-length", b"%d" % len(body))
        request.write(body)
        request.finish()


def main() -> None:
    """The command."""
    from twisted.internet import reactor

    target, key = sys.argv[1:]
    listen: Any = reactor
    site = Site(Forward(reactor, target, key))
    port = listen.listenTCP(0, site, interface="127.0.0.1")
    print(f"listening on 127.0.0.1:{port.getHost().port}", flush=True)
    listen.run()


if __name__ == "__main__":
    main()

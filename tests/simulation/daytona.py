"""
Our real client on the simulated Daytona, without a byte of HTTP between them.

The server's half of a request goes on when its sender has gone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from sandbox_billing.devnet.daytona.dialect import ApiError
from sandbox_billing.devnet.daytona.routes import ROUTES, Call, Route
from sandbox_billing.devnet.daytona.simulator import DaytonaSimulator


_DONE = Failure(ResponseDone())  # type: ignore[no-untyped-call]


@frozen
class Heard:
    """
    A request that Daytona received.

    @ivar at: Wall seconds.
    @ivar body: Of a create.
    """

    at: float
    route: str
    target: str
    body: Mapping[str, Any]


@frozen
class _Response:
    code: int
    body: bytes

    def deliverBody(self, protocol: Any) -> None:
        """All of it, and the end."""
        protocol.dataReceived(self.body)
        protocol.connectionLost(_DONE)


@define(eq=False)
class DirectHTTP:
    """
    What L{DaytonaRuntime} needs of treq's client.

    @ivar heard: Called with each request as it arrives.
    @ivar refused: Routes that answer 409 for now.
    """

    simulator: DaytonaSimulator
    heard: Callable[[Heard], None]
    refused: set[str] = field(factory=set)
    _routes: dict[tuple[str, str], tuple[Route, tuple[str, ...]]] = field(factory=dict)

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str],
        data: bytes | None = None,
        **_kept: Any,
    ) -> _Response:
        """Answer as the simulator's resource would."""
        path = urlsplit(url).path
        route, parameters = self._match(method, path)
        body: Mapping[str, Any] = json.loads(data) if data else {}
        if route.name in self.refused:
            return _error(ApiError(409, "Sandbox state change in progress"), path)
        self.heard(Heard(self.simulator.wall(), route.name, "/".join(parameters), body))
        call = Call(
            simulator=self.simulator,
            parameters=parameters,
            query={key: [value] for key, value in params.items()},
            body=data or b"",
            headers={},
        )
        answered: Deferred[_Response] = Deferred(lambda _: None)
        served = Deferred.fromCoroutine(_serve(route, call, path + "?" + urlencode(params)))
        served.addCallbacks(
            lambda response: None if answered.called else answered.callback(response),
            lambda failure: None if answered.called else answered.errback(failure),
        )
        return await answered

    def _match(self, method: str, path: str) -> tuple[Route, tuple[str, ...]]:
        found = self._routes.get((method, path))
        if found is None:
            segments = path.split("/")[2:]
            for route in ROUTES:
                parameters = route.match(method, segments)
                if parameters is not None:
                    found = route, tuple(unquote(one) for one in parameters)
                    break
            else:
                raise AssertionError(f"{method} {path} is no route of Daytona")
            self._routes[method, path] = found
        return found


async def _serve(route: Route, call: Call, target: str) -> _Response:
    try:
        value = await route.handler(call)
    except ApiError as error:
        return _error(error, target)
    return _Response(route.status, b"" if value is None else json.dumps(value).encode())


def _error(error: ApiError, target: str) -> _Response:
    document = {
        "path": target,
        "statusCode": error.status,
        "error": error.reason,
        "message": error.message,
    }
    return _Response(error.status, json.dumps(document).encode())

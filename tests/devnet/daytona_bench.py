"""
The simulator on one clock with a bare HTTP client in front of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from attrs import frozen
from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sandbox_billing.devnet.daytona import (
    DaytonaSimulator,
    Dialect,
    Timings,
    simulator_resource,
)
from sandbox_billing.devnet.daytona.dialect import ApiError


BASE = 1_750_000_000


@frozen
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Bench:
    """Ask, and let time pass."""

    def __init__(self, dialect: Dialect = Dialect.NEW, timings: Timings | None = None) -> None:
        self.clock = Clock()
        self.simulator = DaytonaSimulator(
            clock=self.clock,
            wall=lambda: BASE + self.clock.seconds(),
            dialect=dialect,
            timings=timings or Timings(),
        )
        self._treq = StubTreq(simulator_resource(self.simulator, "admin-key"))

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = "admin-key",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Deferred[Reply]:
        """A request under way."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        authorization = {} if key is None else {"Authorization": f"Bearer {key}"}
        target = f"http://daytona.test{path}" + (f"?{urlencode(query)}" if query else "")

        async def work() -> Reply:
            response = await self._treq.request(
                method, target, headers={**authorization, **(headers or {})}, data=data
            )
            content = await self._treq.content(response)
            found = {
                name.decode().lower(): values[-1].decode()
                for name, values in response.headers.getAllRawHeaders()
            }
            return Reply(response.code, found, content)

        return Deferred.fromCoroutine(work())

    def ask(
        self, method: str, path: str, body: Any = None, *, wait: bool = True, **kw: Any
    ) -> Reply:
        """
        A request and its reply.

        @param wait: Let time pass until there is one.
        """
        done = self.send(method, path, body, **kw)
        for _ in range(1000):
            self._treq.flush()
            if done.called or not wait:
                break
            self.clock.advance(0.5)
        found: list[Any] = []
        done.addCallbacks(found.append, lambda failure: found.append(failure.value))
        if not found:
            raise AssertionError(f"{method} {path} is not answered")
        if isinstance(found[0], BaseException):
            raise found[0]
        reply: Reply = found[0]
        return reply

    def flush(self) -> None:
        """Let bytes flow."""
        self._treq.flush()

    def state(self, id: str) -> str | None:
        """As a lookup shows it; None on 404."""
        reply = self.ask("GET", f"/api/sandbox/{id}")
        return None if reply.status == 404 else str(reply.json["state"])

    def until(self, id: str, state: str | None) -> None:
        """Let time pass until a lookup shows this."""
        for _ in range(4000):
            if self._peek(id) == state:
                break
            self.clock.advance(0.25)
        found = self.state(id)
        if found != state:
            raise AssertionError(f"{id} never showed {state} but {found}")

    def _peek(self, id: str) -> str | None:
        """What a lookup would show, without the cost of one."""
        try:
            return str(self.simulator.document(self.simulator.find(id))["state"])
        except ApiError:
            return None

    def verb(self, id: str, verb: str) -> Reply:
        """C{POST /api/sandbox/<id>/<verb>}, or DELETE."""
        if verb == "delete":
            return self.ask("DELETE", f"/api/sandbox/{id}")
        return self.ask("POST", f"/api/sandbox/{id}/{verb}")

    def started(self, **body: Any) -> str:
        """A running sandbox."""
        id = str(self.ask("POST", "/api/sandbox", body).json["id"])
        self.until(id, "started")
        return id

    def stopped(self, **body: Any) -> str:
        """A stopped sandbox."""
        id = self.started(**body)
        self.verb(id, "stop")
        self.until(id, "stopped")
        return id

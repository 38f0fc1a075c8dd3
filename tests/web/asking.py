"""
A test case that asks the front desk, in memory.
"""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.signing.key import SigningKey
from tests.web.world import OWNER, World


@frozen
class Reply:
    """
    What came back.

    @ivar json: The parsed body; None when there was none.
    """

    status: int
    json: Any
    headers: Any

    def header(self, name: str) -> str | None:
        """One header's value."""
        values = self.headers.getRawHeaders(name)
        return values[0] if values else None

    @property
    def error(self) -> tuple[int, str]:
        """Status and text, which is what the tests of refusals compare."""
        return self.status, self.json["error"]


class AskingTestCase(SynchronousTestCase):
    """
    Each test has a world of its own.
    """

    def setUp(self) -> None:
        """Nothing happened yet."""
        self.world = World()

    def ask(
        self,
        method: str,
        target: str,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        *,
        world: World | None = None,
    ) -> Reply:
        """Send one request and read the whole reply."""
        world = world or self.world
        sent = dict(headers or {})
        if body:
            sent.setdefault("Content-Type", "application/json")
        response = self.successResultOf(
            world.treq.request(
                method, f"https://front.example{target}", headers=sent, data=body or None
            )
        )
        raw = self.successResultOf(world.treq.content(response))
        if raw:
            assert response.headers.getRawHeaders("content-type") == [
                "application/json; charset=utf-8"
            ]
        return Reply(response.code, json.loads(raw) if raw else None, response.headers)

    def ask_signed(
        self,
        method: str,
        target: str,
        verb: str,
        id: str = "",
        body: Any = None,
        *,
        key: SigningKey = OWNER,
    ) -> Reply:
        """The same, signed with a verb as our own client does."""
        raw = b"" if body is None else json.dumps(body).encode()
        return self.ask(method, target, self.world.signed(verb, id, raw, key=key), raw)

    def ask_by_path(
        self, method: str, target: str, body: Any = None, *, key: SigningKey = OWNER
    ) -> Reply:
        """The same, signed with C{METHOD:path[?query]}."""
        raw = b"" if body is None else json.dumps(body).encode()
        headers = self.world.signed(f"{method}:{target}", "", raw, key=key)
        return self.ask(method, target, headers, raw)

"""
A test case that asks the front desk, in memory.

Through treq's in-memory agent, but without treq on top: that repairs paths and methods
before they are sent, and how they are spelt is what many of these tests are about.
"""

from __future__ import annotations

import json
from typing import Any

import treq
from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

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
        # A reply that is none has no text: told as such, and no end of the test.
        return self.status, self.json.get("error", "")


@implementer(IBodyProducer)
class Bytes:
    """A body that is there at once."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """Write it."""
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """It is written already."""

    def resumeProducing(self) -> None:
        """It is written already."""

    def stopProducing(self) -> None:
        """It is written already."""


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
        fields = Headers()
        for name, value in sent.items():
            fields.setRawHeaders(name, [value] if isinstance(value, str) else value)
        response = self.successResultOf(
            world.agent.request(
                method.encode("ascii"),
                b"https://front.example" + target.encode("ascii"),
                fields,
                Bytes(body) if body else None,
            )
        )
        raw = self.successResultOf(treq.content(response))
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

"""
How Express matches routes, and what a handler gets of a request.

Literals match without regard to case and on the undecoded path; parameters are
decoded; exactly one trailing slash is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes
from uuid import UUID

from attrs import frozen

from sandbox_billing.devnet.daytona.dialect import ApiError, Dialect
from sandbox_billing.devnet.daytona.records import Record
from sandbox_billing.devnet.daytona.simulator import DaytonaSimulator


@frozen(kw_only=True)
class Call:
    """
    A request that met a route.

    @ivar parameters: The path's, decoded.
    @ivar headers: Names in lower case.
    """

    simulator: DaytonaSimulator
    parameters: tuple[str, ...]
    query: Mapping[str, list[str]]
    body: bytes
    headers: Mapping[str, tuple[str, ...]]

    def record(self) -> Record:
        """The sandbox that the first parameter names, by id or name."""
        return self.simulator.find(self.parameters[0])

    def by_id(self) -> Record:
        """
        The sandbox of the first parameter where only an id will do.

        @raise ApiError: 400 unless it is a UUID, 404.
        """
        try:
            UUID(self.parameters[0])
        except ValueError:
            raise ApiError(400, "Validation failed (uuid is expected)") from None
        return self.simulator.find(self.parameters[0])

    def json(self) -> dict[str, Any]:
        """@raise ApiError: 400 unless the body is a JSON object; none at all is an empty one."""
        try:
            body = json.loads(self.body or b"{}")
        except ValueError as reason:
            raise ApiError(400, f"{reason}") from None
        if not isinstance(body, dict):
            raise ApiError(400, "Validation failed (object expected)")
        return body

    def flag(self, key: str) -> bool:
        """A boolean of the query."""
        return self.query.get(key, ["false"])[-1].lower() == "true"

    def shown(self) -> dict[str, Any]:
        """The sandbox as it is now."""
        return self.simulator.document(self.record())


Handler = Callable[[Call], Awaitable[Any]]
"""Returns what is sent as JSON, a L{Text}, or None for an empty body."""


@frozen
class Text:
    """
    A plain answer that comes in parts.

    @ivar write_to: Writes them to a consumer, with time between them; ends when all is said.
    """

    write_to: Callable[[Callable[[bytes], None]], Awaitable[None]]


@frozen
class Route:
    """
    @ivar pattern: Segments below C{/api}; C{:} stands for a parameter.
    @ivar name: What faults and tests call it.
    @ivar status: Of its success: 200, or the 201 that the OpenAPI file denies.
    @ivar since: The first dialect that has it.
    @ivar until: The last one.
    """

    method: str
    pattern: str
    name: str
    handler: Handler
    status: int = 200
    anonymous: bool = False
    since: Dialect = Dialect.OLD
    until: Dialect = Dialect.NEW

    def exists(self, dialect: Dialect) -> bool:
        """Whether a deployment of that dialect has it."""
        return dialect.knows(self.since) and self.until.knows(dialect)

    def match(self, method: str, segments: list[str]) -> tuple[str, ...] | None:
        """
        @param segments: Of the path below C{/api}, undecoded.
        @return: The decoded parameters, or None.
        """
        pattern = self.pattern.split("/")
        if method != self.method or len(pattern) != len(segments):
            return None
        found: list[str] = []
        for expected, segment in zip(pattern, segments, strict=True):
            if expected == ":":
                if not segment:
                    return None
                found.append(_decoded(segment))
            elif expected != segment.lower():
                return None
        return tuple(found)


def _decoded(segment: str) -> str:
    try:
        return unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        raise ApiError(400, f"Failed to decode param '{segment}'") from None


def parse_query(text: str) -> dict[str, list[str]]:
    """A query string; empty values are kept."""
    return parse_qs(text, keep_blank_values=True)


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ApiError(400, "Validation failed (numeric string is expected)") from None

"""
Server-sent events, as far as notices use them (the HTML standard's C{text/event-stream}).

Tests: C{tests.client.test_client}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from attrs import define, field

from sandbox_billing.client.accounts import Notice
from sandbox_billing.client.errors import Garbled


MOST_BYTES = 1024 * 1024
"""Of one line."""

_END = re.compile(rb"\r\n|\n|\r(?!\Z)")


@define
class NoticeParser:
    """
    Bytes in, notices out.

    @ivar last: The id of the newest event; what asks for those after it.
    """

    last: str | None = None
    _rest: bytes = b""
    _data: list[str] = field(factory=list)
    _id: str | None = None

    def feed(self, piece: bytes) -> Iterator[Notice]:
        """
        @raise Garbled: It is no such stream.
        """
        *lines, self._rest = _END.split(self._rest + piece)
        if len(self._rest) > MOST_BYTES:
            raise Garbled(text="the stream of notices has a line without an end")
        for line in lines:
            notice = self._line(line.decode("utf-8", "replace"))
            if notice is not None:
                yield notice

    def _line(self, line: str) -> Notice | None:
        if line == "":
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def _dispatch(self) -> Notice | None:
        data, self._data = "\n".join(self._data), []
        if self._id is not None:
            self.last = self._id
        if not data:
            return None
        try:
            return Notice(json.loads(data))
        except (ValueError, RecursionError):
            raise Garbled(text="a notice is no JSON") from None

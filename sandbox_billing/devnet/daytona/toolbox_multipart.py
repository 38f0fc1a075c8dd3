"""
C{multipart/form-data} both ways, never more than a piece of it in memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from typing import IO
from urllib.parse import quote

from attrs import frozen

from sandbox_billing.devnet.daytona.toolbox_errors import bad


_PIECE = 256 * 1024
_HEAD_LIMIT = 16 * 1024


@frozen(kw_only=True)
class Part:
    """
    The beginning of a part.

    @ivar name: Of the field.
    @ivar filename: As the client calls it.
    """

    name: str
    filename: str | None


def boundary_of(content_type: str) -> bytes | None:
    """@return: None when it is not a form."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_param("boundary")
    if message.get_content_type() != "multipart/form-data" or not isinstance(boundary, str):
        return None
    return boundary.encode("latin-1", "replace")


def _part(head: bytes) -> Part:
    found = re.search(rb"content-disposition:\s*form-data(.*)", head, re.IGNORECASE)
    if found is None:
        raise bad("multipart: a part without Content-Disposition")
    line = found[1].decode("utf-8", "replace")
    name = re.search(r';\s*name="((?:[^"\\]|\\.)*)"', line)
    filename = re.search(r';\s*filename="((?:[^"\\]|\\.)*)"', line)
    return Part(
        name=_plain(name[1]) if name else "",
        filename=_plain(filename[1]) if filename else None,
    )


def _plain(quoted: str) -> str:
    """Browsers and httpx write a quotation mark as C{%22}."""
    return re.sub(r"\\(.)", r"\1", quoted).replace("%22", '"')


def read_parts(content: IO[bytes], boundary: bytes) -> Iterator[Part | bytes]:
    """
    Each part's beginning, then its bytes in pieces.

    @raise ToolboxError: 400 when it is cut off or not a form.
    """
    delimiter = b"\r\n--" + boundary
    # The first delimiter has no line before it.
    window = b"\r\n" + content.read(_PIECE)
    at = window.find(delimiter)
    if at < 0:
        raise bad("multipart: no boundary")
    window = window[at + len(delimiter) :]
    while True:
        while len(window) < 2 or (window[:2] != b"--" and b"\r\n\r\n" not in window):
            more = content.read(_PIECE)
            if not more or len(window) > _HEAD_LIMIT + _PIECE:
                raise bad("multipart: unexpected end")
            window += more
        if window[:2] == b"--":
            return
        head, _, window = window.partition(b"\r\n\r\n")
        yield _part(head)
        while (at := window.find(delimiter)) < 0:
            keep = len(delimiter) - 1
            if len(window) > keep:
                yield window[:-keep]
                window = window[-keep:]
            more = content.read(_PIECE)
            if not more:
                raise bad("multipart: unexpected end")
            window += more
        if at:
            yield window[:at]
        window = window[at + len(delimiter) :]


def part_head(
    boundary: bytes, *, name: str, filename: str, content_type: str, length: int | None = None
) -> bytes:
    """The head of a part that we send; the line before it included."""
    safe = filename.replace("\\", "\\\\").replace('"', '\\"')
    plain = safe.encode("latin-1", "replace").decode("latin-1")
    extended = "" if plain.isascii() else f"; filename*=UTF-8''{quote(filename, safe='')}"
    lines = [
        f"--{boundary.decode()}",
        f'Content-Disposition: form-data; name="{name}"; filename="{plain}"{extended}',
        f"Content-Type: {content_type}",
    ]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def end(boundary: bytes) -> bytes:
    """After the last part."""
    return b"--" + boundary + b"--\r\n"

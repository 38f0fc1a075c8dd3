"""
Files on their way in and out, never held whole.

Tests: C{tests.client.test_client}.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO
from urllib.parse import quote

from attrs import define, field

from sandbox_billing.client.calls import Upload
from sandbox_billing.errors import BadInput


PIECE_BYTES = 256 * 1024


def _read(source: bytes | Path) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def form_of(source: bytes | str | Path, remote: str) -> tuple[Upload, str]:
    """
    A form with one file, as every release of the toolbox takes it.

    A file is read twice: once for the hash that is signed, once to be sent.  If it changes in
    between, the provider refuses what does not match the signature.

    @param source: The bytes themselves, or the path of a file here.
    @param remote: What it is called there.
    @return: The body, and its content type.
    @raise BadInput: The file cannot be read.
    """
    kept = source if isinstance(source, bytes) else Path(source)
    boundary = f"sandbox-billing-{secrets.token_hex(16)}"
    name = quote(remote.rsplit("/", 1)[-1], safe=" !#$&+-.^_`|~()[]{}=,@")
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode("ascii")
    end = f"\r\n--{boundary}--\r\n".encode("ascii")

    def pieces() -> Iterator[bytes]:
        yield head
        yield from _read(kept)
        yield end

    length, hashed = 0, sha256()
    try:
        for piece in pieces():
            length += len(piece)
            hashed.update(piece)
    except OSError as problem:
        raise BadInput(f"{source!r} cannot be read: {problem.strerror}") from None
    form = Upload(length=length, sha256=hashed.hexdigest(), pieces=pieces)
    return form, f"multipart/form-data; boundary={boundary}"


@define
class Counted:
    """
    A sink that writes and counts.

    @ivar written: Bytes.
    """

    file: IO[bytes] = field(repr=False)
    written: int = 0

    def __call__(self, piece: bytes) -> None:
        self.file.write(piece)
        self.written += len(piece)


def beside(target: Path) -> Path:
    """Where a download stands until it is whole; nobody takes half a file for it."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")

"""
C{/files}: small ones as JSON, and uploads and downloads of any size.
"""

from __future__ import annotations

import json
import re
import secrets
from contextlib import closing
from fnmatch import fnmatch
from typing import IO, Any

from sandbox_billing.devnet.daytona.toolbox_call import Answered, Call, Reply
from sandbox_billing.devnet.daytona.toolbox_errors import ToolboxError, bad
from sandbox_billing.devnet.daytona.toolbox_multipart import (
    Part,
    boundary_of,
    end,
    part_head,
    read_parts,
)
from sandbox_billing.devnet.daytona.toolbox_paths import HOME


# Bytes that are copied before others are served.
_BREATH = 4 * 1024 * 1024
# Only the beginning of a larger file is searched.
_SEARCH_LIMIT = 4 * 1024 * 1024
_FIELD_LIMIT = 64 * 1024
_FIELD = re.compile(r"files\[(\d+)\]\.(path|file)")


def _mode(text: str | None, default: int) -> int:
    if not text:
        return default
    if not re.fullmatch(r"0?[0-7]{3,4}", text):
        raise bad("invalid mode")
    return int(text, 8) & 0o777


async def list_files(call: Call) -> Any:
    """With C{depth}, which is of 0.226, those below too."""
    path = call.text("path") or HOME
    depth = int(call.text("depth") or 1)
    if depth <= 1:
        return [entry.document() for entry in call.box.files.entries(path)]
    top = call.box.files.info(path).path.rstrip("/").count("/")
    found = call.box.files.walk(path)
    return [entry.document() for entry in found if entry.path.count("/") - top <= depth]


async def file_info(call: Call) -> Any:
    """One."""
    return call.box.files.info(call.need("path")).document()


async def make_folder(call: Call) -> None:
    """And those on the way."""
    call.box.files.folder(call.need("path"), _mode(call.text("mode"), 0o755))


async def delete_file(call: Call) -> None:
    """A folder only with C{recursive}."""
    call.box.files.remove(call.need("path"), recursive=call.flag("recursive"))


async def move_file(call: Call) -> None:
    """Or rename."""
    call.box.files.move(call.need("source"), call.need("destination"))


async def set_permissions(call: Call) -> None:
    """Owner and group are taken and change nothing."""
    call.box.files.permit(call.need("path"), _mode(call.text("mode"), 0o644))


async def search_files(call: Call) -> Any:
    """By name, with a shell's wildcards."""
    pattern = call.need("pattern")
    found = call.box.files.walk(call.need("path"))
    names = ((entry.path, entry.path.rsplit("/", 1)[-1]) for entry in found)
    return {"files": [path for path, name in names if fnmatch(name, pattern)]}


async def find_in_files(call: Call) -> Any:
    """Lines that hold a text."""
    pattern, matches = call.need("pattern").encode(), []
    for entry in _files_in(call, call.need("path")):
        with closing(call.box.files.open(entry)) as file:
            lines = file.read(_SEARCH_LIMIT).split(b"\n")
        for number, line in enumerate(lines, 1):
            if pattern in line:
                content = line.decode("utf-8", "replace")
                matches.append({"file": entry, "line": number, "content": content})
        await call.breathe()
    return matches


def _files_in(call: Call, path: str) -> list[str]:
    if not call.box.files.info(path).is_dir:
        return [path]
    found = call.box.files.walk(path)
    # A link or a pipe cannot be read.
    return [entry.path for entry in found if not entry.is_dir and _is_plain(call, entry.path)]


def _is_plain(call: Call, path: str) -> bool:
    try:
        call.box.files.open(path).close()
    except ToolboxError:
        return False
    return True


async def replace_in_files(call: Call) -> Any:
    """A text by another, in each of some files."""
    body = call.json()
    old, new = str(body.get("pattern", "")), str(body.get("newValue", ""))
    if not old:
        raise bad("pattern is required")
    results = []
    for path in body.get("files") or []:
        try:
            with closing(call.box.files.open(str(path))) as file:
                before = file.read(_SEARCH_LIMIT + 1)
            if len(before) > _SEARCH_LIMIT:
                raise bad(f"{path} is too large")
            with closing(call.box.files.create(str(path))) as sink:
                sink.write(before.replace(old.encode(), new.encode()))
            results.append({"file": path, "success": True})
        except ToolboxError as reason:
            results.append({"file": path, "success": False, "error": reason.message})
    return results


# -- downloads -------------------------------------------------------------------


async def download_file(call: Call) -> Any:
    """One, as it is."""
    path = call.need("path")
    size = call.box.files.info(path).size
    with closing(call.box.files.open(path)) as file:
        name = path.rsplit("/", 1)[-1].replace('"', "")
        disposition = f'attachment; filename="{name}"'.encode("latin-1", "replace")
        call.request.setHeader(b"Content-Disposition", disposition)
        call.begin("application/octet-stream", length=size)
        await call.send_file(file)
    call.finish()
    return Answered()


async def bulk_download(call: Call) -> Any:
    """Several, each a part named as it was asked for: C{file}, or C{error} with the reason."""
    paths = call.json().get("paths")
    if not isinstance(paths, list) or not paths:
        raise bad("request body must be {paths: [...]} and non-empty")
    boundary = f"DAYTONA-FILE-BOUNDARY-{secrets.token_hex(8)}".encode()
    call.begin(f"multipart/form-data; boundary={boundary.decode()}")
    for path in map(str, paths):
        try:
            size = call.box.files.info(path).size
            file = call.box.files.open(path)
        except ToolboxError as reason:
            _error_part(call, boundary, path, reason)
            continue
        head = part_head(
            boundary,
            name="file",
            filename=path,
            content_type="application/octet-stream",
            length=size,
        )
        with closing(file):
            call.write(head)
            await call.send_file(file)
            call.write(b"\r\n")
    call.write(end(boundary))
    call.finish()
    return Answered()


def _error_part(call: Call, boundary: bytes, path: str, reason: ToolboxError) -> None:
    """Old SDKs read text, newer ones JSON too."""
    kind, text = "text/plain; charset=utf-8", reason.message
    if not call.demuxes:
        code = "FILE_NOT_FOUND" if reason.status == 404 else "INVALID_FILE_PATH"
        body = {"message": reason.message, "statusCode": reason.status, "code": code}
        kind, text = "application/json", json.dumps(body)
    call.write(part_head(boundary, name="error", filename=path, content_type=kind))
    call.write(text.encode() + b"\r\n")


# -- uploads ---------------------------------------------------------------------


class _Copy:
    """Writes a file a piece at a time and lets others be served in between."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._breath = 0

    async def write(self, sink: IO[bytes], piece: bytes) -> None:
        """@raise ToolboxError: No space."""
        sink.write(piece)
        self._breath += len(piece)
        if self._breath >= _BREATH:
            self._breath = 0
            await self._call.breathe()


def _form(call: Call) -> bytes:
    boundary = boundary_of(call.header("content-type"))
    if boundary is None:
        raise bad("request Content-Type isn't multipart/form-data")
    return boundary


async def bulk_upload(call: Call) -> Any:
    """C{files[0].path}, then C{files[0].file}, and so on."""
    copy, paths, written = _Copy(call), dict[str, str](), list[dict[str, Any]]()
    field: bytearray | None = None
    sink: IO[bytes] | None = None
    index = path = ""
    try:
        for item in read_parts(call.content, _form(call)):
            if isinstance(item, bytes):
                if field is not None and len(field) < _FIELD_LIMIT:
                    field += item
                elif sink is not None:
                    await copy.write(sink, item)
                    written[-1]["bytes"] += len(item)
                continue
            if field is not None:
                paths[index] = field.decode("utf-8", "replace")
            if sink is not None:
                sink.close()
            field = sink = None
            found = _FIELD.fullmatch(item.name)
            if found is None:
                continue
            index = found[1]
            if found[2] == "path":
                field = bytearray()
            else:
                path = paths.get(index) or item.filename or ""
                sink = call.box.files.create(path)
                written.append({"path": path, "bytes": 0})
    except ToolboxError as reason:
        document = {"errors": [f"{path}: {reason.message}"]}
        return Reply(
            body=json.dumps(document).encode(), status=400, content_type="application/json"
        )
    finally:
        if sink is not None:
            sink.close()
    return {"files": written, "errors": []}


async def upload_file(call: Call) -> Any:
    """One, as the field C{file} of a form; a bare body too, which is of 0.226."""
    path, copy = call.need("path"), _Copy(call)
    boundary = boundary_of(call.header("content-type"))
    with closing(call.box.files.create(path)) as sink:
        if boundary is None:
            while piece := call.content.read(256 * 1024):
                await copy.write(sink, piece)
        else:
            wanted = False
            for item in read_parts(call.content, boundary):
                if isinstance(item, Part):
                    wanted = item.name == "file"
                elif wanted:
                    await copy.write(sink, item)
    return {"name": path.rsplit("/", 1)[-1], "path": path, "type": "file"}

"""
Paths as a user writes them, and what stands behind them.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import IO, Any, Protocol

from attrs import frozen

from sandbox_billing.devnet.daytona.toolbox_errors import ToolboxError, bad


HOME = "/home/daytona"
USER = "daytona"


def segments(path: str) -> tuple[str, ...]:
    """
    The steps from the root, relative paths counted from the home.

    @raise ToolboxError: 400 for an empty path or a NUL, 403 for one that climbs out.
    """
    if not path or "\0" in path:
        raise bad("path is required")
    text = path if path.startswith("/") else f"{HOME}/{path}"
    steps: list[str] = []
    for step in text.split("/"):
        if step == ".." and not steps:
            raise ToolboxError(403, f"{path} leaves the sandbox")
        if step == "..":
            steps.pop()
        elif step not in ("", "."):
            steps.append(step)
    return tuple(steps)


def joined(steps: tuple[str, ...]) -> str:
    """The other way round, always absolute."""
    return "/" + "/".join(steps)


@frozen(kw_only=True)
class Entry:
    """
    A file or a folder.

    @ivar path: Absolute, as the user sees it.
    @ivar size: Bytes.
    @ivar mode: Permission bits.
    @ivar modified: Unix seconds.
    """

    path: str
    is_dir: bool
    size: int
    mode: int
    modified: float

    def document(self) -> dict[str, Any]:
        """The FileInfo; C{modTime} is a form of Go's, C{modifiedAt} that of ISO 8601."""
        at = datetime.fromtimestamp(self.modified, UTC)
        kind = stat.S_IFDIR if self.is_dir else stat.S_IFREG
        return {
            "name": self.path.rsplit("/", 1)[-1] or "/",
            "path": self.path,
            "size": self.size,
            "mode": stat.filemode(self.mode | kind),
            "permissions": f"{self.mode:04o}",
            "modTime": at.strftime("%Y-%m-%d %H:%M:%S.%f +0000 UTC"),
            "modifiedAt": at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "isDir": self.is_dir,
            "owner": USER,
            "group": USER,
        }


class Files(Protocol):
    """The files of one sandbox; every path is the user's, every refusal a L{ToolboxError}."""

    def info(self, path: str) -> Entry:
        """@raise ToolboxError: 404."""

    def entries(self, path: str) -> list[Entry]:
        """What lies in a folder, by name."""

    def walk(self, path: str) -> Iterator[Entry]:
        """Every file and folder below."""

    def open(self, path: str) -> IO[bytes]:
        """To read."""

    def create(self, path: str) -> IO[bytes]:
        """To write, from nothing; folders on the way are made."""

    def folder(self, path: str, mode: int) -> None:
        """Make one, and those on the way; one that there is stays as it is."""

    def remove(self, path: str, *, recursive: bool) -> None:
        """@raise ToolboxError: 400 for a folder, unless C{recursive}."""

    def move(self, source: str, destination: str) -> None:
        """@raise ToolboxError: 409 when something is there."""

    def permit(self, path: str, mode: int) -> None:
        """Set the permission bits."""

    def destroy(self) -> None:
        """Everything goes."""

"""
Files in memory, with a bound: what a sandbox without C{--allow-exec} has.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import IO

from attrs import define, field

from sandbox_billing.devnet.daytona.toolbox_errors import ToolboxError, bad, missing
from sandbox_billing.devnet.daytona.toolbox_paths import HOME, Entry, joined, segments


LIMIT = 64 * 1024 * 1024

_Steps = tuple[str, ...]


@define
class _Node:
    """C{content} is None for a folder."""

    modified: float
    content: bytes | None = None
    mode: int = 0o644


@define(eq=False)
class MemoryFiles:
    """
    @ivar wall: Unix seconds.
    @ivar limit: Bytes of all files together.
    """

    wall: Callable[[], float]
    limit: int = LIMIT
    _nodes: dict[_Steps, _Node] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        for path in (HOME, "/tmp"):
            self.folder(path, 0o755)

    def _find(self, path: str) -> tuple[_Steps, _Node]:
        steps = segments(path)
        node = self._nodes.get(steps)
        if node is None:
            raise missing(f"file {path}")
        return steps, node

    def _entry(self, steps: _Steps, node: _Node) -> Entry:
        return Entry(
            path=joined(steps),
            is_dir=node.content is None,
            size=len(node.content or b""),
            mode=node.mode,
            modified=node.modified,
        )

    def info(self, path: str) -> Entry:
        """A file or folder."""
        return self._entry(*self._find(path))

    def entries(self, path: str) -> list[Entry]:
        """What lies in a folder."""
        steps, node = self._find(path)
        if node.content is not None:
            raise bad(f"{path} is not a directory")
        return [entry for entry in self.walk(path) if len(segments(entry.path)) == len(steps) + 1]

    def walk(self, path: str) -> Iterator[Entry]:
        """Every one below, by path."""
        steps, _ = self._find(path)
        for below, node in sorted(self._nodes.items()):
            if len(below) > len(steps) and below[: len(steps)] == steps:
                yield self._entry(below, node)

    def open(self, path: str) -> IO[bytes]:
        """To read."""
        _, node = self._find(path)
        if node.content is None:
            raise bad(f"{path} is a directory")
        return io.BytesIO(node.content)

    def create(self, path: str) -> IO[bytes]:
        """To write; the file appears when it is closed."""
        steps = segments(path)
        if steps in self._nodes and self._nodes[steps].content is None:
            raise bad(f"{path} is a directory")
        self.folder(joined(steps[:-1]), 0o755)
        return _Sink(self, steps)

    def folder(self, path: str, mode: int) -> None:
        """Make one, and those on the way; one that there is stays as it is."""
        steps = segments(path)
        for depth in range(len(steps) + 1):
            fresh = _Node(modified=self.wall(), mode=mode if depth == len(steps) else 0o755)
            if self._nodes.setdefault(steps[:depth], fresh).content is not None:
                raise bad(f"{joined(steps[:depth])} is not a directory")

    def remove(self, path: str, *, recursive: bool) -> None:
        """A file, or a folder with all that it holds."""
        steps, node = self._find(path)
        if node.content is None and not recursive:
            raise bad("cannot delete directory without recursive flag")
        for below in [one for one in self._nodes if one[: len(steps)] == steps]:
            del self._nodes[below]

    def move(self, source: str, destination: str) -> None:
        """With all that it holds."""
        steps, _ = self._find(source)
        goal = segments(destination)
        if goal in self._nodes:
            raise ToolboxError(409, f"{destination} exists")
        if goal[: len(steps)] == steps:
            raise bad(f"{destination} lies in {source}")
        self.folder(joined(goal[:-1]), 0o755)
        for below in [one for one in self._nodes if one[: len(steps)] == steps]:
            self._nodes[goal + below[len(steps) :]] = self._nodes.pop(below)

    def permit(self, path: str, mode: int) -> None:
        """Set the permission bits."""
        self._find(path)[1].mode = mode

    def destroy(self) -> None:
        """Everything goes."""
        self._nodes.clear()

    def _used(self, but: _Steps) -> int:
        return sum(len(node.content or b"") for at, node in self._nodes.items() if at != but)

    def keep(self, steps: _Steps, content: bytes) -> None:
        """Put a whole file there."""
        self._nodes[steps] = _Node(modified=self.wall(), content=content)

    def check(self, steps: _Steps, size: int) -> None:
        """@raise ToolboxError: 400, as a full disk is answered."""
        if self._used(steps) + size > self.limit:
            raise bad(f"write {joined(steps)}: no space left on device")


class _Sink(io.BytesIO):
    """A file being written."""

    def __init__(self, files: MemoryFiles, steps: _Steps) -> None:
        super().__init__()
        self._files = files
        self._steps = steps

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        """@raise ToolboxError: It grew beyond the bound."""
        self._files.check(self._steps, self.tell() + len(data))
        return super().write(data)

    def close(self) -> None:
        """It is a file now."""
        if not self.closed:
            self._files.keep(self._steps, self.getvalue())
        super().close()

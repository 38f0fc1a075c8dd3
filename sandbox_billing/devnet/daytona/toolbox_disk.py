"""
Files in a throw-away folder of this machine: what a sandbox with C{--allow-exec} has.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from attrs import define

from sandbox_billing.devnet.daytona.toolbox_errors import ToolboxError, bad, missing
from sandbox_billing.devnet.daytona.toolbox_paths import HOME, Entry, segments


@define(eq=False)
class DiskFiles:
    """
    Everything stays below C{root}: no path climbs out, none follows a link out.

    A command that runs beside could still race with it; whoever runs commands here has
    this machine anyway.

    @ivar root: An existing folder, its path free of links.
    """

    root: Path

    def prepare(self) -> None:
        """The folders that an image has."""
        for path in (HOME, "/tmp"):
            self.folder(path, 0o755)

    @property
    def home(self) -> Path:
        """Where commands begin."""
        return self.root.joinpath(*segments(HOME))

    def place(self, path: str) -> Path:
        """
        Where it lies; its last step may itself be a link.

        A path below C{root} as this machine spells it, which commands print, is taken too.

        @raise ToolboxError: 403 when it is outside.
        """
        text = path
        if text == str(self.root) or text.startswith(f"{self.root}/"):
            text = text[len(str(self.root)) :] or "/"
        real = self.root.joinpath(*segments(text))
        if real != self.root:
            self._check(real.parent, path)
        return real

    def _check(self, real: Path, path: str) -> Path:
        resolved = real.resolve()
        if resolved != self.root and self.root not in resolved.parents:
            raise ToolboxError(403, f"{path} leaves the sandbox")
        return resolved

    def followed(self, path: str) -> Path:
        """Where it lies, links followed as far as they stay inside."""
        return self._check(self.place(path), path)

    def _entry(self, real: Path) -> Entry:
        status = real.lstat()
        inside = real.relative_to(self.root)
        return Entry(
            path=f"/{inside}" if inside.parts else "/",
            is_dir=stat.S_ISDIR(status.st_mode),
            size=status.st_size,
            mode=stat.S_IMODE(status.st_mode),
            modified=status.st_mtime,
        )

    def info(self, path: str) -> Entry:
        """A file or folder."""
        with _refusing(path):
            return self._entry(self.place(path))

    def entries(self, path: str) -> list[Entry]:
        """What lies in a folder."""
        with _refusing(path):
            return [self._entry(real) for real in sorted(self.followed(path).iterdir())]

    def walk(self, path: str) -> Iterator[Entry]:
        """Every one below; links are shown and not followed."""
        top = self.followed(path)
        if not top.exists():
            raise missing(f"file {path}")
        for folder, folders, files in os.walk(top):
            folders.sort()
            for name in sorted([*folders, *files]):
                yield self._entry(Path(folder, name))

    def open(self, path: str) -> IO[bytes]:
        """To read; only a file, not a pipe that would block."""
        with _refusing(path):
            real = self.followed(path)
            if not real.exists():
                raise missing(f"file {path}")
            if not real.is_file():
                raise bad(f"{path} is not a file")
            return real.open("rb")

    def create(self, path: str) -> IO[bytes]:
        """To write."""
        with _refusing(path):
            real = self.followed(path)
            if real.exists() and not real.is_file():
                raise bad(f"{path} is not a file")
            real.parent.mkdir(parents=True, exist_ok=True)
            return real.open("wb")

    def folder(self, path: str, mode: int) -> None:
        """Make one, and those on the way; one that there is stays as it is."""
        with _refusing(path):
            real = self.followed(path)
            if not real.is_dir():
                real.mkdir(parents=True)
                real.chmod(mode)

    def remove(self, path: str, *, recursive: bool) -> None:
        """A file, a link or a folder with all that it holds."""
        with _refusing(path):
            real = self.place(path)
            if not real.is_dir() or real.is_symlink():
                real.unlink()
            elif recursive:
                shutil.rmtree(real)
            else:
                raise bad("cannot delete directory without recursive flag")

    def move(self, source: str, destination: str) -> None:
        """With all that it holds."""
        with _refusing(source):
            real, goal = self.place(source), self.place(destination)
            if os.path.lexists(goal):
                raise ToolboxError(409, f"{destination} exists")
            goal.parent.mkdir(parents=True, exist_ok=True)
            real.rename(goal)

    def permit(self, path: str, mode: int) -> None:
        """Set the permission bits."""
        with _refusing(path):
            self.followed(path).chmod(mode)

    def destroy(self) -> None:
        """Everything goes, what a user made unreadable too."""
        shutil.rmtree(self.root, ignore_errors=True)
        if not self.root.exists():
            return
        for folder, _, _ in os.walk(self.root):
            Path(folder).chmod(0o700)
        shutil.rmtree(self.root, ignore_errors=True)


@contextmanager
def _refusing(path: str) -> Iterator[None]:
    """What the operating system says, as the toolbox says it."""
    try:
        yield
    except FileNotFoundError:
        raise missing(f"file {path}") from None
    except PermissionError:
        raise ToolboxError(403, f"permission denied: {path}") from None
    except OSError as reason:
        raise bad(f"{path}: {reason.strerror}") from None

"""Where commands are typed: one shell, and terminals in which something goes on."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from attrs import define, frozen


SECONDS = 120.0
"""A deadline that only a broken program meets."""

_END = "-- the command has ended with "


class NeverEnded(Exception):
    """A deadline has passed."""


@frozen(kw_only=True)
class Ran:
    """
    @ivar said: Lines, of both channels.
    """

    status: int
    said: tuple[str, ...]


@define(eq=False)
class Shell:
    """
    One shell for a whole page; what it exports stays.
    """

    process: subprocess.Popen[bytes]

    @classmethod
    def open(cls, folder: Path, environment: Mapping[str, str]) -> Shell:
        """Start one that reads nobody's profile."""
        process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
        )
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        return cls(process)

    def run(self, text: str, meanwhile: Callable[[str], None] = lambda said: None) -> Ran:
        """
        Type a command and wait for its end.

        @param meanwhile: Called now and then with what it has said so far.
        @raise NeverEnded: It goes on and on.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        # Its own input is empty: it is not to read the commands that follow.
        typed = (
            f"{{ {text}\n}} </dev/null\n_status=$?; echo; echo '{_END}'$_status; (exit $_status)\n"
        )
        self.process.stdin.write(typed.encode())
        self.process.stdin.flush()
        said, deadline = b"", time.monotonic() + SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not (b"\n" + _END.encode() in said and said.endswith(b"\n")):
                if selector.select(0.2):
                    said += self._read(self.process.stdout, text, said)
                else:
                    meanwhile(said.decode(errors="replace"))
                if time.monotonic() > deadline:
                    raise NeverEnded(f"{text}: {said.decode(errors='replace')}")
        told, _, status = said.decode(errors="replace").rpartition(f"\n{_END}")
        return Ran(status=int(status), said=tuple(told.split("\n")))

    def _read(self, channel: IO[bytes], text: str, said: bytes) -> bytes:
        found = channel.read() or b""
        if not found and self.process.poll() is not None:
            raise NeverEnded(f"{text}: the shell has ended: {said.decode(errors='replace')}")
        return found

    def close(self) -> None:
        """End it, with what it may have left behind."""
        _end_group(self.process, signal.SIGKILL)
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


@define(eq=False)
class Terminal:
    """
    Something that goes on until Ctrl-C.

    @ivar text: The command that was typed.
    """

    text: str
    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def open(cls, text: str, folder: Path, environment: Mapping[str, str]) -> Terminal:
        """Type a command in a new one."""
        number = len(list(folder.glob("terminal-*")))
        log = folder / f"terminal-{number}"
        with log.open("wb") as said:
            process = subprocess.Popen(
                # Whoever runs the tests in the background has Ctrl-C ignored, and so would this.
                [
                    *("env", "--default-signal=INT"),
                    *("bash", "--noprofile", "--norc", "-c", f"exec {text}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=folder,
                env=dict(environment),
                start_new_session=True,
            )
        return cls(text, process, log)

    def said(self) -> str:
        """Everything so far."""
        return self.log.read_text("utf-8", "replace")

    def until(self, what: str, happened: Callable[[str], Any]) -> Any:
        """
        Poll until what it has said is enough.

        @return: The first true value.
        """
        deadline = time.monotonic() + SECONDS
        while True:
            over = self.process.poll() is not None
            found = happened(self.said())
            if found:
                return found
            if over or time.monotonic() > deadline:
                raise NeverEnded(f"{self.text}: waited in vain for {what}: {self.said()[-3000:]}")
            time.sleep(0.05)

    def interrupt(self, seconds: float = SECONDS) -> int:
        """
        Ctrl-C; whoever does not end by it in time is killed.

        @return: How it ended.
        """
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL
        finally:
            _end_group(self.process, signal.SIGKILL)


def _end_group(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    process.wait()

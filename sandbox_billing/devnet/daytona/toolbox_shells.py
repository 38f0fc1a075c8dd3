"""
Processes that live on between pieces of work: the shell of a session, a Python with variables.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred

from sandbox_billing.devnet.daytona.toolbox_host import STDERR, STDOUT, OnOutput
from sandbox_billing.devnet.daytona.toolbox_process import Process


@define(eq=False)
class MarkedShell:
    """
    A shell that reads commands from a pipe and marks on both outputs where each one ends.

    @ivar mark: Not to be guessed by what the commands print.
    """

    _process: Process
    _input: int
    _mark: bytes
    _on_output: OnOutput = lambda number, data: None
    _rest: dict[int, bytes] = field(factory=lambda: {STDOUT: b"", STDERR: b""})
    _seen: dict[int, int] = field(factory=dict)
    _done: Deferred[int] | None = None

    def start(self) -> None:
        """Listen to it."""
        self._process.on_output = self._received
        self._process.ended.addCallback(self._lost)

    def run(self, command: str, on_output: OnOutput) -> Deferred[int]:
        """One at a time; C{eval} keeps the shell alive when the command is no command."""
        self._on_output, self._done, self._seen = on_output, Deferred(), {}
        mark = self._mark.decode()
        script = (
            f"eval {_quoted(command)} <&{self._input}\n"
            f"__code=$?; printf '%s %d\\n' {mark} $__code; printf '%s %d\\n' {mark} $__code >&2\n"
        )
        done = self._done
        if self._process.ended.called:
            self._lost(137)
        else:
            self._process.write(script.encode())
        return done

    def _received(self, number: int, data: bytes) -> None:
        rest = self._rest[number] + data
        while True:
            at = rest.find(self._mark)
            if at < 0:
                keep = _tail(rest, self._mark)
                self._emit(number, rest[: len(rest) - keep])
                self._rest[number] = rest[len(rest) - keep :]
                return
            line, newline, after = rest[at:].partition(b"\n")
            self._emit(number, rest[:at])
            if not newline:
                self._rest[number] = rest[at:]
                return
            self._seen[number] = int(line.split(b" ")[1])
            rest = after
            self._rest[number] = rest
            if len(self._seen) == 2:
                self._finish(self._seen[STDOUT])

    def _emit(self, number: int, data: bytes) -> None:
        if data:
            self._on_output(number, data)

    def _lost(self, code: int) -> int:
        for number, rest in self._rest.items():
            self._emit(number, rest)
            self._rest[number] = b""
        self._finish(code)
        return code

    def _finish(self, code: int) -> None:
        done, self._done = self._done, None
        if done is not None:
            done.callback(code)

    def write(self, data: bytes) -> None:
        """To the command that runs; the shell itself reads another pipe."""
        if not self._process.ended.called:
            transport: Any = self._process.transport
            transport.writeToChild(self._input, data)

    def kill(self) -> None:
        """With all that it started."""
        self._process.kill()


def _tail(data: bytes, mark: bytes) -> int:
    """How many of the last bytes may be the beginning of a mark."""
    return next(
        (n for n in range(min(len(mark), len(data)), 0, -1) if mark.startswith(data[-n:])), 0
    )


def _quoted(command: str) -> str:
    return "'" + command.replace("'", "'\\''") + "'"


@define(eq=False)
class WorkerInterpreter:
    """A Python that reads requests and answers in lines."""

    _process: Process
    _on_line: Callable[[str], object] = lambda line: None
    _rest: bytes = b""
    _done: Deferred[None] | None = None

    def start(self) -> None:
        """Listen to it."""
        self._process.on_output = self._received
        self._process.ended.addCallback(self._lost)

    def run(
        self, code: str, envs: Mapping[str, str], on_line: Callable[[str], object]
    ) -> Deferred[None]:
        """One at a time."""
        self._on_line, self._done = on_line, Deferred()
        done = self._done
        if self._process.ended.called:
            self._lost(137)
        else:
            self._process.write(json.dumps({"code": code, "envs": dict(envs)}).encode() + b"\n")
        return done

    def _received(self, number: int, data: bytes) -> None:
        if number != STDOUT:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line == b"done":
                self._lost(0)
            else:
                self._on_line(line.decode())

    def _lost(self, code: int) -> int:
        done, self._done = self._done, None
        if done is not None:
            done.callback(None)
        return code

    def kill(self) -> None:
        """With all that it started."""
        self._process.kill()

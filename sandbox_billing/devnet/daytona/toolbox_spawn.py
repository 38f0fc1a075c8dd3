"""
Real processes of this machine, for a sandbox with C{--allow-exec}.

B{This is no isolation.}  A command runs as the user who started the devnet; its folder
and its bare environment keep honest scripts apart, nobody else.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import signal
import struct
import sys
import termios
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from sandbox_billing.devnet.daytona.toolbox_disk import DiskFiles
from sandbox_billing.devnet.daytona.toolbox_errors import bad
from sandbox_billing.devnet.daytona.toolbox_host import STDERR, STDOUT, OnOutput, Spec
from sandbox_billing.devnet.daytona.toolbox_paths import HOME
from sandbox_billing.devnet.daytona.toolbox_worker import WORKER


_LEADER = "import os, sys; os.setsid(); os.execv(sys.argv[1], sys.argv[1:])"
"""Makes a group of a process, so that all it starts can be ended together."""

_SHELLS = ("/bin/bash", "/bin/sh")
_WRAPPED = re.compile(r"(echo ')([A-Za-z0-9+/=]+)(' \| base64 -d)")


def shell_path() -> str:
    """The best one that there is."""
    return next(path for path in _SHELLS if Path(path).exists())


def localised(command: str, home: Path) -> str:
    """
    A command that names the sandbox's home finds the throw-away folder instead.

    So too inside the base64 in which version 0.149 of the SDK sends commands.
    """

    def inside(found: re.Match[str]) -> str:
        text = b64decode(found[2]).decode("utf-8", "surrogateescape")
        again = localised(text, home).encode("utf-8", "surrogateescape")
        return found[1] + b64encode(again).decode() + found[3]

    return _WRAPPED.sub(inside, command).replace(HOME, str(home))


def exit_code(failure: Failure) -> int:
    """As a shell counts it."""
    reason: Any = failure.value
    if getattr(reason, "signal", None) is not None:
        return 128 + int(reason.signal)
    return int(getattr(reason, "exitCode", None) or 0)


@define(eq=False)
class Process(ProcessProtocol):
    """
    One process and its group.

    @ivar ended: Fires with the exit code, when its output has been read too, except that
        of what it left in the background.
    """

    on_output: OnOutput
    ended: Deferred[int] = field(factory=Deferred)
    _killed: bool = False
    _held: bool = False
    # A process that leaves children with its pipes has still ended.
    _grace: Callable[[Callable[[], object]], object] = lambda call: call()

    @property
    def _plumbing(self) -> Any:
        return self.transport

    def outReceived(self, data: bytes) -> None:
        """STDOUT, or a terminal."""
        self.on_output(STDOUT, data)

    def errReceived(self, data: bytes) -> None:
        """STDERR."""
        self.on_output(STDERR, data)

    def processExited(self, reason: Failure) -> None:
        """Its output may still be on the way, or be held open by what it has left behind."""
        self._grace(lambda: self.processExited(reason) if self._held else self._over(reason))

    def processEnded(self, reason: Failure) -> None:
        """All is read."""
        self._over(reason)

    def _over(self, reason: Failure) -> None:
        if not self.ended.called:
            self.ended.callback(137 if self._killed else exit_code(reason))

    def write(self, data: bytes) -> None:
        """To its input, or to its terminal."""
        if not self.ended.called:
            self._plumbing.write(data)

    def hold(self, held: bool) -> None:
        """The kernel then holds the process too."""
        self._held = held
        if self.ended.called:
            return
        if held:
            self._plumbing.pauseProducing()
        else:
            self._plumbing.resumeProducing()

    def resize(self, *, columns: int, rows: int) -> None:
        """Of a terminal."""
        if not self.ended.called:
            size = struct.pack("HHHH", rows, columns, 0, 0)
            fcntl.ioctl(self._plumbing.fd, termios.TIOCSWINSZ, size)

    def kill(self) -> None:
        """
        Its whole group.

        Only while it has not been waited for: later its number may be another's.
        """
        transport: Any = self.transport
        if transport.pid is None:
            transport.loseConnection()
            return
        self._killed = True
        with suppress(ProcessLookupError):
            os.killpg(transport.pid, signal.SIGKILL)
        with suppress(ProcessExitedAlready):
            transport.signalProcess("KILL")
        transport.loseConnection()


def sweep(label: str) -> int:
    """
    End what has left its group: whatever has C{label} in its environment.

    @return: How many processes were ended; none where there is no C{/proc}.
    """
    ended = 0
    for place in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if label.encode() in place.read_bytes().split(b"\0"):
                os.kill(int(place.parent.name), signal.SIGKILL)
                ended += 1
    return ended


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


@define(eq=False)
class SpawnHost:
    """
    @ivar reactor: Spawns.
    @ivar files: Whose folder commands begin in.
    @ivar envs: Of the sandbox itself.
    """

    reactor: Any
    files: DiskFiles
    envs: Mapping[str, str] = field(factory=dict)
    _label: str = field(factory=lambda: f"TOOLBOX_PROCESS={secrets.token_hex(16)}")
    _running: list[Process] = field(factory=list)

    def _environment(self, envs: Mapping[str, str]) -> dict[str, str]:
        home = str(self.files.home)
        bare = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": home, "LANG": "C.UTF-8"}
        name, _, token = self._label.partition("=")
        given = {**self.envs, **envs}
        known = {key: localised(str(text), self.files.home) for key, text in given.items()}
        return {**bare, **known, name: token}

    def _folder(self, cwd: str | None) -> str:
        place = self.files.followed(cwd or HOME)
        if not place.is_dir():
            raise bad(f"chdir {cwd}: no such file or directory")
        return str(place)

    def _spawn(
        self,
        arguments: list[str],
        spec: Spec,
        on_output: OnOutput,
        *,
        terminal: bool = False,
        pipes: dict[int, str] | None = None,
    ) -> Process:
        """@param pipes: As C{spawnProcess} wants them; ours are the three usual ones."""
        process = Process(on_output, grace=lambda call: self.reactor.callLater(0.1, call))
        command = arguments if terminal else [sys.executable, "-ISc", _LEADER, *arguments]
        more: dict[str, Any] = {"usePTY": True} if terminal else {"childFDs": pipes}
        self.reactor.spawnProcess(
            process,
            command[0],
            command,
            env=self._environment(spec.envs),
            path=self._folder(spec.cwd),
            **more,
        )
        self._running.append(process)
        return process

    def run(self, spec: Spec, on_output: OnOutput) -> Process:
        """Without input."""
        text = localised(spec.text, self.files.home)
        arguments = (
            [sys.executable, "-u", "-c", text, *spec.arguments]
            if spec.is_python
            else [shell_path(), "-c", text]
        )
        process = self._spawn(arguments, spec, on_output)
        transport: Any = process.transport
        transport.closeStdin()
        return process

    def terminal(self, spec: Spec, on_output: OnOutput, *, columns: int, rows: int) -> Process:
        """The shell is interactive and reads no profile of this machine."""
        path = shell_path()
        plain = ["--norc", "--noprofile"] if path.endswith("bash") else []
        process = self._spawn([path, *plain, "-i"], spec, on_output, terminal=True)
        process.resize(columns=columns, rows=rows)
        return process

    def shell(self) -> MarkedShell:
        """Commands come on one pipe, their input on another."""
        pipes = {0: "w", 1: "r", 2: "r", 9: "w"}
        process = self._spawn([shell_path()], Spec(text=""), lambda number, data: None, pipes=pipes)
        shell = MarkedShell(process, 9, secrets.token_hex(16).encode())
        shell.start()
        return shell

    def interpreter(self, cwd: str | None) -> WorkerInterpreter:
        """A worker that keeps its variables."""
        arguments = [sys.executable, "-u", "-c", WORKER]
        process = self._spawn(arguments, Spec(text="", cwd=cwd), lambda number, data: None)
        worker = WorkerInterpreter(process)
        worker.start()
        return worker

    def kill(self) -> None:
        """Everything that was ever started here, and what it left in the background."""
        running, self._running = self._running, []
        for process in running:
            process.kill()
        # What is ended may have just started another.
        passes = 5
        while running and passes and sweep(self._label):
            passes -= 1

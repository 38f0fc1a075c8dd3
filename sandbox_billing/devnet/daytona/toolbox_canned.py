"""
Answers from a small table, for a sandbox without C{--allow-exec}: nothing is ever run.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from sandbox_billing.devnet.daytona.toolbox_errors import ToolboxError
from sandbox_billing.devnet.daytona.toolbox_host import STDERR, STDOUT, OnOutput, Spec
from sandbox_billing.devnet.daytona.toolbox_paths import HOME, USER, Files


_TABLE = {
    "pwd": HOME,
    "whoami": USER,
    "hostname": "sandbox",
    "uname": "Linux",
    "python3 --version": "Python 3.11.0",
}

# How version 0.149 of the SDK wraps what it is given.
_WRAPPED = re.compile(r"echo '([A-Za-z0-9+/=]+)' \| base64 -d \| sh")
_PROGRAM = re.compile(r'b64decode\(\\*"([A-Za-z0-9+/=]+)\\*"\)')
_KILLED = 137


@frozen(kw_only=True)
class _Answer:
    """@ivar seconds: Until the command ends; its output comes then."""

    code: int = 0
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0


def answer_command(command: str, files: Files) -> _Answer:
    """A shell's answer; what is not in the table succeeds and says nothing."""
    if found := _WRAPPED.search(command):
        return answer_command(_decoded(found), files)
    if found := _PROGRAM.search(command):
        return answer_program(_decoded(found))
    text = command.strip()
    if text in _TABLE:
        return _Answer(stdout=f"{_TABLE[text]}\n")
    try:
        words = shlex.split(text)
    except ValueError as reason:
        return _Answer(code=2, stderr=f"sh: {reason}\n")
    match words:
        case ["echo", *rest]:
            return _Answer(stdout=" ".join(rest) + "\n")
        case ["false"]:
            return _Answer(code=1)
        case ["exit", code] if code.isdigit():
            return _Answer(code=int(code) % 256)
        case ["sleep", seconds] if re.fullmatch(r"\d+(\.\d+)?", seconds):
            return _Answer(seconds=float(seconds))
        case ["cat", path]:
            return _cat(path, files)
        case _:
            return _Answer()


def _decoded(found: re.Match[str]) -> str:
    return b64decode(found[1]).decode("utf-8", "replace")


def _cat(path: str, files: Files) -> _Answer:
    try:
        with files.open(path) as file:
            return _Answer(stdout=file.read().decode("utf-8", "replace"))
    except ToolboxError:
        return _Answer(code=1, stderr=f"cat: {path}: No such file or directory\n")


def answer_program(code: str) -> _Answer:
    """What the C{print} calls of constants print, and nothing of the rest."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError) as reason:
        return _Answer(code=1, stderr=f"SyntaxError: {reason}\n")
    lines: list[str] = []
    for statement in tree.body:
        match statement:
            case ast.Expr(value=ast.Call(func=ast.Name(id="print"), args=arguments)):
                try:
                    lines.append(" ".join(str(ast.literal_eval(one)) for one in arguments))
                except ValueError:
                    lines.append("")
    return _Answer(stdout="".join(f"{line}\n" for line in lines))


def _answer(spec: Spec, files: Files) -> _Answer:
    return answer_program(spec.text) if spec.is_python else answer_command(spec.text, files)


@define(eq=False)
class _Pretended:
    """A command that only takes its time."""

    ended: Deferred[int] = field(factory=Deferred)
    _timer: IDelayedCall | None = None

    def begin(self, clock: IReactorTime, answer: _Answer, on_output: OnOutput) -> None:
        """Its output comes when it ends, and never before this has returned."""
        self._timer = clock.callLater(answer.seconds, self._end, answer, on_output)

    def _end(self, answer: _Answer, on_output: OnOutput) -> None:
        self._timer = None
        for number, text in ((STDOUT, answer.stdout), (STDERR, answer.stderr)):
            if text:
                on_output(number, text.encode())
        self.ended.callback(answer.code)

    def write(self, data: bytes) -> None:
        """Nobody reads it."""

    def hold(self, held: bool) -> None:
        """There is never much."""

    def kill(self) -> None:
        """It ends with 137."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.ended.callback(_KILLED)


@define(eq=False)
class _PretendedTerminal:
    """Echoes, and answers each line as a command."""

    _files: Files
    _on_output: OnOutput
    ended: Deferred[int] = field(factory=Deferred)
    _line: bytes = b""
    _over: bool = False

    def write(self, data: bytes) -> None:
        """What is typed."""
        for byte in data:
            if self._over:
                return
            if byte in b"\r\n":
                self._typed()
            elif byte == 4 and not self._line:
                self._end(0)
            else:
                self._line += bytes([byte])
                self._on_output(STDOUT, bytes([byte]))

    def _typed(self) -> None:
        line, self._line = self._line.decode("utf-8", "replace").strip(), b""
        self._on_output(STDOUT, b"\r\n")
        answer = answer_command(line, self._files)
        if line.split(" ")[0] == "exit":
            self._end(answer.code)
            return
        text = f"{answer.stdout}{answer.stderr}".replace("\n", "\r\n")
        self._on_output(STDOUT, f"{text}$ ".encode())

    def _end(self, code: int) -> None:
        if not self._over:
            self._over = True
            self.ended.callback(code)

    def hold(self, held: bool) -> None:
        """There is never much."""

    def resize(self, *, columns: int, rows: int) -> None:
        """Nothing is drawn."""

    def kill(self) -> None:
        """It ends with 137."""
        self._end(_KILLED)


@define(eq=False)
class _PretendedShell:
    """One command after the other."""

    _clock: IReactorTime
    _files: Files
    _now: _Pretended | None = None

    def run(self, command: str, on_output: OnOutput) -> Deferred[int]:
        """One at a time."""
        self._now = _Pretended()
        self._now.begin(self._clock, answer_command(command, self._files), on_output)
        return self._now.ended

    def write(self, data: bytes) -> None:
        """Nobody reads it."""

    def kill(self) -> None:
        """What runs ends with 137."""
        if self._now is not None:
            self._now.kill()


@define(eq=False)
class _PretendedInterpreter:
    """Prints constants."""

    _clock: IReactorTime
    _files: Files

    def run(
        self, code: str, envs: Mapping[str, str], on_line: Callable[[str], object]
    ) -> Deferred[None]:
        """At once."""
        answer = answer_program(code)
        if answer.code:
            on_line(json.dumps(python_error("SyntaxError", answer.stderr.strip())))
        elif answer.stdout:
            on_line(json.dumps({"type": "stdout", "text": answer.stdout}))
        done: Deferred[None] = Deferred()
        self._clock.callLater(0, done.callback, None)
        return done

    def kill(self) -> None:
        """Nothing runs."""


def python_error(name: str, value: str, traceback: str = "") -> dict[str, Any]:
    """An exception as the interpreter's clients read it."""
    return {"type": "error", "name": name, "value": value, "traceback": traceback}


@define(eq=False)
class CannedHost:
    """
    @ivar clock: For C{sleep}.
    @ivar files: For C{cat}.
    """

    clock: IReactorTime
    files: Files
    _running: list[_Pretended | _PretendedTerminal | _PretendedShell] = field(factory=list)

    def run(self, spec: Spec, on_output: OnOutput) -> _Pretended:
        """From the table."""
        pretended = _Pretended()
        pretended.begin(self.clock, _answer(spec, self.files), on_output)
        self._watch(pretended)
        return pretended

    def terminal(
        self, spec: Spec, on_output: OnOutput, *, columns: int, rows: int
    ) -> _PretendedTerminal:
        """An echo."""
        terminal = _PretendedTerminal(self.files, on_output)
        self._watch(terminal)
        self.clock.callLater(0, on_output, STDOUT, b"$ ")
        return terminal

    def _watch(self, pretended: _Pretended | _PretendedTerminal) -> None:
        def over(code: int) -> int:
            self._running.remove(pretended)
            return code

        self._running.append(pretended)
        pretended.ended.addCallback(over)

    def shell(self) -> _PretendedShell:
        """For a session."""
        shell = _PretendedShell(self.clock, self.files)
        self._running.append(shell)
        return shell

    def interpreter(self, cwd: str | None) -> _PretendedInterpreter:
        """For a context."""
        return _PretendedInterpreter(self.clock, self.files)

    def kill(self) -> Deferred[None]:
        """Everything ends."""
        for one in list(self._running):
            one.kill()
        self._running.clear()
        return succeed(None)

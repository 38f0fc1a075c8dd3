"""
What runs commands for a sandbox: real processes, or answers from a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred


STDOUT = 1
STDERR = 2

OnOutput = Callable[[int, bytes], object]
"""Gets STDOUT or STDERR, and what was written there."""


@frozen(kw_only=True)
class Spec:
    """
    What to run.

    @ivar text: A command for the shell, or a program in Python.
    @ivar cwd: The user's path; None for the home.
    @ivar arguments: Of a program.
    """

    text: str
    is_python: bool = False
    cwd: str | None = None
    envs: Mapping[str, str] = {}
    arguments: tuple[str, ...] = ()


class Running(Protocol):
    """Something that runs."""

    @property
    def ended(self) -> Deferred[int]:
        """Fires once with the exit code, 128 + the signal if one ended it."""

    def write(self, data: bytes) -> None:
        """To its input."""

    def hold(self, held: bool) -> None:
        """Read no more output while held."""

    def kill(self) -> None:
        """It and all that it started, at once."""


class Terminal(Running, Protocol):
    """A shell at a terminal."""

    def resize(self, *, columns: int, rows: int) -> None:
        """The window's size, in characters."""


class Shell(Protocol):
    """A shell that lives on between commands."""

    def run(self, command: str, on_output: OnOutput) -> Deferred[int]:
        """@return: Fires with the exit code; one command at a time."""

    def write(self, data: bytes) -> None:
        """To the input of the command that runs."""

    def kill(self) -> None:
        """It and all that it started; what runs ends with 137."""


class Interpreter(Protocol):
    """A Python that keeps its variables from one piece of code to the next."""

    def run(
        self, code: str, envs: Mapping[str, str], on_line: Callable[[str], object]
    ) -> Deferred[None]:
        """
        @param on_line: Gets JSON objects as Daytona's client reads them.
        @return: Fires when the code has ended.
        """

    def kill(self) -> None:
        """It ends, and with it what runs."""


class Host(Protocol):
    """What runs commands for one sandbox."""

    def run(self, spec: Spec, on_output: OnOutput) -> Running:
        """@raise ToolboxError: 400 when there is no such folder."""

    def terminal(self, spec: Spec, on_output: OnOutput, *, columns: int, rows: int) -> Terminal:
        """An interactive shell; C{spec.text} is ignored."""

    def shell(self) -> Shell:
        """For a session."""

    def interpreter(self, cwd: str | None) -> Interpreter:
        """For a context of code."""

    def kill(self) -> Deferred[None]:
        """
        Everything that runs here.

        @return: Fires when it is gone.
        """

"""Children of a test: started, listened to, ended, and asked how they ended."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

import sandbox_billing


TWISTD = Path(sys.executable).with_name("twistd")

PLUGIN_FOLDER = Path(sandbox_billing.__file__).parent.parent
"""An editable install hides C{twisted/plugins} behind a finder that Twisted does not ask."""

TREE = Path(__file__).resolve().parents[2]
"""Where the tests are; named after the folder above, so that the installed package wins."""

PATIENCE_SECONDS = 180.0
"""Costs nothing where all is well; a machine may be ten times slower than ours."""


class NeverHappened(Exception):
    """A deadline has passed."""


async def until(
    reactor: Any,
    what: str,
    happened: Any,
    *,
    seconds: float = PATIENCE_SECONDS,
    pause: float = 0.05,
) -> Any:
    """
    Poll until something is true.

    @param happened: Returns, or returns an awaitable of, what is asked for; false for not yet.
    @param pause: Seconds between two questions.
    @return: The first true value.
    @raise NeverHappened: Not within C{seconds}.
    """
    deadline = reactor.seconds() + seconds
    while True:
        found = happened()
        if hasattr(found, "__await__"):
            found = await found
        if found:
            return found
        if reactor.seconds() > deadline:
            raise NeverHappened(f"waited in vain for {what}")
        await deferLater(reactor, pause)


async def together(**stories: Coroutine[Any, Any, None]) -> None:
    """
    Tell several stories at once: each waits most of the time.

    @raise AssertionError: Some failed; with the name and the traceback of each.
    """
    told = await DeferredList(
        [Deferred.fromCoroutine(story) for story in stories.values()], consumeErrors=True
    )
    failed = [
        f"{name}: {failure.getTraceback()}"
        for name, (well, failure) in zip(stories, told, strict=True)
        if not well
    ]
    if failed:
        raise AssertionError("\n\n".join(failed))


class _Listener(ProcessProtocol):
    """Keeps what the child says."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def outReceived(self, data: bytes) -> None:
        self._child.out += data

    def errReceived(self, data: bytes) -> None:
        self._child.err += data

    def processEnded(self, reason: Failure) -> None:
        value: Any = reason.value
        self._child.status = -value.signal if value.signal else value.exitCode
        self._child.ended.callback(None)


@define(eq=False)
class Child:
    """
    A process of the test.

    @ivar status: As a shell's C{$?} has it, or minus the signal; None while it runs.
    """

    reactor: Any
    out: bytes = b""
    err: bytes = b""
    status: int | None = None
    ended: Deferred[None] = field(factory=Deferred)
    _transport: Any = None

    @classmethod
    def start(
        cls,
        case: TestCase,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        files: Mapping[int, int | str] | None = None,
    ) -> Child:
        """
        Start it; it does not outlive the test.

        @param environment: All of it; nothing is inherited but the locale's needs.
        @param files: Which files it has, as C{spawnProcess} takes them; None for the usual three.
        """
        from twisted.internet import reactor

        child = cls(reactor)
        folder = case.mktemp()
        os.makedirs(folder)
        spawn: Any = reactor
        child._transport = spawn.spawnProcess(
            _Listener(child),
            command[0],
            list(command),
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", **environment},
            path=folder,
            childFDs=files,
        )
        case.addCleanup(child.kill)
        return child

    @property
    def pid(self) -> int:
        """Of the process, while it runs."""
        return int(self._transport.pid)

    def shot(self) -> None:
        """C{kill -9}, at once, without waiting for the end."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)

    async def kill(self) -> None:
        """C{kill -9}, and wait for the end; harmless when it has ended."""
        self.shot()
        await self.end()

    async def terminate(self) -> int | None:
        """SIGTERM, and how it ended."""
        os.kill(self.pid, signal.SIGTERM)
        return await self.end()

    async def end(self) -> int | None:
        """Wait for its end."""
        await until(self.reactor, f"the end of {self.pid_text}", lambda: self.status is not None)
        return self.status

    @property
    def pid_text(self) -> str:
        """For messages."""
        return f"the child, which said {self.said()[-2000:]}"

    def said(self) -> str:
        """Everything, on both channels."""
        return (self.out + self.err).decode(errors="replace")

    def lines(self) -> list[dict[str, Any]]:
        """
        What it logged.

        @raise ValueError: A line is no JSON.
        """
        whole = self.out[: self.out.rfind(b"\n") + 1]
        return [json.loads(line) for line in whole.splitlines()]

    def port(self) -> int | None:
        """Where it says that it listens."""
        found = re.search(rb'"message": "listening on [^"]*:(\d+)"', self.out)
        return int(found.group(1)) if found else None


def new_folder(case: TestCase) -> Path:
    """An empty directory, by its full name."""
    path = Path(case.mktemp()).resolve()
    path.mkdir(parents=True)
    return path


def new_file(case: TestCase, text: str) -> str:
    """The full name of a file with a text."""
    path = new_folder(case) / "file"
    path.write_text(text)
    return str(path)


def twistd(
    case: TestCase,
    environment: Mapping[str, str],
    *options: str,
    endpoint: bool = True,
) -> Child:
    """
    Start the daemon.

    @param endpoint: Listen on a free port of 127.0.0.1; else as options and environment say.
    """
    where = ["--endpoint", "tcp:0:interface=127.0.0.1"] if endpoint else []
    return Child.start(
        case,
        [str(TWISTD), "-n", "--pidfile=", "sandbox-billing", *where, *options],
        {"PYTHONPATH": str(PLUGIN_FOLDER), **environment},
    )

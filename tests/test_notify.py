"""What systemd is told, and when it is told nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.notify import LONGEST_STATUS, Notifier, Pulse, notifier_of, watchdog_of
from sandbox_billing.services._progress import STUCK_SECONDS, Progress


@define
class Standing:
    """A daemon's, as a test wants it."""

    progress: Progress
    started: bool = False
    wrong: dict[str, str] = field(factory=dict)

    def moving(self) -> Iterator[tuple[str, Progress]]:
        yield "settler", self.progress

    def troubles(self) -> Mapping[str, str]:
        return self.wrong


class Ending(Service):
    """Something that takes its time to stop."""

    def __init__(self) -> None:
        self.stopped: Deferred[None] = Deferred()

    def stopService(self) -> Deferred[None]:
        return self.stopped


class PulseTests(SynchronousTestCase):
    """L{Pulse}, with a socket that is read."""

    def setUp(self) -> None:
        name = f"sandbox-billing-notify-{os.getpid()}"
        self.there = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.there.close)
        self.there.bind("\0" + name)
        self.there.setblocking(False)
        self.clock = Clock()
        self.standing = Standing(Progress(self.clock.seconds))
        self.pulse = Pulse(
            daemon=self.standing,
            notifier=Notifier("@" + name),
            clock=self.clock,
            monotonic=lambda: 12_000_345,
            watchdog=20.0,
        )

    def told(self) -> list[str]:
        """Each datagram since the last look."""
        found = []
        while True:
            try:
                found.append(self.there.recv(4096).decode())
            except BlockingIOError:
                return found

    def fill(self) -> None:
        """Whoever listens has no time."""
        while self.pulse.notifier.send(X=1):
            pass

    def test_busy(self) -> None:
        """That it is ready is said again until it is heard: systemd would kill it."""
        self.standing.started = True
        self.fill()
        self.pulse.startService()
        self.told()
        self.clock.advance(1)
        self.assertEqual(self.told(), ["STATUS=working", "WATCHDOG=1", "READY=1"])
        self.clock.advance(1)
        self.assertEqual(self.told(), ["WATCHDOG=1"])
        self.pulse.reloading()
        self.fill()
        self.pulse.reloaded("reloaded")
        self.told()
        self.clock.advance(1)
        self.assertEqual(self.told(), ["WATCHDOG=1", "READY=1"])

    def test_suspended(self) -> None:
        """A machine that slept has turns that seem to hang, until they are resumed."""
        self.standing.started = True
        self.pulse.startService()
        self.standing.progress.moved_at = self.clock.seconds()
        self.clock.callLater(5, self.standing.progress.moved)
        self.told()
        self.clock.advance(STUCK_SECONDS + 100)
        self.clock.advance(1)
        self.assertEqual(set(self.told()), {"WATCHDOG=1"})

    def test_waiting(self) -> None:
        """While start-up waits it says for what, asks for more time, and is not ready."""
        self.standing.wrong = {"redis": "cannot connect"}
        self.pulse.startService()
        more = ["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=60000000"]
        self.assertEqual(self.told(), ["STATUS=waiting for redis: cannot connect", *more])
        self.clock.advance(1)
        self.assertEqual(self.told(), more)

    def test_ready(self) -> None:
        """It is ready once, and then only alive; what is wrong is its status."""
        self.standing.started = True
        self.pulse.startService()
        self.assertEqual(self.told(), ["STATUS=working", "WATCHDOG=1", "READY=1"])
        self.clock.advance(1)
        self.assertEqual(self.told(), ["WATCHDOG=1"])
        self.standing.wrong = {"watcher": "the node is away"}
        self.clock.advance(1)
        self.assertEqual(self.told(), ["STATUS=not ready: watcher: the node is away", "WATCHDOG=1"])

    def test_hangs(self) -> None:
        """A turn that hangs starves the watchdog, and is named; one that moves again feeds it."""
        self.standing.started = True
        self.pulse.startService()
        self.standing.progress.moved_at = self.clock.seconds()
        self.clock.advance(STUCK_SECONDS)
        self.clock.advance(1)
        self.told()
        self.clock.advance(1)
        self.assertEqual(self.told(), ["STATUS=hangs: settler has not moved for 602 s"])
        self.clock.advance(1)
        self.assertNotIn("WATCHDOG=1", self.told())
        self.standing.progress.moved()
        self.clock.advance(1)
        self.assertIn("WATCHDOG=1", self.told())

    def test_hangs_at_the_start(self) -> None:
        """A start-up that hangs asks for no more time."""
        self.pulse.startService()
        self.standing.progress.moved_at = self.clock.seconds()
        self.clock.advance(STUCK_SECONDS + 1)
        self.clock.advance(1)
        self.told()
        self.clock.advance(1)
        self.assertEqual([one for one in self.told() if not one.startswith("STATUS")], [])

    def test_stopping(self) -> None:
        """It says that it stops, and lives until everything has ended."""
        ending = Ending()
        ending.setServiceParent(self.pulse)  # type: ignore[no-untyped-call]
        self.pulse.startService()
        self.told()
        stopped = self.pulse.stopService()
        self.assertEqual(self.told(), ["STOPPING=1\nSTATUS=finishing what is under way"])
        self.clock.advance(1)
        self.assertEqual(self.told(), ["WATCHDOG=1"])
        self.assertNoResult(stopped)
        ending.stopped.callback(None)
        self.successResultOf(stopped)
        self.clock.advance(5)
        self.assertEqual(self.told(), [])

    def test_reload(self) -> None:
        """A reload begins at a moment that systemd can place, and ends ready."""
        self.standing.started = True
        self.pulse.startService()
        self.told()
        self.pulse.reloading()
        self.pulse.reloaded("reloaded")
        self.assertEqual(
            self.told(), ["RELOADING=1\nMONOTONIC_USEC=12000345", "READY=1\nSTATUS=reloaded"]
        )

    def test_reload_of_wrong_settings(self) -> None:
        """That a reload changed nothing is seen until the next one did."""
        self.standing.started = True
        self.pulse.startService()
        self.pulse.reloaded("the settings were not reloaded: they are wrong")
        self.told()
        self.clock.advance(1)
        said = "STATUS=the settings were not reloaded: they are wrong; working"
        self.assertEqual(self.told(), [said, "WATCHDOG=1"])
        self.pulse.reloaded("reloaded")
        self.clock.advance(1)
        self.assertEqual(self.told()[-2:], ["STATUS=working", "WATCHDOG=1"])

    def test_reload_before_ready(self) -> None:
        """A reload makes nobody ready who is not."""
        self.pulse.startService()
        self.told()
        self.pulse.reloading()
        self.pulse.reloaded("reloaded")
        self.assertEqual(self.told(), [])

    def test_one_line(self) -> None:
        """No text of a dependency's becomes a word of ours, or is long."""
        self.standing.wrong = {"redis": "no\nREADY=1" + "x" * 500}
        self.pulse.startService()
        status = self.told()[0]
        self.assertNotIn("\n", status)
        self.assertEqual(len(status), LONGEST_STATUS + len("STATUS="))

    def test_fails(self) -> None:
        """What breaks the pulse is logged, and does not keep the daemon from stopping."""
        self.pulse.startService()
        del self.standing.progress
        self.clock.advance(1)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.successResultOf(self.pulse.stopService())

    def test_nobody(self) -> None:
        """Whoever listened may be gone: nothing fails."""
        self.there.close()
        self.pulse.startService()


class EnvironmentTests(SynchronousTestCase):
    """What systemd leaves in the environment."""

    def test_notifier(self) -> None:
        """Only a path or an abstract name is one."""
        self.assertEqual(notifier_of({"NOTIFY_SOCKET": "/run/n"}), Notifier("/run/n"))
        for given in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}):
            self.assertIsNone(notifier_of(given))

    def test_watchdog(self) -> None:
        """It is ours, or another process's, or nobody's."""
        self.assertEqual(watchdog_of({"WATCHDOG_USEC": "60000000"}, 7), 60.0)
        mine = {"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "7"}
        self.assertEqual(watchdog_of(mine, 7), 0.5)
        for given in ({}, {**mine, "WATCHDOG_PID": "8"}, {"WATCHDOG_USEC": "0"}):
            self.assertIsNone(watchdog_of(given, 7))

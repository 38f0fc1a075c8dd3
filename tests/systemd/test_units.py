"""
The units: clean by systemd's own tools, and their command line does what they say.

No systemd runs here.  The test does what it would: it makes the socket, the folder of
credentials, the environment and the sandbox that can be had without it, starts the unit's own
ExecStart, listens to what it is told, and sends the signals.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from sandbox_billing.devnet.world import ADMIN_KEY
from tests.blackbox.process import PLUGIN_FOLDER, TWISTD, Child, _Listener, new_folder
from tests.blackbox.scene import Scene
from tests.systemd.units import FOLDER, HEADER, SERVICES, WORKER, Unit, allowed_calls


ANALYZE = shutil.which("systemd-analyze")

LAUNCH = Path(__file__).with_name("launch.py")

WATCHDOG_SECONDS = 2


def analyzer() -> str:
    """
    The verifier.

    @raise SkipTest: It is not here, and nobody insists.
    """
    if ANALYZE is None:
        if os.environ.get("REQUIRE_SYSTEMD"):
            raise AssertionError("REQUIRE_SYSTEMD is set, and there is no systemd-analyze")
        raise SkipTest("there is no systemd-analyze: Debian's package systemd has it")
    return ANALYZE


class UnitTests(SynchronousTestCase):
    """The files."""

    def installed(self) -> Path:
        """The units, with a program where they expect one."""
        folder = new_folder(self)  # type: ignore[arg-type]
        for path in FOLDER.glob("*.s*"):
            text = path.read_text().replace("/opt/sandbox-billing/bin/twistd", str(TWISTD))
            (folder / path.name).write_text(text)
        return folder

    def test_verify(self) -> None:
        """systemd finds nothing to say about them."""
        command = [analyzer(), "verify", *map(str, self.installed().glob("*.s*"))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_exposure(self) -> None:
        """None is exposed by more than 1.5, as systemd counts it."""
        for name in (*SERVICES, WORKER):
            command = [analyzer(), "security", "--offline=true", "--threshold=15", "--no-pager"]
            path = self.installed() / name
            done = subprocess.run([*command, path], capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stdout)

    def test_same_sandbox(self) -> None:
        """What protects one protects all."""
        first, *others = (Unit.read(name).hardening() for name in (*SERVICES, WORKER))
        self.assertEqual([first] * len(others), others)

    def test_exceptions_explained(self) -> None:
        """Each thing that systemd holds against them is explained, and nothing else is."""
        command = [analyzer(), "security", "--offline=true", "--no-pager"]
        done = subprocess.run(
            [*command, self.installed() / SERVICES[0]], capture_output=True, text=True, check=False
        )
        missed = set(re.findall(r"^✗ (\S+?)=", done.stdout, re.MULTILINE))
        page = (FOLDER.parent / "docs" / "installing.rst").read_text()
        told = page.partition("What is left open")[2].partition("\n.. _")[0]
        self.assertEqual(missed, set(re.findall(r"^\* ``(\w+)=", told, re.MULTILINE)))

    def test_every_line_explained(self) -> None:
        """The page says of each line of the sandbox what it costs."""
        page = (FOLDER.parent / "docs" / "installing.rst").read_text()
        table = page.partition("What each line costs")[2].partition("What is left open")[0]
        lines = {key for key, _ in Unit.read(SERVICES[0]).hardening()}
        self.assertEqual(lines, set(re.findall(r"``(\w+)=", table)))


class _Told(DatagramProtocol):
    """NOTIFY_SOCKET's other end."""

    def __init__(self, told: list[dict[str, str]]) -> None:
        self._told = told

    def datagramReceived(self, data: bytes, addr: Any) -> None:
        self._told.append(dict(one.split("=", 1) for one in data.decode().splitlines()))


@define(eq=False)
class Manager:
    """
    What systemd is to a service.

    @ivar told: What the process said, datagram by datagram.
    """

    case: TestCase
    settings: dict[str, str]
    folder: Path
    served: socket.socket
    told: list[dict[str, str]] = field(factory=list)

    @classmethod
    def of(cls, case: TestCase, settings: dict[str, str]) -> Manager:
        """Credentials, the environment file and the socket, for one unit after another."""
        folder = new_folder(case)
        served = socket.create_server(("127.0.0.1", 0), backlog=1024)
        case.addCleanup(served.close)
        made = cls(case, settings, folder, served)
        (folder / "credentials").mkdir()
        (folder / "credentials" / "DAYTONA_ADMIN_KEY").write_text(ADMIN_KEY + "\n")
        (folder / "credentials" / "REDIS_PASSWORD").write_text("")
        made.write()
        # Its name is short: a path of a socket may have 107 bytes.
        name = f"\0sandbox-billing-test-{os.getpid()}"
        listen: Any = reactor
        listening = listen.listenUNIXDatagram(name, _Told(made.told))
        case.addCleanup(listening.stopListening)
        return made

    def write(self, **changes: str) -> None:
        """The environment file."""
        lines = [f"{name}={value}" for name, value in {**self.settings, **changes}.items()]
        (self.folder / "environment").write_text("\n".join(lines) + "\n")

    def start(self, name: str, instance: str = "", *, calls: list[int] | None = None) -> Child:
        """A service of ours."""
        unit = Unit.read(name)
        command = unit.command(
            {
                "/opt/sandbox-billing/bin/twistd": str(TWISTD),
                "/etc/sandbox-billing/environment": str(self.folder / "environment"),
                "%d": str(self.folder / "credentials"),
            }
        )
        families = [getattr(socket, one) for one in unit.one("RestrictAddressFamilies").split()]
        plan = {"calls": calls, "families": families, "mdwe": has_mdwe()}
        child = Child(reactor)
        spawn: Any = reactor
        child._transport = spawn.spawnProcess(
            _Listener(child),
            sys.executable,
            [sys.executable, str(LAUNCH), json.dumps(plan), *command],
            env={
                "PATH": os.environ.get("PATH", ""),
                "PYTHONPATH": str(PLUGIN_FOLDER),
                "NOTIFY_SOCKET": f"@sandbox-billing-test-{os.getpid()}",
                "WATCHDOG_USEC": str(WATCHDOG_SECONDS * 10**6),
                "LISTEN_FDS": "1",
                "LISTEN_FDNAMES": "sandbox-billing.socket",
                **unit.environment(instance),
                # Ours is the machine's own: any free port.
                "METRICS_ADDR": "127.0.0.1:0",
            },
            path=str(self.folder),
            childFDs={0: "w", 1: "r", 2: "r", 3: self.served.fileno()},
        )
        self.case.addCleanup(child.kill)
        return child

    def said(self, name: str) -> list[str]:
        """Every value of a word, in order."""
        return [one[name] for one in self.told if name in one]

    def reloaded(self) -> str:
        """What was said at the end of a reload; a beat may have had another word before."""
        return next(one["STATUS"] for one in self.told if "READY" in one)


def has_mdwe() -> bool:
    """Whether this kernel can refuse memory that is writable and executable: 6.3."""
    major, minor = re.match(r"(\d+)\.(\d+)", platform.release()).groups()  # type: ignore[union-attr]
    return (int(major), int(minor)) >= (6, 3)


def filtered() -> list[int] | None:
    """The system calls of the unit; None where they cannot be known."""
    if ANALYZE is None or platform.machine() != "x86_64" or not HEADER.exists():
        return None
    return allowed_calls(Unit.read(SERVICES[0]).all("SystemCallFilter"))


class LifeTests(TestCase):
    """A service's life under its unit."""

    timeout = 600

    async def test_life(self) -> None:
        """Waits, is ready, feeds the watchdog, reloads, hands its socket on, and stops."""
        scene = await Scene.open(self)
        environment = scene.environment()
        environment.pop("DAYTONA_ADMIN_KEY")
        manager = Manager.of(self, environment)
        child = scene.daemon = manager.start(SERVICES[0], calls=filtered())
        await scene.until("READY", lambda: "1" in manager.said("READY"))
        self.assertEqual(manager.said("STATUS")[0], "starting")
        self.assertEqual(set(manager.said("EXTEND_TIMEOUT_USEC")), {"60000000"})
        port = manager.served.getsockname()[1]
        self.assertEqual(child.port(), port)
        base = f"http://127.0.0.1:{port}"
        self.assertEqual((await scene.get(base, "/healthz"))[0], 200)
        fed = len(manager.said("WATCHDOG"))
        await scene.until("the watchdog to be fed", lambda: len(manager.said("WATCHDOG")) > fed)

        await self.reloads(scene, manager, child)

        scene.daemon = None
        os.kill(child.pid, signal.SIGTERM)
        await scene.until("it to stop", lambda: "1" in manager.said("STOPPING"))
        self.assertEqual(await child.end(), 0, child.said())
        self.assertEqual(child.err, b"")
        # Nobody is there; who comes now waits.
        waiting = Deferred.fromCoroutine(scene.get(base, "/healthz"))
        manager.told.clear()
        scene.daemon = manager.start(SERVICES[1], "01", calls=filtered())
        self.assertEqual((await waiting)[0], 200)
        await scene.until("READY", lambda: "1" in manager.said("READY"))
        self.assertEqual(await scene.daemon.terminate(), 0)
        scene.daemon = None

    async def reloads(self, scene: Scene, manager: Manager, child: Child) -> None:
        """A reload is dated and ended; what is wrong changes nothing."""
        manager.write(COMPUTE_PRICE_PER_SEC="5", BATCH_MAX="7")
        manager.told.clear()
        os.kill(child.pid, signal.SIGHUP)
        await scene.until("the reload", lambda: manager.said("READY"))
        began = next(one for one in manager.told if "RELOADING" in one)
        self.assertEqual(began["RELOADING"], "1")
        self.assertTrue(began["MONOTONIC_USEC"].isdigit())
        self.assertEqual(manager.reloaded(), "reloaded; waiting for a restart: 1 settings")
        for told in ('"settings": "BATCH_MAX"', '"rate": "300"'):
            await scene.until(told, lambda told=told: told in child.said())
        manager.write(COMPUTE_PRICE_PER_SEC="much")
        manager.told.clear()
        os.kill(child.pid, signal.SIGHUP)
        await scene.until("the reload", lambda: manager.said("READY"))
        self.assertIn("the settings were not reloaded", manager.reloaded())
        wrong = "COMPUTE_PRICE_PER_SEC must be a whole number"
        await scene.until(wrong, lambda: wrong in child.said())
        manager.write()

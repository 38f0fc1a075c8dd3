"""The server of our own."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sandbox_billing.devnet.redis import (
    OWN_PORTS,
    RedisServer,
    RedisServerService,
    ServerOptions,
    answers,
    find_executable,
    free_port,
)
from sandbox_billing.errors import Transient
from tests.redis_server import Respite, new_server


class RedisServerTests(SynchronousTestCase):
    """By blocking calls."""

    def test_executable(self) -> None:
        """A binary is found, and can be run."""
        self.assertTrue(os.access(find_executable(), os.X_OK))

    def test_life(self) -> None:
        """It answers when it is started, does not when it is stopped, and keeps its data."""
        server = new_server()
        client = Respite(server.port)
        client.call("SET", "a", "1")
        client.close()
        server.stop()
        server.stop()
        self.assertFalse(answers(server.port))
        server.start()
        client = Respite(server.port)
        self.assertEqual(client.call("GET", "a"), b"1")
        client.close()
        server.stop()

    def test_loopback_only(self) -> None:
        """It listens where nobody else can reach it."""
        server = new_server()
        client = Respite(server.port)
        self.assertEqual(client.call("CONFIG", "GET", "bind"), [b"bind", b"127.0.0.1"])
        client.close()
        server.stop()

    def test_password(self) -> None:
        """It can be made to ask for a password."""
        server = new_server(password="development-only")
        self.addCleanup(server.stop)
        client = Respite(server.port)
        self.addCleanup(client.close)
        self.assertRaises(RuntimeError, client.call, "GET", "a")
        client.call("AUTH", "development-only")
        self.assertIsNone(client.call("GET", "a"))
        self.assertNotIn("development-only", repr(server))

    def test_port_of_nobody(self) -> None:
        """No port is named that the system may give to somebody else before it is used."""
        for _ in range(20):
            self.assertIn(free_port(), OWN_PORTS)

    def test_nothing_to_start(self) -> None:
        """A server that ends at once is told of, not waited for."""
        options = ServerOptions(directory=Path("/nonexistent"), port=free_port())
        self.assertRaises(Transient, RedisServer(options).start)


class RedisServerServiceTests(TestCase):
    """As a part of a service tree."""

    timeout = 300

    def setUp(self) -> None:
        """The real reactor: it spawns processes."""
        from twisted.internet import reactor

        self.reactor: Any = reactor

    async def test_life(self) -> None:
        """It is ready, ends with the service, and takes its directory with it."""
        service = RedisServerService(self.reactor)
        service.startService()
        await service.ready()
        await service.ready()
        assert service.options is not None
        self.assertTrue(answers(service.port))
        directory = service.options.directory
        self.assertTrue(directory.exists())
        await service.stopService()
        self.assertFalse(answers(service.port))
        self.assertFalse(directory.exists())

    async def test_kept_directory(self) -> None:
        """A given directory is made, used and kept."""
        directory = Path(tempfile.mkdtemp()) / "deeper"
        for expected in (None, b"1"):
            service = RedisServerService(self.reactor, data=directory)
            service.startService()
            await service.ready()
            client = Respite(service.port)
            self.assertEqual(client.call("GET", "a"), expected)
            client.call("SET", "a", "1")
            client.close()
            await service.stopService()

    async def test_never_started(self) -> None:
        """Stopping what was not started is harmless."""
        await RedisServerService(self.reactor).stopService()

    async def test_killed_from_outside(self) -> None:
        """Stopping what has ended by itself is harmless."""
        service = RedisServerService(self.reactor)
        service.startService()
        await service.ready()
        os.kill(service._process.pid, 9)
        await service._ended.wait()
        await service.stopService()

    async def test_does_not_come_up(self) -> None:
        """Who waits for a server that ends at once is told why."""
        with tempfile.NamedTemporaryFile() as no_directory:
            service = RedisServerService(self.reactor, data=Path(no_directory.name))
            with self.assertRaises(OSError):
                service.startService()
        directory = Path(tempfile.mkdtemp())
        (directory / "appendonlydir").write_text("no directory")
        service = RedisServerService(self.reactor, data=directory)
        service.startService()
        try:
            await ensureDeferred(service.ready())
        except Transient as why:
            self.assertIn("did not come up", str(why))
        else:
            self.fail("it came up")
        await service.stopService()

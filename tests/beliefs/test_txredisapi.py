"""What we lean on in txredisapi and in the server; an upgrade that changes it tells us here."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.redis_server import Respite, new_server, shared_server


class BeliefCase(TestCase):
    """A connection made as the adapter makes it."""

    timeout = 300

    def setUp(self) -> None:
        """The shared server, empty."""
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.server = shared_server()
        self.client = Respite(self.server.port)
        self.addCleanup(self.client.close)
        self.client.call("FLUSHALL")

    def factory(self, port: int, **options: Any) -> Any:
        """Connecting."""
        from txredisapi import RedisFactory

        settings = {"charset": None, "convertNumbers": False, **options}
        factory = RedisFactory("belief", None, 1, **settings)
        factory.initialDelay = 0.05
        factory.startConnecting(TCP4ClientEndpoint(self.reactor, "127.0.0.1", port))
        self.addCleanup(factory.disconnect)
        return factory


class TxredisapiTests(BeliefCase):
    """The client."""

    async def test_guessing(self) -> None:
        """By default text becomes numbers; switched off, bytes stay what they are."""
        self.client.call("SET", "a", "007")
        plain = await self.factory(self.server.port).deferred
        self.assertEqual(await plain.get("a"), b"007")
        guessing = await self.factory(
            self.server.port, convertNumbers=True, charset="utf-8"
        ).deferred
        self.assertEqual(await guessing.get("a"), 7)

    async def test_connection_in_the_pool(self) -> None:
        """A usable connection stands in C{pool}, and answers in the order it was asked."""
        factory = self.factory(self.server.port)
        await factory.deferred
        (protocol,) = factory.pool
        replies = [protocol.execute_command("INCR", "n") for _ in range(50)]
        self.assertEqual(await gatherResults(replies), list(range(1, 51)))

    async def test_wrong_password(self) -> None:
        """AUTH that is refused fails the factory with ValueError, and ends its tries."""
        factory = self.factory(self.server.port, password="wrong")
        await self.assertFailure(factory.deferred, ValueError)
        self.assertTrue(factory.stopped)

    async def test_lost_in_flight(self) -> None:
        """A command whose connection ends is a ConnectionError."""
        from txredisapi import ConnectionError

        server = new_server()
        self.addCleanup(server.stop)
        factory = self.factory(server.port)
        await factory.deferred
        server.suspend()
        reply = factory.pool[0].execute_command("INCR", "n")
        server.kill()
        await self.assertFailure(reply, ConnectionError)

    async def test_cancelled_wait(self) -> None:
        """A cancelled wait for a connection does not disturb the next one."""
        server = new_server()
        self.addCleanup(server.stop)
        factory = self.factory(server.port)
        await factory.deferred
        server.stop()
        while factory.pool:
            await deferLater(self.reactor, 0.01)
        waiting: Deferred[Any] = factory.getConnection(peek=True)
        waiting.addErrback(lambda failure: None)
        waiting.cancel()
        server.start()
        protocol = await factory.getConnection(peek=True)
        self.assertEqual(await protocol.execute_command("INCR", "n"), 1)

    async def test_cancelled_reply(self) -> None:
        """A cancelled reply is skipped; the replies after it go to whom they belong."""
        factory = self.factory(self.server.port)
        await factory.deferred
        (protocol,) = factory.pool
        first = protocol.execute_command("INCR", "n")
        second = protocol.execute_command("INCR", "n")
        first.addErrback(lambda failure: None)
        first.cancel()
        self.assertEqual(await second, 2)

    async def test_error_reply(self) -> None:
        """An error is a ResponseError with the server's own words."""
        from txredisapi import ResponseError

        factory = self.factory(self.server.port)
        await factory.deferred
        (protocol,) = factory.pool
        for command, words in (
            (("EVALSHA", "0" * 40, 0), "NOSCRIPT"),
            (("EVAL", "return redis.error_reply('WRONGTYPE x')", 0), "WRONGTYPE x"),
            (("NOSUCH",), "ERR unknown command"),
        ):
            why = await self.assertFailure(protocol.execute_command(*command), ResponseError)
            self.assertTrue(str(why).startswith(words), str(why))


class ServerTests(BeliefCase):
    """The server."""

    async def test_setrange_of_nothing(self) -> None:
        """SETRANGE with an empty text writes nothing, and is refused where writes are."""
        self.client.call("SETRANGE", "none", 0, "")
        self.assertEqual(self.client.call("EXISTS", "none"), 0)
        self.client.call("SET", "some", "abc")
        self.client.call("SETRANGE", "some", 0, "")
        self.assertEqual(self.client.call("GET", "some"), b"abc")
        self.client.call("CONFIG", "SET", "maxmemory", "1")
        self.addCleanup(self.client.call, "CONFIG", "SET", "maxmemory", "0")
        self.assertRaises(RuntimeError, self.client.call, "SETRANGE", "none", 0, "")
        self.client.call("DEL", "some")

    async def test_broken_script_keeps_its_writes(self) -> None:
        """A script that fails in its middle is not undone: so ours fails before it writes."""
        text = "redis.call('SET', KEYS[1], 'x') return redis.call('RPUSH', KEYS[1], 'y')"
        self.assertRaises(RuntimeError, self.client.call, "EVAL", text, 1, "half")
        self.assertEqual(self.client.call("GET", "half"), b"x")

    async def test_script_is_whole_after_a_power_cut(self) -> None:
        """A script's writes are in the append-only file together, or not at all."""
        server = new_server(more=("--appendfsync", "always"))
        self.addCleanup(server.stop)
        client = Respite(server.port)
        text = "for i = 1, 50 do redis.call('RPUSH', KEYS[1], i) end return 1"
        for _ in range(5):
            client.call("EVAL", text, 1, "l")
        client.close()
        server.kill()
        (newest,) = server.options.directory.glob("appendonlydir/*.incr.aof")
        whole = newest.read_bytes()
        newest.write_bytes(whole[:-7])
        server.start()
        client = Respite(server.port)
        self.addCleanup(client.close)
        self.assertEqual(client.call("LLEN", "l"), 200)

    async def test_waitaof_of_another_connection(self) -> None:
        """WAITAOF speaks of what its own connection has written, so it must have."""
        other = Respite(self.server.port)
        self.addCleanup(other.close)
        self.assertEqual(other.call("WAITAOF", 1, 0, 100), [1, 0])
        factory = self.factory(self.server.port)
        await factory.deferred
        (protocol,) = factory.pool
        waits = [
            protocol.execute_command(*c) for c in (("SET", "a", "1"), ("WAITAOF", 1, 0, 120_000))
        ]
        _, waited = await gatherResults([ensureDeferred(_wait(d)) for d in waits])
        self.assertEqual(waited, [1, 0])


async def _wait(reply: Deferred[Any]) -> Any:
    return await reply

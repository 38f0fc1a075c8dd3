"""A real server, and what happens to it and on the way to it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.redis.commit import (
    Commit,
    Outcome,
    Read,
    Write,
    absent,
    holds,
)
from sandbox_billing.adapters.redis.keyspace import RedisKeyspace, time_offset
from sandbox_billing.adapters.redis.seam import IKeyspace
from sandbox_billing.adapters.system import SystemClock
from sandbox_billing.devnet.redis import RedisServer, free_port
from sandbox_billing.errors import BadInput, StoreDown, Transient, UnknownOutcome
from sandbox_billing.ledger.money import UnixSeconds
from tests.ports.journal import Wall
from tests.redis_server import Respite, new_server, shared_server
from tests.wire_cutter import WireCutter


MARK = "billing:on-disk:test"


def fact(key: str = "a", value: bytes = b"1") -> Commit:
    """Something that is done once and recognised afterwards."""
    return Commit(
        name="fact",
        fence="fence",
        expectations=(absent(key),),
        witness=holds(key, value),
        writes=(Write("SET", key, (value,)), Write("HINCRBY", "times", (key, 1))),
        reads=(Read("HGET", "times", (key,)),),
    )


class _Passing:
    """A clock that stands at one moment after another, and at the last."""

    def __init__(self, *moments: int) -> None:
        self.moments = list(moments)

    def now(self) -> UnixSeconds:
        """The next of them."""
        return UnixSeconds(self.moments.pop(0) if len(self.moments) > 1 else self.moments[0])


class _Waited:
    """A clock that keeps what it was asked to wait for, and does not wait."""

    def __init__(self, reactor: Any) -> None:
        self.waits: list[float] = []
        self._reactor = reactor

    def callLater(self, delay: float, call: Any, *arguments: Any) -> Any:
        """At once."""
        self.waits.append(delay)
        return self._reactor.callLater(0, call, *arguments)


class KeyspaceCase(TestCase):
    """A server, an honest client beside the adapter, and the adapter."""

    timeout = 300

    def setUp(self) -> None:
        """The shared server, empty."""
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.server = shared_server()
        self.client = Respite(self.server.port)
        self.addCleanup(self.client.close)
        self.client.call("FLUSHALL")

    def keyspace(self, port: int, **changes: Any) -> RedisKeyspace:
        """One that is closed when the test ends."""
        made = RedisKeyspace(
            host="127.0.0.1", port=port, clock=self.reactor, wall=Wall(), **changes
        )
        self.addCleanup(lambda: ensureDeferred(made.close()))
        return made

    def own_server(self, **options: Any) -> RedisServer:
        """One that may be maltreated."""
        server = new_server(**options)
        self.addCleanup(server.stop)
        return server

    def wait(self, keyspace: RedisKeyspace, seconds: float) -> None:
        """How long it waits for an answer from now on: long, but where nothing answers."""
        for connection in (keyspace._facts_connection, keyspace._disk_connection):
            connection.timeout_seconds = seconds

    async def refused(self, error: type[Exception], call: Any) -> str:
        """@return: What it says."""
        try:
            result = await call
        except error as why:
            self.assertIs(type(why), error)
            return str(why)
        self.fail(f"{error.__name__} was not raised, the answer was {result!r}")
        return ""


class WorkingTests(KeyspaceCase):
    """When all goes well."""

    async def test_facts(self) -> None:
        """The server tells what start-up asks for."""
        keyspace = self.keyspace(self.server.port)
        verifyObject(IKeyspace, keyspace)
        keyspace.wall = SystemClock()
        facts = await keyspace.facts()
        self.assertRegex(facts.version, r"\d+\.\d+")
        self.assertEqual(len(facts.run_id), 40)
        self.assertEqual(facts.maxmemory_policy, "noeviction")
        self.assertTrue(facts.appendonly)
        self.assertLess(abs(facts.time_offset_seconds), 2)
        self.assertEqual(await keyspace.read([Read("GET", "nothing")]), (None,))

    async def test_slow_answer(self) -> None:
        """
        What an answer took, at a server or a machine that is busy, is no difference of clocks:
        start-up would refuse to start for it, and not be started again.
        """
        keyspace, now = self.keyspace(self.server.port), int(self.reactor.seconds())
        keyspace.wall = _Passing(now, now + 20)
        self.assertLess(abs((await keyspace.facts()).time_offset_seconds), 1)

    def test_time_offset(self) -> None:
        """What differs by more than the call took is told, less what that took."""
        for told, asked_at, answered_at, offset in (
            (100.25, 100, 100, 0.25),
            (100.25, 99, 100, 0.5),
            (100.25, 96, 100, 0.5),
            (110.25, 96, 100, 10.25),
            (90.25, 96, 100, -5.75),
        ):
            self.assertEqual(offset, time_offset(told, asked_at, answered_at))

    async def test_forgotten_script(self) -> None:
        """A server that has forgotten the script is told it again."""
        keyspace = self.keyspace(self.server.port)
        await keyspace.connect()
        for number in range(2):
            self.client.call("SCRIPT", "FLUSH")
            done = await keyspace.commit(fact(f"key-{number}"))
            self.assertEqual((done.outcome, done.reads), (Outcome.DONE, (b"1",)))

    async def test_order(self) -> None:
        """Facts are carried out in the order in which they were begun."""
        keyspace = self.keyspace(self.server.port)
        await keyspace.connect()
        await keyspace.commit(fact("script is loaded"))
        pushes = [Write("RPUSH", "l", (number,)) for number in range(200)]
        await gatherResults(
            ensureDeferred(keyspace.commit(Commit(name="push", fence="f", writes=(push,))))
            for push in pushes
        )
        expected = [b"%d" % number for number in range(200)]
        self.assertEqual(self.client.call("LRANGE", "l", 0, -1), expected)

    async def test_large_answer(self) -> None:
        """An answer of megabytes arrives whole."""
        raw = bytes(range(256)) * 8192
        self.client.call("SET", "large", raw)
        keyspace = self.keyspace(self.server.port)
        await keyspace.connect()
        self.assertEqual(await keyspace.read([Read("GET", "large")] * 2), (raw, raw))

    async def test_numbers_stay_text(self) -> None:
        """Nothing guesses types from content."""
        keyspace = self.keyspace(self.server.port)
        await keyspace.connect()
        for raw in (b"007", b"1_000", b"+5", b"12 ", b"16667.0", b"", b"-1", b"\xff\xfe"):
            self.client.call("SET", "n", raw)
            self.assertEqual(await keyspace.read([Read("GET", "n")]), (raw,))

    async def test_on_disk(self) -> None:
        """What is proven to be on disk survives a power cut."""
        server = self.own_server()
        keyspace = self.keyspace(server.port)
        await keyspace.connect()
        await keyspace.commit(fact())
        await keyspace.wait_for_disk(MARK, [holds("a", b"1")])
        server.kill()
        server.start()
        client = Respite(server.port)
        self.addCleanup(client.close)
        self.assertEqual(client.call("GET", "a"), b"1")
        done = await keyspace.commit(fact())
        self.assertEqual(done.outcome, Outcome.ALREADY)

    async def test_not_what_is_on_disk(self) -> None:
        """Waiting for the disk is not fooled by a server that came back without it."""
        keyspace = self.keyspace(self.server.port)
        await keyspace.connect()
        await keyspace.commit(fact())
        self.client.call("FLUSHALL")
        await self.refused(Transient, keyspace.wait_for_disk(MARK, [holds("a", b"1")]))

    async def test_no_append_only_file(self) -> None:
        """Without a file nothing is proven, unless forgetting was allowed."""
        server = self.own_server(appendonly=False)
        keyspace = self.keyspace(server.port)
        self.assertFalse((await keyspace.facts()).appendonly)
        await keyspace.commit(fact())
        text = await self.refused(Transient, keyspace.wait_for_disk(MARK, [holds("a", b"1")]))
        self.assertIn("append-only", text)
        volatile = self.keyspace(server.port, allow_volatile=True)
        await volatile.wait_for_disk(MARK, [holds("a", b"1")])

    async def test_disk_too_slow(self) -> None:
        """What did not reach the disk in time is not proven."""
        server = self.own_server(more=("--appendfsync", "no"))
        keyspace = self.keyspace(server.port)
        await keyspace.connect()
        await keyspace.commit(fact())
        await self.refused(Transient, keyspace.wait_for_disk(MARK, [holds("a", b"1")]))

    async def test_servers_without_waitaof(self) -> None:
        """Before Redis 7.2: at once under always, two seconds under everysec, else never."""
        server = self.own_server(more=("--rename-command", "WAITAOF", ""))
        client = Respite(server.port)
        self.addCleanup(client.close)
        keyspace = self.keyspace(server.port)
        await keyspace.connect()
        await keyspace.commit(fact())
        keyspace.clock = clock = _Waited(self.reactor)
        for policy, waits in (("always", []), ("everysec", [2.0])):
            client.call("CONFIG", "SET", "appendfsync", policy)
            clock.waits.clear()
            await keyspace.wait_for_disk(MARK, [holds("a", b"1")])
            self.assertEqual(clock.waits, waits)
        client.call("CONFIG", "SET", "appendfsync", "no")
        await self.refused(Transient, keyspace.wait_for_disk(MARK, [holds("a", b"1")]))

    async def test_go_keys(self) -> None:
        """What the Go system left is found, and our own sessions are not taken for it."""
        keyspace = self.keyspace(self.server.port)
        await keyspace.connect()
        for number in range(2000):
            self.client.call("SET", f"billing:compute:{number}", "{}")
        self.assertEqual(await keyspace.go_keys("0xAb"), ())
        self.client.call("RPUSH", "voucher:dlq:0xAb", "x")
        self.client.call("SADD", "voucher:held-users:0xab", "x")
        self.client.call("HSET", "billing:compute:old", "owner", "x")
        self.assertEqual(
            await keyspace.go_keys("0xAb"),
            ("voucher:dlq:0xAb", "voucher:held-users:0xab", "billing:compute:old"),
        )

    async def test_facts_do_not_wait_for_the_disk(self) -> None:
        """While one fact waits for the disk, others are carried out."""
        keyspace = self.keyspace(self.server.port)
        await keyspace.connect()
        await keyspace.commit(fact())
        waiting = ensureDeferred(keyspace.wait_for_disk(MARK, [holds("a", b"1")]))
        await keyspace.commit(fact("b"))
        slow = [ensureDeferred(keyspace.read([Read("GET", "b")])) for _ in range(20)]
        await gatherResults(slow)
        await waiting


class RefusalTests(KeyspaceCase):
    """What the server refuses was not done."""

    async def test_wrong_password(self) -> None:
        """A wrong password, or none, is a wrong setting and not told to anybody."""
        server = self.own_server(password="development-only")
        for password in ("a-wrong-one", None):
            keyspace = self.keyspace(server.port, password=password)
            text = await self.refused(BadInput, keyspace.connect())
            self.assertIn("REDIS_PASSWORD", text)
            self.assertNotIn("a-wrong-one", text + repr(keyspace))
            await self.refused(BadInput, keyspace.connect())
        keyspace = self.keyspace(server.port, password="development-only")
        await keyspace.connect()
        self.assertEqual((await keyspace.commit(fact())).outcome, Outcome.DONE)

    async def test_needless_password(self) -> None:
        """A password for a server that has none is a wrong setting as well."""
        keyspace = self.keyspace(self.server.port, password="development-only")
        await self.refused(BadInput, keyspace.connect())

    async def test_full(self) -> None:
        """A full server refuses a fact, and takes it when there is room."""
        server = self.own_server()
        client = Respite(server.port)
        self.addCleanup(client.close)
        keyspace = self.keyspace(server.port)
        await keyspace.connect()
        client.call("CONFIG", "SET", "maxmemory", "1")
        await self.refused(StoreDown, keyspace.commit(fact()))
        self.assertEqual(await keyspace.read([Read("GET", "a")]), (None,))
        client.call("CONFIG", "SET", "maxmemory", "0")
        self.assertEqual((await keyspace.commit(fact())).outcome, Outcome.DONE)

    async def test_read_only(self) -> None:
        """A server that has become a replica refuses, with nothing done."""
        server = self.own_server()
        client = Respite(server.port)
        self.addCleanup(client.close)
        keyspace = self.keyspace(server.port)
        await keyspace.connect()
        client.call("REPLICAOF", "127.0.0.1", free_port())
        await self.refused(StoreDown, keyspace.commit(fact()))
        client.call("REPLICAOF", "NO", "ONE")
        self.assertEqual((await keyspace.commit(fact())).outcome, Outcome.DONE)

    async def test_somebody_elses_key(self) -> None:
        """A key of another type is a wrong setting: it is nobody's to overwrite."""
        self.client.call("RPUSH", "times", "x")
        keyspace = self.keyspace(self.server.port)
        await keyspace.connect()
        await self.refused(BadInput, keyspace.commit(fact()))
        self.assertIsNone(self.client.call("GET", "a"))


class AbsenceTests(KeyspaceCase):
    """No server, no answer, no connection."""

    async def test_not_connected_yet(self) -> None:
        """A server that is not there is waited for, and found when it comes."""
        server = self.own_server()
        server.stop()
        keyspace = self.keyspace(server.port, timeout_seconds=0.3)
        await self.refused(StoreDown, keyspace.commit(fact()))
        await self.refused(StoreDown, keyspace.connect())
        await self.refused(StoreDown, keyspace.commit(fact()))
        await self.refused(StoreDown, keyspace.facts())
        server.start()
        self.wait(keyspace, 60)
        await self.eventually(keyspace)
        # What timed out while waiting was never sent, not even now.
        self.assertEqual(await keyspace.read([Read("GET", "a")]), (None,))

    async def eventually(self, keyspace: RedisKeyspace) -> None:
        """It reconnects by itself."""
        deadline = self.reactor.seconds() + 120
        while self.reactor.seconds() < deadline:
            try:
                await keyspace.connect()
            except Transient:
                await deferLater(self.reactor, 0.02)
            else:
                return
        self.fail("it did not reconnect")

    async def test_no_answer(self) -> None:
        """A fact that was sent and not answered may have been done; a read was only a read."""
        server = self.own_server()
        keyspace = self.keyspace(server.port, timeout_seconds=60)
        await keyspace.connect()
        await keyspace.commit(fact("script is loaded"))
        server.suspend()
        self.wait(keyspace, 0.3)
        try:
            await self.refused(UnknownOutcome, keyspace.commit(fact()))
            await self.refused(StoreDown, keyspace.read([Read("GET", "a")]))
        finally:
            server.resume()
        self.wait(keyspace, 60)
        self.assertEqual((await keyspace.commit(fact())).outcome, Outcome.ALREADY)

    async def test_closed(self) -> None:
        """After closing nothing is sent, and closing again is harmless."""
        keyspace = self.keyspace(self.server.port)
        await keyspace.connect()
        await keyspace.close()
        await keyspace.close()
        await self.refused(StoreDown, keyspace.commit(fact()))

    async def test_restart(self) -> None:
        """A restarted server is used again, under another run id."""
        server = self.own_server()
        keyspace = self.keyspace(server.port)
        before = await keyspace.facts()
        server.stop()
        server.start()
        self.assertEqual((await keyspace.commit(fact())).outcome, Outcome.DONE)
        self.assertNotEqual((await keyspace.facts()).run_id, before.run_id)

    async def cut_around(self, *, after: bool) -> None:
        """A fact is done once though the wire is cut, and its answer is the same."""
        cutter = WireCutter(self.reactor, self.server.port)
        keyspace = self.keyspace(await cutter.start())
        self.addCleanup(lambda: ensureDeferred(cutter.stop()))
        await keyspace.connect()
        await keyspace.commit(fact("script is loaded"))
        if after:
            cutter.after = b"times"
        else:
            cutter.before = b"times"
        done = await keyspace.commit(fact())
        self.assertEqual(cutter.cuts, 1)
        self.assertEqual(done.outcome, Outcome.ALREADY if after else Outcome.DONE)
        self.assertEqual(done.reads, (b"1",))
        self.assertEqual(self.client.call("HGET", "times", "a"), b"1")

    async def test_lost_request(self) -> None:
        """A fact that did not arrive is sent again."""
        await self.cut_around(after=False)

    async def test_lost_reply(self) -> None:
        """A fact whose reply was lost is recognised, not repeated."""
        await self.cut_around(after=True)

    async def test_lost_for_good(self) -> None:
        """A fact that can be asked about no more is of unknown outcome."""
        cutter = WireCutter(self.reactor, self.server.port)
        keyspace = self.keyspace(await cutter.start(), timeout_seconds=60)
        self.addCleanup(lambda: ensureDeferred(cutter.stop()))
        await keyspace.connect()
        await keyspace.commit(fact("script is loaded"))
        cutter.after = b"times"
        committing: Deferred[Any] = ensureDeferred(keyspace.commit(fact()))
        cutter.target = free_port()
        # It is on its way; what follows are tries to connect to nobody.
        self.wait(keyspace, 0.5)
        await self.refused(UnknownOutcome, committing)
        self.assertEqual(self.client.call("GET", "a"), b"1")

    async def test_read_cut(self) -> None:
        """A read that got no answer is a failed read."""
        cutter = WireCutter(self.reactor, self.server.port)
        keyspace = self.keyspace(await cutter.start())
        self.addCleanup(lambda: ensureDeferred(cutter.stop()))
        await keyspace.connect()
        cutter.after = b"GET"
        await self.refused(StoreDown, keyspace.read([Read("GET", "a")]))
        self.assertEqual(await keyspace.read([Read("GET", "a")]), (None,))

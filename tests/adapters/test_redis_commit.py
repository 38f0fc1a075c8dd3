"""The language of facts, and the two that speak it: the script and the dictionaries."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.memory import MemoryKeyspace
from sandbox_billing.adapters.redis.commit import (
    Commit,
    Committed,
    Expectation,
    Outcome,
    Read,
    Write,
    absent,
    holds,
    understand,
)
from sandbox_billing.adapters.redis.keyspace import script
from sandbox_billing.errors import BadInput
from tests.ports.journal_worlds import _plain, server_value
from tests.redis_server import Respite, shared_server


# Keys and values are few, so that steps meet; each key has one type most of the time.
TYPES = {"s": "string", "h": "hash", "z": "zset", "l": "list", "m": "set"}
WORDS = st.sampled_from(["", "a", "b", "1", "2", "$3:x", "*1:", "-", "é\r\n", "9" * 40])
RAW = WORDS.map(str.encode)
SCORES = st.integers(-3, 3)
FIELDS = st.sampled_from(["a", "b", "#rev"])


def _step(cls: Any, name: str, kind: str, *arguments: SearchStrategy[Any]) -> SearchStrategy[Any]:
    own = st.sampled_from([f"{kind}1", f"{kind}2"])
    # Now and then a key of another type, to try what is refused.
    keys = st.one_of(own, own, own, own, own, st.sampled_from([f"{k}1" for k in TYPES]))
    return st.builds(lambda key, *parts: cls(name, key, parts), keys, *arguments)


EXPECTATIONS: SearchStrategy[Expectation] = st.one_of(
    _step(Expectation, "is", "s", RAW),
    st.sampled_from([absent(f"{k}{n}") for k in TYPES for n in (1, 2)]),
    _step(Expectation, "hash-is", "h", FIELDS, RAW),
    _step(Expectation, "hash-absent", "h", FIELDS),
    _step(Expectation, "set-size", "m", st.integers(0, 3)),
    _step(Expectation, "list-begins", "l", RAW),
    _step(Expectation, "list-ends", "l", RAW),
)

WRITES: SearchStrategy[Write] = st.one_of(
    _step(Write, "SET", "s", RAW),
    _step(Write, "SET", "s", RAW, st.just("EX"), st.integers(100, 200)),
    _step(Write, "DEL", "s"),
    _step(Write, "DEL", "z"),
    _step(Write, "EXPIRE", "h", st.integers(100, 200)),
    _step(Write, "PERSIST", "h"),
    _step(Write, "HSET", "h", st.just("a"), RAW),
    _step(Write, "HSET", "h", st.just("a"), RAW, st.just("b"), RAW),
    _step(Write, "HSETNX", "h", st.just("b"), RAW),
    _step(Write, "HDEL", "h", FIELDS),
    _step(Write, "HDEL", "h", FIELDS, FIELDS),
    _step(Write, "HINCRBY", "h", st.just("#rev"), st.just(1)),
    _step(Write, "ZADD", "z", SCORES, WORDS),
    _step(Write, "ZADD", "z", SCORES, WORDS, SCORES, WORDS),
    _step(Write, "ZADD", "z", st.sampled_from(["NX", "XX", "LT"]), SCORES, WORDS),
    _step(Write, "ZADD", "z", st.just("XX"), st.just("LT"), SCORES, WORDS),
    _step(Write, "ZREM", "z", WORDS),
    _step(Write, "ZREMRANGEBYSCORE", "z", st.just("-inf"), SCORES),
    _step(Write, "RPUSH", "l", WORDS),
    _step(Write, "LINSERT", "l", st.just("BEFORE"), WORDS, WORDS),
    _step(Write, "LREM", "l", st.just(1), WORDS),
    _step(Write, "LTRIM", "l", st.integers(-3, 2), st.integers(-3, 2)),
    _step(Write, "SADD", "m", WORDS),
    _step(Write, "SREM", "m", WORDS),
)

READS: SearchStrategy[Read] = st.one_of(
    _step(Read, "GET", "s"),
    _step(Read, "EXISTS", "s"),
    _step(Read, "HGET", "h", FIELDS),
    _step(Read, "HEXISTS", "h", FIELDS),
    _step(Read, "SISMEMBER", "m", WORDS),
    _step(Read, "LRANGE", "l", st.integers(-3, 2), st.integers(-3, 2)),
    _step(Read, "ZRANGE", "z", st.just(0), st.just(-1)),
    _step(Read, "ZRANGE", "z", st.just(0), st.just(1), st.just("WITHSCORES")),
    _step(Read, "ZRANGEBYSCORE", "z", st.just("-inf"), SCORES),
    _step(Read, "ZRANGEBYSCORE", "z", SCORES, st.just("+inf"), st.just("LIMIT"), *(SCORES,) * 0,
          st.integers(0, 2), st.integers(0, 2)),
    _step(Read, "ZCOUNT", "z", SCORES, st.just("+inf")),
    _step(Read, "ZSCORE", "z", WORDS),
    _step(Read, "SCARD", "m"),
    _step(Read, "HLEN", "h"),
    _step(Read, "LLEN", "l"),
    _step(Read, "ZCARD", "z"),
)  # fmt: skip


@st.composite
def commits(draw: Any) -> Commit:
    """A commit, door's or worker's, that may or may not be carried out."""
    return Commit(
        name="random",
        fence=draw(st.sampled_from(["fence", "s1"])),
        token=draw(st.sampled_from([None, None, None, b"1", b"a"])),
        expectations=tuple(draw(st.lists(EXPECTATIONS, max_size=2))),
        witness=draw(st.none() | EXPECTATIONS),
        writes=tuple(draw(st.lists(WRITES, max_size=4))),
        reads=tuple(draw(st.lists(READS, max_size=3))),
    )


def now(coroutine: Any) -> Any:
    """The result of something that does not wait."""
    results: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    result = results[0]
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


class DifferentialTests(SynchronousTestCase):
    """What the script does on a real server is what the dictionaries do."""

    def setUp(self) -> None:
        """One client for all examples."""
        self.client = Respite(shared_server().port)
        self.addCleanup(self.client.close)
        self.script = script()

    def _on_the_server(self, commit: Commit) -> Committed | str:
        keys, arguments = commit.command()
        try:
            answer = self.client.call("EVAL", self.script, len(keys), *keys, *arguments)
        except RuntimeError as why:
            if "WRONGTYPE" not in str(why):
                raise
            return "wrong type"
        assert isinstance(answer, bytes)
        return understand(answer)

    def _in_memory(self, keyspace: MemoryKeyspace, commit: Commit) -> Committed | str:
        try:
            committed: Committed = now(keyspace.commit(commit))
        except BadInput:
            return "wrong type"
        return committed

    @given(st.lists(commits(), min_size=1, max_size=12))
    def test_same(self, facts: list[Commit]) -> None:
        """After any commits both have answered the same and hold the same."""
        self.client.call("FLUSHALL")
        keyspace = MemoryKeyspace(Clock())
        for fact in facts:
            self.assertEqual(self._in_memory(keyspace, fact), self._on_the_server(fact))
            stored: Any = self.client.call("KEYS", "*")
            server = {key.decode(): server_value(self.client, key) for key in stored}
            memory = {key: _plain(value) for key, value in keyspace.values().items()}
            self.assertEqual(memory, server)
            for key in server:
                left: Any = self.client.call("PTTL", key)
                (kept,) = now(keyspace.read([Read("PTTL", key)]))
                self.assertEqual(left < 0, int(kept) < 0, key)
                # A slow machine may need a while between the two.
                self.assertLess(abs(left - int(kept)), 60_000)

    @given(st.integers(0, 2**53), st.integers(0, 2**53))
    @settings(max_examples=20)
    def test_seconds(self, stored: int, wanted: int) -> None:
        """Moments are compared as numbers, by both."""
        self.client.call("FLUSHALL")
        keyspace = MemoryKeyspace(Clock())
        write = Commit(name="w", fence="f", writes=(Write("HSET", "h1", ("a", stored)),))
        test = Commit(
            name="t", fence="f", expectations=(Expectation("hash-at-least", "h1", ("a", wanted)),)
        )
        for fact in (write, test):
            self.assertEqual(self._in_memory(keyspace, fact), self._on_the_server(fact))

    def test_no_field_is_no_moment(self) -> None:
        """Where nothing was seen, nothing was seen late enough."""
        self.client.call("FLUSHALL")
        test = Commit(
            name="t", fence="f", expectations=(Expectation("hash-at-least", "h1", ("a", 0)),)
        )
        stale = Committed(Outcome.STALE, failed=0)
        self.assertEqual(self._on_the_server(test), stale)
        self.assertEqual(self._in_memory(MemoryKeyspace(Clock()), test), stale)

    def test_all_or_nothing(self) -> None:
        """A write that cannot be made is found before the first is."""
        self.client.call("FLUSHALL")
        self.client.call("SET", "z1", "a string")
        fact = Commit(
            name="w",
            fence="f",
            writes=(Write("SET", "s1", ("new",)), Write("ZADD", "z1", (1, "m"))),
        )
        self.assertEqual(self._on_the_server(fact), "wrong type")
        self.assertIsNone(self.client.call("GET", "s1"))

    def test_full_server(self) -> None:
        """A server without memory refuses a fact whole, also one that begins by deleting."""
        self.client.call("FLUSHALL")
        self.client.call("SET", "s1", "here")
        self.client.call("CONFIG", "SET", "maxmemory", "1")
        self.addCleanup(self.client.call, "CONFIG", "SET", "maxmemory", "0")
        fact = Commit(name="w", fence="f", writes=(Write("DEL", "s1"), Write("SET", "s2", ("x",))))
        with self.assertRaises(RuntimeError) as caught:
            self._on_the_server(fact)
        self.assertIn("OOM", str(caught.exception))
        self.assertEqual(self.client.call("GET", "s1"), b"here")

    def test_foreign_command(self) -> None:
        """Nothing but our own writes is carried out."""
        fact = Commit(name="w", fence="f", writes=(Write("FLUSHALL", "s1"),))
        with self.assertRaises(RuntimeError):
            self._on_the_server(fact)
        self.assertRaises(KeyError, now, MemoryKeyspace(Clock()).commit(fact))

    def test_large_fields(self) -> None:
        """Bytes come back as they went in, whatever they look like."""
        raw = bytes(range(256)) * 4096
        self.client.call("SET", "s1", raw)
        fact = Commit(name="r", fence="f", reads=(Read("GET", "s1"),))
        self.assertEqual(self._on_the_server(fact), Committed(Outcome.DONE, (raw,)))


class ExpiryTests(SynchronousTestCase):
    """Expiry in memory goes by the clock it was given."""

    def test_expiry(self) -> None:
        """A value is there until its time and gone from then on."""
        clock = Clock()
        keyspace = MemoryKeyspace(clock)
        writes = (Write("SET", "a", ("x", "EX", 5)), Write("SET", "b", ("x", "PX", 1500)))
        now(keyspace.commit(Commit(name="w", fence="f", writes=writes)))
        clock.advance(1.5)
        self.assertEqual(now(keyspace.read([Read("GET", "a"), Read("GET", "b")])), (b"x", None))
        clock.advance(3.5)
        self.assertEqual(now(keyspace.read([Read("GET", "a")])), (None,))
        self.assertEqual(keyspace.values(), {})

    def test_holds(self) -> None:
        """An expired value witnesses nothing."""
        clock = Clock()
        keyspace = MemoryKeyspace(clock)
        write = Commit(
            name="w",
            fence="f",
            expectations=(absent("a"),),
            witness=holds("a", b"x"),
            writes=(Write("SET", "a", ("x", "EX", 5)),),
        )
        outcomes = [now(keyspace.commit(write)).outcome for _ in range(2)]
        clock.advance(5)
        outcomes.append(now(keyspace.commit(write)).outcome)
        self.assertEqual(outcomes, [Outcome.DONE, Outcome.ALREADY, Outcome.DONE])

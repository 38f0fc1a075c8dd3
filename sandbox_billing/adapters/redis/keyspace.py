"""
A server's keyspace: every fact is one run of C{scripts/commit.lua} on one connection.

Tests: C{tests.adapters.test_redis_keyspace} and the suites of C{tests.ports}.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NoReturn

from attrs import define, field
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import (
    Commit,
    Committed,
    Expectation,
    Outcome,
    Read,
    Reply,
    Write,
    understand,
)
from sandbox_billing.adapters.redis.connection import LostInFlight, RedisConnection, ServerError
from sandbox_billing.adapters.redis.seam import IKeyspace, ServerFacts
from sandbox_billing.errors import BadInput, StoreDown, Transient, UnknownOutcome
from sandbox_billing.interfaces import IWallClock


DISK_MILLISECONDS = 2_000
"""How long the disk is waited for (design.md, section 6)."""

_REFUSAL = re.compile(
    r"\b(OOM|READONLY|LOADING|MISCONF|BUSY|MASTERDOWN|NOREPLICAS|NOAUTH|NOPERM|WRONGPASS)\b"
)
"""Errors that come before anything is written."""


def script() -> bytes:
    """The text of C{commit.lua}."""
    found = files("sandbox_billing.adapters.redis.scripts").joinpath("commit.lua")
    return found.read_bytes()


@implementer(IKeyspace)
@define(kw_only=True, eq=False)
class RedisKeyspace:
    """
    One connection carries all facts, so that they are carried out in the order they
    were sent; a second one waits for the disk, so that nothing else has to.

    @ivar clock: The reactor.
    @ivar allow_volatile: Do without a disk: devnet.
    @ivar timeout_seconds: For each call.
    @ivar disk_milliseconds: How long a server is waited for that tells when it has synced.
    """

    host: str
    port: int
    password: str | None = field(repr=False, default=None)
    clock: Any
    wall: IWallClock
    allow_volatile: bool = False
    timeout_seconds: float = 5.0
    disk_milliseconds: int = DISK_MILLISECONDS
    _facts_connection: RedisConnection = field(init=False)
    _disk_connection: RedisConnection = field(init=False)
    _script: bytes = field(factory=script, init=False, repr=False)
    _script_hash: bytes = field(init=False)
    _log = Logger()

    @_facts_connection.default
    @_disk_connection.default
    def _connection(self) -> RedisConnection:
        endpoint = HostnameEndpoint(self.clock, self.host, self.port)
        return RedisConnection(endpoint, self.clock, self.password, self.timeout_seconds)

    @_script_hash.default
    def _hashed(self) -> bytes:
        return hashlib.sha1(self._script, usedforsecurity=False).hexdigest().encode()

    async def connect(self) -> None:
        """
        Connect; afterwards the connection is kept up until C{close}.

        @raise BadInput: The server refuses our password.
        @raise Transient: It is not reached yet; trying goes on.
        """
        await self._facts_connection.connect()

    async def close(self) -> None:
        """Disconnect and stop trying."""
        await self._facts_connection.disconnect()
        await self._disk_connection.disconnect()

    async def read(self, reads: Sequence[Read]) -> tuple[Reply, ...]:
        commit = Commit(name="read", fence="", reads=tuple(reads))
        try:
            return understand(await self._run(commit)).reads
        except UnknownOutcome as why:
            raise StoreDown(f"could not read: {why}") from why

    async def commit(self, commit: Commit) -> Committed:
        try:
            answer = await self._run(commit)
        except LostInFlight:
            # Whether it was carried out is recognised by its witness.
            self._log.info("asking again whether we did {write}", write=commit.name)
            try:
                answer = await self._run(commit)
            except (Transient, UnknownOutcome) as why:
                raise UnknownOutcome(f"{commit.name}: the connection was lost") from why
        return understand(answer)

    async def _run(self, commit: Commit) -> bytes:
        keys, arguments = commit.command()
        rest = (b"%d" % len(keys), *keys, *arguments)
        try:
            try:
                answer = await self._facts_connection.call(b"EVALSHA", self._script_hash, *rest)
            except ServerError as why:
                if not str(why).startswith("NOSCRIPT"):
                    raise
                # Nothing ran; a restarted server has forgotten all scripts.
                answer = await self._facts_connection.call(b"EVAL", self._script, *rest)
        except ServerError as why:
            _raise_for(commit.name, str(why))
        assert isinstance(answer, bytes)
        return answer

    async def wait_for_disk(self, mark: str, expectations: Sequence[Expectation]) -> None:
        # The connection that waits has seen what should be on disk, and has written after
        # it: so its WAITAOF speaks of that, whichever connection wrote it, and a server
        # that came back without it is found out.
        commit = Commit(
            name="wait for the disk",
            fence=mark,
            expectations=tuple(expectations),
            writes=(Write("SET", mark, (self.wall.now(),)),),
        )
        keys, arguments = commit.command()
        await self._disk_connection.connect()
        try:
            marked, waited = await self._disk_connection.calls(
                (b"EVAL", self._script, b"%d" % len(keys), *keys, *arguments),
                (b"WAITAOF", 1, 0, self.disk_milliseconds),
                seconds=self.timeout_seconds + self.disk_milliseconds / 1000,
            )
        except UnknownOutcome as why:
            raise Transient(f"not proven to be on disk: {why}") from why
        if isinstance(marked, ServerError):
            raise Transient(f"not proven to be on disk: {marked}")
        if understand(marked).outcome is not Outcome.DONE:
            raise Transient("what should be on disk is no longer stored")
        if isinstance(waited, ServerError):
            await self._wait_without_waitaof(str(waited))
        elif waited[0] < 1:
            raise Transient(f"not on disk within {self.disk_milliseconds} ms")

    async def _wait_without_waitaof(self, why: str) -> None:
        """Servers before Redis 7.2, and servers without an append-only file."""
        known = await self._settings("append*")
        if known.get("appendonly") == "no" or "appendonly" in why:
            if self.allow_volatile:
                return
            raise Transient("Redis has its append-only file off: nothing can be proven stored")
        match known.get("appendfsync", "everysec"):
            case "always":
                return
            case "everysec":
                await deferLater(self.clock, DISK_MILLISECONDS / 1000)
            case other:
                raise Transient(f"Redis has appendfsync {other}: nothing can be proven stored")

    async def _settings(self, pattern: str) -> dict[str, str]:
        """Some servers do not tell."""
        try:
            flat = await self._disk_connection.call("CONFIG", "GET", pattern)
        except ServerError:
            return {}
        except UnknownOutcome as why:
            raise Transient(str(why)) from why
        parts = [part.decode() for part in flat]
        return dict(zip(parts[::2], parts[1::2], strict=True))

    async def go_keys(self, provider: str) -> tuple[str, ...]:
        """
        What the Go system left behind (wire.md, section 6); the only SCAN, at start.

        @param provider: Its address with checksum.
        @return: Names of keys, one of the hashes standing for all of them.
        """
        names = (
            f"voucher:queue:{provider}",
            f"voucher:dlq:{provider}",
            # Of its newest version: who has vouchers that wait for money, and what it has sent.
            f"voucher:held-users:{provider.lower()}",
            f"settler:pending-tx:{provider}",
            "billing:events",
        )
        found = [name for name in names if await self._facts_connection.call("EXISTS", name)]
        cursor = b"0"
        while True:
            cursor, hashes = await self._facts_connection.call(
                "SCAN", cursor, "MATCH", "billing:compute:*", "COUNT", 1000, "TYPE", "hash"
            )
            if hashes:
                return (*found, hashes[0].decode(errors="replace"))
            if cursor == b"0":
                return tuple(found)

    async def names(self, pattern: str, kind: str | None = None) -> tuple[str, ...]:
        """
        All keys of a pattern, for a command that looks at everything; never for the daemon.

        What is written meanwhile may be missing.

        @param kind: Only those of this type.
        @raise Transient: No answer.
        """
        only = () if kind is None else ("TYPE", kind)
        found: set[str] = set()
        cursor = b"0"
        while True:
            try:
                cursor, some = await self._facts_connection.call(
                    "SCAN", cursor, "MATCH", pattern, "COUNT", 1000, *only
                )
            except UnknownOutcome as why:
                raise StoreDown(f"could not read: {why}") from why
            found.update(name.decode(errors="replace") for name in some)
            if cursor == b"0":
                return tuple(sorted(found))

    async def clients(self) -> tuple[str, ...]:
        """
        Who else is connected: a line for each, as the server tells it; empty where it does not.

        @raise Transient: No answer.
        """
        try:
            found = await self._facts_connection.call("CLIENT", "LIST")
        except ServerError:
            return ()
        except UnknownOutcome as why:
            raise StoreDown(f"could not read: {why}") from why
        return tuple(found.decode(errors="replace").splitlines())

    async def facts(self) -> ServerFacts:
        await self.connect()
        asked_at = self.wall.now()
        try:
            about, (seconds, microseconds) = await self._facts_connection.calls(
                ("INFO",), ("TIME",)
            )
        except UnknownOutcome as why:
            raise Transient(str(why)) from why
        if isinstance(about, ServerError):
            raise BadInput(f"Redis does not tell about itself: {about}")
        lines = (line.partition(":") for line in about.decode().splitlines())
        found = {name: value for name, colon, value in lines if colon}
        told = int(seconds) + int(microseconds) / 1e6
        return ServerFacts(
            version=found["redis_version"],
            run_id=found["run_id"],
            maxmemory_policy=found["maxmemory_policy"],
            appendonly=found["aof_enabled"] == "1",
            time_offset_seconds=time_offset(told, asked_at, self.wall.now()),
        )


def time_offset(told: float, asked_at: int, answered_at: int) -> float:
    """
    How far the server's clock is ahead of ours: the least of what a reading leaves possible. It
    was taken at some moment of the call, and a machine that was busy is no clock that is wrong.

    @param told: The server's time.
    @param asked_at: Ours before, in whole seconds, rounded down.
    @param answered_at: Ours afterwards, likewise.
    @return: Seconds; half a second, by which ours is rounded, for clocks that may be the same.
    """
    return min(max(0.5, told - answered_at), told - asked_at)


def _raise_for(name: str, text: str) -> NoReturn:
    """What the server's words mean; the script tries all that can fail before it writes."""
    if "WRONGTYPE" in text:
        raise BadInput(f"{name}: a key of the journal holds something else: {text}")
    if _REFUSAL.search(text):
        raise StoreDown(f"{name}: Redis refuses: {text}")
    raise UnknownOutcome(f"{name}: Redis says {text}")

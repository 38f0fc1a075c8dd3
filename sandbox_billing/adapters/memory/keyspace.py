"""
A server's keyspace on dictionaries: what C{commit.lua} does, with a clock for expiry.

Verified against the script on a real server by
C{tests.adapters.test_redis_commit}, commit by commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from sandbox_billing.adapters.memory.values import READS, WRITES, Value, WrongType, kind_of
from sandbox_billing.adapters.redis.commit import (
    Commit,
    Committed,
    Expectation,
    Outcome,
    Read,
    Reply,
    Step,
    to_bytes,
)
from sandbox_billing.adapters.redis.seam import IKeyspace, ServerFacts
from sandbox_billing.errors import BadInput, Transient


_Test: TypeAlias = Callable[[Value | None, Sequence[bytes]], bool]


@implementer(IKeyspace)
@define(eq=False)
class MemoryKeyspace:
    """
    Everything is lost with the object; several journals may share one.

    @ivar clock: Counts seconds for expiry.
    @ivar starts: Raised by a test for what a server does when it starts anew.
    """

    clock: IReactorTime
    starts: int = field(default=1, init=False)
    _values: dict[str, Value] = field(factory=dict, init=False)
    _expires: dict[str, float] = field(factory=dict, init=False)

    async def read(self, reads: Sequence[Read]) -> tuple[Reply, ...]:
        with _wrong_type_is_bad_input():
            return tuple([self._read(step) for step in reads])

    async def commit(self, commit: Commit) -> Committed:
        with _wrong_type_is_bad_input():
            return self._commit(commit)

    async def wait_for_disk(self, mark: str, expectations: Sequence[Expectation]) -> None:
        if not all(self._holds(expectation) for expectation in expectations):
            raise Transient("what should be on disk is not stored")

    async def facts(self) -> ServerFacts:
        return ServerFacts(
            version="memory",
            run_id=f"memory-{id(self)}-{self.starts}",
            maxmemory_policy="noeviction",
            appendonly=False,
            time_offset_seconds=0.0,
        )

    def values(self) -> dict[str, Value]:
        """Everything that has not expired."""
        return {key: self._values[key] for key in list(self._values) if self._find(key) is not None}

    def _commit(self, commit: Commit) -> Committed:
        if commit.token is not None and _string(self._find(commit.fence)) != commit.token:
            return Committed(Outcome.FENCED)
        outcome = Outcome.DONE
        for place, expectation in enumerate(commit.expectations):
            if not self._holds(expectation):
                if commit.witness is None or not self._holds(commit.witness):
                    return Committed(Outcome.STALE, failed=place)
                outcome = Outcome.ALREADY
                break
        if outcome is Outcome.DONE:
            self._check_kinds(commit.writes)
            if commit.writes:
                _string(self._find(commit.fence))
            for step in commit.writes:
                self._write(step)
        return Committed(outcome, tuple(self._read(step) for step in commit.reads))

    def _check_kinds(self, writes: Sequence[Step]) -> None:
        """What cannot be written is found before anything is."""
        kinds: dict[str, str | None] = {}
        for step in writes:
            wanted, _ = WRITES[step.name]
            if step.name == "DEL":
                kinds[step.key] = None
            elif wanted is not None:
                value = self._find(step.key)
                kind = kinds.get(step.key, None if value is None else kind_of(value))
                if kind is not None and kind != wanted:
                    raise WrongType(f"{step.key} is a {kind}")
                kinds[step.key] = wanted

    def _find(self, key: str) -> Value | None:
        expiry = self._expires.get(key)
        if expiry is not None and expiry <= self.clock.seconds():
            self._delete(key)
        return self._values.get(key)

    def _delete(self, key: str) -> None:
        self._values.pop(key, None)
        self._expires.pop(key, None)

    def _holds(self, expectation: Expectation) -> bool:
        found = self._find(expectation.key)
        arguments = [to_bytes(argument) for argument in expectation.arguments]
        return _TESTS[expectation.name](found, arguments)

    def _read(self, step: Step) -> Reply:
        arguments = [to_bytes(one) for one in step.arguments] if step.arguments else ()
        found = self._find(step.key)
        if step.name == "PTTL":
            expiry = self._expires.get(step.key)
            left = -2 if found is None else -1
            return b"%d" % (left if expiry is None else (expiry - self.clock.seconds()) * 1000)
        wanted, answer = READS[step.name]
        if found is not None and wanted is not None and kind_of(found) != wanted:
            raise WrongType(f"{step.key} is a {kind_of(found)}")
        return answer(found, arguments)

    def _write(self, step: Step) -> None:
        arguments = [to_bytes(argument) for argument in step.arguments]
        key, found = step.key, self._find(step.key)
        match step.name:
            case "DEL":
                self._delete(key)
            case "EXPIRE":
                if found is not None:
                    self._expires[key] = self.clock.seconds() + int(arguments[0])
            case "PERSIST":
                self._expires.pop(key, None)
            case "SET":
                self._values[key] = arguments[0]
                self._expires.pop(key, None)
                if len(arguments) == 3:
                    unit = {b"EX": 1.0, b"PX": 0.001}[arguments[1]]
                    self._expires[key] = self.clock.seconds() + int(arguments[2]) * unit
            case name:
                _, change = WRITES[name]
                after = change(found, arguments)
                if after:
                    self._values[key] = after
                else:
                    self._delete(key)


def _field(found: Value | None, name: bytes) -> bytes | None:
    if found is None:
        return None
    if kind_of(found) != "hash":
        raise WrongType(f"a {kind_of(found)} has no fields")
    return cast("dict[bytes, bytes]", found).get(name)


def _string(found: Value | None) -> bytes | None:
    if found is not None and not isinstance(found, bytes):
        raise WrongType(f"a {kind_of(found)} is no string")
    return found


def _members(found: Value | None) -> int:
    if found is not None and not isinstance(found, set):
        raise WrongType(f"a {kind_of(found)} is no set")
    return len(found or ())


def _item(found: Value | None, place: int) -> bytes | None:
    """The first item of a list (0), or the last (-1)."""
    if found is not None and not isinstance(found, list):
        raise WrongType(f"a {kind_of(found)} is no list")
    return found[place] if found else None


def _at_least(found: Value | None, arguments: Sequence[bytes]) -> bool:
    value = _field(found, arguments[0])
    return value is not None and int(value) >= int(arguments[1])


_TESTS: dict[str, _Test] = {
    "is": lambda found, arguments: _string(found) == arguments[0],
    "absent": lambda found, arguments: found is None,
    "hash-is": lambda found, arguments: _field(found, arguments[0]) == arguments[1],
    "hash-absent": lambda found, arguments: _field(found, arguments[0]) is None,
    "hash-at-least": _at_least,
    "set-size": lambda found, arguments: _members(found) == int(arguments[0]),
    "list-begins": lambda found, arguments: _item(found, 0) == arguments[0],
    "list-ends": lambda found, arguments: _item(found, -1) == arguments[0],
}


class _wrong_type_is_bad_input:
    """As the real adapter answers."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        if isinstance(value, WrongType):
            raise BadInput(f"the journal's keys hold something else: {value}") from value

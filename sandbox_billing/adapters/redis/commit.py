"""
The language in which the journal's facts are written: compare, then write, then read back.

A L{Commit} is a value.  C{scripts/commit.lua} carries it out on a server, in one
atomic run, and L{sandbox_billing.adapters.memory.MemoryKeyspace} carries it out
on dictionaries; which comparisons and writes make up a fact is decided once, in
the modules beside this one, for both.

Tests: C{tests.adapters.test_redis_commit}.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

from attrs import field, frozen


Argument: TypeAlias = "str | bytes | int"
Reply: TypeAlias = "bytes | list[Reply] | None"


def to_bytes(argument: Argument) -> bytes:
    """As it travels and as it is stored."""
    return argument if isinstance(argument, bytes) else str(argument).encode()


@frozen
class Step:
    """
    One thing done with one key.

    @ivar name: A Redis command, or the name of a comparison.
    """

    name: str
    key: str
    arguments: tuple[Argument, ...] = ()


@frozen
class Expectation(Step):
    """What must hold for anything to be written."""


@frozen
class Write(Step):
    """A command that changes its key."""


@frozen
class Read(Step):
    """A command that only reads its key."""


def holds(key: str, raw: bytes) -> Expectation:
    """The string is exactly this."""
    return Expectation("is", key, (raw,))


def absent(key: str) -> Expectation:
    """There is no such key; so also: a hash, list or set is empty."""
    return Expectation("absent", key)


def field_is(key: str, name: str, raw: Argument) -> Expectation:
    """The hash has exactly this under a field."""
    return Expectation("hash-is", key, (name, raw))


def field_absent(key: str, name: str) -> Expectation:
    """The hash has no such field."""
    return Expectation("hash-absent", key, (name,))


def field_at_least(key: str, name: str, moment: int) -> Expectation:
    """The hash has a number of seconds there that is no smaller; never for amounts."""
    return Expectation("hash-at-least", key, (name, moment))


def set_size(key: str, count: int) -> Expectation:
    """The set has so many members."""
    return Expectation("set-size", key, (count,))


def list_begins(key: str, raw: Argument) -> Expectation:
    """The list's first entry is exactly this."""
    return Expectation("list-begins", key, (raw,))


def list_ends(key: str, raw: Argument) -> Expectation:
    """The list's last entry is exactly this."""
    return Expectation("list-ends", key, (raw,))


@frozen(kw_only=True)
class Commit:
    """
    One business fact.

    @ivar name: For messages.
    @ivar fence: The fencing key.
    @ivar token: Of the lease, for worker facts; None for door facts.
    @ivar witness: Holds only if this very fact was stored before.  It is asked when an
        expectation fails, and is how a repeat after a lost reply is recognised.  A
        commit without one has the same effect when carried out twice.
    @ivar charges: That it adds, for the figures: kind and amount of each.
    """

    name: str
    fence: str
    token: bytes | None = None
    expectations: tuple[Expectation, ...] = ()
    witness: Expectation | None = None
    writes: tuple[Write, ...] = ()
    reads: tuple[Read, ...] = ()
    charges: tuple[tuple[str, int], ...] = field(default=(), eq=False)

    def command(self) -> tuple[list[bytes], list[bytes]]:
        """Keys and arguments for C{commit.lua}."""
        witnesses = () if self.witness is None else (self.witness,)
        groups: tuple[tuple[Step, ...], ...] = (
            self.expectations,
            witnesses,
            self.writes,
            self.reads,
        )
        keys = [self.fence.encode()]
        arguments = [self.token or b"", *(b"%d" % len(group) for group in groups)]
        for group in groups:
            for step in group:
                keys.append(step.key.encode())
                arguments.append(step.name.encode())
                arguments.append(b"%d" % len(step.arguments))
                arguments.extend(map(to_bytes, step.arguments))
        return keys, arguments


class Outcome(Enum):
    """What became of a commit."""

    DONE = "DONE"
    ALREADY = "ALREADY"
    STALE = "STALE"
    FENCED = "FENCED"


@frozen
class Committed:
    """
    @ivar reads: Answers of C{Commit.reads}, in order; none when nothing was done.
    @ivar failed: Which expectation did not hold, from 0, under C{STALE}.
    """

    outcome: Outcome
    reads: tuple[Reply, ...] = ()
    failed: int | None = None


def understand(answer: bytes) -> Committed:
    """Read what C{commit.lua} returned."""
    if answer.startswith(b"STALE"):
        return Committed(Outcome.STALE, failed=int(answer[5:]))
    if answer == b"FENCED":
        return Committed(Outcome.FENCED)
    outcome = Outcome.DONE if answer.startswith(b"DONE") else Outcome.ALREADY
    at, reads = len(outcome.value), []
    while at < len(answer):
        reply, at = _unpack(answer, at)
        reads.append(reply)
    return Committed(outcome, tuple(reads))


def _unpack(text: bytes, at: int) -> tuple[Reply, int]:
    """C{-} is nothing, C{$3:abc} a string, C{*2:} is followed by two values."""
    kind = text[at : at + 1]
    if kind == b"-":
        return None, at + 1
    colon = text.index(b":", at)
    count = int(text[at + 1 : colon])
    if kind == b"$":
        return text[colon + 1 : colon + 1 + count], colon + 1 + count
    items: list[Reply] = []
    at = colon + 1
    for _ in range(count):
        item, at = _unpack(text, at)
        items.append(item)
    return items, at

"""
The values under keys, and the commands on them, as Redis has them.

A change returns the value after it; an empty one is no key at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

from sandbox_billing.adapters.redis.commit import Reply


class Zset(dict[bytes, float]):
    """Members with scores; told apart from a hash by its class."""


Value: TypeAlias = bytes | dict[bytes, bytes] | Zset | list[bytes] | set[bytes]
Change: TypeAlias = Callable[[Value | None, Sequence[bytes]], Value]
Answer: TypeAlias = Callable[[Value | None, Sequence[bytes]], Reply]


class WrongType(Exception):
    """A key holds another type; caught by the keyspace."""


def kind_of(value: Value) -> str:
    """As C{TYPE} spells it."""
    return _KINDS[type(value)]


_KINDS = {bytes: "string", Zset: "zset", dict: "hash", list: "list", set: "set"}


# --- changes ------------------------------------------------------------------------


def _hash(found: Value | None) -> dict[bytes, bytes]:
    return cast("dict[bytes, bytes]", found if found is not None else {})


def _hset(found: Value | None, arguments: Sequence[bytes]) -> Value:
    return {**_hash(found), **dict(zip(arguments[::2], arguments[1::2], strict=True))}


def _hsetnx(found: Value | None, arguments: Sequence[bytes]) -> Value:
    return {arguments[0]: arguments[1], **_hash(found)}


def _hdel(found: Value | None, arguments: Sequence[bytes]) -> Value:
    return {name: value for name, value in _hash(found).items() if name not in arguments}


def _hincrby(found: Value | None, arguments: Sequence[bytes]) -> Value:
    before = int(_hash(found).get(arguments[0], b"0"))
    return {**_hash(found), arguments[0]: b"%d" % (before + int(arguments[1]))}


def _zadd(found: Value | None, arguments: Sequence[bytes]) -> Value:
    after = Zset(cast(Zset, found or Zset()))
    rest = list(arguments)
    flags = set()
    while rest[0] in (b"NX", b"XX", b"LT"):
        flags.add(rest.pop(0))
    for score, member in zip(map(float, rest[::2]), rest[1::2], strict=True):
        there = member in after
        if (b"NX" in flags and there) or (b"XX" in flags and not there):
            continue
        if b"LT" in flags and there and after[member] <= score:
            continue
        after[member] = score
    return after


def _zrem(found: Value | None, arguments: Sequence[bytes]) -> Value:
    return Zset({m: s for m, s in _zset(found).items() if m not in arguments})


def _zremrangebyscore(found: Value | None, arguments: Sequence[bytes]) -> Value:
    low, high = map(float, arguments)
    return Zset({m: s for m, s in _zset(found).items() if not low <= s <= high})


def _rpush(found: Value | None, arguments: Sequence[bytes]) -> Value:
    return [*_list(found), *arguments]


def _linsert(found: Value | None, arguments: Sequence[bytes]) -> Value:
    after = list(_list(found))
    where, pivot, member = arguments
    assert where == b"BEFORE"
    if pivot in after:
        after.insert(after.index(pivot), member)
    return after


def _lrem(found: Value | None, arguments: Sequence[bytes]) -> Value:
    after = list(_list(found))
    assert arguments[0] == b"1"
    if arguments[1] in after:
        after.remove(arguments[1])
    return after


def _ltrim(found: Value | None, arguments: Sequence[bytes]) -> Value:
    return _slice(_list(found), arguments)


def _sadd(found: Value | None, arguments: Sequence[bytes]) -> Value:
    return _set(found) | set(arguments)


def _srem(found: Value | None, arguments: Sequence[bytes]) -> Value:
    return _set(found) - set(arguments)


def _by_the_keyspace(found: Value | None, arguments: Sequence[bytes]) -> Value:
    raise AssertionError("expiry is the keyspace's")


WRITES: dict[str, tuple[str | None, Change]] = {
    "SET": ("string", _by_the_keyspace),
    "DEL": (None, _by_the_keyspace),
    "EXPIRE": (None, _by_the_keyspace),
    "PERSIST": (None, _by_the_keyspace),
    "HSET": ("hash", _hset),
    "HSETNX": ("hash", _hsetnx),
    "HDEL": ("hash", _hdel),
    "HINCRBY": ("hash", _hincrby),
    "ZADD": ("zset", _zadd),
    "ZREM": ("zset", _zrem),
    "ZREMRANGEBYSCORE": ("zset", _zremrangebyscore),
    "RPUSH": ("list", _rpush),
    "LINSERT": ("list", _linsert),
    "LREM": ("list", _lrem),
    "LTRIM": ("list", _ltrim),
    "SADD": ("set", _sadd),
    "SREM": ("set", _srem),
}
"""What may be under the key, and what is there afterwards."""


# --- answers ------------------------------------------------------------------------


def _zset(found: Value | None) -> Zset:
    return cast(Zset, found if found is not None else Zset())


def _list(found: Value | None) -> list[bytes]:
    return cast("list[bytes]", found if found is not None else [])


def _set(found: Value | None) -> set[bytes]:
    return cast("set[bytes]", found if found is not None else set())


def _ordered(found: Value | None) -> list[tuple[float, bytes]]:
    return sorted((score, member) for member, score in _zset(found).items())


def _slice(items: list[bytes], arguments: Sequence[bytes]) -> list[bytes]:
    """Negative places count from the end; one before the first is the first."""
    start, stop = (int(n) if int(n) >= 0 else len(items) + int(n) for n in arguments[:2])
    return items[max(start, 0) : max(stop + 1, 0)]


def _hgetall(found: Value | None, arguments: Sequence[bytes]) -> Reply:
    return [part for item in _hash(found).items() for part in item]


def _zrange(found: Value | None, arguments: Sequence[bytes]) -> Reply:
    members = _slice([member for _, member in _ordered(found)], arguments)
    if list(arguments[2:]) != [b"WITHSCORES"]:
        return list(members)
    return [part for m in members for part in (m, b"%d" % _zset(found)[m])]


def _zrevrange(found: Value | None, arguments: Sequence[bytes]) -> Reply:
    members = _slice([member for _, member in reversed(_ordered(found))], arguments)
    return [part for m in members for part in (m, b"%d" % _zset(found)[m])]


def _zrevrank(found: Value | None, arguments: Sequence[bytes]) -> Reply:
    members = [member for _, member in reversed(_ordered(found))]
    return b"%d" % members.index(arguments[0]) if arguments[0] in members else None


def _zrangebyscore(found: Value | None, arguments: Sequence[bytes]) -> Reply:
    low, high = map(float, arguments[:2])
    within = sorted((score, m) for m, score in _zset(found).items() if low <= score <= high)
    members: list[Reply] = [member for _, member in within]
    if len(arguments) == 2:
        return members
    offset, count = int(arguments[3]), int(arguments[4])
    return members[offset : offset + count]


def _zcount(found: Value | None, arguments: Sequence[bytes]) -> Reply:
    low, high = map(float, arguments)
    return b"%d" % sum(1 for score in _zset(found).values() if low <= score <= high)


def _zscore(found: Value | None, arguments: Sequence[bytes]) -> Reply:
    score = _zset(found).get(arguments[0])
    return None if score is None else b"%d" % score


READS: dict[str, tuple[str | None, Answer]] = {
    "GET": ("string", lambda found, arguments: cast("bytes | None", found)),
    "EXISTS": (None, lambda found, arguments: b"%d" % (found is not None)),
    "HGET": ("hash", lambda found, arguments: _hash(found).get(arguments[0])),
    "HEXISTS": ("hash", lambda found, arguments: b"%d" % (arguments[0] in _hash(found))),
    "HGETALL": ("hash", _hgetall),
    "SMEMBERS": ("set", lambda found, arguments: list(_set(found))),
    "SCARD": ("set", lambda found, arguments: b"%d" % len(_set(found))),
    "HLEN": ("hash", lambda found, arguments: b"%d" % len(_hash(found))),
    "LLEN": ("list", lambda found, arguments: b"%d" % len(_list(found))),
    "ZCARD": ("zset", lambda found, arguments: b"%d" % len(_zset(found))),
    "SISMEMBER": ("set", lambda found, arguments: b"%d" % (arguments[0] in _set(found))),
    "LRANGE": ("list", lambda found, arguments: list(_slice(_list(found), arguments))),
    "ZRANGE": ("zset", _zrange),
    "ZRANGEBYSCORE": ("zset", _zrangebyscore),
    "ZREVRANGE": ("zset", _zrevrange),
    "ZREVRANK": ("zset", _zrevrank),
    "ZCOUNT": ("zset", _zcount),
    "ZSCORE": ("zset", _zscore),
}
"""What must be under the key, and what is answered."""

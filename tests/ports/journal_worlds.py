"""The worlds in which the journal's suites are run: dictionaries, and a real server."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from sandbox_billing.adapters.memory import FaultyKeyspace, MemoryKeyspace
from sandbox_billing.adapters.redis.keyspace import RedisKeyspace
from tests.ports.journal import Wall, World, journals
from tests.redis_server import Respite, shared_server


async def memory_world() -> World:
    """A journal that forgets."""
    clock = Clock()
    keyspace = MemoryKeyspace(clock)
    faults = FaultyKeyspace(keyspace, clock)
    wall = Wall()
    journal, other = journals(keyspace, faults, wall)

    async def dump() -> dict[str, Any]:
        return {key: _plain(value) for key, value in sorted(keyspace.values().items())}

    async def close() -> None:
        pass

    return World(
        wall=wall,
        keyspace=keyspace,
        faults=faults,
        journal=journal,
        other=other,
        dump=dump,
        close=close,
    )


async def redis_world() -> World:
    """A journal on the shared server, emptied."""
    from twisted.internet import reactor

    server = shared_server()
    client = Respite(server.port)
    client.call("FLUSHALL")
    wall = Wall()
    keyspace = RedisKeyspace(
        host="127.0.0.1", port=server.port, clock=reactor, wall=wall, disk_milliseconds=60_000
    )
    await keyspace.connect()
    faults = FaultyKeyspace(keyspace, reactor)  # type: ignore[arg-type]
    journal, other = journals(keyspace, faults, wall)

    async def dump() -> dict[str, Any]:
        keys = client.call("KEYS", "*")
        assert isinstance(keys, list)
        return {key.decode(): server_value(client, key) for key in sorted(keys)}

    async def close() -> None:
        client.close()
        await keyspace.close()

    return World(
        wall=wall,
        keyspace=keyspace,
        faults=faults,
        journal=journal,
        other=other,
        dump=dump,
        close=close,
    )


def _plain(value: Any) -> Any:
    """Without the difference between a zset and a hash of scores."""
    if isinstance(value, dict):
        return {name: b"%d" % v if isinstance(v, float) else v for name, v in value.items()}
    return value


def server_value(client: Respite, key: bytes) -> Any:
    """What a server holds under a key, as Python has it."""
    kind = client.call("TYPE", key)
    if kind == b"string":
        return client.call("GET", key)
    if kind == b"list":
        return client.call("LRANGE", key, 0, -1)
    if kind == b"set":
        members: Any = client.call("SMEMBERS", key)
        return set(members)
    command: tuple[bytes | str | int, ...] = ("HGETALL", key)
    if kind == b"zset":
        command = ("ZRANGE", key, 0, -1, "WITHSCORES")
    flat: Any = client.call(*command)
    return dict(zip(flat[::2], flat[1::2], strict=True))


WORLDS = {"Memory": memory_world, "Redis": redis_world}

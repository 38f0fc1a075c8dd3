"""B5: meters are found by walking all keys, and one may be found twice."""

from __future__ import annotations

from typing import Any

from sandbox_billing.adapters.redis.commit import Read
from tests.traps.shared import fresh_ids, unguarded
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


METER = "sandbox_billing.adapters.redis.meter.RedisMeter."


class DaemonTests(TrapCase):
    """Where due meters come from."""

    @noticed_by("tests.services.test_generator.GeneratorTests.test_interval")
    def test_found_twice(self) -> Patches:
        """A due meter is listed twice, and both are charged as they were read."""

        def twice(original: Any) -> Any:
            async def due(meter: Any, now: Any, limit: int) -> Any:
                found = await original(meter, now, limit)
                return (*found, *found)

            return due

        return [Patch(METER + "due", twice), unguarded(), fresh_ids()]

    @noticed_by("tests.services.test_money_path.CommandTests.test_nothing_walks_all_keys")
    def test_walks_all_keys(self) -> Patches:
        """Before it asks for what is due, the meter walks all keys of the server."""

        def walking(original: Any) -> Any:
            async def due(meter: Any, now: Any, limit: int) -> Any:
                await meter.store.read(Read("KEYS", "billing:session:*"))
                return await original(meter, now, limit)

            return due

        def knowing(original: Any) -> Any:
            def _read(keyspace: Any, step: Read) -> Any:
                if step.name == "KEYS":
                    return [key.encode() for key in keyspace.values()]
                return original(keyspace, step)

            return _read

        keyspace = "sandbox_billing.adapters.memory.keyspace.MemoryKeyspace._read"
        return [Patch(METER + "due", walking), Patch(keyspace, knowing)]

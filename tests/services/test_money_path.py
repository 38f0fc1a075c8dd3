"""What the daemon asks of its store while it bills: nothing that grows with all there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sandbox_billing.adapters.memory.keyspace import MemoryKeyspace
from sandbox_billing.adapters.redis.commit import Commit, Read
from tests.fixtures import ALICE, INTERVAL, WorldCase


WALKS = frozenset({"KEYS", "SCAN", "SORT", "RANDOMKEY"})
"""Commands whose time is that of the whole server (Q-4)."""


class CommandTests(WorldCase):
    """A life of a sandbox, command by command."""

    def test_nothing_walks_all_keys(self) -> None:
        """Q-4, B5: what is due comes from a sorted set, and no command walks all keys."""
        world = self.world
        asked: set[tuple[str, str]] = set()
        reading, committing = MemoryKeyspace.read, MemoryKeyspace.commit

        async def read(keyspace: MemoryKeyspace, reads: Sequence[Read]) -> Any:
            asked.update((step.name, step.key) for step in reads)
            return await reading(keyspace, reads)

        async def commit(keyspace: MemoryKeyspace, commit: Commit) -> Any:
            asked.update((step.name, step.key) for step in (*commit.writes, *commit.reads))
            return await committing(keyspace, commit)

        self.patch(MemoryKeyspace, "read", read)
        self.patch(MemoryKeyspace, "commit", commit)
        world.fund(100_000)
        sandbox = world.create()
        world.advance(INTERVAL + 10)
        world.run(world.process.intake.stop(ALICE, sandbox))
        world.until(lambda: world.quiet and world.books().pending == 0)
        self.assertGreater(world.earned, 0)
        self.assertIn(("ZRANGEBYSCORE", world.eyes.meter.store.keys.due()), asked)
        self.assertEqual(set(), WALKS & {name for name, _ in asked})

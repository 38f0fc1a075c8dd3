"""S3: what cannot be read is skipped when a batch is made, and counted when it is removed."""

from __future__ import annotations

from typing import Any

from sandbox_billing.adapters.redis.commit import Read
from sandbox_billing.adapters.redis.store import mapping
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


QUEUE = "sandbox_billing.adapters.redis.queue."


class DaemonTests(TrapCase):
    """Entries that are damaged."""

    @noticed_by(
        "tests.services.test_damaged.DamagedTests.test_open_charge",
    )
    def test_skipped(self) -> Patches:
        """What cannot be read is skipped without a word."""
        return Patch(QUEUE + "report", lambda _: silent)

    @noticed_by("tests.adapters.test_memory_ports.MemoryQueueTests.test_damaged_first")
    def test_removed_by_count(self) -> Patches:
        """As many are removed as were signed, from the front: the wrong ones go."""

        def counting(original: Any) -> Any:
            async def sign(queue: Any, batch: Any, promises: Any) -> Any:
                store, (wallet,) = queue.store, batch.wallets
                charges = store.keys.charges(wallet)
                (reply,) = await store.read(Read("ZRANGE", charges, (0, -1, "WITHSCORES")))
                stored = await original(queue, batch, promises)
                draft = store.draft("remove from the front")
                for place, (charge, score) in enumerate(mapping(reply).items()):
                    if place < len(promises):
                        draft.write("ZREM", charges, charge)
                    else:
                        draft.write("ZADD", charges, score, charge)
                await store.carry_out(draft.commit(token=store.token.now()))
                return stored

            return sign

        return [
            Patch(QUEUE + "RedisVoucherQueue.sign", counting),
            Patch(QUEUE + "report", lambda _: silent),
        ]


async def silent(*about: Any) -> None:
    """Nothing."""

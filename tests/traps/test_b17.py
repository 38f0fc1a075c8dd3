"""B17: a nonce and the place in the queue are taken in two steps."""

from __future__ import annotations

from typing import Any

from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


QUEUE = "tests.adapters.test_memory_ports.MemoryQueueTests."


class DaemonTests(TrapCase):
    """Who gives nonces."""

    @noticed_by(QUEUE + "test_nonces_given_meanwhile", QUEUE + "test_overtaking")
    def test_two_steps(self) -> Patches:
        """The nonce is stored beside the queue, whatever was given or waits meanwhile."""

        async def _number(queue: Any, draft: Any, wallet: Any, mine: Any) -> None:
            draft.write("SET", draft.keys.nonce(wallet), mine[0].seal.nonce)

        return Patch(
            "sandbox_billing.adapters.redis.queue.RedisVoucherQueue._number", lambda _: _number
        )

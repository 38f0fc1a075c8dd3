"""S1: a voucher is taken out of the queue before anything durable happens."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import succeed

from tests.simulation.faults import FaultKind
from tests.traps.trap import Death, Patch, Patches, TrapCase, noticed_by


class DaemonTests(TrapCase):
    """What a daemon that dies has in its hands."""

    @noticed_by(
        "tests.services.test_settler.SettlerTests.test_small_sums_wait",
        Death("create-tick-stop", FaultKind.CRASH_BEFORE, ("IVoucherQueue.sign",)),
    )
    def test_popped(self) -> Patches:
        """What is read of a queue is taken out of it."""

        def popping(original: Any) -> Any:
            async def queue(queue: Any, wallet: Any, now: Any, limit: int) -> Any:
                found = await original(queue, wallet, now, limit)
                keys, draft = queue.store.keys, queue.store.draft("pop")
                for record in found.records:
                    draft.write("ZREM", keys.charges(wallet), record.value.charge.id)
                    draft.write("ZREM", keys.first(wallet), record.value.charge.id)
                await queue.store.carry_out(draft.commit(token=queue.store.token.now()))
                return found

            return queue

        return Patch("sandbox_billing.adapters.redis.queue.RedisVoucherQueue.queue", popping)

    @noticed_by(
        "tests.services.test_periodic.PeriodicTests.test_stop_waits_for_the_turn",
        "tests.services.test_lease_keeper.LeaseTests.test_stop_waits_for_the_turn",
    )
    def test_shutdown(self) -> Patches:
        """A shutdown waits for nothing: what is under way has lost its ground when it writes."""

        def hasty(original: Any) -> Any:
            def stopService(periodic: Any) -> Any:
                original(periodic)
                return succeed(None)

            return stopService

        return Patch("sandbox_billing.services._periodic.Periodic.stopService", hasty)

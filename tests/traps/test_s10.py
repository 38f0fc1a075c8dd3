"""S10: two instances settle for the same wallets."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from tests.simulation.faults import FaultKind
from tests.traps.trap import Death, Patch, Patches, TrapCase, noticed_by


PORTS = "tests.adapters.test_memory_ports.Memory"


class DaemonTests(TrapCase):
    """A worker that was replaced."""

    @noticed_by(
        "tests.services.test_lease_keeper.LeaseTests.test_fenced",
        PORTS + "QueueTests.test_stale_token",
        PORTS + "MeterTests.test_stale_token",
        Death("two-workers", FaultKind.PAUSE, ("IMeter.charge", "IKeyspace.commit"), 40),
    )
    def test_no_fence(self) -> Patches:
        """The store takes what an old worker writes."""

        def lenient(original: Any) -> Any:
            return lambda keyspace, commit: original(keyspace, evolve(commit, token=None))

        return Patch("sandbox_billing.adapters.memory.keyspace.MemoryKeyspace._commit", lenient)

    @noticed_by(
        "tests.services.test_lease_keeper.LeaseTests.test_one_works",
        PORTS + "LeaseTests.test_one_at_a_time",
    )
    def test_no_lease(self) -> Patches:
        """Whoever asks is the worker."""

        def taking(original: Any) -> Any:
            async def acquire(lease: Any) -> Any:
                draft = lease.store.draft("take the lease")
                draft.write("DEL", lease.store.keys.lease())
                await lease.store.attempt(draft.commit())
                return await original(lease)

            return acquire

        return Patch("sandbox_billing.adapters.redis.lease.RedisLease.acquire", taking)

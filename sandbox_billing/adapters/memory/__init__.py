"""Verified fakes: the same suites pass on them."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from sandbox_billing.adapters.memory.faults import Fault, FaultyKeyspace
from sandbox_billing.adapters.memory.keyspace import MemoryKeyspace
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.interfaces import IWallClock
from sandbox_billing.ledger.identity import Address


__all__ = ["Fault", "FaultyKeyspace", "MemoryKeyspace", "memory_journal"]


def memory_journal(
    provider: Address,
    wall: IWallClock,
    clock: IReactorTime,
    *,
    interval_seconds: int = 3600,
    ripen_seconds: int = 1800,
) -> tuple[Journal, FaultyKeyspace]:
    """
    A journal that forgets, and the switch that breaks it.

    @param clock: For expiry and delays.
    """
    keyspace = FaultyKeyspace(MemoryKeyspace(clock), clock)
    journal = Journal.over(
        keyspace,
        provider,
        wall,
        owner="memory",
        interval_seconds=interval_seconds,
        ripen_seconds=ripen_seconds,
    )
    return journal, keyspace

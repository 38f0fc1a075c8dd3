"""
The final books: what is stored, read from the keys through the ledger's codecs alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar, cast

from attrs import frozen

from sandbox_billing.adapters.memory.values import Value
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.hold import Intent
from sandbox_billing.ledger.identity import Address, ChargeId, SandboxId
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.reconciliation import OWNER_LABEL
from sandbox_billing.ledger.voucher import (
    ChargeRecord,
    Open,
    Parked,
    Signed,
)
from tests.simulation.world import KEYS, World


T = TypeVar("T")


@frozen
class StoredBooks:
    """
    @ivar values: Everything under its key.
    @ivar charges: By id.
    """

    values: dict[str, Value]
    charges: dict[ChargeId, ChargeRecord]
    sessions: dict[SandboxId, Session]
    intents: tuple[Intent, ...]

    @classmethod
    def of(cls, world: World) -> StoredBooks:
        """As they stand."""
        values = world.keyspace.values()

        def all_of(kind: type[T], prefix: str) -> list[T]:
            return [
                decode(kind, cast(bytes, value))
                for key, value in values.items()
                if key.startswith(prefix)
            ]

        records = all_of(ChargeRecord, "billing:charge:")
        return cls(
            values=values,
            charges={record.charge.id: record for record in records},
            sessions={s.sandbox: s for s in all_of(Session, "billing:compute:")},
            intents=tuple(all_of(Intent, "billing:intent:")),
        )

    @property
    def wallets(self) -> frozenset[Address]:
        """Whoever was charged."""
        return frozenset(record.charge.owner for record in self.charges.values())

    def of_wallet(self, who: Address) -> list[ChargeRecord]:
        """Their charges."""
        return [record for record in self.charges.values() if record.charge.owner == who]

    def members(self, key: str) -> set[str]:
        """Names in a set, list, sorted set, or fields of a hash."""
        found: Any = self.values.get(key, ())
        return {one.decode() for one in found}

    def exposure(self, who: Address) -> set[str]:
        """Fields, without what is not an amount."""
        return {name for name in self.members(KEYS.exposure(who)) if not name.startswith("#")}

    def blocked(self, who: Address) -> bool:
        """Whether the wallet may run nothing."""
        return KEYS.blocked(who) in self.values


def unsettled(record: ChargeRecord) -> bool:
    """Whether it is still to be paid."""
    return isinstance(record.state, Open | Signed | Parked)


@frozen
class Sums:
    """
    What law L13 compares: the same with and without faults, but for a period's end.

    @ivar uncharged: Seconds that Daytona showed running and nobody was charged for.
    @ivar unpaid: neuron charged and not settled.
    """

    uncharged: dict[Address, float]
    unpaid: dict[Address, int]

    @classmethod
    def of(cls, world: World) -> Sums:
        """At a quiet point."""
        books = StoredBooks.of(world)
        uncharged: dict[Address, float] = {}
        unpaid: dict[Address, int] = {}
        for row in world.simulator.records.values():
            owner = row.labels.get(OWNER_LABEL)
            if owner is not None:
                who = Address(owner)
                now = world.simulator.wall()
                uncharged[who] = uncharged.get(who, 0) + row.shown.seconds(now)
        for who in books.wallets:
            periods = {
                (r.charge.sandbox, second)
                for r in books.of_wallet(who)
                for second in range(r.charge.period_start, r.charge.period_end)
            }
            uncharged[who] = uncharged.get(who, 0) - len(periods)
            unpaid[who] = sum(r.charge.amount for r in books.of_wallet(who) if unsettled(r))
        return cls(uncharged, unpaid)

    def later(self, other: Sums, allowed: float) -> Iterator[str]:
        """
        What is wrong with other books of the same story.

        @param allowed: Seconds more that may be missing there.
        """
        for who, seconds in other.uncharged.items():
            if seconds > self.uncharged.get(who, 0) + allowed:
                yield f"L13: {seconds:.0f} s of {who} were not charged, {self.uncharged} before"
        for who, amount in other.unpaid.items():
            if amount and not self.unpaid.get(who, 0):
                yield f"L13: {who} owes {amount}, and owed nothing without a fault"

"""
The final books: what is stored, read from the keys through the ledger's codecs alone.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

from attrs import frozen

from sandbox_billing.adapters.memory.values import Value
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.hold import Intent
from sandbox_billing.ledger.identity import Address, ChargeId, SandboxId
from sandbox_billing.ledger.metering import Session
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

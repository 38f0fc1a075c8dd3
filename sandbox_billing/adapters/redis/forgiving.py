"""Ending what nobody is to pay any more, with its entry in the audit."""

from __future__ import annotations

from attrs import frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.audit import append
from sandbox_billing.adapters.redis.commit import Read, holds
from sandbox_billing.adapters.redis.draft import stored_form
from sandbox_billing.adapters.redis.store import Store, addresses, texts
from sandbox_billing.interfaces import IForgiving, Stored
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.audit import AuditEntry
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Address, ChargeId
from sandbox_billing.ledger.voucher import ChargeKind, ChargeRecord, Forgiven, Open


@implementer(IForgiving)
@frozen
class RedisForgiving:
    """The charge is compared as a whole, and what the worker forgives carries its token."""

    store: Store

    async def blocked(self) -> tuple[Address, ...]:
        keys = self.store.keys
        (members,) = await self.store.read(Read("SMEMBERS", keys.blocked_wallets()))
        wallets = addresses(texts(members))
        flags = await self.store.read_many([Read("GET", keys.blocked(w)) for w in wallets])
        named = QUARANTINED.encode()
        return tuple(
            wallet
            for wallet, flag in zip(wallets, flags, strict=True)
            if flag is not None and flag != named
        )

    async def debts(self, wallet: Address) -> tuple[Stored[ChargeRecord], ...]:
        keys = self.store.keys
        (first,) = await self.store.read(Read("ZRANGE", keys.first(wallet), (0, -1)))
        found = await self.store.present(
            ChargeRecord, [keys.charge(ChargeId(charge)) for charge in texts(first)]
        )
        return tuple(
            record
            for record in found
            if record.value.charge.kind is ChargeKind.DEBT and isinstance(record.value.state, Open)
        )

    async def forgivable(self, charge: ChargeId) -> Stored[ChargeRecord] | None:
        (found,) = await self.store.values(ChargeRecord, [self.store.keys.charge(charge)])
        return found

    async def forgive(
        self, record: Stored[ChargeRecord], forgiven: Forgiven, *, fenced: bool
    ) -> None:
        keys, charge = self.store.keys, record.value.charge
        key, form = keys.charge(charge.id), stored_form(record.value.become(forgiven))
        entry = AuditEntry(
            at=forgiven.at,
            by=forgiven.by,
            what="forgive",
            subject=charge.id,
            amount=charge.amount,
            reason=forgiven.reason,
        )
        draft = self.store.draft(f"forgive {charge.id}")
        draft.expect(holds(key, record.raw))
        draft.write("SET", key, form)
        draft.write("ZREM", keys.charges(charge.owner), charge.id)
        draft.write("ZREM", keys.first(charge.owner), charge.id)
        draft.write("ZREM", keys.dead(), charge.id)
        draft.finish_charge(charge)
        await append(self.store, draft, entry)
        token = self.store.token.now() if fenced else None
        await self.store.carry_out(draft.commit(token=token, witness=holds(key, form)))

    async def audit(self, first: int, count: int) -> tuple[AuditEntry, ...]:
        (entries,) = await self.store.read(
            Read("LRANGE", self.store.keys.audit(), (first, first + count - 1))
        )
        return tuple(decode(AuditEntry, entry) for entry in texts(entries))

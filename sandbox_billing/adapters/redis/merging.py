"""Worker facts of a backlog that goes out in few vouchers."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Read, absent, holds
from sandbox_billing.adapters.redis.draft import stored_form
from sandbox_billing.adapters.redis.store import Store, text, texts
from sandbox_billing.interfaces import IMerging, Stored
from sandbox_billing.ledger.hold import QUARANTINED, charge_field
from sandbox_billing.ledger.identity import Address, ChargeId
from sandbox_billing.ledger.merging import merged, merged_into
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.voucher import ChargeRecord


@implementer(IMerging)
@frozen
class RedisMerging:
    """
    A merge moves charges within their own queue: what is offered when stays as it is.
    """

    store: Store

    async def backlogs(
        self, now: UnixSeconds, *, more_than: int, late: UnixSeconds, limit: int
    ) -> tuple[Address, ...]:
        keys = self.store.keys
        (offered,) = await self.store.read(
            Read("ZRANGEBYSCORE", keys.ready(), ("-inf", now, "LIMIT", 0, limit))
        )
        wallets = [Address(name) for name in texts(offered)]
        reads = []
        for wallet in wallets:
            reads.append(Read("ZCOUNT", keys.charges(wallet), ("-inf", now)))
            reads.append(Read("ZCOUNT", keys.charges(wallet), ("-inf", late)))
            reads.append(Read("GET", keys.blocked(wallet)))
        replies = await self.store.read_many(reads)
        found = []
        for place, wallet in enumerate(wallets):
            ripe, old, blocked = replies[3 * place : 3 * place + 3]
            many = int(text(ripe)) > more_than or (old != b"0" and int(text(ripe)) > 1)
            if many and blocked != QUARANTINED.encode():
                found.append(wallet)
        return tuple(found)

    async def unsigned(
        self, wallet: Address, now: UnixSeconds, limit: int
    ) -> tuple[Stored[ChargeRecord], ...]:
        keys = self.store.keys
        (ripe,) = await self.store.read(
            Read("ZRANGEBYSCORE", keys.charges(wallet), ("-inf", now, "LIMIT", 0, limit))
        )
        return await self.store.present(
            ChargeRecord, [keys.charge(ChargeId(charge)) for charge in texts(ripe)]
        )

    async def merge(self, parts: Sequence[Stored[ChargeRecord]]) -> Stored[ChargeRecord]:
        keys = self.store.keys
        charge = merged([part.value for part in parts])
        owner, form = charge.owner, stored_form(ChargeRecord(charge))
        draft = self.store.draft(f"merge {len(parts)} charges into {charge.id}")
        draft.expect(absent(keys.charge(charge.id)))
        draft.write("SET", keys.charge(charge.id), form)
        # In the place of its oldest part: whoever looks for what waits longest stops at the
        # first that does not (K13).
        draft.write("LINSERT", keys.pending(), "BEFORE", parts[0].value.charge.id, charge.id)
        draft.write("ZADD", keys.usage(owner), charge.created_at, charge.id)
        draft.write("ZADD", keys.charges(owner), charge.created_at, charge.id)
        draft.expose(owner, charge_field(charge), str(charge.amount))
        ended = [(part, stored_form(merged_into(part.value, charge))) for part in parts]
        for part, after in ended:
            key = keys.charge(part.value.charge.id)
            draft.expect(holds(key, part.raw))
            draft.write("SET", key, after)
            draft.finish_charge(part.value.charge)
        draft.write_all("ZREM", keys.charges(owner), [p.value.charge.id for p in parts])
        # A part that was merged stays so, whatever becomes of the whole meanwhile.
        first, after = ended[0]
        witness = holds(keys.charge(first.value.charge.id), after)
        await self.store.carry_out(draft.commit(token=self.store.token.now(), witness=witness))
        return Stored(ChargeRecord(charge), form)

"""What receipts are made of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from attrs import frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Read
from sandbox_billing.adapters.redis.letters import readable, report
from sandbox_billing.adapters.redis.store import Store, text, texts
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import ChargeMark, ChargePage, IReceipts
from sandbox_billing.ledger._codec import decode_once
from sandbox_billing.ledger.identity import Address, ChargeId, compute_charge_id, merged_first
from sandbox_billing.ledger.merging import MERGED_PARTS
from sandbox_billing.ledger.receipt import BatchProof
from sandbox_billing.ledger.voucher import Charge, ChargeKind, ChargeRecord


@implementer(IReceipts)
@frozen
class RedisReceipts:
    """Only reads."""

    store: Store

    async def page(
        self, wallet: Address, *, after: ChargeMark | None, since: int, limit: int
    ) -> ChargePage:
        keys = self.store.keys
        index = keys.usage(wallet)
        start = 0 if after is None else await self._behind(index, after)
        (reply,) = await self.store.read(
            Read("ZREVRANGE", index, (start, start + limit - 1, "WITHSCORES"))
        )
        flat = texts(reply)
        found = [
            ChargeMark(int(made), ChargeId(name))
            for name, made in zip(flat[::2], flat[1::2], strict=True)
        ]
        wanted = [mark for mark in found if mark.made_at >= since]
        named = [(mark.charge, keys.charge(mark.charge)) for mark in wanted]
        records = await readable(self.store, "charge", ChargeRecord, named)
        return ChargePage(
            records=tuple(record.value for record in records),
            after=wanted[-1] if len(wanted) == limit else None,
        )

    async def _behind(self, index: str, mark: ChargeMark) -> int:
        """
        How many stand before a page.  Where the charge of the mark is gone, those of its
        moment are told again.
        """
        rank, newer = await self.store.read(
            Read("ZREVRANK", index, (mark.charge,)),
            Read("ZCOUNT", index, (mark.made_at + 1, "+inf")),
        )
        return int(text(newer)) if rank is None else int(text(rank)) + 1

    async def charge(self, charge: ChargeId) -> ChargeRecord | None:
        named = [(str(charge), self.store.keys.charge(charge))]
        found = await readable(self.store, "charge", ChargeRecord, named)
        return found[0].value if found else None

    async def collected(self, wholes: Sequence[Charge]) -> Mapping[ChargeId, tuple[Charge, ...]]:
        """They follow one another without a gap, and the id of each is its beginning."""
        parts: dict[ChargeId, list[Charge]] = {}
        going = []
        for whole in wholes:
            first = merged_first(whole.id)
            # What a merged charge left owed is for the whole of it.
            if first is not None and whole.kind is ChargeKind.COMPUTE:
                parts[whole.id] = []
                going.append((whole, first))
        for _ in range(MERGED_PARTS):
            named = [(id, self.store.keys.charge(id)) for _, id in going]
            found = await readable(self.store, "charge", ChargeRecord, named)
            known = {record.value.charge.id: record.value.charge for record in found}
            further = []
            for whole, id in going:
                part = known.get(id)
                if part is not None:
                    parts[whole.id].append(part)
                    if part.period_end < whole.period_end:
                        following = compute_charge_id(whole.sandbox, part.period_end)
                        further.append((whole, following))
            going = further
            if not going:
                break
        return {id: tuple(found) for id, found in parts.items()}

    async def proofs(self, transactions: Collection[str]) -> Mapping[str, BatchProof]:
        names = sorted(transactions)
        reads = [Read("GET", self.store.keys.batch_proof(name)) for name in names]
        found: dict[str, BatchProof] = {}
        for name, reply in zip(names, await self.store.read_many(reads), strict=True):
            try:
                if isinstance(reply, bytes):
                    # A thousand lines: others would not be remembered for it.
                    found[name] = decode_once(BatchProof, reply)
            except BadInput as why:
                # Its vouchers have signatures of their own.
                await report(self.store, "batch proof", name, why)
        return found

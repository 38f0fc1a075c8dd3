"""Resolved batches until they were looked at again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve, frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Read, holds
from sandbox_billing.adapters.redis.draft import Draft, stored_form
from sandbox_billing.adapters.redis.letters import DAMAGED_SECONDS, report, write_letter
from sandbox_billing.adapters.redis.resolution import RESOLVED_SECONDS
from sandbox_billing.adapters.redis.store import Store, stored, texts
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import BlockedWallet, IResolved, Stored
from sandbox_billing.ledger.dead_letter import DeadLetter
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Address, BatchId
from sandbox_billing.ledger.second_look import Resolution


@implementer(IResolved)
@frozen
class RedisResolved:
    """Listed by block until they were looked at; kept a day from then."""

    store: Store

    async def due(self, upto: int, limit: int) -> tuple[Stored[Resolution], ...]:
        keys = self.store.keys
        (reply,) = await self.store.read(
            Read("ZRANGEBYSCORE", keys.unchecked(), ("-inf", upto, "LIMIT", 0, limit))
        )
        named = [BatchId(name) for name in texts(reply)]
        forms = await self.store.read_many([Read("GET", keys.outcome(name)) for name in named])
        found = []
        for name, form in zip(named, forms, strict=True):
            try:
                resolution = stored(Resolution, form)
                if resolution is None:
                    raise BadInput("it has disappeared")
            except BadInput as why:
                # Out of the way of the others; its debts wait for whoever mends it.
                await report(self.store, "outcome", name, why)
                await self._put_off(name, upto + DAMAGED_SECONDS)
                continue
            found.append(resolution)
        return tuple(found)

    async def _put_off(self, batch: BatchId, block: int) -> None:
        draft = self.store.draft(f"put off {batch}")
        draft.write("ZADD", self.store.keys.unchecked(), "XX", block, batch)
        await self.store.carry_out(draft.commit(token=self.store.token.now()))

    async def checked(
        self,
        resolution: Stored[Resolution],
        doubts: Mapping[Address, str],
        blocked: Sequence[BlockedWallet],
    ) -> None:
        now, value = self.store.wall.now(), resolution.value
        keys, batch = self.store.keys, value.batch.id
        key, form = keys.outcome(batch), stored_form(evolve(value, checked_at=now))
        draft = self.store.draft(f"look at {batch} again")
        draft.expect(holds(key, resolution.raw))
        draft.write("SET", key, form, "EX", RESOLVED_SECONDS)
        draft.write("ZREM", keys.unchecked(), batch)
        self._ripen(draft, value, now)
        for wallet, reason in doubts.items():
            name = f"{batch}:{wallet}"
            write_letter(draft, DeadLetter(kind="outcome", name=name, reason=reason, since=now))
        for each in blocked:
            draft.expect_funds(each.funds)
            draft.block(each.funds, QUARANTINED, now)
        token = self.store.token.now()
        await self.store.carry_out(draft.commit(token=token, witness=holds(key, form)))

    def _ripen(self, draft: Draft, resolution: Resolution, now: int) -> None:
        """Debts may be collected, unless somebody has forgiven them."""
        for verdict in resolution.verdicts:
            if verdict.debt is None:
                continue
            draft.write("ZADD", draft.keys.first(verdict.wallet), "XX", now, verdict.debt)
            draft.touch(verdict.wallet)
            draft.offer(verdict.wallet, now)

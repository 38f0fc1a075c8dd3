"""Worker facts of stop orders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Read, absent, field_is, holds
from sandbox_billing.adapters.redis.draft import Draft
from sandbox_billing.adapters.redis.letters import report
from sandbox_billing.adapters.redis.store import Store, mapping, raw, text, texts
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import IStopOrders, StopOrder
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import UnixSeconds


async def lift_quarantine(
    store: Store, draft: Draft, wallet: Address, sandboxes: Iterable[SandboxId]
) -> None:
    """
    Let a wallet run and settle again, as a part of another fact.

    @param sandboxes: Those it has: they are not stopped for this any more.
    """
    keys = store.keys
    draft.expect(holds(keys.blocked(wallet), QUARANTINED.encode()))
    draft.write("DEL", keys.blocked(wallet))
    draft.write("SREM", keys.blocked_wallets(), wallet.hex)
    draft.touch(wallet)
    draft.offer(wallet, store.wall.now())
    for sandbox in sandboxes:
        key = keys.stop_reason(sandbox)
        (reason,) = await store.read(Read("GET", key))
        # An order for anything else stands.
        if raw(reason) == QUARANTINED.encode():
            draft.expect(holds(key, QUARANTINED.encode()))
            draft.end_stop(sandbox)


@implementer(IStopOrders)
@frozen
class RedisStopOrders:
    """An order is its reason under the name operators know, its count, and its place by time."""

    store: Store

    async def order(self, sandbox: SandboxId, reason: str, now: UnixSeconds) -> None:
        draft = self.store.draft(f"order a stop of {sandbox}")
        draft.order_stop(sandbox, reason, now)
        (owner,) = await self.store.read(Read("HGET", draft.keys.sandbox(sandbox), ("owner",)))
        if owner is not None:
            draft.warn_of_stop(Address(text(owner)), reason, [sandbox])
        await self.store.carry_out(draft.commit(token=self.store.token.now()))

    async def due(self, now: UnixSeconds, limit: int) -> tuple[StopOrder, ...]:
        (reply,) = await self.store.read(
            Read("ZRANGEBYSCORE", self.store.keys.stops(), ("-inf", now, "LIMIT", 0, limit))
        )
        sandboxes = [SandboxId(name) for name in texts(reply)]
        orders = await self._orders(sandboxes)
        for sandbox, order in zip(sandboxes, orders, strict=True):
            if order is None:
                await self._forget(sandbox)
        return tuple(sorted((o for o in orders if o is not None), key=lambda o: o.ordered_at))

    async def _orders(self, sandboxes: Sequence[SandboxId]) -> list[StopOrder | None]:
        keys, reads = self.store.keys, []
        for sandbox in sandboxes:
            reads.append(Read("GET", keys.stop_reason(sandbox)))
            reads.append(Read("HGETALL", keys.stop(sandbox)))
        replies = await self.store.read_many(reads)
        orders: list[StopOrder | None] = []
        for place, sandbox in enumerate(sandboxes):
            reason, fields = replies[2 * place], mapping(replies[2 * place + 1])
            if reason is None or not fields:
                orders.append(None)
                continue
            try:
                ordered_at, attempts = int(fields["ordered_at"]), int(fields["attempts"])
            except (KeyError, ValueError) as why:
                # It is carried out all the same: a stop that comes twice harms nobody.
                await report(self.store, "stop", sandbox, BadInput(f"damaged: {why!r}"))
                ordered_at, attempts = 0, 0
            orders.append(StopOrder(sandbox, text(reason), UnixSeconds(ordered_at), attempts))
        return orders

    async def _forget(self, sandbox: SandboxId) -> None:
        """An operator deleted the reason: what is left of the order goes, too."""
        draft = self.store.draft(f"forget the stop order of {sandbox}")
        draft.expect(absent(draft.keys.stop_reason(sandbox)))
        draft.end_stop(sandbox)
        await self.store.attempt(draft.commit(token=self.store.token.now()))

    async def get(self, sandbox: SandboxId) -> StopOrder | None:
        (order,) = await self._orders([sandbox])
        return order

    async def attempted(self, order: StopOrder, retry_at: UnixSeconds) -> None:
        # Stale means that the order is done, or that somebody counted: both are fine.
        draft = self.store.draft(f"count a stop of {order.sandbox}")
        key = draft.keys.stop(order.sandbox)
        draft.expect(field_is(key, "attempts", order.attempts))
        draft.write("HSET", key, "attempts", order.attempts + 1)
        draft.write("ZADD", draft.keys.stops(), "XX", retry_at, order.sandbox)
        await self.store.attempt(draft.commit(token=self.store.token.now()))

    async def done(self, order: StopOrder) -> None:
        # Stale means that it is done, or that somebody ordered for another reason since.
        draft = self.store.draft(f"end the stop order of {order.sandbox}")
        draft.expect(
            holds(draft.keys.stop_reason(order.sandbox), order.reason.encode()),
            field_is(draft.keys.stop(order.sandbox), "ordered_at", order.ordered_at),
        )
        draft.end_stop(order.sandbox)
        await self.store.attempt(draft.commit(token=self.store.token.now()))

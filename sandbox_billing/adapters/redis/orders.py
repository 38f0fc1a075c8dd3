"""Operators' orders: asked for by doors, carried out and ended by the worker."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from attrs import evolve, frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.audit import append
from sandbox_billing.adapters.redis.commit import Read, absent, holds, list_ends
from sandbox_billing.adapters.redis.draft import Draft, stored_form
from sandbox_billing.adapters.redis.letters import readable
from sandbox_billing.adapters.redis.store import Store, mapping, stored, text, texts
from sandbox_billing.interfaces import IOrders, OrderPage, Stale, Stored, TooMany
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.audit import AuditEntry
from sandbox_billing.ledger.backlog import Pause
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.order import (
    AT_ONCE,
    MOST_OPEN,
    OPERATOR,
    RESERVED,
    Order,
    OrderId,
    Piece,
)


TRIES = MOST_OPEN
"""Orders that are asked for at the same moment: each is listed behind another one."""

RETRY_SECONDS = 10


@implementer(IOrders)
@frozen
class RedisOrders:
    """One value for each, compared as a whole, beside a list of all and a set of the open."""

    store: Store

    async def ask(self, order: Order) -> Order:
        for left in reversed(range(TRIES)):
            try:
                return await self._ask(order)
            except Stale:
                if not left:
                    raise
        raise AssertionError("unreachable")

    async def _ask(self, order: Order) -> Order:
        keys = self.store.keys
        place, listed, unended = keys.order(order.id), keys.orders(), keys.open_orders()
        there, last, length, count = await self.store.read(
            Read("GET", place),
            Read("LRANGE", listed, (-1, -1)),
            Read("LLEN", listed),
            Read("SCARD", unended),
        )
        found = stored(Order, there)
        if found is not None:
            return found.value
        most = MOST_OPEN + (RESERVED if order.kind in AT_ONCE else 0)
        if int(text(count)) >= most:
            raise TooMany(f"{most} orders have not ended yet", RETRY_SECONDS)
        asked = evolve(order, number=int(text(length)) + 1)
        form = stored_form(asked)
        draft = self.store.draft(f"ask for the order {order.id}")
        newest = texts(last)
        draft.expect(absent(place))
        draft.expect(list_ends(listed, newest[0]) if newest else absent(listed))
        draft.write("SET", place, form)
        draft.write("RPUSH", listed, order.id)
        draft.write("SADD", unended, order.id)
        await self.store.carry_out(draft.commit(witness=holds(place, form)))
        return asked

    async def order(self, id: OrderId) -> Order | None:
        (form,) = await self.store.read(Read("GET", self.store.keys.order(id)))
        found = stored(Order, form)
        return None if found is None else found.value

    async def page(self, upto: int | None, limit: int) -> OrderPage:
        keys = self.store.keys
        (length,) = await self.store.read(Read("LLEN", keys.orders()))
        total = int(text(length))
        end = total if upto is None else min(upto, total)
        first = max(0, end - limit)
        if end == first:
            return OrderPage(orders=(), before=None)
        (reply,) = await self.store.read(Read("LRANGE", keys.orders(), (first, end - 1)))
        named = [(id, keys.order(OrderId(id))) for id in reversed(texts(reply))]
        found = await readable(self.store, "order", Order, named)
        return OrderPage(orders=tuple(one.value for one in found), before=first or None)

    async def unended(self) -> tuple[Stored[Order], ...]:
        keys = self.store.keys
        (members,) = await self.store.read(Read("SMEMBERS", keys.open_orders()))
        named = [(id, keys.order(OrderId(id))) for id in sorted(texts(members))]
        found = await readable(self.store, "order", Order, named)
        return tuple(sorted(found, key=lambda one: one.value.number))

    async def begin(
        self,
        order: Stored[Order],
        begun: Order,
        *,
        pause: Pause | None = None,
        stop: SandboxId | None = None,
        pieces: Mapping[SandboxId, Piece] | None = None,
    ) -> Stored[Order]:
        keys, form = self.store.keys, stored_form(begun)
        draft = self.store.draft(f"begin the order {begun.id}")
        draft.expect(holds(keys.order(begun.id), order.raw))
        draft.write("SET", keys.order(begun.id), form)
        if pause is not None:
            draft.expect(absent(keys.paused()))
            draft.write("SET", keys.paused(), stored_form(pause))
        if stop is not None:
            await self._stop(draft, [stop], self.store.wall.now())
        if pieces:
            self._keep(draft, begun.id, pieces)
        await self._carry_out(draft, begun.id, form)
        return Stored(begun, form)

    async def pieces(self, id: OrderId) -> Mapping[SandboxId, Piece]:
        (fields,) = await self.store.read(Read("HGETALL", self.store.keys.order_pieces(id)))
        return {SandboxId(n): decode(Piece, form) for n, form in mapping(fields).items()}

    async def mark(
        self,
        order: Stored[Order],
        pieces: Mapping[SandboxId, Piece],
        *,
        stop: Collection[SandboxId] = (),
    ) -> None:
        keys, id = self.store.keys, order.value.id
        draft = self.store.draft(f"mark pieces of the order {id}")
        draft.expect(holds(keys.order(id), order.raw))
        self._keep(draft, id, pieces)
        await self._stop(draft, stop, self.store.wall.now())
        await self.store.carry_out(draft.commit(token=self.store.token.now()))

    async def end(
        self,
        order: Stored[Order],
        ended: Order,
        entry: AuditEntry,
        *,
        pause: Pause | None = None,
        lift: Stored[Pause] | None = None,
    ) -> None:
        keys, form = self.store.keys, stored_form(ended)
        draft = self.store.draft(f"end the order {ended.id}")
        draft.expect(holds(keys.order(ended.id), order.raw))
        draft.write("SET", keys.order(ended.id), form)
        draft.write("SREM", keys.open_orders(), ended.id)
        draft.write("DEL", keys.order_pieces(ended.id))
        if pause is not None:
            draft.expect(absent(keys.paused()))
            draft.write("SET", keys.paused(), stored_form(pause))
        if lift is not None:
            draft.expect(holds(keys.paused(), lift.raw))
            draft.write("DEL", keys.paused())
        await append(self.store, draft, entry)
        await self._carry_out(draft, ended.id, form)

    async def _carry_out(self, draft: Draft, id: OrderId, form: bytes) -> None:
        witness = holds(self.store.keys.order(id), form)
        await self.store.carry_out(draft.commit(token=self.store.token.now(), witness=witness))

    def _keep(self, draft: Draft, id: OrderId, pieces: Mapping[SandboxId, Piece]) -> None:
        pairs = [(sandbox, stored_form(piece)) for sandbox, piece in pieces.items()]
        draft.write_pairs("HSET", draft.keys.order_pieces(id), pairs)

    async def _stop(self, draft: Draft, sandboxes: Collection[SandboxId], now: UnixSeconds) -> None:
        keys = draft.keys
        reads = [Read("HGET", keys.sandbox(sandbox), ("owner",)) for sandbox in sandboxes]
        owners = await self.store.read_many(reads)
        for sandbox, owner in zip(sandboxes, owners, strict=True):
            draft.order_stop(sandbox, OPERATOR, now)
            if owner is not None:
                draft.warn_of_stop(Address(text(owner)), OPERATOR, [sandbox])

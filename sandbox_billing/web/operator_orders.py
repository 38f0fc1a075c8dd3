"""
What operators order: stored once, carried out by the worker, waited for here.

A handler writes an order and looks whether it has ended: who hangs up leaves the order as it is.
Nothing outside is changed here.

Tests: C{tests.web.test_operator_orders}.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from sandbox_billing.errors import BadInput, Transient
from sandbox_billing.interfaces import IDoors, IOrders, IRuntime, IWallClock, NoSuchSandbox
from sandbox_billing.ledger.backlog import Left, Pause
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.order import (
    Kind,
    Order,
    OrderId,
    order_id,
    order_named,
    read_reason,
)
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._kept import Kept
from sandbox_billing.web._router import Asked
from sandbox_billing.web.answers import Answer, Conflict, NotServed
from sandbox_billing.web.idempotency import OTHER_REQUEST, digest_of, read_key
from sandbox_billing.web.payloads import read_snapshot, read_snapshot_name, whole


WAIT_SECONDS = 10.0
LOOK_SECONDS = 0.2

DRAIN_KEPT_SECONDS = 5.0
"""What is left is read from the whole journal: many who look cost no more than one."""

REASON = 'the body is {"reason": text}'
NO_ORDER = "no such order"

_LIMIT, _MOST, _MOST_ORDERS = 50, 200, 10**9
_ID_BYTES = 16


@frozen
class Drained:
    """@ivar left: Of what ran before the pause; without one, before now."""

    pause: Pause | None
    left: Left


def kept_drain(
    doors: IDoors,
    left: Callable[[UnixSeconds], Awaitable[Left]],
    wall: IWallClock,
    clock: IReactorTime,
) -> Kept[Drained]:
    """
    How far everything is settled, read once in a while.

    @param left: What must still be settled of the time before a moment.
    """

    async def look() -> Drained:
        stands = (await doors.door_state()).pause
        pause = None if stands is None else stands.value
        since = wall.now() if pause is None else pause.since
        found = await left(since)
        if pause is not None and found.nothing:
            # What moves while it is read may hide from one look; who reads this changes prices.
            found = await left(since)
        return Drained(pause, found)

    return Kept(look, clock, DRAIN_KEPT_SECONDS)


def order_form(order: Order) -> dict[str, Any]:
    """As an operator is told of it."""
    return {
        "id": order.id,
        "kind": order.kind.value,
        "subject": order.subject,
        "by": checksum(order.by),
        "reason": order.reason,
        "asked_at": order.asked_at,
        "state": order.state.value,
        "ended_at": order.ended_at,
        "result": None if order.result is None else json.loads(order.result),
        "error": order.error,
    }


def left_form(left: Left) -> dict[str, Any]:
    """What stands between now and a drained provider."""
    return {
        "sessions": left.sessions,
        "charges": left.charges,
        "wallets": left.wallets,
        "intents": left.intents,
        "amount": str(left.amount),
        "damaged": left.damaged,
        "excepted": [
            {"why": standing.value, "charges": count, "amount": str(amount)}
            for standing, count, amount in left.excepted
        ],
    }


def _reason(asked: Asked, *, required: bool = False) -> str:
    body = asked.body
    if not isinstance(body, dict) or not set(body) <= {"reason"}:
        raise BadInput(REASON)
    return read_reason(body.get("reason"), required=required)


@frozen(kw_only=True)
class OperatorOrders:
    """
    For wallets of C{ADMIN_ADDRESSES}: the router lets nobody else in.

    @ivar clock: For the waiting.
    @ivar random_bytes: Makes so many bytes that nobody can guess.
    @ivar drained: Of L{kept_drain}.
    """

    _log: ClassVar[Logger] = Logger()

    orders: IOrders = field(validator=provides(IOrders))
    runtime: IRuntime = field(validator=provides(IRuntime))
    wall: IWallClock = field(validator=provides(IWallClock))
    clock: IReactorTime = field(validator=provides(IReactorTime))
    random_bytes: Callable[[int], bytes] = field(repr=False)
    drained: Kept[Drained]

    async def pause(self, asked: Asked) -> Answer:
        """Let nothing new in."""
        return await self._order(asked, Kind.PAUSE, _reason(asked, required=True))

    async def resume(self, asked: Asked) -> Answer:
        """Let in again."""
        return await self._order(asked, Kind.RESUME, _reason(asked))

    async def drain(self, asked: Asked) -> Answer:
        """Let nothing new in, and tell when what ran before is settled."""
        return await self._order(asked, Kind.DRAIN, _reason(asked, required=True))

    async def stop(self, asked: Asked) -> Answer:
        """Stop one sandbox, whoever's and whatever it has paid."""
        return await self._order(asked, Kind.STOP, _reason(asked, required=True))

    async def force_delete(self, asked: Asked) -> Answer:
        """Delete one sandbox, whoever's."""
        return await self._order(asked, Kind.FORCE_DELETE, _reason(asked))

    async def archive_all(self, asked: Asked) -> Answer:
        """Stop and archive everything that is metered here."""
        return await self._order(asked, Kind.ARCHIVE_ALL, _reason(asked))

    async def snapshot(self, asked: Asked) -> Answer:
        """Have Daytona make a snapshot."""
        wish = read_snapshot(asked.body)
        return await self._order(
            asked,
            Kind.SNAPSHOT,
            read_reason(wish.reason, required=False),
            subject=wish.body["name"],
            body=json.dumps(wish.body, sort_keys=True, separators=(",", ":")),
            general=wish.general,
        )

    async def delete_snapshot(self, asked: Asked) -> Answer:
        """Have Daytona remove one."""
        subject = read_snapshot_name(asked.parts["snapshot"])
        return await self._order(asked, Kind.DELETE_SNAPSHOT, _reason(asked), subject=subject)

    async def list(self, asked: Asked) -> Answer:
        """All there ever were, the newest first."""
        limit = whole(asked.query, "limit", _LIMIT, least=1, most=_MOST)
        upto = None
        if "cursor" in asked.query:
            upto = whole(asked.query, "cursor", 0, least=0, most=_MOST_ORDERS)
        page = await self.orders.page(upto, limit)
        return Answer(
            document={
                "orders": [order_form(order) for order in page.orders],
                "next": None if page.before is None else str(page.before),
            }
        )

    async def show(self, asked: Asked) -> Answer:
        """One of them."""
        try:
            found = await self.orders.order(order_id(asked.parts["order"]))
        except BadInput:
            found = None
        if found is None:
            raise NotServed(NO_ORDER, status=404)
        return Answer(document=order_form(found))

    async def standing(self, asked: Asked) -> Answer:
        """How far a drain is, or would be."""
        seen = await self.drained.get()
        pause = seen.pause
        return Answer(
            document={
                "paused": None
                if pause is None
                else {"reason": pause.reason, "since": pause.since, "by": pause.by},
                "left": left_form(seen.left),
                "drained": pause is not None and seen.left.nothing,
            }
        )

    async def _order(
        self, asked: Asked, kind: Kind, reason: str, *, subject: str | None = None, **more: Any
    ) -> Answer:
        """@raise Conflict: The key of this request is that of another order."""
        id, digest = self._named(asked, kind)
        found = await self.orders.order(id)
        if found is None:
            if asked.id:
                subject = await self._sandbox(asked.id)
            found = await self.orders.ask(
                Order(
                    id=id,
                    digest=digest,
                    kind=kind,
                    subject=subject,
                    by=asked.wallet,
                    reason=reason,
                    asked_at=self.wall.now(),
                    **more,
                )
            )
        if found.digest != digest:
            raise Conflict(OTHER_REQUEST)
        return await self._waited(found)

    def _named(self, asked: Asked, kind: Kind) -> tuple[OrderId, str]:
        parts: Mapping[str, str] = asked.parts
        digest = digest_of(":".join((kind.value, *parts.values())), asked)
        key = read_key(asked.idempotency_keys)
        if key is None:
            return OrderId(self.random_bytes(_ID_BYTES).hex()), digest
        return order_named(asked.wallet, key), digest

    async def _sandbox(self, id_or_name: str) -> str:
        """@raise NoSuchSandbox: Daytona shows none; then nothing is ordered."""
        shown = await self.runtime.get(id_or_name)
        if shown is None:
            raise NoSuchSandbox()
        return shown.id

    async def _waited(self, order: Order) -> Answer:
        """As it is when it has ended, or after L{WAIT_SECONDS}."""
        deadline = self.clock.seconds() + WAIT_SECONDS
        while not order.has_ended and self.clock.seconds() < deadline:
            await deferLater(self.clock, LOOK_SECONDS)
            try:
                order = await self.orders.order(order.id) or order
            except Transient as why:
                # It stands: whoever were told of a failure would order a second time.
                self._log.info(
                    "the order {order} is not looked at: {why}", order=order.id, why=str(why)
                )
                break
        return Answer(status=200 if order.has_ended else 202, document=order_form(order))

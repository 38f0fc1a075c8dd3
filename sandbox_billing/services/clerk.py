"""
Carrying out what operators ordered about admissions: pause, resume, drain.

Nobody outside is asked: the pause, the order's end and its entry in the audit are one write.  What
takes calls to Daytona is L{sandbox_billing.services.errands}'.

Tests: C{tests.services.test_clerk}.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.logger import Logger

from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import (
    IBacklog,
    IDoors,
    IMeter,
    IOrders,
    IWallClock,
    Stale,
    Stored,
)
from sandbox_billing.ledger.backlog import Left, Pause
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.order import ADMISSIONS, Kind, Order, OrderId, State
from sandbox_billing.services.backlog import left_before
from sandbox_billing.signing.eip55 import checksum


LOOKS = 2
"""So often in a row nothing must be left: what moves while it is read is met the second time."""

LOOK_SECONDS = 5
REST = 4
"""
Between two looks at what is left: so long, and so many times as long as the last one took. The
whole journal is read for each.
"""

TRIES = 5
"""Orders that end at the same moment: each entry of the audit follows another one."""

LIFTED = "lifted"
NOT_OURS = (
    "the pause is {by}'s, since {since}: {reason}; that command lifts it: where it has died, run "
    "it again with --take-over"
)
STANDS = "paused already by {by}, since {since}: {reason}"


@frozen(kw_only=True)
class Registry:
    """Where orders begin and end, for all who carry them out."""

    orders: IOrders
    wall: IWallClock
    _log = Logger()

    async def done(self, order: Stored[Order], result: dict[str, Any], **more: Any) -> None:
        """It is done, and the audit says what came of it."""
        await self._end(order, order.value.finished(self.wall.now(), result), **more)

    async def failed(self, order: Stored[Order], why: str) -> None:
        """It did not come about."""
        await self._end(order, order.value.failed(self.wall.now(), why))

    async def begun(self, order: Stored[Order], note: str | None, **more: Any) -> Stored[Order]:
        """From now on something may have been done."""
        return await self.orders.begin(order, order.value.begun(self.wall.now(), note), **more)

    async def _end(self, order: Stored[Order], ended: Order, **more: Any) -> None:
        entry = ended.entry(checksum(ended.by))
        for left in reversed(range(TRIES)):
            try:
                await self.orders.end(order, ended, entry, **more)
                break
            except Stale:
                if not left:
                    raise
        self._log.info(
            "the order {order} of {wallet} has ended: {kind} is {state}",
            order=ended.id,
            wallet=ended.by.hex,
            kind=ended.kind.value,
            state=ended.state.value,
        )


@define(kw_only=True, eq=False)
class Clerk:
    """
    One order after another, as they were asked for.

    @ivar _looks: Of drains under way: when to look next, and how often nothing was left.
    """

    registry: Registry
    doors: IDoors
    meter: IMeter
    backlog: IBacklog
    wall: IWallClock
    _looks: dict[OrderId, tuple[UnixSeconds, int]] = field(factory=dict, init=False)

    async def turn(self) -> None:
        """
        A step of every order; one that cannot be made keeps those behind it waiting.

        What is left is read last: while that takes long, or cannot be read, a pause is lifted.
        """
        stand = [one for one in await self.registry.orders.unended() if _is_ours(one.value)]
        drains = []
        for order in stand:
            match order.value.kind:
                case Kind.PAUSE:
                    await self._pause(order)
                case Kind.RESUME:
                    await self._resume(order)
                case _:
                    drains.append(await self._begun(order))
        known = {one.value.id for one in stand}
        self._looks = {id: look for id, look in self._looks.items() if id in known}
        if drains:
            await self._drain(drains)

    async def _stands(self) -> Stored[Pause] | None:
        return (await self.doors.door_state()).pause

    def _mine(self, order: Order) -> Pause:
        return Pause(since=self.wall.now(), reason=order.reason, by=checksum(order.by))

    async def _pause(self, order: Stored[Order]) -> None:
        stands, mine = await self._stands(), self._mine(order.value)
        if stands is None:
            await self.registry.done(order, {"paused": _shown(mine)}, pause=mine)
        elif stands.value.by == mine.by:
            await self.registry.done(order, {"paused": _shown(stands.value)})
        else:
            await self.registry.failed(order, STANDS.format(**_shown(stands.value)))

    async def _resume(self, order: Stored[Order]) -> None:
        stands = await self._stands()
        if stands is None:
            await self.registry.done(order, {"lifted": None})
        elif _is_an_operators(stands.value):
            await self.registry.done(order, {"lifted": _shown(stands.value)}, lift=stands)
        else:
            # A price is being changed under it.
            await self.registry.failed(order, NOT_OURS.format(**_shown(stands.value)))

    async def _begun(self, order: Stored[Order]) -> Stored[Order]:
        """A drain under way, under the pause that stands or under its own."""
        if order.value.state is not State.ASKED:
            return order
        stands = await self._stands()
        if stands is not None:
            return await self.registry.begun(order, _note(stands.value))
        mine = self._mine(order.value)
        return await self.registry.begun(order, _note(mine), pause=mine)

    async def _drain(self, drains: Sequence[Stored[Order]]) -> None:
        """Those whose pause still stands, which is one, have the same left: it is read once."""
        stands = await self._stands()
        pause = None if stands is None else stands.value
        due, now = [], self.wall.now()
        for order in drains:
            if pause is None or _note(pause) != order.value.note:
                await self.registry.failed(order, LIFTED)
            elif now >= self._look_of(order.value.id)[0]:
                due.append(order)
        if pause is None or not due:
            return
        left = await left_before(self.meter, self.backlog, pause.since)
        ended = self.wall.now()
        wait = max(LOOK_SECONDS, REST * (ended - now))
        for order in due:
            clear = self._look_of(order.value.id)[1] + 1 if left.nothing else 0
            self._looks[order.value.id] = (UnixSeconds(ended + wait), clear)
            if clear >= LOOKS:
                told = {
                    "paused": _shown(pause),
                    "excepted": _excepted(left),
                    "damaged": left.damaged,
                }
                await self.registry.done(order, told)

    def _look_of(self, id: OrderId) -> tuple[UnixSeconds, int]:
        """When to look next, and how often nothing was left."""
        return self._looks.get(id, (UnixSeconds(0), 0))


def _is_ours(order: Order) -> bool:
    return order.kind in ADMISSIONS


def _shown(pause: Pause) -> dict[str, Any]:
    return {"reason": pause.reason, "since": pause.since, "by": pause.by}


def _note(pause: Pause) -> str:
    return f"{pause.since}:{pause.by}"


def _excepted(left: Left) -> list[dict[str, Any]]:
    return [
        {"why": standing.value, "charges": count, "amount": str(amount)}
        for standing, count, amount in left.excepted
    ]


def _is_an_operators(pause: Pause) -> bool:
    """And not a command's, which changes something under it and lifts it itself."""
    try:
        Address(pause.by)
    except BadInput:
        return False
    return True

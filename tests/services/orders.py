"""
A world with operators: orders asked for at the door, and a worker that may die at any call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import count
from typing import Any

from attrs import define, field

from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.audit import AuditEntry, broken_at
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.order import Kind, Order, OrderId
from sandbox_billing.signing.eip55 import checksum
from tests.fixtures import ALICE, HOLD, SWEEP, World
from tests.services.lives import Life


OPERATOR, OTHER = Address("0x" + "0e" * 20), Address("0x" + "0f" * 20)

_numbers = count(1)


def order(kind: Kind, subject: str | None = None, **more: Any) -> Order:
    """As a door makes one."""
    at = more.pop("at")
    return Order(
        id=OrderId(f"{next(_numbers):032x}"),
        digest="d",
        kind=kind,
        subject=subject,
        by=more.pop("by", OPERATOR),
        reason=more.pop("reason", "maintenance"),
        asked_at=at,
        **more,
    )


@define(eq=False)
class Office:
    """
    @ivar world: With a worker that may die at one call.
    """

    life: Life = field(factory=Life)
    world: World = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.world = World()
        self.world.process = self.world.birth(self.life)
        self.world.start()
        self.world.fund(10**9)

    def ask(self, kind: Kind, subject: str | None = None, **more: Any) -> OrderId:
        """An order is stored; nothing is done yet."""
        world = self.world
        asked = order(kind, subject, at=world.wall.now(), **more)
        return world.now(world.eyes.orders.ask(asked)).id

    def show(self, id: OrderId) -> Order:
        """As it stands."""
        found = self.world.now(self.world.eyes.orders.order(id))
        assert found is not None
        return found

    def ended(self, id: OrderId, limit: int = 200) -> Order:
        """Advance until it has ended; who dies is followed by another."""
        for _ in range(limit):
            if self.show(id).has_ended:
                return self.show(id)
            self.advance()
        raise AssertionError(f"{self.show(id)} {self.world.process.troubles()}")

    def advance(self, seconds: int = 1) -> None:
        """Time passes, and a death is noticed."""
        for _ in range(seconds):
            self.world.advance()
            if self.world.process.life.dead:
                self.world.restart()
                self.world.advance(15 + SWEEP + 1)

    def result(self, id: OrderId) -> Any:
        """What came of one that is done."""
        told = self.ended(id)
        assert told.result is not None, told
        return json.loads(told.result)

    def create(self, who: Address = ALICE) -> SandboxId:
        """A sandbox that runs."""
        return self.world.create(who)

    def paused(self) -> Any:
        """The pause that stands."""
        stands = self.world.now(self.world.eyes.pause.paused())
        return None if stands is None else stands.value

    def audit(self) -> list[AuditEntry]:
        """All of it, which must be whole."""
        page = self.world.now(self.world.eyes.overview.audit(None, 1000))
        assert broken_at(page.forms) is None
        return [decode(AuditEntry, form) for form in page.forms]

    def check_entries(self, *ids: OrderId) -> None:
        """Each that has ended has one entry, by who asked for it, and there are no others."""
        told = [(json.loads(one.before or "{}"), one) for one in self.audit()]
        assert sorted(said["order"] for said, _ in told) == sorted(ids), told
        for said, entry in told:
            known = self.show(OrderId(said["order"]))
            assert said["state"] == known.state.value
            assert entry.what == known.kind.value
            assert entry.by == checksum(known.by)
            assert entry.subject == (known.subject or "")
            assert entry.reason == known.reason


STEPS = r"order|stop|delete|archive|snapshot|close|leave|keep"
"""Calls that have to do with orders: dying at all others is the simulation's."""


def deaths(
    story: Callable[[Office], None],
    prepare: Callable[[Office], None] | None = None,
    steps: str = STEPS,
) -> int:
    """
    Live a story once to number its calls, and once more for each step, dying there before and
    after.

    @param prepare: What comes before it; nobody dies then.
    @param steps: Which calls are steps.
    @return: How often it was lived.
    """

    def office_of(life: Life) -> Office:
        office = Office(life)
        if prepare is not None:
            prepare(office)
        return office

    first = office_of(Life())
    begun = len(first.life.calls)
    story(first)
    calls = first.life.calls
    first.world.simulator.close()
    lived = 1
    for number in (n for n in range(begun, len(calls)) if re.search(steps, calls[n])):
        for after in (False, True):
            office = office_of(Life(dies_at=number, after=after))
            try:
                story(office)
                assert office.life.dead, "nobody died"
            except AssertionError as why:
                when = "after" if after else "before"
                raise AssertionError(f"dying {when} {calls[number]}: {why}") from why
            office.world.simulator.close()
            lived += 1
    return lived


__all__ = ["HOLD", "OPERATOR", "OTHER", "Office", "deaths", "order"]

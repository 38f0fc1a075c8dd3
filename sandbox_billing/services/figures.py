"""
Figures that nobody has at hand: how much there is of everything, and how old it is.

The worker reads them every so often; ages are told anew at each look, so that what is no
longer read grows old in the figures, too.

Tests: C{tests.services.test_figures}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import inf

from attrs import define, field, frozen
from twisted.application.service import Service

from sandbox_billing import measures as names
from sandbox_billing.interfaces import (
    DoorState,
    IDoors,
    IMeasures,
    IOrders,
    IOverview,
    IWallClock,
    Overview,
)
from sandbox_billing.ledger.account import Mirror
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.order import State
from sandbox_billing.ledger.overview import recent, seconds_left


READ_SECONDS = 15.0
DAY_SECONDS = 86_400

UNCOUNTED = "uncounted"
"""Of charges and letters beyond those that are looked at one by one."""

OF_THE_WORKER = (
    names.SESSIONS,
    names.QUEUE_CHARGES,
    names.QUEUE_OLDEST_AGE_SECONDS,
    names.OLDEST_UNSETTLED_AGE_SECONDS,
    names.BATCHES_IN_FLIGHT,
    names.STOP_ORDERS,
    names.STOP_OLDEST_AGE_SECONDS,
    names.DEAD_LETTERS,
    names.QUARANTINED_WALLETS,
    names.BLOCKED_WALLETS,
    names.GAS_WALLET_NEURON,
    names.GAS_FLOOR_NEURON,
    names.GAS_WALLET_DAYS,
    names.GAS_PRICE_NEURON,
    names.CHAIN_HEAD_BLOCK,
    names.MIRROR_BLOCK,
    names.MIRROR_AGE_SECONDS,
    names.SWEEP_AGE_SECONDS,
    names.ADMISSIONS_PAUSED,
    names.OPERATOR_ORDERS,
)
"""Gauges that only the worker sets: shown no more by whoever is not the worker any more."""


@frozen(kw_only=True)
class _Seen:
    """What was read, at about one moment."""

    overview: Overview
    state: DoorState
    mirror: Mirror | None
    orders: Mapping[State, int]


@define(eq=False, kw_only=True)
class Figures(Service):
    """
    Part of a worker's services: what it shows ends with them.

    @ivar measures: Told at each L{show}.
    """

    overview: IOverview
    doors: IDoors
    orders: IOrders
    wall: IWallClock
    measures: IMeasures
    _seen: _Seen | None = field(default=None, init=False)

    def stopService(self) -> None:
        """Whoever is the worker next tells these."""
        Service.stopService(self)
        self._seen = None
        self.measures.forget(*OF_THE_WORKER)

    async def turn(self) -> None:
        """Read them; what the store raises is the store's trouble."""
        overview, state = await self.overview.overview(), await self.doors.door_state()
        mirror = await self.doors.mirror()
        orders = Counter(order.value.state for order in await self.orders.unended())
        self._seen = _Seen(
            overview=overview,
            state=state,
            mirror=None if mirror is None else mirror.value,
            orders=orders,
        )
        self.show()

    def show(self) -> None:
        """Tell what was read last, as old as it is by now."""
        if self._seen is None or not self.running:
            return
        now = self.wall.now()
        self._show_overview(self._seen.overview, now)
        self._show_state(self._seen, now)

    def _show_overview(self, seen: Overview, now: UnixSeconds) -> None:
        measures = self.measures
        measures.set(names.SESSIONS, seen.sessions)
        measures.set(names.BATCHES_IN_FLIGHT, seen.batch_count)
        measures.set(names.BLOCKED_WALLETS, seen.blocked)
        if seen.quarantined is not None:
            measures.set(names.QUARANTINED_WALLETS, len(seen.quarantined))
        queue = seen.queue
        states = {**dict.fromkeys(("unsigned", "signed", "parked"), 0), **queue.states}
        for state, count in (*states.items(), (UNCOUNTED, max(0, queue.depth - queue.counted))):
            measures.set(names.QUEUE_CHARGES, count, state=state)
        measures.set(names.QUEUE_OLDEST_AGE_SECONDS, _age(queue.oldest, now))
        measures.set(names.STOP_ORDERS, seen.stop_count)
        measures.set(names.STOP_OLDEST_AGE_SECONDS, _age(seen.stop_oldest, now))
        # Those of kinds that have gone are shown no more.
        measures.forget(names.DEAD_LETTERS)
        letters = Counter(letter.kind for letter in seen.letters)
        letters["charge"] += seen.dead_count
        # Counted first and read then: there may be more of them by now.
        letters[UNCOUNTED] = max(0, seen.letter_count - len(seen.letters))
        for kind, count in letters.items():
            measures.set(names.DEAD_LETTERS, count, kind=kind)
        if seen.purse is not None:
            measures.set(names.GAS_WALLET_NEURON, seen.purse.balance)
            measures.set(names.GAS_FLOOR_NEURON, seen.purse.floor)
            left = seconds_left(seen.purse, recent(seen.hours, now), now)
            measures.set(names.GAS_WALLET_DAYS, inf if left is None else left / DAY_SECONDS)

    def _show_state(self, seen: _Seen, now: UnixSeconds) -> None:
        measures, state, mirror = self.measures, seen.state, seen.mirror
        measures.set(names.ADMISSIONS_PAUSED, state.pause is not None)
        for standing in (State.ASKED, State.UNDER_WAY):
            measures.set(names.OPERATOR_ORDERS, seen.orders.get(standing, 0), state=standing.value)
        if state.settled_until is not None:
            measures.set(names.OLDEST_UNSETTLED_AGE_SECONDS, _age(state.settled_until, now))
        if state.swept_at is not None:
            measures.set(names.SWEEP_AGE_SECONDS, _age(state.swept_at, now))
        if mirror is not None:
            measures.set(names.MIRROR_BLOCK, mirror.block.number)
            measures.set(names.MIRROR_AGE_SECONDS, _age(mirror.updated_at, now))


def _age(since: UnixSeconds | None, now: UnixSeconds) -> int:
    """Another process may be ahead of this one's clock."""
    return 0 if since is None else max(0, now - since)

"""
Carrying out what operators ordered of Daytona: stops, deletions, snapshots.

What is done outside is done under an order that is stored as under way, and after a look at what
is there: a worker that comes after a crash finds what the one before it has done, and repeats
nothing that shows.

Tests: C{tests.services.test_errands}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import define, field
from twisted.logger import Logger
from twisted.python.failure import Failure

from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import (
    DaytonaRefused,
    IDoors,
    IMeter,
    IRuntime,
    IStopOrders,
    IWallClock,
    LeaseLost,
    Listing,
    Sandbox,
    Stored,
)
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.metering import NEVER_STARTED, has_ended, is_running, seen_as
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.order import ADMISSIONS, OPERATOR, Kind, Order, OrderId, State
from sandbox_billing.ledger.reconciliation import OWNER_LABEL
from sandbox_billing.services._supervise import Supervisor
from sandbox_billing.services.archiving import Archiving, run_now, stays
from sandbox_billing.services.clerk import Registry
from sandbox_billing.services.closing import Closer
from sandbox_billing.services.lifecycle import Lifecycle, is_deleted


AT_ONCE = 20
"""Orders of one kind: what Daytona does not answer for takes no place from another kind."""

FIRST_RETRY_SECONDS = 2
LONGEST_RETRY_SECONDS = 60

PATIENCE = 8
"""Refusals of a deletion, over some minutes: "in progress" has no code of its own before v0.160."""

NEVER_RAN = "never ran"
"""The note of a deletion that began at what had failed before it ever ran: nothing is charged."""

NO_SANDBOX = "Daytona shows no such sandbox"
NO_SNAPSHOT = "Daytona shows no such snapshot"
TAKEN = "there is a snapshot of this name already"


@define(kw_only=True, eq=False)
class Errands:
    """
    @ivar lifecycle: How users' calls meet what Daytona shows.
    @ivar closer: Ends the session of what was deleted.
    @ivar supervisor: Keeps what is under way when a turn is over.
    @ivar _busy: The kinds of the orders a step of which is under way.
    @ivar _turns: How often there was one.
    @ivar _last: In which of them each order had its last step: the others come first.
    @ivar _failures: What has become of some since the last turn.
    @ivar _waits: When an order that met trouble is tried again, and how often that was so.
    @ivar _refused: How often a deletion was.
    """

    registry: Registry
    runtime: IRuntime
    stops: IStopOrders
    doors: IDoors
    meter: IMeter
    lifecycle: Lifecycle
    closer: Closer
    archiving: Archiving
    wall: IWallClock
    supervisor: Supervisor
    _busy: dict[OrderId, Kind] = field(factory=dict, init=False)
    _turns: int = field(default=0, init=False)
    _last: dict[OrderId, int] = field(factory=dict, init=False)
    _failures: list[Failure] = field(factory=list, init=False)
    _waits: dict[OrderId, tuple[UnixSeconds, int]] = field(factory=dict, init=False)
    _refused: dict[OrderId, int] = field(factory=dict, init=False)
    _log = Logger()

    async def turn(self) -> None:
        """
        Begin a step of every order whose time has come: one that Daytona does not answer for
        holds up no other, and no turn.

        @raise Exception: What one of them has met in this turn or since the last; the others
            go on.
        """
        # What is under way now may have moved when it is read.
        moving = set(self._busy)
        stand = await self.registry.orders.unended()
        mine = [one for one in stand if one.value.kind not in ADMISSIONS]
        known = {one.value.id for one in mine}
        self._waits = {id: wait for id, wait in self._waits.items() if id in known}
        self._refused = {id: count for id, count in self._refused.items() if id in known}
        self._last = {id: turn for id, turn in self._last.items() if id in known}
        self._turns += 1
        for order in sorted(mine, key=lambda one: self._last.get(one.value.id, 0)):
            if self.supervisor.stopping:
                # The worker of the next term finds it.
                break
            if order.value.id not in moving and self._has_place(order.value):
                begun = self.supervisor.detached("order", self._try(order))
                begun.addErrback(self._failures.append)
        if self._failures:
            met, self._failures = self._failures, []
            # One that is no longer the worker is nothing else.
            next((one for one in met if one.check(LeaseLost)), met[0]).raiseException()

    def _has_place(self, order: Order) -> bool:
        """Whether it is to take a step now: each kind has its own places."""
        at, _ = self._waits.get(order.id, (0, 0))
        taken = sum(kind is order.kind for kind in self._busy.values())
        return order.id not in self._busy and self.wall.now() >= at and taken < AT_ONCE

    async def _try(self, order: Stored[Order]) -> None:
        id = order.value.id
        self._busy[id], self._last[id] = order.value.kind, self._turns
        try:
            await self._step(order)
        except LeaseLost:
            raise
        except (BadInput, Refused, Transient, UnknownOutcome) as why:
            _, tries = self._waits.get(id, (0, 0))
            wait = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(tries, 10))
            self._waits[id] = (UnixSeconds(self.wall.now() + wait), tries + 1)
            self._log.warn("the order {order} is not over: {why}", order=id, why=str(why))
        finally:
            del self._busy[id]

    async def _step(self, order: Stored[Order]) -> None:
        match order.value.kind:
            case Kind.STOP:
                await self._stop(order)
            case Kind.FORCE_DELETE:
                await self._force_delete(order)
            case Kind.SNAPSHOT:
                await self._snapshot(order)
            case Kind.DELETE_SNAPSHOT:
                await self._delete_snapshot(order)
            case Kind.ARCHIVE_ALL:
                await self.archiving.step(order)

    # one sandbox

    async def _stop(self, order: Stored[Order]) -> None:
        """The stopper carries it out; here is seen to it that its order stands until then."""
        sandbox = _sandbox(order.value)
        if order.value.state is State.ASKED:
            found = _only(await self.runtime.look(sandbox))
            if found is None or is_deleted(found):
                await self.registry.failed(order, NO_SANDBOX)
            elif _rests(found):
                await stays(sandbox, self.meter, self.doors)
                await self.registry.done(order, {"state": found.state})
            else:
                await self.registry.begun(order, await run_now(sandbox, self.doors), stop=sandbox)
            return
        stop = await self.stops.get(sandbox)
        run = await run_now(sandbox, self.doors)
        if stop is not None:
            if stop.reason != OPERATOR:
                # What another reason allows to run on, this one does not.
                await self.registry.orders.mark(order, {}, stop=[sandbox])
        elif run is not None and run == order.value.note:
            # It was ordered for another reason since, and that has gone.
            await self.registry.orders.mark(order, {}, stop=[sandbox])
        else:
            found = _only(await self.runtime.look(sandbox))
            state = "destroyed" if found is None else found.state
            await stays(sandbox, self.meter, self.doors)
            await self.registry.done(order, {"state": state})

    async def _force_delete(self, order: Stored[Order]) -> None:
        sandbox = _sandbox(order.value)
        page = await self.runtime.look(sandbox)
        found = _only(page)
        if order.value.state is State.ASKED:
            if found is None:
                await self.registry.failed(order, NO_SANDBOX)
                return
            # Once it is gone nobody can tell any more, and our reply may be lost.
            failed = NEVER_RAN if found.state in NEVER_STARTED else None
            order = await self.registry.begun(order, failed)
        if found is not None and not is_deleted(found):
            await self._delete(order, found, page.sent_at)
            return
        # By us, or by somebody else meanwhile: until when it ran nobody knows but sweeps.
        try:
            session = await self.doors.session(sandbox)
            unstarted = session is not None and session.value.started_at is None
            await self.closer.not_running(
                sandbox,
                destroyed=True,
                forgive_create=unstarted and order.value.note == NEVER_RAN,
            )
        except BadInput as why:
            # It is gone whatever is stored of it; a human is told of the damage.
            await self.registry.failed(order, f"deleted, but its session is not closed: {why}")
            return
        if found is None or found.state == "destroyed":
            await self.registry.done(order, {"state": "destroyed"})

    async def _delete(self, order: Stored[Order], found: Sandbox, sent_at: UnixSeconds) -> None:
        owner = await self._owner(found)
        only = None
        try:
            if owner is not None:
                await self.lifecycle.open_unanswered(owner, found)
                await self.lifecycle.open_started(owner, found)
            session = await self.doors.session(found.id)
            only = None if session is None else session.value
        except BadInput as why:
            self._log.critical("{sandbox} is deleted: {why}", sandbox=found.id, why=str(why))
        try:
            deleted = await self.runtime.delete(found.id, force=True)
        except DaytonaRefused as why:
            # Not what was no answer at all: an outage ends no order.
            refused = self._refused.get(order.value.id, 0) + 1
            self._refused[order.value.id] = refused
            if refused < PATIENCE:
                raise
            await self.registry.failed(order, f"Daytona refuses: {why.text}")
            return
        if deleted is not None and is_running(found.state, found.desired_state):
            # A delete is accepted in any state: it ran until we looked, for certain.
            await self.closer.accepted(found.id, sent_at, destroyed=True, only=only)
        else:
            # As its owner's own delete: what failed before it ever ran was created for nothing.
            unstarted = only is not None and only.started_at is None
            await self.closer.not_running(
                found.id,
                destroyed=True,
                forgive_create=unstarted and found.state in NEVER_STARTED,
                only=only,
            )
        if owner is not None:
            # Nothing starts it again when there is money.
            await self.doors.not_resumable(owner, found.id)
        self._log.info("deleted {sandbox}", sandbox=found.id, order=order.value.id)

    async def _owner(self, found: Sandbox) -> Address | None:
        record = (await self.meter.records([found.id])).get(found.id)
        if record is not None:
            return record.owner
        try:
            return Address(found.labels.get(OWNER_LABEL, ""))
        except BadInput:
            return None

    # snapshots

    async def _snapshot(self, order: Stored[Order]) -> None:
        wish = order.value
        found = await self._named(wish.subject or "")
        if wish.state is State.ASKED:
            if found is not None:
                await self.registry.failed(order, TAKEN)
                return
            order = await self.registry.begun(order, None)
        try:
            if found is None:
                found = await self.runtime.create_snapshot(json.loads(wish.body or "{}"))
            if found.get("general") is not wish.general:
                found = await self.runtime.set_snapshot_general(str(found["id"]), wish.general)
        except DaytonaRefused as why:
            if why.status in _LATER:
                # Of a name that is taken by now, too: the next look finds it.
                raise
            made = "" if found is None else f"made as {found['id']}, but "
            await self.registry.failed(order, f"{made}Daytona refuses: {why.text}")
            return
        told = {name: found.get(name) for name in ("id", "name", "state", "general")}
        await self.registry.done(order, told)

    async def _delete_snapshot(self, order: Stored[Order]) -> None:
        wanted = order.value.note or order.value.subject or ""
        found = await self._named(wanted)
        if order.value.state is State.ASKED:
            if found is None:
                await self.registry.failed(order, NO_SNAPSHOT)
                return
            order = await self.registry.begun(order, str(found["id"]))
        if found is None:
            await self.registry.done(order, {"id": wanted})
        elif found.get("state") != "removing":
            try:
                await self.runtime.delete_snapshot(str(found["id"]))
            except DaytonaRefused as why:
                if why.status == 404 or why.status in _LATER:
                    raise
                await self.registry.failed(order, f"Daytona refuses: {why.text}")

    async def _named(self, id_or_name: str) -> Mapping[str, Any] | None:
        """An id before a name, as Daytona itself looks."""
        listed = await self.runtime.snapshots()
        for part in ("id", "name"):
            for one in listed:
                if one.get(part) == id_or_name:
                    return one
        return None


_LATER = frozenset({409, 425, 429})
"""Of Daytona: somebody else changes it right now; the next look tells."""


def _sandbox(order: Order) -> SandboxId:
    assert order.subject is not None, order.id
    return SandboxId(order.subject)


def _only(page: Listing) -> Sandbox | None:
    return next(iter(page.sandboxes), None)


def _rests(shown: Sandbox) -> bool:
    """Whether nothing of it runs, nor will without somebody's start."""
    ended = has_ended(shown.state, shown.desired_state)
    return ended and seen_as(shown.state, shown.desired_state) not in ("stopping", "pausing")

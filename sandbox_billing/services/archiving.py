"""
Stopping and archiving everything that is metered here, a batch at a time.

What is to be done is decided once, when the order begins: a sandbox that is created later is none
of its business, and one that its owner starts again is left to him.

Tests: C{tests.services.test_errands}.
"""

from __future__ import annotations

from attrs import define, evolve, field
from twisted.logger import Logger

from sandbox_billing.errors import BadInput, Transient, UnknownOutcome
from sandbox_billing.interfaces import (
    DaytonaRefused,
    IDoors,
    IMeter,
    IRuntime,
    IStopOrders,
    IWallClock,
    LeaseLost,
    Sandbox,
    Stored,
)
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.metering import NOT_YET, RUNNING, UNCHANGED, seen_as
from sandbox_billing.ledger.order import OPERATOR, Mark, Order, Piece, State, archived
from sandbox_billing.services._supervise import gather
from sandbox_billing.services.clerk import Registry
from sandbox_billing.services.lifecycle import is_deleted


BATCH = 20
"""Sandboxes looked at in one turn."""

PATIENCE = 8
"""Refusals of one sandbox in a row: "in progress" has no code of its own before v0.160."""

PATIENCE_SECONDS = 3600
"""What has not come to rest after so long is told as failed."""

STARTED_AGAIN = "its owner has started it again"


@define(kw_only=True, eq=False)
class Archiving:
    """
    @ivar _looked: When each piece was looked at last: those that wait take turns.
    @ivar _refused: How often Daytona refused in a row what was asked of each.
    """

    registry: Registry
    runtime: IRuntime
    stops: IStopOrders
    doors: IDoors
    meter: IMeter
    wall: IWallClock
    _looked: dict[SandboxId, int] = field(factory=dict, init=False)
    _refused: dict[SandboxId, int] = field(factory=dict, init=False)
    _log = Logger()

    async def step(self, order: Stored[Order]) -> None:
        """Begin it, go on with some sandboxes, or end it."""
        if order.value.state is State.ASKED:
            await self.registry.begun(order, None, pieces=await self._plan())
            return
        pieces = await self.registry.orders.pieces(order.value.id)
        left = [sandbox for sandbox, piece in pieces.items() if piece.is_open]
        if not left:
            self._looked.clear()
            self._refused.clear()
            await self.registry.done(order, archived(pieces))
            return
        batch = sorted(left, key=lambda one: (self._looked.get(one, 0), one))[:BATCH]
        now = self.wall.now()
        self._looked.update(dict.fromkeys(batch, now))
        found = await gather(*(self._look(order, one, pieces[one]) for one in batch))
        moved = {
            sandbox: piece
            for sandbox, piece in zip(batch, found, strict=True)
            if piece is not None and piece != pieces[sandbox]
        }
        again = [
            sandbox
            for sandbox, piece in zip(batch, found, strict=True)
            if piece is not None and piece.mark is Mark.STOPPING
        ]
        if moved or again:
            await self.registry.orders.mark(order, moved, stop=again)

    async def _plan(self) -> dict[SandboxId, Piece]:
        """Whatever has a record of ours: the others are nobody's that we know."""
        rows = {row.id: row for page in await self.runtime.sweep() for row in page.sandboxes}
        ours = await self.meter.records(rows.keys())
        return {id: Piece() for id, row in rows.items() if id in ours and not is_deleted(row)}

    async def _look(self, order: Stored[Order], sandbox: SandboxId, piece: Piece) -> Piece | None:
        """
        @return: Where it is now; C{STOPPING} also where its stop is to be ordered again; None
            where nothing is to be done but wait.
        """
        try:
            page = await self.runtime.look(sandbox)
            shown = next(iter(page.sandboxes), None)
            after = await self._next(sandbox, piece, shown)
            self._refused.pop(sandbox, None)
        except LeaseLost:
            raise
        except BadInput as why:
            return evolve(piece, mark=Mark.FAILED, why=str(why))
        except (DaytonaRefused, Transient, UnknownOutcome) as why:
            if isinstance(why, DaytonaRefused) and why.status not in (409, 429):
                refused = self._refused[sandbox] = self._refused.get(sandbox, 0) + 1
                if refused >= PATIENCE:
                    return evolve(piece, mark=Mark.FAILED, why=f"Daytona refuses: {why.text}")
            self._log.info("{sandbox} is not archived yet: {why}", sandbox=sandbox, why=str(why))
            shown, after = None, None
        began = order.value.began_at
        if after is None and began is not None and self.wall.now() > began + PATIENCE_SECONDS:
            state = "unknown" if shown is None else shown.state
            return evolve(piece, mark=Mark.FAILED, why=f"still {state} after an hour")
        return after

    async def _next(self, sandbox: SandboxId, piece: Piece, shown: Sandbox | None) -> Piece | None:
        if shown is None or is_deleted(shown):
            return evolve(piece, mark=Mark.LEFT)
        state = seen_as(shown.state, shown.desired_state)
        if state in ("archived", "archiving"):
            await stays(sandbox, self.meter, self.doors)
            return evolve(piece, mark=Mark.ARCHIVED)
        if state == RUNNING or state in NOT_YET or state in UNCHANGED:
            return await self._stop(sandbox, piece)
        if state in ("stopping", "pausing"):
            return None
        if state != "stopped":
            return evolve(piece, mark=Mark.FAILED, why=f"{state}: only what is stopped is archived")
        # One that cannot be read is never closed: that is told, and not waited for.
        if await self.doors.session(sandbox) or await self.stops.get(sandbox) is not None:
            # The stopper, or a sweep, ends its session first.
            return None
        await stays(sandbox, self.meter, self.doors)
        await self.runtime.archive(sandbox)
        return evolve(piece, mark=Mark.ARCHIVED)

    async def _stop(self, sandbox: SandboxId, piece: Piece) -> Piece | None:
        run = await run_now(sandbox, self.doors)
        if piece.mark is Mark.WAITS:
            return Piece(mark=Mark.STOPPING, run=run)
        order = await self.stops.get(sandbox)
        if order is not None and order.reason == OPERATOR:
            return None
        # Without a session, and no order any more, a start is under way that opens the next one.
        if order is not None or run == piece.run:
            # Ordered for another reason since, which may go, or has gone: not this one.
            return piece
        return evolve(piece, mark=Mark.FAILED, why=STARTED_AGAIN)


async def run_now(sandbox: SandboxId, doors: IDoors) -> str | None:
    """
    Which run of a sandbox it is; charging does not change it.

    @return: None where it has no session, and where that cannot be read: it is stopped all the
        same, and a human is told of the damage.
    """
    try:
        session = await doors.session(sandbox)
    except BadInput:
        return None
    return None if session is None else f"{session.value.reference}:{session.value.opened_at}"


async def stays(sandbox: SandboxId, meter: IMeter, doors: IDoors) -> None:
    """An operator has ended it: nothing starts it again by itself when there is money."""
    record = (await meter.records([sandbox])).get(sandbox)
    if record is not None:
        await doors.not_resumable(record.owner, sandbox)

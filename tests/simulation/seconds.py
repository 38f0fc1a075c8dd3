"""
The laws of seconds: who was charged for which, and what was stopped when (L3, L4, L8).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, floor
from typing import Any

from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.hold import UNDO, Intent
from sandbox_billing.ledger.reconciliation import OWNER_LABEL, REFERENCE_LABEL
from tests.simulation.books import StoredBooks
from tests.simulation.clock import BASE
from tests.simulation.settings import SWEEP
from tests.simulation.world import Window, World


SLACK = SWEEP + 2
"""One reconcile period, and what rounding to whole seconds takes at both of its ends."""

STOP_SLACK = 8
"""From an order to its end, where all is well: a turn, a call, Daytona's own second or two."""
LONGEST_STOP_RETRY = 62


def runs_of(world: World, sandbox: str) -> list[tuple[float, float]]:
    now = BASE + world.clock.rightNow
    shown = world.simulator.records[sandbox].shown.intervals
    return [(start, now if end is None else end) for start, end in shown]


def _periods(books: StoredBooks, sandbox: str) -> list[tuple[int, int]]:
    return sorted(
        (r.charge.period_start, r.charge.period_end)
        for r in books.charges.values()
        if r.charge.sandbox == sandbox and r.charge.units
    )


def is_charged_before(books: StoredBooks, sandbox: str, at: float) -> bool:
    """Whether any second of it is, that began earlier."""
    return any(start < at for start, _end in _periods(books, sandbox))


def l3(world: World, books: StoredBooks) -> Iterator[str]:
    """Nobody is charged for a second that Daytona did not show running."""
    for record in books.charges.values():
        charge = record.charge
        if not charge.units:
            continue
        runs = runs_of(world, charge.sandbox)
        start, end = charge.period_start, charge.period_end
        # A clock that was set forward and back is no better than that.
        back, forward = world.skews
        if not any(a + back <= start and end <= b + forward for a, b in runs):
            spans = [(round(a - BASE, 1), round(b - BASE, 1)) for a, b in runs]
            yield (
                f"L3: {charge.sandbox} was charged for [{start - BASE}, {end - BASE}),"
                f" shown running in {spans}"
            )


def _stretch(windows: list[Window], start: float, limit: float) -> float:
    """How late something is still in time that was to happen between two moments."""
    moving = True
    while moving:
        moving = False
        for window in windows:
            if window.since <= limit and start <= window.until and window.until + SLACK > limit:
                limit, moving = window.until + SLACK, True
    return limit


def _shrink(windows: list[Window], end: float, limit: float) -> float:
    """The same, backwards."""
    moving = True
    while moving:
        moving = False
        for window in windows:
            if window.since <= end and limit <= window.until and window.since - SLACK < limit:
                limit, moving = window.since - SLACK, True
    return limit


def gaps(
    world: World, books: StoredBooks, sandbox: str
) -> Iterator[tuple[float, float, float, float]]:
    """Of each run that is not charged in full: the run, and the hole in it."""
    periods = _periods(books, sandbox)
    for start, end in runs_of(world, sandbox):
        at = float(floor(start))
        for a, b in [*((a, b) for a, b in periods if b > start and a < end), (ceil(end), 0)]:
            if a > at:
                yield start, end, max(at, start), min(a, end)
            at = max(at, b)


def l4(world: World, books: StoredBooks) -> Iterator[str]:
    """
    What ran is charged, but for a reconcile period at each end of a run.

    Where something was wrong it may take until that was over; in the middle of a run
    nothing may be missing, whatever was wrong, unless a machine lost its newest writes.
    """
    ours = [r for r in world.simulator.records.values() if r.labels.get(OWNER_LABEL)]
    windows = [w for w in world.windows if not w.chain]
    for row in ours:
        if was_undone(world, row.labels.get(REFERENCE_LABEL)):
            continue
        open_session = books.sessions.get(row.id)  # type: ignore[call-overload]
        for start, end, a, b in gaps(world, books, row.id):
            if open_session is not None and a >= open_session.charged_until:
                # It runs on, and its next period is not full.
                continue
            late = _stretch(windows, start, start + SLACK)
            slack = 2 if _stopped_by_us(world, row.id, end) else SLACK
            early = _shrink(windows, end, end - slack)
            at_start = a <= start and b <= late
            at_end = b >= end - 1 and a >= early
            if at_start or at_end or late >= early:
                continue
            if b - a <= world.skews[1] - world.skews[0]:
                continue
            if world.rollbacks and any(w.since <= b and a <= w.until for w in world.windows):
                continue
            yield (
                f"L4: {row.id} ran in [{start - BASE:.1f}, {end - BASE:.1f}) and"
                f" [{a - BASE:.1f}, {b - BASE:.1f}) was never charged"
            )
        runs = runs_of(world, row.id)
        if runs and f"{row.id}:create" not in books.charges and not world.rollbacks:
            # Who stopped it before anybody had seen it run keeps the fee of that gap, too.
            start, end = runs[0]
            charged = any(a < end and b > start for a, b in _periods(books, row.id))
            if charged or _calm(world, start, end):
                yield f"L4: {row.id} ran and its creation was never charged"


def _stopped_by_us(world: World, sandbox: str, end: float) -> bool:
    """A run that an accepted call ended is charged up to that call."""
    return not world.simulator.timings.lookup_cache_seconds and any(
        heard.route in ("stop", "delete") and heard.target == sandbox and heard.at == end
        for heard in world.heard
    )


def _calm(world: World, start: float, end: float) -> bool:
    """Whether somebody must have seen a run."""
    return end - start > 2 * SLACK and _stretch(world.windows, start, start + SLACK) < end


def was_undone(world: World, reference: Any) -> bool:
    key = f"billing:intent:{reference}"
    for written in world.keyspace.history:
        for step in written.commit.writes:
            if step.key != key or step.name != "SET":
                continue
            if decode(Intent, step.arguments[0]).action == UNDO:  # type: ignore[arg-type]
                return True
    return False


def l8(world: World, books: StoredBooks) -> Iterator[str]:
    """A decided stop is carried out, unless its reason has gone."""
    standing: dict[str, float] = {}
    for at, sandbox, stands in world.orders:
        if stands:
            standing.setdefault(sandbox, at)
            continue
        since = standing.pop(sandbox, None)
        if since is not None:
            yield from _late_stop(world, sandbox, since, at)
    for sandbox, since in standing.items():
        yield from _late_stop(world, sandbox, since, BASE + world.clock.rightNow)


def _late_stop(world: World, sandbox: str, since: float, until: float) -> Iterator[str]:
    for start, end in runs_of(world, sandbox):
        if start <= since < end:
            limit = since + STOP_SLACK + world.simulator.timings.stop_seconds
            wrong = [
                w.until for w in world.windows if w.since <= min(end, until) and w.until >= since
            ]
            if wrong:
                limit = max(limit, max(wrong) + LONGEST_STOP_RETRY)
            if min(end, until) > limit:
                ran = f"ran until {end - BASE:.1f}"
                yield f"L8: {sandbox} was to be stopped at {since - BASE:.1f} and {ran}"

"""
Random days in the lives of sandboxes: what was charged against Daytona's own log of what it
showed running, to the second (L2, L3, L4; the last line of what issue 5 wants shown).

Calls come at any part of a second and bytes take their time; users race with each other, with
sweeps and with themselves; containers end, crash and vanish; replies are lost; Daytona is away;
the daemon dies.  C{RANDOM_DAYS=40} lives forty more of them; a failure names its seed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import ceil, floor

from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures import ALICE, BASE
from tests.services.days import SWEEP_SECONDS, Day


HOUR = 3600
SEEDS = 8
FIRST_OF_MORE = 1000

Span = tuple[float, float]


def runs_of(day: Day, sandbox: str) -> list[Span]:
    """When Daytona showed it running."""
    shown = day.simulator.records[sandbox].shown.intervals
    return [(start, day.moment if end is None else end) for start, end in shown]


def periods_of(day: Day) -> dict[str, list[tuple[int, int]]]:
    """What was charged, by sandbox."""
    found: dict[str, list[tuple[int, int]]] = {name: [] for name in day.simulator.records}
    for record in day.charges():
        charge = record.charge
        if charge.units:
            found[charge.sandbox].append((charge.period_start, charge.period_end))
    return {name: sorted(periods) for name, periods in found.items()}


def overcharged(day: Day) -> Iterator[str]:
    """L3: every charged second lies in one run, to the moment."""
    for sandbox, periods in periods_of(day).items():
        runs = runs_of(day, sandbox)
        for start, end in periods:
            if not any(a <= start and end <= b for a, b in runs):
                near = [(a - BASE, b - BASE) for a, b in runs if a < end + 100 and b > start - 100]
                yield f"{sandbox}: [{start - BASE}, {end - BASE}) is charged, it ran {near}"


def uncharged(day: Day) -> Iterator[str]:
    """
    L3 and L4: from the answer of the first sweep that showed a run to the question of the last,
    nothing of it is missing: at most a reconcile period at each end.
    """
    # Told anew each time: a day has more than a thousand of them, and as many runs.
    sweeps = day.sweeps
    for sandbox, periods in periods_of(day).items():
        session = day.session(sandbox)  # type: ignore[arg-type]
        for start, end in runs_of(day, sandbox):
            # What it was like in the second of a call that changed it does not count.
            seen = [(a, b) for a, b in sweeps if a >= start + 2 and b < end]
            if not seen:
                continue
            first, last = ceil(seen[0][1]) + 1, floor(seen[-1][0])
            if session is not None:
                # It runs on; its next period is not full.
                last = min(last, session.charged_until)
            at = first
            for a, b in [*periods, (last, last)]:
                if b < first or a > max(last, first):
                    continue
                if a > at:
                    yield (
                        f"{sandbox}: [{at - BASE}, {a - BASE}) of the run"
                        f" [{start - BASE:.2f}, {end - BASE:.2f}) was not charged"
                    )
                at = max(at, b)


class RandomDayTests(SynchronousTestCase):
    """L{Day}s, each by its seed."""

    def lived(self, seed: int, seconds: int) -> Day:
        """A day and what the laws say of it."""
        day = Day(seed)
        self.addCleanup(day.simulator.close)
        day.start()
        day.fund(10**15)
        day.live(seconds)
        wrong = [*overcharged(day), *uncharged(day), *map(repr, day.unexpected)]
        running = {
            one.id
            for one in day.simulator.records.values()
            if one.shown.intervals and one.shown.intervals[-1][1] is None
        }
        metered = {name for name in day.simulator.records if day.session(name)}  # type: ignore[arg-type]
        wrong += [f"runs unmetered: {name}" for name in running - metered]
        wrong += [f"is metered and does not run: {name}" for name in metered - running]
        if wrong:
            told = "\n".join([f"seed {seed}, {seconds} s:", *wrong, "story:", *day.story])
            raise AssertionError(told)
        day.check_laws(ALICE)
        return day

    def share(self, days: list[Day]) -> float:
        """How much of what ran was charged."""
        charged = sum(b - a for day in days for all_ in periods_of(day).values() for a, b in all_)
        ran = sum(
            b - a for day in days for name in day.simulator.records for a, b in runs_of(day, name)
        )
        return charged / ran

    def test_hours(self) -> None:
        """Some hours of many a world, in which most of what ran is charged."""
        days = [self.lived(seed, HOUR) for seed in range(SEEDS)]
        self.assertGreater(self.share(days), 0.6)

    def test_a_day(self) -> None:
        """A whole day."""
        day = self.lived(99, 24 * HOUR)
        self.assertGreater(len(day.sweeps), 24 * HOUR / SWEEP_SECONDS / 2)
        self.assertGreater(self.share([day]), 0.6)

    def test_more(self) -> None:
        """As many as somebody asks for."""
        for seed in range(int(os.environ.get("RANDOM_DAYS", "0"))):
            self.lived(FIRST_OF_MORE + seed, 2 * HOUR)

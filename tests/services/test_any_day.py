"""
A random day of one wallet in each dialect: what was charged is what Daytona showed running.

Verbs, self-stops, failures, pauses, resizes and starts past us, in any order and at any second;
Daytona's own log of what it showed is the truth (L2, L3, L4).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from sandbox_billing.devnet.daytona import Dialect, Timings
from sandbox_billing.devnet.daytona.records import State
from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.ledger.identity import SandboxId
from tests.fixtures import ALICE, BASE, World, WorldCase
from tests.services.lives import SWEEP


STEPS = 60
SEEDS = range(4)


def _as_swept(shown: list[tuple[float, float]], story: list[str]) -> list[tuple[float, float]]:
    """
    Runs as sweeps can tell them: one that ended and was begun anew past us between two sweeps
    is the same, and the seconds between are charged (§4.2).
    """
    behind = {BASE + int(one.split(":")[0]) for one in story if "start behind" in one}
    runs = shown[:1]
    for start, end in shown[1:]:
        before = runs[-1]
        if start - before[1] <= SWEEP and int(start) in behind:
            runs[-1] = before[0], end
        else:
            runs.append((start, end))
    return runs


class AnyDayTests(WorldCase):
    """Whatever happens, seconds are charged once, and only those that were shown."""

    def setUp(self) -> None:
        """Each day makes a world of its own."""

    def tearDown(self) -> None:
        """And has looked at its laws."""

    def day(self, seed: int, dialect: Dialect) -> tuple[World, SandboxId, list[str]]:
        """A day's life, brought to rest."""
        chance = Random(seed)
        cached = chance.choice((0.0, 10.0))
        world = World(Timings(lookup_cache_seconds=cached)).start()
        self.addCleanup(world.simulator.close)
        world.simulator.dialect = dialect
        world.fund(100_000_000)
        sandbox = world.create()
        intake, simulator = world.process.intake, world.simulator
        record = simulator.records[sandbox]

        def asks(name: str) -> Callable[[], Any]:
            return lambda: world.run(getattr(intake, name)(ALICE, sandbox))

        def behind(name: str, *states: State) -> Callable[[], Any]:
            def act() -> None:
                if record.raw in states and not record.pending:
                    getattr(simulator, name)(sandbox)

            return act

        def pause() -> None:
            if record.runs and not record.pending:
                simulator.engine.settle(record, State.PAUSED, State.PAUSED)

        def lose(route: str) -> Callable[[], Any]:
            def act() -> None:
                simulator.lose_reply_next(route=route)
                asks(route)()

            return act

        steps: dict[str, Callable[[], Any]] = {
            **{name: asks(name) for name in ("start", "stop", "archive", "recover")},
            **{f"lose {route}": lose(route) for route in ("start", "stop")},
            "stop behind": behind("stop_behind", State.STARTED),
            "start behind": behind("start_behind", State.STOPPED),
            "break": behind("break_sandbox", State.STARTED),
            "exit": behind("exit_container", State.STARTED),
            "pause": pause,
            "grow": lambda: simulator.edit(record, cpu=1 + record.cpu % 3),
            "fail": lambda: simulator.fail_start_next(),
        }
        story = []
        for _ in range(STEPS):
            name = chance.choice((*steps, "start", "start", "recover", "wait", "wait"))
            story.append(f"{world.wall.now() - BASE}: {name}")
            try:
                steps.get(name, lambda: world.advance(chance.randrange(40)))()
            except (Refused, BadInput, UnknownOutcome, Transient) as why:
                story[-1] += f" ({why})"
            world.advance(chance.choice((0, 1, 3, 7, 14)))
        for _ in range(5):
            world.advance(20)
            if not record.runs:
                break
            try:
                asks("stop")()
            except Refused:
                continue
        world.advance(60)
        return world, sandbox, story

    def check(self, dialect: Dialect) -> None:
        """Several days."""
        for seed in SEEDS:
            world, sandbox, story = self.day(seed, dialect)
            shown = [
                (start, world.wall.now() if end is None else end)
                for start, end in world.simulator.records[sandbox].shown.intervals
            ]
            charged = [
                (r.charge.period_start, r.charge.period_end)
                for r in world.charges()
                if r.charge.units
            ]
            told = (seed, dialect.name, shown, charged, story)
            self.assertIsNone(world.session(sandbox), told)
            runs = _as_swept(shown, story)
            for start, end in charged:
                self.assertTrue(
                    any(int(a) <= start and end <= b + 1 for a, b in runs), (start, end, told)
                )
            for start, end in runs:
                inside = sum(b - a for a, b in charged if start - 1 <= a and b <= end + 1)
                # One begun past us, or whose reply was lost, may take two sweeps to be metered.
                self.assertGreaterEqual(inside, end - start - 3 * (SWEEP + 2), (start, end, told))
            # The grace of any intent whose reply was lost.
            world.advance(330)
            held = [f for f in world.funds().exposure.fields if f.startswith(("hold", "session"))]
            self.assertEqual([], held, told)
            world.check_laws(ALICE, observed=False)

    def test_old(self) -> None:
        """Before v0.160."""
        self.check(Dialect.OLD)

    def test_new(self) -> None:
        """From v0.180 on."""
        self.check(Dialect.NEW)

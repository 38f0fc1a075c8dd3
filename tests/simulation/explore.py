"""Living stories: one, then one for each death in it."""

from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from sandbox_billing.wiring import Parts
from tests.simulation.books import Sums
from tests.simulation.checker import check
from tests.simulation.faults import Fault, FaultKind, Spot
from tests.simulation.ports import Passed
from tests.simulation.scenarios import Scenario
from tests.simulation.stories import ORDINARY, Story
from tests.simulation.world import World


LIMIT = 1_500
"""Simulated seconds that no golden story takes."""

MOST = 1_500
"""Letters of one failure."""

FORGETS_MS = 1_000
"""What C{appendfsync everysec} may lose."""


OPEN_FINDINGS: dict[str, str] = {}
"""What the simulation has found and nobody has mended yet: counted, and no failure."""


def is_open(problem: str) -> bool:
    """Whether a problem is one of those."""
    return any(re.match(pattern, problem) for pattern in OPEN_FINDINGS)


@frozen
class Death:
    """
    A fault at a numbered call.

    @ivar number: Counted over all daemons of the world.
    """

    number: int
    fault: Fault

    def __str__(self) -> str:
        return f"{self.fault.kind.name} at call {self.number}"


@define
class Ended:
    """
    A story that was lived.

    @ivar problems: Broken laws.
    @ivar fired: What befell it.
    @ivar calls: How many port calls there were.
    @ivar tale: What happened, line by line.
    """

    problems: list[str]
    fired: Counter[tuple[Spot, FaultKind]]
    met: Counter[Spot]
    calls: int
    recording: dict[int, Passed] | None
    seconds: float
    tale: list[str]
    sums: Sums | None = None
    deaths: int = 0
    turns: int = 0


@define
class Report:
    """
    What was tried, and how fast.

    @ivar tell: Called with each failure as it is found.
    @ivar cpu: Seconds of all processes that lived it.
    """

    stories: int = 0
    calls: int = 0
    simulated: float = 0.0
    cpu: float = 0.0
    fired: Counter[tuple[Spot, FaultKind]] = field(factory=Counter)
    met: set[Spot] = field(factory=set)
    covered: int = 0
    places: int = 0
    seeds: int = 0
    turns: int = 0
    deaths: int = 0
    failures: list[str] = field(factory=list)
    known: int = 0
    tell: Callable[[str], object] | None = None

    def add(self, ended: Ended, place: str) -> None:
        """One more story."""
        self.stories += 1
        self.calls += ended.calls
        self.simulated += ended.seconds
        self.turns += ended.turns
        self.deaths += ended.deaths
        self.fired.update(ended.fired)
        self.met.update(ended.met)
        new = [problem for problem in ended.problems if not is_open(problem)]
        self.known += len(ended.problems) - len(new)
        if new:
            self._failed(f"{place}: " + "; ".join(dict.fromkeys(new))[:MOST])

    def merge(self, other: Report) -> None:
        """What another process lived."""
        for name in ("stories", "calls", "simulated", "cpu", "turns", "deaths", "known"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.fired.update(other.fired)
        self.met.update(other.met)
        for failure in other.failures:
            self._failed(failure)

    def _failed(self, failure: str) -> None:
        self.failures.append(failure)
        if self.tell is not None:
            self.tell(failure + "\n")

    def missing(self) -> list[str]:
        """Faults that could have befallen a call and never did."""
        possible = {(spot, kind) for spot in self.met for kind in spot.kinds()}
        return sorted(f"{spot.name} {kind.name}" for spot, kind in possible - set(self.fired))

    def lines(self) -> Iterator[str]:
        """For people."""
        possible = {(spot, kind) for spot in self.met for kind in spot.kinds()}
        met = possible & set(self.fired)
        rate = self.stories / self.cpu if self.cpu else 0
        yield f"{self.stories} stories in {self.cpu:.0f} s of CPU: {rate:.1f} a second"
        yield (
            f"{self.simulated / 3600:.1f} simulated hours, {self.calls} port calls,"
            f" {self.turns} turns of workers, {self.deaths} deaths of daemons"
        )
        if self.places:
            yield f"deaths: {self.covered} of {self.places} (call, before or after) pairs covered"
        if self.seeds:
            yield f"seeds: {self.seeds}"
        yield (
            f"faults: {sum(self.fired.values())} fired, {len(met)} of {len(possible)}"
            f" (port call, fault) pairs ({100 * len(met) / max(1, len(possible)):.1f} %)"
        )
        yield f"failures: {len(self.failures)}; open findings met: {self.known}"


def live(
    scenario: Scenario,
    deaths: Sequence[Death] = (),
    *,
    record: bool = False,
    planted: Callable[[Parts], Parts] = lambda parts: parts,
    tamper: Callable[[World], None] = lambda world: None,
) -> Ended:
    """
    Live a golden story once, with faults at numbered calls.

    @param planted: Puts a defect into the daemons.
    @param tamper: Changes the world behind everybody's back before it is checked.
    """
    world = World(timings=scenario.timings(), planted=planted)
    if record:
        world.board.recording = {}
    due = {death.number: death.fault for death in deaths}
    world.board.decide = (lambda spot, number, life: due.get(number)) if due else None
    return finish(world, scenario, tamper)


def finish(
    world: World,
    scenario: Scenario,
    tamper: Callable[[World], None] = lambda world: None,
    *,
    laws: Callable[[World], list[str]] = check,
    limit: float = LIMIT,
) -> Ended:
    """
    Live what is prepared, and check the laws.

    @param limit: Simulated seconds.
    """

    def watch(event: Any) -> None:
        if "log_failure" in event:
            if isinstance(event["log_failure"].value, ORDINARY):
                # Known to be possible, and told to whoever reads the log.
                return
            world.surprised(event["log_failure"])
        elif event["log_level"] is LogLevel.critical:
            world.alarmed(formatEvent(event))

    globalLogPublisher.addObserver(watch)
    sums = None
    try:
        for _ in range(scenario.daemons):
            world.birth()
        story = Story(world)

        async def whole() -> None:
            await scenario.script(story)

        try:
            world.run(whole(), limit)
            tamper(world)
            problems = laws(world)
            sums = Sums.of(world)
        except AssertionError as why:
            problems = [str(why), *laws(world)]
    finally:
        globalLogPublisher.removeObserver(watch)
        world.close()
    return Ended(
        problems=problems,
        fired=world.board.fired,
        met=world.board.met,
        calls=world.board.number,
        recording=world.board.recording,
        seconds=world.clock.rightNow,
        tale=world.tale,
        sums=sums,
        deaths=world.deaths,
        turns=world.turns,
    )


class quiet_collector:
    """Worlds are full of cycles: collect them between stories, not within."""

    def __enter__(self) -> None:
        gc.collect()
        gc.freeze()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        gc.enable()
        gc.unfreeze()

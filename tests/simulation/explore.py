"""Living stories: one, then one for each death in it."""

from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from time import process_time
from typing import Any

from attrs import define, field, frozen
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from sandbox_billing.wiring import Parts
from tests.simulation.books import Sums
from tests.simulation.checker import check
from tests.simulation.faults import Fault, FaultKind, Spot
from tests.simulation.ports import Moment, Passed
from tests.simulation.scenarios import Scenario
from tests.simulation.seconds import SLACK
from tests.simulation.settings import RECOVERY
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


@define
class Report:
    """
    What was tried, and how fast.

    @ivar tell: Called with each failure as it is found.
    """

    stories: int = 0
    calls: int = 0
    simulated: float = 0.0
    started: float = field(factory=process_time)
    fired: Counter[tuple[Spot, FaultKind]] = field(factory=Counter)
    met: set[Spot] = field(factory=set)
    covered: int = 0
    places: int = 0
    seeds: int = 0
    failures: list[str] = field(factory=list)
    known: int = 0
    tell: Callable[[str], object] = lambda failure: None

    def add(self, ended: Ended, place: str) -> None:
        """One more story."""
        self.stories += 1
        self.calls += ended.calls
        self.simulated += ended.seconds
        self.fired.update(ended.fired)
        self.met.update(ended.met)
        new = [problem for problem in ended.problems if not is_open(problem)]
        self.known += len(ended.problems) - len(new)
        if new:
            self.failures.append(f"{place}: " + "; ".join(dict.fromkeys(new))[:MOST])
            self.tell(self.failures[-1] + "\n")

    def lines(self) -> Iterator[str]:
        """For people."""
        took = process_time() - self.started
        possible = {(spot, kind) for spot in self.met for kind in spot.kinds()}
        met = possible & set(self.fired)
        yield f"{self.stories} stories in {took:.1f} s of CPU: {self.stories / took:.1f} a second"
        yield f"{self.simulated / 3600:.1f} simulated hours, {self.calls} port calls"
        if self.places:
            yield f"deaths: {self.covered} of {self.places} (call, before or after) pairs covered"
        if self.seeds:
            yield f"seeds: {self.seeds}"
        yield (
            f"faults: {sum(self.fired.values())} fired, {len(met)} of {len(possible)}"
            f" (port call, fault) pairs ({100 * len(met) // max(1, len(possible))} %)"
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
    world: World, scenario: Scenario, tamper: Callable[[World], None] = lambda world: None
) -> Ended:
    """Live what is prepared, and check the laws."""

    def watch(event: Any) -> None:
        if "log_failure" in event:
            if isinstance(event["log_failure"].value, ORDINARY):
                # Known to be possible, and told to whoever reads the log.
                return
            world.surprised(event["log_failure"])
        elif event["log_level"] is LogLevel.critical:
            world.surprises.append(formatEvent(event))

    globalLogPublisher.addObserver(watch)
    sums = None
    try:
        for _ in range(scenario.daemons):
            world.birth()
        story = Story(world)

        async def whole() -> None:
            await scenario.script(story)

        try:
            world.run(whole(), LIMIT)
            tamper(world)
            problems = check(world)
            sums = Sums.of(world)
        except AssertionError as why:
            problems = [str(why), *check(world)]
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
    )


def places(recording: dict[int, Passed]) -> dict[tuple[int, FaultKind], int]:
    """
    Every death there can be, and which of them stands for it.

    Two deaths of one daemon at one time that leave the same world behind are one: nothing
    but the world lives on.

    @return: (number, kind) to the number of the place that stands for it.
    """
    first: dict[Moment, tuple[int, FaultKind]] = {}
    found = {}
    for number, passed in sorted(recording.items()):
        for moment, kind in (
            (passed.before, FaultKind.CRASH_BEFORE),
            (passed.after, FaultKind.CRASH_AFTER),
        ):
            if moment is not None:
                found[number, kind] = first.setdefault(moment, (number, kind))
    return found  # type: ignore[return-value]


def every_death(scenario: Scenario, report: Report, *, stride: int = 1, offset: int = 0) -> None:
    """
    Die before and after each call of a story.

    @param stride: Of the deaths that differ, one in so many.
    """
    first = live(scenario, record=True)
    report.add(first, scenario.name)
    assert first.recording is not None
    stand_for = places(first.recording)
    chosen = sorted(set(stand_for.values()), key=lambda at: (at[0], at[1].name))[offset::stride]
    report.places += len(stand_for)
    report.covered += sum(1 for place in stand_for.values() if place in set(chosen))
    for number, kind in chosen:
        death = Death(number, Fault(kind))
        ended = live(scenario, [death])
        if first.sums is not None and ended.sums is not None:
            # Each run ends with at most one more period; the rest took place unseen.
            allowed = RECOVERY + 2 * SLACK
            ended.problems.extend(first.sums.later(ended.sums, allowed))
        report.add(ended, f"{scenario.name}: {death}")


def pairs(scenarios: Sequence[Scenario], report: Report, seeds: Iterable[int]) -> None:
    """
    Die twice in a golden story, by seed; some deaths take what was not on disk with them.
    """
    calls = {scenario.name: live(scenario).calls for scenario in scenarios}
    for seed in seeds:
        random = Random(f"pair {seed}")
        scenario = random.choice(scenarios)
        first = random.randrange(calls[scenario.name])
        # The second daemon is born, or at work, or the story is nearly over.
        second = first + 1 + int(random.expovariate(1 / 200))
        deaths = []
        for number in (first, second):
            kind = random.choice((FaultKind.CRASH_BEFORE, FaultKind.CRASH_AFTER))
            if random.random() < 0.2:
                kind = FaultKind.ROLLBACK
            deaths.append(Death(number, Fault(kind, random.uniform(0, FORGETS_MS))))
        place = f"{scenario.name}: " + " and ".join(map(str, deaths))
        report.add(live(scenario, deaths), place)


class quiet_collector:
    """Worlds are full of cycles: collect them between stories, not within."""

    def __enter__(self) -> None:
        gc.collect()
        gc.freeze()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        gc.enable()
        gc.unfreeze()

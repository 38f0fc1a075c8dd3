"""
What can be lived, as words: a seed, or a golden scenario with faults at numbered calls.

A failure is printed as the words that live it again: C{SIM_SEED=words}, C{bin/simulate
--story words}, a line of the corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from random import Random
from zlib import crc32

from attrs import frozen

from sandbox_billing.errors import BadInput
from tests.simulation.chance import Chance
from tests.simulation.checker import check
from tests.simulation.explore import FORGETS_MS, LIMIT, Death, Ended, Report, finish, live
from tests.simulation.faults import CRASHES, Fault, FaultKind, Spot
from tests.simulation.ports import Moment, Passed
from tests.simulation.scenarios import BY_NAME, Scenario
from tests.simulation.seconds import SLACK
from tests.simulation.settings import RECOVERY
from tests.simulation.violence import Deep, Lost, Turns, Violent, after_loss
from tests.simulation.wide import Flawed, Wide


AMOUNTS: dict[FaultKind, tuple[float, float, float]] = {
    FaultKind.DELAY_BEFORE: (0.4, 3.0, 8.0),
    FaultKind.DELAY_AFTER: (0.4, 3.0, 8.0),
    FaultKind.PAUSE: (1.5, 7.5, 20.0),
    FaultKind.STALE: (1, 3, 6),
    FaultKind.ROLLBACK: (50, FORGETS_MS, 400),
}
"""What befalls the first call of its kind, one in the middle, and the last."""


KINDS: dict[str, Callable[..., Chance]] = {
    "wide": Wide,
    "flawed": Flawed,
    "lost": Lost,
    "deep": Deep,
    "turns": Turns,
}
"""Random stories beside the plain ones."""


@frozen
class Tale:
    """
    @ivar words: A seed (C{17}, C{wide-17}; L{live_seed}), or a golden scenario with its
        faults: C{<scenario> <kind>[:<amount>] <call> ...}.
    """

    words: str

    @classmethod
    def of(cls, scenario: str, deaths: Sequence[Death]) -> Tale:
        """A golden scenario with faults."""
        told = [
            f"{d.fault.kind.name}{f':{d.fault.amount!r}' if d.fault.amount else ''} {d.number}"
            for d in deaths
        ]
        return cls(" ".join([scenario, *told]))

    def deaths(self) -> tuple[Death, ...]:
        """@raise BadInput: These are no such words."""
        _, *rest = self.words.split()
        if len(rest) % 2:
            raise BadInput(f"{self.words!r}: a kind and a call for each fault")
        deaths = []
        for told, number in zip(rest[::2], rest[1::2], strict=True):
            kind, _, amount = told.partition(":")
            deaths.append(Death(int(number), Fault(FaultKind[kind], float(amount or 0))))
        return tuple(deaths)

    def live(self) -> Ended:
        """Once."""
        name = self.words.split()[0]
        if name not in BY_NAME:
            return live_seed(self.words)
        deaths = self.deaths()
        ended = live(BY_NAME[name], deaths)
        if len(deaths) == 1 and deaths[0].fault.kind in CRASHES - {FaultKind.ROLLBACK}:
            before = golden(name).sums
            if before is not None and ended.sums is not None:
                # Each run ends with at most one more period; the rest took place unseen.
                allowed = RECOVERY + 2 * SLACK
                ended.problems.extend(before.later(ended.sums, allowed))
        return ended


def live_seed(words: str) -> Ended:
    """
    Live the story of a seed.

    @param words: C{17}, C{long-17}, C{wide-17}, C{flawed-17} ...
    """
    *kinds, number = words.split("-")
    seed, long = int(number), "long" in kinds
    unknown = set(kinds) - {"long", *KINDS}
    if unknown:
        raise BadInput(f"{words!r}: there is no {sorted(unknown)}")
    make = next((KINDS[kind] for kind in kinds if kind in KINDS), Chance)
    chance = make(seed, long=long)
    world = chance.world()
    daemons = chance.random.choice((1, 1, 2))
    if isinstance(chance, Turns):
        daemons = 2
    laws = after_loss if isinstance(chance, Violent) else check
    scenario = Scenario(f"seed {words}", chance.script, daemons=daemons)
    return finish(world, scenario, laws=laws, limit=10 * LIMIT)


@cache
def golden(name: str) -> Ended:
    """A scenario in which nothing goes wrong, recorded; the same for everybody."""
    return live(BY_NAME[name], record=True)


def recording_of(name: str) -> dict[int, Passed]:
    """Its calls by number."""
    recording = golden(name).recording
    assert recording is not None
    return recording


def places(recording: dict[int, Passed]) -> dict[tuple[int, FaultKind], tuple[int, FaultKind]]:
    """
    Every death there can be, and which of them stands for it.

    Two deaths of one daemon at one time that leave the same world behind are one: nothing
    but the world lives on.
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
    return found


def deaths_of(scenario: Scenario, report: Report, stride: int = 1) -> list[Tale]:
    """
    The deaths that differ, in order; and a report of all that are the same as one of them.

    @param stride: One in so many.
    """
    recording = recording_of(scenario.name)
    stand_for = places(recording)
    chosen = sorted(set(stand_for.values()), key=lambda at: (at[0], at[1].name))[::stride]
    lived = set(chosen)
    report.places += len(stand_for)
    for (number, kind), place in stand_for.items():
        if place in lived:
            report.covered += 1
            if (number, kind) != place:
                report.fired[recording[number].spot, kind] += 1
    return [Tale.of(scenario.name, [Death(number, Fault(kind))]) for number, kind in chosen]


def faults_of(scenario: Scenario) -> Iterator[tuple[Spot, Tale]]:
    """Each fault that is no death, at the first, a middle and the last call it can befall."""
    calls: dict[Spot, list[int]] = {}
    for number, passed in sorted(recording_of(scenario.name).items()):
        calls.setdefault(passed.spot, []).append(number)
    for spot, numbers in sorted(calls.items(), key=lambda item: item[0].name):
        where = dict.fromkeys(((0, numbers[0]), (1, numbers[len(numbers) // 2]), (2, numbers[-1])))
        for kind in spot.kinds():
            if kind in CRASHES - {FaultKind.ROLLBACK}:
                continue
            met: set[int] = set()
            for which, number in where:
                if number not in met:
                    met.add(number)
                    amount = AMOUNTS.get(kind, (0, 0, 0))[which]
                    yield spot, Tale.of(scenario.name, [Death(number, Fault(kind, amount))])


def one_of_each(scenarios: Sequence[Scenario]) -> list[Tale]:
    """Of each (port call, fault) one place in one scenario: which, is its name's affair."""
    found: dict[str, list[Tale]] = {}
    for scenario in scenarios:
        for spot, tale in faults_of(scenario):
            kind = tale.words.split()[1].partition(":")[0]
            found.setdefault(f"{spot.name} {kind}", []).append(tale)
    return [tales[crc32(name.encode()) % len(tales)] for name, tales in sorted(found.items())]


def pair_of(scenarios: Sequence[Scenario], seed: int) -> Tale:
    """
    Die twice in a golden story, by seed; some deaths take what was not on disk with them.
    """
    random = Random(f"pair {seed}")
    scenario = random.choice(scenarios)
    first = random.randrange(golden(scenario.name).calls)
    # The second daemon is born, or at work, or the story is nearly over.
    second = first + 1 + int(random.expovariate(1 / 200))
    deaths = []
    for number in (first, second):
        kind, amount = random.choice((FaultKind.CRASH_BEFORE, FaultKind.CRASH_AFTER)), 0.0
        if random.random() < 0.2:
            kind, amount = FaultKind.ROLLBACK, random.uniform(0, FORGETS_MS)
        deaths.append(Death(number, Fault(kind, amount)))
    return Tale.of(scenario.name, deaths)

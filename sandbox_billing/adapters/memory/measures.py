"""What was measured, for tests: strict where the real one only logs."""

from __future__ import annotations

from collections import Counter, defaultdict

from attrs import define, field
from zope.interface import implementer

from sandbox_billing.interfaces import IMeasures
from sandbox_billing.measures import VOCABULARY, Kind, Measure


Key = tuple[str, ...]
"""A measure's name and its labels' values, in its order."""


@implementer(IMeasures)
@define(eq=False)
class MemoryMeasures:
    """
    Raises C{ValueError} for what is not in the vocabulary, and for labels that are not its.

    @ivar counts: Of counters.
    @ivar seen: All values of histograms.
    @ivar shown: Of gauges.
    """

    counts: Counter[Key] = field(factory=Counter)
    seen: defaultdict[Key, list[float]] = field(factory=lambda: defaultdict(list))
    shown: dict[Key, float] = field(factory=dict)

    def count(self, measure: Measure, amount: int = 1, **labels: str) -> None:
        if amount < 0:
            raise ValueError("a counter only rises")
        self.counts[_key(Kind.COUNTER, measure, labels)] += amount

    def observe(self, measure: Measure, value: float, **labels: str) -> None:
        self.seen[_key(Kind.HISTOGRAM, measure, labels)].append(value)

    def set(self, measure: Measure, value: float, **labels: str) -> None:
        self.shown[_key(Kind.GAUGE, measure, labels)] = value

    def forget(self, *measures: Measure) -> None:
        for measure in measures:
            if measure.kind is not Kind.GAUGE:
                raise ValueError(f"{measure.name} is no gauge")
        gone = {measure.name for measure in measures}
        self.shown = {key: value for key, value in self.shown.items() if key[0] not in gone}


def _key(kind: Kind, measure: Measure, labels: dict[str, str]) -> Key:
    if not any(measure is one for one in VOCABULARY):
        raise ValueError(f"{measure.name} is not in the vocabulary")
    measure.check(kind, labels)
    return (measure.name, *(labels[name] for name in measure.labels))

"""A Prometheus of a few lines: it keeps what it scrapes, and evaluates the rules on it."""

from __future__ import annotations

import re
from functools import cache

from attrs import define, field
from prometheus_client.parser import text_string_to_metric_families

from tests.alerts.promql import Labels, Store, labels_of, selectors
from tests.alerts.rules import Watch, rule, rules


JOB = "sandbox-billing"


@cache
def _names() -> frozenset[str]:
    return frozenset(found.name for one in rules() for found in selectors(one.node))


def _asked_for(text: str) -> str:
    """The lines that some rule asks for: to parse the others takes most of the time."""
    lines = text.splitlines(keepends=True)
    return "".join(
        line
        for line in lines
        if line[0] != "#" and re.split("[{ ]", line, maxsplit=1)[0] in _names()
    )


@define(eq=False)
class Prometheus:
    """
    @ivar fired: Every alert that has ever fired, and when first.
    """

    provider: str = "ours"
    store: Store = field(factory=Store)
    watch: Watch = field(init=False)
    fired: dict[str, float] = field(factory=dict, init=False)
    _shown: dict[str, set[Labels]] = field(factory=dict, init=False)

    @watch.default
    def _make(self) -> Watch:
        return Watch(self.store)

    def scrape(self, instance: str, text: str | None, at: float) -> None:
        """
        What a process shows at a moment.

        @param text: None: it did not answer.
        """
        target = {"job": JOB, "provider": self.provider, "instance": instance}
        self.store.add(labels_of("up", **target), at, float(text is not None))
        shown = set()
        for family in text_string_to_metric_families(_asked_for(text or "")):
            for sample in family.samples:
                labels = labels_of(sample.name, **sample.labels, **target)
                shown.add(labels)
                self.store.add(labels, at, sample.value)
        for gone in self._shown.get(instance, set()) - shown:
            self.store.add(gone, at, None)
        self._shown[instance] = shown

    def forget(self, instance: str) -> None:
        """It is no target any more."""
        target = ("instance", instance)
        for named in self.store.series.values():
            for labels in [labels for labels in named if target in labels]:
                del named[labels]

    def evaluate(self, at: float) -> None:
        """All rules, as often as Prometheus does it."""
        self.watch.step(at)
        for name in self.firing:
            self.fired.setdefault(name, at)

    @property
    def firing(self) -> set[str]:
        """Alerts that fire since the last evaluation."""
        shown = (dict(labels) for labels in self.watch.shown)
        return {one["alertname"] for one in shown if one["alertstate"] == "firing"}

    def holds(self, name: str, at: float) -> dict[Labels, float]:
        """For what the expression of an alert holds, be it that it does not fire yet."""
        return rule(name).holds(self.store, at)

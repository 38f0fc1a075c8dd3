"""The alert rules as they are in docs/alerts, and what they come to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from attrs import define, field, frozen

from tests.alerts.promql import Labels, Store, Vector, duration, evaluate, labels_of, parse


ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "alerts"
RULES = FOLDER / "sandbox-billing.rules.yml"
TESTS = FOLDER / "tests.yml"


@frozen(kw_only=True)
class Rule:
    """
    An alert.

    @ivar expression: As it is written.
    @ivar node: As it was parsed.
    @ivar seconds: How long its expression must hold.
    """

    name: str
    expression: str
    node: Any
    seconds: float
    labels: dict[str, str]
    annotations: dict[str, str]

    def holds(self, store: Store, at: float) -> Vector:
        """For what its expression holds."""
        found = evaluate(self.node, store, at)
        assert isinstance(found, dict)
        return found


@cache
def rules() -> tuple[Rule, ...]:
    """All of them, in the order of the file."""
    whole = yaml.safe_load(RULES.read_text())
    return tuple(
        Rule(
            name=one["alert"],
            expression=one["expr"],
            node=parse(one["expr"]),
            seconds=duration(one["for"]) if "for" in one else 0.0,
            labels=one["labels"],
            annotations=one["annotations"],
        )
        for group in whole["groups"]
        for one in group["rules"]
    )


def rule(name: str) -> Rule:
    """One by its name."""
    return next(one for one in rules() if one.name == name)


def values(notation: str) -> Iterator[float | None]:
    """
    promtool's notation of samples: C{1x3} is four of them, C{0+60x9} ten that rise, C{_x5} five
    scrapes without one.
    """
    for part in notation.split():
        if part[0] == "_":
            yield from [None] * int(part[2:] or 1)
            continue
        found = re.fullmatch(r"(-?[\d.e]+)(?:([+-][\d.e]+)?x(\d+))?", part)
        if found is None:
            raise ValueError(part)
        begin, step, times = float(found[1]), float(found[2] or 0), int(found[3] or 0)
        yield from (begin + step * i for i in range(times + 1))


def series(notation: str) -> Labels:
    """C{name{label="value", ...}}."""
    name, _, rest = notation.partition("{")
    return labels_of(name, **dict(re.findall(r'(\w+)="([^"]*)"', rest)))


@define(eq=False)
class Watch:
    """
    What Prometheus does with the rules, at each evaluation.

    @ivar since: From when on what holds has held.
    """

    store: Store
    watched: Sequence[Rule] = field(factory=rules)
    since: dict[tuple[str, Labels], float] = field(factory=dict)
    shown: set[Labels] = field(factory=set)

    def step(self, at: float) -> None:
        """Evaluate all, and store what is pending and what fires as ALERTS."""
        held: dict[tuple[str, Labels], float] = {}
        alerts: set[Labels] = set()
        for one in self.watched:
            for labels in one.holds(self.store, at):
                key = (one.name, labels)
                held[key] = self.since.get(key, at)
                state = "firing" if at - held[key] >= one.seconds else "pending"
                named = {**dict(labels), **one.labels, "alertname": one.name, "alertstate": state}
                named.pop("__name__", None)
                alerts.add(labels_of("ALERTS", **named))
        for gone in self.shown - alerts:
            self.store.add(gone, at, None)
        for alert in alerts:
            self.store.add(alert, at, 1.0)
        self.since, self.shown = held, alerts

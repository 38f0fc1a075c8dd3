"""
What is measured, kept in a registry of one daemon's own: several live in one test process.

Tests: C{tests.adapters.test_prometheus}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock
from typing import Any, ClassVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.metrics_core import Metric
from twisted.logger import Logger
from zope.interface import implementer

from sandbox_billing.interfaces import IMeasures
from sandbox_billing.measures import VOCABULARY, Kind, Measure


MOST_SERIES = 2_000
"""Of one measure: labels are few by construction, and a mistake must not fill the memory."""

_WRONG = (ValueError, TypeError, OverflowError)
"""What a value or label that is none comes to."""


class _WithoutCreated(CollectorRegistry):
    """
    When each series was begun would be half of all that is scraped, and nobody reads it.

    prometheus_client's own switch for it is one for the whole process.
    """

    def collect(self) -> Iterator[Metric]:
        for metric in super().collect():
            kept = [one for one in metric.samples if not one.name.endswith("_created")]
            if len(kept) < len(metric.samples):
                metric.samples = kept
            yield metric


@implementer(IMeasures)
class PrometheusMeasures:
    """
    Counters, gauges and histograms by their names in the vocabulary.

    A gauge is not shown before it is set: 0 would be a statement.

    @ivar registry: What is scraped.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(self) -> None:
        self.registry: CollectorRegistry = _WithoutCreated()
        self._lock = Lock()
        self._metrics: dict[str, Any] = {}
        self._series: dict[tuple[str, ...], Any] = {}
        self._numbers: dict[str, int] = {}
        self._refused: set[str] = set()
        ProcessCollector(registry=self.registry)
        for measure in VOCABULARY:
            if measure.kind is not Kind.GAUGE and not measure.labels:
                self._child(measure, {})
            for value in measure.known:
                self._child(measure, {measure.labels[0]: value})

    def count(self, measure: Measure, amount: int = 1, **labels: str) -> None:
        self._do(Kind.COUNTER, measure, labels, lambda child: child.inc(amount))

    def observe(self, measure: Measure, value: float, **labels: str) -> None:
        self._do(Kind.HISTOGRAM, measure, labels, lambda child: child.observe(value))

    def set(self, measure: Measure, value: float, **labels: str) -> None:
        self._do(Kind.GAUGE, measure, labels, lambda child: child.set(value))

    def forget(self, *measures: Measure) -> None:
        with self._lock:
            for measure in measures:
                metric = self._metrics.pop(measure.name, None)
                if metric is not None:
                    self.registry.unregister(metric)
                for key in [key for key in self._series if key[0] == measure.name]:
                    del self._series[key]
                self._numbers.pop(measure.name, None)

    def _do(
        self, kind: Kind, measure: Measure, labels: dict[str, str], act: Callable[[Any], None]
    ) -> None:
        try:
            measure.check(kind, labels)
            act(self._child(measure, labels))
        except _WRONG as why:
            if measure.name not in self._refused:
                self._refused.add(measure.name)
                self._log.error(
                    "{measure} is not measured: {why}", measure=measure.name, why=str(why)
                )

    def _child(self, measure: Measure, labels: dict[str, str]) -> Any:
        key = (measure.name, *(labels[name] for name in measure.labels))
        found = self._series.get(key)
        if found is not None:
            return found
        with self._lock:
            number = self._numbers.get(measure.name, 0)
            if number >= MOST_SERIES:
                raise ValueError(f"there are {MOST_SERIES} label sets of it already")
            metric = self._metrics.get(measure.name)
            if metric is None:
                metric = self._metrics[measure.name] = self._made(measure)
            child = metric.labels(**labels) if measure.labels else metric
            self._numbers[measure.name] = number + 1
            self._series[key] = child
        return child

    def _made(self, measure: Measure) -> Any:
        given: Any = {"labelnames": measure.labels, "registry": self.registry}
        if measure.kind is Kind.HISTOGRAM:
            return Histogram(measure.full_name, measure.help, buckets=measure.buckets, **given)
        maker = Counter if measure.kind is Kind.COUNTER else Gauge
        return maker(measure.full_name, measure.help, **given)

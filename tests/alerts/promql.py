"""
As much of PromQL as the alert rules use, to evaluate them where there is no promtool.

C{docs/alerts/tests.yml} is computed by this and by promtool, so that the two agree.
Vectors are dictionaries from labels to values; a scalar is a C{float}.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

from attrs import define, field, frozen


LOOKBACK_SECONDS = 300.0
"""A sample is what is, for so long."""

Labels = frozenset[tuple[str, str]]
Sample = tuple[float, float | None]
Vector = dict[Labels, float]
Value = Vector | float

NAME = "__name__"


def labels_of(name: str, **labels: str) -> Labels:
    """As a series has them."""
    return frozenset({NAME: name, **labels}.items())


@define(eq=False)
class Store:
    """
    @ivar series: By name, and of each its samples in the order of time; None marks that it
        went away.
    """

    series: dict[str, dict[Labels, list[Sample]]] = field(factory=dict)

    def add(self, labels: Labels, at: float, value: float | None) -> None:
        """One more sample."""
        named = self.series.setdefault(dict(labels)[NAME], {})
        named.setdefault(labels, []).append((at, value))

    def found(self, selector: _Selector) -> Iterable[tuple[Labels, list[Sample]]]:
        """The series that it asks for."""
        for labels, samples in self.series.get(selector.name, {}).items():
            if selector.fits(labels):
                yield labels, samples


@frozen
class _Selector:
    name: str
    matchers: tuple[tuple[str, str, str], ...]
    seconds: float | None = None
    offset: float = 0.0

    def fits(self, labels: Labels) -> bool:
        if not self.matchers:
            return True
        found = dict(labels)
        for name, how, wanted in self.matchers:
            has = found.get(name, "")
            same = has == wanted if how in ("=", "!=") else re.fullmatch(wanted, has) is not None
            if same is how.startswith("!"):
                return False
        return True


@frozen
class _Call:
    name: str
    arguments: tuple[Any, ...]
    by: tuple[str, ...] | None = None


@frozen
class _Binary:
    how: str
    left: Any
    right: Any
    on: tuple[str, ...] | None = None


_TOKEN = re.compile(
    r"\s*(?:(?P<duration>\d+[smhd])|(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
    r"|(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)|(?P<text>\"[^\"]*\")"
    r"|(?P<sign>==|!=|>=|<=|=~|!~|[-+*/()\[\]{},<>=]))"
)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_LEVELS = (
    ("or",),
    ("and", "unless"),
    ("==", "!=", ">", "<", ">=", "<="),
    ("+", "-"),
    ("*", "/"),
)


def duration(text: str) -> float:
    """Seconds of C{5m} and the like."""
    return float(text[:-1]) * _UNITS[text[-1]]


class _Parser:
    """By descent; a rule that it does not understand is an error, never silence."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at, text = 0, text.strip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None or found.lastgroup is None:
                raise ValueError(f"cannot be read from here on: {text[at:]}")
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()
        self._tokens.append(("end", ""))

    def whole(self) -> Any:
        """All of it."""
        found = self.expression(0)
        self._want("")
        return found

    def expression(self, level: int) -> Any:
        """Operators of a level and those that bind closer."""
        if level == len(_LEVELS):
            return self._atom()
        left = self.expression(level + 1)
        while self._tokens[0][1] in _LEVELS[level]:
            how = self._next()
            on = None
            if self._tokens[0][1] == "on":
                self._next()
                on = self._names()
            left = _Binary(how, left, self.expression(level + 1), on)
        return left

    def _next(self) -> str:
        return self._tokens.pop(0)[1]

    def _want(self, text: str) -> None:
        kind, found = self._tokens.pop(0)
        if found != text:
            raise ValueError(f"{text or 'the end'} was expected, not {kind} {found}")

    def _names(self) -> tuple[str, ...]:
        self._want("(")
        found = []
        while self._tokens[0][1] != ")":
            found.append(self._next())
            if self._tokens[0][1] == ",":
                self._next()
        self._want(")")
        return tuple(found)

    def _atom(self) -> Any:
        kind, text = self._tokens.pop(0)
        if kind == "number":
            return float(text)
        if text == "-":
            return _Binary("*", -1.0, self._atom())
        if text == "(":
            inner = self.expression(0)
            self._want(")")
            return inner
        if kind != "name":
            raise ValueError(f"{kind} {text} begins nothing")
        by = None
        if text in AGGREGATIONS and self._tokens[0][1] == "by":
            self._next()
            by = self._names()
        if self._tokens[0][1] != "(":
            return self._selector(text)
        if text not in AGGREGATIONS and text not in FUNCTIONS:
            raise ValueError(f"{text} is not known here")
        self._next()
        arguments = []
        while self._tokens[0][1] != ")":
            arguments.append(self.expression(0))
            if self._tokens[0][1] == ",":
                self._next()
        self._want(")")
        return _Call(text, tuple(arguments), by if text not in AGGREGATIONS else by or ())

    def _selector(self, name: str) -> _Selector:
        matchers = []
        if self._tokens[0][1] == "{":
            self._next()
            while self._tokens[0][1] != "}":
                matchers.append((self._next(), self._next(), self._next().strip('"')))
                if self._tokens[0][1] == ",":
                    self._next()
            self._want("}")
        seconds, offset = None, 0.0
        if self._tokens[0][1] == "[":
            self._next()
            seconds = duration(self._next())
            self._want("]")
        if self._tokens[0][1] == "offset":
            self._next()
            offset = duration(self._next())
        return _Selector(name, tuple(matchers), seconds, offset)


def parse(text: str) -> Any:
    """
    @raise ValueError: It is no PromQL, or more of it than this knows.
    """
    return _Parser(text).whole()


def selectors(node: Any) -> Iterable[_Selector]:
    """Everything that is asked of the store."""
    if isinstance(node, _Selector):
        yield node
    elif isinstance(node, _Binary):
        yield from selectors(node.left)
        yield from selectors(node.right)
    elif isinstance(node, _Call):
        for argument in node.arguments:
            yield from selectors(argument)


def evaluate(node: Any, store: Store, at: float) -> Value:
    """What an expression is at a moment."""
    match node:
        case float():
            return node
        case _Selector():
            return _instant(node, store, at)
        case _Call():
            return _called(node, store, at)
        case _Binary():
            left, right = evaluate(node.left, store, at), evaluate(node.right, store, at)
            if node.how in ("and", "or", "unless"):
                assert isinstance(left, dict) and isinstance(right, dict)
                return _set(node, left, right)
            return _arithmetic(node, left, right)
    raise TypeError(node)


def _moment(sample: Sample) -> float:
    return sample[0]


def _instant(selector: _Selector, store: Store, at: float) -> Vector:
    at -= selector.offset
    found: Vector = {}
    for labels, samples in store.found(selector):
        place = bisect_right(samples, at, key=_moment)
        if not place:
            continue
        when, value = samples[place - 1]
        if value is not None and at - when < LOOKBACK_SECONDS:
            found[labels] = value
    return found


def _increase(samples: list[tuple[float, float]], start: float, end: float) -> float:
    """As Prometheus extrapolates it; C{promql/functions.go}, C{extrapolatedRate}."""
    (first_at, first), (last_at, last) = samples[0], samples[-1]
    gained = last - first
    before = first
    for _, value in samples[1:]:
        if value < before:
            gained += before
        before = value
    covered = last_at - first_at
    usual = covered / (len(samples) - 1)
    to_start, to_end = first_at - start, end - last_at
    if gained > 0 and first >= 0:
        to_start = min(to_start, covered * first / gained)
    whole = covered
    whole += to_start if to_start < usual * 1.1 else usual / 2
    whole += to_end if to_end < usual * 1.1 else usual / 2
    return gained * whole / covered


def _over_range(name: str, selector: _Selector, store: Store, at: float) -> Vector:
    assert selector.seconds is not None
    end = at - selector.offset
    start = end - selector.seconds
    found: Vector = {}
    for labels, samples in store.found(selector):
        first = bisect_left(samples, start, key=_moment)
        after = bisect_right(samples, end, key=_moment)
        inside = [(w, v) for w, v in samples[first:after] if v is not None]
        if name == "changes":
            if inside:
                found[_nameless(labels)] = float(sum(a[1] != b[1] for a, b in pairwise(inside)))
        elif len(inside) > 1:
            gained = _increase(inside, start, end)
            found[_nameless(labels)] = gained / selector.seconds if name == "rate" else gained
    return found


def _nameless(labels: Labels) -> Labels:
    return frozenset((name, value) for name, value in labels if name != NAME)


def _only(labels: Labels, names: Iterable[str]) -> Labels:
    wanted = set(names)
    return frozenset((name, value) for name, value in labels if name in wanted)


def _quantile(q: float, vector: Vector) -> Vector:
    grouped: dict[Labels, list[tuple[float, float]]] = {}
    for labels, value in vector.items():
        bound = dict(labels)["le"]
        rest = frozenset(pair for pair in labels if pair[0] not in ("le", NAME))
        grouped.setdefault(rest, []).append((float(bound), value))
    return {labels: _within(q, sorted(buckets)) for labels, buckets in grouped.items()}


def _within(q: float, buckets: list[tuple[float, float]]) -> float:
    total = buckets[-1][1]
    if len(buckets) < 2 or total == 0:
        return math.nan
    rank = q * total
    i = next(i for i, (_, count) in enumerate(buckets) if count >= rank)
    if i == len(buckets) - 1:
        return buckets[-2][0]
    bound, count = buckets[i]
    low, below = (0.0, 0.0) if i == 0 else buckets[i - 1]
    return low + (bound - low) * (rank - below) / (count - below)


AGGREGATIONS: Mapping[str, Callable[[list[float]], float]] = {
    "sum": sum,
    "max": max,
    "count": lambda values: float(len(values)),
}

FUNCTIONS = frozenset(
    {"abs", "absent", "changes", "histogram_quantile", "increase", "rate", "time"}
)


def _called(call: _Call, store: Store, at: float) -> Value:
    if call.name == "time":
        return at
    if call.name in ("rate", "increase", "changes"):
        return _over_range(call.name, call.arguments[0], store, at)
    if call.name == "histogram_quantile":
        buckets = evaluate(call.arguments[1], store, at)
        assert isinstance(buckets, dict)
        return _quantile(call.arguments[0], buckets)
    inner = evaluate(call.arguments[0], store, at)
    assert isinstance(inner, dict)
    if call.name == "abs":
        return {_nameless(labels): abs(value) for labels, value in inner.items()}
    if call.name == "absent":
        equal = [(name, text) for name, how, text in call.arguments[0].matchers if how == "="]
        return {} if inner else {frozenset(equal): 1.0}
    groups: dict[Labels, list[float]] = {}
    for labels, value in inner.items():
        groups.setdefault(_only(labels, call.by or ()), []).append(value)
    return {labels: float(AGGREGATIONS[call.name](values)) for labels, values in groups.items()}


def _key(node: _Binary, labels: Labels) -> Labels:
    return _nameless(labels) if node.on is None else _only(labels, node.on)


def _set(node: _Binary, left: Vector, right: Vector) -> Vector:
    theirs = {_key(node, labels) for labels in right}
    if node.how == "or":
        ours = {_key(node, labels) for labels in left}
        more = {k: v for k, v in right.items() if _key(node, k) not in ours}
        return {**left, **more}
    return {k: v for k, v in left.items() if (_key(node, k) in theirs) is (node.how == "and")}


_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
}


def _compute(how: str, a: float, b: float) -> float:
    if how == "/" and b == 0:
        return math.nan if a == 0 else math.copysign(math.inf, a)
    return {"+": a + b, "-": a - b, "*": a * b, "/": a / (b or 1)}[how]


def _arithmetic(node: _Binary, left: Value, right: Value) -> Value:
    compare = _COMPARE.get(node.how)
    if isinstance(left, float) and isinstance(right, float):
        return _compute(node.how, left, right)
    if isinstance(left, dict):
        pairs = [(labels, value, _partner(node, labels, right)) for labels, value in left.items()]
    else:
        assert isinstance(right, dict)
        pairs = [(labels, left, value) for labels, value in right.items()]
    found: Vector = {}
    for labels, a, b in pairs:
        if b is None:
            continue
        if compare is not None:
            if compare(a, b):
                found[labels] = a
        else:
            found[_nameless(labels)] = _compute(node.how, a, b)
    return found


def _partner(node: _Binary, labels: Labels, right: Value) -> float | None:
    if isinstance(right, float):
        return right
    wanted = _key(node, labels)
    return next((v for k, v in right.items() if _key(node, k) == wanted), None)

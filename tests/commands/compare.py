"""What a page shows beside what was printed; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from attrs import evolve, field, frozen


ANYTHING = "…"

_KINDS = {
    "uuid": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "word": r"0x[0-9a-f]{64}",
    "port": r"127\.0\.0\.1:(?:\d{4,5}|PORT)",
    "named": r"(?:batch|ref|order)-[0-9a-f]{16,32}",
    "iso": r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?",
    "unix": r"(?<![\d.])1[789]\d{8}(?![\d.])",
    "block": r"(?<=block )\d+",
    "span": r"(?<![\w.])\d+ (?:d|h|min|s)(?: \d+ (?:h|min|s))?\b",
    "amount": r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?= (?:neuron|0G)\b)",
    "number": r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\d])",
    "any": ANYTHING,
}
"""What is not taken letter by letter, in the order in which it is looked for."""

_SECONDS = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}

_LEARNT = ("uuid", "word", "port", "named")
"""What stays the same once it is known."""

_TOKEN = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _KINDS.items()))


@frozen(kw_only=True)
class Learnt:
    """
    What ports, ids and hashes of a page are here.

    @ivar real: By the page's.
    """

    real: Mapping[str, str] = field(factory=dict)

    def also(self, more: Mapping[str, str]) -> Learnt:
        """With more of them."""
        return evolve(self, real={**self.real, **more})

    def in_command(self, text: str) -> str:
        """A command of the page, as it is to be typed here."""

        def here(found: re.Match[str]) -> str:
            return self.real.get(found[0], found[0])

        return _TOKEN.sub(here, text)


@frozen(kw_only=True)
class Comparison:
    """
    @ivar missing: The first line of the page that was not printed; None when all were.
    @ivar reached: How many lines of what was printed had been used up by then.
    """

    learnt: Learnt
    missing: str | None = None
    reached: int = 0


def squeezed(line: str) -> str:
    """Without what the width of columns changes."""
    return re.sub(r"─+", "─", re.sub(r"\s+", " ", line)).strip()


def matched(
    shown: str, printed: str, learnt: Learnt, tolerance: int | None
) -> Mapping[str, str] | None:
    """
    Whether a line is the page's.

    @param tolerance: Of amounts, in percent; None for any.
    @return: What was learnt by it; None when it is another line.
    """
    pattern, parts, end = "", [], 0
    shown, printed = squeezed(shown), squeezed(printed)
    for found in _TOKEN.finditer(shown):
        kind = str(found.lastgroup)
        known = learnt.real.get(found[0]) if kind in _LEARNT else None
        wanted = re.escape(known) if known is not None else _KINDS[kind]
        pattern += re.escape(shown[end : found.start()])
        pattern += "(.*?)" if kind == "any" else f"({wanted})"
        parts.append((kind, found[0]))
        end = found.end()
    whole = re.fullmatch(pattern + re.escape(shown[end:]), printed)
    if whole is None:
        return None
    more: dict[str, str] = {}
    for (kind, told), real in zip(parts, whole.groups(), strict=True):
        if kind == "number" and told != real:
            return None
        if kind in ("amount", "span") and not near(told, real, tolerance):
            return None
        if kind in _LEARNT and more.setdefault(told, real) != real:
            return None
    return more if _one_each({**learnt.real, **more}, more) else None


def _one_each(real: Mapping[str, str], more: Mapping[str, str]) -> bool:
    """Whether nothing new stands for two things of the page."""
    values = list(real.values())
    return all(values.count(value) == 1 or real[key] == key for key, value in more.items())


def near(told: str, real: str, tolerance: int | None) -> bool:
    """Whether an amount is the page's, or near enough."""
    if tolerance is None:
        return True
    a, b = quantity(told), quantity(real)
    return abs(a - b) * 100 <= tolerance * max(a, b)


def quantity(text: str) -> Decimal:
    """Of an amount; of a span of time in seconds."""
    numbers = text.replace(",", "").split()
    if len(numbers) == 1:
        return Decimal(numbers[0])
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return sum((Decimal(number) * _SECONDS[unit] for number, unit in pairs), Decimal())


def compare(
    shown: Sequence[str], printed: Sequence[str], learnt: Learnt, tolerance: int | None = 0
) -> Comparison:
    """
    Look for the page's lines in what was printed, one after the other.

    Between two of them nothing else may stand unless the page has a line C{…} there.
    """
    lines = [line for line in printed if line.strip()]
    at, gap = 0, False
    for line in filter(str.strip, shown):
        if line.strip() == ANYTHING:
            gap = True
            continue
        reached = at
        while True:
            if at >= len(lines):
                return Comparison(learnt=learnt, missing=line, reached=reached)
            more = matched(line, lines[at], learnt, tolerance)
            at += 1
            if more is not None:
                break
            if not gap:
                return Comparison(learnt=learnt, missing=line, reached=reached)
        learnt, gap = learnt.also(more), False
    if at < len(lines) and not gap:
        return Comparison(learnt=learnt, missing="(the end)", reached=at)
    return Comparison(learnt=learnt, reached=at)

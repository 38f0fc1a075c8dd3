"""How a figure is printed: what, how much, and how much that is of its baseline."""

from __future__ import annotations

import argparse
import time
from collections.abc import Awaitable, Sequence

from attrs import define, frozen


@frozen(kw_only=True)
class Figure:
    """
    @ivar what: Measured.
    @ivar value: How much.
    @ivar unit: Of the value.
    @ivar baseline: What it is compared with; None for a baseline itself.
    """

    what: str
    value: float
    unit: str
    baseline: Figure | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the baseline."""
        return None if self.baseline is None else self.value / self.baseline.value


@define
class Stopwatch:
    """
    Adds up over turns, so that what is compared was measured side by side.

    @ivar done: How often it was done.
    @ivar seconds: In how long.
    """

    done: int = 0
    seconds: float = 0.0

    async def time(self, count: int, work: Awaitable[object]) -> None:
        """@param count: How often the work does it."""
        began = time.perf_counter()
        await work
        self.seconds += time.perf_counter() - began
        self.done += count

    @property
    def rate(self) -> float:
        """Per second."""
        return self.done / self.seconds


def _unit(figure: Figure) -> str:
    return f" {figure.unit}" if figure.unit else ""


def table(figures: Sequence[Figure]) -> str:
    """Markdown, so that the README can quote it."""
    rows = ["| figure | value | ratio to its baseline |", "|---|---:|---|"]
    for figure in figures:
        ratio = "baseline"
        if figure.baseline is not None and figure.ratio is not None:
            ratio = f"{figure.ratio:.2f} × {figure.baseline.what}"
        rows.append(f"| {figure.what} | {figure.value:,.0f}{_unit(figure)} | {ratio} |")
    return "\n".join(rows)


def asked_count(name: str, default: int, what: str) -> int:
    """
    The one option of each command.

    @param what: Is counted.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--count", type=int, default=default, help=f"{what} (default {default})")
    count: int = parser.parse_args().count
    return count

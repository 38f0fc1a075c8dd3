"""
Times, sizes and prices in words.

Tests: L{tests.cli.test_user_text}.
"""

from __future__ import annotations

from sandbox_billing.cli.reverts import moment
from sandbox_billing.ledger.money import format_0g


_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def lasting(seconds: float) -> str:
    """
    How long, by its two largest units, never more than it is: C{2 h 14 min}.
    """
    left = max(0, int(seconds))
    for place, (name, size) in enumerate(_UNITS):
        if left >= size:
            text = f"{left // size} {name}"
            if place + 1 < len(_UNITS):
                smaller, part = _UNITS[place + 1]
                if left % size >= part:
                    text += f" {left % size // part} {smaller}"
            return text
    return "0 s"


def until(at: float | None, now: float) -> str:
    """
    A moment to come, and how long that is.

    @param at: unix seconds; None for never.
    """
    if at is None:
        return "nothing runs"
    when = moment(int(at))
    return f"{lasting(at - now)}, until {when}" if at > now else f"it is over since {when}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """C{1 sandbox}, C{2 sandboxes}, C{no sandboxes}."""
    several = many or f"{one}s"
    return f"{count or 'no'} {one if count == 1 else several}"


def size(cpu: object, memory: object, disk: object) -> str:
    """Of a sandbox, as Daytona tells it, in cores and GiB."""
    return f"{_number(cpu)} cpu, {_number(memory)} GiB, disk {_number(disk)} GiB"


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else "?"


def hourly(per_minute: int) -> str:
    """A price, for people: by the hour."""
    return f"{format_0g(per_minute * 60)} an hour"


def short(amount: object) -> str:
    """
    An amount of neuron that came as a decimal string, in 0G; C{-} for none.
    """
    return "-" if amount is None else format_0g(int(str(amount)))

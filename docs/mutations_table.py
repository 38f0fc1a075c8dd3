"""
The list of mutations: every flaw that was tried on the contract, and what notices it.

L{tests.evm.flaws} is the single source: the builds say what is wrong, C{CAUGHT_BY} names the
tests, C{found.txt} keeps how soon random sequences came upon it.  C{python -m
docs.mutations_table} writes the table to standard output; C{docs/contract.md} has it.
"""

from __future__ import annotations

import sys

from tests.evm.flaws import Flaw, flaws


def caught_by(flaw: Flaw) -> str:
    """Its tests, without the package they share."""
    names = (name.removeprefix("tests.evm.") for name in flaw.caught_by)
    return ", ".join(f"`{name}`" for name in names)


def found(flaw: Flaw) -> str:
    """How soon random sequences find it, and how many of the steps matter."""
    if flaw.found is None:
        return "no"
    return f"sequence {flaw.found.sequence}, {flaw.found.steps} steps"


def number(flaw: Flaw) -> int:
    """Of its row; those without one come last."""
    return int(flaw.row[1:]) if flaw.row else 100


def rows() -> list[tuple[str, str, str, str, str, str]]:
    """Name, row of failures.md, what is wrong, who loses, tests, random sequences."""
    ordered = sorted(flaws(), key=lambda each: (number(each), each.id))
    return [
        (each.id, each.row or "", each.flaw, each.loses, caught_by(each), found(each))
        for each in ordered
    ]


def as_markdown() -> str:
    """The table."""
    lines = [
        "| flaw | row | what is wrong | who loses | noticed by | found at random |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join([f'`{name}`', *rest])} |" for name, *rest in rows()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(as_markdown() + "\n")

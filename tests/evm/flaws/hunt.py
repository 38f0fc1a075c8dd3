"""
How soon random sequences find each flaw: C{python -m tests.evm.flaws.hunt [flaw...]}.

Writes C{found.txt} for C{docs/mutations_table.py}; all of them take half an hour.  Nothing
depends on the figures: they change with the sequences, and the tests that are named for a flaw
notice it every time.
"""

from __future__ import annotations

import sys

from sandbox_billing.adapters.chain.artifacts import load
from tests.evm import machine
from tests.evm.flaws import FOUND, Flaw, flaws


SEQUENCES, STEPS, SEED = 200, 50, 1
"""As C{bin/prove} tries with every change."""

OUT_OF_REACH = ("implementation-open", "slots-moved")
"""No sequence calls the bare implementation, or begins on another layout."""


def hunt(flaw: Flaw) -> str:
    """A line of the file."""
    if flaw.id in OUT_OF_REACH:
        return f"{flaw.id}|never"
    ours = flaw.contract == "SandboxServing"
    run = machine.explore(
        flaw.bytecode if ours else load("SandboxServing").bytecode,
        beacon=None if ours else flaw.bytecode,
        sequences=SEQUENCES,
        steps=STEPS,
        seed=SEED,
    )
    if run.finding is None:
        return f"{flaw.id}|never"
    return f"{flaw.id}|{run.finding.sequence}|{len(run.finding.steps)}|{run.finding.law}"


def main(wanted: list[str]) -> None:
    """Hunt those, or all; tell, and keep what is known, as it goes."""
    lines = {line.split("|")[0]: line for line in FOUND.read_text("utf-8").splitlines()[1:]}
    every = {each.id: each for each in flaws()}
    tried = f"{SEQUENCES} sequences of {STEPS} steps, seed {SEED}"
    for id in wanted or every:
        lines[id] = hunt(every[id])
        sys.stdout.write(lines[id] + "\n")
        sys.stdout.flush()
        kept = [lines[each] for each in every if each in lines]
        head = f"# flaw|sequence|steps of it that matter|what was broken: of {tried}"
        FOUND.write_text("\n".join([head, *kept]) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

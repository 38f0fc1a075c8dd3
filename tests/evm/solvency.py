"""
The command behind C{bin/prove}: many sequences of L{tests.evm.machine} in two
processes, and how often everything was seen in them.

It fails if something is found, and if something was never tried: every function of
the contracts that can succeed must have, every status, event and custom error must
have been seen (L{missing}).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from attrs import fields, frozen

from sandbox_billing.adapters.chain.artifacts import load
from tests.evm.machine import Finding, Run, explore
from tests.evm.rules import Solvency
from tests.evm.rules_base import Tally, kinds_of
from tests.evm.subject import ABI


PROCESSES = 2
SEQUENCES, STEPS = 200, 50
LONG = 25
"""How many times as many sequences C{--long} tries."""

STATUSES = (
    "SUCCESS",
    "INSUFFICIENT_BALANCE",
    "PROVIDER_MISMATCH",
    "NOT_ACKNOWLEDGED",
    "INVALID_NONCE",
    "INVALID_SIGNATURE",
)

UNREACHABLE_ERRORS = {
    "ERC5267ExtensionsNotSupported": "the domain has four fields, none of them an extension",
    "NotInitializing": "no function calls an initialiser outside initialize",
    "OwnableInvalidOwner": "a constructor's and an initialiser's own check",
}
"""Errors in the ABI, from OpenZeppelin, that no call to a deployed contract can meet."""

UNREACHABLE_EVENTS = {"Initialized": "emitted in the proxy's constructor, before the first step"}

FAILING = {
    "initialize": "called by the proxy's constructor, before the first step",
    "renounceOwnership": "always refused",
}
"""Functions that must never succeed."""


def merged(tallies: Sequence[Tally]) -> Tally:
    """All of them in one."""
    counters: dict[str, Counter[object]] = {each.name: Counter() for each in fields(Tally)}
    for tally in tallies:
        for name, counter in counters.items():
            counter.update(getattr(tally, name))
    return Tally(**counters)  # type: ignore[arg-type]


def missing(tally: Tally) -> list[str]:
    """What was never tried or never seen."""
    rules = set(kinds_of(Solvency))
    wanted = {
        "rule": rules - set(tally.rules),
        "success of": ABI.mutating() - set(FAILING) - set(tally.functions),
        "status": {STATUSES[each] for each in range(6) if not tally.statuses[each]},
        "event": set(ABI.events) - set(UNREACHABLE_EVENTS) - set(tally.events),
        "error": {*ABI.errors, "Panic"} - set(UNREACHABLE_ERRORS) - set(tally.errors),
    }
    return [f"{kind} {name}" for kind, names in wanted.items() for name in sorted(names)]


def table(tally: Tally) -> str:
    """How often what happened, for people."""
    statuses = Counter({STATUSES[each]: count for each, count in tally.statuses.items()})
    errors = Counter({name or "(no data)": count for name, count in tally.errors.items()})
    columns = {
        "rules": tally.rules,
        "calls that succeeded": tally.functions,
        "statuses": statuses,
        "events": tally.events,
        "errors": errors,
    }
    lines = []
    for title, counts in columns.items():
        lines.append(f"{title}:")
        lines += [f"  {count:8}  {name}" for name, count in sorted(counts.items())]
    return "\n".join(lines)


@frozen(kw_only=True)
class Part:
    """One process's share."""

    sequences: int
    steps: int
    seed: int

    def run(self) -> Run:
        """Try our own contract."""
        return explore(
            load("SandboxServing").bytecode,
            sequences=self.sequences,
            steps=self.steps,
            seed=self.seed,
        )


def _run(part: Part) -> Run:
    return part.run()


def prove(*, sequences: int, steps: int, seed: int) -> tuple[Tally, list[Finding]]:
    """
    Try the committed contract in two processes.

    @param sequences: Of all processes together.
    """
    share = -(-sequences // PROCESSES)
    parts = [Part(sequences=share, steps=steps, seed=seed + n) for n in range(PROCESSES)]
    # Spawned, so that each process imports py-evm for itself.
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        runs = list(pool.map(_run, parts))
    return merged([each.tally for each in runs]), [each.finding for each in runs if each.finding]


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command.

    @return: The exit code: 1 if something was found, or never tried in as many steps as the
        usual run has.
    """
    parser = argparse.ArgumentParser(prog="bin/prove", description=__doc__)
    parser.add_argument("--sequences", type=int, default=SEQUENCES)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--long", action="store_true", help=f"{LONG} times as many sequences")
    chosen = parser.parse_args(arguments)
    sequences = chosen.sequences * (LONG if chosen.long else 1)

    began = time.monotonic()
    tally, findings = prove(sequences=sequences, steps=chosen.steps, seed=chosen.seed)
    seconds = time.monotonic() - began
    say = sys.stdout.write
    say(table(tally) + "\n\n")
    full = tally.lengths[chosen.steps]
    say(f"{full} sequences of {chosen.steps} steps, {tally.steps} steps in all, seed ")
    say(f"{chosen.seed}, {seconds:.0f} s\n")
    for finding in findings:
        say(f"\nFOUND {finding}\n")
    never = missing(tally)
    if never and not findings:
        say(f"\nnever seen: {', '.join(never)}\n")
    # A few steps cannot show everything.
    enough = full * chosen.steps >= SEQUENCES * STEPS
    return 1 if findings or (never and enough) else 0


if __name__ == "__main__":
    sys.exit(main())

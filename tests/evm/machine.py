"""
Solvent by proof: random sequences of everything that anybody can do, on the real
contract in the real EVM, held to a model and to the laws of money after every step.

Each step is sent to both; they must agree on success, revert data, returned statuses,
events in order, every view and everybody's native money.  That is the differential
test too: model == EVM over random sequences.  The laws (L{tests.evm.solvency_laws})
are checked first and ask the contract alone, so that an error that contract and model
share is still found.  At the end of each sequence everybody takes out everything, and
what is left is what was forced upon the contract, to the neuron.

L{run} takes the creation code of any implementation: flawed ones must be found out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import seed as hypothesis_seed
from hypothesis.stateful import run_state_machine_as_test

from sandbox_billing.adapters.chain.artifacts import load
from tests.evm.book import Book
from tests.evm.rules import Solvency
from tests.evm.rules_base import Taken, Tally
from tests.evm.subject import Broken


@frozen(kw_only=True)
class Finding:
    """
    Something that must not be.

    @ivar law: Which law or agreement is broken.
    @ivar rule: What was being done.
    @ivar steps: The whole sequence, a line each.
    @ivar sequence: Which one of the run it was, from 1.
    """

    law: str
    detail: str
    rule: str
    steps: tuple[str, ...]
    seed: int
    sequence: int

    def __str__(self) -> str:
        lines = (f"{number:3}. {line}" for number, line in enumerate(self.steps, 1))
        return "\n".join([f"{self.rule}: {self.law}: {self.detail} (seed {self.seed})", *lines])


@frozen(kw_only=True)
class Run:
    """@ivar finding: None if nothing was found."""

    tally: Tally
    finding: Finding | None


def explore(
    bytecode: str,
    *,
    sequences: int,
    steps: int,
    seed: int,
    beacon: str | None = None,
    shorten: bool = True,
) -> Run:
    """
    Try an implementation.

    @param bytecode: Its creation code, hexadecimal.
    @param beacon: Another beacon's creation code, before its arguments; None for ours.
    @param sequences: Full ones, at least; there are some shorter ones besides.
    @param steps: In each full sequence.
    @param seed: The same one tries the same sequences.
    @param shorten: Whether to look for what of a sequence matters once one is found.
    """
    tally = Tally()
    try:
        fresh = Book.of(_bytes(bytecode), _bytes(beacon or load("UpgradeableBeacon").bytecode))
        opened = fresh.fork()
        opened.open()
        kind = type("Run", (Solvency,), {"fresh": fresh, "opened": opened, "tally": tally})
        turn = 0
        while (missing := sequences - tally.lengths[steps]) > 0:
            _try(kind, missing + 1, steps, seed + 1_000_003 * turn)
            turn += 1
    except Broken as broken:
        if shorten and broken.taken:
            broken = _shortened(kind, broken)
        finding = Finding(
            law=broken.law,
            detail=broken.detail,
            rule=broken.rule,
            steps=broken.steps,
            seed=seed,
            sequence=tally.lengths.total() + 1,
        )
        return Run(tally=tally, finding=finding)
    return Run(tally=tally, finding=None)


def _bytes(code: str) -> bytes:
    return bytes.fromhex(code.removeprefix("0x"))


def _try(kind: Any, examples: int, steps: int, number: int) -> None:
    run_state_machine_as_test(
        hypothesis_seed(number)(kind),
        settings=settings(
            max_examples=examples,
            # The start is a step to hypothesis.
            stateful_step_count=steps + 1,
            # What is found is shortened below, in a tenth of the time.
            phases=(Phase.generate,),
            verbosity=Verbosity.quiet,
            suppress_health_check=list(HealthCheck),
            database=None,
            deadline=None,
            report_multiple_bugs=False,
            print_blob=False,
        ),
    )


def _shortened(kind: Callable[[], Solvency], found: Broken) -> Broken:
    """The same law broken by fewer steps: leave out halves, quarters ... single ones."""
    kept, size = list(found.taken), len(found.taken) // 2
    while size:
        at = 1  # The start stays.
        while at < len(kept):
            again = _replay(kind, kept[:at] + kept[at + size :])
            if again is not None and again.law == found.law:
                kept, found = list(again.taken), again
            else:
                at += size
        size //= 2
    return found


def _replay(kind: Callable[[], Solvency], taken: Sequence[Taken]) -> Broken | None:
    machine = kind()
    try:
        for each in taken:
            each.function(machine, **each.drawn)
        machine.teardown()
    except Broken as broken:
        return broken
    return None


def run(
    bytecode: str, *, sequences: int, steps: int, seed: int, beacon: str | None = None
) -> Finding | None:
    """
    Look for a broken law, and stop at the first.

    @return: None if there was none.  See L{explore} for the arguments.
    """
    return explore(
        bytecode, sequences=sequences, steps=steps, seed=seed, beacon=beacon, shorten=False
    ).finding

"""Long runs from the command line: C{bin/simulate}."""

from __future__ import annotations

import argparse
import os
import sys
import time

from twisted.logger import globalLogBeginner

from tests.simulation.explore import Report, is_open
from tests.simulation.jobs import deaf, live_all
from tests.simulation.scenarios import BY_NAME
from tests.simulation.tales import Tale, deaths_of, faults_of, one_of_each, pair_of


CI_SEEDS = {"": 1_400, "wide-": 250, "flawed-": 150, "lost-": 100, "deep-": 100, "turns-": 4}
CI_PAIRS = 100


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/simulate", description=__doc__)
    parser.add_argument("--ci", action="store_true", help="what CI lives, and nothing else")
    parser.add_argument("--seeds", type=int, help="how many random stories (200 by itself)")
    parser.add_argument("--first", type=int, default=0, help="the first of their seeds")
    parser.add_argument(
        "--kind",
        default="",
        help="of random stories: wide, flawed, lost, deep, turns, long",
    )
    parser.add_argument("--deaths", action="store_true", help="every death of the golden stories")
    parser.add_argument(
        "--faults", action="store_true", help="every fault at the first, a middle, the last call"
    )
    parser.add_argument("--each", action="store_true", help="every (port call, fault) pair once")
    parser.add_argument("--pairs", type=int, default=0, help="how many pairs of deaths")
    parser.add_argument("--scenario", choices=sorted(BY_NAME), action="append")
    parser.add_argument("--story", help="one story, told line by line: a seed, a corpus line")
    parser.add_argument("--missing", action="store_true", help="name pairs that never fired")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args()
    if options.ci:
        options.pairs = CI_PAIRS
        options.deaths = options.each = True
    if options.seeds is None:
        busy = options.deaths or options.faults or options.each or options.pairs
        options.seeds = 0 if busy else 200
    return options


def main() -> int:
    """@return: 1 when a law was broken."""
    options = _options()
    globalLogBeginner.beginLoggingTo([deaf], discardBuffer=True, redirectStandardIO=False)
    if options.story is not None:
        ended = Tale(options.story).live()
        _say("\n".join([*ended.tale, "", *(ended.problems or ["no law was broken"]), ""]))
        return int(any(not is_open(problem) for problem in ended.problems))
    report, started = Report(tell=_say), time.monotonic()
    live_all(_tales(options, report), report, options.jobs)
    took = f"{time.monotonic() - started:.0f} s of wall time in {options.jobs} processes"
    _say("\n".join([*report.lines(), took, *(report.missing() if options.missing else ()), ""]))
    return int(bool(report.failures))


def _tales(options: argparse.Namespace, report: Report) -> list[Tale]:
    scenarios = [BY_NAME[name] for name in options.scenario or BY_NAME]
    tales: list[Tale] = []
    if options.deaths:
        tales += [tale for scenario in scenarios for tale in deaths_of(scenario, report)]
    if options.faults:
        tales += [tale for scenario in scenarios for _, tale in faults_of(scenario)]
    elif options.each:
        tales += one_of_each(scenarios)
    numbers = range(options.first, options.first + options.pairs)
    tales += [pair_of(scenarios, number) for number in numbers]
    kind = f"{options.kind}-" if options.kind else ""
    seeds = CI_SEEDS if options.ci else {kind: options.seeds}
    report.seeds = sum(seeds.values())
    return tales + [
        Tale(f"{kind}{number}")
        for kind, count in seeds.items()
        for number in range(options.first, options.first + count)
    ]


def _say(text: str) -> None:
    """At once, also into a pipe."""
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    # Not again in each process of its own.
    sys.exit(main())

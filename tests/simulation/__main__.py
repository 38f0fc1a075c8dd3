"""Long runs from the command line: C{bin/simulate}."""

from __future__ import annotations

import argparse
import gc
import sys

from twisted.logger import globalLogBeginner

from tests.simulation.chance import live_seed
from tests.simulation.explore import Report, every_death, is_open, pairs, quiet_collector
from tests.simulation.scenarios import BY_NAME


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many random stories")
    parser.add_argument("--first", type=int, default=0, help="the first of their seeds")
    parser.add_argument("--seed", type=int, help="one story, told line by line")
    parser.add_argument("--long", action="store_true", help="each ten minutes and more")
    parser.add_argument("--deaths", action="store_true", help="every death of the golden stories")
    parser.add_argument("--pairs", type=int, default=0, help="how many pairs of deaths")
    parser.add_argument("--scenario", choices=sorted(BY_NAME), action="append")
    return parser.parse_args()


def main() -> int:
    """@return: 1 when a law was broken."""
    options = _options()
    globalLogBeginner.beginLoggingTo([_deaf], discardBuffer=True, redirectStandardIO=False)
    if options.seed is not None:
        ended = live_seed(options.seed, long=options.long)
        _say("\n".join([*ended.tale, "", *(ended.problems or ["no law was broken"]), ""]))
        return int(any(not is_open(problem) for problem in ended.problems))
    report = Report(tell=_say)
    scenarios = [BY_NAME[name] for name in options.scenario or BY_NAME]
    with quiet_collector():
        if options.deaths:
            for scenario in scenarios:
                every_death(scenario, report)
                gc.collect()
        if options.pairs:
            pairs(scenarios, report, range(options.first, options.first + options.pairs))
        if options.scenario is None:
            for seed in range(options.first, options.first + options.seeds):
                report.add(live_seed(seed, long=options.long), f"SIM_SEED={seed}")
                report.seeds += 1
                if seed % 20 == 0:
                    gc.collect()
    _say("\n".join([*report.lines(), ""]))
    return int(bool(report.failures))


def _say(text: str) -> None:
    """At once, also into a pipe."""
    sys.stdout.write(text)
    sys.stdout.flush()


def _deaf(_event: object) -> None:
    """The services' log: a story tells what matters of it."""


sys.exit(main())

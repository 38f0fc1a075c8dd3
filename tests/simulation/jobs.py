"""
Living many stories in several processes: the same report however many there are.
"""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from time import process_time

from twisted.logger import globalLogBeginner

from tests.simulation.explore import Report, quiet_collector
from tests.simulation.tales import Tale


CHUNK = 20
"""Stories at a time: what one leaves behind is collected after so many."""


def live_all(tales: Sequence[Tale], report: Report, jobs: int = 1) -> None:
    """
    Live them and add them to a report, in their order.

    @param jobs: In how many processes; 1: in this one.
    """
    chunks = [tales[at : at + CHUNK] for at in range(0, len(tales), CHUNK)]
    for part in _parts(chunks, jobs):
        report.merge(part)


def _parts(chunks: Sequence[Sequence[Tale]], jobs: int) -> Iterator[Report]:
    if jobs == 1:
        with quiet_collector():
            yield from map(live_chunk, chunks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_alone) as pool:
        # In their order, whoever was faster.
        yield from pool.map(live_chunk, chunks)


def live_chunk(tales: Iterable[Tale]) -> Report:
    """Some, one after another."""
    report, started = Report(), process_time()
    for tale in tales:
        report.add(tale.live(), tale.words)
    gc.collect()
    report.cpu = process_time() - started
    return report


def _alone() -> None:
    """In a process of one's own."""
    globalLogBeginner.beginLoggingTo([deaf], discardBuffer=True, redirectStandardIO=False)
    quiet_collector().__enter__()


def deaf(_event: object) -> None:
    """The services' log: a story tells what matters of it."""

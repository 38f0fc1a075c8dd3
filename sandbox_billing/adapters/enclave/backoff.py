"""
Waiting for a key service that is still coming up.

Tests: C{tests.adapters.test_enclave_backoff}.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import IEnclave, ISigner


log = Logger()

INITIAL_SECONDS = 1.0
MAXIMUM_SECONDS = 30.0


def backoff_seconds(
    attempt: int,
    chance: float,
    *,
    initial_seconds: float = INITIAL_SECONDS,
    maximum_seconds: float = MAXIMUM_SECONDS,
) -> float:
    """
    How long to wait after a failed attempt.

    @param attempt: 0 after the first.
    @param chance: From 0 up to 1; daemons that failed together try apart.
    @return: From half of C{initial_seconds * 2^attempt} up to all of it, bounded.
    """
    # 2.0 ** 1024 is an OverflowError, after a night of waiting.
    full = min(maximum_seconds, initial_seconds * 2.0 ** min(attempt, 64))
    return full * (1 + chance) / 2


async def fetch_with_backoff(
    enclave: IEnclave,
    *,
    clock: IReactorTime,
    chance: Callable[[], float],
    initial_seconds: float = INITIAL_SECONDS,
    maximum_seconds: float = MAXIMUM_SECONDS,
    report: Callable[[str], None] = lambda reason: None,
) -> ISigner:
    """
    Ask until there is a key.

    Ends early only when cancelled, or when asking again would not help.

    @param chance: As C{random.random}.
    @param report: Told each reason for waiting, for readiness.
    @raise BadInput: The enclave refuses for good.
    """
    attempt = 0
    while True:
        try:
            return await enclave.fetch_key()
        except Transient as problem:
            reason = problem.text
        seconds = backoff_seconds(
            attempt, chance(), initial_seconds=initial_seconds, maximum_seconds=maximum_seconds
        )
        attempt += 1
        report(reason)
        log.warn(
            "No key yet after {attempt} attempts, again in {seconds} s: {why}",
            attempt=attempt,
            seconds=ceil(seconds),
            why=reason,
        )
        await deferLater(clock, seconds)

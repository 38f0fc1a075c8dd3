"""The machine's own clock and randomness."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from math import ceil, floor

from attrs import define, field
from zope.interface import implementer

from sandbox_billing.interfaces import IIds, IWallClock
from sandbox_billing.ledger.identity import BatchId, Reference
from sandbox_billing.ledger.money import UnixSeconds


STEP_SECONDS = 2
"""A difference that no slewing explains: somebody set the clock."""


def _since_boot() -> float:
    """Seconds that nobody can set back, those of a suspended machine included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@implementer(IWallClock)
@define(eq=False)
class SystemClock:
    """
    The wall clock as it was at the start, carried on by a clock that is never stepped.

    What was seen running is stamped with it and charged up to the stamp: a wall clock
    that jumps a day ahead must not charge a day (B10).
    """

    _wall: Callable[[], float] = time.time
    _steady: Callable[[], float] = _since_boot
    _offset: float = field(init=False)

    @_offset.default
    def _measure(self) -> float:
        return self._wall() - self._steady()

    def now(self) -> UnixSeconds:
        return UnixSeconds(floor(self._offset + self._steady()))

    def after(self) -> UnixSeconds:
        return UnixSeconds(ceil(self._offset + self._steady()))

    def trouble(self) -> str | None:
        """That the wall clock was stepped since; None when it was not."""
        step = self._wall() - self._steady() - self._offset
        if abs(step) <= STEP_SECONDS:
            return None
        return f"the wall clock was stepped by {step:.0f} s; restart once it is right"


@implementer(IIds)
class RandomIds:
    """128 bits from the operating system."""

    def reference(self) -> Reference:
        return Reference(f"ref-{secrets.token_hex(16)}")

    def batch(self) -> BatchId:
        return BatchId(f"batch-{secrets.token_hex(8)}")


def request_id() -> str:
    """What C{X-Request-Id} says."""
    return secrets.token_hex(8)

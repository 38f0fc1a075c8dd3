"""The machine's own clock and randomness."""

from __future__ import annotations

import secrets
import time

from attrs import frozen
from zope.interface import implementer

from sandbox_billing.interfaces import IIds, IWallClock
from sandbox_billing.ledger.identity import BatchId, Reference
from sandbox_billing.ledger.money import UnixSeconds


@implementer(IWallClock)
@frozen
class SystemClock:
    """The wall clock of this machine."""

    def now(self) -> UnixSeconds:
        return UnixSeconds(int(time.time()))


@implementer(IIds)
@frozen
class RandomIds:
    """128 bits from the operating system."""

    def reference(self) -> Reference:
        return Reference(f"ref-{secrets.token_hex(16)}")

    def batch(self) -> BatchId:
        return BatchId(f"batch-{secrets.token_hex(8)}")


def request_id() -> str:
    """What C{X-Request-Id} says."""
    return secrets.token_hex(8)

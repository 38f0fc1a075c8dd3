"""
What can befall a call to a port, and which of it can befall which call.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from attrs import frozen
from zope.interface.interface import InterfaceClass

from sandbox_billing import interfaces
from sandbox_billing.adapters.redis.seam import IKeyspace


class FaultKind(Enum):
    """The caller cannot tell C{LOST_BEFORE} from C{LOST_AFTER}."""

    CRASH_BEFORE = "the daemon dies before the effect"
    CRASH_AFTER = "the daemon dies after the effect, without its reply"
    ROLLBACK = "the machine dies after the effect: what was not on disk is forgotten"
    FAIL_BEFORE = "it does not happen, and that is known"
    LOST_BEFORE = "it does not happen, and nobody knows"
    LOST_AFTER = "it happens, and nobody knows"
    DELAY_BEFORE = "it arrives late"
    DELAY_AFTER = "its reply arrives late"
    PAUSE = "the daemon stands still before it"
    STALE = "a node that is behind answers"
    SWALLOWED = "the node says yes and forgets it"
    REFUSED = "Daytona answers 409"


CRASHES = frozenset({FaultKind.CRASH_BEFORE, FaultKind.CRASH_AFTER, FaultKind.ROLLBACK})


@frozen
class Fault:
    """
    @ivar amount: Seconds of a delay or pause, blocks of C{STALE}, milliseconds of C{ROLLBACK}.
    """

    kind: FaultKind
    amount: float = 0


_READS = """
    funds door_state paused intents_of session record seen_at stop_reason mirror
    reconcile_requested settlements providers charges wallets pending due sessions intents
    records requested ready queue batches batch_records on_disk to_check claims quarantined get
    backlogs unsigned blocked debts forgivable audit
    read facts wait_for_disk head block first_block happenings service leaving_at accounts
    domain_separator last_nonces prepare receipt refusals gas_balance gas_price
    ping sweep labelled page lists_pages snapshots snapshot fetch_key
    signed_preview preview_holder telemetry config regions
"""

READS = frozenset(_READS.split())
"""Methods that change nothing outside of this process."""


@frozen(eq=False)
class Spot:
    """A method of a port; there is one of each (L{spot_of})."""

    port: InterfaceClass
    method: str

    def __reduce__(self) -> tuple[Any, ...]:
        """The one, in another process, too."""
        return spot_of, (self.port, self.method)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.port.__name__}.{self.method}"

    def kinds(self) -> tuple[FaultKind, ...]:
        """What can befall it, by the words of its interface."""
        kinds = [
            FaultKind.CRASH_BEFORE,
            FaultKind.CRASH_AFTER,
            FaultKind.FAIL_BEFORE,
            FaultKind.DELAY_BEFORE,
            FaultKind.DELAY_AFTER,
            FaultKind.PAUSE,
        ]
        writes = self.method not in READS
        if self.port is interfaces.IChain:
            if self.method == "broadcast":
                # "UnknownOutcome is raised by broadcast alone"; it never says it did not.
                kinds.remove(FaultKind.FAIL_BEFORE)
                kinds += [FaultKind.LOST_BEFORE, FaultKind.LOST_AFTER, FaultKind.SWALLOWED]
            elif self.method != "prepare":
                kinds.append(FaultKind.STALE)
        elif writes:
            kinds += [FaultKind.LOST_BEFORE, FaultKind.LOST_AFTER]
        if self.port is interfaces.IRuntime and writes:
            kinds.append(FaultKind.REFUSED)
        if self.port is IKeyspace and writes:
            kinds.append(FaultKind.ROLLBACK)
        return tuple(kinds)


_spots: dict[tuple[InterfaceClass, str], Spot] = {}


def spot_of(port: InterfaceClass, method: str) -> Spot:
    """The one."""
    return _spots.setdefault((port, method), Spot(port, method))

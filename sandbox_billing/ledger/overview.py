"""
What an operator sees of the whole, beside what is kept for one wallet or another.

Nothing rests on any of it: it is counted, or kept for a while, to be looked at.

Tests: C{tests.ports.journal_overview}, C{tests.ledger.test_overview}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import field, frozen

from sandbox_billing.ledger.effects import (
    Adopt,
    AskById,
    Begin,
    Change,
    Close,
    DeleteLeftover,
    OpenUnderIntent,
    Refit,
    ReleaseIntent,
    Report,
)
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import Neuron, UnixSeconds, add
from sandbox_billing.ledger.totals import Totals


HOUR_SECONDS = 3_600
KEPT_HOURS = 168
KEPT_DIFFERENCES = 200
MOST_COUNTED = 500
"""Of the queue, the first so many are looked at one by one."""


@frozen(kw_only=True)
class Hour:
    """
    What was settled in an hour of our clock.

    @ivar begins: A whole hour, unix seconds.
    """

    begins: UnixSeconds
    totals: Totals


@frozen(kw_only=True)
class Purse:
    """
    The gas account, as the worker read it last.

    @ivar floor: neuron; below it nothing is sent.
    @ivar transaction: neuron that a full batch costs at the price of that moment.
    """

    sender: Address
    balance: Neuron
    floor: Neuron
    transaction: Neuron
    read_at: UnixSeconds

    def seconds_left(self, gas: Neuron, seconds: int) -> int | None:
        """
        How long it lasts as it was used lately; None when nothing was.

        @param gas: neuron that went for transactions.
        @param seconds: In so much time.
        """
        if gas <= 0 or seconds <= 0:
            return None
        return max(0, self.balance - self.floor) * seconds // gas


def recent(hours: Iterable[Hour], now: UnixSeconds) -> tuple[Hour, ...]:
    """Those of the last C{KEPT_HOURS}: what the gas account's time left is judged by."""
    first = now - now % HOUR_SECONDS - (KEPT_HOURS - 1) * HOUR_SECONDS
    return tuple(hour for hour in hours if hour.begins >= first)


def seconds_left(purse: Purse, hours: Sequence[Hour], now: UnixSeconds) -> int | None:
    """
    How long the gas account lasts if it goes on like this; None when nothing was used.

    @param hours: That it is judged by.
    """
    since = min((hour.begins for hour in hours), default=now)
    # A few minutes say nothing of a day.
    seconds = max(now - since, HOUR_SECONDS)
    return purse.seconds_left(add(*(hour.totals.gas for hour in hours)), seconds)


@frozen(kw_only=True)
class Difference:
    """
    Something in which a sweep found Daytona and the books to differ.

    @ivar at: When that sweep was compared.
    @ivar what: In a word: C{adopted}, C{closed}, ...
    @ivar text: In a sentence, about the sandbox.
    """

    at: UnixSeconds
    sandbox: str
    what: str
    text: str


@frozen(kw_only=True)
class QueueCount:
    """
    What is not final.

    @ivar depth: How many charges.
    @ivar counted: So many of them, the first to arrive, were looked at.
    @ivar states: How many of those are unsigned, signed, parked, or cannot be read.
    @ivar oldest: When the oldest of those was made.
    """

    depth: int
    counted: int
    states: Mapping[str, int] = field(factory=dict)
    oldest: UnixSeconds | None = None


_TEXTS: Mapping[type[Change], tuple[str, str]] = {
    Adopt: ("adopted", "ran and was not metered: it is from now on"),
    Close: ("closed", "was metered and is not running any more"),
    Refit: ("resized", "runs at another size than it was metered at"),
    OpenUnderIntent: ("opened", "was created or started, and whoever asked did not see it"),
    DeleteLeftover: ("deleted", "is left over from a create that failed"),
    ReleaseIntent: ("released", "had an intent left behind, whose hold is given back"),
    AskById: ("missing", "is metered and not in the list: asked for by its id"),
}


def differences(changes: Iterable[Change], at: UnixSeconds) -> tuple[Difference, ...]:
    """What of a plan is a difference; that a sandbox has begun to run is the usual course."""
    found = []
    for change in changes:
        if isinstance(change, Begin):
            continue
        if isinstance(change, Report):
            found.append(
                Difference(at=at, sandbox=change.sandbox, what="strange", text=change.text)
            )
            continue
        what, text = _TEXTS[type(change)]
        sandbox = change.intent.sandbox if isinstance(change, ReleaseIntent) else change.sandbox
        found.append(Difference(at=at, sandbox=sandbox or "-", what=what, text=text))
    return tuple(found)

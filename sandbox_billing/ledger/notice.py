"""
What a wallet is told: of its money, of what it runs, and of the provider.

Each wallet has a log of its own, with numbers that rise.  A notice says what was the case
when it was written; nothing of money rests on it.

Tests: C{tests.ledger.test_notice}.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from attrs import field, frozen

from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import UnixSeconds


KEPT_SECONDS = 30 * 24 * 60 * 60
KEPT_ENTRIES = 1_000
"""Of each wallet: whoever has not asked for longer than that has missed the older ones."""

PER_SECOND = 1_000
"""A number is at least the second it was given in times this: so it goes on rising when a log
has expired, or was lost, and whoever asks for what came after the last one he knows gets it."""


class Kind(Enum):
    """What a notice is about, as it is spelled everywhere; docs/notices.rst lists the facts."""

    RUNS_DRY = "runs_dry"
    BLOCKED = "blocked"
    STOP_ORDERED = "stop_ordered"
    STOPPED = "stopped"
    RESUMED = "resumed"
    RESUME_FAILED = "resume_failed"
    SPEND_LIMIT = "spend_limit"
    DEBT = "debt"
    ACKNOWLEDGE_NEEDED = "acknowledge_needed"
    PROVIDER_LEAVING = "provider_leaving"
    TOPPED_UP = "topped_up"
    REFUND_REQUESTED = "refund_requested"


def _sorted(facts: Mapping[str, str] | tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(dict(facts).items()))


@frozen(kw_only=True)
class Notice:
    """
    @ivar at: When that was so, unix seconds.
    @ivar sandbox: None where it is about the wallet as a whole.
    @ivar facts: Names and values, by name; given as a mapping or as pairs.  Amounts are decimal
        strings of neuron, moments of unix seconds.
    """

    kind: Kind
    at: UnixSeconds
    wallet: Address
    sandbox: SandboxId | None = None
    facts: tuple[tuple[str, str], ...] = field(default=(), converter=_sorted)


@frozen(kw_only=True)
class Numbered:
    """
    A notice in its wallet's log.

    @ivar number: Higher than that of any earlier one of the wallet.
    @ivar key: What it was told for: nothing is told for the same twice.
    """

    number: int
    key: str
    notice: Notice


def next_number(last: int, now: UnixSeconds) -> int:
    """
    @param last: Of the log so far; 0 for none.
    """
    return max(last + 1, now * PER_SECOND)


def document(entry: Numbered, wallet: str) -> dict[str, Any]:
    """
    A notice as it is told everywhere.

    @param wallet: Its address as it is shown.
    """
    notice = entry.notice
    return {
        "id": str(entry.number),
        "kind": notice.kind.value,
        "at": notice.at,
        "wallet": wallet,
        "sandbox": notice.sandbox,
        "facts": dict(notice.facts),
    }

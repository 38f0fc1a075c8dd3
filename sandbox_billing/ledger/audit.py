"""
What operators decided about money: entries that are added and never changed (Q-8).

Each carries the hash of the stored form of the one before it, so that none can be changed,
left out or put in afterwards without all later ones telling it (T9).  Whoever appends compares
the last entry in the same step.

Tests: L{tests.ledger.test_audit}.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from attrs import evolve, field, frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.money import Neuron, UnixSeconds


FIRST = "0" * 64
"""What the very first entry carries in the place of a hash."""


@frozen(kw_only=True)
class AuditEntry:
    """
    One decision.

    @ivar at: unix seconds.
    @ivar by: Who decided.
    @ivar what: C{forgive}, C{retry}, C{drop}, C{release} and the like.
    @ivar subject: A charge id, a wallet, or what else it is about.
    @ivar amount: neuron; 0 where no money is meant.
    @ivar before: What was stored, as text, where the decision has removed it; else None.
    @ivar previous: sha256 of the stored form of the entry before this one, hex; None in
        entries from before there was a chain.
    """

    at: UnixSeconds
    by: str
    what: str
    subject: str
    amount: Neuron
    reason: str
    before: str | None = field(default=None, metadata={"added": True})
    previous: str | None = field(default=None, metadata={"added": True})


def entry_hash(form: bytes) -> str:
    """What the entry after this one carries."""
    return hashlib.sha256(form).hexdigest()


def chained(entry: AuditEntry, last: bytes | None) -> AuditEntry:
    """
    The entry as it is appended.

    @param last: The stored form of the last one; None where there is none.
    """
    return evolve(entry, previous=FIRST if last is None else entry_hash(last))


def broken_at(forms: Sequence[bytes]) -> int | None:
    """
    The first entry that does not follow from the one before it, or cannot be read; None when
    all do.

    Entries without a hash are from before there was a chain: only the first ones may be.
    """
    begun = False
    for place, form in enumerate(forms):
        try:
            entry = decode(AuditEntry, form)
        except BadInput:
            return place
        if entry.previous is None and not begun:
            continue
        begun = True
        if entry.previous != (FIRST if place == 0 else entry_hash(forms[place - 1])):
            return place
    return None

"""
Whether a wallet waits for company before it is settled (design.md §4.4); pure.

Tests: L{tests.services.test_settler}.
"""

from __future__ import annotations

from sandbox_billing.interfaces import StoredQueue
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.voucher import ChargeKind
from sandbox_billing.services.policy import Policy


def settle_at(queue: StoredQueue, policy: Policy) -> UnixSeconds:
    """
    From when on a wallet is worth a transaction: at once, unless it owes little and nothing
    is urgent about it; then when its oldest charge is old enough.

    @param queue: Of a mirrored wallet that owes something.
    """
    assert queue.account is not None and queue.records, queue.wallet
    records = [r.value for r in queue.records]
    urgent = (
        queue.paused
        or queue.blocked is not None
        or queue.account.value.pending_refund > 0
        or not queue.account.value.acknowledged
        or any(r.seal is not None or r.charge.kind is ChargeKind.DEBT for r in records)
    )
    enough = sum(r.charge.amount for r in records) >= policy.settle_min
    if urgent or enough:
        return UnixSeconds(0)
    return UnixSeconds(min(r.charge.created_at for r in records) + policy.settle_max_age)

"""
How an operator is told what there is: amounts as decimal strings, moments in unix seconds.

Tests: C{tests.web.test_operator}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import AuditPage, DeadCharge, Overview, SessionPage, StopOrder
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.account import Mirror
from sandbox_billing.ledger.audit import FIRST, AuditEntry, entry_hash
from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.dead_letter import DeadLetter
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.overview import HOUR_SECONDS, Difference, Hour, Purse, seconds_left
from sandbox_billing.ledger.totals import Totals
from sandbox_billing.ledger.voucher import DeadLettered
from sandbox_billing.signing.eip55 import checksum


def totals_form(totals: Totals) -> dict[str, Any]:
    """What was settled, and what that cost."""
    return {
        "amount": str(totals.fees),
        "vouchers": totals.vouchers,
        "batches": totals.batches,
        "gas": str(totals.gas),
    }


def together(hours: Iterable[Hour]) -> Totals:
    """All hours as one."""
    found = Totals()
    for hour in hours:
        found = found.plus(hour.totals)
    return found


def hours_form(hours: Iterable[Hour], first: UnixSeconds, count: int) -> list[dict[str, Any]]:
    """Each hour has its row, those without settlements, too."""
    known = {hour.begins: hour.totals for hour in hours}
    begins = [UnixSeconds(first + n * HOUR_SECONDS) for n in range(count)]
    return [{"begins": at, **totals_form(known.get(at, Totals()))} for at in begins]


def queue_form(overview: Overview, now: UnixSeconds) -> dict[str, Any]:
    """What waits, and since when."""
    queue = overview.queue
    known = ("unsigned", "signed", "parked", "unreadable")
    return {
        "depth": queue.depth,
        "counted": queue.counted,
        **{name: queue.states.get(name, 0) for name in known},
        "oldest_at": queue.oldest,
        "oldest_age": None if queue.oldest is None else max(0, now - queue.oldest),
        "dead": overview.dead_count,
        "wallets_waiting": overview.waiting,
        "wallets_in_flight": overview.in_flight,
    }


def batch_form(batch: Batch) -> dict[str, Any]:
    """A batch under way, without the bytes of its transactions."""
    return {
        "id": batch.id,
        "created_at": batch.created_at,
        "wallets": [checksum(wallet) for wallet in batch.wallets],
        "vouchers": len(batch.charges),
        "attempts": [
            {
                "transaction": attempt.hash,
                "sender": checksum(attempt.sender),
                "account_nonce": attempt.account_nonce,
                "gas_limit": attempt.gas_limit,
                "fee_cap": str(attempt.fee_cap),
                "recorded_at": attempt.recorded_at,
                "empty": attempt.empty,
            }
            for attempt in batch.attempts
        ],
    }


def purse_form(purse: Purse | None, hours: Iterable[Hour], now: UnixSeconds) -> Any:
    """
    The gas account, and how long it lasts if it goes on like this.

    @param hours: That it is judged by.
    """
    if purse is None:
        return None
    return {
        "address": checksum(purse.sender),
        "balance": str(purse.balance),
        "floor": str(purse.floor),
        "batch_cost": str(purse.transaction),
        "read_at": purse.read_at,
        "seconds_left": seconds_left(purse, tuple(hours), now),
    }


def dead_form(dead: DeadCharge) -> dict[str, Any]:
    """A dead-lettered charge."""
    record = None if dead.record is None else dead.record.value
    state = None if record is None else record.state
    return {
        "kind": "charge",
        "name": dead.id,
        "reason": state.reason if isinstance(state, DeadLettered) else "it cannot be read",
        "since": dead.since,
        "wallet": None if record is None else checksum(record.charge.owner),
        "sandbox": None if record is None else record.charge.sandbox,
        "amount": None if record is None else str(record.charge.amount),
    }


def letter_form(letter: DeadLetter) -> dict[str, Any]:
    """Another dead letter."""
    return {
        "kind": letter.kind,
        "name": letter.name,
        "reason": letter.reason,
        "since": letter.since,
        "wallet": None,
        "sandbox": None,
        "amount": None,
    }


def stop_form(order: StopOrder, now: UnixSeconds) -> dict[str, Any]:
    """An order that stands."""
    return {
        "sandbox": order.sandbox,
        "reason": order.reason,
        "ordered_at": order.ordered_at,
        "age": max(0, now - order.ordered_at),
        "attempts": order.attempts,
    }


def difference_form(difference: Difference) -> dict[str, Any]:
    """What a sweep found."""
    return {
        "at": difference.at,
        "sandbox": difference.sandbox,
        "what": difference.what,
        "text": difference.text,
    }


def mirror_form(mirror: Mirror | None, now: UnixSeconds) -> Any:
    """How far the chain was read."""
    if mirror is None:
        return None
    return {
        "block": mirror.block.number,
        "updated_at": mirror.updated_at,
        "age": max(0, now - mirror.updated_at),
        "contract": mirror.behaviour.value,
        "leaving_at": mirror.leaving_at,
    }


def _session_form(session: Session, stop: str | None, now: UnixSeconds) -> dict[str, Any]:
    sizes = session.resources
    return {
        "sandbox": session.sandbox,
        "owner": checksum(session.owner),
        "state": "pending" if session.started_at is None else "running",
        "opened_at": session.opened_at,
        "started_at": session.started_at,
        "charged_until": session.charged_until,
        "cpu": sizes.cpu,
        "memory_gib": sizes.memory_gib,
        "disk_gib": sizes.disk_gib,
        "rate_per_minute": str(session.rate),
        "hold": str(session.hold),
        "seconds": 0 if session.started_at is None else max(0, now - session.started_at),
        "stop": stop,
    }


def sessions_form(page: SessionPage, now: UnixSeconds) -> dict[str, Any]:
    """A page of open sessions."""
    return {
        "total": page.total,
        "sessions": [_session_form(one, page.stops.get(one.sandbox), now) for one in page.sessions],
        "next": page.after,
    }


def _is_chained(form: bytes | None) -> bool:
    """Whether it carries the hash of another."""
    try:
        return form is not None and decode(AuditEntry, form).previous is not None
    except BadInput:
        # It is told as what it is in its own row.
        return False


def _entry_form(
    number: int, form: bytes, before: bytes | None, *, begun: bool
) -> Mapping[str, Any]:
    """
    @param number: From 1.
    @param before: The stored form of the entry before it.
    @param begun: Whether an older one carries a hash: from there on all have to.
    """
    told: dict[str, Any] = {"number": number, "hash": entry_hash(form), "form": form.decode()}
    try:
        entry = decode(AuditEntry, form)
    except BadInput as why:
        return {**told, "entry": None, "follows": False, "problem": str(why)}
    expected = FIRST if before is None else entry_hash(before)
    return {
        **told,
        "entry": {
            "at": entry.at,
            "by": entry.by,
            "what": entry.what,
            "subject": entry.subject,
            "amount": str(entry.amount),
            "reason": entry.reason,
            "before": entry.before,
            "previous": entry.previous,
        },
        # Those from before there was a chain follow nothing, and say so.
        "follows": None if entry.previous is None and not begun else entry.previous == expected,
        "problem": None,
    }


def audit_form(page: AuditPage) -> dict[str, Any]:
    """A page of the audit, the newest first."""
    before, begun = page.before, _is_chained(page.before)
    entries = []
    for number, form in enumerate(page.forms, page.first + 1):
        entries.append(_entry_form(number, form, before, begun=begun))
        before, begun = form, begun or _is_chained(form)
    return {
        "total": page.total,
        "entries": entries[::-1],
        "next": str(page.first) if page.first > 0 and entries else None,
    }

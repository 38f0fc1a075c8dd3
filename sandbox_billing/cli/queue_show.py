"""
How C{sandbox-billing queue} shows what it found: one document for scripts, one table for people.

Tests: L{tests.cli.test_queue_desk}.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen

from sandbox_billing.cli.queue_desk import Done, Listed
from sandbox_billing.cli.reverts import moment
from sandbox_billing.interfaces import DeadCharge, StoredLetter
from sandbox_billing.ledger.causes import cause_of
from sandbox_billing.ledger.desk import LETTERS, Sum, WalletLine
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.voucher import ChargeRecord, DeadLettered
from sandbox_billing.signing.eip55 import checksum


SUMS = ("open", "debt", "signed", "in_flight", "parked", "dead")
"""Columns of C{queue list}, as L{WalletLine} names them."""

UNREADABLE = "unreadable"


@frozen(kw_only=True)
class Sheet:
    """
    @ivar document: For C{--json}.
    """

    document: dict[str, Any]
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def list_sheet(listed: Listed, now: UnixSeconds) -> Sheet:
    """The queue by wallets."""
    document = {
        "wallets": [_wallet(line, now) for line in listed.wallets],
        "damaged": list(listed.damaged),
    }
    title = f"Queue of {len(listed.wallets)} wallets: how many, and (neuron)"
    if listed.damaged:
        title += f"; {len(listed.damaged)} charges cannot be read (queue dead)"
    rows = [
        (
            checksum(line.wallet),
            *(_sum(getattr(line, name)) for name in SUMS),
            "-" if line.oldest is None else f"{max(0, now - line.oldest)} s",
            line.batch or "-",
            line.blocked or "-",
        )
        for line in listed.wallets
    ]
    columns = ("wallet", *(name.replace("_", " ") for name in SUMS), "oldest", "batch", "blocked")
    return Sheet(document=document, title=title, columns=columns, rows=rows)


def _wallet(line: WalletLine, now: UnixSeconds) -> dict[str, Any]:
    sums = {name: getattr(line, name) for name in SUMS}
    return {
        "wallet": checksum(line.wallet),
        **{name: {"count": s.count, "amount": str(s.amount)} for name, s in sums.items()},
        "oldest_at": line.oldest,
        "oldest_age_sec": None if line.oldest is None else max(0, now - line.oldest),
        "batch": line.batch,
        "blocked": line.blocked,
    }


def _sum(found: Sum) -> str:
    return f"{found.count} ({found.amount})" if found.count else "-"


def parked_sheet(records: Sequence[ChargeRecord]) -> Sheet:
    """What waits for an acknowledgement."""
    parked = [(record.charge, record.seal) for record in records if record.seal is not None]
    document = {
        "parked": [
            {
                "charge": charge.id,
                "wallet": checksum(charge.owner),
                "nonce": str(seal.nonce),
                "fee": str(seal.fee),
                "usage_hash": seal.usage_hash,
                "since": charge.created_at,
            }
            for charge, seal in parked
        ]
    }
    rows = [
        (
            charge.id,
            checksum(charge.owner),
            str(seal.nonce),
            str(seal.fee),
            seal.usage_hash,
            moment(charge.created_at),
        )
        for charge, seal in parked
    ]
    columns = ("charge", "wallet", "nonce", "fee (neuron)", "usage hash", "since")
    title = f"{len(rows)} parked: each wallet has to acknowledge"
    return Sheet(document=document, title=title, columns=columns, rows=rows)


def dead_sheet(charges: Sequence[DeadCharge], letters: Sequence[StoredLetter]) -> Sheet:
    """What a human must look at."""
    document = {
        "charges": [_dead(one) for one in charges],
        "letters": [_letter(one) for one in letters],
    }
    rows = []
    for shown in document["charges"]:
        rows.append(
            (
                shown["charge"],
                shown["wallet"] or "-",
                shown["amount"] or "-",
                shown["nonce"] or "-",
                moment(shown["since"]),
                shown["cause"],
                shown["reason"],
                shown["stored"] or "",
            )
        )
    for shown in document["letters"]:
        since = moment(shown["since"])
        reason, stored = shown["reason"], shown["stored"] or ""
        rows.append((shown["name"], "-", "-", "-", since, shown["kind"], reason, stored))
    columns = ("what", "wallet", "neuron", "nonce", "since", "cause", "reason", "stored")
    title = f"{len(charges)} dead charges, {len(letters)} letters"
    return Sheet(document=document, title=title, columns=columns, rows=rows)


def _dead(one: DeadCharge) -> dict[str, Any]:
    record = None if one.record is None else one.record.value
    state = None if record is None else record.state
    reason = state.reason if isinstance(state, DeadLettered) else "its stored form cannot be read"
    cause = cause_of(reason)
    told = (cause.meaning, cause.remedy) if record is not None else LETTERS["charge"]
    seal = None if record is None else record.seal
    return {
        "charge": one.id,
        "wallet": None if record is None else checksum(record.charge.owner),
        "amount": None if record is None else str(record.charge.amount),
        "nonce": None if seal is None else str(seal.nonce),
        "usage_hash": None if seal is None else seal.usage_hash,
        "since": one.since,
        "cause": cause.name if record is not None else UNREADABLE,
        "reason": reason,
        "meaning": told[0],
        "remedy": told[1],
        "retry": record is not None and seal is not None and cause.retry,
        # Of one that can be read its seal's signature is nobody's to see here.
        "stored": None if record is not None or one.raw is None else _text(one.raw),
    }


def _letter(one: StoredLetter) -> dict[str, Any]:
    kind, name = one.letter.kind, one.letter.name
    meaning, remedy = LETTERS.get(kind, ("of another version of the daemon", "read the reason"))
    return {
        "name": f"{kind}:{name}",
        "kind": kind,
        "since": one.letter.since,
        "reason": one.letter.reason,
        "meaning": meaning,
        "remedy": remedy,
        "stored": None if one.about is None else _text(one.about),
    }


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def done_document(done: Done) -> dict[str, Any]:
    """What was decided."""
    return {
        "done": done.what,
        "subject": done.subject,
        "wallet": None if done.wallet is None else checksum(done.wallet),
        "amount": str(done.amount),
        "meaning": done.text,
    }

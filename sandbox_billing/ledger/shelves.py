"""
Where everything that is stored must be listed, and what it counts for; pure.

An index is only a way to find what is stored elsewhere, so it can always be made again: what
should stand in it follows from charges, batches, sessions and intents alone.

Tests: L{tests.ledger.test_shelves}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

from attrs import frozen

from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.hold import (
    UNDO,
    Intent,
    charge_field,
    hold_field,
    session_field,
    session_value,
)
from sandbox_billing.ledger.identity import Address, BatchId, ChargeId, Reference, SandboxId
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.voucher import (
    ChargeKind,
    ChargeRecord,
    DeadLettered,
    Forgiven,
    Merged,
    Open,
    Paid,
    Partial,
)


class Index(Enum):
    """The indices that must agree with what is stored."""

    PENDING = "pending"
    USAGE = "usage"
    CHARGES = "charges"
    FIRST = "first"
    READY = "ready"
    DEAD = "dead"
    WALLETS = "wallets"
    BATCHES = "batches"
    IN_FLIGHT = "in flight"
    SESSIONS = "sessions"
    DUE = "due"
    INTENTS = "intents"
    ACCOUNTS = "accounts"
    BLOCKED = "blocked wallets"


MAY_LINGER = frozenset({Index.READY, Index.WALLETS})
"""A wallet may stand there without anything: it is put right in passing, or stays for ever."""


@frozen
class Entry:
    """
    One line of an index.

    @ivar of: The wallet whose index it is, or that is listed; empty for none.
    @ivar member: What is listed.
    """

    index: Index
    of: str
    member: str


@frozen(kw_only=True)
class Shelf:
    """
    What is stored under names of its own.

    @ivar batches: Unresolved ones.
    """

    charges: Mapping[ChargeId, ChargeRecord]
    batches: Mapping[BatchId, Batch]
    sessions: Mapping[SandboxId, Session]
    intents: Mapping[Reference, Intent]


def is_final(record: ChargeRecord) -> bool:
    """Whether nothing is owed for it any more, or a human has it."""
    return isinstance(record.state, Paid | Partial | Merged | Forgiven | DeadLettered)


def entries(shelf: Shelf) -> frozenset[Entry]:
    """Everything that must be listed, but for what is known of wallets alone."""
    held = {charge for batch in shelf.batches.values() for charge in batch.charges}
    busy = {wallet for batch in shelf.batches.values() for wallet in batch.wallets}
    found: set[Entry] = set()
    for record in shelf.charges.values():
        found.update(_of_charge(record, record.charge.id in held, record.charge.owner in busy))
    for batch in shelf.batches.values():
        found.add(Entry(Index.BATCHES, "", batch.id))
        found.update(Entry(Index.IN_FLIGHT, wallet.hex, batch.id) for wallet in batch.wallets)
    for session in shelf.sessions.values():
        found.add(Entry(Index.SESSIONS, "", session.sandbox))
        if session.started_at is not None:
            found.add(Entry(Index.DUE, "", session.sandbox))
    found.update(Entry(Index.INTENTS, "", reference) for reference in shelf.intents)
    return frozenset(found)


def _of_charge(record: ChargeRecord, held: bool, busy: bool) -> Iterable[Entry]:
    charge, wallet = record.charge, record.charge.owner.hex
    yield Entry(Index.USAGE, wallet, charge.id)
    yield Entry(Index.WALLETS, "", wallet)
    if isinstance(record.state, DeadLettered):
        yield Entry(Index.DEAD, "", charge.id)
    if is_final(record):
        return
    yield Entry(Index.PENDING, "", charge.id)
    if held:
        return
    plain = isinstance(record.state, Open) and charge.kind is not ChargeKind.DEBT
    yield Entry(Index.CHARGES if plain else Index.FIRST, wallet, charge.id)
    if not busy:
        yield Entry(Index.READY, "", wallet)


def exposures(shelf: Shelf) -> dict[Address, dict[str, str]]:
    """What every wallet owes that the chain does not know yet, by field."""
    found: dict[Address, dict[str, str]] = {}
    for record in shelf.charges.values():
        if not is_final(record):
            charge = record.charge
            found.setdefault(charge.owner, {})[charge_field(charge)] = str(charge.amount)
    for session in shelf.sessions.values():
        mine = found.setdefault(session.owner, {})
        mine[session_field(session.sandbox)] = session_value(session)
    for intent in shelf.intents.values():
        if intent.action != UNDO:
            found.setdefault(intent.owner, {})[hold_field(intent.reference)] = str(intent.hold)
    return found

"""
The laws of design.md §5, checked at a quiet point.

It reads the final books and the world's own logs: the contract's state and events, what
Daytona showed and heard, and the order in which facts were stored.  Of the daemon's own
objects it knows none.  L9 is of routes, and the web room's tests'.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from attrs import frozen

from sandbox_billing.errors import BadInput, BrokenLaw
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.hold import UNDO, charge_field, hold_field, session_field
from sandbox_billing.ledger.identity import Address, ChargeId
from sandbox_billing.ledger.laws import l2_disjoint, l5_rising, l6_books, standing
from sandbox_billing.ledger.reconciliation import REFERENCE_LABEL
from sandbox_billing.ledger.voucher import (
    ChargeKind,
    ChargeRecord,
    DeadLettered,
    Paid,
    Partial,
)
from tests.services.lives import PROVIDER
from tests.simulation.books import StoredBooks, unsettled
from tests.simulation.clock import BASE
from tests.simulation.seconds import l3, l4, l8, runs_of, was_undone
from tests.simulation.settings import RATES
from tests.simulation.world import KEYS, World


@frozen
class Quiet:
    """
    @ivar running: Whether sandboxes may run on.
    @ivar patient: Whether to wait five minutes for a hold that nothing came of, too.
    """

    running: bool = False
    patient: bool = False


def why_not_quiet(world: World, wish: Quiet) -> str | None:
    """What is still on its way; None when nothing is (L11)."""
    if world.net.pool:
        return f"{len(world.net.pool)} transactions are not mined"
    values: Any = world.keyspace.values()
    for key in (KEYS.batches(), KEYS.stops()):
        if values.get(key):
            return f"{key} holds {list(values[key])}"
    running = [row for row in world.simulator.records.values() if row.runs]
    shown = {row.id for row in running} | {row.labels.get(REFERENCE_LABEL) for row in running}
    for intent in StoredBooks.of(world).intents:
        waits = intent.action != UNDO and not shown & {intent.reference, intent.sandbox}
        if wish.patient or not waits:
            return f"{intent.action} {intent.reference} is under way"
    if not wish.running and values.get(KEYS.sessions()):
        return f"sessions are open: {values[KEYS.sessions()]}"
    books = StoredBooks.of(world)
    for record in books.charges.values():
        if unsettled(record) and can_settle(world, record.charge.owner):
            return f"{record.charge.id} of a wallet that can pay is {type(record.state).__name__}"
    for daemon in world.living:
        if daemon.keeper is not None and daemon.keeper.work is not None:
            troubles = daemon.troubles()
            return f"{daemon.life.name}: {troubles}" if troubles else None
    return "nobody is the worker"


def can_settle(world: World, who: Address) -> bool:
    """Whether the chain would pay anything of a wallet's."""
    state = world.net.head.state
    slot = state.slot(PROVIDER, who)
    return slot.balance + slot.pending > 0 and state.acknowledged(PROVIDER, who)


def check(world: World) -> list[str]:
    """Every broken law, by number."""
    try:
        books = StoredBooks.of(world)
    except BadInput as why:
        return [f"L6: a stored form cannot be read: {why}"]
    checks = (
        _l1, _l2, l3, l4, _l5, _l6, _l6_chain, _l6_indexes, _l7, l8, _l10, _l11, _l12,
    )  # fmt: skip
    found = [problem for law in checks for problem in law(world, books)]
    return found + [f"surprise: {text}" for text in world.surprises]


# --- money ----------------------------------------------------------------------------


def _events(world: World, name: str) -> list[tuple[Address, dict[str, Any]]]:
    return [
        (log.event.user, log.event.fields)
        for block in world.net.blocks
        for log in block.logs
        if log.event.name == name and log.event.user is not None
    ]


def _l1(world: World, books: StoredBooks) -> Iterator[str]:
    """Per wallet, what is there is what came and has not gone; the contract has it all."""
    state = world.net.head.state
    if state.native != state.owed():
        yield f"L1: the contract holds {state.native} and owes {state.owed()}"
    due: dict[Address, int] = defaultdict(int)
    for who, fields in _events(world, "Deposited"):
        due[who] += fields["amount"]
    for who, fields in _events(world, "RefundWithdrawn"):
        due[who] -= fields["amount"]
    for who, fields in _events(world, "VoucherSettled"):
        due[who] -= fields["paid"]
    for who, amount in due.items():
        slot = state.slot(PROVIDER, who)
        if slot.balance + slot.pending != amount:
            yield f"L1: {who} has {slot.balance} + {slot.pending} on chain and should have {amount}"


def _l2(world: World, books: StoredBooks) -> Iterator[str]:
    try:
        l2_disjoint(standing(books.charges.values()))
    except BrokenLaw as why:
        yield str(why)


# --- charges and vouchers -------------------------------------------------------------


def _l5(world: World, books: StoredBooks) -> Iterator[str]:
    """What was signed stays bound: by charge, and by number; vouchers go out in order."""
    of_charge: dict[ChargeId, set[Any]] = defaultdict(set)
    of_number: dict[tuple[Address, int], set[ChargeId]] = defaultdict(set)
    for written in world.keyspace.history:
        for step in written.commit.writes:
            if step.name == "SET" and step.key.startswith("billing:charge:"):
                record = decode(ChargeRecord, step.arguments[0])  # type: ignore[arg-type]
                seal = record.seal
                if seal is not None:
                    of_charge[record.charge.id].add((seal.nonce, seal.fee, seal.usage_hash))
                    of_number[record.charge.owner, seal.nonce].add(record.charge.id)
    for charge, seals in of_charge.items():
        if len(seals) > 1:
            yield f"L5: {charge} was bound to {sorted(seals)}"
    for (who, nonce), charges in of_number.items():
        if len(charges) > 1:
            yield f"L5: nonce {nonce} of {who} was given to {sorted(charges)}"
    nonces: dict[Address, list[int]] = defaultdict(list)
    for who, fields in _events(world, "VoucherSettled"):
        nonces[who].append(fields["nonce"])
    for rising in nonces.values():
        try:
            l5_rising(rising)
        except BrokenLaw as why:
            yield str(why)


def _l6(world: World, books: StoredBooks) -> Iterator[str]:
    """Every charge that was ever stored is there, in one column, and the columns add up."""
    try:
        l6_books(books.charges.values())
    except BrokenLaw as why:
        yield str(why)
    for record in books.charges.values():
        state = record.state
        if isinstance(state, DeadLettered):
            yield f"L6: {record.charge.id} is dead-lettered: {state.reason}"
        if isinstance(state, Partial):
            debt = books.charges.get(state.debt)
            if debt is None or debt.charge.amount != state.owed:
                yield f"L6: the {state.owed} owed of {record.charge.id} are nowhere"
    for written in world.keyspace.history:
        for step in written.commit.writes:
            if step.name == "SET" and step.key.startswith("billing:charge:"):
                gone = step.key.removeprefix("billing:charge:")
                if gone not in books.charges and not _forgiven(world, gone):
                    yield f"L6: {gone} was charged at {written.at} and has disappeared"


def _forgiven(world: World, charge: str) -> bool:
    """Only a create fee can be: of what never ran, or was undone."""
    sandbox, _, kind = charge.partition(":")
    row = world.simulator.records[sandbox]
    return kind == "create" and (
        not runs_of(world, sandbox) or was_undone(world, row.labels.get(REFERENCE_LABEL))
    )


def _l6_chain(world: World, books: StoredBooks) -> Iterator[str]:
    """The books and the chain tell the same of every voucher."""
    paid = {
        (record.charge.owner, seal.nonce): record
        for record in books.charges.values()
        if (seal := record.seal) is not None
    }
    settled = {}
    for who, fields in _events(world, "VoucherSettled"):
        number = (who, fields["nonce"])
        if number in settled:
            yield f"L2: nonce {number} was settled twice"
        settled[number] = fields
        record = paid.get(number)
        if record is None:
            yield f"L6: the chain settled nonce {fields['nonce']} of {who}, and no charge has it"
            continue
        state, seal = record.state, record.seal
        assert seal is not None
        if (seal.fee, seal.usage_hash) != (fields["fee"], fields["usage_hash"]):
            yield f"L5: the chain settled another promise than {record.charge.id}"
        moved = {Paid: seal.fee, Partial: getattr(state, "paid", None)}.get(type(state))
        if moved != fields["paid"]:
            yield f"L6: {record.charge.id} is {state} and the chain took {fields['paid']}"
    for number, record in paid.items():
        if isinstance(record.state, Paid | Partial) and number not in settled:
            yield f"L6: {record.charge.id} is booked as {record.state}, and the chain has nothing"
    owed = {charge.split(":debt:")[0] for charge in books.charges}
    for root in owed:
        taken = sum(
            settled[number]["paid"]
            for number, record in paid.items()
            if number in settled and record.charge.id.split(":debt:")[0] == root
        )
        if taken > books.charges[ChargeId(root)].charge.amount:
            yield f"L12: {taken} were taken for {root}"


def _l6_indexes(world: World, books: StoredBooks) -> Iterator[str]:
    """What is listed is what is there: nothing held for ever, nothing out of sight."""
    pending = books.members(KEYS.pending())
    unpaid = {charge for charge, record in books.charges.items() if unsettled(record)}
    if pending != unpaid:
        yield f"L6: listed as pending and not, or not and are: {sorted(pending ^ unpaid)}"
    for who in books.wallets:
        records = books.of_wallet(who)
        listed = books.members(KEYS.usage(who))
        if listed != {record.charge.id for record in records}:
            yield f"L6: {who} is not shown all charges, or others: {sorted(listed)}"
        expected = {charge_field(r.charge) for r in records if unsettled(r)}
        expected |= {session_field(s.sandbox) for s in books.sessions.values() if s.owner == who}
        expected |= {hold_field(i.reference) for i in books.intents if i.owner == who}
        if books.exposure(who) != expected:
            yield f"L6: {who} is exposed by {sorted(books.exposure(who) ^ expected)}, more or less"


# --- doors, worker, quiet -------------------------------------------------------------


def _l7(world: World, books: StoredBooks) -> Iterator[str]:
    """What Daytona was asked to run had a reservation that its wallet could cover."""
    for heard in world.heard:
        if heard.route == "create":
            reference = heard.body["labels"].get(REFERENCE_LABEL)
            found = [a for a in world.admitted if a.intent.reference == reference]
        elif heard.route == "start":
            found = [
                a for a in world.admitted if a.intent.sandbox == heard.target and a.at <= heard.at
            ][-1:]
        else:
            continue
        if not found:
            yield f"L7: {heard.route} {heard.target} without a reservation"
        elif found[0].exposed > found[0].funds:
            yield f"L7: {heard.route}: {found[0].exposed} against {found[0].funds}"


def _l10(world: World, books: StoredBooks) -> Iterator[str]:
    """What was broadcast had been on disk; and fencing tokens only rise."""
    stored: dict[str, int] = {}
    newest = 0
    for index, written in enumerate(world.keyspace.history):
        if written.commit.token is not None:
            if int(written.commit.token) < newest:
                yield f"L10: {written.commit.name!r} under the old token {written.commit.token!r}"
            newest = int(written.commit.token)
        for step in written.commit.writes:
            if step.name == "SET" and step.key.startswith("billing:batch:"):
                batch = decode(Batch, step.arguments[0])  # type: ignore[arg-type]
                for attempt in batch.attempts:
                    stored.setdefault(attempt.hash, index)
    for sent in world.sent:
        if sent.name not in stored:
            yield f"L10: {sent.name} was broadcast at {sent.at - BASE} and is not stored"
        elif stored[sent.name] >= sent.durable:
            yield f"L10: {sent.name} was broadcast at {sent.at - BASE} before it was on disk"


def _l11(world: World, books: StoredBooks) -> Iterator[str]:
    """What is not settled has a reason: its wallet has nothing left, or has not acknowledged."""
    for record in books.charges.values():
        who = record.charge.owner
        if unsettled(record) and can_settle(world, who):
            yield f"L11: {record.charge.id} is {type(record.state).__name__} and could be paid"
    state = world.net.head.state
    for who in books.wallets:
        debts = [
            r for r in books.of_wallet(who) if unsettled(r) and r.charge.kind is ChargeKind.DEBT
        ]
        if debts and not books.blocked(who):
            yield f"L4: {who} is in debt and not blocked"
        if not state.acknowledged(PROVIDER, who):
            for session in books.sessions.values():
                if session.owner == who:
                    yield f"L8: {session.sandbox} runs on without an acknowledgement"


def _l12(world: World, books: StoredBooks) -> Iterator[str]:
    """Nobody is charged more than the price of the seconds, nor more than the fee."""
    for record in books.charges.values():
        charge = record.charge
        priced = charge.rate in RATES and charge.amount * 60 == charge.rate * charge.units
        if charge.units and not priced:
            yield f"L12: {charge.id}: {charge.amount} for {charge.units} s at {charge.rate}"
    for who, fields in _events(world, "VoucherSettled"):
        if fields["paid"] > fields["fee"]:
            yield f"L12: {fields['paid']} were taken from {who} for a fee of {fields['fee']}"

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
from sandbox_billing.ledger.account import Behaviour
from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.deployed import Race
from sandbox_billing.ledger.hold import UNDO, charge_field, hold_field, session_field
from sandbox_billing.ledger.identity import Address, ChargeId, split_from
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
from tests.simulation.moves import Move, moves_of, told
from tests.simulation.seconds import is_charged_before, l3, l4, l8, runs_of, was_undone
from tests.simulation.settings import RATES
from tests.simulation.tokens import spent
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
        who = record.charge.owner
        if unsettled(record) and can_settle(world, who) and who not in waiting_for_human(world):
            return f"{record.charge.id} of a wallet that can pay is {type(record.state).__name__}"
    for daemon in world.living:
        if daemon.keeper is not None and daemon.keeper.work is not None:
            troubles = daemon.troubles()
            dead = [r for r in books.charges.values() if isinstance(r.state, DeadLettered)]
            told = all(world.is_expected(r.state.reason) for r in dead)
            if dead and told and not values.get(KEYS.letters()):
                # A human has them; nothing is on its way.
                troubles.pop("dead letters", None)
            return f"{daemon.life.name}: {troubles}" if troubles else None
    return "nobody is the worker"


def waiting_for_human(world: World) -> frozenset[Address]:
    """Wallets in quarantine, where what happened is enough for that; the alarm says so."""
    return frozenset(
        record.charge.owner
        for record in StoredBooks.of(world).charges.values()
        if isinstance(record.state, DeadLettered) and world.is_expected(record.state.reason)
    )


def can_settle(world: World, who: Address) -> bool:
    """Whether the chain would pay anything of a wallet's."""
    state = world.net.head.state
    slot = state.slot(PROVIDER, who)
    if not state.acknowledged(PROVIDER, who):
        return False
    if state.behaviour is Behaviour.FIXED:
        return slot.balance + slot.pending >= max(1, _smallest_step(world, who))
    if not slot.pending:
        return slot.balance > 0
    # D1: beside a refund only what leaves it whole.
    due = sum(r.charge.amount for r in StoredBooks.of(world).of_wallet(who) if unsettled(r))
    return slot.balance - due >= slot.pending


def _smallest_step(world: World, who: Address) -> int:
    """
    What a wallet that is in debt must have at least: here a transaction costs more than any
    debt, so none is collected in parts.
    """
    mine = [record for record in StoredBooks.of(world).of_wallet(who) if unsettled(record)]
    debts = [record.charge for record in mine if record.charge.kind is ChargeKind.DEBT]
    if not debts or any(record.seal is not None for record in mine):
        return 0
    oldest = min(debt.created_at for debt in debts)
    return max(debt.amount for debt in debts if debt.created_at == oldest)


def check(world: World) -> list[str]:
    """Every broken law, by number."""
    try:
        books = StoredBooks.of(world)
    except BadInput as why:
        return [f"L6: a stored form cannot be read: {why}"]
    checks = (
        l1, _l2, l3, l4, _l5, _l6, _l6_chain, _l6_indexes, _l7, l8, _l10, _l11, _l12, spent,
    )  # fmt: skip
    found = [problem for law in checks for problem in law(world, books)]
    return found + [f"surprise: {text}" for text in world.surprises]


# --- money ----------------------------------------------------------------------------


def l1(world: World, books: StoredBooks) -> Iterator[str]:
    """Per wallet, what is there is what came and has not gone; the contract has it all."""
    state = world.net.head.state
    moves, wrong = moves_of(world)
    yield from wrong
    if state.native != state.owed() + state.nobodys:
        yield f"L1: the contract holds {state.native} and owes {state.owed() + state.nobodys}"
    due: dict[Address, int] = defaultdict(int)
    for event in told(world, "Deposited"):
        due[event.who] += event.fields["amount"]
    for event in told(world, "RefundWithdrawn"):
        due[event.who] -= event.fields["amount"]
    for move in moves:
        due[move.who] -= move.paid + move.lost
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
    for event in told(world, "VoucherSettled"):
        nonces[event.who].append(event.fields["nonce"])
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
        if isinstance(state, DeadLettered) and not world.is_expected(state.reason):
            yield f"L6: {record.charge.id} is dead-lettered: {state.reason}"
        if isinstance(state, Partial):
            debt = books.charges.get(state.debt)
            if debt is None or debt.charge.amount != state.owed:
                yield f"L6: the {state.owed} owed of {record.charge.id} are nowhere"
    for written in world.keyspace.history:
        for step in written.commit.writes:
            if step.name == "SET" and step.key.startswith("billing:charge:"):
                gone = step.key.removeprefix("billing:charge:")
                if gone not in books.charges and not _forgiven(world, books, gone):
                    yield f"L6: {gone} was charged at {written.at} and has disappeared"


def _forgiven(world: World, books: StoredBooks, charge: str) -> bool:
    """Only a create fee can be: of what never ran, failed before we saw it run, or was undone."""
    sandbox, _, kind = charge.partition(":")
    row = world.simulator.records[sandbox]
    runs = runs_of(world, sandbox)
    return kind == "create" and (
        not runs
        or (sandbox in world.broken and not is_charged_before(books, sandbox, runs[0][1]))
        or was_undone(world, row.labels.get(REFERENCE_LABEL))
    )


def _l6_chain(world: World, books: StoredBooks) -> Iterator[str]:
    """The books and the chain tell the same of every voucher."""
    paid = {
        (record.charge.owner, seal.nonce): record
        for record in books.charges.values()
        if (seal := record.seal) is not None
    }
    settled: dict[tuple[Address, int], Move] = {}
    for move in moves_of(world)[0]:
        number = (move.who, move.nonce)
        if number in settled:
            yield f"L2: nonce {number} was settled twice"
        settled[number] = move
        record = paid.get(number)  # type: ignore[call-overload]
        if record is None:
            yield f"L6: the chain settled nonce {move.nonce} of {move.who}, and no charge has it"
            continue
        state, seal = record.state, record.seal
        assert seal is not None
        if (seal.fee, seal.usage_hash) != (move.fee, move.usage_hash):
            yield f"L5: the chain settled another promise than {record.charge.id}"
        moved = {Paid: seal.fee, Partial: getattr(state, "paid", None)}.get(type(state))
        if isinstance(state, DeadLettered) and world.is_expected(state.reason):
            # What it took is for a human to find out.
            continue
        if moved != move.paid - move.excess:
            yield f"L6: {record.charge.id} is {state} and the chain took {move.paid}"
    for number, record in paid.items():
        if isinstance(record.state, Paid | Partial) and number not in settled:
            yield f"L6: {record.charge.id} is booked as {record.state}, and the chain has nothing"
    owed = {charge.split(":debt:")[0] for charge in books.charges}
    for root in owed:
        taken = sum(
            settled[number].paid - settled[number].excess
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
            before = [
                a for a in world.admitted if a.intent.sandbox == heard.target and a.at <= heard.at
            ]
            # Of two that ask in one moment, one is let in: the other's request goes nowhere.
            found = [a for a in before if a.at == before[-1].at] if before else []
        else:
            continue
        if not found:
            yield f"L7: {heard.route} {heard.target} without a reservation"
        elif all(a.exposed > a.funds for a in found):
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
    excused = waiting_for_human(world)
    for record in books.charges.values():
        who = record.charge.owner
        if unsettled(record) and can_settle(world, who) and who not in excused:
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
        amount = charge.amount + sum(
            rest.charge.amount
            for rest in books.charges.values()
            if split_from(rest.charge.id) == charge.id
        )
        priced = charge.rate in RATES and amount * 60 == charge.rate * charge.units
        if charge.units and not priced:
            yield f"L12: {charge.id}: {amount} for {charge.units} s at {charge.rate}"
    yield from _l12_flaws(world)


def _l12_flaws(world: World) -> Iterator[str]:
    """K1 and K2 are never set off, but by a race that nobody could see; and that is noted."""
    found: Any = world.keyspace.values().get(KEYS.races(), {})
    noted = {
        (race.wallet, race.nonce): (race.lost, race.credit)
        for race in (decode(Race, form) for form in found.values())
    }
    for move in moves_of(world)[0]:
        number, harm = (move.who, move.nonce), (move.lost, move.excess)
        if any(harm) and noted.get(number) != harm:  # type: ignore[call-overload]
            yield f"L12: {harm} of {number} were lost or taken too much, and nobody has noted it"
        if any(harm) and not _raced(world, move):
            yield f"L12: {harm} of {number} were lost or taken too much, as was to be seen"
        noted.pop(number, None)  # type: ignore[call-overload]
    if noted:
        yield f"L12: races are noted that never were: {noted}"


def _raced(world: World, move: Move) -> bool:
    """Whether the wallet asked for a refund when its voucher was on its way already."""
    if world.reorgs:
        # Blocks came in another order than they were seen in.
        return True
    number = (move.who, move.nonce)
    first = min((s.at for s in world.sent if number in s.vouchers), default=float(move.at))
    asked = [
        event.at
        for event in told(world, "RefundRequested", "RefundWithdrawn")
        if event.who == move.who and first - 1 <= event.at <= move.at
    ]
    blind = any(w.since <= first <= w.until for w in world.windows if w.chain)
    return bool(asked) or blind

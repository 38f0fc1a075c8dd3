"""
What operators see of the queue, and what they may decide about one charge or wallet (Q-11).

Pure.  Nothing here decides what the chain said: a dead letter that is offered again goes out
under the seal it has (L5), and the watcher reads the answer as it reads any other: an event
for its nonce is booked, whoever sent it; a nonce that is proven lost, by a second source, makes
it open again, and only then the settler gives it a new one.

Tests: L{tests.ledger.test_desk}.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from attrs import frozen

from sandbox_billing.errors import Refused
from sandbox_billing.ledger.account import Settlement
from sandbox_billing.ledger.backlog import Claim
from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.causes import cause_of
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Address, BatchId, ChargeId, Nonce
from sandbox_billing.ledger.money import Neuron, UnixSeconds, neuron
from sandbox_billing.ledger.voucher import (
    ChargeKind,
    ChargeRecord,
    DeadLettered,
    Forgiven,
    Open,
    Parked,
    Signed,
)


# --- letters -------------------------------------------------------------------------


LETTERS: Final[Mapping[str, tuple[str, str]]] = {
    "charge": (
        "the stored charge cannot be read; it stays counted as owed",
        "mend the stored value and drop the letter; or drop it: it is taken out, its text kept "
        "in the audit",
    ),
    "session": (
        "the open session cannot be read; nothing more is charged for its sandbox",
        "mend the stored value, then drop the letter",
    ),
    "intent": (
        "a call under way cannot be read; its hold stays set aside",
        "mend the stored value, then drop the letter",
    ),
    "record": (
        "what is remembered of a sandbox cannot be read",
        "mend the stored value, then drop the letter",
    ),
    "batch": (
        "a batch cannot be read; its wallets wait",
        "mend the stored value: it is resolved; then drop the letter",
    ),
    "event": (
        "one stored event cannot be read; the chain still has it",
        "drop the letter",
    ),
    "stop": (
        "a stop order cannot be read",
        "stop the sandbox by hand, then drop the letter",
    ),
    "totals": (
        "the running totals could not be read and began anew",
        "drop the letter: its name has what they were",
    ),
    "outcome": (
        "64 blocks later the chain says something else than it did (a deep reorganisation), or "
        "the stored outcome cannot be read",
        "compare the wallet's events with its charges (reconcile); then drop the letter and "
        "release the wallet",
    ),
    "wallet": (
        "its books are behind the chain: Redis has lost writes",
        "rebuild with reconcile, which lifts the quarantine, too",
    ),
}
"""Kinds of letters that are no dead-lettered charges: what is wrong, what to do."""


# --- what stands there ----------------------------------------------------------------


_NOTHING = Neuron(0)


@frozen
class Sum:
    """So many, and how much in all, neuron."""

    count: int = 0
    amount: Neuron = _NOTHING

    def plus(self, amount: Neuron) -> Sum:
        """With one more."""
        return Sum(self.count + 1, neuron(self.amount + amount))


NONE = Sum()


@frozen(kw_only=True)
class WalletLine:
    """
    What one wallet has in the queue.

    @ivar debt: Open ones that collect what an earlier voucher left owed.
    @ivar signed: Sealed, waiting for a batch.
    @ivar in_flight: Sealed, in C{batch}.
    @ivar oldest: When the oldest of those that are not dead was made, unix seconds.
    @ivar batch: The batch that holds the wallet.
    @ivar blocked: Why it may run nothing.
    """

    wallet: Address
    open: Sum = NONE
    debt: Sum = NONE
    signed: Sum = NONE
    in_flight: Sum = NONE
    parked: Sum = NONE
    dead: Sum = NONE
    oldest: UnixSeconds | None = None
    batch: BatchId | None = None
    blocked: str | None = None


def lines(
    claims: Iterable[Claim],
    batches: Iterable[Batch],
    dead: Iterable[ChargeRecord],
    quarantined: Collection[Address] = (),
) -> tuple[WalletLine, ...]:
    """
    The queue by wallets, those that wait longest first.

    @param claims: Of what is not final.
    @param dead: Dead-lettered charges.
    @param quarantined: They are listed also when they have nothing there.
    """
    held = {wallet: batch for batch in batches for wallet in batch.wallets}
    sums: dict[Address, dict[str, Sum]] = {}
    oldest: dict[Address, UnixSeconds] = {}
    blocked: dict[Address, str | None] = dict.fromkeys(quarantined, QUARANTINED)

    def add(record: ChargeRecord, column: str) -> None:
        mine = sums.setdefault(record.charge.owner, {})
        mine[column] = mine.get(column, NONE).plus(record.charge.amount)

    for record in dead:
        add(record, "dead")
    for claim in claims:
        owner, made = claim.record.charge.owner, claim.record.charge.created_at
        column = _column(claim.record, held.get(owner))
        if column is None:
            # It ended while the list was read.
            continue
        add(claim.record, column)
        oldest[owner] = min(made, oldest.get(owner, made))
        blocked[owner] = claim.blocked
    everybody = {*sums, *blocked, *held}
    found = [
        WalletLine(
            wallet=wallet,
            **sums.get(wallet, {}),
            oldest=oldest.get(wallet),
            batch=held[wallet].id if wallet in held else None,
            blocked=blocked.get(wallet),
        )
        for wallet in everybody
    ]
    return tuple(
        sorted(found, key=lambda line: (line.oldest is None, line.oldest or 0, line.wallet))
    )


def _column(record: ChargeRecord, batch: Batch | None) -> str | None:
    match record.state:
        case Open():
            return "debt" if record.charge.kind is ChargeKind.DEBT else "open"
        case Signed():
            there = batch is not None and record.charge.id in batch.charges
            return "in_flight" if there else "signed"
        case Parked():
            # In a batch again it is offered anew, and signed.
            return "parked"
        case DeadLettered():
            return "dead"
    return None


# --- what may be decided --------------------------------------------------------------


def plan_retry(record: ChargeRecord, last_nonce: Nonce, batch: BatchId | None) -> str:
    """
    What will happen when a dead letter is offered again.

    @param last_nonce: The contract's for its wallet, as mirrored.
    @param batch: The one that holds its wallet.
    @raise Refused: It cannot, or it would change nothing; with what to do instead.
    """
    charge, state = record.charge, record.state
    if not isinstance(state, DeadLettered):
        raise Refused(f"{charge.id} is no dead letter: it is {state_word(record)}")
    if state.seal is None:
        raise Refused(f"{charge.id} was never signed, so there is nothing to offer again: drop it")
    cause = cause_of(state.reason)
    if not cause.retry:
        raise Refused(f"{charge.id}: {cause.meaning}; {cause.remedy}")
    if batch is not None:
        raise Refused(f"its wallet is in batch {batch}: wait until that is resolved, and try again")
    nonce = state.seal.nonce
    if nonce > last_nonce:
        return f"nonce {nonce} is unused on chain: the same voucher goes out again"
    return (
        f"nonce {nonce} is used on chain: the daemon looks for its event again; it is booked by "
        "that, or gets a new nonce once a second source proves that nothing was paid for it"
    )


@frozen
class Drop:
    """
    @ivar text: What writing it off means.
    @ivar collectable: Whether somebody might still be paid for it, or was: never without a
        person's yes.
    """

    text: str
    collectable: bool


def plan_drop(record: ChargeRecord, last_nonce: Nonce, settled: Settlement | None) -> Drop | None:
    """
    What it means to write a charge off.

    @param last_nonce: The contract's for its wallet, as mirrored.
    @param settled: The event of its nonce, if one is stored.
    @return: None when that was done before.
    @raise Refused: It is paid, or a part of another; or it is signed: the chain decides of it.
    """
    charge, seal = record.charge, record.seal
    match record.state:
        case Forgiven():
            return None
        case Open():
            return Drop("it was never signed; nobody collects it any more", collectable=False)
        case Signed() | Parked():
            assert seal is not None
            raise Refused(
                f"{charge.id} is {state_word(record)} with nonce {seal.nonce}: whoever has the "
                "voucher can collect it, so it ends by the chain's answer alone (L5). Wait for "
                "that; a debt that it leaves may be dropped"
            )
        case DeadLettered():
            pass
        case _:
            raise Refused(f"{charge.id} is {state_word(record)}: there is nothing to drop")
    if seal is None:
        return Drop("it was never signed; nobody collects it any more", collectable=False)
    if settled is not None and settled.usage_hash == seal.usage_hash:
        paid = "an unknown part" if settled.paid is None else f"{settled.paid} neuron"
        return Drop(
            f"its nonce {seal.nonce} is settled in {settled.transaction}: {paid} of {seal.fee} "
            "was paid and stays paid, and the books will call all of it written off",
            collectable=True,
        )
    if seal.nonce > last_nonce:
        return Drop(
            f"its nonce {seal.nonce} is unused on chain: whoever has the signed voucher can "
            "still collect it, also after it was written off",
            collectable=True,
        )
    return Drop(f"its nonce {seal.nonce} is used: nobody can collect it", collectable=False)


def plan_release(
    wallet: Address, blocked: str | None, behind: bool, dead: Sequence[ChargeId]
) -> list[str] | None:
    """
    What is worth knowing before a quarantine is lifted.

    @param behind: Whether a letter says that its books are behind the chain.
    @param dead: Its dead-lettered charges.
    @return: None when it is not blocked at all.
    @raise Refused: It is no quarantine, or it must stand.
    """
    if blocked is None:
        return None
    if blocked != QUARANTINED:
        raise Refused(
            f"{wallet} is blocked for {blocked}, which is no quarantine: it ends by itself with a "
            "deposit; a debt can be dropped"
        )
    if behind:
        raise Refused(
            f"the books of {wallet} are behind the chain: run sandbox-billing reconcile --rebuild, "
            f"or drop the letter wallet:{wallet.hex} first if they are in order"
        )
    if not dead:
        return []
    named = ", ".join(sorted(dead)[:3]) + (", …" if len(dead) > 3 else "")
    return [
        f"{len(dead)} dead letters of this wallet stay ({named}): what is to be offered again "
        "is better retried before, for once a later nonce is settled its own is lost"
    ]


def state_word(record: ChargeRecord) -> str:
    """The state, as people write it."""
    word = type(record.state).__name__
    return "dead-lettered" if word == "DeadLettered" else word.lower()

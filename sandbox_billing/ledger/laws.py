"""
The laws of design.md, section 5, by number.

Those that cost nothing run in production; the simulation and the demo check
all that can be checked from where they stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from attrs import frozen

from sandbox_billing.errors import BrokenLaw
from sandbox_billing.ledger.identity import ChargeId, split_from
from sandbox_billing.ledger.money import Neuron, neuron
from sandbox_billing.ledger.voucher import (
    Charge,
    ChargeRecord,
    DeadLettered,
    Forgiven,
    Merged,
    Open,
    Paid,
    Parked,
    Partial,
    Signed,
)


def l1_solvent(native: Neuron, owed: Iterable[Neuron]) -> None:
    """
    The contract holds at least what it owes: balances, refunds, earnings, stakes.

    @param native: neuron held by the contract.
    """
    total = sum(owed)
    if native < total:
        raise BrokenLaw("L1", f"the contract holds {native} and owes {total}")


def standing(records: Iterable[ChargeRecord]) -> Iterator[Charge]:
    """The charges that somebody pays: those that were merged are a part of another."""
    return (record.charge for record in records if not isinstance(record.state, Merged))


def l2_disjoint(charges: Iterable[Charge]) -> None:
    """No second of a sandbox is charged twice: its periods are disjoint and ordered."""
    last: dict[str, int] = {}
    timed = (c for c in charges if c.units > 0)
    for charge in sorted(timed, key=lambda c: (c.sandbox, c.period_start)):
        if charge.period_start < last.get(charge.sandbox, 0):
            raise BrokenLaw("L2", f"{charge.id} overlaps the period before it")
        if charge.units != charge.period_end - charge.period_start:
            raise BrokenLaw("L2", f"{charge.id} counts {charge.units} s in its period")
        last[charge.sandbox] = charge.period_end


def l3_observed(period_end: int, seen_at: int | None) -> None:
    """A charged period ends at or before an observation of C{started}."""
    if seen_at is None or period_end > seen_at:
        raise BrokenLaw("L3", f"a period up to {period_end} was only seen until {seen_at}")


def l5_rising(nonces: Sequence[int]) -> None:
    """Per wallet, nonces rise strictly in submission."""
    if any(a >= b for a, b in pairwise(nonces)):
        raise BrokenLaw("L5", f"nonces do not rise: {list(nonces)}")


def l7_covered(funds: Neuron, loss_cap: Neuron, exposed: Neuron) -> None:
    """At an admission the exposure is at most the funds plus the operator's loss cap."""
    if exposed > funds + loss_cap:
        raise BrokenLaw("L7", f"admitted {exposed} against {funds} + {loss_cap}")


def l12_fair(paid: Neuron, fee: Neuron) -> None:
    """Nobody is charged more than the voucher's fee."""
    if paid > fee:
        raise BrokenLaw("L12", f"{paid} was taken for a fee of {fee}")


_NOTHING = Neuron(0)


@frozen(kw_only=True)
class Books:
    """
    L6 as a sum: every charge is in exactly one column.

    A partly paid charge counts its paid part as settled; the rest is counted once,
    in the state of the charge that collects it, never in its own.  So a merged charge is
    counted once, in the charge it is a part of.

    @ivar charged: All charges but debts, neuron.
    @ivar settled: What moved on-chain.
    @ivar pending: Open or signed.
    @ivar parked: Waiting for an acknowledgement.
    @ivar debt: Open or signed charges that collect an earlier rest.
    @ivar dead: Dead-lettered.
    @ivar forgiven: Written off.
    """

    charged: Neuron
    settled: Neuron
    pending: Neuron
    parked: Neuron
    debt: Neuron
    dead: Neuron
    forgiven: Neuron = _NOTHING

    @property
    def difference(self) -> int:
        """0 when no charge disappeared."""
        owed = self.pending + self.parked + self.debt + self.dead
        return self.charged - (self.settled + owed + self.forgiven)


def l6_books(records: Iterable[ChargeRecord]) -> Books:
    """
    Add up all charges of a wallet, or of everybody.

    @raise BrokenLaw: The columns do not add up to what was charged, or a charge was merged
        into one that does not collect exactly its parts.
    """
    columns = ("charged", "settled", "pending", "parked", "debt", "dead", "forgiven")
    sums = dict.fromkeys(columns, 0)
    parts: dict[ChargeId, int] = {}
    amounts: dict[ChargeId, int] = {}
    for record in records:
        charge, state = record.charge, record.state
        if isinstance(state, Merged):
            parts[state.into] = parts.get(state.into, 0) + charge.amount
            continue
        debt = charge.kind.value == "debt"
        # What was split off before it was signed is a debt, and still a part of it (D2).
        whole = split_from(charge.id) if debt else charge.id
        if whole is not None:
            amounts[whole] = amounts.get(whole, 0) + charge.amount
            sums["charged"] += charge.amount
        match state:
            case Open() | Signed():
                sums["debt" if debt else "pending"] += charge.amount
            case Parked():
                sums["parked"] += charge.amount
            case Paid():
                sums["settled"] += charge.amount
            case Partial():
                sums["settled"] += state.paid
            case DeadLettered():
                sums["dead"] += charge.amount
            case Forgiven():
                sums["forgiven"] += charge.amount
    for into, amount in parts.items():
        if amounts.get(into) != amount:
            raise BrokenLaw("L6", f"{amount} were merged into {into} of {amounts.get(into)}")
    books = Books(**{name: neuron(amount) for name, amount in sums.items()})
    if books.difference != 0:
        raise BrokenLaw("L6", f"{books.difference} neuron of charges are in no column: {books}")
    return books

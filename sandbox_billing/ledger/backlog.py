"""
What is not settled yet, and why: the questions of a price change (K21) and of K13.

Pure: whoever asks has read intents, sessions and charges in this order, the way a
second takes through the house, so that what moves on while they are read is still
met further down.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

from attrs import frozen

from sandbox_billing.ledger.account import Account, Behaviour
from sandbox_billing.ledger.deployed import Purse, plan_flawed
from sandbox_billing.ledger.hold import QUARANTINED, UNDO, Intent
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import Neuron, UnixSeconds, neuron
from sandbox_billing.ledger.voucher import (
    ChargeKind,
    ChargeRecord,
    DeadLettered,
    Forgiven,
    Merged,
    Paid,
    Parked,
    Partial,
)


@frozen(kw_only=True)
class Pause:
    """
    Why nothing new is let in; what runs goes on.

    @ivar since: unix seconds: what ran before is settled or parked before the price changes.
    @ivar reason: For users' eyes.
    @ivar by: Who set it, so that the same may take it over after a crash and lift it.
    """

    since: UnixSeconds
    reason: str
    by: str


class Standing(Enum):
    """Whether a charge could be settled now; if not, it holds up its own wallet alone."""

    DUE = "due"
    PARKED = "parked"
    UNFUNDED = "unfunded"
    DEBT = "debt"
    QUARANTINED = "quarantined"
    FINAL = "final"


@frozen(kw_only=True)
class Claim:
    """
    A charge with what decides whether it could be settled.

    @ivar account: Its wallet's, as mirrored.
    @ivar blocked: Why its wallet may run nothing.
    @ivar in_flight: Whether its wallet is in a batch.
    @ivar behaviour: Of the contract.
    @ivar in_debt: Whether its wallet owes a debt, ripe or not.
    """

    record: ChargeRecord
    account: Account | None
    blocked: str | None
    in_flight: bool
    behaviour: Behaviour = Behaviour.FIXED
    in_debt: bool = False

    @property
    def standing(self) -> Standing:
        """
        Parked: it waits for an acknowledgement, signed or not; unfunded: for a deposit.

        In debt: it waits behind a debt, which closes only its own wallet; else who pays his
        debts in with single neurons would have his other charges grow old for everybody.
        """
        if isinstance(self.record.state, Paid | Partial | DeadLettered | Merged | Forgiven):
            return Standing.FINAL
        if self.blocked == QUARANTINED:
            return Standing.QUARANTINED
        if self.record.charge.kind is ChargeKind.DEBT:
            return Standing.DEBT
        if isinstance(self.record.state, Parked):
            return Standing.PARKED
        if self.in_flight or self.account is None:
            return Standing.DUE
        if self.in_debt:
            return Standing.DEBT
        if not self.account.acknowledged:
            return Standing.PARKED
        if self.behaviour is Behaviour.FLAWED:
            # Held by D1 it waits for its wallet, as it does for a deposit.
            sendable = plan_flawed([Purse.of(self.account)], [self.record], 1)
            return Standing.DUE if sendable else Standing.UNFUNDED
        return Standing.DUE if self.account.collectable > 0 else Standing.UNFUNDED


@frozen(kw_only=True)
class Left:
    """
    What must still be settled of the time before a moment.

    @ivar intents: Calls admitted earlier that may still open a session.
    @ivar sessions: Not charged up to the moment yet.
    @ivar charges: That could be settled and are not.
    @ivar amount: neuron, of those charges.
    @ivar excepted: Count and neuron of what waits for its wallet, or a human, alone.
    @ivar damaged: Charges whose stored form cannot be read.
    @ivar wallets: Whose these sessions and charges are.
    """

    intents: int
    sessions: int
    charges: int
    amount: Neuron
    excepted: tuple[tuple[Standing, int, Neuron], ...]
    damaged: int
    wallets: int = 0

    @property
    def nothing(self) -> bool:
        """Whether everything is settled, or waits for its own wallet."""
        return self.intents == self.sessions == self.charges == 0


def what_is_left(
    before: int,
    *,
    intents: Iterable[Intent],
    sessions: Iterable[Session],
    claims: Sequence[Claim],
    quarantined: frozenset[Address] = frozenset(),
    damaged: int = 0,
) -> Left:
    """
    What stands between now and a change of price.

    A charge counts by its start: one that reaches beyond the moment has seconds before it.
    A create fee counts in any case: its create was let in before.
    A session that has not begun counts, too: it may yet be seen to have run earlier.

    @param before: unix seconds.
    @param quarantined: Wallets whose sessions are not charged before a human has looked.
    """
    mine = [c for c in claims if _begins_before(c.record, before)]
    due = [c for c in mine if c.standing is Standing.DUE]
    excepted = []
    for standing in (Standing.PARKED, Standing.UNFUNDED, Standing.DEBT, Standing.QUARANTINED):
        those = [c for c in mine if c.standing is standing]
        if those:
            excepted.append((standing, len(those), _sum(those)))
    uncharged = [s for s in sessions if s.charged_until < before and s.owner not in quarantined]
    return Left(
        # An order to undo a create opens no session any more.
        intents=sum(1 for intent in intents if intent.action != UNDO),
        sessions=len(uncharged),
        charges=len(due),
        amount=_sum(due),
        excepted=tuple(excepted),
        damaged=damaged,
        wallets=len({s.owner for s in uncharged} | {c.record.charge.owner for c in due}),
    )


def _begins_before(record: ChargeRecord, before: int) -> bool:
    charge = record.charge
    # Under a pause there are only create fees of what was let in before it.
    return charge.period_start < before or charge.kind is ChargeKind.CREATE


def _sum(claims: Iterable[Claim]) -> Neuron:
    return neuron(sum(claim.record.charge.amount for claim in claims))


def overdue(settled_until: int, now: int, *, lock_seconds: int, interval_seconds: int) -> bool:
    """
    Whether users could leave before they have paid (K13).

    @param settled_until: Everything charged earlier that could be settled is.
    @param lock_seconds: LOCK_TIME() of the contract.
    @param interval_seconds: VOUCHER_INTERVAL_SEC: a charge is for so long before it was made.
    """
    return now - settled_until > lock_seconds - interval_seconds

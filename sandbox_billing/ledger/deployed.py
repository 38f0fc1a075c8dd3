"""
What the contract that is deployed today does to a purse, and how users are kept from harm.

It has two flaws (failures.md).  K1: a fee trims the pending refund to what is left of the
balance, though the refund had left the balance already; what is trimmed is nobody's for
ever.  K2: a fee above the balance takes balance and refund whole, however small it is.
C{plan_flawed} sends what sets off neither (D1, D2); C{replay} finds out what really moved,
which that contract does not say (D7).

Tests: L{tests.ledger.test_deployed}, and against the EVM L{tests.adapters.test_memory_deployed}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from sandbox_billing.ledger.account import Account
from sandbox_billing.ledger.identity import Address, ChargeId, Nonce
from sandbox_billing.ledger.money import Neuron, UnixSeconds, neuron
from sandbox_billing.ledger.voucher import ChargeRecord


@frozen
class Purse:
    """
    A wallet's money with the provider, as that contract keeps it.

    @ivar balance: neuron, without what was asked back.
    @ivar pending: neuron that was asked back.
    """

    balance: int
    pending: int

    @classmethod
    def of(cls, account: Account) -> Purse:
        """As it was read."""
        return cls(account.balance, account.pending_refund)


@frozen(kw_only=True)
class Taken:
    """
    What a voucher does to a purse.

    @ivar paid: neuron that went to the provider.
    @ivar lost: neuron of the refund that is nobody's any more (K1).
    @ivar excess: neuron that the provider got beyond the fee (K2).
    """

    after: Purse
    paid: int
    lost: int = 0
    excess: int = 0


def take(purse: Purse, fee: int) -> Taken:
    """What settling a voucher does there: the rule of C{DeployedServing._take}."""
    if fee <= purse.balance:
        balance = purse.balance - fee
        pending = min(purse.pending, balance)
        return Taken(after=Purse(balance, pending), paid=fee, lost=purse.pending - pending)
    paid = purse.balance + purse.pending
    return Taken(after=Purse(0, 0), paid=paid, excess=max(0, paid - fee))


# --- what is sent -------------------------------------------------------------------


@frozen
class Sendable:
    """
    A charge that may go out, and for how much.

    @ivar fee: The charge's amount; less where only so much is there (D2).
    """

    record: ChargeRecord
    fee: Neuron


def plan_flawed(
    purses: Sequence[Purse], records: Sequence[ChargeRecord], limit: int, accepted_loss: int = 0
) -> tuple[Sendable, ...]:
    """
    What may be sent of a wallet so that neither flaw is set off on any purse (D1, D2).

    What is sealed goes out in the order of its nonces or not at all, and nothing new before
    it.  Of the rest whatever passes: it has no nonces yet.  What does not pass is held,
    unsigned, until the refund is withdrawn or made smaller.

    @param purses: The wallet's, as confirmed; and as it is in the newest block, which can
        only hold more back.
    @param records: In the order they would go out, sealed ones first.
    @param accepted_loss: neuron of users' refunds that the operator accepts to be lost.
    """
    state = _State(tuple(purses), accepted_loss)
    sent: list[Sendable] = []
    waiting = list(records)
    while len(sent) < limit:
        found = state.first(waiting)
        if found is None:
            break
        sent.append(found)
        waiting.remove(found.record)
        state = state.after(found.fee)
    return tuple(sent)


def first_harmful(purse: Purse, fees: Sequence[int], accepted_loss: int = 0) -> int | None:
    """
    The place of the first of a wallet's fees, in order, that sets off a flaw; None for none.

    What moves nothing is harmless: somebody else may have settled it already.
    """
    for place, fee in enumerate(fees):
        taken = take(purse, fee)
        accepted_loss -= taken.lost
        if taken.excess or accepted_loss < 0:
            return place
        purse = taken.after
    return None


@frozen
class _State:
    purses: tuple[Purse, ...]
    accepted: int

    def first(self, waiting: Sequence[ChargeRecord]) -> Sendable | None:
        for record in waiting:
            fee = self.fee(record)
            if fee is not None:
                return Sendable(record, fee)
            if record.seal is not None:
                return None
        return None

    def fee(self, record: ChargeRecord) -> Neuron | None:
        """What a charge may go out for now; None: it is held."""
        whole = record.charge.amount
        if record.seal is None and not any(purse.pending for purse in self.purses):
            # D2: shrunk to what is there; the rest becomes a debt.
            whole = neuron(min(whole, *(purse.balance for purse in self.purses)))
        # With a refund pending it must fit whole; or all there is, is owed.
        return whole if whole > 0 and self._harmless(whole) else None

    def _harmless(self, fee: int) -> bool:
        taken = [take(purse, fee) for purse in self.purses]
        return all(t.paid > 0 and t.excess == 0 and t.lost <= self.accepted for t in taken)

    def after(self, fee: int) -> _State:
        taken = [take(purse, fee) for purse in self.purses]
        spent = max(t.lost for t in taken)
        return _State(tuple(t.after for t in taken), self.accepted - spent)


# --- what has happened ----------------------------------------------------------------


@frozen(kw_only=True)
class Move:
    """
    Something that moved a wallet's money.

    @ivar name: Of the event.
    @ivar amount: neuron, as the event says; a voucher's fee.
    @ivar nonce: Of a voucher; None for everything else.
    @ivar in_full: Whether its status was SUCCESS.
    """

    name: str
    amount: int
    nonce: Nonce | None = None
    in_full: bool = False


def replay(before: Purse, moves: Sequence[Move], after: Purse) -> Mapping[Nonce, Taken] | None:
    """
    What each voucher of a block really did (D7).

    @param before: At the parent block.
    @param moves: All of the block that concern the wallet, in log order.
    @param after: At the block.
    @return: None when they do not lead from one to the other: nothing is known then.
    """
    purse = before
    found: dict[Nonce, Taken] = {}
    for move in moves:
        everything = purse.balance + purse.pending
        match move.name:
            case "Deposited":
                purse = Purse(purse.balance + move.amount, purse.pending)
            case "RefundRequested" if move.amount <= everything:
                purse = Purse(everything - move.amount, move.amount)
            case "RefundWithdrawn" if move.amount == purse.pending:
                purse = Purse(purse.balance, 0)
            case "VoucherSettled" if move.nonce is not None:
                taken = take(purse, move.amount)
                if move.in_full != (move.amount <= purse.balance):
                    return None
                found[move.nonce], purse = taken, taken.after
            case "TEESignerAcknowledged":
                pass
            case _:
                return None
    return found if purse == after else None


@frozen(kw_only=True)
class Race:
    """
    A flaw that was set off all the same: the wallet's state moved between our last look at
    it and our transaction.  Kept for ever, counted apart from the laws.

    @ivar lost: neuron of the wallet's refund that is nobody's any more (K1).
    @ivar credit: neuron that the provider got beyond the fee, and owes the wallet (K2).
    @ivar noted_at: unix seconds.
    """

    charge: ChargeId
    wallet: Address
    nonce: Nonce
    lost: Neuron
    credit: Neuron
    transaction: str
    block: int
    noted_at: UnixSeconds

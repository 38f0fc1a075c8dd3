"""
Vouchers that share a transaction.

    signed (no attempt) -> sent (an attempt is stored) -> mined -> resolved

A time-out while sending changes nothing here: the attempt is stored before
it is sent, and whether it arrived is read from the chain.
"""

from __future__ import annotations

from attrs import evolve, field, frozen

from sandbox_billing.errors import BrokenLaw
from sandbox_billing.ledger.identity import Address, BatchId, ChargeId
from sandbox_billing.ledger.money import Neuron, UnixSeconds


@frozen(kw_only=True)
class Attempt:
    """
    One signed transaction for a batch: everything needed to send it again.

    @ivar sender: The account that signed it and pays for it: our signer, when it was made.
    @ivar account_nonce: That account's transaction count it was made for.
    @ivar gas_limit: Gas units.
    @ivar fee_cap: neuron per gas.
    @ivar raw: The transaction's bytes, hex.
    @ivar hash: Its hash, hex.
    @ivar recorded_at: unix seconds; stored before the first broadcast (T-2).
    """

    sender: Address
    account_nonce: int
    gas_limit: int
    fee_cap: Neuron
    raw: str = field(repr=False)
    hash: str
    recorded_at: UnixSeconds


@frozen(kw_only=True)
class Batch:
    """
    @ivar wallets: Whose vouchers it holds; none of them may be in another batch.
    @ivar charges: In the order they are submitted; per wallet by rising nonce (K7).
    @ivar attempts: Newest last; all of one sender with the same account nonce (T-1).
    """

    id: BatchId
    wallets: tuple[Address, ...]
    charges: tuple[ChargeId, ...]
    created_at: UnixSeconds
    attempts: tuple[Attempt, ...] = ()

    def with_attempt(self, attempt: Attempt) -> Batch:
        """
        After a change of the key there may be attempts of two senders.  Both can be mined;
        the vouchers' own nonces see to it that one of them settles a voucher at most.

        @raise BrokenLaw: Another account nonce of the same sender: both could be mined.
        """
        used = {a.account_nonce for a in self.attempts if a.sender == attempt.sender}
        if used - {attempt.account_nonce}:
            raise BrokenLaw("L10", f"batch {self.id} would be sent under two account nonces")
        return evolve(self, attempts=(*self.attempts, attempt))

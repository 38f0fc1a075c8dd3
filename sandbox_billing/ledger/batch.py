"""
Vouchers that share a transaction: C{STAGES} is what becomes of a batch, and
C{docs/settlement.md} draws it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from attrs import evolve, field, frozen

from sandbox_billing.errors import BrokenLaw
from sandbox_billing.ledger.identity import Address, BatchId, ChargeId
from sandbox_billing.ledger.money import Neuron, UnixSeconds


class Stage(Enum):
    """
    How far a batch has come.

    C{SENT} is the state that failures.md calls UNKNOWN, too: that a node took a transaction,
    that it did not answer, and that we died before we heard it are one thing to us, for only
    a receipt ends any of them.
    """

    SIGNED = "signed"
    SENT = "sent"
    MINED = "mined"
    ENDED = "ended"


STAGES: Mapping[Stage, Mapping[Stage, str]] = MappingProxyType(
    {
        Stage.SIGNED: {
            Stage.SIGNED: "halved: too much for a block, or one voucher in it reverts",
            Stage.SENT: "an attempt is stored and on disk, then broadcast",
            Stage.ENDED: "its one voucher reverts and is dead-lettered; nothing was sent",
        },
        Stage.SENT: {
            Stage.SENT: "the same bytes again; or more for gas, or nothing, on its account nonce",
            Stage.MINED: "one of its attempts has a receipt",
            Stage.SIGNED: "somebody else's transaction used its account nonce up",
        },
        Stage.MINED: {
            Stage.MINED: "the wallets of which all is known have their outcomes; the rest waits",
            Stage.SENT: "a reorganisation took the receipt away",
            Stage.ENDED: "the receipt is CONFIRMATIONS deep: every voucher has its outcome",
        },
        Stage.ENDED: {},
    }
)
"""From a stage to those that may follow, and what has happened then."""


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
    @ivar empty: Whether it settles nothing: it only uses its account nonce up, for a gap, or
        so that an earlier attempt with vouchers that would do harm by now is never mined.
    """

    sender: Address
    account_nonce: int
    gas_limit: int
    fee_cap: Neuron
    raw: str = field(repr=False)
    hash: str
    recorded_at: UnixSeconds
    empty: bool = field(default=False, metadata={"added": True, "rare": True})


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

    def stage(self, *, mined: bool = False) -> Stage:
        """
        @param mined: Whether one of the attempts has a receipt now.
        """
        if not self.attempts:
            return Stage.SIGNED
        return Stage.MINED if mined else Stage.SENT

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

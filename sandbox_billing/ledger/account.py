"""What the chain says of wallets and of the provider, at a named block."""

from __future__ import annotations

from enum import Enum

from attrs import field, frozen

from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.rating import Prices


class Behaviour(Enum):
    """
    Whether the contract does to money what it should (failures.md, K1 and K2).

    What is not known to be fixed is flawed: then users are protected (D1, D2, D6, D7).
    """

    FIXED = "fixed"
    FLAWED = "flawed"


@frozen(kw_only=True)
class BlockRef:
    """
    A block, by number and by hash: the same number may come to mean another block.

    @ivar hash: C{0x} and 64 hex digits.
    @ivar timestamp: unix seconds, by the chain's clock, never compared with ours.
    """

    number: int
    hash: str
    timestamp: UnixSeconds


@frozen(kw_only=True)
class Account:
    """
    A wallet's account with our provider.

    @ivar balance: neuron; never includes a pending refund.
    @ivar pending_refund: neuron; on our contract a fee may still draw on it.
    @ivar refund_unlock_at: unix seconds by the chain's clock; 0 without a request.
    @ivar acknowledged: Whether the current signer version is.
    @ivar last_nonce: The last voucher nonce the contract accepted.
    @ivar block: The block all of this was read at.
    """

    wallet: Address
    balance: Neuron
    pending_refund: Neuron
    refund_unlock_at: UnixSeconds
    acknowledged: bool
    last_nonce: Nonce
    block: int

    @property
    def collectable(self) -> Neuron:
        """What a fee can draw on: the balance, then the pending refund (K2)."""
        return Neuron(self.balance + self.pending_refund)

    def spendable(self, behaviour: Behaviour) -> Neuron:
        """
        What new use can rest on: the balance; a pending refund is never counted.

        On a flawed contract a fee must leave as much of the balance as is pending (D1), so
        that what is beyond cannot be collected before the refund is withdrawn; and a larger
        request takes it away for good.
        """
        if behaviour is Behaviour.FIXED:
            return self.balance
        return Neuron(max(0, self.balance - self.pending_refund))


@frozen(kw_only=True)
class ServiceRecord:
    """A provider's registration: prices, and who signs its vouchers."""

    provider: Address
    url: str
    signer: Address
    prices: Prices
    signer_version: int


@frozen(kw_only=True)
class Mirror:
    """
    The head of our stored copy of the chain.

    @ivar block: All mirrored accounts were true at this block.
    @ivar service: Our registration; None when there is none.
    @ivar version_changed_at: When we saw the signer version rise, unix seconds by our clock:
        wallets have C{ACK_GRACE_SEC} from then to acknowledge again; None when it never did.
    @ivar leaving_at: When the provider may leave, by the chain's clock; None when it stays.
    @ivar updated_at: When the step to this block was stored, unix seconds by our clock.
    @ivar behaviour: Of the contract's code at that block.
    """

    block: BlockRef
    service: ServiceRecord | None
    leaving_at: UnixSeconds | None
    version_changed_at: UnixSeconds | None
    updated_at: UnixSeconds
    behaviour: Behaviour = field(default=Behaviour.FLAWED, metadata={"added": True})


@frozen(kw_only=True)
class Settlement:
    """
    A C{VoucherSettled} event, with the C{VoucherShortfall} that went before it.

    @ivar status: 0 paid in full, 1 insufficient.
    @ivar paid: neuron that moved; None when the contract does not say (a shortfall
        without its event: the deployed contract).
    """

    user: Address
    provider: Address
    fee: Neuron
    usage_hash: str
    nonce: Nonce
    status: int
    paid: Neuron | None
    transaction: str
    block: int
    log_index: int
    timestamp: UnixSeconds

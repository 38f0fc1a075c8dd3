"""
What the settlement contract does, without an EVM: state, calls, events.

The rules are those of C{contracts/src/SandboxServing.sol}, in its order of checks.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, evolve, field, frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import Line
from sandbox_billing.ledger.account import Behaviour, ServiceRecord
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import neuron
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.ledger.settlement import (
    INSUFFICIENT_BALANCE,
    INVALID_NONCE,
    INVALID_SIGNATURE,
    NOT_ACKNOWLEDGED,
    PROVIDER_MISMATCH,
    SUCCESS,
)
from sandbox_billing.signing.eip712 import EIP712Domain, VoucherFields, digest
from sandbox_billing.signing.key import recover


LOCK_SECONDS = 7_200
"""LOCK_TIME: how long a refund, and a provider who leaves, waits."""


class Reverted(Exception):
    """The call changed nothing; caught where its block is mined."""


@frozen(kw_only=True)
class Slot:
    """
    What is stored for one (provider, user).

    @ivar acknowledged: A version; 0 is none.
    @ivar acknowledged_first: Of the deployed contract: whether version 0 is acknowledged.
    """

    balance: int = 0
    pending: int = 0
    unlock_at: int = 0
    acknowledged: int = 0
    last_nonce: int = 0
    acknowledged_first: bool = False


@frozen
class Event:
    """A log, with its fields by name."""

    name: str
    provider: Address
    user: Address | None = None
    fields: dict[str, int | str] = field(factory=dict)


@define(kw_only=True)
class ContractState:
    """
    All storage of the contract.

    @ivar services: Registrations that stand.
    @ivar versions: The signer version of everybody who ever registered; outlives leaving.
    @ivar earnings: Paid and not withdrawn, by provider.
    @ivar native: neuron the contract holds.
    @ivar behaviour: Whose rules it keeps: ours, or those of the one that is deployed today
        (L{memory.deployed}); an upgrade changes it.
    @ivar nobodys: neuron the deployed one holds and owes nobody (K1, K9).
    """

    slots: dict[tuple[Address, Address], Slot] = field(factory=dict)
    services: dict[Address, ServiceRecord] = field(factory=dict)
    versions: dict[Address, int] = field(factory=dict)
    stakes: dict[Address, int] = field(factory=dict)
    leaving: dict[Address, int] = field(factory=dict)
    earnings: dict[Address, int] = field(factory=dict)
    native: int = 0
    behaviour: Behaviour = Behaviour.FIXED
    nobodys: int = 0

    def copy(self) -> ContractState:
        """The values are frozen, so the dictionaries alone are copied."""
        return ContractState(
            slots=dict(self.slots),
            services=dict(self.services),
            versions=dict(self.versions),
            stakes=dict(self.stakes),
            leaving=dict(self.leaving),
            earnings=dict(self.earnings),
            native=self.native,
            behaviour=self.behaviour,
            nobodys=self.nobodys,
        )

    def slot(self, provider: Address, user: Address) -> Slot:
        """An empty one where nothing is stored."""
        return self.slots.get((provider, user), Slot())

    def acknowledged(self, provider: Address, user: Address) -> bool:
        """Whether the user acknowledged the signer version that is registered now."""
        service, slot = self.services.get(provider), self.slot(provider, user)
        if service is None:
            return False
        if service.signer_version == 0:
            return slot.acknowledged_first
        return slot.acknowledged == service.signer_version

    def owed(self) -> int:
        """Balances, refunds, earnings and stakes: what L1 compares C{native} with."""
        users = sum(slot.balance + slot.pending for slot in self.slots.values())
        return users + sum(self.earnings.values()) + sum(self.stakes.values())


@frozen
class Contract:
    """
    The contract while one transaction runs in it.

    @ivar state: Changed in place; the caller keeps a copy for what reverts.
    @ivar now: The block's timestamp.
    @ivar events: What was logged so far, in order.
    """

    domain: EIP712Domain
    state: ContractState
    now: int
    events: list[Event] = field(factory=list)

    def keep(self, provider: Address, user: Address, slot: Slot) -> None:
        """Store a slot."""
        self.state.slots[(provider, user)] = slot

    def log(
        self, name: str, provider: Address, user: Address | None = None, **fields: int | str
    ) -> None:
        """Emit an event."""
        self.events.append(Event(name, provider, user, fields))

    # users

    def deposit(self, user: Address, provider: Address, amount: int) -> None:
        """Anybody's money, to a user's balance."""
        if amount <= 0:
            raise Reverted("ZeroAmount")
        slot = self.state.slot(provider, user)
        self.keep(provider, user, evolve(slot, balance=slot.balance + amount))
        self.state.native += amount
        self.log("Deposited", provider, user, amount=amount)

    def request_refund(self, user: Address, provider: Address, amount: int) -> None:
        """Set the pending refund; 0 takes the request back."""
        slot = self.state.slot(provider, user)
        available = slot.balance + slot.pending
        if amount > available:
            raise Reverted("InsufficientFunds")
        unlock_at = self.now + LOCK_SECONDS if amount else 0
        after = evolve(slot, balance=available - amount, pending=amount, unlock_at=unlock_at)
        self.keep(provider, user, after)
        self.log("RefundRequested", provider, user, amount=amount)

    def withdraw_refund(self, user: Address, provider: Address) -> None:
        """Pay out what is unlocked."""
        slot = self.state.slot(provider, user)
        if not slot.pending:
            raise Reverted("NothingToWithdraw")
        if self.now < slot.unlock_at:
            raise Reverted("RefundLocked")
        self.keep(provider, user, evolve(slot, pending=0, unlock_at=0))
        self.state.native -= slot.pending
        self.log("RefundWithdrawn", provider, user, amount=slot.pending)

    def acknowledge(self, user: Address, provider: Address, acknowledged: bool) -> None:
        """The version that is registered now, or none."""
        service = self.state.services.get(provider)
        if acknowledged and service is None:
            raise Reverted("NotRegistered")
        version = service.signer_version if acknowledged and service is not None else 0
        slot = self.state.slot(provider, user)
        self.keep(provider, user, evolve(slot, acknowledged=version))
        self.log("TEESignerAcknowledged", provider, user, acknowledged=int(acknowledged))

    # providers

    def register(
        self, provider: Address, signer: Address, prices: Prices, stake: int, url: str
    ) -> None:
        """Register, or update; another signer or price raises the version."""
        state, old = self.state, self.state.services.get(provider)
        if old is not None and stake:
            raise Reverted("UnexpectedValue")
        raises = old is None or (old.signer, old.prices) != (signer, prices)
        version = state.versions.get(provider, 0) + raises
        state.versions[provider] = version
        state.services[provider] = ServiceRecord(
            provider=provider, url=url, signer=signer, prices=prices, signer_version=version
        )
        state.stakes[provider] = state.stakes.get(provider, 0) + stake
        state.native += stake
        self.log("ServiceUpdated", provider, version=version)

    def announce_leave(self, provider: Address) -> None:
        """The provider may leave after the lock."""
        if provider not in self.state.services:
            raise Reverted("NotRegistered")
        if provider in self.state.leaving:
            raise Reverted("AlreadyLeaving")
        self.state.leaving[provider] = self.now + LOCK_SECONDS
        self.log("ProviderLeaving", provider, leave_at=self.now + LOCK_SECONDS)

    def leave(self, provider: Address) -> None:
        """End the registration; its version is remembered."""
        leave_at = self.state.leaving.get(provider)
        if leave_at is None:
            raise Reverted("NotLeaving")
        if self.now < leave_at:
            raise Reverted("LeaveLocked")
        del self.state.leaving[provider]
        del self.state.services[provider]
        stake = self.state.stakes.pop(provider, 0)
        self.state.native -= stake
        self.log("ProviderLeft", provider, stake=stake)

    # settlement

    def settle(self, sender: Address, provider: Address, lines: Sequence[Line]) -> tuple[int, ...]:
        """settleFeesWithTEE: a status for each voucher."""
        return tuple(self._settle(sender, provider, line) for line in lines)

    def _settle(self, sender: Address, provider: Address, line: Line) -> int:
        service = self.state.services.get(provider)
        if service is None or sender not in (provider, service.signer):
            return PROVIDER_MISMATCH
        slot = self.state.slot(provider, line.user)
        if slot.acknowledged != service.signer_version:
            return NOT_ACKNOWLEDGED
        if not slot.last_nonce < line.nonce < 2**64:
            return INVALID_NONCE
        if signer_of(self.domain, provider, line) != service.signer:
            return INVALID_SIGNATURE
        from_balance = min(line.fee, slot.balance)
        from_refund = min(line.fee - from_balance, slot.pending)
        paid = from_balance + from_refund
        pending = slot.pending - from_refund
        after = evolve(
            slot,
            balance=slot.balance - from_balance,
            pending=pending,
            unlock_at=slot.unlock_at if pending else 0,
            last_nonce=line.nonce,
        )
        self.keep(provider, line.user, after)
        self.state.earnings[provider] = self.state.earnings.get(provider, 0) + paid
        status = SUCCESS
        if paid < line.fee:
            status = INSUFFICIENT_BALANCE
            self.log("VoucherShortfall", provider, line.user, nonce=line.nonce, paid=paid)
        self.log(
            "VoucherSettled",
            provider,
            line.user,
            fee=line.fee,
            nonce=line.nonce,
            status=status,
            paid=neuron(paid),
            usage_hash=line.usage_hash,
        )
        return status


def signer_of(domain: EIP712Domain, provider: Address, line: Line) -> Address | None:
    """Whose signature a voucher carries; None for one that is none."""
    fields = VoucherFields(
        user=line.user,
        provider=provider,
        usage_hash=bytes.fromhex(line.usage_hash[2:]),
        nonce=line.nonce,
        total_fee=line.fee,
    )
    try:
        return recover(digest(domain, fields), bytes.fromhex(line.signature[2:]))
    except BadInput:
        return None

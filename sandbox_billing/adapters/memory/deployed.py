"""
What the contract that is deployed today does, without an EVM: ours, but for its flaws.

The rules are those of C{contracts/test/deployed/DeployedServing.sol}; a differential test
holds them to it (L{tests.adapters.test_memory_deployed}).
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, frozen

from sandbox_billing.adapters.memory.contract import (
    LOCK_SECONDS,
    Contract,
    ContractState,
    Event,
    Reverted,
    signer_of,
)
from sandbox_billing.interfaces import Line
from sandbox_billing.ledger.account import Behaviour, ServiceRecord
from sandbox_billing.ledger.deployed import Purse, take
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
from sandbox_billing.signing.eip712 import EIP712Domain


@frozen
class DeployedContract(Contract):
    """The deployed one while a transaction runs in it."""

    # users

    def request_refund(self, user: Address, provider: Address, amount: int) -> None:
        """Cannot be taken back, only replaced."""
        if not amount:
            raise Reverted("zero amount")
        slot = self.state.slot(provider, user)
        available = slot.balance + slot.pending
        if amount > available:
            raise Reverted("insufficient balance")
        after = evolve(
            slot,
            balance=available - amount,
            pending=amount,
            unlock_at=self.now + LOCK_SECONDS,
        )
        self.keep(provider, user, after)
        self.log("RefundRequested", provider, user, amount=amount)

    def withdraw_refund(self, user: Address, provider: Address) -> None:
        """Its moment stays where it was."""
        slot = self.state.slot(provider, user)
        if not slot.pending:
            raise Reverted("no pending refund")
        if self.now < slot.unlock_at:
            raise Reverted("refund locked")
        self.keep(provider, user, evolve(slot, pending=0))
        self.state.native -= slot.pending
        self.log("RefundWithdrawn", provider, user, amount=slot.pending)

    def acknowledge(self, user: Address, provider: Address, acknowledged: bool) -> None:
        """Yes or no; version 0 has a yes of its own."""
        service = self.state.services.get(provider)
        if service is None:
            raise Reverted("provider not found")
        slot = self.state.slot(provider, user)
        if not acknowledged:
            slot = evolve(slot, acknowledged_first=False, acknowledged=0)
        elif service.signer_version == 0:
            slot = evolve(slot, acknowledged_first=True)
        else:
            slot = evolve(slot, acknowledged=service.signer_version)
        self.keep(provider, user, slot)
        self.log("TEESignerAcknowledged", provider, user, acknowledged=int(acknowledged))

    # providers

    def register(
        self, provider: Address, signer: Address, prices: Prices, stake: int, url: str
    ) -> None:
        """Versions start at 0; what comes with an update is nobody's (K9)."""
        state, old = self.state, self.state.services.get(provider)
        if old is None:
            version = 0
            state.stakes[provider] = stake
        else:
            changed = (old.signer, old.prices) != (signer, prices)
            version = old.signer_version + changed
            state.nobodys += stake
        state.services[provider] = ServiceRecord(
            provider=provider, url=url, signer=signer, prices=prices, signer_version=version
        )
        state.native += stake
        self.log("ServiceUpdated", provider, version=version)

    def announce_leave(self, provider: Address) -> None:
        """There is no such function."""
        raise Reverted("no reason given")

    def leave(self, provider: Address) -> None:
        """Nor this."""
        raise Reverted("no reason given")

    # settlement

    def settle(self, sender: Address, provider: Address, lines: Sequence[Line]) -> tuple[int, ...]:
        """By anybody (K8)."""
        return tuple(self._settle_line(provider, line) for line in lines)

    def _settle_line(self, provider: Address, line: Line) -> int:
        service = self.state.services.get(provider)
        if service is None:
            return PROVIDER_MISMATCH
        if not self.state.acknowledged(provider, line.user):
            return NOT_ACKNOWLEDGED
        slot = self.state.slot(provider, line.user)
        if line.nonce <= slot.last_nonce:
            return INVALID_NONCE
        if signer_of(self.domain, provider, line) != service.signer:
            return INVALID_SIGNATURE
        status = SUCCESS if line.fee <= slot.balance else INSUFFICIENT_BALANCE
        taken = take(Purse(slot.balance, slot.pending), line.fee)
        after = evolve(
            slot,
            balance=taken.after.balance,
            pending=taken.after.pending,
            last_nonce=line.nonce,
        )
        self.keep(provider, line.user, after)
        self.state.earnings[provider] = self.state.earnings.get(provider, 0) + taken.paid
        self.state.nobodys += taken.lost
        # K3: the fee, and not what moved.
        said = {"paid": neuron(line.fee)} if status == SUCCESS else {}
        self.log(
            "VoucherSettled",
            provider,
            line.user,
            fee=line.fee,
            nonce=line.nonce,
            status=status,
            usage_hash=line.usage_hash,
            **said,
        )
        return status


def contract_at(
    domain: EIP712Domain, state: ContractState, now: int, events: list[Event] | None = None
) -> Contract:
    """The contract that a state's proxy runs."""
    kind = DeployedContract if state.behaviour is Behaviour.FLAWED else Contract
    return kind(domain, state, now, [] if events is None else events)

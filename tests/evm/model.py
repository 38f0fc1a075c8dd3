"""
What C{SandboxServing} and its beacon do, in Python: pure, no EVM.

Written from wire.md §3 and design.md §8, not from the Solidity: one function per
function, with its events in order and its reverts by name and arguments.  A state and
a message make an L{Outcome}; a revert leaves the state as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import Factory, define, evolve

from tests.evm.model_state import (
    ZERO,
    Account,
    Call,
    CallsBack,
    Claim,
    Event,
    Message,
    Offer,
    Outcome,
    Ownership,
    Refuses,
    Revert,
    Signature,
    State,
)


LOCK = 7200
"""C{LOCK_TIME()}, seconds."""

MAX_NONCE = 2**64 - 1
MAX_BALANCE = 2**128 - 1
OVERFLOW = 0x11
"""Solidity's panic code."""

(
    SUCCESS,
    INSUFFICIENT_BALANCE,
    PROVIDER_MISMATCH,
    NOT_ACKNOWLEDGED,
    INVALID_NONCE,
    INVALID_SIGNATURE,
) = range(6)


def perform(state: State, message: Message) -> Outcome:
    """What a message does; the sender must own its value."""
    turn = _Turn(state, message)
    try:
        returned = turn.run()
    except _Reverted as reverted:
        return Outcome(state=state, revert=reverted.args[0])
    return Outcome(state=turn.state, returned=returned, events=tuple(turn.events))


def preview(state: State, claims: tuple[Claim, ...], chain: int) -> tuple[int, ...]:
    """What C{previewSettlementResults} answers: as if the sender might submit them all."""
    call = Call(state.serving, "settleFeesWithTEE", (claims,))
    turn = _Turn(state, Message(call=call, sender=ZERO, value=0, now=0, chain=chain))
    return tuple(turn.settle(claim, may=True) for claim in claims)


# -------------------------------------------------------------------- the functions


class _Reverted(Exception):
    """Carries a L{Revert}."""


def _revert(name: str, *arguments: Any) -> _Reverted:
    return _Reverted(Revert(name=name, arguments=arguments))


def _narrow(value: int) -> int:
    """OpenZeppelin's C{SafeCast.toUint128}."""
    if value > MAX_BALANCE:
        raise _revert("SafeCastOverflowedUintDowncast", 128, value)
    return value


@define
class _Turn:
    """One message being carried out."""

    state: State
    message: Message
    events: list[Event] = Factory(list)

    @property
    def sender(self) -> bytes:
        return self.message.sender

    @property
    def now(self) -> int:
        return self.message.now

    def run(self) -> tuple[int, ...] | None:
        call, value = self.message.call, self.message.value
        functions = _BEACON if call.to == self.state.beacon else _SERVING
        function = functions.get(call.name)
        if function is None or (value and call.name not in _PAYABLE):
            raise _revert("")
        self.state = self.state.pay(self.sender, call.to, value)
        returned: tuple[int, ...] | None = function(self, *call.arguments)
        return returned

    # ------------------------------------------------------------------- helpers

    def emit(self, name: str, *arguments: Any) -> None:
        emitter = self.message.call.to
        self.events.append(Event(emitter=emitter, name=name, arguments=arguments))

    def put_account(self, user: bytes, provider: bytes, **changes: Any) -> None:
        changed = evolve(self.state.account(user, provider), **changes)
        accounts = {**self.state.accounts, (user, provider): changed}
        self.state = evolve(self.state, accounts=accounts)

    def put_provider(self, address: bytes, **changes: Any) -> None:
        changed = evolve(self.state.provider(address), **changes)
        self.state = evolve(self.state, providers={**self.state.providers, address: changed})

    def pay_out(self, receiver: bytes, amount: int) -> None:
        """The last step of each payout, so that a receiver who calls back finds it done."""
        if receiver == ZERO:
            raise _revert("ZeroAddress")
        kind = self.state.receivers.get(receiver)
        if isinstance(kind, Refuses):
            raise _revert("PaymentFailed", receiver)
        self.state = self.state.pay(self.state.serving, receiver, amount)
        if isinstance(kind, CallsBack):
            for call, value in kind.calls:
                again = evolve(self.message, call=call, sender=receiver, value=value)
                outcome = perform(self.state, again)
                self.state = outcome.state
                self.events.extend(outcome.events)

    # --------------------------------------------------------------------- users

    def initialize(self, stake: int) -> None:
        """Neither again through the proxy nor ever on an implementation."""
        raise _revert("InvalidInitialization")

    def deposit(self, recipient: bytes, provider: bytes) -> None:
        value = self.message.value
        if ZERO in (recipient, provider):
            raise _revert("ZeroAddress")
        if not value:
            raise _revert("ZeroAmount")
        balance = self.state.account(recipient, provider).balance + _narrow(value)
        if balance > MAX_BALANCE:
            raise _revert("Panic", OVERFLOW)
        self.put_account(recipient, provider, balance=balance)
        self.emit("Deposited", recipient, provider, self.sender, value)

    def request_refund(self, provider: bytes, amount: int) -> None:
        account = self.state.account(self.sender, provider)
        available = account.balance + account.pending
        if amount > available:
            raise _revert("InsufficientFunds", available, amount)
        unlock_at = self.now + LOCK if amount else 0
        self.put_account(
            self.sender,
            provider,
            balance=_narrow(available - amount),
            pending=_narrow(amount),
            unlock_at=unlock_at,
        )
        self.emit("RefundRequested", self.sender, provider, amount, unlock_at)

    def withdraw_refund(self, provider: bytes) -> None:
        self.withdraw_refund_to(provider, self.sender)

    def withdraw_refund_to(self, provider: bytes, receiver: bytes) -> None:
        account = self.state.account(self.sender, provider)
        if not account.pending:
            raise _revert("NothingToWithdraw")
        if self.now < account.unlock_at:
            raise _revert("RefundLocked", account.unlock_at)
        self.put_account(self.sender, provider, pending=0, unlock_at=0)
        self.emit("RefundWithdrawn", self.sender, provider, account.pending)
        self.pay_out(receiver, account.pending)

    def acknowledge(self, provider: bytes, acknowledged: bool) -> None:
        current = self.state.provider(provider)
        if acknowledged and not current.registered:
            raise _revert("NotRegistered", provider)
        version = current.version if acknowledged else 0
        self.put_account(self.sender, provider, acknowledged=version)
        self.emit("TEESignerAcknowledged", self.sender, provider, acknowledged)

    def acknowledge_version(self, provider: bytes, expected: int) -> None:
        current = self.state.provider(provider).version
        if expected != current:
            raise _revert("SignerVersionMismatch", expected, current)
        self.acknowledge(provider, True)

    # ----------------------------------------------------------------- providers

    def add_or_update_service(
        self, url: str, signer: bytes, cpu: int, create_fee: int, memory: int
    ) -> None:
        value, before = self.message.value, self.state.provider(self.sender)
        offer = Offer(url=url, cpu=cpu, create_fee=create_fee, memory=memory)
        if signer == ZERO:
            raise _revert("ZeroAddress")
        if before.registered:
            if value:
                raise _revert("UnexpectedValue", value)
            same = before.signer == signer and evolve(before.offer, url=url) == offer
            version, stake = before.version + (not same), before.stake
        else:
            if value != self.state.required_stake:
                raise _revert("WrongStake", self.state.required_stake, value)
            version, stake = before.version + 1, value
        self.put_provider(self.sender, signer=signer, offer=offer, version=version, stake=stake)
        self.emit("ServiceUpdated", self.sender, url, signer, version)

    def withdraw_earnings(self) -> None:
        self.withdraw_earnings_to(self.sender)

    def withdraw_earnings_to(self, receiver: bytes) -> None:
        amount = self.state.provider(self.sender).earnings
        if not amount:
            raise _revert("NothingToWithdraw")
        self.put_provider(self.sender, earnings=0)
        self.emit("EarningsWithdrawn", self.sender, amount)
        self.pay_out(receiver, amount)

    def announce_leave(self) -> None:
        provider = self.state.provider(self.sender)
        if not provider.registered:
            raise _revert("NotRegistered", self.sender)
        if provider.leaving_at:
            raise _revert("AlreadyLeaving", provider.leaving_at)
        self.put_provider(self.sender, leaving_at=self.now + LOCK)
        self.emit("ProviderLeaving", self.sender, self.now + LOCK)

    def leave(self, receiver: bytes) -> None:
        provider = self.state.provider(self.sender)
        if not provider.leaving_at:
            raise _revert("NotLeaving")
        if self.now < provider.leaving_at:
            raise _revert("LeaveLocked", provider.leaving_at)
        self.put_provider(self.sender, signer=ZERO, offer=Offer(), stake=0, leaving_at=0)
        self.emit("ProviderLeft", self.sender, provider.stake)
        self.pay_out(receiver, provider.stake)

    # ---------------------------------------------------------------- settlement

    def may_submit(self, provider: bytes) -> bool:
        signer = self.state.provider(provider).signer
        return signer != ZERO and self.sender in (provider, signer)

    def signed(self, signature: Signature | None, signer: bytes) -> bool:
        """K17: by the signer, and for this very chain."""
        made = signature is not None and (signature.by, signature.chain)
        return made == (signer, self.message.chain)

    def settle_fees(self, claims: tuple[Claim, ...]) -> tuple[int, ...]:
        return tuple(self.settle(claim, may=self.may_submit(claim.provider)) for claim in claims)

    def settle_batch(
        self, provider: bytes, claims: tuple[Claim, ...], signature: Signature
    ) -> tuple[int, ...]:
        signer = self.state.provider(provider).signer
        if not self.may_submit(provider):
            raise _revert("NotSubmitter", provider, self.sender)
        if not self.signed(signature, signer):
            raise _revert("BadBatchSignature", provider)
        signed = [evolve(each, provider=provider, signature=signature) for each in claims]
        return tuple(self.settle(claim, may=True) for claim in signed)

    def settle(self, claim: Claim, *, may: bool) -> int:
        """The checks in wire.md's order, then the money."""
        provider = self.state.provider(claim.provider)
        account = self.state.account(claim.user, claim.provider)
        if not may or not provider.registered:
            return PROVIDER_MISMATCH
        if account.acknowledged != provider.version:
            return NOT_ACKNOWLEDGED
        if not account.nonce < claim.nonce <= MAX_NONCE:
            return INVALID_NONCE
        if not self.signed(claim.signature, provider.signer):
            return INVALID_SIGNATURE
        return self.take(claim, account)

    def take(self, claim: Claim, account: Account) -> int:
        """K1, K2: the balance first, then as much of the pending refund as is still needed."""
        from_balance = min(claim.fee, account.balance)
        from_refund = min(claim.fee - from_balance, account.pending)
        paid = from_balance + from_refund
        pending = account.pending - from_refund
        self.put_account(
            claim.user,
            claim.provider,
            balance=account.balance - from_balance,
            pending=pending,
            unlock_at=account.unlock_at if pending else 0,
            nonce=claim.nonce,
        )
        earnings = self.state.provider(claim.provider).earnings
        self.put_provider(claim.provider, earnings=earnings + paid)
        whose = (claim.user, claim.provider)
        status = SUCCESS
        if paid < claim.fee:
            status = INSUFFICIENT_BALANCE
            self.emit("VoucherShortfall", *whose, claim.nonce, paid, claim.fee - paid)
        self.emit("VoucherSettled", *whose, claim.fee, claim.usage, claim.nonce, status)
        return status

    # ---------------------------------------------------------------- the owners

    def only_owner(self) -> Ownership:
        ownership = self.state.owners[self.message.call.to]
        if self.sender != ownership.owner:
            raise _revert("OwnableUnauthorizedAccount", self.sender)
        return ownership

    def put_owner(self, owner: bytes, offered: bytes) -> None:
        changed = Ownership(owner=owner, offered=offered)
        owners = {**self.state.owners, self.message.call.to: changed}
        self.state = evolve(self.state, owners=owners)

    def set_provider_stake(self, stake: int) -> None:
        self.only_owner()
        self.emit("ProviderStakeUpdated", self.state.required_stake, stake)
        self.state = evolve(self.state, required_stake=stake)

    def transfer_ownership(self, to: bytes) -> None:
        self.put_owner(self.only_owner().owner, to)
        self.emit("OwnershipTransferStarted", self.sender, to)

    def accept_ownership(self) -> None:
        ownership = self.state.owners[self.message.call.to]
        if self.sender != ownership.offered:
            raise _revert("OwnableUnauthorizedAccount", self.sender)
        self.put_owner(self.sender, ZERO)
        self.emit("OwnershipTransferred", ownership.owner, self.sender)

    def renounce_ownership(self) -> None:
        self.only_owner()
        raise _revert("OwnershipNotRenounced")

    def upgrade_to(self, implementation: bytes) -> None:
        self.only_owner()
        if implementation not in self.state.implementations:
            raise _revert("BeaconInvalidImplementation", implementation)
        self.state = evolve(self.state, implementation=implementation)
        self.emit("Upgraded", implementation)


_PAYABLE = ("deposit", "addOrUpdateService")

_OWNED: Mapping[str, Callable[..., Any]] = {
    "transferOwnership": _Turn.transfer_ownership,
    "acceptOwnership": _Turn.accept_ownership,
    "renounceOwnership": _Turn.renounce_ownership,
}
_BEACON: Mapping[str, Callable[..., Any]] = {**_OWNED, "upgradeTo": _Turn.upgrade_to}
_SERVING: Mapping[str, Callable[..., Any]] = {
    **_OWNED,
    "initialize": _Turn.initialize,
    "deposit": _Turn.deposit,
    "requestRefund": _Turn.request_refund,
    "withdrawRefund": _Turn.withdraw_refund,
    "withdrawRefundTo": _Turn.withdraw_refund_to,
    "acknowledgeTEESigner": _Turn.acknowledge,
    "acknowledgeTEESignerVersion": _Turn.acknowledge_version,
    "addOrUpdateService": _Turn.add_or_update_service,
    "withdrawEarnings": _Turn.withdraw_earnings,
    "withdrawEarningsTo": _Turn.withdraw_earnings_to,
    "announceLeave": _Turn.announce_leave,
    "leave": _Turn.leave,
    "settleFeesWithTEE": _Turn.settle_fees,
    "settleBatch": _Turn.settle_batch,
    "setProviderStake": _Turn.set_provider_stake,
}

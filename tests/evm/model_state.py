"""
What L{tests.evm.model} is about: messages, the contracts' state, what comes of a message.

Nothing is signed here: a L{Signature} carries who made it, or None for one that no
contract may accept (another digest, high s, another length, v that is not 27 or 28).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve, field, frozen


ZERO = bytes(20)


# ----------------------------------------------------------------------- messages


@frozen(kw_only=True)
class Signature:
    """
    @ivar raw: As submitted.
    @ivar by: Whose it is for exactly what it comes with; None if nobody's.
    @ivar chain: On which chain.
    """

    raw: bytes
    by: bytes | None
    chain: int


@frozen(kw_only=True)
class Claim:
    """
    A voucher; in a batch its provider and its signature are the batch's.

    @ivar fee: neuron, any uint256.
    """

    user: bytes
    provider: bytes
    fee: int
    usage: bytes
    nonce: int
    signature: Signature | None = None


@frozen
class Call:
    """
    @ivar to: L{State.serving}'s or L{State.beacon}'s address.
    @ivar name: The function; empty for money without data.
    @ivar arguments: As in the ABI, with L{Claim} and L{Signature} for what they stand for.
    """

    to: bytes
    name: str
    arguments: tuple[Any, ...] = ()


@frozen(kw_only=True)
class Message:
    """
    @ivar now: The block's time, unix seconds.
    @ivar chain: The chain's id.
    """

    call: Call
    sender: bytes
    value: int
    now: int
    chain: int


@frozen
class Refuses:
    """A receiver that takes no money."""


@frozen
class CallsBack:
    """
    A receiver that answers money with calls, whatever comes of them.

    @ivar calls: Each with its value, to whoever paid.
    """

    calls: tuple[tuple[Call, int], ...]


# -------------------------------------------------------------------------- state


@frozen(kw_only=True)
class Account:
    """
    A (user, provider).

    @ivar pending: The refund asked for, neuron; not part of the balance.
    @ivar unlock_at: When it may be taken; 0 if there is none.
    @ivar acknowledged: A signer version; 0 for never or revoked.
    """

    balance: int = 0
    pending: int = 0
    unlock_at: int = 0
    nonce: int = 0
    acknowledged: int = 0


@frozen(kw_only=True)
class Offer:
    """What a provider registered besides its signer."""

    url: str = ""
    cpu: int = 0
    create_fee: int = 0
    memory: int = 0


@frozen(kw_only=True)
class Provider:
    """
    @ivar signer: L{ZERO} if it is not registered.
    @ivar version: Outlives the registration.
    @ivar leaving_at: 0 if it has not announced to leave.
    """

    signer: bytes = ZERO
    version: int = 0
    offer: Offer = Offer()
    stake: int = 0
    earnings: int = 0
    leaving_at: int = 0

    @property
    def registered(self) -> bool:
        """Whether it may be acknowledged, and settle."""
        return self.signer != ZERO


@frozen(kw_only=True)
class Ownership:
    """@ivar offered: Who may accept; L{ZERO} for nobody."""

    owner: bytes
    offered: bytes = ZERO


@frozen(kw_only=True)
class State:
    """
    Both contracts, and everybody's native money.

    @ivar owners: By contract.
    @ivar implementation: Behind the beacon.
    @ivar implementations: What the beacon would take: addresses with code.
    @ivar required_stake: Of registrations to come.
    @ivar accounts: By (user, provider); an absent one is empty, as are providers and purses.
    @ivar purses: Native balances, neuron, the contract's own among them.
    @ivar receivers: Those that do not just take what they are paid.
    """

    serving: bytes
    beacon: bytes
    owners: Mapping[bytes, Ownership]
    implementation: bytes
    implementations: frozenset[bytes]
    required_stake: int
    accounts: Mapping[tuple[bytes, bytes], Account] = field(factory=dict)
    providers: Mapping[bytes, Provider] = field(factory=dict)
    purses: Mapping[bytes, int] = field(factory=dict)
    receivers: Mapping[bytes, Refuses | CallsBack] = field(factory=dict)

    def account(self, user: bytes, provider: bytes) -> Account:
        """What a user has with a provider."""
        return self.accounts.get((user, provider), Account())

    def provider(self, address: bytes) -> Provider:
        """What a provider has."""
        return self.providers.get(address, Provider())

    def purse(self, address: bytes) -> int:
        """Native money of an address."""
        return self.purses.get(address, 0)

    def pay(self, sender: bytes, receiver: bytes, amount: int) -> State:
        """Native money changes hands."""
        purses = {**self.purses, sender: self.purse(sender) - amount}
        purses[receiver] = purses.get(receiver, 0) + amount
        return evolve(self, purses=purses)

    def owed(self) -> int:
        """L1: balances + pending refunds + earnings + stakes, neuron."""
        held = sum(each.balance + each.pending for each in self.accounts.values())
        return held + sum(each.earnings + each.stake for each in self.providers.values())


@frozen(kw_only=True)
class Event:
    """@ivar arguments: In the ABI's order."""

    emitter: bytes
    name: str
    arguments: tuple[Any, ...]


@frozen(kw_only=True)
class Revert:
    """@ivar name: Of the custom error, C{Panic}, or empty for no data."""

    name: str
    arguments: tuple[Any, ...] = ()


@frozen(kw_only=True)
class Outcome:
    """
    @ivar returned: Statuses, of the functions that return any.
    @ivar revert: None for success.
    """

    state: State
    returned: tuple[int, ...] | None = None
    events: tuple[Event, ...] = ()
    revert: Revert | None = None

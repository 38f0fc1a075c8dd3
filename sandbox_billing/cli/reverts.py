"""
What a revert means and what to do about it.

Only the error's selector and arguments are read, never a node's prose.

Tests: L{tests.cli.test_reverts}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import function_abi_to_4byte_selector, get_abi_input_types

from sandbox_billing.adapters.chain.artifacts import CONTRACTS, load
from sandbox_billing.adapters.chain.codec import Codec
from sandbox_billing.cli.amounts import both
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum


def moment(at: int) -> str:
    """A moment of the chain: C{2026-11-22 17:39:54 UTC (unix 1795368994)}."""
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC (unix {at})"
    except (OverflowError, OSError, ValueError):
        return f"unix {at}"


def _who(address: str) -> str:
    return checksum(Address(address))


SENTENCES: Final[Mapping[str, Callable[..., str]]] = {
    "ZeroAddress": lambda: "an address is missing: the zero address is never meant",
    "ZeroAmount": lambda: "the amount is 0: name how much",
    "NothingToWithdraw": lambda: "there is nothing to withdraw",
    "NotRegistered": lambda provider: (
        f"{_who(provider)} is not registered as a provider: run 'provider register' with its key "
        "first, or look at --provider"
    ),
    "NotSubmitter": lambda provider, sender: (
        f"{_who(sender)} may not submit for {_who(provider)}: only the provider or its signer may"
    ),
    "WrongStake": lambda required, sent: (
        f"a first registration carries exactly the stake of {both(required)}, not {both(sent)}"
    ),
    "UnexpectedValue": lambda sent: (
        f"an update takes no money, and {both(sent)} was sent with it: the stake is paid already"
    ),
    "SignerVersionMismatch": lambda expected, current: (
        f"the provider's signer or prices changed: version {current} now, {expected} was expected; "
        "look at them again"
    ),
    "InsufficientFunds": lambda available, requested: (
        f"{both(requested)} was asked back, and only {both(available)} is there"
    ),
    "RefundLocked": lambda at: f"the refund is locked until {moment(at)}: run this again then",
    "AlreadyLeaving": lambda at: f"leaving was announced already, for {moment(at)}",
    "NotLeaving": lambda: "leaving was not announced yet: announce it first",
    "LeaveLocked": lambda at: f"the stake is locked until {moment(at)}: run this again then",
    "PaymentFailed": lambda receiver: (
        f"{_who(receiver)} does not take the money: name another receiver with --to"
    ),
    "OwnableUnauthorizedAccount": lambda account: (
        f"{_who(account)} is not the owner: use the owner's key"
    ),
    "OwnableInvalidOwner": lambda owner: f"{_who(owner)} cannot be an owner",
    "BeaconInvalidImplementation": lambda at: f"there is no contract at {_who(at)}",
    "ERC1967InvalidBeacon": lambda at: f"there is no beacon at {_who(at)}",
    "InvalidInitialization": lambda: "the contract is initialised already",
}
"""By the error's name in Solidity, taking its arguments."""


def _errors() -> dict[bytes, Any]:
    entries = [e for name in CONTRACTS for e in load(name).abi if e["type"] == "error"]
    return {function_abi_to_4byte_selector(_as_function(entry)): entry for entry in entries}


def _as_function(entry: Any) -> Any:
    """A custom error's selector and arguments are made as a function's are."""
    return {**entry, "type": "function"}


def sentence(data: str | None) -> str:
    """
    A revert in words, with what to do.

    @param data: What the call returned: C{0x} and hex; None or C{0x} for nothing.
    """
    raw = bytes.fromhex((data or "0x")[2:])
    entry = _errors().get(raw[:4])
    if entry is not None:
        try:
            values = decode(get_abi_input_types(_as_function(entry)), raw[4:])
        except (DecodingError, OverflowError, UnicodeDecodeError):
            return f"the contract refuses: {entry['name']}"
        known = SENTENCES.get(entry["name"])
        if known is not None:
            return known(*values)
        return f"the contract refuses: {entry['name']}({', '.join(map(str, values))})"
    return f"the contract refuses: {Codec('SandboxServing').error_name(raw)}"

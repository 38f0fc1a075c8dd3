"""Who uses the contract in the state machine: people, and contracts that misbehave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eth_utils.crypto import keccak

from sandbox_billing.signing.key import SigningKey
from tests.evm.model_state import Call, Claim, Signature


def _development_key(number: int) -> SigningKey:
    """A well-known development key; it never guards real money."""
    return SigningKey.from_bytes(keccak(b"solvency" + bytes([number])))


KEYS: Mapping[bytes, SigningKey] = {
    key.address.to_bytes(): key for key in map(_development_key, range(4))
}
"""Those that sign vouchers, by address; the second is a provider's own, the last a rogue's."""

SIGNERS = tuple(KEYS)[:3]
ROGUE = tuple(KEYS)[3]


def _plain(name: str) -> bytes:
    return keccak(name.encode())[12:]


ALICE, BOB, STRANGER, SINK = map(_plain, ("alice", "bob", "stranger", "sink"))
OWNER, HEIR = map(_plain, ("owner", "heir"))
ACME, ZETA = _plain("acme"), SIGNERS[1]
MISER = _plain("miser")
"""A contract that takes no money."""
GREEDY = _plain("greedy")
"""A contract, user and provider at once, that answers money with every call it can think of."""

NAMES: Mapping[bytes, str] = {
    bytes(20): "nobody",
    ALICE: "alice",
    BOB: "bob",
    STRANGER: "stranger",
    SINK: "sink",
    OWNER: "owner",
    HEIR: "heir",
    ACME: "acme",
    ZETA: "zeta",
    MISER: "miser",
    GREEDY: "greedy",
    SIGNERS[0]: "signer 0",
    SIGNERS[2]: "signer 2",
    ROGUE: "rogue",
}


def say(value: Any) -> str:
    """A value for people: addresses by name, the rest short."""
    if isinstance(value, bytes):
        return NAMES.get(value, value.hex()[:8])
    if isinstance(value, Signature):
        return f"signed by {say(value.by) if value.by else 'nobody'}"
    if isinstance(value, Claim):
        signed = f", {say(value.signature)}" if value.signature else ""
        whose = f"{say(value.user)} to {say(value.provider)}"
        return f"[nonce {value.nonce}, {value.fee} from {whose}{signed}]"
    if isinstance(value, tuple):
        return ", ".join(map(say, value))
    return repr(value)


USERS = (ALICE, BOB, GREEDY, MISER, ACME)
PROVIDERS = (ACME, ZETA, GREEDY)
PAIRS = tuple((user, provider) for user in USERS for provider in PROVIDERS)
PEOPLE = tuple(
    dict.fromkeys(
        (ALICE, BOB, STRANGER, SINK, OWNER, HEIR, ACME, ZETA, MISER, GREEDY, *SIGNERS, ROGUE)
    )
)


def greed(serving: bytes) -> tuple[tuple[Call, int], ...]:
    """What C{GREEDY} does with money, each with its value."""
    calls = [Call(serving, "withdrawRefund", (provider,)) for provider in PROVIDERS]
    calls += [
        Call(serving, "withdrawEarnings"),
        Call(serving, "leave", (GREEDY,)),
        Call(serving, "requestRefund", (ACME, 1)),
    ]
    return (*((call, 0) for call in calls), (Call(serving, "deposit", (GREEDY, ACME)), 1))


def call_back(calls: list[tuple[bytes, int]]) -> bytes:
    """Code that makes calls to its caller, one after the other, whatever comes of them."""
    each = 25
    code, stored, at = b"", b"", each * len(calls) + 1
    for data, value in calls:
        # codecopy(0, at, length); call(gas, caller, value, 0, length, 0, 0); pop
        size, where = len(data).to_bytes(2, "big"), at.to_bytes(2, "big")
        code += b"\x61" + size + b"\x61" + where + b"\x5f\x39"
        code += b"\x5f\x5f\x61" + size + b"\x5f\x60" + bytes([value]) + b"\x33\x5a\xf1\x50"
        code += b"\x5b" * (each - len(code) % each if len(code) % each else 0)
        stored += data
        at += len(data)
    return code + b"\x00" + stored

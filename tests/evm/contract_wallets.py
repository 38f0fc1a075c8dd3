"""
Wallets with EIP-1271, and a factory for EIP-6492: C{contracts/test/wallets}, compiled.
"""

from __future__ import annotations

import json
from enum import IntEnum
from pathlib import Path
from typing import Any

from eth_abi import encode
from web3 import Web3

from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.contract_wallet import SUFFIX


class Mood(IntEnum):
    """What C{OddWallet} does when it is asked: its C{Mood}, in the same order."""

    YES = 0
    NO = 1
    REVERTS = 2
    REVERTS_YES = 3
    LOOKS_UP = 4
    BURNS = 5
    SHORT = 6
    LONG = 7
    DIRTY = 8
    NOTHING = 9
    WRITES = 10
    ONLY_FOR_ZERO = 11


def contract(w3: Web3, name: str, address: str | None = None) -> Any:
    """
    One of them.

    @param address: Where it is deployed; None for one that will be.
    """
    path = Path(__file__).parent / "artifacts" / f"{name}.json"
    artifact = json.loads(path.read_text())
    if address is None:
        return w3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
    return w3.eth.contract(Web3.to_checksum_address(address), abi=artifact["abi"])


def wrapped(factory: Address, deployment: bytes, signature: bytes) -> bytes:
    """A signature that brings along its wallet's deployment (EIP-6492)."""
    parts = encode(["address", "bytes", "bytes"], [factory.hex, deployment, signature])
    return parts + SUFFIX

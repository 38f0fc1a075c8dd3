"""
What is deployed: implementation, beacon, proxy, in this order; pure.

The devnet deploys by it too, so that there is one way.

Tests: L{tests.cli.test_deploy}, L{tests.evm.test_deployment}.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import rlp
from attrs import evolve, frozen
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from sandbox_billing.adapters.chain.artifacts import Artifact, load
from sandbox_billing.adapters.chain.codec import Codec
from sandbox_billing.ledger.identity import Address


BEACON_SLOT: Final = 0xA3F0AD74E5423AEBFD80D3EF4346578335A9A72AEAEE59FF6CB3582B35133D50
"""Where ERC-1967 has a proxy keep its beacon's address (wire.md §3)."""


class Part(Enum):
    """
    The three contracts; the value is what records and output call them.
    """

    IMPLEMENTATION = "implementation"
    BEACON = "beacon"
    PROXY = "proxy"

    @property
    def artifact(self) -> Artifact:
        """What it is compiled from."""
        return load(_CONTRACTS[self])


PART_GAS: Final = {
    Part.IMPLEMENTATION: 4_500_000,
    Part.BEACON: 500_000,
    Part.PROXY: 500_000,
}
"""What each creation takes and a fifth more; a test holds it above what they take."""

ROUGH_GAS: Final = sum(PART_GAS.values())
"""For all three together."""

UPGRADE_GAS: Final = 60_000
"""For turning the beacon, likewise."""

_CONTRACTS = {
    Part.IMPLEMENTATION: "SandboxServing",
    Part.BEACON: "UpgradeableBeacon",
    Part.PROXY: "BeaconProxy",
}


@frozen(kw_only=True)
class Stack:
    """
    What the contracts are made with.

    @ivar owner: The deployer; comes to own beacon and proxy.
    @ivar stake: neuron that a new provider has to stake.
    @ivar implementation: Once it is known.
    @ivar beacon: Once it is known.
    """

    owner: Address
    stake: int
    implementation: Address | None = None
    beacon: Address | None = None

    def placed(self, part: Part, address: Address) -> Stack:
        """With one more address known."""
        match part:
            case Part.IMPLEMENTATION:
                return evolve(self, implementation=address)
            case Part.BEACON:
                return evolve(self, beacon=address)
        return self

    def arguments(self, part: Part) -> bytes:
        """
        A constructor's arguments, as they stand behind the code in the creation.
        """
        if part is Part.IMPLEMENTATION:
            return b""
        if part is Part.BEACON:
            assert self.implementation is not None, "the beacon names the implementation"
            return beacon_arguments(self.implementation, self.owner)
        assert self.beacon is not None, "the proxy names the beacon"
        initialize = Codec("SandboxServing").calldata("initialize", self.stake)
        return encode(["address", "bytes"], [self.beacon.hex, initialize])

    def creation(self, part: Part) -> bytes:
        """What a transaction without recipient carries."""
        return bytes.fromhex(part.artifact.bytecode[2:]) + self.arguments(part)


def beacon_arguments(implementation: Address, owner: Address) -> bytes:
    """The beacon's constructor's."""
    return encode(["address", "address"], [implementation.hex, owner.hex])


def created_address(sender: Address, nonce: int) -> Address:
    """Where C{CREATE} puts a contract: the end of keccak256(rlp([sender, nonce]))."""
    return Address.from_bytes(keccak(rlp.encode([sender.to_bytes(), nonce]))[12:])


def build_id() -> str:
    """
    Which build the code of all three is: C{0x} and 64 hex digits.
    """
    return "0x" + keccak(b"".join(keccak(text=part.artifact.bytecode) for part in Part)).hex()


def same_code(artifact: Artifact, code: bytes) -> bool:
    """
    Whether code on chain is an artifact's, whatever its constructor filled in.
    """
    return masked(artifact, code) == bytes.fromhex(artifact.deployed_bytecode[2:])


def masked(artifact: Artifact, code: bytes) -> bytes:
    """Code with zeros where the constructor fills in, as the compiler leaves it."""
    found = bytearray(code)
    for start, length in artifact.immutables:
        if start + length <= len(found):
            found[start : start + length] = bytes(length)
    return bytes(found)

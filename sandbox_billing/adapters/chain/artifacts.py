"""
The compiled contracts, as C{bin/build-contracts} wrote and git keeps them.

Tests: L{tests.evm.test_artifacts}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from attrs import frozen

from sandbox_billing.errors import BadInput


CONTRACTS = ("SandboxServing", "UpgradeableBeacon", "BeaconProxy")


@frozen(kw_only=True)
class Artifact:
    """
    One compiled contract.

    @ivar name: Its name in Solidity.
    @ivar abi: Functions, events and errors, in the standard JSON form; not to be changed.
    @ivar bytecode: C{0x} and what a creation transaction carries, before constructor arguments.
    @ivar deployed_bytecode: C{0x} and what then stands on chain, immutables still zero.
    """

    name: str
    abi: tuple[Mapping[str, Any], ...]
    bytecode: str
    deployed_bytecode: str


@cache
def load(name: str) -> Artifact:
    """
    @param name: One of L{CONTRACTS}.
    @raise BadInput: There is no such contract.
    """
    if name not in CONTRACTS:
        raise BadInput(f"no contract is called {name!r}; there are {', '.join(CONTRACTS)}")
    folder = resources.files("sandbox_billing.adapters.chain.abi")
    stored = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return Artifact(
        name=name,
        abi=tuple(stored["abi"]),
        bytecode=stored["bytecode"],
        deployed_bytecode=stored["deployedBytecode"],
    )

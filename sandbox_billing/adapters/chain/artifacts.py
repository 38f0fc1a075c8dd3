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

from attrs import field, frozen

from sandbox_billing.errors import BadInput


CONTRACTS = ("SandboxServing", "UpgradeableBeacon", "BeaconProxy")


@frozen(kw_only=True)
class Artifact:
    """
    One compiled contract.  What is in it is not to be changed.

    @ivar name: Its name in Solidity.
    @ivar source_name: The source unit it is defined in; explorers call it C{source_name:name}.
    @ivar compiler_version: As explorers spell it: C{v0.8.34+commit.…}.
    @ivar abi: Functions, events and errors, in the standard JSON form.
    @ivar bytecode: C{0x} and what a creation transaction carries, before constructor arguments.
    @ivar deployed_bytecode: C{0x} and what then stands on chain, immutables still zero.
    @ivar immutables: (start, length) in bytes of each place in C{deployed_bytecode} that the
        constructor fills in.
    @ivar notices: The C{@notice} of each error of the contract by its signature, such as
        C{RefundLocked(uint256)}; without those of libraries that have none.
    @ivar standard_input: The compiler's standard JSON input that alone makes this code.
    """

    name: str
    source_name: str
    compiler_version: str
    abi: tuple[Mapping[str, Any], ...] = field(repr=False)
    bytecode: str = field(repr=False)
    deployed_bytecode: str = field(repr=False)
    immutables: tuple[tuple[int, int], ...]
    notices: Mapping[str, str] = field(repr=False)
    standard_input: Mapping[str, Any] = field(repr=False)


def read(file_name: str) -> Any:
    """
    What a committed JSON file says.

    @param file_name: Of a file in the folder C{abi}.
    """
    folder = resources.files("sandbox_billing.adapters.chain.abi")
    return json.loads((folder / file_name).read_text(encoding="utf-8"))


@cache
def load(name: str) -> Artifact:
    """
    @param name: One of L{CONTRACTS}.
    @raise BadInput: There is no such contract.
    """
    if name not in CONTRACTS:
        raise BadInput(f"no contract is called {name!r}; there are {', '.join(CONTRACTS)}")
    stored = read(f"{name}.json")
    return Artifact(
        name=name,
        source_name=stored["sourceName"],
        compiler_version=stored["compiler"]["longVersion"],
        abi=tuple(stored["abi"]),
        bytecode=stored["bytecode"],
        deployed_bytecode=stored["deployedBytecode"],
        immutables=tuple(
            (each["start"], each["length"]) for each in stored.get("immutableReferences", ())
        ),
        notices={
            signature: " ".join(each["notice"] for each in found)
            for signature, found in stored["userdoc"].get("errors", {}).items()
        },
        standard_input=stored["standardInput"],
    )

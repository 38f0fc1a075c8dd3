"""
The contract's code at wire.md's address, its storage written by hand.

For what a chain of ordinary accounts cannot show: a certain address, and more money than there is.
"""

from __future__ import annotations

from collections.abc import Mapping

from eth.vm.forks.cancun import CancunVM
from eth_abi import encode
from eth_tester import EthereumTester, PyEVMBackend
from eth_utils import keccak
from web3 import EthereumTesterProvider, Web3
from web3.contract import Contract

from sandbox_billing.adapters.chain.artifacts import load
from tests.evm.harness import CHAIN_ID


PROXY = "0xd7e0CD227e602FedBb93c36B1F5bf415398508a4"


def slot(key: str, base: int) -> int:
    """Where a mapping keeps an address's entry."""
    return int.from_bytes(keccak(encode(["address", "uint256"], [key, base])))


def contract_in_genesis(rich: str, storage: Mapping[int, int]) -> Contract:
    """
    @param rich: An address with 2^200 neuron.
    @param storage: Of the contract, by the layout that L{tests.evm.test_deployment} holds.
    """
    code = bytes.fromhex(load("SandboxServing").deployed_bytecode[2:])
    nothing = {"balance": 0, "nonce": 0, "code": b"", "storage": {}}
    backend = PyEVMBackend(
        genesis_parameters=PyEVMBackend.generate_genesis_params({"gas_limit": 30_000_000}),
        genesis_state={
            bytes.fromhex(PROXY[2:]): {
                **nothing,
                "code": code,
                "nonce": 1,
                "storage": dict(storage),
            },
            bytes.fromhex(rich[2:]): {**nothing, "balance": 2**200},
        },
        vm_configuration=((0, CancunVM),),
    )
    type(backend.chain).chain_id = CHAIN_ID
    w3 = Web3(EthereumTesterProvider(EthereumTester(backend)))
    return w3.eth.contract(address=PROXY, abi=load("SandboxServing").abi)

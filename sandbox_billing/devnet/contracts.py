"""
Deploying the stack: implementation, beacon, proxy.

Raw signed transactions only, so that any JSON-RPC node will do.

Tests: L{tests.evm.test_deployment}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress
from hexbytes import HexBytes
from web3 import Web3
from web3.types import TxReceipt, Wei

from sandbox_billing.adapters.chain.artifacts import load
from sandbox_billing.errors import Refused


@frozen(kw_only=True)
class Deployment:
    """
    Where the three contracts stand, as EIP-55 addresses.

    @ivar implementation: The logic; holds no state, not to be called.
    @ivar beacon: Names the implementation; its owner can replace it.
    @ivar proxy: What users, providers and vouchers mean by "the contract".
    """

    implementation: ChecksumAddress
    beacon: ChecksumAddress
    proxy: ChecksumAddress


def deploy_stack(
    w3: Web3,
    deployer: LocalAccount,
    provider_stake: int,
    *,
    wait: Callable[[HexBytes], TxReceipt],
) -> Deployment:
    """
    Deploy and initialise; the deployer comes to own beacon and proxy.

    @param w3: A node's API.
    @param deployer: Signs and pays for four million gas or so.
    @param provider_stake: neuron that a new provider has to stake.
    @param wait: Given a transaction's hash, returns its receipt once it is mined.
    @raise Refused: A transaction was mined and failed.
    """
    implementation = _create(w3, deployer, wait, "SandboxServing")
    beacon = _create(w3, deployer, wait, "UpgradeableBeacon", implementation, deployer.address)
    serving = w3.eth.contract(abi=load("SandboxServing").abi)
    initialize = serving.encode_abi("initialize", args=[provider_stake])
    proxy = _create(w3, deployer, wait, "BeaconProxy", beacon, initialize)
    return Deployment(implementation=implementation, beacon=beacon, proxy=proxy)


def deploy_implementation(
    w3: Web3, deployer: LocalAccount, *, wait: Callable[[HexBytes], TxReceipt]
) -> ChecksumAddress:
    """
    Deploy C{SandboxServing} alone, for a beacon to be upgraded to.

    @return: Its EIP-55 address.
    @raise Refused: The transaction was mined and failed.
    """
    return _create(w3, deployer, wait, "SandboxServing")


def _create(
    w3: Web3,
    deployer: LocalAccount,
    wait: Callable[[HexBytes], TxReceipt],
    name: str,
    *arguments: Any,
) -> ChecksumAddress:
    artifact = load(name)
    factory = w3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
    base_fee = w3.eth.get_block("latest")["baseFeePerGas"]
    tip = w3.eth.max_priority_fee
    transaction = factory.constructor(*arguments).build_transaction(
        {
            "chainId": w3.eth.chain_id,
            "from": deployer.address,
            "nonce": w3.eth.get_transaction_count(deployer.address),
            "maxPriorityFeePerGas": tip,
            "maxFeePerGas": Wei(2 * base_fee + tip),
        }
    )
    signed = deployer.sign_transaction(transaction)
    receipt = wait(w3.eth.send_raw_transaction(signed.raw_transaction))
    address = receipt["contractAddress"]
    if receipt["status"] != 1 or address is None:
        raise Refused(f"deploying {name} failed in {receipt['transactionHash'].to_0x_hex()}")
    return address

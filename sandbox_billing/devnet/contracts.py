"""
Deploying the stack: implementation, beacon, proxy.

What is sent is the command line's (L{sandbox_billing.cli.stack}); here it is sent without
questions, records and patience, by raw signed transactions that any JSON-RPC node takes.

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

from sandbox_billing.cli.stack import Part, Stack
from sandbox_billing.errors import Refused
from sandbox_billing.ledger.identity import Address


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
    stack = Stack(owner=Address(deployer.address), stake=provider_stake)
    found: dict[Part, ChecksumAddress] = {}
    for part in Part:
        found[part] = _create(w3, deployer, wait, part, stack.creation(part))
        stack = stack.placed(part, Address(found[part]))
    return Deployment(
        implementation=found[Part.IMPLEMENTATION],
        beacon=found[Part.BEACON],
        proxy=found[Part.PROXY],
    )


def deploy_implementation(
    w3: Web3, deployer: LocalAccount, *, wait: Callable[[HexBytes], TxReceipt]
) -> ChecksumAddress:
    """
    Deploy C{SandboxServing} alone, for a beacon to be upgraded to.

    @return: Its EIP-55 address.
    @raise Refused: The transaction was mined and failed.
    """
    stack = Stack(owner=Address(deployer.address), stake=0)
    part = Part.IMPLEMENTATION
    return _create(w3, deployer, wait, part, stack.creation(part))


def _create(
    w3: Web3,
    deployer: LocalAccount,
    wait: Callable[[HexBytes], TxReceipt],
    part: Part,
    creation: bytes,
) -> ChecksumAddress:
    base_fee = w3.eth.get_block("latest")["baseFeePerGas"]
    tip = w3.eth.max_priority_fee
    data = HexBytes(creation)
    transaction: dict[str, Any] = {
        "chainId": w3.eth.chain_id,
        "from": deployer.address,
        "data": data,
        "value": Wei(0),
        "gas": w3.eth.estimate_gas({"from": deployer.address, "data": data}),
        "nonce": w3.eth.get_transaction_count(deployer.address),
        "maxPriorityFeePerGas": tip,
        "maxFeePerGas": Wei(2 * base_fee + tip),
    }
    signed = deployer.sign_transaction(transaction)
    receipt = wait(w3.eth.send_raw_transaction(signed.raw_transaction))
    address = receipt["contractAddress"]
    if receipt["status"] != 1 or address is None:
        name = part.artifact.name
        raise Refused(f"deploying {name} failed in {receipt['transactionHash'].to_0x_hex()}")
    return address

"""
Raw bytes to a transaction that the pool can judge without an EVM.

Tests: C{tests/devnet/test_chain_mempool.py}.
"""

from __future__ import annotations

import rlp
from attrs import field, frozen
from eth.abc import SignedTransactionAPI
from eth.exceptions import UnrecognizedTransactionType
from eth.vm.forks.cancun import CancunVM
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from .errors import RpcError


LEGACY = 0
ACCESS_LIST = 1
DYNAMIC_FEE = 2

#: EIP-3860.
MAX_INITCODE_BYTES = 49_152


@frozen(kw_only=True, eq=False)
class PoolTransaction:
    """
    A signed transaction, decoded once; two are the same when their hashes are.

    @ivar signed: py-evm's form of it.
    @ivar raw: The bytes that were sent.
    @ivar type_id: 0 legacy, 1 access list, 2 dynamic fee.
    @ivar fee_cap: The most it pays per gas, neuron; of a legacy one its gas price.
    @ivar tip_cap: The most it pays the miner per gas, neuron; likewise.
    """

    signed: SignedTransactionAPI = field(repr=False)
    raw: bytes = field(repr=False)
    hash: bytes = field(repr=bytes.hex)
    sender: bytes = field(repr=bytes.hex)
    type_id: int
    nonce: int
    gas: int
    value: int
    fee_cap: int
    tip_cap: int

    @property
    def cost(self) -> int:
        """
        What the sender must own before it is let in: all gas at the cap, and the value.
        """
        return self.gas * self.fee_cap + self.value

    def effective_tip(self, base_fee: int) -> int:
        """
        What the miner gets per gas at this base fee; negative when it cannot be mined.
        """
        return min(self.tip_cap, self.fee_cap - base_fee)


def decode_transaction(raw: bytes, chain_id: int) -> PoolTransaction:
    """
    Decode signed bytes and recover their sender.

    @raise RpcError: The bytes are no transaction, of a type we do not take (blobs),
        for another chain, or not validly signed.
    """
    if not raw:
        raise RpcError("typed transaction too short")
    if raw[0] < 0x80 and raw[0] not in (ACCESS_LIST, DYNAMIC_FEE):
        raise RpcError("transaction type not supported")
    try:
        signed = CancunVM.get_transaction_builder().decode(raw)
        type_id = LEGACY if raw[0] >= 0x80 else raw[0]
        _check_chain_id(signed, type_id, chain_id)
        signed.validate()
        signed.check_signature_validity()
        sender = bytes(signed.sender)
    except (rlp.exceptions.RLPException, UnrecognizedTransactionType) as e:
        raise RpcError("rlp: " + (str(e) or type(e).__name__)[:200]) from e
    except (ValidationError, BadSignature) as e:
        raise RpcError("invalid sender") from e
    return PoolTransaction(
        signed=signed,
        raw=raw,
        hash=bytes(keccak(raw)),
        sender=sender,
        type_id=type_id,
        nonce=signed.nonce,
        gas=signed.gas,
        value=signed.value,
        fee_cap=signed.max_fee_per_gas,
        tip_cap=signed.max_priority_fee_per_gas,
    )


def _check_chain_id(signed: SignedTransactionAPI, type_id: int, chain_id: int) -> None:
    """
    Refuse what was signed for another chain, or (legacy) for every chain at once.
    """
    have = signed.chain_id
    if type_id == LEGACY and have is None:
        raise RpcError("only replay-protected (EIP-155) transactions allowed over RPC")
    if have != chain_id:
        raise RpcError(f"invalid chain id for signer: have {have} want {chain_id}")


def check_limits(transaction: PoolTransaction, gas_limit: int) -> None:
    """
    The refusals that depend on nothing but the transaction and the block gas limit.

    @raise RpcError: It can never be in a block.
    """
    signed = transaction.signed
    if transaction.tip_cap > transaction.fee_cap:
        raise RpcError(
            "max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas: "
            f"{transaction.tip_cap}, maxFeePerGas: {transaction.fee_cap}"
        )
    if transaction.gas > gas_limit:
        raise RpcError("exceeds block gas limit")
    if not signed.to and len(signed.data) > MAX_INITCODE_BYTES:
        raise RpcError(
            f"max initcode size exceeded: code size {len(signed.data)}, limit {MAX_INITCODE_BYTES}"
        )
    if transaction.gas < signed.intrinsic_gas:
        raise RpcError(
            f"intrinsic gas too low: gas {transaction.gas}, minimum needed {signed.intrinsic_gas}"
        )

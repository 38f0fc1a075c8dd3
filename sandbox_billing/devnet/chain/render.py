"""
The JSON forms of blocks, transactions, receipts and logs.

Tests: C{tests/devnet/test_chain_rpc.py}.
"""

from __future__ import annotations

from typing import Any, Final

from eth.abc import SignedTransactionAPI

from .blocks import LogEntry, MinedBlock, MinedReceipt
from .evm import Draft
from .transactions import DYNAMIC_FEE, LEGACY, PoolTransaction


_EMPTY_BLOOM: Final = "0x" + "00" * 256


def quantity(value: int) -> str:
    """
    A number on the wire: hex without leading zeros.
    """
    return hex(value)


def octets(value: bytes) -> str:
    """
    Bytes on the wire.
    """
    return "0x" + value.hex()


def bloom(value: int) -> str:
    """
    A logs bloom: always 256 bytes.
    """
    return f"0x{value:0512x}"


def block(mined: MinedBlock, *, full: bool) -> dict[str, Any]:
    """
    A mined block.

    @param full: Whether with whole transactions, not their hashes.
    """
    transactions: list[Any] = (
        [transaction(r.transaction, mined, r) for r in mined.receipts]
        if full
        else [octets(r.transaction.hash) for r in mined.receipts]
    )
    return {
        **_header(mined.header),
        "number": quantity(mined.number),
        "hash": octets(mined.hash),
        "nonce": octets(mined.header.nonce),
        "logsBloom": bloom(mined.header.bloom),
        "miner": octets(mined.header.coinbase),
        "size": quantity(mined.size),
        "transactions": transactions,
    }


def pending_block(draft: Draft, *, full: bool) -> dict[str, Any]:
    """
    The block that would be mined now: what is not known before sealing is null (geth).
    """
    waiting = [r.transaction for r in draft.receipts]
    return {
        **_header(draft.header),
        "number": quantity(draft.header.block_number),
        "hash": None,
        "nonce": None,
        "logsBloom": _EMPTY_BLOOM,
        "miner": None,
        "size": quantity(sum(len(t.raw) for t in waiting)),
        "transactions": [transaction(t, None, None) if full else octets(t.hash) for t in waiting],
    }


def _header(header: Any) -> dict[str, Any]:
    """
    @param header: A Cancun header; py-evm's interface does not declare all its fields.
    """
    return {
        "parentHash": octets(header.parent_hash),
        "mixHash": octets(header.mix_hash),
        "sha3Uncles": octets(header.uncles_hash),
        "stateRoot": octets(header.state_root),
        "transactionsRoot": octets(header.transaction_root),
        "receiptsRoot": octets(header.receipt_root),
        "withdrawalsRoot": octets(header.withdrawals_root),
        "parentBeaconBlockRoot": octets(header.parent_beacon_block_root),
        "difficulty": quantity(header.difficulty),
        "totalDifficulty": quantity(0),
        "extraData": octets(header.extra_data),
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(header.timestamp),
        "baseFeePerGas": quantity(header.base_fee_per_gas),
        "blobGasUsed": quantity(header.blob_gas_used),
        "excessBlobGas": quantity(header.excess_blob_gas),
        "uncles": [],
        "withdrawals": [],
    }


def transaction(
    known: PoolTransaction, mined: MinedBlock | None, receipt: MinedReceipt | None
) -> dict[str, Any]:
    """
    A transaction; without block and receipt it waits in the pool.
    """
    signed = known.signed
    form: dict[str, Any] = {
        **_place(mined, receipt),
        "hash": octets(known.hash),
        "type": quantity(known.type_id),
        "from": octets(known.sender),
        "to": octets(signed.to) if signed.to else None,
        "nonce": quantity(known.nonce),
        "gas": quantity(known.gas),
        "value": quantity(known.value),
        "input": octets(signed.data),
        "chainId": quantity(signed.chain_id or 0),
        "gasPrice": quantity(known.fee_cap if receipt is None else receipt.gas_price),
        "r": quantity(signed.r),
        "s": quantity(signed.s),
    }
    if known.type_id == LEGACY:
        form["v"] = quantity(_legacy_v(signed))
        return form
    form["v"] = form["yParity"] = quantity(signed.y_parity)
    form["accessList"] = [
        {"address": octets(entry[0]), "storageKeys": [f"0x{key:064x}" for key in entry[1]]}
        for entry in signed.access_list
    ]
    if known.type_id == DYNAMIC_FEE:
        form["maxFeePerGas"] = quantity(known.fee_cap)
        form["maxPriorityFeePerGas"] = quantity(known.tip_cap)
    return form


def _legacy_v(signed: SignedTransactionAPI) -> int:
    """
    EIP-155: the pool takes no other legacy transactions.
    """
    return 35 + 2 * int(signed.chain_id or 0) + signed.y_parity


def receipt(mined: MinedBlock, known: MinedReceipt) -> dict[str, Any]:
    """
    What C{eth_getTransactionReceipt} answers.
    """
    sent = known.transaction
    created = known.contract_address
    return {
        "transactionHash": octets(sent.hash),
        **_place(mined, known),
        "type": quantity(sent.type_id),
        "from": octets(sent.sender),
        "to": octets(sent.signed.to) if sent.signed.to else None,
        "contractAddress": None if created is None else octets(created),
        "status": quantity(int(known.succeeded)),
        "gasUsed": quantity(known.gas_used),
        "cumulativeGasUsed": quantity(known.cumulative_gas_used),
        "effectiveGasPrice": quantity(known.gas_price),
        "logsBloom": bloom(known.bloom),
        "logs": [log(mined, known, entry) for entry in known.logs],
    }


def log(mined: MinedBlock, known: MinedReceipt, entry: LogEntry) -> dict[str, Any]:
    """
    One event with its place.
    """
    return {
        **_place(mined, known),
        "transactionHash": octets(known.transaction.hash),
        "address": octets(entry.address),
        "topics": [octets(topic) for topic in entry.topics],
        "data": octets(entry.data),
        "logIndex": quantity(entry.index),
        "removed": False,
    }


def _place(mined: MinedBlock | None, known: MinedReceipt | None) -> dict[str, Any]:
    return {
        "blockHash": None if mined is None else octets(mined.hash),
        "blockNumber": None if mined is None else quantity(mined.number),
        "transactionIndex": None if known is None else quantity(known.index),
    }

"""
The methods of the devnet's node: one table from a name to what it does.

Tests: C{tests/devnet/test_chain_rpc.py}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from eth_typing import Address

from . import fees, params, render, unlocked
from .blocks import MinedBlock
from .devchain import DevChain
from .errors import METHOD_NOT_FOUND, RpcError, invalid_params
from .params import Params


Method = Callable[[DevChain, Params], Any]

CLIENT_VERSION: Final = "sandbox-billing-devnet/py-evm"


def perform(chain: DevChain, method: str, values: list[Any]) -> Any:
    """
    Carry out one request.

    @return: Its C{result}, ready for JSON.
    @raise RpcError: Its C{error}.
    """
    known = METHODS.get(method)
    if known is None:
        raise RpcError(f"the method {method[:80]} does not exist", METHOD_NOT_FOUND)
    return known(chain, Params(values))


# -- accounts


def _balance(chain: DevChain, p: Params) -> str:
    return render.quantity(
        chain.balance(p.get(0, params.address), p.get(1, params.block_ref, "latest"))
    )


def _nonce(chain: DevChain, p: Params) -> str:
    return render.quantity(
        chain.nonce(p.get(0, params.address), p.get(1, params.block_ref, "latest"))
    )


def _code(chain: DevChain, p: Params) -> str:
    state = chain.state_at(p.get(1, params.block_ref, "latest"))
    return render.octets(state.get_code(Address(p.get(0, params.address))))


def _storage(chain: DevChain, p: Params) -> str:
    state = chain.state_at(p.get(2, params.block_ref, "latest"))
    slot = state.get_storage(Address(p.get(0, params.address)), p.get(1, params.number))
    return render.octets(slot.to_bytes(32, "big"))


# -- calls and fees


def _call(chain: DevChain, p: Params) -> str:
    _refuse_overrides(p)
    request = p.get(0, params.call_request)
    return render.octets(chain.call(request, p.get(1, params.block_ref, "latest")))


def _estimate_gas(chain: DevChain, p: Params) -> str:
    _refuse_overrides(p)
    request = p.get(0, params.call_request)
    return render.quantity(chain.estimate_gas(request, p.get(1, params.block_ref, "latest")))


def _refuse_overrides(p: Params) -> None:
    """
    Better no answer than one on a state that was not asked for.
    """
    if p.get(2, bool, default=False):
        raise invalid_params("state overrides are not supported")


def _fee_history(chain: DevChain, p: Params) -> dict[str, Any]:
    newest = chain.require_block(p.get(1, params.block_ref, "latest"))
    return fees.history(chain, p.get(0, params.number), newest, p.get(2, params.percentiles, None))


# -- blocks


def _block(chain: DevChain, p: Params) -> dict[str, Any] | None:
    ref, full = p.get(0, params.block_ref), p.get(1, params.boolean, default=False)
    if ref == "pending":
        return render.pending_block(chain.pending_draft(), full=full)
    found = chain.block(ref)
    return None if found is None else render.block(found, full=full)


def _transaction_count(chain: DevChain, p: Params) -> str | None:
    found = chain.block(p.get(0, params.block_ref))
    return None if found is None else render.quantity(len(found.receipts))


def _block_receipts(chain: DevChain, p: Params) -> list[dict[str, Any]] | None:
    found = chain.block(p.get(0, params.block_ref))
    return None if found is None else [render.receipt(found, r) for r in found.receipts]


# -- transactions


def _send(chain: DevChain, p: Params) -> str:
    return render.octets(chain.send_raw(p.get(0, params.octets)))


def _transaction(chain: DevChain, p: Params) -> dict[str, Any] | None:
    found = chain.transaction(p.get(0, params.word))
    return None if found is None else render.transaction(*found)


def _transaction_at(chain: DevChain, p: Params) -> dict[str, Any] | None:
    found, place = chain.block(p.get(0, params.block_ref)), p.get(1, params.number)
    if found is None or place >= len(found.receipts):
        return None
    return render.transaction(found.receipts[place].transaction, found, found.receipts[place])


def _receipt(chain: DevChain, p: Params) -> dict[str, Any] | None:
    found = chain.index.receipt(p.get(0, params.word))
    return None if found is None else render.receipt(*found)


def _logs(chain: DevChain, p: Params) -> list[dict[str, Any]]:
    first, last = p.get(0, params.log_range)
    wanted = p.get(0, params.log_filter)
    if isinstance(first, bytes) and chain.block(first) is None:
        raise RpcError("unknown block")
    low, high = _height(chain, first), _height(chain, last)
    if low > high:
        raise invalid_params("invalid block range params")
    return [render.log(*place) for place in chain.index.logs(low, high, wanted)]


def _height(chain: DevChain, ref: Any) -> int:
    """
    A number above the head stays what it is: nothing is there yet, which is no error.
    """
    return ref if isinstance(ref, int) else chain.require_block(ref).number


# -- control: what a real node does not offer


def _mined(block: MinedBlock) -> str:
    return render.quantity(block.number)


def _evm_mine(chain: DevChain, p: Params) -> str:
    def timestamp(value: Any) -> int:
        return params.number(value.get("timestamp") if isinstance(value, dict) else value)

    chain.mine(p.get(0, timestamp, None))
    return "0x0"


def _mine_many(chain: DevChain, p: Params) -> str:
    blocks = p.get(0, params.number, 1)
    if not 0 < blocks <= 10_000:
        raise invalid_params("from 1 to 10000 blocks at a time")
    for _ in range(blocks):
        chain.mine()
    return _mined(chain.head)


def _set_automine(chain: DevChain, p: Params) -> bool:
    chain.automine = p.get(0, params.boolean)
    return True


def _set_paused(paused: bool) -> Method:
    def method(chain: DevChain, p: Params) -> bool:
        chain.paused = paused
        return True

    return method


def _set_timestamp(chain: DevChain, p: Params) -> str:
    timestamp = p.get(0, params.number)
    chain.set_next_timestamp(timestamp)
    return render.quantity(timestamp)


def _set_base_fee(chain: DevChain, p: Params) -> bool:
    chain.set_next_base_fee(p.get(0, params.number))
    return True


def _set_balance(chain: DevChain, p: Params) -> bool:
    chain.set_balance(p.get(0, params.address), p.get(1, params.number))
    return True


def _reorg(chain: DevChain, p: Params) -> list[str]:
    keep = p.get(1, params.boolean, default=True)
    return [render.octets(h) for h in chain.reorg(p.get(0, params.number), keep_transactions=keep)]


def _pool_status(chain: DevChain, p: Params) -> dict[str, str]:
    pending = sum(
        chain.pool.pending_nonce(sender, chain.nonce(sender)) - chain.nonce(sender)
        for sender in chain.pool.by_sender
    )
    return {
        "pending": render.quantity(pending),
        "queued": render.quantity(len(chain.pool) - pending),
    }


METHODS: Final[Mapping[str, Method]] = {
    "eth_chainId": lambda c, p: render.quantity(c.chain_id),
    "net_version": lambda c, p: str(c.chain_id),
    "net_listening": lambda c, p: True,
    "web3_clientVersion": lambda c, p: CLIENT_VERSION,
    "eth_syncing": lambda c, p: False,
    "eth_accounts": lambda c, p: [],
    "eth_blockNumber": lambda c, p: render.quantity(c.head.number),
    "eth_getBalance": _balance,
    "eth_getTransactionCount": _nonce,
    "eth_getCode": _code,
    "eth_getStorageAt": _storage,
    "eth_call": _call,
    "eth_estimateGas": _estimate_gas,
    "eth_gasPrice": lambda c, p: render.quantity(c.next_base_fee() + fees.SUGGESTED_TIP),
    "eth_maxPriorityFeePerGas": lambda c, p: render.quantity(fees.SUGGESTED_TIP),
    "eth_feeHistory": _fee_history,
    "eth_getBlockByNumber": _block,
    "eth_getBlockByHash": _block,
    "eth_getBlockTransactionCountByNumber": _transaction_count,
    "eth_getBlockTransactionCountByHash": _transaction_count,
    "eth_getBlockReceipts": _block_receipts,
    "eth_sendRawTransaction": _send,
    "eth_getTransactionByHash": _transaction,
    "eth_getTransactionByBlockNumberAndIndex": _transaction_at,
    "eth_getTransactionByBlockHashAndIndex": _transaction_at,
    "eth_getTransactionReceipt": _receipt,
    "eth_getLogs": _logs,
    "txpool_status": _pool_status,
    "evm_mine": _evm_mine,
    "evm_increaseTime": lambda c, p: c.increase_time(p.get(0, params.number)),
    "evm_setNextBlockTimestamp": _set_timestamp,
    "evm_snapshot": lambda c, p: render.quantity(c.snapshot()),
    "evm_revert": lambda c, p: c.revert(p.get(0, params.number)),
    "evm_setAutomine": _set_automine,
    "devnet_accounts": unlocked.accounts,
    "devnet_personalSign": unlocked.personal_sign,
    "devnet_sendTransaction": unlocked.send_transaction,
    "devnet_mine": _mine_many,
    "devnet_increaseTime": lambda c, p: c.increase_time(p.get(0, params.number)),
    "devnet_setNextBlockTimestamp": _set_timestamp,
    "devnet_setNextBlockBaseFeePerGas": _set_base_fee,
    "devnet_snapshot": lambda c, p: render.quantity(c.snapshot()),
    "devnet_revert": lambda c, p: c.revert(p.get(0, params.number)),
    "devnet_setAutomine": _set_automine,
    "devnet_pauseMining": _set_paused(True),
    "devnet_resumeMining": _set_paused(False),
    "devnet_dropTransaction": lambda c, p: c.drop_transaction(p.get(0, params.word)),
    "devnet_reorg": _reorg,
    "devnet_setBalance": _set_balance,
}

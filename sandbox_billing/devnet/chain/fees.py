"""
C{eth_feeHistory} and what the node suggests to pay.

Tests: C{tests/devnet/test_chain_rpc.py}.
"""

from __future__ import annotations

from typing import Any, Final

from . import render
from .blocks import MinedBlock
from .devchain import DevChain


#: The tip the node suggests, neuron per gas.
SUGGESTED_TIP: Final = 10**9
#: More blocks are cut to so many (geth).
MAX_HISTORY_BLOCKS: Final = 1024


def history(
    chain: DevChain, count: int, newest: MinedBlock, percentiles: list[float] | None
) -> dict[str, Any]:
    """
    Base fees, fullness and tips of the C{count} blocks up to C{newest}.

    @param percentiles: For which shares of each block's gas, rising, tips are wanted.
    """
    count = min(count, MAX_HISTORY_BLOCKS, newest.number + 1)
    if count == 0:
        return {"oldestBlock": "0x0", "gasUsedRatio": []}
    oldest = newest.number + 1 - count
    blocks = [chain.require_block(n) for n in range(oldest, newest.number + 1)]
    following = chain.index.at(newest.number + 1)
    after = chain.next_base_fee() if following is None else following.base_fee
    form: dict[str, Any] = {
        "oldestBlock": render.quantity(oldest),
        "baseFeePerGas": [render.quantity(b.base_fee) for b in blocks] + [render.quantity(after)],
        "gasUsedRatio": [b.header.gas_used / b.header.gas_limit for b in blocks],
        "baseFeePerBlobGas": ["0x1"] * (count + 1),
        "blobGasUsedRatio": [0.0] * count,
    }
    if percentiles is not None:
        form["reward"] = [[render.quantity(tip) for tip in _tips(b, percentiles)] for b in blocks]
    return form


def _tips(block: MinedBlock, percentiles: list[float]) -> list[int]:
    """
    The tip at each percentile of the block's gas; zeros for an empty block.
    """
    by_tip = sorted((r.gas_price - block.base_fee, r.gas_used) for r in block.receipts)
    if not by_tip:
        return [0] * len(percentiles)
    found, place, passed = [], 0, by_tip[0][1]
    for percentile in percentiles:
        wanted = block.header.gas_used * percentile / 100
        while passed < wanted and place < len(by_tip) - 1:
            place += 1
            passed += by_tip[place][1]
        found.append(by_tip[place][0])
    return found

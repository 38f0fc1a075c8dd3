"""
Tests of C{sandbox_billing.adapters.chain.adapter}: the port's suite, on the real contract.
"""

from __future__ import annotations

from typing import Any

from sandbox_billing.adapters.chain.adapter import Web3Chain
from sandbox_billing.devnet.chain.errors import RpcError
from tests.adapters.chain_stubs import (
    Forward,
    StubNode,
    behind,
    dead_url,
    without_hashes,
)
from tests.ports.chain import ChainCase, chain_suite


class Web3ChainTests(chain_suite(lambda case: case.adapter())):  # type: ignore[misc]
    """One node that takes batches and block hashes."""


def _poor(method: str, params: list[Any], forward: Forward) -> Any:
    if method == "eth_getLogs":
        first, last = (int(params[0][key], 16) for key in ("fromBlock", "toBlock"))
        if last - first > 1:
            raise RpcError("query exceeds max block range", -32005)
    if method == "eth_maxPriorityFeePerGas":
        raise RpcError("the method does not exist", -32601)
    return without_hashes(method, params, forward)


def _on_a_poor_node(case: ChainCase) -> Web3Chain:
    node = StubNode(case, _poor)
    node.max_batch = 0
    return case.adapter(node.url)


class PoorNodeTests(chain_suite(_on_a_poor_node)):  # type: ignore[misc]
    """One node without batches, block hashes, tips, or ranges of more than two blocks."""


def _among_bad_nodes(case: ChainCase) -> Web3Chain:
    failing, lagging = StubNode(case), StubNode(case, behind(1))
    failing.status = 503
    return case.adapter(dead_url(case), failing.url, lagging.url, case.service.url)


class BadNeighboursTests(chain_suite(_among_bad_nodes)):  # type: ignore[misc]
    """A good node behind a dead one, a failing one, and one that lags by a block."""

    async def test_blocks(self) -> None:
        """The head is the newest that any node has, and the others need not have it."""
        mined = await self.run_on_chain(self.stage.chain.mine)
        head = await self.chain.head()
        self.assertEqual(head.number, mined.number)
        newest = await self.chain.block(mined.number)
        self.assertEqual(newest.hash, "0x" + mined.hash.hex())

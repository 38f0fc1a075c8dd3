"""
What the contract behind the proxy can do beyond the one that is deployed today.

Its behaviour is asked, never its address: once per implementation, and again when the
beacon names another one.  Blocking; for the threads of the adapter.

Tests: L{tests.adapters.test_chain_capabilities}.
"""

from __future__ import annotations

from typing import ClassVar

from twisted.logger import Logger

from sandbox_billing.adapters.chain.codec import Codec
from sandbox_billing.adapters.chain.contract import ContractReader, Reverted
from sandbox_billing.adapters.chain.node import Node, NodeFailure, RpcRefusal, quantity
from sandbox_billing.adapters.chain.nodes import found_header
from sandbox_billing.adapters.chain.settle import batch_calldata
from sandbox_billing.interfaces import ISigner
from sandbox_billing.ledger.account import BlockRef
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip712 import EIP712Domain


BEACON_SLOT = "0xa3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6cb3582b35133d50"
"""Where a proxy keeps its beacon's address (ERC-1967)."""

_IMPLEMENTATION = bytes.fromhex("5c60da1b")
"""The selector of C{implementation()}, which every beacon has."""


class Capabilities:
    """
    Asked before a settle call is made; the answer belongs to one implementation.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        reader: ContractReader,
        codec: Codec,
        *,
        provider: Address,
        domain: EIP712Domain,
        signer: ISigner,
    ) -> None:
        self._reader = reader
        self._codec = codec
        self._provider = provider
        self._domain = domain
        self._signer = signer
        self._settles_batches: dict[Address, bool] = {}
        self._last = False

    def settles_batches(self, node: Node) -> bool:
        """
        Whether C{settleBatch} is there.

        Where a node does not say what stands behind the proxy, the last answer counts, and
        before there is one a signature per voucher, which every contract takes.

        @raise Transient: The node does not answer.
        """
        try:
            implementation = implementation_of(node, self._reader.address, "latest")
        except RpcRefusal as why:
            self._log.debug(
                "{node} hides the proxy's storage: {why}", node=node.label, why=why.text
            )
            return self._last
        self._last = self._known(node, implementation)
        return self._last

    def _known(self, node: Node, implementation: Address) -> bool:
        known = self._settles_batches.get(implementation)
        if known is None:
            known = self._settles_batches[implementation] = self._probe(node)
            self._log.info(
                "the contract at {implementation} takes {how}",
                implementation=implementation.hex,
                how="one signature per batch" if known else "one signature per voucher",
            )
        return known

    def _probe(self, node: Node) -> bool:
        """
        Settle a batch of nothing, as a read: it succeeds, or is refused for a reason that
        only a contract with this function knows.  One without it reverts and says nothing.
        """
        call = batch_calldata(
            self._codec, self._provider, [], domain=self._domain, signer=self._signer
        )
        at: BlockRef = found_header(
            node.call("eth_getBlockByNumber", "latest", False), "latest"
        ).ref
        (answer,) = self._reader.read_from(node, [call], at, self._signer.address)
        if isinstance(answer, Reverted):
            return self._codec.is_own_error(answer.data)
        return answer == _NO_STATUSES


_NO_STATUSES = (32).to_bytes(32, "big") + bytes(32)
"""An empty array, ABI-encoded.  A fallback that takes any call answers something else."""


def implementation_of(node: Node, contract: Address, block: str) -> Address:
    """What the beacon names; the contract itself where it is no beacon's proxy."""
    slot = _word(node.call("eth_getStorageAt", contract.hex, BEACON_SLOT, block))
    if not any(slot):
        return contract
    call = {
        "to": Address.from_bytes(slot[12:]).hex,
        "data": "0x" + _IMPLEMENTATION.hex(),
    }
    return Address.from_bytes(_word(node.call("eth_call", call, block))[12:])


def _word(answer: object) -> bytes:
    """Some nodes leave the zeros in front away."""
    found = quantity(answer, "a storage slot") if answer != "0x" else 0
    if found >= 2**256:
        raise NodeFailure("a node answered something that is no address")
    return found.to_bytes(32, "big")

"""
Reads of the contract at a block that is named by its hash.

A number may come to mean another block between two calls; a hash may not.  Where a node
takes no hash (EIP-1898), the number's hash is checked before and after instead.

Blocking; for the threads of the adapter.

Tests: L{tests.adapters.test_chain_reads}.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias

from attrs import frozen
from twisted.logger import Logger

from sandbox_billing.adapters.chain.codec import Codec
from sandbox_billing.adapters.chain.node import (
    INVALID_PARAMS,
    MAX_BATCH,
    Answer,
    Node,
    NodeFailure,
    Request,
    RpcRefusal,
    octets,
)
from sandbox_billing.adapters.chain.nodes import Nodes, found_header
from sandbox_billing.interfaces import NodeBehind
from sandbox_billing.ledger.account import BlockRef
from sandbox_billing.ledger.identity import Address


CONTRACT = "SandboxServing"

_EXECUTION_ERRORS = (-32000, -32015)
"""
What nodes that do not know code 3 answer to a revert without data (Geth before 1.14,
Nethermind), and to much else: believed only while another call at the same block succeeds.
"""


@frozen
class Reverted:
    """
    A call ran and reverted.

    @ivar data: What it returned.
    """

    data: bytes


Result: TypeAlias = bytes | Reverted


def revert_of(refusal: RpcRefusal) -> Reverted:
    """What a refusal that is C{reverted} carries."""
    return Reverted(bytes.fromhex((refusal.data or "0x")[2:]))


class ContractReader:
    """
    Calls without a transaction.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(self, nodes: Nodes, address: Address, codec: Codec) -> None:
        self._nodes = nodes
        self._codec = codec
        self.address = address

    def read(
        self, calls: Sequence[bytes], at: BlockRef, *, sender: Address | None = None
    ) -> list[Result]:
        """
        Make calls at one block, all answered by one node.

        @param calls: What C{Codec.calldata} made.
        @raise NodeBehind: No node has that block, or it was reorganised away.
        """
        return self._nodes.ask(lambda node: self.read_from(node, calls, at, sender))

    def one(self, function: str, *arguments: Any, at: BlockRef) -> tuple[Any, ...]:
        """
        One view that does not revert, decoded.

        @raise Transient: It reverts, or is no answer: not the contract we know.
        """
        (answer,) = self.views([(function, arguments)], at)
        return answer

    def views(
        self, asked: Sequence[tuple[str, Sequence[Any]]], at: BlockRef
    ) -> list[tuple[Any, ...]]:
        """
        Several views that do not revert, decoded.

        @raise Transient: As L{one}.
        """
        calls = [self._codec.calldata(function, *arguments) for function, arguments in asked]

        def work(node: Node) -> list[tuple[Any, ...]]:
            found: list[tuple[Any, ...]] = []
            results = self.read_from(node, calls, at)
            for (function, _), result in zip(asked, results, strict=True):
                if isinstance(result, Reverted):
                    raise NodeFailure(f"{node.label} says that {function} reverts")
                found.append(self._codec.answer(function, result))
            return found

        return self._nodes.ask(work)

    def read_from(
        self, node: Node, calls: Sequence[bytes], at: BlockRef, sender: Address | None = None
    ) -> list[Result]:
        """As L{read}, from this node only."""
        results: list[Result] = []
        requests = [self._request(call, sender) for call in calls]
        for start in range(0, len(requests), MAX_BATCH):
            part = requests[start : start + MAX_BATCH]
            found = self._by_hash(node, part, at) if node.by_hash else None
            results += self._by_number(node, part, at) if found is None else found
        return results

    def _request(self, call: bytes, sender: Address | None) -> dict[str, str]:
        request = {"to": self.address.hex, "data": "0x" + call.hex()}
        if sender is not None:
            request["from"] = sender.hex
        return request

    def _by_hash(
        self, node: Node, calls: Sequence[dict[str, str]], at: BlockRef
    ) -> list[Result] | None:
        """
        @return: None when the node does not take hashes.
        """
        block = {"blockHash": at.hash, "requireCanonical": True}
        answers = node.batch([("eth_call", [call, block]) for call in calls])
        refusals = [a for a in answers if isinstance(a, RpcRefusal) and not a.reverted]
        if refusals:
            # Not by its words: if it has the block, the block was not what it refused.
            header = found_header(
                node.call("eth_getBlockByNumber", hex(at.number), False), str(at.number)
            )
            if header.ref.hash != at.hash:
                raise NodeBehind(f"{node.label} has another block {at.number}")
            if refusals[0].code == INVALID_PARAMS:
                self._log.info("chain node {node} takes no block hashes", node=node.label)
                node.by_hash = False
                return None
        return self._results(node, answers, block)

    def _by_number(self, node: Node, calls: Sequence[dict[str, str]], at: BlockRef) -> list[Result]:
        number = hex(at.number)
        check: Request = ("eth_getBlockByNumber", [number, False])
        before, *answers, after = node.batch(
            [check, *(("eth_call", [call, number]) for call in calls), check]
        )
        for answer in (before, after):
            if found_header(answer, str(at.number)).ref.hash != at.hash:
                raise NodeBehind(f"{node.label} has another block {at.number}")
        return self._results(node, answers, number)

    def _results(self, node: Node, answers: Sequence[Answer], block: object) -> list[Result]:
        results: list[Result] = []
        for answer in answers:
            if not isinstance(answer, RpcRefusal):
                results.append(octets(answer, "eth_call"))
            elif answer.reverted:
                results.append(revert_of(answer))
            elif answer.code in _EXECUTION_ERRORS and self._answers(node, block):
                results.append(Reverted(b""))
            else:
                raise answer
        return results

    def _answers(self, node: Node, block: object) -> bool:
        """Whether a call that cannot revert succeeds there."""
        call = self._request(self._codec.calldata("domainSeparator"), None)
        try:
            return len(octets(node.call("eth_call", call, block), "eth_call")) == 32
        except RpcRefusal:
            return False

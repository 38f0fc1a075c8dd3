"""
Several nodes as one: the next is asked when one fails, and none serves another chain.

Blocking; for the threads of the adapter.

Tests: L{tests.adapters.test_chain_failover}.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, ClassVar, TypeVar

from attrs import field, frozen
from twisted.logger import Logger

from sandbox_billing.adapters.chain.node import Node, NodeFailure, RpcRefusal, octets, quantity
from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import NodeBehind
from sandbox_billing.ledger.account import BlockRef
from sandbox_billing.ledger.money import UnixSeconds


T = TypeVar("T")

SHUN_SECONDS = 30.0
"""How long a node that gave no answer is asked last."""

POLL_SECONDS = 5.0
"""After so long nobody else is asked for what several nodes could say."""

_MAX_HEADERS = 4096


@frozen(auto_exc=False)
class NoNode(Transient):
    """
    Every configured node failed.

    @ivar causes: What each of them said.
    """

    causes: tuple[Transient, ...] = field(default=(), repr=False)


class Nodes:
    """
    The configured nodes, in the order of preference.

    @ivar chain_id: A node that serves another chain is never asked anything else.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(
        self, nodes: Sequence[Node], *, chain_id: int, seconds: Callable[[], float]
    ) -> None:
        self._nodes = tuple(nodes)
        self._seconds = seconds
        self.chain_id = chain_id

    @property
    def several(self) -> bool:
        """Whether another could be asked instead."""
        return len(self._nodes) > 1

    def in_order(self) -> tuple[Node, ...]:
        """Those that lately failed last, otherwise as configured."""
        now = self._seconds()
        return tuple(sorted(self._nodes, key=lambda node: node.shunned_until > now))

    def ask(self, work: Callable[[Node], T]) -> T:
        """
        The first answer that any node gives.

        @param work: Raises L{NodeBehind} where the node lacks the block in question, and
            any other L{Transient} where it is of no use.
        @raise NodeBehind: At least one answered, and none that did has the block.
        @raise NoNode: All failed.
        """
        causes: list[Transient] = []
        for node in self.in_order():
            try:
                self.check_chain(node)
                return work(node)
            except Transient as problem:
                self.failed(node, problem)
                causes.append(problem)
        text = "; ".join(dict.fromkeys(cause.text for cause in causes))
        if any(isinstance(cause, NodeBehind) for cause in causes):
            raise NodeBehind(text)
        raise NoNode(text, tuple(causes))

    def poll(
        self, work: Callable[[Node], T], enough: Callable[[T], bool] = lambda answer: False
    ) -> list[T]:
        """
        What those nodes say that answer quickly; at least one answer.

        Whoever lately failed is left out, and whoever is slow becomes one of those: nobody
        waits for a spare node.  Only where none is quick is one asked with patience.

        @param enough: True of an answer after which nobody else need be asked.
        @raise NodeBehind: As L{ask}.
        @raise NoNode: All failed.
        """
        answers: list[T] = []
        deadline = self._seconds() + POLL_SECONDS
        for node in self._nodes if self.several else ():
            now = self._seconds()
            if now > deadline:
                break
            if node.shunned_until > now:
                continue
            try:
                self.check_chain(node.hasty())
                answers.append(work(node.hasty()))
            except Transient as problem:
                self.failed(node, problem)
                continue
            if enough(answers[-1]):
                break
        return answers or [self.ask(work)]

    def chain_ids(self) -> list[int]:
        """
        Which chains the nodes that answer serve; for the start-up check.

        @raise NoNode: None answers.
        """
        found: list[int] = []
        causes: list[Transient] = []
        for node in self.in_order():
            try:
                found.append(self._chain_id(node))
            except Transient as problem:
                self.failed(node, problem)
                causes.append(problem)
        if not found:
            raise NoNode("; ".join(cause.text for cause in causes), tuple(causes))
        return found

    def failed(self, node: Node, problem: Transient) -> None:
        """Remember that a node gave no answer; one that refused or lags is still good."""
        if not isinstance(problem, NodeFailure):
            return
        now, node = self._seconds(), node.patient
        if node.shunned_until <= now:
            self._log.warn("chain node {node} failed: {why}", node=node.label, why=problem.text)
        node.shunned_until = now + SHUN_SECONDS

    def check_chain(self, node: Node) -> None:
        """
        @raise NodeFailure: It does not answer, or serves another chain.
        """
        chain_id = self._chain_id(node)
        if chain_id != self.chain_id:
            # Asked again each time: a node may be mended while we run.
            node.chain_id = None
            raise NodeFailure(f"{node.label} serves chain {chain_id}, not {self.chain_id}")

    def _chain_id(self, node: Node) -> int:
        if node.chain_id is None:
            node.chain_id = quantity(node.call("eth_chainId"), "eth_chainId")
        return node.chain_id


@frozen(kw_only=True)
class Header:
    """
    @ivar base_fee: neuron per gas; None on a chain without EIP-1559.
    """

    ref: BlockRef
    gas_limit: int
    base_fee: int | None


def read_header(document: object) -> Header:
    """
    @raise NodeFailure: It is no block.
    """
    if not isinstance(document, Mapping):
        raise NodeFailure("a node answered something that is no block")
    base_fee = document.get("baseFeePerGas")
    block_hash = octets(document.get("hash"), "a block's hash")
    if len(block_hash) != 32:
        raise NodeFailure("a node answered a block without a hash")
    return Header(
        ref=BlockRef(
            number=quantity(document.get("number"), "a block's number"),
            hash="0x" + block_hash.hex(),
            timestamp=UnixSeconds(quantity(document.get("timestamp"), "a block's time")),
        ),
        gas_limit=quantity(document.get("gasLimit"), "a block's gas limit"),
        base_fee=None if base_fee is None else quantity(base_fee, "a base fee"),
    )


def found_header(answer: object, which: str) -> Header:
    """
    A node's answer to a question for a block.

    @raise NodeBehind: It has none.
    @raise RpcRefusal: It refused.
    """
    if isinstance(answer, RpcRefusal):
        raise answer
    if answer is None:
        raise NodeBehind(f"no node has block {which}")
    return read_header(answer)


class Headers:
    """
    Blocks by hash.  A hash means the same block for ever, so that they may be kept.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, BlockRef] = OrderedDict()
        self._lock = Lock()

    def of(self, node: Node, hashes: Sequence[str]) -> dict[str, BlockRef]:
        """
        @raise NodeBehind: The node lacks one of them.
        """
        with self._lock:
            known = {h: self._kept[h] for h in hashes if h in self._kept}
        missing = [h for h in dict.fromkeys(hashes) if h not in known]
        requests: list[tuple[str, list[Any]]] = [
            ("eth_getBlockByHash", [block_hash, False]) for block_hash in missing
        ]
        for block_hash, answer in zip(missing, node.batch(requests), strict=True):
            ref = found_header(answer, block_hash).ref
            if ref.hash != block_hash:
                raise NodeFailure(f"{node.label} answered another block than asked for")
            known[block_hash] = ref
        with self._lock:
            self._kept.update((h, known[h]) for h in missing)
            while len(self._kept) > _MAX_HEADERS:
                self._kept.popitem(last=False)
        return known

"""
Asking a wallet that is a contract whether it signed: EIP-1271 and EIP-6492.

One C{eth_call} that creates a contract whose code asks and is thrown away with all it did
(the "deployless" call of EIP-6492's off-chain validation).  The code is our own and a few
lines: the EIP's reference validator creates a second contract within the first, which alone
costs more gas than we let this use.  As it runs in the EVM, a wallet that reverts, runs
out of gas or answers too much is a plain "no" on every node, and what a node calls an error
is always the node's.  Nothing that a wallet answers makes us call anybody (no CCIP read,
EIP-3668): there is no such code on this way.

It shares nothing with settlement and mirror but the addresses of the nodes: threads,
connections and patience are its own.

Tests: L{tests.adapters.test_contract_wallets}.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from eth_utils.crypto import keccak
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from sandbox_billing.adapters.chain.adapter import IThreadedReactor
from sandbox_billing.adapters.chain.node import Node, NodeFailure, octets
from sandbox_billing.adapters.chain.nodes import Nodes
from sandbox_billing.errors import BadInput, Transient
from sandbox_billing.interfaces import IContractWallets, NotReady
from sandbox_billing.ledger.identity import Address
from sandbox_billing.log_context import carried
from sandbox_billing.signing.contract_wallet import (
    YES,
    Counterfactual,
    is_counterfactual,
    question,
    read_counterfactual,
)


GAS = 200_000
"""Of the whole call: 53,000 and what the bytes cost are gone before the wallet is asked."""

SECONDS = 2.0
"""For one answer, waiting for a thread included."""

CONNECT_SECONDS = 1.0
"""Less than L{SECONDS}: another node may be reached meanwhile."""

THREADS = 2
MOST = 10
"""Questions under way, those that wait for a thread included."""

NOBODY = Address.from_bytes(keccak(b"sandbox_billing asks a contract wallet")[12:])
"""Who calls.  Nobody has its key; and it is not zero, which some wallets take for a
simulation in which every signature is good."""


_SIGNED = b"\1"


@implementer(IContractWallets)
class Web3ContractWallets:
    """
    L{IContractWallets} over several nodes, of which the first that answers is believed.
    """

    _log = Logger()

    def __init__(
        self,
        nodes: Nodes,
        *,
        reactor: IThreadedReactor,
        pool: ThreadPool,
        patience: float = SECONDS,
    ) -> None:
        """
        @param nodes: Nobody else's: made with little patience.
        @param pool: L{THREADS} threads for this alone; started and stopped by the caller.
        @param patience: For one answer, seconds.
        """
        self._nodes = nodes
        self._reactor = reactor
        self._pool = pool
        self._patience = patience
        self._under_way = 0

    @classmethod
    def of(
        cls, urls: Sequence[str], *, chain_id: int, reactor: IThreadedReactor, pool: ThreadPool
    ) -> Self:
        """
        Put the parts together; nothing is called yet.

        @param urls: C{RPC_URL}.
        @raise ConfigurationError: A URL is none.
        """
        each = [
            Node(
                url,
                seconds=reactor.seconds,
                connect_seconds=CONNECT_SECONDS,
                read_seconds=SECONDS,
            )
            for url in urls
        ]
        nodes = Nodes(each, chain_id=chain_id, seconds=reactor.seconds)
        return cls(nodes, reactor=reactor, pool=pool)

    async def has_signed(self, wallet: Address, digest: bytes, signature: bytes) -> bool:
        try:
            code = program(wallet, digest, signature)
        except BadInput:
            return False
        if self._under_way >= MOST:
            raise NotReady("too many contract wallets are being asked", 1)
        self._under_way += 1
        deadline = self._reactor.seconds() + self._patience
        waiting: Deferred[bool] = Deferred()
        # A thread cannot be cancelled: until it ends its place is taken.
        asking = deferToThreadPool(self._reactor, self._pool, carried(self._ask), code, deadline)
        asking.addBoth(carried(self._ended), waiting)
        waiting.addTimeout(self._patience, self._reactor)
        try:
            return await waiting
        except TimeoutError:
            raise Transient("no node told in time whether a contract wallet signed") from None

    def _ended(self, result: Any, waiting: Deferred[bool]) -> None:
        self._under_way -= 1
        if not waiting.called:
            waiting.callback(result)
        elif isinstance(result, Failure) and not result.check(Transient):
            self._log.failure("asking a contract wallet failed", failure=result)

    def _ask(self, code: bytes, deadline: float) -> bool:
        """In a thread."""

        def ask(node: Node) -> bool:
            if self._reactor.seconds() > deadline:
                raise Transient("the time is up")
            call = {"from": NOBODY.hex, "gas": hex(GAS), "data": "0x" + code.hex()}
            answer = octets(node.call("eth_call", call, "latest"), "a contract wallet's word")
            if answer not in (_SIGNED, b"\0", b""):
                raise NodeFailure(f"{node.label} answered something else than was asked")
            return answer == _SIGNED

        return self._nodes.ask(ask)


def program(wallet: Address, digest: bytes, signature: bytes) -> bytes:
    """
    What to create: code that returns one byte, 1 when the wallet says that it signed; else 0,
    or nothing when it could not be deployed.

    A wallet that is there is asked as it is, without the deployment that a signature brings
    along: EIP-6492 would make that call and ask again, but then whoever shows the signature
    could first do something to the wallet that nobody could do on the chain and keep.

    @raise BadInput: The signature ends as EIP-6492's do, and is none.
    """
    wrapped = read_counterfactual(signature) if is_counterfactual(signature) else None
    asked = question(digest, signature if wrapped is None else wrapped.signature)
    deployment = b"" if wrapped is None else wrapped.deployment
    # The length does not depend on the places that are filled in.
    length = len(_code(wallet, wrapped, asked_at=0, asked_length=0))
    code = _code(wallet, wrapped, asked_at=length, asked_length=len(asked))
    return code + asked + deployment


def _code(
    wallet: Address, wrapped: Counterfactual | None, *, asked_at: int, asked_length: int
) -> bytes:
    who = b"\x73" + wallet.to_bytes()
    ask = (
        # CODECOPY(0, asked_at, asked_length)
        _two(asked_length)
        + _two(asked_at)
        + bytes.fromhex("600039")
        # STATICCALL(GAS, wallet, 0, asked_length, 0, 32)
        + bytes.fromhex("60206000")
        + _two(asked_length)
        + bytes.fromhex("6000")
        + who
        + bytes.fromhex("5afa")
        # and RETURNDATASIZE == 32 and MLOAD(0) == YES
        + bytes.fromhex("3d602014166000517f")
        + YES
        + bytes.fromhex("1416")
        # MSTORE8(0, that) RETURN(0, 1)
        + bytes.fromhex("60005360016000f3")
    )
    if wrapped is None:
        return ask
    size, place = _two(len(wrapped.deployment)), _two(asked_at + asked_length)
    # CODECOPY(0, place, size) CALL(GAS, factory, 0, 0, size, 0, 0)
    deploy = size + place + bytes.fromhex("600039")
    deploy += bytes.fromhex("60006000") + size + bytes.fromhex("60006000")
    deploy += b"\x73" + wrapped.factory.to_bytes() + bytes.fromhex("5af1")
    # EXTCODESIZE(wallet) PUSH2 ask JUMPI | deploy, PUSH2 ask JUMPI | STOP | ask: JUMPDEST
    before = len(who) + 1 + 4
    at = _two(before + len(deploy) + 4 + 1)
    return who + b"\x3b" + at + b"\x57" + deploy + at + b"\x57\x00" + b"\x5b" + ask


def _two(number: int) -> bytes:
    """PUSH2."""
    return b"\x61" + number.to_bytes(2, "big")

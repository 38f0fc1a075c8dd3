"""
One node, the right chain, and reads of it.

Tests: L{tests.cli.test_deploy}.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from sandbox_billing.adapters.chain.codec import Codec
from sandbox_billing.adapters.chain.node import Node, NodeFailure, RpcRefusal, octets, quantity
from sandbox_billing.cli.exits import WrongChain
from sandbox_billing.cli.options import ChainOptions
from sandbox_billing.cli.reverts import sentence
from sandbox_billing.cli.stack import BEACON_SLOT
from sandbox_billing.errors import BadInput, ConfigurationError, Refused, Transient
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.eip712 import EIP712Domain


SERVING = "SandboxServing"


@frozen
class Pace:
    """
    How time passes for a command.

    @ivar seconds: A clock that only runs forward.
    @ivar sleep: Waits so many seconds.
    """

    seconds: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@frozen(kw_only=True)
class Session:
    """
    A node that serves the chain that was meant.

    Blocking.  Reads are of the newest block.
    """

    node: Node
    chain_id: int
    pace: Pace

    def call(self, method: str, *params: Any) -> Any:
        """
        Any JSON-RPC method.

        @raise Transient: No answer, or an error.
        """
        return self.node.call(method, *params)

    def number(self, method: str, *params: Any) -> int:
        """A method that answers with a quantity."""
        return quantity(self.call(method, *params), method)

    def head(self) -> int:
        """The newest block's number."""
        return self.number("eth_blockNumber")

    def balance(self, account: Address) -> int:
        """What an account has, in neuron, for gas and value."""
        return self.number("eth_getBalance", account.hex, "latest")

    def code(self, address: Address) -> bytes:
        """What stands at an address; empty for none."""
        return octets(self.call("eth_getCode", address.hex, "latest"), "eth_getCode")

    def storage(self, address: Address, slot: int) -> bytes:
        """One slot's 32 bytes."""
        word = self.call("eth_getStorageAt", address.hex, hex(slot), "latest")
        return octets(word, "eth_getStorageAt").rjust(32, b"\0")

    def view(self, contract: str, at: Address, function: str, *arguments: Any) -> tuple[Any, ...]:
        """
        Call a view.

        @param contract: An artifact's name.
        @return: Its answers in order; addresses as C{0x} and lower case.
        @raise Refused: It reverts; with the reason in words.
        @raise Transient: It is no answer.
        """
        codec = Codec(contract)
        request = {"to": at.hex, "data": "0x" + codec.calldata(function, *arguments).hex()}
        return codec.answer(function, self.simulate(request))

    def simulate(self, request: Mapping[str, str]) -> bytes:
        """
        C{eth_call}.

        @raise Refused: It reverts; with the reason in words.
        """
        try:
            return octets(self.call("eth_call", dict(request), "latest"), "eth_call")
        except RpcRefusal as refusal:
            if refusal.reverted:
                raise Refused(sentence(refusal.data)) from None
            raise

    def serving(self, proxy: Address, function: str, *arguments: Any) -> tuple[Any, ...]:
        """A view of the settlement contract."""
        return self.view(SERVING, proxy, function, *arguments)

    def require_serving(self, proxy: Address) -> None:
        """
        @raise WrongChain: At the address is not the settlement contract of this chain.
        """
        if not self.code(proxy):
            raise WrongChain(
                f"there is no contract at {checksum(proxy)} on chain {self.chain_id}: "
                "look at the contract's address"
            )
        try:
            (found,) = self.serving(proxy, "domainSeparator")
        except (Refused, Transient) as problem:
            if isinstance(problem, NodeFailure):
                raise
            found = b""
        if found != EIP712Domain(self.chain_id, proxy).separator:
            raise WrongChain(
                f"what stands at {checksum(proxy)} is not the settlement contract of chain "
                f"{self.chain_id} (its domainSeparator differs): look at the contract's address"
            )
        # The bare implementation answers for itself, and money paid into it is in no books.
        if not any(self.storage(proxy, BEACON_SLOT)):
            raise WrongChain(
                f"what stands at {checksum(proxy)} is no proxy (the implementation?): look at the "
                "contract's address"
            )


def connect(options: ChainOptions, pace: Pace | None = None) -> Session:
    """
    The first of the nodes that answers, on the chain that is meant.

    @raise WrongChain: It serves another chain, or C{--contract} is not our contract.
    @raise Transient: None answers.
    """
    pace = pace or Pace()
    failures: list[str] = []
    for url in filter(None, (part.strip() for part in options.rpc.split(","))):
        try:
            node = Node(url, seconds=pace.seconds)
            found = quantity(node.call("eth_chainId"), "eth_chainId")
        except ConfigurationError as problem:
            raise BadInput(f"--rpc: {problem}") from None
        except Transient as problem:
            failures.append(str(problem))
            continue
        if found != options.chain_id:
            raise WrongChain(
                f"{node.label} serves chain {found}, and --chain-id says {options.chain_id}: "
                "nothing was sent"
            )
        session = Session(node=node, chain_id=found, pace=pace)
        if options.contract is not None:
            session.require_serving(options.contract)
        return session
    raise Transient(f"{'; '.join(failures) or 'no RPC URL is given'}: look at --rpc")

"""
Whether the contract behind the proxy has the flaws K1 and K2: by its code, never its address.

Code that this project committed is fixed.  Other code is asked to rehearse a refund and two
settlements (L{rehearsal}); what does not pass, or cannot be asked, is flawed.  What was proven
belongs to one implementation, and is asked for again when the beacon names another one.
Blocking; for the threads of the adapter.

Tests: L{tests.adapters.test_chain_behaviour}.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen
from eth_utils.crypto import keccak
from twisted.logger import Logger

from sandbox_billing.adapters.chain.capabilities import implementation_of
from sandbox_billing.adapters.chain.codec import Codec
from sandbox_billing.adapters.chain.layouts import layout_of
from sandbox_billing.adapters.chain.node import Node, RpcRefusal, octets, quantity
from sandbox_billing.adapters.chain.nodes import Nodes, NoNode
from sandbox_billing.adapters.chain.rehearsal import FIXED, FLAWED, rehearsal, told
from sandbox_billing.errors import Transient
from sandbox_billing.ledger.account import Behaviour, BlockRef
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip712 import EIP712Domain


@frozen(auto_exc=False)
class Untried(Transient):
    """
    A node refused to rehearse, for a reason of its own or because the code reverts.  Nothing is
    proven by that: the next node is asked, and all of them again at the next block.
    """

    implementation: Address


class BehaviourProbe:
    """
    Answers C{IChain.behaviour}.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        nodes: Nodes,
        codec: Codec,
        *,
        domain: EIP712Domain,
        sender: Address,
        told: Behaviour | None,
    ) -> None:
        """
        @param sender: Whose money the rehearsal is made with: the gas account, which has some.
        @param told: What the operator says it is; None to find out.
        """
        self._nodes = nodes
        self._codec = codec
        self._domain = domain
        self._sender = sender
        self._told = told
        self._known: dict[Address, Behaviour] = {}
        self._told_of: set[Address] = set()

    def behaviour(self, at: BlockRef) -> Behaviour:
        """
        At a block.

        @raise Transient: No node says what the proxy runs.
        """
        if self._told is not None:
            return self._told
        try:
            return self._nodes.ask(lambda node: self._at(node, hex(at.number)))
        except NoNode as failure:
            untried = [cause for cause in failure.causes if isinstance(cause, Untried)]
            if not untried:
                raise
            if untried[0].implementation not in self._told_of:
                self._told_of.add(untried[0].implementation)
                self._log.warn("the contract is taken for flawed: {why}", why=failure.text)
            return Behaviour.FLAWED

    def _at(self, node: Node, block: str) -> Behaviour:
        implementation = implementation_of(node, self._domain.contract, block)
        known = self._known.get(implementation)
        if known is None:
            code = octets(node.call("eth_getCode", implementation.hex, block), "eth_getCode")
            if layout_of(keccak(code)) is not None:
                known, why = Behaviour.FIXED, "it is a build of this project"
            else:
                known, why = self._rehearsed(node, block, implementation)
            self._known[implementation] = known
            self._log.info(
                "the contract's code at {implementation} is {how}: {why}",
                implementation=implementation.hex,
                how=known.value,
                why=why,
            )
        return known

    def _rehearsed(self, node: Node, block: str, implementation: Address) -> tuple[Behaviour, str]:
        """
        @raise Untried: The node did not let it be tried to the end.
        """
        contract = self._domain.contract.hex
        asked = {"to": contract, "data": "0x" + self._codec.calldata("providerStake").hex()}
        try:
            stake = int.from_bytes(octets(node.call("eth_call", asked, block), "a stake"), "big")
            count = node.call("eth_getTransactionCount", self._sender.hex, block)
            code, value = rehearsal(
                self._codec,
                self._domain,
                sender=self._sender,
                count=quantity(count, "a transaction count"),
                stake=stake,
            )
            call = {"from": self._sender.hex, "data": "0x" + code.hex(), "value": hex(value)}
            seen = told(octets(node.call("eth_call", call, block), "a rehearsal"))
        except RpcRefusal as why:
            raise Untried(f"it could not be tried ({why.text})", implementation) from None
        if seen == FIXED:
            return Behaviour.FIXED, "it kept refunds and took no more than the fee"
        if seen == FLAWED:
            return Behaviour.FLAWED, "it has K1 and K2"
        return Behaviour.FLAWED, f"unknown, for it did what nobody expects: {seen}"

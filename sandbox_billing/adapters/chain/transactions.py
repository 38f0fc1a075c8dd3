"""
Transactions of the gas account: prepared, then stored by the caller, then sent.

Everything here runs in the one submission thread: two transactions that are prepared at
once would take the same account nonce.

Tests: L{tests.adapters.test_chain_transactions}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Any

from attrs import frozen
from eth_utils.crypto import keccak

from sandbox_billing.adapters.chain.capabilities import Capabilities
from sandbox_billing.adapters.chain.codec import Codec
from sandbox_billing.adapters.chain.contract import revert_of
from sandbox_billing.adapters.chain.fees import (
    MINIMUM_TIP,
    DynamicFees,
    Fees,
    bump,
    fees_of,
    suggest,
)
from sandbox_billing.adapters.chain.node import (
    METHOD_NOT_FOUND,
    Node,
    Request,
    RpcRefusal,
    quantity,
)
from sandbox_billing.adapters.chain.nodes import Nodes, found_header
from sandbox_billing.adapters.chain.raw import read_raw
from sandbox_billing.adapters.chain.settle import SETTLE_BATCH, batch_calldata, settle_calldata
from sandbox_billing.errors import Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import AccountNonces, ISigner, Line, TooMuch
from sandbox_billing.ledger.batch import Attempt
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.eip712 import EIP712Domain


_REMEMBERED_CALLS = 256


@frozen(kw_only=True)
class GasPolicy:
    """
    @ivar fee_cap: C{GAS_FEE_CAP_NEURON}: neuron per gas that is never exceeded.
    @ivar floor: C{GAS_FLOOR_NEURON}: with less than this on the account nothing is sent.
    """

    fee_cap: Neuron
    floor: Neuron


@frozen(kw_only=True)
class _Market:
    """
    What a transaction prepared now must reckon with.

    @ivar gas: For this batch, with a margin.
    @ivar gas_limit: Of a block.
    """

    balance: int
    fees: Fees
    gas: int
    gas_limit: int


class Transactions:
    """
    The gas account's transactions.
    """

    def __init__(
        self,
        nodes: Nodes,
        *,
        contract: Address,
        provider: Address,
        codec: Codec,
        capabilities: Capabilities,
        signer: ISigner,
        policy: GasPolicy,
        now: Callable[[], UnixSeconds],
    ) -> None:
        self._nodes = nodes
        self._contract = contract
        self._provider = provider
        self._codec = codec
        self._capabilities = capabilities
        self._domain = EIP712Domain(nodes.chain_id, contract)
        self._signer = signer
        self._policy = policy
        self._now = now
        self._next = 0
        self._given: dict[bytes, int] = {}
        self._lock = Lock()

    def adopt(self, attempts: Iterable[Attempt]) -> None:
        """
        Never give the account nonces of these again: they are stored, and may be sent.

        Those of another sender say nothing of our account.
        """
        mine = [a.account_nonce + 1 for a in attempts if a.sender == self._signer.address]
        with self._lock:
            self._next = max([self._next, *mine])

    def abandon(self, attempt: Attempt) -> None:
        """The newest prepared attempt was neither stored nor sent: its account nonce is free."""
        nonce = attempt.account_nonce
        with self._lock:
            if self._next == nonce + 1:
                self._next = nonce
                self._given = {call: n for call, n in self._given.items() if n != nonce}

    def nonces(self) -> AccountNonces:
        """
        The highest counts that nodes answer: one that lags must not make us reuse one.

        Where those that know better do not answer, L{adopt} says what we may have sent.
        """
        sender = self._signer.address.hex

        def work(node: Node) -> tuple[int, int]:
            mined, pending = node.batch(
                [
                    ("eth_getTransactionCount", [sender, "latest"]),
                    ("eth_getTransactionCount", [sender, "pending"]),
                ]
            )
            if isinstance(mined, RpcRefusal):
                raise mined
            count = quantity(mined, "a transaction count")
            if isinstance(pending, RpcRefusal):
                return count, count
            return count, max(count, quantity(pending, "a transaction count"))

        counts = self._nodes.poll(work)
        return AccountNonces(
            mined=max(mined for mined, _ in counts),
            pending=max(pending for _, pending in counts),
        )

    def prepare(
        self, lines: Sequence[Line], replacing: Attempt | None, account_nonce: int | None = None
    ) -> Attempt:
        """
        See L{interfaces.IChain.prepare}.

        A bump repeats the call of what it replaces, byte for byte (T-1), unless it replaces it
        by nothing.

        @raise Refused: Also when the whole call reverts, or gas costs more than the cap.
        """
        if replacing is None or not lines:
            batched = self._nodes.ask(self._capabilities.settles_batches)
            data = self._calldata(lines, batched=batched)
        else:
            data = read_raw(replacing).data
            batched = self._codec.is_call(SETTLE_BATCH, data)
        none = self._calldata([], batched=batched)
        market = self._nodes.ask(lambda node: self._market(node, data, none, len(lines)))
        fees, gas = market.fees, market.gas
        if replacing is not None:
            fees = bump(fees_of(replacing), fees, self._policy.fee_cap)
            if lines:
                # What was mined meanwhile makes the estimate low; a reorg would take it back.
                gas = max(gas, replacing.gas_limit)
        if gas > market.gas_limit:
            raise TooMuch(f"{len(lines)} vouchers are more than a block takes; send fewer")
        self._check_purse(market.balance, gas, fees)
        if replacing is not None:
            nonce = replacing.account_nonce
        elif account_nonce is not None:
            nonce = account_nonce
        else:
            nonce = self._account_nonce(lines)
        return self._sign(data, nonce, gas, fees, empty=not lines)

    def _calldata(self, lines: Sequence[Line], *, batched: bool) -> bytes:
        if not batched:
            return settle_calldata(self._codec, self._provider, lines)
        return batch_calldata(
            self._codec, self._provider, lines, domain=self._domain, signer=self._signer
        )

    def _market(self, node: Node, data: bytes, none: bytes, lines: int) -> _Market:
        """
        Block, purse, fees and gas, from one node.
        """
        sender = self._signer.address.hex
        block, balance, tip, price, gas = node.batch(
            [
                ("eth_getBlockByNumber", ["latest", False]),
                ("eth_getBalance", [sender, "latest"]),
                ("eth_maxPriorityFeePerGas", []),
                ("eth_gasPrice", []),
                self._estimate(data),
            ]
        )
        for answer in (balance, price):
            if isinstance(answer, RpcRefusal):
                raise answer
        head = found_header(block, "latest")
        fees = suggest(
            base_fee=head.base_fee,
            tip=_tip(tip),
            gas_price=quantity(price, "a gas price"),
            ceiling=self._policy.fee_cap,
        )
        estimate = self._gas(node, gas, data, none, lines)
        return _Market(
            balance=quantity(balance, "a balance"),
            fees=fees,
            # The margin alone must not lift it over what a block takes.
            gas=max(estimate, min(estimate * 6 // 5, head.gas_limit)),
            gas_limit=head.gas_limit,
        )

    def _estimate(self, data: bytes) -> Request:
        call = {
            "from": self._signer.address.hex,
            "to": self._contract.hex,
            "data": "0x" + data.hex(),
        }
        return ("eth_estimateGas", [call])

    def _gas(self, node: Node, answer: Any, data: bytes, none: bytes, lines: int) -> int:
        """
        @param none: The same call without vouchers: if not even that passes, it is not the
            vouchers' fault.
        @raise TooMuch: It passes, and the whole does not.
        @raise Refused: It reverts as well.
        @raise RpcRefusal: The node has a trouble of its own.
        """
        if not isinstance(answer, RpcRefusal):
            return quantity(answer, "an estimate of gas")
        (without,) = node.batch([self._estimate(none)])
        if isinstance(without, RpcRefusal):
            if without.reverted:
                name = self._codec.error_name(revert_of(without).data)
                raise Refused(f"the settle call reverts: {name}")
            raise without
        # Asked again: a node that was out of breath for a moment must not split a batch.
        (again,) = node.batch([self._estimate(data)])
        if not isinstance(again, RpcRefusal):
            return quantity(again, "an estimate of gas")
        if again.reverted:
            name = self._codec.error_name(revert_of(again).data)
            raise TooMuch(f"{lines} vouchers make the settle call revert: {name}", reverts=True)
        if lines == 0:
            raise again
        # In whatever words: without vouchers it passes.  Of one voucher, too: it waits alone.
        raise TooMuch(f"{lines} vouchers are more than the node takes at once; send fewer")

    def _check_purse(self, balance: int, gas: int, fees: Fees) -> None:
        address, floor = self._signer.address, self._policy.floor
        if balance < floor:
            raise Refused(
                f"the gas account {address} holds {balance} neuron, below "
                f"GAS_FLOOR_NEURON {floor}; send it some"
            )
        if balance < gas * fees.cap:
            raise Refused(
                f"the gas account {address} holds {balance} neuron and this transaction may "
                f"cost {gas * fees.cap}; send it some"
            )

    def _account_nonce(self, lines: Sequence[Line]) -> int:
        """
        The next one; or, for lines that were prepared before, the same one again.

        The caller may have failed to store what it was given: were its account nonce left
        unused, every later transaction would wait behind the gap.  If it was stored after
        all, two transactions share the nonce and one of them can be mined (T-1).
        """
        counts = self.nonces()
        # By what is settled, not by the call: an upgrade meanwhile may have changed that.
        call = keccak(settle_calldata(self._codec, self._provider, lines))
        with self._lock:
            nonce = self._given.pop(call, -1)
            if nonce < counts.mined:
                nonce = max(counts.pending, self._next)
                self._next = nonce + 1
            self._given[call] = nonce
            if len(self._given) > _REMEMBERED_CALLS:
                self._given.pop(next(iter(self._given)))
        return nonce

    def _sign(self, data: bytes, nonce: int, gas: int, fees: Fees, *, empty: bool) -> Attempt:
        fields: dict[str, Any] = {
            "chainId": self._nodes.chain_id,
            "nonce": nonce,
            "to": checksum(self._contract),
            "value": 0,
            "gas": gas,
            "data": "0x" + data.hex(),
        }
        if isinstance(fees, DynamicFees):
            fields["type"] = 2
            fields["maxPriorityFeePerGas"] = fees.tip
            fields["maxFeePerGas"] = fees.cap
        else:
            fields["gasPrice"] = fees.cap
        signed = self._signer.sign_transaction(fields)
        return Attempt(
            sender=self._signer.address,
            account_nonce=nonce,
            gas_limit=gas,
            fee_cap=Neuron(fees.cap),
            raw="0x" + bytes(signed.raw).hex(),
            hash="0x" + bytes(signed.hash).hex(),
            recorded_at=self._now(),
            empty=empty,
        )

    def broadcast(self, attempt: Attempt) -> None:
        """
        See L{interfaces.IChain.broadcast}.

        Whatever a node answers but the hash, only finding the transaction proves that it
        has it.  Node after node is tried: the same bytes twice are one transaction.
        """
        causes: list[str] = []
        for node in self._nodes.in_order():
            try:
                self._nodes.check_chain(node)
                if self._has_taken(node, attempt, causes) or self._knows(node, attempt):
                    return
            except Transient as problem:
                self._nodes.failed(node, problem)
                causes.append(problem.text)
        raise UnknownOutcome(
            f"transaction {attempt.hash} was sent, and no node shows it: "
            + "; ".join(dict.fromkeys(causes))
        )

    def _has_taken(self, node: Node, attempt: Attempt, causes: list[str]) -> bool:
        try:
            answer = node.call("eth_sendRawTransaction", attempt.raw)
        except Transient as problem:
            self._nodes.failed(node, problem)
            causes.append(problem.text)
            return False
        return isinstance(answer, str) and answer.lower() == attempt.hash

    def _knows(self, node: Node, attempt: Attempt) -> bool:
        found = node.call("eth_getTransactionByHash", attempt.hash)
        return isinstance(found, dict) and str(found.get("hash")).lower() == attempt.hash


def _tip(answer: Any) -> int:
    if isinstance(answer, RpcRefusal):
        # Nodes of chains without EIP-1559 do not know the method.
        if answer.code == METHOD_NOT_FOUND:
            return MINIMUM_TIP
        raise answer
    return quantity(answer, "a tip")

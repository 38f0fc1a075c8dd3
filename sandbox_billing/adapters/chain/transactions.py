"""
Transactions of the gas account: prepared, then stored by the caller, then sent.

Everything here runs in the one submission thread: two transactions that are prepared at
once would take the same account nonce.

Tests: L{tests.adapters.test_chain_transactions}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen
from eth_utils.crypto import keccak

from sandbox_billing.adapters.chain.capabilities import Capabilities
from sandbox_billing.adapters.chain.codec import Codec
from sandbox_billing.adapters.chain.contract import revert_of
from sandbox_billing.adapters.chain.fees import (
    MINIMUM_TIP,
    MULTIPLE,
    DynamicFees,
    Fees,
    bump,
    fees_of,
    room,
    suggest,
)
from sandbox_billing.adapters.chain.node import (
    Node,
    Request,
    RpcRefusal,
    quantity,
)
from sandbox_billing.adapters.chain.nodes import Nodes, found_header
from sandbox_billing.adapters.chain.nonces import NonceBook
from sandbox_billing.adapters.chain.raw import read_raw
from sandbox_billing.adapters.chain.settle import SETTLE_BATCH, batch_calldata, settle_calldata
from sandbox_billing.errors import Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import AccountNonces, ISigner, Line, NodeBehind, TooMuch
from sandbox_billing.ledger.batch import Attempt
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.eip712 import EIP712Domain


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
    @ivar base_fee: neuron per gas; None on a chain without.
    @ivar mined: How many of our transactions are in blocks.
    """

    balance: int
    mined: int
    base_fee: int | None
    fees: Fees
    gas: int
    gas_limit: int


class Transactions:
    """
    The gas account's transactions.

    @ivar book: The account nonces that are taken.
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
        self.book = NonceBook(signer.address)

    def nonces(self) -> AccountNonces:
        """
        The highest counts that nodes answer: one that lags must not make us reuse one.

        Where those that know better do not answer, L{NonceBook.adopt} says what we may have sent.
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
        self,
        lines: Sequence[Line],
        replacing: Attempt | None,
        account_nonce: int | None = None,
        *,
        whole: bool = False,
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
        since = UnixSeconds(0)
        if replacing is not None and not _outbids(replacing, empty=not lines):
            since = replacing.recorded_at
        market = self._nodes.ask(lambda node: self._market(node, data, none, len(lines), since))
        fees, gas = market.fees, market.gas
        if replacing is not None:
            fees = self._bumped(replacing, market, empty=not lines)
            if lines:
                # What was mined meanwhile makes the estimate low; a reorg would take it back.
                gas = max(gas, replacing.gas_limit)
        _check_size(len(lines), gas, market.gas_limit, whole=whole or replacing is not None)
        call = self._named(lines)
        if replacing is not None:
            nonce = replacing.account_nonce
        elif account_nonce is not None:
            nonce = account_nonce
        else:
            nonce = self.book.given(call)
        self._check_purse(market, gas * fees.cap, nonce)
        if replacing is None and account_nonce is None:
            nonce = self.book.give(call, self.nonces())
        attempt = self._sign(data, nonce, gas, fees, empty=not lines)
        self.book.reserve(attempt)
        return attempt

    def _bumped(self, replacing: Attempt, market: _Market, *, empty: bool) -> Fees:
        """
        Fees to replace an attempt.  Whatever settles stays so cheap that a call which settles
        nothing can outbid it once more, unless no block takes it at that.

        @raise Refused: It would be too dear.
        """
        ceiling = self._policy.fee_cap
        if not empty and (market.base_fee or 0) <= replacing.fee_cap:
            ceiling = Neuron(room(ceiling))
        multiple = None if _outbids(replacing, empty=empty) else MULTIPLE
        return bump(fees_of(replacing), market.fees, ceiling, multiple=multiple)

    def _calldata(self, lines: Sequence[Line], *, batched: bool) -> bytes:
        if not batched:
            return settle_calldata(self._codec, self._provider, lines)
        return batch_calldata(
            self._codec, self._provider, lines, domain=self._domain, signer=self._signer
        )

    def _market(
        self, node: Node, data: bytes, none: bytes, lines: int, since: UnixSeconds
    ) -> _Market:
        """
        Block, purse, fees and gas, from one node.

        @raise NodeBehind: It has no block since then: it is not the price that matters.
        """
        sender = self._signer.address.hex
        block, balance, count, tip, price, gas = node.batch(
            [
                ("eth_getBlockByNumber", ["latest", False]),
                ("eth_getBalance", [sender, "latest"]),
                ("eth_getTransactionCount", [sender, "latest"]),
                ("eth_maxPriorityFeePerGas", []),
                ("eth_gasPrice", []),
                self._estimate(data),
            ]
        )
        for answer in (balance, count, price):
            if isinstance(answer, RpcRefusal):
                raise answer
        head = found_header(block, "latest")
        if head.ref.timestamp < since:
            raise NodeBehind(f"{node.label} has no block since the last attempt")
        gas_price = quantity(price, "a gas price")
        fees = suggest(
            base_fee=head.base_fee,
            tip=_tip(tip, gas_price - (head.base_fee or 0)),
            gas_price=gas_price,
            ceiling=self._policy.fee_cap,
        )
        estimate = self._gas(node, gas, data, none, lines)
        return _Market(
            balance=quantity(balance, "a balance"),
            mined=quantity(count, "a transaction count"),
            base_fee=head.base_fee,
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

    def _check_purse(self, market: _Market, cost: int, own: int) -> None:
        """
        @param cost: neuron that this transaction may cost.
        @param own: Its account nonce; what else has that is never mined beside it.
        """
        address, floor, balance = self._signer.address, self._policy.floor, market.balance
        if balance < floor:
            raise Refused(
                f"the gas account {address} holds {balance} neuron, below "
                f"GAS_FLOOR_NEURON {floor}; send it some"
            )
        others = self.book.reserved(market.mined, own)
        if balance < cost + others:
            raise Refused(
                f"the gas account {address} holds {balance} neuron; this transaction may "
                f"cost {cost}, and what waits to be mined {others}; send it some"
            )

    def _named(self, lines: Sequence[Line]) -> bytes:
        """By what is settled, not by the call: an upgrade may change that."""
        return keccak(settle_calldata(self._codec, self._provider, lines))

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


def _outbids(replacing: Attempt, *, empty: bool) -> bool:
    """Whether what replaces an attempt has to be mined in its stead, whatever it costs."""
    return empty and not replacing.empty


def _check_size(lines: int, gas: int, block: int, *, whole: bool) -> None:
    """
    @param block: How much gas one takes in all.
    @raise TooMuch: They are too many vouchers for one, or for half of one unless C{whole}.
    """
    most = block if whole or lines <= 1 else block // 2
    if gas <= most:
        return
    # A tenth less: what does not grow with the vouchers is in it, too.
    fits = max(1, lines * block * 9 // 20 // gas) if lines > 1 else None
    raise TooMuch(
        f"{lines} vouchers take {gas} gas, more than the {most} that they should; send fewer",
        fits=fits,
    )


def _tip(answer: Any, over: int) -> int:
    """
    What a node suggests, or what its gas price has over the base fee: most nodes make that of
    the two.  Those of chains without EIP-1559 refuse the question, each in its own words.

    @param over: neuron per gas.
    """
    if isinstance(answer, RpcRefusal):
        return max(over, MINIMUM_TIP)
    return quantity(answer, "a tip")

"""
What the chain says, read by blocking calls; for the threads of the adapter.

Tests: L{tests.adapters.test_chain_reads}.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from sandbox_billing.adapters.chain.codec import Codec, Undecodable
from sandbox_billing.adapters.chain.contract import ContractReader, Result, Reverted
from sandbox_billing.adapters.chain.node import Node, NodeFailure, RpcRefusal, octets, quantity
from sandbox_billing.adapters.chain.nodes import Headers, Nodes, NoNode, found_header
from sandbox_billing.adapters.chain.settle import SETTLE, settle_calldata
from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import ContractFacts, Line, NodeBehind, Receipt, Unreadable
from sandbox_billing.ledger.account import Account, BlockRef, ServiceRecord
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import Neuron, UnixSeconds, neuron
from sandbox_billing.ledger.rating import Prices


_NOBODY = Address("0x" + "00" * 20)


class ChainReads:
    """
    The reading half of L{interfaces.IChain}; each method is documented there.
    """

    def __init__(
        self,
        nodes: Nodes,
        headers: Headers,
        reader: ContractReader,
        codec: Codec,
        *,
        provider: Address,
        sender: Address,
        confirmations: int,
    ) -> None:
        """
        @param confirmations: How far behind the newest block a node surely has what it named.
        """
        self._nodes = nodes
        self._headers = headers
        self._reader = reader
        self._codec = codec
        self._provider = provider
        self._sender = sender
        self._confirmations = confirmations

    def facts(self) -> ContractFacts:
        # A node of another chain is what the check is there to find: show it.
        for chain_id in self._nodes.chain_ids():
            if chain_id != self._nodes.chain_id:
                return ContractFacts(
                    chain_id=chain_id, has_code=False, domain_separator="", lock_seconds=0
                )
        code = self._nodes.ask(lambda node: self._code(node, "latest"))
        separator, lock = b"", 0
        if code:
            at = self.block("latest")
            calls = [self._codec.calldata(name) for name in ("domainSeparator", "LOCK_TIME")]
            answers = self._reader.read(calls, at)
            if all(isinstance(answer, bytes) and len(answer) == 32 for answer in answers):
                (separator,) = self._codec.answer("domainSeparator", _bytes(answers[0]))
                (lock,) = self._codec.answer("LOCK_TIME", _bytes(answers[1]))
        return ContractFacts(
            chain_id=self._nodes.chain_id,
            has_code=bool(code),
            domain_separator="0x" + separator.hex(),
            lock_seconds=lock,
        )

    def _code(self, node: Node, block: str) -> bytes:
        contract = self._reader.address.hex
        return octets(node.call("eth_getCode", contract, block), "eth_getCode")

    def block(self, which: str) -> BlockRef:
        return self._nodes.ask(
            lambda node: found_header(node.call("eth_getBlockByNumber", which, False), which).ref
        )

    def head(self) -> BlockRef:
        """
        The highest that is there, of those that answer quickly: who stands still is outvoted,
        and who names one that nobody has, too.

        @raise NodeBehind: There is none.
        """
        heads = sorted(self._nodes.poll(_named), key=lambda named: -named[1].number)
        agreed = len(heads) > 1 and heads[0][1].number == heads[-1][1].number
        if agreed or not self._nodes.several:
            return heads[0][1]
        for node, head in heads:
            if self._is_served(head.number):
                return head
            # Behind a balancer another machine may be a little late; that is no reason.
            if not self._is_served(max(0, head.number - self._confirmations)):
                problem = f"{node.label} names block {head.number}, which no node has"
                self._nodes.failed(node, NodeFailure(problem))
        # Of those that were slow, or failed lately.
        wrong = {node.patient for node, _ in heads}
        _, head = self._nodes.ask(lambda node: _named(node, wrong))
        if not self._is_served(head.number):
            raise NodeBehind(f"no node has block {head.number}, which one names as the newest")
        return head

    def _is_served(self, number: int) -> bool:
        try:
            self.block(hex(number))
        except NodeBehind:
            return False
        return True

    def first_block(self) -> int:
        """
        @raise Transient: No node keeps states old enough.
        """
        try:
            return self._nodes.ask(self._bisect)
        except NoNode as failure:
            raise Transient(
                "the block the contract was created in was not found, perhaps because no node "
                f"keeps old states: set START_BLOCK ({failure.text})"
            ) from None

    def _bisect(self, node: Node) -> int:
        latest = node.call("eth_getBlockByNumber", "latest", False)
        without, with_code = -1, found_header(latest, "latest").ref.number
        if not self._code(node, hex(with_code)):
            raise NodeFailure(f"{node.label} has nothing deployed at {self._reader.address}")
        while with_code - without > 1:
            middle = (without + with_code) // 2
            if self._code(node, hex(middle)):
                with_code = middle
            else:
                without = middle
        return with_code

    def service(self, provider: Address, at: BlockRef) -> ServiceRecord | None:
        try:
            answer = self._reader.one("services", provider.hex, at=at)
        except NoNode as failure:
            if any(isinstance(cause, Undecodable) for cause in failure.causes):
                raise Unreadable(failure.text) from None
            raise
        url, signer, cpu, create_fee, version, memory = answer
        if Address(signer) == _NOBODY:
            return None
        return ServiceRecord(
            provider=provider,
            url=url,
            signer=Address(signer),
            prices=Prices(
                per_cpu_per_minute=neuron(cpu),
                per_memory_gib_per_minute=neuron(memory),
                create_fee=neuron(create_fee),
            ),
            signer_version=version,
        )

    def domain_separator(self, at: BlockRef) -> str | None:
        (answer,) = self._reader.read([self._codec.calldata("domainSeparator")], at)
        if isinstance(answer, Reverted) or not answer:
            return None
        (separator,) = self._codec.answer("domainSeparator", answer)
        return "0x" + bytes(separator).hex()

    def leaving_at(self, at: BlockRef) -> UnixSeconds | None:
        call = self._codec.calldata("leavingAt", self._provider.hex)
        (answer,) = self._reader.read([call], at)
        if isinstance(answer, Reverted) or not answer:
            # The deployed contract has no such function; nobody can leave it.
            return None
        (moment,) = self._codec.answer("leavingAt", answer)
        return UnixSeconds(moment) if moment else None

    def accounts(self, wallets: Sequence[Address], at: BlockRef) -> tuple[Account, ...]:
        whose = self._provider.hex
        views = ("getBalance", "isTEEAcknowledged", "getLastNonce")
        found = self._reader.views(
            [(view, (wallet.hex, whose)) for wallet in wallets for view in views], at
        )
        return tuple(
            Account(
                wallet=wallet,
                balance=neuron(balance),
                pending_refund=neuron(refund),
                refund_unlock_at=UnixSeconds(unlock_at),
                acknowledged=acknowledged,
                last_nonce=Nonce(nonce),
                block=at.number,
            )
            for wallet, (balance, refund, unlock_at), (acknowledged,), (nonce,) in zip(
                wallets, found[0::3], found[1::3], found[2::3], strict=True
            )
        )

    def last_nonces(self, wallets: Sequence[Address], at: BlockRef) -> tuple[Nonce, ...]:
        whose = self._provider.hex
        asked = [("getLastNonce", (wallet.hex, whose)) for wallet in wallets]
        return tuple(Nonce(nonce) for (nonce,) in self._reader.views(asked, at))

    def account_nonce(self, at: BlockRef) -> int:
        """
        By number, with the block's hash before and after: no node takes a hash here.
        """
        number = hex(at.number)

        def work(node: Node) -> int:
            before, count, after = node.batch(
                [
                    ("eth_getBlockByNumber", [number, False]),
                    ("eth_getTransactionCount", [self._sender.hex, number]),
                    ("eth_getBlockByNumber", [number, False]),
                ]
            )
            for block in (before, after):
                if found_header(block, str(at.number)).ref.hash != at.hash:
                    raise NodeBehind(f"{node.label} has another block {at.number}")
            if isinstance(count, RpcRefusal):
                raise count
            return quantity(count, "a transaction count")

        return self._nodes.ask(work)

    def refusals(self, lines: Sequence[Line], at: BlockRef) -> tuple[int | None, ...]:
        call = settle_calldata(self._codec, self._provider, lines)
        (answer,) = self._reader.read([call], at, sender=self._sender)
        if isinstance(answer, Reverted):
            return (None,) * len(lines)
        (statuses,) = self._codec.answer(SETTLE, answer)
        if len(statuses) != len(lines):
            raise Transient(f"{len(lines)} vouchers were judged by {len(statuses)} statuses")
        return tuple(statuses)

    def receipt(self, transaction: str) -> Receipt | None:
        """
        The first node's that has one; a node that lags says nothing against it.
        """

        def work(node: Node) -> Receipt | None:
            found = node.call("eth_getTransactionReceipt", transaction)
            if found is None:
                return None
            if not isinstance(found, Mapping):
                raise NodeFailure(f"{node.label} answered something that is no receipt")
            return self._read_receipt(node, transaction, found)

        return self._nodes.poll(work, lambda receipt: receipt is not None)[-1]

    def _read_receipt(self, node: Node, transaction: str, found: Mapping[str, Any]) -> Receipt:
        if str(found.get("transactionHash")).lower() != transaction.lower():
            raise NodeFailure(f"{node.label} answered another receipt than asked for")
        block_hash = "0x" + octets(found.get("blockHash"), "a block's hash").hex()
        block = self._headers.of(node, [block_hash])[block_hash]
        price = found.get("effectiveGasPrice")
        if price is None:
            # A node from before London: then a transaction pays what it offers.
            sent = node.call("eth_getTransactionByHash", transaction)
            price = sent.get("gasPrice") if isinstance(sent, Mapping) else None
        return Receipt(
            transaction=transaction,
            block=block,
            succeeded=quantity(found.get("status"), "a status") == 1,
            gas_used=quantity(found.get("gasUsed"), "gas used"),
            gas_price=neuron(quantity(price, "a gas price")),
        )

    def gas_balance(self) -> Neuron:
        sender = self._sender.hex
        answer = self._nodes.ask(
            lambda node: quantity(node.call("eth_getBalance", sender, "latest"), "a balance")
        )
        return neuron(answer)

    def gas_price(self) -> Neuron:
        answer = self._nodes.ask(lambda node: quantity(node.call("eth_gasPrice"), "a gas price"))
        return neuron(answer)


def _named(node: Node, wrong: Container[Node] = ()) -> tuple[Node, BlockRef]:
    """
    What a node says is newest.

    @param wrong: Those that said so already, and do not have it.
    """
    if node.patient in wrong:
        raise NodeBehind(f"{node.label} names a block that no node has")
    latest = node.call("eth_getBlockByNumber", "latest", False)
    return node, found_header(latest, "latest").ref


def _bytes(answer: Result) -> bytes:
    return answer if isinstance(answer, bytes) else b""

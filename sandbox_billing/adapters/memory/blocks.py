"""
Blocks with the contract in them: a pool, mining by hand, receipts, logs, reorganisation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TypeAlias

from attrs import asdict, define, field, frozen

from sandbox_billing.adapters.memory.contract import Contract, ContractState, Event, Reverted
from sandbox_billing.adapters.memory.deployed import contract_at
from sandbox_billing.interfaces import Line, Receipt
from sandbox_billing.ledger.account import BlockRef
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.signing.eip712 import EIP712Domain


GAS_PRICE = 10**9
GAS_BASE, GAS_LINE = 60_000, 40_000
BLOCK_GAS = 30_000_000

Call: TypeAlias = Callable[[Contract], object]


@define(kw_only=True, eq=False)
class Transaction:
    """
    Something to be mined.

    @ivar name: Its hash; a made-up name for calls of users.
    @ivar sender: Whose account nonce it takes; None for calls of users, which have none.
    @ivar error: Why it reverted, once it was mined and did.
    """

    name: str
    call: Call
    sender: Address | None = None
    account_nonce: int = 0
    fee_cap: int = 0
    gas: int = 0
    mined: bool = False
    error: str | None = None


@frozen(kw_only=True)
class Logged:
    """An event where it stands."""

    event: Event
    transaction: str
    block: BlockRef
    index: int


@frozen(kw_only=True)
class Block:
    """
    @ivar state: After it; shared with its parent when nothing happened.
    @ivar spent: Gas paid in all, by sender.
    @ivar counts: Transactions mined in all, by sender.
    """

    ref: BlockRef
    state: ContractState
    spent: dict[Address, int]
    counts: dict[Address, int]
    logs: tuple[Logged, ...] = ()
    transactions: tuple[Transaction, ...] = ()


@define(eq=False)
class MemoryBlocks:
    """
    One chain; several L{MemoryChain} may look at it.

    @ivar now: The miner's clock, unix seconds.
    @ivar blocks: By number, from 0.
    @ivar pool: What waits, in order of arrival.
    @ivar block_gas: What one block takes.
    @ivar withholds: Transactions it is true for stay in the pool: never mined.
    """

    domain: EIP712Domain
    now: Callable[[], int]
    blocks: list[Block] = field(factory=list, init=False)
    pool: list[Transaction] = field(factory=list, init=False)
    withholds: Callable[[Transaction], bool] = field(default=lambda _: False, init=False)
    contract_block: int = field(default=0, init=False)
    block_gas: int = field(default=BLOCK_GAS, init=False)
    purses: dict[Address, int] = field(factory=dict, init=False)
    _receipts: dict[str, Receipt] = field(factory=dict, init=False)
    _branch: int = field(default=0, init=False)
    _calls: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        ref = BlockRef(number=0, hash=self._hash("", 0), timestamp=UnixSeconds(self.now()))
        self.blocks.append(Block(ref=ref, state=ContractState(), spent={}, counts={}))

    @property
    def head(self) -> Block:
        """The newest block."""
        return self.blocks[-1]

    def _hash(self, parent: str, number: int) -> str:
        seed = f"{parent}:{number}:{self._branch}".encode()
        return "0x" + hashlib.sha256(seed).hexdigest()

    # what comes in

    def call(self, call: Call) -> Transaction:
        """A user's call, to be mined with the next block."""
        self._calls += 1
        seed = f"call {self._calls}".encode()
        transaction = Transaction(name="0x" + hashlib.sha256(seed).hexdigest(), call=call)
        self.pool.append(transaction)
        return transaction

    def act(self, call: Call) -> Transaction:
        """
        Mine a user's call at once.

        @raise Reverted: It did.
        """
        transaction = self.call(call)
        self.mine()
        if transaction.error is not None:
            raise Reverted(transaction.error)
        return transaction

    def submit(self, transaction: Transaction) -> bool:
        """
        A signed transaction; the same again is harmless.

        @return: False when a node would not have it: its account nonce is used, or it
            replaces another without raising the fee by a tenth.
        """
        assert transaction.sender is not None
        if self.find(transaction.name) is not None:
            return True
        if transaction.account_nonce < self.head.counts.get(transaction.sender, 0):
            return False
        for rival in self.pool:
            place = (rival.sender, rival.account_nonce)
            if place == (transaction.sender, transaction.account_nonce):
                if rival.name == transaction.name:
                    return True
                if transaction.fee_cap * 10 < rival.fee_cap * 11:
                    return False
                self.pool.remove(rival)
                break
        self.pool.append(transaction)
        return True

    # blocks

    def mine(self, blocks: int = 1) -> Block:
        """Mine what is ready, then empty blocks."""
        for _ in range(blocks):
            self._mine(self._take())
        return self.head

    def _take(self) -> list[Transaction]:
        """What can be mined now: without gaps in account nonces, in order of arrival."""
        counts, taken = dict(self.head.counts), []
        moving = True
        while moving:
            moving = False
            for transaction in list(self.pool):
                if self.withholds(transaction):
                    continue
                if transaction.sender is not None:
                    count = counts.get(transaction.sender, 0)
                    if transaction.account_nonce != count:
                        continue
                    counts[transaction.sender] = count + 1
                self.pool.remove(transaction)
                taken.append(transaction)
                moving = True
        return taken

    def _mine(self, transactions: Sequence[Transaction]) -> None:
        parent = self.head
        number = parent.ref.number + 1
        ref = BlockRef(
            number=number,
            hash=self._hash(parent.ref.hash, number),
            timestamp=UnixSeconds(max(parent.ref.timestamp + 1, self.now())),
        )
        state, spent, counts = parent.state, dict(parent.spent), dict(parent.counts)
        logs: list[Logged] = []
        for transaction in transactions:
            before, state = state, state.copy()
            contract = contract_at(self.domain, state, ref.timestamp)
            transaction.mined, transaction.error = True, None
            try:
                transaction.call(contract)
            except Reverted as why:
                transaction.error, state = str(why), before
                contract.events.clear()
            for event in contract.events:
                place = len(logs)
                logs.append(
                    Logged(event=event, transaction=transaction.name, block=ref, index=place)
                )
            if transaction.sender is not None:
                sender = transaction.sender
                spent[sender] = spent.get(sender, 0) + transaction.gas * GAS_PRICE
                counts[sender] = counts.get(sender, 0) + 1
            self._receipts[transaction.name] = Receipt(
                transaction=transaction.name,
                block=ref,
                succeeded=transaction.error is None,
                gas_used=transaction.gas,
                gas_price=Neuron(GAS_PRICE),
            )
        self.blocks.append(
            Block(
                ref=ref,
                state=state,
                spent=spent,
                counts=counts,
                logs=tuple(logs),
                transactions=tuple(transactions),
            )
        )

    def reorg(self, depth: int, *, keep: bool = False) -> None:
        """
        Put other, empty blocks in the place of the newest.

        @param keep: Their transactions wait in the pool again; otherwise they are lost.
        """
        gone = self.blocks[-depth:]
        del self.blocks[-depth:]
        for block in gone:
            for transaction in block.transactions:
                del self._receipts[transaction.name]
        self._branch += 1
        for _ in range(depth):
            self._mine(())
        if keep:
            self.pool[:0] = [t for block in gone for t in block.transactions]

    # what is asked

    def find(self, name: str) -> Receipt | None:
        """The receipt of a mined transaction."""
        return self._receipts.get(name)

    def purse(self, who: Address) -> int:
        """What an account has left for gas."""
        return self.purses.get(who, 0) - self.head.spent.get(who, 0)


# --- the bytes of a settlement ------------------------------------------------------


def raw_settlement(
    sender: Address, provider: Address, account_nonce: int, fee_cap: int, lines: Sequence[Line]
) -> str:
    """A signed transaction, as this chain has it: readable hex, the same for the same input."""
    document = {
        "sender": sender.hex,
        "provider": provider.hex,
        "nonce": account_nonce,
        "fee_cap": fee_cap,
        "lines": [{**asdict(line), "user": line.user.hex} for line in lines],
    }
    return "0x" + json.dumps(document, sort_keys=True).encode().hex()


def read_settlement(raw: str) -> Transaction:
    """The transaction that L{raw_settlement} made."""
    document = json.loads(bytes.fromhex(raw[2:]))
    sender, provider = Address(document["sender"]), Address(document["provider"])
    lines = [
        Line(
            user=Address(line["user"]),
            fee=Neuron(line["fee"]),
            usage_hash=line["usage_hash"],
            nonce=Nonce(line["nonce"]),
            signature=line["signature"],
        )
        for line in document["lines"]
    ]
    return Transaction(
        name="0x" + hashlib.sha256(raw.encode()).hexdigest(),
        call=lambda contract: contract.settle(sender, provider, lines),
        sender=sender,
        account_nonce=document["nonce"],
        fee_cap=document["fee_cap"],
        gas=GAS_BASE + GAS_LINE * len(lines),
    )

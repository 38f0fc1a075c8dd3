"""
Mined blocks and the index over them: receipts by hash, logs by block number.

eth-tester and py-evm find old receipts and logs by walking and re-decoding the
chain, which takes minutes for a few thousand blocks; here every block is kept as
it was when it was mined, and forgetting (a reorg) is truncating a list.

Tests: C{tests/devnet/test_chain_blocks.py}.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from attrs import define, field, frozen
from eth.abc import BlockHeaderAPI

from .transactions import PoolTransaction


@frozen(kw_only=True)
class LogEntry:
    """
    One event.

    @ivar index: Its place among all logs of its block.
    """

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes
    index: int


@frozen(kw_only=True, eq=False)
class MinedReceipt:
    """
    What became of one transaction.

    @ivar gas_price: What was paid per gas, neuron.
    @ivar contract_address: Where a contract was created, if it was to be.
    """

    transaction: PoolTransaction
    index: int
    succeeded: bool
    gas_used: int
    cumulative_gas_used: int
    gas_price: int
    contract_address: bytes | None
    logs: tuple[LogEntry, ...]
    bloom: int = field(repr=False)


@frozen(kw_only=True, eq=False)
class MinedBlock:
    """
    A sealed block.  C{header.state_root} is the state after it, which is never pruned.
    """

    header: BlockHeaderAPI = field(repr=False)
    hash: bytes = field(repr=bytes.hex)
    receipts: tuple[MinedReceipt, ...] = field(default=(), repr=lambda r: f"<{len(r)}>")
    size: int = 0

    @property
    def number(self) -> int:
        return int(self.header.block_number)

    @property
    def timestamp(self) -> int:
        return int(self.header.timestamp)

    @property
    def base_fee(self) -> int:
        return int(self.header.base_fee_per_gas or 0)


@frozen(kw_only=True)
class LogFilter:
    """
    What C{eth_getLogs} asks for.

    @ivar addresses: Any of these; empty means every address.
    @ivar topics: For each position the accepted values; None accepts everything.
    """

    addresses: frozenset[bytes] = frozenset()
    topics: tuple[frozenset[bytes] | None, ...] = ()

    def matches(self, log: LogEntry) -> bool:
        if self.addresses and log.address not in self.addresses:
            return False
        # A filter with more positions than the log has topics never matches,
        # not even when the surplus positions accept everything (geth).
        if len(self.topics) > len(log.topics):
            return False
        return all(
            wanted is None or topic in wanted
            for wanted, topic in zip(self.topics, log.topics, strict=False)
        )


@define
class BlockIndex:
    """
    The canonical chain, block C{n} at position C{n}.
    """

    _blocks: list[MinedBlock] = field(factory=list)
    _numbers: dict[bytes, int] = field(factory=dict)
    _places: dict[bytes, tuple[int, int]] = field(factory=dict)
    #: Numbers of the blocks with at least one log, rising.
    _with_logs: list[int] = field(factory=list)

    @property
    def head(self) -> MinedBlock:
        return self._blocks[-1]

    def blocks(self) -> tuple[MinedBlock, ...]:
        """
        The whole chain, for a snapshot.
        """
        return tuple(self._blocks)

    def at(self, number: int) -> MinedBlock | None:
        return self._blocks[number] if 0 <= number < len(self._blocks) else None

    def by_hash(self, block_hash: bytes) -> MinedBlock | None:
        number = self._numbers.get(block_hash)
        return None if number is None else self._blocks[number]

    def receipt(self, transaction_hash: bytes) -> tuple[MinedBlock, MinedReceipt] | None:
        """
        Where a transaction was mined, or None.
        """
        place = self._places.get(transaction_hash)
        if place is None:
            return None
        block = self._blocks[place[0]]
        return block, block.receipts[place[1]]

    def append(self, block: MinedBlock) -> None:
        assert block.number == len(self._blocks), "a block must stand on the head"
        self._blocks.append(block)
        self._numbers[block.hash] = block.number
        for receipt in block.receipts:
            self._places[receipt.transaction.hash] = (block.number, receipt.index)
        if any(receipt.logs for receipt in block.receipts):
            self._with_logs.append(block.number)

    def truncate(self, length: int) -> list[MinedBlock]:
        """
        Keep the first C{length} blocks.

        @return: The others, lowest first.
        """
        removed = self._blocks[length:]
        del self._blocks[length:]
        del self._with_logs[bisect_left(self._with_logs, length) :]
        for block in removed:
            del self._numbers[block.hash]
            for receipt in block.receipts:
                del self._places[receipt.transaction.hash]
        return removed

    def replace(self, blocks: tuple[MinedBlock, ...]) -> None:
        """
        Make this the chain, as it was at a snapshot.
        """
        common = 0
        for mine, theirs in zip(self._blocks, blocks, strict=False):
            if mine is not theirs:
                break
            common += 1
        self.truncate(common)
        for block in blocks[common:]:
            self.append(block)

    def logs(
        self, first: int, last: int, wanted: LogFilter
    ) -> Iterator[tuple[MinedBlock, MinedReceipt, LogEntry]]:
        """
        Matching logs of the blocks C{first} to C{last}, both included, in chain order.
        """
        low = bisect_left(self._with_logs, first)
        high = bisect_right(self._with_logs, last)
        for number in self._with_logs[low:high]:
            block = self._blocks[number]
            for receipt in block.receipts:
                for log in receipt.logs:
                    if wanted.matches(log):
                        yield block, receipt, log

"""
A whole development chain in one synchronous object: pool, mining, history, reorgs.

Not for several threads: whoever serves it gives it one owner (L{.service}).

Tests: C{tests/devnet/test_chain.py}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

from attrs import define, field, frozen
from eth.abc import StateAPI
from eth.vm.forks.london.headers import calculate_expected_base_fee_per_gas
from eth_typing import Address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from . import calls
from .accounts import DEVELOPMENT_BALANCES, address_of
from .blocks import BlockIndex, MinedBlock, MinedReceipt
from .clock import ChainClock
from .errors import RpcError, invalid_params
from .evm import CallRequest, Draft, Evm
from .mempool import Mempool, Selection
from .transactions import PoolTransaction, check_limits, decode_transaction


#: 0G Galileo's, so that vouchers signed on the devnet look like the real ones.
DEFAULT_CHAIN_ID: Final = 16602
DEFAULT_GAS_LIMIT: Final = 30_000_000
DEFAULT_BASE_FEE: Final = 10**9
#: C{safe} and C{finalized} stand this many blocks behind the head.
DEFAULT_FINALITY_BLOCKS: Final = 2

Tag = Literal["latest", "pending", "earliest", "safe", "finalized"]
#: A block by tag, by number, or by hash (32 bytes).
BlockRef = Tag | int | bytes


@frozen
class _Snapshot:
    blocks: tuple[MinedBlock, ...] = field(repr=False)
    pool: Mempool = field(repr=False)
    clock_offset: int


@define
class DevChain:
    """
    The chain.  Make one with L{make_dev_chain}.

    @ivar minimum_base_fee: The base fee never falls below it, neuron per gas.
    @ivar automine: Whether each accepted transaction is mined at once.
    @ivar paused: Whether L{tick} leaves the chain as it is; L{mine} mines all the same.
    """

    evm: Evm
    index: BlockIndex
    clock: ChainClock
    minimum_base_fee: int = DEFAULT_BASE_FEE
    finality_blocks: int = DEFAULT_FINALITY_BLOCKS
    automine: bool = False
    paused: bool = False
    pool: Mempool = field(factory=Mempool)
    _next_base_fee: int | None = None
    _sealed: int = 0
    _snapshots: dict[int, _Snapshot] = field(factory=dict)
    _snapshot_id: int = 0

    # -- mining

    @property
    def chain_id(self) -> int:
        return self.evm.chain_id

    @property
    def head(self) -> MinedBlock:
        return self.index.head

    def tick(self) -> MinedBlock | None:
        """
        What the mining timer calls: a block, unless mining is paused.
        """
        return None if self.paused else self.mine()

    def mine(self, timestamp: int | None = None) -> MinedBlock:
        """
        Mine one block of what the pool holds and can pay this block's base fee.

        @param timestamp: Unix seconds; by default the wall clock with its offset.

        @raise RpcError: The timestamp is not after the head's.
        """
        if timestamp is not None:
            self.set_next_timestamp(timestamp)
        draft = self._next_draft()
        self._take_from_pool(draft)
        return self._extend(draft)

    def next_base_fee(self) -> int:
        """
        The base fee of the block to come, neuron per gas.
        """
        if self._next_base_fee is not None:
            return self._next_base_fee
        return max(calculate_expected_base_fee_per_gas(self.head.header), self.minimum_base_fee)

    def set_next_base_fee(self, base_fee: int) -> None:
        """
        Choose the base fee of the next block (which then falls or rises by the rules).
        """
        self._next_base_fee = base_fee

    def increase_time(self, seconds: int) -> int:
        """
        Move the chain's clock forward against the wall clock, from the next block on.

        @return: The whole offset, seconds.
        """
        self.clock.advance(seconds)
        return self.clock.offset

    def set_next_timestamp(self, timestamp: int) -> None:
        """
        Choose the timestamp of the next block; the clock goes on from there.
        """
        self.clock.choose(timestamp, self.head.timestamp)

    def _next_draft(self) -> Draft:
        """
        The block to be mined now; what was chosen for it is used up.
        """
        base_fee, self._next_base_fee = self.next_base_fee(), None
        return self._draft(self.clock.take(self.head.timestamp), base_fee)

    def _draft(self, timestamp: int, base_fee: int) -> Draft:
        # The count of all blocks ever sealed makes a block that replaces another a
        # different block, even when both are empty.
        randomness = keccak(self.head.hash + self._sealed.to_bytes(8, "big"))
        return self.evm.draft(
            self.head, timestamp=timestamp, base_fee=base_fee, randomness=randomness
        )

    def _take_from_pool(self, draft: Draft) -> None:
        """
        Apply what fits, best tip first; what cannot run stays for L{Mempool.prune}.
        """
        selection = Selection(draft.base_fee)
        for transaction in selection.fill(self.pool.executable(self._head_nonce())):
            if transaction.gas > draft.gas_left:
                continue
            try:
                draft.apply(transaction)
            except ValidationError:
                continue
            selection.taken(transaction)

    def _extend(self, draft: Draft) -> MinedBlock:
        block = draft.seal()
        self._sealed += 1
        self.index.append(block)
        if len(self.pool):
            state = self.evm.vm(block.header).state
            self.pool.prune(
                lambda sender: state.get_nonce(Address(sender)),
                lambda sender: state.get_balance(Address(sender)),
            )
        return block

    def _head_nonce(self) -> Callable[[bytes], int]:
        state = self.state_at("latest")
        return lambda sender: state.get_nonce(Address(sender))

    # -- the pool

    def send_raw(self, raw: bytes) -> bytes:
        """
        Take a signed transaction into the pool.

        @return: Its hash.
        @raise RpcError: It is refused, in geth's words.
        """
        transaction = decode_transaction(raw, self.chain_id)
        if self.index.receipt(transaction.hash) is not None:
            raise RpcError("already known")
        check_limits(transaction, self.evm.gas_limit)
        sender, state = Address(transaction.sender), self.state_at("latest")
        self.pool.add(transaction, state.get_nonce(sender), state.get_balance(sender))
        if self.automine:
            self.mine()
        return transaction.hash

    def drop_transaction(self, transaction_hash: bytes) -> bool:
        """
        Lose a pool transaction, as if no node had kept it; it may be sent again.

        @return: Whether it was in the pool.
        """
        return self.pool.drop(transaction_hash)

    # -- history, undone and kept

    def reorg(self, depth: int, *, keep_transactions: bool) -> list[bytes]:
        """
        Replace the newest C{depth} blocks by as many empty ones of the same times.

        The height stays, as watchers of a real chain see it; the hashes change.

        @param keep_transactions: Whether the orphaned transactions go back to the
            pool, for the next block to mine, or are forgotten.
        @return: The hashes of the orphaned transactions.
        @raise RpcError: There are not so many blocks above the genesis.
        """
        if not 0 < depth <= self.head.number:
            raise invalid_params(f"depth must be from 1 to {self.head.number}")
        removed = self.index.truncate(self.head.number + 1 - depth)
        orphans = [r.transaction for block in removed for r in block.receipts]
        for block in removed:
            self._extend_empty(block.timestamp)
        if keep_transactions:
            for transaction in orphans:
                self.pool.restore(transaction)
        return [t.hash for t in orphans]

    def _extend_empty(self, timestamp: int) -> None:
        block = self._draft(timestamp, self.next_base_fee()).seal()
        self._sealed += 1
        self.index.append(block)

    def snapshot(self) -> int:
        """
        Remember blocks, pool and clock.

        @return: What L{revert} wants.
        """
        self._snapshot_id += 1
        self._snapshots[self._snapshot_id] = _Snapshot(
            self.index.blocks(), self.pool.copy(), self.clock.offset
        )
        return self._snapshot_id

    def revert(self, snapshot_id: int) -> bool:
        """
        Go back to a snapshot, which is used up with every later one.

        @return: Whether there was such a snapshot.
        """
        snapshot = self._snapshots.get(snapshot_id)
        if snapshot is None:
            return False
        self.index.replace(snapshot.blocks)
        self.pool = snapshot.pool
        self.clock.reset(snapshot.clock_offset)
        self._next_base_fee = None
        self._snapshots = {i: s for i, s in self._snapshots.items() if i < snapshot_id}
        return True

    def set_balance(self, address: bytes, balance: int) -> None:
        """
        Give an account a balance out of nothing, in an empty block of its own.
        """
        draft = self._next_draft()
        draft.state.set_balance(Address(address), balance)
        self._extend(draft)

    # -- reading

    def block(self, ref: BlockRef) -> MinedBlock | None:
        """
        A canonical block; C{pending} is the head's (see L{pending_draft} for its content).
        """
        match ref:
            case bytes():
                return self.index.by_hash(ref)
            case int():
                return self.index.at(ref)
            case "latest" | "pending":
                return self.head
            case "earliest":
                return self.index.at(0)
            case "safe" | "finalized":
                return self.index.at(max(self.head.number - self.finality_blocks, 0))

    def require_block(self, ref: BlockRef) -> MinedBlock:
        """
        As L{block}.

        @raise RpcError: There is none (C{header not found}).
        """
        block = self.block(ref)
        if block is None:
            raise RpcError("header not found")
        return block

    def pending_draft(self) -> Draft:
        """
        The block that would be mined now; nothing of it is kept.
        """
        draft = self._draft(self.clock.upcoming(self.head.timestamp), self.next_base_fee())
        self._take_from_pool(draft)
        return draft

    def state_at(self, ref: BlockRef) -> StateAPI:
        """
        The state after a block, for reading.

        @raise RpcError: There is no such block.
        """
        if ref == "pending":
            return self.pending_draft().state
        return self.evm.vm(self.require_block(ref).header).state

    def nonce(self, address: bytes, ref: BlockRef = "latest") -> int:
        """
        The next nonce of an account; C{pending} counts what the pool can run.
        """
        if ref == "pending":
            return self.pool.pending_nonce(address, self.nonce(address))
        return int(self.state_at(ref).get_nonce(Address(address)))

    def balance(self, address: bytes, ref: BlockRef = "latest") -> int:
        """
        What an account owns, neuron.
        """
        return int(self.state_at(ref).get_balance(Address(address)))

    def call(self, request: CallRequest, ref: BlockRef = "latest") -> bytes:
        """
        See L{calls.call}.
        """
        return calls.call(self.evm, self._call_state(ref), request)

    def estimate_gas(self, request: CallRequest, ref: BlockRef = "latest") -> int:
        """
        See L{calls.estimate_gas}.
        """
        return calls.estimate_gas(self.evm, self._call_state(ref), request)

    def _call_state(self, ref: BlockRef) -> StateAPI:
        if ref != "pending":
            return self.evm.free_state(self.require_block(ref).header)
        draft = self.pending_draft()
        # What the pool would do must be in the state before gas becomes free.
        draft.state.persist()
        return self.evm.free_state(draft.header.copy(state_root=draft.state.state_root))

    def transaction(
        self, transaction_hash: bytes
    ) -> tuple[PoolTransaction, MinedBlock | None, MinedReceipt | None] | None:
        """
        A mined transaction with its place, a pool transaction without, or None.
        """
        mined = self.index.receipt(transaction_hash)
        if mined is not None:
            return mined[1].transaction, *mined
        waiting = self.pool.by_hash.get(transaction_hash)
        return None if waiting is None else (waiting, None, None)


def make_dev_chain(
    *,
    now: Callable[[], float],
    chain_id: int = DEFAULT_CHAIN_ID,
    balances: Mapping[bytes, int] = DEVELOPMENT_BALANCES,
    gas_limit: int = DEFAULT_GAS_LIMIT,
    base_fee: int = DEFAULT_BASE_FEE,
    automine: bool = False,
    strict_time: bool = True,
) -> DevChain:
    """
    A new chain with its genesis block.

    @param now: The wall clock, unix seconds (C{reactor.seconds}).
    @param balances: Private key (32 bytes) -> balance in neuron.
    @param strict_time: See L{ChainClock.strict}.
    @param base_fee: Of the genesis block, and the floor ever after, neuron per gas.
    """
    evm = Evm(chain_id=chain_id, gas_limit=gas_limit)
    index = BlockIndex()
    index.append(
        evm.genesis(
            {address_of(key): balance for key, balance in balances.items()},
            timestamp=int(now()),
            base_fee=base_fee,
        )
    )
    return DevChain(
        evm=evm,
        index=index,
        clock=ChainClock(now, strict_time),
        minimum_base_fee=base_fee,
        automine=automine,
    )

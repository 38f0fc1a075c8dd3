"""
py-evm as what it is best at: a state transition.

It runs transactions on a state and makes headers; which blocks are canonical is
not its business here (see L{.blocks}).  State is addressed by its root and never
pruned, so every old block can be read, and a reorg has nothing to undo.

Tests: C{tests/devnet/test_chain.py}; beliefs about py-evm: C{tests/beliefs/test_pyevm.py}.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Final

import rlp
from attrs import field, frozen
from eth.abc import (
    BlockHeaderAPI,
    ComputationAPI,
    ReceiptAPI,
    StateAPI,
    VirtualMachineAPI,
)
from eth.consensus.applier import ConsensusApplier
from eth.consensus.context import ConsensusContext
from eth.consensus.noproof import NoProofConsensus
from eth.db.atomic import AtomicDB
from eth.db.backends.memory import MemoryDB
from eth.db.chain import ChainDB
from eth.db.trie import make_trie_root_and_nodes
from eth.rlp.headers import BlockHeader
from eth.vm.chain_context import ChainContext
from eth.vm.forks.cancun import CancunVM
from eth.vm.spoof import SpoofTransaction
from eth_typing import Address, BlockNumber, Hash32
from eth_utils.crypto import keccak

from .blocks import LogEntry, MinedBlock, MinedReceipt
from .transactions import PoolTransaction


#: Who gets the tips: an address without a known key, so that no balance that
#: somebody watches changes by itself.
COINBASE: Final = keccak(b"sandbox_billing devnet coinbase")[12:]

# Importing py-evm raises the process's recursion limit to 100,000; from then on a
# deeply nested JSON document, anywhere in this process, overruns the C stack and
# kills it.  This is enough for the EVM's 1,024 calls and safe for C's 8 MiB.
RECURSION_LIMIT: Final = 16_384
sys.setrecursionlimit(RECURSION_LIMIT)

((_, _VM),) = ConsensusApplier(NoProofConsensus).amend_vm_configuration(
    ((BlockNumber(0), CancunVM),)
)


@frozen(kw_only=True)
class CallRequest:
    """
    A call that is not a transaction: C{eth_call}, C{eth_estimateGas}.

    @ivar to: None creates a contract.
    @ivar gas: The most it may use; None is the block gas limit.
    @ivar fee: What it would pay per gas, neuron; only its affordability is looked at.
    """

    sender: bytes = bytes(20)
    to: bytes | None = None
    data: bytes = b""
    value: int = 0
    gas: int | None = None
    fee: int = 0
    access_list: tuple[tuple[bytes, tuple[int, ...]], ...] = ()


class Draft:
    """
    A block being built: a state, and the transactions it has taken so far.
    """

    def __init__(self, evm: Evm, header: BlockHeaderAPI) -> None:
        self._evm = evm
        self.header = header
        self.vm = evm.vm(header)
        self.receipts: tuple[MinedReceipt, ...] = ()
        self._encoded: tuple[ReceiptAPI, ...] = ()

    @property
    def state(self) -> StateAPI:
        return self.vm.state

    @property
    def base_fee(self) -> int:
        return int(self.header.base_fee_per_gas or 0)

    @property
    def gas_left(self) -> int:
        return int(self.header.gas_limit - self.header.gas_used)

    def apply(self, transaction: PoolTransaction) -> None:
        """
        Run a transaction and keep its receipt; one that fails in the EVM is kept too.

        @raise eth_utils.ValidationError: It cannot be in this block (nonce, funds,
            fees, gas); nothing was changed.
        """
        base_fee = self.base_fee
        used_before = self.header.gas_used
        receipt, computation = self.vm.apply_transaction(self.header, transaction.signed)
        self.header = self.vm.add_receipt_to_header(self.header, receipt)
        first_log = sum(len(r.logs) for r in self.receipts)
        self._encoded += (receipt,)
        self.receipts += (
            MinedReceipt(
                transaction=transaction,
                index=len(self.receipts),
                succeeded=not computation.is_error,
                gas_used=receipt.gas_used - used_before,
                cumulative_gas_used=receipt.gas_used,
                gas_price=base_fee + transaction.effective_tip(base_fee),
                contract_address=computation.msg.storage_address
                if computation.msg.is_create
                else None,
                logs=tuple(
                    LogEntry(
                        address=bytes(log.address),
                        topics=tuple(t.to_bytes(32, "big") for t in log.topics),
                        data=bytes(log.data),
                        index=first_log + i,
                    )
                    for i, log in enumerate(receipt.logs)
                ),
                bloom=receipt.bloom,
            ),
        )

    def seal(self) -> MinedBlock:
        """
        Finish: persist the state and make the block, which is nobody's head yet.
        """
        self.state.persist()
        transactions = [r.transaction.signed for r in self.receipts]
        header = self.header.copy(
            state_root=self.state.state_root,
            transaction_root=make_trie_root_and_nodes(transactions)[0],
            receipt_root=make_trie_root_and_nodes(self._encoded)[0],
            bloom=reduce(or_, (r.bloom for r in self.receipts), 0),
        )
        return self._evm.keep(header, self.receipts)


class Evm:
    """
    Cancun rules over a memory database of states and headers.
    """

    def __init__(self, *, chain_id: int, gas_limit: int) -> None:
        self.chain_id = chain_id
        self.gas_limit = gas_limit
        self._db = AtomicDB(MemoryDB())
        self._chaindb = ChainDB(self._db)
        self._context = ChainContext(chain_id)
        self._consensus = ConsensusContext(self._db)

    def genesis(
        self, balances: Mapping[bytes, int], *, timestamp: int, base_fee: int
    ) -> MinedBlock:
        """
        Block 0, in which the given addresses own the given amounts of neuron.
        """
        before = BlockHeader(difficulty=0, block_number=BlockNumber(-1), gas_limit=0)
        state = _VM.build_state(self._db, before, self._context)
        for address, balance in balances.items():
            state.set_balance(Address(address), balance)
        state.persist()
        header = _VM.create_genesis_header(
            state_root=state.state_root,
            timestamp=timestamp,
            gas_limit=self.gas_limit,
            difficulty=0,
            coinbase=COINBASE,
            base_fee_per_gas=base_fee,
        )
        return self.keep(header, ())

    def keep(self, header: BlockHeaderAPI, receipts: tuple[MinedReceipt, ...]) -> MinedBlock:
        """
        Store a header under its hash, where the BLOCKHASH of later blocks finds it.
        """
        encoded = rlp.encode(header)
        self._db[header.hash] = encoded
        return MinedBlock(
            header=header,
            hash=bytes(header.hash),
            receipts=receipts,
            # Without the few bytes of list prefixes; nobody decides anything by it.
            size=len(encoded) + sum(len(r.transaction.raw) for r in receipts),
        )

    def vm(self, header: BlockHeaderAPI) -> VirtualMachineAPI:
        """
        A fresh machine on the state that C{header} names; nothing it does lasts
        until its state is persisted.
        """
        return _VM(
            header=header,
            chaindb=self._chaindb,
            chain_context=self._context,
            consensus_context=self._consensus,
        )

    def draft(
        self, parent: MinedBlock, *, timestamp: int, base_fee: int, randomness: bytes
    ) -> Draft:
        """
        Begin a block on C{parent}.

        @param base_fee: Set by the caller, who may keep a floor under it.
        @param randomness: 32 bytes for C{PREVRANDAO}; also what makes two empty
            blocks on the same parent different blocks.
        """
        header = _VM.create_header_from_parent(
            parent.header,
            timestamp=timestamp,
            gas_limit=self.gas_limit,
            coinbase=COINBASE,
            mix_hash=Hash32(randomness),
        )
        return Draft(self, header.copy(base_fee_per_gas=base_fee))

    def free_state(self, header: BlockHeaderAPI) -> StateAPI:
        """
        The state of C{header}, in which gas costs nothing (as geth runs calls
        without a gas price).
        """
        return self.vm(header.copy(base_fee_per_gas=0)).state

    def run(self, state: StateAPI, request: CallRequest, gas: int) -> Execution:
        """
        Run a call on a state and take everything back.

        @param gas: At least the intrinsic gas; the sender must own C{request.value}.
        """
        transaction = _VM.get_transaction_builder().new_unsigned_dynamic_fee_transaction(  # type: ignore[attr-defined]
            chain_id=self.chain_id,
            nonce=state.get_nonce(Address(request.sender)),
            max_priority_fee_per_gas=0,
            max_fee_per_gas=0,
            gas=gas,
            to=request.to or b"",
            value=request.value,
            data=request.data,
            access_list=request.access_list,
        )
        if transaction.intrinsic_gas > gas:
            return Execution(gas=gas, intrinsic_gas=transaction.intrinsic_gas)
        snapshot = state.snapshot()
        try:
            computation = state.apply_transaction(
                SpoofTransaction(transaction, from_=request.sender)  # type: ignore[arg-type]
            )
        finally:
            state.revert(snapshot)
        return Execution(gas=gas, intrinsic_gas=transaction.intrinsic_gas, computation=computation)


@frozen(kw_only=True)
class Execution:
    """
    What came of L{Evm.run}.

    @ivar computation: None when the gas did not even cover the intrinsic cost.
    """

    gas: int
    intrinsic_gas: int
    computation: ComputationAPI | None = field(default=None, repr=False)

    @property
    def succeeded(self) -> bool:
        return self.computation is not None and not self.computation.is_error

    @property
    def gas_used(self) -> int:
        """
        Before refunds, which a limit must cover.
        """
        if self.computation is None:
            return self.gas
        return int(self.gas - self.computation.get_gas_remaining())

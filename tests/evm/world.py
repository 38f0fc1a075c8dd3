"""
The real contract in the real EVM without a chain around it: messages on a state.

No blocks, no gas prices, no transactions' signatures: a call is a message that
py-evm (Cancun) runs through the real beacon and proxy, which takes a millisecond or
two where eth-tester takes twenty.  Everything a contract can see is as it is on chain:
sender, value, time, chain id, code, storage, native balances.

Reads are remembered (L{World.view}): what a view answered stays true until a slot
that it read is changed, so that reading everything after every call costs no more
than reading what the call changed, whatever the storage layout is.
"""

from __future__ import annotations

from typing import Any

from attrs import define, frozen
from eth.constants import CREATE_CONTRACT_ADDRESS
from eth.db.atomic import AtomicDB
from eth.db.backends.memory import MemoryDB
from eth.exceptions import Revert
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.cancun.state import CancunState
from eth.vm.forks.cancun.transaction_context import CancunTransactionContext
from eth.vm.message import Message
from eth_typing import Address, BlockNumber, Hash32
from eth_utils.crypto import keccak

from sandbox_billing.errors import Refused
from tests.evm.codec import Log


CHAIN_ID = 16602
GAS = 30_000_000
GENESIS = 1_700_000_000
EMPTY_ROOT = Hash32(
    bytes.fromhex("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421")
)
ZERO = bytes(20)

Slot = tuple[bytes, int]
Snapshot = tuple[Any, dict[Any, Any], int]


class _Clock(ExecutionContext):
    """A block that can be told the time and the chain."""

    now = GENESIS
    chain = CHAIN_ID

    @property
    def timestamp(self) -> int:
        return self.now

    @property
    def chain_id(self) -> int:
        return self.chain


class _State(CancunState):
    """A state that notes which slots are read and changed."""

    def __init__(self, db: AtomicDB, clock: _Clock, root: Hash32) -> None:
        self.read: set[Slot] = set()
        self.written: set[Slot] = set()
        super().__init__(db, clock, root)

    def get_storage(self, address: Address, slot: int, from_journal: bool = True) -> int:
        self.read.add((address, slot))
        return super().get_storage(address, slot, from_journal)

    def set_storage(self, address: Address, slot: int, value: int) -> None:
        if super().get_storage(address, slot) != value:
            self.written.add((address, slot))
        super().set_storage(address, slot, value)


@frozen(kw_only=True)
class Result:
    """
    What came of a message.

    @ivar output: What was returned, or what it reverted with.
    @ivar logs: In order; none if it failed.
    @ivar problem: The kind of failure; empty for success and for a revert.
    """

    succeeded: bool
    output: bytes
    logs: tuple[Log, ...]
    problem: str = ""


@define
class World:
    """
    A state to send messages to.  It costs next to nothing to L{fork}.
    """

    _db: AtomicDB
    _clock: _Clock
    _state: _State
    _views: dict[tuple[bytes, bytes], tuple[bytes, frozenset[Slot]]]
    _created: int = 0

    @classmethod
    def empty(cls) -> World:
        """No code, no money."""
        db, clock = AtomicDB(MemoryDB()), _clock(GENESIS, CHAIN_ID)
        return cls(db, clock, _State(db, clock, EMPTY_ROOT), {})

    def fork(self) -> World:
        """
        The same world once more; what happens there is not seen here.

        What was done here must not be taken back afterwards.
        """
        self._state.persist()
        clock = _clock(self._clock.now, self._clock.chain)
        state = _State(self._db, clock, self._state.state_root)
        return World(self._db, clock, state, dict(self._views), self._created)

    @property
    def now(self) -> int:
        """Unix seconds, the same for all messages until it is moved."""
        return self._clock.now

    @now.setter
    def now(self, seconds: int) -> None:
        self._clock.now = seconds

    @property
    def chain(self) -> int:
        """The chain id."""
        return self._clock.chain

    @chain.setter
    def chain(self, number: int) -> None:
        self._clock.chain = number
        self._views = {}

    def holdings(self, address: bytes) -> int:
        """Native balance, neuron."""
        return self._state.get_balance(Address(address))

    def give(self, address: bytes, amount: int) -> None:
        """Native money out of nowhere."""
        self._state.delta_balance(Address(address), amount)

    def install(self, address: bytes, code: bytes) -> None:
        """Code out of nowhere."""
        self._state.set_code(Address(address), code)

    def snapshot(self) -> Snapshot:
        """For one L{restore}."""
        return self._state.snapshot(), dict(self._views), self.now

    def restore(self, snapshot: Snapshot) -> None:
        """Take back everything since."""
        state, self._views, self.now = snapshot
        self._state.revert(state)

    # --------------------------------------------------------------------- messages

    def create(self, code: bytes, *, sender: bytes, value: int = 0) -> bytes:
        """
        Deploy.

        @param code: Creation code and constructor arguments.
        @return: The new address; made of a counter, so that runs repeat exactly.
        @raise Refused: The constructor failed.
        """
        self._created += 1
        address = keccak(b"created" + self._created.to_bytes(4, "big"))[12:]
        message = Message(
            gas=GAS,
            to=CREATE_CONTRACT_ADDRESS,
            sender=Address(sender),
            value=value,
            data=b"",
            code=code,
            create_address=Address(address),
        )
        computation = CancunState.computation_class.apply_create_message(
            self._state, message, _context(sender)
        )
        self._settle_down()
        if computation.is_error:
            raise Refused(f"the constructor failed: {computation.error!r}")
        return address

    def send(self, sender: bytes, to: bytes, data: bytes, value: int = 0) -> Result:
        """
        One transaction, as far as a contract can tell.

        @param sender: Any address, also one with code: it counts as that contract's call.
        """
        message = Message(
            gas=GAS,
            to=Address(to),
            sender=Address(sender),
            value=value,
            data=data,
            code=self._state.get_code(Address(to)),
        )
        computation = CancunState.computation_class.apply_message(
            self._state, message, _context(sender)
        )
        self._settle_down()
        failed = computation.is_error
        reverted = failed and isinstance(computation.error, Revert)
        logs = () if failed else computation.get_log_entries()
        return Result(
            succeeded=not failed,
            output=bytes(computation.output) if reverted or not failed else b"",
            logs=tuple((bytes(a), tuple(topics), bytes(data)) for a, topics, data in logs),
            problem=repr(computation.error) if failed and not reverted else "",
        )

    def _settle_down(self) -> None:
        self._state.clear_transient_storage()
        if written := self._state.written:
            self._views = {
                key: found for key, found in self._views.items() if written.isdisjoint(found[1])
            }
            self._state.written = set()

    def ask(self, to: bytes, data: bytes, sender: bytes = ZERO) -> Result:
        """A call that leaves no trace."""
        before = self._state.snapshot()
        views = self._views
        result = self.send(sender, to, data)
        self._views = views
        self._state.revert(before)
        return result

    def view(self, to: bytes, data: bytes) -> bytes:
        """
        What a view answers, remembered until something that it read changes.

        It must not depend on time, sender or money; a chain id is forgotten with the chain.

        @raise Refused: It failed.
        """
        key = to, data
        if key not in self._views:
            self._state.read = set()
            result = self.ask(to, data)
            if not result.succeeded:
                raise Refused(f"a view failed: {data.hex()}: {result.output.hex()}")
            self._views[key] = result.output, frozenset(self._state.read)
        return self._views[key][0]


def _clock(now: int, chain: int) -> _Clock:
    clock = _Clock(
        coinbase=Address(b"\xc0" * 20),
        timestamp=now,
        block_number=BlockNumber(1),
        difficulty=0,
        mix_hash=Hash32(bytes(32)),
        gas_limit=GAS,
        prev_hashes=(),
        chain_id=CHAIN_ID,
        base_fee_per_gas=0,
        excess_blob_gas=0,
    )
    clock.now, clock.chain = now, chain
    return clock


def _context(sender: bytes) -> CancunTransactionContext:
    return CancunTransactionContext(gas_price=0, origin=Address(sender))

"""
The pool in front of the EVM: what a real node keeps and py-evm does not.

It is pure: the state of an account (nonce, balance) is an argument.  The rules
and the words are geth's (C{core/txpool}), because the daemon's sender must
survive exactly these answers.

Tests: C{tests/devnet/test_chain_mempool.py}.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from itertools import count
from typing import Final

from attrs import define, field

from .errors import RpcError
from .transactions import PoolTransaction


#: A replacement must raise both fees by this much (geth's C{PriceBump}).
PRICE_BUMP_PERCENT: Final = 10
#: A bound on what the pool keeps, so that a runaway client cannot eat the memory.
MAX_TRANSACTIONS: Final = 20_000


@define
class Mempool:
    """
    Transactions that are known and not mined, by sender and nonce; gaps are allowed.

    @ivar by_sender: Sender -> nonce -> transaction.
    @ivar by_hash: The same transactions by their hash.
    """

    by_sender: dict[bytes, dict[int, PoolTransaction]] = field(factory=dict)
    by_hash: dict[bytes, PoolTransaction] = field(factory=dict)

    def __len__(self) -> int:
        return len(self.by_hash)

    def __iter__(self) -> Iterator[PoolTransaction]:
        return iter(self.by_hash.values())

    def copy(self) -> Mempool:
        """
        An independent copy, for a snapshot.
        """
        return Mempool({s: dict(n) for s, n in self.by_sender.items()}, dict(self.by_hash))

    def add(self, transaction: PoolTransaction, nonce: int, balance: int) -> None:
        """
        Take a transaction in, perhaps in the place of another with its nonce.

        @param nonce: The sender's next nonce in the state of the head.
        @param balance: The sender's balance there, neuron.

        @raise RpcError: Already known, nonce too low, replacement underpriced,
            insufficient funds (together with what of this sender waits already), or
            the pool is full.
        """
        if transaction.hash in self.by_hash:
            raise RpcError("already known")
        if transaction.nonce < nonce:
            raise RpcError(f"nonce too low: next nonce {nonce}, tx nonce {transaction.nonce}")
        waiting = self.by_sender.get(transaction.sender, {})
        old = waiting.get(transaction.nonce)
        self._check_funds(transaction, waiting, nonce, balance)
        if old is None:
            if len(self.by_hash) >= MAX_TRANSACTIONS:
                raise RpcError("txpool is full")
        else:
            if not outbids(transaction, old):
                raise RpcError("replacement transaction underpriced")
            del self.by_hash[old.hash]
        self.by_sender.setdefault(transaction.sender, {})[transaction.nonce] = transaction
        self.by_hash[transaction.hash] = transaction

    @staticmethod
    def _check_funds(
        transaction: PoolTransaction,
        waiting: dict[int, PoolTransaction],
        nonce: int,
        balance: int,
    ) -> None:
        """
        Refuse what its sender cannot pay beside the others that run before it or after.
        """
        cost = transaction.cost
        if cost > balance:
            raise RpcError(
                f"insufficient funds for gas * price + value: balance {balance}, "
                f"tx cost {cost}, overshot {cost - balance}"
            )
        queued = sum(
            other.cost
            for number, other in waiting.items()
            if number >= nonce and number != transaction.nonce
        )
        if queued + cost > balance:
            raise RpcError(
                f"insufficient funds for gas * price + value: balance {balance}, "
                f"queued cost {queued}, tx cost {cost}, overshot {queued + cost - balance}"
            )

    def restore(self, transaction: PoolTransaction) -> None:
        """
        Put a transaction of an orphaned block back, unless its nonce was taken meanwhile.
        """
        waiting = self.by_sender.setdefault(transaction.sender, {})
        if waiting.setdefault(transaction.nonce, transaction) is transaction:
            self.by_hash[transaction.hash] = transaction

    def drop(self, transaction_hash: bytes) -> bool:
        """
        Forget a transaction, as a busy node does; later nonces of its sender wait.

        @return: Whether it was there.
        """
        transaction = self.by_hash.pop(transaction_hash, None)
        if transaction is None:
            return False
        waiting = self.by_sender[transaction.sender]
        del waiting[transaction.nonce]
        if not waiting:
            del self.by_sender[transaction.sender]
        return True

    def prune(self, nonce_of: Callable[[bytes], int], balance_of: Callable[[bytes], int]) -> None:
        """
        After a block: forget what was mined or overtaken, and what can no longer be paid.
        """
        for sender in list(self.by_sender):
            nonce, balance = nonce_of(sender), balance_of(sender)
            for transaction in list(self.by_sender[sender].values()):
                if transaction.nonce < nonce or transaction.cost > balance:
                    self.drop(transaction.hash)

    def pending_nonce(self, sender: bytes, nonce: int) -> int:
        """
        The first nonce above C{nonce} (the state's next) that no transaction here uses.
        """
        waiting = self.by_sender.get(sender, {})
        while nonce in waiting:
            nonce += 1
        return nonce

    def executable(self, nonce_of: Callable[[bytes], int]) -> list[PoolTransaction]:
        """
        What could run now if fees and gas allowed it: everything before each sender's gap.
        """
        found = []
        for sender, waiting in self.by_sender.items():
            first = nonce_of(sender)
            found += [waiting[n] for n in range(first, self.pending_nonce(sender, first))]
        return found


def outbids(new: PoolTransaction, old: PoolTransaction) -> bool:
    """
    Whether C{new} may take the place of C{old}: both fees higher, by a tenth at least.
    """

    def enough(new_fee: int, old_fee: int) -> bool:
        return new_fee > old_fee and new_fee >= old_fee * (100 + PRICE_BUMP_PERCENT) // 100

    return enough(new.fee_cap, old.fee_cap) and enough(new.tip_cap, old.tip_cap)


class Selection:
    """
    The pool in the order in which a block takes it: best tip first, nonces in order.
    """

    def __init__(self, base_fee: int) -> None:
        self._base_fee = base_fee
        self._arrival = count()
        self._heads: list[tuple[int, int, PoolTransaction]] = []
        self._later: dict[bytes, list[PoolTransaction]] = {}

    def fill(self, executable: list[PoolTransaction]) -> Selection:
        """
        Offer transactions, each sender's in rising order of nonce.
        """
        for transaction in executable:
            self._later.setdefault(transaction.sender, []).append(transaction)
        for sender in list(self._later):
            self._offer_next(sender)
        return self

    def __iter__(self) -> Iterator[PoolTransaction]:
        while self._heads:
            yield heapq.heappop(self._heads)[2]

    def taken(self, transaction: PoolTransaction) -> None:
        """
        It is in the block: its sender's next one may follow.  Not called, none follows.
        """
        self._offer_next(transaction.sender)

    def _offer_next(self, sender: bytes) -> None:
        later = self._later[sender]
        if not later:
            return
        transaction = later.pop(0)
        tip = transaction.effective_tip(self._base_fee)
        if tip >= 0:
            heapq.heappush(self._heads, (-tip, next(self._arrival), transaction))

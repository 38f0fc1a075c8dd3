"""
Which account nonces of ours are taken, and what the transactions that have them may cost.

Kept in this process alone: after a restart the stored attempts tell it again.

Tests: L{tests.adapters.test_chain_transactions}.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

from sandbox_billing.interfaces import AccountNonces
from sandbox_billing.ledger.batch import Attempt
from sandbox_billing.ledger.identity import Address


_REMEMBERED_CALLS = 256


class NonceBook:
    """
    Of one sender.  The submission thread asks it, and the main one tells it what is stored.
    """

    def __init__(self, sender: Address) -> None:
        self._sender = sender
        self._next = 0
        self._given: dict[bytes, int] = {}
        self._costs: dict[int, int] = {}
        self._lock = Lock()

    def adopt(self, attempts: Iterable[Attempt]) -> None:
        """
        Never give the account nonces of these again: they are stored, and may be sent.

        Those of another sender say nothing of our account.
        """
        mine = [a for a in attempts if a.sender == self._sender]
        with self._lock:
            self._next = max([self._next, *(a.account_nonce + 1 for a in mine)])
            for attempt in mine:
                self._reserve(attempt)

    def abandon(self, attempt: Attempt) -> None:
        """The newest prepared attempt was neither stored nor sent: its account nonce is free."""
        nonce = attempt.account_nonce
        with self._lock:
            self._costs.pop(nonce, None)
            if self._next == nonce + 1:
                self._next = nonce
                self._given = {call: n for call, n in self._given.items() if n != nonce}

    def reserve(self, attempt: Attempt) -> None:
        """Reckon from now on with what an attempt may cost."""
        with self._lock:
            self._reserve(attempt)

    def _reserve(self, attempt: Attempt) -> None:
        # Of several with one account nonce one is mined; the dearest counts.
        nonce = attempt.account_nonce
        cost = attempt.gas_limit * attempt.fee_cap
        self._costs[nonce] = max(cost, self._costs.get(nonce, 0))

    def reserved(self, mined: int, own: int) -> int:
        """
        What may still be spent, neuron.

        @param mined: How many of our transactions are in blocks: those are paid.
        @param own: An account nonce to leave out.
        """
        with self._lock:
            self._costs = {n: c for n, c in self._costs.items() if n >= mined}
            return sum(cost for nonce, cost in self._costs.items() if nonce != own)

    def given(self, call: bytes) -> int:
        """The account nonce that a call has already; -1 for none."""
        with self._lock:
            return self._given.get(call, -1)

    def give(self, call: bytes, counts: AccountNonces) -> int:
        """
        The next one; or, for a call that was prepared before, the same one again.

        The caller may have failed to store what it was given: were its account nonce left
        unused, every later transaction would wait behind the gap.  If it was stored after
        all, two transactions share the nonce and one of them can be mined (T-1).
        """
        with self._lock:
            nonce = self._given.pop(call, -1)
            if nonce < counts.mined:
                nonce = max(counts.pending, self._next)
                self._next = nonce + 1
            self._given[call] = nonce
            if len(self._given) > _REMEMBERED_CALLS:
                self._given.pop(next(iter(self._given)))
        return nonce

"""
Whether a used nonce is proven to have settled nothing.

A missing event counts only if the money itself says the same; a second node counts only where
the money is silent (failures.md, "UNKNOWN is a state").  Two nodes may have one log gap.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from sandbox_billing.ledger.account import Account, Settlement
from sandbox_billing.ledger.identity import Nonce
from sandbox_billing.ledger.money import Neuron


@frozen(kw_only=True)
class WalletHistory:
    """
    All that moved for a wallet with our provider, from the contract's first block.

    @ivar deposited: neuron, in all.
    @ivar withdrawn: neuron, in all.
    @ivar settlements: Of our provider, in log order.
    @ivar sources: How many nodes know exactly this.
    """

    deposited: Neuron
    withdrawn: Neuron
    settlements: tuple[Settlement, ...]
    sources: int

    def of(self, nonce: Nonce) -> Settlement | None:
        """What was settled under a nonce."""
        return next((s for s in self.settlements if s.nonce == nonce), None)

    def missing(self, account: Account) -> int | None:
        """
        Money that came in and is neither there nor accounted for, neuron: law L1.

        @param account: At the block the history ends with.
        @return: Below 0 where more is there than came in; None where an event does not say
            what was paid.
        """
        paid = 0
        for settled in self.settlements:
            if settled.paid is None:
                return None
            paid += settled.paid
        return self.deposited - self.withdrawn - paid - account.collectable


@frozen
class Lost:
    """Nothing was settled under the nonce, and nothing can be any more."""


@frozen
class Contradiction:
    """The events do not explain where the wallet's money is: a human must look."""

    reason: str


@frozen
class NoProof:
    """Nobody says where the money is: a second node must tell."""

    reason: str


Finding: TypeAlias = Settlement | Lost | Contradiction | NoProof


def find(nonce: Nonce, history: WalletHistory, account: Account) -> Finding:
    """
    What became of a nonce that is used, at the block the history ends with.

    @param account: The wallet's, at that block.
    """
    settled = history.of(nonce)
    if settled is not None:
        return settled
    missing = history.missing(account)
    if missing == 0 or (missing is None and history.sources >= 2):
        return Lost()
    if missing is None:
        return NoProof("an event does not say what was paid, and there is no second node to ask")
    amiss = f"{missing} neuron are missing" if missing > 0 else f"{-missing} neuron are too many"
    return Contradiction(f"nonce {nonce} is used, no event says for what, and {amiss}")

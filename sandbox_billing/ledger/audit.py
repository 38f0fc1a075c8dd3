"""What operators decided about money: entries that are added and never changed (Q-8)."""

from __future__ import annotations

from attrs import frozen

from sandbox_billing.ledger.money import Neuron, UnixSeconds


@frozen(kw_only=True)
class AuditEntry:
    """
    One decision.

    @ivar at: unix seconds.
    @ivar by: Who decided.
    @ivar what: C{forgive} and the like.
    @ivar subject: A charge id, a wallet, or what else it is about.
    @ivar amount: neuron; 0 where no money is meant.
    """

    at: UnixSeconds
    by: str
    what: str
    subject: str
    amount: Neuron
    reason: str

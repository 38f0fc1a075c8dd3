"""
What became of a batch, in figures.

Tests: C{tests.services.test_settled_figures}.
"""

from __future__ import annotations

from collections.abc import Sequence

from sandbox_billing.interfaces import IMeasures, Receipt, Ruling
from sandbox_billing.ledger.voucher import (
    ChargeState,
    DeadLettered,
    Open,
    Paid,
    Parked,
    Partial,
    Signed,
)
from sandbox_billing.measures import (
    BATCH_GAS,
    CONFIRMATION_SECONDS,
    GAS_USED,
    SETTLED_NEURON,
    SETTLED_VOUCHERS,
)


OUTCOMES: dict[type[ChargeState], str] = {
    Paid: "paid",
    Partial: "partial",
    Parked: "parked",
    Signed: "owed",
    Open: "void",
    DeadLettered: "dead",
}
"""C{owed}: still, under the same nonce.  C{void}: still, and it gets another one."""


def note_settled(
    measures: IMeasures,
    rulings: Sequence[Ruling],
    receipt: Receipt,
    *,
    waited: int,
    ended: bool,
) -> None:
    """
    @param rulings: Of a batch, or of the part of it that could be decided.
    @param waited: Seconds since its first attempt was recorded, which is when it was sent.
    @param ended: Whether nothing of it is left: transaction and wait count once.
    """
    for ruling in rulings:
        state = ruling.after.state
        measures.count(SETTLED_VOUCHERS, outcome=OUTCOMES.get(type(state), "other"))
        if isinstance(state, Paid):
            measures.count(SETTLED_NEURON, state.seal.fee)
        elif isinstance(state, Partial):
            measures.count(SETTLED_NEURON, state.paid)
    if ended:
        measures.count(GAS_USED, receipt.gas_used)
        measures.observe(BATCH_GAS, receipt.gas_used)
        measures.observe(CONFIRMATION_SECONDS, max(0, waited))

"""How much was settled and what that cost, since the journal began."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from sandbox_billing.ledger.money import Neuron, add, less
from sandbox_billing.ledger.voucher import ChargeState, Paid, Partial


@frozen(kw_only=True)
class Totals:
    """
    @ivar batches: That were mined, those that only used up an account nonce among them.
    @ivar vouchers: That were paid, in full or in part.
    @ivar fees: neuron that moved to the provider.
    @ivar gas: neuron that the gas account paid for it.
    """

    batches: int = 0
    vouchers: int = 0
    fees: Neuron = Neuron(0)  # noqa: RUF009 (a NewType)
    gas: Neuron = Neuron(0)  # noqa: RUF009 (a NewType)

    def after(self, states: Iterable[ChargeState], gas: Neuron) -> Totals:
        """One batch later: what became of its charges, and what it cost."""
        moved = [_moved(state) for state in states if isinstance(state, Paid | Partial)]
        return Totals(
            batches=self.batches + 1,
            vouchers=self.vouchers + len(moved),
            fees=add(self.fees, *moved),
            gas=add(self.gas, gas),
        )

    def since(self, before: Totals) -> Totals:
        """What came after an earlier count."""
        return Totals(
            batches=self.batches - before.batches,
            vouchers=self.vouchers - before.vouchers,
            fees=less(self.fees, before.fees),
            gas=less(self.gas, before.gas),
        )

    def plus(self, other: Totals) -> Totals:
        """Both together."""
        return Totals(
            batches=self.batches + other.batches,
            vouchers=self.vouchers + other.vouchers,
            fees=add(self.fees, other.fees),
            gas=add(self.gas, other.gas),
        )


def _moved(state: Paid | Partial) -> Neuron:
    return state.seal.fee if isinstance(state, Paid) else state.paid

"""
What a transaction offers per gas, and by how much a bump raises it; pure.

Tests: L{tests.adapters.test_chain_fees}.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from sandbox_billing.adapters.chain.raw import read_raw
from sandbox_billing.errors import Refused
from sandbox_billing.ledger.batch import Attempt


MINIMUM_TIP = 10**6
"""neuron per gas; a tip of 0 is never taken by some nodes (T-3)."""


@frozen(kw_only=True)
class DynamicFees:
    """
    EIP-1559.

    @ivar tip: neuron per gas, for the block's maker.
    @ivar cap: neuron per gas, base fee and tip together.
    """

    tip: int
    cap: int


@frozen
class LegacyFees:
    """
    @ivar cap: neuron per gas.
    """

    cap: int


Fees: TypeAlias = DynamicFees | LegacyFees


def suggest(*, base_fee: int | None, tip: int, gas_price: int, ceiling: int) -> Fees:
    """
    Fees for a first attempt: fee cap = tip + 2 x base fee (T-3), never above the ceiling.

    @param base_fee: None on a chain without EIP-1559, where the gas price is all there is.
    @param ceiling: C{GAS_FEE_CAP_NEURON}, neuron per gas.
    @raise Refused: Under the ceiling it could not be mined now.
    """
    if base_fee is None:
        cap = max(gas_price, MINIMUM_TIP)
        if cap > ceiling:
            raise Refused(f"gas costs {cap} neuron now, above GAS_FEE_CAP_NEURON {ceiling}")
        return LegacyFees(cap)
    tip = max(tip, MINIMUM_TIP)
    if base_fee + MINIMUM_TIP > ceiling:
        raise Refused(f"gas costs {base_fee} neuron now, above GAS_FEE_CAP_NEURON {ceiling}")
    cap = min(tip + 2 * base_fee, ceiling)
    return DynamicFees(tip=min(tip, cap - base_fee), cap=cap)


def bump(earlier: Fees, now: Fees, ceiling: int) -> Fees:
    """
    Fees that replace a waiting transaction: each a tenth higher, rounded up, or today's.

    @raise Refused: That would be above the ceiling; send the earlier attempt again (T-4).
    """
    cap = max(_a_tenth_more(earlier.cap), now.cap)
    if _a_tenth_more(earlier.cap) > ceiling:
        raise Refused(
            f"a bump would offer {_a_tenth_more(earlier.cap)} neuron per gas, above "
            f"GAS_FEE_CAP_NEURON {ceiling}; the earlier attempt may be sent again"
        )
    cap = min(cap, ceiling)
    if isinstance(earlier, LegacyFees) or isinstance(now, LegacyFees):
        return LegacyFees(cap)
    return DynamicFees(tip=min(max(_a_tenth_more(earlier.tip), now.tip), cap), cap=cap)


def _a_tenth_more(fee: int) -> int:
    return -(-fee * 11 // 10)


def fees_of(attempt: Attempt) -> Fees:
    """
    What a signed transaction offers; the tip of one of type 2 is read from its bytes.
    """
    tip = read_raw(attempt).tip
    if tip is None:
        return LegacyFees(attempt.fee_cap)
    return DynamicFees(tip=tip, cap=attempt.fee_cap)

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


MULTIPLE = 5
"""A bump offers at most so many times what a first attempt would offer today (T-3)."""

UNLIMITED = 10**9
"""neuron per gas; up to this a bump may be any multiple of today's."""


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
    Fees for a first attempt: fee cap = tip + 2 x base fee (T-3), never above the ceiling and,
    where less is enough, so far below it that it can be outbid once.

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
    cap = min(tip + 2 * base_fee, max(room(ceiling), base_fee + MINIMUM_TIP))
    return DynamicFees(tip=min(tip, cap - base_fee), cap=cap)


def room(ceiling: int) -> int:
    """The most that can still be outbid under a ceiling."""
    return ceiling * 10 // 11


def bump(earlier: Fees, now: Fees, ceiling: int, *, multiple: int | None = MULTIPLE) -> Fees:
    """
    Fees that replace a waiting transaction: each a tenth higher, rounded up, or today's.

    @param now: What L{suggest} says today.  More than twice the base fee: a base fee that has
        risen above the earlier cap is never what a multiple refuses.
    @param multiple: Of today's, above which it is not the price that holds the transaction up;
        None where it has to be outbid at any price under the ceiling.
    @raise Refused: It would be above one of the two; send the earlier attempt again (T-4).
    """
    least = _a_tenth_more(earlier.cap)
    if least > ceiling:
        raise Refused(
            f"a bump would offer {least} neuron per gas, above the {ceiling} that "
            "GAS_FEE_CAP_NEURON leaves; the earlier attempt may be sent again"
        )
    if multiple is not None and _is_beyond(least, now.cap, multiple):
        raise Refused(
            f"a bump would offer {least} neuron per gas, more than {multiple} times today's "
            f"{now.cap}; the earlier attempt may be sent again"
        )
    cap = min(max(least, now.cap), ceiling)
    if isinstance(earlier, LegacyFees) or isinstance(now, LegacyFees):
        return LegacyFees(cap)
    return DynamicFees(tip=min(max(_a_tenth_more(earlier.tip), now.tip), cap), cap=cap)


def _is_beyond(offer: int, today: int, multiple: int) -> bool:
    return offer > max(today * multiple, UNLIMITED)


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

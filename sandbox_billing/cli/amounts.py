"""
Amounts as people write them: C{0.01 0G}, C{10000 neuron}, or plain neuron; never a float.

Tests: L{tests.cli.test_amounts}.
"""

from __future__ import annotations

import re

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.money import NEURON_PER_0G, Neuron, format_0g, neuron


DECIMALS = 18

_AMOUNT = re.compile(r"([0-9]{1,78})(?:\.([0-9]{1,78}))?(?: +(0G|neuron))?\Z", re.IGNORECASE)

_FORMS = "write it as '0.01 0G', '10000 neuron' or 10000 (neuron)"


def parse_amount(text: str) -> Neuron:
    """
    Read an amount.

    The blank before C{0G} is needed: C{1000G} could be 100 0G.

    @raise BadInput: It is none, is finer than a neuron, or does not fit into 256 bits.
    """
    match = _AMOUNT.match(text.strip())
    if match is None:
        raise BadInput(f"{text!r} is no amount: {_FORMS}")
    whole, fraction, unit = match[1], match[2] or "", (match[3] or "neuron").lower()
    if unit == "neuron":
        if fraction:
            raise BadInput(f"{text!r}: a neuron is never divided; for 0G {_FORMS}")
        return neuron(int(whole))
    if len(fraction) > DECIMALS:
        raise BadInput(f"{text!r} is finer than a neuron: at most {DECIMALS} digits after the dot")
    return neuron(int(whole) * NEURON_PER_0G + int(fraction.ljust(DECIMALS, "0")))


def both(amount: int) -> str:
    """
    An amount in both units, exact: C{10000000000000000 neuron (0.01 0G)}.

    @param amount: neuron; may be negative (a difference).
    """
    return f"{amount} neuron ({format_0g(amount)})"

"""
Amounts and the two other kinds of number that must not be mixed with them.

An amount is an integer of neuron (10^-18 0G) and is written as a decimal
string wherever it leaves Python: Redis counters overflow at 9.2 0G, and Lua
and JSON numbers lose digits at 2^53.
"""

from __future__ import annotations

import re
from typing import NewType

from sandbox_billing.errors import BadInput


Neuron = NewType("Neuron", int)
"""An amount of money in neuron, never negative."""

NeuronPerMinute = NewType("NeuronPerMinute", int)
"""What a running sandbox costs per minute."""

UnixSeconds = NewType("UnixSeconds", int)
"""A moment: whole seconds since 1970, by the clock of whoever stamped it."""

NEURON_PER_0G = 10**18
UINT256_MAX = 2**256 - 1

_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,77})\Z")


def neuron(amount: int) -> Neuron:
    """
    @param amount: An integer of neuron, 0 to 2^256 - 1.
    @raise BadInput: It is negative, too large or no integer (a bool is none).
    """
    if type(amount) is not int or not 0 <= amount <= UINT256_MAX:
        raise BadInput(f"an amount is an integer of neuron from 0 to 2^256 - 1, not {amount!r}")
    return Neuron(amount)


def parse_neuron(text: str) -> Neuron:
    """
    Read a stored or received amount.

    @param text: Decimal digits, without sign, spaces, underscores or leading zeros.
    @raise BadInput: It is anything else.
    """
    if not _DECIMAL.match(text):
        raise BadInput(f"an amount is a decimal string of neuron, not {text!r}")
    return neuron(int(text))


def add(*amounts: Neuron) -> Neuron:
    """The sum of amounts."""
    return neuron(sum(amounts))


def less(amount: Neuron, taken: Neuron) -> Neuron:
    """
    What is left of an amount.

    @raise BadInput: More was taken than there was.
    """
    return neuron(amount - taken)


def format_0g(amount: int) -> str:
    """
    An amount for people, exact: C{"1.5 0G"}.

    @param amount: neuron; may be negative (a difference).
    """
    sign = "-" if amount < 0 else ""
    whole, rest = divmod(abs(amount), NEURON_PER_0G)
    fraction = f".{rest:018d}".rstrip("0") if rest else ""
    return f"{sign}{whole}{fraction} 0G"

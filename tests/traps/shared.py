"""Parts of several defects."""

from __future__ import annotations

from itertools import count
from typing import Any

from tests.traps.trap import Patch


def fresh_ids() -> Patch:
    """
    A charge is named anew each time it is made, not by what it is for.

    A part of every charge that is made twice: under its one name it would be recognised.
    """
    number = count(1)

    def fresh(original: Any) -> Any:
        return lambda sandbox, start: f"{original(sandbox, start)}:{next(number)}"

    return Patch("sandbox_billing.ledger.metering.compute_charge_id", fresh)

"""
What C{--dry-run} shows: every transaction, what each may cost, and all of them together.

Tests: L{tests.cli.test_sending}, L{tests.cli.test_deploy}.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from sandbox_billing.cli.amounts import both
from sandbox_billing.cli.output import Output
from sandbox_billing.cli.transaction import Draft
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum


_SHOWN_BYTES = 1024


@frozen(kw_only=True)
class Rehearsal:
    """
    @ivar balance: neuron that the sender has.
    @ivar drafts: In order; each gas an estimate or, before an earlier one is mined, a bound.
    """

    chain_id: int
    sender: Address
    balance: int
    drafts: tuple[Draft, ...]

    @property
    def value(self) -> int:
        """neuron sent with all of them."""
        return sum(draft.call.value for draft in self.drafts)

    @property
    def gas(self) -> int | None:
        """Of all of them at most; None where one is not known."""
        found = [draft.gas for draft in self.drafts if draft.gas is not None]
        return sum(found) if len(found) == len(self.drafts) else None

    @property
    def cost(self) -> int | None:
        """neuron for that gas at most."""
        found = [draft.cost for draft in self.drafts if draft.cost is not None]
        return sum(found) if len(found) == len(self.drafts) else None

    def document(self) -> dict[str, Any]:
        """For C{--json}."""
        return {
            "dry_run": True,
            "chain_id": self.chain_id,
            "sender": checksum(self.sender),
            "balance": str(self.balance),
            "transactions": [draft.document() for draft in self.drafts],
            "total": {
                "value": str(self.value),
                "gas": self.gas,
                "cost": None if self.cost is None else str(self.cost),
            },
        }

    def rows(self) -> list[tuple[str, str]]:
        """For people."""
        rows = [
            ("chain", str(self.chain_id)),
            ("sender", checksum(self.sender)),
            ("balance", both(self.balance)),
        ]
        for draft in self.drafts:
            call = draft.call
            to = "a new contract" if call.to is None else checksum(call.to)
            rows += [
                (call.label, f"to {to}"),
                ("  value", both(call.value)),
                ("  gas", _gas(draft.gas, draft.cost, estimated=draft.estimated)),
            ]
        rows += [
            ("in all", f"{len(self.drafts)} transactions"),
            ("  value", both(self.value)),
            ("  gas", _gas(self.gas, self.cost, estimated=True)),
        ]
        missing = self.value + (self.cost or 0) - self.balance
        if missing > 0:
            rows.append(("  missing", f"{both(missing)}: send the sender some"))
        return rows

    def show(self, out: Output, first: str | None) -> None:
        """
        The result of the command.

        @param first: What would be done before all of it.
        """
        lines = [] if first is None else [f"Before that: {first}"]
        for draft in self.drafts:
            lines.append(f"{draft.call.label} calldata: {_shortened(draft.call.data)}")
        more = {} if first is None else {"first": first}
        out.finish(
            {**self.document(), **more},
            title="Dry run: nothing was sent",
            rows=self.rows(),
            lines=lines,
        )


def _gas(gas: int | None, cost: int | None, *, estimated: bool) -> str:
    if gas is None or cost is None:
        return "known when the step before it is mined"
    exact = "" if estimated else " at most (estimated when the step before it is mined)"
    return f"{gas}{exact}, at most {both(cost)}"


def _shortened(data: bytes) -> str:
    """Calldata for people; a contract's code fills screens."""
    if len(data) <= _SHOWN_BYTES:
        return "0x" + data.hex()
    return f"0x{data[:32].hex()}… ({len(data)} bytes; all of them with --json)"

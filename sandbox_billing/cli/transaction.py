"""
A transaction on its way: called for, drafted, signed, done.

Tests: L{tests.cli.test_sending}.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from sandbox_billing.adapters.chain.fees import DynamicFees, Fees, LegacyFees
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum


@frozen(kw_only=True)
class Call:
    """
    Something to be sent.

    @ivar label: What it is, for people: C{deposit}.
    @ivar to: None creates a contract.
    @ivar value: neuron sent with it.
    @ivar bound: Gas that it never takes more than, for what cannot be estimated before an
        earlier call is mined; None where nobody knows one.
    @ivar again: What to do when its end was not seen, or something after it failed, where to
        run the same command again would do it twice; None where that goes on from there.
    """

    label: str
    to: Address | None
    data: bytes
    value: int = 0
    bound: int | None = None
    again: str | None = None

    def request(self, sender: Address) -> dict[str, str]:
        """As C{eth_call} and C{eth_estimateGas} want it."""
        request = {"from": sender.hex, "data": "0x" + self.data.hex(), "value": hex(self.value)}
        return request if self.to is None else {**request, "to": self.to.hex}


@frozen(kw_only=True)
class Draft:
    """
    A call with what it may cost.

    @ivar gas: Limit; None where it cannot be known before an earlier call is mined.
    @ivar estimated: Whether a node has said so; else it is the call's bound.
    """

    call: Call
    gas: int | None
    fees: Fees
    estimated: bool = True

    @property
    def cost(self) -> int | None:
        """neuron that gas takes at most."""
        return None if self.gas is None else self.gas * self.fees.cap

    def document(self) -> dict[str, Any]:
        """For C{--json}."""
        return {
            "label": self.call.label,
            "to": None if self.call.to is None else checksum(self.call.to),
            "value": str(self.call.value),
            "data": "0x" + self.call.data.hex(),
            "gas": self.gas,
            "gas_estimated": self.estimated,
            "fee_per_gas": str(self.fees.cap),
            "cost": None if self.cost is None else str(self.cost),
        }


@frozen(kw_only=True)
class Signed:
    """
    What may be broadcast, again and again, and what it offers, so that more can be offered.

    @ivar raw: C{0x} and hex.
    @ivar hash: C{0x} and 64 hex digits.
    @ivar gas: Its limit.
    @ivar cap: neuron per gas at most.
    @ivar tip: Of that for the block's maker; None in a legacy transaction.
    """

    raw: str
    hash: str
    nonce: int
    gas: int
    cap: int
    tip: int | None

    @property
    def fees(self) -> Fees:
        """What it offers."""
        return LegacyFees(self.cap) if self.tip is None else DynamicFees(tip=self.tip, cap=self.cap)


@frozen(kw_only=True)
class Done:
    """
    A mined and confirmed transaction that did what it should.

    @ivar cost: neuron paid for gas.
    @ivar contract: What it created.
    """

    label: str
    hash: str
    block: int
    gas_used: int
    cost: int
    contract: Address | None = None

    def document(self) -> dict[str, Any]:
        """For C{--json}."""
        return {
            "label": self.label,
            "hash": self.hash,
            "block": self.block,
            "gas_used": self.gas_used,
            "cost": str(self.cost),
        }

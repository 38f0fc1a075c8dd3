"""Vouchers' events, and a state of the chain in which they settle."""

from __future__ import annotations

from typing import Any

from tests.evm.harness import SOME_USAGE, STAKE, SUCCESS, Evm, EvmCase


def settled(evm: Evm, nonce: int, fee: int, status: int = SUCCESS) -> tuple[str, dict[str, Any]]:
    """The event of a voucher."""
    return (
        "VoucherSettled",
        {
            "user": evm.user.address,
            "provider": evm.provider.address,
            "totalFee": fee,
            "usageHash": SOME_USAGE,
            "nonce": nonce,
            "status": status,
        },
    )


def shortfall(evm: Evm, nonce: int, paid: int, owed: int) -> tuple[str, dict[str, Any]]:
    """The event that says what a partial payment was."""
    return (
        "VoucherShortfall",
        {
            "user": evm.user.address,
            "provider": evm.provider.address,
            "nonce": nonce,
            "paid": paid,
            "owed": owed,
        },
    )


class ReadyCase(EvmCase):
    """A registered provider and a user who acknowledged it and holds nothing yet."""

    def prepare(self) -> None:
        """Register and acknowledge."""
        self.evm.register(value=STAKE)
        self.evm.acknowledge()

    def settle_receipt(self, *vouchers: Any) -> Any:
        """Settle and return the receipt."""
        call = self.evm.serving.functions.settleFeesWithTEE(list(vouchers))
        return self.evm.send(call, self.evm.provider)

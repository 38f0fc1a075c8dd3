"""Vouchers' events, and a state of the chain in which they settle."""

from __future__ import annotations

from typing import Any

from tests.evm.harness import SOME_USAGE, STAKE, SUCCESS, Evm, EvmCase


SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def other_forms(signature: bytes) -> list[bytes]:
    """What is not accepted in place of a signature, although some would recover the signer."""
    r, s, v = signature[:32], int.from_bytes(signature[32:64]), signature[64]
    parity = (v - 27) << 255
    return [
        r + (SECP256K1_ORDER - s).to_bytes(32) + bytes([27 + 28 - v]),  # high s
        b"",
        signature[:64],
        signature + b"\0",
        r + (s | parity).to_bytes(32),  # ERC-2098's short form
        signature[:64] + bytes([v - 27]),
        signature[:64] + bytes([27 + 28 - v]),
        bytes(65),
    ]


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

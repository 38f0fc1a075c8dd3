"""
The Go implementation's Redis, filled in its own format: two versions, two forms.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from attrs import field, frozen

from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.eip712 import EIP712Domain, VoucherFields, digest, usage_hash
from sandbox_billing.signing.key import SigningKey


@frozen(kw_only=True)
class GoSystem:
    """
    What it writes.

    @ivar call: One command to the server.
    @ivar domain: What it signs for.
    """

    call: Any
    provider: Address
    domain: EIP712Domain | None = None
    signer: SigningKey | None = field(default=None, repr=False)

    @property
    def queue(self) -> str:
        """Where vouchers wait."""
        return f"voucher:queue:{checksum(self.provider)}"

    @property
    def dead(self) -> str:
        """Where those are that were set aside."""
        return f"voucher:dlq:{checksum(self.provider)}"

    def older_session(
        self, sandbox: str, owner: Address, *, start: int, last: int, price: str | None
    ) -> None:
        """Charged until its last voucher; the first versions knew no price of their own."""
        fields: list[str | int] = ["sandbox_id", sandbox, "owner", checksum(owner)]
        fields += [
            "provider",
            checksum(self.provider),
            "start_time",
            start,
            "last_voucher_at",
            last,
        ]
        if price is not None:
            fields += ["price_per_sec", price]
        self.call("HSET", f"billing:compute:{sandbox}", *fields)

    def newer_session(self, sandbox: str, owner: Address, *, prepaid: int, price: str) -> None:
        """Prepaid until its next voucher."""
        self.call(
            "HSET",
            f"billing:compute:{sandbox}",
            *("sandbox_id", sandbox, "owner", checksum(owner)),
            *("provider", checksum(self.provider), "next_voucher_at", prepaid),
            *("price_per_sec", price),
        )

    def voucher(
        self,
        sandbox: str,
        user: Address,
        period: tuple[int, int, int],
        fee: int,
        *,
        nonce: int | None = None,
    ) -> str:
        """@param period: Start, end and units; signed where it has a nonce."""
        hashed = usage_hash(sandbox, *period)
        signature = None
        if nonce is not None:
            assert self.domain is not None and self.signer is not None
            fields = VoucherFields(
                user=user, provider=self.provider, usage_hash=hashed, nonce=nonce, total_fee=fee
            )
            signature = self.signer.sign_digest(digest(self.domain, fields))
        return voucher_text(
            sandbox_id=sandbox,
            user=checksum(user),
            provider=checksum(self.provider),
            total_fee=fee,
            usage_hash=list(hashed),
            nonce=nonce,
            signature=None if signature is None else base64.b64encode(signature).decode(),
        )

    def push(self, key: str, *vouchers: str) -> None:
        """As it does: at the end."""
        self.call("RPUSH", key, *vouchers)


def voucher_text(**fields: Any) -> str:
    """As Go writes a structure: no blanks, in the order of its fields."""
    return json.dumps(fields, separators=(",", ":"))

"""
Voucher bytes: the wire facts' vector, and agreement with eth_account.
"""

from __future__ import annotations

from typing import Any

from eth_account.messages import SignableMessage, encode_typed_data
from eth_utils import keccak
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip712 import (
    BATCH_TYPE_HASH,
    VOUCHER_TYPE_HASH,
    EIP712Domain,
    VoucherFields,
    batch_digest,
    digest,
    usage_hash,
)
from sandbox_billing.signing.key import SigningKey, recover
from tests.signing.strategies import addresses, int64s, uint256s


CONTRACT = Address("0xd7e0CD227e602FedBb93c36B1F5bf415398508a4")
DOMAIN = EIP712Domain(16602, CONTRACT)
VOUCHER = VoucherFields(
    user=Address("0x" + "11" * 20),
    provider=Address("0x" + "22" * 20),
    usage_hash=usage_hash("sb-0001", 1700000000, 1700000060, 60),
    nonce=42,
    total_fee=1000020,
)
# The wire facts' published test key.
KEY = SigningKey.from_bytes(bytes([0x11]) * 32)

_TYPES = {
    "EIP712Domain": [
        {"name": "name", "type": "string"},
        {"name": "version", "type": "string"},
        {"name": "chainId", "type": "uint256"},
        {"name": "verifyingContract", "type": "address"},
    ],
    "SandboxVoucher": [
        {"name": "user", "type": "address"},
        {"name": "provider", "type": "address"},
        {"name": "usageHash", "type": "bytes32"},
        {"name": "nonce", "type": "uint256"},
        {"name": "totalFee", "type": "uint256"},
    ],
    "SandboxVoucherBatch": [
        {"name": "provider", "type": "address"},
        {"name": "vouchers", "type": "SandboxVoucher[]"},
    ],
}


def vouchers() -> st.SearchStrategy[VoucherFields]:
    """Vouchers over the whole range of each field."""
    return st.builds(
        VoucherFields,
        user=addresses(),
        provider=addresses(),
        usage_hash=st.binary(min_size=32, max_size=32),
        nonce=uint256s(),
        total_fee=uint256s(),
    )


def domains() -> st.SearchStrategy[EIP712Domain]:
    """Any chain and any contract."""
    return st.builds(EIP712Domain, uint256s(), addresses())


def wire(voucher: VoucherFields) -> dict[str, Any]:
    """A voucher as typed data spells it."""
    return {
        "user": voucher.user.hex,
        "provider": voucher.provider.hex,
        "usageHash": voucher.usage_hash,
        "nonce": voucher.nonce,
        "totalFee": voucher.total_fee,
    }


def reference(domain: EIP712Domain, primary: str, message: dict[str, Any]) -> SignableMessage:
    """eth_account's reading of a message in a domain."""
    types = {
        name: fields
        for name, fields in _TYPES.items()
        if name != "SandboxVoucherBatch" or primary == name
    }
    return encode_typed_data(
        full_message={
            "types": types,
            "primaryType": primary,
            "domain": {
                "name": "0G Sandbox Serving",
                "version": "1",
                "chainId": domain.chain_id,
                "verifyingContract": domain.contract.hex,
            },
            "message": message,
        }
    )


def reference_digest(signable: SignableMessage) -> bytes:
    """What eth_account would sign."""
    return keccak(b"\x19" + signable.version + signable.header + signable.body)


class VectorTests(SynchronousTestCase):
    """The vector of the wire facts, byte for byte."""

    def test_hashes(self) -> None:
        """Type hash, usage hash, separator, struct hash and digest."""
        for ours, theirs in (
            (VOUCHER_TYPE_HASH, "2ecd29c3281eff3ed6b73815b62a00d5a018cc953d26d69792b1592349af9fc5"),
            (
                VOUCHER.usage_hash,
                "479468908be0de1b1a995dfe7761e1a2cec727edbefff256e895a3bad84b45aa",
            ),
            (DOMAIN.separator, "c882146594b1c87dd95b9c94c69bc0c6d4aa62a52e23a64e61cb25ec4d0193f9"),
            (
                VOUCHER.struct_hash(),
                "329c534942e9478a44be64d3396fe7b35dbdfae5aa0aa9e9db3a871e973d3860",
            ),
            (
                digest(DOMAIN, VOUCHER),
                "152788fd47ad45b2fba16660ae34f1efbaef7a74062e367e7ab174af6c597750",
            ),
        ):
            self.assertEqual(ours.hex(), theirs)

    def test_signature(self) -> None:
        """The signature, and who made it."""
        signature = KEY.sign_digest(digest(DOMAIN, VOUCHER))
        self.assertEqual(
            signature.hex(),
            "43511a396585f3500b5ed5bb7ed08b8149d4b63ac79337acc116eaaca18c3f26"
            "41e7585e1ac66365ceec914e9d782513316875a762166d28d6d993043ce2660b1b",
        )
        self.assertEqual(recover(digest(DOMAIN, VOUCHER), signature), KEY.address)

    def test_batch_type(self) -> None:
        """The batch's type is the wire facts' text, with the voucher's behind it."""
        self.assertEqual(
            BATCH_TYPE_HASH,
            keccak(
                text="SandboxVoucherBatch(address provider,SandboxVoucher[] vouchers)"
                "SandboxVoucher(address user,address provider,bytes32 usageHash,"
                "uint256 nonce,uint256 totalFee)"
            ),
        )


class AgreementTests(SynchronousTestCase):
    """Our composition against eth_account's general one."""

    @given(domains(), vouchers())
    def test_voucher(self, domain: EIP712Domain, voucher: VoucherFields) -> None:
        """Separator, struct hash and digest agree on any voucher."""
        signable = reference(domain, "SandboxVoucher", wire(voucher))
        self.assertEqual(domain.separator, signable.header)
        self.assertEqual(voucher.struct_hash(), signable.body)
        self.assertEqual(digest(domain, voucher), reference_digest(signable))

    @given(domains(), addresses(), st.lists(vouchers(), max_size=4))
    def test_batch(
        self, domain: EIP712Domain, provider: Address, lines: list[VoucherFields]
    ) -> None:
        """A batch's digest agrees, the empty batch's too."""
        signable = reference(
            domain,
            "SandboxVoucherBatch",
            {"provider": provider.hex, "vouchers": [wire(line) for line in lines]},
        )
        ours = batch_digest(domain, provider, [line.struct_hash() for line in lines])
        self.assertEqual(ours, reference_digest(signable))

    @given(st.text(st.characters(exclude_categories=["Cs"])), int64s(), int64s(), int64s())
    def test_usage(self, sandbox: str, start: int, end: int, units: int) -> None:
        """A usage hash is keccak256 over the id and three signed 64-bit numbers."""
        packed = sandbox.encode() + b"".join(
            number.to_bytes(8, "big", signed=True) for number in (start, end, units)
        )
        self.assertEqual(usage_hash(sandbox, start, end, units), keccak(packed))


class RefusalTests(SynchronousTestCase):
    """Numbers that have no place."""

    def test_usage_range(self) -> None:
        """Negative, beyond 2^63 - 1 and not integers: refused in each position."""
        for bad in (-1, 2**63, True, 1.0, "1", None):
            for position in range(3):
                numbers: list[Any] = [0, 0, 0]
                numbers[position] = bad
                self.assertRaises(BadInput, usage_hash, "sb", *numbers)
        usage_hash("sb", 2**63 - 1, 2**63 - 1, 2**63 - 1)

    def test_voucher_range(self) -> None:
        """Nonce, fee and usage hash must fit their types."""
        good: dict[str, Any] = {
            "user": VOUCHER.user,
            "provider": VOUCHER.provider,
            "usage_hash": bytes(32),
            "nonce": 1,
            "total_fee": 1,
        }
        for bad in (
            {"nonce": -1},
            {"nonce": 2**256},
            {"total_fee": -1},
            {"total_fee": 2**256},
            {"total_fee": True},
            {"usage_hash": bytes(31)},
        ):
            self.assertRaises(BadInput, VoucherFields(**{**good, **bad}).struct_hash)
        self.assertEqual(len(VoucherFields(**good).struct_hash()), 32)

    def test_batch_lines(self) -> None:
        """A line that is no hash would shift all others."""
        self.assertRaises(BadInput, batch_digest, DOMAIN, CONTRACT, [bytes(32), bytes(33)])


class InjectivityTests(SynchronousTestCase):
    """Another voucher is another digest."""

    @given(domains(), vouchers(), domains(), vouchers())
    def test_distinct(
        self, one: EIP712Domain, first: VoucherFields, other: EIP712Domain, second: VoucherFields
    ) -> None:
        """Digests are equal only where domain and voucher are."""
        self.assertEqual(
            digest(one, first) == digest(other, second), (one, first) == (other, second)
        )

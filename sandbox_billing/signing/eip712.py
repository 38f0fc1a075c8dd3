"""
Vouchers as bytes: usage hash, struct hash, digest (EIP-712).

Composed from keccak256 directly, because C{encode_typed_data} takes the types
apart anew on each call; the tests hold both to the same bytes, and to the
vector of the wire facts.

Tests: C{tests.signing.test_eip712}.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen
from eth_utils.crypto import keccak

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address


DOMAIN_NAME = "0G Sandbox Serving"
DOMAIN_VERSION = "1"
INT64_MAX = 2**63 - 1

_VOUCHER = (
    b"SandboxVoucher(address user,address provider,bytes32 usageHash,"
    b"uint256 nonce,uint256 totalFee)"
)
_BATCH = b"SandboxVoucherBatch(address provider,SandboxVoucher[] vouchers)"

DOMAIN_TYPE_HASH = keccak(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
VOUCHER_TYPE_HASH = keccak(_VOUCHER)
BATCH_TYPE_HASH = keccak(_BATCH + _VOUCHER)

_NAME_HASH = keccak(DOMAIN_NAME.encode())
_VERSION_HASH = keccak(DOMAIN_VERSION.encode())


def _word(number: int) -> bytes:
    if type(number) is not int or not 0 <= number < 2**256:
        raise BadInput(f"a uint256 is an integer from 0 to 2^256 - 1, not {number!r}")
    return number.to_bytes(32, "big")


def _address_word(address: Address) -> bytes:
    return bytes(12) + address.to_bytes()


def _hash(value: bytes) -> bytes:
    if len(value) != 32:
        raise BadInput(f"a bytes32 is 32 bytes, not {len(value)}")
    return value


def _int64(number: int) -> bytes:
    if type(number) is not int or not 0 <= number <= INT64_MAX:
        raise BadInput(f"seconds are an integer from 0 to 2^63 - 1, not {number!r}")
    return number.to_bytes(8, "big")


@frozen
class EIP712Domain:
    """
    Where a voucher is valid: one contract on one chain.

    @ivar chain_id: The chain's id.
    @ivar contract: The proxy, which is what verifies.
    @ivar separator: What the contract's C{domainSeparator()} must answer.
    """

    chain_id: int
    contract: Address
    separator: bytes = field(init=False, repr=lambda separator: separator.hex())

    @separator.default
    def _separate(self) -> bytes:
        return keccak(
            DOMAIN_TYPE_HASH
            + _NAME_HASH
            + _VERSION_HASH
            + _word(self.chain_id)
            + _address_word(self.contract)
        )


def usage_hash(sandbox_id: str, start: int, end: int, units: int) -> bytes:
    """
    What a voucher says it is for.

    @param start: First second of the period, unix seconds.
    @param end: The second after its last.
    @param units: Seconds charged; 0 for a create fee, or for the rest of a charge.
    @raise BadInput: A number is negative, above 2^63 - 1 or no integer.
    """
    return keccak(sandbox_id.encode() + _int64(start) + _int64(end) + _int64(units))


@frozen(kw_only=True)
class VoucherFields:
    """
    The signed fields of a voucher.

    @ivar user: Who pays.
    @ivar provider: Who is paid.
    @ivar usage_hash: L{usage_hash}'s 32 bytes.
    @ivar nonce: Per (user, provider), strictly increasing.
    @ivar total_fee: neuron.
    """

    user: Address
    provider: Address
    usage_hash: bytes
    nonce: int
    total_fee: int

    def struct_hash(self) -> bytes:
        """
        The voucher without its domain.

        @raise BadInput: A number is no uint256, or the usage hash not 32 bytes.
        """
        return keccak(
            VOUCHER_TYPE_HASH
            + _address_word(self.user)
            + _address_word(self.provider)
            + _hash(self.usage_hash)
            + _word(self.nonce)
            + _word(self.total_fee)
        )


def typed_digest(domain: EIP712Domain, struct_hash: bytes) -> bytes:
    """The 32 bytes to sign for a struct in a domain."""
    return keccak(b"\x19\x01" + domain.separator + _hash(struct_hash))


def digest(domain: EIP712Domain, voucher: VoucherFields) -> bytes:
    """
    The 32 bytes to sign for one voucher.

    @raise BadInput: As L{VoucherFields.struct_hash}.
    """
    return typed_digest(domain, voucher.struct_hash())


def batch_digest(domain: EIP712Domain, provider: Address, lines: Iterable[bytes]) -> bytes:
    """
    The 32 bytes to sign for C{settleBatch}.

    @param lines: The vouchers' struct hashes, in the order they are submitted.
    """
    vouchers = keccak(b"".join(map(_hash, lines)))
    return typed_digest(domain, keccak(BATCH_TYPE_HASH + _address_word(provider) + vouchers))

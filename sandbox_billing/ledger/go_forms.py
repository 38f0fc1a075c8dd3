"""
What the Go implementation stores, read strictly: its sessions and its vouchers (wire.md, §6).

Two versions of it wrote two forms of each.  Nothing is guessed: a field, a type or a number
that neither of them writes is refused by name, and the import does not begin.

Tests: L{tests.ledger.test_go_forms}.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from attrs import frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address, Nonce, SandboxId, sandbox_id
from sandbox_billing.ledger.money import UINT256_MAX, Neuron, UnixSeconds, neuron


NOBODY = Address("0x" + "0" * 40)
"""Whom the Go system charges for a session without an owner."""

NAMELESS = SandboxId("several")
"""For a voucher without a sandbox: the newest version adds up what a user owes for several."""

_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,77})\Z")
_HASH_BYTES, _SIGNATURE_BYTES = 32, 65
_MOST_DIGITS = 78
_MOST_BYTES = 16_384
_EARLIEST, _LATEST = 10**9, 10**10
"""2001 and 2286: what is outside is no moment of a session."""

_TIMES = ("start_time", "last_voucher_at", "next_voucher_at")
_SESSION = frozenset({"sandbox_id", "owner", "provider", "price_per_sec", *_TIMES})
_VOUCHER = frozenset(
    {"sandbox_id", "user", "provider", "total_fee", "usage_hash", "nonce", "signature"}
)


@frozen(kw_only=True)
class GoSession:
    """
    A sandbox that the Go system meters.

    @ivar started_at: Of the older form; None where only the newer one is there.
    @ivar charged_until: Everything before is charged: C{last_voucher_at}, or
        C{next_voucher_at}, up to which the newer version has charged in advance.
    @ivar price: neuron per second; 0 for the flat price.
    """

    sandbox: SandboxId
    owner: Address
    provider: Address
    started_at: UnixSeconds | None
    charged_until: UnixSeconds
    prepaid: bool
    price: Neuron


@frozen
class Ghost:
    """
    A session without owner: what a late write leaves of one that was deleted (failures.md, B4).

    Nobody is charged for it; the Go system charges the zero address.
    """

    sandbox: str


@frozen(kw_only=True)
class GoVoucher:
    """
    @ivar sandbox: L{NAMELESS} where it is for several.
    @ivar usage_hash: 32 bytes, hex.
    @ivar nonce: None where it is not signed.
    @ivar signature: 65 bytes, hex; None where it is not signed.
    @ivar rounded: Whether somebody has written the fee as a fraction or a power of ten: the Go
        system never does, and digits may have been lost on the way.
    """

    sandbox: SandboxId
    user: Address
    provider: Address
    fee: Neuron
    usage_hash: str
    nonce: Nonce | None
    signature: str | None
    rounded: bool = False


def read_session(sandbox: str, fields: Mapping[str, str]) -> GoSession | Ghost:
    """
    @param sandbox: As the key names it.
    @param fields: The hash.
    @raise BadInput: Neither version writes this; the text names the field.
    """
    unknown = sorted(fields.keys() - _SESSION)
    if unknown:
        raise BadInput(f"unknown fields {', '.join(unknown)}")
    if not fields.get("owner") and not fields.get("sandbox_id"):
        return Ghost(sandbox)
    if fields.get("sandbox_id") != sandbox:
        raise BadInput(f"sandbox_id is {fields.get('sandbox_id')!r}")
    given = {name: fields[name] for name in _TIMES if name in fields}
    ends = [name for name in _TIMES[1:] if name in given]
    if not ends:
        raise BadInput("neither last_voucher_at nor next_voucher_at is there")
    # With both, a newer version went on with an older one's session: what one of them has
    # charged is not charged again.
    charged_until = max(_count(name, given[name]) for name in ends)
    started_at = None if "start_time" not in given else _moment("start_time", given["start_time"])
    return GoSession(
        sandbox=sandbox_id(sandbox),
        owner=_somebody("owner", fields.get("owner", "")),
        provider=_somebody("provider", fields.get("provider", "")),
        started_at=started_at,
        charged_until=_moment(" and ".join(ends), str(charged_until)),
        prepaid="next_voucher_at" in given,
        price=neuron(_count("price_per_sec", fields.get("price_per_sec") or "0")),
    )


def read_voucher(raw: bytes) -> GoVoucher:
    """
    @param raw: An entry of one of its lists.
    @raise BadInput: Neither version writes this; the text names the field.
    """
    found = _document(raw)
    unknown = sorted(found.keys() - _VOUCHER)
    missing = sorted(_VOUCHER - found.keys() - {"nonce", "signature"})
    if unknown or missing:
        raise BadInput(f"unknown fields {unknown}, missing {missing}")
    named = found["sandbox_id"]
    nonce, signature = found.get("nonce"), _signature(found.get("signature"))
    if (nonce is None) is not (signature is None):
        raise BadInput("it has a nonce without a signature, or a signature without a nonce")
    return GoVoucher(
        sandbox=NAMELESS if named == "" else sandbox_id(named),
        user=_address("user", found["user"]),
        provider=_somebody("provider", found["provider"]),
        fee=neuron(_whole("total_fee", found["total_fee"])),
        usage_hash=_octets(found["usage_hash"]),
        nonce=None if nonce is None else Nonce(_whole("nonce", nonce)),
        signature=signature,
        rounded=isinstance(found["total_fee"], Decimal),
    )


def read_nonce(text: str) -> Nonce:
    """
    @param text: C{billing:nonce:…}.
    @raise BadInput: It is no number.
    """
    return Nonce(_count("a nonce", text))


def _document(raw: bytes) -> dict[str, Any]:
    if len(raw) > _MOST_BYTES:
        raise BadInput(f"{len(raw)} bytes are no voucher")
    try:
        found = json.loads(
            raw.decode("utf-8"),
            parse_float=_decimal,
            parse_constant=_refuse_constant,
            object_pairs_hook=_once,
        )
    except (ValueError, RecursionError) as why:
        raise BadInput(f"not JSON: {type(why).__name__}") from None
    if not isinstance(found, dict):
        raise BadInput("not a JSON object")
    return found


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        # An exponent that no number of theirs can have.
        raise ValueError(text) from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadInput("a field is there twice")
    return found


def _whole(name: str, found: Any) -> int:
    """A JSON number, exactly."""
    if isinstance(found, Decimal):
        # By its length first: 1e999999999 would take all the memory there is.
        if found.adjusted() > _MOST_DIGITS or found != found.to_integral_value():
            raise BadInput(f"{name} is no whole number")
        found = int(found)
    if type(found) is not int:
        raise BadInput(f"{name} is no number")
    if not 0 <= found <= UINT256_MAX:
        raise BadInput(f"{name} is not from 0 to 2^256 - 1")
    return found


def _count(name: str, text: str) -> int:
    if not _DECIMAL.match(text):
        raise BadInput(f"{name} is {text[:80]!r}, not a decimal number")
    return int(text)


def _moment(name: str, text: str) -> UnixSeconds:
    found = _count(name, text)
    if not _EARLIEST <= found < _LATEST:
        raise BadInput(f"{name} is {found}, which is no moment in seconds")
    return UnixSeconds(found)


def _address(name: str, found: Any) -> Address:
    try:
        return Address(found)
    except BadInput as why:
        raise BadInput(f"{name}: {why}") from None


def _somebody(name: str, found: Any) -> Address:
    address = _address(name, found)
    if address == NOBODY:
        raise BadInput(f"{name} is the zero address")
    return address


def _octets(found: Any) -> str:
    """The hash: Go writes an array of bytes as numbers."""
    right = type(found) is list and len(found) == _HASH_BYTES
    if not right or not all(type(one) is int and 0 <= one <= 255 for one in found):
        raise BadInput("usage_hash is no array of 32 bytes")
    return "0x" + bytes(found).hex()


def _signature(found: Any) -> str | None:
    """Go writes a slice of bytes in base64, and an empty one as null or as empty text."""
    if found is None or found == "":
        return None
    if type(found) is not str:
        raise BadInput("signature is no text")
    try:
        raw = binascii.a2b_base64(found.encode("ascii"), strict_mode=True)
    except (ValueError, binascii.Error):
        raise BadInput("signature is no base64") from None
    if len(raw) != _SIGNATURE_BYTES:
        raise BadInput(f"signature has {len(raw)} bytes, not 65")
    return "0x" + raw.hex()

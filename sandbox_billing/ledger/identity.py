"""
Who and what: addresses, sandboxes, charges.

An address is compared and stored in lower case; its EIP-55 spelling, which
needs keccak256, is made in C{signing.eip55}.
"""

from __future__ import annotations

import re
from typing import NewType

from attrs import field, frozen

from sandbox_billing.errors import BadInput


_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}\Z")
_DEBT_NUMBER = re.compile(r":debt:([0-9]+)\Z")
_IMPORTED = re.compile(r"([^:]+):imported:([0-9a-f]{16}):[0-9]+(?::(?:debt|rest):[0-9]+)*\Z")
_SANDBOX_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}\Z")

SandboxId = NewType("SandboxId", str)
"""The id that Daytona gave a sandbox; never its name."""

ChargeId = NewType("ChargeId", str)
"""
C{<sandbox>:<period start>}, C{<sandbox>:create}, C{<charge id>:merged:<period end>},
C{<charge id>:debt:<n>} or C{<charge id>:rest:<nonce>}; of a voucher that another system made, and
whose time is not known, C{<sandbox>:imported:<beginning of its usage hash>:<n>}.
"""

Reference = NewType("Reference", str)
"""Our own unique name for one create, written on the sandbox before it exists."""

BatchId = NewType("BatchId", str)
"""Vouchers that share a transaction."""

Nonce = NewType("Nonce", int)
"""A voucher's number: strictly increasing per (user, provider)."""


def _lowered(text: str) -> str:
    if type(text) is not str or not _ADDRESS.match(text):
        raise BadInput(f"an address is 0x and 40 hex digits, not {text!r}")
    return text.lower()


@frozen(order=True)
class Address:
    """
    An Ethereum address; equal whatever its spelling was.

    @ivar hex: C{0x} and forty lower-case hex digits.
    """

    hex: str = field(converter=_lowered)

    def __str__(self) -> str:
        return self.hex

    @classmethod
    def from_bytes(cls, raw: bytes) -> Address:
        """@param raw: Its twenty bytes."""
        return cls("0x" + raw.hex())

    def to_bytes(self) -> bytes:
        """Its twenty bytes."""
        return bytes.fromhex(self.hex[2:])


def sandbox_id(text: str) -> SandboxId:
    """
    @param text: An id as Daytona spells it (a UUID; older servers also use short ids).
    @raise BadInput: It could not be an id; a colon, for one, would blur charge ids.
    """
    if type(text) is not str or not _SANDBOX_ID.match(text):
        raise BadInput(f"not a sandbox id: {text!r}")
    return SandboxId(text)


def compute_charge_id(sandbox: SandboxId, period_start: int) -> ChargeId:
    """Derived, so that charging the same period again is recognised, not repeated (Q-2)."""
    return ChargeId(f"{sandbox}:{period_start}")


def create_charge_id(sandbox: SandboxId) -> ChargeId:
    """The one create fee a sandbox can ever have."""
    return ChargeId(f"{sandbox}:create")


def merged_charge_id(first: ChargeId, period_end: int) -> ChargeId:
    """The charge that collects C{first} and its neighbours up to a moment, as one."""
    return ChargeId(f"{first}:merged:{period_end}")


def imported_charge_id(sandbox: SandboxId, usage_hash: str, number: int) -> ChargeId:
    """
    A voucher that another system made, by the hash that it gave its use.

    @param usage_hash: 32 bytes, hex, with C{0x}.
    @param number: From 0: several claims may have one hash.
    """
    return ChargeId(f"{sandbox}:imported:{usage_hash[2:18]}:{number}")


def is_imported_charge_id(charge: ChargeId) -> bool:
    """Whether what its hash is made of is not known: such a charge, or what it left owed."""
    return ":imported:" in charge


def imported_from(charge: ChargeId) -> tuple[SandboxId, str] | None:
    """
    @return: Whose voucher it was, and the beginning of its usage hash, with C{0x}; None of an id
        that is not formed so.
    """
    found = _IMPORTED.match(charge)
    return None if found is None else (SandboxId(found[1]), "0x" + found[2])


def is_merged_charge_id(charge: ChargeId) -> bool:
    """Whether it collects others, or what they left owed; sandbox ids have no colon."""
    return ":merged:" in charge


def merged_first(charge: ChargeId) -> ChargeId | None:
    """The first of the charges that a merged one collects; None for any other charge."""
    first, marked, end = charge.partition(":merged:")
    return ChargeId(first) if marked and end.isdecimal() else None


def debt_charge_id(charge: ChargeId, attempt: int) -> ChargeId:
    """
    The C{attempt}-th charge that collects what an earlier one left owed.

    Counted from the original charge: a debt's debt is C{<charge>:debt:<n + 1>}.
    """
    return ChargeId(f"{_DEBT_NUMBER.sub('', charge)}:debt:{attempt}")


def debt_number(charge: ChargeId) -> int:
    """Which debt of the original charge this is; 0 for none."""
    found = _DEBT_NUMBER.search(charge)
    return int(found[1]) if found else 0


def rest_charge_id(charge: ChargeId, nonce: Nonce) -> ChargeId:
    """What was split off a charge when the other part was signed under a nonce (D2)."""
    return ChargeId(f"{charge}:rest:{nonce}")


def split_from(charge: ChargeId) -> ChargeId | None:
    """
    The charge whose amount a rest was taken out of (L6).

    @return: None for what was never split off, and for the rest of a debt: that is in the
        amount of the charge that left the debt.
    """
    whole, _, nonces = charge.partition(":rest:")
    return ChargeId(whole) if nonces and ":debt:" not in charge else None

"""
Values of the signing room, built bottom-up; public, for every test that signs.
"""

from __future__ import annotations

from decimal import Decimal

from hypothesis import strategies as st

from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.key import SECP256K1_ORDER, SigningKey


def keys() -> st.SearchStrategy[SigningKey]:
    """Every key there is, the smallest and the largest too."""
    return st.integers(1, SECP256K1_ORDER - 1).map(
        lambda secret: SigningKey.from_bytes(secret.to_bytes(32, "big"))
    )


def digests() -> st.SearchStrategy[bytes]:
    """32 bytes of any value."""
    return st.binary(min_size=32, max_size=32)


def addresses() -> st.SearchStrategy[Address]:
    """20 bytes of any value."""
    return st.binary(min_size=20, max_size=20).map(Address.from_bytes)


def uint256s() -> st.SearchStrategy[int]:
    """The whole range of amounts and nonces."""
    return st.integers(0, 2**256 - 1)


def int64s() -> st.SearchStrategy[int]:
    """The whole range of times and units that a usage hash takes."""
    return st.integers(0, 2**63 - 1)


def request_nonces() -> st.SearchStrategy[str]:
    """What clients may send: hex, UUIDs and the like."""
    return st.from_regex(r"[0-9A-Za-z-]{16,64}", fullmatch=True)


def texts() -> st.SearchStrategy[str]:
    """Any text that UTF-8 can hold: no lone surrogates."""
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def decimals() -> st.SearchStrategy[Decimal]:
    """Numbers of a JSON text that are no integers there, exact to the last digit."""
    return st.builds(
        lambda digits, exponent: Decimal(digits).scaleb(-exponent),
        st.integers(-(10**30), 10**30).filter(bool),
        st.integers(1, 30),
    )


def json_values() -> st.SearchStrategy[object]:
    """JSON as the strict parser returns it."""
    scalars = st.none() | st.booleans() | st.integers(-(2**256), 2**256) | decimals() | texts()
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts(), inner, max_size=4),
        max_leaves=12,
    )


def json_objects() -> st.SearchStrategy[dict[str, object]]:
    """What a payload or a body may be."""
    return st.dictionaries(texts(), json_values(), max_size=4)


def path_segments() -> st.SearchStrategy[str]:
    """Ids, names and verbs as a canonical path has them."""
    return st.from_regex(r"[0-9A-Za-z_~-]([0-9A-Za-z._~:@+-]{0,10})", fullmatch=True)


def canonical_paths() -> st.SearchStrategy[str]:
    """Paths in their one spelling."""
    return st.lists(path_segments(), min_size=1, max_size=6).map(
        lambda segments: "/" + "/".join(segments)
    )

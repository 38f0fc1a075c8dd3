"""
JSON-RPC parameters: from what JSON gives to what the chain understands.

Everything that arrives is checked for its form here; whatever does not fit is an
C{invalid params} error (-32602), never an exception of ours.

Tests: C{tests/devnet/test_chain_rpc.py}.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast

from .blocks import LogFilter
from .devchain import BlockRef, Tag
from .errors import invalid_params
from .evm import CallRequest


_T = TypeVar("_T")

_HEX_NUMBER: Final = re.compile(r"0x[0-9a-fA-F]{1,64}")
_HEX_BYTES: Final = re.compile(r"0x([0-9a-fA-F]{2})*")
_MAX_TOPICS: Final = 4
_REQUIRED: Final = object()


class Params:
    """
    The positional parameters of one request.
    """

    def __init__(self, values: list[Any]) -> None:
        self._values = values

    def get(self, position: int, read: Callable[[Any], _T], default: Any = _REQUIRED) -> _T:
        """
        Read one; an absent or null one is C{default}, if there is a default.

        @raise RpcError: It is missing, or C{read} refuses it.
        """
        value = self._values[position] if position < len(self._values) else None
        if value is None:
            if default is _REQUIRED:
                raise invalid_params(f"missing value for required argument {position}")
            return default  # type: ignore[no-any-return]
        return read(value)


def number(value: Any) -> int:
    """
    A quantity: hex with 0x.  Plain integers pass too, for the control methods' sake.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and _HEX_NUMBER.fullmatch(value):
        return int(value, 16)
    raise invalid_params(f"invalid argument: not a hex number: {_shown(value)}")


def octets(value: Any) -> bytes:
    """
    Bytes of any length: hex with 0x.
    """
    if isinstance(value, str) and _HEX_BYTES.fullmatch(value):
        return bytes.fromhex(value[2:])
    raise invalid_params(f"invalid argument: not hex data: {_shown(value)}")


def octets_of(length: int) -> Callable[[Any], bytes]:
    """
    A reader of exactly so many bytes.
    """

    def read(value: Any) -> bytes:
        found = octets(value)
        if len(found) != length:
            raise invalid_params(
                f"invalid argument: hex string has length {2 * len(found)}, want {2 * length}"
            )
        return found

    return read


address = octets_of(20)
word = octets_of(32)


def boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise invalid_params(f"invalid argument: not a boolean: {_shown(value)}")


def block_ref(value: Any) -> BlockRef:
    """
    A tag, a number, a hash of 32 bytes, or EIP-1898's object with one of the two.
    """
    match value:
        case "latest" | "pending" | "earliest" | "safe" | "finalized" as tag:
            return cast(Tag, tag)
        case {"blockHash": block_hash}:
            return word(block_hash)
        case {"blockNumber": block_number}:
            return block_ref(block_number)
        case str() if len(value) == 66:
            return word(value)
    return number(value)


def percentiles(value: Any) -> list[float]:
    if not isinstance(value, list) or not all(
        isinstance(p, (int, float)) and 0 <= p <= 100 for p in value
    ):
        raise invalid_params("invalid reward percentiles")
    if value != sorted(value) or len(value) > 100:
        raise invalid_params("invalid reward percentiles")
    return [float(p) for p in value]


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise invalid_params(f"invalid argument: not an object: {_shown(value)}")
    return value


def call_request(value: Any) -> CallRequest:
    """
    A call object; keys that mean nothing to a call (nonce, type, chainId) are left out.
    """
    given = {key: item for key, item in _object(value).items() if item is not None}
    data, legacy = given.get("input"), given.get("data")
    if data is not None and legacy is not None and octets(data) != octets(legacy):
        raise invalid_params('both "data" and "input" are set and not equal')
    fee = number(given.get("maxFeePerGas", given.get("gasPrice", 0)))
    return CallRequest(
        sender=address(given["from"]) if "from" in given else bytes(20),
        to=address(given["to"]) if "to" in given else None,
        data=octets(data or legacy or "0x"),
        value=number(given.get("value", 0)),
        gas=number(given["gas"]) if "gas" in given else None,
        fee=fee,
        access_list=_access_list(given.get("accessList", [])),
    )


def _access_list(value: Any) -> tuple[tuple[bytes, tuple[int, ...]], ...]:
    if not isinstance(value, list):
        raise invalid_params("invalid access list")
    entries = []
    for entry in map(_object, value):
        keys = entry.get("storageKeys") or []
        if not isinstance(keys, list):
            raise invalid_params("invalid access list")
        slots = tuple(int.from_bytes(word(key), "big") for key in keys)
        entries.append((address(entry.get("address")), slots))
    return tuple(entries)


def log_range(value: Any) -> tuple[BlockRef, BlockRef]:
    """
    The first and last block of a C{eth_getLogs} filter; with C{blockHash} both are it.
    """
    given = _object(value)
    if given.get("blockHash") is not None:
        if given.get("fromBlock") is not None or given.get("toBlock") is not None:
            raise invalid_params("cannot specify both BlockHash and FromBlock/ToBlock")
        block_hash = word(given["blockHash"])
        return block_hash, block_hash
    return block_ref(given.get("fromBlock") or "latest"), block_ref(
        given.get("toBlock") or "latest"
    )


def log_filter(value: Any) -> LogFilter:
    """
    Addresses and topics of a C{eth_getLogs} filter.
    """
    given = _object(value)
    addresses = given.get("address")
    if addresses is None:
        addresses = []
    if not isinstance(addresses, list):
        addresses = [addresses]
    topics = given.get("topics") or []
    if not isinstance(topics, list) or len(topics) > _MAX_TOPICS:
        raise invalid_params("invalid topics")
    return LogFilter(
        addresses=frozenset(map(address, addresses)), topics=tuple(map(_topic, topics))
    )


def _topic(value: Any) -> frozenset[bytes] | None:
    """
    One position: null and the empty array, and an array with a null, accept everything.
    """
    if value is None:
        return None
    choices = value if isinstance(value, list) else [value]
    if not choices or None in choices:
        return None
    return frozenset(map(word, choices))


def _shown(value: Any) -> str:
    return repr(value)[:80]

"""
The contract's ABI: calls to bytes, answers and logs from bytes.

eth_abi is strict: an answer that is too short, or an address with bits above its
twenty bytes, is an error and not a guess.  Text alone is read with replacement: anybody may
register as a provider, and no contract looks at the bytes of a C{url}.

Tests: L{tests.adapters.test_chain_codec}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen
from eth_abi.abi import encode
from eth_abi.codec import ABIDecoder
from eth_abi.decoding import StringDecoder
from eth_abi.exceptions import DecodingError, EncodingError
from eth_abi.registry import registry
from eth_utils.abi import (
    event_abi_to_log_topic,
    function_abi_to_4byte_selector,
    get_abi_input_types,
    get_abi_output_types,
)
from eth_utils.crypto import keccak

from sandbox_billing.adapters.chain.artifacts import load
from sandbox_billing.errors import BadInput, Transient


class _AnyText(StringDecoder):
    """Text whose bytes are a stranger's: what is no UTF-8 is replaced."""

    def __init__(self) -> None:
        super().__init__(handle_string_errors="replace")  # type: ignore[no-untyped-call]


def _tolerant() -> ABIDecoder:
    kinds = registry.copy()  # type: ignore[no-untyped-call]
    kinds.unregister_decoder("string")
    kinds.register_decoder("string", _AnyText, label="string")
    return ABIDecoder(kinds)


decode = _tolerant().decode

_ERROR_STRING, _PANIC = keccak(b"Error(string)")[:4], keccak(b"Panic(uint256)")[:4]


@frozen(auto_exc=False)
class Undecodable(Transient):
    """
    A node's answer is not what the ABI says; the adapter asks another node.
    """


@frozen(kw_only=True)
class Log:
    """
    One decoded log of the contract.

    @ivar block_hash: C{0x} and 64 hex digits.
    @ivar fields: The event's arguments by name; addresses as C{0x} and lower case.
    """

    name: str
    fields: Mapping[str, Any]
    transaction: str
    block: int
    block_hash: str
    index: int


class Codec:
    """
    One contract's functions, events and errors, by name.
    """

    def __init__(self, name: str) -> None:
        # eth_utils wants its own TypedDicts; the file is the compiler's.
        abi: Any = load(name).abi
        functions = [entry for entry in abi if entry["type"] == "function"]
        events = [entry for entry in abi if entry["type"] == "event"]
        errors = [entry for entry in abi if entry["type"] == "error"]
        # wire.md §3 has no overloads, so that a name is enough.
        self._inputs: dict[str, list[str]] = {f["name"]: get_abi_input_types(f) for f in functions}
        self._outputs: dict[str, list[str]] = {
            f["name"]: get_abi_output_types(f) for f in functions
        }
        self._selectors = {f["name"]: function_abi_to_4byte_selector(f) for f in functions}
        self._events = {event_abi_to_log_topic(e): e for e in events}
        self._topics = {e["name"]: topic for topic, e in self._events.items()}
        self._errors: dict[bytes, str] = {
            # A custom error's selector is made as a function's is.
            function_abi_to_4byte_selector(dict(e, type="function")): e["name"]  # type: ignore
            for e in errors
        }

    def calldata(self, function: str, *arguments: Any) -> bytes:
        """
        @raise BadInput: The arguments do not fit.
        """
        try:
            body = encode(self._inputs[function], arguments)
        except (EncodingError, OverflowError) as problem:
            raise BadInput(f"these are no arguments of {function}: {problem}") from None
        return self._selectors[function] + body

    def answer(self, function: str, data: bytes) -> tuple[Any, ...]:
        """
        @raise Undecodable: It is no answer of that function; an empty one, for instance,
            because nothing is deployed there.
        """
        try:
            return tuple(decode(self._outputs[function], data))
        except (DecodingError, OverflowError):
            raise Undecodable(
                f"{function} answered {len(data)} bytes that are not its answer; "
                "is the settlement contract deployed at this address and block?"
            ) from None

    def is_call(self, function: str, data: bytes) -> bool:
        """Whether call data is for that function."""
        return data[:4] == self._selectors[function]

    def is_own_error(self, data: bytes) -> bool:
        """Whether a revert's data is one of the contract's custom errors."""
        return data[:4] in self._errors

    def error_name(self, data: bytes) -> str:
        """
        What a revert says, from its data: a custom error's name, never a node's prose.
        """
        name = self._errors.get(data[:4])
        if name is not None:
            return name
        try:
            if data[:4] == _ERROR_STRING:
                return f"Error({decode(['string'], data[4:])[0]!r})"[:200]
            if data[:4] == _PANIC:
                return f"Panic({decode(['uint256'], data[4:])[0]:#x})"
        except (DecodingError, OverflowError):
            pass
        return f"unknown error 0x{data[:4].hex()}" if data else "no reason given"

    def topic(self, event: str) -> str:
        """The first topic of an event, C{0x} and 64 hex digits."""
        return "0x" + self._topics[event].hex()

    def log(self, entry: Mapping[str, Any]) -> Log:
        """
        Decode an entry of C{eth_getLogs}.

        @raise Undecodable: It is none of the contract's events, or belongs to no block.
        """
        try:
            topics = [bytes.fromhex(topic[2:]) for topic in entry["topics"]]
            inputs = self._events[topics[0]]["inputs"]
            indexed = [i for i in inputs if i["indexed"]]
            plain = [i for i in inputs if not i["indexed"]]
            values = decode([i["type"] for i in plain], bytes.fromhex(entry["data"][2:]))
            fields = dict(zip((i["name"] for i in plain), values, strict=True))
            for argument, topic in zip(indexed, topics[1:], strict=True):
                (fields[argument["name"]],) = decode([argument["type"]], topic)
            if entry.get("removed"):
                raise Undecodable("a log of a block that is gone")
            return Log(
                name=self._events[topics[0]]["name"],
                fields=fields,
                transaction=entry["transactionHash"].lower(),
                block=int(entry["blockNumber"], 16),
                block_hash=entry["blockHash"].lower(),
                index=int(entry["logIndex"], 16),
            )
        except (
            AttributeError,
            DecodingError,
            IndexError,
            KeyError,
            OverflowError,
            TypeError,
            ValueError,
        ):
            raise Undecodable("a log that is none of the contract's") from None

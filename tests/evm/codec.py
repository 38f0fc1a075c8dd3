"""Calls, events and errors of a contract, from names to bytes and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen
from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak


Log = tuple[bytes, tuple[int, ...], bytes]
"""Emitter, topics, data."""

PANIC = keccak(text="Panic(uint256)")[:4]


@frozen(kw_only=True)
class Entry:
    """
    A function, an event or an error.

    @ivar key: The selector; of an event, its first topic.
    @ivar kinds: The arguments' types.
    @ivar indexed: Of an event: which arguments are topics.
    @ivar returns: Of a function: the results' types.
    @ivar mutability: Of a function: C{view}, C{pure}, C{payable} or C{nonpayable}.
    """

    name: str
    key: bytes
    kinds: tuple[str, ...]
    indexed: tuple[bool, ...]
    returns: tuple[str, ...]
    mutability: str


@frozen
class Abi:
    """What a contract has, by name (ours overloads none)."""

    functions: Mapping[str, Entry]
    events: Mapping[str, Entry]
    errors: Mapping[str, Entry]

    @classmethod
    def of(cls, *abis: Iterable[Any]) -> Abi:
        """@param abis: The standard JSON form; more than one for contracts that work together."""
        found: dict[str, dict[str, Entry]] = {"function": {}, "event": {}, "error": {}}
        for abi in abis:
            for each in abi:
                if each["type"] in found:
                    found[each["type"]][each["name"]] = _entry(each)
        return cls(found["function"], found["event"], found["error"])

    def mutating(self) -> set[str]:
        """The names of the functions that may change something."""
        return {
            name
            for name, entry in self.functions.items()
            if entry.mutability in ("payable", "nonpayable")
        }

    def call(self, name: str, *arguments: Any) -> bytes:
        """Calldata; none for no name."""
        if not name:
            return b""
        entry = self.functions[name]
        return entry.key + encode(entry.kinds, arguments)

    def returned(self, name: str, output: bytes) -> tuple[Any, ...]:
        """What a function's output says; addresses as 20 bytes."""
        return _decoded(self.functions[name].returns, output)

    def output(self, name: str, *values: Any) -> bytes:
        """What a function returns."""
        return encode(self.functions[name].returns, values)

    def error(self, name: str, *arguments: Any) -> bytes:
        """What a call reverts with: a custom error, C{Panic}, or, for no name, nothing."""
        if not name:
            return b""
        if name == "Panic":
            return PANIC + encode(["uint256"], arguments)
        entry = self.errors[name]
        return entry.key + encode(entry.kinds, arguments)

    def say_error(self, data: bytes) -> str:
        """What a call reverted with, for people."""
        if not data:
            return "nothing"
        if data[:4] == PANIC:
            return f"Panic({int.from_bytes(data[4:], 'big'):#x})"
        for entry in self.errors.values():
            if entry.key == data[:4]:
                return f"{entry.name}{decode(entry.kinds, data[4:])}"
        return data.hex()

    def event(self, emitter: bytes, name: str, *arguments: Any) -> Log:
        """An event as it stands in the log."""
        entry = self.events[name]
        rows = list(zip(entry.kinds, entry.indexed, arguments, strict=True))
        topics = [int.from_bytes(encode([kind], [one]), "big") for kind, yes, one in rows if yes]
        plain = [(kind, one) for kind, yes, one in rows if not yes]
        data = encode([kind for kind, _ in plain], [one for _, one in plain])
        return emitter, (int.from_bytes(entry.key, "big"), *topics), data

    def read_event(self, log: Log) -> tuple[str, tuple[Any, ...]]:
        """
        The name of an event and its arguments in order, addresses as 20 bytes.

        @raise KeyError: There is no such event.
        """
        _, (first, *rest), data = log
        key = first.to_bytes(32, "big")
        entry = next((each for each in self.events.values() if each.key == key), None)
        if entry is None:
            raise KeyError(key.hex())
        rows = list(zip(entry.kinds, entry.indexed, strict=True))
        topics = iter(rest)
        plain = iter(_decoded([kind for kind, yes in rows if not yes], data))
        return entry.name, tuple(
            _decoded([kind], next(topics).to_bytes(32, "big"))[0] if yes else next(plain)
            for kind, yes in rows
        )


def _decoded(kinds: Sequence[str], data: bytes) -> tuple[Any, ...]:
    return tuple(
        bytes.fromhex(value[2:]) if kind == "address" else value
        for kind, value in zip(kinds, decode(kinds, data), strict=True)
    )


def _kind(argument: Mapping[str, Any]) -> str:
    kind: str = argument["type"]
    if kind.startswith("tuple"):
        return f"({','.join(_kind(each) for each in argument['components'])}){kind[5:]}"
    return kind


def _entry(each: Mapping[str, Any]) -> Entry:
    kinds = tuple(map(_kind, each["inputs"]))
    key = keccak(text=f"{each['name']}({','.join(kinds)})")
    return Entry(
        name=each["name"],
        key=key if each["type"] == "event" else key[:4],
        kinds=kinds,
        indexed=tuple(bool(one.get("indexed")) for one in each["inputs"]),
        returns=tuple(map(_kind, each.get("outputs", ()))),
        mutability=each.get("stateMutability", ""),
    )

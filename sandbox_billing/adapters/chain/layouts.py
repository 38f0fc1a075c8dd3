"""
What the contract's storage looked like in each build of it, and whether one layout grew
out of another.

The list is append-only, which C{bin/build-contracts --check} holds against what git has of
it: a live proxy may be behind any build in it.  A build's code hash is the Keccak-256 of its
code as it stands on chain.

Tests: L{tests.evm.test_layouts}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from attrs import frozen

from sandbox_billing.adapters.chain.artifacts import read
from sandbox_billing.errors import BadInput


StorageLayout = Mapping[str, Any]
"""
What C{bin/build-contracts} makes of the compiler's C{storageLayout}: variables in order
(C{storage}), structs under ERC-7201 names (C{namespaces}), and C{types} by their keys.  In the
list it says too what the compiler does not know (C{packed}; see L{with_packing}).
"""

PACKED: Mapping[str, tuple[tuple[str, int, int], ...]] = {
    "Account": (
        ("balance", 0, 128),
        ("lastNonce", 128, 64),
        ("acknowledgedVersion", 192, 64),
    ),
}
"""
(Field, lowest bit, bits) of each type that the contract defines upon a number and takes apart by
itself (C{Accounts.sol}), by its name; nothing for one that it uses whole.
"""

_SLOT = 32
_GAP = "__gap"
_USER_DEFINED = "t_userDefinedValueType("


@frozen(kw_only=True)
class Layout:
    """
    @ivar number: Its place in the list, from 0; an upgrade goes to the same one or a later one.
    @ivar storage: Where everything is.
    @ivar code_hashes: Of every build that has it.
    """

    number: int
    storage: StorageLayout
    code_hashes: frozenset[bytes]


@cache
def layouts() -> tuple[Layout, ...]:
    """Every layout that C{SandboxServing} ever had, the oldest first."""
    return tuple(
        Layout(
            number=number,
            storage=entry["layout"],
            code_hashes=frozenset(bytes.fromhex(each[2:]) for each in entry["codeHashes"]),
        )
        for number, entry in enumerate(read("layouts.json"))
    )


def layout_of(code_hash: bytes) -> Layout | None:
    """
    @param code_hash: Keccak-256 of an implementation's code as it stands on chain.
    @return: None for code that is not ours: what its slots mean is not known.
    """
    return next((each for each in layouts() if code_hash in each.code_hashes), None)


def with_packing(compiled: StorageLayout) -> StorageLayout:
    """
    The compiler's layout as the list has it: with the fields of each user-defined type, which to
    the compiler is one number.

    @raise BadInput: L{PACKED} says nothing of a type.
    """
    names = sorted(
        each["label"] for key, each in compiled["types"].items() if key.startswith(_USER_DEFINED)
    )
    unknown = [name for name in names if name not in PACKED]
    if unknown:
        raise BadInput(f"layouts.PACKED does not say what is in {', '.join(unknown)}")
    packed = {name: [list(each) for each in PACKED[name]] for name in names}
    return {**compiled, "packed": packed}


def is_append(old: StorageLayout, new: StorageLayout) -> list[str]:
    """
    What is wrong with an upgrade from one layout to another; nothing if all that was stored is
    found again and what is new was never written.

    New variables come after the others and out of the gap, whose end stays where it was.  A
    struct may get new members at its end where it is the value of a mapping or under a name of
    its own; elsewhere something stands behind it.  New fields of a packed number take bits that
    were no field's.

    @return: Sentences.
    """
    return [*_variables(old, new), *_namespaces(old, new), *_packing(old, new)]


def _variables(old: StorageLayout, new: StorageLayout) -> Iterator[str]:
    found = {each["label"]: each for each in new["storage"]}
    for each in old["storage"]:
        label = each["label"]
        if label == _GAP:
            yield from _gap(each, old, new)
        elif label not in found:
            yield f"{label} is gone"
        else:
            yield from _same_place(label, each, found[label])
            yield from _same_type(label, (old, each["type"]), (new, found[label]["type"]), False)
    known = {each["label"] for each in old["storage"]}
    taken = [_extent(each, old) for each in old["storage"] if each["label"] != _GAP]
    for each in new["storage"]:
        if each["label"] not in known:
            start, end = _extent(each, new)
            if any(start < until and since < end for since, until in taken):
                yield f"{each['label']} stands where something else was"


def _gap(gap: Mapping[str, Any], old: StorageLayout, new: StorageLayout) -> Iterator[str]:
    start, end = _extent(gap, old)
    left = [_extent(each, new) for each in new["storage"] if each["label"] == _GAP]
    if any(until == end and since >= start for since, until in left):
        return
    inside = [_extent(each, new) for each in new["storage"] if _extent(each, new)[0] < end]
    last = max((until for _, until in inside), default=0)
    # What fills a gap to its last slot leaves none.
    if left or -(-last // _SLOT) * _SLOT != end:
        yield f"what is left of the gap does not end at slot {end // _SLOT}, or begins earlier"


def _namespaces(old: StorageLayout, new: StorageLayout) -> Iterator[str]:
    for name, kind in old["namespaces"].items():
        if name not in new["namespaces"]:
            yield f"{name} is gone"
        else:
            yield from _same_type(name, (old, kind), (new, new["namespaces"][name]), True)


def _packing(old: StorageLayout, new: StorageLayout) -> Iterator[str]:
    before, after = old.get("packed", {}), new.get("packed", {})
    for name in sorted({*before, *after}):
        if name not in after:
            yield f"what is in the bits of {name} is no longer told"
        elif name in before:
            yield from _fields(name, before[name], after[name])
        elif f"{_USER_DEFINED}{name})" in old["types"]:
            yield f"what was in the bits of {name} is not told"


def _fields(name: str, old: Sequence[_Field], new: Sequence[_Field]) -> Iterator[str]:
    if new and not old:
        yield f"{name} was one number and is taken apart"
    found = {label: (start, bits) for label, start, bits in new}
    for label, start, bits in old:
        if label not in found:
            yield f"{name}.{label} is gone"
        elif found[label] != (start, bits):
            is_at, has = found[label]
            yield (
                f"{name}.{label} had {bits} bits from bit {start} on"
                f" and has {has} from bit {is_at} on"
            )
    known = {label for label, _, _ in old}
    for label, start, bits in new:
        if label not in known and any(
            start < since + length and since < start + bits for _, since, length in old
        ):
            yield f"{name}.{label} stands where something else was"


_Field = Sequence[Any]
"""(Label, lowest bit, bits), as JSON has it."""

_Typed = tuple[StorageLayout, str]
"""A layout, and the key of one of its types."""


def _same_type(where: str, old: _Typed, new: _Typed, may_grow: bool) -> Iterator[str]:
    """@param may_grow: Whether nothing stands behind it, so that a struct may be longer."""
    was, is_now = (layout["types"][key] for layout, key in (old, new))
    if was["label"] != is_now["label"] or was["encoding"] != is_now["encoding"]:
        yield f"{where} was {was['label']} and is {is_now['label']}"
        return
    for inside in ("key", "value", "base"):
        if inside in was:
            grows = inside == "value"  # of a mapping: each has a region of its own
            pair = (old[0], was[inside]), (new[0], is_now[inside])
            yield from _same_type(f"{where}[]", *pair, grows)
    if "members" in was:
        yield from _members(where, old, new, may_grow)
    elif was["numberOfBytes"] != is_now["numberOfBytes"]:
        yield f"{where} had {was['numberOfBytes']} bytes and has {is_now['numberOfBytes']}"


def _members(where: str, old: _Typed, new: _Typed, may_grow: bool) -> Iterator[str]:
    was, is_now = (layout["types"][key]["members"] for layout, key in (old, new))
    for each, other in zip(was, is_now, strict=False):
        name = f"{where}.{each['label']}"
        if each["label"] != other["label"]:
            yield f"{name} is gone, or no longer in its place"
            return
        yield from _same_place(name, each, other)
        yield from _same_type(name, (old[0], each["type"]), (new[0], other["type"]), False)
    for missing in was[len(is_now) :]:
        yield f"{where}.{missing['label']} is gone"
    if not may_grow:
        for added in is_now[len(was) :]:
            yield f"{where}.{added['label']} is new, where a struct cannot grow"


def _same_place(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    before, after = ((int(each["slot"]), each["offset"]) for each in (old, new))
    if before != after:
        yield f"{name} moved from slot {before[0]}+{before[1]} to slot {after[0]}+{after[1]}"


def _extent(variable: Mapping[str, Any], layout: StorageLayout) -> tuple[int, int]:
    """Its first byte, and the one behind its last."""
    start = int(variable["slot"]) * _SLOT + variable["offset"]
    return start, start + int(layout["types"][variable["type"]]["numberOfBytes"])

"""
What is stored in the ledger's form: which types, which fields, and examples of each.

Nothing here is written down twice: the types are those that the code decodes.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import cache
from importlib import import_module
from itertools import count
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from attrs import fields, has

import sandbox_billing
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UINT256_MAX


READERS = frozenset(
    {"decode", "decode_once", "stored", "_known", "_value", "_values", "_entries", "stored_text"}
)
"""Functions whose first argument is the type that a stored form is read as."""

HEX = "0x" + "ab" * 32

Shape = dict[str, Any]


@cache
def stored_types() -> dict[str, type[Any]]:
    """Every type that the code reads from the store, by its full name."""
    found: dict[str, type[Any]] = {}
    tree = Path(sandbox_billing.__file__).parent
    for path in sorted(tree.rglob("*.py")):
        names = {
            call.args[0].id
            for call in ast.walk(ast.parse(path.read_text()))
            if isinstance(call, ast.Call)
            and _called(call.func) in READERS
            and call.args
            and isinstance(call.args[0], ast.Name)
            and call.args[0].id[0].isupper()
        }
        if not names:
            continue
        module = import_module(".".join((tree.name, *path.relative_to(tree).with_suffix("").parts)))
        for name in names:
            cls = getattr(module, name)
            if has(cls):
                found[f"{cls.__module__}.{cls.__qualname__}"] = cls
    return found


def _called(function: ast.expr) -> str | None:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else None


# --- shapes ---------------------------------------------------------------------------


@cache
def shapes() -> dict[str, Shape]:
    """
    What a reader of this code takes: of each type its fields, of each choice its members.

    A field is C{[must be there, what it holds]}.
    """
    found: dict[str, Shape] = {}
    for cls in stored_types().values():
        _shape(cls, found)
    return dict(sorted(found.items()))


def _shape(hint: Any, found: dict[str, Shape]) -> None:
    for inner in get_args(hint):
        _shape(inner, found)
    if not isinstance(hint, type) or hint is Address:
        return
    name = named(hint)
    if issubclass(hint, Enum):
        found[name] = {"members": sorted(str(member.value) for member in hint)}
    elif has(hint) and name not in found:
        hints = get_type_hints(hint)
        found[name] = {
            "fields": {
                a.name: [not a.metadata.get("added"), _spelled(hints[a.name])] for a in fields(hint)
            }
        }
        for inner in hints.values():
            _shape(inner, found)


def named(cls: type[Any]) -> str:
    """A type with its module, without the rooms above: two rooms have a C{Kind}."""
    if cls.__module__.startswith(f"{sandbox_billing.__name__}."):
        return f"{cls.__module__.rpartition('.')[2]}.{cls.__qualname__}"
    return cls.__qualname__


def _spelled(hint: Any) -> str:
    """A type as it is read: choices by their names, so that a new one is seen."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return " | ".join(sorted(_spelled(option) for option in get_args(hint)))
    if origin is tuple:
        return f"tuple of {_spelled(get_args(hint)[0])}"
    if isinstance(hint, type):
        return named(hint)
    return str(getattr(hint, "__name__", hint))


def unread(shape: Mapping[str, Shape], name: str, document: Any, where: str = "") -> Iterator[str]:
    """
    What a reader of these shapes would refuse in a stored document.

    @param name: What it is read as.
    """
    where = where or name
    if name not in shape:
        yield f"{where}: nobody knows {name}"
        return
    if "members" in shape[name]:
        if str(document) not in shape[name]["members"]:
            yield f"{where}: {document!r}"
        return
    rows = shape[name]["fields"]
    for key, value in document.items():
        if key in ("v", "is"):
            continue
        if key not in rows:
            yield f"{where}.{key}"
            continue
        yield from _unread_value(shape, rows[key][1], value, f"{where}.{key}")
    for key, (required, _spelling) in rows.items():
        if required and key not in document:
            yield f"{where}.{key} is missing"


def _unread_value(
    shape: Mapping[str, Shape], spelling: str, value: Any, where: str
) -> Iterator[str]:
    if isinstance(value, list):
        for one in value:
            yield from _unread_value(shape, spelling.removeprefix("tuple of "), one, where)
        return
    options = [one for one in spelling.split(" | ") if one in shape]
    if isinstance(value, dict):
        told = value.get("is")
        names = [one for one in options if told in (None, one.rpartition(".")[2])]
        if len(names) != 1:
            yield f"{where}: {told}"
            return
        yield from unread(shape, names[0], value, where if told is None else f"{where}.{told}")
    elif options and value is not None and "members" in shape[options[0]]:
        yield from unread(shape, options[0], value, where)


# --- examples -------------------------------------------------------------------------


def examples(cls: type[Any], make: Callable[[Any], str], most: int = 24) -> list[str]:
    """
    Stored forms of a type: every choice, every enumeration, every optional field both ways.

    @param make: The codec's C{encode}.
    """
    found: dict[str, None] = {}
    for turn in range(most):
        value = _value(cls, turn)
        if value is not None:
            found[make(value)] = None
    return list(found)


def _value(cls: type[Any], turn: int) -> Any:
    """The turn's example; None where the type refuses it."""
    hints = get_type_hints(cls)
    for attempt in count():
        if attempt == 3:
            return None
        chosen = {
            a.alias: _candidate(hints[a.name], a.name, turn + place * attempt)
            for place, a in enumerate(fields(cls))
            if a.init
        }
        try:
            return cls(**chosen)
        except (ValueError, TypeError):
            continue
    return None


def _candidate(hint: Any, name: str, turn: int) -> Any:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        options = sorted(get_args(hint), key=_spelled)
        return _candidate(options[turn % len(options)], name, turn // len(options) + turn)
    if hint is type(None):
        return None
    if origin is tuple:
        inner = get_args(hint)[0]
        return tuple(_candidate(inner, name, turn + i) for i in range(turn % 3))
    plain = getattr(hint, "__supertype__", hint)
    spelled = _spelled(hint)
    if hint is Address:
        return Address("0x" + "123456789a"[turn % 10] * 40)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return list(hint)[turn % len(hint)]
    if isinstance(hint, type) and has(hint):
        return _value(hint, turn)
    if plain is bool:
        return turn % 2 == 1
    if plain is int:
        large = spelled in ("Neuron", "NeuronPerMinute")
        several = (0, 1, 60, 2**63, UINT256_MAX) if large else (1, 1_795_000_000, 0, 7, 2**40)
        return several[turn % len(several)]
    if name in ("raw", "hash", "usage_hash", "signature", "digest", "previous"):
        return HEX
    return ("a-sandbox", "b \u00e9\u4e2d", "c:1795000000")[turn % 3]

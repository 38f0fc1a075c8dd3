"""
The stored forms: canonical JSON of the ledger's values, each with a version.

Amounts, rates and nonces are decimal strings, moments and counts JSON numbers.
One value has one form, so that scripts may compare whole strings.  A form with
an unknown version is refused, never guessed (design.md, section 6).
"""

from __future__ import annotations

import json
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from attrs import Attribute, fields, has

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, parse_neuron


VERSION = 1

T = TypeVar("T")

_DECIMAL_STRINGS = (Neuron, NeuronPerMinute, Nonce)


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def encode(value: Any) -> str:
    """
    @param value: An attrs value of the ledger.
    @return: Its stored form.
    """
    document = {"v": VERSION, **_structure(value, type(value))}
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def decode(cls: type[T], text: str | bytes) -> T:
    """
    @param cls: What the form should be.
    @raise BadInput: It is no such form, or of an unknown version.
    """
    try:
        document = json.loads(text)
        version = document.pop("v")
    except (ValueError, AttributeError, KeyError, TypeError) as why:
        raise BadInput(f"not a stored {cls.__name__}: {why!r}") from why
    if type(version) is not int or version != VERSION:
        raise BadInput(f"a stored {cls.__name__} has version {version}; this daemon reads 1")
    try:
        value = _read(cls, document)
    except (KeyError, TypeError, ValueError) as why:
        raise BadInput(f"a stored {cls.__name__} is damaged: {why!r}") from why
    assert isinstance(value, cls)
    return value


def _structure(value: Any, hint: Any) -> dict[str, Any]:
    cls: Any = type(value)
    hints = _hints(cls)
    return {a.name: _write(getattr(value, a.name), hints[a.name]) for a in fields(cls)}


def _write(value: Any, hint: Any) -> Any:
    if value is None:
        return None
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        options = [o for o in get_args(hint) if o is not type(None)]
        if len(options) > 1:
            return {"is": type(value).__name__, **_structure(value, type(value))}
        return _write(value, options[0])
    if hint in _DECIMAL_STRINGS:
        return str(value)
    if isinstance(value, str | bool | int):
        return value
    if isinstance(value, Address):
        return value.hex
    if isinstance(value, Enum):
        return value.value
    if origin is tuple:
        return [_write(item, get_args(hint)[0]) for item in value]
    if has(type(value)):
        return _structure(value, hint)
    raise TypeError(f"no stored form for {value!r} as {hint!r}")


def _read(hint: Any, stored: Any) -> Any:
    origin = get_origin(hint)
    if hint in _DECIMAL_STRINGS:
        return parse_neuron(stored)
    if origin in (Union, UnionType):
        return _read_union(get_args(hint), stored)
    if origin is tuple:
        if type(stored) is not list:
            raise TypeError(f"{stored!r} is no list")
        return tuple(_read(get_args(hint)[0], item) for item in stored)
    if hint is Address:
        return Address(stored)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(stored)
    if isinstance(hint, type) and has(hint):
        hints = _hints(hint)
        unknown = set(stored) - {a.name for a in fields(hint)}
        if unknown:
            raise ValueError(f"unknown fields {sorted(unknown)}")
        there = [a for a in fields(hint) if a.name in stored or not _added(a)]
        return hint(**{a.name: _read(hints[a.name], stored[a.name]) for a in there})
    plain = getattr(hint, "__supertype__", hint)
    if type(stored) is not plain:
        raise TypeError(f"{stored!r} is no {plain.__name__}")
    return stored


def _added(attribute: Attribute[Any]) -> bool:
    """Whether forms from before there was this field may lack it; it then has its default."""
    return bool(attribute.metadata.get("added"))


def _read_union(options: tuple[Any, ...], stored: Any) -> Any:
    if stored is None:
        if type(None) not in options:
            raise TypeError("null where a value must be")
        return None
    choices = [o for o in options if o is not type(None)]
    if len(choices) == 1:
        return _read(choices[0], stored)
    rest = dict(stored)
    name = rest.pop("is")
    for choice in choices:
        if choice.__name__ == name:
            return _read(choice, rest)
    raise ValueError(f"unknown alternative {name!r}")

"""
The stored forms: canonical JSON of the ledger's values, each with a version.

Amounts, rates and nonces are decimal strings, moments and counts JSON numbers.
One value has one form, so that scripts may compare whole strings.  A form with
an unknown version is refused, never guessed (design.md, section 6).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import Enum
from functools import cache, lru_cache
from types import UnionType
from typing import Any, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from attrs import Attribute, fields, has

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, parse_neuron


VERSION = 1

T = TypeVar("T")
_Reader: TypeAlias = Callable[[Any], Any]
_Writer: TypeAlias = Callable[[Any], Any]

_DECIMAL_STRINGS = (Neuron, NeuronPerMinute, Nonce)


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def encode(value: Any) -> str:
    """
    @param value: An attrs value of the ledger.
    @return: Its stored form.
    """
    document = {"v": VERSION, **_structure(value)}
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def decode(cls: type[T], text: str | bytes) -> T:
    """
    @param cls: What the form should be.
    @raise BadInput: It is no such form, or of an unknown version.
    """
    key: Any = cls
    value = _decoded(key, text)
    assert isinstance(value, cls)
    return value


def decode_once(cls: type[T], text: str | bytes) -> T:
    """
    What L{decode} returns, and nobody remembers: for what is large, or is read for one answer.

    @raise BadInput: See L{decode}.
    """
    value = _decoded.__wrapped__(cls, text)
    assert isinstance(value, cls)
    return value


@lru_cache(maxsize=2048)
def _decoded(cls: Any, text: str | bytes) -> Any:
    """Values are frozen, and every turn reads much that has not changed since the last."""
    try:
        document = json.loads(text)
        version = document.pop("v")
    except (ValueError, AttributeError, KeyError, TypeError) as why:
        raise BadInput(f"not a stored {cls.__name__}: {why!r}") from why
    if type(version) is not int or version != VERSION:
        raise BadInput(f"a stored {cls.__name__} has version {version}; this daemon reads 1")
    try:
        return _reader(cls)(document)
    except (AttributeError, KeyError, TypeError, ValueError) as why:
        raise BadInput(f"a stored {cls.__name__} is damaged: {why!r}") from why


def _structure(value: Any) -> dict[str, Any]:
    cls: Any = type(value)
    found = {name: write(getattr(value, name)) for name, write in _writers(cls)}
    for name, usual in _rare(cls):
        if getattr(value, name) == usual:
            # As before there was this field: one value still has one form.
            del found[name]
    return found


@cache
def _writers(cls: Any) -> tuple[tuple[str, _Writer], ...]:
    """What writes each field: made once for each class, since a turn writes hundreds."""
    hints = _hints(cls)
    return tuple((a.name, _writer(hints[a.name])) for a in fields(cls))


@cache
def _rare(cls: Any) -> tuple[tuple[str, Any], ...]:
    """Fields that are written only where they have not their default."""
    return tuple((a.name, a.default) for a in fields(cls) if a.metadata.get("rare"))


def _writer(hint: Any) -> _Writer:
    origin = get_origin(hint)
    write: _Writer
    if origin in (Union, UnionType):
        options = [o for o in get_args(hint) if o is not type(None)]
        write = _writer(options[0]) if len(options) == 1 else _write_one_of
    elif hint in _DECIMAL_STRINGS:
        write = str
    elif origin is tuple:
        write = _tuple_writer(_writer(get_args(hint)[0]))
    else:
        write = _write
    return lambda value: None if value is None else write(value)


def _write_one_of(value: Any) -> Any:
    return {"is": type(value).__name__, **_structure(value)}


def _tuple_writer(item: _Writer) -> _Writer:
    return lambda value: [item(one) for one in value]


def _write(value: Any) -> Any:
    if isinstance(value, str | bool | int):
        return value
    if isinstance(value, Address):
        return value.hex
    if isinstance(value, Enum):
        return value.value
    if has(type(value)):
        return _structure(value)
    raise TypeError(f"no stored form for {value!r}")


@cache
def _reader(hint: Any) -> _Reader:
    """What reads values of a type: made once for each, since a turn reads thousands."""
    origin = get_origin(hint)
    if hint in _DECIMAL_STRINGS:
        return parse_neuron
    if origin in (Union, UnionType):
        return _union_reader(get_args(hint))
    if origin is tuple:
        return _tuple_reader(_reader(get_args(hint)[0]))
    if hint is Address:
        return Address
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    if isinstance(hint, type) and has(hint):
        return _class_reader(hint)
    return _plain_reader(getattr(hint, "__supertype__", hint))


def _plain_reader(plain: type[Any]) -> _Reader:
    def read(stored: Any) -> Any:
        if type(stored) is not plain:
            raise TypeError(f"{stored!r} is no {plain.__name__}")
        return stored

    return read


def _tuple_reader(item: _Reader) -> _Reader:
    def read(stored: Any) -> Any:
        if type(stored) is not list:
            raise TypeError(f"{stored!r} is no list")
        return tuple(map(item, stored))

    return read


def _class_reader(cls: Any) -> _Reader:
    hints = _hints(cls)
    readers = {a.name: _reader(hints[a.name]) for a in fields(cls)}
    required = {a.name for a in fields(cls) if not _added(a)}

    def read(stored: Any) -> Any:
        names = stored.keys()
        if not names <= readers.keys():
            raise ValueError(f"unknown fields {sorted(names - readers.keys())}")
        if not required <= names:
            raise KeyError(min(required - names))
        return cls(**{name: readers[name](value) for name, value in stored.items()})

    return read


def _added(attribute: Attribute[Any]) -> bool:
    """Whether forms from before there was this field may lack it; it then has its default."""
    return bool(attribute.metadata.get("added"))


def _union_reader(options: tuple[Any, ...]) -> _Reader:
    optional = type(None) in options
    choices = [o for o in options if o is not type(None)]
    only = _reader(choices[0]) if len(choices) == 1 else None
    by_name = {choice.__name__: _reader(choice) for choice in choices} if only is None else {}

    def read(stored: Any) -> Any:
        if stored is None:
            if not optional:
                raise TypeError("null where a value must be")
            return None
        if only is not None:
            return only(stored)
        rest = dict(stored)
        name = rest.pop("is")
        if name not in by_name:
            raise ValueError(f"unknown alternative {name!r}")
        return by_name[name](rest)

    return read

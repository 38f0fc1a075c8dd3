"""
JSON as values that cannot be read in two ways.

What a signature is checked against and what is sent on to Daytona must be the
same thing for every parser on the way, so that what parsers disagree about
(duplicate keys, NaN, byte order marks, lone surrogates, numbers beyond a
double) is refused, and numbers stay the decimals that were written.

Tests: C{tests.signing.test_strict_json}.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from itertools import accumulate
from typing import NoReturn, TypeAlias

from sandbox_billing.errors import BadInput


JSONValue: TypeAlias = "bool | int | Decimal | str | list[JSONValue] | dict[str, JSONValue] | None"

MAX_DEPTH = 32
MAX_BYTES = 1024 * 1024
# A double reaches 309 digits.  Beyond that, readers turn a number into Infinity
# or 0, and C{int(Decimal("1e999999999"))} takes all the memory there is.
MAX_NUMBER_CHARACTERS = 400
MAX_EXPONENT = 400

MAX_ITEMS = 4000
"""Lists, objects and commas.  A value costs a microsecond and two bytes, so that bytes alone
bound no time."""

# The closing quote is optional and the repetitions possessive, so that a body of
# nothing but escaped quotes is still read once, not once per quote.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
_NO_BRACKET = re.compile(r"[^\[\]{}]++")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def _check_structure(text: str, max_depth: int) -> None:
    """
    Before the parser sees it, which makes values as long as there are any.

    @raise BadInput: Too much stands in it, or too deep.
    """
    opened = text.count("[") + text.count("{")
    if opened <= max_depth and opened + text.count(",") <= MAX_ITEMS:
        return
    # A valid text has two strings for each item at most.
    bare, strings = _STRING.subn("", text, count=2 * MAX_ITEMS + 1)
    if strings > 2 * MAX_ITEMS or sum(map(bare.count, "[{,")) > MAX_ITEMS:
        raise BadInput(f"the JSON holds more than {MAX_ITEMS} values")
    # Beyond twice as many brackets, some close what was never opened: no JSON.
    brackets = _NO_BRACKET.sub("", bare)[: 2 * MAX_ITEMS]
    if max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > max_depth:
        raise BadInput(f"the JSON is deeper than {max_depth}")


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER_CHARACTERS:
        raise BadInput("a number in the JSON is too long")
    return int(text)


def _decimal(text: str) -> Decimal:
    if len(text) > MAX_NUMBER_CHARACTERS:
        raise BadInput("a number in the JSON is too long")
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise BadInput("a number in the JSON is out of range") from None
    if abs(number.adjusted()) > MAX_EXPONENT:
        raise BadInput("a number in the JSON is out of range")
    return number


def _constant(text: str) -> NoReturn:
    raise BadInput(f"{text} is not JSON")


def _object(pairs: list[tuple[str, JSONValue]]) -> dict[str, JSONValue]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadInput("a key stands twice in one object of the JSON")
    return found


def parse_strict_json(
    raw: bytes, *, max_depth: int = MAX_DEPTH, max_bytes: int = MAX_BYTES
) -> JSONValue:
    """
    Read one JSON value.

    @param raw: UTF-8 without a byte order mark.
    @param max_depth: How many lists and objects may stand within one another.
    @return: Integers as C{int}, all other numbers as C{Decimal}.
    @raise BadInput: It is not JSON, or is JSON that others might read otherwise.
        The text never contains what was sent.
    """
    if len(raw) > max_bytes:
        raise BadInput(f"the JSON is longer than {max_bytes} bytes")
    if raw.startswith(b"\xef\xbb\xbf"):
        raise BadInput("the JSON begins with a byte order mark")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput("the JSON is not UTF-8") from None
    _check_structure(text, max_depth)
    try:
        value: JSONValue = json.loads(
            text,
            parse_int=_integer,
            parse_float=_decimal,
            parse_constant=_constant,
            object_pairs_hook=_object,
        )
    except json.JSONDecodeError as problem:
        raise BadInput(f"not JSON: {problem.msg} at character {problem.pos}") from None
    if _SURROGATE_ESCAPE.search(text):
        try:
            # Not L{dump_json}: this one is written in C, and the text is thrown away.
            json.dumps(value, ensure_ascii=False, default=str).encode("utf-8")
        except UnicodeEncodeError:
            raise BadInput("the JSON contains half a surrogate pair") from None
    return value


def json_equal(one: JSONValue, other: JSONValue) -> bool:
    """
    Whether two parsed values are the same value of the same type.

    Numbers are one type and compare as exact decimals, so that 1, 1.0 and 1e0
    are the same and 0.1 is not 0.1000000000000000055; true is not 1.
    """
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | Decimal) and isinstance(other, int | Decimal):
        return one == other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(json_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(json_equal(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


def _write(value: JSONValue, out: list[str]) -> None:
    if isinstance(value, dict):
        separator = "{"
        for key, item in value.items():
            out.append(f"{separator}{json.dumps(key, ensure_ascii=False)}:")
            _write(item, out)
            separator = ","
        out.append("}" if value else "{}")
    elif isinstance(value, list | tuple):
        separator = "["
        for item in value:
            out.append(separator)
            _write(item, out)
            separator = ","
        out.append("]" if value else "[]")
    elif isinstance(value, Decimal):
        if not value.is_finite():
            raise TypeError(f"{value} has no JSON")
        out.append(str(value))
    elif value is None or isinstance(value, bool | int | str):
        out.append(json.dumps(value, ensure_ascii=False))
    else:
        # A float, above all: nobody here may have rounded a number on its way.
        raise TypeError(f"a {type(value).__name__} has no exact JSON")


def dump_json(value: JSONValue) -> bytes:
    """
    Write a parsed value, compact, keys in their order, numbers to the last digit.

    @raise TypeError: It holds something that L{parse_strict_json} never makes.
    """
    out: list[str] = []
    _write(value, out)
    return "".join(out).encode("utf-8")

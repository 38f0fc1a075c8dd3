"""
The one JSON parser: what it refuses, what it keeps.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.signing.strict_json import (
    MAX_BYTES,
    MAX_ITEMS,
    JSONValue,
    dump_json,
    json_equal,
    parse_strict_json,
)
from tests.signing.strategies import json_values


class RefusalTests(SynchronousTestCase):
    """What parsers disagree about is nobody's JSON."""

    def assert_refused(self, raw: bytes, words: str) -> None:
        """It is refused, with these words in the text."""
        problem = self.assertRaises(BadInput, parse_strict_json, raw)
        self.assertIn(words, str(problem))

    def test_encoding(self) -> None:
        """A byte order mark, UTF-16, Latin-1 and encoded surrogates."""
        self.assert_refused(b"\xef\xbb\xbf{}", "byte order mark")
        self.assert_refused("{}".encode("utf-16-le"), "not JSON")
        self.assert_refused("{}".encode("utf-16"), "UTF-8")
        self.assert_refused(b'"\xe9"', "UTF-8")
        self.assert_refused(b'"\xed\xa0\x80"', "UTF-8")

    def test_duplicate_keys(self) -> None:
        """At any level, and however the key is spelt."""
        for raw in (b'{"a":1,"a":1}', b'[{"b":{"a":1,"c":2,"a":3}}]', b'{"a":1,"\\u0061":2}'):
            self.assert_refused(raw, "twice")

    def test_numbers_that_are_none(self) -> None:
        """NaN, infinities and Python's and JavaScript's own spellings."""
        for raw in (b"NaN", b"Infinity", b"[-Infinity]"):
            self.assert_refused(raw, "is not JSON")
        for raw in (b"01", b"+1", b".5", b"1.", b"0x1", b"1_0", b"1e", "\u0661".encode()):
            self.assert_refused(raw, "not JSON")

    def test_numbers_out_of_range(self) -> None:
        """Numbers that others read as infinite or zero, or choke on."""
        for raw in (b"1e401", b"1e-401", b"0e999999999", b"1e99999999999999999999"):
            self.assert_refused(raw, "out of range")
        for raw in (b"1" * 401, b"0." + b"1" * 400, b"9" * 5000):
            self.assert_refused(raw, "too long")

    def test_lone_surrogates(self) -> None:
        """Half a pair, in a value or a key; a whole pair is a character."""
        for raw in (b'"\\ud800"', b'{"\\uDC00":1}', b'["\\udc00\\ud800"]'):
            self.assert_refused(raw, "surrogate")
        self.assertEqual(parse_strict_json(b'"\\ud83d\\ude00"'), "\U0001f600")

    def test_depth(self) -> None:
        """32 levels are read and 33 are not; brackets in strings do not count."""
        parse_strict_json(b"[" * 32 + b"]" * 32)
        self.assert_refused(b"[" * 33 + b"]" * 33, "deeper")
        self.assert_refused(b'{"a":' * 33 + b"1" + b"}" * 33, "deeper")
        self.assert_refused(b"[" * MAX_ITEMS, "deeper")
        text = "[{" * 100 + '"\\'
        self.assertEqual(parse_strict_json(json.dumps(text).encode()), text)
        self.assertEqual(
            parse_strict_json(b"[[],{}]" * 0 + b"[" + b"[]," * 99 + b"[]]"), [[]] * 100
        )

    def test_values(self) -> None:
        """What takes a parser long is many values, whatever they are: refused unparsed."""
        parsed: list[str] = []
        whole = json.loads

        def loads(text: str, **how: Any) -> Any:
            parsed.append(text)
            return whole(text, **how)

        self.patch(json, "loads", loads)
        most = MAX_ITEMS - 1
        for good in (
            b"[" + b"1," * most + b"1]",
            b"[" + b"[],{}," * (MAX_ITEMS // 4 - 1) + b"[]]",
            json.dumps({str(n): "" for n in range(MAX_ITEMS)}).encode(),
            json.dumps(["[{," * MAX_ITEMS, '"[' * MAX_ITEMS, "\\" * 9, ","]).encode(),
        ):
            parse_strict_json(good)
        parsed.clear()
        for values in (b"1,", b"[],", b"{},", b'"",', b'"":1,', b"[1],", b'{"a":1},'):
            for count in (MAX_ITEMS, MAX_BYTES // 10):
                self.assert_refused(b"[" + values * count + b"1]", f"more than {MAX_ITEMS} values")
        self.assert_refused(b"[" * 1_000_000, f"more than {MAX_ITEMS} values")
        self.assert_refused(b'["",' + b'""' * 500_000, "not JSON")
        self.assertEqual(len(parsed), 1)

    def test_length(self) -> None:
        """1 MiB is read, a byte more is not."""
        parse_strict_json(b'"' + b"a" * (MAX_BYTES - 2) + b'"')
        self.assert_refused(b'"' + b"a" * (MAX_BYTES - 1) + b'"', "longer")

    def test_hostile_quotes(self) -> None:
        """A body of escaped quotes that never ends costs one reading."""
        self.assert_refused(b"[" * 33 + b'"' + b'\\"' * 500_000, "deeper")
        self.assert_refused(b'["' + b'\\"[' * 300_000, "not JSON")

    def test_syntax(self) -> None:
        """No value, two values, comments, single quotes, bare control characters."""
        for raw in (b"", b" ", b"{}{}", b"{}x", b"[1,]", b"{'a':1}", b"//\n1", b'"\x00"', b"{a:1}"):
            self.assert_refused(raw, "not JSON")

    def test_silent_about_content(self) -> None:
        """The text of a refusal repeats nothing that was sent."""
        for raw in (b'{"hunter2":1,"hunter2":2}', b'["hunter2" hunter2]', b'"hunter2'):
            problem = self.assertRaises(BadInput, parse_strict_json, raw)
            self.assertNotIn("hunter2", str(problem))

    @given(
        st.binary(max_size=60)
        | st.text(alphabet='{}[]":,\\u0d8e1-. \n', max_size=40).map(str.encode)
    )
    def test_any_bytes(self, raw: bytes) -> None:
        """Whatever comes is a value or L{BadInput}, and a value only if the standard says so."""
        try:
            value = parse_strict_json(raw)
        except BadInput:
            return
        json.loads(raw.decode("utf-8"))
        self.assertTrue(json_equal(parse_strict_json(dump_json(value)), value))


class FidelityTests(SynchronousTestCase):
    """What is read is what is written on."""

    @given(json_values())
    def test_round_trip(self, value: JSONValue) -> None:
        """Writing and reading changes nothing, to the last digit and type."""
        again = parse_strict_json(dump_json(value))
        self.assertTrue(json_equal(again, value))
        self.assertEqual(dump_json(again), dump_json(value))

    def test_digits_survive(self) -> None:
        """Numbers come out with the digits they came in with."""
        for raw in (
            b"115792089237316195423570985008687907853269984665640564039457584007913129639935",
            b"0.1000000000000000055511151231257827",
            b"1.10",
            b"-0.0",
            b"9007199254740993",
        ):
            self.assertEqual(dump_json(parse_strict_json(raw)), raw)

    def test_compact_and_ordered(self) -> None:
        """Keys keep their order; nothing is added; text is UTF-8."""
        raw = '{"b":[1,{},[]],"a":{"x":null,"y":true},"":"é\\n\\""}'.encode()
        self.assertEqual(dump_json(parse_strict_json(raw)), raw)

    def test_floats_are_refused(self) -> None:
        """A float or a non-finite number has been rounded by somebody: no JSON."""
        for bad in (1.5, float("nan"), Decimal("NaN"), Decimal("Infinity"), b"", {1}):
            self.assertRaises(TypeError, dump_json, [bad])


class EqualityTests(SynchronousTestCase):
    """Same type, same value."""

    def test_numbers(self) -> None:
        """One number in any spelling is equal; near is not equal."""
        one = [parse_strict_json(raw) for raw in (b"1", b"1.0", b"1e0", b"10e-1", b"1.000")]
        for value in one:
            self.assertTrue(json_equal(one[0], value))
        for near in (b"1.0000000000000000000001", b"2", b'"1"', b"true", b"[1]", b"null"):
            self.assertFalse(json_equal(1, parse_strict_json(near)))
        self.assertTrue(json_equal(parse_strict_json(b"0"), parse_strict_json(b"-0.0")))

    def test_types(self) -> None:
        """Nothing is a number but a number; nothing is false but false."""
        values: list[JSONValue] = [None, False, True, 0, 1, "", "0", "1", [], {}, [0], {"0": 0}]
        for position, one in enumerate(values):
            for other, second in enumerate(values):
                self.assertEqual(json_equal(one, second), position == other, (one, second))

    def test_structure(self) -> None:
        """The order of keys does not matter; that of items does; nothing may lack."""
        self.assertTrue(json_equal({"a": 1, "b": [2]}, {"b": [2], "a": Decimal("1.0")}))
        self.assertFalse(json_equal({"a": 1}, {"a": 1, "b": None}))
        self.assertFalse(json_equal({"a": 1, "b": None}, {"a": 1}))
        self.assertFalse(json_equal([1, 2], [2, 1]))
        self.assertFalse(json_equal([1], [1, 1]))
        self.assertFalse(json_equal({"a": {"b": True}}, {"a": {"b": 1}}))

    @given(json_values(), json_values())
    def test_is_equality_of_bytes_but_for_spelling(self, one: JSONValue, other: JSONValue) -> None:
        """It is symmetric, and values with the same bytes are equal."""
        self.assertEqual(json_equal(one, other), json_equal(other, one))
        if dump_json(one) == dump_json(other):
            self.assertTrue(json_equal(one, other))

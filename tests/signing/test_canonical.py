"""
One spelling for each path and query; every odd spelling refused (P1).
"""

from __future__ import annotations

from contextlib import suppress as ignoring

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.signing.canonical import canonical_path, canonical_query
from tests.signing.strategies import canonical_paths


class PathTests(SynchronousTestCase):
    """L{canonical_path}."""

    @given(canonical_paths())
    def test_canonical_is_left_alone(self, path: str) -> None:
        """An ordinary path comes out as it went in, from text and from bytes."""
        self.assertEqual(canonical_path(path), path)
        self.assertEqual(canonical_path(path.encode()), path)

    @given(st.text(alphabet="/%.~aZ0:@+;2eEfF5cC3A9 \\?", max_size=20).map(lambda text: "/" + text))
    def test_idempotent(self, path: str) -> None:
        """A canonical path is canonical."""
        with ignoring(BadInput):
            once = canonical_path(path)
            self.assertEqual(canonical_path(once), once)

    @given(st.binary(max_size=20))
    def test_any_bytes(self, raw: bytes) -> None:
        """Whatever comes is a path or L{BadInput}."""
        with ignoring(BadInput):
            self.assertTrue(canonical_path(b"/" + raw).startswith("/"))

    @given(canonical_paths(), st.data())
    def test_hidden_letters(self, path: str, data: st.DataObject) -> None:
        """An unreserved character behind a percent sign is refused, wherever it is."""
        places = [at for at, char in enumerate(path) if char.isalnum() or char in "-._~"]
        at = data.draw(st.sampled_from(places))
        spelt = f"%{ord(path[at]):02x}"
        if data.draw(st.booleans()):
            spelt = spelt.upper()
        self.assertRaises(BadInput, canonical_path, path[:at] + spelt + path[at + 1 :])

    def test_odd_spellings(self) -> None:
        """Each odd spelling is refused in its own words."""
        for raw, words in (
            ("", "begins with a slash"),
            ("api/sandbox", "begins with a slash"),
            ("*", "begins with a slash"),
            ("http://host/api", "begins with a slash"),
            ("/api/sandbox/x/start/", "ends with a slash"),
            ("//", "ends with a slash"),
            ("/api//sandbox", "doubled slash"),
            ("//api", "doubled slash"),
            ("/api/./sandbox", "dot segment"),
            ("/api/../sandbox", "dot segment"),
            ("/..", "dot segment"),
            ("/api/sandbox/x/%73top", "hides 's'"),
            ("/api/%2e%2e/x", "hides '.'"),
            ("/api/%2E./x", "hides '.'"),
            ("/api/a%2fb", "encoded slash"),
            ("/api/a%5Cb", "encoded slash, backslash"),
            ("/api/a%2573", "percent sign"),
            ("/api/a%00b", "control character"),
            ("/api/a%0d%0ab", "control character"),
            ("/api/a%7F", "control character"),
            ("/api/a%", "two hex digits"),
            ("/api/a%2", "two hex digits"),
            ("/api/a%zz", "two hex digits"),
            ("/api/a%u0073", "two hex digits"),
            ("/api/a\\b", "no path may contain"),
            ("/api/a b", "no path may contain"),
            ("/api/a\n", "no path may contain"),
            ("/api/a\x00", "no path may contain"),
            ("/api/a?b", "no path may contain"),
            ("/api/a#b", "no path may contain"),
            ("/api/é", "no path may contain"),
            ("/api/é".encode(), "not ASCII"),
            (b"/api/\xff", "not ASCII"),
            ("/api/%ff", "not UTF-8"),
            ("/api/%C3x%A9", "not UTF-8"),
            ("/api/%C0%AE", "not UTF-8"),
            ("/" + "a" * 8192, "too long"),
        ):
            problem = self.assertRaises(BadInput, canonical_path, raw)
            self.assertIn(words, str(problem), raw)

    def test_honest_spellings(self) -> None:
        """Where honest clients differ, one spelling comes out."""
        for raw, path in (
            ("/", "/"),
            ("/api/a%3Ab%40c", "/api/a:b@c"),
            ("/api/a%3ab", "/api/a:b"),
            ("/api/a%20b", "/api/a%20b"),
            ("/api/%c3%a9", "/api/%C3%A9"),
            ("/api/a%3fb%23", "/api/a%3Fb%23"),
            ("/api/...", "/api/..."),
        ):
            self.assertEqual(canonical_path(raw), path)

    def test_case_is_significant(self) -> None:
        """START is not start: the route table refuses it, not the spelling."""
        self.assertEqual(canonical_path("/api/sandbox/x/START"), "/api/sandbox/x/START")


class QueryTests(SynchronousTestCase):
    """L{canonical_query}."""

    def test_reading(self) -> None:
        """Names and values are decoded, in their order; blanks and repeats stay."""
        for raw, query in (
            ("", ()),
            (b"", ()),
            ("a=1", (("a", "1"),)),
            ("b=2&a=1&b=", (("b", "2"), ("a", "1"), ("b", ""))),
            ("q=a%20b+c%2Bd", (("q", "a b c+d"),)),
            ("labels=%7B%22k%22%3A%22%C3%A9%22%7D", (("labels", '{"k":"é"}'),)),
            ("a=b=c;d", (("a", "b=c;d"),)),
        ):
            self.assertEqual(canonical_query(raw), query)

    def test_spellings_of_one_query(self) -> None:
        """Encoding that may be there or not makes no difference."""
        self.assertEqual(canonical_query("a=x%3Ay"), canonical_query("a=x:y"))

    def test_odd_spellings(self) -> None:
        """Broken escapes, no names, control characters, too many: refused."""
        for raw in (
            "a",
            "a=1&",
            "&a=1",
            "a=1&&b=2",
            "a=%",
            "a=%2",
            "a=%zz",
            "a=%ff",
            "a=1 2",
            "a=1#b",
            "a=\n",
            "a=é",
            b"a=\xff",
            "a=" + "x" * 8192,
            "&".join(["a=1"] * 101),
        ):
            self.assertRaises(BadInput, canonical_query, raw)

    @given(st.text(alphabet="ab=&%20+;é?#", max_size=20))
    def test_any_text(self, raw: str) -> None:
        """Whatever comes is a query or L{BadInput}."""
        with ignoring(BadInput):
            canonical_query(raw)

"""
How deep JSON is nested.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.signing.depth import MOST_DEEP, is_deep


TEXTS = st.text(st.sampled_from('[]{}"\\ua,:é'), max_size=6)
VALUES = st.recursive(
    st.none() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


def depth_of(value: Any) -> int:
    """How many lists and objects stand within one another."""
    inner = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(depth_of, inner), default=0)


class DepthTests(SynchronousTestCase):
    """L{is_deep}."""

    @given(VALUES, st.booleans())
    def test_exact(self, value: Any, escaped: bool) -> None:
        """It counts as a parser does, whatever stands in texts."""
        raw, depth = json.dumps(value, ensure_ascii=escaped).encode(), depth_of(value)
        self.assertFalse(is_deep(raw, depth))
        if depth:
            self.assertTrue(is_deep(raw, depth - 1))

    @given(TEXTS)
    def test_whatever_follows(self, rest: str) -> None:
        """A parser that stumbles has been as deep as it was: what follows takes nothing back."""
        self.assertTrue(is_deep(b'{"a":' * 4 + b"[" * 4 + b"]]]]}}}}" + rest.encode(), 7))

    def test_bound(self) -> None:
        """As deep as may be, and one deeper; side by side as many as there are."""
        self.assertFalse(is_deep(b"[" * MOST_DEEP + b"]" * MOST_DEEP))
        self.assertTrue(is_deep(b'{"a":' * (MOST_DEEP + 1)))
        self.assertFalse(is_deep(b"[" + b"{}," * 10_000 + b"{}]"))
        self.assertFalse(is_deep(json.dumps(["[" * 10_000]).encode()))

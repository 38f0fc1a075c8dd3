"""Notices: one form for the same facts, and numbers that only rise."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger._codec import encode
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.notice import PER_SECOND, Kind, Notice, Numbered, next_number


WALLET = Address("0x" + "1a" * 20)


def notices() -> st.SearchStrategy[Numbered]:
    """Any, in a log."""
    one = st.builds(
        Notice,
        kind=st.sampled_from(Kind),
        at=st.integers(0, 2**40).map(UnixSeconds),
        wallet=st.just(WALLET),
        sandbox=st.none() | st.just(SandboxId("sb-1")),
        facts=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4),
    )
    return st.builds(
        Numbered, number=st.integers(1, 2**53), key=st.text(min_size=1, max_size=20), notice=one
    )


class NoticeTests(SynchronousTestCase):
    """The value, its form and its number."""

    @given(st.dictionaries(st.text(max_size=5), st.text(max_size=5), min_size=2, max_size=5))
    def test_one_form(self, facts: dict[str, str]) -> None:
        """The same facts are the same notice, in whatever order they were given."""
        one, other = (
            Notice(kind=Kind.DEBT, at=UnixSeconds(5), wallet=WALLET, facts=dict(pairs))
            for pairs in (facts.items(), reversed(facts.items()))
        )
        self.assertEqual(one, other)
        self.assertEqual(dict(one.facts), facts)
        self.assertEqual(
            json.loads(encode(one))["facts"], [list(pair) for pair in sorted(facts.items())]
        )

    @given(st.integers(0, 2**50), st.integers(0, 2**33).map(UnixSeconds))
    def test_rises(self, last: int, now: UnixSeconds) -> None:
        """It is beyond the last, and no less than the moment."""
        number = next_number(last, now)
        self.assertGreater(number, last)
        self.assertGreaterEqual(number, now * PER_SECOND)

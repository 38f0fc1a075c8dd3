"""How far a webhook got, when the next try is, and what is signed."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.notice import Kind, Notice, Numbered, document
from sandbox_billing.ledger.webhook import (
    CHANCES,
    DISABLED_SECONDS,
    FIRST_RETRY_SECONDS,
    GIVEN_UP_SECONDS,
    LONGEST_RETRY_SECONDS,
    Standing,
    Webhook,
    WebhookId,
    delivered,
    delivery_id,
    failed,
    signature,
    wait_seconds,
    webhook_id,
)


NOW = UnixSeconds(1_700_000_000)
OWNER = Address("0x" + "1a" * 20)
ID = WebhookId("ab" * 16)
START = Standing(after=3)


def entry(number: int, age: int = 0) -> Numbered:
    """A notice that is so many seconds old."""
    notice = Notice(kind=Kind.TOPPED_UP, at=UnixSeconds(NOW - age), wallet=OWNER)
    return Numbered(number=number, key=str(number), notice=notice)


def webhooks() -> st.SearchStrategy[Webhook]:
    """Any that could be stored."""
    return st.builds(
        Webhook,
        id=st.just(ID),
        wallet=st.just(OWNER),
        url=st.just("https://hooks.example/x"),
        kinds=st.none() | st.lists(st.sampled_from(Kind)).map(tuple),
        secret=st.text("abcdef", min_size=1),
        created_at=st.integers(0, 2**40).map(UnixSeconds),
    )


def standings() -> st.SearchStrategy[Standing]:
    """Any that could be stored."""
    moments = st.none() | st.integers(0, 2**40).map(UnixSeconds)
    return st.builds(
        Standing,
        after=st.integers(0, 2**50),
        failures=st.integers(0, 100),
        failing_since=moments,
        retry_at=moments,
        last_at=moments,
        last=st.text(max_size=20),
        disabled=st.none() | st.text(max_size=20),
    )


class ProgressTests(SynchronousTestCase):
    """What a try changes."""

    def test_delivered(self) -> None:
        """It is done with, and failures before it are forgotten."""
        bad = failed(START, [entry(5)], NOW, "answered 500", status=500)
        good = delivered(bad, 5, UnixSeconds(NOW + 60), "answered 200")
        self.assertEqual(
            good,
            Standing(after=5, delivered=1, last_at=UnixSeconds(NOW + 60), last="answered 200"),
        )

    def test_failed(self) -> None:
        """It is tried again later, with what waits behind it in its place."""
        bad = failed(START, [entry(5), entry(6)], NOW, "answered 500", status=500)
        self.assertEqual((bad.after, bad.given_up, bad.failures), (3, 0, 1))
        self.assertEqual(bad.retry_at, NOW + FIRST_RETRY_SECONDS)
        self.assertEqual((bad.failing_since, bad.last, bad.disabled), (NOW, "answered 500", None))

    def test_given_up(self) -> None:
        """After a day: that notice and all as old as that, and none that is younger."""
        waiting = [entry(5, GIVEN_UP_SECONDS + 5), entry(6, GIVEN_UP_SECONDS), entry(7, 60)]
        bad = failed(START, waiting, NOW, "no answer within 10 s")
        self.assertEqual((bad.after, bad.given_up), (6, 2))

    def test_disabled(self) -> None:
        """After days without any success, and at once when the receiver says so."""
        long = evolve(
            START,
            failing_since=UnixSeconds(NOW - DISABLED_SECONDS),
            last_at=UnixSeconds(NOW - LONGEST_RETRY_SECONDS * 5 // 4),
            failures=30,
        )
        almost = evolve(long, failing_since=UnixSeconds(NOW - DISABLED_SECONDS + 1))
        self.assertIsNone(failed(almost, [entry(5)], NOW, "x").disabled)
        self.assertIn("5 days", failed(long, [entry(5)], NOW, "x").disabled or "")
        self.assertIn(
            "410", failed(START, [entry(5)], NOW, "answered 410", status=410).disabled or ""
        )

    def test_failures_far_apart(self) -> None:
        """What was given up days ago, with nothing tried since, counts for nothing any more."""
        bad = failed(START, [entry(5, GIVEN_UP_SECONDS)], NOW, "x")
        self.assertEqual((bad.given_up, bad.failing_since), (1, NOW))
        later = UnixSeconds(NOW + DISABLED_SECONDS)
        again = failed(bad, [entry(9, -DISABLED_SECONDS)], later, "x")
        self.assertEqual((again.disabled, again.failing_since, again.failures), (None, later, 1))
        self.assertEqual(again.retry_at, later + FIRST_RETRY_SECONDS)

    def test_passed_over(self) -> None:
        """Never back."""
        self.assertEqual(START.passed_over(9).after, 9)
        self.assertEqual(START.passed_over(1).after, 3)

    @given(st.integers(0, 200), st.integers(0, CHANCES))
    def test_waits(self, failures: int, chance: int) -> None:
        """From a minute to six hours, never shorter than before, and a quarter by chance."""
        wait = wait_seconds(failures, chance)
        least, most = wait_seconds(failures, 0), wait_seconds(failures, CHANCES)
        self.assertTrue(
            FIRST_RETRY_SECONDS <= least <= wait <= most <= LONGEST_RETRY_SECONDS * 5 // 4
        )
        self.assertLessEqual(least, wait_seconds(failures + 1, 0))

    def test_about_a_dozen_tries(self) -> None:
        """A day has room for them."""
        total, tries = 0, 1
        while total < GIVEN_UP_SECONDS:
            total, tries = total + wait_seconds(tries - 1, 0), tries + 1
        self.assertTrue(10 < tries < 15, tries)


class SentTests(SynchronousTestCase):
    """What goes on the wire."""

    def test_vector(self) -> None:
        """HMAC-SHA256 of moment, dot and body, as C{openssl dgst -sha256 -hmac} gives it."""
        told = signature("whsec_test", UnixSeconds(1_700_000_000), b'{"id":"1"}')
        self.assertEqual(
            told, "t=1700000000,v1=11bf4466ea17c3df3fd743af0b435368e16b7a05eb8eced85e8c4670767bdec5"
        )

    def test_document(self) -> None:
        """The notice as every other way of telling it has it."""
        notice = Notice(kind=Kind.RUNS_DRY, at=NOW, wallet=OWNER, facts={"balance": "7"})
        self.assertEqual(
            document(Numbered(number=12, key="k", notice=notice), "0xSpelt"),
            {
                "id": "12",
                "kind": "runs_dry",
                "at": NOW,
                "wallet": "0xSpelt",
                "sandbox": None,
                "facts": {"balance": "7"},
            },
        )

    def test_names(self) -> None:
        """A delivery is named by webhook and notice; no other spelling of an id is one."""
        self.assertEqual(delivery_id(ID, 12), f"{ID}-12")
        self.assertEqual(webhook_id("ab" * 16), ID)
        for text in ("", "ab", "AB" * 16, "ab" * 16 + "\n", "#rev"):
            self.assertRaises(BadInput, webhook_id, text)

"""
What may come of an order, and what is kept of it.
"""

from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger._codec import decode, encode
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.order import (
    AFTER,
    ENDED,
    LONGEST_REASON,
    MOST_FAILED,
    Kind,
    Mark,
    Order,
    OrderId,
    Piece,
    State,
    Step,
    archived,
    order_id,
    read_reason,
)


NOW = UnixSeconds(1_700_000_000)
MADE = Order(
    id=OrderId("0" * 32),
    digest="d",
    kind=Kind.SNAPSHOT,
    subject="mine",
    by=Address("0x" + "1a" * 20),
    reason="maintenance",
    asked_at=NOW,
    body='{"name":"mine"}',
)


_MOMENTS = st.none() | st.integers(0, 2**40).map(UnixSeconds)
_TEXTS = st.none() | st.text(max_size=20)


def orders() -> st.SearchStrategy[Order]:
    """Any that could be stored."""
    return st.builds(
        Order,
        id=st.integers(0, 2**128 - 1).map(lambda n: OrderId(f"{n:032x}")),
        number=st.integers(0, 2**50),
        digest=st.text(max_size=20),
        kind=st.sampled_from(Kind),
        state=st.sampled_from(State),
        subject=_TEXTS,
        by=st.integers(0, 2**160 - 1).map(lambda n: Address(f"0x{n:040x}")),
        reason=st.text(max_size=20),
        asked_at=st.integers(0, 2**40).map(UnixSeconds),
        body=_TEXTS,
        began_at=_MOMENTS,
        ended_at=_MOMENTS,
        note=_TEXTS,
        result=_TEXTS,
        error=_TEXTS,
    )


def pieces() -> st.SearchStrategy[Piece]:
    """Any that could be stored."""
    return st.builds(Piece, mark=st.sampled_from(Mark), run=_TEXTS, why=st.text(max_size=20))


class TableTests(SynchronousTestCase):
    """The states of an order."""

    def test_total(self) -> None:
        """Every step of every state is decided."""
        self.assertEqual(set(AFTER), set(itertools.product(State, Step)))

    def test_ends_once(self) -> None:
        """Nothing leads out of an end, and every other state leads to both."""
        for (state, _), after in AFTER.items():
            if state in ENDED:
                self.assertIsNone(after)
        for state in set(State) - ENDED:
            self.assertEqual(AFTER[state, Step.FINISH], State.DONE)
            self.assertEqual(AFTER[state, Step.FAIL], State.FAILED)

    @given(st.lists(st.sampled_from(Step)))
    def test_any_steps(self, steps: list[Step]) -> None:
        """Whatever is tried, what an order shows is of the state that the table says."""
        made, state = MADE, State.ASKED
        for step in steps:
            after = AFTER[state, step]
            act = {
                Step.BEGIN: lambda one: one.begun(NOW),
                Step.FINISH: lambda one: one.finished(NOW, {}),
                Step.FAIL: lambda one: one.failed(NOW, "no"),
            }[step]
            if after is None:
                with self.assertRaises(AssertionError):
                    act(made)
                continue
            made, state = act(made), after
            self.assertEqual(made.state, state)
            self.assertEqual(made.has_ended, made.ended_at is not None)
            self.assertEqual((made.result is not None), state is State.DONE)
            self.assertEqual((made.error is not None), state is State.FAILED)
            self.assertEqual(decode(Order, encode(made)), made)

    def test_body(self) -> None:
        """What went to Daytona is not kept beyond the end."""
        self.assertIsNone(MADE.begun(NOW).finished(NOW, {}).body)
        self.assertIsNone(MADE.failed(NOW, "no").body)


class EntryTests(SynchronousTestCase):
    """What the audit keeps."""

    def test_done(self) -> None:
        """Kind, subject, who, why, and what came of it."""
        entry = MADE.finished(NOW, {"id": "s"}).entry("0x1A")
        self.assertEqual(
            (entry.at, entry.by, entry.what, entry.subject, entry.reason, entry.amount),
            (NOW, "0x1A", "snapshot", "mine", "maintenance", 0),
        )
        told = json.loads(entry.before or "")
        self.assertEqual(told, {"order": MADE.id, "state": "done", "result": {"id": "s"}})

    def test_failed(self) -> None:
        """And what went wrong."""
        told = json.loads(MADE.failed(NOW, "no").entry("0x1A").before or "")
        self.assertEqual(told, {"order": MADE.id, "state": "failed", "error": "no"})


class ArchivedTests(SynchronousTestCase):
    """What came of an order about many."""

    def test_counts(self) -> None:
        """Each is counted once, and failures are named as far as an answer may be long."""
        failures = {SandboxId(f"f{n:03}"): Piece(mark=Mark.FAILED, why="no") for n in range(150)}
        others = {SandboxId("a"): Piece(mark=Mark.ARCHIVED), SandboxId("l"): Piece(mark=Mark.LEFT)}
        told = archived({**failures, **others})
        self.assertEqual((told["archived"], told["left"], told["failed_count"]), (1, 1, 150))
        self.assertEqual(len(told["failed"]), MOST_FAILED)
        self.assertEqual(told["failed"]["f000"], "no")


class ReadTests(SynchronousTestCase):
    """What operators may say."""

    def test_reasons(self) -> None:
        """One line of so many characters."""
        self.assertEqual(read_reason(" a node is changed ", required=True), "a node is changed")
        self.assertEqual(read_reason("é" * LONGEST_REASON, required=True), "é" * LONGEST_REASON)
        self.assertEqual(read_reason(None, required=False), "")
        for told in ("", "  ", "a" * (LONGEST_REASON + 1), 7, ["a"], "a\nb", "a\x00", "\u202e"):
            with self.assertRaises(BadInput, msg=repr(told)):
                read_reason(told, required=False)
        with self.assertRaises(BadInput):
            read_reason(None, required=True)

    def test_ids(self) -> None:
        """An order's id has one form."""
        self.assertEqual(order_id("0a" * 16), "0a" * 16)
        for told in ("", "0A" * 16, "0a" * 15, "0a" * 17, "0a" * 16 + "\n"):
            with self.assertRaises(BadInput):
                order_id(told)

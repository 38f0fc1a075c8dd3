"""What a token has caused, when it is at its limit, and that a run within it stays within it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger._codec import decode, encode
from sandbox_billing.ledger.hold import Intent
from sandbox_billing.ledger.metering import Session, close, rerated, tick_now
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.proofs import advanced
from sandbox_billing.ledger.rating import cost_of
from sandbox_billing.ledger.spending import LIMIT, Spending, spending_value
from sandbox_billing.ledger.token import Allowance, TokenId
from tests.strategies import funds, intents, rates, sessions


NOW = UnixSeconds(1_700_000_000)
TOKEN = TokenId("ab" * 16)
ALLOWANCE = Allowance(TOKEN, Neuron(10**20))
DELAY = 10


def spending(limit: int = 1000, **fields: str) -> Spending:
    """Fields, with C{__} for the colon."""
    named = {name.replace("__", ":"): value for name, value in fields.items()}
    return Spending({LIMIT: str(limit), **named})


class SumTests(SynchronousTestCase):
    """Which field counts when."""

    all_of_it = spending(
        fee__a="1",
        run__b="20",
        hold__c="300",
        session__d="4000:50000:60:1699999990",
        session__e="600000:7000000:0:1699999000",
    )

    def test_spent(self) -> None:
        """Fees, ended runs and what open ones were charged and accrued; nothing set aside."""
        self.assertEqual(self.all_of_it.spent(NOW), 1 + 20 + 4000 + 10 + 600000)

    def test_committed(self) -> None:
        """For a run the larger of its hold and what accrued with its stop, as for exposure."""
        fixed = 1 + 20 + 300 + 4000 + 7600000
        self.assertEqual(self.all_of_it.committed(NOW, stop_delay=DELAY), fixed + 50000)
        later = UnixSeconds(NOW + 60_000)
        self.assertEqual(self.all_of_it.committed(later, stop_delay=DELAY), fixed + 60_010 + DELAY)

    def test_names(self) -> None:
        """Its sandboxes, and whether anything of it may still cost more."""
        self.assertEqual(set(self.all_of_it.sandboxes()), {"d", "e"})
        self.assertTrue(self.all_of_it.ongoing)
        self.assertTrue(spending(hold__a="1").ongoing)
        self.assertFalse(spending(run__a="1", fee__b="2").ongoing)
        self.assertFalse(Spending({}).ongoing)

    def test_reached(self) -> None:
        """When the rest is what a stop costs; holds and what has not begun count in full."""
        running = f"0:700:60:{NOW}"
        for fields, left in (
            ({}, 1000 - DELAY),
            ({"fee__a": "100", "run__b": "200"}, 700 - DELAY),
            ({"hold__c": "300"}, 700 - DELAY),
            ({"session__e": f"50:250:0:{NOW}"}, 700 - DELAY),
            ({"run__b": "1000"}, -DELAY),
        ):
            at = spending(session__d=running, **fields).reached_at(NOW, stop_delay=DELAY)
            self.assertEqual(at, NOW + left, fields)

    def test_never_reached(self) -> None:
        """Where nothing runs there is nothing to stop."""
        for one in (spending(run__a="1001"), spending(session__e=f"0:1:0:{NOW}"), Spending({})):
            self.assertIsNone(one.reached_at(NOW, stop_delay=DELAY))

    def test_damaged(self) -> None:
        """What cannot be added up is said so."""
        for fields in (
            {"session:d": f"0:1:60:{NOW}"},
            {LIMIT: "x", "session:d": f"0:1:60:{NOW}"},
            {LIMIT: "1", "session:d": "1:2:3"},
            {LIMIT: "1", "session:d": f"0:1:60:{NOW}", "run:a": "-1"},
        ):
            with self.assertRaises(BadInput):
                Spending(fields).reached_at(NOW, stop_delay=DELAY)


class SessionTests(SynchronousTestCase):
    """What a session remembers of what it was charged."""

    @given(sessions(started=st.just(True)), st.lists(st.integers(1, 5000), max_size=6), rates())
    def test_spent_is_what_was_charged(
        self, session: Session, steps: list[int], other: NeuronPerMinute
    ) -> None:
        """Through ticks, a new rate and the end: the sum of its charges, to the neuron."""
        session = evolve(session, allowance=ALLOWANCE)
        charged = 0
        for count, seconds in enumerate(steps):
            until = UnixSeconds(session.charged_until + seconds)
            step = tick_now(session, seen_at=until, now=until)
            assert step is not None
            charged += step.charge.amount if step.charge else 0
            session = step.session
            if count == 2:
                session = rerated(session, other, session.hold, 2)
        last = close(session, until=session.charged_until + 77, now=NOW)
        charged += last.charge.amount if last.charge else 0
        self.assertEqual(last.session.spent, charged)

    @given(sessions(started=st.just(True)), st.integers(1, 5000))
    def test_charged_by_a_voucher_that_was_lost(self, session: Session, seconds: int) -> None:
        """A session put after what was settled has spent as much as if it had been charged."""
        session = evolve(session, allowance=ALLOWANCE)
        until = UnixSeconds(session.charged_until + seconds)
        step = tick_now(session, seen_at=until, now=until)
        assert step is not None
        self.assertEqual(advanced(session, until).spent, step.session.spent)

    @given(sessions(), intents())
    def test_older_forms(self, session: Session, intent: Intent) -> None:
        """Where no limit applies the forms are as they were before there were any."""
        for value in (session, intent):
            self.assertNotIn("allowance", encode(value))
            self.assertNotIn("spent", encode(value))
        stored = evolve(session, allowance=ALLOWANCE, spent=Neuron(5))
        self.assertEqual(decode(Session, encode(stored)), stored)
        self.assertEqual(decode(Session, encode(session)), session)

    @given(sessions(started=st.just(True)), st.integers(1, 5000))
    def test_nobody_counts(self, session: Session, seconds: int) -> None:
        """Without an allowance nothing is added up."""
        until = UnixSeconds(session.charged_until + seconds)
        step = tick_now(session, seen_at=until, now=until)
        assert step is not None
        self.assertEqual(step.session.spent, 0)


@st.composite
def spendings(draw: Callable[[Any], Any]) -> Spending:
    """Fields of every kind, and a limit around what they come to."""
    fields = {}
    for kind in ("hold", "run", "fee"):
        for place in range(draw(st.integers(0, 2))):
            fields[f"{kind}:{place}"] = str(draw(funds()))
    for place in range(draw(st.integers(0, 3))):
        session = evolve(
            draw(sessions()),
            charged_until=UnixSeconds(NOW - draw(st.integers(-100, 10**5))),
            allowance=ALLOWANCE,
            spent=draw(funds()),
        )
        fields[f"session:{place}"] = spending_value(session)
    due = Spending(fields).committed(NOW, stop_delay=DELAY)
    limit = max(0, due + draw(st.integers(-(10**4), 10**4) | st.integers(-(10**22), 10**22)))
    return Spending({LIMIT: str(limit), **fields})


class LawTests(SynchronousTestCase):
    """A token that is looked at in time stays within its limit."""

    @given(spendings())
    def test_in_time_for_the_stop(self, spending: Spending) -> None:
        """
        Until the computed moment what was caused and the stop fit, with all that is promised
        to what has not begun; a second later they do not.
        """
        at = spending.reached_at(NOW, stop_delay=DELAY)
        if at is None:
            return
        needed = partial(needed_at, spending)
        # Whatever was charged beyond this moment does not accrue before it.
        start = max([NOW, *(until for _, _, _, until in running(spending))])
        if at > start:
            self.assertLessEqual(needed(at), spending.limit)
            # Each run is rounded down by itself.  What was charged ahead of the clock counts as
            # accruing from now: the stop comes so much earlier.
            rounded = 2 * len(running(spending))
            if start == NOW:
                self.assertGreaterEqual(needed(UnixSeconds(at + 1)) + rounded, spending.limit)
        elif at < NOW == start:
            self.assertGreater(needed(NOW), spending.limit)

    @given(spendings())
    def test_admitted_is_not_stopped_at_once(self, spending: Spending) -> None:
        """What fits with its hold is not at its limit, unless not a second is left."""
        at = spending.reached_at(NOW, stop_delay=DELAY)
        if at is not None and spending.committed(NOW, stop_delay=DELAY) <= spending.limit:
            self.assertGreaterEqual(at, NOW)


def running(spending: Spending) -> list[tuple[int, ...]]:
    """Spent, hold, rate and charged until of what runs."""
    parts = [
        tuple(map(int, value.split(":")))
        for name, value in spending.fields.items()
        if name.startswith("session:")
    ]
    return [part for part in parts if part[2]]


def needed_at(spending: Spending, moment: int) -> int:
    """What must not pass the limit, added up in the plainest way."""
    total, rates = 0, 0
    for name, value in spending.fields.items():
        if not name.startswith("session:"):
            total += 0 if name == LIMIT else int(value)
            continue
        spent, hold, rate, until = map(int, value.split(":"))
        total += spent + (max(0, rate * (moment - until) // 60) if rate else hold)
        rates += rate
    return total + cost_of(NeuronPerMinute(rates), DELAY)

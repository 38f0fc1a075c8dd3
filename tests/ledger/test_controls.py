"""Tests of C{sandbox_billing.ledger.controls}, and of what sessions carry for it."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger._codec import decode, encode
from sandbox_billing.ledger.controls import (
    GONE,
    Controls,
    Outlay,
    Resumable,
    SandboxLimit,
    Which,
    changed,
)
from sandbox_billing.ledger.hold import Exposure, session_value
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.metering import (
    DAY_SECONDS,
    Session,
    day_begins,
    day_of,
    day_share,
    tick_now,
)
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.rating import amount_at
from tests.ports.journal import SB, session


MIDNIGHT = day_begins(20_000)
OTHER = SandboxId("sb-2")


def running(rate: int, started: int, **changes: object) -> Session:
    """A session that runs."""
    at = UnixSeconds(started)
    made = session(rate=NeuronPerMinute(rate), opened_at=at, started_at=at, charged_until=at)
    return evolve(made, hold=Neuron(0), **changes)


def outlay(at: int, *sessions: Session, **changes: object) -> Outlay:
    """What a wallet spends that has these."""
    fields = {f"session:{one.sandbox}": session_value(one) for one in sessions}
    made = Outlay(
        at=UnixSeconds(at), controls=Controls(), exposure=Exposure(fields), sessions=sessions
    )
    return evolve(made, **changes)


CUTS = st.lists(st.integers(0, 3 * DAY_SECONDS), max_size=6).map(sorted)


class DayTests(SynchronousTestCase):
    """What a run costs each day."""

    @given(st.integers(1, 10**6), st.integers(-DAY_SECONDS, DAY_SECONDS), CUTS)
    def test_any_split(self, rate: int, offset: int, cuts: list[int]) -> None:
        """However it is charged, each day has its own seconds, and all days are all of it."""
        start = MIDNIGHT + offset
        one = running(rate, start)
        days: dict[int, int] = {}
        for cut in cuts:
            until = UnixSeconds(start + cut)
            done = tick_now(one, seen_at=until, now=until)
            if done is None:
                continue
            for day in range(day_of(one.charged_until), day_of(until)):
                days[day] = day_share(one, until, day)
            one = done.session
        days[day_of(one.charged_until)] = one.day_spent
        end = start + max(cuts, default=0)
        self.assertEqual(one.life_spent, amount_at(one.rate, start, end))
        self.assertEqual(sum(days.values()), one.life_spent)
        for day, spent in days.items():
            first, last = max(start, day_begins(day)), min(end, day_begins(day + 1))
            wanted = amount_at(one.rate, start, last) - amount_at(one.rate, start, first)
            self.assertEqual(spent, wanted if last > first else 0)

    @given(st.integers(1, 10**6), st.integers(0, 5000), st.integers(0, 5000))
    def test_charging_changes_no_sum(self, rate: int, ticked: int, more: int) -> None:
        """What was spent by a moment is the same, charged or not, but for rounding."""
        one = running(rate, MIDNIGHT - 1000)
        at = UnixSeconds(one.opened_at + ticked + more)
        done = tick_now(one, seen_at=one.opened_at + ticked, now=at)
        after = one if done is None else done.session
        for ask in (Outlay.spent, Outlay.spent_today):
            self.assertIn(ask(outlay(at, one)) - ask(outlay(at, after)), (-1, 0, 1))


class BoundTests(SynchronousTestCase):
    """Each limit, with what counts for it."""

    def test_what_counts(self) -> None:
        """A sandbox's limit its own, a total's everything since, a day's the day."""
        one = running(60, MIDNIGHT + 100, life_spent=Neuron(1000), day_spent=Neuron(0))
        found = outlay(
            MIDNIGHT + 200,
            one,
            ended={SB: "7", OTHER: "500", GONE: "30"},
            today={"run:a:1": "11", "fee:sb-2": "2"},
            controls=Controls(
                per_day=Neuron(5000),
                total=Neuron(5000),
                total_base=Neuron(600),
                sandboxes=(SandboxLimit(SB, Neuron(5000)), SandboxLimit(OTHER, Neuron(1))),
            ),
        )
        spent = {(bound.which, bound.sandbox): bound.spent() for bound in found.bounds()}
        self.assertEqual(
            spent,
            {
                (Which.PER_DAY, None): 113,
                (Which.TOTAL, None): 1100 + 530 - 600,
                (Which.SANDBOX, SB): 1100,
                (Which.SANDBOX, OTHER): 500,
            },
        )
        self.assertEqual(found.foldable(), ())
        self.assertEqual(evolve(found, controls=Controls()).foldable(), (OTHER,))

    @given(st.integers(1, 6000), st.integers(0, 10**5), st.integers(0, 7200))
    def test_when_it_is_reached(self, rate: int, limit: int, since: int) -> None:
        """Until that moment the limit and the cost of the stop fit, and soon after no more."""
        one = running(rate, MIDNIGHT + 10)
        controls = Controls(total=Neuron(limit))
        (bound,) = outlay(one.opened_at + since, one, controls=controls).bounds()
        at = bound.reached_at(stop_delay=10)
        assert at is not None
        self.assertEqual(bound.is_reached(stop_delay=10), at <= bound.at)
        if at > bound.at:
            (then,) = outlay(at, one, controls=controls).bounds()
            self.assertLessEqual(then.spent() + rate * 10 // 60, limit)

    def test_begins_anew(self) -> None:
        """A day's limit that lasts until midnight is not reached; the next day's counts anew."""
        one = running(60, MIDNIGHT - 100)
        controls = Controls(per_day=Neuron(105))
        (bound,) = outlay(MIDNIGHT - 50, one, controls=controls).bounds()
        self.assertEqual(bound.resets_at, MIDNIGHT)
        self.assertIsNone(bound.reached_at(stop_delay=0))
        self.assertFalse(bound.is_reached(stop_delay=0))
        (bound,) = outlay(MIDNIGHT + 20, one, controls=controls).bounds()
        self.assertEqual((bound.spent(), bound.reached_at(stop_delay=0)), (20, MIDNIGHT + 105))

    def test_any_size(self) -> None:
        """A total that was stored before amounts were bounded is one that nothing reaches."""
        controls = Controls(total=Neuron(2**256 - 1), total_base=Neuron(7))
        one = running(60, MIDNIGHT + 10)
        (bound,) = outlay(MIDNIGHT + 20, one, ended={OTHER: "9"}, controls=controls).bounds()
        self.assertEqual((bound.spent(), bound.is_reached(stop_delay=10)), (12, False))

    def test_unreadable(self) -> None:
        """What cannot be read is nobody's to guess."""
        found = outlay(MIDNIGHT, ended={SB: "x"}, controls=Controls(total=Neuron(1)))
        with self.assertRaises(BadInput):
            (bound,) = found.bounds()
            bound.spent()


class ChangeTests(SynchronousTestCase):
    """From which moment a total counts."""

    def test_base(self) -> None:
        """From when there was none; raised or lowered it goes on."""
        now = UnixSeconds(5)
        first = changed(Controls(), Controls(total=Neuron(9)), spent=Neuron(70), now=now)
        self.assertEqual((first.total_base, first.revision, first.changed_at), (70, 1, 5))
        raised = changed(first, evolve(first, total=Neuron(90)), spent=Neuron(75), now=now)
        self.assertEqual((raised.total_base, raised.revision), (70, 2))
        gone = changed(raised, evolve(raised, total=None), spent=Neuron(80), now=now)
        self.assertEqual(gone.total_base, 0)
        again = changed(gone, evolve(gone, total=Neuron(1)), spent=Neuron(80), now=now)
        self.assertEqual(again.total_base, 80)

    def test_stored(self) -> None:
        """Both forms are read as they were written; a session of before, too."""
        for value in (
            Controls(auto_resume=True, sandboxes=(SandboxLimit(SB, Neuron(3)),)),
            Resumable(sandbox=SB, reason="spend_limit", since=UnixSeconds(7)),
        ):
            self.assertEqual(decode(type(value), encode(value)), value)
        plain = session()
        self.assertNotIn("life_spent", encode(plain))
        self.assertEqual(decode(Session, encode(plain)).life_spent, 0)

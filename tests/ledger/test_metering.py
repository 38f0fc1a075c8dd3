"""The meter: no second twice, none that was not seen, the same sum whatever the ticks."""

from __future__ import annotations

from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger._codec import decode, encode
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.laws import l2_disjoint, l3_observed
from sandbox_billing.ledger.metering import (
    LOOKUP_CACHE_SECONDS,
    NEVER_STARTED,
    NOT_RUNNING,
    NOT_YET,
    RUNNING,
    UNCHANGED,
    Session,
    Tick,
    begin,
    close,
    counts,
    due_at,
    tick,
    tick_now,
)
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.ledger.voucher import Charge, ChargeKind
from tests.strategies import durations, intervals, moments, rates, sessions


HOUR = 3600
SANDBOX = SandboxId("sb-1")


def pending(at: int = 1_000, rate: int = 60) -> Session:
    """A session that waits for its sandbox; at 60 neuron a minute a second costs one."""
    return Session(
        sandbox=SANDBOX,
        owner=Address("0x" + "11" * 20),
        provider=Address("0x" + "22" * 20),
        reference=Reference("ref-1"),
        resources=Resources(),
        rate=NeuronPerMinute(rate),
        signer_version=1,
        opened_at=UnixSeconds(at),
        started_at=None,
        charged_until=UnixSeconds(at),
        changed_at=UnixSeconds(at),
        hold=Neuron(0),
    )


def running(at: int = 1_000, rate: int = 60) -> Session:
    """A session seen running for the first time."""
    return begin(pending(at, rate), UnixSeconds(at))


def charged(step: Tick | None) -> Charge:
    """The charge that a step must have."""
    assert step is not None and step.charge is not None, step
    return step.charge


class StateTests(SynchronousTestCase):
    """What Daytona's states mean (design.md §4.2)."""

    def test_one_meaning(self) -> None:
        """No state has two meanings; what never started did not run either."""
        kinds = [{RUNNING}, NOT_YET, UNCHANGED, NOT_RUNNING]
        self.assertEqual(sum(map(len, kinds)), len(set().union(*kinds)))
        self.assertLessEqual(NEVER_STARTED, NOT_RUNNING)


class CountsTests(SynchronousTestCase):
    """Which observations tell of a session."""

    def test_page(self) -> None:
        """A page counts when it was sent after the last change, not in its second."""
        session = pending(at=1_000)
        self.assertFalse(counts(session, 1_000, by_id=False))
        self.assertTrue(counts(session, 1_001, by_id=False))

    def test_lookup(self) -> None:
        """A lookup may be an echo for twelve seconds."""
        session = pending(at=1_000)
        self.assertEqual(12, LOOKUP_CACHE_SECONDS)
        self.assertFalse(counts(session, 1_011, by_id=True))
        self.assertTrue(counts(session, 1_012, by_id=True))


class BeginTests(SynchronousTestCase):
    """The first observation of C{started}."""

    @given(sessions(started=st.just(False)), moments())
    def test_begin(self, session: Session, seen_at: UnixSeconds) -> None:
        """It runs from then on, never from before what is charged, in a form of its own."""
        begun = begin(session, seen_at)
        start = max(seen_at, session.charged_until)
        self.assertEqual((start, start), (begun.started_at, begun.charged_until))
        self.assertGreater(begun.revision, session.revision)


class TickTests(SynchronousTestCase):
    """One interval at most, and nothing that was not seen."""

    def test_full_interval(self) -> None:
        """B20: at its due time a period is charged, by the second that was used."""
        step = tick(running(), seen_at=9_999, now=UnixSeconds(1_000 + HOUR), interval_seconds=HOUR)
        charge = charged(step)
        self.assertEqual("sb-1:1000", charge.id)
        self.assertEqual(ChargeKind.COMPUTE, charge.kind)
        self.assertEqual((1_000, 1_000 + HOUR), (charge.period_start, charge.period_end))
        self.assertEqual((HOUR, HOUR), (charge.units, charge.amount))
        self.assertEqual((60, 1_000 + HOUR), (charge.rate, charge.created_at))
        assert step is not None
        self.assertEqual(1_000 + HOUR, step.session.charged_until)

    def test_nothing_to_charge(self) -> None:
        """Not due, not started, never seen, or not seen since: no step at all."""
        due = UnixSeconds(1_060)
        for session, seen_at, now in (
            (running(), 9_999, UnixSeconds(1_059)),
            (pending(), 9_999, due),
            (running(), None, due),
            (running(), 1_000, due),
            (running(), 999, due),
        ):
            with self.subTest(seen_at=seen_at, now=now):
                self.assertIsNone(tick(session, seen_at=seen_at, now=now, interval_seconds=60))

    def test_seen_less_than_due(self) -> None:
        """L3: what was not seen is not charged, due or not."""
        step = tick(running(), seen_at=1_007, now=UnixSeconds(1_060), interval_seconds=60)
        self.assertEqual((1_007, 7), (charged(step).period_end, charged(step).amount))

    def test_catches_up(self) -> None:
        """B10: six hours down are six charges of an hour each, and then nothing more."""
        session, found = running(), []
        now = UnixSeconds(1_000 + 6 * HOUR + 5)
        while step := tick(session, seen_at=now, now=now, interval_seconds=HOUR):
            session = step.session
            found.append(charged(step).amount)
        self.assertEqual([HOUR] * 6, found)
        self.assertEqual(1_000 + 6 * HOUR, session.charged_until)

    def test_clock_steps_back(self) -> None:
        """A clock that steps back charges nothing until it has caught up."""
        session = evolve(running(), charged_until=UnixSeconds(5_000))
        for now in (2_000, 4_999, 5_059):
            step = tick(session, seen_at=now, now=UnixSeconds(now), interval_seconds=60)
            self.assertIsNone(step)
        step = tick(session, seen_at=5_060, now=UnixSeconds(5_060), interval_seconds=60)
        self.assertEqual(5_000, charged(step).period_start)

    def test_clock_steps_forward(self) -> None:
        """B10: a jump of a day charges no second beyond what was seen."""
        step = tick(running(), seen_at=1_010, now=UnixSeconds(90_000), interval_seconds=HOUR)
        self.assertEqual(10, charged(step).units)

    def test_costs_nothing(self) -> None:
        """Seconds below one neuron make no charge, and their fraction is not lost."""
        session = running(rate=1)
        step = tick(session, seen_at=1_059, now=UnixSeconds(1_059), interval_seconds=59)
        assert step is not None
        self.assertIsNone(step.charge)
        self.assertEqual(1_059, step.session.charged_until)
        rest = tick_now(step.session, seen_at=1_060, now=UnixSeconds(1_060))
        self.assertEqual((1, 1), (charged(rest).amount, charged(rest).units))

    @given(sessions(), st.none() | moments(), moments(), intervals())
    def test_bounds(
        self, session: Session, seen_at: int | None, now: UnixSeconds, interval: int
    ) -> None:
        """A step charges from where the last one ended, one interval at most, and moves on."""
        step = tick(session, seen_at=seen_at, now=now, interval_seconds=interval)
        if step is None:
            return
        assert seen_at is not None
        self.assertLess(session.charged_until, step.session.charged_until)
        self.assertLessEqual(step.session.charged_until, seen_at)
        self.assertLessEqual(step.session.charged_until, now)
        self.assertLessEqual(step.session.charged_until, due_at(session, interval))
        self.assertEqual(session.revision + 1, step.session.revision)
        if step.charge is not None:
            l3_observed(step.charge.period_end, seen_at)
            self.assertEqual(session.charged_until, step.charge.period_start)
            self.assertEqual(step.session.charged_until, step.charge.period_end)

    @given(sessions(started=st.just(True)), durations())
    def test_now(self, session: Session, more: int) -> None:
        """Before a refund everything seen is charged at once, and a second time nothing is."""
        seen = UnixSeconds(session.charged_until + more)
        step = tick_now(session, seen_at=seen, now=seen)
        if more == 0:
            self.assertIsNone(step)
            return
        assert step is not None
        self.assertEqual(seen, step.session.charged_until)
        self.assertIsNone(tick_now(step.session, seen_at=seen, now=seen))

    def test_now_without_observation(self) -> None:
        """Nothing seen, nothing charged; a pending session neither."""
        self.assertIsNone(tick_now(running(), seen_at=None, now=UnixSeconds(9_999)))
        self.assertIsNone(tick_now(pending(), seen_at=9_999, now=UnixSeconds(9_999)))


class CloseTests(SynchronousTestCase):
    """The last step."""

    @given(sessions(), moments(), moments())
    def test_close(self, session: Session, until: int, now: UnixSeconds) -> None:
        """It charges to the given moment, or nothing if that is charged; nothing is undone."""
        step = close(session, until=until, now=now)
        self.assertGreater(step.session.revision, session.revision)
        if session.started_at is None:
            self.assertEqual(
                (None, session.charged_until), (step.charge, step.session.charged_until)
            )
            return
        self.assertEqual(max(until, session.charged_until), step.session.charged_until)
        if until <= session.charged_until:
            self.assertIsNone(step.charge)

    def test_tail(self) -> None:
        """B8: the seconds since the last tick are charged, not lost."""
        step = close(running(), until=1_042, now=UnixSeconds(1_050))
        self.assertEqual((42, 1_050), (charged(step).amount, charged(step).created_at))

    @given(rates(), moments(), st.lists(st.integers(0, 5_000), max_size=10), intervals())
    def test_any_ticks(
        self, rate: NeuronPerMinute, start: int, gaps: list[int], interval: int
    ) -> None:
        """However a run was ticked, it costs floor(rate x seconds / 60) in total."""
        assume(sum(gaps) // interval < 500)
        session, moment, charges = running(start, rate), start, []
        for gap in gaps:
            moment += gap
            now = UnixSeconds(moment)
            while step := tick(session, seen_at=moment, now=now, interval_seconds=interval):
                session = step.session
                charges.append(step.charge)
        last = close(session, until=moment, now=UnixSeconds(moment))
        amounts = [c.amount for c in [*charges, last.charge] if c is not None]
        self.assertEqual(rate * (moment - start) // 60, sum(amounts))


class MeterMachine(RuleBasedStateMachine):
    """
    One sandbox through any number of sessions, under a clock that may also step.

    The model knows of each session when its run began; what it may cost follows
    from that and C{charged_until} alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.seen: int | None = None
        self.session: Session | None = None
        self.remembered = 0
        self.charges: list[Charge] = []
        self.amounts: dict[int, int] = {}
        self.run = 0

    @initialize(at=moments(), rate=rates(), interval=intervals())
    def begin_world(self, at: int, rate: int, interval: int) -> None:
        self.now, self.rate, self.interval = at, rate, interval

    @rule(seconds=durations(20_000))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(seconds=st.integers(1, 500))
    def clock_steps_back(self, seconds: int) -> None:
        self.now = max(0, self.now - seconds)

    @precondition(lambda self: self.session is None)
    @rule()
    def open(self) -> None:
        """A session opens at max(now, what is charged): design.md §4.3."""
        self.session = pending(max(self.now, self.remembered), self.rate)
        self.seen, self.run = None, self.run + 1
        self.amounts[self.run] = 0

    @precondition(lambda self: self.session is not None)
    @rule()
    def seen_running(self) -> None:
        assert self.session is not None
        if not counts(self.session, self.now, by_id=False):
            return
        self.seen = self.now
        if self.session.started_at is None:
            self.session = begin(self.session, UnixSeconds(self.now))

    @precondition(lambda self: self.session is not None)
    @rule()
    def tick(self) -> None:
        assert self.session is not None
        self._take(
            tick(
                self.session,
                seen_at=self.seen,
                now=UnixSeconds(self.now),
                interval_seconds=self.interval,
            )
        )

    @precondition(lambda self: self.session is not None)
    @rule()
    def tick_now(self) -> None:
        assert self.session is not None
        self._take(tick_now(self.session, seen_at=self.seen, now=UnixSeconds(self.now)))

    @precondition(lambda self: self.session is not None)
    @rule(ours=st.booleans())
    def close(self, ours: bool) -> None:
        """Our accepted stop is an observation at its acceptance; else the last one counts."""
        assert self.session is not None
        self.seen = self.now if ours else self.seen
        until = self.session.charged_until if self.seen is None else self.seen
        self._take(close(self.session, until=until, now=UnixSeconds(self.now)))
        if self.session.started_at is not None and self.seen is not None:
            assert self.session.charged_until >= self.seen
        self.remembered = self.session.charged_until
        self._check_sum()
        self.session = None

    @precondition(lambda self: self.session is not None)
    @rule()
    def restart(self) -> None:
        """A restart is a rule: only what is stored is left."""
        assert self.session is not None
        self.session = decode(Session, encode(self.session))

    def _take(self, step: Tick | None) -> None:
        if step is None:
            return
        assert self.session is not None
        assert step.session.revision > self.session.revision
        self.session = step.session
        if step.charge is not None:
            l3_observed(step.charge.period_end, self.seen)
            self.charges.append(step.charge)
            self.amounts[self.run] += step.charge.amount

    @invariant()
    def disjoint(self) -> None:
        l2_disjoint(self.charges)
        assert len({charge.id for charge in self.charges}) == len(self.charges)

    @invariant()
    def _check_sum(self) -> None:
        session = self.session
        if session is None:
            return
        start = session.started_at
        seconds = 0 if start is None else session.charged_until - start
        assert self.amounts[self.run] == self.rate * seconds // 60


class MeterMachineTests(SynchronousTestCase):
    """All of the above together."""

    def test_machine(self) -> None:
        """L2, L3 and the exact sum hold in any order of observing, ticking, closing."""
        run_state_machine_as_test(MeterMachine)  # type: ignore[no-untyped-call]

"""What is set aside, what is exposed, and when a wallet runs dry."""

from __future__ import annotations

from bisect import bisect_left

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput, BrokenLaw
from sandbox_billing.ledger.hold import (
    Exposure,
    charge_field,
    covers,
    hold_field,
    hold_for,
    runs_dry_at,
    session_field,
    session_value,
)
from sandbox_billing.ledger.identity import Reference, SandboxId
from sandbox_billing.ledger.laws import l7_covered
from sandbox_billing.ledger.metering import Session, close, tick_now
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.voucher import Charge, ChargeKind
from tests.strategies import charges, exposures, funds, rates, sessions


NOW = UnixSeconds(1_700_000_000)


def model(exposure: Exposure, now: int, *, with_holds: bool) -> int:
    """The sum of design.md §6, added up in the plainest way."""
    total = 0
    for name, value in exposure.fields.items():
        parts = [int(part) for part in value.split(":")]
        if name.startswith("session:"):
            hold, rate, until = parts
            ran = rate * (now - until) // 60 if now > until else 0
            total += max(hold, ran) if with_holds else ran
        elif with_holds or not name.startswith("hold:"):
            total += parts[0]
    return total


class HoldForTests(SynchronousTestCase):
    """design.md §4.1."""

    def test_example(self) -> None:
        """The fee, an interval and the stop delay, at 60 neuron a minute."""
        held = hold_for(NeuronPerMinute(60), Neuron(500), interval=3600, stop_delay=60)
        self.assertEqual(500 + 3660, held)

    @given(rates(), funds(), st.integers(1, 7200), st.integers(0, 600))
    def test_covers_what_it_is_for(
        self, rate: NeuronPerMinute, fee: Neuron, interval: int, delay: int
    ) -> None:
        """A hold covers the fee and every second until a stop can have come through."""
        held = hold_for(rate, fee, interval=interval, stop_delay=delay)
        self.assertGreaterEqual(60 * (held - fee), rate * (interval + delay))


class FieldTests(SynchronousTestCase):
    """Names and values that scripts store."""

    def test_names(self) -> None:
        """One field for each hold and session."""
        self.assertEqual("hold:ref-1", hold_field(Reference("ref-1")))
        self.assertEqual("session:sb-1", session_field(SandboxId("sb-1")))

    @given(charges())
    def test_charge(self, charge: Charge) -> None:
        """A debt is told apart, because it closes the door."""
        kind = "debt" if charge.kind is ChargeKind.DEBT else "charge"
        self.assertEqual(f"{kind}:{charge.id}", charge_field(charge))
        exposure = Exposure({charge_field(charge): str(charge.amount)})
        self.assertEqual(charge.kind is ChargeKind.DEBT, exposure.in_debt)
        self.assertEqual(charge.amount, exposure.total(NOW))

    @given(sessions(started=st.just(False)), st.integers(0, 10**6))
    def test_pending(self, session: Session, waited: int) -> None:
        """While a sandbox is not seen running nothing accrues beyond its hold."""
        exposure = Exposure({session_field(session.sandbox): session_value(session)})
        later = session.charged_until + waited
        self.assertEqual((session.hold, 0), (exposure.total(later), exposure.owed(later)))
        self.assertEqual(0, exposure.rate())

    @given(sessions(started=st.just(True)), st.integers(0, 10**6))
    def test_running(self, session: Session, seconds: int) -> None:
        """What accrued is counted from the last charge, and at least the hold is."""
        exposure = Exposure({session_field(session.sandbox): session_value(session)})
        now = session.charged_until + seconds
        accrued = session.rate * seconds // 60
        self.assertEqual(max(session.hold, accrued), exposure.total(now))
        self.assertEqual(accrued, exposure.owed(now))

    @given(sessions(started=st.just(True)), st.integers(0, 10**6))
    def test_charging_moves(self, session: Session, seconds: int) -> None:
        """Q-7: a charge moves exposure from the session's field to its own; none is lost."""
        session = evolve(session, hold=Neuron(0))
        now = UnixSeconds(session.charged_until + seconds)
        fields = {session_field(session.sandbox): session_value(session)}
        before = Exposure(fields).owed(now)
        step = tick_now(session, seen_at=now, now=now) or close(session, until=now, now=now)
        fields = {session_field(session.sandbox): session_value(step.session)}
        if step.charge is not None:
            fields[charge_field(step.charge)] = str(step.charge.amount)
        # The carried fraction is at most one neuron more (rating is exact over the run).
        self.assertIn(Exposure(fields).owed(now) - before, (0, 1))


class ExposureTests(SynchronousTestCase):
    """The sum that every admission rests on."""

    @given(exposures(NOW), st.integers(-200, 10**6))
    def test_sums(self, exposure: Exposure, later: int) -> None:
        """Both sums agree with the plainest way to add."""
        now = NOW + later
        self.assertEqual(model(exposure, now, with_holds=True), exposure.total(now))
        self.assertEqual(model(exposure, now, with_holds=False), exposure.owed(now))
        self.assertLessEqual(exposure.owed(now), exposure.total(now))

    @given(exposures(NOW), st.integers(-200, 10**6))
    def test_parts(self, exposure: Exposure, later: int) -> None:
        """What a total consists of is the total; without its holds it is what is owed."""
        parts = exposure.parts(NOW + later)
        self.assertEqual(parts.total, exposure.total(NOW + later))
        self.assertEqual(parts.accrued + parts.charges + parts.debts, exposure.owed(NOW + later))
        debts = [int(v) for n, v in exposure.fields.items() if n.startswith("debt:")]
        self.assertEqual(parts.debts, sum(debts))

    @given(exposures(NOW), st.integers(0, 10**6), st.integers(0, 10**6))
    def test_grows(self, exposure: Exposure, one: int, more: int) -> None:
        """Time alone never makes a wallet owe less."""
        self.assertLessEqual(exposure.total(NOW + one), exposure.total(NOW + one + more))
        self.assertLessEqual(exposure.owed(NOW + one), exposure.owed(NOW + one + more))

    def test_beyond_64_bits(self) -> None:
        """B22: 9.2 0G are where a counter of 64 bits ends, not a wallet."""
        exposure = Exposure({"charge:a:create": str(2**63), "debt:b:debt:1": str(2**64 + 1)})
        self.assertEqual(2**63 + 2**64 + 1, exposure.owed(NOW))
        self.assertEqual(2**63 + 2**64 + 1, exposure.total(NOW))

    def test_counts(self) -> None:
        """Sandboxes, intents, rate and debt of a wallet that has some of each."""
        fields = {
            "hold:a": "5",
            "hold:b": "7",
            "session:sb-1": "9:60:100",
            "session:sb-2": "9:0:100",
            "charge:sb-1:40": "11",
        }
        exposure = Exposure(fields)
        self.assertEqual(("sb-1", "sb-2"), exposure.sandboxes())
        self.assertEqual((2, 60, False), (exposure.pending(), exposure.rate(), exposure.in_debt))
        self.assertEqual(5 + 7 + 9 + 9 + 11, exposure.total(100))
        self.assertEqual(5 + 7 + 10 + 9 + 11, exposure.total(110))
        self.assertTrue(Exposure({**fields, "debt:sb-1:40:debt:1": "1"}).in_debt)

    def test_nothing(self) -> None:
        """A wallet without fields owes nothing."""
        empty = Exposure({})
        self.assertEqual((0, 0, 0), (empty.total(NOW), empty.owed(NOW), empty.rate()))
        self.assertFalse(empty.in_debt)

    def test_unknown_field(self) -> None:
        """L7: a field that nobody knows does not count as nothing."""
        for read in (Exposure({"gift:a": "1"}).total, Exposure({"gift:a": "1"}).owed):
            self.assertEqual("L7", self.assertRaises(BrokenLaw, read, NOW).law)

    def test_damaged_value(self) -> None:
        """B22: what cannot be read refuses the admission."""
        damaged = (
            ("hold:a", "1.0"),
            ("charge:a", ""),
            ("debt:a", "-1"),
            ("session:a", "1:2"),
            ("session:b", "1:2:x"),
        )
        for name, value in damaged:
            with self.subTest(name=name):
                self.assertRaises(BadInput, Exposure({name: value}).total, NOW)


class CoversTests(SynchronousTestCase):
    """Law L7 and the question asked before it."""

    @given(funds(), funds(), funds(), st.integers(-1, 1))
    def test_is_the_law(self, balance: Neuron, cap: Neuron, any_: Neuron, off: int) -> None:
        """Whatever is let in is within the law, to the neuron; whatever is not would break it."""
        for exposed in (any_, Neuron(max(0, balance + cap + off))):
            if covers(balance, cap, exposed):
                l7_covered(balance, cap, exposed)
            else:
                self.assertRaises(BrokenLaw, l7_covered, balance, cap, exposed)


class RunsDryAtTests(SynchronousTestCase):
    """design.md §4.7."""

    def at(self, exposure: Exposure, balance: int, cap: int = 0, delay: int = 0) -> int | None:
        """When it runs dry, asked at C{NOW}."""
        return runs_dry_at(
            exposure, balance=Neuron(balance), loss_cap=Neuron(cap), stop_delay=delay, now=NOW
        )

    def test_example(self) -> None:
        """1000 neuron at 1 a second, 100 owed, 60 to stop, 10 of credit: 850 seconds."""
        exposure = Exposure({"session:sb-1": f"999:60:{NOW}", "charge:c": "100", "hold:h": "99"})
        self.assertEqual(NOW + 850, self.at(exposure, 1_000, cap=10, delay=60))

    def test_nothing_runs(self) -> None:
        """What does not run does not run dry, debts or not."""
        self.assertIsNone(self.at(Exposure({"debt:a": "5", "session:s": f"1:0:{NOW}"}), 0))

    @given(
        st.lists(st.tuples(st.integers(1, 6_000), st.integers(0, 90)), min_size=1, max_size=4),
        st.integers(0, 5_000),
        st.integers(0, 500),
        st.integers(0, 90),
    )
    def test_brute_force(
        self, running: list[tuple[int, int]], balance: int, owed: int, delay: int
    ) -> None:
        """
        The answer is the second from which on what is left does not exceed the stop's cost.

        Each session and that cost are rounded by less than a neuron: by so much time, and
        the seconds that both are rounded to, the answer may differ.
        """
        fields = {f"session:{n}": f"0:{r}:{NOW - ago}" for n, (r, ago) in enumerate(running)}
        exposure = Exposure({**fields, "charge:c": str(owed)})
        rate = sum(r for r, _ in running)

        def is_dry(moment: int) -> bool:
            left = balance - model(exposure, moment, with_holds=False)
            return 60 * left <= rate * delay

        dry = NOW + bisect_left(range(10**6), True, key=lambda later: is_dry(NOW + later))
        answer = self.at(exposure, balance, delay=delay)
        assert answer is not None
        if dry == NOW:
            self.assertLessEqual(answer, NOW)
        else:
            neurons = 2 * len(running) + 1
            self.assertLess(rate * (abs(answer - dry) - 2), 60 * neurons)

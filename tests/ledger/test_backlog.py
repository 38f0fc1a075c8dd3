"""
Tests of C{sandbox_billing.ledger.backlog}: what is left, and when it is too old.
"""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger._codec import decode, encode
from sandbox_billing.ledger.account import Account
from sandbox_billing.ledger.backlog import (
    Claim,
    Left,
    Pause,
    Standing,
    overdue,
    what_is_left,
)
from sandbox_billing.ledger.hold import QUARANTINED, UNDO
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.voucher import (
    ChargeKind,
    ChargeRecord,
    DeadLettered,
    Open,
    Paid,
    Parked,
    Seal,
    Signed,
)
from tests.ports.journal import OWNER, SB, T0, account, create_charge, intent, session


SEAL = Seal(nonce=1, fee=Neuron(9), usage_hash="0x" + "ab" * 32, signature="0x" + "cd" * 65)
CHARGE = evolve(
    create_charge(session(SB)),
    kind=ChargeKind.COMPUTE,
    period_start=T0,
    period_end=UnixSeconds(T0 + 60),
    units=60,
    amount=Neuron(9),
)


def claim(
    state: object = Open(),
    *,
    charge: object = CHARGE,
    account: Account | None = account(),  # noqa: B008 - a frozen value
    blocked: str | None = None,
    in_flight: bool = False,
    in_debt: bool = False,
) -> Claim:
    """A charge of a wallet that can pay."""
    record = ChargeRecord(charge, state)  # type: ignore[arg-type]
    return Claim(
        record=record, account=account, blocked=blocked, in_flight=in_flight, in_debt=in_debt
    )


class StandingTests(SynchronousTestCase):
    """Who holds up everybody, and who only itself."""

    def test_all(self) -> None:
        """Each way a charge may wait, in the order of precedence."""
        poor = account(balance=Neuron(0))
        stranger = account(acknowledged=False)
        debt = evolve(CHARGE, kind=ChargeKind.DEBT, units=0)
        paid = Paid(seal=SEAL, transaction="0x01", block=1)
        table = (
            (claim(), Standing.DUE),
            (claim(Signed(SEAL)), Standing.DUE),
            (claim(account=None), Standing.DUE),
            (claim(account=poor), Standing.UNFUNDED),
            (claim(account=evolve(poor, pending_refund=Neuron(1))), Standing.DUE),
            (claim(account=stranger), Standing.PARKED),
            (claim(Signed(SEAL), account=stranger), Standing.PARKED),
            (claim(Parked(SEAL)), Standing.PARKED),
            (claim(charge=debt), Standing.DEBT),
            (claim(charge=debt, in_flight=True), Standing.DEBT),
            # What waits behind a debt, even if there is something for it.
            (claim(in_debt=True), Standing.DEBT),
            (claim(Signed(SEAL), in_debt=True, in_flight=True), Standing.DUE),
            # What is on its way must arrive, whatever became of the wallet since.
            (claim(Signed(SEAL), account=poor, in_flight=True), Standing.DUE),
            (claim(Signed(SEAL), account=stranger, in_flight=True), Standing.DUE),
            (claim(blocked="insufficient_balance"), Standing.DUE),
            (claim(blocked=QUARANTINED), Standing.QUARANTINED),
            (claim(blocked=QUARANTINED, in_flight=True), Standing.QUARANTINED),
            (claim(paid), Standing.FINAL),
            (claim(DeadLettered(seal=SEAL, reason="x")), Standing.FINAL),
        )
        for case, expected in table:
            self.assertIs(case.standing, expected, case)


class LeftTests(SynchronousTestCase):
    """What must be waited for before a price changes."""

    def left(self, before: int, **there: object) -> Left:
        """Of nothing but what is given."""
        everything = {"intents": (), "sessions": (), "claims": (), **there}
        return what_is_left(before, **everything)  # type: ignore[arg-type]

    def test_nothing(self) -> None:
        """An empty house has nothing left."""
        self.assertTrue(self.left(T0).nothing)

    def test_intents(self) -> None:
        """What was let in may open a session yet; an order to undo may not."""
        self.assertEqual(self.left(T0, intents=[intent()]).intents, 1)
        self.assertTrue(self.left(T0, intents=[intent(action=UNDO)]).nothing)

    def test_sessions(self) -> None:
        """A session is left until it is charged up to the moment, begun or not."""
        begun = session(SB, started_at=T0, charged_until=UnixSeconds(T0 + 9))
        self.assertEqual(self.left(T0 + 10, sessions=[begun]).sessions, 1)
        self.assertEqual(self.left(T0 + 10, sessions=[session(SB)]).sessions, 1)
        self.assertTrue(self.left(T0 + 9, sessions=[begun]).nothing)
        quarantined = self.left(T0 + 10, sessions=[begun], quarantined=frozenset({OWNER}))
        self.assertTrue(quarantined.nothing)

    def test_charges(self) -> None:
        """A charge is left when it has a second before the moment; a create fee always is."""
        fee = create_charge(session(SB))
        for before, charge, expected in (
            (T0, CHARGE, 0),
            (T0 + 1, CHARGE, 1),
            (T0 + 99, CHARGE, 1),
            (T0 - 1, fee, 1),
            (T0, fee, 1),
            (T0 + 1, fee, 1),
        ):
            left = self.left(before, claims=[claim(charge=charge)])
            self.assertEqual((left.charges, left.amount), (expected, expected * charge.amount))

    def test_excepted(self) -> None:
        """What waits for its own wallet is told, and holds nothing up."""
        claims = [claim(Parked(SEAL)), claim(Parked(SEAL)), claim(account=account(balance=0))]
        left = self.left(T0 + 60, claims=claims, damaged=3)
        self.assertTrue(left.nothing)
        self.assertEqual(left.excepted, ((Standing.PARKED, 2, 18), (Standing.UNFUNDED, 1, 9)))
        self.assertEqual(left.damaged, 3)

    @given(st.integers(T0 - 200, T0 + 200), st.integers(0, 100))
    def test_grows(self, before: int, later: int) -> None:
        """The later the moment, the more is left of the same house."""
        house = {"sessions": [session(SB)], "claims": [claim()]}
        one, other = self.left(before, **house), self.left(before + later, **house)
        self.assertLessEqual((one.sessions, one.charges), (other.sessions, other.charges))


class OverdueTests(SynchronousTestCase):
    """K13: nobody may leave before he has paid."""

    @given(st.integers(1, 7200), st.integers(0, 10_000))
    def test_in_time(self, interval: int, age: int) -> None:
        """While the door is open, what began an interval before the oldest charge is locked."""
        shut = overdue(T0, T0 + age, lock_seconds=7200, interval_seconds=interval)
        self.assertEqual(not shut, age + interval <= 7200)


class StoredPauseTests(SynchronousTestCase):
    """What an operator finds in C{billing:paused}."""

    def test_form(self) -> None:
        """Versioned JSON, and back."""
        pause = Pause(since=T0, reason="prices change", by="provider register")
        form = encode(pause)
        self.assertEqual(
            form,
            '{"by":"provider register","reason":"prices change","since":1700000000,"v":1}',
        )
        self.assertEqual(decode(Pause, form), pause)

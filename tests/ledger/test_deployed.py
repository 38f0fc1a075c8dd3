"""
Tests of C{sandbox_billing.ledger.deployed}: on the flawed model nothing that is sent ever sets
off a flaw, and nothing that could be sent stays behind.
"""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BrokenLaw
from sandbox_billing.ledger.account import Behaviour
from sandbox_billing.ledger.deployed import Move, Purse, Sendable, plan_flawed, replay, take
from sandbox_billing.ledger.identity import Nonce, split_from
from sandbox_billing.ledger.laws import l2_disjoint, l5_rising, l6_books, l12_fair
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.settlement import debt_of, plan_wallet, sealed, split
from sandbox_billing.ledger.voucher import ChargeKind, ChargeRecord, Partial
from tests.ledger.test_settlement import account, charge, queue, record, seal, shape


AMOUNTS = st.integers(1, 60)


@st.composite
def purses(draw: st.DrawFn) -> Purse:
    """Small ones, so that everything meets; often without a refund."""
    pending = draw(st.one_of(st.just(0), st.integers(0, 120)))
    return Purse(draw(st.integers(0, 120)), pending)


@st.composite
def waiting(draw: st.DrawFn) -> list[ChargeRecord]:
    """Sealed ones first, by nonce, then open ones."""
    amounts = draw(st.lists(AMOUNTS, max_size=7))
    sealed_ones = draw(st.integers(0, len(amounts)))
    return [
        record(f"c{place}", amount, nonce=place + 1 if place < sealed_ones else 0)
        for place, amount in enumerate(amounts)
    ]


def allowed(purse: Purse, one: ChargeRecord, accepted: int = 0) -> bool:
    """D1 and D2 in their own words: may anything of this charge go out now?"""
    fee, balance, pending = one.charge.amount, purse.balance, purse.pending
    if balance + pending == 0:
        return False
    if balance + pending <= fee:
        return True
    if one.seal is None and pending == 0:
        return balance > 0
    return fee <= balance and max(0, pending - (balance - fee)) <= accepted


class TakeTests(SynchronousTestCase):
    """The flaws, with failures.md's figures."""

    def test_k1(self) -> None:
        """Deposit 100, request 80, fee 5: 65 belong to nobody for ever."""
        taken = take(Purse(20, 80), 5)
        self.assertEqual((Purse(15, 15), 5, 65, 0), _told(taken))

    def test_k2(self) -> None:
        """Balance 1, pending 99, fee 2: the provider gets 100."""
        self.assertEqual((Purse(0, 0), 100, 0, 98), _told(take(Purse(1, 99), 2)))

    @given(purses(), AMOUNTS)
    def test_conserved(self, purse: Purse, fee: int) -> None:
        """What was there is paid, lost or left."""
        taken = take(purse, fee)
        left = taken.after.balance + taken.after.pending
        self.assertEqual(purse.balance + purse.pending, taken.paid + taken.lost + left)
        self.assertLessEqual(taken.paid, fee + taken.excess)


def _told(taken: object) -> tuple[object, ...]:
    return tuple(getattr(taken, name) for name in ("after", "paid", "lost", "excess"))


class PlanTests(SynchronousTestCase):
    """D1 and D2."""

    def plan(
        self, purse: Purse, *records: ChargeRecord, accepted: int = 0, newest: Purse | None = None
    ) -> list[tuple[str, int]]:
        """Ids and fees of what goes out."""
        seen = [purse] if newest is None else [purse, newest]
        sent = plan_flawed(seen, records, 50, accepted)
        return [(each.record.charge.id, each.fee) for each in sent]

    def test_d1_held(self) -> None:
        """With a refund pending nothing goes out that would trim it."""
        self.assertEqual([], self.plan(Purse(20, 80), record("a", 5)))

    def test_d1_passes(self) -> None:
        """What leaves the balance at or above the refund goes out; smaller ones pass a larger."""
        found = self.plan(Purse(50, 30), record("a", 25), record("b", 15), record("c", 6))
        self.assertEqual([("b", 15)], found)
        self.assertEqual([("a", 20)], self.plan(Purse(50, 30), record("a", 20)))

    def test_d1_all_owed(self) -> None:
        """What is owed is all there is: then it goes out whole, refund and all."""
        self.assertEqual([("a", 10)], self.plan(Purse(1, 9), record("a", 10), record("b", 1)))
        self.assertEqual([("a", 10)], self.plan(Purse(0, 9), record("a", 10)))
        self.assertEqual([], self.plan(Purse(1, 10), record("a", 10)))

    def test_d1_accepted_loss(self) -> None:
        """The operator may accept a loss; it is used up once."""
        self.assertEqual([], self.plan(Purse(20, 80), record("a", 5), accepted=64))
        found = self.plan(Purse(20, 80), record("a", 5), record("b", 5), accepted=65)
        self.assertEqual([("a", 5)], found)

    def test_d2_shrunk(self) -> None:
        """Without a refund a fee above the balance is cut down to it; with nothing, nothing."""
        self.assertEqual([("a", 7)], self.plan(Purse(7, 0), record("a", 10), record("b", 1)))
        self.assertEqual([], self.plan(Purse(0, 0), record("a", 10)))

    def test_signed_is_never_changed(self) -> None:
        """A signed fee stays as it is, goes out whole or waits, and nothing overtakes it."""
        self.assertEqual([("a", 10)], self.plan(Purse(7, 0), record("a", 10, 3)))
        self.assertEqual([], self.plan(Purse(7, 4), record("a", 10, 3), record("b", 1)))

    def test_newest(self) -> None:
        """A refund in the newest block holds back what the confirmed one would let out."""
        self.assertEqual([], self.plan(Purse(100, 0), record("a", 5), newest=Purse(20, 80)))
        found = self.plan(Purse(20, 80), record("a", 5), newest=Purse(100, 0))
        self.assertEqual([], found)
        self.assertEqual([("a", 3)], self.plan(Purse(9, 0), record("a", 9), newest=Purse(3, 0)))

    @given(purses(), waiting(), st.integers(0, 8), st.integers(0, 30))
    def test_harmless(
        self, purse: Purse, records: list[ChargeRecord], limit: int, accepted: int
    ) -> None:
        """L12: whatever is sent, in its order, neither loses a refund nor takes too much."""
        lost = 0
        sent = plan_flawed([purse], records, limit, accepted)
        self.assertLessEqual(len(sent), limit)
        for each in sent:
            self._promise_kept(each)
            taken = take(purse, each.fee)
            lost += taken.lost
            self.assertEqual(0, taken.excess)
            self.assertGreater(taken.paid, 0)
            l12_fair(Neuron(taken.paid), each.fee)
            purse = taken.after
        self.assertLessEqual(lost, accepted)

    def _promise_kept(self, each: Sendable) -> None:
        amount = each.record.charge.amount
        self.assertTrue(0 < each.fee <= amount)
        if each.record.seal is not None:
            self.assertEqual(amount, each.fee)

    @given(purses(), purses(), waiting())
    def test_both(self, purse: Purse, newest: Purse, records: list[ChargeRecord]) -> None:
        """What passes two states is harmless on each of them."""
        for state in (purse, newest):
            for each in plan_flawed([purse, newest], records, 9):
                taken = take(state, each.fee)
                self.assertEqual((0, 0), (taken.lost, taken.excess))
                state = taken.after

    @given(purses(), waiting())
    def test_nothing_left_behind(self, purse: Purse, records: list[ChargeRecord]) -> None:
        """Not a neuron stays unsent that D1 and D2 would allow, but behind a sealed charge."""
        sent = plan_flawed([purse], records, 99)
        for each in sent:
            purse = take(purse, each.fee).after
        gone = {each.record.charge.id for each in sent}
        for one in records:
            if one.charge.id in gone:
                continue
            self.assertFalse(allowed(purse, one), (purse, one))
            if one.seal is not None:
                break

    @given(purses(), waiting())
    def test_order(self, purse: Purse, records: list[ChargeRecord]) -> None:
        """K7: nonces rise, and what is sealed goes out without a gap."""
        found = queue(account(purse.balance, refund=purse.pending), *records)
        lines = plan_wallet(evolve(found, behaviour=Behaviour.FLAWED), 99)
        l5_rising([line.nonce for line in lines])
        sealed_ones = [one for one in records if one.seal is not None]
        again = [line.record for line in lines if not line.fresh]
        self.assertEqual(sealed_ones[: len(again)], again)
        if len(again) < len(sealed_ones):
            self.assertEqual(len(lines), len(again))


class PlanWalletTests(SynchronousTestCase):
    """Which rules a wallet's queue is planned by."""

    def test_behaviour(self) -> None:
        """The same queue on both contracts."""
        found = queue(account(20, refund=80), record("a", 5))
        self.assertEqual([("a", 1, True)], shape(plan_wallet(found, 50)))
        flawed = evolve(found, behaviour=Behaviour.FLAWED)
        self.assertEqual([], shape(plan_wallet(flawed, 50)))
        risky = evolve(flawed, accepted_loss=Neuron(65))
        self.assertEqual([("a", 1, True)], shape(plan_wallet(risky, 50)))

    def test_part(self) -> None:
        """A line says for how much it goes out, where that is not all of it."""
        found = evolve(queue(account(7), record("a", 10)), behaviour=Behaviour.FLAWED)
        (line,) = plan_wallet(found, 50)
        self.assertEqual(7, line.fee)
        (line,) = plan_wallet(evolve(found, account=account(10)), 50)
        self.assertIsNone(line.fee)

    def test_newest_acknowledgement(self) -> None:
        """Who has revoked in the newest block is not charged on an older one."""
        newest = account(9, acknowledged=False)
        found = evolve(queue(account(9), record("a", 1)), behaviour=Behaviour.FLAWED, newest=newest)
        self.assertEqual((), plan_wallet(found, 50))


class SplitTests(SynchronousTestCase):
    """Cutting a charge before it is signed."""

    def test_split(self) -> None:
        """The part keeps id, period and seconds; the rest is a debt without units (wire.md §2)."""
        whole = record("sb-1:40", 10)
        part, rest = split(whole, Neuron(7), Nonce(4), UnixSeconds(500))
        self.assertEqual(evolve(whole.charge, amount=Neuron(7)), part.charge)
        self.assertEqual(("sb-1:40:rest:4", 3, 0), (rest.id, rest.amount, rest.units))
        self.assertEqual((ChargeKind.DEBT, 500), (rest.kind, rest.created_at))
        self.assertEqual((40, 100), (rest.period_start, rest.period_end))
        l2_disjoint([part.charge, rest])
        books = l6_books([sealed(part, seal(4, 7)), ChargeRecord(rest)])
        self.assertEqual((10, 7, 3), (books.charged, books.pending, books.debt))

    def test_ids(self) -> None:
        """Whatever is cut or left owed, again and again, gets an id of its own."""
        whole = record("sb-1:40", 100)
        part, rest = split(whole, Neuron(70), Nonce(4), UnixSeconds(0))
        again, rest_of_part = split(part, Neuron(60), Nonce(6), UnixSeconds(0))
        short = debt_of(again.charge, Neuron(5), UnixSeconds(0))
        cut_debt, rest_of_debt = split(ChargeRecord(short), Neuron(2), Nonce(7), UnixSeconds(0))
        third = debt_of(rest_of_debt, Neuron(1), UnixSeconds(0))
        fourth = debt_of(third, Neuron(1), UnixSeconds(0))
        fifth = debt_of(rest, Neuron(1), UnixSeconds(0))
        made = [again.charge, rest, rest_of_part, cut_debt.charge, rest_of_debt]
        ids = [one.id for one in (*made, third, fourth, fifth)]
        expected = ["", ":rest:4", ":rest:6", ":debt:1", ":debt:1:rest:7"]
        expected += [":debt:1:rest:7:debt:1", ":debt:1:rest:7:debt:2", ":rest:4:debt:1"]
        self.assertEqual([f"sb-1:40{end}" for end in expected], ids)
        self.assertEqual(whole.charge.id, split_from(rest_of_part.id))
        self.assertIsNone(split_from(rest_of_debt.id))

    def test_books_of_a_debt(self) -> None:
        """L6: the rest of a debt is in what left the debt, and not counted twice."""
        first = charge("c", 10)
        debt = debt_of(first, Neuron(6), UnixSeconds(0))
        partial = Partial(
            seal=seal(1, 10),
            paid=Neuron(4),
            owed=Neuron(6),
            debt=debt.id,
            transaction="0x1",
            block=1,
        )
        part, rest = split(ChargeRecord(debt), Neuron(2), Nonce(9), UnixSeconds(0))
        books = l6_books([ChargeRecord(first, partial), part, ChargeRecord(rest)])
        self.assertEqual((10, 4, 6), (books.charged, books.settled, books.debt))

    def test_refused(self) -> None:
        """What is signed, or would leave nothing on one side, is not cut."""
        for one, fee in ((record("a", 10, 3), 5), (record("a", 10), 10), (record("a", 10), 0)):
            self.assertRaises(BrokenLaw, split, one, Neuron(fee), Nonce(4), UnixSeconds(0))


class ReplayTests(SynchronousTestCase):
    """D7: what a block's vouchers really moved."""

    REQUEST = Move(name="RefundRequested", amount=99)
    SHORT = Move(name="VoucherSettled", amount=2, nonce=Nonce(5))

    def test_in_order(self) -> None:
        """A refund before the voucher in the block, and what both leave."""
        found = replay(Purse(100, 0), [self.REQUEST, self.SHORT], Purse(0, 0))
        assert found is not None
        self.assertEqual(100, found[Nonce(5)].paid)
        self.assertEqual(98, found[Nonce(5)].excess)

    def test_everything(self) -> None:
        """Deposits and withdrawals count where they stand."""
        moves = [
            Move(name="RefundWithdrawn", amount=30),
            Move(name="Deposited", amount=4),
            Move(name="TEESignerAcknowledged", amount=0),
            Move(name="VoucherSettled", amount=10, nonce=Nonce(1)),
            Move(name="Deposited", amount=7),
        ]
        found = replay(Purse(5, 30), moves, Purse(7, 0))
        assert found is not None
        self.assertEqual(9, found[Nonce(1)].paid)

    def test_contradictions(self) -> None:
        """What does not end where the chain does, or cannot have happened, is not known."""
        wrong = [
            ([self.SHORT], Purse(1, 0)),
            ([evolve(self.SHORT, in_full=True)], Purse(0, 0)),
            ([Move(name="RefundWithdrawn", amount=1)], Purse(1, 0)),
            ([evolve(self.REQUEST, amount=2)], Purse(1, 0)),
            ([Move(name="Upgraded", amount=0)], Purse(1, 0)),
        ]
        for moves, after in wrong:
            self.assertIsNone(replay(Purse(1, 0), moves, after))

    @given(purses(), st.lists(st.tuples(st.integers(0, 3), AMOUNTS), max_size=6))
    def test_whatever_happens(self, before: Purse, steps: list[tuple[int, int]]) -> None:
        """Any story told by its events is understood, to the neuron."""
        purse, moves, paid = before, [], {}
        for place, (kind, amount) in enumerate(steps):
            if kind == 0:
                moves.append(Move(name="Deposited", amount=amount))
                purse = Purse(purse.balance + amount, purse.pending)
            elif kind == 1:
                everything = purse.balance + purse.pending
                asked = min(amount, everything)
                moves.append(Move(name="RefundRequested", amount=asked))
                purse = Purse(everything - asked, asked)
            elif kind == 2 and purse.pending:
                moves.append(Move(name="RefundWithdrawn", amount=purse.pending))
                purse = Purse(purse.balance, 0)
            elif kind == 3:
                nonce, full = Nonce(place + 1), amount <= purse.balance
                moves.append(Move(name="VoucherSettled", amount=amount, nonce=nonce, in_full=full))
                paid[nonce] = take(purse, amount)
                purse = paid[nonce].after
        self.assertEqual(paid, replay(before, moves, purse))

"""Each law with a good value and a bad one: a law that cannot fail is a decoration."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BrokenLaw
from sandbox_billing.ledger.account import Account, Settlement
from sandbox_billing.ledger.identity import Nonce, SandboxId
from sandbox_billing.ledger.laws import (
    Books,
    l1_solvent,
    l2_disjoint,
    l3_observed,
    l5_rising,
    l6_books,
    l7_covered,
    l12_fair,
    standing,
)
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.settlement import (
    INSUFFICIENT_BALANCE,
    INVALID_SIGNATURE,
    NOT_ACKNOWLEDGED,
    SUCCESS,
    Evidence,
    Line,
    Resolved,
    WalletQueue,
    plan_wallet,
    resolve,
    sealed,
)
from sandbox_billing.ledger.voucher import (
    Charge,
    ChargeKind,
    ChargeRecord,
    ChargeState,
    DeadLettered,
    Forgiven,
    Merged,
    Open,
    Paid,
    Parked,
    Partial,
    Seal,
    Signed,
)
from tests.ledger.test_settlement import PROVIDER, USER, account, charge
from tests.strategies import funds


def period(start: int, until: int, *, sandbox: str = "sb-1", units: int | None = None) -> Charge:
    """A charge of a period."""
    return evolve(
        charge(f"{sandbox}:{start}", 5),
        sandbox=SandboxId(sandbox),
        period_start=UnixSeconds(start),
        period_end=UnixSeconds(until),
        units=until - start if units is None else units,
    )


class LawTests(SynchronousTestCase):
    """Those that are a comparison."""

    def broken(self, law: str, check: object, *arguments: object) -> None:
        """The check says which law it is."""
        why = self.assertRaises(BrokenLaw, check, *arguments)
        self.assertEqual(law, why.law)

    def test_l1(self) -> None:
        """The contract may hold more than it owes (stray coins), never less."""
        owed = [Neuron(3), Neuron(4)]
        l1_solvent(Neuron(7), owed)
        l1_solvent(Neuron(8), owed)
        self.broken("L1", l1_solvent, Neuron(6), owed)

    def test_l2(self) -> None:
        """Periods may touch, leave gaps, come in any order and share time across sandboxes."""
        l2_disjoint([])
        l2_disjoint([period(20, 30), period(0, 10), period(10, 20), period(40, 50)])
        l2_disjoint([period(0, 10), period(0, 10, sandbox="sb-2")])

    def test_l2_timeless(self) -> None:
        """A create fee and a debt carry no time: they may repeat a period."""
        create = period(5, 5)
        l2_disjoint([period(0, 10), create, create, period(0, 10, units=0)])

    def test_l2_broken(self) -> None:
        """A second twice, a period twice, one inside another, or units that are not its length."""
        for charges in (
            [period(0, 10), period(9, 20)],
            [period(0, 10), period(0, 10)],
            [period(0, 30), period(10, 20)],
            [period(0, 30), period(10, 20), period(30, 40)],
            [period(0, 10, units=9)],
            [period(0, 10, units=11)],
        ):
            self.broken("L2", l2_disjoint, charges)

    def test_l3(self) -> None:
        """A period may end at its observation, not after it, nor without one."""
        l3_observed(10, 10)
        l3_observed(10, 11)
        self.broken("L3", l3_observed, 11, 10)
        self.broken("L3", l3_observed, 0, None)

    def test_l5(self) -> None:
        """Nonces rise strictly; gaps are fine."""
        for good in ([], [5], [1, 2, 9]):
            l5_rising(good)
        for bad in ([1, 1], [2, 1], [1, 3, 2]):
            self.broken("L5", l5_rising, bad)

    def test_l7(self) -> None:
        """Exposure up to the funds and the operator's credit, and not a neuron more."""
        l7_covered(Neuron(5), Neuron(2), Neuron(7))
        self.broken("L7", l7_covered, Neuron(5), Neuron(2), Neuron(8))

    def test_l12(self) -> None:
        """The fee is the most that may be taken."""
        l12_fair(Neuron(5), Neuron(5))
        self.broken("L12", l12_fair, Neuron(6), Neuron(5))


SEAL = Seal(nonce=Nonce(1), fee=Neuron(10), usage_hash="0xab", signature="0xcd")


def of(state: ChargeState, amount: int = 10, *, debt: bool = False) -> ChargeRecord:
    """A record in a state."""
    kind = ChargeKind.DEBT if debt else ChargeKind.COMPUTE
    return ChargeRecord(charge("c", amount, kind=kind), state)


class BooksTests(SynchronousTestCase):
    """L6: no charge disappears."""

    partial = Partial(
        seal=SEAL,
        paid=Neuron(4),
        owed=Neuron(6),
        debt=charge("c:debt:1", 6).id,
        transaction="0x1",
        block=1,
    )

    def books(self, *records: ChargeRecord) -> dict[str, int]:
        """The columns that are not empty."""
        found = l6_books(records)
        columns = ("charged", "settled", "pending", "parked", "debt", "dead", "forgiven")
        return {name: getattr(found, name) for name in columns if getattr(found, name)}

    def test_columns(self) -> None:
        """Each state is counted in its one column."""
        paid = Paid(seal=SEAL, transaction="0x1", block=1)
        dead = DeadLettered(seal=None, reason="odd")
        waived = Forgiven(seal=None, reason="odd", by="me", at=UnixSeconds(1))
        for state, column in (
            (Open(), "pending"),
            (Signed(SEAL), "pending"),
            (Parked(SEAL), "parked"),
            (paid, "settled"),
            (dead, "dead"),
            (waived, "forgiven"),
        ):
            with self.subTest(state=state):
                self.assertEqual({"charged": 10, column: 10}, self.books(of(state)))

    def test_partial(self) -> None:
        """The rest of a partial payment is counted once, where it is collected."""
        debt = of(Open(), 6, debt=True)
        self.assertEqual(
            {"charged": 10, "settled": 4, "debt": 6}, self.books(of(self.partial), debt)
        )
        paid = of(Paid(seal=SEAL, transaction="0x2", block=2), 6, debt=True)
        self.assertEqual({"charged": 10, "settled": 10}, self.books(of(self.partial), paid))

    def test_forgiven_debt(self) -> None:
        """A debt that was written off is in a column of its own: nobody pays it twice."""
        waived = Forgiven(seal=None, reason="goodwill", by="me", at=UnixSeconds(1))
        self.assertEqual(
            {"charged": 10, "settled": 4, "forgiven": 6},
            self.books(of(self.partial), of(waived, 6, debt=True)),
        )

    def test_merged(self) -> None:
        """What was merged is counted once, where it is collected."""
        whole = charge("w", 17)
        parts = [ChargeRecord(charge(f"c-{n}", n), Merged(whole.id)) for n in (7, 10)]
        self.assertEqual({"charged": 17, "pending": 17}, self.books(*parts, ChargeRecord(whole)))
        self.assertEqual([whole], list(standing([*parts, ChargeRecord(whole)])))

    def test_merged_into_less(self) -> None:
        """A part that its whole does not collect, or a whole that is nowhere, breaks the law."""
        whole = charge("w", 17)
        parts = [ChargeRecord(charge(f"c-{n}", n), Merged(whole.id)) for n in (7, 10)]
        for records in (
            parts,
            [*parts, ChargeRecord(charge("w", 16))],
            [parts[0], ChargeRecord(whole)],
        ):
            self.assertEqual("L6", self.assertRaises(BrokenLaw, l6_books, records).law)

    def test_nothing(self) -> None:
        """Empty books are good books."""
        self.assertEqual({}, self.books())

    def test_lost(self) -> None:
        """A debt that was never written, or written twice, breaks the law."""
        lost = [of(self.partial)]
        twice = [of(self.partial), of(Open(), 6, debt=True), of(Open(), 6, debt=True)]
        for records in (lost, twice):
            self.assertEqual("L6", self.assertRaises(BrokenLaw, l6_books, records).law)

    def test_difference(self) -> None:
        """The difference says how much is missing, or there twice."""
        zero = Neuron(0)
        books = Books(
            charged=Neuron(9), settled=Neuron(4), pending=zero, parked=zero, debt=zero, dead=zero
        )
        self.assertEqual(5, books.difference)


class Wallet:
    """
    One wallet through many batches: the charges' side of the contract's books.

    What the chain takes is decided here by its own rule: the fee, or all there is.
    """

    def __init__(self, balance: int) -> None:
        self.balance = balance
        self.taken = 0
        self.last_nonce = Nonce(0)
        self.signed_last = Nonce(0)
        self.records: dict[str, ChargeRecord] = {}
        self.promises: dict[str, tuple[int, int, str]] = {}

    def charge(self, amount: int) -> None:
        """Something was used."""
        one = charge(f"c-{len(self.records)}", amount, at=len(self.records))
        self.records[one.id] = ChargeRecord(one)

    def settle(self, answers: list[int | None]) -> None:
        """Plan, sign, and take the chain's answers, by status; None is no transaction at all."""
        waiting = [
            one for one in self.records.values() if isinstance(one.state, Open | Signed | Parked)
        ]
        lines = plan_wallet(
            WalletQueue(
                account=self._account(), records=tuple(waiting), last_nonce=self.signed_last
            ),
            len(answers),
        )
        for line, answer in zip(lines, answers, strict=False):
            one = self._signed(line)
            # A later nonce is not sent before the earlier one is final (K7).
            if answer is None or not self._resolve(one, answer):
                return

    def _account(self) -> Account:
        return evolve(account(self.balance), last_nonce=self.last_nonce)

    def _signed(self, line: Line) -> ChargeRecord:
        fee = line.record.charge.amount
        promise = Seal(nonce=line.nonce, fee=fee, usage_hash="0xab", signature="0xcd")
        one = sealed(line.record, promise)
        self.signed_last = Nonce(max(self.signed_last, line.nonce))
        bound = self.promises.setdefault(one.charge.id, (line.nonce, fee, "0xab"))
        assert bound == (line.nonce, fee, "0xab"), "L5"
        self.records[one.charge.id] = one
        return one

    def _resolve(self, one: ChargeRecord, answer: int) -> bool:
        assert one.seal is not None
        settled = None
        if answer in (SUCCESS, INSUFFICIENT_BALANCE):
            paid = min(self.balance, one.seal.fee)
            status = SUCCESS if paid == one.seal.fee else INSUFFICIENT_BALANCE
            settled = Settlement(
                user=USER,
                provider=PROVIDER,
                fee=one.seal.fee,
                usage_hash="0xab",
                nonce=one.seal.nonce,
                status=status,
                paid=Neuron(paid),
                transaction="0x7",
                block=1,
                log_index=0,
                timestamp=UnixSeconds(0),
            )
            self.balance -= paid
            self.taken += paid
            self.last_nonce = one.seal.nonce
        outcome = resolve(
            Evidence(record=one, settled=settled, last_nonce=self.last_nonce, refusal=answer),
            UnixSeconds(9),
        )
        if not isinstance(outcome, Resolved):
            return False
        self.records[one.charge.id] = outcome.record
        if outcome.debt is not None:
            assert outcome.debt.id not in self.records
            self.records[outcome.debt.id] = ChargeRecord(outcome.debt)
        return settled is not None


class HistoryTests(SynchronousTestCase):
    """L6 along whole histories."""

    @given(
        funds(),
        st.lists(
            st.one_of(
                st.integers(1, 2_000),
                st.lists(
                    st.sampled_from(
                        [SUCCESS, SUCCESS, NOT_ACKNOWLEDGED, INVALID_SIGNATURE, 4, None]
                    ),
                    min_size=1,
                    max_size=4,
                ),
                st.builds(Neuron, st.integers(-3_000, -1)),
            ),
            max_size=25,
        ),
    )
    def test_books_balance(self, balance: int, steps: list[int | list[int | None]]) -> None:
        """Charging, settling, deposits and refusals in any order: everything is in a column."""
        wallet = Wallet(balance % 5_000)
        for step in steps:
            if isinstance(step, list):
                wallet.settle(step)
            elif step > 0:
                wallet.charge(step)
            else:
                wallet.balance -= step
            books = l6_books(wallet.records.values())
            self.assertEqual(wallet.taken, books.settled)

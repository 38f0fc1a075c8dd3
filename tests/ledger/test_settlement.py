"""What goes out together, and what the chain's answer means: total, and money by events only."""

from __future__ import annotations

from itertools import pairwise, product

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BrokenLaw
from sandbox_billing.ledger.account import Account, Settlement
from sandbox_billing.ledger.identity import Address, ChargeId, Nonce, SandboxId
from sandbox_billing.ledger.laws import l5_rising, l12_fair
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.settlement import (
    INSUFFICIENT_BALANCE,
    INVALID_NONCE,
    INVALID_SIGNATURE,
    NOT_ACKNOWLEDGED,
    PROVIDER_MISMATCH,
    SUCCESS,
    Evidence,
    Line,
    Outcome,
    Resolved,
    SettlerFault,
    StillOwed,
    Unproven,
    WalletQueue,
    charge_ids,
    debt_of,
    plan,
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
    Open,
    Paid,
    Parked,
    Partial,
    Seal,
    Signed,
)
from tests.strategies import accounts, charges, moments, nonces, waiting_records


USER = Address("0x" + "11" * 20)
PROVIDER = Address("0x" + "22" * 20)
NOW = UnixSeconds(5_000)


def account(
    balance: int, *, refund: int = 0, acknowledged: bool = True, wallet: Address = USER
) -> Account:
    """What the mirror says of a wallet."""
    return Account(
        wallet=wallet,
        balance=Neuron(balance),
        pending_refund=Neuron(refund),
        refund_unlock_at=UnixSeconds(0),
        acknowledged=acknowledged,
        last_nonce=Nonce(0),
        block=1,
    )


def charge(
    name: str, amount: int, *, at: int = 100, kind: ChargeKind = ChargeKind.COMPUTE
) -> Charge:
    """A charge of a minute."""
    return Charge(
        id=ChargeId(name),
        sandbox=SandboxId("sb-1"),
        owner=USER,
        provider=PROVIDER,
        kind=kind,
        period_start=UnixSeconds(40),
        period_end=UnixSeconds(100),
        units=60,
        amount=Neuron(amount),
        rate=amount,
        created_at=UnixSeconds(at),
    )


def seal(nonce: int, fee: int) -> Seal:
    """What was promised; the bytes do not matter here."""
    return Seal(nonce=Nonce(nonce), fee=Neuron(fee), usage_hash="0xab", signature="0xcd")


def record(name: str, amount: int, nonce: int = 0, *, at: int = 100) -> ChargeRecord:
    """An open charge, or a signed one with a nonce."""
    state = Signed(seal(nonce, amount)) if nonce else Open()
    return ChargeRecord(charge(name, amount, at=at), state)


def queue(found: Account, *records: ChargeRecord, last_nonce: int = 0) -> WalletQueue:
    """What can be settled now."""
    return WalletQueue(account=found, records=records, last_nonce=Nonce(last_nonce))


def shape(lines: tuple[Line, ...]) -> list[tuple[str, int, bool]]:
    """Lines as a plain table."""
    return [(line.record.charge.id, line.nonce, line.fresh) for line in lines]


@st.composite
def queues(draw: st.DrawFn) -> WalletQueue:
    """Any wallet's queue: no nonce and no charge in it twice, none above the stored last."""
    found = draw(accounts())
    records = draw(
        st.lists(
            waiting_records(found.wallet),
            max_size=5,
            unique_by=(
                lambda one: one.charge.id,
                lambda one: one.seal.nonce if one.seal is not None else one.charge.id,
            ),
        )
    )
    return WalletQueue(account=found, records=tuple(records), last_nonce=draw(nonces()))


class PlanWalletTests(SynchronousTestCase):
    """One wallet's lines (design.md §4.4)."""

    def test_all_fit(self) -> None:
        """What fits goes out by age, above the last nonce."""
        found = queue(account(30), record("b", 10, at=2), record("a", 20, at=1), last_nonce=7)
        self.assertEqual([("a", 8, True), ("b", 9, True)], shape(plan_wallet(found, 50)))

    def test_first_that_does_not_fit(self) -> None:
        """It goes out whole, so that the chain records the rest; nothing goes after it."""
        found = queue(account(15), *(record(name, 10) for name in "abc"))
        lines = plan_wallet(found, 50)
        self.assertEqual([("a", 1, True), ("b", 2, True)], shape(lines))
        self.assertEqual(10, lines[1].record.charge.amount)

    def test_nothing_left(self) -> None:
        """With nothing left a charge stays open and unsigned, to the neuron."""
        self.assertEqual([], shape(plan_wallet(queue(account(0), record("a", 1)), 50)))
        exact = queue(account(10), record("a", 10), record("b", 1))
        self.assertEqual([("a", 1, True)], shape(plan_wallet(exact, 50)))

    def test_pending_refund_counts(self) -> None:
        """K2: a fee may draw on the pending refund."""
        found = queue(account(4, refund=8), record("a", 10), record("b", 10), record("c", 1))
        self.assertEqual(["a", "b"], [name for name, _, _ in shape(plan_wallet(found, 50))])

    def test_not_acknowledged(self) -> None:
        """S6: a refused voucher is public, so without an acknowledgement none goes out."""
        found = queue(account(99, acknowledged=False), record("a", 1, 3), record("b", 1))
        self.assertEqual((), plan_wallet(found, 50))

    def test_offered_again(self) -> None:
        """S14: what is signed keeps its nonce, lowest first; new ones come above all of them."""
        parked = ChargeRecord(charge("p", 1), Parked(seal(4, 1)))
        found = queue(account(99), record("new", 1), record("s", 1, 9), parked, last_nonce=2)
        expected = [("p", 4, False), ("s", 9, False), ("new", 10, True)]
        self.assertEqual(expected, shape(plan_wallet(found, 50)))

    def test_debts_first(self) -> None:
        """After a deposit debts are collected before anything new, however old that is."""
        debt = ChargeRecord(charge("d", 5, at=99, kind=ChargeKind.DEBT))
        found = queue(account(5), record("a", 5, at=1), debt, last_nonce=1)
        self.assertEqual([("d", 2, True)], shape(plan_wallet(found, 50)))

    def test_limit(self) -> None:
        """No more lines than there is room for, the earliest ones."""
        found = queue(account(99), *(record(name, 1) for name in "abc"))
        self.assertEqual(["a", "b"], [name for name, _, _ in shape(plan_wallet(found, 2))])
        self.assertEqual((), plan_wallet(found, 0))

    @given(queues(), st.integers(0, 6))
    def test_properties(self, found: WalletQueue, limit: int) -> None:
        """Nonces rise, promises are kept, and all but the last line are covered whole."""
        lines = plan_wallet(found, limit)
        self.assertLessEqual(len(lines), limit)
        if lines:
            self.assertTrue(found.account.acknowledged)
        l5_rising([line.nonce for line in lines])
        for line in lines:
            self.assertIn(line.record, found.records)
            promised = line.record.seal
            self.assertEqual(promised is None, line.fresh)
            if promised is None:
                self.assertGreater(line.nonce, found.last_nonce)
            else:
                self.assertEqual(promised.nonce, line.nonce)
        spent = sum(line.record.charge.amount for line in lines[:-1])
        if lines:
            self.assertLess(spent, found.account.collectable)

    @given(queues())
    def test_none_left_behind(self, found: WalletQueue) -> None:
        """With money and an acknowledgement everything goes out, and every nonce once."""
        total = sum(one.charge.amount for one in found.records)
        rich = evolve(found.account, balance=Neuron(total), acknowledged=True)
        lines = plan_wallet(evolve(found, account=rich), len(found.records))
        self.assertEqual({one.charge.id for one in found.records}, set(charge_ids(lines)))
        self.assertEqual(len(lines), len({line.nonce for line in lines}))

    @given(queues())
    def test_signed_before_fresh(self, found: WalletQueue) -> None:
        """K7: nothing new goes out before everything that is signed."""
        fresh = [line.fresh for line in plan_wallet(found, 9)]
        self.assertEqual(sorted(fresh), fresh)


class PlanTests(SynchronousTestCase):
    """The next batch."""

    def test_order(self) -> None:
        """Wallets as given, each by rising nonce of its own."""
        other = Address("0x" + "33" * 20)
        first = queue(account(9), record("a", 1), record("b", 1), last_nonce=8)
        second = queue(account(9, wallet=other), record("c", 1))
        lines = plan([first, second], 50)
        self.assertEqual([("a", 9, True), ("b", 10, True), ("c", 1, True)], shape(lines))
        self.assertEqual(("a", "b", "c"), charge_ids(lines))

    @given(st.lists(queues(), max_size=4), st.integers(1, 8))
    def test_room(self, found: list[WalletQueue], batch_max: int) -> None:
        """A batch is the wallets' lines one behind the other, cut at its size."""
        everything = [line for one in found for line in plan_wallet(one, 99)]
        self.assertEqual(tuple(everything[:batch_max]), plan(found, batch_max))

    def test_nothing(self) -> None:
        """Nothing to do is an empty plan."""
        self.assertEqual((), plan([], 50))
        self.assertEqual((), plan([queue(account(9))], 50))


FEE = 100
SENT = Signed(seal(7, FEE))


def event(status: int = SUCCESS, paid: int | None = FEE) -> Settlement:
    """The contract's word on nonce 7."""
    return Settlement(
        user=USER,
        provider=PROVIDER,
        fee=Neuron(FEE),
        usage_hash="0xab",
        nonce=Nonce(7),
        status=status,
        paid=None if paid is None else Neuron(paid),
        transaction="0x77",
        block=12,
        log_index=0,
        timestamp=UnixSeconds(4_000),
    )


EVENTS = (
    None,
    event(),
    event(SUCCESS, None),
    event(INSUFFICIENT_BALANCE, 0),
    event(INSUFFICIENT_BALANCE, 40),
    event(INSUFFICIENT_BALANCE, FEE),
    event(INSUFFICIENT_BALANCE, None),
    event(9, 40),
)
REFUSALS = (None, 0, 1, 2, 3, 4, 5, 6)


def every_evidence() -> list[Evidence]:
    """Every combination there is, impossible ones among them."""
    switches = product((False, True), repeat=5)
    return [
        Evidence(
            record=ChargeRecord(charge("c", FEE), SENT),
            settled=settled,
            last_nonce=Nonce(last),
            refusal=refusal,
            signer_is_ours=ours,
            domain_is_ours=domain,
            refused_alone=alone,
            verifies_locally=verifies,
            nonce_proven_lost=lost,
        )
        for settled, last, refusal, (ours, domain, alone, verifies, lost) in product(
            EVENTS, (6, 7, 8), REFUSALS, list(switches)
        )
    ]


def evidence(
    settled: Settlement | None = None, *, last_nonce: int = 6, refusal: int | None = None
) -> Evidence:
    """Of a signed voucher with nonce 7."""
    return Evidence(
        record=ChargeRecord(charge("c", FEE), SENT),
        settled=settled,
        last_nonce=Nonce(last_nonce),
        refusal=refusal,
    )


class ResolveTests(SynchronousTestCase):
    """design.md §4.6, sentence by sentence."""

    def state(self, outcome: Outcome) -> ChargeState:
        """The state a voucher was resolved to."""
        assert isinstance(outcome, Resolved), outcome
        return outcome.record.state

    def test_total(self) -> None:
        """Every combination has an outcome; a promise is kept or voided by proof alone."""
        for one in every_evidence():
            match resolve(one, NOW):
                case Resolved(after, debt):
                    self.assertEqual(one.record.charge, after.charge)
                    if isinstance(after.state, Open):
                        self.assertTrue(one.nonce_proven_lost and one.last_nonce >= 7)
                        self.assertIsNone(one.settled)
                    else:
                        self.assertEqual(one.record.seal, after.seal)
                    self.assertEqual(isinstance(after.state, Partial), debt is not None)
                case StillOwed(same) | Unproven(same):
                    self.assertEqual(one.record, same)
                    self.assertIsNone(one.settled)
                case SettlerFault(reason):
                    self.assertTrue(reason)
                    self.assertIsNone(one.settled)

    def test_event_decides(self) -> None:
        """S4, S5: beside an event no other evidence changes anything."""
        for one in every_evidence():
            if one.settled is not None:
                alone = evidence(one.settled)
                expected = resolve(evolve(alone, record=one.record), NOW)
                self.assertEqual(expected, resolve(one, NOW))

    def test_no_money_without_event(self) -> None:
        """Whatever a status says, without an event nothing was paid."""
        for one in every_evidence():
            outcome = resolve(one, NOW)
            if one.settled is None and isinstance(outcome, Resolved):
                self.assertNotIsInstance(outcome.record.state, Paid | Partial)

    def test_paid(self) -> None:
        """Success is the whole fee, whether or not the contract says how much moved."""
        for paid in (FEE, None):
            after = self.state(resolve(evidence(event(SUCCESS, paid)), NOW))
            self.assertEqual(Paid(seal=seal(7, FEE), transaction="0x77", block=12), after)

    def test_partial(self) -> None:
        """K4: what was not paid lives on as a debt, to the neuron."""
        for paid in (0, 40, FEE - 1):
            outcome = resolve(evidence(event(INSUFFICIENT_BALANCE, paid)), NOW)
            assert isinstance(outcome, Resolved) and outcome.debt is not None
            state = self.state(outcome)
            assert isinstance(state, Partial)
            self.assertEqual((paid, FEE - paid), (state.paid, state.owed))
            self.assertEqual(("c:debt:1", FEE - paid), (state.debt, outcome.debt.amount))
            self.assertEqual("c:debt:1", outcome.debt.id)
            l12_fair(state.paid, state.seal.fee)

    def test_unclear_event(self) -> None:
        """D7: an amount that nobody knows, or that cannot be, is for a human."""
        for odd in (
            event(INSUFFICIENT_BALANCE, None),
            event(INSUFFICIENT_BALANCE, FEE),
            event(INSUFFICIENT_BALANCE, FEE + 1),
            event(9, None),
        ):
            state = self.state(resolve(evidence(odd), NOW))
            assert isinstance(state, DeadLettered)
            self.assertEqual(
                f"settled with status {odd.status}, paid {odd.paid} of 100", state.reason
            )

    def test_another_voucher(self) -> None:
        """Our nonce with another fee or hash: somebody else signs with our key."""
        for other in (
            evolve(event(), fee=Neuron(FEE + 1)),
            evolve(event(), usage_hash="0xee"),
        ):
            why = self.assertRaises(BrokenLaw, resolve, evidence(other), NOW)
            self.assertEqual("L5", why.law)

    def test_never_signed(self) -> None:
        """What is in a batch is signed: nothing else can have been sent."""
        for odd in (Open(), Parked(seal(7, FEE)), DeadLettered(seal=seal(7, FEE), reason="odd")):
            unsigned = evolve(evidence(), record=ChargeRecord(charge("c", FEE), odd))
            self.assertEqual("L5", self.assertRaises(BrokenLaw, resolve, unsigned, NOW).law)

    def test_nonce_used(self) -> None:
        """Used, with no event known: nothing changes before it is proven lost; then it opens."""
        for last_nonce in (7, 8):
            one = evidence(last_nonce=last_nonce, refusal=INVALID_NONCE)
            self.assertEqual(Unproven(one.record), resolve(one, NOW))
            lost = resolve(evolve(one, nonce_proven_lost=True), NOW)
            self.assertEqual(Resolved(evolve(record("c", FEE), voided=True)), lost)

    def test_lost_twice(self) -> None:
        """A second nonce of one charge that is lost is for a human."""
        one = evolve(evidence(last_nonce=7), nonce_proven_lost=True)
        one = evolve(one, record=evolve(one.record, voided=True))
        state = self.state(resolve(one, NOW))
        assert isinstance(state, DeadLettered)
        self.assertIn("a second time", state.reason)

    def test_proof_without_use(self) -> None:
        """A nonce that is still free is never lost, whatever was proven."""
        one = evolve(evidence(), nonce_proven_lost=True)
        self.assertIsInstance(resolve(one, NOW), StillOwed)

    def test_parked(self) -> None:
        """S6: refused for want of an acknowledgement is held, not dropped."""
        after = self.state(resolve(evidence(refusal=NOT_ACKNOWLEDGED), NOW))
        self.assertEqual(Parked(seal(7, FEE)), after)

    def test_signer_changed(self) -> None:
        """The provider's record names another key: the settler stops, vouchers stay signed."""
        for refusal in (INVALID_SIGNATURE, PROVIDER_MISMATCH):
            one = evolve(evidence(refusal=refusal), signer_is_ours=False)
            expected = SettlerFault("the provider's registered signer is not this daemon's key")
            self.assertEqual(expected, resolve(one, NOW))

    def test_wrong_sender(self) -> None:
        """A good signature that the contract takes from nobody like us: our settings are wrong."""
        expected = SettlerFault("the contract does not take vouchers from this sender")
        self.assertEqual(expected, resolve(evidence(refusal=PROVIDER_MISMATCH), NOW))

    def test_bad_voucher(self) -> None:
        """Refused alone although our key is registered: dead-lettered alone, with its reason."""
        bad = evidence(refusal=INVALID_SIGNATURE)
        for one in (bad, evolve(bad, verifies_locally=False)):
            state = self.state(resolve(one, NOW))
            self.assertEqual(DeadLettered(seal=seal(7, FEE), reason="refused with status 5"), state)

    def test_bad_signature_for_all(self) -> None:
        """What is refused of everybody, or for another domain, is our fault, and no dead letter."""
        one = evidence(refusal=INVALID_SIGNATURE)
        for wrong in (evolve(one, domain_is_ours=False), evolve(one, refused_alone=False)):
            self.assertIsInstance(resolve(wrong, NOW), SettlerFault)
        assert isinstance(self.state(resolve(one, NOW)), DeadLettered)

    def test_still_owed(self) -> None:
        """S5: no event and a free nonce, whatever a replay says of another state."""
        for refusal in (None, SUCCESS, INSUFFICIENT_BALANCE, INVALID_NONCE, 6):
            one = evidence(refusal=refusal)
            expected = StillOwed(one.record, f"no event; replay says {refusal}")
            self.assertEqual(expected, resolve(one, NOW))


class DebtOfTests(SynchronousTestCase):
    """The charge that collects a rest."""

    @given(charges(), st.integers(1, 2**100), moments())
    def test_debt(self, owed_of: Charge, owed: int, now: UnixSeconds) -> None:
        """wire.md §2: the original period, no units, and the next number."""
        debt = debt_of(owed_of, Neuron(owed), now)
        self.assertEqual(
            (owed_of.period_start, owed_of.period_end, 0, owed, ChargeKind.DEBT, now),
            (
                debt.period_start,
                debt.period_end,
                debt.units,
                debt.amount,
                debt.kind,
                debt.created_at,
            ),
        )
        self.assertEqual(
            (owed_of.sandbox, owed_of.owner, owed_of.provider),
            (debt.sandbox, debt.owner, debt.provider),
        )
        again = debt_of(debt, Neuron(1), now)
        ids = [owed_of.id, debt.id, again.id]
        numbers = [int(id_.partition(":debt:")[2] or 0) for id_ in ids]
        self.assertEqual([1, 1], [b - a for a, b in pairwise(numbers)])
        self.assertEqual(1, len({id_.partition(":debt:")[0] for id_ in ids}))


class SealedTests(SynchronousTestCase):
    """Signing."""

    def test_sealed(self) -> None:
        """An open charge is signed; a parked one under its old promise only."""
        self.assertEqual(SENT, sealed(record("c", FEE), seal(7, FEE)).state)
        parked = ChargeRecord(charge("c", FEE), Parked(seal(7, FEE)))
        self.assertEqual(SENT, sealed(parked, seal(7, FEE)).state)
        self.assertRaises(BrokenLaw, sealed, parked, seal(8, FEE))

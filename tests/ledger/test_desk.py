"""Tests for C{sandbox_billing.ledger.desk}: what operators see, and what they may decide."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BrokenLaw, Refused
from sandbox_billing.ledger.account import Account, Settlement
from sandbox_billing.ledger.backlog import Claim
from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.causes import CAUSES, cause_of
from sandbox_billing.ledger.desk import (
    WalletLine,
    lines,
    plan_drop,
    plan_release,
    plan_retry,
)
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Address, BatchId, ChargeId, Nonce
from sandbox_billing.ledger.laws import l6_books
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.proof import Contradiction, WalletHistory, find
from sandbox_billing.ledger.settlement import Evidence, Resolved, resolve
from sandbox_billing.ledger.voucher import (
    ChargeKind,
    ChargeRecord,
    DeadLettered,
    Forgiven,
    Open,
    Parked,
    Partial,
    Signed,
)
from tests.ledger.test_voucher import offers
from tests.strategies import charge_records


NOW = UnixSeconds(1_750_000_000)
WALLET = Address("0x" + "a1" * 20)
BATCH = BatchId("batch-1")

RECORDS = charge_records()
SEALED = offers().map(lambda offer: ChargeRecord(offer[0], Signed(offer[1])))
DEAD = offers().map(
    lambda offer: ChargeRecord(offer[0], DeadLettered(seal=offer[1], reason="refused"))
)


def event(record: ChargeRecord, **changes: object) -> Settlement:
    """That a voucher was settled."""
    seal = record.seal
    assert seal is not None
    settled = Settlement(
        user=record.charge.owner,
        provider=record.charge.provider,
        fee=seal.fee,
        usage_hash=seal.usage_hash,
        nonce=seal.nonce,
        status=0,
        transaction="0x01",
        block=7,
        log_index=0,
        timestamp=NOW,
        paid=seal.fee,
    )
    return evolve(settled, **changes)


class CauseTests(SynchronousTestCase):
    """Reasons as those who write them spell them."""

    def named(self, record: ChargeRecord) -> str:
        """The cause of a dead letter."""
        assert isinstance(record.state, DeadLettered)
        return cause_of(record.state.reason).name

    @given(SEALED)
    def test_refused(self, record: ChargeRecord) -> None:
        """The contract's own refusal, as C{resolve} writes it."""
        assert record.seal is not None
        proof = Evidence(
            record=record, settled=None, last_nonce=Nonce(record.seal.nonce - 1), refusal=5
        )
        found = resolve(proof, NOW)
        assert isinstance(found, Resolved)
        self.assertEqual("refused", self.named(found.record))

    @given(SEALED)
    def test_amount_unknown(self, record: ChargeRecord) -> None:
        """An event that does not say what was paid."""
        assert record.seal is not None
        settled = event(record, status=1, paid=None)
        found = resolve(Evidence(record=record, settled=settled, last_nonce=record.seal.nonce), NOW)
        assert isinstance(found, Resolved)
        self.assertEqual("amount unknown", self.named(found.record))

    @given(SEALED)
    def test_another_voucher(self, record: ChargeRecord) -> None:
        """Somebody signs with our key: never offered again."""
        assert record.seal is not None
        settled = event(record, usage_hash="0x" + "99" * 32)
        proof = Evidence(record=record, settled=settled, last_nonce=record.seal.nonce)
        why = str(self.assertRaises(BrokenLaw, resolve, proof, NOW))
        cause = cause_of(why)
        self.assertEqual(("another voucher", False), (cause.name, cause.retry))

    @given(st.integers(1, 10**30), st.integers(1, 10**9))
    def test_money_missing(self, amount: int, nonce: int) -> None:
        """As the proof says it."""
        history = WalletHistory(
            deposited=Neuron(amount), withdrawn=Neuron(0), settlements=(), sources=1
        )
        account = Account(
            wallet=WALLET,
            balance=Neuron(0),
            pending_refund=Neuron(0),
            refund_unlock_at=UnixSeconds(0),
            acknowledged=True,
            last_nonce=Nonce(nonce),
            block=7,
        )
        found = find(Nonce(nonce), history, account)
        assert isinstance(found, Contradiction)
        self.assertEqual("money missing", cause_of(found.reason).name)
        too_many = find(
            Nonce(nonce),
            evolve(history, deposited=Neuron(0)),
            evolve(account, balance=Neuron(amount)),
        )
        assert isinstance(too_many, Contradiction)
        self.assertEqual("money missing", cause_of(too_many.reason).name)

    def test_words(self) -> None:
        """Those of services and adapters; whatever is unknown has a row, too."""
        for reason, name in {
            "1 vouchers make the settle call revert: NotYours()": "reverts",
            "its nonce is used and no event says for what": "unproven",
            "nonce 3 is used, our own transaction settled it by replay, and": "no event",
            "imported: box:1 is for the same use: only one may be paid": "imported twice",
            "imported: box:1 has its nonce 7": "imported twice",
            "imported: its use was settled under nonce 7, 0x": "imported settled",
            "imported: its use was settled for another fee under": "imported settled",
            "imported: its nonce 7 was settled for another voucher": "imported settled",
            "imported: it is owed by nobody: the Go system": "imported nobody's",
            "imported: the Go system set it aside": "imported",
            "L6: something": "other",
            "": "other",
        }.items():
            self.assertEqual(name, cause_of(reason).name, reason)
        self.assertEqual(len(CAUSES), len({cause.name for cause in CAUSES}))


class RetryTests(SynchronousTestCase):
    """Offering a dead letter again."""

    @given(DEAD, st.booleans())
    def test_told(self, record: ChargeRecord, used: bool) -> None:
        """It is told whether the same voucher goes out, or the chain is asked."""
        assert record.seal is not None
        record = ChargeRecord(record.charge, DeadLettered(seal=record.seal, reason="refused"))
        nonce = Nonce(record.seal.nonce - (not used))
        text = plan_retry(record, nonce, None)
        self.assertIn("is used on chain" if used else "is unused on chain", text)

    @given(RECORDS)
    def test_others(self, record: ChargeRecord) -> None:
        """What is no dead letter, or was never signed, is refused; a batch is waited for."""
        if not isinstance(record.state, DeadLettered) or record.seal is None:
            self.assertRaises(Refused, plan_retry, record, Nonce(0), None)
        else:
            self.assertRaises(Refused, plan_retry, record, Nonce(0), BATCH)

    @given(DEAD)
    def test_hopeless(self, record: ChargeRecord) -> None:
        """Where another voucher was settled under its nonce it is never offered again."""
        state = DeadLettered(
            seal=record.seal, reason=f"L5: nonce 1 of {WALLET} settled for another voucher"
        )
        hopeless = ChargeRecord(record.charge, state)
        self.assertRaises(Refused, plan_retry, hopeless, Nonce(10**9), None)

    @given(DEAD)
    def test_same_promise(self, record: ChargeRecord) -> None:
        """Nonce, fee and hash are those of before (L5), and no column loses it (L6)."""
        assert record.seal is not None
        again = record.become(Signed(record.seal))
        self.assertEqual(record.seal, again.seal)
        if record.charge.kind is not ChargeKind.DEBT:
            before, after = l6_books([record]), l6_books([again])
            self.assertEqual(before.dead, after.pending)
        self.assertRaises(
            BrokenLaw, record.become, Signed(evolve(record.seal, nonce=Nonce(10**40)))
        )


class DropTests(SynchronousTestCase):
    """Writing a charge off."""

    @given(RECORDS)
    def test_only_what_may_end(self, record: ChargeRecord) -> None:
        """What the plan allows the ledger allows, and nothing else."""
        word = Forgiven(seal=record.seal, reason="x", by="olga", at=NOW)
        try:
            found = plan_drop(record, Nonce(10**9), None)
        except Refused:
            self.assertRaises(BrokenLaw, record.become, word)
            return
        if found is None:
            self.assertIsInstance(record.state, Forgiven)
        else:
            self.assertEqual(word, record.become(word).state)

    @given(DEAD)
    def test_collectable(self, record: ChargeRecord) -> None:
        """A signed one with an unused nonce is never dropped silently (L5), nor one that paid."""
        assert record.seal is not None
        free = plan_drop(record, Nonce(record.seal.nonce - 1), None)
        paid = plan_drop(record, record.seal.nonce, event(record))
        used = plan_drop(record, record.seal.nonce, None)
        other = plan_drop(record, record.seal.nonce, event(record, usage_hash="0x00"))
        assert free and paid and used and other
        self.assertIn("can still collect it", free.text)
        self.assertIn("stays paid", paid.text)
        self.assertEqual(
            (True, True, False, False),
            (free.collectable, paid.collectable, used.collectable, other.collectable),
        )


class ReleaseTests(SynchronousTestCase):
    """Lifting a quarantine."""

    def test_flags(self) -> None:
        """Nothing to do without one; another flag, and books behind the chain, stay."""
        self.assertIsNone(plan_release(WALLET, None, False, ()))
        self.assertRaises(Refused, plan_release, WALLET, "insufficient_balance", False, ())
        self.assertRaises(Refused, plan_release, WALLET, QUARANTINED, True, ())
        self.assertEqual([], plan_release(WALLET, QUARANTINED, False, ()))

    def test_dead_letters(self) -> None:
        """It is told of those that stay: their nonces are lost by what comes after."""
        names = [ChargeId(f"sb-{n}:0") for n in range(5)]
        (text,) = plan_release(WALLET, QUARANTINED, False, names) or ()
        self.assertIn("5 dead letters", text)


class LinesTests(SynchronousTestCase):
    """The queue by wallets."""

    @given(st.lists(RECORDS, max_size=12), st.booleans())
    def test_nothing_disappears(self, records: list[ChargeRecord], flying: bool) -> None:
        """Each charge that is not final is in one column of its wallet, with its amount."""
        live = [r for r in records if isinstance(r.state, Open | Signed | Parked)]
        dead = [r for r in records if isinstance(r.state, DeadLettered)]
        batch = Batch(
            id=BATCH,
            wallets=tuple({r.charge.owner: None for r in live}),
            charges=tuple(r.charge.id for r in live if isinstance(r.state, Signed)),
            created_at=NOW,
        )
        claims = [
            Claim(record=r, account=None, blocked=None, in_flight=flying)
            for r in [*live, *(r for r in records if isinstance(r.state, Partial))]
        ]
        found = lines(claims, [batch] if flying else [], dead, [WALLET])
        self.assertEqual(sum(r.charge.amount for r in [*live, *dead]), self._sum(found, "amount"))
        self.assertEqual(len(live) + len(dead), self._sum(found, "count"))
        signed = sum(1 for r in live if isinstance(r.state, Signed))
        self.assertEqual(signed if flying else 0, sum(one.in_flight.count for one in found))
        (quarantined,) = [one for one in found if one.wallet == WALLET]
        if WALLET not in {r.charge.owner for r in live}:
            self.assertEqual(QUARANTINED, quarantined.blocked)
        ages = [one.oldest for one in found if one.oldest is not None]
        self.assertEqual(sorted(ages), ages)

    def _sum(self, found: tuple[WalletLine, ...], name: str) -> int:
        columns = ("open", "debt", "signed", "in_flight", "parked", "dead")
        return sum(getattr(getattr(one, column), name) for one in found for column in columns)

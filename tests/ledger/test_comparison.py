"""
Tests of C{sandbox_billing.ledger.comparison}, C{balancing} and C{listing}.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve, frozen
from hypothesis import assume, event, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger.balancing import compare
from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.comparison import (
    Accept,
    Advance,
    Difference,
    Enter,
    Expose,
    Mirror,
    Outside,
    RaiseNonce,
    Recount,
    Release,
    Remember,
    Restore,
    Settle,
    Store,
    Strike,
)
from sandbox_billing.ledger.dead_letter import DeadLetter
from sandbox_billing.ledger.hold import QUARANTINED, Intent
from sandbox_billing.ledger.identity import BatchId, ChargeId, Nonce, Reference, SandboxId
from sandbox_billing.ledger.laws import l2_disjoint, l6_books, standing
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.proofs import advanced, settled_as
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.ledger.shelves import Entry, Index, entries, exposures
from sandbox_billing.ledger.voucher import ChargeRecord, DeadLettered, Merged, Open, Paid
from tests.ledger.books import (
    ALICE,
    PROVIDER,
    SANDBOX,
    T0,
    Story,
    emptied,
    hashed,
    rolled_back,
    stories,
    without,
)


@frozen(kw_only=True)
class After:
    """What repairs make of charges, sessions and nonces."""

    charges: dict[ChargeId, ChargeRecord]
    sessions: dict[SandboxId, Session]
    nonce: int


def repaired(store: Store, differences: Iterable[Difference], now: UnixSeconds) -> After:
    """A model of what is carried out."""
    charges, sessions = dict(store.shelf.charges), dict(store.shelf.sessions)
    nonce: int = store.nonces.get(ALICE, Nonce(0))
    for difference in differences:
        match difference.repair:
            case Settle(before=before, event=settled, parts=parts):
                outcome = settled_as(before, settled, now)
                assert outcome is not None
                charges[before.charge.id] = outcome[0]
                for part in parts:
                    charges[part.charge.id] = part.become(Merged(before.charge.id))
            case Advance(sandbox=sandbox, until=until):
                sessions[sandbox] = advanced(sessions[sandbox], until)
            case Restore(session=session):
                sessions[session.sandbox] = session
            case RaiseNonce(to=to):
                nonce = to
    return After(charges=charges, sessions=sessions, nonce=nonce)


def look(store: Store, outside: Outside, story: Story) -> tuple[Difference, ...]:
    """Compare."""
    return compare(store, outside, hashed, story.now)


def kinds(differences: Iterable[Difference]) -> set[str]:
    """Their names."""
    return {difference.kind for difference in differences}


class ComparisonTests(SynchronousTestCase):
    """Whatever was lost, nothing is charged twice, and books in order are left alone."""

    @given(stories(), st.data())
    def test_in_order(self, story: Story, data: st.DataObject) -> None:
        """Books of any moment, against the chain of that moment, differ in nothing."""
        settled = len(story.settled)
        charged = data.draw(st.integers(sum(story.settled), len(story.steps)))
        self.assertEqual(look(story.store(charged, settled), story.outside(), story), ())

    @given(rolled_back())
    def test_rolled_back(self, drawn: tuple[Story, Store]) -> None:
        """
        After any loss each settled voucher is found again, and no second can be charged twice.
        """
        story, store = drawn
        differences = look(store, story.outside(), story)
        after = repaired(store, differences, story.now)
        event(f"{len(kinds(differences))} kinds")
        self.assertEqual(after.nonce, len(story.settled))
        l2_disjoint(standing(after.charges.values()))
        l6_books(after.charges.values())
        last = max((c.period_end for c in standing(after.charges.values())), default=0)
        self.assertGreaterEqual(after.sessions[SANDBOX].charged_until, last)
        if "forgotten" in kinds(differences):
            # A voucher over a period that the store has in other pieces.
            self.assertEqual(after.sessions[SANDBOX].charged_until, story.now)
            unsure = any(isinstance(r.state, Open) for r in after.charges.values())
            accepted = any(isinstance(d.repair, Accept) for d in differences)
            self.assertNotEqual(unsure, accepted)
            return
        self._all_found(story, after)

    def _all_found(self, story: Story, after: After) -> None:
        paid = {
            record.state.seal.usage_hash
            for record in after.charges.values()
            if isinstance(record.state, Paid)
        }
        self.assertEqual(paid, {settled.usage_hash for settled in story.events()})
        taken = list(standing(after.charges.values()))
        ends = sum(story.settled)
        covered = sum(story.steps[:ends])
        paid_seconds = sum(
            r.charge.units for r in after.charges.values() if isinstance(r.state, Paid)
        )
        self.assertEqual(paid_seconds, covered)
        self.assertGreaterEqual(sum(c.units for c in taken), covered)

    @given(rolled_back())
    def test_session_lost(self, drawn: tuple[Story, Store]) -> None:
        """A session that was lost and not ended goes on where it was charged to."""
        story, store = drawn
        assume(story.store(len(story.steps), len(story.settled)).shelf == store.shelf)
        lost = without(store, [SANDBOX])
        differences = look(lost, story.outside(), story)
        self.assertEqual(kinds(differences), {"unmetered"})
        after = repaired(lost, differences, story.now)
        before = store.shelf.sessions[SANDBOX]
        self.assertEqual(after.sessions[SANDBOX].charged_until, before.charged_until)
        self.assertEqual(after.sessions[SANDBOX].rate, before.rate)

    @given(stories())
    def test_everything_lost(self, story: Story) -> None:
        """With nothing left, what runs is metered from now on, above all nonces."""
        store = emptied(story.store(0, 0))
        differences = look(store, story.outside(), story)
        expected = {"unmetered", "wallet"} | ({"forgotten"} if story.settled else set())
        self.assertEqual(kinds(differences), expected)
        after = repaired(store, differences, story.now)
        self.assertEqual(after.sessions[SANDBOX].charged_until, story.now)
        accepted = [d.repair for d in differences if isinstance(d.repair, Accept)]
        self.assertEqual([a.upto for a in accepted], [len(story.settled)] if story.settled else [])
        told = evolve(store, baselines={ALICE: Nonce(len(story.settled))})
        self.assertNotIn("forgotten", kinds(look(told, story.outside(), story)))

    @given(rolled_back(), st.data())
    def test_listings(self, drawn: tuple[Story, Store], data: st.DataObject) -> None:
        """Lines and fields that were lost or invented are put right, and nothing else is."""
        story, store = drawn
        outside = evolve(
            story.outside(),
            settlements=story.events()[: store.nonces[ALICE]],
            nonces={ALICE: store.nonces[ALICE]},
        )
        self.assertEqual(look(store, outside, story), ())
        every = sorted(store.listed, key=repr)
        lost = data.draw(st.sets(st.sampled_from(every)))
        invented = Entry(data.draw(st.sampled_from([Index.PENDING, Index.DUE])), "", "nobody")
        fields = dict(store.exposure[ALICE])
        gone = data.draw(st.sampled_from(sorted(fields)))
        del fields[gone]
        fields["charge:nobody:1"] = "5"
        damaged = evolve(store, listed=(store.listed - lost) | {invented}, exposure={ALICE: fields})
        repairs = [d.repair for d in look(damaged, outside, story)]
        self.assertEqual({r.entry for r in repairs if isinstance(r, Enter)}, lost)
        self.assertEqual([r.entry for r in repairs if isinstance(r, Strike)], [invented])
        exposed = {r.field: r.value for r in repairs if isinstance(r, Expose)}
        self.assertEqual(exposed, {gone: store.exposure[ALICE][gone], "charge:nobody:1": None})

    def test_quarantine(self) -> None:
        """A wallet that was behind is released when it is not any more, and only then."""
        story = Story(rate=60, steps=(60, 60), settled=(1, 1))
        letter = DeadLetter(
            kind="wallet", name=ALICE.hex, reason="behind the chain: 2", since=UnixSeconds(1)
        )
        store = evolve(story.store(1, 1), letters=(letter,), blocked={ALICE: QUARANTINED})
        differences = look(store, story.outside(), story)
        self.assertEqual(differences[-1].repair, Release(wallet=ALICE, letter=letter, lift=True))
        # A dead letter is quarantined for itself.
        dead = ChargeRecord(
            evolve(story.charge(0), id=ChargeId("dead"), period_start=UnixSeconds(T0 - 60)),
            DeadLettered(seal=None, reason="strange"),
        )
        shelf = evolve(store.shelf, charges={**store.shelf.charges, dead.charge.id: dead})
        differences = look(evolve(store, shelf=shelf), story.outside(), story)
        self.assertEqual(differences[-1].repair, Release(wallet=ALICE, letter=letter, lift=False))
        # Another voucher than ours under a nonce of ours: that is for a human.
        strange = evolve(story.events()[0], usage_hash="0x" + "99" * 32)
        outside = evolve(story.outside(), settlements=(strange, story.events()[1]))
        differences = look(store, outside, story)
        self.assertIn("contradiction", kinds(differences))
        self.assertIsNone(differences[-1].repair)

    def test_unsure(self) -> None:
        """While open charges may be among forgotten vouchers, nothing is accepted."""
        story = Story(rate=60, steps=(60, 60), settled=(2,))
        store = story.store(1, 0)
        strange = evolve(story.events()[0], usage_hash="0x" + "99" * 32)
        outside = evolve(story.outside(), settlements=(strange,))
        differences = look(store, outside, story)
        (forgotten,) = (d for d in differences if d.kind == "forgotten")
        self.assertIsNone(forgotten.repair)
        self.assertIn("1 open charges", forgotten.would)
        # Nor is the daemon let sign anything: the wallet stays behind the chain.
        self.assertIn("nonce", kinds(differences))
        self.assertEqual(repaired(store, differences, story.now).nonce, 0)

    def test_after_the_loss(self) -> None:
        """What ran long after a forgotten voucher was mined cannot be in it."""
        story = Story(rate=60, steps=(60, 600, 60), settled=())
        early = evolve(
            Story(rate=60, steps=(60,), settled=(1,)).events()[0], usage_hash="0x" + "99" * 32
        )
        store = story.store(3, 0)
        late = {c: r for c, r in store.shelf.charges.items() if r.charge.period_start > T0 + 60}
        shelf = evolve(store.shelf, charges=late)
        store = evolve(store, shelf=shelf, exposure=exposures(shelf))
        outside = evolve(story.outside(), settlements=(early,), nonces={ALICE: Nonce(1)})
        differences = look(store, outside, story)
        (accepted,) = (d.repair for d in differences if d.kind == "forgotten")
        self.assertIsInstance(accepted, Accept)
        self.assertNotIn("charged", kinds(differences))

    def test_debt(self) -> None:
        """A voucher that was paid in part, and the one that collected the rest: both final."""
        story = Story(rate=60, steps=(60,), settled=(1,))
        record = ChargeRecord(story.charge(0))
        first = evolve(story.events()[0], status=1, paid=Neuron(20))
        outcome = settled_as(record, first, story.now)
        assert outcome is not None and outcome[1] is not None
        rest = outcome[1]
        second = evolve(
            first,
            status=0,
            nonce=Nonce(2),
            fee=rest.amount,
            paid=rest.amount,
            usage_hash=hashed(rest),
            block=12,
        )
        outside = evolve(story.outside(), settlements=(first, second), nonces={ALICE: Nonce(2)})
        store = story.store(1, 0)
        differences = look(store, outside, story)
        self.assertNotIn("forgotten", kinds(differences))
        after = repaired(store, differences, story.now)
        books = l6_books(after.charges.values())
        self.assertEqual((books.settled, books.debt, books.pending), (60, 0, 0))

    def test_batch(self) -> None:
        """A batch that names what is gone is told."""
        story = Story(rate=60, steps=(60,), settled=())
        store = story.store(1, 0)
        batch = Batch(
            id=BatchId("b"), wallets=(), charges=(ChargeId("gone"),), created_at=UnixSeconds(1)
        )
        shelf = evolve(store.shelf, batches={batch.id: batch})
        listed = store.listed | {Entry(Index.BATCHES, "", "b")}
        (found,) = look(evolve(store, shelf=shelf, listed=listed), story.outside(), story)
        self.assertEqual((found.kind, found.repair), ("batch", None))

    def test_cut(self) -> None:
        """A charge that was cut before it was signed is no match for its part's event (D2)."""
        story = Story(rate=60, steps=(60,), settled=(1,))
        (whole,) = story.events()
        part = evolve(whole, fee=Neuron(whole.fee - 1), paid=Neuron(whole.fee - 1))
        outside = evolve(story.outside(), settlements=(part,))
        found = [d for d in look(story.store(1, 0), outside, story) if d.kind == "unsettled"]
        self.assertEqual([d.repair for d in found], [None])

    def test_counted(self) -> None:
        """Totals are what the entries add up to (Q-8); an event that is not stored is added."""
        story = Story(rate=60, steps=(60,), settled=(1,))
        store = story.store(1, 1)
        wrong = evolve(store, totals=evolve(store.totals, vouchers=9), history=frozenset())
        repairs = [d.repair for d in look(wrong, story.outside(), story)]
        self.assertEqual(
            repairs,
            [Remember(event=story.events()[0]), Recount(vouchers=1, fees=story.events()[0].fee)],
        )

    def test_strangers(self) -> None:
        """What runs for nobody we know is told and not billed; an end is the daemon's."""
        story = Story(rate=60, steps=(60,), settled=())
        outside = evolve(story.outside(), customers=frozenset())
        (found,) = look(emptied(story.store(0, 0)), outside, story)
        self.assertEqual((found.kind, found.repair), ("unmetered", None))
        (found,) = look(story.store(1, 0), story.outside(running=False), story)
        self.assertEqual((found.kind, found.repair), ("not running", None))

    def test_introduced_once(self) -> None:
        """A wallet becomes known once, whatever it runs."""
        story = Story(rate=60, steps=(60,), settled=())
        (row,) = story.outside().rows
        other = evolve(row, sandbox=SandboxId("sb-2"))
        price = story.outside().prices[SANDBOX]
        outside = evolve(
            story.outside(), rows=(row, other), prices={SANDBOX: price, other.sandbox: price}
        )
        found = look(emptied(story.store(0, 0)), outside, story)
        self.assertEqual(sum(isinstance(d.repair, Mirror) for d in found), 1)
        self.assertEqual(sum(isinstance(d.repair, Restore) for d in found), 2)

    def test_unreadable(self) -> None:
        """What cannot be read is told, and its lines are left where they are."""
        story = Story(rate=60, steps=(60,), settled=())
        store = story.store(1, 0)
        (charge,) = store.shelf.charges
        damaged = evolve(
            store, shelf=evolve(store.shelf, charges={}), unreadable=(f"charge {charge}",)
        )
        self.assertEqual(kinds(look(damaged, story.outside(), story)), {"damaged"})

    def test_unreadable_session(self) -> None:
        """What runs while its session or record cannot be read is not opened a second time."""
        story = Story(rate=60, steps=(60,), settled=())
        store = without(story.store(1, 0), [SANDBOX])
        for kind in ("compute", "sandbox"):
            damaged = evolve(store, unreadable=(f"{kind} {SANDBOX}",))
            self.assertEqual(kinds(look(damaged, story.outside(), story)), {"damaged"})

    def test_unreadable_nonce(self) -> None:
        """A last nonce that cannot be read is as good as none: it goes on above the chain's."""
        story = Story(rate=60, steps=(60,), settled=(1,))
        damaged = evolve(story.store(1, 1), nonces={}, unreadable=(f"nonce {ALICE}",))
        (found,) = look(damaged, story.outside(), story)
        self.assertEqual(found.repair, RaiseNonce(wallet=ALICE, stored=None, to=Nonce(1)))

    def test_unreadable_exposure(self) -> None:
        """A lost session of which the exposure is junk goes on, at today's rate."""
        story = Story(rate=60, steps=(60,), settled=())
        store = story.store(1, 0)
        junk = {**store.exposure[ALICE], f"session:{SANDBOX}": "junk"}
        damaged = evolve(without(store, [SANDBOX]), exposure={ALICE: junk})
        differences = look(damaged, story.outside(), story)
        after = repaired(damaged, differences, story.now)
        self.assertEqual(after.sessions[SANDBOX].charged_until, T0 + 60)
        self.assertEqual(after.sessions[SANDBOX].rate, 60)

    def test_under_way(self) -> None:
        """What an intent explains is not unmetered: its session is on its way."""
        story = Story(rate=60, steps=(60,), settled=())
        store = emptied(story.store(0, 0))
        self.assertIn("unmetered", kinds(look(store, story.outside(), story)))
        intent = Intent(
            reference=Reference("ref-1"),
            action="start",
            owner=ALICE,
            provider=PROVIDER,
            sandbox=SANDBOX,
            hold=Neuron(5),
            create_fee=Neuron(0),
            rate=NeuronPerMinute(60),
            prices=Prices(),
            signer_version=1,
            auto_stop_minutes=None,
            created_at=story.now,
        )
        shelf = evolve(store.shelf, intents={intent.reference: intent})
        expected = evolve(store, shelf=shelf, listed=entries(shelf), exposure=exposures(shelf))
        self.assertEqual(look(expected, story.outside(), story), ())

    def test_transaction(self) -> None:
        """A transaction that nobody has a record of is told, for it may settle anything."""
        story = Story(rate=60, steps=(60,), settled=(1,))
        outside = evolve(story.outside(), unknown_nonce=7)
        (found,) = look(story.store(1, 1), outside, story)
        self.assertEqual((found.kind, found.subject), ("transaction", "account nonce 7"))

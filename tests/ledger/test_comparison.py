"""
Tests of C{sandbox_billing.ledger.comparison}, C{balancing} and C{listing}.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import evolve, frozen
from hypothesis import assume, event, given, settings
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
    Remembered,
    Restore,
    Settle,
    Store,
    Strike,
)
from sandbox_billing.ledger.dead_letter import DeadLetter
from sandbox_billing.ledger.hold import QUARANTINED, Intent
from sandbox_billing.ledger.identity import (
    BatchId,
    ChargeId,
    Nonce,
    Reference,
    SandboxId,
    compute_charge_id,
)
from sandbox_billing.ledger.laws import l2_disjoint, l6_books, standing
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.proofs import advanced, settled_as
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.ledger.reconciliation import REFERENCE_LABEL
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
            case Settle(before=before, event=settled, parts=parts, rest=rest):
                outcome = settled_as(before, settled, now)
                assert outcome is not None
                charges[before.charge.id] = outcome[0]
                for part in parts:
                    charges[part.charge.id] = part.become(Merged(before.charge.id))
                if rest is not None:
                    assert rest.id not in charges
                    charges[rest.id] = ChargeRecord(rest)
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


def carried(store: Store, differences: Iterable[Difference], now: UnixSeconds) -> Store:
    """What a rebuild that dies after some repairs leaves, as far as it says who owes what."""
    differences = tuple(differences)
    after = repaired(store, differences, now)
    records, baselines, accepted = dict(store.records), dict(store.baselines), dict(store.accepted)
    nonces, known = dict(store.nonces), set(store.known)
    for difference in differences:
        match difference.repair:
            case Accept(wallet=wallet, upto=upto, before=before):
                baselines[wallet], accepted[wallet] = upto, before
            case RaiseNonce(wallet=wallet, to=to):
                nonces[wallet] = to
            case Mirror(wallet=wallet):
                known.add(wallet)
            case Advance(sandbox=sandbox) | Restore(session=Session(sandbox=sandbox)):
                session = after.sessions[sandbox]
                records[sandbox] = Remembered(
                    owner=session.owner,
                    reference=session.reference,
                    charged_until=session.charged_until,
                )
    return evolve(
        store,
        shelf=evolve(store.shelf, charges=after.charges, sessions=after.sessions),
        records=records,
        nonces=nonces,
        known=frozenset(known),
        baselines=baselines,
        accepted=accepted,
    )


def recharged(store: Store, story: Story, steps: Sequence[int]) -> Store:
    """A store whose daemon went on after a loss, in periods of other lengths."""
    session = store.shelf.sessions[SANDBOX]
    again = Story(rate=story.rate, steps=tuple(steps), settled=())
    shift = session.charged_until - T0
    charges = dict(store.shelf.charges)
    for place in range(len(steps)):
        charge = again.charge(place)
        start = UnixSeconds(charge.period_start + shift)
        charge = evolve(
            charge,
            id=compute_charge_id(SANDBOX, start),
            period_start=start,
            period_end=UnixSeconds(charge.period_end + shift),
            created_at=UnixSeconds(charge.created_at + shift),
        )
        charges[charge.id] = ChargeRecord(charge)
    until = UnixSeconds(session.charged_until + sum(steps))
    shelf = evolve(
        store.shelf, charges=charges, sessions={SANDBOX: evolve(session, charged_until=until)}
    )
    (record,) = store.records.values()
    return evolve(
        store,
        shelf=shelf,
        records={SANDBOX: evolve(record, charged_until=until)},
        exposure=exposures(shelf),
        listed=entries(shelf) | {Entry(Index.ACCOUNTS, "", ALICE.hex)},
    )


def _relative(name: str) -> str:
    """A charge's name with its moments as seconds of the story."""
    return ":".join(str(int(p) - T0) if p.isdigit() else p for p in name.split(":"))


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

    @given(rolled_back(), st.integers(0, 30), st.integers(1, 10_000))
    def test_dies(self, drawn: tuple[Story, Store], repairs: int, later: int) -> None:
        """A rebuild that died after any repair and is run again charges nothing twice."""
        story, store = drawn
        # No hash is recognised: everything that was settled since is forgotten.
        known = store.nonces[ALICE]
        strange = tuple(
            e if e.nonce <= known else evolve(e, usage_hash="0x" + "99" * 32)
            for e in story.events()
        )
        outside = evolve(story.outside(), settlements=strange)
        mended = [d for d in look(store, outside, story) if d.repair is not None][:repairs]
        store = carried(store, mended, story.now)
        session = store.shelf.sessions[SANDBOX]
        last = max((e.timestamp for e in strange), default=0)
        if strange[known:] and store.nonces[ALICE] == len(strange):
            # The daemon may sign now.
            self.assertGreaterEqual(session.charged_until, last)
        now = UnixSeconds(story.now + later)
        store = carried(store, compare(store, outside, hashed, now), now)
        if strange[known:] and store.nonces[ALICE] == len(strange):
            self.assertGreaterEqual(store.shelf.sessions[SANDBOX].charged_until, last)
            self.assertNotIn("forgotten", kinds(compare(store, outside, hashed, now)))

    def test_accepted(self) -> None:
        """What is charged from before accepted vouchers were mined is pushed past them."""
        story = Story(rate=60, steps=(60, 60), settled=(1, 1))
        strange = evolve(story.events()[1], usage_hash="0x" + "99" * 32)
        outside = evolve(story.outside(), settlements=(story.events()[0], strange))
        store = evolve(
            story.store(1, 1),
            nonces={ALICE: Nonce(2)},
            baselines={ALICE: Nonce(2)},
            accepted={ALICE: UnixSeconds(T0 + 200)},
        )
        differences = look(store, outside, story)
        self.assertEqual(
            [d.repair for d in differences if d.kind == "charged"],
            [Advance(sandbox=SANDBOX, until=story.now)],
        )
        # So is a session that is opened again.
        lost = without(store, [SANDBOX])
        (restored,) = (d.repair for d in look(lost, outside, story) if d.kind == "unmetered")
        assert isinstance(restored, Restore)
        self.assertEqual(restored.session.charged_until, story.now)

    @settings(max_examples=300)
    @given(
        st.lists(st.integers(1, 1000), min_size=2, max_size=4),
        st.lists(st.integers(1, 5000), min_size=1, max_size=3),
        st.data(),
    )
    def test_went_on(self, before: list[int], steps: list[int], data: st.DataObject) -> None:
        """
        Where a daemon went on after a loss in other periods, nothing is signed while one of its
        open charges may hold a second that is paid.
        """
        story = Story(rate=60, steps=tuple(before), settled=(1,) * len(before))
        known = data.draw(st.integers(0, len(before) - 1))
        store = story.store(known, known)
        # Those that were not settled: others do not follow one another then.
        never = (
            data.draw(st.sets(st.integers(known + 1, len(before) - 1)))
            if (known + 1 < len(before))
            else set()
        )
        events = tuple(e for e in story.events() if e.nonce not in never)
        went = recharged(store, story, steps)
        differences = look(went, evolve(story.outside(), settlements=events), story)
        after = repaired(went, differences, story.now)
        if after.nonce < len(story.settled):
            event("waits for a human")
            return
        l2_disjoint(standing(after.charges.values()))
        event("goes on")
        paid = [r.charge for r in after.charges.values() if isinstance(r.state, Paid)]
        spans = [
            (whole.period_start, whole.period_end)
            for nonce, (whole, _parts) in enumerate(story.wholes(), 1)
            if nonce not in never
        ]
        for record in after.charges.values():
            if isinstance(record.state, Open):
                charge = record.charge
                self.assertNotIn(charge, paid)
                for start, end in spans:
                    self.assertFalse(
                        charge.period_start < end and start < charge.period_end, "paid already"
                    )

    def test_overlap(self) -> None:
        """An open charge that only begins before a forgotten voucher may hold all of it."""
        lost = evolve(Story(rate=60, steps=(60, 60), settled=(1, 1)).events()[1], nonce=Nonce(1))
        story = Story(rate=60, steps=(1000,), settled=())
        outside = evolve(story.outside(), settlements=(lost,), nonces={ALICE: Nonce(1)})
        differences = look(story.store(1, 0), outside, story)
        self.assertEqual([d.repair for d in differences], [None, None])
        self.assertEqual(kinds(differences), {"forgotten", "nonce"})

    def test_unexplained(self) -> None:
        """A nonce that no event explains is not raised, nor is its wallet released or known."""
        story = Story(rate=60, steps=(60, 60, 60), settled=(1, 1, 1))
        letter = DeadLetter(
            kind="wallet", name=ALICE.hex, reason="behind the chain: 3", since=UnixSeconds(1)
        )
        store = evolve(
            story.store(1, 1),
            letters=(letter,),
            blocked={ALICE: QUARANTINED},
        )
        store = evolve(store, listed=store.listed | {Entry(Index.BLOCKED, "", ALICE.hex)})
        outside = evolve(story.outside(), settlements=story.events()[:1])
        differences = look(store, outside, story)
        self.assertEqual(kinds(differences), {"nonce", "quarantine"})
        self.assertEqual([d.repair for d in differences], [None, None])
        self.assertIn("START_BLOCK", differences[0].would)
        # To know a wallet is to take its nonce from the chain.
        unknown = without(evolve(store, known=frozenset()), [SANDBOX])
        self.assertFalse(
            [d for d in look(unknown, outside, story) if isinstance(d.repair, Mirror | Restore)]
        )
        # Of an empty store nothing can be charged twice.
        repairs = [d.repair for d in look(emptied(store), outside, story)]
        self.assertTrue([r for r in repairs if isinstance(r, Restore)])

    def test_unsure_unknown(self) -> None:
        """A wallet whose open charges may be settled is not made known: that raises its nonce."""
        story = Story(rate=60, steps=(60, 60), settled=(2,))
        strange = evolve(story.events()[0], usage_hash="0x" + "99" * 32)
        outside = evolve(story.outside(), settlements=(strange,))
        store = without(story.store(1, 0), [SANDBOX])
        store = evolve(store, known=frozenset(), nonces={})
        repairs = [d.repair for d in look(store, outside, story)]
        unsafe = Mirror | RaiseNonce | Accept | Restore
        self.assertFalse([r for r in repairs if isinstance(r, unsafe)])

    @given(stories(), st.integers(-5000, 5000))
    def test_slow_clock(self, story: Story, late: int) -> None:
        """What is charged from now on is charged from after the newest voucher (L2)."""
        assume(story.settled)
        newest = story.events()[-1].timestamp
        differences = compare(
            emptied(story.store(0, 0)), story.outside(), hashed, UnixSeconds(newest + late)
        )
        (restored,) = (d.repair for d in differences if isinstance(d.repair, Restore))
        self.assertEqual(restored.session.charged_until, newest + max(0, late))

    @given(stories())
    def test_session_lost(self, story: Story) -> None:
        """A session that was lost and not ended goes on where it was charged to."""
        store = story.store(len(story.steps), len(story.settled))
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

    @given(stories(), st.lists(st.integers(1, 5000), min_size=1, max_size=4))
    def test_charged_again(self, story: Story, steps: list[int]) -> None:
        """
        What was charged anew after a loss, in other periods: nothing twice, and nothing lost.
        """
        again = Story(rate=story.rate, steps=tuple(steps), settled=())
        store = again.store(len(steps), 0)
        now = UnixSeconds(max(story.now, again.now))
        differences = compare(store, story.outside(), hashed, now)
        after = repaired(store, differences, now)
        l2_disjoint(standing(after.charges.values()))
        l6_books(after.charges.values())
        found = {d.event.usage_hash for x in differences if isinstance(d := x.repair, Settle)}
        every = {settled.usage_hash for settled in story.events()}
        event(f"{'all' if found == every else 'not all'} found")
        self.assertTrue(found == every or "forgotten" in kinds(differences))
        owed = sum(c.units for c in standing(after.charges.values()))
        covered = sum(story.steps[: sum(story.settled)])
        if found == every:
            self.assertEqual(owed, max(sum(steps), covered))
        self.assertGreaterEqual(owed, sum(steps))

    def test_longer(self) -> None:
        """Of open charges that reach beyond a voucher the rest is still owed (L6)."""
        again = Story(rate=60, steps=(60, 60), settled=())
        for end, expected in (
            (
                90,
                {
                    ("0:m:90", 90, "paid"),
                    ("0", 60, "merged"),
                    ("60", 30, "merged"),
                    ("90", 30, "open"),
                },
            ),
            (45, {("0", 45, "paid"), ("45", 15, "open"), ("60", 60, "open")}),
        ):
            voucher = Story(rate=60, steps=(end,), settled=(1,))
            outside = evolve(
                again.outside(), settlements=voucher.events(), nonces={ALICE: Nonce(1)}
            )
            store = again.store(2, 0)
            after = repaired(store, look(store, outside, again), again.now)
            shown = {
                (
                    charge_id.replace(f"{SANDBOX}:", "").replace("merged", "m"),
                    r.charge.units,
                    type(r.state).__name__.lower(),
                )
                for charge_id, r in after.charges.items()
            }
            shown = {(_relative(name), units, state) for name, units, state in shown}
            self.assertEqual(shown, expected)
            l6_books(after.charges.values())

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
        (row,) = story.outside().rows or ()
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

    def test_create_fee(self) -> None:
        """Set back into a create of which the fee is settled: the fee is not charged again."""
        story = Story(rate=60, steps=(60,), settled=(1,))
        store, intent = self.in_a_create(story)
        (settled,) = story.events()
        (row,) = story.outside().rows or ()
        row = evolve(row, labels={**row.labels, REFERENCE_LABEL: "ref-1"})
        fee = evolve(settled, fee=Neuron(500), paid=Neuron(500), usage_hash="0x" + "99" * 32)
        for state in ("started", "starting"):
            rows = (evolve(row, state=state),)
            outside = evolve(story.outside(), settlements=(fee,), rows=rows, prices={})
            (restore,) = (
                d.repair for d in look(store, outside, story) if isinstance(d.repair, Restore)
            )
            self.assertEqual(restore.intent, intent)
            self.assertEqual(restore.session.charged_until, story.now)
            self.assertEqual(restore.session.rate, intent.rate)
            self.assertEqual(restore.session.started_at is None, state == "starting")
        # An undo is carried out all the same; a later call has nothing to do with it.
        for other in (
            evolve(intent, action="undo"),
            evolve(intent, created_at=UnixSeconds(settled.timestamp + 400)),
        ):
            shelf = evolve(store.shelf, intents={other.reference: other})
            found = look(evolve(store, shelf=shelf), outside, story)
            self.assertNotIn("unmetered", kinds(found))

    def in_a_create(self, story: Story) -> tuple[Store, Intent]:
        """@return: Books set back into the moments of a create, with its call."""
        intent = Intent(
            reference=Reference("ref-1"),
            action="create",
            owner=ALICE,
            provider=PROVIDER,
            sandbox=None,
            hold=Neuron(5),
            create_fee=Neuron(500),
            rate=NeuronPerMinute(60),
            prices=Prices(),
            signer_version=1,
            auto_stop_minutes=None,
            created_at=UnixSeconds(T0 - 1),
        )
        empty = emptied(story.store(0, 0))
        shelf = evolve(empty.shelf, intents={intent.reference: intent})
        store = evolve(
            empty,
            shelf=shelf,
            listed=entries(shelf) | {Entry(Index.ACCOUNTS, "", ALICE.hex)},
            exposure=exposures(shelf),
            known=frozenset({ALICE}),
            nonces={ALICE: Nonce(0)},
            mirrored_until=9,
        )
        return store, intent

    def test_without_daytona(self) -> None:
        """What needs no list is put right without one; nothing is said of what runs."""
        story = Story(rate=60, steps=(60, 60), settled=(1, 1))
        outside = evolve(story.outside(), rows=None, prices={})
        differences = look(story.store(2, 0), outside, story)
        self.assertLessEqual({"daytona", "unsettled", "nonce"}, kinds(differences))
        self.assertEqual(repaired(story.store(2, 0), differences, story.now).nonce, 2)
        (only,) = look(without(story.store(2, 2), [SANDBOX]), outside, story)
        self.assertEqual((only.kind, only.repair), ("daytona", None))
        # A create among what is forgotten: its sandbox must be seen before anything is accepted.
        store, _intent = self.in_a_create(story)
        found = look(store, outside, story)
        self.assertFalse([d for d in found if isinstance(d.repair, Accept | RaiseNonce)])

    def test_owed(self) -> None:
        """What forgotten vouchers left owed is told before it is written off."""
        story = Story(rate=60, steps=(60, 60), settled=(1, 1))
        first, second = story.events()
        part = evolve(first, status=1, paid=Neuron(10))
        rest = evolve(part, nonce=Nonce(3), fee=Neuron(50), paid=Neuron(20))
        silent = evolve(second, status=1, paid=None)
        for events, said in (
            ((part, second), "(70 neuron paid, 50 owed)"),
            ((part, second, rest), "(90 neuron paid, 30 owed)"),
            ((first, silent), "(60 neuron paid, 60 of which nobody knows)"),
            ((first, second), "(120 neuron paid)"),
        ):
            outside = evolve(story.outside(), settlements=events)
            found = look(emptied(story.store(0, 0)), outside, story)
            (forgotten,) = (d for d in found if d.kind == "forgotten")
            self.assertIn(said, forgotten.found)
            self.assertEqual("owed" in forgotten.would, "paid)" not in said)

    def test_transaction(self) -> None:
        """A transaction that nobody has a record of is told, for it may settle anything."""
        story = Story(rate=60, steps=(60,), settled=(1,))
        outside = evolve(story.outside(), unknown_nonce=7)
        (found,) = look(story.store(1, 1), outside, story)
        self.assertEqual((found.kind, found.subject), ("transaction", "account nonce 7"))

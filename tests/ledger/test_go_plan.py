"""Tests of C{sandbox_billing.ledger.go_plan} and what it is made of: nobody pays twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.cli.reconcile_world import hashed
from sandbox_billing.errors import Refused
from sandbox_billing.ledger.account import ServiceRecord, Settlement
from sandbox_billing.ledger.causes import cause_of
from sandbox_billing.ledger.go_facts import GoEntry, GoFacts, GoWorld, Source
from sandbox_billing.ledger.go_forms import NOBODY, Ghost, GoSession, GoVoucher
from sandbox_billing.ledger.go_judge import VoucherStep
from sandbox_billing.ledger.go_plan import GoPlan, plan_import
from sandbox_billing.ledger.identity import Address, Nonce, SandboxId
from sandbox_billing.ledger.laws import l2_disjoint, l6_books
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.ledger.reconciliation import OWNER_LABEL, Row
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.ledger.voucher import (
    ChargeKind,
    ChargeRecord,
    DeadLettered,
    Open,
    Paid,
    Partial,
    Signed,
)
from sandbox_billing.signing.eip712 import usage_hash


ALICE, BOB, PROVIDER, SIGNER = (Address(f"0x{digit * 40}") for digit in "ab12")
BOX, OTHER = SandboxId("box"), SandboxId("other")
NOW, INTERVAL, PRICE = 1_800_000_000, 60, Neuron(25)
LAST = NOW - 30

PER_MINUTE = Prices(
    per_cpu_per_minute=Neuron(1_000), per_memory_gib_per_minute=Neuron(523), create_fee=Neuron(5)
)
"""1,523 neuron a minute: by the second, as the Go system rounds, 16 and 8: 24."""


def session(**more: Any) -> GoSession:
    """Of the older form, charged until half a minute ago."""
    known: dict[str, Any] = {
        "sandbox": BOX,
        "owner": ALICE,
        "provider": PROVIDER,
        "started_at": UnixSeconds(LAST - 180),
        "charged_until": UnixSeconds(LAST),
        "prepaid": False,
        "price": PRICE,
    }
    return GoSession(**{**known, **more})


def row(sandbox: SandboxId = BOX, state: str = "started", **more: Any) -> Row:
    """As Daytona shows it."""
    known: dict[str, Any] = {
        "sandbox": sandbox,
        "state": state,
        "desired_state": state,
        "labels": {OWNER_LABEL: ALICE.hex},
        "resources": Resources(),
        "seen_at": UnixSeconds(NOW),
        "answered_at": UnixSeconds(NOW),
    }
    return Row(**{**known, **more})


def voucher(
    start: int, end: int, *, nonce: int | None = None, fee: int | None = None, **more: Any
) -> GoVoucher:
    """For a period, in seconds from C{LAST}; of a moment it is a create fee."""
    units = more.pop("units", end - start)
    sandbox = more.pop("sandbox", BOX)
    known: dict[str, Any] = {
        "sandbox": sandbox,
        "user": ALICE,
        "provider": PROVIDER,
        "fee": Neuron(PRICE * (end - start) or 5) if fee is None else Neuron(fee),
        "usage_hash": "0x" + usage_hash(sandbox, LAST + start, LAST + end, units).hex(),
        "nonce": None if nonce is None else Nonce(nonce),
        "signature": None if nonce is None else "0x" + "11" * 65,
    }
    return GoVoucher(**{**known, **more})


def entries(
    *vouchers: GoVoucher, source: Source = Source.QUEUE, done: int = 0
) -> tuple[GoEntry, ...]:
    """A list; the first ones carried over already."""
    return tuple(
        GoEntry(
            key=source.value,
            source=source,
            place=place,
            raw=b"%d" % place,
            voucher=one,
            done=place < done,
        )
        for place, one in enumerate(vouchers)
    )


def event(of: GoVoucher, nonce: int, *, paid: int | None = None, **more: Any) -> Settlement:
    """It was settled; in full where nothing else is said."""
    known: dict[str, Any] = {
        "user": of.user,
        "provider": PROVIDER,
        "fee": of.fee,
        "usage_hash": of.usage_hash,
        "nonce": Nonce(nonce),
        "status": 0 if paid is None else 1,
        "paid": of.fee if paid is None else Neuron(paid),
        "transaction": "0x" + "77" * 32,
        "block": 9,
        "log_index": nonce,
        "timestamp": UnixSeconds(LAST),
    }
    return Settlement(**{**known, **more})


def world(*settlements: Settlement, **more: Any) -> GoWorld:
    """What else is known."""
    known: dict[str, Any] = {
        "rows": {BOX: row()},
        "service": ServiceRecord(
            provider=PROVIDER, url="", signer=SIGNER, prices=PER_MINUTE, signer_version=4
        ),
        "prices": Prices(flat_per_second=PRICE, create_fee=Neuron(7)),
        "nonces": {},
        "settlements": settlements,
        "interval": INTERVAL,
        "stop_delay": 10,
        "now": UnixSeconds(NOW),
        "hashed": hashed,
        "verifies": lambda one: one.signature == "0x" + "11" * 65,
    }
    return GoWorld(**{**known, **more})


def planned(facts: GoFacts, known: GoWorld | None = None) -> GoPlan:
    """With the sums compared by the plan itself."""
    return plan_import(facts, known or world())


def states(plan: GoPlan) -> list[type]:
    """What became of the vouchers."""
    return [type(record(one).state) for one in plan.vouchers]


def record(step: VoucherStep) -> ChargeRecord:
    """Of one that is worth something."""
    assert step.record is not None
    return step.record


def reason(step: VoucherStep) -> str:
    """Of a dead letter."""
    state = record(step).state
    assert isinstance(state, DeadLettered), state
    return state.reason


class SessionTests(SynchronousTestCase):
    """Sessions go on where they are charged, at the lower price."""

    def test_charged_until(self) -> None:
        """Neither version's session is charged before its mark; the line begins there."""
        for mark in (LAST, NOW + 1_000):
            (step,) = planned(
                GoFacts(sessions=(session(charged_until=UnixSeconds(mark)),))
            ).sessions
            found = step.session
            self.assertEqual((found.charged_until, found.started_at), (mark, mark))
            self.assertEqual((found.owner, found.signer_version), (ALICE, 4))
            self.assertEqual((found.changed_at, found.resources), (NOW, Resources()))
            self.assertIsNone(step.stop)

    def test_lower_price(self) -> None:
        """Neither more than the registered prices say, nor than the Go system charged."""
        for price, rate in ((24, 24 * 60), (25, 25 * 60), (26, 1_523)):
            (step,) = planned(GoFacts(sessions=(session(price=Neuron(price)),))).sessions
            self.assertEqual(step.session.rate, rate)

    def test_flat(self) -> None:
        """A price of 0 is the flat one, as it was to the Go system."""
        (step,) = planned(GoFacts(sessions=(session(price=Neuron(0)),))).sessions
        self.assertEqual(step.session.rate, PRICE * 60)

    def test_unpriced(self) -> None:
        """What has no price here is stopped, and what it ran is owed at the price it had."""
        known = world(rows={BOX: row(resources=Resources(gpu=1))})
        (step,) = planned(GoFacts(sessions=(session(),)), known).sessions
        self.assertEqual((step.stop, step.session.rate), ("unpriced", PRICE * 60))

    def test_no_price(self) -> None:
        """Nothing runs free: without any price the import is refused."""
        known = world(
            rows={BOX: row(resources=Resources(gpu=1))}, prices=Prices(create_fee=Neuron(7))
        )
        facts = GoFacts(sessions=(session(price=Neuron(0)),))
        self.assertRaises(Refused, plan_import, facts, known)

    def test_our_own_books(self) -> None:
        """What our books have charged already is not charged again."""
        facts = GoFacts(sessions=(session(),), charged_until={BOX: UnixSeconds(NOW)})
        self.assertEqual(planned(facts).sessions[0].session.charged_until, NOW)

    def test_voucher_without_watermark(self) -> None:
        """
        The Go system died between a voucher and its watermark (B3): whether the voucher waits or
        was settled, its seconds are not charged again.
        """
        one, two = voucher(0, 10, fee=250), voucher(10, 30, fee=500)
        for facts, known in (
            (GoFacts(sessions=(session(),), entries=entries(one, two)), world()),
            (GoFacts(sessions=(session(),)), world(event(one, 1), event(two, 2))),
        ):
            plan = planned(facts, known)
            self.assertEqual(plan.sessions[0].session.charged_until, LAST + 30)
            self.assertTrue(any("after the voucher" in note for note in plan.notes))

    def test_many_lengths(self) -> None:
        """So it is for a wallet that has paid for periods of very many lengths before."""
        boxes = [SandboxId(f"x{number}") for number in range(1, 200)]
        told = [event(voucher(0, at, sandbox=box), at) for at, box in enumerate(boxes, 1)]
        told.append(event(voucher(0, 777), 777, block=10))
        plan = planned(GoFacts(sessions=(session(),)), world(*told))
        self.assertEqual(plan.sessions[0].session.charged_until, LAST + 777)

    def test_not_running(self) -> None:
        """One that Daytona does not show is told: its session will end without a charge."""
        for rows, told in (({}, "not shown"), ({BOX: row(state="stopped")}, "stopped")):
            plan = planned(GoFacts(sessions=(session(price=Neuron(1)),)), world(rows=rows))
            self.assertTrue(any(told in note for note in plan.notes), plan.notes)

    def test_far_off(self) -> None:
        """What will be charged for a long time before, and a mark far ahead, are told."""
        for mark, told in (
            (NOW - 86_400, f"86400 s: the daemon will charge them, about {86_400 * 24} neuron"),
            (NOW + 86_400, "86400 s ahead"),
        ):
            one = session(price=Neuron(24), charged_until=UnixSeconds(mark))
            self.assertIn(told, "".join(planned(GoFacts(sessions=(one,))).notes))
        self.assertEqual(planned(GoFacts(sessions=(session(price=Neuron(24)),))).notes, ())

    def test_ghost(self) -> None:
        """What is nobody's is told and put away."""
        plan = planned(GoFacts(ghosts=(Ghost("x"),)))
        self.assertEqual((plan.ghosts, len(plan.notes)), ((Ghost("x"),), 1))


class VoucherTests(SynchronousTestCase):
    """Each voucher is one charge, claimed once."""

    def test_proven_periods(self) -> None:
        """Where a session lies beside them, hashes prove what vouchers are for."""
        facts = GoFacts(
            sessions=(session(),),
            entries=entries(
                voucher(-180, -180), voucher(-180, -120), voucher(-120, -60), voucher(-60, 0)
            ),
        )
        plan = planned(facts)
        charges = [record(step).charge for step in plan.vouchers]
        self.assertEqual(
            [(one.id, one.kind, one.units, one.usage_hash) for one in charges],
            [
                ("box:create", ChargeKind.CREATE, 0, None),
                *((f"box:{LAST + at}", ChargeKind.COMPUTE, 60, None) for at in (-180, -120, -60)),
            ],
        )
        self.assertEqual(
            [hashed(one) for one in charges], [e.voucher.usage_hash for e in facts.entries]
        )
        self.assertEqual({one.rate for one in charges}, {0, 60 * PRICE})

    def test_several_periods(self) -> None:
        """A newer voucher for several periods keeps its hash, and leads to its neighbours."""
        together = voucher(-180, 0, units=INTERVAL)
        plan = planned(
            GoFacts(
                sessions=(session(started_at=None),), entries=entries(voucher(-240, -180), together)
            )
        )
        first, second = (record(step).charge for step in plan.vouchers)
        self.assertEqual((first.kind, first.units), (ChargeKind.COMPUTE, 60))
        self.assertEqual((second.kind, second.units), (ChargeKind.IMPORTED, 0))
        self.assertEqual(hashed(second), together.usage_hash)

    def test_unknown_period(self) -> None:
        """Without a session the hash is kept, and what it is of is not known."""
        (step,) = planned(GoFacts(entries=entries(voucher(-60, 0)))).vouchers
        charge = record(step).charge
        self.assertEqual((charge.kind, charge.rate), (ChargeKind.IMPORTED, 0))
        self.assertEqual((charge.period_start, charge.period_end), (NOW, NOW))
        self.assertEqual(hashed(charge), voucher(-60, 0).usage_hash)

    def test_signed(self) -> None:
        """A signed one keeps nonce, fee, hash and bytes; another key's is a human's."""
        good = voucher(-60, 0, nonce=7)
        bad = evolve(voucher(-120, -60, nonce=6), signature="0x" + "22" * 65)
        plan = planned(GoFacts(entries=entries(good, bad)))
        state = record(plan.vouchers[0]).state
        assert isinstance(state, Signed)
        seal = state.seal
        self.assertEqual(
            (seal.nonce, seal.fee, seal.usage_hash, seal.signature),
            (7, good.fee, good.usage_hash, good.signature),
        )
        self.assertIn(SIGNER.hex, reason(plan.vouchers[1]))

    def test_set_aside(self) -> None:
        """What the Go system set aside is a human's, with its seal."""
        facts = GoFacts(entries=entries(voucher(-60, 0, nonce=7), source=Source.DEAD))
        (step,) = planned(facts).vouchers
        self.assertIn("set it aside", reason(step))
        self.assertIsNotNone(record(step).seal)

    def test_same_use(self) -> None:
        """Of several for one use one is offered: the signed one with the lowest nonce (B3)."""
        twice = voucher(-60, 0)
        facts = GoFacts(
            entries=entries(twice, voucher(-60, 0, nonce=9), voucher(-60, 0, nonce=8), twice, twice)
            + entries(voucher(-60, 0, nonce=3), source=Source.DEAD)
        )
        plan = planned(facts)
        self.assertEqual(Counter(states(plan)), {Signed: 1, DeadLettered: 5})
        for step in plan.vouchers:
            if step is not plan.vouchers[2]:
                self.assertFalse(cause_of(reason(step)).retry, reason(step))
        self.assertIsInstance(record(plan.vouchers[2]).state, Signed)
        self.assertEqual(len({record(step).charge.id for step in plan.vouchers}), 6)

    def test_overlapping(self) -> None:
        """Two that share a second: the first is offered, the other is a human's (B4, L2)."""
        plan = planned(
            GoFacts(sessions=(session(),), entries=entries(voucher(-60, 0), voucher(-90, 0)))
        )
        self.assertEqual(states(plan), [Open, DeadLettered])
        # Also where the first is a newer one, for several periods.
        several = voucher(-180, 0, units=INTERVAL)
        facts = GoFacts(sessions=(session(),), entries=entries(several, voucher(-60, 0)))
        plan = planned(facts)
        self.assertEqual(states(plan), [Open, DeadLettered])
        self.assertIs(record(plan.vouchers[0]).charge.kind, ChargeKind.IMPORTED)

    def test_overlaps_same_use(self) -> None:
        """What one hash is for is known of all that have it: nothing else for that is offered."""
        facts = GoFacts(
            sessions=(session(charged_until=UnixSeconds(LAST + 75)),),
            entries=entries(
                voucher(0, 60, nonce=5), voucher(0, 60, nonce=6), voucher(0, 75, nonce=7)
            ),
        )
        plan = planned(facts)
        self.assertEqual(states(plan), [Signed, DeadLettered, DeadLettered])
        self.assertIs(record(plan.vouchers[0]).charge.kind, ChargeKind.COMPUTE)

    def test_overlaps_settled(self) -> None:
        """
        The Go system died between a voucher and its watermark and charged once more from there
        (B3): where the first one is settled, the second one is not offered, and cannot be.
        """
        settled = event(voucher(0, 60), 8)
        mine = session(charged_until=UnixSeconds(LAST + 75))
        for waits in (voucher(0, 75), voucher(0, 75, nonce=9)):
            for one in (mine, session(charged_until=UnixSeconds(LAST + 75), started_at=None)):
                facts = GoFacts(sessions=(one,), entries=entries(voucher(-60, 0), waits))
                plan = planned(facts, world(settled))
                self.assertEqual(states(plan), [Open, DeadLettered])
                self.assertFalse(cause_of(reason(plan.vouchers[1])).retry)
                self.assertIn("under nonce 8", reason(plan.vouchers[1]))
        # The other way round: what waits is the shorter one, and shares only its beginning.
        facts = GoFacts(sessions=(mine,), entries=entries(voucher(0, 60)))
        self.assertEqual(states(planned(facts, world(event(voucher(0, 75), 8)))), [DeadLettered])

    def test_beside_settled(self) -> None:
        """What touches a settled period, and shares no second with it, is owed."""
        told = world(event(voucher(-60, 0), 8), event(voucher(-180, -180), 7))
        plan = planned(GoFacts(sessions=(session(),), entries=entries(voucher(-120, -60))), told)
        self.assertEqual(states(plan), [Open])

    def test_second_create_fee(self) -> None:
        """One create fee is settled: another is not offered."""
        told = world(event(voucher(0, 0), 8))
        facts = GoFacts(sessions=(session(),), entries=entries(voucher(-180, -180)))
        self.assertEqual(states(planned(facts, told)), [DeadLettered])

    def test_same_nonce(self) -> None:
        """Two under one nonce: only one can settle."""
        plan = planned(GoFacts(entries=entries(voucher(-60, 0, nonce=7), voucher(-9, 0, nonce=7))))
        self.assertEqual(states(plan), [Signed, DeadLettered])
        # One that another key has signed is not offered, and keeps no other from it.
        strange = evolve(voucher(-60, 0, nonce=7), signature="0x" + "22" * 65)
        plan = planned(GoFacts(entries=entries(strange, voucher(-9, 0, nonce=7))))
        self.assertEqual(states(plan), [DeadLettered, Signed])

    def test_settled(self) -> None:
        """
        The Go system died between a settlement and its queue (S4, S14): what the chain has paid
        is paid, whoever signed it, and what it has not paid is a debt.
        """
        unsigned, signed = voucher(-60, 0), voucher(-120, -60, nonce=4)
        known = world(event(unsigned, 5), event(signed, 4, paid=100))
        plan = planned(GoFacts(entries=entries(unsigned, signed)), known)
        self.assertEqual(states(plan), [Paid, Partial])
        debt = plan.vouchers[1].debt
        assert debt is not None
        self.assertEqual((debt.amount, hashed(debt)), (signed.fee - 100, signed.usage_hash))
        self.assertEqual(plan.wallets[0].accept, 5)

    def test_settled_otherwise(self) -> None:
        """Where the chain says something else than an entry, a human decides."""
        one = voucher(-60, 0, nonce=4)
        for told in (
            event(voucher(-9, 0), 4),
            event(one, 3),
            event(one, 4, fee=Neuron(one.fee + 1)),
            event(one, 4, status=1, paid=None),
        ):
            with self.subTest(told=told):
                self.assertEqual(
                    states(planned(GoFacts(entries=entries(one)), world(told))), [DeadLettered]
                )

    def test_nobodys(self) -> None:
        """What is owed by the zero address is a human's."""
        plan = planned(GoFacts(entries=entries(voucher(-60, 0, user=NOBODY))))
        self.assertEqual(states(plan), [DeadLettered])
        self.assertEqual(plan.wallets, ())

    def test_worth_nothing(self) -> None:
        """A voucher of 0 neuron is no charge."""
        (step,) = planned(GoFacts(entries=entries(voucher(-60, 0, fee=0)))).vouchers
        self.assertIsNone(step.record)


class WalletTests(SynchronousTestCase):
    """The next nonce is above all that were used."""

    def test_highest(self) -> None:
        """By the counter, by what is sealed, in whatever list, and by the chain (B16)."""
        for counter, sealed, chain, nonce in (
            (9, 3, 4, 9),
            (3, 9, 4, 9),
            (3, 4, 9, 9),
            (0, 9, 0, 9),
        ):
            facts = GoFacts(
                entries=entries(voucher(-60, 0, nonce=sealed), source=Source.DEAD),
                nonces={ALICE: Nonce(counter)} if counter else {},
            )
            (step,) = planned(facts, world(nonces={ALICE: Nonce(chain)})).wallets
            self.assertEqual(step.nonce, nonce)

    def test_accept(self) -> None:
        """Vouchers that the Go system settled are known to have no charge, once."""
        facts = GoFacts(nonces={ALICE: Nonce(5)})
        told = event(voucher(-60, 0), 5)
        self.assertEqual(planned(facts, world(told)).wallets[0].accept, 5)
        again = world(told, accepted={ALICE: Nonce(5)})
        self.assertIsNone(planned(facts, again).wallets[0].accept)


class StopTests(SynchronousTestCase):
    """Stop orders."""

    def test_stops(self) -> None:
        """Ordered where there is something to stop, put away where there is not."""
        rows = {OTHER: row(OTHER), SandboxId("s"): row(SandboxId("s"), "stopped")}
        facts = GoFacts(
            sessions=(session(),),
            stops={BOX: "a", OTHER: "b", SandboxId("s"): "c", SandboxId("gone"): "d"},
        )
        plan = planned(facts, world(rows=rows))
        self.assertEqual(plan.stops, ((BOX, "a"), (OTHER, "b")))
        self.assertEqual(plan.idle_stops, ("gone", "s"))


@st.composite
def queues(draw: Any) -> Sequence[GoVoucher]:
    """Of one or two sandboxes, with everything that can be wrong with them."""
    found = []
    for _ in range(draw(st.integers(0, 8))):
        start = draw(st.integers(-6, 3)) * 30
        end = start + draw(st.sampled_from([0, 30, 60]))
        found.append(
            voucher(
                start,
                end,
                nonce=draw(st.none() | st.integers(1, 6)),
                sandbox=draw(st.sampled_from([BOX, BOX, OTHER])),
                user=draw(st.sampled_from([ALICE, ALICE, BOB])),
                units=draw(st.sampled_from([end - start, INTERVAL])),
            )
        )
    return found


class PropertyTests(SynchronousTestCase):
    """Whatever is in the lists."""

    def facts(
        self, queue: Sequence[GoVoucher], dead: Sequence[GoVoucher], *, done: int = 0
    ) -> GoFacts:
        """With a session; or, where something is done, with that done, too."""
        mine = (session(),)
        return GoFacts(
            sessions=() if done else mine,
            finished=mine if done else (),
            entries=entries(*queue, done=done) + entries(*dead, source=Source.DEAD),
        )

    @given(queues(), queues(), st.integers(0, 3), st.data())
    def test_conserved(
        self, queue: Sequence[GoVoucher], dead: Sequence[GoVoucher], settled: int, data: Any
    ) -> None:
        """No neuron appears or disappears, no second is offered twice, no nonce is below one."""
        both = [*queue, *dead]
        told = [event(one, one.nonce or 7 + at) for at, one in enumerate(both[:settled])]
        plan = planned(self.facts(queue, dead), world(*told))
        records = [record(step) for step in plan.vouchers]
        debts = [ChargeRecord(step.debt) for step in plan.vouchers if step.debt is not None]
        self.assertEqual(sum(one.fee for one in both), sum(plan.amounts.values()))
        l6_books([*records, *debts])
        self.assertEqual(len({one.charge.id for one in records}), len(both))
        offered = [one for one in records if isinstance(one.state, Open | Signed | Paid)]
        uses = Counter((one.charge.owner, hashed(one.charge)) for one in offered)
        self.assertTrue(all(count == 1 for count in uses.values()), uses)
        l2_disjoint(one.charge for one in offered)
        until = plan.sessions[0].session.charged_until
        mine = [one.charge for one in offered if one.charge.sandbox == BOX and one.charge.units]
        self.assertTrue(all(one.period_end <= until for one in mine))
        highest: Mapping[Address, int] = {step.wallet: step.nonce for step in plan.wallets}
        for one in both:
            self.assertLessEqual(one.nonce or 0, highest[one.user])

    @given(queues(), queues(), st.integers(0, 8))
    def test_goes_on(
        self, queue: Sequence[GoVoucher], dead: Sequence[GoVoucher], done: int
    ) -> None:
        """A run that goes on after a crash decides of the rest as the first one did."""
        done = min(done, len(queue))
        first = planned(self.facts(queue, dead)).vouchers
        rest = planned(self.facts(queue, dead, done=done)).vouchers
        self.assertEqual(
            [evolve(step, entry=rest[at].entry) for at, step in enumerate(first[done:])],
            list(rest),
        )

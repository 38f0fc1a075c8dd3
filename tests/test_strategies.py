"""The strategies make what they say: a property over the wrong values proves nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.effects import (
    Adopt,
    AskById,
    Begin,
    Close,
    DeleteLeftover,
    OpenUnderIntent,
    ReleaseIntent,
    Report,
)
from sandbox_billing.ledger.hold import Intent, runs_dry_at
from sandbox_billing.ledger.identity import SandboxId, sandbox_id
from sandbox_billing.ledger.laws import l2_disjoint
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import UINT256_MAX, Neuron, UnixSeconds, neuron
from sandbox_billing.ledger.reconciliation import World, plan
from sandbox_billing.ledger.voucher import (
    Charge,
    ChargeKind,
    ChargeRecord,
    DeadLettered,
    Forgiven,
    Merged,
    Open,
    Paid,
    Parked,
    Partial,
    Signed,
)
from tests.strategies import (
    STATES,
    accounts,
    amounts,
    batches,
    charge_records,
    charges,
    exposures,
    funds,
    intents,
    prices,
    sandbox_ids,
    seals,
    sessions,
    waiting_records,
    worlds,
)


NOW = UnixSeconds(1_700_000_000)


def possible(strategy: st.SearchStrategy[Any], wanted: Any) -> Any:
    """
    An example that has what is wanted.

    @raise NoSuchExample: The strategy never makes one.
    """
    # Any example will do: to shrink it would take longer than all other tests.
    cheap = settings(max_examples=2_000, database=None, phases=[Phase.generate])
    return find(strategy, wanted, settings=cheap)


class NumberTests(SynchronousTestCase):
    """Amounts."""

    @given(amounts(), st.lists(funds(), max_size=20))
    def test_are_amounts(self, amount: Neuron, several: list[Neuron]) -> None:
        """Every amount is one, and so is the sum of what wallets can hold."""
        neuron(amount)
        neuron(sum(several))

    def test_reach(self) -> None:
        """Zero, the largest, and what a float or a 64-bit counter would lose."""
        for amount in (0, UINT256_MAX, 2**53 + 1, 2**63):
            possible(amounts(), lambda found, amount=amount: found == amount)

    @given(sandbox_ids())
    def test_sandbox_ids(self, sandbox: SandboxId) -> None:
        """Every id is one that the daemon lets in."""
        self.assertEqual(sandbox, sandbox_id(sandbox))

    def test_prices(self) -> None:
        """Price lists with and without a price by size, and without any."""
        possible(prices(), lambda found: found.by_size)
        possible(prices(), lambda found: not found.by_size and found.flat_per_second > 0)
        possible(prices(), lambda found: not found.by_size and found.flat_per_second == 0)


class SessionTests(SynchronousTestCase):
    """Sessions."""

    @given(sessions())
    def test_moments(self, session: Session) -> None:
        """Opened, started and charged in this order."""
        start = session.opened_at if session.started_at is None else session.started_at
        self.assertLessEqual(session.opened_at, start)
        self.assertLessEqual(start, session.charged_until)

    def test_both(self) -> None:
        """Pending and running ones, and one or the other when asked."""
        possible(sessions(), lambda found: found.started_at is None)
        possible(sessions(), lambda found: found.started_at is not None)

    @given(sessions(started=st.just(True)), sessions(started=st.just(False)))
    def test_asked(self, running: Session, pending: Session) -> None:
        """C{started} is obeyed."""
        self.assertIsNotNone(running.started_at)
        self.assertIsNone(pending.started_at)

    @given(intents())
    def test_intents(self, intent: Intent) -> None:
        """A create has no sandbox yet; the others have one, and no fee."""
        self.assertEqual(intent.action == "create", intent.sandbox is None)
        self.assertTrue(intent.action == "create" or intent.create_fee == 0)


class ChargeTests(SynchronousTestCase):
    """Charges."""

    @given(charges())
    def test_wire(self, charge: Charge) -> None:
        """wire.md §2: units carry the time, and a create fee has none."""
        compute = charge.kind is ChargeKind.COMPUTE
        self.assertEqual(charge.period_end - charge.period_start if compute else 0, charge.units)
        moment = charge.kind in (ChargeKind.CREATE, ChargeKind.IMPORTED)
        self.assertEqual(moment, charge.period_end == charge.period_start)
        self.assertEqual(charge.kind is ChargeKind.IMPORTED, charge.usage_hash is not None)
        self.assertGreater(charge.amount, 0)
        l2_disjoint([charge])

    @given(charge_records())
    def test_promise(self, record: ChargeRecord) -> None:
        """What was signed is what is owed, and a partial payment adds up."""
        if record.seal is not None:
            self.assertEqual(record.charge.amount, record.seal.fee)
        if isinstance(record.state, Partial):
            self.assertEqual(record.charge.amount, record.state.paid + record.state.owed)

    def test_every_state(self) -> None:
        """No state is left out, dead without a seal among them."""
        states = (Open, Signed, Parked, Paid, Partial, DeadLettered, Merged, Forgiven)
        for state in states:
            possible(charge_records(), lambda found, state=state: isinstance(found.state, state))
        possible(
            charge_records(),
            lambda found: isinstance(found.state, DeadLettered) and found.seal is None,
        )

    @given(st.data(), accounts())
    def test_waiting(self, data: st.DataObject, account: Any) -> None:
        """A queue holds its wallet's own, and nothing final."""
        record = data.draw(waiting_records(account.wallet))
        self.assertEqual(account.wallet, record.charge.owner)
        self.assertIsInstance(record.state, Open | Signed | Parked)

    @given(st.data(), funds(least=1))
    def test_seals(self, data: st.DataObject, fee: Neuron) -> None:
        """A promise of just this fee."""
        self.assertEqual(fee, data.draw(seals(fee)).fee)

    @given(batches())
    def test_batches(self, batch: Batch) -> None:
        """T-1: one account nonce; no wallet twice."""
        self.assertLessEqual(len({one.account_nonce for one in batch.attempts}), 1)
        self.assertEqual(len(batch.wallets), len(set(batch.wallets)))


class WorldTests(SynchronousTestCase):
    """What a sweep can meet."""

    @given(worlds())
    def test_keys(self, world: World) -> None:
        """Sessions stand under their sandbox; rows and intents are there once."""
        for sandbox, session in world.sessions.items():
            self.assertEqual(sandbox, session.sandbox)
        self.assertEqual(len(world.rows), len({row.sandbox for row in world.rows}))
        self.assertEqual(len(world.intents), len({one.reference for one in world.intents}))
        for row in world.rows:
            self.assertIn(row.state, STATES)

    def test_every_change(self) -> None:
        """No change of a plan is out of reach, or its properties would hold for nothing."""
        missing = {
            Adopt,
            AskById,
            Begin,
            Close,
            DeleteLeftover,
            OpenUnderIntent,
            ReleaseIntent,
            Report,
        }

        def found_all(world: World) -> bool:
            missing.difference_update(type(change) for change in plan(world))
            return not missing

        possible(worlds(), found_all)

    def test_exposures(self) -> None:
        """Fields of each kind, wallets in debt and not, running and not."""
        for kind in ("hold:", "session:", "charge:", "debt:"):
            possible(
                exposures(NOW),
                lambda found, kind=kind: any(name.startswith(kind) for name in found.fields),
            )
        for runs in (True, False):
            possible(
                exposures(NOW),
                lambda found, runs=runs: (
                    runs
                    == (
                        runs_dry_at(
                            found, balance=Neuron(0), loss_cap=Neuron(0), stop_delay=0, now=NOW
                        )
                        is not None
                    )
                ),
            )

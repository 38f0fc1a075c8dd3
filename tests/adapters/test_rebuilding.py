"""
Tests of C{sandbox_billing.adapters.redis.rebuilding}: what is listed again, in memory.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from attrs import define, evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.memory.keyspace import MemoryKeyspace
from sandbox_billing.adapters.redis.draft import stored_form
from sandbox_billing.adapters.redis.inventory import Found
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.redis.rebuilding import DEBT_SECONDS, Rebuilder
from sandbox_billing.adapters.redis.store import Timing
from sandbox_billing.ledger.comparison import Difference, Enter
from sandbox_billing.ledger.identity import create_charge_id, debt_charge_id
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.shelves import Entry, Index
from sandbox_billing.ledger.voucher import Charge, ChargeKind, ChargeRecord
from tests.ledger.books import ALICE, PROVIDER, SANDBOX, T0, Story


RIPEN_SECONDS = 60


@define
class Wall:
    """A moment that stays."""

    moment: UnixSeconds

    def now(self) -> UnixSeconds:
        """Of an L{IWallClock}."""
        return self.moment


class ListedAgainTests(SynchronousTestCase):
    """A line that was lost comes back as it would have stood."""

    story = Story(rate=60, steps=(60,), settled=())
    at = UnixSeconds(T0 + 10)

    def now(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What it returns at once."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def ripe_at(self, charge: Charge, index: Index, *, started: bool) -> float:
        """When a stored charge may be signed that was listed again."""
        keyspace = MemoryKeyspace(Clock())
        journal = Journal.over(
            keyspace, PROVIDER, Wall(self.at), interval_seconds=60, lease_seconds=30
        )
        self.now(journal.lease.acquire())
        keys, record = journal.store.keys, ChargeRecord(charge)
        draft = journal.store.draft("books")
        draft.write("SET", keys.charge(charge.id), stored_form(record))
        self.now(journal.store.carry_out(draft.commit()))
        store = self.story.store(0, 0)
        session = store.shelf.sessions[SANDBOX]
        if not started:
            session = evolve(session, started_at=None)
        shelf = evolve(store.shelf, charges={charge.id: record}, sessions={SANDBOX: session})
        raw = {keys.charge(charge.id): stored_form(record)}
        rebuilder = Rebuilder(
            journal=journal,
            found=Found(store=evolve(store, shelf=shelf), mirror=None, raw=raw),
            timing=Timing(interval_seconds=60, ripen_seconds=RIPEN_SECONDS),
            accounts={},
            now=self.at,
        )
        repair = Enter(entry=Entry(index, ALICE.hex, charge.id))
        line = Difference(kind="index", subject="s", found="f", would="w", repair=repair)
        self.now(rebuilder.apply(line))
        place = keys.charges(ALICE) if index is Index.CHARGES else keys.first(ALICE)
        score: float = keyspace.values()[place][charge.id.encode()]
        return score

    def test_create(self) -> None:
        """A create that has not started yet is not charged before it had the time to."""
        fee = evolve(
            self.story.charge(0),
            id=create_charge_id(SANDBOX),
            kind=ChargeKind.CREATE,
            period_end=UnixSeconds(T0),
            units=0,
            rate=0,
        )
        self.assertEqual(self.ripe_at(fee, Index.CHARGES, started=True), self.at)
        self.assertEqual(self.ripe_at(fee, Index.CHARGES, started=False), T0 + RIPEN_SECONDS)

    def test_debt(self) -> None:
        """A debt waits for as long as what it is left of may still be undone."""
        plain = self.story.charge(0)
        debt = evolve(plain, id=debt_charge_id(plain.id, 1), kind=ChargeKind.DEBT)
        self.assertEqual(self.ripe_at(debt, Index.FIRST, started=True), self.at + DEBT_SECONDS)
        self.assertEqual(self.ripe_at(plain, Index.CHARGES, started=True), self.at)

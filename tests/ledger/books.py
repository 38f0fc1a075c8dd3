"""
Books of one wallet that runs one sandbox, consistent at any moment of their history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve, frozen
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from sandbox_billing.ledger.account import Settlement
from sandbox_billing.ledger.comparison import Outside, Price, Remembered, Store
from sandbox_billing.ledger.identity import Address, Nonce, Reference, SandboxId, compute_charge_id
from sandbox_billing.ledger.merging import merged
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds, add
from sandbox_billing.ledger.rating import period_amount
from sandbox_billing.ledger.reconciliation import OWNER_LABEL, Row
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.ledger.shelves import Entry, Index, Shelf, entries, exposures
from sandbox_billing.ledger.totals import Totals
from sandbox_billing.ledger.voucher import (
    Charge,
    ChargeKind,
    ChargeRecord,
    Merged,
    Paid,
    Seal,
)
from sandbox_billing.signing.eip712 import usage_hash


ALICE = Address("0x" + "a1" * 20)
PROVIDER = Address("0x" + "b2" * 20)
SANDBOX = SandboxId("sb-1")
T0 = 1_790_000_000
SIZE = Resources(cpu=1, memory_gib=1, disk_gib=1, gpu=0)


def hashed(charge: Charge) -> str:
    """A charge's usage hash."""
    period = charge.period_start, charge.period_end
    return "0x" + usage_hash(charge.sandbox, *period, charge.units).hex()


@frozen(kw_only=True)
class Story:
    """
    What happened.

    @ivar steps: Seconds of each period charged, in order.
    @ivar settled: How many of the periods each voucher collected, in order.
    """

    rate: int
    steps: tuple[int, ...]
    settled: tuple[int, ...]

    @property
    def now(self) -> UnixSeconds:
        """A while after the last period."""
        return UnixSeconds(T0 + sum(self.steps) + 100)

    def charge(self, place: int) -> Charge:
        """One of the periods."""
        start = T0 + sum(self.steps[:place])
        until = start + self.steps[place]
        return Charge(
            id=compute_charge_id(SANDBOX, start),
            sandbox=SANDBOX,
            owner=ALICE,
            provider=PROVIDER,
            kind=ChargeKind.COMPUTE,
            period_start=UnixSeconds(start),
            period_end=UnixSeconds(until),
            units=until - start,
            amount=period_amount(NeuronPerMinute(self.rate), T0, start, until),
            rate=self.rate,
            created_at=UnixSeconds(until),
        )

    def wholes(self) -> list[tuple[Charge, tuple[Charge, ...]]]:
        """What each voucher was for, and the periods in it."""
        found, place = [], 0
        for count in self.settled:
            parts = tuple(self.charge(p) for p in range(place, place + count))
            place += count
            whole = parts[0] if count == 1 else merged([ChargeRecord(p) for p in parts])
            found.append((whole, parts))
        return found

    def events(self) -> tuple[Settlement, ...]:
        """One for each voucher."""
        return tuple(
            Settlement(
                user=ALICE,
                provider=PROVIDER,
                fee=whole.amount,
                usage_hash=hashed(whole),
                nonce=Nonce(place),
                status=0,
                paid=whole.amount,
                transaction="0x" + "11" * 32,
                block=10 + place,
                log_index=0,
                timestamp=UnixSeconds(whole.period_end + 5),
            )
            for place, (whole, _parts) in enumerate(self.wholes(), 1)
        )

    def session(self, charged: int) -> Session:
        """@param charged: How many periods are."""
        return Session(
            sandbox=SANDBOX,
            owner=ALICE,
            provider=PROVIDER,
            reference=Reference("ref"),
            resources=SIZE,
            rate=NeuronPerMinute(self.rate),
            signer_version=1,
            opened_at=UnixSeconds(T0),
            started_at=UnixSeconds(T0),
            charged_until=UnixSeconds(T0 + sum(self.steps[:charged])),
            changed_at=UnixSeconds(T0),
            hold=Neuron(7),
            revision=charged,
        )

    def store(self, charged: int, settled: int) -> Store:
        """
        Redis when so many periods were charged and so many vouchers settled.

        @param charged: At least the periods that those vouchers collect.
        """
        records: dict[str, ChargeRecord] = {}
        for place in range(charged):
            charge = self.charge(place)
            records[charge.id] = ChargeRecord(charge)
        for event, (whole, parts) in list(zip(self.events(), self.wholes(), strict=True))[:settled]:
            for part in parts:
                records[part.id] = ChargeRecord(part, Merged(whole.id))
            seal = Seal(
                nonce=event.nonce,
                fee=event.fee,
                usage_hash=event.usage_hash,
                signature="0x" + "22" * 65,
            )
            paid = Paid(seal=seal, transaction=event.transaction, block=event.block)
            records[whole.id] = ChargeRecord(whole, paid)
        session = self.session(charged)
        shelf = Shelf(
            charges={r.charge.id: r for r in records.values()},
            batches={},
            sessions={SANDBOX: session},
            intents={},
        )
        events = self.events()[:settled]
        return Store(
            shelf=shelf,
            records={
                SANDBOX: Remembered(
                    owner=ALICE, reference="ref", charged_until=session.charged_until
                )
            },
            nonces={ALICE: Nonce(settled)},
            exposure=exposures(shelf),
            listed=entries(shelf) | {Entry(Index.ACCOUNTS, "", ALICE.hex)},
            totals=Totals(
                batches=settled, vouchers=settled, fees=add(*(event.fee for event in events))
            ),
            blocked={},
            letters=(),
            history=frozenset((event.block, event.log_index) for event in events),
            seen=frozenset({SANDBOX}),
            known=frozenset({ALICE}),
            baselines={},
            mirrored_until=10 + settled,
        )

    def outside(self, *, running: bool = True) -> Outside:
        """The chain and Daytona, after all of it."""
        row = Row(
            sandbox=SANDBOX,
            state="started",
            desired_state=None,
            labels={OWNER_LABEL: ALICE.hex},
            resources=SIZE,
            seen_at=self.now,
            answered_at=self.now,
        )
        return Outside(
            block=10 + len(self.settled),
            settlements=self.events(),
            nonces={ALICE: Nonce(len(self.settled))},
            customers=frozenset({ALICE}),
            unknown_nonce=None,
            rows=(row,) if running else (),
            prices={SANDBOX: Price(NeuronPerMinute(self.rate), Neuron(7))},
            provider=PROVIDER,
            signer_version=1,
        )


@st.composite
def stories(draw: Callable[[SearchStrategy[Any]], Any]) -> Story:
    """Up to six periods, of which some are settled, alone or merged."""
    steps = draw(st.lists(st.integers(1, 5000), min_size=1, max_size=6))
    settled, left = [], len(steps)
    while left and draw(st.booleans()):
        count = draw(st.integers(1, left))
        settled.append(count)
        left -= count
    # At least a neuron a second: a period that costs nothing is no charge.
    rate = draw(st.integers(60, 10**18))
    return Story(rate=rate, steps=tuple(steps), settled=tuple(settled))


@st.composite
def rolled_back(draw: Callable[[SearchStrategy[Any]], Any]) -> tuple[Story, Store]:
    """A story, and the store of an earlier moment of it."""
    story = draw(stories())
    settled = draw(st.integers(0, len(story.settled)))
    least = sum(story.settled[:settled])
    charged = draw(st.integers(least, len(story.steps)))
    return story, story.store(charged, settled)


def emptied(store: Store) -> Store:
    """A store in which nothing is left."""
    nothing = Shelf(charges={}, batches={}, sessions={}, intents={})
    return evolve(
        store,
        shelf=nothing,
        records={},
        nonces={},
        exposure={},
        listed=frozenset(),
        totals=Totals(),
        history=frozenset(),
        seen=frozenset(),
        known=frozenset(),
        mirrored_until=None,
    )


def without(store: Store, sessions: Sequence[SandboxId]) -> Store:
    """The same without some sessions; what lists them is still there."""
    kept = {s: v for s, v in store.shelf.sessions.items() if s not in sessions}
    return evolve(store, shelf=evolve(store.shelf, sessions=kept))

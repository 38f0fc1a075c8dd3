"""
What a sandbox ran: one L{Run} for each stretch in one size at one rate, as it is told to
whoever pays for it.

A run is written down when it ends; the one that goes on is the session's own.  What each cost
is a point on the line it was rated on, so that the costs of a sandbox's runs are the sum of
its compute charges, to the neuron.

Tests: L{tests.ledger.test_run}.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from attrs import define, evolve, field, frozen

from sandbox_billing.ledger.identity import Reference
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds, neuron
from sandbox_billing.ledger.rating import amount_at
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.ledger.voucher import Charge


RESIZED = "resized"
"""It went on in another size."""

REPRICED = "repriced"
"""It went on at another price."""

BY_OWNER = "owner"
"""It ended with a request of its owner."""

OBSERVED = "observed"
"""It was seen not running any more."""

FAILED = "failed"
"""It was never seen running."""


@frozen(kw_only=True)
class Run:
    """
    @ivar reference: The session's; None where only charges tell of it.
    @ivar opened_at: Of the session it is a part of, unix seconds.
    @ivar started_at: From when on it is charged; None when it never ran.
    @ivar ended_at: Until when it is charged; of what never ran, when that was clear; None while
        it goes on.
    @ivar seconds: That are charged.
    @ivar rate: neuron per minute.
    @ivar cost: neuron charged for it.
    @ivar why: How it ended: a stop order's reason, or one of the words above.
    """

    reference: Reference | None
    opened_at: UnixSeconds
    started_at: UnixSeconds | None
    ended_at: UnixSeconds | None
    resources: Resources | None
    seconds: int
    rate: NeuronPerMinute
    cost: Neuron
    why: str = ""
    derived: bool = field(default=False, metadata={"added": True, "rare": True})


@frozen(kw_only=True)
class Transition:
    """
    @ivar state: C{opened}, C{started}, C{resized}, C{repriced}, C{stopped}, C{failed} or
        C{deleted}.
    @ivar why: Of a stop.
    """

    at: UnixSeconds
    state: str
    why: str = ""


def run_of(session: Session) -> Run:
    """What a session runs since it began, or since its size or rate changed."""
    started = session.started_at
    seconds = 0 if started is None else session.charged_until - started
    return Run(
        reference=session.reference,
        opened_at=session.opened_at,
        started_at=started,
        ended_at=None,
        resources=session.resources,
        seconds=seconds,
        rate=session.rate,
        cost=neuron(0)
        if started is None
        else amount_at(session.rate, started, session.charged_until),
    )


def ended_run(last: Session, why: str, now: UnixSeconds) -> Run:
    """
    @param last: The last form of the session.
    @param why: What is known of the reason.
    """
    if last.started_at is None:
        return evolve(run_of(last), ended_at=max(now, last.opened_at), why=FAILED)
    return evolve(run_of(last), ended_at=last.charged_until, why=why)


def changed_run(before: Session, after: Session) -> Run | None:
    """What ended when a run went on in another size or at another rate; None when nothing did."""
    if before.started_at is None or after.started_at == before.started_at:
        return None
    why = RESIZED if before.resources != after.resources else REPRICED
    return evolve(run_of(before), ended_at=before.charged_until, why=why)


def transitions(runs: Sequence[Run], destroyed_at: UnixSeconds | None) -> Iterator[Transition]:
    """
    @param runs: By time.
    @param destroyed_at: When its deletion was accepted or seen.
    """
    goes_on = ""
    for run in runs:
        begun = run.opened_at if run.started_at is None else run.started_at
        if not goes_on:
            if not run.derived:
                yield Transition(at=run.opened_at, state="opened")
            if run.started_at is not None:
                yield Transition(at=run.started_at, state="started")
        else:
            yield Transition(at=begun, state=goes_on)
        goes_on = ""
        if run.why in (RESIZED, REPRICED):
            goes_on = run.why
        elif run.why == FAILED:
            yield Transition(at=run.ended_at or begun, state=FAILED)
        elif run.ended_at is not None:
            yield Transition(at=run.ended_at, state="stopped", why=run.why)
    if destroyed_at is not None:
        yield Transition(at=destroyed_at, state="deleted")


@frozen(kw_only=True)
class Told:
    """
    Which charges runs tell of; the others are from before runs were written down, or of a
    session that was lost with the store.

    @ivar runs: That ran, by time.
    @ivar starts: Of each.
    """

    runs: tuple[Run, ...]
    starts: tuple[int, ...]

    @classmethod
    def by(cls, runs: Iterable[Run]) -> Told:
        """@param runs: In any order."""
        ran = {run.started_at: run for run in runs if run.started_at is not None and run.seconds}
        starts = sorted(ran)
        return cls(runs=tuple(ran[start] for start in starts), starts=tuple(starts))

    def has(self, charge: Charge) -> bool:
        """Whether a charge lies in one of the runs."""
        place = bisect_right(self.starts, charge.period_start) - 1
        return place >= 0 and charge.period_start < self.starts[place] + self.runs[place].seconds


@define
class Derived:
    """
    The runs that charges tell of, which follow one another without a gap at one rate, made out
    as the charges come: it holds no more than its runs.

    @ivar runs: In the order in which they came.
    """

    runs: list[Run] = field(factory=list, init=False)

    def add(self, charge: Charge) -> None:
        """@param charge: Of one sandbox and of compute, with all of its amount."""
        last = self.runs[-1] if self.runs else None
        if last is not None and (last.ended_at, last.rate) == (charge.period_start, charge.rate):
            self.runs[-1] = evolve(
                last,
                ended_at=charge.period_end,
                seconds=last.seconds + charge.units,
                cost=neuron(last.cost + charge.amount),
            )
            return
        self.runs.append(
            Run(
                reference=None,
                opened_at=charge.period_start,
                started_at=charge.period_start,
                ended_at=charge.period_end,
                resources=None,
                seconds=charge.units,
                rate=NeuronPerMinute(charge.rate),
                cost=charge.amount,
                derived=True,
            )
        )


def derived(charges: Iterable[Charge]) -> tuple[Run, ...]:
    """
    @param charges: Of one sandbox, in any order.
    @return: See L{Derived}.
    """
    found = Derived()
    for charge in sorted(charges, key=lambda one: one.period_start):
        found.add(charge)
    return tuple(found.runs)

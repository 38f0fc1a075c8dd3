"""
A sandbox being metered.

    pending (C{started_at} is None) -> running -> closed (the session is gone;
    C{billing:sandbox:<id>} remembers until when it was charged)

No charge goes past C{seen_at}, the send time of the newest observation that
showed the sandbox C{started} (L3).
"""

from __future__ import annotations

from attrs import evolve, field, frozen

from sandbox_billing.ledger.identity import Address, Reference, SandboxId, compute_charge_id
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds, neuron
from sandbox_billing.ledger.rating import period_amount
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.ledger.token import Allowance
from sandbox_billing.ledger.voucher import Charge, ChargeKind


LOOKUP_CACHE_SECONDS = 12
"""Daytona caches a lookup by id for up to 10 s; one sent earlier may tell of before (§4.2)."""

RUNNING = "started"

NOT_YET = frozenset(
    {
        "creating",
        "pending_build",
        "building_snapshot",
        "pulling_snapshot",
        "starting",
        "restoring",
        "resuming",
        "unknown",
    }
)
"""States that mean "not yet", not "not running"."""

UNCHANGED = frozenset({"resizing", "snapshotting", "forking"})
"""States that leave the session as it is."""

NEVER_STARTED = frozenset({"error", "build_failed"})

DAY_SECONDS = 86_400

NOT_RUNNING = frozenset(
    {
        "stopped",
        "stopping",
        "paused",
        "pausing",
        "archived",
        "archiving",
        "destroyed",
        "destroying",
        "error",
        "build_failed",
    }
)
"""States that end a run."""

KNOWN = NOT_YET | UNCHANGED | NOT_RUNNING | {RUNNING}
"""Every other state is of a newer Daytona, and leaves the session as it is."""

_ON_ITS_WAY = {
    ("started", "stopped"): "stopping",
    ("stopped", "archived"): "archiving",
    # Daytona derives the ones above itself, and these only in part or not at all.
    ("archived", "started"): "restoring",
    ("archiving", "started"): "restoring",
    ("paused", "started"): "resuming",
}


def seen_as(state: str, desired_state: str | None) -> str:
    """
    The state that a pair means, where Daytona shows the one it comes from (daytona.md, section 5).

    @param state: As shown.
    @param desired_state: Daytona's goal; None where a very old server shows none.
    """
    if desired_state == "destroyed":
        return "destroyed" if state == "destroyed" else "destroying"
    return _ON_ITS_WAY.get((state, desired_state or ""), state)


def is_running(state: str, desired_state: str | None) -> bool:
    """Whether Daytona shows it running, with no stop or deletion under way."""
    return seen_as(state, desired_state) == RUNNING


def has_ended(state: str, desired_state: str | None) -> bool:
    """Whether Daytona shows a state that ends a run, and no way back from it."""
    return seen_as(state, desired_state) in NOT_RUNNING


def day_of(moment: int) -> int:
    """The UTC day of a moment: whole days since 1970."""
    return moment // DAY_SECONDS


def day_begins(day: int) -> UnixSeconds:
    """The first second of a day."""
    return UnixSeconds(day * DAY_SECONDS)


@frozen(kw_only=True)
class Session:
    """
    @ivar reference: The intent it was opened under; C{adopted:<id>} when adopted.
    @ivar rate: neuron per minute, fixed for this session.
    @ivar signer_version: The card the wallet had acknowledged.
    @ivar opened_at: unix seconds.
    @ivar started_at: When the first answer that showed it C{started} had come; None until then.
    @ivar charged_until: Everything before is charged, or was never running.
    @ivar changed_at: Last lifecycle call; older observations do not count.
    @ivar hold: neuron set aside for this session (design.md §4.1).
    @ivar auto_stop_minutes: The user's own wish; None or 0 for never.
    @ivar revision: Raised by every write, so that no two stored forms are equal.
    @ivar allowance: Of the token it was started with; None where that has no limit, or where
        its owner signed.
    @ivar spent: neuron charged for it so far, at whatever rates; counted under an allowance.
    @ivar life_spent: neuron charged for its sandbox: earlier runs and the create fee, too.
    @ivar day_spent: neuron charged for this run in the UTC day of C{charged_until}.
    """

    sandbox: SandboxId
    owner: Address
    provider: Address
    reference: Reference
    resources: Resources
    rate: NeuronPerMinute
    signer_version: int
    opened_at: UnixSeconds
    started_at: UnixSeconds | None
    charged_until: UnixSeconds
    changed_at: UnixSeconds
    hold: Neuron
    auto_stop_minutes: int | None = None
    revision: int = 0
    allowance: Allowance | None = field(default=None, metadata={"added": True, "rare": True})
    spent: Neuron = field(default=Neuron(0), metadata={"added": True, "rare": True})
    life_spent: Neuron = field(default=Neuron(0), metadata={"added": True, "rare": True})
    day_spent: Neuron = field(default=Neuron(0), metadata={"added": True, "rare": True})


@frozen
class Tick:
    """
    One step of a meter.

    @ivar session: The session after it.
    @ivar charge: What it charges; None when the period costs nothing.
    """

    session: Session
    charge: Charge | None


def counts(session: Session, sent_at: int, *, by_id: bool) -> bool:
    """
    Whether an observation tells of this session.

    @param sent_at: When the request that saw it was sent.
    @param by_id: Whether it was a lookup, which Daytona may answer from a cache.
    """
    return sent_at >= session.changed_at + (LOOKUP_CACHE_SECONDS if by_id else 1)


def same_run(one: Session, other: Session) -> bool:
    """Whether both are forms of one session; charging changes none of these."""
    return (one.reference, one.opened_at) == (other.reference, other.opened_at)


def begin(session: Session, since: UnixSeconds) -> Session:
    """
    The session once it was seen running; never before what was charged already.

    @param since: When the answer that showed it had come, rounded up.
    """
    start = UnixSeconds(max(since, session.charged_until))
    return evolve(session, started_at=start, charged_until=start, revision=session.revision + 1)


def rerated(session: Session, rate: NeuronPerMinute, hold: Neuron, signer_version: int) -> Session:
    """
    The same run at another rate, from what is charged on.

    The line that C{amount_at} draws begins anew there, so nothing before it changes.
    """
    return evolve(
        session,
        started_at=session.charged_until,
        rate=rate,
        hold=hold,
        signer_version=signer_version,
        revision=session.revision + 1,
    )


def resized(session: Session, resources: Resources, rate: NeuronPerMinute, hold: Neuron) -> Session:
    """The same run in another size, from what is charged on."""
    after = rerated(session, rate, hold, session.signer_version)
    return evolve(after, resources=resources)


def due_at(session: Session, interval_seconds: int) -> UnixSeconds:
    """When its next period is full."""
    return UnixSeconds(session.charged_until + interval_seconds)


def tick(
    session: Session, *, seen_at: int | None, now: UnixSeconds, interval_seconds: int
) -> Tick | None:
    """
    Charge the next period of a session, one interval at most.

    @param seen_at: Newest observation of C{started}; None when there is none.
    @param now: unix seconds.
    @return: None when nothing can be charged: not due, not started, or not seen since.
    """
    due = due_at(session, interval_seconds)
    if session.started_at is None or seen_at is None or now < due:
        return None
    return _charge(session, UnixSeconds(min(due, seen_at)), now)


def tick_now(session: Session, *, seen_at: int | None, now: UnixSeconds) -> Tick | None:
    """
    Charge everything observed so far, due or not: before a refund or after a revoke (§4.8).
    """
    if seen_at is None:
        return None
    return _charge(session, UnixSeconds(seen_at), now)


def close(session: Session, *, until: int, now: UnixSeconds) -> Tick:
    """
    The last step: charge what is left up to a moment.

    @param until: C{seen_at}, or the acceptance of our own stop or delete.  Earlier
        than C{charged_until} changes nothing: what was charged stays charged.
    @return: A tick whose session is the last form of it.
    """
    return _charge(session, UnixSeconds(until), now) or Tick(
        evolve(session, revision=session.revision + 1), None
    )


def _charge(session: Session, until: UnixSeconds, now: UnixSeconds) -> Tick | None:
    if session.started_at is None or until <= session.charged_until:
        return None
    start = session.charged_until
    amount = period_amount(session.rate, session.started_at, start, until)
    after = evolve(
        session,
        charged_until=until,
        revision=session.revision + 1,
        spent=session.spent if session.allowance is None else neuron(session.spent + amount),
        life_spent=neuron(session.life_spent + amount),
        day_spent=day_share(session, until, day_of(until)),
    )
    if amount == 0:
        return Tick(after, None)
    charge = Charge(
        id=compute_charge_id(session.sandbox, start),
        sandbox=session.sandbox,
        owner=session.owner,
        provider=session.provider,
        kind=ChargeKind.COMPUTE,
        period_start=start,
        period_end=until,
        units=until - start,
        amount=amount,
        rate=session.rate,
        created_at=now,
    )
    return Tick(after, charge)


def day_share(session: Session, until: int, day: int) -> Neuron:
    """
    What a run has cost in a UTC day once it is charged up to a moment.

    @param session: Before that charge.
    @param day: That of C{charged_until}, or a later one.
    """
    start = max(session.charged_until, day_begins(day))
    end = min(until, day_begins(day + 1))
    before = session.day_spent if day_of(session.charged_until) == day else Neuron(0)
    if session.started_at is None or end <= start:
        return before
    return neuron(before + period_amount(session.rate, session.started_at, start, end))

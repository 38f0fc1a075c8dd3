"""
What a wallet decides about its own money: limits for a day, for all, and for one sandbox; and
whether what was stopped for want of money is started again by itself.  Pure.

Each limit is a L{Spending} of its own, as a token's is, over what is stored of the wallet: its
open sessions, which carry what they were charged so far, and what those that have ended cost.

Tests: C{tests.ledger.test_controls}.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from attrs import evolve, field, frozen

from sandbox_billing.ledger.hold import Exposure, Intent, hold_field, session_field
from sandbox_billing.ledger.identity import SandboxId, create_charge_id
from sandbox_billing.ledger.metering import Session, day_begins, day_of
from sandbox_billing.ledger.money import UINT256_MAX, Neuron, UnixSeconds, neuron, parse_neuron
from sandbox_billing.ledger.spending import LIMIT, SPEND_LIMIT, Spending


MOST_LIMITED = 100
"""Sandboxes of a wallet with a limit of their own."""

FOLD_AT = 500
"""Beyond so many sandboxes that have cost something, those that are gone are added up."""

LOOK_SECONDS = 300
"""A wallet with a limit of which something runs is looked at at least so often."""

MOST_LIMIT = 2**128
"""The highest limit that is taken, neuron: far more than there is."""

GONE = "#gone"
"""The field of what was added up; no sandbox has such an id."""


NOTHING = Neuron(0)


class Which(Enum):
    """Whose limit it is, as it is spelled everywhere."""

    TOKEN = "token"
    PER_DAY = "per_day"
    TOTAL = "total"
    SANDBOX = "sandbox"


@frozen
class SandboxLimit:
    """@ivar limit: neuron, of all that the sandbox ever costs."""

    sandbox: SandboxId
    limit: Neuron


@frozen(kw_only=True)
class Controls:
    """
    A wallet's settings.

    @ivar per_day: neuron of each UTC day; None for no limit.
    @ivar total: neuron since it was set; None for no limit.
    @ivar total_base: What the wallet had spent when C{total} was set.
    @ivar sandboxes: By id.
    @ivar revision: Raised by every write, so that no two stored forms are equal.
    """

    auto_resume: bool = False
    per_day: Neuron | None = None
    total: Neuron | None = None
    total_base: Neuron = NOTHING
    sandboxes: tuple[SandboxLimit, ...] = ()
    changed_at: UnixSeconds | None = None
    revision: int = 0

    @property
    def limited(self) -> bool:
        """Whether anything of it is bounded."""
        return self.per_day is not None or self.total is not None or bool(self.sandboxes)


def changed(before: Controls, after: Controls, *, spent: Neuron, now: UnixSeconds) -> Controls:
    """
    Settings as they are stored in place of others.

    @param after: As they were asked for.
    @param spent: neuron, what the wallet has spent for good by now: a total counts from when
        there was none; raised or lowered it goes on.
    """
    base = before.total_base if before.total is not None else spent
    return evolve(
        after,
        total_base=NOTHING if after.total is None else base,
        changed_at=now,
        revision=before.revision + 1,
    )


RESUMABLE = frozenset({"insufficient_balance", SPEND_LIMIT})
"""Why something is stopped that goes on when there is money again."""


@frozen(kw_only=True)
class Resumable:
    """
    @ivar reason: Of the order that stopped it.
    @ivar since: When it was stopped, unix seconds.
    """

    sandbox: SandboxId
    reason: str
    since: UnixSeconds


@frozen(kw_only=True)
class Bound:
    """
    A limit with everything that counts for it, at one moment.

    @ivar at: That moment, unix seconds.
    @ivar sandbox: Of a sandbox's limit.
    @ivar base: Spent before it was set; C{spending} counts it, and its limit with it.
    @ivar resets_at: When it begins anew, unix seconds; None: never.
    """

    which: Which
    at: UnixSeconds
    sandbox: SandboxId | None = None
    limit: Neuron
    base: Neuron = NOTHING
    spending: Spending
    resets_at: UnixSeconds | None = None

    def concerns(self, sandbox: SandboxId | None) -> bool:
        """@param sandbox: None for one that is yet to be created."""
        return self.sandbox is None or self.sandbox == sandbox

    def spent(self) -> Neuron:
        """So far; what is only set aside is not counted."""
        return neuron(max(0, self.spending.spent(self.at) - self.base))

    def committed(self, *, stop_delay: int) -> Neuron:
        """As L{Spending.committed}."""
        return neuron(max(0, self.spending.committed(self.at, stop_delay=stop_delay) - self.base))

    def reached_at(self, *, stop_delay: int) -> UnixSeconds | None:
        """As L{Spending.reached_at}; None, too, where it begins anew before."""
        at = self.spending.reached_at(self.at, stop_delay=stop_delay)
        if at is None or (self.resets_at is not None and at >= self.resets_at):
            return None
        return at

    def is_reached(self, *, stop_delay: int) -> bool:
        """Whether what runs must stop."""
        at = self.spending.reached_at(self.at, stop_delay=stop_delay)
        if at is None:
            # Nothing runs yet; what was promised at the admission is all that it may cause.
            return self.committed(stop_delay=stop_delay) > self.limit
        return at <= self.at


@frozen(kw_only=True)
class Outlay:
    """
    What a wallet has spent and is about to, as it was read at one moment.

    @ivar at: That moment, unix seconds.
    @ivar exposure: The wallet's.
    @ivar sessions: Its open ones.
    @ivar intents: Those that stand.
    @ivar ended: What the sandboxes have cost, neuron; stale for those with an open session.
    @ivar today: C{run:} and C{fee:} fields of the UTC day of C{at}.
    """

    at: UnixSeconds
    controls: Controls
    exposure: Exposure
    sessions: tuple[Session, ...] = ()
    intents: tuple[Intent, ...] = ()
    ended: Mapping[str, str] = field(factory=dict)
    today: Mapping[str, str] = field(factory=dict)

    def spent(self) -> Neuron:
        """All that was ever counted of the wallet."""
        return self._all(NOTHING).spent(self.at)

    def spent_for_good(self) -> Neuron:
        """The same without create fees that are forgiven should their sandboxes never run."""
        pending = [one.sandbox for one in self.sessions if one.started_at is None]
        fees = (self.exposure.fields.get(f"charge:{create_charge_id(s)}") for s in pending)
        return neuron(max(0, self.spent() - sum(parse_neuron(fee) for fee in fees if fee)))

    def spent_today(self) -> Neuron:
        """In the UTC day, neuron."""
        return self._day(NOTHING).spent(self.at)

    def bounds(self) -> tuple[Bound, ...]:
        """
        Every limit there is.

        @raise BadInput: Something that was stored cannot be read.
        """
        told, found = self.controls, []
        if told.per_day is not None:
            found.append(
                Bound(
                    which=Which.PER_DAY,
                    at=self.at,
                    limit=told.per_day,
                    spending=self._day(told.per_day),
                    resets_at=day_begins(day_of(self.at) + 1),
                )
            )
        if told.total is not None:
            found.append(
                Bound(
                    which=Which.TOTAL,
                    at=self.at,
                    limit=told.total,
                    base=told.total_base,
                    # A limit is stored that no sum is above: one never raises for its size.
                    spending=self._all(neuron(min(UINT256_MAX, told.total + told.total_base))),
                )
            )
        found.extend(self._of(each) for each in told.sandboxes)
        return tuple(found)

    def foldable(self) -> tuple[SandboxId, ...]:
        """Those whose cost may be added up with others': nobody asks for theirs alone."""
        limited = {each.sandbox for each in self.controls.sandboxes}
        kept = limited | set(self.exposure.sandboxes())
        return tuple(SandboxId(name) for name in self.ended if name != GONE and name not in kept)

    def _of(self, each: SandboxLimit) -> Bound:
        fields = {LIMIT: str(each.limit)}
        for intent in self.intents:
            if intent.sandbox == each.sandbox:
                fields[hold_field(intent.reference)] = str(intent.hold)
        ours = [session for session in self.sessions if session.sandbox == each.sandbox]
        for session in ours:
            fields[session_field(each.sandbox)] = _value(session.life_spent, session)
        if not ours:
            fields["run:ended"] = self.ended.get(each.sandbox, "0")
        return Bound(
            which=Which.SANDBOX,
            at=self.at,
            sandbox=each.sandbox,
            limit=each.limit,
            spending=Spending(fields),
        )

    def _all(self, limit: Neuron) -> Spending:
        open_now = {session.sandbox for session in self.sessions}
        ended = sum(parse_neuron(v) for name, v in self.ended.items() if name not in open_now)
        fields = {LIMIT: str(limit), "run:ended": str(ended), **self._holds()}
        for session in self.sessions:
            fields[session_field(session.sandbox)] = _value(session.life_spent, session)
        return Spending(fields)

    def _day(self, limit: Neuron) -> Spending:
        today = day_of(self.at)
        fields = {LIMIT: str(limit), **self.today, **self._holds()}
        for session in self.sessions:
            spent = session.day_spent if day_of(session.charged_until) == today else NOTHING
            fields[session_field(session.sandbox)] = _value(spent, session, day_begins(today))
        return Spending(fields)

    def _holds(self) -> dict[str, str]:
        return {n: v for n, v in self.exposure.fields.items() if n.startswith("hold:")}


def _value(spent: Neuron, session: Session, since: int = 0) -> str:
    """As C{ledger.spending.spending_value}, of a scope's own sum."""
    rate = 0 if session.started_at is None else session.rate
    return f"{spent}:{session.hold}:{rate}:{max(session.charged_until, since)}"

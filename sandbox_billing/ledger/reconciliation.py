"""
Comparing what Daytona shows with what is metered: the pure half of the reconciler.

Discover (I/O) gathers a L{World}, C{plan} returns changes, the service applies
them.  The state decides; who called what is only a hint (B11).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from attrs import frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.effects import (
    Adopt,
    AskById,
    Begin,
    Change,
    Close,
    DeleteLeftover,
    OpenUnderIntent,
    Refit,
    ReleaseIntent,
    Report,
)
from sandbox_billing.ledger.hold import RESIZE, UNDO, Intent
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.metering import (
    KNOWN,
    NEVER_STARTED,
    Session,
    counts,
    has_ended,
    is_running,
)
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.resources import Resources


OWNER_LABEL = "daytona-owner"
REFERENCE_LABEL = "daytona-billing-ref"
IDLE_LABEL = "daytona-billing-idle"
"""The user's own auto-stop wish, minutes: Daytona's interval is the dead-man's switch."""

RESERVED_LABELS = frozenset({OWNER_LABEL, REFERENCE_LABEL, IDLE_LABEL})

INTENT_GRACE_SECONDS = 300
"""An intent younger than this may still be under way (design.md §4.9)."""


@frozen(kw_only=True)
class Row:
    """
    A sandbox as one page of a sweep showed it.

    @ivar state: As Daytona spells it; C{started} when the key was absent.
    @ivar desired_state: Daytona's goal; C{destroyed} is an end whatever the state.
    @ivar seen_at: When the request for that page was sent.
    @ivar answered_at: When its answer had come.
    @ivar last_activity_at: As Daytona spells it; also moved by our own touch.
    @ivar auto_stop_minutes: Daytona's own interval; None where it is not shown.
    """

    sandbox: SandboxId
    state: str
    desired_state: str | None
    labels: Mapping[str, str]
    resources: Resources
    seen_at: UnixSeconds
    answered_at: UnixSeconds
    last_activity_at: str | None = None
    auto_stop_minutes: int | None = None

    @property
    def running(self) -> bool:
        """Whether it is shown running, with no deletion under way."""
        return is_running(self.state, self.desired_state)

    @property
    def ended(self) -> bool:
        """Whether it is shown in a state that ends a run."""
        return has_ended(self.state, self.desired_state)

    @property
    def owner(self) -> Address | None:
        """The wallet on its label; None when there is none or it is no address."""
        try:
            return Address(self.labels[OWNER_LABEL])
        except (KeyError, BadInput):
            return None


@frozen(kw_only=True)
class Unread:
    """
    A row of a sweep that could not be read: neither missing nor seen.

    @ivar sandbox: None where not even that is told.
    @ivar reference: On its label; None where there is none.
    @ivar why: What is wrong with it, without its content.
    """

    sandbox: SandboxId | None
    reference: Reference | None
    why: str


@frozen(kw_only=True)
class World:
    """
    Everything that a plan rests on.

    @ivar rows: One complete sweep.
    @ivar sessions: All open sessions.
    @ivar intents: All stored intents.
    @ivar owners: Owners by our own record, of the rows' sandboxes.
    @ivar wallets: Wallets we have a record of.
    @ivar missed: Intents that had no row in the sweep before this one.
    @ivar unread: Rows of the sweep that nobody could read.
    """

    rows: tuple[Row, ...]
    sessions: Mapping[SandboxId, Session]
    intents: tuple[Intent, ...]
    owners: Mapping[SandboxId, Address]
    wallets: frozenset[Address]
    missed: frozenset[Reference]
    now: UnixSeconds
    unread: tuple[Unread, ...] = ()

    @property
    def listed(self) -> frozenset[SandboxId]:
        """What the sweep shows, readable or not."""
        unread = {one.sandbox for one in self.unread if one.sandbox is not None}
        return frozenset(unread | {row.sandbox for row in self.rows})

    def shows(self, intent: Intent) -> bool:
        """Whether a row of the sweep is, or may be, what came of an intent."""
        named = {row.labels.get(REFERENCE_LABEL) for row in self.rows}
        named.update(one.reference for one in self.unread)
        # What does not even tell its id may be anybody's.
        blind = any(one.sandbox is None for one in self.unread)
        return blind or intent.reference in named or intent.sandbox in self.listed


def without_ours(labels: Mapping[str, str]) -> dict[str, str]:
    """A user's labels: none of those that are ours is his to set, nor to remove (P3, P4)."""
    return {name: text for name, text in labels.items() if name not in RESERVED_LABELS}


def wished_minutes(labels: Mapping[str, str]) -> int | None:
    """The user's auto-stop wish, as it was written at create; None for never."""
    text = labels.get(IDLE_LABEL, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else None


def interval_at_daytona(wish: int | None, deadman_minutes: int) -> int:
    """
    The C{autoStopInterval} that Daytona is given (design.md §4.9).

    @param wish: The user's; one that is short enough is Daytona's to carry out, longer
        ones and "never" are ours, under the dead-man's switch.
    """
    return wish if wish is not None and 0 < wish <= deadman_minutes else deadman_minutes


def seen(world: World) -> dict[SandboxId, UnixSeconds]:
    """The observations of running that count, to be stored in one write."""
    found = {}
    for row in world.rows:
        session = world.sessions.get(row.sandbox)
        if row.running and session is not None and counts(session, row.seen_at, by_id=False):
            found[row.sandbox] = row.seen_at
    return found


def crowded(world: World, most: int) -> frozenset[Address]:
    """
    The wallets that have as many sandboxes as they may, running or not.

    Every row is part of each sweep: what does not run costs its owner nothing, and us.
    """
    owners = Counter(world.owners.get(row.sandbox) or row.owner for row in world.rows)
    return frozenset(
        wallet for wallet, rows in owners.items() if wallet is not None and rows >= most
    )


def plan(world: World) -> tuple[Change, ...]:
    """What must change so that exactly what runs is metered."""
    changes: list[Change] = []
    explained: set[Reference] = set()
    for row in world.rows:
        intents = _intents_of(world, row)
        # Asking for another size lets nothing run.
        openers = [one for one in intents if one.action != RESIZE]
        intent = openers[-1] if openers else None
        explained.update(one.reference for one in intents)
        session = world.sessions.get(row.sandbox)
        # What is metered already, or asked for again later, needs no older intent.
        needless = [one for one in intents if session is not None or one is not intent]
        changes.extend(
            ReleaseIntent(one) for one in needless if one.action != UNDO and not _young(world, one)
        )
        undo = next((one for one in intents if one.action == UNDO), None)
        if undo is not None:
            changes.append(DeleteLeftover(row.sandbox, undo))
        elif session is None:
            change = _unmetered(world, row, intent)
            changes.extend([] if change is None else [change])
        else:
            changes.extend(_metered(row, session))
    changes.extend(
        Report(one.sandbox or SandboxId("-"), f"has a row that cannot be read: {one.why}")
        for one in world.unread
    )
    listed = world.listed
    changes.extend(AskById(sandbox) for sandbox in world.sessions if sandbox not in listed)
    changes.extend(
        ReleaseIntent(intent)
        for intent in world.intents
        if intent.reference not in explained
        and intent.reference in world.missed
        and not world.shows(intent)
        and world.now - intent.created_at > INTENT_GRACE_SECONDS
    )
    return tuple(changes)


def unexplained(world: World) -> frozenset[Reference]:
    """The intents without a row in this sweep: C{missed} of the next."""
    return frozenset(intent.reference for intent in world.intents if not world.shows(intent))


def _metered(row: Row, session: Session) -> Iterator[Change]:
    """At most one change."""
    if not counts(session, row.seen_at, by_id=False):
        return
    if row.running:
        if session.started_at is None:
            yield Begin(row.sandbox, row.answered_at)
        elif row.resources != session.resources:
            yield Refit(row.sandbox, row.resources)
    elif row.ended:
        never = session.started_at is None and row.state in NEVER_STARTED
        yield Close(row.sandbox, never_started=never)
    elif row.state not in KNOWN:
        # Whether it runs nobody here can say: it is charged only if it is seen running again.
        yield Report(row.sandbox, f"is in a state that is not known here, {row.state[:50]!r}")


def _intents_of(world: World, row: Row) -> list[Intent]:
    """Those that this row explains, oldest first."""
    reference = row.labels.get(REFERENCE_LABEL)
    found = [i for i in world.intents if i.sandbox == row.sandbox or i.reference == reference]
    return sorted(found, key=lambda intent: (intent.created_at, intent.reference))


def _young(world: World, intent: Intent) -> bool:
    """Whether it may still be under way."""
    return world.now - intent.created_at <= INTENT_GRACE_SECONDS


def _unmetered(world: World, row: Row, intent: Intent | None) -> Change | None:
    young = intent is not None and _young(world, intent)
    if intent is not None and row.running:
        return OpenUnderIntent(row.sandbox, intent, row.resources)
    if intent is not None and row.state in NEVER_STARTED and not young:
        if intent.action == "create":
            return DeleteLeftover(row.sandbox, intent)
        return ReleaseIntent(intent)
    if intent is not None and row.ended and not young:
        return ReleaseIntent(intent)
    if not row.running:
        return None
    owner = world.owners.get(row.sandbox) or row.owner
    if owner is None:
        return Report(row.sandbox, "runs without an owner label")
    if row.sandbox not in world.owners and owner not in world.wallets:
        return Report(row.sandbox, f"is labelled for {owner}, a wallet never seen here")
    return Adopt(
        sandbox=row.sandbox,
        owner=owner,
        resources=row.resources,
        reference=Reference(row.labels.get(REFERENCE_LABEL) or f"adopted:{row.sandbox}"),
        auto_stop_minutes=wished_minutes(row.labels),
    )

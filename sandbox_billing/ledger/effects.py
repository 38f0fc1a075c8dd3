"""
What the pure rooms want done, as values; the services carry them out.

Plans are compared in tests; an empty plan is nothing to do.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from sandbox_billing.ledger.hold import Intent
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.resources import Resources


@frozen
class Begin:
    """
    A pending session was seen running: metering starts.

    @ivar since: When the answer that showed it had come, not when it was asked for: it may have
        started between.
    """

    sandbox: SandboxId
    since: UnixSeconds


@frozen
class Close:
    """A session whose sandbox does not run: charge to the last observation and end it."""

    sandbox: SandboxId
    never_started: bool = False


@frozen
class Refit:
    """A running sandbox shows other sizes than are metered: its period is split here."""

    sandbox: SandboxId
    resources: Resources


@frozen
class OpenUnderIntent:
    """A sandbox runs whose intent is still stored: its reply was lost."""

    sandbox: SandboxId
    intent: Intent
    resources: Resources


@frozen(kw_only=True)
class Adopt:
    """A sandbox of a known wallet runs unmetered and no intent explains it."""

    sandbox: SandboxId
    owner: Address
    resources: Resources
    reference: Reference
    auto_stop_minutes: int | None = None


@frozen
class AskById:
    """A session's row is missing from the sweep: gone only when a lookup says 404."""

    sandbox: SandboxId


@frozen
class ReleaseIntent:
    """An intent that led to nothing: give its hold back."""

    intent: Intent


@frozen
class Report:
    """Something runs that is nobody's we know: tell a human, bill nobody."""

    sandbox: SandboxId
    text: str


@frozen
class DeleteLeftover:
    """A create that failed, or must be undone, left this row behind."""

    sandbox: SandboxId
    intent: Intent


Change: TypeAlias = (
    Begin
    | Close
    | Refit
    | OpenUnderIntent
    | Adopt
    | AskById
    | ReleaseIntent
    | Report
    | DeleteLeftover
)

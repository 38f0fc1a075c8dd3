"""
What an operator asks the worker to do, and how far that is.

An order is stored before anything is done, is carried out by the one worker, and ends once: with
its entry in the audit.  What is done outside is done under C{under_way}, so that a worker that
comes after a crash looks at the world before it repeats anything.

Tests: C{tests.ledger.test_order}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import Enum
from hashlib import sha256
from typing import Any, NewType

from attrs import evolve, frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.audit import AuditEntry
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import Neuron, UnixSeconds


OrderId = NewType("OrderId", str)

MOST_OPEN = 100
"""Orders that have not ended."""

RESERVED = 20
"""
So many more may be open of those that end at once: stops that Daytona does not carry out must
not keep an operator from closing the door, nor from opening it.
"""

LONGEST_REASON = 200

OPERATOR = "operator"
"""The reason of stop orders that an operator gave: never moot."""

MOST_FAILED = 100
"""Sandboxes that a result names with what went wrong; the others are counted."""

_NOTHING = Neuron(0)
_ID_DIGITS = 32
_ID = re.compile(rf"[0-9a-f]{{{_ID_DIGITS}}}\Z")


class Kind(Enum):
    """What is to be done, as it is spelled everywhere."""

    PAUSE = "pause"
    RESUME = "resume"
    DRAIN = "drain"
    STOP = "stop"
    FORCE_DELETE = "force-delete"
    ARCHIVE_ALL = "archive-all"
    SNAPSHOT = "snapshot"
    DELETE_SNAPSHOT = "delete-snapshot"


ADMISSIONS = frozenset({Kind.PAUSE, Kind.RESUME, Kind.DRAIN})
"""Those that concern our own books alone: nobody outside is asked."""

AT_ONCE = frozenset({Kind.PAUSE, Kind.RESUME})
"""Those of them that wait for nothing."""


class State(Enum):
    """How far an order is."""

    ASKED = "asked"
    UNDER_WAY = "under_way"
    DONE = "done"
    FAILED = "failed"


class Step(Enum):
    """What may happen to it."""

    BEGIN = "begin"
    FINISH = "finish"
    FAIL = "fail"


AFTER: Mapping[tuple[State, Step], State | None] = {
    (State.ASKED, Step.BEGIN): State.UNDER_WAY,
    (State.ASKED, Step.FINISH): State.DONE,
    (State.ASKED, Step.FAIL): State.FAILED,
    (State.UNDER_WAY, Step.BEGIN): None,
    (State.UNDER_WAY, Step.FINISH): State.DONE,
    (State.UNDER_WAY, Step.FAIL): State.FAILED,
    (State.DONE, Step.BEGIN): None,
    (State.DONE, Step.FINISH): None,
    (State.DONE, Step.FAIL): None,
    (State.FAILED, Step.BEGIN): None,
    (State.FAILED, Step.FINISH): None,
    (State.FAILED, Step.FAIL): None,
}
"""Total; None where there is no such step."""

ENDED = frozenset({State.DONE, State.FAILED})


@frozen(kw_only=True)
class Order:
    """
    @ivar digest: Of all that was asked for: the same key with another digest is a mistake.
    @ivar number: From 1, in the order in which they were asked for; 0 before it is stored.
    @ivar subject: A sandbox's or snapshot's id or name; None where it is about all.
    @ivar by: The operator's wallet.
    @ivar reason: May be empty where none has to be given.
    @ivar body: What goes to Daytona, JSON; None once the order has ended.
    @ivar general: Whether users may start from the snapshot.
    @ivar note: What was there when it began, by which a later look tells its effect.
    @ivar result: JSON, of an order that is done.
    @ivar error: Of one that failed, for the operator's eyes.
    """

    id: OrderId
    number: int = 0
    digest: str
    kind: Kind
    subject: str | None = None
    by: Address
    reason: str = ""
    asked_at: UnixSeconds
    body: str | None = None
    general: bool = True
    state: State = State.ASKED
    began_at: UnixSeconds | None = None
    ended_at: UnixSeconds | None = None
    note: str | None = None
    result: str | None = None
    error: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in ENDED

    def begun(self, now: UnixSeconds, note: str | None = None) -> Order:
        """Under way: from now on something may have been done outside."""
        return evolve(self, state=self._after(Step.BEGIN), began_at=now, note=note)

    def finished(self, now: UnixSeconds, result: Mapping[str, Any]) -> Order:
        """Done."""
        text = json.dumps(result, sort_keys=True, separators=(",", ":"))
        state = self._after(Step.FINISH)
        return evolve(self, state=state, ended_at=now, result=text, body=None)

    def failed(self, now: UnixSeconds, error: str) -> Order:
        """It did not come about, and will not."""
        state = self._after(Step.FAIL)
        return evolve(self, state=state, ended_at=now, error=error, body=None)

    def _after(self, step: Step) -> State:
        after = AFTER[self.state, step]
        assert after is not None, (self.id, self.state, step)
        return after

    def entry(self, by: str) -> AuditEntry:
        """
        What the audit keeps of an order that has ended.

        @param by: The wallet with its checksum.
        """
        assert self.ended_at is not None, self.id
        told: dict[str, Any] = {"order": self.id, "state": self.state.value}
        if self.result is not None:
            told["result"] = json.loads(self.result)
        if self.error is not None:
            told["error"] = self.error
        return AuditEntry(
            at=self.ended_at,
            by=by,
            what=self.kind.value,
            subject=self.subject or "",
            amount=_NOTHING,
            reason=self.reason,
            before=json.dumps(told, sort_keys=True, separators=(",", ":")),
        )


class Mark(Enum):
    """How far one sandbox of an C{archive-all} is."""

    WAITS = "waits"
    STOPPING = "stopping"
    ARCHIVED = "archived"
    LEFT = "left"
    FAILED = "failed"


@frozen(kw_only=True)
class Piece:
    """
    One sandbox of an order that is about many.

    @ivar run: Which of its runs was to be stopped.
    @ivar why: It failed.
    """

    mark: Mark = Mark.WAITS
    run: str | None = None
    why: str = ""

    @property
    def is_open(self) -> bool:
        """Whether something is still to be done with it."""
        return self.mark in (Mark.WAITS, Mark.STOPPING)


def archived(pieces: Mapping[SandboxId, Piece]) -> dict[str, Any]:
    """
    What came of an C{archive-all}.

    @param pieces: By sandbox.
    """
    failed = {name: one.why for name, one in pieces.items() if one.mark is Mark.FAILED}
    named = sorted(failed)[:MOST_FAILED]
    return {
        "archived": sum(one.mark is Mark.ARCHIVED for one in pieces.values()),
        "left": sum(one.mark is Mark.LEFT for one in pieces.values()),
        "failed": {name: failed[name] for name in named},
        "failed_count": len(failed),
    }


def order_named(wallet: Address, key: str) -> OrderId:
    """
    The id of the order that a wallet asks for under an Idempotency-Key: known before any answer.
    """
    return OrderId(sha256(f"order\0{wallet.hex}\0{key}".encode()).hexdigest()[:_ID_DIGITS])


def order_id(text: str) -> OrderId:
    """@raise BadInput: No order can be called that."""
    if not _ID.match(text):
        raise BadInput("an order's id is 32 lower-case hex digits")
    return OrderId(text)


def read_reason(told: object, *, required: bool) -> str:
    """@raise BadInput: It is none."""
    if told is None and not required:
        return ""
    if not isinstance(told, str) or not 1 <= len(told.strip()) <= LONGEST_REASON:
        raise BadInput(f"a reason is a text of 1 to {LONGEST_REASON} characters")
    reason = told.strip()
    if not reason.isprintable():
        raise BadInput("a reason is one line of printable characters")
    return reason

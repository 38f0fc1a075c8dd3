"""
What an operator is told: orders, how far a drain is, whose sandboxes run, the audit.

Read leniently, as L{sandbox_billing.client.values}.

Tests: C{tests.client.test_operator}.
"""

from __future__ import annotations

from attrs import field, frozen

from sandbox_billing.client.values import Raw, raw_of, rows, text, whole


_ENDED = frozenset({"done", "failed"})


@frozen
class Order:
    """
    What an operator asked for, and how far that is.
    """

    raw: Raw = field(repr=False, converter=raw_of)

    @property
    def id(self) -> str:
        """32 hex digits."""
        return str(self.raw.get("id", ""))

    @property
    def kind(self) -> str:
        """C{pause}, C{resume}, C{drain}, C{stop}, C{force-delete}, C{archive-all} and so on."""
        return str(self.raw.get("kind", ""))

    @property
    def subject(self) -> str | None:
        """A sandbox or snapshot; None where it is about all."""
        return text(self.raw, "subject")

    @property
    def state(self) -> str:
        """C{asked}, C{under_way}, C{done} or C{failed}."""
        return str(self.raw.get("state", ""))

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in _ENDED

    @property
    def is_done(self) -> bool:
        """Whether it came about."""
        return self.state == "done"

    @property
    def result(self) -> Raw:
        """Of one that is done; empty else."""
        found = self.raw.get("result")
        return raw_of(found) if isinstance(found, dict) else {}

    @property
    def error(self) -> str | None:
        """Of one that failed."""
        return text(self.raw, "error")


@frozen
class DrainStanding:
    """
    What stands between now and a drained provider.
    """

    raw: Raw = field(repr=False, converter=raw_of)

    @property
    def is_drained(self) -> bool:
        """Whether a pause stands, and all that ran before it is settled."""
        return self.raw.get("drained") is True

    @property
    def left(self) -> Raw:
        """C{sessions}, C{charges}, C{wallets}, C{intents}; C{amount} in neuron."""
        found = self.raw.get("left")
        return raw_of(found) if isinstance(found, dict) else {}


@frozen
class OpenSession:
    """
    A sandbox that is metered, whoever's.
    """

    raw: Raw = field(repr=False, converter=raw_of)

    @property
    def sandbox(self) -> str:
        """Its id."""
        return str(self.raw.get("sandbox", ""))

    @property
    def owner(self) -> str:
        """The wallet that pays."""
        return str(self.raw.get("owner", ""))


@frozen
class AuditRow:
    """
    What an operator decided.
    """

    raw: Raw = field(repr=False, converter=raw_of)

    @property
    def number(self) -> int:
        """From 1, the oldest first."""
        return whole(self.raw, "number") or 0

    @property
    def form(self) -> bytes:
        """As it is stored: what is hashed."""
        return (text(self.raw, "form") or "").encode("utf-8")


def orders_of(raw: Raw) -> tuple[Order, ...]:
    """Those of a page."""
    return tuple(map(Order, rows(raw, "orders")))

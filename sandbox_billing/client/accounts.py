"""
What a wallet has, what it was charged, and what it is told.

Amounts are neuron, moments unix seconds; read as leniently as L{sandbox_billing.client.values}.

Tests: C{tests.client.test_core}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from sandbox_billing.client.values import Raw, amount, number, raw_of, rows, text, whole


@frozen
class Account:
    """A wallet as its provider sees it."""

    raw: Raw = field(repr=False, converter=raw_of)

    @property
    def wallet(self) -> str:
        """Whose."""
        return str(self.raw.get("wallet", ""))

    @property
    def balance(self) -> int | None:
        """On the contract, without what was asked back."""
        return amount(self.raw, "balance")

    @property
    def available(self) -> int | None:
        """What of it is spoken for by nothing."""
        return amount(self.raw, "available")

    @property
    def exposure(self) -> int | None:
        """What is spoken for, or owed already."""
        return amount(raw_of(self.raw.get("exposure") or {}), "total")

    @property
    def debts(self) -> int | None:
        """What is owed from before."""
        return amount(raw_of(self.raw.get("exposure") or {}), "debts")

    @property
    def burn_rate_per_minute(self) -> int | None:
        """Of all that runs."""
        return amount(self.raw, "burn_rate_per_minute")

    @property
    def runs_dry_at(self) -> float | None:
        """When what runs is stopped; None while nothing runs."""
        return number(self.raw, "runs_dry_at")

    @property
    def acknowledged(self) -> bool:
        """Whether the provider's signer is agreed to."""
        return self.raw.get("acknowledged") is True

    @property
    def signer_version(self) -> int | None:
        """What an acknowledgement is for now."""
        return whole(self.raw, "signer_version")

    @property
    def blocked(self) -> str | None:
        """Why nothing is let in; None where it is."""
        return text(self.raw, "blocked")

    @property
    def running(self) -> int | None:
        """How many sandboxes are metered."""
        return whole(self.raw, "running")


@frozen
class Sums:
    """What was used and what it came to: charged = settled + owed + pending + forgiven."""

    raw: Raw = field(repr=False, converter=raw_of)

    @property
    def key(self) -> str | None:
        """The sandbox, day or label; None of a total."""
        return text(self.raw, "key")

    @property
    def seconds(self) -> float:
        """That something ran."""
        return number(self.raw, "seconds") or 0

    @property
    def charged(self) -> int:
        """Compute and create fees."""
        return amount(self.raw, "charged") or 0

    @property
    def settled(self) -> int:
        """Moved on-chain."""
        return amount(self.raw, "settled") or 0

    @property
    def owed(self) -> int:
        """The chain could not take."""
        return amount(self.raw, "owed") or 0

    @property
    def pending(self) -> int:
        """Charged, and not final yet."""
        return amount(self.raw, "pending") or 0


@frozen
class Usage:
    """What was used in a span of time."""

    raw: Raw = field(repr=False, converter=raw_of)

    @property
    def totals(self) -> Sums:
        """Of all rows."""
        return Sums(self.raw.get("totals") or {})

    @property
    def rows(self) -> tuple[Sums, ...]:
        """One for each sandbox, day or label."""
        return tuple(map(Sums, rows(self.raw, "rows")))


@frozen
class SandboxUsage:
    """What one sandbox did and cost."""

    raw: Raw = field(repr=False, converter=raw_of)

    @property
    def totals(self) -> Sums:
        """Of all its runs."""
        return Sums(self.raw.get("totals") or {})

    @property
    def runs(self) -> tuple[Raw, ...]:
        """Each from a start to a stop."""
        return rows(self.raw, "runs")

    @property
    def transitions(self) -> tuple[Raw, ...]:
        """When it was what, and why."""
        return rows(self.raw, "transitions")


@frozen
class Receipt:
    """
    What proves a charge; L{sandbox_billing.client.verify} takes C{raw}.
    """

    raw: Raw = field(repr=False, converter=raw_of)

    @property
    def id(self) -> str:
        """The charge's."""
        return str(self.raw.get("id", ""))

    @property
    def sandbox(self) -> str | None:
        """What it is for."""
        return text(self.raw, "sandbox")

    @property
    def fee(self) -> int | None:
        """What was signed."""
        return amount(self.raw, "fee")

    @property
    def paid(self) -> int | None:
        """What of it moved."""
        return amount(self.raw, "paid")

    @property
    def status(self) -> str | None:
        """C{paid}, C{partial}, C{signed}, C{open} and so on."""
        return text(self.raw, "status")

    @property
    def transaction(self) -> str | None:
        """In which it moved."""
        return text(self.raw, "transaction")


@frozen
class Event:
    """A voucher that was settled, as the contract's event tells it."""

    raw: Raw = field(repr=False, converter=raw_of)

    @property
    def total_fee(self) -> int | None:
        """What was signed."""
        return amount(self.raw, "total_fee")

    @property
    def transaction(self) -> str | None:
        """Its hash."""
        return text(self.raw, "tx_hash")


@frozen
class Notice:
    """Something that a wallet should know."""

    raw: Raw = field(repr=False, converter=raw_of)

    @property
    def id(self) -> str:
        """It rises; what asks for those after it."""
        return str(self.raw.get("id", ""))

    @property
    def kind(self) -> str:
        """C{runs_dry}, C{blocked}, C{stopped} and so on."""
        return str(self.raw.get("kind", ""))

    @property
    def at(self) -> float | None:
        """When."""
        return number(self.raw, "at")

    @property
    def sandbox(self) -> str | None:
        """Which; None where it is about the wallet."""
        return text(self.raw, "sandbox")

    @property
    def facts(self) -> Mapping[str, Any]:
        """By its kind."""
        return raw_of(self.raw.get("facts") or {})


@frozen
class Settings:
    """What a wallet allows to be spent, and whether what stopped starts again by itself."""

    raw: Raw = field(repr=False, converter=raw_of)

    @property
    def auto_resume(self) -> bool:
        """After a top-up."""
        return self.raw.get("auto_resume") is True

    @property
    def limits(self) -> Raw:
        """C{per_day}, C{total} and C{sandboxes}."""
        return raw_of(self.raw.get("limits") or {})


@frozen
class Resumed:
    """What started again, and what did not."""

    raw: Raw = field(repr=False, converter=raw_of)

    @property
    def resumed(self) -> tuple[str, ...]:
        """Ids."""
        return tuple(map(str, self.raw.get("resumed") or ()))

    @property
    def failed(self) -> Mapping[str, str]:
        """Why not, by id."""
        return raw_of(self.raw.get("failed") or {})


@frozen
class Webhook:
    """Where notices are sent to."""

    raw: Raw = field(repr=False, converter=raw_of)

    @property
    def id(self) -> str:
        """By which it is deleted."""
        return str(self.raw.get("id", ""))

    @property
    def url(self) -> str:
        """The target."""
        return str(self.raw.get("url", ""))

    @property
    def secret(self) -> str | None:
        """What signs the deliveries; told once, when it is made."""
        return text(self.raw, "secret")

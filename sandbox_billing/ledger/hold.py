"""
Setting money aside: intents, exposure and the question whether a wallet can pay.

Exposure is everything a wallet owes that the chain does not know yet.  It is
kept as fields, one for each hold, session, charge and debt; scripts set and
delete fields, and this module adds them up (amounts are beyond Lua's numbers).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import field, frozen

from sandbox_billing.errors import BadInput, BrokenLaw
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds, neuron, parse_neuron
from sandbox_billing.ledger.rating import Prices, cost_of, used_up_at
from sandbox_billing.ledger.token import Allowance
from sandbox_billing.ledger.voucher import Charge, ChargeKind


UNDO = "undo"
"""What was created must not run: delete it, however often Daytona refuses, and charge nothing."""

RESIZE = "resize"
"""Money for a bigger size was set aside; the sweep that meters that size ends it."""

QUARANTINED = "quarantined"
"""Why a wallet with a dead letter may run nothing until a human has looked (design.md §5)."""


@frozen(kw_only=True)
class Intent:
    """
    What was decided before Daytona was asked, so that it survives the asking.

    @ivar reference: Unique; on the sandbox as a label when it is created.
    @ivar action: C{create}, C{start}, C{recover}; or L{RESIZE} or L{UNDO}.
    @ivar sandbox: Known beforehand except for a create.
    @ivar hold: neuron set aside under C{hold:<reference>}.
    @ivar create_fee: neuron, charged when a create succeeds.
    @ivar rate: neuron per minute it was admitted with.
    @ivar prices: The card it was admitted with: what is allotted is rated on no other.
    @ivar allowance: Of the token it was asked with; None where that has no limit.
    """

    reference: Reference
    action: str
    owner: Address
    provider: Address
    sandbox: SandboxId | None
    hold: Neuron
    create_fee: Neuron
    rate: NeuronPerMinute
    prices: Prices
    signer_version: int
    auto_stop_minutes: int | None
    created_at: UnixSeconds
    idempotency_key: str | None = None
    allowance: Allowance | None = field(default=None, metadata={"added": True, "rare": True})


def hold_for(rate: NeuronPerMinute, fee: Neuron, *, interval: int, stop_delay: int) -> Neuron:
    """
    What must be free before a sandbox may run: design.md §4.1.

    @param fee: The create fee, or 0 for a start.
    @param interval: VOUCHER_INTERVAL_SEC.
    @param stop_delay: STOP_DELAY_SEC.
    """
    return neuron(fee + cost_of(rate, interval + stop_delay))


def hold_field(reference: Reference) -> str:
    """The exposure field of an intent."""
    return f"hold:{reference}"


def session_field(sandbox: SandboxId) -> str:
    """The exposure field of an open session."""
    return f"session:{sandbox}"


def session_value(session: Session) -> str:
    """C{hold:rate:charged_until}; the rate is 0 until it runs, for nothing accrues before."""
    rate = 0 if session.started_at is None else session.rate
    return f"{session.hold}:{rate}:{session.charged_until}"


def charge_field(charge: Charge) -> str:
    """The exposure field of a charge; debts are told apart because they close the door."""
    return f"{'debt' if charge.kind is ChargeKind.DEBT else 'charge'}:{charge.id}"


def _open(text: str) -> tuple[Neuron, NeuronPerMinute, int]:
    """
    hold, rate, and charged until.

    @raise BadInput: They cannot be read.
    """
    parts = text.split(":")
    if len(parts) != 3:
        raise BadInput(f"a session's exposure is hold:rate:charged_until, not {text!r}")
    hold, rate, charged_until = map(parse_neuron, parts)
    return hold, NeuronPerMinute(rate), int(charged_until)


@frozen(kw_only=True)
class ExposureParts:
    """
    What an exposure consists of; together its total, to the neuron.

    @ivar holds: neuron set aside beyond what has accrued.
    @ivar accrued: neuron that ran up since the last charge of each session.
    @ivar charges: neuron charged and not final yet; no debts among them.
    @ivar debts: neuron that earlier vouchers left owed.
    """

    holds: Neuron
    accrued: Neuron
    charges: Neuron
    debts: Neuron

    @property
    def total(self) -> Neuron:
        """As L{Exposure.total}."""
        return neuron(self.holds + self.accrued + self.charges + self.debts)


@frozen
class Exposure:
    """
    The exposure fields of one wallet.

    @ivar fields: Field name to stored value.
    """

    fields: Mapping[str, str]

    def total(self, now: int) -> Neuron:
        """
        Everything counted at an admission: holds, sessions, charges and debts.

        @param now: unix seconds; a session counts the larger of its hold and what accrued.
        """
        return neuron(sum(self._amounts(now, with_holds=True)))

    def parts(self, now: int) -> ExposureParts:
        """What the total of a moment consists of."""
        total, owed = self.total(now), self.owed(now)
        charges = neuron(sum(map(parse_neuron, self._of("charge"))))
        debts = neuron(sum(map(parse_neuron, self._of("debt"))))
        return ExposureParts(
            holds=neuron(total - owed),
            accrued=neuron(owed - charges - debts),
            charges=charges,
            debts=debts,
        )

    def owed(self, now: int) -> Neuron:
        """Charges, debts and what accrued; holds are not counted (design.md §4.7)."""
        return neuron(sum(self._amounts(now, with_holds=False)))

    def rate(self) -> NeuronPerMinute:
        """The sum of the rates of all running sessions."""
        return NeuronPerMinute(sum(rate for rate, _ in self.running()))

    def running(self) -> list[tuple[NeuronPerMinute, int]]:
        """The rate of each session that costs something, and until when it was charged."""
        runs = (_open(v) for v in self._of("session"))
        return [(rate, charged_until) for _, rate, charged_until in runs if rate]

    def reserved(self) -> Neuron:
        """What open sessions set aside: an interval and the stop of each, running or not yet."""
        return neuron(sum(_open(v)[0] for v in self._of("session")))

    def sandboxes(self) -> tuple[SandboxId, ...]:
        """The sandboxes with an open session."""
        return tuple(
            SandboxId(name.split(":", 1)[1]) for name in self.fields if name.startswith("session:")
        )

    def pending(self) -> int:
        """How many intents stand."""
        return sum(1 for _ in self._of("hold"))

    def count(self) -> int:
        """How many sandboxes run or are about to; the rest of a grown hold counts for none."""
        held = sum(1 for n in self.fields if n.startswith("hold:") and not n.endswith("-more"))
        return held + len(self.sandboxes())

    @property
    def in_debt(self) -> bool:
        """Whether an earlier voucher was not paid in full."""
        return any(True for _ in self._of("debt"))

    def _of(self, kind: str) -> Iterable[str]:
        return (value for name, value in self.fields.items() if name.startswith(f"{kind}:"))

    def _amounts(self, now: int, *, with_holds: bool) -> Iterable[int]:
        for name, value in self.fields.items():
            kind = name.split(":", 1)[0]
            if kind == "session":
                hold, rate, charged_until = _open(value)
                accrued = max(0, rate * (now - charged_until) // 60)
                yield max(hold, accrued) if with_holds else accrued
            elif kind == "hold":
                yield parse_neuron(value) if with_holds else 0
            elif kind in ("charge", "debt"):
                yield parse_neuron(value)
            else:
                # L7 rests on this sum: a field nobody knows must not count as nothing.
                raise BrokenLaw("L7", f"unknown exposure field {name!r}")


def covers(balance: Neuron, loss_cap: Neuron, exposed: Neuron) -> bool:
    """
    Whether a wallet's funds cover its exposure: law L7.

    @param balance: The mirror's; a pending refund is never counted.
    @param exposed: The sum of all fields, the new hold among them.
    """
    return balance + loss_cap >= exposed


def runs_dry_at(
    exposure: Exposure, *, balance: Neuron, loss_cap: Neuron, stop_delay: int, now: UnixSeconds
) -> UnixSeconds | None:
    """
    When what is left falls to the cost of stopping: design.md §4.7.

    @param stop_delay: STOP_DELAY_SEC.
    @return: unix seconds, at most C{now} when it already has; None when nothing runs.
    """
    running = exposure.running()
    if not running:
        return None
    left = balance + loss_cap - exposure.owed(now) - cost_of(exposure.rate(), stop_delay)
    return used_up_at(left, running, now)

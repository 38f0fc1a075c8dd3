"""
What a token with a spend limit has caused: pure, over the fields that are stored of it.

A token causes the create fees and the metered cost of every run that was started with it,
whoever ends that run and whatever becomes of the token meanwhile.  As for exposure, scripts
set and delete fields, and this module adds them up (amounts are beyond Lua's numbers).

Tests: C{tests.ledger.test_spending}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds, neuron, parse_neuron
from sandbox_billing.ledger.rating import cost_of, used_up_at
from sandbox_billing.ledger.voucher import Charge


SPEND_LIMIT = "spend_limit"
"""Why a run is stopped, or not admitted, whose token has caused what it may."""

LIMIT = "limit"
"""The field that holds the limit itself, neuron."""

_ONGOING = ("hold", "session")


def fee_field(charge: Charge) -> str:
    """The field of a create fee; gone when that is forgiven."""
    return f"fee:{charge.sandbox}"


def run_field(session: Session) -> str:
    """
    The field of a run that has ended: what it cost.

    One of its own for each: an adopted run has the reference that the label tells, the create's,
    and none that costs anything begins when the one before it began (L2).
    """
    return f"run:{session.reference}:{session.opened_at}"


def spending_value(session: Session) -> str:
    """C{spent:hold:rate:charged_until}; the rate is 0 until it runs, for nothing accrues before."""
    rate = 0 if session.started_at is None else session.rate
    return f"{session.spent}:{session.hold}:{rate}:{session.charged_until}"


@frozen(kw_only=True)
class _Run:
    """An open session, as its field tells."""

    spent: Neuron
    hold: Neuron
    rate: NeuronPerMinute
    charged_until: int

    def cost(self, now: int) -> int:
        """Charged and accrued, neuron."""
        return self.spent + max(0, self.rate * (now - self.charged_until) // 60)


def _run(text: str) -> _Run:
    parts = text.split(":")
    if len(parts) != 4:
        raise BadInput(f"a run's spending is spent:hold:rate:charged_until, not {text!r}")
    spent, hold, rate, charged_until = map(parse_neuron, parts)
    return _Run(
        spent=spent, hold=hold, rate=NeuronPerMinute(rate), charged_until=int(charged_until)
    )


def spent_by(value: str) -> Neuron:
    """
    What a run was charged, by its field.

    @raise BadInput: It cannot be read.
    """
    return _run(value).spent


@frozen
class Spending:
    """
    The fields of one token.

    @ivar fields: Field name to stored value.
    """

    fields: Mapping[str, str]

    @property
    def limit(self) -> Neuron:
        """
        What it may cause in all.

        @raise BadInput: It is not there, or no amount.
        """
        if LIMIT not in self.fields:
            raise BadInput("a spending without its limit")
        return parse_neuron(self.fields[LIMIT])

    @property
    def ongoing(self) -> bool:
        """Whether anything of it runs or is about to."""
        return any(name.split(":", 1)[0] in _ONGOING for name in self.fields)

    def sandboxes(self) -> tuple[SandboxId, ...]:
        """Those with an open session."""
        return tuple(
            SandboxId(name.split(":", 1)[1]) for name in self.fields if name.startswith("session:")
        )

    def spent(self, now: int) -> Neuron:
        """What it has caused by a moment; what is only set aside is not counted."""
        return neuron(self._ended() + sum(run.cost(now) for run in self._runs()))

    def committed(self, now: int, *, stop_delay: int) -> Neuron:
        """
        What counts at an admission: what was caused, and what may be before it can be stopped.

        @param stop_delay: STOP_DELAY_SEC.
        """
        runs = sum(
            max(run.spent + run.hold, run.cost(now) + cost_of(run.rate, stop_delay))
            for run in self._runs()
        )
        return neuron(self._ended() + self._held() + runs)

    def reached_at(self, now: UnixSeconds, *, stop_delay: int) -> UnixSeconds | None:
        """
        When what is left falls to the cost of stopping what runs.

        What is about to run counts with all that was set aside for it: its admission is a
        promise of so much.

        @return: unix seconds, at most C{now} when it already has; None when nothing runs.
        @raise BadInput: A field cannot be read.
        """
        runs = self._runs()
        running = [(run.rate, run.charged_until) for run in runs if run.rate]
        if not running:
            return None
        caused = sum(run.cost(now) if run.rate else run.spent + run.hold for run in runs)
        caused += self._ended() + self._held()
        stops = cost_of(NeuronPerMinute(sum(rate for rate, _ in running)), stop_delay)
        return used_up_at(self.limit - caused - stops, running, now)

    def _ended(self) -> int:
        return sum(parse_neuron(value) for value in (*self._of("run"), *self._of("fee")))

    def _held(self) -> int:
        return sum(map(parse_neuron, self._of("hold")))

    def _runs(self) -> list[_Run]:
        return [_run(value) for value in self._of("session")]

    def _of(self, kind: str) -> Iterable[str]:
        return (value for name, value in self.fields.items() if name.startswith(f"{kind}:"))

"""
Between the end of a wallet's own money and the stop: STOP_GRACE_SEC.  Pure.

Without a grace what runs is stopped when balance and LOSS_CAP_NEURON together fall to the cost
of stopping it.  With one, nothing new is let in from the moment at which the balance alone
does, and the stop comes when the grace is over, or when the loss cap is used up as well,
whichever is first.  So a grace lends time within the cap, and never a neuron beyond it (L7).

Tests: C{tests.ledger.test_grace}.
"""

from __future__ import annotations

from attrs import frozen

from sandbox_billing.ledger.hold import Exposure, runs_dry_at
from sandbox_billing.ledger.money import Neuron, UnixSeconds


@frozen(kw_only=True)
class Ending:
    """
    How a wallet's money ends.

    @ivar own_ends_at: When its own is used up, unix seconds; at most now when it is; None when
        nothing runs, or where there is no grace.
    @ivar stops_at: When what runs is to be stopped, unix seconds; None when nothing runs.
    """

    own_ends_at: UnixSeconds | None
    stops_at: UnixSeconds | None

    @property
    def dry_at(self) -> UnixSeconds | None:
        """
        When the wallet's money is used up, for who is to pay in before that: with a grace its
        own, for then nothing new is let in; without one when what runs is stopped.
        """
        return self.stops_at if self.own_ends_at is None else self.own_ends_at

    def in_grace(self, now: UnixSeconds) -> bool:
        """Whether its own money has ended, and it runs on the provider's."""
        return self.own_ends_at is not None and self.own_ends_at <= now


def ending(
    exposure: Exposure,
    *,
    balance: Neuron,
    loss_cap: Neuron,
    stop_delay: int,
    grace: int,
    dry_since: UnixSeconds | None,
    now: UnixSeconds,
) -> Ending:
    """
    When a wallet's own money ends, and when what runs is stopped.

    @param balance: The mirror's; a pending refund is never counted.
    @param grace: STOP_GRACE_SEC; 0 for none.
    @param dry_since: Since when it has been in its grace, unix seconds; None: it was not.
    """
    last = runs_dry_at(exposure, balance=balance, loss_cap=loss_cap, stop_delay=stop_delay, now=now)
    if not grace or last is None:
        return Ending(own_ends_at=None, stops_at=last)
    own = runs_dry_at(exposure, balance=balance, loss_cap=Neuron(0), stop_delay=stop_delay, now=now)
    assert own is not None, "something runs"
    since = max(own, 0) if dry_since is None else dry_since
    # A grace that has begun goes on until there is money enough to end it: a top-up that lasts
    # for moments is used up before the stop, and begins none anew.
    return Ending(own_ends_at=own, stops_at=min(last, max(own, UnixSeconds(since + grace))))

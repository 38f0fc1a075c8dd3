"""
The electrician's work on what wallets decide about their own money.

Tests: C{tests.services.test_limits}, C{tests.services.test_resumer}.
"""

from __future__ import annotations

from collections.abc import Callable

from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.interfaces import IWallClock
from sandbox_billing.services.intake import Intake
from sandbox_billing.services.limits import LimitWatch
from sandbox_billing.services.policy import Policy
from sandbox_billing.services.resumer import AutoResume, Resumer


def swept_or_late(
    swept: Callable[[], bool], wall: IWallClock, policy: Policy
) -> Callable[[], bool]:
    """
    @return: Whether money may be judged by what runs: a sweep is complete, or none was for so
        long that waiting on would let what nobody pays for run (L4): a list may fail for hours
        while stops are carried out.
    """
    begun_at = wall.now()
    return lambda: swept() or wall.now() - begun_at >= policy.sweep_max_age


def make_limit_watch(
    journal: Journal, wall: IWallClock, policy: Policy, swept: Callable[[], bool]
) -> LimitWatch:
    """
    Stops what is at a limit of its wallet.

    @param swept: Whether this process has completed a sweep, or waited long enough for one.
    """
    return LimitWatch(
        controls=journal.controls,
        stops=journal.stops,
        notices=journal.notices,
        wall=wall,
        policy=policy,
        swept=swept,
    )


def make_resumer(journal: Journal, intake: Intake) -> Resumer:
    """@param intake: Its starts, and whose supervisor keeps them."""
    return Resumer(
        controls=journal.controls,
        doors=journal.doors,
        intake=intake,
        admission=intake.admission,
        count=journal.lifecycle,
        notices=journal.notices,
        ids=intake.ids,
        supervisor=intake.supervisor,
        wall=intake.wall,
        most=intake.policy.lifecycle_per_hour,
    )


def make_auto_resume(journal: Journal, intake: Intake) -> AutoResume:
    """For the worker, with an intake of its own."""
    return AutoResume(
        resumer=make_resumer(journal, intake),
        controls=journal.controls,
        doors=journal.doors,
        wall=intake.wall,
    )

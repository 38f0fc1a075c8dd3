"""
C{sandbox-billing operator}: a table of what those do who run a provider, over HTTP.

Tests: C{tests.cli.test_operator}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import click

from sandbox_billing.cli.lazy import Entry, LazyGroup


COMMANDS: Final[Mapping[str, Entry]] = {
    "pause": Entry("operator_orders:pause", "Let nothing new in; what runs goes on."),
    "resume": Entry("operator_orders:resume", "Let in again."),
    "drain": Entry("operator_orders:drain", "Pause, and wait until everything is settled."),
    "stop": Entry("operator_orders:stop", "Stop anybody's sandbox."),
    "force-delete": Entry("operator_orders:force_delete", "Delete anybody's, in any state."),
    "archive-all": Entry("operator_orders:archive_all", "Stop and archive all that is metered."),
    "orders": Entry("operator_show:orders", "What was ordered, and how far that is."),
    "sessions": Entry("operator_show:sessions", "What runs, whoever's."),
    "summary": Entry("operator_show:summary", "How everything stands, and what needs a human."),
}

_CLOSING = (
    "The provider is --url or SANDBOX_BILLING_URL. The key is one of a wallet in ADMIN_ADDRESSES, "
    "and where that is not set the provider's: PROVIDER_KEY, a keystore, or it is asked for. An "
    "order that was taken goes on whatever becomes of the command."
)


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    closing=_CLOSING,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def operator() -> None:
    """Pause, drain, stop or delete anybody's sandbox, and see how everything stands."""

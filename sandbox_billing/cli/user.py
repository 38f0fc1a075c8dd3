"""
C{sandbox-billing user}: a table of what those do who rent sandboxes.

Tests: C{tests.cli.test_user}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import click

from sandbox_billing.cli.lazy import Entry, LazyGroup


COMMANDS: Final[Mapping[str, Entry]] = {
    "balance": Entry("user_money:balance", "What you have with the provider, on chain."),
    "deposit": Entry("user_money:deposit", "Pay in."),
    "acknowledge": Entry("user_acknowledge:acknowledge", "Agree to the signer and the prices."),
    "refund": Entry("user_refund:refund", "Ask for money back, and take it."),
    "providers": Entry("user_catalogue:providers", "Who rents out, and at what price."),
    "snapshots": Entry("user_catalogue:snapshots", "What a sandbox may start from."),
    "create": Entry("user_create:create", "Rent a sandbox."),
    "list": Entry("user_sandboxes:list_sandboxes", "Your sandboxes and what they cost."),
    "start": Entry("user_sandboxes:start", "Start one that is stopped."),
    "stop": Entry("user_sandboxes:stop", "Stop one: it costs nothing from then on."),
    "delete": Entry("user_sandboxes:delete", "Delete one for good."),
    "exec": Entry("user_inside:execute", "Run a command inside; ends with its status."),
    "toolbox": Entry("user_inside:toolbox", "One call of the sandbox's toolbox, as it is."),
    "ssh-access": Entry("user_inside:ssh_access", "A command line that leads inside."),
    "account": Entry("user_account:account", "What is left, what runs, how long it lasts."),
    "usage": Entry("user_account:usage", "What was used, by sandbox, day or label."),
    "receipts": Entry("user_receipts:receipts", "Every voucher; 'receipts verify' checks them."),
    "resume": Entry("user_settings:resume", "Start again what had to stop for want of money."),
    "settings": Entry("user_settings:settings", "Spend limits, and resuming by itself."),
    "login": Entry("user_login:login", "Sign once, for an hour of commands."),
    "logout": Entry("user_login:logout", "End what login began."),
}

_CLOSING = (
    "The provider is --url or SANDBOX_BILLING_URL; contract and chain are asked of it, and may be "
    "named. The wallet's key is USER_KEY, a keystore, or is asked for. exec ends with the status "
    "of the command inside, and with 125 when it did not come to that."
)


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    closing=_CLOSING,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def user() -> None:
    """Deposit, acknowledge, rent sandboxes, see what they cost and check it."""

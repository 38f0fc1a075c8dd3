"""
The console script C{sandbox-billing}: a table of commands, each loaded when it is asked for.

Tests: L{tests.cli.test_main}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Final

import click

from sandbox_billing import __version__
from sandbox_billing.cli.lazy import Entry, LazyGroup


COMMANDS: Final[Mapping[str, Entry]] = {
    "deploy": Entry("deploy:deploy", "Deploy implementation, beacon and proxy."),
    "upgrade": Entry("upgrade:upgrade", "Put this version's contract behind a proxy."),
    "verify": Entry("verify:verify", "Publish the sources on an explorer."),
    "setup": Entry("setup:setup", "Register, deposit and acknowledge with one key."),
    "checkbal": Entry("checkbal:checkbal", "Balance, nonce and earnings."),
    "provider": Entry("provider:provider", "Register, status, withdraw, stake, leave."),
    "user": Entry("user:user", "Deposit, acknowledge, rent sandboxes, see what they cost."),
    "operator": Entry("operator:operator", "Pause, drain, stop anybody's; see who runs what."),
    "audit": Entry("audit:audit", "Keep a copy of what operators decided, and check it."),
    "queue": Entry("queue:queue", "What waits to be settled; dead letters, quarantines."),
    "reconcile": Entry("reconcile:reconcile", "Compare Redis, chain and Daytona; rebuild."),
    "import-go": Entry("import_go:import_go", "Carry over what the Go implementation left."),
    "completion": Entry("completion:completion", "Print the shell's completion script."),
}

_CLOSING = (
    "Amounts are '0.01 0G', '10000 neuron' or 10000 (neuron). Keys come from OWNER_KEY, "
    "PROVIDER_KEY or USER_KEY, a keystore, or a hidden prompt."
)


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    closing=_CLOSING,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="sandbox-billing")
def cli() -> None:
    """The contract of sandbox_billing: deploy it, register with it, rent by it, look into it."""


def main() -> None:
    """
    The console script: as click would do it, but that C{--json} also has usage errors.
    """
    arguments = sys.argv[1:]
    try:
        result: Any = cli.main(arguments, prog_name="sandbox-billing", standalone_mode=False)
    except click.ClickException as problem:
        if "--json" in arguments:
            document = {"error": problem.format_message(), "code": problem.exit_code}
            click.echo(json.dumps(document, indent=2))
        problem.show()
        sys.exit(problem.exit_code)
    sys.exit(result if isinstance(result, int) else 0)


if __name__ == "__main__":
    main()

"""
The console script C{sandbox-billing}: a table of commands, each loaded when it is asked for.

Tests: L{tests.cli.test_main}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import click
from attrs import frozen

from sandbox_billing import __version__
from sandbox_billing.cli.exits import MEANINGS


@frozen
class Entry:
    """
    @ivar place: Module below C{sandbox_billing.cli} and the command's name in it.
    @ivar help: One line, here so that C{--help} loads nothing.
    """

    place: str
    help: str


COMMANDS: Final[Mapping[str, Entry]] = {
    "deploy": Entry("deploy:deploy", "Deploy implementation, beacon and proxy."),
    "upgrade": Entry("upgrade:upgrade", "Put this version's contract behind a proxy."),
    "verify": Entry("verify:verify", "Publish the sources on an explorer."),
    "setup": Entry("setup:setup", "Register, deposit and acknowledge with one key."),
    "checkbal": Entry("checkbal:checkbal", "Balance, nonce and earnings."),
    "provider": Entry("provider:provider", "Register, status, withdraw, stake, leave."),
    "queue": Entry("queue:queue", "What waits to be settled; dead letters, quarantines."),
    "reconcile": Entry("reconcile:reconcile", "Compare Redis, chain and Daytona; rebuild."),
}


class LazyGroup(click.Group):
    """
    A group that imports a command's module when the command is asked for.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, name = entry.place.split(":")
        found: click.Command = getattr(import_module(f"sandbox_billing.cli.{module}"), name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table's lines; click's own would load every command for them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The exit statuses."""
        with formatter.section("Exit status"):
            formatter.write_dl([(str(int(code)), text) for code, text in MEANINGS.items()])
        formatter.write_paragraph()
        formatter.write_text(
            "Amounts are '0.01 0G', '10000 neuron' or 10000 (neuron). Keys come from OWNER_KEY, "
            "PROVIDER_KEY or USER_KEY, a keystore, or a hidden prompt."
        )


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sandbox-billing")
def cli() -> None:
    """The contract of sandbox_billing: deploy it, register with it, look into it."""


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

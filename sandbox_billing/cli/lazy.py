"""
A table of commands, each imported when it is asked for: C{--help} loads none of them.

Tests: L{tests.cli.test_main}.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click
from attrs import frozen
from click.shell_completion import CompletionItem

from sandbox_billing.cli.exits import MEANINGS


@frozen
class Entry:
    """
    @ivar place: Module below C{sandbox_billing.cli} and the command's name in it.
    @ivar help: One line, here so that C{--help} loads nothing.
    """

    place: str
    help: str


class LazyGroup(click.Group):
    """
    A group that imports a command's module when the command is asked for.
    """

    def __init__(
        self, *args: Any, table: Mapping[str, Entry], closing: str = "", **kwargs: Any
    ) -> None:
        """
        @param table: The commands by their names.
        @param closing: The help's last paragraph.
        """
        super().__init__(*args, **kwargs)
        self.table = table
        self.closing = closing

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self.table.get(cmd_name)
        if entry is None:
            return None
        module, name = entry.place.split(":")
        found: click.Command = getattr(import_module(f"sandbox_billing.cli.{module}"), name)
        return found

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The table's names and lines; click's own would load every command for them."""
        names = [
            CompletionItem(name, help=entry.help)
            for name, entry in self.table.items()
            if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table's lines; click's own would load every command for them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self.table.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The exit statuses."""
        with formatter.section("Exit status"):
            formatter.write_dl([(str(int(code)), text) for code, text in MEANINGS.items()])
        formatter.write_paragraph()
        formatter.write_text(self.closing)

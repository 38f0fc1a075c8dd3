"""
C{sandbox-billing completion}: what a shell needs to complete our commands.

Tests: L{tests.cli.test_user_completion}.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.errors import BadInput


VARIABLE = "_SANDBOX_BILLING_COMPLETE"
"""Where click looks, by the name of the program."""

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@output_options
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(out: Output, shell: str) -> None:
    """
    Print the completion script for SHELL.

    \b
    Example, for this shell only:
      eval "$(sandbox-billing completion bash)"
    For good:
      sandbox-billing completion bash > ~/.local/share/bash-completion/completions/sandbox-billing
      sandbox-billing completion fish > ~/.config/fish/completions/sandbox-billing.fish
    """
    script = script_of(shell)
    if out.json:
        out.finish({"shell": shell, "script": script}, title="", rows=())
    else:
        click.echo(script, nl=False)


def script_of(shell: str) -> str:
    """
    @raise BadInput: click knows no such shell.
    """
    found = get_completion_class(shell)
    if found is None:
        raise BadInput(f"no completion for {shell}: there are {', '.join(_SHELLS)}")
    # Its source() would run bash to ask for its version, and there may be none here.
    made = found(click.Group(), {}, "sandbox-billing", VARIABLE)
    return f"{made.source_template % made.source_vars()}\n"

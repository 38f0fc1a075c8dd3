"""
C{sandbox-billing user exec}, C{toolbox} and C{ssh-access}: what leads inside.

Tests: C{tests.cli.test_user}.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.cli.user_client import desk
from sandbox_billing.cli.user_create import pairs
from sandbox_billing.cli.user_place import Place, place_options
from sandbox_billing.errors import BadInput, Refused, UnknownOutcome
from sandbox_billing.ledger.token import Scope


OWN_FAILURE = 125
"""As C{docker}, C{env} and C{timeout} have it: the command inside did not come to run."""

_MOST = 255


class RemoteCommand(click.Command):
    """One whose exit status is that of something else: each failure of its own is 125."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as problem:
            raise _NotRun(problem.format_message(), problem.ctx) from None


class _NotRun(click.UsageError):
    """A wrong use of C{exec}."""

    exit_code = OWN_FAILURE


def _own_failures(command: Callable[..., None]) -> Callable[..., None]:
    """Around L{output_options}, which has said already what was wrong."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except click.exceptions.Exit as ended:
            if not isinstance(ended, _Remote):
                raise click.exceptions.Exit(OWN_FAILURE) from None
            raise

    return wrapped


class _Remote(click.exceptions.Exit):
    """The end of the command inside."""


def status_of(code: int) -> int:
    """
    @param code: As the sandbox tells it.
    @return: What a process can end with: 0 to 255; 255 for anything else.
    """
    return code if 0 <= code <= _MOST else _MOST


@click.command("exec", cls=RemoteCommand)
@_own_failures
@output_options
@place_options()
@click.option("--cwd", help="The folder inside, to run in.")
@click.option("--env", "env", multiple=True, metavar="NAME=VALUE", help="Of the command.")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    help="Seconds that the command may take.",
)
@click.argument("sandbox")
@click.argument("command", nargs=-1, required=True)
def execute(
    out: Output,
    place: Place,
    cwd: str | None,
    env: tuple[str, ...],
    timeout_seconds: int,
    sandbox: str,
    command: tuple[str, ...],
) -> None:
    """
    Run COMMAND in SANDBOX; put -- before it.

    Prints what it says and ends with its exit status, 0 to 255 (255 also for what is beyond). When
    it did not come to run, for want of money, say, the status is 125. Words are quoted for the
    shell inside; for pipes and variables name a shell. Examples:

    \b
      sandbox-billing user exec desk -- python3 -c 'print(1)'
      sandbox-billing user exec desk -- sh -c 'ls | wc -l'
    """
    with desk(out, place, Scope.TOOLBOX) as at:
        try:
            done = at.client.exec(
                sandbox,
                shlex.join(command),
                cwd=cwd,
                env=pairs(env, "--env") or None,
                timeout=timeout_seconds,
            )
        except KeyboardInterrupt:
            raise UnknownOutcome("stopped waiting; the command inside may run on") from None
    status = status_of(done.exit_code)
    if out.json:
        document = {"exit_code": done.exit_code, "output": done.output}
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(done.output, nl=False)
    raise _Remote(status)


@click.command()
@output_options
@place_options()
@click.option("--data", help="The body: JSON, or @FILE for what is in a file.")
@click.argument("sandbox")
@click.argument("method")
@click.argument("path")
def toolbox(
    out: Output, place: Place, data: str | None, sandbox: str, method: str, path: str
) -> None:
    """
    Call the toolbox of SANDBOX: METHOD and PATH below it; the answer's body goes to stdout.

    Ends with 0 if the answer is of success. Examples:

    \b
      sandbox-billing user toolbox desk GET 'files?path=/tmp'
      sandbox-billing user toolbox desk POST process/execute --data '{"command": "ls"}'
    """
    with desk(out, place, Scope.TOOLBOX) as at:
        answer = at.client.toolbox(sandbox, method.upper(), path.lstrip("/"), _body(data))
    raw: bytes = answer.body
    if out.json:
        out.finish(
            {"status": answer.status, "body": raw.decode("utf-8", "replace")}, title="", rows=()
        )
    else:
        click.echo(raw, nl=False)


def _body(data: str | None) -> bytes | None:
    if data is None:
        return None
    if not data.startswith("@"):
        return data.encode()
    try:
        return Path(data[1:]).read_bytes()
    except OSError as problem:
        raise BadInput(f"--data: {data[1:]} cannot be read: {problem.strerror}") from None


@click.command("ssh-access")
@output_options
@place_options()
@click.option(
    "--minutes",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    help="How long it opens.",
)
@click.argument("sandbox")
def ssh_access(out: Output, place: Place, minutes: int, sandbox: str) -> None:
    """
    Print a command that leads into SANDBOX by ssh. Whoever has it gets in. Example:

    \b
      sandbox-billing user ssh-access desk --minutes 30
    """
    with desk(out, place, Scope.TOOLBOX) as at:
        found = at.client.ssh_access(sandbox, minutes=minutes).raw
    command = found.get("sshCommand")
    if not command:
        raise Refused("this provider tells no way in by ssh: use 'sandbox-billing user exec'")
    rows = [("sandbox", sandbox), ("until", str(found.get("expiresAt") or "?"))]
    out.finish(found, title="Open", rows=rows, lines=[str(command)])

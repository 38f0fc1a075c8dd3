"""
C{sandbox-billing user create}.

Tests: C{tests.cli.test_user}.
"""

from __future__ import annotations

from typing import Any

import click

from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.cli.user_client import desk
from sandbox_billing.cli.user_once import key_option, once_only
from sandbox_billing.cli.user_place import Place, place_options
from sandbox_billing.cli.user_waiting import started, wait_option
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.token import Scope


def pairs(said: tuple[str, ...], option: str, form: str = "NAME=VALUE") -> dict[str, str]:
    """
    @param said: Of this form, each.
    @raise BadInput: One has no equals sign, or stands twice.
    """
    found: dict[str, str] = {}
    for one in said:
        name, equals, value = one.partition("=")
        if not name or not equals:
            raise BadInput(f"{option} {one!r}: write {form}")
        if name in found:
            raise BadInput(f"{option} {name} stands twice")
        found[name] = value
    return found


@click.command()
@output_options
@place_options()
@wait_option
@key_option
@click.option("--snapshot", help="What to start from. [default: the provider's]")
@click.option("--name", help="Yours, by which it may be called.")
@click.option("--cpu", type=click.IntRange(min=1), help="Cores.")
@click.option("--memory", type=click.IntRange(min=1), help="GiB.")
@click.option("--disk", type=click.IntRange(min=1), help="GiB.")
@click.option("--env", "env", multiple=True, metavar="NAME=VALUE", help="Of its processes.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="To tell them apart.")
@click.option(
    "--auto-stop",
    type=click.IntRange(min=0),
    metavar="MINUTES",
    help="Stop it after so long without use; 0 for never.",
)
def create(
    out: Output,
    place: Place,
    wait_seconds: int | None,
    once: str,
    snapshot: str | None,
    name: str | None,
    cpu: int | None,
    memory: int | None,
    disk: int | None,
    env: tuple[str, ...],
    labels: tuple[str, ...],
    auto_stop: int | None,
) -> None:
    """
    Rent a sandbox: from when it runs it costs by the second, until it is stopped.

    Says its price, and how long the balance lasts with it. Example:

    \b
      sandbox-billing user create --cpu 2 --memory 4 --label project=demo
    """
    said: dict[str, Any] = {
        "snapshot": snapshot,
        "name": name,
        "cpu": cpu,
        "memory": memory,
        "disk": disk,
        "env": pairs(env, "--env") or None,
        "labels": pairs(labels, "--label") or None,
        "autoStopInterval": auto_stop,
    }
    body = {key: value for key, value in said.items() if value is not None}
    with desk(out, place, Scope.MANAGE) as at:
        with once_only(once):
            made = at.client.create(idempotency_key=once, **body).raw
        started(at, made, wait_seconds, title="Created", done="created")

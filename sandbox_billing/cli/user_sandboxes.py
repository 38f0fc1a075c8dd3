"""
C{sandbox-billing user list}, C{start}, C{stop} and C{delete}.

Tests: C{tests.cli.test_user}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.cli.user_client import Desk, desk, read_if_there
from sandbox_billing.cli.user_once import key_option, once_only
from sandbox_billing.cli.user_place import Place, place_options
from sandbox_billing.cli.user_text import counted, short, size
from sandbox_billing.cli.user_waiting import started, wait_option
from sandbox_billing.ledger.token import Scope


_COLUMNS = ("id", "name", "state", "size", "created", "cost so far")


@click.command("list")
@output_options
@place_options()
@click.option("--state", "states", multiple=True, help="Only these; may be given several times.")
def list_sandboxes(out: Output, place: Place, states: tuple[str, ...]) -> None:
    """
    Your sandboxes, and what each has cost so far. Example:

    \b
      sandbox-billing user list --state started
    """
    with desk(out, place, Scope.READ) as at:
        found = [one.raw for one in at.client.list()]
        costs = _costs(at)
    shown = [one for one in found if not states or one.get("state") in states]
    out.finish_table(
        {"sandboxes": [{**one, "cost": costs.get(str(one["id"]))} for one in shown]},
        title=counted(len(shown), "sandbox", "sandboxes"),
        columns=_COLUMNS,
        rows=[_row(one, costs) for one in shown],
    )


def _costs(at: Desk) -> Mapping[str, str]:
    """What each was charged so far; empty where the provider does not tell."""
    usage = read_if_there(lambda: at.client.usage(group="sandbox"))
    rows = [] if usage is None else usage.raw["rows"]
    return {str(row["key"]): str(row["charged"]) for row in rows}


def _row(one: Mapping[str, Any], costs: Mapping[str, str]) -> tuple[str, ...]:
    return (
        str(one["id"]),
        str(one.get("name") or ""),
        str(one.get("state") or "?"),
        size(one.get("cpu"), one.get("memory"), one.get("disk")),
        str(one.get("createdAt") or "?"),
        short(costs.get(str(one["id"]))),
    )


@click.command()
@output_options
@place_options()
@wait_option
@key_option
@click.argument("sandbox")
def start(out: Output, place: Place, sandbox: str, wait_seconds: int | None, once: str) -> None:
    """
    Start SANDBOX (its id or name): from now on it costs. Example:

    \b
      sandbox-billing user start desk
    """
    with desk(out, place, Scope.MANAGE) as at:
        with once_only(once):
            made = at.client.start(sandbox, idempotency_key=once).raw
        started(at, made, wait_seconds, title="Started", done="told to start")


@click.command()
@output_options
@place_options()
@key_option
@click.argument("sandbox")
def stop(out: Output, place: Place, sandbox: str, once: str) -> None:
    """
    Stop SANDBOX: its disk stays, and it costs nothing from now on. Example:

    \b
      sandbox-billing user stop desk
    """
    with desk(out, place, Scope.MANAGE) as at, once_only(once):
        found = at.client.stop(sandbox, idempotency_key=once).raw
    _ended(out, found, sandbox, "Stopping; charged up to now")


@click.command()
@output_options
@place_options()
@key_option
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
@click.argument("sandbox")
def delete(out: Output, place: Place, yes: bool, sandbox: str, once: str) -> None:
    """
    Delete SANDBOX and what is on its disk, for good. Example:

    \b
      sandbox-billing user delete desk
    """
    with desk(out, place, Scope.MANAGE) as at:
        out.ask(f"Delete {sandbox} and all that is on its disk?", yes=yes)
        with once_only(once):
            found = at.client.delete(sandbox, idempotency_key=once).raw
    _ended(out, found, sandbox, "Deleted; charged up to now")


def _ended(out: Output, found: Mapping[str, Any], asked: str, title: str) -> None:
    found = found or {}
    rows = [("id", str(found.get("id") or asked))]
    if found.get("state"):
        rows.append(("state", str(found["state"])))
    out.finish({"id": asked, **found}, title=title, rows=rows)

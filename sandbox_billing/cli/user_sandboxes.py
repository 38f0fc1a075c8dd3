"""
C{sandbox-billing user list}, C{start}, C{stop} and C{delete}.

Tests: C{tests.cli.test_user}.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.cli.user_client import Desk, desk, read_if_there
from sandbox_billing.cli.user_once import key_option, once_only
from sandbox_billing.cli.user_place import Place, place_options
from sandbox_billing.cli.user_text import counted, short, size
from sandbox_billing.cli.user_waiting import started, wait_option
from sandbox_billing.ledger.token import Scope


_DAY = 86_400

_COLUMNS = ("id", "name", "state", "size", "created", "cost so far")


@click.command("list")
@output_options
@place_options()
@click.option("--state", "states", multiple=True, help="Only these; may be given several times.")
def list_sandboxes(out: Output, place: Place, states: tuple[str, ...]) -> None:
    """
    Your sandboxes, and what each has cost so far; of an older one, in the last 30 days. Example:

    \b
      sandbox-billing user list --state started
    """
    with desk(out, place, Scope.READ) as at:
        found = [one.raw for one in at.client.list()]
        usage = _usage(at)
    costs = {str(row["key"]): str(row["charged"]) for row in usage["rows"]}
    shown = [one for one in found if not states or one.get("state") in states]
    out.finish_table(
        {
            "sandboxes": [{**one, "cost": costs.get(str(one["id"]))} for one in shown],
            "cost_from": usage["from"],
        },
        title=counted(len(shown), "sandbox", "sandboxes"),
        columns=_COLUMNS,
        rows=[row_of(one, costs, usage) for one in shown],
    )


def _usage(at: Desk) -> Mapping[str, Any]:
    """What each was charged of late, for all that it ever was may be long to add up."""
    usage = read_if_there(lambda: at.client.usage(group="sandbox"))
    return {"from": 0, "to": 0, "rows": []} if usage is None else usage.raw


def _cost(one: Mapping[str, Any], costs: Mapping[str, str], usage: Mapping[str, Any]) -> str:
    """So far, or what the provider was asked for where it may be older than that."""
    cost = short(costs.get(str(one["id"])))
    try:
        created_at = datetime.fromisoformat(str(one.get("createdAt"))).timestamp()
    except ValueError:
        created_at = 0
    if created_at >= usage["from"] or str(one["id"]) not in costs:
        return cost
    days = (usage["to"] - usage["from"]) // _DAY
    return f"{cost} in {counted(days, 'day')}"


def row_of(
    one: Mapping[str, Any], costs: Mapping[str, str], usage: Mapping[str, Any]
) -> tuple[str, ...]:
    """
    For people.

    @param costs: By id.
    @param usage: Where they are from.
    """
    return (
        str(one["id"]),
        str(one.get("name") or ""),
        str(one.get("state") or "?"),
        size(one.get("cpu"), one.get("memory"), one.get("disk")),
        str(one.get("createdAt") or "?"),
        _cost(one, costs, usage),
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

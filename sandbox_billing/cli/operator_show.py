"""
C{sandbox-billing operator orders}, C{sessions} and C{summary}: what changes nothing.

Tests: C{tests.cli.test_operator}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from itertools import islice
from typing import Any

import click

from sandbox_billing.cli.keys import Role
from sandbox_billing.cli.operator_client import (
    client_of,
    followed,
    operator_desk,
    order_rows,
    tell,
)
from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.cli.reverts import moment
from sandbox_billing.cli.user_place import Place, place_options
from sandbox_billing.cli.user_text import counted, lasting, short
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.token import Scope


_FOREVER = float("inf")
_LEFT_OUT = "…"
_LONGEST_CELL = 60


def _look(command: Callable[..., None]) -> Callable[..., None]:
    """Options of what only looks."""

    @output_options
    @place_options(role=Role.PROVIDER)
    @wraps(command)
    def wrapped(**kwargs: Any) -> None:
        command(**kwargs)

    return wrapped


@click.command()
@_look
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Rows.")
@click.option("--wait", is_flag=True, help="Wait for the end of ORDER.")
@click.argument("order", required=False)
def orders(out: Output, place: Place, limit: int, wait: bool, order: str | None) -> None:
    """
    What was ordered, the newest first; or all about ORDER, by its id. Examples:

    \b
      sandbox-billing operator orders --limit 10
      sandbox-billing operator orders 68030b1274964d34b8c4829fdc801a52 --wait
    """
    if wait and order is None:
        raise BadInput("--wait: for which ORDER? give its id")
    with operator_desk(out, place, Scope.READ) as at:
        client = client_of(at)
        if order is None:
            found = [one.raw for one in islice(client.orders(), limit)]
        else:
            one = client.order(order)
            if wait:
                tell(out, followed(at, one, _FOREVER))
                return
    if order is not None:
        title = f"The order is {one.state.replace('_', ' ')}"
        out.finish(dict(one.raw), title=title, rows=order_rows(one))
        return
    out.finish_table(
        {"orders": found},
        title=counted(len(found), "order"),
        columns=("order", "kind", "subject", "state", "asked at", "by", "reason", "error"),
        rows=[_order_row(raw) for raw in found],
    )


def _order_row(raw: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(raw.get("id", "?")),
        str(raw.get("kind", "?")),
        str(raw.get("subject") or "-"),
        str(raw.get("state", "?")).replace("_", " "),
        _moment(raw.get("asked_at")),
        str(raw.get("by", "?")),
        _cell(raw.get("reason")),
        _cell(raw.get("error")),
    )


def _cell(text: object) -> str:
    """What somebody wrote, as long as a table bears; C{--json} has all of it."""
    said = str(text or "-")
    return said if len(said) <= _LONGEST_CELL else said[: _LONGEST_CELL - 1] + _LEFT_OUT


def _moment(at: object) -> str:
    return moment(at) if isinstance(at, int) else "-"


@click.command()
@_look
def sessions(out: Output, place: Place) -> None:
    """
    What runs and is metered, whoever's, by sandbox. Example:

    \b
      sandbox-billing operator sessions
    """
    with operator_desk(out, place, Scope.READ) as at:
        found = [one.raw for one in client_of(at).open_sessions()]
    out.finish_table(
        {"sessions": found},
        title=counted(len(found), "open session"),
        columns=("sandbox", "wallet", "state", "for", "a minute", "size", "charged until"),
        rows=[_session_row(raw) for raw in found],
    )


def _session_row(raw: Mapping[str, Any]) -> tuple[str, ...]:
    stop = raw.get("stop")
    state = str(raw.get("state", "?"))
    return (
        str(raw.get("sandbox", "?")),
        str(raw.get("owner", "?")),
        state if stop is None else f"{state}, to be stopped: {stop}",
        lasting(raw["seconds"]) if isinstance(raw.get("seconds"), int) else "-",
        short(raw.get("rate_per_minute")),
        f"{raw.get('cpu', '?')} cpu, {raw.get('memory_gib', '?')} GiB",
        _moment(raw.get("charged_until")),
    )


@click.command()
@_look
@click.option(
    "--hours",
    type=click.Choice(["24", "168"]),
    default="24",
    show_default=True,
    help="Of which what was settled is added up.",
)
def summary(out: Output, place: Place, hours: str) -> None:
    """
    How everything stands: what runs, waits, was settled; what needs a human. Example:

    \b
      sandbox-billing operator summary --hours 168
    """
    with operator_desk(out, place, Scope.READ) as at:
        found = client_of(at).summary(hours=int(hours))
    out.finish(dict(found), title=_verdict(found), rows=_summary_rows(found, hours))


def _verdict(found: Mapping[str, Any]) -> str:
    """What somebody who was woken up reads first."""
    readiness = found.get("readiness") or {}
    humans = _count(found, "dead_letters") + len(_at(found, "wallets").get("quarantined") or ())
    if readiness.get("reasons"):
        return f"Not ready: {'; '.join(f'{k}: {v}' for k, v in readiness['reasons'].items())}"
    if humans:
        return f"{counted(humans, 'thing')} for a human: sandbox-billing queue dead, queue list"
    return "Paused" if found.get("pause") else "Works as it should"


def _at(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = found.get(name)
    return value if isinstance(value, Mapping) else {}


def _count(found: Mapping[str, Any], name: str) -> int:
    return int(_at(found, name).get("count") or 0)


def _summary_rows(found: Mapping[str, Any], hours: str) -> list[tuple[str, str]]:
    queue, wallets, gas = _at(found, "queue"), _at(found, "wallets"), _at(found, "gas")
    together = _at(_at(found, "settled"), "together")
    pause, lease, mirror = _at(found, "pause"), _at(found, "lease"), _at(found, "mirror")
    oldest = queue.get("oldest_age")
    lasts = gas.get("seconds_left")
    return [
        ("provider", str(found.get("provider", "?"))),
        ("as of", _moment(found.get("as_of"))),
        ("admissions", f"paused by {pause['by']}: {pause['reason']}" if pause else "open"),
        ("worker", str(lease["holder"]) if lease else "none holds the lease"),
        ("sessions", str(found.get("sessions", "?"))),
        (
            "wallets",
            f"{wallets.get('charged', '?')} charged, {wallets.get('blocked', '?')} blocked",
        ),
        (
            "queue",
            f"{queue.get('depth', '?')} charges"
            + ("" if oldest is None else f", the oldest for {lasting(oldest)}"),
        ),
        ("batches under way", str(_count(found, "batches"))),
        (
            f"settled in {hours} h",
            f"{short(together.get('amount'))} by {together.get('vouchers', '?')} vouchers; gas "
            f"{short(together.get('gas'))}",
        ),
        (
            "gas wallet",
            "not read yet"
            if not gas
            else short(gas.get("balance")) + ("" if lasts is None else f", lasts {lasting(lasts)}"),
        ),
        ("dead letters", str(_count(found, "dead_letters"))),
        ("stop orders", str(_count(found, "stop_orders"))),
        ("chain mirror", f"{mirror['age']} s old" if mirror else "not read yet"),
    ]

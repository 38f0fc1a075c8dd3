"""
C{sandbox-billing user account} and C{usage}: what is left, and where it went.

Tests: C{tests.cli.test_user}.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from sandbox_billing.cli.amounts import both
from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.cli.reverts import moment
from sandbox_billing.cli.user_client import desk
from sandbox_billing.cli.user_place import Place, place_options
from sandbox_billing.cli.user_text import hourly, lasting, short, until
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.token import Scope


@click.command()
@output_options
@place_options()
def account(out: Output, place: Place) -> None:
    """
    What is left, what is set aside, what runs, and how long the balance lasts. Example:

    \b
      sandbox-billing user account
    """
    with desk(out, place, Scope.READ) as at:
        found = at.client.account().raw
        now = at.now()
    out.finish(found, title="Account", rows=account_rows(found, now), lines=advice(found))


def account_rows(found: Mapping[str, Any], now: float) -> list[tuple[str, str]]:
    """
    For people; what is nothing is left out, but for the money.

    @param found: The answer of C{GET /api/account}.
    """
    rows = [("wallet", str(found["wallet"])), ("provider", str(found["provider"]))]
    rows += [(name, both(int(found[name]))) for name in ("balance", "available")]
    refund = int(found.get("pending_refund") or 0)
    if refund:
        unlock = found.get("refund_unlock_at")
        locked = f", locked until {moment(int(unlock))}" if unlock else ""
        rows.append(("pending refund", both(refund) + locked))
    exposure = found.get("exposure") or {}
    rows += [
        ({"total": "set aside"}.get(name, f"  {name}"), both(int(exposure[name])))
        for name in ("total", "holds", "accrued", "charges", "debts")
        if name in exposure and (name == "total" or int(exposure[name]))
    ]
    rows += [
        ("running", str(found.get("running", "?"))),
        ("costs", hourly(int(found.get("burn_rate_per_minute") or 0))),
        ("the balance lasts", until(found.get("runs_dry_at"), now)),
        (
            "acknowledged",
            f"yes, version {found.get('signer_version')}" if found.get("acknowledged") else "no",
        ),
    ]
    if found.get("blocked"):
        rows.append(("blocked", str(found["blocked"])))
    if found.get("provider_leaving_at"):
        rows.append(("the provider leaves", moment(int(found["provider_leaving_at"]))))
    waiting = found.get("waiting_to_resume") or []
    if waiting:
        rows.append(("waiting to resume", ", ".join(map(str, waiting))))
    return rows


def advice(found: Mapping[str, Any]) -> list[str]:
    """The next steps."""
    steps = []
    if not found.get("acknowledged"):
        version = found.get("signer_version")
        of = "" if version is None else f" --version {version}"
        steps.append(f"sandbox-billing user acknowledge{of}")
    debt = int((found.get("exposure") or {}).get("debts") or 0)
    if debt > int(found["balance"]):
        steps.append(f"sandbox-billing user deposit {debt - int(found['balance'])}")
    if found.get("waiting_to_resume") and not debt:
        steps.append("sandbox-billing user resume")
    return ["", *(f"Next: {step}" for step in steps)] if steps else []


def day(text: str | None, option: str) -> int | None:
    """
    @param text: C{2026-11-23}, with a time or without, UTC where nothing else is said; or unix
        seconds.
    @raise BadInput: It is no moment.
    """
    if text is None:
        return None
    if text.isdigit():
        return int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{option} {text!r}: write 2026-11-23, or unix seconds") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


_SUMS = ("charged", "settled", "owed", "pending")


@click.command()
@output_options
@place_options()
@click.option("--from", "since", metavar="WHEN", help="2026-11-23, or unix seconds; UTC.")
@click.option("--to", "before", metavar="WHEN", help="Up to then, and not including it.")
@click.option(
    "--by", type=click.Choice(["sandbox", "day", "label"]), default="sandbox", show_default=True
)
@click.option("--label", help="The label's name, with --by label.")
def usage(
    out: Output,
    place: Place,
    since: str | None,
    before: str | None,
    by: str,
    label: str | None,
) -> None:
    """
    What was used and what it cost, by sandbox, day or a label. Example:

    \b
      sandbox-billing user usage --from 2026-11-01 --by day
    """
    if (by == "label") != (label is not None):
        raise BadInput("--by label and --label NAME belong together")
    with desk(out, place, Scope.READ) as at:
        found = at.client.usage(
            from_=day(since, "--from"), to=day(before, "--to"), group=by, label=label
        ).raw
    rows = [_usage_row(str(row["key"]), row) for row in found["rows"]]
    if rows:
        rows.append(_usage_row("together", found["totals"]))
    out.finish_table(
        found, title="Usage" if rows else "Nothing was used", columns=(by, "ran", *_SUMS), rows=rows
    )


def _usage_row(key: str, sums: Mapping[str, Any]) -> tuple[str, ...]:
    return (key, lasting(float(sums["seconds"])), *(short(sums.get(name)) for name in _SUMS))

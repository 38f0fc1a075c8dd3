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
from sandbox_billing.cli.output import Output, output_options, printable
from sandbox_billing.cli.reverts import moment
from sandbox_billing.cli.user_client import desk
from sandbox_billing.cli.user_place import Place, place_options
from sandbox_billing.cli.user_text import hourly, lasting, short, size, until
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
    limits = found.get("limits") or {}
    for most, spent, words in (
        ("per_day", "spent_today", "today"),
        ("total", "spent_total", "all"),
    ):
        if limits.get(most) is not None:
            rows.append((f"limit, {words}", f"{short(limits.get(spent))} of {short(limits[most])}"))
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
    return [f"Next: {step}" for step in steps]


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


_SUMS = ("charged", "settled", "owed", "pending", "forgiven")


@click.command()
@output_options
@place_options()
@click.option("--from", "since", metavar="WHEN", help="2026-11-23, or unix seconds; UTC.")
@click.option("--to", "before", metavar="WHEN", help="Up to then, and not including it.")
@click.option(
    "--by", type=click.Choice(["sandbox", "day", "label"]), default="sandbox", show_default=True
)
@click.option("--label", help="The label's name, with --by label.")
@click.option("--sandbox", help="Only this one: each of its runs.")
@click.option("--csv", "as_csv", is_flag=True, help="For a spreadsheet.")
def usage(
    out: Output,
    place: Place,
    since: str | None,
    before: str | None,
    by: str,
    label: str | None,
    sandbox: str | None,
    as_csv: bool,
) -> None:
    """
    What was used and what it cost, by sandbox, day or a label. Examples:

    \b
      sandbox-billing user usage --from 2026-11-01 --by day
      sandbox-billing user usage --sandbox desk
    """
    first, last = day(since, "--from"), day(before, "--to")
    if sandbox is not None:
        if as_csv or by != "sandbox" or label is not None:
            raise BadInput("--sandbox shows its runs: leave out --csv, --by and --label")
        with desk(out, place, Scope.READ) as at:
            found = at.client.sandbox_usage(sandbox, from_=first, to=last).raw
        _runs(out, found, whole=since is None and before is None)
        return
    if (by == "label") != (label is not None):
        raise BadInput("--by label and --label NAME belong together")
    with desk(out, place, Scope.READ) as at:
        if as_csv:
            text = at.client.usage_csv(from_=first, to=last, group=by, label=label)
            _csv(out, text)
            return
        found = at.client.usage(from_=first, to=last, group=by, label=label).raw
    totals = found["totals"]
    sums = _SUMS if int(totals.get("forgiven") or 0) else _SUMS[:-1]
    rows = [_usage_row(str(row["key"]), row, sums) for row in found["rows"]]
    if rows:
        rows.append(_usage_row("together", totals, sums))
    out.finish_table(
        found, title="Usage" if rows else "Nothing was used", columns=(by, "ran", *sums), rows=rows
    )


def _csv(out: Output, text: str) -> None:
    if out.json:
        out.finish({"csv": text}, title="", rows=())
        return
    for line in text.splitlines():
        click.echo(printable(line))


def _usage_row(key: str, row: Mapping[str, Any], sums: tuple[str, ...]) -> tuple[str, ...]:
    return (key, lasting(float(row["seconds"])), *(short(row.get(name)) for name in sums))


def _runs(out: Output, found: Mapping[str, Any], *, whole: bool) -> None:
    """
    Of one sandbox: from when to when it ran, in which size, and what that cost.

    @param whole: Whether no time was named.
    """
    span = "all" if whole else "this time"
    rows = [
        (
            moment(int(run["started_at"] or run["opened_at"])).partition(" (")[0],
            "runs" if run["open"] else moment(int(run["ended_at"])).partition(" (")[0],
            lasting(float(run["seconds"])),
            size(run["cpu"], run["memory_gib"], run["disk_gib"]),
            hourly(int(run["rate_per_minute"])),
            short(run["cost"]),
        )
        for run in found["runs"]
    ]
    out.finish_table(
        found,
        title=f"{found['sandbox']}: {short(found['totals']['charged'])} in {span}",
        columns=("from", "to", "ran", "size", "price", "cost"),
        rows=rows,
    )

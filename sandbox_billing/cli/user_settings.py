"""
C{sandbox-billing user settings} and C{resume}: limits, and going on after a top-up.

Tests: C{tests.cli.test_user}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from sandbox_billing.cli.amounts import both, parse_amount
from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.cli.user_client import Desk, desk
from sandbox_billing.cli.user_create import pairs
from sandbox_billing.cli.user_errors import not_resumed
from sandbox_billing.cli.user_place import Place, place_options
from sandbox_billing.errors import BadInput, Refused
from sandbox_billing.ledger.token import Scope


_NONE = "none"


@click.command()
@output_options
@place_options()
@click.option("--auto-resume/--no-auto-resume", default=None, help="Start again after a top-up.")
@click.option("--per-day", metavar="AMOUNT", help="The most to spend in a day, or 'none'.")
@click.option("--total", metavar="AMOUNT", help="The most to spend in all, or 'none'.")
@click.option(
    "--sandbox",
    "sandboxes",
    multiple=True,
    metavar="ID=AMOUNT",
    help="The most that one sandbox may spend, or ID=none.",
)
def settings(
    out: Output,
    place: Place,
    auto_resume: bool | None,
    per_day: str | None,
    total: str | None,
    sandboxes: tuple[str, ...],
) -> None:
    """
    Show the spend limits and whether to resume by itself; change what is named. Example:

    \b
      sandbox-billing user settings --per-day '2 0G' --auto-resume
    """
    said = {"per_day": limit(per_day, "--per-day"), "total": limit(total, "--total")}
    ones = {
        name: limit(text, "--sandbox")
        for name, text in pairs(sandboxes, "--sandbox", form="ID=AMOUNT").items()
    }
    asked = auto_resume is not None or bool(ones) or any(v is not UNSAID for v in said.values())
    with desk(out, place, Scope.MANAGE if asked else Scope.READ) as at:
        found = at.client.settings().raw
        if asked:
            ids = _by_id(at, found, ones)
            found = at.client.set_settings(changed(found, auto_resume, said, ids)).raw
    out.finish(found, title="Settings", rows=settings_rows(found))


def _by_id(
    at: Desk, found: Mapping[str, Any], ones: Mapping[str, int | _Unsaid | None]
) -> dict[str, int | _Unsaid | None]:
    """
    A limit belongs to an id; under a name, or a mistyped id, it would bound nothing.

    One that is taken away may be of a sandbox that is gone.
    """
    known = (found.get("limits") or {}).get("sandboxes") or {}
    return {
        name if name in known else at.client.get(name).id: value for name, value in ones.items()
    }


class _Unsaid:
    """That an option was not given; None is 'none'."""


UNSAID = _Unsaid()


def limit(text: str | None, option: str) -> int | _Unsaid | None:
    """
    @return: neuron; None for no limit.
    @raise BadInput: It is no amount.
    """
    if text is None:
        return UNSAID
    if text == _NONE:
        return None
    try:
        return parse_amount(text)
    except BadInput as problem:
        raise BadInput(f"{option}: {problem}; or 'none'") from None


def changed(
    found: Mapping[str, Any],
    auto_resume: bool | None,
    said: Mapping[str, int | _Unsaid | None],
    ones: Mapping[str, int | _Unsaid | None],
) -> dict[str, Any]:
    """
    What was named, and nothing else: what somebody else changes meanwhile stays as he has it.

    @param found: As they are; the limits of sandboxes are written all together.
    """
    limits: dict[str, Any] = {
        name: None if value is None else str(value)
        for name, value in said.items()
        if not isinstance(value, _Unsaid)
    }
    if ones:
        before = (found.get("limits") or {}).get("sandboxes") or {}
        each = {name: _limit_of(one) for name, one in before.items()}
        each |= {name: str(value) for name, value in ones.items() if value is not None}
        gone = {name for name, value in ones.items() if value is None}
        limits["sandboxes"] = {name: one for name, one in each.items() if name not in gone}
    told: dict[str, Any] = {} if auto_resume is None else {"auto_resume": auto_resume}
    return {**told, "limits": limits} if limits else told


def _limit_of(one: Any) -> Any:
    """Of an account a sandbox's limit stands beside what was spent."""
    return one["limit"] if isinstance(one, Mapping) else one


def settings_rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """For people."""
    limits = found.get("limits") or {}
    rows = [("resumes by itself", "yes" if found.get("auto_resume") else "no")]
    for name, text in (("per_day", "at most a day"), ("total", "at most in all")):
        amount = limits.get(name)
        rows.append((text, "no limit" if amount is None else both(int(amount))))
    rows += [
        (f"at most for {name}", both(int(_limit_of(one))))
        for name, one in (limits.get("sandboxes") or {}).items()
    ]
    return rows


@click.command()
@output_options
@place_options()
def resume(out: Output, place: Place) -> None:
    """
    Start again what had to stop when the money ended, after a top-up. Example:

    \b
      sandbox-billing user resume
    """
    with desk(out, place, Scope.MANAGE) as at:
        found = at.client.resume().raw
    resumed = list(found["resumed"])
    failed = {name: not_resumed(str(text)) for name, text in found["failed"].items()}
    if failed and not resumed:
        why = "; ".join(f"{name}: {text}" for name, text in failed.items())
        raise Refused(f"nothing was started: {why}")
    rows = [(str(name), "started") for name in resumed]
    rows += [(str(name), f"not started: {text}") for name, text in failed.items()]
    out.finish(found, title="Resumed" if resumed else "Nothing waits to be resumed", rows=rows)

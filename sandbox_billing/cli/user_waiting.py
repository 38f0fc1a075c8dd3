"""
Waiting until a sandbox runs, and what is said of it then.

Tests: C{tests.cli.test_user}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import click

from sandbox_billing.cli.output import printable
from sandbox_billing.cli.user_client import Desk, read_if_there
from sandbox_billing.cli.user_text import hourly, size, until
from sandbox_billing.errors import Refused, Transient, UnknownOutcome


POLL_SECONDS = 1.0

_FAILED = frozenset({"error", "build_failed"})
_ENDED = frozenset({"stopped", "stopping", "archived", "archiving", "destroyed", "destroying"})


def wait_option(command: Callable[..., None]) -> Callable[..., None]:
    """
    Adds C{--wait-seconds} and C{--no-wait}; passes C{wait_seconds}, None for not at all.
    """

    @wraps(command)
    def merged(*args: Any, wait_seconds: int, no_wait: bool, **kwargs: Any) -> None:
        command(*args, wait_seconds=None if no_wait else wait_seconds, **kwargs)

    wrapped = click.option(
        "--wait-seconds",
        type=click.IntRange(min=1),
        default=300,
        show_default=True,
        help="How long to wait until it runs.",
    )(merged)
    return click.option("--no-wait", is_flag=True, help="Do not wait until it runs.")(wrapped)


def started(
    at: Desk, made: Mapping[str, Any], wait_seconds: int | None, *, title: str, done: str
) -> None:
    """
    Wait until it runs, and say what it costs and how long that can go on: the result.

    @param made: The sandbox as it was answered.
    @param wait_seconds: None: say it at once.
    @param done: What became of it already, should nobody wait to the end.
    @raise Refused: It failed.
    @raise UnknownOutcome: It does not run in time, or nobody could see.
    """
    try:
        at.out.note(printable(f"{done} {made['id']}"))
        _told_running(at, made, wait_seconds, title)
    except (KeyboardInterrupt, Transient) as problem:
        why = "stopped waiting" if isinstance(problem, KeyboardInterrupt) else str(problem)
        raise UnknownOutcome(
            f"{why}. {made['id']} was {done}, and costs once it runs: look with "
            "'sandbox-billing user list'"
        ) from None


def _told_running(at: Desk, made: Mapping[str, Any], wait_seconds: int | None, title: str) -> None:
    if wait_seconds is not None:
        made = _running(at, made, wait_seconds)
    elif made.get("state") != "started":
        title = "Accepted; it does not run yet"
    rate = rate_per_minute(at, made)
    account = read_if_there(at.client.account)
    dry_at = None if account is None else _dry_at(account.raw, rate, at.now())
    document = {
        **made,
        "rate_per_minute": None if rate is None else str(rate),
        "runs_dry_at": dry_at,
    }
    rows = [("id", str(made["id"]))]
    rows += [(key, str(made[key])) for key in ("name", "state") if made.get(key)]
    rows.append(("size", size(made.get("cpu"), made.get("memory"), made.get("disk"))))
    if rate is not None:
        rows.append(("costs", hourly(rate)))
    if dry_at is not None:
        rows.append(("the balance lasts", until(dry_at, at.now())))
    at.out.finish(document, title=title, rows=rows)


def _dry_at(account: Mapping[str, Any], rate: int | None, now: float) -> float | None:
    """The provider may not have seen it run yet: then as if only this one did."""
    told: float | None = account.get("runs_dry_at")
    if told is not None or not rate:
        return told
    return int(now) + int(account["available"]) * 60 // rate


def rate_per_minute(at: Desk, sandbox: Mapping[str, Any]) -> int | None:
    """
    neuron a minute by the prices of now; None where the provider or Daytona does not say enough.
    """
    told = at.told.raw
    cpu, memory = sandbox.get("cpu"), sandbox.get("memory")
    per_cpu = int(told.get("price_per_cpu_per_min") or 0)
    per_gib = int(told.get("price_per_mem_gb_per_min") or 0)
    if per_cpu == 0 and per_gib == 0:
        return int(told.get("compute_price_per_sec") or 0) * 60
    if not isinstance(cpu, int) or not isinstance(memory, int):
        return None
    return per_cpu * cpu + per_gib * memory


def _running(at: Desk, made: Mapping[str, Any], wait_seconds: int) -> Mapping[str, Any]:
    name = str(made["id"])
    deadline = at.pace.seconds() + wait_seconds
    with at.out.progress() as progress:
        while made.get("state") != "started":
            state = str(made.get("state") or "unknown")
            progress.say(printable(f"{name}: {state}"))
            if state in _FAILED:
                why = printable(str(made.get("errorReason") or state))
                raise Refused(
                    f"{name} did not come to run: {why}. It costs nothing now; remove it: "
                    f"sandbox-billing user delete {name}"
                )
            if state in _ENDED and made.get("desiredState") != "started":
                raise Refused(f"{name} is {state}: somebody stopped it, or the money ended")
            if at.pace.seconds() > deadline:
                raise UnknownOutcome(
                    f"{name} is {state}, and does not run after {wait_seconds} s; it may still "
                    "come to: look with 'sandbox-billing user list'"
                )
            at.pace.sleep(POLL_SECONDS)
            made = at.client.get(name).raw
    return made

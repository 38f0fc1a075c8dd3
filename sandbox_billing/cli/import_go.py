"""
C{sandbox-billing import-go}: carry over what the Go implementation left in Redis.

Tests: L{tests.cli.test_import_go}.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sandbox_billing.cli.amounts import both
from sandbox_billing.cli.options import ADDRESS, settings_options
from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.cli.reconcile import settings_of
from sandbox_billing.ledger.identity import Address


if TYPE_CHECKING:
    from sandbox_billing.cli.import_go_world import Shown


@click.command("import-go")
@output_options
@settings_options
@click.option(
    "--redis",
    metavar="HOST:PORT",
    help="The Redis of the Go system, where it is not REDIS_ADDR: the daemon has to run on it then,"
    " nothing is copied. Its password is REDIS_PASSWORD.",
)
@click.option("--provider", type=ADDRESS, help="Another provider than PROVIDER_ADDRESS.")
@click.option("--dry-run", is_flag=True, help="Show the plan; write nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def import_go(
    out: Output,
    env_file: Path | None,
    secrets: Path | None,
    redis: str | None,
    provider: Address | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """
    Carry over the sessions and vouchers that the Go implementation left in Redis.

    Reads the daemon's own settings. The Go system and the daemon must be stopped. Shows what
    becomes of each, and asks. What was carried over is kept under go:imported:*; run it again
    after a crash, and it goes on.
    """
    environment = dict(os.environ)
    if redis is not None:
        environment["REDIS_ADDR"] = redis
    if provider is not None:
        environment["PROVIDER_ADDRESS"] = provider.hex
    settings = settings_of(env_file, environment, secrets)
    # They bring the reactor and web3, which usage errors need not wait for.
    from sandbox_billing.cli.import_go_show import document_of, lines_of
    from sandbox_billing.cli.import_go_world import Moving
    from sandbox_billing.cli.pause_redis import Interrupts, run
    from sandbox_billing.cli.reconcile_connect import with_scales

    with out.progress() as progress:

        async def work(reactor: Any) -> tuple[int | None, Shown]:
            async def move(scales: Any) -> tuple[int | None, Shown]:
                moving = Moving(scales=scales, keyspace=scales.journal.store.keyspace)
                shown = await moving.shown(only=dry_run)
                if dry_run or shown.found.nothing:
                    return None, shown
                if not yes:
                    for line in lines_of(shown):
                        out.note(line)
                plan = shown.plan
                out.ask(
                    f"Carry over {len(plan.sessions)} sessions and {len(plan.vouchers)} vouchers"
                    f" ({both(plan.fees)})?",
                    yes=yes,
                    hint="add --yes if what --dry-run shows is to be carried over",
                )
                return await moving.carry_out(shown), shown

            return await with_scales(reactor, settings, progress.say, move)

        made, shown = run(work, Interrupts())
    document, lines = document_of(shown, made), lines_of(shown)
    if made and redis is not None:
        lines.append(f"these books are in {redis} now: the daemon has to run on it (REDIS_ADDR)")
    if shown.found.nothing:
        title = "Nothing of the Go system is left to be carried over"
    elif made is None:
        title = f"Nothing was written. At block {shown.block.number} this would be carried over"
    else:
        title = f"Carried over in {made} writes"
    out.finish(document, title=title, rows=rows_of(shown), lines=lines)


def rows_of(shown: Shown) -> list[tuple[str, str]]:
    """The sums, before and after, to compare."""
    plan, amounts = shown.plan, shown.plan.amounts
    return [
        ("sessions", str(len(plan.sessions))),
        ("vouchers", str(len(plan.vouchers))),
        ("worth before", both(plan.fees)),
        ("worth after", both(sum(amounts.values()))),
        *((f"  {name}", both(amount)) for name, amount in amounts.items()),
        ("stop orders", str(len(plan.stops))),
    ]

"""
C{sandbox-billing reconcile}: whether Redis, the chain and Daytona say the same.

Tests: L{tests.cli.test_reconcile}.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sandbox_billing.cli.exits import Exit
from sandbox_billing.cli.options import settings_options
from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.configuration import Configuration, read_configuration, read_env_file
from sandbox_billing.errors import BadInput, ConfigurationError, WrongEnvFile
from sandbox_billing.ledger.comparison import Difference
from sandbox_billing.secret_files import read_secrets


if TYPE_CHECKING:
    from sandbox_billing.cli.reconcile_world import Look, Scales


COLUMNS = ("kind", "what", "how it is", "what it would do")


@click.command()
@output_options
@settings_options
@click.option("--rebuild", is_flag=True, help="Put right what can be, with no worker running.")
@click.option("--dry-run", is_flag=True, help="With --rebuild: show what it would do.")
@click.option("--yes", is_flag=True, help="With --rebuild: do not ask.")
def reconcile(
    out: Output,
    env_file: Path | None,
    secrets: Path | None,
    rebuild: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """
    Compare Redis, the chain and Daytona, and show every difference.

    Reads the daemon's own settings. A worker may be running; what is only on its way is not
    shown. With --rebuild nonces, sessions, exposure and indices are put right after Redis was
    lost or set back, each with an entry in the audit.
    """
    if (dry_run or yes) and not rebuild:
        raise BadInput("--dry-run and --yes go with --rebuild")
    settings = settings_of(env_file, os.environ, secrets)
    # It brings the reactor and web3, which usage errors need not wait for.
    from sandbox_billing.cli.pause_redis import Interrupts, run
    from sandbox_billing.cli.reconcile_connect import with_scales

    with out.progress() as progress:

        async def work(reactor: Any) -> tuple[int | None, Look]:
            async def weigh(scales: Scales) -> tuple[int | None, Look]:
                look = await scales.steady()
                if not rebuild:
                    return None, look
                await scales.require_alone(look)
                if dry_run or not any(one.repair for one in look.differences):
                    return None, look
                _ask(out, look.differences, yes=yes)
                return await scales.rebuild(look)

            return await with_scales(reactor, settings, progress.say, weigh)

        made, look = run(work, Interrupts())
    _tell(out, look, made)


def settings_of(
    env_file: Path | None, environment: Mapping[str, str], secrets: Path | None = None
) -> Configuration:
    """
    The daemon's settings, as it reads them itself.

    @raise BadInput: They are wrong; all of it at once.
    """
    found: dict[str, str] = {}
    wrong: list[str] = []
    try:
        if env_file is not None:
            found = dict(read_env_file(env_file.read_text("utf-8")))
        if secrets is not None:
            held, wrong = read_secrets(secrets)
            found.update(held)
        found.update({name: value for name, value in environment.items() if value})
        return read_configuration(found, already_wrong=wrong)
    except (ConfigurationError, WrongEnvFile) as why:
        raise BadInput(str(why)) from None
    except (OSError, UnicodeDecodeError) as why:
        raise BadInput(f"--env-file: {type(why).__name__}") from None


def _ask(out: Output, differences: Sequence[Difference], *, yes: bool) -> None:
    repairs = [one for one in differences if one.repair is not None]
    if not yes:
        for one in repairs:
            out.note(f"{one.kind}: {one.subject}: {one.found}; {one.would}")
    left = len(differences) - len(repairs)
    rest = f" ({left} more are left as they are)" if left else ""
    out.ask(
        f"Write these {len(repairs)} repairs to Redis{rest}?",
        yes=yes,
        hint="add --yes if what --dry-run shows is to be written",
    )


def _tell(out: Output, look: Look, made: int | None) -> None:
    """
    @param made: How many repairs were made; None when none were to be.
    """
    differences = look.differences
    document = {
        "block": look.block.number,
        "repaired": made or 0,
        "differences": [
            {
                "kind": one.kind,
                "subject": one.subject,
                "found": one.found,
                "would": one.would,
                "repair": one.repair is not None,
            }
            for one in differences
        ],
    }
    done = "" if made is None else f"{made} repairs made. "
    title = f"{done}At block {look.block.number}: " + (
        f"{len(differences)} differences" if differences else "no difference"
    )
    out.finish_table(
        document,
        title=title,
        columns=COLUMNS if differences else ("", "", "", ""),
        rows=[(one.kind, one.subject, one.found, one.would) for one in differences],
    )
    if differences:
        raise click.exceptions.Exit(int(Exit.DIFFERENT))

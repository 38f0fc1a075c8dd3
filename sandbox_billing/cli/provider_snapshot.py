"""
C{sandbox-billing provider snapshot} and C{delete-snapshot}: what users may start from.

Tests: C{tests.cli.test_operator}.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sandbox_billing.cli.operator_client import Wish, order_options
from sandbox_billing.errors import BadInput


_SIZE = click.IntRange(min=1)


@click.command()
@order_options(reason=False)
@click.option("--image", metavar="IMAGE", help="The image that it is made of.")
@click.option(
    "--dockerfile",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Or what it is built from; without files of this machine.",
)
@click.option("--cpu", type=_SIZE, help="Cores.")
@click.option("--memory", type=_SIZE, help="GiB.")
@click.option("--disk", type=_SIZE, help="GiB.")
@click.option(
    "--general/--private",
    default=True,
    show_default=True,
    help="Whether users may start from it.",
)
@click.argument("name")
def snapshot(
    wish: Wish,
    name: str,
    image: str | None,
    dockerfile: Path | None,
    cpu: int | None,
    memory: int | None,
    disk: int | None,
    general: bool,
) -> None:
    """
    Have Daytona make the snapshot NAME; who starts from it pays for its size. Example:

    \b
      sandbox-billing provider snapshot python-3.12 --image python:3.12-slim --cpu 1 --memory 2
    """
    if (image is None) == (dockerfile is None):
        raise BadInput("what is it made of? give --image IMAGE or --dockerfile FILE")
    said = {"imageName": image, "cpu": cpu, "memory": memory, "disk": disk}
    more: dict[str, Any] = {key: one for key, one in said.items() if one is not None}
    if dockerfile is not None:
        more["buildInfo"] = {"dockerfileContent": _read(dockerfile)}
    wish.order(
        lambda at: at.make_snapshot(
            name, general=general, reason=wish.reason, idempotency_key=wish.once, **more
        )
    )


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as problem:
        raise BadInput(f"--dockerfile cannot be read: {problem.strerror}") from None
    except ValueError:
        raise BadInput("--dockerfile is not UTF-8") from None


@click.command("delete-snapshot")
@order_options(reason=False)
@click.option("--yes", is_flag=True, help="Do not ask before removing it.")
@click.argument("snapshot")
def delete_snapshot(wish: Wish, snapshot: str, yes: bool) -> None:
    """
    Have Daytona remove SNAPSHOT (its id or name): users start from it no more. Example:

    \b
      sandbox-billing provider delete-snapshot python-3.12
    """
    wish.order(
        lambda at: at.delete_snapshot(snapshot, wish.reason, idempotency_key=wish.once),
        question=f"Remove the snapshot {snapshot}?",
        yes=yes,
    )

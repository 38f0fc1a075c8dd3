"""
C{sandbox-billing operator pause}, C{resume}, C{drain}, C{stop}, C{force-delete} and
C{archive-all}.

Tests: C{tests.cli.test_operator}.
"""

from __future__ import annotations

import click

from sandbox_billing.cli.operator_client import Wish, order_options


@click.command()
@order_options(reason=True)
def pause(wish: Wish) -> None:
    """
    Let nothing new in until 'operator resume': creates and starts are answered with the reason.
    What runs goes on, and is charged. Example:

    \b
      sandbox-billing operator pause --reason "the node is changed, back at noon"
    """
    wish.order(lambda at: at.pause(wish.said, idempotency_key=wish.once))


@click.command()
@order_options(reason=False)
def resume(wish: Wish) -> None:
    """
    Lift the pause, whichever operator set it. Example:

    \b
      sandbox-billing operator resume
    """
    wish.order(lambda at: at.lift_pause(wish.reason, idempotency_key=wish.once))


@click.command()
@order_options(reason=True)
def drain(wish: Wish) -> None:
    """
    Pause, and wait until all that ran before is charged and settled; the pause stays until
    'operator resume'. Example:

    \b
      sandbox-billing operator drain --reason "Redis is moved"
    """
    wish.order(lambda at: at.drain(wish.said, idempotency_key=wish.once))


@click.command()
@order_options(reason=True)
@click.argument("sandbox")
def stop(wish: Wish, sandbox: str) -> None:
    """
    Stop SANDBOX (its id or name), whoever's and whatever it has paid: its user is told, and may
    start it again. Example:

    \b
      sandbox-billing operator stop desk --reason "it scans the network"
    """
    wish.order(lambda at: at.order_stop(sandbox, wish.said, idempotency_key=wish.once))


@click.command("force-delete")
@order_options(reason=False)
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
@click.argument("sandbox")
def force_delete(wish: Wish, sandbox: str, yes: bool) -> None:
    """
    Delete SANDBOX, whoever's and in any state, with all that is on its disk. Example:

    \b
      sandbox-billing operator force-delete desk --reason "stuck for a day"
    """
    wish.order(
        lambda at: at.force_delete(sandbox, wish.reason, idempotency_key=wish.once),
        question=f"Delete {sandbox} and all that is on its disk, for good?",
        yes=yes,
    )


@click.command("archive-all")
@order_options(reason=False)
@click.option("--yes", is_flag=True, help="Do not ask before stopping everything.")
def archive_all(wish: Wish, yes: bool) -> None:
    """
    Stop every sandbox that is metered here, and archive it; pause first if nobody is to start
    anything meanwhile. Example:

    \b
      sandbox-billing operator archive-all --reason "the machine is moved"
    """
    wish.order(
        lambda at: at.archive_all(wish.reason, idempotency_key=wish.once),
        question="Stop and archive every sandbox of every user?",
        yes=yes,
    )

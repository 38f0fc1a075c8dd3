"""
C{sandbox-billing user providers} and C{snapshots}: what there is to rent.

Tests: C{tests.cli.test_user}.
"""

from __future__ import annotations

import click

from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.cli.user_client import anybody, told_by
from sandbox_billing.cli.user_place import Place, place_options
from sandbox_billing.cli.user_text import counted, size
from sandbox_billing.ledger.money import format_0g


@click.command()
@output_options
@place_options()
def providers(out: Output, place: Place) -> None:
    """
    Every provider that is registered with the contract, and its prices. Example:

    \b
      sandbox-billing user providers --url https://sandboxes.example
    """
    told_by(place)
    with anybody(place) as client:
        found = [one.raw for one in client.providers()]
    out.finish_table(
        {"providers": found},
        title=counted(len(found), "provider"),
        columns=("provider", "url", "cpu minute", "GB minute", "create", "version", "signer"),
        rows=[
            (
                str(one["address"]),
                str(one["url"]),
                format_0g(int(one["price_per_cpu_per_min"])),
                format_0g(int(one["price_per_mem_gb_per_min"])),
                format_0g(int(one["create_fee"])),
                str(one["signer_version"]),
                str(one["tee_signer"]),
            )
            for one in found
        ],
    )


@click.command()
@output_options
@place_options()
def snapshots(out: Output, place: Place) -> None:
    """
    What a sandbox may start from. Example:

    \b
      sandbox-billing user snapshots
    """
    told_by(place)
    with anybody(place) as client:
        found = [one.raw for one in client.snapshots()]
    out.finish_table(
        {"snapshots": found},
        title=counted(len(found), "snapshot"),
        columns=("name", "size", "state", "id"),
        rows=[
            (
                str(one.get("name") or ""),
                size(one.get("cpu"), one.get("mem", one.get("memory")), one.get("disk")),
                str(one.get("state") or "?"),
                str(one.get("id") or ""),
            )
            for one in found
        ],
    )

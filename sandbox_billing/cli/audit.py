"""
C{sandbox-billing audit}: a copy of what operators decided, and whether it holds together.

Tests: C{tests.cli.test_audit}, C{tests.cli.test_operator}.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from sandbox_billing.cli.audit_log import (
    anchored,
    checked,
    extends,
    in_order,
    keep,
    read_anchor,
    read_log,
    written,
)
from sandbox_billing.cli.keys import Role
from sandbox_billing.cli.operator_client import client_of, operator_desk
from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.cli.provider_terms import address_of
from sandbox_billing.cli.standing import RedisPlace
from sandbox_billing.cli.user_place import Place, place_options
from sandbox_billing.cli.user_text import counted
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.token import Scope


_FILE = click.Path(path_type=Path, dir_okay=False)
_PAGE = 500


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def audit() -> None:
    """Keep a copy of what operators decided, and check it."""


@audit.command()
@output_options
@place_options(role=Role.PROVIDER)
@click.option(
    "--redis",
    metavar="HOST:PORT",
    help="Read the daemon's Redis instead of asking --url; REDIS_PASSWORD has its password.",
)
@click.option("--output", type=_FILE, help="A new file.  [default: standard output]")
def export(out: Output, place: Place, redis: str | None, output: Path | None) -> None:
    """
    Write all entries, the oldest first: each line is one as it is stored, and as it is hashed.
    Examples:

    \b
      sandbox-billing audit export --output audit-friday.jsonl
      sandbox-billing audit export --redis 127.0.0.1:6379 > audit.jsonl
    """
    if out.json and output is None:
        raise BadInput("--json needs --output: else the entries themselves are on standard output")
    forms = _by_http(out, place) if redis is None else _by_redis(place, redis)
    if output is None:
        sys.stdout.buffer.write(written(forms))
        sys.stdout.buffer.flush()
    else:
        keep(output, forms)
    # What is broken is written all the same: it is what has to be looked at.
    found = checked(forms, "the log")
    if output is None:
        out.note(f"{counted(found.count, 'entry', 'entries')}; the last one's hash is {found.last}")
        return
    out.finish(
        {"entries": found.count, "old": found.old, "last": found.last, "file": str(output)},
        title="Written",
        rows=[("entries", str(found.count)), ("last hash", found.last), ("file", str(output))],
    )


def _by_http(out: Output, place: Place) -> tuple[bytes, ...]:
    with operator_desk(out, place, Scope.READ) as at:
        return in_order([(one.number, one.form) for one in client_of(at).audit()])


def _by_redis(place: Place, redis: str) -> tuple[bytes, ...]:
    provider = place.provider or address_of(Role.PROVIDER.value)
    if provider is None:
        raise BadInput("which provider? give --provider, or set PROVIDER_ADDRESS")
    return _read_redis(provider, redis)


def _read_redis(provider: Address, redis: str) -> tuple[bytes, ...]:
    # The reactor and the journal, which usage errors need not wait for.
    from sandbox_billing.cli.pause_redis import Interrupts, over_journal, run

    at = RedisPlace(address=redis, password=os.environ.get("REDIS_PASSWORD") or None)

    async def read(journal: Any, _keyspace: Any) -> tuple[bytes, ...]:
        pages: list[tuple[bytes, ...]] = []
        upto: int | None = None
        while True:
            page = await journal.overview.audit(upto, _PAGE)
            pages.append(page.forms)
            upto = page.first
            if upto == 0:
                return tuple(form for forms in reversed(pages) for form in forms)

    async def begin(reactor: Any) -> tuple[bytes, ...]:
        return await over_journal(reactor, at, provider, read)

    return run(begin, Interrupts())


@audit.command()
@output_options
@click.option("--against", type=_FILE, help="An older copy: it has to be the beginning of FILE.")
@click.option(
    "--anchor",
    metavar="HASH",
    help="A hash that was kept: an entry of FILE has to have it.",
)
@click.argument("file", type=_FILE)
def verify(out: Output, file: Path, against: Path | None, anchor: str | None) -> None:
    """
    Check a copy, without asking anybody. Prints the hash of the last entry: kept somewhere else,
    it proves later that nothing up to there was changed or cut off. Examples:

    \b
      sandbox-billing audit verify audit-friday.jsonl
      sandbox-billing audit verify audit-friday.jsonl --against audit-monday.jsonl
      sandbox-billing audit verify audit-friday.jsonl --anchor 35ed…
    """
    wanted = None if anchor is None else read_anchor(anchor)
    forms = read_log(file)
    found = checked(forms, file.name)
    document: dict[str, Any] = {"entries": found.count, "old": found.old, "last": found.last}
    rows = [("entries", str(found.count))]
    if found.old:
        rows.append(("older than the chain", f"{found.old}, which nothing proves"))
    rows.append(("last hash", found.last))
    if against is not None:
        older = read_log(against)
        checked(older, against.name)
        extends(forms, older, against.name)
        document["new"] = found.count - len(older)
        rows.append((f"new since {against.name}", str(document["new"])))
    if wanted is not None:
        document["anchor"] = anchored(forms, wanted)
        rows.append(("the anchor is entry", str(document["anchor"])))
    out.finish(document, title="Every entry follows from the one before it", rows=rows)

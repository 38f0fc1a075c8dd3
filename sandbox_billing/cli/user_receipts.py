"""
C{sandbox-billing user receipts} and C{receipts verify}: every voucher, and whether it is true.

Tests: C{tests.cli.test_user_receipts}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from sandbox_billing.cli.exits import Exit
from sandbox_billing.cli.output import Output, output_options, printable
from sandbox_billing.cli.reverts import moment
from sandbox_billing.cli.user_account import day
from sandbox_billing.cli.user_client import Desk, desk, id_of
from sandbox_billing.cli.user_place import Ground, Place, ground, place_options
from sandbox_billing.cli.user_text import counted, short
from sandbox_billing.errors import BadInput, Transient
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.token import Scope


if TYPE_CHECKING:
    from sandbox_billing.client.verify import ChainReads, Verdicts

_COLUMNS = ("id", "sandbox", "for", "from", "seconds", "fee", "paid", "status", "transaction")

_MOST_FILE_BYTES = 64 * 1024 * 1024


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@output_options
@place_options()
@click.option("--from", "since", metavar="WHEN", help="2026-11-23, or unix seconds; UTC.")
@click.option("--to", "before", metavar="WHEN", help="Up to then, and not including it.")
@click.option("--sandbox", help="Only this one's.")
@click.pass_context
def receipts(
    context: click.Context,
    out: Output,
    place: Place,
    since: str | None,
    before: str | None,
    sandbox: str | None,
) -> None:
    """
    Every voucher: what it was for, what was paid, in which transaction. Example:

    \b
      sandbox-billing user receipts --json > receipts.json
    """
    if context.invoked_subcommand is not None:
        _nothing_before(context, context.invoked_subcommand)
        return
    with desk(out, place, Scope.READ) as at:
        found = _kept(at, day(since, "--from"), day(before, "--to"), sandbox)
    out.finish_table(
        {"receipts": found},
        title=counted(len(found), "receipt"),
        columns=_COLUMNS,
        rows=[_row(one) for one in found],
    )


def _nothing_before(context: click.Context, name: str) -> None:
    """
    Options of the list are none of the command's: passed over, another provider would be asked.

    @raise BadInput: One was given.
    """
    for option in context.command.params:
        if context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE:
            raise BadInput(f"{option.opts[0]} says nothing before '{name}': give it after, or not")


def _kept(at: Desk, since: int | None, before: int | None, sandbox: str | None) -> list[Any]:
    """@param sandbox: By id or name; older Daytonas have ids that could be names."""
    from sandbox_billing.client.errors import NotFound

    def told(of: str | None) -> list[Any]:
        return [one.raw for one in at.client.receipts(from_=since, to=before, sandbox=of)]

    try:
        return told(None if sandbox is None else id_of(at, sandbox))
    except NotFound:
        # It may be the id of one that is gone.
        found = told(sandbox)
        if not found:
            raise
        return found


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(one["id"]),
        str(one["sandbox"]),
        str(one["kind"]),
        moment(int(one["period_start"])).partition(" (")[0],
        str(one["units"]),
        short(one["fee"]),
        short(one["paid"]),
        str(one["status"]),
        str(one.get("transaction") or "-"),
    )


@receipts.command()
@output_options
@place_options(chain=True)
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Receipts that were saved with --json; the provider is not asked.",
)
@click.option(
    "--from-block",
    "from_block",
    type=click.IntRange(min=0),
    help="From which block no receipt may be missing. [default: the contract's first]",
)
def verify(out: Output, place: Place, file: Path | None, from_block: int | None) -> None:
    """
    Check the receipts against the chain, and trust nobody but the node of it.

    Says what is proven, what is not, and what is refuted; with anything refuted it ends with
    status 6. Name a node of your own: the provider's may lie. Example:

    \b
      sandbox-billing user receipts verify --rpc https://evmrpc-testnet.0g.ai
    """
    documents: Sequence[Any]
    whole = file is None
    if file is not None:
        documents = saved(file)
        user = place.known_address() or user_of(documents)
    else:
        with desk(out, place, Scope.READ) as at:
            documents = [one.raw for one in at.client.receipts()]
            user, only = at.wallet, at.sandbox
        if only is not None:
            whole = False
            out.note(f"the session shows only what is of {only}: log out to check everything")
    found = ground(place)
    if place.rpc is None:
        out.note("the node is the provider's own choice: name one that you trust with --rpc")
    from sandbox_billing.client.verify import verify as check

    verdicts = check(
        documents,
        reads_of(found),
        user=user,
        provider=found.provider,
        whole=whole,
        first_block=from_block,
        fresh=file is None,
    )
    tell(out, verdicts)


def saved(file: Path) -> list[Any]:
    """
    @raise BadInput: The file has no receipts.
    """
    try:
        if file.stat().st_size > _MOST_FILE_BYTES:
            raise BadInput(f"--file {file.name} is too large")
        document = json.loads(file.read_text("utf-8"))
    except OSError as problem:
        raise BadInput(f"--file cannot be read: {problem.strerror}") from None
    except (ValueError, RecursionError):
        raise BadInput(f"--file {file.name} is not JSON") from None
    found = document.get("receipts") if isinstance(document, dict) else document
    if not isinstance(found, list):
        raise BadInput(f"--file {file.name} has no receipts: save them with 'user receipts --json'")
    return found


def user_of(documents: Sequence[Any]) -> Address:
    """
    @raise BadInput: They are not of one wallet.
    """
    users = [one.get("user") for one in documents if isinstance(one, dict)]
    named = {user for user in users if isinstance(user, str)}
    if len(named) != 1 or not all(isinstance(user, str) for user in users):
        raise BadInput("whose receipts are they? give --wallet")
    return Address(named.pop())


def tell(out: Output, verdicts: Verdicts) -> None:
    """Say what came out, and end: with 6 when anything is refuted."""
    from sandbox_billing.client.verify import Proof

    document = verdicts.document()
    rows = []
    for claim, means in _claims(document):
        findings = [one for one in _findings(document) if one["claim"] == claim]
        counts = {
            proof.value: sum(one["proof"] == proof.value for one in findings) for proof in Proof
        }
        rows.append((claim, means, *(str(count or "-") for count in counts.values())))
    out.finish_table(
        document,
        title=f"{counted(len(document['receipts']), 'receipt')}: {document['proof']}",
        columns=("claim", "meaning", *(proof.value for proof in Proof)),
        rows=rows,
    )
    if not out.json:
        _explain(document, Proof.PROVEN.value)
    if verdicts.proof is Proof.REFUTED:
        raise click.exceptions.Exit(int(Exit.DIFFERENT))


def _findings(document: Mapping[str, Any]) -> list[Mapping[str, str]]:
    each = [finding for one in document["receipts"] for finding in one["findings"]]
    return [*each, *document["history"]]


def _claims(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each that was looked at, once, in the order of the receipts."""
    return list({one["claim"]: one["means"] for one in _findings(document)}.items())


def _explain(document: Mapping[str, Any], proven: str) -> None:
    """Each finding that is not proven, and what no receipt can prove."""
    named = [(one["id"], finding) for one in document["receipts"] for finding in one["findings"]]
    named += [("all together", finding) for finding in document["history"]]
    for name, finding in named:
        if finding["proof"] != proven:
            told = f"{name}: {finding['claim']} {finding['proof']}: {finding['why']}"
            click.echo(printable(told))
    click.echo("Not shown by any of this:")
    for text in document["not_provable"]:
        click.echo(f"  - {text}")


def reads_of(found: Ground) -> ChainReads:
    """
    The chain as the verifier asks it, by the first node that answers: one for everything, since
    two may know different blocks.

    @raise Transient: None does.
    """
    return chain_at(found.rpc, found.session.chain_id, found.contract)


def chain_at(rpc: str, chain_id: int, contract: Address) -> ChainReads:
    """
    @param rpc: URLs, with commas between them.
    @raise Transient: None of them serves this chain.
    """
    from sandbox_billing.client.chain_reads import JsonRpcChain

    failures: list[str] = []
    for url in filter(None, (part.strip() for part in rpc.split(","))):
        chain = JsonRpcChain(url, contract)
        try:
            served = chain.chain_id()
        except Transient as problem:
            failures.append(str(problem))
            continue
        if served == chain_id:
            return chain
        failures.append(f"a node serves chain {served}")
    raise Transient(f"{'; '.join(failures) or 'no RPC URL is given'}: look at --rpc")

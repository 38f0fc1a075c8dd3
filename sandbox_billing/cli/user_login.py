"""
C{sandbox-billing user login} and C{logout}: one signature for an hour of commands.

Tests: C{tests.cli.test_user}.
"""

from __future__ import annotations

from contextlib import suppress

import click

from sandbox_billing.cli.amounts import both
from sandbox_billing.cli.options import AMOUNT
from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.cli.reverts import moment
from sandbox_billing.cli.user_client import (
    SessionEnded,
    id_of,
    signing_desk,
    token_desk,
    tokens,
)
from sandbox_billing.cli.user_place import Place, place_options
from sandbox_billing.cli.user_text import lasting
from sandbox_billing.cli.user_tokens import Kept
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.token import DEFAULT_LIFE_SECONDS, MAX_LIFE_SECONDS, Scope


NAME_PROVIDER = (
    "--public-url makes a login for another address than --url's: say with --provider whose, its "
    "address as you know it from somewhere else than --url"
)

_SCOPES = tuple(scope.value for scope in Scope)


@click.command()
@output_options
@place_options()
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(_SCOPES),
    help="What it may do; may be given several times. [default: all]",
)
@click.option(
    "--ttl",
    type=click.IntRange(min=1, max=MAX_LIFE_SECONDS),
    default=DEFAULT_LIFE_SECONDS,
    show_default=True,
    help="Seconds that it lives.",
)
@click.option("--spend-limit", type=AMOUNT, help="The most to spend with it.")
@click.option("--sandbox", help="The one sandbox that it is for.")
@click.option(
    "--public-url",
    metavar="URL",
    help="How the provider calls itself, if not --url; with --provider.",
)
def login(
    out: Output,
    place: Place,
    scopes: tuple[str, ...],
    ttl: int,
    spend_limit: Neuron | None,
    sandbox: str | None,
    public_url: str | None,
) -> None:
    """
    Sign once; the commands after it use the session that this gives.

    It is kept in a file that only you can read. Example:

    \b
      sandbox-billing user login --ttl 28800
    """
    url = place.require_url()
    if public_url is not None and place.provider is None:
        raise BadInput(NAME_PROVIDER)
    with signing_desk(out, place) as at:
        session = at.client.login(
            scopes=scopes or _SCOPES,
            ttl=ttl,
            spend_limit=spend_limit,
            sandbox=None if sandbox is None else id_of(at, sandbox),
            public_url=public_url,
        )
        now = at.now()
    told = session.raw
    kept = Kept(
        url=url,
        wallet=Address(told["wallet"]).hex,
        token=session.token,
        id=str(told["id"]),
        scopes=tuple(map(str, told["scopes"])),
        sandbox=told.get("sandbox"),
        expires_at=int(told["expires_at"]),
    )
    path = tokens().keep(kept)
    document = {
        "url": url,
        "wallet": told["wallet"],
        "id": kept.id,
        "scopes": list(kept.scopes),
        "sandbox": kept.sandbox,
        "spend_limit": told.get("spend_limit"),
        "expires_at": kept.expires_at,
    }
    rows = [
        ("wallet", str(told["wallet"])),
        ("may", ", ".join(kept.scopes)),
        ("until", f"{moment(kept.expires_at)}, {lasting(kept.expires_at - now)}"),
    ]
    if kept.sandbox is not None:
        rows.append(("for", kept.sandbox))
    if spend_limit is not None:
        rows.append(("spends at most", both(spend_limit)))
    out.note(f"kept in {path}")
    out.finish(document, title="Logged in", rows=rows)


@click.command()
@output_options
@place_options()
@click.option("--all", "everywhere", is_flag=True, help="End every session of the wallet.")
def logout(out: Output, place: Place, everywhere: bool) -> None:
    """
    End the session and remove it from this machine.

    What it has started runs on, and costs. Example:

    \b
      sandbox-billing user logout
    """
    url = place.require_url()
    wallet = place.known_address()
    kept = tokens().find(url, wallet)
    revoked = 0
    if everywhere:
        with signing_desk(out, place) as at:
            revoked = at.client.logout_all()
    elif kept is not None:
        # One that has ended is what was wanted.
        with suppress(SessionEnded), token_desk(out, place, kept) as at:
            revoked = at.client.logout(kept.id)
    if kept is not None:
        tokens().forget(url, Address(kept.wallet))
    out.finish(
        {"url": url, "revoked": revoked, "nothing_to_do": kept is None and not everywhere},
        title="Logged out" if kept or everywhere else "Nothing to do: there is no session here",
        rows=[("sessions ended", str(revoked))],
    )

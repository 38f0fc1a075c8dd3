"""
The client library as the commands use it: opened for a wallet, its errors told with the next step.

Tests: C{tests.cli.test_user}.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import click
from attrs import evolve, frozen

from sandbox_billing.cli.exits import FAMILIES
from sandbox_billing.cli.output import Output, printable
from sandbox_billing.cli.session import Pace
from sandbox_billing.cli.user_errors import next_step
from sandbox_billing.cli.user_place import Place
from sandbox_billing.cli.user_text import lasting
from sandbox_billing.cli.user_tokens import Kept, Tokens, state_folder
from sandbox_billing.errors import BadInput, Refused
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.token import Scope


if TYPE_CHECKING:
    from sandbox_billing.client import ApiError, Client, Info, Signer
    from sandbox_billing.client.calls import Pause

_T = TypeVar("_T")

_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")


@frozen(kw_only=True)
class Desk:
    """
    Where one command works.

    @ivar told: What the provider says of itself.
    @ivar wallet: For whom.
    @ivar now: unix seconds.
    @ivar sandbox: The only one whose things the session shows; None for all.
    """

    out: Output
    client: Client
    told: Info
    wallet: Address
    pace: Pace
    now: Callable[[], float]
    sandbox: str | None = None


def tokens() -> Tokens:
    """Those of this machine."""
    return Tokens(state_folder(os.environ))


def told_by(place: Place) -> Info:
    """
    What the provider says of itself.

    @raise WrongChain: It is not what was named.
    """
    with anybody(place) as client:
        told = client.info()
    place.agree("contract", place.contract, Address(told.contract))
    place.agree("provider", place.provider, Address(told.provider))
    place.agree("chain id", place.chain_id, told.chain_id)
    return told


def _say_why(pause: Pause) -> None:
    """Between two tries of the library, which nobody should have to guess at."""
    if pause.why is None:
        return
    # Its own words: the library's advice is for whoever is told at the end.
    said = pause.why.body.get("error") or "no answer that counts"
    click.echo(
        f"{printable(str(said))}; asking again in {lasting(max(1.0, pause.seconds))}", err=True
    )


@contextmanager
def anybody(place: Place) -> Iterator[Client]:
    """Without a wallet, for what everybody may ask."""
    from sandbox_billing.client import Client

    made = Client(place.require_url(), on_pause=_say_why)
    with made as client, _translated(client, with_token=False):
        yield client


@contextmanager
def desk(
    out: Output, place: Place, scope: Scope, *, of: type[Client] | None = None
) -> Iterator[Desk]:
    """
    For a wallet: by its session where one is kept that may do this, else by its key.

    @param scope: What the command needs.
    @param of: The library's client, where it is not that of users.
    """
    kept = tokens().find(place.require_url(), place.known_address())
    if kept is None or not kept.serves(scope.value, time.time()):
        with signing_desk(out, place, of=of) as at:
            yield at
        return
    with token_desk(out, place, kept, of=of) as at:
        yield at


@contextmanager
def signing_desk(out: Output, place: Place, *, of: type[Client] | None = None) -> Iterator[Desk]:
    """
    By the key.

    @raise BadInput: There is none, or it is another wallet's than the one that was named.
    """
    from sandbox_billing.client import KeySigner

    place.require_url()
    key = place.key.load()
    if place.wallet not in (None, key.address):
        raise BadInput("the key is not that of --wallet: leave one of them out")
    with _opened(out, place, key.address, signer=KeySigner(key), of=of) as at:
        yield at


@contextmanager
def token_desk(
    out: Output, place: Place, kept: Kept, *, of: type[Client] | None = None
) -> Iterator[Desk]:
    """By a session that was kept; one that has ended is forgotten, and the next command signs."""
    wallet = Address(kept.wallet)
    try:
        with _opened(out, place, wallet, token=kept.token, of=of) as at:
            yield evolve(at, sandbox=kept.sandbox)
    except SessionEnded:
        tokens().forget(kept.url, wallet)
        raise


@frozen(auto_exc=False)
class SessionEnded(Refused):
    """The provider does not know the token any more."""


@contextmanager
def _opened(
    out: Output,
    place: Place,
    wallet: Address,
    *,
    signer: Signer | None = None,
    token: str | None = None,
    of: type[Client] | None = None,
) -> Iterator[Desk]:
    from sandbox_billing.client import Client

    told = told_by(place)
    if place.is_open():
        out.note("warning: --url is not https: everybody on the way can read this and change it")
    client = (of or Client)(
        place.require_url(),
        signer,
        token=token,
        provider=told.provider,
        chain_id=told.chain_id,
        on_pause=_say_why,
    )
    with client, _translated(client, with_token=token is not None):
        yield Desk(out=out, client=client, told=told, wallet=wallet, pace=Pace(), now=time.time)


@contextmanager
def _translated(client: Client, *, with_token: bool) -> Iterator[None]:
    """The provider's refusals as ours, with what to do next."""
    from sandbox_billing.client import ApiError

    try:
        yield
    except ApiError as problem:
        raise told_of(problem, client, with_token=with_token) from None


def told_of(problem: ApiError, client: Client, *, with_token: bool) -> Exception:
    """An error of the provider as one of a command's families."""
    from sandbox_billing.client.errors import Garbled

    if problem.status == 0 or isinstance(problem, Garbled):
        # Nothing was answered, or nothing that a provider says: a redirect, another server's
        # page.  The library says it as well as anybody.
        return problem
    version = debt = None
    if problem.status == 402:
        version = _quietly(lambda: _version(client))
        if problem.code == "debt":
            debt = _quietly(lambda: int(client.account().raw["exposure"]["debts"]))
    # The provider's words, which shall not move the cursor.
    text = printable(
        next_step(
            problem.status,
            problem.body,
            version=version,
            debt=debt,
            with_token=with_token,
            retry_after=problem.retry_after,
        )
    )
    if problem.status == 401 and with_token:
        return SessionEnded(text)
    family = next(one for one in FAMILIES if isinstance(problem, one))
    return family(text)


def _version(client: Client) -> int | None:
    provider = client.info().provider
    versions = [one.signer_version for one in client.providers() if one.address == provider]
    return versions[0] if versions else None


def _quietly(ask: Callable[[], _T]) -> _T | None:
    """What only makes an error's text better."""
    try:
        return ask()
    except (*FAMILIES, KeyError, ValueError):
        return None


def id_of(at: Desk, sandbox: str) -> str:
    """
    What belongs to an id, and would be nothing under a name.

    @param sandbox: Its id, also of one that is gone, or its name, which never looks like one.
    @raise Refused: There is none with that name.
    """
    return sandbox if _ID.match(sandbox) else at.client.get(sandbox).id


def read_if_there(ask: Callable[[], _T]) -> _T | None:
    """What is told beside the result; None where the provider does not, or not now."""
    from sandbox_billing.client import ApiError, Unauthorized

    try:
        return ask()
    except Unauthorized:
        raise
    except ApiError:
        return None

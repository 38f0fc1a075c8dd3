"""
Session tokens: what a wallet lets a program do in its name, and until when.

Tests: C{tests.ledger.test_token}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from typing import NewType

from attrs import field, frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address, SandboxId, sandbox_id
from sandbox_billing.ledger.money import Neuron, UnixSeconds, parse_neuron


TokenId = NewType("TokenId", str)
"""The public name of a token: a part of its secret's hash, which opens nothing."""

MAX_LIFE_SECONDS = 24 * 60 * 60
DEFAULT_LIFE_SECONDS = 60 * 60

_ID = re.compile(r"[0-9a-f]{32}\Z")


class Scope(Enum):
    """What a token may be used for; a signature has all of them."""

    READ = "read"
    MANAGE = "manage"
    TOOLBOX = "toolbox"


EVERY_SCOPE = frozenset(Scope)


def token_id(text: str) -> TokenId:
    """@raise BadInput: No token can be called that."""
    if type(text) is not str or not _ID.match(text):
        raise BadInput("a token's id is 32 lower-case hex digits")
    return TokenId(text)


@frozen(kw_only=True)
class Token:
    """
    A token as it is stored: everything of it but the secret.

    @ivar digest: Lower-case hex of the SHA-256 of the secret.
    @ivar scopes: Without doubles, in the order of L{Scope}.
    @ivar only: The one sandbox it is for; None for all of the wallet's.
    @ivar spend_limit: neuron; None for as much as the wallet has.
    """

    id: TokenId
    digest: str = field(repr=False)
    wallet: Address
    scopes: tuple[Scope, ...]
    only: SandboxId | None = None
    spend_limit: Neuron | None = None
    issued_at: UnixSeconds
    expires_at: UnixSeconds

    def is_live(self, now: UnixSeconds) -> bool:
        """Whether it opens anything at this moment."""
        return now < self.expires_at


@frozen
class Allowance:
    """
    Whose spend limit counts what is started: kept with it, so that it outlives the token.

    @ivar limit: neuron, of all that is ever started with the token.
    """

    token: TokenId
    limit: Neuron


URN = "urn:sandbox-billing:"
_SECONDS = re.compile(r"[1-9][0-9]{0,5}\Z")


@frozen(kw_only=True)
class Grant:
    """
    What a wallet signs that a token may do.

    @ivar provider: Whose sandboxes it is for.
    @ivar life_seconds: How long the token lives at most.
    """

    provider: Address
    scopes: tuple[Scope, ...]
    life_seconds: int = DEFAULT_LIFE_SECONDS
    spend_limit: Neuron | None = None
    only: SandboxId | None = None

    def resources(self) -> tuple[str, ...]:
        """As they are signed; L{read_grant} reads them."""
        return (
            f"{URN}provider:{self.provider}",
            *(f"{URN}scope:{scope.value}" for scope in self.scopes),
            f"{URN}ttl:{self.life_seconds}",
            *([] if self.spend_limit is None else [f"{URN}spend-limit:{self.spend_limit}"]),
            *([] if self.only is None else [f"{URN}sandbox:{self.only}"]),
        )


def _life(text: str) -> int:
    if not _SECONDS.match(text) or int(text) > MAX_LIFE_SECONDS:
        raise BadInput(f"a ttl is 1 to {MAX_LIFE_SECONDS} seconds, not {text[:40]}")
    return int(text)


def _scopes(texts: list[str]) -> tuple[Scope, ...]:
    known = {scope.value: scope for scope in Scope}
    for text in texts:
        if text not in known:
            raise BadInput(f"no such scope: {text[:40]}; there are {', '.join(known)}")
    return tuple(scope for scope in Scope if scope.value in texts)


def read_grant(resources: Iterable[str]) -> Grant:
    """
    Read what a wallet signed, a URI for each: of a limit that is not understood nothing may
    be granted.

      - C{urn:sandbox-billing:provider:<address>}: must be there.
      - C{urn:sandbox-billing:scope:<scope>}: for each L{Scope}; one at least.
      - C{urn:sandbox-billing:ttl:<seconds>}: an hour where it is not there.
      - C{urn:sandbox-billing:spend-limit:<neuron>}
      - C{urn:sandbox-billing:sandbox:<id>}

    @raise BadInput: One is unknown, malformed, missing, or stands twice.
    """
    found: dict[str, list[str]] = {}
    for resource in resources:
        name, colon, text = resource.removeprefix(URN).partition(":")
        known = name in ("provider", "scope", "ttl", "spend-limit", "sandbox")
        if not (known and colon and resource.startswith(URN)):
            raise BadInput(f"unknown resource: {resource[:80]}")
        told = found.setdefault(name, [])
        if text in told or (told and name != "scope"):
            raise BadInput(f"resource stands twice: {URN}{name}")
        told.append(text)
    for name in ("provider", "scope"):
        if name not in found:
            raise BadInput(f"a resource is missing: {URN}{name}:...")
    ttl, limit, only = (found.get(name) for name in ("ttl", "spend-limit", "sandbox"))
    return Grant(
        provider=Address(found["provider"][0]),
        scopes=_scopes(found["scope"]),
        life_seconds=DEFAULT_LIFE_SECONDS if ttl is None else _life(ttl[0]),
        spend_limit=None if limit is None else parse_neuron(limit[0]),
        only=None if only is None else sandbox_id(only[0]),
    )

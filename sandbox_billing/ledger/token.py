"""
Session tokens: what a wallet lets a program do in its name, and until when.

Tests: C{tests.ledger.test_token}.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NewType

from attrs import field, frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import Neuron, UnixSeconds


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

"""
Session tokens: a wallet signs once what a program may do in its name, and until when.

For programs that cannot sign each request, as those written with Daytona's own SDKs.  The
message is EIP-4361's; whatever a token may do is in what was signed, nothing in the JSON
around it.

Tests: C{tests.web.test_sessions}.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

from sandbox_billing.errors import BadInput, Refused
from sandbox_billing.interfaces import IDoors, IIntake, ITokens, IWallClock, NotReady
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.token import Grant, Token, read_grant, token_id
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.request import (
    MAX_AHEAD_SECONDS,
    AuthenticationError,
    canonical_authority,
)
from sandbox_billing.signing.siwe import SiweMessage, moment, parse_siwe
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._router import Asked
from sandbox_billing.web.answers import Answer, NotServed
from sandbox_billing.web.caller import Callers, digest_of
from sandbox_billing.web.terms import Terms


NO_SIGN_IN = "this provider takes no logins: its operator has to set PUBLIC_URL"
BODY = 'the body is {"message": ..., "signature": "0x..."}, both strings'
OTHER_DOMAIN = "this message is for another address than {origin}"
OTHER_CHAIN = "this message is for another chain than {chain}"
OTHER_PROVIDER = "this message is for another provider than {provider}"
NOT_FRESH = "this message was not issued now: sign a new one"
NOT_YET = "this message is not valid yet"
EXPIRED = "this message has expired"
SIGN_THIS = "a token ends no other token: sign this request"
NO_TOKEN = "no such token"

MAX_TOKENS = 50
CLOCKS_DIFFER_SECONDS = 30
CONTRACT_LIFE_SECONDS = 60 * 60
"""Of a token given on a contract's word: what the contract says may change any block."""

_SECRET_BYTES = 32


def _shown(token: Token, spent: Neuron | None) -> dict[str, Any]:
    return {
        "id": token.id,
        "wallet": checksum(token.wallet),
        "scopes": [scope.value for scope in token.scopes],
        "spend_limit": None if token.spend_limit is None else str(token.spend_limit),
        "spent": None if spent is None else str(spent),
        "sandbox": token.only,
        "issued_at": token.issued_at,
        "expires_at": token.expires_at,
    }


def _origin(scheme: str, authority: str) -> str:
    return f"{scheme}://{canonical_authority(scheme, authority)}"


def _fields(body: Any) -> tuple[str, str]:
    if not isinstance(body, dict) or set(body) != {"message", "signature"}:
        raise BadInput(BODY)
    message, signature = body["message"], body["signature"]
    if not isinstance(message, str) or not isinstance(signature, str):
        raise BadInput(BODY)
    return message, signature


@frozen(kw_only=True)
class Sessions:
    """
    The routes below C{/api/auth/session}.

    @ivar random_bytes: Makes so many bytes that nobody can guess.
    """

    callers: Callers
    tokens: ITokens = field(validator=provides(ITokens))
    doors: IDoors = field(validator=provides(IDoors))
    intake: IIntake = field(validator=provides(IIntake))
    wall: IWallClock = field(validator=provides(IWallClock))
    terms: Terms
    random_bytes: Callable[[int], bytes] = field(repr=False)

    async def open(self, asked: Asked) -> Answer:
        """Form, purpose, age, author, nonce: then a token, told this once."""
        if not self.terms.sign_in_url:
            raise NotReady(NO_SIGN_IN)
        text, signature = _fields(asked.body)
        message = parse_siwe(text)
        grant = read_grant(message.resources or ())
        self._check_purpose(message, grant)
        now = self.wall.now()
        issued, until = self._check_age(message, now)
        # After what costs nothing: a contract is asked over the network.
        raw, until_seen = text.encode("ascii"), issued + MAX_AHEAD_SECONDS
        by_key = await self.callers.prove(message.address, raw, signature, asked.peer)
        await self.callers.use_up(
            message.address, message.nonce, until_seen, raw=raw, signature=signature
        )
        only = await self._one_sandbox(message.address, grant)
        life = grant.life_seconds if by_key else min(grant.life_seconds, CONTRACT_LIFE_SECONDS)
        ends = now + life if until is None else min(now + life, until)
        secret = "sbt_" + urlsafe_b64encode(self.random_bytes(_SECRET_BYTES)).decode().rstrip("=")
        id, digest = digest_of(secret)
        token = Token(
            id=id,
            digest=digest,
            wallet=message.address,
            scopes=grant.scopes,
            only=only,
            spend_limit=grant.spend_limit,
            issued_at=now,
            expires_at=UnixSeconds(ends),
        )
        await self.tokens.issue(token, most=MAX_TOKENS)
        return Answer(document={"token": secret, **_shown(token, await self._spent(token))})

    async def _one_sandbox(self, wallet: Address, grant: Grant) -> SandboxId | None:
        """
        Its id: a name may be another's tomorrow, and Daytona takes an id in any case.

        @raise Refused: The wallet has no such sandbox.
        """
        return None if grant.only is None else (await self.intake.owned(wallet, grant.only)).id

    def _check_purpose(self, message: SiweMessage, grant: Grant) -> None:
        """@raise AuthenticationError: It was signed for somebody else."""
        terms = self.terms
        ours, asked = urlsplit(terms.sign_in_url), urlsplit(message.uri)
        origin = _origin(ours.scheme, ours.netloc)
        named = _origin((message.scheme or ours.scheme).lower(), message.domain)
        if not named == _origin(asked.scheme, asked.netloc) == origin:
            raise AuthenticationError(OTHER_DOMAIN.format(origin=origin))
        if message.chain_id != terms.chain_id:
            raise AuthenticationError(OTHER_CHAIN.format(chain=terms.chain_id))
        if grant.provider != terms.provider:
            provider = checksum(terms.provider)
            raise AuthenticationError(OTHER_PROVIDER.format(provider=provider))

    def _check_age(self, message: SiweMessage, now: UnixSeconds) -> tuple[int, int | None]:
        """
        @return: When it was issued, and when it expires if it says so.
        @raise AuthenticationError: It is not of now.
        """
        issued = moment(message.issued_at)
        if not now - MAX_AHEAD_SECONDS < issued <= now + CLOCKS_DIFFER_SECONDS:
            raise AuthenticationError(NOT_FRESH)
        if message.not_before is not None and moment(message.not_before) > now:
            raise AuthenticationError(NOT_YET)
        if message.expiration_time is None:
            return issued, None
        until = moment(message.expiration_time)
        if until <= now:
            raise AuthenticationError(EXPIRED)
        return issued, until

    async def list(self, asked: Asked) -> Answer:
        """The wallet's; a token for one sandbox sees itself alone."""
        caller = asked.known
        found = await self.tokens.of(caller.wallet)
        if caller.only is not None:
            found = tuple(token for token in found if token.id == caller.token)
        return Answer(
            document={"tokens": [_shown(token, await self._spent(token)) for token in found]}
        )

    async def _spent(self, token: Token) -> Neuron | None:
        """neuron; None where nobody counts, or can: then it is at its limit, and somebody told."""
        if token.spend_limit is None:
            return None
        spending = await self.doors.spending(token.id)
        try:
            return spending.spent(self.wall.now())
        except BadInput:
            return None

    async def revoke(self, asked: Asked) -> Answer:
        """One of the wallet's tokens; a token ends only itself."""
        caller, name = asked.known, asked.parts["token"]
        if caller.token is not None and name != caller.token:
            raise Refused(SIGN_THIS)
        try:
            found = await self.tokens.revoke(caller.wallet, token_id(name))
        except BadInput:
            found = False
        if not found:
            raise NotServed(NO_TOKEN, status=404)
        return Answer(document={"revoked": 1})

    async def revoke_all(self, asked: Asked) -> Answer:
        """All of the wallet's: a signature's only."""
        if asked.known.token is not None:
            raise Refused(SIGN_THIS)
        return Answer(document={"revoked": await self.tokens.revoke_all(asked.wallet)})

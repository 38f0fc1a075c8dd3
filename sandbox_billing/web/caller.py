"""
Who is asking: from headers to a wallet that signed this request and no other, or that
signed what a token may do.

Tests: C{tests.web.test_signing}, C{tests.web.test_sessions}.
"""

from __future__ import annotations

import re
from hashlib import sha256
from hmac import compare_digest
from typing import Protocol, TypeAlias

from attrs import field, frozen
from twisted.web.http_headers import Headers

from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import IReplayGuard, ITokens, IWallClock, NotReady
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.token import EVERY_SCOPE, Allowance, Scope, Token, TokenId
from sandbox_billing.log_context import ASKER
from sandbox_billing.signing.contract_wallet import signer_of
from sandbox_billing.signing.request import (
    INVALID_SIGNATURE,
    MISSING_HEADERS,
    NONCE_USED,
    AuthenticationError,
    RequestFacts,
    SealedMessage,
    SignedMessage,
    check_binding,
    check_expiry,
    is_signed_by,
)
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web.answers import InvalidToken
from sandbox_billing.web.limits import RequestLimits
from sandbox_billing.web.terms import Terms


WALLET = "X-Wallet-Address"
MESSAGE = "X-Signed-Message"
SIGNATURE = "X-Wallet-Signature"

INVALID_TOKEN = "invalid or expired token"
ONE_SANDBOX = "this token is for one sandbox only: {only}"

TOOLBOX_VERB = "toolbox"

_SECRET = re.compile(r"sbt_[A-Za-z0-9_-]{43}\Z")
_ID_DIGITS = 32


def digest_of(secret: str) -> tuple[TokenId, str]:
    """A token's name and the hash under which it is kept."""
    digest = sha256(secret.encode("ascii")).hexdigest()
    return TokenId(digest[:_ID_DIGITS]), digest


@frozen(kw_only=True)
class Caller:
    """
    A wallet, and what it may do with this request.

    @ivar only: The one sandbox that a token is for; None for no such limit.
    @ivar token: None for who signed the request itself.
    @ivar spend_limit: neuron.
    @ivar body_sha256: What a body that still streams must turn out to hash to, lower-case
        hex, where its signer says so; whoever reads it to its end compares.
    """

    wallet: Address
    scopes: frozenset[Scope] = EVERY_SCOPE
    only: SandboxId | None = None
    token: TokenId | None = None
    spend_limit: Neuron | None = None
    body_sha256: str | None = None

    def check_scope(self, scope: Scope | None) -> None:
        """
        @param scope: What the route needs; None for any token.
        @raise Refused: The token has not this scope.
        """
        if scope is not None and scope not in self.scopes:
            raise Refused(f"this token has not the scope {scope.value}")

    def check_reach(self, id: str | None) -> None:
        """
        @param id: The id in the path; None where a route is about the whole wallet.
        @raise Refused: The token is for one sandbox, and this is not it.
        """
        if self.only is not None and id != self.only:
            raise Refused(ONE_SANDBOX.format(only=self.only))

    @property
    def allowance(self) -> Allowance | None:
        """Whose spend limit counts what is started now; None where there is none."""
        if self.token is None or self.spend_limit is None:
            return None
        return Allowance(self.token, self.spend_limit)


Claim: TypeAlias = SignedMessage | Token
"""Who says to be asking: proven, but not yet for this request."""


class OtherProof(Protocol):
    """Another way than ECDSA to find out whether a wallet signed: its contract's word."""

    async def __call__(self, wallet: Address, raw: bytes, signature: str, peer: str) -> bool:
        """
        @param raw: Well formed and fresh; not signed by the wallet's own key.
        @param signature: As it was sent, of any form.
        @param peer: Who is asking, for limits.
        @return: Whether the wallet signed it all the same.
        """


async def keys_only(wallet: Address, raw: bytes, signature: str, peer: str) -> bool:
    """No other proof is taken."""
    return False


def bearer_of(headers: Headers) -> str | None:
    """
    What stands in C{Authorization: Bearer}.

    @raise BadInput: The header stands twice.
    """
    given = headers.getRawHeaders(b"Authorization", [])
    parts = [value.partition(b" ") for value in given]
    if not any(scheme.lower() == b"bearer" for scheme, _, _ in parts):
        return None
    if len(given) > 1:
        raise BadInput("Authorization stands twice")
    return str(parts[0][2].strip().decode("latin-1"))


def _only(headers: Headers, name: str) -> str | None:
    values = headers.getRawHeaders(name.encode("ascii"), [])
    if len(values) > 1:
        # The next reader might take the other one.
        raise BadInput(f"{name} stands twice")
    # Latin-1 never fails; what is not ASCII fails where it is read.
    return values[0].decode("latin-1") if values else None


@frozen(kw_only=True)
class Callers:
    """
    The door: the order of its checks is design.md §4.1's.

    @ivar limits: Who proves nothing too often is not looked at, who proves something is counted.
    @ivar otherwise: Asked when a signature is not by the wallet's own key.
    """

    replay: IReplayGuard = field(validator=provides(IReplayGuard))
    tokens: ITokens = field(validator=provides(ITokens))
    wall: IWallClock = field(validator=provides(IWallClock))
    terms: Terms
    limits: RequestLimits
    otherwise: OtherProof = keys_only

    async def recognise(self, headers: Headers, peer: str) -> Claim:
        """
        Form, age and author of the signed message, or the token; what it is for is
        L{admit}'s.

        @param peer: The address that asks.
        @raise AuthenticationError: It does not prove who sent it.
        @raise BadInput: A header stands twice, or a token stands beside a signature.
        @raise NotReady: Whether there is such a token cannot be found out.
        """
        wallet, message, signature = (_only(headers, n) for n in (WALLET, MESSAGE, SIGNATURE))
        bearer = bearer_of(headers)
        if bearer is not None:
            if wallet or message or signature:
                raise BadInput("either a token or a signature, not both")
            self.limits.may_guess(peer)
            token = await self._token(bearer)
            if token is None:
                self.limits.guessed(peer)
                raise InvalidToken(INVALID_TOKEN)
            if not token.is_live(self.wall.now()):
                # Nobody's guess: its program goes on asking, and may share its address.
                raise InvalidToken(INVALID_TOKEN)
            return token
        if not (wallet and message and signature):
            raise AuthenticationError(MISSING_HEADERS)
        self.limits.may_prove(peer)
        return await self._signed(wallet, message, signature, peer)

    async def _signed(self, wallet: str, message: str, signature: str, peer: str) -> SignedMessage:
        """
        What is neither signed nor well formed is work for nothing, and counted.

        Told is, as clients know it, first what is wrong with the form, then the age, then
        the author; but who signed is found out first, which costs the same for any bytes.
        """
        signed, may_be = False, False
        try:
            sealed = SealedMessage.of(wallet, message, signature)
            signed = sealed.is_signed()
            claim = sealed.opened()
            claimed, may_be = claim.wallet, signed
            check_expiry(claim, self.wall.now())
        except AuthenticationError:
            if not may_be:
                self.limits.forged(peer)
            raise
        await self.prove(claimed, claim.raw, signature, peer, by_key=signed)
        return claim

    async def _token(self, secret: str) -> Token | None:
        if not _SECRET.match(secret):
            return None
        id, digest = digest_of(secret)
        try:
            token = await self.tokens.find(id)
        except (Transient, UnknownOutcome) as problem:
            raise NotReady("the token could not be checked; try again") from problem
        except BadInput:
            # Stored by another version, or damaged: a new one is soon made.
            token = None
        return token if token is not None and compare_digest(token.digest, digest) else None

    async def prove(
        self,
        wallet: Address,
        raw: bytes,
        signature: str,
        peer: str,
        *,
        by_key: bool | None = None,
    ) -> bool:
        """
        The one place where "ECDSA did not match" is decided.

        @param by_key: Whether the wallet's own key signed it, where that is known already.
        @return: Whether the wallet's own key signed it, rather than its contract.
        @raise AuthenticationError: The wallet did not sign it.
        @raise TooMany: Too much from there was not signed by whom it claims.
        """
        self.limits.may_prove(peer)
        if by_key is None:
            by_key = is_signed_by(wallet, raw, signature)
        if not by_key and not await self.otherwise(wallet, raw, signature, peer):
            self.limits.forged(peer)
            raise AuthenticationError(INVALID_SIGNATURE)
        return by_key

    async def use_up(
        self, wallet: Address, nonce: str, until: int, *, raw: bytes, signature: str
    ) -> None:
        """
        A key may sign for several wallets; what it signed for one is used up for all.

        @param until: When what was signed expires, unix seconds.
        @param raw: What was signed, and proven.
        @raise AuthenticationError: This nonce was seen.
        @raise NotReady: Whether it was seen cannot be found out.
        """
        try:
            first = await self.replay.first_use(wallet, nonce, UnixSeconds(until))
            signer = signer_of(raw, signature)
            if first and signer is not None and signer != wallet:
                first = await self.replay.first_use(signer, nonce, UnixSeconds(until))
        except (Transient, UnknownOutcome) as problem:
            raise NotReady("the nonce could not be checked; sign again and retry") from problem
        if not first:
            raise AuthenticationError(NONCE_USED)
        # Not before: or whoever sees a request go by could use up its wallet's share.
        self.limits.admitted(wallet)

    async def admit(self, claim: Claim, facts: RequestFacts, scope: Scope | None) -> Caller:
        """
        Binding, then the nonce: a signature for something else must not use it up.  A
        token has its scopes instead.

        @param scope: What the route needs; None for any.
        @raise AuthenticationError: Another request was signed, or this one was seen.
        @raise Refused: The token is not for this.
        @raise NotReady: Whether it was seen cannot be found out.
        """
        if isinstance(claim, Token):
            caller = Caller(
                wallet=claim.wallet,
                scopes=frozenset(claim.scopes),
                only=claim.only,
                token=claim.id,
                spend_limit=claim.spend_limit,
            )
            caller.check_scope(scope)
            self.limits.admitted(caller.wallet)
            ASKER.set(caller.wallet.hex)
            return caller
        expected = check_binding(
            claim,
            facts,
            binding=self.terms.auth_binding,
            is_toolbox=facts.verb == TOOLBOX_VERB,
            audience_required=self.terms.audience_required,
            provider=self.terms.provider,
            chain_id=self.terms.chain_id,
        )
        # Time has passed: what outlived its nonce's record could be used again.
        check_expiry(claim, self.wall.now())
        wallet = claim.wallet
        await self.use_up(
            wallet,
            claim.nonce,
            claim.expires_at,
            raw=claim.raw,
            signature=claim.signature_text,
        )
        ASKER.set(wallet.hex)
        return Caller(wallet=wallet, body_sha256=expected)

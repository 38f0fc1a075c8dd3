"""
Who is asking: from three headers to a wallet that signed this request and no other.

Tests: C{tests.web.test_signing}.
"""

from __future__ import annotations

from attrs import field, frozen
from twisted.web.http_headers import Headers

from sandbox_billing.errors import BadInput, Transient, UnknownOutcome
from sandbox_billing.interfaces import IReplayGuard, IWallClock, NotReady
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.signing.request import (
    NONCE_USED,
    AuthenticationError,
    RequestFacts,
    SignedMessage,
    authenticate,
    check_binding,
)
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web.terms import Terms


WALLET = "X-Wallet-Address"
MESSAGE = "X-Signed-Message"
SIGNATURE = "X-Wallet-Signature"


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
    """

    replay: IReplayGuard = field(validator=provides(IReplayGuard))
    wall: IWallClock = field(validator=provides(IWallClock))
    terms: Terms

    def recognise(self, headers: Headers) -> SignedMessage:
        """
        Form, age and author of the signed message; what it is for is L{admit}'s.

        @raise AuthenticationError: It does not prove who sent it.
        @raise BadInput: A header stands twice, or a token stands beside a signature.
        """
        wallet, message, signature = (_only(headers, n) for n in (WALLET, MESSAGE, SIGNATURE))
        bearer = any(
            value[:7].lower() == b"bearer " for value in headers.getRawHeaders(b"Authorization", [])
        )
        if bearer and (wallet or message or signature):
            raise BadInput("either a token or a signature, not both")
        return authenticate(wallet, message, signature, self.wall.now())

    async def admit(self, message: SignedMessage, facts: RequestFacts) -> Address:
        """
        Binding, then the nonce: a signature for something else must not use it up.

        @raise AuthenticationError: Another request was signed, or this one was seen.
        @raise NotReady: Whether it was seen cannot be found out.
        """
        check_binding(
            message,
            facts,
            binding=self.terms.auth_binding,
            is_toolbox=False,
            audience_required=self.terms.audience_required,
            provider=self.terms.provider,
            chain_id=self.terms.chain_id,
        )
        wallet = message.wallet
        try:
            first = await self.replay.first_use(
                wallet, message.nonce, UnixSeconds(message.expires_at)
            )
        except (Transient, UnknownOutcome) as problem:
            raise NotReady("the nonce could not be checked; sign again and retry") from problem
        if not first:
            raise AuthenticationError(NONCE_USED)
        return wallet

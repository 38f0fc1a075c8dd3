"""
Wallets that are contracts: asked whether they signed, where a key did not.

Whoever sends a request makes us ask a node, before anything of it is proven.  So only wallets
that have something here are asked about, one at a time for each address that asks, and not
again for a while after a no.

Tests: C{tests.web.test_contract_wallets}.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Coroutine
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from sandbox_billing.errors import Transient, UnknownOutcome
from sandbox_billing.interfaces import (
    IContractWallets,
    IDoors,
    NotReady,
    TooMany,
    WalletFunds,
)
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.contract_wallet import is_counterfactual, read_signature
from sandbox_billing.signing.eip191 import personal_digest
from sandbox_billing.web._attrs_zope import provides


ONE_AT_A_TIME = "a contract wallet's signature from this address is being checked"
NOT_CHECKED = "the contract wallet could not be asked; try again"

REFUSED_SECONDS = 60.0
MOST_REFUSED = 10_000
RETRY_SECONDS = 2


class DetachedQuestion(Protocol):
    """Keeps a question that its client may leave: C{Supervisor.detached}."""

    def __call__(self, name: str, work: Coroutine[Any, Any, bool]) -> Awaitable[bool]:
        """@raise NotReady: There is too much of it."""


@define(eq=False, kw_only=True)
class ContractWallets:
    """
    An L{OtherProof<sandbox_billing.web.caller.OtherProof>}: the contract's word.

    @ivar clock: For how long a no is remembered.
    @ivar most_refused: How many are, newest first.
    """

    contracts: IContractWallets = field(validator=provides(IContractWallets))
    doors: IDoors = field(validator=provides(IDoors))
    clock: IReactorTime = field(validator=provides(IReactorTime))
    detached: DetachedQuestion
    most_refused: int = MOST_REFUSED
    _asking: set[str] = field(factory=set, init=False)
    _refused: OrderedDict[tuple[Address, bytes], float] = field(factory=OrderedDict, init=False)

    async def __call__(self, wallet: Address, raw: bytes, signature: str, peer: str) -> bool:
        """
        As the protocol has it.

        @raise TooMany: A question of this peer is under way.
        @raise NotReady: The wallet could not be asked.
        """
        octets = read_signature(signature)
        if octets is None:
            return False
        digest = personal_digest(raw)
        if self._refused.get((wallet, digest), 0.0) > self.clock.seconds():
            return False
        try:
            if not _has_something(await self.doors.funds(wallet), octets):
                return False
            if peer in self._asking:
                raise TooMany(ONE_AT_A_TIME, retry_after=1)
            # Whoever hangs up must not be able to ask anew while this is under way.
            work = self._ask(wallet, digest, octets, peer)
            return await self.detached("contract wallet", work)
        except NotReady:
            raise
        except (Transient, UnknownOutcome) as problem:
            raise NotReady(NOT_CHECKED, RETRY_SECONDS) from problem

    async def _ask(self, wallet: Address, digest: bytes, signature: bytes, peer: str) -> bool:
        self._asking.add(peer)
        try:
            signed = await self.contracts.has_signed(wallet, digest, signature)
        finally:
            self._asking.discard(peer)
        if not signed:
            self._refused[wallet, digest] = self.clock.seconds() + REFUSED_SECONDS
            self._refused.move_to_end((wallet, digest))
            while len(self._refused) > self.most_refused:
                self._refused.popitem(last=False)
        return signed


def _has_something(funds: WalletFunds, signature: bytes) -> bool:
    """
    A balance, or something that runs or is owed; to be deployed first, a balance: nobody
    else's deposit is for an address without a contract.
    """
    if funds.account is not None and funds.account.value.balance > 0:
        return True
    return bool(funds.exposure.fields) and not is_counterfactual(signature)

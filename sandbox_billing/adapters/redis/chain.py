"""Worker facts of the chain mirror, and of wallets that run dry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from attrs import frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Read, absent, holds, set_size
from sandbox_billing.adapters.redis.draft import NOW, Draft, stored_form
from sandbox_billing.adapters.redis.store import Store, addresses, stored, texts
from sandbox_billing.interfaces import BlockedWallet, IChainMirror, IFunds, Stored, WalletFunds
from sandbox_billing.ledger.account import Account, Mirror, ServiceRecord, Settlement
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds


T = TypeVar("T")

HISTORY_PAGE = 500
"""Events written in one step: a server answers nobody else meanwhile."""


@implementer(IChainMirror)
@frozen
class RedisChainMirror:
    """Its one writer is the watcher."""

    store: Store

    async def mirror(self) -> Stored[Mirror] | None:
        (reply,) = await self.store.read(Read("GET", self.store.keys.mirror()))
        return stored(Mirror, reply)

    async def wallets(self) -> tuple[Address, ...]:
        (members,) = await self.store.read(Read("SMEMBERS", self.store.keys.accounts()))
        return addresses(texts(members))

    async def step(
        self,
        before: Stored[Mirror] | None,
        after: Mirror,
        accounts: Sequence[Account],
        settlements: Sequence[Settlement],
        services: Sequence[ServiceRecord],
        *,
        known: Sequence[Address] | None = None,
    ) -> None:
        assert known is not None or before is None or before.value.block == after.block
        if len(settlements) + len(services) > HISTORY_PAGE:
            # What happened stays so, whether the head follows or not.
            await self.add_history(settlements, services)
            settlements, services = (), ()
        keys = self.store.keys
        key, form = keys.mirror(), stored_form(after)
        draft = self.store.draft(f"step to block {after.block.number}")
        draft.expect_stored(key, None if before is None else before.raw)
        if known is not None:
            # Nobody is ever taken out: as many are the same.
            draft.expect(set_size(keys.accounts(), len(known)))
            there = set(known)
            await seed_nonces(self.store, draft, [a for a in accounts if a.wallet not in there])
        draft.write("SET", key, form)
        # However many, with the head: under an older one a wallet that has not acknowledged
        # yet would pass for one that revoked, and what it runs would be stopped at once.
        # Twenty thousand take a server a tenth of a second.
        draft.write_accounts(accounts)
        draft.offer_again([account.wallet for account in accounts], self.store.wall.now())
        _write_history(draft, settlements, services)
        commit = draft.commit(token=self.store.token.now(), witness=holds(key, form))
        await self.store.carry_out(commit)

    async def add_history(
        self, settlements: Sequence[Settlement], services: Sequence[ServiceRecord]
    ) -> None:
        for page in _pages(settlements):
            await self._add_history(page, ())
        for some in _pages(services):
            await self._add_history((), some)

    async def _add_history(
        self, settlements: Sequence[Settlement], services: Sequence[ServiceRecord]
    ) -> None:
        draft = self.store.draft("store events of earlier blocks")
        _write_history(draft, settlements, services)
        await self.store.carry_out(draft.commit(token=self.store.token.now()))


async def seed_nonces(store: Store, draft: Draft, accounts: Sequence[Account]) -> None:
    """
    Count the nonces of wallets that are new here from the chain's (wire.md, section 6): one
    that settled before it was known is told apart from one whose nonces were lost (B16).
    """
    names = [store.keys.nonce(account.wallet) for account in accounts]
    given = await store.read_many([Read("GET", name) for name in names])
    for account, name, there in zip(accounts, names, given, strict=True):
        if there is None:
            draft.expect(absent(name))
            draft.write("SET", name, account.last_nonce)


def _pages(many: Sequence[T]) -> Iterable[Sequence[T]]:
    return (many[start : start + HISTORY_PAGE] for start in range(0, len(many), HISTORY_PAGE))


def _write_history(
    draft: Draft, settlements: Sequence[Settlement], services: Sequence[ServiceRecord]
) -> None:
    keys = draft.keys
    for event in settlements:
        # Block and log index in front, for events of one block have one timestamp.
        place = b"%012d:%06d:" % (event.block, event.log_index)
        member = place + stored_form(event)
        draft.write("ZADD", keys.events(event.user), event.timestamp, member)
    for service in services:
        draft.write("HSET", keys.providers(), service.provider.hex, stored_form(service))


@implementer(IFunds)
@frozen
class RedisFunds:
    """Rests on account and exposure as they were read together."""

    store: Store

    async def to_check(self, now: UnixSeconds, limit: int) -> tuple[Address, ...]:
        (reply,) = await self.store.read(
            Read("ZRANGEBYSCORE", self.store.keys.dry(), ("-inf", now, "LIMIT", 0, limit))
        )
        return tuple(Address(name) for name in texts(reply))

    async def check_again(self, funds: WalletFunds, at: UnixSeconds | None) -> None:
        draft = self.store.draft(f"check {funds.wallet} again")
        draft.expect_funds(funds)
        if at is None:
            draft.write("ZREM", draft.keys.dry(), funds.wallet.hex)
        else:
            draft.write("ZADD", draft.keys.dry(), at, funds.wallet.hex)
        draft.warn(funds.wallet)
        await self.store.carry_out(draft.commit(token=self.store.token.now()))

    async def block(self, blocked: BlockedWallet) -> None:
        draft = self.store.draft(f"block {blocked.funds.wallet}")
        draft.expect_funds(blocked.funds)
        draft.block(blocked.funds, blocked.reason, self.store.wall.now())
        await self.store.carry_out(draft.commit(token=self.store.token.now()))

    async def unblock(self, funds: WalletFunds) -> None:
        draft = self.store.draft(f"unblock {funds.wallet}")
        draft.expect_funds(funds)
        draft.write("DEL", draft.keys.blocked(funds.wallet))
        draft.write("DEL", draft.keys.dry_since(funds.wallet))
        draft.write("SREM", draft.keys.blocked_wallets(), funds.wallet.hex)
        draft.write("ZADD", draft.keys.resume_due(), "XX", "LT", NOW, funds.wallet.hex)
        await self.store.carry_out(draft.commit(token=self.store.token.now()))

    async def begin_grace(self, funds: WalletFunds, now: UnixSeconds) -> None:
        draft = self.store.draft(f"begin the grace of {funds.wallet}")
        draft.expect_funds(funds)
        draft.write("SET", draft.keys.dry_since(funds.wallet), now)
        await self.store.carry_out(draft.commit(token=self.store.token.now()))

    async def funds(self, wallet: Address) -> WalletFunds:
        return await self.store.funds(wallet)

"""How often a wallet had something begin, counted over all processes."""

from __future__ import annotations

from attrs import frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Read
from sandbox_billing.adapters.redis.store import Store, texts
from sandbox_billing.interfaces import ILifecycleCount
from sandbox_billing.ledger.identity import Address


WINDOW_SECONDS = 3600


@implementer(ILifecycleCount)
@frozen
class RedisLifecycleCount:
    """A sorted set of marks by their time: an hour that slides."""

    store: Store

    async def take(self, wallet: Address, mark: str, most: int) -> int:
        key, now = self.store.keys.lifecycle(wallet), self.store.wall.now()
        draft = self.store.draft("count a lifecycle call")
        draft.write("ZREMRANGEBYSCORE", key, "-inf", now - WINDOW_SECONDS)
        draft.write("ZADD", key, now, mark)
        draft.write("EXPIRE", key, WINDOW_SECONDS)
        done = await self.store.attempt(
            draft.commit(reads=[Read("ZRANGE", key, (0, -1, "WITHSCORES"))])
        )
        times = texts(done.reads[0])[1::2]
        beyond = len(times) - most
        if beyond <= 0:
            return 0
        await self.give_back(wallet, mark)
        # So many must have gone before there is room for another.
        return max(1, int(times[beyond - 1]) + WINDOW_SECONDS - now)

    async def give_back(self, wallet: Address, mark: str) -> None:
        draft = self.store.draft("count a lifecycle call no more")
        draft.write("ZREM", self.store.keys.lifecycle(wallet), mark)
        await self.store.attempt(draft.commit())

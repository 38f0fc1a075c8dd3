"""What tokens with a spend limit have caused: a hash for each, and which to look at when."""

from __future__ import annotations

from attrs import frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Read, field_absent, field_is
from sandbox_billing.adapters.redis.draft import REVISION
from sandbox_billing.adapters.redis.store import Store, mapping, texts
from sandbox_billing.interfaces import ISpending, TokenSpending
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.spending import Spending
from sandbox_billing.ledger.token import MAX_LIFE_SECONDS, TokenId


async def read_spending(store: Store, token: TokenId) -> TokenSpending:
    """A token's fields without what is ours."""
    (reply,) = await store.read(Read("HGETALL", store.keys.spending(token)))
    found = mapping(reply)
    revision = found.pop(REVISION, "")
    return TokenSpending(token=token, spending=Spending(found), revision=revision.encode())


@implementer(ISpending)
@frozen
class RedisSpending:
    """Rests on the fields as they were read together: every write of them is counted."""

    store: Store

    async def to_check(self, now: UnixSeconds, limit: int) -> tuple[TokenId, ...]:
        (reply,) = await self.store.read(
            Read("ZRANGEBYSCORE", self.store.keys.spend_due(), ("-inf", now, "LIMIT", 0, limit))
        )
        return tuple(TokenId(name) for name in texts(reply))

    async def spending(self, token: TokenId) -> TokenSpending:
        return await read_spending(self.store, token)

    async def check_again(self, found: TokenSpending, at: UnixSeconds | None) -> None:
        draft, keys = self.store.draft(f"look at the token {found.token} again"), self.store.keys
        place = keys.spending(found.token)
        if found.revision:
            draft.expect(field_is(place, REVISION, found.revision))
        else:
            draft.expect(field_absent(place, REVISION))
        if at is not None:
            draft.write("ZADD", keys.spend_due(), at, found.token)
        else:
            # Whatever is written to it lists it again.
            draft.write("ZREM", keys.spend_due(), found.token)
            if not found.spending.ongoing:
                # No token that ever started something of this is younger than its last write.
                draft.write("EXPIRE", place, MAX_LIFE_SECONDS)
        await self.store.carry_out(draft.commit(token=self.store.token.now()))

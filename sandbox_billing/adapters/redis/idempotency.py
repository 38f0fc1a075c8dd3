"""Requests that may be asked again, and references that nothing more may come of."""

from __future__ import annotations

from attrs import frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Outcome, Read, absent, holds
from sandbox_billing.adapters.redis.draft import Draft, stored_form
from sandbox_billing.adapters.redis.store import Store, stored, text, texts
from sandbox_billing.interfaces import IIdempotency, Stale, Stored, TooMany
from sandbox_billing.ledger.idempotency import Remembered
from sandbox_billing.ledger.identity import Address, Reference, SandboxId


KEPT_SECONDS = 86_400
"""How long a request is remembered (A5)."""

SPENT_SECONDS = 2 * KEPT_SECONDS
"""A mark must outlive every request that could ask for it."""

MOST_KEYS = 5_000
"""
Of one wallet: two or three kB each.  More than a day's creates, starts, stops and deletes
at the usual LIFECYCLE_PER_HOUR.
"""

_NOTHING = "-"
"""Under a reference that was spent before anything came of it; no sandbox is called that."""

_TRIES = 8

TOO_MANY_KEYS = "too many requests with an Idempotency-Key of this wallet are remembered"


def mark_opened(draft: Draft, reference: Reference, sandbox: SandboxId) -> None:
    """Whoever asks again under this reference finds this sandbox, also when it is gone."""
    draft.write("SET", draft.keys.spent(reference), sandbox, "EX", SPENT_SECONDS)


@implementer(IIdempotency)
@frozen
class RedisIdempotency:
    """
    Plain values, compared as a whole; the mark stands where a reservation looks.

    @ivar most: How many requests of one wallet are remembered.
    """

    store: Store
    most: int = MOST_KEYS

    async def begin(self, wallet: Address, slot: str, fresh: Remembered) -> Stored[Remembered]:
        key, form = self.store.keys.idempotency(wallet, slot), stored_form(fresh)
        draft = self.store.draft("remember a request")
        draft.expect(absent(key))
        draft.write("SET", key, form, "EX", KEPT_SECONDS)
        slots, now = self.store.keys.idempotency_slots(wallet), self.store.wall.now()
        draft.write("ZREMRANGEBYSCORE", slots, "-inf", now)
        draft.write("ZADD", slots, fresh.began_at + KEPT_SECONDS, slot)
        draft.write("EXPIRE", slots, KEPT_SECONDS)
        commit = draft.commit(
            witness=holds(key, form),
            reads=[
                Read("ZCOUNT", slots, ("-inf", "+inf")),
                Read("ZRANGE", slots, (0, 0, "WITHSCORES")),
            ],
        )
        for _ in range(_TRIES):
            done = await self.store.attempt(commit)
            if done.outcome is not Outcome.STALE:
                count, oldest = done.reads
                if int(text(count)) > self.most:
                    await self.forget(wallet, slot, Stored(fresh, form))
                    first = int(texts(oldest)[1])
                    raise TooMany(TOO_MANY_KEYS, retry_after=max(1, first - now))
                return Stored(fresh, form)
            (reply,) = await self.store.read(Read("GET", key))
            found = stored(Remembered, reply)
            if found is not None:
                return found
        raise Stale("this request is remembered and forgotten again and again")

    async def write(
        self, wallet: Address, slot: str, stands: Stored[Remembered], after: Remembered
    ) -> Stored[Remembered]:
        key, form = self.store.keys.idempotency(wallet, slot), stored_form(after)
        draft = self.store.draft("remember more of a request")
        draft.expect(holds(key, stands.raw))
        left = max(1, after.began_at + KEPT_SECONDS - self.store.wall.now())
        draft.write("SET", key, form, "EX", left)
        await self.store.carry_out(draft.commit(witness=holds(key, form)))
        return Stored(after, form)

    async def forget(self, wallet: Address, slot: str, stands: Stored[Remembered]) -> None:
        key = self.store.keys.idempotency(wallet, slot)
        draft = self.store.draft("forget a request")
        draft.expect(holds(key, stands.raw))
        draft.write("DEL", key)
        draft.write("ZREM", self.store.keys.idempotency_slots(wallet), slot)
        await self.store.carry_out(draft.commit(witness=absent(key)))

    async def spend(self, reference: Reference) -> SandboxId | None:
        keys = self.store.keys
        key = keys.spent(reference)
        draft = self.store.draft(f"let nothing more come of {reference}")
        draft.expect(absent(keys.intent(reference)), absent(key))
        draft.write("SET", key, _NOTHING, "EX", SPENT_SECONDS)
        done = await self.store.attempt(draft.commit())
        if done.outcome is not Outcome.STALE:
            return None
        intent, mark = await self.store.read(Read("GET", keys.intent(reference)), Read("GET", key))
        if intent is not None or mark is None:
            raise Stale(f"{reference} is still under way")
        came = text(mark)
        return None if came == _NOTHING else SandboxId(came)

"""One worker at a time, and one use of each signed request."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from attrs import define, field
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Outcome, Read, absent, holds
from sandbox_billing.adapters.redis.store import Store, raw, text
from sandbox_billing.interfaces import ILease, IReplayGuard
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds


REMEMBERED_SECONDS = 60
"""How long a nonce outlives its request: clocks differ (wire.md, section 4)."""


@implementer(ILease)
@define(eq=False)
class RedisLease:
    """
    A key that expires, and beside it a token that only rises.

    The token is the one before plus one, and at least the time: so it rises also
    when the server has lost everything, and an old worker cannot pass for a new one.

    @ivar owner: Names this process's life, nobody else's.
    """

    store: Store
    _owner: str
    _seconds: int
    _value: bytes | None = field(default=None, init=False)

    @property
    def token(self) -> bytes | None:
        """What worker facts bear; None while the lease is not ours."""
        return self.store.token.value

    async def acquire(self) -> bool:
        keys = self.store.keys
        before, holder = await self.store.read(Read("GET", keys.fence()), Read("GET", keys.lease()))
        if holder is not None and not text(holder).startswith(f"{self._owner}:"):
            return False
        last = None if before is None else text(before)
        token = str(max(int(last or 0) + 1, self.store.wall.now()))
        value = f"{self._owner}:{token}".encode()
        draft = self.store.draft("acquire the lease")
        # Still there and ours when an acquisition or the last renewals got no answer.
        draft.expect_stored(keys.lease(), raw(holder))
        draft.expect_stored(keys.fence(), None if last is None else last.encode())
        draft.write("SET", keys.lease(), value, "PX", self._seconds * 1000)
        draft.write("SET", keys.fence(), token)
        done = await self.store.attempt(draft.commit(witness=holds(keys.lease(), value)))
        if done.outcome is Outcome.STALE:
            return False
        self._value = value
        self.store.token.value = token.encode()
        return True

    async def renew(self) -> bool:
        if self._value is None:
            return False
        keys = self.store.keys
        draft = self.store.draft("renew the lease")
        draft.expect(holds(keys.lease(), self._value))
        draft.write("SET", keys.lease(), self._value, "PX", self._seconds * 1000)
        done = await self.store.attempt(draft.commit())
        if done.outcome is Outcome.STALE:
            self._forget()
            return False
        return True

    async def give_up(self) -> None:
        if self._value is None:
            return
        keys = self.store.keys
        draft = self.store.draft("give up the lease")
        draft.expect(holds(keys.lease(), self._value))
        draft.write("DEL", keys.lease())
        # No token is in force here any more, whether or not the server hears of it.
        self._forget()
        await self.store.attempt(draft.commit())

    def _forget(self) -> None:
        self._value = None
        self.store.token.value = None


@implementer(IReplayGuard)
@define(eq=False)
class RedisReplayGuard:
    """
    A key for each nonce.

    @ivar owner: Makes each use distinguishable, so that a repeat after a lost reply
        recognises its own mark and is not taken for a second use.
    """

    store: Store
    _owner: str
    _uses: Iterator[int] = field(factory=count, init=False)

    async def first_use(self, wallet: Address, nonce: str, expires_at: UnixSeconds) -> bool:
        now = self.store.wall.now()
        if expires_at < now:
            # Its record may have ended: nobody could tell whether it was used.
            return False
        key = self.store.keys.request_nonce(wallet, nonce)
        mark = f"{self._owner}:{next(self._uses)}".encode()
        kept = expires_at + REMEMBERED_SECONDS - now
        draft = self.store.draft("remember a nonce")
        draft.expect(absent(key))
        draft.write("SET", key, mark, "EX", kept)
        done = await self.store.attempt(draft.commit(witness=holds(key, mark)))
        return done.outcome is not Outcome.STALE

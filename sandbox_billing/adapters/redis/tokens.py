"""Session tokens: one key for each, and a wallet's index of its own."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Read, absent, field_is, holds
from sandbox_billing.adapters.redis.draft import REVISION, Draft, stored_form
from sandbox_billing.adapters.redis.store import Store, mapping, stored
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import ITokens, Stale, TooMany
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.token import MAX_LIFE_SECONDS, Token, TokenId


TRIES = 5
"""Logins of one wallet that meet; whoever fails so often comes with a flood of his own."""


REMEMBERED_SECONDS = 24 * 60 * 60
"""So long after its end a token is still told from one that never was: programs go on asking."""


@implementer(ITokens)
@frozen
class RedisTokens:
    """
    The index names, beside tokens and their ends, the newest change: no two changes have
    the same name, so that whoever compares it cannot miss one.
    """

    store: Store

    async def issue(self, token: Token, *, most: int) -> None:
        for left in reversed(range(TRIES)):
            try:
                await self._issue(token, most)
                return
            except Stale:
                if not left:
                    raise

    async def _issue(self, token: Token, most: int) -> None:
        keys, form, now = self.store.keys, stored_form(token), self.store.wall.now()
        index = await self._index(token.wallet)
        ends = _ends(index)
        gone = [id for id, end in ends.items() if end <= now]
        if len(ends) - len(gone) >= most and token.id not in ends:
            soonest = min(end for end in ends.values() if end > now)
            raise TooMany(f"this wallet has {most} tokens: revoke some", soonest - now)
        draft = self.store.draft(f"issue the token {token.id}")
        self._expect(draft, token.wallet, index)
        place = keys.token(token.id)
        draft.expect(absent(place))
        draft.write("SET", place, form, "EX", max(1, token.expires_at - now) + REMEMBERED_SECONDS)
        listed = keys.tokens(token.wallet)
        if gone:
            draft.write("HDEL", listed, *gone)
        draft.write("HSET", listed, token.id, token.expires_at, REVISION, token.id)
        draft.write("EXPIRE", listed, MAX_LIFE_SECONDS)
        await self.store.carry_out(draft.commit(witness=holds(place, form)))

    async def find(self, id: TokenId) -> Token | None:
        (form,) = await self.store.read(Read("GET", self.store.keys.token(id)))
        found = stored(Token, form)
        return None if found is None else found.value

    async def of(self, wallet: Address) -> tuple[Token, ...]:
        now = self.store.wall.now()
        places = [self.store.keys.token(id) for id in _ends(await self._index(wallet))]
        found = [one.value for one in await self.store.present(Token, places)]
        live = [token for token in found if token.is_live(now)]
        return tuple(sorted(live, key=lambda token: (token.issued_at, token.id)))

    async def revoke(self, wallet: Address, id: TokenId) -> bool:
        place, listed = self.store.keys.token(id), self.store.keys.tokens(wallet)
        found = next(iter(await self.store.present(Token, [place])), None)
        now = self.store.wall.now()
        if found is None or found.value.wallet != wallet or not found.value.is_live(now):
            return False
        ended = _ended(found.value)
        draft = self.store.draft(f"revoke the token {id}")
        draft.expect(holds(place, found.raw))
        draft.write("SET", place, ended, "EX", REMEMBERED_SECONDS)
        draft.write("HDEL", listed, id)
        draft.write("HSET", listed, REVISION, f"-{id}")
        draft.write("EXPIRE", listed, MAX_LIFE_SECONDS)
        await self.store.carry_out(draft.commit(witness=holds(place, ended)))
        return True

    async def revoke_all(self, wallet: Address) -> int:
        for left in reversed(range(TRIES)):
            try:
                return await self._revoke_all(wallet)
            except Stale:
                if not left:
                    raise
        raise AssertionError("unreachable")

    async def _revoke_all(self, wallet: Address) -> int:
        index = await self._index(wallet)
        if not index:
            return 0
        now, ends = self.store.wall.now(), _ends(index)
        draft = self.store.draft(f"revoke the tokens of {wallet}")
        self._expect(draft, wallet, index)
        places = [self.store.keys.token(id) for id in ends]
        forms = await self.store.read_many([Read("GET", place) for place in places])
        for place, form in zip(places, forms, strict=True):
            try:
                token = stored(Token, form)
            except BadInput:
                # Of another version, or damaged: it opens nothing, and must end all the same.
                token = None
            if token is None:
                draft.write("DEL", place)
            else:
                draft.write("SET", place, _ended(token.value), "EX", REMEMBERED_SECONDS)
        listed = self.store.keys.tokens(wallet)
        draft.write("DEL", listed)
        await self.store.carry_out(draft.commit(witness=absent(listed)))
        return sum(end > now for end in ends.values())

    async def _index(self, wallet: Address) -> Mapping[str, str]:
        (fields,) = await self.store.read(Read("HGETALL", self.store.keys.tokens(wallet)))
        return mapping(fields)

    def _expect(self, draft: Draft, wallet: Address, index: Mapping[str, str]) -> None:
        listed = self.store.keys.tokens(wallet)
        newest = index.get(REVISION)
        draft.expect(absent(listed) if newest is None else field_is(listed, REVISION, newest))


def _ended(token: Token) -> bytes:
    """
    What stays of a token that was revoked: never live, and still told from a guess.
    """
    return stored_form(evolve(token, expires_at=token.issued_at))


def _ends(index: Mapping[str, str]) -> dict[TokenId, int]:
    return {TokenId(id): int(end) for id, end in index.items() if id != REVISION}

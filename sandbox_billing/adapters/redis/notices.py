"""What wallets are told: a log of each, by number, and whose news nobody has passed on yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Outcome, Read, field_absent, field_is
from sandbox_billing.adapters.redis.draft import Draft, stored_form
from sandbox_billing.adapters.redis.store import Store, addresses, text, texts
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import INotices, Stale
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.notice import (
    KEPT_ENTRIES,
    KEPT_SECONDS,
    PER_SECOND,
    Notice,
    Numbered,
    next_number,
)
from sandbox_billing.ledger.warning import Told


TRIES = 5
"""Notices of one wallet that meet: they are rare."""

TRIMMED = 20
"""So many old ones leave with a new one at most."""

LAST = "#last"
"""Field beside the keys: the highest number given."""


async def append(store: Store, draft: Draft, wallet: Address, notices: Sequence[Told]) -> int:
    """
    Let a fact tell its wallet something, as a part of it.

    @return: How many of them the wallet was not told before; without any, nothing is written.
    """
    keys, now = store.keys, store.wall.now()
    log, told = keys.notices(wallet), keys.notices_told(wallet)
    count, oldest, last, *known = await store.read(
        Read("ZCOUNT", log, ("-inf", "+inf")),
        Read("ZRANGE", log, (0, TRIMMED - 1)),
        Read("HGET", told, (LAST,)),
        *(Read("HGET", told, (key,)) for _, key in notices),
    )
    fresh = [one for one, number in zip(notices, known, strict=True) if number is None]
    if not fresh:
        return 0
    draft.expect(field_absent(told, LAST) if last is None else field_is(told, LAST, text(last)))
    surplus = int(text(count)) + len(fresh) - KEPT_ENTRIES
    for form in _leaving(texts(oldest), surplus, now):
        draft.write("ZREM", log, form)
        entry = _readable(form)
        if entry is not None:
            draft.write("HDEL", told, entry.key)
    number = 0 if last is None else int(text(last))
    for notice, key in fresh:
        number = next_number(number, now)
        made = stored_form(Numbered(number=number, key=key, notice=notice))
        draft.write("ZADD", log, number, made)
        draft.write("HSET", told, key, number, LAST, number)
    for place in (log, told):
        draft.write("EXPIRE", place, KEPT_SECONDS)
    draft.write("ZADD", keys.news(), "LT", now, wallet.hex)
    return len(fresh)


@implementer(INotices)
@frozen
class RedisNotices:
    """
    The log is ordered by number; beside it stands for what each of its notices was told, as
    long as that is in the log.
    """

    store: Store

    async def tell(self, notice: Notice, key: str) -> bool:
        for _ in range(TRIES):
            draft = self.store.draft(f"tell {notice.wallet} of {notice.kind.value}")
            if not await append(self.store, draft, notice.wallet, [(notice, key)]):
                return False
            committed = await self.store.attempt(draft.commit())
            if committed.outcome is not Outcome.STALE:
                return True
        raise Stale(f"others told {notice.wallet} something, again and again")

    async def after(self, wallet: Address, number: int, limit: int) -> tuple[Numbered, ...]:
        place = self.store.keys.notices(wallet)
        since = self.store.wall.now() - KEPT_SECONDS
        # What is too old may still be there; a number is that of its second, or higher.
        first = max(number, since * PER_SECOND) + 1
        # Whoever is given nothing takes it that nothing is there.
        for skipped in range(0, KEPT_ENTRIES + limit, limit):
            (reply,) = await self.store.read(
                Read("ZRANGEBYSCORE", place, (first, "+inf", "LIMIT", skipped, limit))
            )
            forms = texts(reply)
            entries = [entry for entry in map(_readable, forms) if entry is not None]
            kept = tuple(entry for entry in entries if entry.notice.at > since)
            if kept or len(forms) < limit:
                return kept
        return ()

    async def newest(self, wallets: Sequence[Address]) -> tuple[int, ...]:
        keys = self.store.keys
        reads = [Read("HGET", keys.notices_told(wallet), (LAST,)) for wallet in wallets]
        replies = await self.store.read_many(reads)
        return tuple(0 if reply is None else int(text(reply)) for reply in replies)

    async def wallets_with_news(self, now: UnixSeconds, limit: int) -> tuple[Address, ...]:
        (reply,) = await self.store.read(
            Read("ZRANGEBYSCORE", self.store.keys.news(), ("-inf", now, "LIMIT", 0, limit))
        )
        return addresses(texts(reply))

    async def look_again(self, wallet: Address, newest: int, at: UnixSeconds | None) -> None:
        keys = self.store.keys
        draft = self.store.draft(f"pass the news of {wallet} on")
        told = keys.notices_told(wallet)
        draft.expect(field_is(told, LAST, newest) if newest else field_absent(told, LAST))
        if at is None:
            draft.write("ZREM", keys.news(), wallet.hex)
        else:
            draft.write("ZADD", keys.news(), at, wallet.hex)
        # Stale means that there is newer news: it is listed for that.
        await self.store.attempt(draft.commit())


def _leaving(oldest: Iterable[str], surplus: int, now: UnixSeconds) -> list[str]:
    """
    @param surplus: How many are too many.
    """
    leaving = []
    for place, form in enumerate(oldest):
        entry = _readable(form)
        if place >= surplus and entry is not None and entry.notice.at > now - KEPT_SECONDS:
            break
        leaving.append(form)
    return leaving


def _readable(form: str) -> Numbered | None:
    """Nothing rests on a notice: one that cannot be read is none."""
    try:
        return decode(Numbered, form)
    except BadInput:
        return None

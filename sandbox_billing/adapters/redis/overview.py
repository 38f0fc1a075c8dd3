"""What operators look at: counts that the server has at hand, and the first of each list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from attrs import frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Read, Reply
from sandbox_billing.adapters.redis.draft import stored_form
from sandbox_billing.adapters.redis.letters import readable, report
from sandbox_billing.adapters.redis.store import Store, mapping, pieces, raw, stored, text, texts
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import (
    AuditPage,
    DeadCharge,
    IOverview,
    Overview,
    SessionPage,
    StopOrder,
)
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.dead_letter import DeadLetter
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Address, BatchId, ChargeId, SandboxId
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.overview import (
    KEPT_DIFFERENCES,
    MOST_COUNTED,
    Difference,
    Hour,
    Purse,
    QueueCount,
)
from sandbox_billing.ledger.totals import Totals
from sandbox_billing.ledger.voucher import ChargeRecord, Open, Parked, Signed


T = TypeVar("T")

SHOWN = 50
"""Of dead letters, orders and differences, so many."""

SHOWN_BATCHES = 20
"""They carry the bytes of their transactions."""

MOST_LOOKED_THROUGH = 2_000
"""
Blocked wallets whose reasons are read, to find those that are quarantined; and orders to stop,
to find the oldest.
"""

_STATES = {Open: "unsigned", Signed: "signed", Parked: "parked"}


def _count(reply: Reply) -> int:
    return int(text(reply))


def _whole(told: str | None) -> int | None:
    """A number; None for none, or for what is no number."""
    try:
        return None if told is None else int(told)
    except ValueError:
        return None


def _known(cls: type[T], forms: Sequence[bytes]) -> list[T]:
    """Those that can be read: nothing rests on the others."""
    found = []
    for form in forms:
        try:
            found.append(decode(cls, form))
        except BadInput:
            continue
    return found


def _value(cls: type[T], reply: Reply) -> T | None:
    try:
        found = stored(cls, reply)
    except BadInput:
        return None
    return None if found is None else found.value


@implementer(IOverview)
@frozen
class RedisOverview:
    """No read is longer than a page; sets are counted, and walked only where they are small."""

    store: Store

    async def overview(self) -> Overview:
        keys = self.store.keys
        counts = await self.store.read(
            Read("SCARD", keys.sessions()),
            Read("SCARD", keys.wallets()),
            Read("SCARD", keys.accounts()),
            Read("SCARD", keys.blocked_wallets()),
            Read("LLEN", keys.pending()),
            Read("ZCARD", keys.ready()),
            Read("HLEN", keys.in_flight()),
            Read("ZCARD", keys.batches()),
            Read("ZCARD", keys.dead()),
            Read("HLEN", keys.letters()),
            Read("ZCARD", keys.stops()),
        )
        (
            sessions,
            wallets,
            mirrored,
            blocked,
            depth,
            waiting,
            held,
            batches,
            dead,
            letters,
            stops,
        ) = map(_count, counts)
        purse, newest, lease, totals, hours = await self.store.read(
            Read("GET", keys.purse()),
            Read("LRANGE", keys.differences(), (-SHOWN, -1)),
            Read("GET", keys.lease()),
            Read("GET", keys.totals()),
            Read("ZRANGE", keys.hours(), (0, -1)),
        )
        holder, _, token = ("" if lease is None else text(lease)).rpartition(":")
        return Overview(
            sessions=sessions,
            wallets=wallets,
            mirrored=mirrored,
            blocked=blocked,
            quarantined=await self._quarantined() if blocked <= MOST_LOOKED_THROUGH else None,
            queue=await self._queue(depth),
            waiting=waiting,
            in_flight=held,
            batch_count=batches,
            batches=await self._batches(),
            dead_count=dead,
            dead=await self._dead(),
            letter_count=letters,
            letters=await self._letters() if letters <= MOST_LOOKED_THROUGH else (),
            stop_count=stops,
            stops=await self._stops(),
            stop_oldest=await self._oldest_stop(),
            purse=_value(Purse, purse),
            differences=tuple(reversed(_known(Difference, pieces(newest)))),
            holder=(holder, token) if holder else None,
            hours=tuple(_known(Hour, pieces(hours))),
            totals=_value(Totals, totals) or Totals(),
        )

    async def _queue(self, depth: int) -> QueueCount:
        keys = self.store.keys
        (members,) = await self.store.read(Read("LRANGE", keys.pending(), (0, MOST_COUNTED - 1)))
        ids = [ChargeId(name) for name in texts(members)]
        forms = await self.store.read_many([Read("GET", keys.charge(charge)) for charge in ids])
        records = [_value(ChargeRecord, form) for form in forms]
        states = Counter(
            "unreadable" if one is None else _STATES.get(type(one.state), "other")
            for one in records
        )
        made = [one.charge.created_at for one in records if one is not None]
        return QueueCount(
            depth=depth,
            counted=len(ids),
            states=dict(states),
            oldest=min(made) if made else None,
        )

    async def _quarantined(self) -> tuple[Address, ...]:
        keys = self.store.keys
        (members,) = await self.store.read(Read("SMEMBERS", keys.blocked_wallets()))
        wallets = [Address(name) for name in sorted(texts(members))]
        flags = await self.store.read_many([Read("GET", keys.blocked(w)) for w in wallets])
        named = QUARANTINED.encode()
        return tuple(w for w, flag in zip(wallets, flags, strict=True) if flag == named)

    async def _batches(self) -> tuple[Batch, ...]:
        keys = self.store.keys
        (members,) = await self.store.read(Read("ZRANGE", keys.batches(), (0, SHOWN_BATCHES - 1)))
        named = [(name, keys.batch(BatchId(name))) for name in texts(members)]
        found = await readable(self.store, "batch", Batch, named)
        return tuple(one.value for one in found)

    async def _dead(self) -> tuple[DeadCharge, ...]:
        keys = self.store.keys
        (reply,) = await self.store.read(Read("ZRANGE", keys.dead(), (0, SHOWN - 1, "WITHSCORES")))
        named = mapping(reply)
        forms = await self.store.read_many([Read("GET", keys.charge(ChargeId(n))) for n in named])
        found = []
        for (name, since), form in zip(named.items(), forms, strict=True):
            try:
                record = stored(ChargeRecord, form)
            except BadInput:
                record = None
            moment = UnixSeconds(int(since))
            found.append(DeadCharge(id=ChargeId(name), since=moment, record=record, raw=raw(form)))
        return tuple(found)

    async def _letters(self) -> tuple[DeadLetter, ...]:
        (fields,) = await self.store.read(Read("HGETALL", self.store.keys.letters()))
        found = _known(DeadLetter, pieces(fields)[1::2])
        found.sort(key=lambda letter: (letter.since, letter.kind, letter.name))
        return tuple(found[:SHOWN])

    async def _stops(self) -> tuple[StopOrder, ...]:
        keys = self.store.keys
        (members,) = await self.store.read(Read("ZRANGE", keys.stops(), (0, SHOWN - 1)))
        names = [SandboxId(name) for name in texts(members)]
        reads = []
        for name in names:
            reads += [Read("GET", keys.stop_reason(name)), Read("HGETALL", keys.stop(name))]
        replies = await self.store.read_many(reads)
        found = []
        for place, name in enumerate(names):
            reason, told = replies[2 * place], mapping(replies[2 * place + 1])
            ordered_at = _whole(told.get("ordered_at"))
            if reason is None or ordered_at is None:
                # It has ended meanwhile, or is damaged: whoever carries it out tells of that.
                continue
            found.append(
                StopOrder(
                    sandbox=name,
                    reason=text(reason),
                    ordered_at=UnixSeconds(ordered_at),
                    attempts=_whole(told.get("attempts")) or 0,
                )
            )
        return tuple(found)

    async def _oldest_stop(self) -> UnixSeconds | None:
        # One that fails is tried ever later: it is not among the first for long.
        keys = self.store.keys
        (members,) = await self.store.read(Read("ZRANGE", keys.stops(), (0, MOST_LOOKED_THROUGH)))
        reads = [Read("HGET", keys.stop(SandboxId(n)), ("ordered_at",)) for n in texts(members)]
        told = [
            _whole(None if reply is None else text(reply))
            for reply in await self.store.read_many(reads)
        ]
        return min((UnixSeconds(one) for one in told if one is not None), default=None)

    async def sessions(self, after: SandboxId | None, limit: int) -> SessionPage:
        keys = self.store.keys
        (members,) = await self.store.read(Read("SMEMBERS", keys.sessions()))
        names = sorted(texts(members))
        rest = [SandboxId(name) for name in names if after is None or name > after]
        page = rest[:limit]
        reads = []
        for name in page:
            reads += [Read("GET", keys.session(name)), Read("GET", keys.stop_reason(name))]
        replies = await self.store.read_many(reads)
        sessions, stops = [], {}
        for name, form, reason in zip(page, replies[::2], replies[1::2], strict=True):
            try:
                session = stored(Session, form)
            except BadInput as why:
                await report(self.store, "session", name, why)
                continue
            if session is None:
                continue
            sessions.append(session.value)
            if reason is not None:
                stops[name] = text(reason)
        return SessionPage(
            total=len(names),
            sessions=tuple(sessions),
            stops=stops,
            after=page[-1] if len(rest) > limit else None,
        )

    async def audit(self, upto: int | None, limit: int) -> AuditPage:
        key = self.store.keys.audit()
        total = _count((await self.store.read(Read("LLEN", key)))[0])
        end = total if upto is None else min(upto, total)
        first = max(0, end - limit)
        if end == first:
            return AuditPage(total=total, first=first, forms=(), before=None)
        # Entries are added and never taken away: what is read now is what was counted.
        (reply,) = await self.store.read(Read("LRANGE", key, (max(0, first - 1), end - 1)))
        forms = [form.encode() for form in texts(reply)]
        before = forms.pop(0) if first > 0 else None
        return AuditPage(total=total, first=first, forms=tuple(forms), before=before)

    async def note_purse(self, purse: Purse) -> None:
        draft = self.store.draft("note what the gas account holds")
        draft.write("SET", self.store.keys.purse(), stored_form(purse))
        await self.store.carry_out(draft.commit(token=self.store.token.now()))

    async def note_differences(self, found: Sequence[Difference]) -> None:
        key = self.store.keys.differences()
        draft = self.store.draft("note what a sweep found")
        for one in found[-KEPT_DIFFERENCES:]:
            draft.write("RPUSH", key, stored_form(one))
        draft.write("LTRIM", key, -KEPT_DIFFERENCES, -1)
        await self.store.carry_out(draft.commit(token=self.store.token.now()))

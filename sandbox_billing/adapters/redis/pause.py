"""The stored pause, and what is not settled yet."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from attrs import frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Outcome, Read, absent, holds
from sandbox_billing.adapters.redis.draft import stored_form
from sandbox_billing.adapters.redis.store import Store, exposure, mapping, raw, stored, texts
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import Claims, IBacklog, IPause, Stale, Stored
from sandbox_billing.ledger.account import Account, Behaviour, Mirror
from sandbox_billing.ledger.backlog import Claim, Pause
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Address, ChargeId
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.voucher import ChargeRecord, Merged


_AT_ONCE = 1_000
"""Wallets offered in one step: a server answers nobody else meanwhile."""


@implementer(IPause)
@frozen
class RedisPause:
    """A plain value, compared as a whole: whoever sets it needs no lease."""

    store: Store

    async def paused(self) -> Stored[Pause] | None:
        (reply,) = await self.store.read(Read("GET", self.store.keys.paused()))
        return stored(Pause, reply)

    async def pause(self, pause: Pause) -> Stored[Pause]:
        key, form = self.store.keys.paused(), stored_form(pause)
        draft = self.store.draft("pause admissions")
        draft.expect(absent(key))
        draft.write("SET", key, form)
        await self.store.carry_out(draft.commit(witness=holds(key, form)))
        return Stored(pause, form)

    async def renew(self, stands: Stored[Pause], pause: Pause) -> Stored[Pause]:
        key, form = self.store.keys.paused(), stored_form(pause)
        draft = self.store.draft("renew the pause")
        draft.expect(holds(key, stands.raw))
        draft.write("SET", key, form)
        await self.store.carry_out(draft.commit(witness=holds(key, form)))
        return Stored(pause, form)

    async def lift(self, pause: Stored[Pause]) -> None:
        key = self.store.keys.paused()
        draft = self.store.draft("lift the pause")
        draft.expect(holds(key, pause.raw))
        draft.write("DEL", key)
        done = await self.store.attempt(draft.commit(witness=absent(key)))
        if done.outcome is Outcome.STALE:
            raise Stale("another pause stands")


@frozen(kw_only=True)
class _Facts:
    """What decides of a wallet's charges whether they could be settled."""

    account: Account | None
    blocked: str | None
    in_flight: bool
    behaviour: Behaviour
    in_debt: bool

    def claim(self, record: ChargeRecord) -> Claim:
        return Claim(
            record=record,
            account=self.account,
            blocked=self.blocked,
            in_flight=self.in_flight,
            behaviour=self.behaviour,
            in_debt=self.in_debt,
        )


@implementer(IBacklog)
@frozen
class RedisBacklog:
    """Walks the list of what is not final; wallets are read once for a page."""

    store: Store

    async def claims(self, first: int, count: int | None) -> Claims:
        keys = self.store.keys
        last = -1 if count is None else first + count - 1
        (members,) = await self.store.read(Read("LRANGE", keys.pending(), (first, last)))
        ids = [ChargeId(name) for name in texts(members)]
        records, damaged = await self._records(ids)
        # Merged since the list was read: what collects it now is not in that list.
        wholes = {r.state.into for r in records if isinstance(r.state, Merged)} - set(ids)
        more, _ = await self._records(sorted(wholes))
        records += more
        facts = await self._facts({record.charge.owner for record in records})
        found = tuple(facts[record.charge.owner].claim(record) for record in records)
        return Claims(found=found, damaged=tuple(damaged), listed=len(ids))

    async def _records(self, ids: Sequence[ChargeId]) -> tuple[list[ChargeRecord], list[ChargeId]]:
        """Those that can be read, and the names of those that cannot."""
        keys = self.store.keys
        forms = await self.store.read_many([Read("GET", keys.charge(charge)) for charge in ids])
        records, damaged = [], []
        for charge, form in zip(ids, forms, strict=True):
            try:
                record = stored(ChargeRecord, form)
            except BadInput:
                # The settler leaves its wallet out and says so; nobody else waits for it.
                damaged.append(charge)
                continue
            # One that is gone was forgiven meanwhile, and nothing is owed for it.
            if record is not None:
                records.append(record.value)
        return records, damaged

    async def _facts(self, owners: Collection[Address]) -> dict[Address, _Facts]:
        keys, wallets = self.store.keys, sorted(owners)
        (reply,) = await self.store.read(Read("GET", keys.mirror()))
        mirror = stored(Mirror, reply)
        behaviour = Behaviour.FLAWED if mirror is None else mirror.value.behaviour
        reads = []
        for wallet in wallets:
            reads.append(Read("GET", keys.account(wallet)))
            reads.append(Read("GET", keys.blocked(wallet)))
            reads.append(Read("HEXISTS", keys.in_flight(), (wallet.hex,)))
            reads.append(Read("HGETALL", keys.exposure(wallet)))
        replies = await self.store.read_many(reads)
        facts: dict[Address, _Facts] = {}
        for place, wallet in enumerate(wallets):
            account, blocked, in_flight, fields = replies[4 * place : 4 * place + 4]
            flag = raw(blocked)
            try:
                mirrored = stored(Account, account)
            except BadInput:
                # Nobody can settle for it before a human has looked; it holds up nobody else.
                mirrored, flag = None, QUARANTINED.encode()
            facts[wallet] = _Facts(
                account=None if mirrored is None else mirrored.value,
                blocked=None if flag is None else flag.decode(),
                in_flight=in_flight == b"1",
                behaviour=behaviour,
                in_debt=exposure(mapping(fields)).in_debt,
            )
        return facts

    async def quarantined(self) -> frozenset[Address]:
        keys = self.store.keys
        (members,) = await self.store.read(Read("SMEMBERS", keys.blocked_wallets()))
        wallets = [Address(name) for name in texts(members)]
        flags = await self.store.read_many([Read("GET", keys.blocked(w)) for w in wallets])
        named = QUARANTINED.encode()
        return frozenset(w for w, flag in zip(wallets, flags, strict=True) if flag == named)

    async def offer_all(self, now: UnixSeconds) -> None:
        keys = self.store.keys
        (resting,) = await self.store.read(Read("ZRANGEBYSCORE", keys.ready(), (now + 1, "+inf")))
        wallets = [Address(name) for name in texts(resting)]
        for start in range(0, len(wallets), _AT_ONCE):
            draft = self.store.draft("offer all wallets")
            draft.offer_again(wallets[start : start + _AT_ONCE], now)
            await self.store.carry_out(draft.commit(token=self.store.token.now()))

    async def mark(self, settled_until: UnixSeconds) -> None:
        draft = self.store.draft("mark what is settled")
        draft.write("SET", self.store.keys.settled_until(), settled_until)
        await self.store.carry_out(draft.commit(token=self.store.token.now()))

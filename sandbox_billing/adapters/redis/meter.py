"""Worker facts of sessions."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from attrs import frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Read, Write
from sandbox_billing.adapters.redis.letters import DAMAGED_SECONDS, readable, report
from sandbox_billing.adapters.redis.sessions import Sessions
from sandbox_billing.adapters.redis.store import (
    Store,
    mapping,
    moment,
    sandbox_record,
    stored,
    texts,
)
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import DueSession, IMeter, SandboxRecord, Stored
from sandbox_billing.ledger.hold import Intent
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.metering import Session, Tick
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.voucher import Charge


@implementer(IMeter)
@frozen
class RedisMeter:
    """Every write bears the lease's token."""

    store: Store
    _sessions: Sessions

    async def due(self, now: UnixSeconds, limit: int) -> tuple[DueSession, ...]:
        keys = self.store.keys
        (reply,) = await self.store.read(
            Read("ZRANGEBYSCORE", keys.due(), ("-inf", now, "LIMIT", 0, limit))
        )
        reads, named = [], texts(reply)
        for sandbox in map(SandboxId, named):
            reads.append(Read("GET", keys.session(sandbox)))
            reads.append(Read("HGET", keys.seen(), (sandbox,)))
        replies = await self.store.read_many(reads)
        found = []
        for name, session_reply, seen_reply in zip(named, replies[::2], replies[1::2], strict=True):
            try:
                session = stored(Session, session_reply)
            except BadInput as why:
                aside = Write("ZADD", keys.due(), ("XX", now + DAMAGED_SECONDS, name))
                await report(self.store, "session", name, why, aside)
                continue
            if session is not None:
                found.append(DueSession(session, moment(seen_reply)))
        return tuple(found)

    async def charge(self, session: Stored[Session], tick: Tick) -> Stored[Session]:
        return await self._sessions.tick(session, tick, self.store.token.now())

    async def postpone(self, session: Stored[Session], due_at: UnixSeconds) -> None:
        draft = self.store.draft(f"postpone {session.value.sandbox}")
        draft.write("ZADD", self.store.keys.due(), "XX", due_at, session.value.sandbox)
        await self.store.carry_out(draft.commit(token=self.store.token.now()))

    async def seen(
        self,
        observations: Mapping[SandboxId, UnixSeconds],
        swept_at: UnixSeconds | None = None,
        crowded: Collection[Address] = (),
    ) -> None:
        draft = self.store.draft("store observations")
        if swept_at is not None:
            draft.write("SET", self.store.keys.swept_at(), swept_at)
            draft.write("DEL", self.store.keys.crowded())
            for wallet in sorted(crowded):
                draft.write("SADD", self.store.keys.crowded(), wallet.hex)
        draft.write_pairs("HSET", self.store.keys.seen(), observations.items())
        await self.store.carry_out(draft.commit(token=self.store.token.now()))

    async def seen_at(self, sandbox: SandboxId) -> UnixSeconds | None:
        (reply,) = await self.store.read(Read("HGET", self.store.keys.seen(), (sandbox,)))
        return moment(reply)

    async def begin(self, session: Stored[Session], begun: Session) -> None:
        await self._sessions.begin(session, begun, self.store.token.now())

    async def close(
        self, session: Stored[Session], closing: Tick, *, destroyed: bool, forgive_create: bool
    ) -> None:
        await self._sessions.close(
            session,
            closing,
            destroyed=destroyed,
            forgive_create=forgive_create,
            token=self.store.token.now(),
        )

    async def open_under(
        self, intent: Intent, session: Session, create_charge: Charge | None
    ) -> Session:
        return await self._sessions.open(
            session,
            intent=intent,
            create_charge=create_charge,
            stop_reason=None,
            token=self.store.token.now(),
        )

    async def adopt(self, session: Session, stop_reason: str | None) -> None:
        await self._sessions.open(
            session,
            intent=None,
            create_charge=None,
            stop_reason=stop_reason,
            token=self.store.token.now(),
        )

    async def sessions(self) -> tuple[Stored[Session], ...]:
        keys = self.store.keys
        (members,) = await self.store.read(Read("SMEMBERS", keys.sessions()))
        named = [(name, keys.session(SandboxId(name))) for name in sorted(texts(members))]
        return tuple(await readable(self.store, "session", Session, named))

    async def intents(self) -> tuple[Intent, ...]:
        keys = self.store.keys
        (members,) = await self.store.read(Read("ZRANGE", keys.intents(), (0, -1)))
        named = [(name, keys.intent(Reference(name))) for name in texts(members)]
        found = await readable(self.store, "intent", Intent, named)
        return tuple(intent.value for intent in found)

    async def records(self, sandboxes: Collection[SandboxId]) -> Mapping[SandboxId, SandboxRecord]:
        asked = sorted(set(sandboxes))
        replies = await self.store.read_many(
            [Read("HGETALL", self.store.keys.sandbox(sandbox)) for sandbox in asked]
        )
        found = {}
        for sandbox, reply in zip(asked, replies, strict=True):
            try:
                record = sandbox_record(sandbox, mapping(reply))
            except BadInput as why:
                await report(self.store, "record", sandbox, why)
                continue
            if record is not None:
                found[sandbox] = record
        return found

    async def requested(self) -> tuple[SandboxId, ...]:
        (members,) = await self.store.read(Read("SMEMBERS", self.store.keys.reconcile_asked()))
        return tuple(SandboxId(sandbox) for sandbox in sorted(texts(members)))

    async def answered(self, sandbox: SandboxId) -> None:
        draft = self.store.draft(f"answer for {sandbox}")
        draft.write("SREM", self.store.keys.reconcile_asked(), sandbox)
        await self.store.carry_out(draft.commit(token=self.store.token.now()))

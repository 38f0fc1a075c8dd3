"""What happened, for those who may know."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Collection, Mapping

from attrs import frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Read
from sandbox_billing.adapters.redis.letters import readable, report
from sandbox_billing.adapters.redis.runs import read_runs
from sandbox_billing.adapters.redis.store import (
    Store,
    addresses,
    mapping,
    stored,
    text,
    texts,
    wallet_funds,
)
from sandbox_billing.adapters.redis.usage import Walk
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import IHistory, SandboxHistory, WalletState
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.account import Mirror, ServiceRecord, Settlement
from sandbox_billing.ledger.deployed import Race
from sandbox_billing.ledger.identity import Address, ChargeId, SandboxId
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.statement import Entry
from sandbox_billing.ledger.totals import Totals
from sandbox_billing.ledger.voucher import ChargeRecord


@implementer(IHistory)
@frozen
class RedisHistory:
    """Only reads."""

    store: Store

    async def settlements(
        self, wallet: Address, *, since: UnixSeconds, page: int, page_size: int
    ) -> tuple[int, tuple[Settlement, ...]]:
        key = self.store.keys.events(wallet)
        total, members = await self.store.read(
            Read("ZCOUNT", key, (since, "+inf")),
            Read("ZRANGEBYSCORE", key, (since, "+inf", "LIMIT", page * page_size, page_size)),
        )
        events = []
        for member in texts(members):
            try:
                events.append(decode(Settlement, member.split(":", 2)[-1]))
            except BadInput as why:
                # The chain has it still.
                await report(self.store, "event", f"{wallet}:{member[:19]}", why)
        return int(text(total)), tuple(events)

    async def races(self) -> tuple[Race, ...]:
        (reply,) = await self.store.read(Read("HGETALL", self.store.keys.races()))
        found = [decode(Race, form) for form in mapping(reply).values()]
        return tuple(sorted(found, key=lambda race: (race.noted_at, race.charge)))

    async def providers(self) -> tuple[ServiceRecord, ...]:
        (fields,) = await self.store.read(Read("HGETALL", self.store.keys.providers()))
        found = mapping(fields)
        return tuple(decode(ServiceRecord, found[provider]) for provider in sorted(found))

    async def charges(self, wallet: Address) -> tuple[ChargeRecord, ...]:
        keys = self.store.keys
        (members,) = await self.store.read(Read("ZRANGE", keys.usage(wallet), (0, -1)))
        named = [(name, keys.charge(ChargeId(name))) for name in texts(members)]
        found = await readable(self.store, "charge", ChargeRecord, named)
        return tuple(record.value for record in found)

    async def wallets(self) -> tuple[Address, ...]:
        (members,) = await self.store.read(Read("SMEMBERS", self.store.keys.wallets()))
        return addresses(texts(members))

    async def state(self, wallet: Address) -> WalletState:
        keys = self.store.keys
        mirror, *funds = await self.store.read(
            Read("GET", keys.mirror()),
            Read("GET", keys.account(wallet)),
            Read("HGETALL", keys.exposure(wallet)),
            Read("GET", keys.blocked(wallet)),
            Read("GET", keys.dry_since(wallet)),
        )
        head = stored(Mirror, mirror)
        return WalletState(
            mirror=None if head is None else head.value, funds=wallet_funds(wallet, *funds)
        )

    def entries(
        self, wallet: Address, *, since: int, until: int, sandbox: SandboxId | None = None
    ) -> AsyncGenerator[tuple[Entry, ...], None]:
        walk = Walk(store=self.store, wallet=wallet, since=since, until=until, only=sandbox)
        return walk.entries()

    async def ran(self, sandbox: SandboxId, *, since: int, most: int) -> SandboxHistory | None:
        return await read_runs(self.store, sandbox, since, most)

    async def labels(
        self, sandboxes: Collection[SandboxId]
    ) -> Mapping[SandboxId, Mapping[str, str]]:
        asked = sorted(set(sandboxes))
        replies = await self.store.read_many(
            [Read("HGET", self.store.keys.sandbox(one), ("labels",)) for one in asked]
        )
        found = {}
        for sandbox, reply in zip(asked, replies, strict=True):
            if reply is None:
                continue
            try:
                found[sandbox] = json.loads(text(reply))
            except ValueError as why:
                await report(self.store, "labels", sandbox, BadInput(str(why)))
        return found

    async def totals(self) -> Totals:
        (reply,) = await self.store.read(Read("GET", self.store.keys.totals()))
        found = stored(Totals, reply)
        return Totals() if found is None else found.value

    async def pending(self) -> tuple[ChargeId, ...]:
        (members,) = await self.store.read(Read("LRANGE", self.store.keys.pending(), (0, -1)))
        return tuple(ChargeId(charge) for charge in texts(members))

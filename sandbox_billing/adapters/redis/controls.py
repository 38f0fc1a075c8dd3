"""What wallets decide about their own money, and what was stopped for want of it."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Read, absent, holds
from sandbox_billing.adapters.redis.draft import NOW, REVISION, Draft, stored_form
from sandbox_billing.adapters.redis.store import Store, exposure, mapping, stored, text, texts
from sandbox_billing.interfaces import IControls, Stale, Stored, WalletOutlay
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.controls import GONE, LOOK_SECONDS, Controls, Outlay, Resumable
from sandbox_billing.ledger.hold import Intent
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.metering import Session, day_of
from sandbox_billing.ledger.money import UnixSeconds, parse_neuron


TRIES = 8
"""A wallet that moves so often while it is read is read again on the next turn."""

NEVER = 2**40
"""The score of who is looked at when something changes."""


async def read_controls(store: Store, wallet: Address) -> Stored[Controls] | None:
    """A wallet's settings; None where it has none."""
    (form,) = await store.read(Read("GET", store.keys.controls(wallet)))
    return stored(Controls, form)


async def read_outlay(store: Store, wallet: Address) -> WalletOutlay:
    """
    Settings, exposure and sessions as they stood together.

    @raise Stale: They moved, again and again.
    """
    for _ in range(TRIES):
        found = await _read(store, wallet)
        if found is not None:
            return found
    raise Stale(f"what {wallet} spends moves faster than it can be read")


async def _read(store: Store, wallet: Address) -> WalletOutlay | None:
    keys, now = store.keys, store.wall.now()
    form, fields, ended, today = await store.read(
        Read("GET", keys.controls(wallet)),
        Read("HGETALL", keys.exposure(wallet)),
        Read("HGETALL", keys.costs(wallet)),
        Read("HGETALL", keys.costs_of_day(wallet, str(day_of(now)))),
    )
    exposed = mapping(fields)
    revision = exposed.get(REVISION, "")
    holds_of = exposure(exposed)
    sandboxes = holds_of.sandboxes()
    intents = [name.split(":", 1)[1] for name in exposed if name.startswith("hold:")]
    again, *rest = await store.read(
        Read("HGET", keys.exposure(wallet), (REVISION,)),
        *(Read("GET", keys.session(sandbox)) for sandbox in sandboxes),
        *(Read("GET", keys.intent(Reference(reference))) for reference in intents),
    )
    if (text(again) if again is not None else "") != revision:
        return None
    settings = stored(Controls, form)
    sessions = [stored(Session, one) for one in rest[: len(sandboxes)]]
    standing = [stored(Intent, one) for one in rest[len(sandboxes) :]]
    return WalletOutlay(
        wallet=wallet,
        stored=settings,
        outlay=Outlay(
            at=now,
            controls=Controls() if settings is None else settings.value,
            exposure=holds_of,
            sessions=tuple(one.value for one in sessions if one is not None),
            intents=tuple(one.value for one in standing if one is not None),
            ended=mapping(ended),
            today=mapping(today),
        ),
        revision=revision.encode(),
    )


@implementer(IControls)
@frozen
class RedisControls:
    """Rests on settings and exposure as they were read together."""

    store: Store

    async def controls(self, wallet: Address) -> Controls:
        found = await read_controls(self.store, wallet)
        return Controls() if found is None else found.value

    async def outlay(self, wallet: Address) -> WalletOutlay:
        return await read_outlay(self.store, wallet)

    async def change(self, found: WalletOutlay, after: Controls) -> None:
        keys, wallet = self.store.keys, found.wallet
        form = stored_form(after)
        draft = self.store.draft(f"change the settings of {wallet}")
        self._expect(draft, found)
        draft.write("SET", keys.controls(wallet), form)
        if after.limited:
            draft.write("ZADD", keys.limited(), NOW, wallet.hex)
        else:
            draft.write("ZREM", keys.limited(), wallet.hex)
        if after.auto_resume:
            draft.write("ZADD", keys.resume_due(), NOW, wallet.hex)
        await self.store.carry_out(draft.commit(witness=holds(keys.controls(wallet), form)))

    async def to_check(self, now: UnixSeconds, limit: int) -> tuple[Address, ...]:
        key, ahead = self.store.keys.limited(), now + LOOK_SECONDS + 1
        due = await self._due(key, now, limit)
        if len(due) == limit:
            return due
        # A time that is further away than any was set by a clock that was ahead.
        (reply,) = await self.store.read(
            Read("ZRANGEBYSCORE", key, (ahead, NEVER - 1, "LIMIT", 0, limit - len(due)))
        )
        return (*due, *(Address(name) for name in texts(reply)))

    async def check_again(self, found: WalletOutlay, at: UnixSeconds | None) -> None:
        draft = self.store.draft(f"look at the limits of {found.wallet} again")
        keys = self.store.keys
        self._expect(draft, found)
        if found.outlay.controls.limited:
            # Listed it stays: whatever begins marks only who is.
            draft.write("ZADD", keys.limited(), NEVER if at is None else at, found.wallet.hex)
        else:
            draft.write("ZREM", keys.limited(), found.wallet.hex)
        await self.store.carry_out(draft.commit(token=self.store.token.now()))

    async def fold(self, found: WalletOutlay) -> None:
        key, ended = self.store.keys.costs(found.wallet), found.outlay.ended
        gone = await self._gone(found.outlay.foldable())
        if not gone:
            return
        total = sum(parse_neuron(ended.get(name, "0")) for name in (GONE, *gone))
        draft = self.store.draft(f"add up what {found.wallet} has spent")
        self._expect(draft, found)
        draft.write_all("HDEL", key, gone)
        draft.write("HSET", key, GONE, str(total))
        draft.touch(found.wallet)
        await self.store.carry_out(draft.commit(token=self.store.token.now()))

    async def _gone(self, sandboxes: Sequence[SandboxId]) -> list[SandboxId]:
        """Those that are deleted or forgotten: what is only stopped may be limited later."""
        keys = self.store.keys
        found = await self.store.read_many([Read("HGETALL", keys.sandbox(s)) for s in sandboxes])
        fields = zip(sandboxes, map(mapping, found), strict=True)
        return [s for s, told in fields if not told or "destroyed_at" in told]

    def _expect(self, draft: Draft, found: WalletOutlay) -> None:
        raw = None if found.stored is None else found.stored.raw
        draft.expect_stored(self.store.keys.controls(found.wallet), raw)
        draft.expect_revision(found.wallet, found.revision)

    async def resumable(self, wallet: Address) -> tuple[Resumable, ...]:
        (fields,) = await self.store.read(Read("HGETALL", self.store.keys.resumable(wallet)))
        kept = [decode(Resumable, form) for form in mapping(fields).values()]
        return tuple(sorted(kept, key=lambda one: (one.since, one.sandbox)))

    async def not_resumable(self, wallet: Address, sandbox: SandboxId) -> None:
        draft = self.store.draft(f"leave {sandbox} as it is")
        draft.write("HDEL", self.store.keys.resumable(wallet), sandbox)
        await self.store.carry_out(draft.commit())

    async def to_resume(self, now: UnixSeconds, limit: int) -> tuple[Address, ...]:
        return await self._due(self.store.keys.resume_due(), now, limit)

    async def resume_again(self, wallet: Address, at: UnixSeconds | None) -> None:
        draft, keys = self.store.draft(f"resume {wallet} later"), self.store.keys
        if at is None:
            settings = await read_controls(self.store, wallet)
            if settings is not None and settings.value.auto_resume:
                draft.expect(absent(keys.resumable(wallet)))
            draft.expect_stored(keys.controls(wallet), None if settings is None else settings.raw)
            draft.write("ZREM", keys.resume_due(), wallet.hex)
        else:
            draft.write("ZADD", keys.resume_due(), at, wallet.hex)
        # Stale: it waits or is wished by now, and stays listed.
        await self.store.attempt(draft.commit(token=self.store.token.now()))

    async def _due(self, key: str, now: UnixSeconds, limit: int) -> tuple[Address, ...]:
        (reply,) = await self.store.read(
            Read("ZRANGEBYSCORE", key, ("-inf", now, "LIMIT", 0, limit))
        )
        return tuple(Address(name) for name in texts(reply))

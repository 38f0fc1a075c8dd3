"""Worker facts of what wallets are told of their money."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Read
from sandbox_billing.adapters.redis.draft import BLOCK, NOW, stored_form
from sandbox_billing.adapters.redis.notices import append
from sandbox_billing.adapters.redis.store import Store, mapping, moment, raw, text, texts
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import IWarnings, WalletSeen
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.warning import Picture, Told


@implementer(IWarnings)
@frozen
class RedisWarnings:
    """Rests on all that was read: what comes between is looked at again."""

    store: Store

    async def to_look(self, now: UnixSeconds, limit: int) -> tuple[Address, ...]:
        (reply,) = await self.store.read(
            Read("ZRANGEBYSCORE", self.store.keys.warn(), ("-inf", now, "LIMIT", 0, limit))
        )
        return tuple(Address(name) for name in texts(reply))

    async def look(self, wallet: Address) -> WalletSeen:
        keys, funds = self.store.keys, await self.store.funds(wallet)
        form, fields, *standing = await self.store.read_many(
            [
                Read("GET", keys.warned(wallet)),
                Read("HGETALL", keys.ordered(wallet)),
                *(Read("GET", keys.stop_reason(one)) for one in funds.exposure.sandboxes()),
            ]
        )
        ordered = mapping(fields)
        block = ordered.pop(BLOCK, None)
        return WalletSeen(
            funds=funds,
            block=block,
            picture=_picture(raw(form)),
            raw=raw(form),
            orders={SandboxId(name): reason for name, reason in ordered.items()},
            standing={
                sandbox: text(reason)
                for sandbox, reason in zip(funds.exposure.sandboxes(), standing, strict=True)
                if reason is not None
            },
        )

    async def told(
        self,
        seen: WalletSeen,
        picture: Picture,
        notices: Sequence[Told],
        at: UnixSeconds | None,
    ) -> None:
        keys, funds, wallet = self.store.keys, seen.funds, seen.funds.wallet
        draft = self.store.draft(f"tell {wallet} how it stands")
        draft.expect_funds(funds)
        blocked = funds.blocked
        draft.expect_stored(keys.blocked(wallet), None if blocked is None else blocked.encode())
        for sandbox in funds.exposure.sandboxes():
            order = seen.standing.get(sandbox)
            place = keys.stop_reason(sandbox)
            draft.expect_stored(place, None if order is None else order.encode())
        kept = {sandbox for sandbox, _ in picture.orders}
        over: list[str] = [sandbox for sandbox in seen.orders if sandbox not in kept]
        if seen.block is not None:
            over.append(BLOCK)
        draft.write_all("HDEL", keys.ordered(wallet), over)
        form = stored_form(picture)
        if form != seen.raw:
            draft.expect_stored(keys.warned(wallet), seen.raw)
            draft.write("SET", keys.warned(wallet), form)
        if notices:
            await append(self.store, draft, wallet, notices)
        if at is None:
            draft.write("ZREM", keys.warn(), wallet.hex)
        else:
            draft.write("ZADD", keys.warn(), at, wallet.hex)
        await self.store.carry_out(draft.commit(token=self.store.token.now()))

    async def later(self, wallet: Address, at: UnixSeconds) -> None:
        draft = self.store.draft(f"look at {wallet} later")
        draft.write("ZADD", draft.keys.warn(), at, wallet.hex)
        await self.store.carry_out(draft.commit(token=self.store.token.now()))

    async def announced(self) -> UnixSeconds | None:
        (reply,) = await self.store.read(Read("GET", self.store.keys.leaving_told()))
        return moment(reply)

    async def announce(self, wallets: Sequence[Address], leaving_at: UnixSeconds | None) -> None:
        draft, keys = self.store.draft("list everybody for an announcement"), self.store.keys
        draft.write_pairs("ZADD", keys.warn(), [(NOW, wallet.hex) for wallet in wallets])
        if leaving_at is None:
            draft.write("DEL", keys.leaving_told())
        else:
            draft.write("SET", keys.leaving_told(), leaving_at)
        await self.store.carry_out(draft.commit(token=self.store.token.now()))


def _picture(form: bytes | None) -> Picture | None:
    """Nothing rests on it: one that cannot be read is drawn anew."""
    if form is None:
        return None
    try:
        return decode(Picture, form)
    except BadInput:
        return None

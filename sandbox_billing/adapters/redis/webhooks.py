"""Webhooks: a hash for each wallet, with what was registered and how far each one got."""

from __future__ import annotations

from attrs import frozen
from twisted.logger import Logger
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Read, field_absent, field_is
from sandbox_billing.adapters.redis.draft import REVISION, stored_form
from sandbox_billing.adapters.redis.notices import LAST
from sandbox_billing.adapters.redis.store import Store, mapping, text
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import IWebhooks, KeptWebhook, Stale, Stored
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.webhook import Standing, Webhook, WebhookId


TRIES = 5
"""Registrations and notices of one wallet that meet."""


def _standing(id: WebhookId) -> str:
    """The field beside the webhook's own."""
    return f"{id}:standing"


@implementer(IWebhooks)
@frozen
class RedisWebhooks:
    """
    Two fields for each: what was registered never changes, so that a removal shows in it.
    """

    store: Store
    _log = Logger()

    async def add(self, webhook: Webhook, *, most: int) -> bool:
        for left in reversed(range(TRIES)):
            try:
                return await self._add(webhook, most)
            except Stale:
                if not left:
                    raise
        raise AssertionError("unreachable")

    async def _add(self, webhook: Webhook, most: int) -> bool:
        keys, form = self.store.keys, stored_form(webhook)
        place, told = keys.webhooks(webhook.wallet), keys.notices_told(webhook.wallet)
        reply, last = await self.store.read(Read("HGETALL", place), Read("HGET", told, (LAST,)))
        fields = mapping(reply)
        others = [id for id in _ids(fields) if id != webhook.id]
        if len(others) >= most:
            return False
        revision = fields.get(REVISION)
        draft = self.store.draft(f"keep the webhook {webhook.id}")
        draft.expect(
            field_absent(place, REVISION)
            if revision is None
            else field_is(place, REVISION, revision),
            field_absent(place, webhook.id),
            # What is told meanwhile may be passed on before this webhook is seen.
            field_absent(told, LAST) if last is None else field_is(told, LAST, text(last)),
        )
        standing = Standing(after=0 if last is None else int(text(last)))
        draft.write("HSET", place, webhook.id, form, _standing(webhook.id), stored_form(standing))
        draft.write("HINCRBY", place, REVISION, 1)
        await self.store.carry_out(draft.commit(witness=field_is(place, webhook.id, form)))
        return True

    async def of(self, wallet: Address) -> tuple[KeptWebhook, ...]:
        fields = await self._fields(wallet)
        found = []
        for id in _ids(fields):
            raw, standing = fields[id], fields.get(_standing(WebhookId(id)), "")
            try:
                found.append(
                    KeptWebhook(
                        webhook=Stored(decode(Webhook, raw), raw.encode()),
                        standing=Stored(decode(Standing, standing), standing.encode()),
                    )
                )
            except BadInput as why:
                # Never the form itself: the secret is in it.
                kind = type(why).__name__
                self._log.error("webhook {webhook} cannot be read: {why}", webhook=id, why=kind)
        return tuple(sorted(found, key=_age))

    async def remove(self, wallet: Address, id: WebhookId) -> bool:
        place = self.store.keys.webhooks(wallet)
        raw = (await self._fields(wallet)).get(id)
        if raw is None:
            return False
        draft = self.store.draft(f"remove the webhook {id}")
        draft.expect(field_is(place, id, raw))
        draft.write("HDEL", place, id, _standing(id))
        draft.write("HINCRBY", place, REVISION, 1)
        await self.store.carry_out(draft.commit(witness=field_absent(place, id)))
        return True

    async def move(self, kept: KeptWebhook, standing: Standing) -> KeptWebhook:
        webhook, form = kept.webhook.value, stored_form(standing)
        place, field = self.store.keys.webhooks(webhook.wallet), _standing(webhook.id)
        draft = self.store.draft(f"move the webhook {webhook.id}")
        draft.expect(
            field_is(place, webhook.id, kept.webhook.raw),
            field_is(place, field, kept.standing.raw),
        )
        draft.write("HSET", place, field, form)
        commit = draft.commit(token=self.store.token.now(), witness=field_is(place, field, form))
        await self.store.carry_out(commit)
        return KeptWebhook(webhook=kept.webhook, standing=Stored(standing, form))

    async def _fields(self, wallet: Address) -> dict[str, str]:
        (reply,) = await self.store.read(Read("HGETALL", self.store.keys.webhooks(wallet)))
        return mapping(reply)


def _ids(fields: dict[str, str]) -> list[str]:
    return [name for name in fields if name != REVISION and ":" not in name]


def _age(kept: KeptWebhook) -> tuple[int, str]:
    return kept.webhook.value.created_at, kept.webhook.value.id

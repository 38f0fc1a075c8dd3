"""Dead letters that are no charges, and reading what may be damaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from attrs import frozen
from twisted.logger import Logger
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Outcome, Read, Write, field_is
from sandbox_billing.adapters.redis.draft import Draft, stored_form
from sandbox_billing.adapters.redis.store import Store, mapping, stored
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import IDeadLetters, Stale, Stored
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.dead_letter import DeadLetter


T = TypeVar("T")

DAMAGED_SECONDS = 60
"""After so long what could not be read is tried again: somebody may have mended it."""

_log = Logger(__name__)


def write_letter(draft: Draft, letter: DeadLetter) -> None:
    """Put a letter into a fact; an earlier one about the same stays."""
    name = f"{letter.kind}:{letter.name}"
    draft.write("HSETNX", draft.keys.letters(), name, stored_form(letter))


async def report(store: Store, kind: str, name: str, why: BadInput, *writes: Write) -> None:
    """
    Say once that something stored cannot be read, and keep it for a human.

    @param writes: What the worker does each time, so that it is in nobody's way.
    """
    known = (kind, name) in store.reported
    if not known:
        _log.critical("{kind} {name} cannot be read: {why}", kind=kind, name=name, why=str(why))
    if store.token.value is not None and (writes or not known):
        draft = store.draft(f"report {kind} {name}")
        if not known:
            now = store.wall.now()
            write_letter(draft, DeadLetter(kind=kind, name=name, reason=str(why), since=now))
        for write in writes:
            draft.write(write.name, write.key, *write.arguments)
        await store.carry_out(draft.commit(token=store.token.now()))
    store.reported.add((kind, name))


async def readable(
    store: Store, kind: str, cls: type[T], named: Sequence[tuple[str, str]]
) -> list[Stored[T]]:
    """
    Values that are there and can be read; the others are reported and hold nobody up.

    @param named: Name and key of each.
    """
    replies = await store.read_many([Read("GET", key) for _name, key in named])
    found = []
    for (name, _key), reply in zip(named, replies, strict=True):
        try:
            value = stored(cls, reply)
        except BadInput as why:
            await report(store, kind, name, why)
            continue
        if value is not None:
            found.append(value)
    return found


@implementer(IDeadLetters)
@frozen
class RedisDeadLetters:
    """A hash by what they are about."""

    store: Store

    async def letters(self) -> tuple[DeadLetter, ...]:
        (fields,) = await self.store.read(Read("HGETALL", self.store.keys.letters()))
        found = []
        for name, form in mapping(fields).items():
            try:
                found.append(decode(DeadLetter, form))
            except BadInput as why:
                kind, _, rest = name.partition(":")
                now = self.store.wall.now()
                found.append(DeadLetter(kind=kind, name=rest, reason=str(why), since=now))
        return tuple(sorted(found, key=lambda letter: (letter.since, letter.kind, letter.name)))

    async def dismiss(self, letter: DeadLetter) -> None:
        keys, name = self.store.keys, f"{letter.kind}:{letter.name}"
        draft = self.store.draft(f"dismiss the letter about {name}")
        draft.expect(field_is(keys.letters(), name, stored_form(letter)))
        draft.write("HDEL", keys.letters(), name)
        done = await self.store.attempt(draft.commit())
        if done.outcome is Outcome.STALE:
            (left,) = await self.store.read(Read("HGET", keys.letters(), (name,)))
            if left is not None:
                raise Stale(f"the letter about {name} is another by now")

"""
Requests that may be asked again: one key never does its work twice (A5).

What is remembered is written before the work, and the answer where the work ends: not
where the client waits, who may have hung up.  A process that dies leaves a record that
nobody works at; whoever asks again then closes the old reference first, so that nothing
can come of it any more, and joins what came of it or begins anew.

Tests: C{tests.web.test_idempotency}, and C{retry-create} of C{tests.simulation}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Coroutine
from decimal import Decimal
from hashlib import sha256
from typing import Any, ClassVar, Protocol

from attrs import evolve, field, frozen
from twisted.logger import Logger

from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import (
    DaytonaRefused,
    IIdempotency,
    IIds,
    IWallClock,
    NotReady,
    Stale,
    Stored,
    TooMany,
)
from sandbox_billing.ledger.idempotency import Remembered
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.token import Scope
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._router import Asked
from sandbox_billing.web._routes import Handler
from sandbox_billing.web.answers import Answer, Conflict, Told, dump, refusal
from sandbox_billing.web.policy import seen_by


REPLAYED = "Idempotency-Replayed"

RUN_SECONDS = 150
"""Longer than any work takes that is under way; then its process counts as dead."""

RETRY_SECONDS = 5

WRONG_KEY = "Idempotency-Key must be 1 to 255 printable ASCII characters"
OTHER_REQUEST = "this Idempotency-Key was used for another request"
UNDER_WAY = "a request with this Idempotency-Key is under way"

_KEY = re.compile(r"[\x20-\x7e]{1,255}\Z")

ENDS = frozenset({"stop", "delete"})
"""
Routes with places of their own, and no limit of keys: whoever pays can end it, whatever others,
or a program of his, have asked for.
"""

_LATER = frozenset({409, 425, 429})
"""Refusals that ask to come again: with the same key, too."""


_KEPT_FOR = frozenset({Scope.READ})
"""Whoever may look and nothing else may see what is kept."""


class Detached(Protocol):
    """Keeps work that its client may leave: C{Supervisor.detached}."""

    def __call__(
        self,
        name: str,
        work: Coroutine[Any, Any, Answer],
        *,
        wallet: str,
        reserved: bool = False,
    ) -> Awaitable[Answer]:
        """@raise NotReady: There is too much of it; raised at once."""


@frozen(kw_only=True)
class Idempotency:
    """
    @ivar ids: Names references and runs.
    """

    _log: ClassVar[Logger] = Logger()

    records: IIdempotency = field(validator=provides(IIdempotency))
    ids: IIds = field(validator=provides(IIds))
    wall: IWallClock = field(validator=provides(IWallClock))
    detached: Detached

    def once(self, route: str, handler: Handler, found: Handler) -> Handler:
        """
        A handler that heeds the key.

        @param route: Its name: keys of different routes are different keys.
        @param found: Shows the sandbox C{asked.id} that an earlier, unanswered run made.
        """

        async def heeded(asked: Asked) -> Answer:
            key = read_key(asked.idempotency_keys)
            if key is None:
                return await handler(asked)

            def run(*, reserved: bool = False) -> Awaitable[Answer]:
                # From its first word on: who hangs up leaves no key behind that nobody works at.
                return self.detached(
                    "idempotent",
                    self.run(
                        asked.wallet,
                        slot_of(route, key),
                        digest_of(route, asked),
                        lambda reference: handler(evolve(asked, reference=reference)),
                        lambda sandbox: found(evolve(asked, id=sandbox, query={}, body={})),
                        ends=route in ENDS,
                    ),
                    wallet=asked.wallet.hex,
                    reserved=reserved,
                )

            try:
                running = run()
            except NotReady as full:
                if route not in ENDS:
                    raise
                try:
                    # While its client waits: what strangers ask for takes nothing of the reserve.
                    await found(evolve(asked, query={}, body={}))
                except Refused:
                    # It may be gone, and the key know its answer: told once there is room.
                    raise full from None
                running = run(reserved=True)
            return await running

        return heeded

    async def run(
        self,
        wallet: Address,
        slot: str,
        digest: str,
        work: Callable[[Reference], Awaitable[Answer]],
        found: Callable[[SandboxId], Awaitable[Answer]],
        *,
        ends: bool = False,
    ) -> Answer:
        """
        Do the work, or tell what it came to; to be detached.

        @param ends: Whether it ends what somebody pays for, which nothing limits: where too many
            keys are remembered, it is done as without one.
        @raise Conflict: Another request has this key, or this one is under way.
        """
        now = self.wall.now()
        fresh = Remembered(
            digest=digest,
            reference=self.ids.reference(),
            run=self.ids.reference(),
            began_at=now,
            until=UnixSeconds(now + RUN_SECONDS),
        )
        try:
            stands = await self.records.begin(wallet, slot, fresh)
        except TooMany:
            if not ends:
                raise
            return await work(fresh.reference)
        sandbox: SandboxId | None = None
        if stands.value != fresh:
            known = stands.value
            if known.digest != digest:
                raise Conflict(OTHER_REQUEST)
            if known.answer is not None:
                return _told_again(known.answer)
            if known.until > now:
                raise Conflict(UNDER_WAY, retry_after=RETRY_SECONDS)
            fresh = evolve(fresh, began_at=known.began_at)
            try:
                sandbox = await self.records.spend(known.reference)
                if sandbox is not None:
                    fresh = evolve(fresh, reference=known.reference)
                stands = await self.records.write(wallet, slot, stands, fresh)
            except Stale as why:
                # Its intent stands, or somebody else asked again first.
                raise Conflict(UNDER_WAY, retry_after=RETRY_SECONDS) from why
        return await self._kept(
            wallet,
            slot,
            stands,
            (lambda: work(fresh.reference)) if sandbox is None else (lambda: found(sandbox)),
            joined=sandbox is not None,
        )

    async def _kept(
        self,
        wallet: Address,
        slot: str,
        stands: Stored[Remembered],
        doing: Callable[[], Awaitable[Answer]],
        *,
        joined: bool,
    ) -> Answer:
        try:
            answer = await doing()
        except Exception as error:
            if isinstance(error, BadInput | Refused):
                await self._refused(wallet, slot, stands, error, joined)
            else:
                await self._after(self.records.write(wallet, slot, stands, stands.value.left()))
            raise
        await self._answered(wallet, slot, stands, answer)
        return answer

    async def _refused(
        self,
        wallet: Address,
        slot: str,
        stands: Stored[Remembered],
        error: Exception,
        joined: bool,
    ) -> None:
        """
        Refusals of Daytona are kept; before it was asked nothing has happened, and what
        was wrong may be put right: a deposit, a slot that becomes free.

        What an earlier run made is never made again, also when it is gone.
        """
        answer = refusal(error)
        final = answer is not None and 400 <= answer.status < 500 and answer.status not in _LATER
        asked = isinstance(error, DaytonaRefused) and not error.looked
        if answer is not None and final and (joined or asked):
            await self._answered(wallet, slot, stands, answer)
        elif joined or (answer is not None and answer.status >= 500):
            await self._after(self.records.write(wallet, slot, stands, stands.value.left()))
        else:
            await self._after(self.records.forget(wallet, slot, stands))

    async def _answered(
        self, wallet: Address, slot: str, stands: Stored[Remembered], answer: Answer
    ) -> None:
        text = dump(
            {
                "status": answer.status,
                "headers": dict(answer.headers),
                # Users keep secrets in their environment: nothing of it rests in the store.
                "document": seen_by(_KEPT_FOR, answer.document),
            }
        ).decode("utf-8")
        await self._after(self.records.write(wallet, slot, stands, stands.value.answered(text)))

    async def _after(self, writing: Awaitable[object]) -> None:
        """What was done is done; whoever asks again finds it by its reference."""
        try:
            await writing
        except (Transient, UnknownOutcome) as why:
            self._log.info("the answer to a request is not remembered: {why}", why=str(why))


def _told_again(text: str) -> Answer:
    """@raise Told: It was a refusal."""
    known = json.loads(text, parse_float=Decimal)
    answer = Answer(
        status=known["status"],
        headers={**known["headers"], REPLAYED: "true"},
        document=known["document"],
    )
    if answer.status >= 400:
        raise Told(answer.document["error"], answer=answer)
    return answer


def read_key(values: tuple[str, ...]) -> str | None:
    """
    @param values: Of the header, as often as it stands.
    @raise BadInput: It stands twice, or is no key.
    """
    if not values:
        return None
    if len(values) > 1 or not _KEY.match(values[0]):
        raise BadInput(WRONG_KEY)
    return values[0]


def slot_of(route: str, key: str) -> str:
    """Where a key of a route is remembered."""
    return sha256(f"{route}\0{key}".encode()).hexdigest()


def digest_of(route: str, asked: Asked) -> str:
    """Of all that a request says but who says it and when."""
    said = [route, asked.id, sorted(asked.query.items()), asked.body]
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), default=_decimal)
    return sha256(text.encode("utf-8")).hexdigest()


def _decimal(value: object) -> list[str]:
    # A JSON value is never a list that begins so, but for one that nobody sends.
    return ["\0decimal", str(value)]

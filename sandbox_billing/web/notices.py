"""
A wallet's notices as they come: server-sent events (docs/notices.rst).

Nobody is woken by Redis: each process asks it in every turn for the newest numbers of all the
wallets that listen there, in one read, whoever told them.

Tests: C{tests.web.test_notices}.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from enum import Enum
from typing import ClassVar

from attrs import define, field
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import (
    IDoors,
    INotices,
    ITokens,
    IWallClock,
    NotReady,
    TooMany,
)
from sandbox_billing.ledger.account import Mirror
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.notice import Numbered, document
from sandbox_billing.ledger.rating import Prices, card_in_force, cost_of, rate_of
from sandbox_billing.ledger.resources import DAYTONA_DEFAULT
from sandbox_billing.ledger.tariff import Tariff, as_tariff
from sandbox_billing.ledger.token import TokenId
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._router import Asked
from sandbox_billing.web.answers import Answer


LOOK_SECONDS = 1.0
"""Between two turns."""

TOKEN_TURNS = 3
"""Every so many turns it is looked whether tokens have ended."""

HEARTBEAT_SECONDS = 15.0
"""Without a notice; so also the time after which a connection that is gone is found out."""

RETRY_MILLISECONDS = 2_000
"""After so long an C{EventSource} connects again."""

MOST = 1_000
MOST_OF_WALLET = 10
MOST_WITHOUT_FUNDS = 100
"""Of all those, of wallets that have too little here to run anything: wallets cost nothing, and
whoever has many of them could else take every place of those who pay."""

RUNNING_PART = 4
"""One in so many places is for wallets that run something: a balance can be had back."""

RETRY_SECONDS = 5

PAGE = 100
"""Notices in one piece."""

TOKEN_ENDED = "the token has ended"
LEAVING = "the server is restarting"

_NUMBER = re.compile(r"[0-9]{1,15}\Z")


class Means(Enum):
    """What a wallet has here, when its stream begins."""

    NOTHING = "nothing"
    FUNDS = "funds"
    RUNNING = "running"


@define(eq=False, kw_only=True)
class Listener:
    """
    One stream.

    @ivar only: The one sandbox that its token is for: it is told of nothing else.
    @ivar cursor: The number of the last notice that was read for it.
    @ivar means: What its wallet had here when it began.
    @ivar ended: Why it ends; None while it does not.
    """

    wallet: Address
    token: TokenId | None = None
    only: SandboxId | None = None
    cursor: int = 0
    means: Means = Means.RUNNING
    ended: str | None = None
    _news: bool = False
    _waiting: Deferred[None] | None = None

    async def woken(self, clock: IReactorTime) -> bool:
        """
        Wait for news, or for the end.

        @return: False when neither came for a while.
        """
        if not self._news and self.ended is None:
            self._waiting = Deferred()
            try:
                await self._waiting.addTimeout(HEARTBEAT_SECONDS, clock)
            except TimeoutError:
                return False
            finally:
                self._waiting = None
        self._news = False
        return True

    def wake(self) -> None:
        """There is news."""
        self._news = True
        if self._waiting is not None and not self._waiting.called:
            self._waiting.callback(None)

    def end(self, why: str) -> None:
        """It is over, once what is being written is out."""
        self.ended = why
        self.wake()


@define(eq=False, kw_only=True)
class Listeners:
    """
    Those of this process; somebody takes its turns.

    @ivar most: In this process.
    @ivar most_of_wallet: Of one wallet, in this process.
    @ivar tariff: The prices used while the chain carries none; given as C{environment}.
    @ivar interval: VOUCHER_INTERVAL_SEC.
    """

    _log: ClassVar[Logger] = Logger()

    notices: INotices = field(validator=provides(INotices))
    doors: IDoors = field(validator=provides(IDoors))
    tokens: ITokens = field(validator=provides(ITokens))
    wall: IWallClock = field(validator=provides(IWallClock))
    clock: IReactorTime = field(validator=provides(IReactorTime))
    most: int = MOST
    most_of_wallet: int = MOST_OF_WALLET
    tariff: Tariff = field(alias="environment", converter=as_tariff)
    interval: int
    _open: dict[Address, set[Listener]] = field(factory=dict, init=False)
    _turns: int = field(default=0, init=False)
    _closed: bool = field(default=False, init=False)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._everybody())

    def check(self, wallet: Address, means: Means) -> None:
        """
        @param means: What the wallet has here.
        @raise TooMany: There are as many as there may be.
        @raise NotReady: We are stopping.
        """
        if self._closed:
            raise NotReady(LEAVING, RETRY_SECONDS)
        if len(self._open.get(wallet, ())) >= self.most_of_wallet:
            raise TooMany("too many event streams of this wallet are open", RETRY_SECONDS)
        if not self._has_room(means):
            raise TooMany("too many event streams are open", RETRY_SECONDS)

    def _has_room(self, means: Means) -> bool:
        kept = self.most // RUNNING_PART
        if means is Means.RUNNING:
            return self.count < self.most
        everybody = self._everybody()
        if sum(one.means is not Means.RUNNING for one in everybody) >= self.most - kept:
            return False
        if means is Means.FUNDS:
            return self.count < self.most
        nothing = sum(one.means is Means.NOTHING for one in everybody)
        return self.count < self.most and nothing < min(MOST_WITHOUT_FUNDS, kept)

    def enter(self, listener: Listener) -> None:
        """One more, after C{check}."""
        self._open.setdefault(listener.wallet, set()).add(listener)

    def leave(self, listener: Listener) -> None:
        """It has ended; once is enough."""
        left = self._open.get(listener.wallet, set())
        left.discard(listener)
        if not left:
            self._open.pop(listener.wallet, None)

    async def turn(self) -> None:
        """Wake those of whose wallets there is news, and end those of tokens that have ended."""
        wallets = list(self._open)
        if not wallets:
            return
        newest = await self.notices.newest(wallets)
        for wallet, number in zip(wallets, newest, strict=True):
            for listener in tuple(self._open.get(wallet, ())):
                if number > listener.cursor:
                    listener.wake()
        self._turns += 1
        if self._turns % TOKEN_TURNS == 0:
            await self._end_tokens()

    async def _end_tokens(self) -> None:
        """Whoever revokes a token wants nothing of it to go on."""
        everybody = self._everybody()
        for token in {one.token for one in everybody if one.token is not None}:
            try:
                found = await self.tokens.find(token)
            except BadInput:
                found = None
            if found is None or not found.is_live(self.wall.now()):
                for listener in everybody:
                    if listener.token == token:
                        listener.end(TOKEN_ENDED)

    def _everybody(self) -> list[Listener]:
        """As they are now: those that are woken may leave at once."""
        return [one for some in self._open.values() for one in some]

    def close(self) -> None:
        """Let all of them end well, and none begin: their programs connect again."""
        self._closed = True
        for listener in self._everybody():
            listener.end(LEAVING)

    async def stream(self, asked: Asked) -> Answer:
        """
        What is told from now on, or after the last one that the client knows.

        @raise TooMany: There are as many streams as there may be.
        """
        means = await self._means(asked.wallet)
        self.check(asked.wallet, means)
        cursor = _cursor(asked)
        if cursor is None:
            (cursor,) = await self.notices.newest([asked.wallet])
        listener = Listener(
            wallet=asked.wallet,
            token=asked.known.token,
            only=asked.known.only,
            cursor=cursor,
            means=means,
        )
        headers = {
            "Content-Type": "text/event-stream; charset=utf-8",
            # Or a proxy of the kind of nginx would keep it all back.
            "X-Accel-Buffering": "no",
        }
        return Answer(headers=headers, chunks=self._chunks(listener))

    async def _means(self, wallet: Address) -> Means:
        try:
            funds, mirror = await self.doors.funds(wallet), await self.doors.mirror()
        except BadInput:
            return Means.NOTHING
        if funds.exposure.sandboxes():
            return Means.RUNNING
        if funds.exposure.fields:
            return Means.FUNDS
        if funds.account is None or mirror is None:
            return Means.NOTHING
        spendable = funds.account.value.spendable(mirror.value.behaviour)
        return Means.FUNDS if spendable >= self._least(mirror.value) else Means.NOTHING

    def _least(self, mirror: Mirror) -> Neuron:
        """Without so much, the smallest sandbox cannot be had for an interval."""
        service = mirror.service
        card = (
            card_in_force(Prices(), self.tariff.prices, 0)
            if service is None
            else card_in_force(service.prices, self.tariff.prices, service.signer_version)
        )
        try:
            interval = cost_of(rate_of(card, DAYTONA_DEFAULT), self.interval)
        except Refused:
            # It has no price.
            interval = Neuron(0)
        return max(Neuron(1), card.prices.create_fee, interval)

    async def _chunks(self, listener: Listener) -> AsyncGenerator[bytes, None]:
        # Only now: what nobody reads, a HEAD, is none.
        self.check(listener.wallet, listener.means)
        self.enter(listener)
        try:
            # An id alone is remembered by the client: whoever connects again before the first
            # notice has missed nothing.
            yield b"retry: %d\nid: %d\n\n" % (RETRY_MILLISECONDS, listener.cursor)
            while listener.ended is None:
                said, more = await self._page(listener)
                if said:
                    yield said
                if not more and not await listener.woken(self.clock):
                    yield b": heartbeat\n\n"
            yield f": {listener.ended}\n\n".encode()
        finally:
            self.leave(listener)

    async def _page(self, listener: Listener) -> tuple[bytes, bool]:
        """@return: What to send, and whether there is more at once."""
        try:
            # In this order: what is told between the two is not passed over.
            (newest,) = await self.notices.newest([listener.wallet])
            found = await self.notices.after(listener.wallet, listener.cursor, PAGE)
            if not found:
                # What is too old by now, or damaged, is not asked for again.
                listener.cursor = max(listener.cursor, newest)
        except (Transient, UnknownOutcome) as why:
            # It is asked for again on the next turn.
            self._log.debug("notices of {wallet}: {why}", wallet=listener.wallet.hex, why=str(why))
            return b"", False
        if not found:
            return b"", False
        shown = [one for one in found if listener.only in (None, one.notice.sandbox)]
        listener.cursor = found[-1].number
        said = b"".join(event_of(one) for one in shown)
        if not shown or shown[-1] is not found[-1]:
            said += b"id: %d\n\n" % listener.cursor
        return said, len(found) == PAGE


def event_of(numbered: Numbered) -> bytes:
    """One event; JSON has no line break in it."""
    notice = numbered.notice
    data = json.dumps(document(numbered, checksum(notice.wallet)), separators=(",", ":"))
    kind = notice.kind.value
    return f"id: {numbered.number}\nevent: {kind}\ndata: {data}\n\n".encode()


def _cursor(asked: Asked) -> int | None:
    """
    The number after which notices are wanted: the header's, which a client that connects again
    sends beside the query of its first request.

    @raise BadInput: It is none.
    """
    told = asked.last_event_ids[-1] if asked.last_event_ids else asked.query.get("after")
    if told is None or told == "":
        return None
    if not _NUMBER.match(told):
        raise BadInput("after, or Last-Event-ID, must be the id of a notice, or 0")
    return int(told)

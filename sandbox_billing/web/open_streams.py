"""
The streams that are open in this process, and their end when the sandbox's comes.

Processes share no memory: each looks at what is stored, for its own streams only.

Tests: C{tests.web.test_open_streams}, C{tests.web.test_streams}, C{tests.web.test_tunnels}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from attrs import define, field
from twisted.logger import Logger

from sandbox_billing.errors import BadInput, Refused
from sandbox_billing.interfaces import (
    CannotPay,
    IDoors,
    ITokens,
    IWallClock,
    StopPending,
    TooMany,
)
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.token import TokenId
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web.bounds import MOST_STREAMS


LOOK_SECONDS = 1.5
"""Between two looks; a cut comes within that and the time of one look."""

RETRY_SECONDS = 5

ENDED = "the sandbox has stopped"
TOKEN_ENDED = "the token has ended"

NOT_METERED = (
    "this sandbox is not metered yet: have it looked at by POST /api/sandbox/{id}/ensure-billing,"
    " then try again"
)


@define(eq=False, kw_only=True)
class OpenStream:
    """
    One stream.

    @ivar token: With which it was opened; None for who signed.
    @ivar cut: Ends it; called at most once, with why.
    @ivar metered: Whether its sandbox was seen to have a session.
    """

    wallet: Address
    sandbox: SandboxId
    token: TokenId | None = None
    cut: Callable[[Refused], None] = lambda why: None
    metered: bool = False


@define(eq=False, kw_only=True)
class OpenStreams:
    """
    @ivar doors: Whether an order to stop stands, the sandbox is metered, its wallet blocked.
    @ivar tokens: Whether a token was revoked, or is too old.
    @ivar most: In this process.
    @ivar most_of_wallet: Of one wallet, in this process.
    """

    _log: ClassVar[Logger] = Logger()

    doors: IDoors = field(validator=provides(IDoors))
    tokens: ITokens = field(validator=provides(ITokens))
    wall: IWallClock = field(validator=provides(IWallClock))
    most: int = MOST_STREAMS
    most_of_wallet: int = 100
    _open: set[OpenStream] = field(factory=set, init=False)
    _of_wallet: dict[Address, int] = field(factory=dict, init=False)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._open)

    def enter(self, stream: OpenStream) -> None:
        """
        @raise TooMany: There are as many as there may be.
        """
        of_wallet = self._of_wallet.get(stream.wallet, 0)
        if of_wallet >= self.most_of_wallet:
            raise TooMany("too many streams of this wallet are open", RETRY_SECONDS)
        if len(self._open) >= self.most:
            raise TooMany("too many streams are open", RETRY_SECONDS)
        self._open.add(stream)
        self._of_wallet[stream.wallet] = of_wallet + 1

    def leave(self, stream: OpenStream) -> None:
        """It has ended; once is enough."""
        if stream not in self._open:
            return
        self._open.discard(stream)
        left = self._of_wallet[stream.wallet] - 1
        if left:
            self._of_wallet[stream.wallet] = left
        else:
            del self._of_wallet[stream.wallet]

    async def turn(self) -> None:
        """
        Cut what may not go on: two reads for each sandbox that has streams, one for each
        wallet and each token.

        @raise BadInput: What is stored of one cannot be read; all others were looked at.
        """
        await self._cut_tokens()
        by_wallet: dict[Address, dict[SandboxId, list[OpenStream]]] = {}
        for stream in self._open:
            of_wallet = by_wallet.setdefault(stream.wallet, {})
            of_wallet.setdefault(stream.sandbox, []).append(stream)
        unread: list[BadInput] = []
        for wallet, sandboxes in by_wallet.items():
            why = None
            try:
                why = await self.refused_wallet(wallet)
            except BadInput as damaged:
                unread.append(damaged)
            for sandbox, streams in sandboxes.items():
                try:
                    await self._cut_of(sandbox, streams, why)
                except BadInput as damaged:
                    unread.append(damaged)
        if unread:
            raise unread[0]

    async def _cut_of(
        self, sandbox: SandboxId, streams: list[OpenStream], why: CannotPay | None
    ) -> None:
        """@param why: That its wallet may use nothing."""
        known = any(stream.metered for stream in streams)
        reason, metered = (why, known) if why else await self._look(sandbox, known)
        for stream in streams:
            stream.metered = metered
            if reason is not None and stream in self._open:
                self._cut(stream, reason)

    async def _cut_tokens(self) -> None:
        """Whoever revokes a token wants nothing of it to go on."""
        for token in {stream.token for stream in self._open if stream.token is not None}:
            try:
                found = await self.tokens.find(token)
            except BadInput:
                found = None
            if found is not None and found.is_live(self.wall.now()):
                continue
            for stream in [one for one in self._open if one.token == token]:
                self._cut(stream, Refused(TOKEN_ENDED))

    async def is_metered(self, sandbox: SandboxId) -> bool:
        """Whether it has a session."""
        return await self.doors.session(sandbox) is not None

    async def refused_wallet(self, wallet: Address) -> CannotPay | None:
        """Why this wallet may use nothing that runs; None when it may."""
        funds = await self.doors.funds(wallet)
        if funds.blocked is None:
            return None
        return CannotPay(
            text="insufficient balance",
            code="blocked",
            balance=Neuron(0) if funds.account is None else funds.account.value.balance,
            required=Neuron(0),
            exposure=funds.exposure.total(self.wall.now()),
        )

    async def refused_sandbox(self, sandbox: SandboxId) -> StopPending | None:
        """Why nothing may be begun in this sandbox; None when it may."""
        order = await self.doors.stop_reason(sandbox)
        return None if order is None else StopPending("stop pending", order)

    async def refused_unknown(self, sandbox: SandboxId) -> StopPending | None:
        """
        Why nothing may be begun in a sandbox that only its label gives to somebody: nobody
        pays for it.  None where it ever had a session; the reconciler sees to the rest.
        """
        if await self.doors.record(sandbox) is not None:
            return None
        return StopPending(NOT_METERED.format(id=sandbox), retry_after=RETRY_SECONDS)

    async def _look(self, sandbox: SandboxId, known: bool) -> tuple[Refused | None, bool]:
        order = await self.refused_sandbox(sandbox)
        if order is not None:
            return order, known
        metered = await self.is_metered(sandbox)
        # One that was never metered is for the reconciler to find.
        return (StopPending(ENDED) if known and not metered else None), metered or known

    def _cut(self, stream: OpenStream, why: Refused) -> None:
        self._log.info("cut a stream to {sandbox}: {why}", sandbox=stream.sandbox, why=str(why))
        self.leave(stream)
        stream.cut(why)

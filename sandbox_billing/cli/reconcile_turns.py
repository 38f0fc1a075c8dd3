"""
Repairs one after the other, and what becomes of a wallet's others when one of them is not made.

Tests: L{tests.cli.test_reconcile_turns}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from sandbox_billing.errors import BadInput, BrokenLaw, Transient
from sandbox_billing.interfaces import ILease, Stale
from sandbox_billing.ledger.comparison import Difference, Store, charged_wallet
from sandbox_billing.ledger.identity import Address


@define(kw_only=True, eq=False)
class Turns:
    """
    The repairs of one run.

    @ivar store: What they rest on.
    @ivar shown: What was shown of the differences (L{Difference.same}).
    @ivar apply: Carries one out.
    @ivar say: Told what is under way.
    @ivar made: How many were made.
    @ivar _waiting: Wallets of which something was not put right: what comes after it lets the
        daemon sign for them, and could have a second charged twice (L2).
    """

    store: Store
    shown: frozenset[tuple[str, str, str]]
    lease: ILease
    apply: Callable[[Difference], Awaitable[None]]
    say: Callable[[str], None]
    made: int = field(default=0, init=False)
    _waiting: set[Address] = field(factory=set, init=False)

    async def carry_out(self, differences: Sequence[Difference]) -> None:
        """
        Make those that were shown, in the order in which they were found.

        @raise Transient: The lease is lost, or Redis is.
        """
        for one in differences:
            if one.repair is None:
                continue
            wallet = charged_wallet(one.repair, self.store)
            if wallet in self._waiting:
                if one.same in self.shown:
                    self.say(f"not made, for the wallet's repair before it was not: {one.subject}")
                continue
            if one.same in self.shown:
                if not await self.lease.renew():
                    raise Transient("the lease is lost")
                self.say(f"{one.kind}: {one.subject}: {one.would}")
                try:
                    await self.apply(one)
                    self.made += 1
                    continue
                except (Stale, BadInput, BrokenLaw) as why:
                    # What others need must not wait for this one.
                    self.say(f"left as it is: {why}")
            if wallet is not None:
                self._waiting.add(wallet)


@define(eq=False)
class Renewal:
    """
    Keeps a lease while something long is done, and only looks whether it is still there.

    @ivar _seconds: Between two renewals.
    """

    _lease: ILease
    _seconds: float
    _reactor: Any
    _loop: LoopingCall | None = field(default=None, init=False)
    _ended: Deferred[Any] | None = field(default=None, init=False)

    def start(self) -> None:
        """Renew it from now on."""
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._renew()))
        self._loop.clock = self._reactor
        self._ended = self._loop.start(self._seconds, now=False)

    async def stop(self) -> None:
        """Renew it no more; a renewal that is under way comes to its end."""
        assert self._loop is not None and self._ended is not None
        if self._loop.running:
            self._loop.stop()
        await self._ended

    async def _renew(self) -> None:
        try:
            await self._lease.renew()
        except Transient:
            # Whoever writes asks for it once more, and says so.
            return

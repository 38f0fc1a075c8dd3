"""
How old the oldest charge is that could be settled: the worker's half of K13 and K21.

Tests: C{tests.services.test_backlog}, C{tests.services.test_pause}.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from attrs import define, field

from sandbox_billing.interfaces import IBacklog, IDoors, IMeter, IWallClock
from sandbox_billing.ledger.backlog import Left, Standing, what_is_left
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.services.policy import Policy


PAGE = 500

TURN_SECONDS = 5.0


@define(kw_only=True, eq=False)
class BacklogKeeper:
    """
    Marks the moment until which everything is settled that could be; web processes read it.

    Nobody scans for a request, and if nobody marks any more, the mark grows old by itself.

    @ivar left_out: Wallets that the settler leaves to a human: they close only their own door.
    @ivar _held: When a wallet's oldest charges last waited for the wallet itself.  They were
        not ours to settle until then: an acknowledgement or a deposit hours later must not
        close the door to everybody else.
    """

    backlog: IBacklog
    doors: IDoors
    wall: IWallClock
    policy: Policy
    left_out: Callable[[], Collection[Address]]
    _held: dict[Address, UnixSeconds] = field(factory=dict, init=False)

    async def turn(self) -> None:
        """Mark; under a pause, have everything settled that rests for being worth little."""
        now = self.wall.now()
        if (await self.doors.door_state()).pause is not None:
            await self.backlog.offer_all(now)
        await self.backlog.mark(await self._settled_until(now))

    async def _settled_until(self, now: UnixSeconds) -> UnixSeconds:
        oldest, first = now, 0
        left_out = self.left_out()
        while (page := await self.backlog.claims(first, PAGE)).listed:
            for claim in page.found:
                charge = claim.record.charge
                if charge.created_at >= oldest:
                    # They are listed as they came: nothing older is behind it.
                    return oldest
                match claim.standing:
                    case Standing.DUE if charge.owner in left_out:
                        self._held[charge.owner] = now
                    case Standing.DUE:
                        held = self._held.get(charge.owner, UnixSeconds(0))
                        oldest = min(oldest, max(charge.created_at, held))
                    case Standing.PARKED | Standing.UNFUNDED | Standing.DEBT:
                        self._held[charge.owner] = now
            first += PAGE
        long_ago = now - self.policy.lock_time
        self._held = {wallet: at for wallet, at in self._held.items() if at > long_ago}
        return oldest


async def left_before(meter: IMeter, backlog: IBacklog, before: UnixSeconds) -> Left:
    """
    What must still be settled of the time before a moment, once a pause stands.

    Read the way a second takes through the house (L{sandbox_billing.ledger.backlog}).
    """
    intents = await meter.intents()
    sessions = await meter.sessions()
    claims = await backlog.claims(0, None)
    return what_is_left(
        before,
        intents=intents,
        sessions=[stored.value for stored in sessions],
        claims=claims.found,
        quarantined=await backlog.quarantined(),
        damaged=len(claims.damaged),
    )

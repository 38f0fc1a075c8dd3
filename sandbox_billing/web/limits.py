"""
How often somebody may ask: buckets in bounded memory, on a clock that is given.

Before a signature is proven only the peer is counted, never the wallet that it claims:
or anybody could use up another's share (V4).

Tests: C{tests.web.test_limits}.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from ipaddress import IPv6Network

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

from sandbox_billing.interfaces import TooMany
from sandbox_billing.ledger.identity import Address
from sandbox_billing.web._attrs_zope import provides


_SITE_BITS = 48
"""What one customer of a network gets."""


@frozen
class Rate:
    """
    What fits into a bucket and how fast it fills again.

    @ivar per_second: In the long run.
    @ivar burst: At once, after a rest; at least 1.
    """

    per_second: float
    burst: int

    @property
    def room_seconds(self) -> float:
        """How long an empty bucket takes to be full."""
        return self.burst / self.per_second


def full_at(rate: Rate, full: float, now: float) -> float:
    """
    Take one out of a bucket.

    A bucket is one moment: when it will be full again.  One that lies further ahead than
    an empty bucket's is of a clock that was set back, and counts as empty.

    @param full: The bucket before.
    @return: The bucket after; it may be overdrawn.
    """
    return min(max(full, now), now + rate.room_seconds) + 1 / rate.per_second


def overdrawn(rate: Rate, full: float, now: float) -> float:
    """
    @param full: A bucket after something was taken.
    @return: After how many seconds that would have been there; 0 when it was.
    """
    # A grain against the rounding of floats: the last of a burst is still there.
    over = full - now - rate.room_seconds
    return over if over > 1e-6 else 0.0


@define(eq=False)
class Buckets:
    """
    A bucket for each of the newest names, and one for all others together.

    @ivar most: How many names have their own.
    @ivar shared: Of names that come while all buckets are in use.
    """

    rate: Rate
    clock: IReactorTime = field(validator=provides(IReactorTime))
    most: int = 20_000
    shared: float = field(default=0.0, init=False)
    _full: OrderedDict[str, float] = field(factory=OrderedDict, init=False)

    def __len__(self) -> int:
        return len(self._full)

    def take(self, name: str) -> float:
        """@return: 0 when there was one, else the seconds until there is; then none is taken."""
        now = self.clock.seconds()
        if name in self._full or self._has_room(now):
            after = full_at(self.rate, self._full.get(name, now), now)
            waits = overdrawn(self.rate, after, now)
            if not waits:
                self._full[name] = after
            # Also when refused: its bucket is in use.
            if name in self._full:
                self._full.move_to_end(name)
            return waits
        after = full_at(self.rate, self.shared, now)
        waits = overdrawn(self.rate, after, now)
        if not waits:
            self.shared = after
        return waits

    def waits(self, name: str) -> float:
        """What L{take} would return; nothing is taken."""
        now = self.clock.seconds()
        if name in self._full or self._has_room(now):
            own = self._full.get(name, now)
        else:
            own = self.shared
        return overdrawn(self.rate, full_at(self.rate, own, now), now)

    def _has_room(self, now: float) -> bool:
        """Forget the name that was idle for longest, if its bucket says nothing any more."""
        if len(self._full) < self.most:
            return True
        oldest = next(iter(self._full))
        if self._full[oldest] > now:
            return False
        del self._full[oldest]
        return True


@frozen(kw_only=True)
class Rates:
    """
    @ivar peer: Requests from one address, or one /64 of IPv6.
    @ivar wallet: Proven requests of one wallet.
    @ivar forged: Signatures of one peer that prove nothing.
    @ivar guessed: Tokens from one peer that there are not.  Nobody finds one by trying, so
        that this bounds work alone: a program whose token is long gone goes on asking, and
        may share its address with others.
    @ivar login: Logins from one peer.
    @ivar site: Logins from one /48 of IPv6, which one machine may have to itself.  Nothing
        counts those of everybody: it would let one keep all others out.
    """

    peer: Rate = Rate(100.0, 500)
    wallet: Rate = Rate(50.0, 250)
    forged: Rate = Rate(0.5, 30)
    guessed: Rate = Rate(10.0, 300)
    login: Rate = Rate(0.5, 20)
    site: Rate = Rate(5.0, 100)

    @classmethod
    def of(cls, *, peer_per_second: int, wallet_per_second: int) -> Rates:
        """As set: PEER_PER_SECOND and WALLET_PER_SECOND, and five seconds of each at once."""
        return cls(
            peer=Rate(float(peer_per_second), 5 * peer_per_second),
            wallet=Rate(float(wallet_per_second), 5 * wallet_per_second),
        )


@frozen
class RequestLimits:
    """
    What the router asks on the way in, in this order.
    """

    _peers: Buckets
    _forgers: Buckets
    _wallets: Buckets
    _logins: Buckets
    _sites: Buckets
    _guessers: Buckets

    @classmethod
    def of(cls, rates: Rates, clock: IReactorTime) -> RequestLimits:
        """For one process."""
        return cls(
            Buckets(rates.peer, clock),
            Buckets(rates.forged, clock),
            Buckets(rates.wallet, clock),
            Buckets(rates.login, clock),
            Buckets(rates.site, clock),
            Buckets(rates.guessed, clock),
        )

    def arrived(self, peer: str) -> None:
        """
        Before anything of a request is read.

        @raise TooMany: This peer asks too often.
        """
        _or_wait(self._peers.take(peer), "too many requests from this address")

    def signs_in(self, peer: str) -> None:
        """
        Before anything of a login is read.

        @raise TooMany: Too many logins come from there, or from around there.
        """
        _or_wait(self._logins.take(peer), "too many logins from this address")
        _or_wait(self._sites.take(site_of(peer)), "too many logins from this network")

    def may_prove(self, peer: str) -> None:
        """
        Before a signature is looked at.

        @raise TooMany: Too many from there proved nothing.
        """
        _or_wait(self._forgers.waits(peer), "too many failed signatures from this address")

    def forged(self, peer: str) -> None:
        """A signature was not what it claims to be, or what it should be under was nothing."""
        self._forgers.take(peer)

    def may_guess(self, peer: str) -> None:
        """
        Before a token is looked for.

        @raise TooMany: Too many from there were none.
        """
        _or_wait(self._guessers.waits(peer), "too many unknown tokens from this address")

    def guessed(self, peer: str) -> None:
        """There is no such token."""
        self._guessers.take(peer)

    def admitted(self, wallet: Address) -> None:
        """
        The wallet is proven.

        @raise TooMany: It asks too often.
        """
        _or_wait(self._wallets.take(wallet.hex), "too many requests of this wallet")


def site_of(peer: str) -> str:
    """
    @param peer: As L{counted<sandbox_billing.web.peers.counted>} spells it.
    @return: The /48 of an IPv6 network; anything else is its own.
    """
    if ":" not in peer:
        return peer
    return str(IPv6Network(peer).supernet(new_prefix=_SITE_BITS))


def _or_wait(seconds: float, text: str) -> None:
    if seconds:
        raise TooMany(text, retry_after=max(1, math.ceil(seconds)))

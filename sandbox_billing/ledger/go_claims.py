"""
What vouchers of the Go implementation claim: for which time, and whether somebody did before.

The usage hash commits to a period (wire.md, §2) and the period is stored nowhere.  But where a
session runs, the Go system's charges lie side by side up to where it is charged, and a fee at a
known price is a number of seconds: so the hash can be tried, and proves the period.

Tests: L{tests.ledger.test_go_plan}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from attrs import define, evolve, field, frozen

from sandbox_billing.ledger.account import Settlement
from sandbox_billing.ledger.go_forms import GoSession, GoVoucher
from sandbox_billing.ledger.identity import (
    Address,
    ChargeId,
    Nonce,
    SandboxId,
    compute_charge_id,
    create_charge_id,
    imported_charge_id,
)
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.voucher import Charge, ChargeKind


_MOST_TRIES = 100_000
"""Hashes for one sandbox: seconds, and more than any queue needs."""

_MOST_LENGTHS = 50
_MOST_SETTLED_LENGTHS = 300
"""Of what the chain has settled, the newest first: what the Go system did just before its end."""

_MOST_STEPS = 100
_MOST_SECONDS = 366 * 86_400


@frozen
class Recovered:
    """
    A period that a usage hash was proven to be of.

    @ivar price: neuron per second; 0 for a create fee, whose start is its end.
    @ivar ours: Whether a charge of our own kind has this hash and this fee.
    """

    start: UnixSeconds
    end: UnixSeconds
    price: Neuron
    ours: bool = True


@frozen
class Recovery:
    """
    What hashes prove of a sandbox's vouchers.

    @ivar times: The period of each that is proven.
    @ivar until: The latest end of all of them; 0 where nothing is proven.
    @ivar settled: What the chain has settled of the same sandbox, near them.
    """

    times: Mapping[GoVoucher, Recovered]
    until: UnixSeconds
    settled: tuple[tuple[Recovered, Settlement], ...] = ()


@define(eq=False)
class Claims:
    """What entries before have claimed."""

    _uses: dict[tuple[Address, str], list[ChargeId]] = field(factory=dict, init=False)
    _nonces: dict[tuple[Address, Nonce], ChargeId] = field(factory=dict, init=False)
    _numbers: dict[tuple[SandboxId, str], int] = field(factory=dict, init=False)
    _times: dict[SandboxId, list[tuple[Recovered, ChargeId]]] = field(factory=dict, init=False)

    def first(self, voucher: GoVoucher) -> ChargeId | None:
        """Who claimed this use before."""
        found = self._uses.get((voucher.user, voucher.usage_hash))
        return None if found is None else found[0]

    def number(self, voucher: GoVoucher) -> int:
        """How many of its sandbox have this hash so far."""
        return self._numbers.get((voucher.sandbox, voucher.usage_hash), 0)

    def overlapping(self, voucher: GoVoucher, time: Recovered) -> ChargeId | None:
        """Who claimed a second of this time before (L2)."""
        for other, charge in self._times.get(voucher.sandbox, ()):
            if same_time(time, other):
                return charge
        return None

    def take(self, voucher: GoVoucher, charge: ChargeId, time: Recovered | None) -> None:
        """It is claimed by a charge."""
        if time is not None:
            self._times.setdefault(voucher.sandbox, []).append((time, charge))
        self._uses.setdefault((voucher.user, voucher.usage_hash), []).append(charge)
        name = (voucher.sandbox, voucher.usage_hash)
        self._numbers[name] = self._numbers.get(name, 0) + 1

    def sealed(self, user: Address, nonce: Nonce, charge: ChargeId) -> ChargeId | None:
        """Who has a nonce; from now on this charge, where nobody has."""
        other = self._nonces.setdefault((user, nonce), charge)
        return None if other == charge else other


def same_time(one: Recovered, other: Recovered) -> bool:
    """Whether two of a sandbox share a second, or are both its create fee."""
    if one.start < other.end and other.start < one.end:
        return True
    # A sandbox has one create fee.
    return one.start == one.end and other.start == other.end


def recover(
    session: GoSession,
    price: Neuron,
    vouchers: Sequence[GoVoucher],
    settlements: Sequence[Settlement] = (),
    *,
    interval: int,
    hashed: Callable[[Charge], str],
) -> Recovery:
    """
    The periods of a session's vouchers, from where it is charged backwards and from where it
    began onwards, each proven by its hash; and what was settled that may be for the same time:
    after a crash the Go system charges once more from where it began (failures.md, B3).

    @param price: neuron per second.
    @param vouchers: Of the session's sandbox.
    @param settlements: Of its owner, for whatever sandbox, the oldest first.
    @param interval: VOUCHER_INTERVAL_SEC: what the newer version calls the units of a voucher
        for several periods.  Such a one claims its time, and is no charge of our own kind.
    """
    wanted: dict[str, list[GoVoucher]] = {}
    for voucher in vouchers:
        if voucher.fee > 0:
            wanted.setdefault(voucher.usage_hash, []).append(voucher)
    search = _Search(
        session=session,
        price=price,
        interval=interval,
        hashed=hashed,
        wanted=wanted,
        events={event.usage_hash: event for event in reversed(settlements)},
        newest=newest_lengths([event.fee for event in reversed(settlements)], price),
    )
    search.run()
    return Recovery(
        {
            voucher: _told(voucher, time)
            for hash_, time in search.found.items()
            for voucher in wanted[hash_]
        },
        UnixSeconds(search.until),
        tuple((time, search.events[hash_]) for hash_, time in search.settled.items()),
    )


def _told(voucher: GoVoucher, time: Recovered) -> Recovered:
    """The time of its hash; ours where its fee is what that costs."""
    cost = time.price * (time.end - time.start) or voucher.fee
    return evolve(time, ours=time.ours and voucher.fee == cost)


@define(kw_only=True, eq=False)
class _Search:
    """
    One session's.

    @ivar wanted: Vouchers that wait, by hash.
    @ivar events: Settled ones, by hash.
    @ivar newest: Seconds that settled ones are for.
    """

    session: GoSession
    price: Neuron
    interval: int
    hashed: Callable[[Charge], str]
    wanted: Mapping[str, Sequence[GoVoucher]]
    events: Mapping[str, Settlement]
    newest: Sequence[int]
    found: dict[str, Recovered] = field(factory=dict, init=False)
    settled: dict[str, Recovered] = field(factory=dict, init=False)
    until: int = field(default=0, init=False)
    _tries: int = field(default=0, init=False)
    # Beside what waits, and beside what is settled: these are looked at after those.
    _near: list[int] = field(factory=list, init=False)
    _far: list[int] = field(factory=list, init=False)

    def run(self) -> None:
        """Until nothing new is found."""
        lengths = _lengths((one.fee for each in self.wanted.values() for one in each), self.price)
        self._near.append(self.session.charged_until)
        if self.session.started_at is not None:
            self._near.append(self.session.started_at)
        tried: set[int] = set()
        while (self._near or self._far) and self._tries < _MOST_TRIES:
            moment = (self._near or self._far).pop()
            if moment in tried:
                continue
            tried.add(moment)
            self._span(moment, moment)
            for length in lengths:
                self._span(moment - length, moment)
                self._span(moment, moment + length)
            for length in self.newest:
                self._span(moment, moment + length)
                if len(self.found) < len(self.wanted):
                    self._span(moment - length, moment)

    def _span(self, start: int, end: int) -> None:
        """Whether one of them is for this time."""
        for units in {end - start, self.interval}:
            self._tries += 1
            tried = _hash(self.session, start, end, units, self.hashed)
            paid_for = Neuron(0) if start == end else self.price
            ours = units == end - start
            time = Recovered(UnixSeconds(start), UnixSeconds(end), paid_for, ours)
            if tried in self.wanted:
                self._near += [start, end]
                self.until = max(self.until, end)
                self.found.setdefault(tried, time)
            elif tried in self.events:
                self._far += [start, end]
                self.until = max(self.until, end)
                self.settled[tried] = time


def charged_beyond(
    session: GoSession,
    price: Neuron,
    claims: Mapping[str, Neuron],
    *,
    interval: int,
    hashed: Callable[[Charge], str],
) -> UnixSeconds:
    """
    Until when a session is charged, also where the Go system died between a voucher and its
    watermark (failures.md, B3): the seconds of that voucher are not charged again.

    @param claims: Usage hash to fee, of what waits and of what the chain has settled, the
        newest first.
    """
    until: int = session.charged_until
    lengths = newest_lengths(claims.values(), price)
    for _ in range(_MOST_STEPS):
        ends = [
            until + length
            for length in lengths
            for units in (length, interval)
            if _hash(session, until, until + length, units, hashed) in claims
        ]
        if not ends:
            break
        until = max(ends)
    return UnixSeconds(until)


def _lengths(fees: Iterable[Neuron], price: Neuron) -> list[int]:
    """How many seconds fees are for, the most usual first, as many as are worth trying."""
    if price <= 0:
        return []
    counted = Counter(fee // price for fee in fees if fee > 0 and fee % price == 0)
    return [length for length, _ in counted.most_common(_MOST_LENGTHS) if length < _MOST_SECONDS]


def newest_lengths(fees: Iterable[Neuron], price: Neuron) -> list[int]:
    """
    How many seconds fees are for, each once.

    @param fees: The newest first: what the usual ones hide may be the one that counts.
    """
    if price <= 0:
        return []
    found = dict.fromkeys(fee // price for fee in fees if fee > 0 and fee % price == 0)
    return [length for length in found if length < _MOST_SECONDS][:_MOST_SETTLED_LENGTHS]


def _hash(
    session: GoSession, start: int, end: int, units: int, hashed: Callable[[Charge], str]
) -> str:
    if start < 0:
        return ""
    charge = Charge(
        id=compute_charge_id(session.sandbox, start),
        sandbox=session.sandbox,
        owner=session.owner,
        provider=session.provider,
        kind=ChargeKind.COMPUTE,
        period_start=UnixSeconds(start),
        period_end=UnixSeconds(end),
        units=units,
        amount=Neuron(0),
        rate=0,
        created_at=UnixSeconds(0),
    )
    return hashed(charge)


def charge_of(
    voucher: GoVoucher, recovered: Recovered | None, number: int, now: UnixSeconds
) -> Charge:
    """
    A voucher as a charge of ours: an ordinary one where its time is known.

    @param recovered: Its period; None where nobody knows it, or another one claims it.
    @param number: How many with its hash there were before.
    """
    kind, period, units, rate = ChargeKind.IMPORTED, (now, now), 0, 0
    id_ = imported_charge_id(voucher.sandbox, voucher.usage_hash, number)
    hashed: str | None = voucher.usage_hash
    if recovered is not None and recovered.ours:
        period, hashed = (recovered.start, recovered.end), None
        if recovered.start == recovered.end:
            kind, id_ = ChargeKind.CREATE, create_charge_id(voucher.sandbox)
        else:
            kind, units = ChargeKind.COMPUTE, recovered.end - recovered.start
            id_ = compute_charge_id(voucher.sandbox, recovered.start)
            rate = 60 * recovered.price
    return Charge(
        id=id_,
        sandbox=voucher.sandbox,
        owner=voucher.user,
        provider=voucher.provider,
        kind=kind,
        period_start=period[0],
        period_end=period[1],
        units=units,
        amount=voucher.fee,
        rate=rate,
        created_at=now,
        usage_hash=hashed,
    )

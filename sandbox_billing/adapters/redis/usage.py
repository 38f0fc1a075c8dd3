"""
A wallet's charges, walked from the oldest to the newest, each with what became of it.

The index of a wallet is by age, and names say for which time a charge is: so only names are
read of what lies outside of a span, and no more than a slice is held at once.  What was split
off a charge is asked for by the name that the charge's own seal gives it, after the charge was
read: whatever is cut meanwhile is told before its cut or after it, and never between.

Tests: C{tests.ports.journal_usage}.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable, Sequence

from attrs import define, field, frozen

from sandbox_billing.adapters.redis.commit import Read
from sandbox_billing.adapters.redis.letters import readable
from sandbox_billing.adapters.redis.store import Store, text, texts
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import (
    Address,
    ChargeId,
    SandboxId,
    compute_charge_id,
    rest_charge_id,
)
from sandbox_billing.ledger.merging import MERGED_PARTS, MERGED_SECONDS
from sandbox_billing.ledger.money import Neuron, neuron
from sandbox_billing.ledger.statement import Entry
from sandbox_billing.ledger.voucher import ChargeRecord, Merged, Partial


NAMES = 1_000
"""Read in one step: a server answers nobody else meanwhile."""

CHARGES = 100
"""Read and told in one step: some milliseconds of ours."""

MOST_NAMES = 500_000
"""Looked at for one statement: twenty sandboxes, charged each minute for half a month."""

LATE_SECONDS = 30 * 86_400
"""
How long after its end time may be charged: what ran while a daemon was away is, as soon as it is
back.  For what was made so late after a span only names are read, and what is not of the span
does not count.
"""

SET_BACK_SECONDS = 3_600
"""What is newer may be this much older: a clock that was set back."""

EARLIER_SECONDS = MERGED_SECONDS + SET_BACK_SECONDS
"""
A charge is about as old as its end, but for a clock that was set back; and of a merged one the
parts before the span are needed, too.
"""

_KEPT_WHOLES = 200


@frozen(kw_only=True)
class _Whole:
    """
    A merged charge.

    @ivar records: What collects it.
    @ivar before: neuron that are for earlier parts, by part.
    """

    records: tuple[ChargeRecord, ...]
    before: dict[ChargeId, Neuron]


@define(kw_only=True)
class Walk:
    """
    @ivar only: One sandbox; None for all.
    @ivar rests: What was split off charges whose seal was void since, which do not know of it
        any more.  Nonces of one wallet are often lost together, so all are found at once.
    """

    store: Store
    wallet: Address
    since: int
    until: int
    only: SandboxId | None = None
    rests: dict[str, set[ChargeId]] = field(factory=dict, init=False)
    _rests_since: int | None = field(default=None, init=False)
    _wholes: OrderedDict[ChargeId, _Whole] = field(factory=OrderedDict, init=False)

    async def entries(self) -> AsyncGenerator[tuple[Entry, ...], None]:
        """
        @raise BadInput: There are more than are looked at for one statement.
        """
        count = 0
        for low, high in self._stretches():
            async for names in self._names(low, high):
                wanted = [name for name in names if self._is_wanted(name)]
                count += len(names) if low <= self.until else len(wanted)
                if count > MOST_NAMES:
                    raise BadInput("too many charges for one statement: ask for a shorter span")
                for start in range(0, len(wanted), CHARGES):
                    yield await self._told(wanted[start : start + CHARGES])

    def _stretches(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Of what was made in the time of the span, and of what was made late."""
        until = self.until + SET_BACK_SECONDS
        return (
            (max(0, self.since - EARLIER_SECONDS), self.until),
            (self.until + 1, until + LATE_SECONDS),
        )

    async def _names(self, low: int, high: int | None = None) -> AsyncGenerator[list[str], None]:
        """
        Those made from one moment to another, or ever since, in slices; what is written
        meanwhile moves none of the others.
        """
        index, most = self.store.keys.usage(self.wallet), "+inf" if high is None else high
        score, seen = low, set[str]()
        while True:
            limit = ("LIMIT", 0, NAMES + len(seen))
            (reply,) = await self.store.read(Read("ZRANGEBYSCORE", index, (score, most, *limit)))
            fresh = [name for name in texts(reply) if name not in seen]
            if not fresh:
                return
            yield fresh
            last = await self._made_at(index, fresh, score)
            (reply,) = await self.store.read(Read("ZRANGEBYSCORE", index, (last, last)))
            here = set(texts(reply)) & (seen | set(fresh))
            score, seen = last, here

    async def _made_at(self, index: str, names: Sequence[str], before: int) -> int:
        """Of the last one that is still there."""
        for name in reversed(names):
            (reply,) = await self.store.read(Read("ZSCORE", index, (name,)))
            if reply is not None:
                return int(float(text(reply)))
        return before

    def _is_wanted(self, name: str) -> bool:
        """Whether it is a charge as it was made, and may be of the span."""
        sandbox, _, rest = name.partition(":")
        if self.only is not None and sandbox != self.only:
            return False
        if rest.isdigit():
            return int(rest) < self.until
        return rest == "create"

    async def _told(self, names: Sequence[str]) -> tuple[Entry, ...]:
        records = await self._records(map(ChargeId, names))
        found = [r for r in records if not isinstance(r.state, Merged)]
        families = await self._families(found)
        entries = {
            record.charge.id: Entry(charge=record.charge, records=family)
            for record, family in zip(found, families, strict=True)
        }
        await self._load_wholes(records)
        for record in records:
            if isinstance(record.state, Merged):
                entries[record.charge.id] = self._part(record, record.state.into)
        return tuple(entries[record.charge.id] for record in records)

    def _part(self, record: ChargeRecord, into: ChargeId) -> Entry:
        whole = self._wholes.get(into)
        before = None if whole is None else whole.before.get(record.charge.id)
        if whole is None or before is None:
            # It cannot be read: what nobody can say is not settled.
            return Entry(charge=record.charge, records=())
        return Entry(charge=record.charge, records=whole.records, before=before)

    async def _records(self, names: Iterable[ChargeId]) -> list[ChargeRecord]:
        """In the order of their names; of those that were void, the rests are known then."""
        found = await self._read(names)
        voided = [record.charge.id for record in found if record.voided]
        if not voided:
            return found
        await self._find_rests()
        # Once more: what was cut since they were read is among the rests, too.
        again = {record.charge.id: record for record in await self._read(voided)}
        return [again.get(record.charge.id, record) for record in found]

    async def _read(self, names: Iterable[ChargeId]) -> list[ChargeRecord]:
        named = [(name, self.store.keys.charge(name)) for name in names]
        return [one.value for one in await readable(self.store, "charge", ChargeRecord, named)]

    async def _find_rests(self) -> None:
        """Among all that is not older than the span; after the first time, what is new."""
        low = self.since - EARLIER_SECONDS if self._rests_since is None else self._rests_since
        began = self.store.wall.now()
        async for names in self._names(max(0, low)):
            for name in names:
                whole, rest, _ = name.rpartition(":rest:")
                if rest:
                    self.rests.setdefault(whole, set()).add(ChargeId(name))
        self._rests_since = began - SET_BACK_SECONDS

    async def _families(self, roots: Sequence[ChargeRecord]) -> list[tuple[ChargeRecord, ...]]:
        """
        Each with the debts that it left and what was split off, and what these left.
        """
        families: list[dict[ChargeId, ChargeRecord]] = [{r.charge.id: r} for r in roots]
        going = list(enumerate(roots))
        while going:
            asked: dict[ChargeId, int] = {}
            for place, record in going:
                for name in self._left_by(record):
                    if name not in families[place]:
                        asked[name] = place
            found = await self._records(asked)
            going = [(asked[record.charge.id], record) for record in found]
            for place, record in going:
                families[place][record.charge.id] = record
        return [tuple(family.values()) for family in families]

    def _left_by(self, record: ChargeRecord) -> list[ChargeId]:
        left = sorted(self.rests.get(record.charge.id, ())) if record.voided else []
        if record.seal is not None:
            left.append(rest_charge_id(record.charge.id, record.seal.nonce))
        if isinstance(record.state, Partial):
            left.append(record.state.debt)
        return left

    async def _load_wholes(self, records: Sequence[ChargeRecord]) -> None:
        """The merged charges that these are parts of, unless they are at hand."""
        parts = {r.charge.id: r for r in records}
        wanted = {r.state.into: None for r in records if isinstance(r.state, Merged)}
        for into in wanted:
            if into in self._wholes:
                self._wholes.move_to_end(into)
        missing = [into for into in wanted if into not in self._wholes]
        wholes = await self._records(missing)
        families = await self._families(wholes)
        for whole, family in zip(wholes, families, strict=True):
            before = await self._before(whole, parts)
            self._wholes[whole.charge.id] = _Whole(records=family, before=before)
        while len(self._wholes) > max(_KEPT_WHOLES, len(wanted)):
            self._wholes.popitem(last=False)

    async def _before(
        self, whole: ChargeRecord, known: dict[ChargeId, ChargeRecord]
    ) -> dict[ChargeId, Neuron]:
        """
        What of a whole comes before each part.  They follow one another without a gap, and the
        name of each tells its beginning; those that are not at hand are guessed to be as long
        as the one before.
        """
        at, length = int(whole.charge.period_start), 0
        found: dict[ChargeId, Neuron] = {}
        before = 0
        while at < whole.charge.period_end:
            name = compute_charge_id(whole.charge.sandbox, at)
            if name not in known:
                left = whole.charge.period_end - at
                many = min(MERGED_PARTS, -(-left // length)) if length else 1
                guessed = [
                    compute_charge_id(whole.charge.sandbox, at + n * length) for n in range(many)
                ]
                known.update({r.charge.id: r for r in await self._records(guessed)})
                if name not in known:
                    break
            charge = known[name].charge
            found[name] = neuron(before)
            before += charge.amount
            at, length = charge.period_end, charge.units
        return found

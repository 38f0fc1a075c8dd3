"""
Everything that is stored, read for a command: with a SCAN, which no daemon may make.

What indices say is not believed: what is stored is found by its own name.

Tests: L{tests.cli.test_reconcile}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from attrs import define, field, frozen

from sandbox_billing.adapters.redis.commit import Read, Reply
from sandbox_billing.adapters.redis.draft import REVISION
from sandbox_billing.adapters.redis.keys import Keys
from sandbox_billing.adapters.redis.keyspace import RedisKeyspace
from sandbox_billing.adapters.redis.store import (
    Store as Shelves,
)
from sandbox_billing.adapters.redis.store import (
    mapping,
    sandbox_record,
    text,
)
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import Stored
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.account import Mirror
from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.comparison import Baseline, Remembered, Store
from sandbox_billing.ledger.dead_letter import DeadLetter
from sandbox_billing.ledger.hold import Intent
from sandbox_billing.ledger.identity import Address, Nonce, SandboxId
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.shelves import Entry, Index, Shelf
from sandbox_billing.ledger.totals import Totals
from sandbox_billing.ledger.voucher import ChargeRecord


T = TypeVar("T")

_KINDS = (
    "account",
    "batch",
    "blocked",
    "charge",
    "charges",
    "compute",
    "events",
    "exposure",
    "first",
    "intent",
    "nonce",
    "sandbox",
    "usage",
)
"""The first words of names of which there are many."""


@frozen(kw_only=True)
class Found:
    """
    Everything, with its exact stored forms.

    @ivar raw: By key: what a repair compares.
    """

    store: Store
    mirror: Stored[Mirror] | None
    raw: Mapping[str, bytes]


@define(eq=False)
class Inventory:
    """
    @ivar _raw: Stored forms by key, so far.
    @ivar _damaged: What cannot be read.
    """

    _shelves: Shelves
    _keyspace: RedisKeyspace
    _raw: dict[str, bytes] = field(factory=dict, init=False)
    _damaged: list[str] = field(factory=list, init=False)

    @property
    def _keys(self) -> Keys:
        return self._shelves.keys

    async def take(
        self, baselines: Mapping[Address, Baseline], unreadable: Iterable[str] = ()
    ) -> Found:
        """
        Read everything; not at one moment, so that what is under way may look odd.

        What cannot be read is named, and what else there is stands: one bad value must not keep
        a whole store from being put right.

        @param baselines: Of earlier rebuilds.
        @param unreadable: What of those could not be read.
        """
        self._raw.clear()
        self._damaged[:] = unreadable
        keys = self._keys
        # First: what is read later may know more than this block, never less.
        (head,) = await self._shelves.read(Read("GET", keys.mirror()))
        mirror = self._decoded("mirror", lambda form: Stored(decode(Mirror, form), form), head)
        names = _by_kind(await self._keyspace.names("billing:*"))
        shelf = await self._shelf(names)
        wallets = {record.charge.owner for record in shelf.charges.values()}
        for kind in ("account", "charges", "events", "exposure", "first", "usage", "blocked"):
            wallets |= self._wallets(kind, names[kind]).keys()
        found = Store(
            shelf=shelf,
            records=await self._records(names["sandbox"]),
            nonces=await self._nonces(names["nonce"]),
            exposure=await self._exposure(sorted(wallets)),
            listed=await self._listed(sorted(wallets)),
            totals=await self._totals(),
            blocked=await self._blocked(names["blocked"]),
            letters=await self._letters(),
            history=await self._history(sorted(wallets)),
            seen=frozenset(SandboxId(s) for s in await self._members("HKEYS", keys.seen())),
            known=frozenset(self._wallets("account", names["account"])),
            baselines={wallet: known.upto for wallet, known in baselines.items()},
            accepted={wallet: known.before for wallet, known in baselines.items()},
            mirrored_until=None if mirror is None else mirror.value.block.number,
            unreadable=tuple(sorted(set(self._damaged))),
        )
        return Found(store=found, mirror=mirror, raw=dict(self._raw))

    # -- values --------------------------------------------------------------------------

    def _wallets(self, kind: str, names: Iterable[str]) -> dict[Address, str]:
        """
        The wallets that keys of a kind are of, with those names.

        @param names: What follows the kind; a wallet, or a wallet and a provider.
        """
        found = {}
        for name in names:
            try:
                found[Address(name.partition(":")[0])] = name
            except BadInput:
                self._damaged.append(f"key billing:{kind}:{name}")
        return found

    def _texts(self, name: str, reply: Reply) -> list[str]:
        """Members, without those that are no text."""
        found = []
        for item in reply if isinstance(reply, list) else []:
            try:
                found.append(text(item))
            except UnicodeDecodeError:
                self._damaged.append(f"{name} {item!r}")
        return found

    def _mapping(self, name: str, reply: Reply) -> dict[str, str]:
        """A hash; empty where something in it is no text."""
        try:
            return mapping(reply)
        except UnicodeDecodeError:
            self._damaged.append(name)
            return {}

    async def _shelf(self, names: Mapping[str, Sequence[str]]) -> Shelf:
        charges = await self._values(ChargeRecord, "charge", names["charge"])
        batches = await self._values(Batch, "batch", names["batch"])
        sessions = await self._values(Session, "compute", names["compute"])
        intents = await self._values(Intent, "intent", names["intent"])
        ours = self._keys.provider
        return Shelf(
            charges={r.charge.id: r for r in charges if r.charge.provider == ours},
            batches={batch.id: batch for batch in batches},
            sessions={s.sandbox: s for s in sessions if s.provider == ours},
            intents={i.reference: i for i in intents if i.provider == ours},
        )

    async def _values(self, cls: type[T], kind: str, names: Sequence[str]) -> list[T]:
        keys = [f"billing:{kind}:{name}" for name in names]
        found = []
        replies = await self._shelves.read_many([Read("GET", key) for key in keys])
        for name, key, reply in zip(names, keys, replies, strict=True):
            value = self._decoded(f"{kind} {name}", lambda form: decode(cls, form), reply)
            if value is not None and isinstance(reply, bytes):
                found.append(value)
                self._raw[key] = reply
        return found

    def _decoded(self, name: str, read: Callable[[bytes], T], reply: Reply) -> T | None:
        if not isinstance(reply, bytes):
            return None
        try:
            return read(reply)
        except (BadInput, UnicodeDecodeError):
            self._damaged.append(name)
            return None

    async def _records(self, names: Sequence[str]) -> dict[SandboxId, Remembered]:
        keys = [self._keys.sandbox(SandboxId(name)) for name in names]
        found = {}
        replies = await self._shelves.read_many([Read("HGETALL", key) for key in keys])
        for name, reply in zip(names, replies, strict=True):
            sandbox = SandboxId(name)
            try:
                record = sandbox_record(sandbox, mapping(reply))
            except (BadInput, UnicodeDecodeError):
                self._damaged.append(f"sandbox {name}")
                continue
            if record is not None:
                found[sandbox] = Remembered(
                    owner=record.owner,
                    reference=record.reference,
                    charged_until=record.charged_until,
                )
        return found

    async def _nonces(self, names: Sequence[str]) -> dict[Address, Nonce]:
        # <wallet>:<provider>
        ours = [name for name in names if name.endswith(f":{self._keys.provider}")]
        wallets = list(self._wallets("nonce", ours))
        keys = [self._keys.nonce(wallet) for wallet in wallets]
        found = {}
        replies = await self._shelves.read_many([Read("GET", key) for key in keys])
        for wallet, key, reply in zip(wallets, keys, replies, strict=True):
            if isinstance(reply, bytes):
                self._raw[key] = reply
                nonce = self._decoded(f"nonce {wallet}", _nonce, reply)
                if nonce is not None:
                    found[wallet] = nonce
        return found

    async def _exposure(self, wallets: Sequence[Address]) -> dict[Address, dict[str, str]]:
        keys = [self._keys.exposure(wallet) for wallet in wallets]
        replies = await self._shelves.read_many([Read("HGETALL", key) for key in keys])
        fields = {
            w: self._mapping(f"exposure {w}", r) for w, r in zip(wallets, replies, strict=True)
        }
        for each in fields.values():
            each.pop(REVISION, None)
        return {w: f for w, f in fields.items() if f}

    async def _totals(self) -> Totals:
        (reply,) = await self._shelves.read(Read("GET", self._keys.totals()))
        if isinstance(reply, bytes):
            self._raw[self._keys.totals()] = reply
        found = self._decoded("totals", lambda form: decode(Totals, form), reply)
        return Totals() if found is None else found

    async def _blocked(self, names: Sequence[str]) -> dict[Address, str]:
        wallets = list(self._wallets("blocked", names))
        keys = [self._keys.blocked(wallet) for wallet in wallets]
        replies = await self._shelves.read_many([Read("GET", key) for key in keys])
        found = {}
        for wallet, reply in zip(wallets, replies, strict=True):
            why = self._decoded(f"blocked {wallet}", bytes.decode, reply)
            if why is not None:
                found[wallet] = why
        return found

    async def _letters(self) -> tuple[DeadLetter, ...]:
        (reply,) = await self._shelves.read(Read("HGETALL", self._keys.letters()))
        found = []
        for name, form in self._mapping("letters", reply).items():
            letter = self._decoded(
                f"letter {name}", lambda raw: decode(DeadLetter, raw), form.encode()
            )
            if letter is not None:
                found.append(letter)
        return tuple(found)

    async def _history(self, wallets: Sequence[Address]) -> frozenset[tuple[int, int]]:
        reads = [Read("ZRANGE", self._keys.events(wallet), (0, -1)) for wallet in wallets]
        found = set()
        replies = await self._shelves.read_many(reads)
        for wallet, reply in zip(wallets, replies, strict=True):
            for member in self._texts(f"event of {wallet}:", reply):
                try:
                    block, index, _form = member.split(":", 2)
                    found.add((int(block), int(index)))
                except ValueError:
                    self._damaged.append(f"event of {wallet}: {member}")
        return frozenset(found)

    # -- indices -------------------------------------------------------------------------

    async def _members(self, command: str, key: str) -> list[str]:
        whole = (0, -1) if command in ("ZRANGE", "LRANGE") else ()
        (reply,) = await self._shelves.read(Read(command, key, whole))
        return self._texts(f"member of {key}:", reply)

    async def _listed(self, wallets: Sequence[Address]) -> frozenset[Entry]:
        keys = self._keys
        plain = (
            (Index.PENDING, "LRANGE", keys.pending()),
            (Index.READY, "ZRANGE", keys.ready()),
            (Index.DEAD, "ZRANGE", keys.dead()),
            (Index.WALLETS, "SMEMBERS", keys.wallets()),
            (Index.BATCHES, "ZRANGE", keys.batches()),
            (Index.SESSIONS, "SMEMBERS", keys.sessions()),
            (Index.DUE, "ZRANGE", keys.due()),
            (Index.INTENTS, "ZRANGE", keys.intents()),
            (Index.ACCOUNTS, "SMEMBERS", keys.accounts()),
            (Index.BLOCKED, "SMEMBERS", keys.blocked_wallets()),
        )
        found: set[Entry] = set()
        for index, command, key in plain:
            found.update(Entry(index, "", member) for member in await self._members(command, key))
        (flying,) = await self._shelves.read(Read("HGETALL", keys.in_flight()))
        busy = self._mapping("in flight", flying)
        found.update(Entry(Index.IN_FLIGHT, wallet, batch) for wallet, batch in busy.items())
        for index, name in (
            (Index.USAGE, keys.usage),
            (Index.CHARGES, keys.charges),
            (Index.FIRST, keys.first),
        ):
            reads = [Read("ZRANGE", name(wallet), (0, -1)) for wallet in wallets]
            replies = await self._shelves.read_many(reads)
            for wallet, reply in zip(wallets, replies, strict=True):
                members = self._texts(f"member of {name(wallet)}:", reply)
                found.update(Entry(index, wallet.hex, member) for member in members)
        return frozenset(found)


def _nonce(form: bytes) -> Nonce:
    """@raise BadInput: It is no number."""
    if not form.isdigit():
        raise BadInput(f"a nonce is digits, not {form!r}")
    return Nonce(int(form))


def _by_kind(names: Iterable[str]) -> dict[str, list[str]]:
    """What follows the kind, by kind."""
    found: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    for name in names:
        _billing, kind, rest = (*name.split(":", 2), "")[:3]
        if kind in found and rest:
            found[kind].append(rest)
    return found

"""
What the Go implementation left in Redis, read for a command: with a SCAN, which no daemon makes.

Everything that cannot be understood is named, all of it at once, and then nothing is planned.

Tests: L{tests.adapters.test_go_import}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Set

from attrs import define, evolve, field, frozen

from sandbox_billing.adapters.redis.commit import Read, Reply
from sandbox_billing.adapters.redis.store import (
    Store,
    mapping,
    moment,
    pieces,
    raw,
    sandbox_record,
    text,
)
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.go_facts import GoEntry, GoFacts, Source
from sandbox_billing.ledger.go_forms import (
    Ghost,
    GoSession,
    read_nonce,
    read_session,
    read_voucher,
)
from sandbox_billing.ledger.identity import Address, Nonce, SandboxId, sandbox_id
from sandbox_billing.ledger.money import UnixSeconds


Names = Callable[[str, str], Awaitable[tuple[str, ...]]]
"""All keys of a pattern and a type."""

SESSIONS, STOPS = "billing:compute:", "stop:sandbox:"


@frozen(kw_only=True)
class GoFound:
    """
    One look.

    @ivar hashes: The fields of every session and ghost that is to be carried over, by sandbox.
    @ivar orders: What stands under a key for a stop, by sandbox.
    @ivar leftovers: Keys that are put away as they are, with what is in them.
    @ivar others: Keys of another provider, which are left alone.
    @ivar problems: What was not understood.
    @ivar pending: Whether the Go system has a transaction under way.
    @ivar requests: How many nonces of signed requests it still knows; they expire, which is no
        change.
    """

    facts: GoFacts
    hashes: Mapping[str, Mapping[str, str]]
    orders: Mapping[SandboxId, bytes]
    leftovers: Mapping[str, tuple[str, tuple[bytes, ...]]]
    others: tuple[str, ...]
    problems: tuple[str, ...]
    pending: bool
    requests: int = field(eq=False)

    @property
    def nothing(self) -> bool:
        """Whether nothing of it is to be carried over."""
        waiting = any(not entry.done for entry in self.facts.entries)
        facts = self.facts
        return not (facts.sessions or facts.ghosts or waiting or facts.stops or self.leftovers)


@define(kw_only=True, eq=False)
class GoStore:
    """
    @ivar names: A SCAN.
    """

    store: Store
    names: Names
    _problems: list[str] = field(factory=list, init=False)
    _others: list[str] = field(factory=list, init=False)

    async def look(self) -> GoFound:
        """
        Read everything; not at one moment, so look twice.

        @raise Transient: No answer.
        """
        self._problems.clear()
        self._others.clear()
        keys = self.store.keys
        hashes, sessions, ghosts = await self._sessions()
        finished = await self._finished()
        entries = await self._entries()
        orders, stops = await self._stops({one.sandbox for one in (*sessions, *finished)})
        leftovers = await self._leftovers()
        known = await self._records([one.sandbox for one in sessions])
        pending, requests = await self.store.read(
            Read("EXISTS", f"settler:pending-tx:{keys.spelled}"),
            Read("EXISTS", f"settler:pending-tx:{keys.provider}"),
        )
        facts = GoFacts(
            sessions=sessions,
            finished=finished,
            ghosts=ghosts,
            entries=entries,
            stops=stops,
            charged_until=known,
        )
        return GoFound(
            facts=evolve(facts, nonces=await self._nonces()),
            hashes=hashes,
            orders=orders,
            leftovers=leftovers,
            others=tuple(sorted(self._others)),
            problems=tuple(self._problems),
            pending=b"1" in (pending, requests),
            requests=len(await self.names("nonce:*", "string")),
        )

    # -- sessions --------------------------------------------------------------------------

    async def _sessions(
        self,
    ) -> tuple[dict[str, Mapping[str, str]], tuple[GoSession, ...], tuple[Ghost, ...]]:
        names = await self.names(f"{SESSIONS}*", "hash")
        replies = await self.store.read_many([Read("HGETALL", name) for name in names])
        hashes: dict[str, Mapping[str, str]] = {}
        sessions, ghosts = [], []
        for name, reply in zip(names, replies, strict=True):
            sandbox = name.removeprefix(SESSIONS)
            found = self._session(name, sandbox, reply)
            if found is None:
                continue
            fields, read = found
            hashes[sandbox] = fields
            if isinstance(read, Ghost):
                ghosts.append(read)
            else:
                sessions.append(read)
        return hashes, tuple(sessions), tuple(ghosts)

    def _session(
        self, name: str, sandbox: str, reply: Reply
    ) -> tuple[Mapping[str, str], GoSession | Ghost] | None:
        try:
            fields = mapping(reply)
            other = fields.get("provider")
            if other and Address(other) != self.store.keys.provider:
                self._others.append(name)
                return None
            return fields, read_session(sandbox, fields)
        except (BadInput, UnicodeDecodeError) as why:
            self._problems.append(f"{name}: {why}")
            return None

    async def _finished(self) -> tuple[GoSession, ...]:
        """Those that an earlier run has carried over: their neighbours may still wait."""
        prefix = self.store.keys.imported(SESSIONS)
        names = await self.names(f"{prefix}*", "list")
        replies = await self.store.read_many([Read("LRANGE", name, (0, -1)) for name in names])
        found = []
        for name, reply in zip(names, replies, strict=True):
            read = read_session(name.removeprefix(prefix), mapping(reply))
            if isinstance(read, GoSession):
                found.append(read)
        return tuple(found)

    async def _records(self, sandboxes: list[SandboxId]) -> dict[SandboxId, UnixSeconds]:
        reads = [Read("HGETALL", self.store.keys.sandbox(sandbox)) for sandbox in sandboxes]
        found = {}
        for sandbox, reply in zip(sandboxes, await self.store.read_many(reads), strict=True):
            record = sandbox_record(sandbox, mapping(reply))
            if record is not None:
                found[sandbox] = record.charged_until
        return found

    # -- vouchers --------------------------------------------------------------------------

    async def _entries(self) -> tuple[GoEntry, ...]:
        keys = self.store.keys
        held = f"voucher:held:*:{keys.provider}"
        waiting = set(await self.names(held, "list"))
        prefix = keys.imported("")
        done = await self.names(keys.imported(held), "list")
        waiting |= {name.removeprefix(prefix) for name in done}
        lists = [(f"voucher:queue:{keys.spelled}", Source.QUEUE)]
        lists += [(name, Source.HELD) for name in sorted(waiting)]
        lists.append((f"voucher:dlq:{keys.spelled}", Source.DEAD))
        found: list[GoEntry] = []
        for key, source in lists:
            found.extend(await self._list(key, source))
        return tuple(found)

    async def _list(self, key: str, source: Source) -> list[GoEntry]:
        before, after = await self.store.read(
            Read("LRANGE", self.store.keys.imported(key), (0, -1)),
            Read("LRANGE", key, (0, -1)),
        )
        done, waiting = pieces(before), pieces(after)
        found = []
        for place, form in enumerate([*done, *waiting]):
            try:
                voucher = read_voucher(form)
                if voucher.provider != self.store.keys.provider:
                    raise BadInput(f"it is of provider {voucher.provider}")
            except BadInput as why:
                self._problems.append(f"{key} {place - len(done)}: {why}")
                continue
            found.append(
                GoEntry(
                    key=key,
                    source=source,
                    place=place,
                    raw=form,
                    voucher=voucher,
                    done=place < len(done),
                )
            )
        return found

    async def _nonces(self) -> dict[Address, Nonce]:
        """The last ones given, of everybody: our own key is the same one."""
        provider = self.store.keys.provider
        names = await self.names(f"billing:nonce:*:{provider}", "string")
        replies = await self.store.read_many([Read("GET", name) for name in names])
        found = {}
        for name, reply in zip(names, replies, strict=True):
            try:
                found[Address(name.split(":")[2])] = read_nonce(text(reply))
            except (BadInput, UnicodeDecodeError) as why:
                self._problems.append(f"{name}: {why}")
        return found

    # -- the rest --------------------------------------------------------------------------

    async def _stops(
        self, ours: Set[SandboxId]
    ) -> tuple[dict[SandboxId, bytes], dict[SandboxId, str]]:
        """
        Those without an order of ours: set by the Go system, or by hand.

        @param ours: Sandboxes that are surely of this provider: beside another one's sessions
            all other orders are left alone, since they do not say whose they are.
        """
        shared = bool(self._others)
        names = await self.names(f"{STOPS}*", "string")
        orders: dict[SandboxId, bytes] = {}
        stops: dict[SandboxId, str] = {}
        for name in names:
            try:
                sandbox = sandbox_id(name.removeprefix(STOPS))
                if shared and sandbox not in ours:
                    self._others.append(name)
                    continue
                form, order, at = await self.store.read(
                    Read("GET", name),
                    Read("EXISTS", self.store.keys.stop(sandbox)),
                    Read("HGET", self.store.keys.stop(sandbox), ("ordered_at",)),
                )
                if order == b"0" and moment(at) is None and raw(form) is not None:
                    orders[sandbox] = raw(form) or b""
                    stops[sandbox] = text(form) or "unknown"
            except (BadInput, UnicodeDecodeError) as why:
                self._problems.append(f"{name}: {why}")
        return orders, stops

    async def _leftovers(self) -> dict[str, tuple[str, tuple[bytes, ...]]]:
        """What is of no use here: reservations, and events, which are read from the chain."""
        provider = self.store.keys.provider
        found: dict[str, tuple[str, tuple[bytes, ...]]] = {}
        for name in await self.names(f"billing:reserved:*:{provider}", "string"):
            (form,) = await self.store.read(Read("GET", name))
            found[name] = ("string", (raw(form) or b"",))
        for name in await self.names("billing:events", "list"):
            if self._others:
                # Of all providers of this database.
                self._others.append(name)
                continue
            (items,) = await self.store.read(Read("LRANGE", name, (0, -1)))
            found[name] = ("list", tuple(pieces(items)))
        for name in await self.names(f"voucher:held-users:{provider}", "set"):
            (items,) = await self.store.read(Read("SMEMBERS", name))
            found[name] = ("set", tuple(sorted(pieces(items))))
        return found

"""What the ports share: reading values, carrying out facts, and whose token they bear."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from attrs import define, field, frozen

from sandbox_billing.adapters.redis.commit import (
    Commit,
    Committed,
    Outcome,
    Read,
    Reply,
)
from sandbox_billing.adapters.redis.draft import REVISION, Draft
from sandbox_billing.adapters.redis.keys import Keys
from sandbox_billing.adapters.redis.seam import IKeyspace
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import (
    UNMEASURED,
    IMeasures,
    IWallClock,
    LeaseLost,
    SandboxRecord,
    Stale,
    Stored,
    WalletFunds,
)
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.account import Account
from sandbox_billing.ledger.hold import Exposure
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.token import Allowance
from sandbox_billing.ledger.voucher import ChargeKind
from sandbox_billing.measures import CHARGED_NEURON, CHARGES


T = TypeVar("T")

_AT_ONCE = 500
"""Keys read in one step: a server answers nobody else meanwhile."""


@define(eq=False)
class Token:
    """
    The fencing token in force in this process: set by the lease, borne by worker facts.

    @ivar value: None while this process is not the worker.
    """

    value: bytes | None = None

    def now(self) -> bytes:
        """@raise LeaseLost: This process is not the worker."""
        if self.value is None:
            raise LeaseLost("this process does not hold the worker's lease")
        return self.value


@frozen(kw_only=True)
class Timing:
    """
    @ivar interval_seconds: VOUCHER_INTERVAL_SEC: a session is due so long after its last charge.
    @ivar ripen_seconds: SETTLE_MAX_AGE_SEC: how long a create charge waits at most for its
        sandbox to start (design.md §4.3).
    """

    interval_seconds: int
    ripen_seconds: int


@frozen(kw_only=True)
class Store:
    """
    One keyspace with its names.

    @ivar wall: Stamps orders and moments to look again.
    @ivar measures: Told of charges once they are stored.
    @ivar reported: Kind and name of what this process found damaged and told of.
    """

    keyspace: IKeyspace
    keys: Keys
    wall: IWallClock
    token: Token = field(factory=Token)
    measures: IMeasures = UNMEASURED
    reported: set[tuple[str, str]] = field(factory=set, init=False)

    def draft(self, name: str) -> Draft:
        """A new fact."""
        return Draft(self.keys, name)

    async def attempt(self, commit: Commit) -> Committed:
        """
        Carry out a fact; one that is stored already counts as done.

        @return: Done, or stale.
        @raise LeaseLost: Its token is not the newest.
        """
        committed = await self.keyspace.commit(commit)
        if committed.outcome is Outcome.FENCED:
            raise LeaseLost(f"cannot {commit.name}: another process is the worker now")
        if committed.outcome is Outcome.DONE:
            for kind, amount in commit.charges:
                self.measures.count(CHARGES, kind=kind)
                # What a debt is for was counted before.
                if kind != ChargeKind.DEBT.value:
                    self.measures.count(CHARGED_NEURON, amount)
        return committed

    async def carry_out(self, commit: Commit) -> Committed:
        """@raise Stale: What it rests on has changed; nothing was written."""
        committed = await self.attempt(commit)
        if committed.outcome is Outcome.STALE:
            raise Stale(f"cannot {commit.name}: what was read has changed meanwhile")
        return committed

    async def read(self, *reads: Read) -> tuple[Reply, ...]:
        """Read in one step."""
        return await self.keyspace.read(reads)

    async def read_many(self, reads: Sequence[Read]) -> list[Reply]:
        """Read any number of keys, some hundreds in one step."""
        replies: list[Reply] = []
        for start in range(0, len(reads), _AT_ONCE):
            replies.extend(await self.keyspace.read(reads[start : start + _AT_ONCE]))
        return replies

    async def values(self, cls: type[T], keys: Sequence[str]) -> list[Stored[T] | None]:
        """Stored values in the order of their keys."""
        replies = await self.read_many([Read("GET", key) for key in keys])
        return [stored(cls, reply) for reply in replies]

    async def present(self, cls: type[T], keys: Sequence[str]) -> tuple[Stored[T], ...]:
        """Those that are there."""
        return tuple(value for value in await self.values(cls, keys) if value is not None)

    async def funds(self, wallet: Address) -> WalletFunds:
        """What C{IDoors.funds} and C{IFunds.funds} return."""
        keys = self.keys
        account, fields, blocked, dry_since = await self.read(
            Read("GET", keys.account(wallet)),
            Read("HGETALL", keys.exposure(wallet)),
            Read("GET", keys.blocked(wallet)),
            Read("GET", keys.dry_since(wallet)),
        )
        return wallet_funds(wallet, account, fields, blocked, dry_since)


def wallet_funds(
    wallet: Address, account: Reply, fields: Reply, blocked: Reply, dry_since: Reply = None
) -> WalletFunds:
    """@raise BadInput: The account is no such form, or of an unknown version."""
    found = mapping(fields)
    return WalletFunds(
        wallet=wallet,
        account=stored(Account, account),
        exposure=exposure(found),
        revision=found.get(REVISION, "").encode(),
        blocked=None if blocked is None else text(blocked),
        dry_since=moment(dry_since),
    )


def text(reply: Reply) -> str:
    """A string that must be there."""
    assert isinstance(reply, bytes)
    return reply.decode()


def raw(reply: Reply) -> bytes | None:
    """A string as it is stored; None when there is none."""
    assert not isinstance(reply, list)
    return reply


def texts(reply: Reply) -> list[str]:
    """Members of a set, a list or a range."""
    return [text(item) for item in reply] if isinstance(reply, list) else []


def pieces(reply: Reply) -> list[bytes]:
    """
    As they are stored: for what may be damaged, and is decoded where that is caught.

    Of a hash: names and values by turns.
    """
    return [item for item in reply if isinstance(item, bytes)] if isinstance(reply, list) else []


def mapping(reply: Reply) -> dict[str, str]:
    """A hash, or members with their scores."""
    flat = texts(reply)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def moment(reply: Reply) -> UnixSeconds | None:
    """A stored moment."""
    return None if reply is None else UnixSeconds(int(text(reply)))


def stored(cls: type[T], reply: Reply) -> Stored[T] | None:
    """@raise BadInput: It is no such form, or of an unknown version."""
    return Stored(decode(cls, reply), reply) if isinstance(reply, bytes) else None


def exposure(fields: dict[str, str]) -> Exposure:
    """Exposure fields without what is ours."""
    return Exposure({name: value for name, value in fields.items() if name != REVISION})


def sandbox_record(sandbox: SandboxId, fields: dict[str, str]) -> SandboxRecord | None:
    """
    What is stored of a sandbox.

    @raise BadInput: It is of an unknown version.
    """
    if not fields:
        return None
    if fields.get("v") != "1":
        raise BadInput(f"the record of {sandbox} has version {fields.get('v')}; we read 1")
    try:
        told = fields.get("allowance")
        return SandboxRecord(
            sandbox=sandbox,
            owner=Address(fields["owner"]),
            reference=Reference(fields["reference"]),
            create_charged=fields["create_charged"] == "1",
            charged_until=UnixSeconds(int(fields["charged_until"])),
            allowance=None if told is None else decode(Allowance, told),
            create_forgiven=fields.get("create_forgiven") == "1",
            destroyed_at=_moment_of(fields.get("destroyed_at")),
        )
    except (KeyError, ValueError) as why:
        raise BadInput(f"the record of {sandbox} is damaged: {why!r}") from why


def _moment_of(told: str | None) -> UnixSeconds | None:
    return None if told is None else UnixSeconds(int(told))


def addresses(names: Iterable[str]) -> tuple[Address, ...]:
    """Wallets, in a steady order."""
    return tuple(Address(name) for name in sorted(names))

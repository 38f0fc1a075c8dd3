"""
A small world behind the front desk, and clients that sign.

The stand-ins keep what they are told and fail on demand; each is verified against its
port in C{test_world}.  No money is in them: that is intake's, which has its own tests.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from attrs import define, evolve, field
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.resource import IResource
from zope.interface import implementer

from sandbox_billing.adapters.memory import MemoryKeyspace
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.webhooks.sender import NoWebhooks
from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import (
    DoorState,
    IDoors,
    IHistory,
    IIntake,
    IReadiness,
    IRelay,
    IReplayGuard,
    IResumer,
    IRuntime,
    ITokens,
    IWallClock,
    NoSuchSandbox,
    NotYours,
    PartState,
    RelayCall,
    Resumed,
    Sandbox,
    SandboxRecord,
    Stored,
    TooMany,
    TurnState,
    WalletFunds,
    WalletState,
)
from sandbox_billing.ledger.account import Account, BlockRef, Mirror, ServiceRecord, Settlement
from sandbox_billing.ledger.hold import Exposure
from sandbox_billing.ledger.identity import Address, Nonce, Reference, SandboxId
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.ledger.spending import Spending
from sandbox_billing.ledger.token import Allowance, Scope, Token, TokenId
from sandbox_billing.services._supervise import Supervisor
from sandbox_billing.services.backlog import left_before
from sandbox_billing.signing.key import SigningKey
from sandbox_billing.signing.request import sign_message, sign_request
from sandbox_billing.web.caller import digest_of
from sandbox_billing.web.limits import Rate, Rates
from sandbox_billing.web.notices import Listeners
from sandbox_billing.web.open_streams import OpenStreams
from sandbox_billing.web.root import FrontDesk, make_root
from sandbox_billing.web.terms import Terms
from tests.fixtures import CountedIds


# Published test keys, for tests only.
OWNER = SigningKey.from_bytes(bytes([0x11]) * 32)
STRANGER = SigningKey.from_bytes(bytes([0x22]) * 32)

PROVIDER = Address("0x" + "ab" * 20)
CONTRACT = Address("0x" + "cd" * 20)
CHAIN_ID = 16602
NOW = 1_700_000_000

SANDBOX = "0c6a3a0e-1111-4222-8333-444455556666"
"""Belongs to L{OWNER}."""
FOREIGN = "0c6a3a0e-9999-4222-8333-444455556666"
"""Belongs to L{STRANGER}."""

TERMS = Terms(
    contract=CONTRACT,
    provider=PROVIDER,
    chain_id=CHAIN_ID,
    public_rpc_url="https://rpc.example",
    voucher_interval_seconds=3600,
    stop_delay_seconds=60,
    environment=Prices(flat_per_second=Neuron(16667), create_fee=Neuron(5_000_000)),
    ssh_gateway_host="ssh.example",
    public_url="https://sandboxes.example/",
    sign_in_url="https://sandboxes.example/",
    # Time stands still in most of these tests, and some ask thousands of things.
    rates=Rates(peer=Rate(1.0, 10**6), wallet=Rate(1.0, 10**6), forged=Rate(1.0, 10**6)),
)

SERVICE = ServiceRecord(
    provider=PROVIDER,
    url="https://sandboxes.example",
    signer=Address("0x" + "ef" * 20),
    prices=Prices(
        per_cpu_per_minute=Neuron(600),
        per_memory_gib_per_minute=Neuron(330),
        create_fee=Neuron(1000),
    ),
    signer_version=2,
)


def sandbox(id: str, owner: Address, **changes: Any) -> Sandbox:
    """A Sandbox of server 0.190, as the Daytona adapter hands it over."""
    labels = {"daytona-owner": owner.hex, **changes.pop("labels", {})}
    document = {
        "id": id,
        "organizationId": "org",
        "name": id,
        "user": "daytona",
        "env": {},
        "labels": labels,
        "public": False,
        "networkBlockAll": False,
        "target": "eu",
        "cpu": 1,
        "gpu": 0,
        "memory": 1,
        "disk": 3,
        "state": "started",
        "toolboxProxyUrl": "http://daytona.internal:4000/toolbox",
        **changes,
    }
    return Sandbox(
        id=SandboxId(id),
        name=str(document["name"]),
        state=str(document["state"]),
        desired_state=None,
        labels=labels,
        resources=Resources(),
        auto_stop_minutes=None,
        last_activity_at=None,
        document=document,
    )


@define
class Recorder:
    """
    What was asked of a stand-in, and what it shall answer instead.

    @ivar asked: Name and arguments of each call, in order.
    @ivar failing: Raised by the next calls of that name.
    @ivar waiting: The next calls of that name wait for this.
    @ivar references: Under which sandboxes were to be created, in order.
    """

    asked: list[tuple[Any, ...]] = field(factory=list)
    failing: dict[str, Exception] = field(factory=dict)
    waiting: dict[str, Deferred[None]] = field(factory=dict)
    references: list[Reference | None] = field(factory=list)
    allowances: list[Allowance | None] = field(factory=list)

    async def note(self, name: str, *arguments: Any) -> None:
        """Keep a call, then wait or fail if told so."""
        self.asked.append((name, *arguments))
        if name in self.waiting:
            await self.waiting[name]
        if name in self.failing:
            raise self.failing[name]


def empty(wallet: Address) -> Account:
    """Of somebody who never had anything here."""
    return Account(
        wallet=wallet,
        balance=Neuron(0),
        pending_refund=Neuron(0),
        refund_unlock_at=UnixSeconds(0),
        acknowledged=False,
        last_nonce=Nonce(0),
        block=77,
    )


@implementer(IIntake)
@define
class StandInIntake:
    """Sandboxes in a dictionary, with the owner check and without money."""

    calls: Recorder
    sandboxes: dict[str, tuple[Address, Sandbox]] = field(factory=dict)
    accounts: Mapping[Address, Stored[Account]] = field(factory=dict)

    def _resolve(self, owner: Address, id_or_name: str) -> Sandbox:
        if id_or_name in self.sandboxes:
            holder, found = self.sandboxes[id_or_name]
            if holder != owner:
                raise NotYours("this sandbox belongs to another wallet")
            return found
        for holder, found in self.sandboxes.values():
            if found.name == id_or_name and holder == owner:
                return found
        raise NoSuchSandbox("no such sandbox")

    async def meet(self, owner: Address) -> Account:
        await self.calls.note("meet", owner)
        found = self.accounts.get(owner)
        return empty(owner) if found is None else found.value

    async def owned(self, owner: Address, id_or_name: str) -> Sandbox:
        await self.calls.note("owned", owner, id_or_name)
        return self._resolve(owner, id_or_name)

    async def create(
        self,
        owner: Address,
        body: Mapping[str, Any],
        *,
        auto_stop_minutes: int | None,
        reference: Reference | None = None,
        allowance: Allowance | None = None,
    ) -> Sandbox:
        self.calls.references.append(reference)
        self.calls.allowances.append(allowance)
        await self.calls.note("create", owner, dict(body), auto_stop_minutes)
        made = sandbox("created-1", owner, name=body.get("name", "created-1"))
        self.sandboxes[made.id] = (owner, made)
        return made

    async def _move(self, name: str, owner: Address, id_or_name: str) -> Sandbox:
        await self.calls.note(name, owner, id_or_name)
        return self._resolve(owner, id_or_name)

    async def start(
        self,
        owner: Address,
        id_or_name: str,
        *,
        reference: Reference | None = None,
        allowance: Allowance | None = None,
    ) -> Sandbox:
        self.calls.allowances.append(allowance)
        return await self._move("start", owner, id_or_name)

    async def recover(
        self,
        owner: Address,
        id_or_name: str,
        *,
        skip_start: bool = False,
        reference: Reference | None = None,
        allowance: Allowance | None = None,
    ) -> Sandbox:
        self.calls.allowances.append(allowance)
        await self.calls.note("recover", owner, id_or_name, skip_start)
        return self._resolve(owner, id_or_name)

    async def resize(
        self,
        owner: Address,
        id_or_name: str,
        sizes: Mapping[str, int],
        *,
        allowance: Allowance | None = None,
    ) -> Sandbox:
        self.calls.allowances.append(allowance)
        await self.calls.note("resize", owner, id_or_name, dict(sizes))
        return self._resolve(owner, id_or_name)

    async def stop(self, owner: Address, id_or_name: str) -> Sandbox:
        return await self._move("stop", owner, id_or_name)

    async def delete(self, owner: Address, id_or_name: str) -> Sandbox:
        return await self._move("delete", owner, id_or_name)

    async def archive(self, owner: Address, id_or_name: str) -> Sandbox:
        return await self._move("archive", owner, id_or_name)

    async def replace_labels(
        self, owner: Address, id_or_name: str, labels: Mapping[str, str]
    ) -> Sandbox:
        await self.calls.note("replace_labels", owner, id_or_name, dict(labels))
        return self._resolve(owner, id_or_name)

    async def reconcile(self, owner: Address, id_or_name: str) -> None:
        await self.calls.note("reconcile", owner, id_or_name)
        self._resolve(owner, id_or_name)


@define
class Unused:
    """Fails on whatever the web room has no business to ask of a port."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AssertionError(f"the web room asked for {name}")


@implementer(IRuntime)
class StandInRuntime(Unused):
    """
    A Daytona with lists, a catalogue and doors, and nothing that lives.

    @ivar rows: Every tenant's sandboxes, oldest first: filtered by labels and by id, and paged.
    @ivar pages: Which dialect's C{GET /sandbox} there is.
    @ivar page_document: In place of what it would answer, when there is one.
    """

    def __init__(self, calls: Recorder) -> None:
        self.calls = calls
        self.pages = True
        self.rows: list[dict[str, Any]] = []
        self.page_document: Any = None
        self.snapshot_documents: tuple[dict[str, Any], ...] = ()
        self.region_documents: tuple[dict[str, Any], ...] = ()
        self.config_document: dict[str, Any] = {}
        self.held: dict[tuple[str, int], str] = {}
        self.largest = 0

    async def get(self, id_or_name: str) -> Sandbox | None:
        await self.calls.note("get", id_or_name)
        known = {SANDBOX: OWNER, FOREIGN: STRANGER}.get(id_or_name)
        return None if known is None else sandbox(id_or_name, known.address)

    async def lists_pages(self) -> bool:
        await self.calls.note("lists_pages")
        return self.pages

    async def page(self, query: Mapping[str, str | tuple[str, ...]], *, paginated: bool) -> Any:
        await self.calls.note("page", dict(query), paginated)
        if self.page_document is not None:
            return self.page_document
        wanted = json.loads(str(query.get("labels", "{}"))).items()
        found = [
            row
            for row in self.rows
            if wanted <= row["labels"].items() and row["id"].startswith(query.get("id", ""))
        ]
        limit, begin = int(str(query.get("limit", 100))), int(str(query.get("cursor", 0)))
        if paginated:
            begin = (int(str(query.get("page", 1))) - 1) * limit
        items = found[begin : begin + limit]
        self.largest = max(self.largest, len(items))
        if paginated:
            pages = -(-len(found) // limit)
            return {"items": items, "total": len(found), "page": 1, "totalPages": pages}
        more = begin + limit < len(found)
        return {"items": items, "nextCursor": str(begin + limit) if more else None}

    async def ssh_access(self, sandbox: SandboxId, minutes: int) -> Mapping[str, Any]:
        await self.calls.note("ssh_access", sandbox, minutes)
        return {"token": "t0ken", "sshCommand": "ssh -p 2222 t0ken@daytona.internal"}

    async def _done(self, name: str, id: SandboxId, *arguments: Any) -> Sandbox:
        await self.calls.note(name, id, *arguments)
        return sandbox(id, OWNER.address)

    async def revoke_ssh(self, sandbox: SandboxId, token: str | None) -> Sandbox:
        return await self._done("revoke_ssh", sandbox, token)

    async def signed_preview(
        self, sandbox: SandboxId, port: int, seconds: int
    ) -> Mapping[str, Any]:
        await self.calls.note("signed_preview", sandbox, port, seconds)
        self.held["t0ken", port] = sandbox
        url = f"http://{port}-t0ken.proxy.internal:4000"
        return {"sandboxId": sandbox, "port": port, "token": "t0ken", "url": url}

    async def preview_holder(self, token: str, port: int) -> SandboxId | None:
        await self.calls.note("preview_holder", token, port)
        held = self.held.get((token, port))
        return None if held is None else SandboxId(held)

    async def expire_preview(self, sandbox: SandboxId, port: int, token: str) -> None:
        await self.calls.note("expire_preview", sandbox, port, token)

    async def set_public(self, sandbox: SandboxId, public: bool) -> Sandbox:
        return await self._done("set_public", sandbox, public)

    async def set_network(self, sandbox: SandboxId, settings: Mapping[str, Any]) -> Sandbox:
        return await self._done("set_network", sandbox, dict(settings))

    async def telemetry(
        self, sandbox: SandboxId, kind: tuple[str, ...], query: Mapping[str, Any]
    ) -> Any:
        await self.calls.note("telemetry", sandbox, kind, dict(query))
        return {"items": []}

    async def config(self) -> Mapping[str, Any]:
        await self.calls.note("config")
        return self.config_document

    async def regions(self) -> tuple[Mapping[str, Any], ...]:
        await self.calls.note("regions")
        return self.region_documents

    async def snapshots(self) -> tuple[Mapping[str, Any], ...]:
        await self.calls.note("snapshots")
        return self.snapshot_documents


@implementer(IDoors)
class StandInDoors(Unused):
    """
    The head of a mirror, and why somebody may not go on.

    @ivar blocked: Why, by wallet.
    @ivar stops: Standing orders, by sandbox.
    @ivar metered: What has a session.
    @ivar recorded: What ever had one.
    @ivar spendings: What was caused, by token.
    @ivar exposures: Exposure fields, by wallet.
    """

    def __init__(self, mirror: Mirror | None) -> None:
        self.head = mirror
        self.blocked: dict[Address, str] = {}
        self.stops: dict[str, str] = {}
        self.metered: set[str] = {SANDBOX, FOREIGN}
        self.recorded: set[str] = {SANDBOX, FOREIGN}
        self.spendings: dict[str, Spending] = {}
        self.accounts: dict[Address, Stored[Account]] = {}
        self.exposures: dict[Address, dict[str, str]] = {}

    async def spending(self, token: TokenId) -> Spending:
        return self.spendings.get(token, Spending({}))

    async def funds(self, wallet: Address) -> WalletFunds:
        return WalletFunds(
            wallet=wallet,
            account=self.accounts.get(wallet),
            exposure=Exposure(self.exposures.get(wallet, {})),
            revision=b"",
            blocked=self.blocked.get(wallet),
        )

    async def stop_reason(self, sandbox: SandboxId) -> str | None:
        return self.stops.get(sandbox)

    async def session(self, sandbox: SandboxId) -> Any:
        return object() if sandbox in self.metered else None

    async def record(self, sandbox: SandboxId) -> Any:
        if sandbox not in self.recorded:
            return None
        return SandboxRecord(
            sandbox=sandbox,
            owner=STRANGER.address if sandbox == FOREIGN else OWNER.address,
            reference=Reference("0" * 32),
            create_charged=True,
            charged_until=UnixSeconds(NOW),
        )

    async def door_state(self) -> DoorState:
        return DoorState(pause=None, settled_until=UnixSeconds(NOW), swept_at=UnixSeconds(NOW))

    async def mirror(self) -> Stored[Mirror] | None:
        return None if self.head is None else Stored(self.head, b"raw")


@implementer(IResumer)
@define
class StandInResumer:
    """Starts what it is told to."""

    calls: Recorder
    done: Resumed = field(factory=lambda: Resumed(resumed=(), failed={}))

    async def resume(self, owner: Address, allowance: Allowance | None = None) -> Resumed:
        await self.calls.note("resume", owner, allowance)
        return self.done


@implementer(IRelay)
@define
class StandInRelay:
    """Tells what would be relayed, and refuses."""

    calls: Recorder

    async def send(self, call: RelayCall, body: Any) -> Any:
        await self.calls.note("send", call)
        raise Transient("nothing is behind this relay")

    async def upgrade(self, call: RelayCall) -> Any:
        await self.calls.note("upgrade", call)
        raise Transient("nothing is behind this relay")


@implementer(IHistory)
class StandInHistory(Unused):
    """A list of settlements."""

    def __init__(self) -> None:
        self.settled: list[Settlement] = []
        self.records: tuple[ServiceRecord, ...] = (SERVICE,)

    async def settlements(
        self, wallet: Address, *, since: UnixSeconds, page: int, page_size: int
    ) -> tuple[int, tuple[Settlement, ...]]:
        own = [s for s in self.settled if s.user == wallet and s.timestamp >= since]
        return len(own), tuple(own[page * page_size : (page + 1) * page_size])

    async def providers(self) -> tuple[ServiceRecord, ...]:
        return self.records

    async def state(self, wallet: Address) -> WalletState:
        funds = WalletFunds(
            wallet=wallet, account=None, exposure=Exposure({}), revision=b"", blocked=None
        )
        return WalletState(mirror=None, funds=funds)


@implementer(IReplayGuard)
@define
class StandInGuard:
    """A set of nonces."""

    calls: Recorder
    seen: set[tuple[Address, str]] = field(factory=set)

    async def first_use(self, wallet: Address, nonce: str, expires_at: UnixSeconds) -> bool:
        await self.calls.note("first_use", wallet, nonce, expires_at)
        first = (wallet, nonce) not in self.seen
        self.seen.add((wallet, nonce))
        return first


@implementer(ITokens)
@define
class StandInTokens:
    """A dictionary."""

    calls: Recorder
    kept: dict[TokenId, Token] = field(factory=dict)

    async def issue(self, token: Token, *, most: int) -> None:
        await self.calls.note("issue", token, most)
        if len(await self.of(token.wallet)) >= most:
            raise TooMany(f"this wallet has {most} tokens: revoke some", 7)
        self.kept[token.id] = token

    async def find(self, id: TokenId) -> Token | None:
        await self.calls.note("find", id)
        return self.kept.get(id)

    async def of(self, wallet: Address) -> tuple[Token, ...]:
        # Those that were revoked are kept, as their ends.
        return tuple(
            token
            for token in self.kept.values()
            if token.wallet == wallet and token.issued_at < token.expires_at
        )

    async def revoke(self, wallet: Address, id: TokenId) -> bool:
        if id not in {token.id for token in await self.of(wallet)}:
            return False
        self._end(id)
        return True

    async def revoke_all(self, wallet: Address) -> int:
        own = await self.of(wallet)
        for token in own:
            self._end(token.id)
        return len(own)

    def _end(self, id: TokenId) -> None:
        self.kept[id] = evolve(self.kept[id], expires_at=self.kept[id].issued_at)


@implementer(IReadiness)
@define
class StandInReadiness:
    """What the test says."""

    now: dict[str, str] = field(factory=dict)
    told: dict[str, str] = field(factory=dict)
    turns: dict[str, TurnState] = field(factory=dict)
    parts: dict[str, PartState] = field(factory=dict)

    def reasons(self) -> Mapping[str, str]:
        return self.now

    def notices(self) -> Mapping[str, str]:
        return self.told

    def services(self) -> Mapping[str, TurnState]:
        return self.turns

    def dependencies(self) -> Mapping[str, PartState]:
        return self.parts


@implementer(IWallClock)
@define
class FixedWall:
    """A moment that tests move."""

    moment: int = NOW

    def now(self) -> UnixSeconds:
        return UnixSeconds(self.moment)

    def after(self) -> UnixSeconds:
        return self.now()


def mirror_at(service: ServiceRecord | None) -> Mirror:
    """A mirror that has just been stored."""
    block = BlockRef(number=77, hash="0x" + "1" * 64, timestamp=UnixSeconds(NOW))
    return Mirror(
        block=block,
        service=service,
        leaving_at=None,
        version_changed_at=None,
        updated_at=UnixSeconds(NOW),
    )


class World:
    """
    A front desk with everything behind it.
    """

    def __init__(self, terms: Terms = TERMS, relay: Any = None, clock: Any = None) -> None:
        self.calls = Recorder()
        self.guard = StandInGuard(Recorder())
        self.tokens = StandInTokens(Recorder())
        self.doors = StandInDoors(mirror_at(SERVICE))
        self.intake = StandInIntake(self.calls, accounts=self.doors.accounts)
        for id, key in ((SANDBOX, OWNER), (FOREIGN, STRANGER)):
            self.intake.sandboxes[id] = (key.address, sandbox(id, key.address))
        self.runtime = StandInRuntime(self.calls)
        self.resumer = StandInResumer(self.calls)
        self.history = StandInHistory()
        self.readiness = StandInReadiness()
        self.wall = FixedWall()
        self.clock = Clock() if clock is None else clock
        self.keyspace = MemoryKeyspace(self.clock)
        self.journal = Journal.over(self.keyspace, PROVIDER, self.wall, interval_seconds=3600)
        self.supervisor = Supervisor()
        self._request_ids = itertools.count(1)
        self._nonces = itertools.count(1)
        self._secrets = itertools.count(1)
        self.relay = StandInRelay(self.calls) if relay is None else relay
        self.streams = OpenStreams(doors=self.doors, tokens=self.tokens, wall=self.wall)
        self.listeners = Listeners(
            notices=self.journal.notices,
            doors=self.doors,
            tokens=self.tokens,
            wall=self.wall,
            clock=self.clock,
            environment=terms.environment,
            interval=terms.voucher_interval_seconds,
        )
        self.desk = FrontDesk(
            terms=terms,
            intake=self.intake,
            runtime=self.runtime,
            doors=self.doors,
            history=self.history,
            receipts=self.journal.receipts,
            relay=self.relay,
            streams=self.streams,
            listeners=self.listeners,
            replay=self.guard,
            tokens=self.tokens,
            webhooks=self.journal.webhooks,
            sender=NoWebhooks(),
            readiness=self.readiness,
            wall=self.wall,
            clock=self.clock,
            idempotency=self.journal.idempotency,
            lifecycle=self.journal.lifecycle,
            controls=self.journal.controls,
            resumer=self.resumer,
            overview=self.journal.overview,
            orders=self.journal.orders,
            left=partial(left_before, self.journal.meter, self.journal.backlog),
            ids=CountedIds(),
            detached=self.supervisor.detached,
            new_request_id=self.new_request_id,
            random_bytes=self.random_bytes,
        )
        self.root: IResource = make_root(self.desk)
        self.agent = RequestTraversalAgent(self.root)

    def random_bytes(self, count: int) -> bytes:
        """Other ones each time."""
        return next(self._secrets).to_bytes(count, "big")

    def new_request_id(self) -> str:
        """C{req-1}, C{req-2}, ..."""
        return f"req-{next(self._request_ids)}"

    def nonce(self) -> str:
        """One that was not used yet."""
        return f"{next(self._nonces):032x}"

    def signed(
        self,
        action: str,
        resource_id: str = "",
        body: bytes = b"",
        *,
        key: SigningKey = OWNER,
        **changes: Any,
    ) -> dict[str, str]:
        """Headers of our own client for one request."""
        return sign_request(
            key,
            **{
                "action": action,
                "resource_id": resource_id,
                "body": body,
                "expires_at": NOW + 300,
                "nonce": self.nonce(),
                "audience": PROVIDER,
                "chain_id": CHAIN_ID,
                **changes,
            },
        )

    def message(self, **changes: Any) -> dict[str, Any]:
        """The fields of an older client's message, to be spoilt and signed."""
        return {
            "action": "list",
            "expires_at": NOW + 300,
            "nonce": self.nonce(),
            "payload": {},
            "resource_id": "",
            **changes,
        }

    def with_terms(self, **changes: Any) -> World:
        """Another world under other terms."""
        return World(evolve(self.desk.terms, **changes))


def signed_json(message: Any, key: SigningKey = OWNER) -> dict[str, str]:
    """Headers for a message, whatever it says."""
    return sign_message(key, json.dumps(message).encode())


Sign = Callable[..., dict[str, str]]


def token_for(
    world: World,
    wallet: Address,
    *,
    expires_at: int,
    only: str | None = None,
    scopes: Iterable[Scope] = tuple(Scope),
) -> dict[str, str]:
    """Headers with a token that may do everything, perhaps with one sandbox only."""
    secret = f"sbt_{'x' * 43}"
    id, digest = digest_of(secret)
    world.tokens.kept[id] = Token(
        id=id,
        digest=digest,
        wallet=wallet,
        scopes=tuple(scopes),
        only=None if only is None else SandboxId(only),
        issued_at=UnixSeconds(NOW),
        expires_at=UnixSeconds(expires_at),
    )
    return {"Authorization": f"Bearer {secret}"}

"""
Every route of Daytona x odd spellings x {owner, stranger, anonymous, operator} (P1, L9).

C{data/daytona_routes.txt} says whose each route is, apart from the table; the test asks
for all of them at the real front, in front of the real client and the simulated Daytona,
and reads there what arrived.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from sandbox_billing.devnet.daytona import Dialect
from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import IRelay, RelayCall
from sandbox_billing.signing.key import SigningKey
from sandbox_billing.signing.request import sign_request
from sandbox_billing.web import _table
from sandbox_billing.web._denied import denied_routes
from sandbox_billing.web._routes import Route, Who
from sandbox_billing.web.answers import Answer
from sandbox_billing.web.caller import MESSAGE, SIGNATURE, WALLET
from sandbox_billing.web.site import BillingSite
from sandbox_billing.wiring_web import make_front
from tests.fixtures import World
from tests.services.lives import DOMAIN, PROVIDER
from tests.web.test_site import Wire
from tests.web.test_spellings import table_of
from tests.web.world import TERMS
from tests.web.world import World as Stage


LIST = Path(__file__).with_name("data") / "daytona_routes.txt"

# Published test keys, for tests only.
OWNER, STRANGER, OPERATOR = (SigningKey.from_bytes(bytes([n]) * 32) for n in (0x33, 0x44, 0x55))
CALLERS: Mapping[str, SigningKey | None] = {
    "owner": OWNER,
    "stranger": STRANGER,
    "anonymous": None,
    "operator": OPERATOR,
}

SAMPLES = {
    "file": "settings.json",
    "interval": "5",
    "isPublic": "true",
    "port": "3000",
    "token": "tok3n",
    "traceId": "0af7651916cd43dd8448eb211c80319c",
}
SNAPSHOT = "daytona-small"

BODIES: Mapping[str, Any] = {
    "POST /api/sandbox": {"snapshot": SNAPSHOT},
    "PUT /api/sandbox/{}/labels": {"labels": {"a": "b"}},
    "POST /api/sandbox/{}/resize": {"cpu": 2},
    "POST /api/sandbox/{}/network-settings": {"networkBlockAll": True},
}

NO_REASON = {"reason": ""}
"""Lets no order pass, whoever gives it: what they do is C{tests.services.test_clerk}'s."""

_SPAN = "?from=2025-01-01T00:00:00Z&to=2025-01-02T00:00:00Z"
QUERIES = {f"GET /api/sandbox/{{}}/telemetry/{what}": _SPAN for what in ("logs", "traces")} | {
    "GET /api/sandbox/{}/telemetry/metrics": _SPAN
}

HOSTILE = {
    "Cookie": "session=x",
    "X-Forwarded-For": "10.0.0.1",
    "X-Forwarded-Host": "daytona.internal",
    "X-Daytona-Organization-ID": "other",
    "X-Daytona-Preview-Token": "tok3n",
    "X-Daytona-Authorization": "x",
    "X-Daytona-Skip-Last-Activity-Update": "true",
    "X-Daytona-Disable-CORS": "true",
}
"""Sent with every request that is spelt right: Daytona reads all of them."""

CHANGES = ("stop", "archive", "start", "DELETE")
"""Of a sandbox's life, in an order in which each can be done; the last ones asked for."""


@frozen(kw_only=True)
class Line:
    """
    A line of the list.

    @ivar pattern: With what is in braces as it stands there.
    """

    policy: str
    method: str
    pattern: str

    def path(self, sandbox: str) -> str:
        """The route's path to one sandbox, and to samples of all else."""

        def filled(found: re.Match[str]) -> str:
            name = found[1]
            if name.startswith("sandboxId") or name == "workspaceId":
                return sandbox
            if self.pattern.startswith("/api/snapshots/"):
                return SNAPSHOT
            return SAMPLES.get(name, "x1")

        return re.sub(r"\{(\w+)\}", filled, self.pattern)

    @property
    def shape(self) -> str:
        """Method and pattern, whatever its names are."""
        return f"{self.method} {re.sub('{[a-zA-Z]+}', '{}', self.pattern)}"

    @property
    def rank(self) -> int:
        """Where it comes in a sandbox's life."""
        deleted = self.shape == "DELETE /api/sandbox/{}"
        word = "DELETE" if deleted else self.pattern.rpartition("/")[2]
        return CHANGES.index(word) + 1 if self.policy == "owner" and word in CHANGES else 0


def lines() -> tuple[Line, ...]:
    """The list, what ends a sandbox last."""
    found = []
    for text in LIST.read_text("utf-8").splitlines():
        if text and not text.startswith("#"):
            policy, method, pattern, *_ = text.split()
            found.append(Line(policy=policy, method=method, pattern=pattern))
    return tuple(sorted(found, key=lambda line: line.rank))


@frozen(kw_only=True)
class Heard:
    """
    @ivar upstream: What arrived at Daytona meanwhile: methods and paths, in their order.
    @ivar leaked: Names of headers that only the client could have sent.
    @ivar waited: Whether time passed, in which the daemon asks for what it needs itself.
    """

    status: int
    text: str
    upstream: tuple[str, ...]
    waited: bool = False
    leaked: frozenset[str] = frozenset()


_CLIENTS = {name.lower() for name in (*HOSTILE, WALLET, MESSAGE, SIGNATURE)}


@implementer(IRelay)
@define
class Recorder:
    """Keeps what would be streamed, and reaches nobody."""

    calls: list[str] = field(factory=list)
    names: set[str] = field(factory=set)

    async def send(self, call: RelayCall, body: Any) -> Any:
        self.names |= {name.lower() for name, _ in call.headers}
        self.calls.append(f"{call.method} {call.place.name} {call.sandbox.id} {call.tail}")
        raise Transient("there is no toolbox here")

    async def upgrade(self, call: RelayCall) -> Any:
        raise AssertionError("nobody asked for it")


class Bench:
    """
    A provider with two users, one sandbox each, and the front of its daemon.

    @ivar mine: L{OWNER}'s sandbox.
    """

    def __init__(self) -> None:
        self.world = World()
        world = self.world.start()
        for key in (OWNER, STRANGER, OPERATOR):
            world.fund(10**12, key.address)
        self.mine = world.create(OWNER.address)
        self.theirs = world.create(STRANGER.address)
        process = world.process
        terms = evolve(
            TERMS,
            provider=PROVIDER,
            chain_id=DOMAIN.chain_id,
            operators=frozenset({OPERATOR.address}),
        )
        parts = evolve(process.parts, runtime=world.runtime)
        self.relay = Recorder()
        self.site = BillingSite(
            make_front(parts, process.intake, process.readiness, terms, relay=self.relay),
            reactor=Clock(),
            wall=world.wall,
            new_request_id=lambda: "req",
        )
        self._nonce = 0

    def headers(self, key: SigningKey | None, action: str, body: bytes) -> dict[str, str]:
        """Of one signed request."""
        if key is None:
            return {}
        self._nonce += 1
        return sign_request(
            key,
            action=action,
            resource_id="",
            body=body,
            expires_at=self.world.wall.now() + 300,
            nonce=f"{self._nonce:032x}",
            audience=PROVIDER,
            chain_id=DOMAIN.chain_id,
        )

    def ask(
        self,
        method: str,
        target: str,
        key: SigningKey | None,
        body: bytes = b"",
        *,
        more: Mapping[str, str] = HOSTILE,
    ) -> Heard:
        """One request, signed for exactly this target, and what came of it."""
        received = self.world.simulator.received
        received.clear()
        self.relay.calls.clear()
        self.relay.names.clear()
        fields = {**more, **self.headers(key, f"{method}:{target}", body)}
        if body:
            fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        lines = [f"{method} {target} HTTP/1.0", *(f"{n}: {v}" for n, v in fields.items()), "", ""]
        transport = StringTransport()
        channel = self.site.buildProtocol(None)
        channel.makeConnection(transport)
        channel.dataReceived("\r\n".join(lines).encode("ascii") + body)
        for turn in range(200):
            self.world.flush()
            if transport.disconnecting:
                break
            # Time passes, and with it the daemon's own work, only for who has to wait.
            if turn > 5:
                self.world.advance(1)
        channel.connectionLost(Failure(ConnectionDone()))
        head, _, raw = transport.value().partition(b"\r\n\r\n")
        document = json.loads(raw) if raw and b"application/json" in head else None
        text = document.get("error", "") if isinstance(document, dict) else ""
        upstream = (f"{one.method} {one.target.partition('?')[0]}" for one in received)
        return Heard(
            status=int(head.split()[1]),
            text=text,
            upstream=(*upstream, *self.relay.calls),
            waited=turn > 5,
            leaked=frozenset(
                _CLIENTS & (self.relay.names | {n for r in received for n in r.headers})
            ),
        )

    def ask_for(self, line: Line, who: str) -> Heard:
        """The route of a line, spelt right and with what it needs."""
        body = NO_REASON if line.policy == "order" else BODIES.get(line.shape)
        raw = b"" if body is None else json.dumps(body).encode()
        target = line.path(self.mine) + QUERIES.get(line.shape, "")
        return self.ask(line.method, target, CALLERS[who], raw)


@frozen(kw_only=True)
class Odd:
    """
    A way to write a path that somebody on the way might take for the route.

    @ivar statuses: Of which one is the answer to everybody.
    @ivar upstream: What may arrive at Daytona for it.
    """

    target: str
    statuses: frozenset[int]
    upstream: frozenset[str] = frozenset()


_REFUSED = frozenset({400})
_NOT_HIS = frozenset({401, 403, 404, 405})


def _forms(path: str) -> Iterator[str]:
    """Spellings with a fault of form: 400, whatever they might mean."""
    head, _, last = path.rpartition("/")
    yield from (path + "/", path + "//", "/" + path, f"{head}//{last}", f"{head}/./{last}")
    yield from (f"{head}/x/../{last}", f"{head}/%2e%2e/{last}", f"{head}/%2E/{last}")
    for at in {1, len(head) + 1}:
        yield f"{path[:at]}%{ord(path[at]):02x}{path[at + 1 :]}"
    if head:
        yield f"{head}%2f{last}"
        yield f"{head}%5C{last}"
    yield from (path + "%00", path + "%0d%0aX:1", path + "%zz", path + "%ff", path + "%252f")
    yield from (path + "\\x", path + "|", "/x/.." + path)


def _cases(line: Line, path: str) -> Iterator[str]:
    """Letters that Daytona's router does not tell apart."""
    literal = [not part.startswith("{") for part in line.pattern.split("/")]
    parts = path.split("/")
    known = 5 if line.pattern.startswith("/api/toolbox/") else 2
    for at, part in enumerate(parts):
        is_tail = line.policy == "stream" and "build-logs" not in path and at >= known
        if literal[at] and not is_tail and part.upper() != part:
            yield "/".join([*parts[:at], part.upper(), *parts[at + 1 :]])


def odd_spellings(line: Line, sandbox: str) -> Iterator[Odd]:
    """Each of them, with what must come of it."""
    path = line.path(sandbox)
    if path.endswith("/"):
        return
    for target in _forms(path):
        is_events = target == "/api/socket.io/"
        yield Odd(target=target, statuses=_NOT_HIS if is_events else _REFUSED)
    for target in _cases(line, path):
        yield Odd(target=target, statuses=_NOT_HIS)
    if line.policy != "stream":
        yield Odd(target=path + "?DAYTONA_SANDBOX_AUTH_KEY=x", statuses=_NOT_HIS | _REFUSED)
        # Of a route that ends with an id, these are other ids.
        for more, spelt in ((";x=1", "%3Bx%3D1"), ("%20", "%20"), (".", "."), ("%C5%BF", "%C5%BF")):
            last = path.removeprefix("/api/sandbox/").removeprefix("force/")
            upstream = () if "/" in last else (f"GET /api/sandbox/{last}{spelt}",)
            statuses = _NOT_HIS | _REFUSED
            if line.shape == "DELETE /api/snapshots/{}":
                # An order about another snapshot, and there is none.
                upstream, statuses = ("GET /api/snapshots",), statuses | _SERVED
            yield Odd(target=path + more, statuses=statuses, upstream=frozenset(upstream))


def crossed(routes: Iterable[Line], sandbox: str) -> Iterator[tuple[Line, Odd, str]]:
    """Each odd spelling of each route, with each caller."""
    for line in routes:
        for odd in odd_spellings(line, sandbox):
            for who in CALLERS:
                yield line, odd, who


@frozen(kw_only=True)
class Due:
    """
    What must come of a request.

    @ivar upstream: What arrives at Daytona where it is served; nothing else ever does.
    @ivar kept: Whether it may be answered from what was fetched before.
    @ivar maybe: What arrives only where it was not fetched a while ago.
    """

    statuses: frozenset[int]
    upstream: frozenset[str] = frozenset()
    kept: bool = False
    maybe: frozenset[str] = frozenset()

    def fault_of(self, heard: Heard) -> str:
        """What is wrong; empty where nothing is."""
        arrived = frozenset(heard.upstream) - self.maybe
        if heard.leaked:
            return f"{sorted(heard.leaked)} leaked"
        if heard.status not in self.statuses:
            return f"{heard.status}, not {sorted(self.statuses)}"
        if heard.waited:
            arrived = frozenset(call for call in arrived if not _OWN_WORK.match(call))
        if not arrived <= self.upstream:
            return f"{sorted(arrived - self.upstream)} arrived"
        if heard.status in (200, 502) and not self.kept and arrived != self.upstream:
            return f"{sorted(self.upstream - arrived)} did not arrive"
        return ""


_MAYBE = {"POST /api/sandbox": frozenset({"GET /api/snapshots"})}
"""The snapshot that a body names is looked up among those that are kept."""

_OWN_WORK = re.compile(
    r"GET /api/sandbox(/paginated)?$|POST /api/sandbox/[^/]+/(last-activity|autostop/\d+)$"
)
"""Sweeps, second looks and the dead-man's switch."""

POLICIES = frozenset(
    {"deny", "operator", "admin", "order", "none", "public", "wallet", "owner", "stream"}
)

_SERVED = frozenset({200})

# Where it is not the same path and, of an owner's, one look at whose sandbox it is.
_UPSTREAM: Mapping[str, tuple[str, ...]] = {
    "POST /api/sandbox": ("POST /api/sandbox",),
    "GET /api/events": (),
    "GET /api/events/stream": (),
    "GET /api/account": (),
    "GET /api/account/settings": (),
    "PUT /api/account/settings": (),
    "POST /api/account/resume": (),
    "GET /api/usage": (),
    # By our record, which outlives the sandbox.
    "GET /api/sandbox/{}/usage": (),
    "GET /api/receipts": (),
    "GET /api/receipts/{}": (),
    "GET /api/webhooks": (),
    "POST /api/webhooks": (),
    "DELETE /api/webhooks/{}": (),
    "POST /api/webhooks/{}/test": (),
    "GET /api/auth/session": (),
    "DELETE /api/auth/session": (),
    "DELETE /api/auth/session/{}": (),
    "POST /api/auth/session": (),
    "GET /api/snapshots/{}": ("GET /api/snapshots",),
    "GET /api/providers": (),
    "GET /healthz": (),
    "GET /readyz": (),
    "GET /info": (),
    "GET /api/sandbox/{}": ("GET {one}",),
    # Until when it ran: Daytona keeps a lookup for a while, and no list.
    "DELETE /api/sandbox/{}": ("GET {one}", "GET /api/sandbox/paginated", "DELETE {one}"),
    # It runs, now as well as in what lookups are answered from: there is nothing to recover.
    "POST /api/sandbox/{}/recover": ("GET {one}", "GET /api/sandbox/paginated"),
    "GET /api/sandbox/{}/toolbox-proxy-url": ("GET {one}",),
    "GET /api/sandbox/{}/build-logs-url": ("GET {one}",),
    "POST /api/sandbox/{}/ensure-billing": ("GET {one}",),
    "POST /api/sandbox/{}/ports/{}/signed-preview-url/{}/expire": (
        "GET {one}",
        "GET /api/preview/tok3n/3000/sandbox-id",
    ),
}
_STATUSES: Mapping[str, int] = {
    # Not served here: no second look came, no such token.
    "GET /readyz": 503,
    # Without what a wallet signs, or a URL; no such session, no such receipt, no such webhook.
    "POST /api/auth/session": 400,
    "POST /api/webhooks": 400,
    "DELETE /api/webhooks/{}": 404,
    "POST /api/webhooks/{}/test": 404,
    "DELETE /api/auth/session/{}": 404,
    "GET /api/receipts/{}": 404,
    "GET /api/operator/orders/{}": 404,
    # Where it is not priced.
    "POST /api/sandbox/{}/resize": 403,
    "POST /api/sandbox/{}/ports/{}/signed-preview-url/{}/expire": 404,
}


def streamed(line: Line, sandbox: str) -> str:
    """What the relay is asked for."""
    path = line.path(sandbox)
    for place, door in (
        ("LEGACY_TOOLBOX", f"/api/toolbox/{sandbox}/toolbox/"),
        ("TOOLBOX", f"/toolbox/{sandbox}/"),
        ("BUILD_LOGS", f"/sandboxes/{sandbox}/build-logs"),
        ("LEGACY_BUILD_LOGS", f"/api/sandbox/{sandbox}/build-logs"),
    ):
        if path.startswith(door):
            return f"{line.method} {place} {sandbox} {path.removeprefix(door)}"
    raise AssertionError(f"{path} is no stream")


def expected(line: Line, who: str, sandbox: str) -> Due:
    """By the list alone."""
    one = f"/api/sandbox/{sandbox}"
    if line.policy in ("deny", "operator"):
        return Due(statuses=frozenset({403}))
    if line.policy == "none":
        return Due(statuses=frozenset({404}))
    if who == "anonymous" and line.policy != "public":
        return Due(statuses=frozenset({401}))
    if line.policy in ("admin", "order"):
        served = 400 if line.policy == "order" else _STATUSES.get(line.shape, 200)
        return Due(statuses=frozenset({served if who == "operator" else 403}))
    if line.policy in ("owner", "stream") and who != "owner":
        return Due(statuses=frozenset({403}), upstream=frozenset({f"GET {one}"}))
    same = f"{line.method} {line.path(sandbox)}"
    if line.policy == "stream":
        # What it meets there fails: see L{Recorder}.
        return Due(
            statuses=frozenset({502}),
            upstream=frozenset({f"GET {one}", streamed(line, sandbox)}),
        )
    default = (f"GET {one}", same) if line.policy == "owner" else (same,)
    named = _UPSTREAM.get(line.shape, default)
    return Due(
        statuses=_SERVED | {_STATUSES[line.shape]} if line.shape in _STATUSES else _SERVED,
        upstream=frozenset(call.replace("{one}", one) for call in named),
        kept=line.policy == "public",
        maybe=_MAYBE.get(line.shape, frozenset()),
    )


class Crossed(SynchronousTestCase):
    """
    Everything, by everybody.
    """

    def test_odd_spellings(self) -> None:
        """One outcome for whoever asks and whatever he signed; nothing that was not meant."""
        bench = Bench()
        # What is kept for a while is fetched once, by whoever comes first.
        for path in ("/api/snapshots", "/api/config", "/api/shared-regions"):
            bench.ask("GET", path, None)
        tried = 0
        for line, odd, who in crossed(lines(), bench.mine):
            # What does not arrive leaks nothing.
            heard = bench.ask(line.method, odd.target, CALLERS[who], more={})
            said = (who, line.method, odd.target, heard)
            self.assertIn(heard.status, odd.statuses, said)
            arrived = {
                call for call in heard.upstream if not (heard.waited and _OWN_WORK.match(call))
            }
            self.assertLessEqual(arrived, odd.upstream, said)
            tried += 1
        self.assertGreater(tried, 30_000)

    def _outcomes(self, dialect: Dialect, other: Mapping[str, Due]) -> None:
        bench = Bench()
        bench.world.simulator.dialect = dialect
        for line in lines():
            for who in CALLERS:
                heard, due = bench.ask_for(line, who), expected(line, who, bench.mine)
                if who == "owner" or (line.policy == "wallet" and who != "anonymous"):
                    due = other.get(line.shape, due)
                self.assertEqual(due.fault_of(heard), "", (who, line, heard))
            if line.rank:
                bench.world.advance(30)

    def test_outcomes(self) -> None:
        """Spelt right, each serves exactly whom the list says, and asks just that of Daytona."""
        self._outcomes(Dialect.NEW, {})

    def test_outcomes_of_old(self) -> None:
        """The same before v0.160, which lists in one array and knows no network settings."""
        one = "/api/sandbox/sb-1"
        settings = frozenset({f"GET {one}", f"POST {one}/network-settings"})
        lists = frozenset({"GET /api/sandbox", "GET /api/sandbox/paginated"})
        other = {
            "POST /api/sandbox/{}/network-settings": Due(
                statuses=frozenset({404}), upstream=settings
            ),
            "GET /api/sandbox": Due(statuses=frozenset({200}), upstream=lists, kept=True),
        }
        self._outcomes(Dialect.OLD, other)

    def test_can_fail(self) -> None:
        """A row that should not be there, or serves whom it should not, is found out."""
        one = "/api/sandbox/{sandboxId}"
        bench = Bench()
        for policy, method, pattern, who in (
            ("deny", "GET", f"{one}/toolbox-proxy-url", "owner"),
            ("operator", "POST", f"{one}/archive", "stranger"),
            ("none", "GET", one, "owner"),
            ("wallet", "GET", one, "stranger"),
            ("owner", "POST", f"{one}/fork", "owner"),
            ("public", "GET", "/api/events", "anonymous"),
        ):
            line = Line(policy=policy, method=method, pattern=pattern)
            heard, due = bench.ask_for(line, who), expected(line, who, bench.mine)
            self.assertNotEqual(due.fault_of(heard), "", (line, who, heard))

    def test_an_opened_row_is_found(self) -> None:
        """What is denied and gets a row of its own, for its owner only, turns the list red."""
        (closed,) = [one for one in lines() if one.shape == "POST /api/sandbox/{}/fork"]

        async def fork(asked: Any) -> Answer:
            return Answer(document={})

        opened = Route(method="POST", pattern="/api/sandbox/{id}/fork", who=Who.OWNER, handler=fork)
        self.patch(_table, "denied_routes", lambda: (opened, *denied_routes()))
        bench = Bench()
        heard, due = bench.ask_for(closed, "owner"), expected(closed, "owner", bench.mine)
        self.assertEqual(due.fault_of(heard), "200, not [403]")

    def test_list_has_every_row(self) -> None:
        """Whoever adds a row says here whose it is, and has it asked for by everybody."""
        table = table_of(Stage())
        asked = {
            id(table.find(line.method, line.path("x").rstrip("/") or "/").route)
            for line in lines()
            if line.policy != "none"
        }
        unasked = [r for r in table.routes if id(r) not in asked and not r.denial]
        self.assertEqual([f"{r.method} {r.pattern}" for r in unasked], [])

    def test_list(self) -> None:
        """Everything in it is classified, once, and no path of Daytona is missing."""
        found = lines()
        self.assertLessEqual({line.policy for line in found}, POLICIES)
        self.assertEqual(len({(line.method, line.pattern) for line in found}), len(found))
        self.assertGreater(len(found), 380)


class OverSocketTests(TestCase):
    """
    A sample of the same through our own channel, and what only bytes can say.
    """

    timeout = 300

    async def listen(self) -> None:
        """Serve a bench of its own."""
        self.bench = Bench()
        self.site = self.bench.site
        self.port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self.site)
        self.addCleanup(self._stop)

    async def _stop(self) -> None:
        await self.port.stopListening()
        ended = self.site.drain(0)
        self.site.reactor.advance(0)
        await ended

    async def said(self, *requests: bytes) -> list[tuple[int, str]]:
        """Statuses and texts of all that is answered on one connection, until it is closed."""
        host = self.port.getHost()
        endpoint = TCP4ClientEndpoint(reactor, host.host, host.port)
        wire = await connectProtocol(endpoint, Wire())
        wire.send(b"".join(requests))
        for _ in range(2000):
            if wire.ended or len(wire.replies()) >= len(requests):
                break
            await deferLater(reactor, 0.005)
            self.bench.world.flush()
        wire.transport.loseConnection()
        await wire.closed
        return [(status, body["error"]) for status, _, body in wire.replies()]

    def raw(self, line: Line, target: str, who: str) -> bytes:
        """A request as bytes."""
        headers = self.bench.headers(CALLERS[who], f"{line.method}:{target}", b"")
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        length = "" if line.method == "GET" else "Content-Length: 0\r\n"
        return f"{line.method} {target} HTTP/1.1\r\nHost: x\r\n{length}{fields}\r\n".encode()

    async def test_odd_spellings(self) -> None:
        """As in memory: the same refusals, and nothing behind them."""
        await self.listen()
        # Kept for a while: whichever route of these is in the sample, it is not asked for again.
        for path in ("/api/snapshots", "/api/config", "/api/shared-regions"):
            self.bench.ask("GET", path, None)
        self.bench.world.simulator.received.clear()
        asked = list(crossed(lines(), self.bench.mine))[::197]
        asked = [one for one in asked if not one[1].upstream]
        self.assertGreater(len(asked), 100)
        for at in range(0, len(asked), 20):
            some = asked[at : at + 20]
            replies = await self.said(*(self.raw(line, odd.target, who) for line, odd, who in some))
            self.assertEqual(len(replies), len(some))
            for (line, odd, who), (status, _) in zip(some, replies, strict=True):
                self.assertIn(status, odd.statuses, (line, odd, who))
        self.assertEqual(list(self.bench.world.simulator.received), [])

    async def test_bytes(self) -> None:
        """Absolute targets, two framings and two hosts: refused, whoever signed."""
        await self.listen()
        self.bench.world.simulator.received.clear()
        path = f"/api/sandbox/{self.bench.mine}/stop"
        stop = Line(policy="owner", method="POST", pattern="/api/sandbox/{sandboxId}/stop")
        right = self.raw(stop, path, "owner")
        hidden = b"0\r\n\r\nDELETE /api/sandbox/x HTTP/1.1\r\nHost: x\r\n\r\n"
        for odd in (
            right.replace(path.encode(), b"http://x" + path.encode()),
            right.replace(path.encode(), b"//x" + path.encode()),
            right.replace(path.encode(), path.encode() + b"#"),
            right.replace(path.encode(), b"*"),
            right.replace(path.encode(), path.encode() + b" "),
            right.replace(b"Host: x", b"Host: x\r\nHost: y"),
            right.replace(b"Content-Length: 0", b"Content-Length: 0\r\nContent-Length: 5"),
            right.replace(b"Content-Length: 0", b"Content-Length: 0, 5"),
            right.replace(b"Content-Length: 0", b"Content-Length: 5\r\nTransfer-Encoding: chunked")
            + hidden,
            right.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked, identity") + hidden,
            right.replace(b"Content-Length: 0", b"Transfer-Encoding:\x0bchunked") + hidden,
            right.replace(b"Host: x", b"Host: x\r\n X: folded"),
            right.replace(b"\r\nHost", b"\r\nHost : x\r\nHost"),
        ):
            replies = await self.said(odd)
            self.assertEqual([status for status, _ in replies], [400], odd)
        self.assertEqual(list(self.bench.world.simulator.received), [])

"""One key, one piece of work: what is told again, to whom, and what is not (A5)."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers
from zope.interface import implementer

from sandbox_billing.adapters.memory import FaultyKeyspace
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.errors import BadInput, NoAnswerInTime, StoreDown
from sandbox_billing.interfaces import (
    CannotPay,
    DaytonaRefused,
    IIdempotency,
    NoSuchSnapshot,
    NotReady,
    StopPending,
    TooMany,
)
from sandbox_billing.ledger.identity import Reference, SandboxId
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.signing.key import SigningKey
from sandbox_billing.web.idempotency import RUN_SECONDS, WRONG_KEY
from sandbox_billing.web.root import make_root
from tests.web.asking import AskingTestCase, Bytes, Reply
from tests.web.world import OWNER, PROVIDER, SANDBOX, STRANGER


BODY = b'{"name":"one"}'
BROKE = CannotPay(
    text="insufficient balance",
    code="insufficient_balance",
    balance=Neuron(1),
    required=Neuron(2),
    exposure=Neuron(0),
)


@implementer(IIdempotency)
class SlowRecords:
    """Remembers at once and says so late."""

    def __init__(self, inner: Any, gate: Deferred[None]) -> None:
        self._inner, self._gate = inner, gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def begin(self, *about: Any) -> Any:
        """As the store, when the gate opens."""
        stands = await self._inner.begin(*about)
        await self._gate
        return stands


class IdempotencyCase(AskingTestCase):
    """Creates with a key."""

    def create(self, key: str | None = "k", body: bytes = BODY, **changes: Any) -> Reply:
        """One create, signed anew."""
        headers = self.world.signed("create", "", body, **changes)
        if key is not None:
            headers["Idempotency-Key"] = key
        return self.ask("POST", "/api/sandbox", headers, body)

    def works(self, name: str = "create") -> int:
        """How often intake was asked."""
        return sum(1 for call in self.world.calls.asked if call[0] == name)

    def fails(self, error: Exception | None, name: str = "create") -> None:
        """What intake raises from now on."""
        self.world.calls.failing.clear()
        if error is not None:
            self.world.calls.failing[name] = error


class ReplayTests(IdempotencyCase):
    """A request that has ended."""

    def test_same(self) -> None:
        """The same reply, marked, and no second sandbox."""
        first = self.create()
        again = self.create()
        self.assertEqual((first.status, again.status), (200, 200))
        self.assertEqual(again.json, first.json)
        self.assertIsNone(first.header("Idempotency-Replayed"))
        self.assertEqual(again.header("Idempotency-Replayed"), "true")
        self.assertEqual(self.works(), 1)

    def test_headers(self) -> None:
        """What the first reply said beside its body is said again."""
        body = b'{"autoArchiveInterval":5}'
        first, again = self.create(body=body), self.create(body=body)
        self.assertEqual(first.header("X-Billing-Ignored"), "autoArchiveInterval")
        self.assertEqual(again.header("X-Billing-Ignored"), "autoArchiveInterval")

    def test_secrets(self) -> None:
        """What users keep secrets in rests in no store: it is told once, and left out later."""
        holder, one = self.world.intake.sandboxes[SANDBOX]
        held = {**one.document, "env": {"KEY": "s3cret"}, "buildInfo": {"content": "s3cret"}}
        self.world.intake.sandboxes[SANDBOX] = holder, evolve(one, document=held)
        seen = []
        for _ in range(2):
            headers = {**self.world.signed("start", SANDBOX), "Idempotency-Key": "k"}
            seen.append(self.ask("POST", f"/api/sandbox/{SANDBOX}/start", headers).json)
        first, again = seen
        self.assertEqual(first["env"], {"KEY": "s3cret"})
        self.assertNotIn("s3cret", repr(self.world.keyspace.values()))
        del first["buildInfo"]
        self.assertEqual(again, {**first, "env": {}})

    def test_without_key(self) -> None:
        """Who sends none asks for another sandbox each time."""
        self.create(key=None)
        self.create(key=None)
        self.assertEqual(self.works(), 2)

    def test_other_body(self) -> None:
        """The key belongs to one request, spaces in its JSON aside."""
        self.create(body=b'{"name": "one", "cpu": 1}')
        self.assertEqual(self.create(body=b'{"cpu":1,"name":"one"}').status, 200)
        for body in (b"{}", b'{"name":"two","cpu":1}', b'{"name":"one","cpu":1,"public":true}'):
            reply = self.create(body=body)
            self.assertEqual(reply.status, 409)
            self.assertEqual(
                reply.json["error"], "this Idempotency-Key was used for another request"
            )
            self.assertIsNone(reply.header("Retry-After"))
        self.assertEqual(self.works(), 1)

    def test_other_key_wallet_route(self) -> None:
        """Keys of others, and of other routes, are other keys."""
        self.create()
        self.create(key="K")
        self.create()
        self.assertEqual(self.works(), 2)
        headers = self.world.signed("create", "", BODY, key=STRANGER)
        headers["Idempotency-Key"] = "k"
        reply = self.ask("POST", "/api/sandbox", headers, BODY)
        self.assertIsNone(reply.header("Idempotency-Replayed"))
        self.assertEqual(self.works(), 3)
        for verb in ("start", "stop"):
            headers = self.world.signed(verb, SANDBOX)
            headers["Idempotency-Key"] = "k"
            reply = self.ask("POST", f"/api/sandbox/{SANDBOX}/{verb}", headers)
            self.assertEqual((reply.status, reply.header("Idempotency-Replayed")), (200, None))

    def test_all_of_them(self) -> None:
        """Start, stop, archive and delete heed it as well: our own client sends it with each."""
        for method, end, verb in (
            ("POST", "/start", "start"),
            ("POST", "/stop", "stop"),
            ("POST", "/archive", "archive"),
            ("DELETE", "", "delete"),
        ):
            seen = []
            for _ in range(2):
                headers = self.world.signed(verb, SANDBOX)
                headers["Idempotency-Key"] = "same"
                reply = self.ask(method, f"/api/sandbox/{SANDBOX}{end}", headers)
                seen.append((reply.status, reply.header("Idempotency-Replayed")))
            self.assertEqual(seen, [(200, None), (200, "true")], verb)
            self.assertEqual(self.works(verb), 1)

    def test_end_beyond_the_keys(self) -> None:
        """With as many keys as there may be nothing new begins, and what is paid for still ends."""
        records = evolve(self.world.journal.idempotency, most=1)
        root = make_root(evolve(self.world.desk, idempotency=records))
        self.world.agent = RequestTraversalAgent(root)
        self.assertEqual([self.create(key).status for key in ("a", "b")], [200, 429])
        path = f"/api/sandbox/{SANDBOX}"
        for method, end, verb in (("POST", "/stop", "stop"), ("DELETE", "", "delete")):
            for _ in range(2):
                headers = {**self.world.signed(verb, SANDBOX), "Idempotency-Key": verb}
                reply = self.ask(method, path + end, headers)
                self.assertEqual((reply.status, reply.header("Idempotency-Replayed")), (200, None))
            self.assertEqual(self.works(verb), 2)
        self.assertEqual(self.create("a").header("Idempotency-Replayed"), "true")

    def test_new_nonce(self) -> None:
        """A retry is signed anew: the very same bytes are a replay, and refused."""
        headers = {**self.world.signed("create", "", BODY), "Idempotency-Key": "k"}
        self.assertEqual(self.ask("POST", "/api/sandbox", headers, BODY).status, 200)
        self.assertEqual(self.ask("POST", "/api/sandbox", headers, BODY).status, 401)

    def test_keys(self) -> None:
        """1 to 255 printable ASCII characters, once."""
        for key in ("", "x" * 256, "a\tb", "schlüssel", "a\x7f"):
            headers = self.world.signed("create", "", BODY)
            headers["Idempotency-Key"] = key
            reply = self.ask("POST", "/api/sandbox", headers, BODY)
            self.assertEqual(reply.error, (400, WRONG_KEY), key)
        self.assertEqual(self.create(key="x" * 255).status, 200)
        self.assertEqual(self.create(key=" ~").status, 200)

    def test_forgotten(self) -> None:
        """After a day the key is free."""
        self.create()
        self.world.clock.advance(86_400)
        self.world.wall.moment += 86_400
        headers = self.world.signed("create", "", BODY, expires_at=self.world.wall.moment + 300)
        reply = self.ask("POST", "/api/sandbox", {**headers, "Idempotency-Key": "k"}, BODY)
        self.assertEqual((reply.status, self.works()), (200, 2))


class RefusalTests(IdempotencyCase):
    """What is kept of a request that was refused, and what is not."""

    def test_daytona(self) -> None:
        """Daytona's own refusal stands."""
        self.fails(DaytonaRefused("no such region", 422))
        first = self.create()
        self.fails(None)
        again = self.create()
        self.assertEqual(first.error, (422, "no such region"))
        self.assertEqual(again.error, first.error)
        self.assertEqual(again.json["statusCode"], 422)
        self.assertEqual(again.header("Idempotency-Replayed"), "true")
        self.assertEqual(self.works(), 1)

    def test_before_anything_happened(self) -> None:
        """A deposit, a free slot, a corrected body: the same key may be used again."""
        for number, error in enumerate(
            (
                BROKE,
                TooMany("too many", retry_after=9),
                StopPending("stop pending", "insufficient_balance"),
                BadInput("no such size"),
                NoSuchSnapshot("there is no snapshot x"),
                DaytonaRefused("what was looked up has no such form", 422, looked=True),
                DaytonaRefused("state change in progress", 409),
                DaytonaRefused("slow down", 429),
            )
        ):
            key = f"k{number}"
            self.fails(error)
            self.assertGreaterEqual(self.create(key).status, 400)
            self.fails(None)
            reply = self.create(key, b'{"name":"corrected"}')
            self.assertEqual((reply.status, reply.header("Idempotency-Replayed")), (200, None))

    def test_unknown(self) -> None:
        """Where nobody knows, or our side failed, nothing is kept but that it was asked."""
        for number, error in enumerate(
            (
                NotReady("not ready"),
                StoreDown("down"),
                NoAnswerInTime("no answer"),
                DaytonaRefused("our key", 401),
                RuntimeError("a mistake of ours"),
            )
        ):
            key = f"k{number}"
            self.fails(error)
            self.assertGreaterEqual(self.create(key).status, 500)
            self.fails(None)
            self.assertEqual(self.create(key, b"{}").status, 409)
            reply = self.create(key)
            self.assertEqual((reply.status, reply.header("Idempotency-Replayed")), (200, None))
        self.flushLoggedErrors(RuntimeError)

    def test_before_the_door(self) -> None:
        """What did not pass the door is not remembered at all."""
        headers = {**self.world.signed("create", "", b"{}"), "Idempotency-Key": "k"}
        self.assertEqual(self.ask("POST", "/api/sandbox", headers, BODY).status, 401)
        self.assertEqual([key for key in self.world.keyspace.values() if "idempotency" in key], [])


class UnderWayTests(IdempotencyCase):
    """While the first still runs, and when nobody runs it any more."""

    def begin(self) -> Deferred[Any]:
        """A create whose reply is not there yet."""
        fields = Headers({"Content-Type": ["application/json"], "Idempotency-Key": ["k"]})
        for name, value in self.world.signed("create", "", BODY).items():
            fields.setRawHeaders(name, [value])
        asking = self.world.agent.request(
            b"POST", b"https://front.example/api/sandbox", fields, Bytes(BODY)
        )
        self.world.agent.flush()
        self.assertNoResult(asking)
        return asking

    def hang_up(self, asking: Deferred[Any]) -> None:
        """The client goes away."""
        asking.addErrback(lambda _: None)
        asking.cancel()
        self.world.agent.flush()

    def test_running(self) -> None:
        """409, and when to ask again; the first one's reply is told afterwards."""
        gate: Deferred[None] = Deferred()
        self.world.calls.waiting["create"] = gate
        first = self.begin()
        reply = self.create()
        self.assertEqual(reply.error, (409, "a request with this Idempotency-Key is under way"))
        self.assertEqual(reply.header("Retry-After"), "5")
        del self.world.calls.waiting["create"]
        gate.callback(None)
        self.world.agent.flush()
        self.assertEqual(self.successResultOf(first).code, 200)
        self.assertEqual(self.create().header("Idempotency-Replayed"), "true")
        self.assertEqual(self.works(), 1)

    def test_too_much(self) -> None:
        """What was not begun because too much is under way is not taken to run."""
        self.world.supervisor.most = 1
        gate: Deferred[None] = Deferred()
        self.world.calls.waiting["create"] = gate
        first = self.begin()
        reply = self.create("another")
        self.assertEqual((reply.status, reply.header("Retry-After")), (503, "5"))
        del self.world.calls.waiting["create"]
        gate.callback(None)
        self.world.agent.flush()
        self.assertEqual(self.successResultOf(first).code, 200)
        self.assertEqual(self.create("another").status, 200)

    def test_place_to_end(self) -> None:
        """Whoever stops or deletes what is his has a place, with a key as without (V1)."""
        supervisor = self.world.supervisor
        supervisor.most = 0
        for verb, method, path in (
            ("stop", "POST", f"/api/sandbox/{SANDBOX}/stop"),
            ("delete", "DELETE", f"/api/sandbox/{SANDBOX}"),
        ):

            def end(
                key: SigningKey, verb: str = verb, where: tuple[str, str] = (method, path)
            ) -> Reply:
                signed = self.world.signed(verb, SANDBOX, key=key)
                return self.ask(*where, {**signed, "Idempotency-Key": "k"})

            self.assertEqual(end(STRANGER).status, 503)
            self.assertEqual(self.works(verb), 0)
            supervisor.reserve = 0
            self.assertEqual(end(OWNER).status, 503)
            supervisor.reserve = 1
            self.assertEqual(end(OWNER).status, 200)
            self.assertEqual(end(OWNER).header("Idempotency-Replayed"), "true")
            self.assertEqual(self.works(verb), 1)
        self.assertEqual(self.create().status, 503)
        self.assertEqual(supervisor.under_way, {})

    def test_client_gone(self) -> None:
        """The client hangs up: the work goes on, and its reply waits for the next request."""
        gate: Deferred[None] = Deferred()
        self.world.calls.waiting["create"] = gate
        self.hang_up(self.begin())
        del self.world.calls.waiting["create"]
        gate.callback(None)
        reply = self.create()
        self.assertEqual((reply.status, reply.header("Idempotency-Replayed")), (200, "true"))
        self.assertEqual(self.works(), 1)

    def test_client_gone_before_it_began(self) -> None:
        """Also who hangs up while his key is being remembered leaves nobody's key behind."""
        gate: Deferred[None] = Deferred()
        records = SlowRecords(self.world.journal.idempotency, gate)
        self.world.agent = RequestTraversalAgent(
            make_root(evolve(self.world.desk, idempotency=records))
        )
        self.hang_up(self.begin())
        gate.callback(None)
        self.world.agent = RequestTraversalAgent(make_root(self.world.desk))
        reply = self.create()
        self.assertEqual((reply.status, reply.header("Idempotency-Replayed")), (200, "true"))
        self.assertEqual(self.works(), 1)

    def died(self) -> None:
        """A process begins a create and is gone."""
        gate: Deferred[None] = Deferred()
        self.world.calls.waiting["create"] = gate
        self.hang_up(self.begin())
        del self.world.calls.waiting["create"]

    def later(self) -> None:
        """Long enough for anybody to have answered."""
        self.world.wall.moment += RUN_SECONDS

    def retry(self) -> Reply:
        """The same request, later."""
        return self.create(expires_at=self.world.wall.moment + 300)

    def reference(self) -> Reference:
        """Under which the newest create was asked."""
        reference = self.world.calls.references[-1]
        assert reference is not None
        return reference

    def test_dead(self) -> None:
        """Its process has died before anything came of it: it is done anew, once."""
        self.died()
        first = self.reference()
        self.assertEqual(self.retry().status, 409)
        self.later()
        reply = self.retry()
        self.assertEqual((reply.status, reply.header("Idempotency-Replayed")), (200, None))
        self.assertNotEqual(self.reference(), first)
        self.assertEqual(self.retry().header("Idempotency-Replayed"), "true")
        self.assertEqual(self.works(), 2)

    def test_dead_after_opening(self) -> None:
        """A session was opened under its reference: that sandbox is the answer."""
        self.died()
        self.opened(SandboxId(SANDBOX))
        self.later()
        reply = self.retry()
        self.assertEqual((reply.status, reply.json["id"]), (200, SANDBOX))
        again = self.retry()
        self.assertEqual(again.header("Idempotency-Replayed"), "true")
        self.assertEqual((again.json, self.works()), (reply.json, 1))

    def test_dead_and_gone(self) -> None:
        """The sandbox was made and is gone: it is not made again, however often it is asked."""
        self.died()
        self.opened(SandboxId("long-gone"))
        self.later()
        for _ in range(3):
            self.assertEqual(self.retry().status, 404)
        self.assertEqual(self.works(), 1)

    def test_joining_fails(self) -> None:
        """Whoever cannot look now asks again, and finds the same sandbox."""
        self.died()
        self.opened(SandboxId(SANDBOX))
        self.later()
        for error in (NotReady("not now"), StoreDown("down")):
            self.fails(error, "owned")
            self.assertEqual(self.retry().status, 503)
        self.fails(None)
        self.assertEqual(self.retry().json["id"], SANDBOX)
        self.assertEqual(self.works(), 1)

    def opened(self, sandbox: SandboxId) -> None:
        """As the fact that opens a session leaves it."""
        keys = self.world.journal.store.keys
        self.world.keyspace._values[keys.spent(self.reference())] = sandbox.encode()

    def test_store_fails_at_the_end(self) -> None:
        """A reply that could not be kept is told all the same."""
        faults = FaultyKeyspace(self.world.keyspace, self.world.clock)
        journal = Journal.over(faults, PROVIDER, self.world.wall, interval_seconds=3600)
        desk = evolve(self.world.desk, idempotency=journal.idempotency)
        self.world.agent = RequestTraversalAgent(make_root(desk))
        gate: Deferred[None] = Deferred()
        self.world.calls.waiting["create"] = gate
        first = self.begin()
        faults.connected = False
        gate.callback(None)
        self.world.agent.flush()
        self.assertEqual(self.successResultOf(first).code, 200)
        faults.connected = True
        self.assertEqual(self.create().status, 409)

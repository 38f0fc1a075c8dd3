"""
What operators order over HTTP: who may, how often it is one order, and what is answered when.
"""

from __future__ import annotations

import json
from typing import Any

import treq
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers

from sandbox_billing.errors import Transient
from sandbox_billing.ledger.backlog import Left, Pause, what_is_left
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.order import MOST_OPEN, RESERVED, Kind, Order, OrderId
from sandbox_billing.ledger.token import Scope
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.key import SigningKey
from sandbox_billing.web._denied import ADMIN_ONLY
from sandbox_billing.web._schemas import SCHEMAS
from sandbox_billing.web.idempotency import OTHER_REQUEST
from sandbox_billing.web.operator_orders import LOOK_SECONDS, NO_ORDER, WAIT_SECONDS, kept_drain
from tests.web.asking import AskingTestCase, Bytes, Reply
from tests.web.test_operator import OPERATOR, faults
from tests.web.world import FOREIGN, NOW, OWNER, SANDBOX, STRANGER, TERMS, World, token_for


WHY = {"reason": "the node behind is changed"}

ORDERS: tuple[tuple[str, str, Any, Kind, str | None], ...] = (
    ("POST", "/api/operator/pause", WHY, Kind.PAUSE, None),
    ("POST", "/api/operator/resume", None, Kind.RESUME, None),
    ("POST", "/api/operator/drain", WHY, Kind.DRAIN, None),
    ("POST", f"/api/operator/sandbox/{SANDBOX}/stop", WHY, Kind.STOP, SANDBOX),
    ("POST", "/api/archive-all", None, Kind.ARCHIVE_ALL, None),
    ("DELETE", f"/api/sandbox/{FOREIGN}/force", None, Kind.FORCE_DELETE, FOREIGN),
    ("DELETE", f"/api/sandbox/force/{FOREIGN}", WHY, Kind.FORCE_DELETE, FOREIGN),
    ("POST", "/api/snapshots", {"name": "mine", "cpu": 2}, Kind.SNAPSHOT, "mine"),
    ("DELETE", "/api/snapshots/mine", None, Kind.DELETE_SNAPSHOT, "mine"),
)
VERBS = (
    ("POST", "/api/archive-all", "archive-all", ""),
    ("DELETE", f"/api/sandbox/{SANDBOX}/force", "force-delete", SANDBOX),
    ("DELETE", f"/api/sandbox/force/{SANDBOX}", "force-delete", SANDBOX),
    ("POST", "/api/snapshots", "snapshot", ""),
    ("DELETE", "/api/snapshots/mine", "delete-snapshot", "mine"),
)


class OrdersCase(AskingTestCase):
    """One operator, who is not the provider, and a worker that does what a test says."""

    def setUp(self) -> None:
        """Nothing happened yet."""
        self.world = World(evolve(TERMS, operators=frozenset({OPERATOR.address})))
        self.orders = self.world.journal.orders
        self.now(self.world.journal.lease.acquire())

    def now(self, work: Any) -> Any:
        """What completes at once."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def begin(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        key: SigningKey = OPERATOR,
        headers: dict[str, str] | None = None,
        idempotency: str | None = None,
    ) -> Deferred[Any]:
        """Ask, and wait for no answer."""
        raw = b"" if body is None else json.dumps(body).encode()
        sent = headers or self.world.signed(f"{method}:{target}", "", raw, key=key)
        fields = Headers({name: [value] for name, value in sent.items()})
        if raw:
            fields.setRawHeaders("Content-Type", ["application/json"])
        if idempotency is not None:
            fields.setRawHeaders("Idempotency-Key", [idempotency])
        url = b"https://front.example" + target.encode()
        producer = Bytes(raw) if raw else None
        return self.world.agent.request(method.encode(), url, fields, producer)

    def reply(self, sending: Deferred[Any]) -> Reply:
        """The answer that is there."""
        response = self.successResultOf(sending)
        raw = self.successResultOf(treq.content(response))
        return Reply(response.code, json.loads(raw), response.headers)

    def waited(self, sending: Deferred[Any]) -> Reply:
        """The answer, after as long as it takes."""
        for _ in range(round(WAIT_SECONDS / LOOK_SECONDS) + 1):
            if sending.called and not sending.paused:
                break
            self.world.clock.advance(LOOK_SECONDS)
            self.world.agent.flush()
        return self.reply(sending)

    def standing(self) -> list[Order]:
        """What the worker would find."""
        return [one.value for one in self.now(self.orders.unended())]

    def end(self, **result: Any) -> Order:
        """The worker has done the one that stands."""
        (stands,) = self.now(self.orders.unended())
        ended = stands.value.finished(UnixSeconds(NOW + 1), result)
        self.now(self.orders.end(stands, ended, ended.entry(checksum(ended.by))))
        return ended  # type: ignore[no-any-return]


class WhoTests(OrdersCase):
    """Whom it is for."""

    def test_operator(self) -> None:
        """Each route stores one order of its kind, by whoever signed, and tells it."""
        for method, target, body, kind, subject in ORDERS:
            sending = self.begin(method, target, body)
            (order,) = self.standing()
            self.assertEqual(
                (order.kind, order.subject, order.by), (kind, subject, OPERATOR.address), target
            )
            self.assertEqual(order.reason, (body or {}).get("reason", ""))
            self.end(a=1)
            reply = self.waited(sending)
            self.assertEqual(reply.status, 200, target)
            self.assertEqual(faults(reply.json, SCHEMAS["Order"]), [])
            self.assertEqual((reply.json["state"], reply.json["result"]), ("done", {"a": 1}))
            self.assertEqual(reply.json["by"], checksum(OPERATOR.address))

    def test_others(self) -> None:
        """A stranger, the owner and somebody unsigned store nothing, and the audit stays empty."""
        for method, target, body, _, _ in ORDERS:
            for key in (OWNER, STRANGER):
                reply = self.ask_by_path(method, target, body, key=key)
                self.assertEqual(reply.error, (403, ADMIN_ONLY))
            raw = b"" if body is None else json.dumps(body).encode()
            self.assertEqual(self.ask(method, target, {}, raw).status, 401)
        for target in (
            "/api/operator/drain",
            "/api/operator/orders",
            f"/api/operator/orders/{'0' * 32}",
        ):
            self.assertEqual(self.ask_by_path("GET", target).error, (403, ADMIN_ONLY))
            self.assertEqual(self.ask("GET", target).status, 401)
        self.assertEqual(self.standing(), [])
        self.assertEqual(self.now(self.world.journal.overview.audit(None, 9)).total, 0)

    def test_verbs(self) -> None:
        """As older clients sign; the verb or the name of another resource opens nothing."""
        for method, target, verb, id in VERBS:
            body = {"name": "mine"} if verb == "snapshot" else None
            raw = b"" if body is None else json.dumps(body).encode()
            signed = self.world.signed(verb, id, raw, key=OPERATOR)
            sending = self.begin(method, target, body, headers=signed)
            self.end()
            self.assertEqual(self.waited(sending).status, 200, target)
            for other in ((verb, "other"), ("delete", id)):
                headers = self.world.signed(*other, raw, key=OPERATOR)
                self.assertEqual(self.ask(method, target, headers, raw).status, 401, other)

    def test_tokens(self) -> None:
        """One that may only look orders nothing, and sees what was ordered."""
        raw = json.dumps(WHY).encode()
        read = token_for(self.world, OPERATOR.address, expires_at=NOW + 60, scopes=[Scope.READ])
        self.assertEqual(self.ask("POST", "/api/operator/pause", read, raw).status, 403)
        self.assertEqual(self.ask("GET", "/api/operator/orders", read).status, 200)
        manage = token_for(self.world, OPERATOR.address, expires_at=NOW + 60)
        sending = self.begin("POST", "/api/operator/pause", WHY, headers=manage)
        self.end()
        self.assertEqual(self.waited(sending).status, 200)


class WaitTests(OrdersCase):
    """What is answered when."""

    def test_not_over(self) -> None:
        """After ten seconds the order is told as it is, and goes on."""
        sending = self.begin("POST", "/api/operator/drain", WHY)
        self.world.clock.advance(WAIT_SECONDS - LOOK_SECONDS)
        self.assertNoResult(sending)
        reply = self.waited(sending)
        self.assertEqual((reply.status, reply.json["state"]), (202, "asked"))
        self.assertEqual(faults(reply.json, SCHEMAS["Order"]), [])
        ended = self.end()
        shown = self.ask_by_path("GET", f"/api/operator/orders/{reply.json['id']}", key=OPERATOR)
        self.assertEqual((shown.status, shown.json["state"]), (200, "done"))
        self.assertEqual(shown.json["ended_at"], ended.ended_at)

    def test_unread(self) -> None:
        """While the store does not answer the order is told as it was stored: it stands."""
        sending = self.begin("POST", "/api/operator/pause", WHY)

        async def down(*_: Any) -> Any:
            raise Transient("the store is down")

        self.patch(type(self.orders), "order", down)
        reply = self.waited(sending)
        self.assertEqual((reply.status, reply.json["state"]), (202, "asked"))
        self.assertEqual([one.id for one in self.standing()], [reply.json["id"]])

    def test_hang_up(self) -> None:
        """Whoever hangs up leaves the order as it is."""
        sending = self.begin("POST", "/api/operator/pause", WHY)
        sending.addErrback(lambda _: None)
        sending.cancel()
        self.world.clock.advance(WAIT_SECONDS)
        self.assertEqual(len(self.standing()), 1)
        self.end()

    def test_failed(self) -> None:
        """One that failed is told with what went wrong: the request itself was served."""
        sending = self.begin("POST", "/api/operator/resume")
        (stands,) = self.now(self.orders.unended())
        ended = stands.value.failed(UnixSeconds(NOW), "nobody's")
        self.now(self.orders.end(stands, ended, ended.entry("x")))
        reply = self.waited(sending)
        self.assertEqual((reply.status, reply.json["error"]), (200, "nobody's"))


class OnceTests(OrdersCase):
    """An order's name."""

    def test_same_key(self) -> None:
        """The same key is the same order, while it stands and when it has ended."""
        first = self.begin("POST", "/api/operator/pause", WHY, idempotency="k")
        second = self.begin("POST", "/api/operator/pause", WHY, idempotency="k")
        self.assertEqual(len(self.standing()), 1)
        self.end()
        told = [self.waited(one).json for one in (first, second)]
        third = self.waited(self.begin("POST", "/api/operator/pause", WHY, idempotency="k"))
        self.assertEqual(told, [third.json, third.json])
        self.assertEqual(self.standing(), [])

    def test_gone_since(self) -> None:
        """What was deleted under a key is the same order still: nobody looks for it again."""
        target = f"/api/sandbox/{SANDBOX}/force"
        first = self.begin("DELETE", target, idempotency="k")
        self.end()
        self.waited(first)
        self.world.calls.asked.clear()
        again = self.waited(self.begin("DELETE", target, idempotency="k"))
        self.assertEqual(again.status, 200)
        self.assertEqual(self.world.calls.asked, [])

    def test_other_request(self) -> None:
        """A key is not used for anything else: another route, subject or reason."""
        self.begin("POST", f"/api/operator/sandbox/{SANDBOX}/stop", WHY, idempotency="k")
        for method, target, body in (
            ("POST", "/api/operator/pause", WHY),
            ("POST", f"/api/operator/sandbox/{FOREIGN}/stop", WHY),
            ("POST", f"/api/operator/sandbox/{SANDBOX}/stop", {"reason": "another"}),
        ):
            reply = self.waited(self.begin(method, target, body, idempotency="k"))
            self.assertEqual(reply.error, (409, OTHER_REQUEST))
        self.end()

    def test_snapshots_of_two_names(self) -> None:
        """What is named in the path counts, too."""
        self.begin("DELETE", "/api/snapshots/a", idempotency="k")
        reply = self.waited(self.begin("DELETE", "/api/snapshots/b", idempotency="k"))
        self.assertEqual(reply.error, (409, OTHER_REQUEST))

    def test_no_key(self) -> None:
        """Without one, each is an order of its own."""
        for _ in range(2):
            self.begin("POST", "/api/operator/pause", WHY)
        self.assertEqual(len({one.id for one in self.standing()}), 2)


class RefusalTests(OrdersCase):
    """What is no order."""

    def test_bodies(self) -> None:
        """A reason of the wrong form, a body of another kind, a snapshot with what is not ours."""
        for method, target, body in (
            ("POST", "/api/operator/pause", None),
            ("POST", "/api/operator/pause", {"reason": ""}),
            ("POST", "/api/operator/pause", {"reason": "x" * 201}),
            ("POST", "/api/operator/drain", {"reason": 7}),
            ("POST", "/api/operator/pause", {**WHY, "more": 1}),
            ("POST", "/api/archive-all", ["reason"]),
            ("POST", "/api/snapshots", {}),
            ("POST", "/api/snapshots", {"name": "x", "runnerId": "r"}),
            ("POST", "/api/snapshots", {"name": "x", "cpu": "2"}),
            ("POST", "/api/snapshots", {"name": "x", "general": 1}),
            ("POST", "/api/snapshots", {"name": " x"}),
            ("POST", "/api/snapshots", {"name": "x", "entrypoint": "sleep"}),
        ):
            reply = self.ask_by_path(method, target, body, key=OPERATOR)
            self.assertEqual(reply.status, 400, (target, body))
        self.assertEqual(self.standing(), [])

    def test_names(self) -> None:
        """What no snapshot can be called is written into no audit."""
        for name in ("x" * 256, "%E2%80%AE", "%20x"):
            reply = self.ask_by_path("DELETE", f"/api/snapshots/{name}", None, key=OPERATOR)
            self.assertEqual(reply.status, 400, name)
        self.assertEqual(self.standing(), [])

    def test_body_for_daytona(self) -> None:
        """Only what is allowed reaches it: neither the reason nor whose it is to be."""
        body = {"name": "mine", "cpu": 2, "general": False, "reason": "new", "gpuType": None}
        self.begin("POST", "/api/snapshots", body)
        (order,) = self.standing()
        self.assertEqual(json.loads(order.body or ""), {"name": "mine", "cpu": 2})
        self.assertEqual((order.general, order.reason), (False, "new"))

    def test_no_sandbox(self) -> None:
        """Nothing is ordered of what Daytona does not show."""
        for method, target, body in (
            ("POST", "/api/operator/sandbox/none/stop", WHY),
            ("DELETE", "/api/sandbox/none/force", None),
        ):
            self.assertEqual(self.ask_by_path(method, target, body, key=OPERATOR).status, 404)
        self.assertEqual(self.standing(), [])

    def test_too_many(self) -> None:
        """So many that stand are enough; the door can be closed and opened all the same."""
        for number in range(MOST_OPEN):
            self.now(
                self.orders.ask(
                    Order(
                        id=OrderId(f"f{number:031x}"),
                        digest="d",
                        kind=Kind.STOP,
                        by=OPERATOR.address,
                        asked_at=UnixSeconds(NOW),
                    )
                )
            )
        stop = f"/api/operator/sandbox/{SANDBOX}/stop"
        for target in (stop, "/api/operator/drain"):
            reply = self.ask_by_path("POST", target, WHY, key=OPERATOR)
            self.assertEqual(reply.status, 429, target)
            self.assertTrue(reply.headers.hasHeader("Retry-After"))
        for number in range(RESERVED):
            self.begin("POST", "/api/operator/" + ("pause", "resume")[number % 2], WHY)
        self.assertEqual(len(self.standing()), MOST_OPEN + RESERVED)
        reply = self.ask_by_path("POST", "/api/operator/pause", WHY, key=OPERATOR)
        self.assertEqual(reply.status, 429)


class LookTests(OrdersCase):
    """What was ordered, and what is left."""

    def test_pages(self) -> None:
        """The newest first, page by page."""
        for _ in range(3):
            sending = self.begin("POST", "/api/operator/resume")
            self.end()
            self.waited(sending)
        first = self.ask_by_path("GET", "/api/operator/orders?limit=2", key=OPERATOR)
        self.assertEqual(faults(first.json, SCHEMAS["Orders"]), [])
        target = f"/api/operator/orders?limit=2&cursor={first.json['next']}"
        second = self.ask_by_path("GET", target, key=OPERATOR)
        self.assertEqual([len(one.json["orders"]) for one in (first, second)], [2, 1])
        self.assertIsNone(second.json["next"])
        ids = [one["id"] for page in (first, second) for one in page.json["orders"]]
        self.assertEqual(len(set(ids)), 3)

    def test_none(self) -> None:
        """What no order is called is 404."""
        for id in ("0" * 32, "x"):
            reply = self.ask_by_path("GET", f"/api/operator/orders/{id}", key=OPERATOR)
            self.assertEqual(reply.error, (404, NO_ORDER))

    def test_drain(self) -> None:
        """What is left, and under which pause; drained only under one."""
        seen = self.ask_by_path("GET", "/api/operator/drain", key=OPERATOR).json
        self.assertEqual(faults(seen, SCHEMAS["Drain"]), [])
        self.assertEqual((seen["paused"], seen["drained"]), (None, False))
        self.assertEqual(seen["left"]["sessions"], 0)
        pause = Pause(since=UnixSeconds(NOW), reason="r", by="b")
        self.now(self.world.journal.pause.pause(pause))
        self.world.clock.advance(10)
        door = self.now(self.world.journal.doors.door_state())
        self.world.doors.door_state = lambda: _told(door)  # type: ignore[method-assign]
        seen = self.ask_by_path("GET", "/api/operator/drain", key=OPERATOR).json
        self.assertEqual(seen["paused"], {"reason": "r", "since": NOW, "by": "b"})
        self.assertTrue(seen["drained"])
        self.assertEqual(self.now(self._looks()), [NOW, NOW])
        self.assertEqual(faults(seen, SCHEMAS["Drain"]), [])

    async def _looks(self) -> list[int]:
        """Of what moments it was asked what is left, where the second look finds something."""
        looks: list[int] = []

        async def left(since: UnixSeconds) -> Left:
            looks.append(since)
            found = what_is_left(since, intents=(), sessions=(), claims=())
            return evolve(found, charges=len(looks) - 1)

        wall, clock = self.world.wall, self.world.clock
        drained = await kept_drain(self.world.doors, left, wall, clock).get()
        self.assertEqual(drained.left.charges, 1)
        return looks


async def _told(value: Any) -> Any:
    return value

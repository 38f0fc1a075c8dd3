"""One search by a request's id finds what it caused, and nothing else."""

from __future__ import annotations

import json
from threading import get_ident
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import Logger, LogPublisher, globalLogPublisher
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.http_headers import Headers

from sandbox_billing.adapters.chain.contract_wallets import Web3ContractWallets
from sandbox_billing.devnet.redis import free_port
from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import DaytonaRefused
from sandbox_billing.ledger.identity import Address
from sandbox_billing.log_context import REQUEST, carried
from sandbox_billing.logs import json_line
from sandbox_billing.services._supervise import Supervisor, gather
from sandbox_billing.web.answers import ACCESS
from tests.web.asking import AskingTestCase, Reply
from tests.web.world import OWNER, SANDBOX


class ContextTests(SynchronousTestCase):
    """Coroutines that take turns."""

    def setUp(self) -> None:
        """A logger, and what it says: who said it, caused by whom."""
        self.said: list[tuple[str, Any]] = []
        self.failed_for: list[Any] = []
        log = Logger("sandbox_billing.tests", observer=LogPublisher(self.note))
        self.say = lambda who: log.info("{name}", name=who)

    def note(self, event: dict[str, Any]) -> None:
        """As the observer writes it."""
        line = json.loads(json_line(event))
        self.said.append((line["name"], line.get("request_id")))

    def note_event(self, event: dict[str, Any]) -> None:
        """Whose failure is told of."""
        if "log_failure" in event:
            self.failed_for.append(json.loads(json_line(event)).get("request_id"))

    async def request(self, id: str, *gates: Deferred[None]) -> None:
        """Wait here and there, and say something each time."""
        REQUEST.set(id)
        self.say(f"{id} begins")
        for gate in gates:
            await gate
            self.say(f"{id} goes on")

    def test_taking_turns(self) -> None:
        """Whoever wakes a coroutine, its words are its own; the waker's stay the waker's."""
        first: Deferred[None] = Deferred()
        second: Deferred[None] = Deferred()
        third: Deferred[None] = Deferred()

        async def waker() -> None:
            REQUEST.set("C")
            first.callback(None)
            self.say("C wakes A")
            second.callback(None)
            self.say("C wakes B")

        for id, gates in (("A", [first, third]), ("B", [second])):
            self.assertNoResult(Deferred.fromCoroutine(self.request(id, *gates)))
        self.successResultOf(Deferred.fromCoroutine(waker()))
        self.say("nobody")
        third.callback(None)
        self.assertEqual(
            [("nobody", None)], [(who, id) for who, id in self.said if who[0] != str(id)]
        )
        self.assertEqual(8, len(self.said))

    def test_what_outlives_it(self) -> None:
        """Work that was detached, and several at once, are still its own when it is gone."""
        supervisor, gate = Supervisor(), Deferred[None]()

        async def work(who: str) -> None:
            await gate
            self.say(who)

        async def request() -> None:
            REQUEST.set("A")
            supervisor.detached("work", work("detached"))
            await gather(work("one"), work("two"))

        Deferred.fromCoroutine(request())
        gate.callback(None)
        self.assertEqual({("detached", "A"), ("one", "A"), ("two", "A")}, set(self.said))

    def test_failing_alone(self) -> None:
        """Work that fails when nobody waits any more is told of as its own, not as its waker's."""
        supervisor, gate = Supervisor(), Deferred[None]()
        globalLogPublisher.addObserver(self.note_event)
        self.addCleanup(globalLogPublisher.removeObserver, self.note_event)

        async def work() -> None:
            await gate
            raise ValueError("no")

        async def begin() -> None:
            REQUEST.set("A")
            waiting = supervisor.detached("work", work())
            waiting.addErrback(lambda failure: failure.trap(CancelledError))
            waiting.cancel()

        async def wake() -> None:
            REQUEST.set("B")
            gate.callback(None)

        begun = Deferred.fromCoroutine(begin())
        self.successResultOf(Deferred.fromCoroutine(wake()))
        self.successResultOf(begun)
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))
        self.assertEqual(["A"], self.failed_for)

    def test_timers(self) -> None:
        """What the reactor calls by itself was caused by nobody."""
        clock = Clock()

        async def request() -> None:
            REQUEST.set("A")
            clock.callLater(1, self.say, "timer")

        self.successResultOf(Deferred.fromCoroutine(request()))
        clock.advance(1)
        self.assertEqual([("timer", None)], self.said)


class ThreadTests(TestCase):
    """Work in another thread."""

    async def test_carried(self) -> None:
        """It knows the request where it was carried, and only there."""
        REQUEST.set("A")
        here = get_ident()
        seen = await deferToThread(carried(lambda: (get_ident() == here, REQUEST.get())))
        self.assertEqual((False, "A"), seen)
        self.assertIsNone(await deferToThread(REQUEST.get))

    async def test_nodes(self) -> None:
        """A node that fails in a thread is told of with the request that asked."""
        from twisted.internet import reactor

        pool = ThreadPool(0, 2)
        pool.start()
        self.addCleanup(pool.stop)
        threaded: Any = reactor
        wallets = Web3ContractWallets.of(
            [f"http://127.0.0.1:{free_port()}"], chain_id=1, reactor=threaded, pool=pool
        )
        lines: list[dict[str, Any]] = []

        def note(event: dict[str, Any]) -> None:
            lines.append(json.loads(json_line(event)))

        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)

        async def asked() -> None:
            REQUEST.set("A")
            with self.assertRaises(Transient):
                await wallets.has_signed(Address("0x" + "11" * 20), b"d" * 32, b"s" * 65)

        await Deferred.fromCoroutine(asked())
        (line,) = [one for one in lines if one.get("event", "").startswith("chain node {node}")]
        self.assertEqual("A", line["request_id"])
        self.assertIsNone(REQUEST.get())


class RequestTests(AskingTestCase):
    """Through the router."""

    def setUp(self) -> None:
        """Keep every line."""
        super().setUp()
        self.lines: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.note)
        self.addCleanup(globalLogPublisher.removeObserver, self.note)

    def note(self, event: dict[str, Any]) -> None:
        """As the observer writes it."""
        self.lines.append(json.loads(json_line(event)))

    def of(self, reply: Reply) -> list[str]:
        """What was logged for a request."""
        id = reply.header("X-Request-Id")
        return [line["event"] for line in self.lines if line.get("request_id") == id]

    def noting(self) -> None:
        """Something far below says what it was asked for, before it waits and after."""
        log, note = Logger("sandbox_billing.far.below"), self.world.calls.note

        async def noted(name: str, *arguments: Any) -> None:
            log.info("asked for {name}", name=name)
            await note(name, *arguments)
            log.info("{name} is done", name=name)

        self.patch(type(self.world.calls), "note", lambda _, *asked: noted(*asked))

    def test_refused(self) -> None:
        """One search finds what Daytona said and what the user was answered."""
        self.world.calls.failing["stop"] = DaytonaRefused("no such state", 409)
        reply = self.ask_signed("POST", f"/api/sandbox/{SANDBOX}/stop", "stop", SANDBOX)
        self.assertEqual(409, reply.status)
        refused = "request {request_id} refused by Daytona: {status} {why}"
        self.assertEqual([refused, ACCESS], self.of(reply))

    def test_nobody(self) -> None:
        """Who has proven nothing is not called the asker, whatever he claims."""
        headers = {**self.signed("stop"), "X-Wallet-Signature": "0x" + "11" * 65}
        reply = self.ask("POST", f"/api/sandbox/{SANDBOX}/stop", headers)
        self.assertEqual(401, reply.status)
        self.assertEqual([ACCESS], self.of(reply))
        self.assertNotIn("asker", self.lines[-1])

    def test_interleaved(self) -> None:
        """Of two that wait at once, woken in the other order, each has its own lines."""
        self.noting()
        gates = {name: Deferred[None]() for name in ("start", "stop")}
        self.world.calls.waiting.update(gates)
        asked = {
            name: self.world.agent.request(
                b"POST",
                f"https://front.example/api/sandbox/{SANDBOX}/{name}".encode(),
                Headers({key: [text] for key, text in self.signed(name).items()}),
            )
            for name in gates
        }
        for name in reversed(gates):
            self.assertNoResult(asked[name])
            gates[name].callback(None)
            self.world.agent.flush()
        for name, asking in asked.items():
            response = self.successResultOf(asking)
            self.assertEqual(200, response.code)
            (id,) = response.headers.getRawHeaders("X-Request-Id")
            lines = [line for line in self.lines if line.get("request_id") == id]
            self.assertEqual(ACCESS, lines[-1]["event"])
            told = {line["name"] for line in lines if "name" in line}
            self.assertIn(name, told)
            self.assertNotIn(({"start", "stop"} - {name}).pop(), told)
            self.assertIn(f"{name} is done", [line["message"] for line in lines])
            # From when it has proven itself.
            since = [line.get("asker") for line in lines if line.get("name") in (None, name)]
            self.assertEqual({OWNER.address.hex}, set(since))
        self.assertIsNone(REQUEST.get())

    def signed(self, verb: str) -> dict[str, str]:
        """The headers."""
        return self.world.signed(verb, SANDBOX)

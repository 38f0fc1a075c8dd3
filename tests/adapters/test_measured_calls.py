"""Calls of Daytona and of the chain as the figures have them: what for, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from treq.testing import StubTreq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.threadable import isInIOThread
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from sandbox_billing.adapters.chain.adapter import Web3Chain
from sandbox_billing.adapters.daytona import exchange
from sandbox_billing.adapters.daytona.exchange import Exchange
from sandbox_billing.adapters.daytona.runtime import DaytonaRuntime
from sandbox_billing.adapters.memory.measures import MemoryMeasures
from sandbox_billing.adapters.system import SystemClock
from sandbox_billing.errors import NoAnswerInTime, Transient
from sandbox_billing.interfaces import DaytonaRefused
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.logs import json_line
from sandbox_billing.wiring_outside import make_chain
from tests.fixtures import PROVIDER, SIGNER
from tests.test_startup import CONFIGURATION


SANDBOX = "0b9b1c52-5f34-4a4e-9d38-3f3c1a6a9d10"


class Answers(Resource):
    """A status and a body for everybody; None: none at all."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.status: int | None = 200
        self.body = b"{}"

    def render(self, request: Request) -> Any:
        """As it is set."""
        if self.status is None:
            return NOT_DONE_YET
        request.setResponseCode(self.status)
        return self.body


class DaytonaTests(SynchronousTestCase):
    """L{Exchange.ask}."""

    def setUp(self) -> None:
        """A Daytona without a socket."""
        self.answers, self.clock, self.measures = Answers(), Clock(), MemoryMeasures()
        self.treq = StubTreq(self.answers)
        self.exchange = Exchange(
            self.treq, "http://daytona/api", "admin-key", self.clock, self.measures
        )

    def ask(self, method: str, *segments: str) -> Deferred[Any]:
        """One call, answered as far as it is answered."""
        request = exchange.Request(method=method, segments=segments, seconds=5)
        asked = Deferred.fromCoroutine(self.exchange.ask(request, bytes))
        self.treq.flush()
        return asked

    def test_outcomes(self) -> None:
        """Done, refused, failed and late, each under the pattern of its path."""
        self.successResultOf(self.ask("GET", "sandbox", SANDBOX))
        self.answers.status, self.answers.body = 409, b'{"statusCode": 409, "message": "no"}'
        self.failureResultOf(self.ask("POST", "sandbox", SANDBOX, "stop"), DaytonaRefused)
        self.answers.status = 502
        self.failureResultOf(self.ask("GET", "sandbox", SANDBOX), Transient)
        self.answers.status = None
        late = self.ask("POST", "sandbox", SANDBOX, "autostop", "60")
        self.clock.advance(5)
        self.treq.flush()
        self.failureResultOf(late, NoAnswerInTime)
        self.assertEqual(
            {
                ("daytona_seconds", "GET /sandbox/{}", "ok"): [0.0],
                ("daytona_seconds", "POST /sandbox/{}/stop", "refused"): [0.0],
                ("daytona_seconds", "GET /sandbox/{}", "failed"): [0.0],
                ("daytona_seconds", "POST /sandbox/{}/autostop/{}", "late"): [5.0],
            },
            dict(self.measures.seen),
        )

    def test_tokens(self) -> None:
        """A preview's token opens it: no message names it, failed or not."""
        runtime = DaytonaRuntime(self.exchange, SystemClock())
        lines: list[str] = []

        def note(event: dict[str, Any]) -> None:
            lines.append(json_line(event))

        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)
        for status in (200, 429, 502):
            self.answers.status = status
            for asking in (
                runtime.expire_preview(SandboxId(SANDBOX), 80, "opens-it"),
                runtime.preview_holder("opens-it", 80),
            ):
                asked: Deferred[Any] = Deferred.fromCoroutine(asking)
                self.treq.flush()
                asked.addErrback(lambda failure: lines.append(str(failure.value)))
                self.successResultOf(asked)
        self.assertIn("signed-preview-url/{token}/expire", "".join(lines))
        self.assertIn("/preview/{token}/80/sandbox-id", "".join(lines))
        self.assertNotIn("opens-it", "".join(lines))

    def test_few(self) -> None:
        """Names that users choose make no series of their own."""
        for name in ("a", "b", "../c", "sandbox-1"):
            self.successResultOf(self.ask("GET", "sandbox", name))
        self.assertEqual(1, len(self.measures.seen))


class ChainTests(TestCase):
    """L{Web3Chain<sandbox_billing.adapters.chain.adapter.Web3Chain>}."""

    def chain(
        self, measures: MemoryMeasures, moved: Callable[[], None] = lambda: None
    ) -> Web3Chain:
        """One with nodes that nobody reaches."""
        pool = ThreadPool(0, 1)
        pool.start()
        self.addCleanup(pool.stop)
        return make_chain(
            CONFIGURATION,
            reactor,
            signer=SIGNER,
            provider=PROVIDER,
            read_pool=pool,
            submission_pool=pool,
            wall=SystemClock(),
            measures=measures,
            moved=moved,
        )

    async def test_moves(self) -> None:
        """Each call is told of where it is made, in the context of whoever reads."""
        whose: ContextVar[str] = ContextVar("whose", default="nobody's")
        told: list[tuple[str, bool]] = []

        def moved() -> None:
            told.append((whose.get(), isInIOThread()))

        whose.set("a turn's")
        with self.assertRaises(Transient):
            await self.chain(MemoryMeasures(), moved).head()
        self.assertEqual(set(told), {("a turn's", False)})

    async def test_nobody_there(self) -> None:
        """A call that no node answers counts as failed, under the port's own word for it."""
        measures = MemoryMeasures()
        with self.assertRaises(Transient):
            await self.chain(measures).head()
        self.assertEqual([("chain_seconds", "head", "failed")], list(measures.seen))
        self.assertEqual({("gas_fee_cap_neuron",): CONFIGURATION.gas_fee_cap}, measures.shown)

"""
A day of a daemon in seconds: turns are as far apart as an operator may set them, time goes from
call to call and not second by second, and bytes take their time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from attrs import define, field
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from sandbox_billing.adapters.daytona.runtime import DaytonaRuntime
from sandbox_billing.devnet.daytona import Dialect, Timings
from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import IEvents
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.services._periodic import Periodic
from sandbox_billing.services.listener import Listener
from sandbox_billing.signing.key import SigningKey
from sandbox_billing.wiring import make_work
from tests.fixtures import ALICE, BASE, SIGNER, Wall, World
from tests.services.lives import Life, Process
from tests.simulation.clock import WorldClock


SWEEP_SECONDS = 60
EXPECTED = (BadInput, Refused, Transient, UnknownOutcome)
"""What a user's call may end in; everything else is a defect."""


class SlowHTTP:
    """Bytes take up to half a second, both ways."""

    def __init__(self, http: Any, clock: Any, chance: Random) -> None:
        self._http, self._clock, self._chance = http, clock, chance

    def request(self, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """As treq's."""
        return Deferred.fromCoroutine(self._request(args, kwargs))

    async def _request(self, args: Any, kwargs: Any) -> Any:
        await deferLater(self._clock, self._chance.random() / 2)
        response = await self._http.request(*args, **kwargs)
        await deferLater(self._clock, self._chance.random() / 2)
        return response


class LoggedRuntime:
    """
    @ivar sweeps: When those that came to an end asked for their first page, and had the last.
    """

    def __init__(self, inner: Any, clock: Any) -> None:
        self._inner, self._clock = inner, clock
        self.sweeps: list[tuple[float, float]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def sweep(self) -> Any:
        """As the port says."""
        began = BASE + self._clock.seconds()
        found = await self._inner.sweep()
        self.sweeps.append((began, BASE + self._clock.seconds()))
        return found


@implementer(IEvents)
@define(eq=False)
class DroppedNews:
    """The simulator's events: some are lost, some late, some come twice."""

    world: World
    chance: Random
    _ended: list[Deferred[None]] = field(factory=list)

    async def follow(self, heard: Callable[[SandboxId], None], joined: Callable[[], None]) -> None:
        """For ever."""

        def tell(_name: str, payload: dict[str, Any]) -> None:
            id = SandboxId(payload.get("sandbox", payload)["id"])
            for _ in range(self.chance.choice((0, 1, 1, 2))):
                self.world.clock.callLater(self.chance.choice((0.05, 0.3, 5, 90)), heard, id)

        leave = self.world.simulator.events.subscribe(tell)
        joined()
        waiting: Deferred[None] = Deferred(lambda _: leave())
        self._ended.append(waiting)
        await waiting


class SlowProcess(Process):
    """A daemon whose turns are far apart."""

    def _make_work(self) -> MultiService:
        self.work = work = make_work(self.parts)
        services = MultiService()
        for name, turn, seconds in (
            ("watcher", work.watcher.turn, 30.0),
            ("reconciler", work.reconciler.turn, SWEEP_SECONDS),
            ("generator", work.generator.turn, 30.0),
            ("backlog", work.backlog.turn, 60.0),
            ("settler", work.settler.turn, 120.0),
            ("treasurer", work.treasurer.turn, 120.0),
            ("stopper", work.stopper.turn, 10.0),
        ):
            periodic = Periodic(name, turn, seconds, self.world.clock, self.keeper.lost)
            periodic.setServiceParent(services)
        if self.parts.events is not None:
            Listener(
                events=self.parts.events,
                look=work.reconciler.look,
                clock=self.world.clock,
                chance=lambda: 0.5,
                on_lease_lost=self.keeper.lost,
            ).setServiceParent(services)
        return services


class Day(World):
    """
    @ivar deaths: When a daemon died.
    @ivar story: What was done, for whoever reads a failure.
    @ivar unexpected: What a user's call ended in and must not.
    """

    def __init__(self, seed: int) -> None:
        self.seed, self.chance = seed, Random(seed)
        chance = self.chance
        self.deaths: list[float] = []
        self.story: list[str] = []
        self.unexpected: list[BaseException] = []
        timings = Timings(
            create_seconds=chance.choice((0.7, 5.3, 45.0)),
            start_seconds=chance.choice((0.4, 8.0)),
            stop_seconds=chance.choice((0.3, 6.0)),
            lookup_cache_seconds=chance.choice((0.0, 10.0)),
        )
        super().__init__(
            timings,
            sweep=SWEEP_SECONDS,
            clock=WorldClock(),
            mirror_max_age=200,
            settle_max_age=300,
            voucher_interval=chance.choice((60, 300)),
            max_sandboxes=50,
        )
        self.simulator.dialect = chance.choice((Dialect.OLD, Dialect.NEW))
        self.simulator.warm_pool = chance.random() < 0.3
        inner = DaytonaRuntime.over(
            SlowHTTP(self._treq, self.clock, chance),
            url="http://daytona.test",
            admin_key="admin-key",
            clock=self.clock,
            wall=Wall(self.clock),
        )
        self.runtime: Any = LoggedRuntime(inner, self.clock)
        self.simulator.before = self._meanwhile
        if chance.random() < 0.5:
            self.events = DroppedNews(self, chance)
        self.process = self.birth()

    def birth(self, life: Life | None = None, signer: SigningKey = SIGNER) -> Process:
        process = SlowProcess(self, life or Life(), signer)
        self.processes.append(process)
        return process

    @property
    def moment(self) -> float:
        """Unix seconds, and parts of one."""
        return BASE + self.clock.seconds()

    def pass_by(self, seconds: float) -> None:
        """From call to call; blocks come at turns of the half minute."""
        clock: Any = self.clock
        end = clock.seconds() + seconds
        while clock.seconds() < end:
            until = min(end, (clock.seconds() // 30 + 1) * 30)
            clock.run_until(until, self._flushed)
            self.flush()
            if until % 30 == 0:
                self.net.mine(4)

    def _flushed(self) -> bool:
        self.flush()
        return False

    def advance(self, seconds: int = 1) -> None:
        self.pass_by(seconds)

    # what happens

    def kill(self) -> None:
        super().kill()
        self.deaths.append(self.moment)

    @property
    def sweeps(self) -> list[tuple[float, float]]:
        """Those that a daemon lived to read, and to do what they told."""
        return [
            (began, ended)
            for began, ended in self.runtime.sweeps
            if not any(began <= death <= ended + 5 for death in self.deaths)
        ]

    def _meanwhile(self, route: str) -> None:
        """Something ends on its own just when Daytona is asked."""
        running = [one for one in self.simulator.records.values() if one.runs and not one.pending]
        if not running or self.chance.random() > 0.04:
            return
        ended = self.chance.choice(running)
        self.story.append(f"{self.moment - BASE:.2f}: {ended.id} ends at a {route}")

        def end() -> None:
            if ended.runs and not ended.pending:
                self.simulator.stop_behind(ended.id)

        self.clock.callLater(self.chance.choice((0, 0.1, 0.5, 3)), end)

    def asks(self, name: str, *args: Any, **kwargs: Any) -> None:
        """A user's call; nobody waits for it."""
        life = self.process.life

        def ended(failure: Any) -> None:
            if failure.check(*EXPECTED) is None and not life.dead:
                self.unexpected.append(failure.value)

        call = getattr(self.process.intake, name)
        self.begin(call(ALICE, *args, **kwargs)).addErrback(ended)

    def steps(self) -> Iterator[str]:
        """What is done next, for ever."""
        weights = {
            "create": 9,
            "start": 20,
            "stop": 12,
            "delete": 3,
            "poll": 15,
            "archive": 3,
            "recover": 5,
            "exit": 4,
            "crash": 2,
            "vanish": 1,
            "break": 3,
            "stop behind": 3,
            "start behind": 2,
            "remove behind": 1,
            "fail start": 2,
            "lose reply": 3,
            "hang": 2,
            "race": 2,
            "outage": 1,
            "restart": 1,
            "downtime": 1,
        }
        while True:
            yield self.chance.choices(list(weights), list(weights.values()))[0]

    def live(self, seconds: float) -> None:
        """So long a life, and then peace."""
        end = self.moment + seconds
        for step in self.steps():
            if self.moment >= end:
                break
            self.do(step)
            self.pass_by(self.chance.expovariate(1 / 25) if self.chance.random() < 0.7 else 0)
        self.simulator.faults.clear()
        self.pass_by(6 * SWEEP_SECONDS)

    def do(self, step: str) -> None:
        """One of the steps, with whom it may be done."""
        chance, simulator = self.chance, self.simulator
        records = [one for one in simulator.records.values() if one.visible]
        record = chance.choice(records) if records else None
        name = record.id if record is not None else "nobody"
        self.story.append(f"{self.moment - BASE:.2f}: {step} {name}")
        match step:
            case "create":
                if len(records) < 8:
                    self.asks("create", {"snapshot": "daytona-small"}, auto_stop_minutes=None)
            case "fail start":
                simulator.fail_start_next()
            case "lose reply":
                route = chance.choice(("create", "start", "stop", "delete", "recover", "archive"))
                simulator.lose_reply_next(route=route)
            case "hang":
                route = chance.choice(("create", "start", "stop", "delete", "list", "get"))
                simulator.hang_next(route=route, effect=chance.random() < 0.5)
            case "race":
                simulator.lose_race_next(route=chance.choice(("start", "stop", "delete")))
            case "outage":
                seconds = chance.choice((20, 200, 700))
                simulator.fail_next(chance.choice((500, 503, 502, 429)), count=None)
                self.clock.callLater(seconds, simulator.faults.clear)
            case "restart":
                self.restart()
            case "downtime":
                seconds = chance.choice((30, 400))
                self.kill()
                self.pass_by(seconds)
                self.restart()
            case _ if record is not None:
                self._do_with(step, record)

    def _do_with(self, step: str, record: Any) -> None:
        simulator, chance = self.simulator, self.chance
        shows_started = record.runs and not record.pending
        match step:
            case "start" | "stop" | "delete" | "archive":
                self.asks(step, record.id)
                if chance.random() < 0.2:
                    # Twice, or at odds with itself.
                    self.asks(chance.choice(("start", "stop", "delete")), record.id)
            case "poll":
                self.asks("owned", record.id)
            case "recover":
                self.asks("recover", record.id, skip_start=chance.random() < 0.3)
            case "exit" if shows_started:
                simulator.exit_container(record.id, chance.choice((0, 137)))
            case "crash" if shows_started:
                simulator.exit_container(record.id, 1)
            case "vanish" if shows_started:
                simulator.vanish_container(record.id)
            case "break" if shows_started:
                simulator.break_sandbox(record.id)
            case "stop behind" if shows_started:
                simulator.stop_behind(record.id)
            case "start behind" if str(record.raw) == "stopped" and not record.pending:
                # A gap that nobody saw is charged (§4.2): here each is seen.
                if self.session(record.id) is None and not self._asked(record.id):
                    simulator.start_behind(record.id)
            case "remove behind":
                simulator.remove_behind(record.id)

    def _asked(self, sandbox: str) -> bool:
        """Whether a start is under way that has not reached Daytona yet."""
        return bool(self.now(self.eyes.doors.intents_of(SandboxId(sandbox))))

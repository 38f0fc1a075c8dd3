"""
What the dead-man's switch costs beside the sweeps that go on anyway: requests and CPU in an hour.

    python -m benchmarks.deadman --count 10000

The switch and the client are the daemon's, Daytona is the simulator on a socket of this process:
CPU is that of both, for both figures.  The hour is set by hand, turn by turn, from the moment
after a restart, when all is due.
"""

from __future__ import annotations

import time
from typing import Any

from attrs import define, field, fields
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from benchmarks.report import Figure, asked_count, table
from sandbox_billing.adapters.daytona import DaytonaRuntime, daytona_client, daytona_pool
from sandbox_billing.devnet.daytona import DaytonaSimulator, DaytonaSimulatorService
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import NeuronPerMinute, UnixSeconds, neuron
from sandbox_billing.ledger.reconciliation import World
from sandbox_billing.services.deadman import DeadmansSwitch
from sandbox_billing.services.policy import Policy
from sandbox_billing.services.reconciler import rows_of


HOUR = 3600
SWEEP_SECONDS = 15
DEADMAN_MINUTES = 60
KEY = "admin-key"
WALLET = Address("0x" + "a1" * 20)
"""Nobody's."""


@define
class SetWall:
    """It is set."""

    moment: int

    def now(self) -> UnixSeconds:
        """What it is set to."""
        return UnixSeconds(self.moment)

    def after(self) -> UnixSeconds:
        """The same."""
        return UnixSeconds(self.moment)


@define
class Rich:
    """Nobody is blocked; what it takes to ask is the store's and left out."""

    blocked: None = None

    async def funds(self, wallet: Address) -> Rich:
        """Of anybody."""
        return self


@define
class Spent:
    """
    @ivar touches: Of each turn.
    @ivar pages: Of one sweep.
    """

    touches: list[int] = field(factory=list)
    touch_cpu: float = 0.0
    sweep_cpu: float = 0.0
    pages: int = 0


def session_of(sandbox: SandboxId, resources: Any, now: int) -> Session:
    """One that was opened long ago."""
    return Session(
        sandbox=sandbox,
        owner=WALLET,
        provider=WALLET,
        reference=Reference("ref-1"),
        resources=resources,
        rate=NeuronPerMinute(1),
        signer_version=1,
        opened_at=UnixSeconds(now - 2 * HOUR),
        started_at=UnixSeconds(now - 2 * HOUR),
        charged_until=UnixSeconds(now),
        changed_at=UnixSeconds(now - 2 * HOUR),
        hold=neuron(0),
    )


class Touched:
    """Counts the touches of a runtime."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.count = inner, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def touch(self, sandbox: SandboxId) -> None:
        """As the port."""
        self.count += 1
        await self._inner.touch(sandbox)


async def measure(reactor: Any, count: int, turns: int = HOUR // SWEEP_SECONDS) -> Spent:
    """
    @param turns: Of a sweep's interval each.
    """
    wall = SetWall(int(time.time()))
    simulator = DaytonaSimulator(clock=reactor, wall=lambda: float(wall.moment))
    simulator.warm_pool = True
    service = DaytonaSimulatorService(reactor, simulator, KEY)
    service.startService()
    pool: Any = daytona_pool(reactor)
    try:
        for _ in range(count):
            await simulator.create({"autoStopInterval": DEADMAN_MINUTES})
        runtime = DaytonaRuntime.over(
            daytona_client(reactor, pool), url=service.url, admin_key=KEY, clock=reactor, wall=wall
        )
        return await _live(runtime, wall, turns)
    finally:
        await pool.closeCachedConnections()
        await service.stopService()


async def _live(runtime: Any, wall: SetWall, turns: int) -> Spent:
    spent, touched = Spent(), Touched(runtime)
    switch = DeadmansSwitch(
        runtime=touched,  # type: ignore[arg-type]
        stops=None,  # type: ignore[arg-type]
        admission=Rich(),  # type: ignore[arg-type]
        wall=wall,  # type: ignore[arg-type]
        policy=_policy(),
    )
    for turn in range(turns):
        wall.moment += SWEEP_SECONDS
        began = time.process_time()
        pages = await runtime.sweep()
        rows = rows_of(pages)
        swept = time.process_time()
        spent.pages = len(pages)
        if turn == 0:
            sessions = {
                row.sandbox: session_of(row.sandbox, row.resources, wall.moment) for row in rows
            }
        world = World(
            rows=rows,
            sessions=sessions,
            intents=(),
            owners={},
            wallets=frozenset(),
            missed=frozenset(),
            now=wall.now(),
        )
        before, kept = touched.count, time.process_time()
        await switch.keep(world)
        spent.touch_cpu += time.process_time() - kept
        spent.sweep_cpu += swept - began
        spent.touches.append(touched.count - before)
    return spent


def _policy() -> Policy:
    given: dict[str, Any] = {one.alias: 0 for one in fields(Policy)}
    return Policy(**{**given, "provider": WALLET, "deadman_minutes": DEADMAN_MINUTES})


def figures(count: int, spent: Spent) -> list[Figure]:
    """Of an hour."""
    turns = len(spent.touches)
    scale = HOUR / (turns * SWEEP_SECONDS)
    requests = Figure(
        what=f"requests, sweeps of {count:,}", value=spent.pages * turns * scale, unit="/h"
    )
    cpu = Figure(
        what=f"CPU, sweeps of {count:,}", value=1000 * spent.sweep_cpu * scale, unit="ms/h"
    )
    return [
        requests,
        Figure(
            what=f"requests, touches of {count:,}",
            value=sum(spent.touches) * scale,
            unit="/h",
            baseline=requests,
        ),
        cpu,
        Figure(
            what=f"CPU, touches of {count:,}",
            value=1000 * spent.touch_cpu * scale,
            unit="ms/h",
            baseline=cpu,
        ),
        Figure(what=f"touches in one turn at most, {count:,}", value=max(spent.touches), unit=""),
    ]


def main() -> None:
    """Print the figures."""
    count = asked_count("deadman", 10_000, "sandboxes that run")

    async def run(reactor: Any) -> None:
        print(table(figures(count, await measure(reactor, count))))

    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))


if __name__ == "__main__":
    main()

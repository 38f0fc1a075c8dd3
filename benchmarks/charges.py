"""
Charges generated per second: the generator's own turn over due sessions, on a real Redis.

Baselines: plain SETs and empty facts (the same script with nothing to do) on the
same kind of connection, as many of them at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from attrs import define, evolve
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.task import react
from zope.interface import implementer

from benchmarks.report import Figure, Stopwatch, asked_count, table
from sandbox_billing.adapters.redis.commit import Commit
from sandbox_billing.adapters.redis.connection import RedisConnection
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.redis.keyspace import RedisKeyspace
from sandbox_billing.applied import policy_of
from sandbox_billing.configuration import Configuration, read_configuration
from sandbox_billing.devnet.redis import RedisServer, ServerOptions, free_port
from sandbox_billing.interfaces import IWallClock
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.services._supervise import gather
from sandbox_billing.services.generator import PAGE, Generator


SESSIONS = 5_000
ROUNDS = 4

START = 1_700_000_000
INTERVAL_SECONDS = 60
LOCK_SECONDS = 7_200
PROVIDER = Address("0x" + "22" * 20)


@implementer(IWallClock)
@define
class SetClock:
    """A clock that is set: an interval passes when we say so."""

    moment: int = START

    def now(self) -> UnixSeconds:
        return UnixSeconds(self.moment)

    def after(self) -> UnixSeconds:
        return self.now()


def session_number(number: int) -> Session:
    """A running session of a wallet of its own."""
    return Session(
        sandbox=SandboxId(f"sb-{number:06d}"),
        owner=Address(f"0x{number:040x}"),
        provider=PROVIDER,
        reference=Reference(f"ref-{number}"),
        resources=Resources(),
        rate=NeuronPerMinute(9 * 10**16),
        signer_version=1,
        opened_at=UnixSeconds(START),
        started_at=UnixSeconds(START),
        charged_until=UnixSeconds(START),
        changed_at=UnixSeconds(START),
        hold=Neuron(10**18),
    )


async def paged(count: int, work: Callable[[int], Coroutine[Any, Any, Any]]) -> None:
    """Do it for each number, a page at a time, as the generator does."""
    for first in range(0, count, PAGE):
        await gather(*(work(number) for number in range(first, min(first + PAGE, count))))


async def measure(reactor: Any, sessions: int, rounds: int = ROUNDS) -> list[Figure]:
    """
    @param sessions: How many are due at once.
    @param rounds: Over how many intervals.
    """
    with tempfile.TemporaryDirectory(prefix="bench-redis-") as folder:
        server = RedisServer(ServerOptions(directory=Path(folder), port=free_port()))
        server.start()
        clock = SetClock()
        keyspace = RedisKeyspace(host="127.0.0.1", port=server.port, clock=reactor, wall=clock)
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", server.port)
        plain = RedisConnection(endpoint, reactor, None, 60.0)
        try:
            await plain.connect()
            await keyspace.connect()
            return await _figures(keyspace, plain, clock, sessions, rounds)
        finally:
            await plain.disconnect()
            await keyspace.close()
            server.stop()


async def _figures(
    keyspace: RedisKeyspace, plain: RedisConnection, clock: SetClock, sessions: int, rounds: int
) -> list[Figure]:
    journal = Journal.over(keyspace, PROVIDER, clock, interval_seconds=INTERVAL_SECONDS)
    if not await journal.lease.acquire():
        raise RuntimeError("somebody else has the lease of a fresh server")
    made = [session_number(number) for number in range(sessions)]
    await paged(sessions, lambda number: journal.meter.adopt(made[number], None))
    generator = _generator(journal, clock)

    async def put(number: int) -> None:
        await plain.call(b"SET", f"plain:{number}", "x" * 400)

    async def nothing(number: int) -> None:
        await keyspace.commit(Commit(name="nothing", fence="bench:fence"))

    sets, facts, charges = Stopwatch(), Stopwatch(), Stopwatch()
    for _ in range(rounds):
        await sets.time(sessions, paged(sessions, put))
        await facts.time(sessions, paged(sessions, nothing))
        clock.moment += INTERVAL_SECONDS
        await journal.meter.seen({one.sandbox: clock.now() for one in made})
        if not await journal.lease.renew():
            raise RuntimeError("the lease ran out: fewer sessions, please")
        await charges.time(sessions, generator.turn())
    found = len(await journal.history.pending())
    if found != sessions * rounds:
        raise RuntimeError(f"{found} charges instead of {sessions * rounds}")
    plainly = Figure(what="plain SET", value=sets.rate, unit="/s")
    emptily = Figure(what="empty fact", value=facts.rate, unit="/s", baseline=plainly)
    charged = Figure(what="charges generated", value=charges.rate, unit="/s", baseline=emptily)
    return [plainly, emptily, charged, evolve(charged, baseline=plainly)]


def _generator(journal: Journal, clock: SetClock) -> Generator:
    """As the daemon has it; a sweep of Daytona is taken as done."""
    policy = policy_of(settings(INTERVAL_SECONDS), PROVIDER, LOCK_SECONDS)
    return Generator(
        meter=journal.meter,
        funds=journal.funds,
        doors=journal.doors,
        wall=clock,
        policy=policy,
        swept=lambda: True,
    )


def settings(interval_seconds: int) -> Configuration:
    """Those that have no default are of no use here."""
    return read_configuration(
        {
            "DAYTONA_API_URL": "http://127.0.0.1",
            "DAYTONA_ADMIN_KEY": "none",
            "SETTLEMENT_CONTRACT": "0x" + "33" * 20,
            "RPC_URL": "http://127.0.0.1",
            "CHAIN_ID": "16602",
            "BACKEND_APP_NAME": "bench",
            "VOUCHER_INTERVAL_SEC": str(interval_seconds),
        }
    )


def main() -> None:
    """The command."""
    sessions = asked_count("charges", SESSIONS, "sessions that are due at once")

    def run(reactor: Any) -> Deferred[None]:
        async def bench() -> None:
            print(table(await measure(reactor, sessions)))

        return Deferred.fromCoroutine(bench())

    react(run)


if __name__ == "__main__":
    main()

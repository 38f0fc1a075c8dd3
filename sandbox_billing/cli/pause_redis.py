"""
The daemon's Redis for one command: the only one that runs the reactor.

Tests: L{tests.cli.test_provider_drain}.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import click
from attrs import define, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.redis.keyspace import RedisKeyspace
from sandbox_billing.adapters.system import SystemClock
from sandbox_billing.cli.output import Progress
from sandbox_billing.cli.pause import (
    POLL_SECONDS,
    SEEN_SECONDS,
    Drain,
    PausedChange,
    lift_leftover,
    until_seen,
)
from sandbox_billing.cli.standing import RedisPlace, Run
from sandbox_billing.errors import BadInput, Transient, UnknownOutcome
from sandbox_billing.ledger.backlog import Left
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.services.backlog import left_before
from sandbox_billing.signing.eip55 import checksum


T = TypeVar("T")

STALE_SECONDS = 60
"""A mirror that is older has no worker."""

SLACK_SECONDS = 120
"""What a run may take beyond what it waits for: its last reading of a large journal, mostly."""


@define
class Interrupts:
    """
    What Ctrl-C does.

    @ivar under_way: What it cancels.
    @ivar sending: Whether a transaction is on its way: then it is waited for.
    """

    under_way: Deferred[Any] | None = None
    sending: bool = False
    _asked: bool = False

    def interrupt(self) -> None:
        """In the reactor's thread."""
        if not self.sending and self.under_way is not None:
            self.under_way.cancel()
        elif self._asked:
            # What was stored before it was sent stays so; a thread cannot be cancelled.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        else:
            self._asked = True
            click.echo(
                "the change is on its way: waiting for its end, and then lifting the pause; "
                "Ctrl-C again leaves the pause as it is, for this command with --take-over",
                err=True,
            )


def run(work: Callable[[Any], Coroutine[Any, Any, T]], interrupts: Interrupts) -> T:
    """
    Run the reactor for one coroutine; possible once in a process.

    @raise click.Abort: It was interrupted.
    """
    from twisted.internet import reactor as global_reactor

    reactor: Any = global_reactor
    ended: list[T | Failure] = []

    def interrupted(_number: int, _frame: object) -> None:
        reactor.callFromThread(interrupts.interrupt)

    def begin() -> None:
        # After the reactor has set its own.
        signal.signal(signal.SIGINT, interrupted)
        signal.signal(signal.SIGTERM, interrupted)
        interrupts.under_way = Deferred.fromCoroutine(work(reactor))
        interrupts.under_way.addBoth(ended.append)
        interrupts.under_way.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    (result,) = ended
    if not isinstance(result, Failure):
        return result
    if result.check(CancelledError):
        raise click.Abort
    result.raiseException()
    raise AssertionError("a failure raises")


async def over_journal(
    reactor: Any,
    place: RedisPlace,
    provider: Address,
    work: Callable[[Journal, RedisKeyspace], Awaitable[T]],
) -> T:
    """
    Do something with the journal of a provider's daemon, without the lease.

    @raise Transient: No Redis answers.
    @raise BadInput: No daemon of this provider has ever worked with it.
    """
    host, port = place.host_and_port()
    keyspace = RedisKeyspace(
        host=host, port=port, password=place.password, clock=reactor, wall=SystemClock()
    )
    try:
        try:
            await keyspace.connect()
        except Transient:
            # Its own words are those of a daemon, which goes on trying.
            raise Transient(
                f"no Redis answers at {place.address}: look at --redis (REDIS_ADDR)"
            ) from None
        # Neither a turn nor a tick is made here: the interval is the daemon's affair.
        journal = Journal.over(keyspace, provider, keyspace.wall, interval_seconds=1)
        if await journal.doors.mirror() is None:
            raise BadInput(
                f"no daemon of provider {checksum(provider)} has ever worked with the Redis at "
                f"{place.address}: look at --redis"
            )
        return await work(journal, keyspace)
    finally:
        await keyspace.close()


async def server_now(keyspace: RedisKeyspace) -> UnixSeconds:
    """The server's clock, and a second more: what the daemon does before is before."""
    facts = await keyspace.facts()
    return UnixSeconds(int(keyspace.wall.now() + facts.time_offset_seconds) + 1)


@frozen(kw_only=True)
class UnderPause:
    """
    A change of one provider's, with the daemon's Redis.

    @ivar drain_seconds: How long the drain may take.
    @ivar sending_seconds: How long one transaction is waited for.
    @ivar name: Of this run: random.
    @ivar take_over: Whether another run's pause is taken over although it may still go on.
    """

    place: RedisPlace
    provider: Address
    drain_seconds: int
    sending_seconds: int
    name: str
    take_over: bool
    progress: Progress

    def _run(self, since: UnixSeconds) -> Run:
        # One transaction of before and our own are waited for, and then the daemon.
        longest = self.drain_seconds + 2 * self.sending_seconds + SEEN_SECONDS + SLACK_SECONDS
        return Run(name=self.name, until=UnixSeconds(since + longest))

    def carry_out(self, change: Callable[[], T], version: int) -> tuple[Left, T]:
        """
        Blocks; C{change} blocks in a thread.

        @param version: The signer version that the change leads to.
        @raise click.Abort: Interrupted before the change was begun; the pause is lifted.
        """
        interrupts = Interrupts()

        async def work(reactor: Any) -> tuple[Left, T]:
            async def with_journal(journal: Journal, keyspace: RedisKeyspace) -> tuple[Left, T]:
                return await self._change(reactor, journal, keyspace, interrupts, change, version)

            return await over_journal(reactor, self.place, self.provider, with_journal)

        return run(work, interrupts)

    async def _change(
        self,
        reactor: Any,
        journal: Journal,
        keyspace: RedisKeyspace,
        interrupts: Interrupts,
        change: Callable[[], T],
        version: int,
    ) -> tuple[Left, T]:
        from twisted.internet.threads import deferToThread

        say = self.progress.say
        since = await server_now(keyspace)
        await self._warn(journal, since)

        async def change_and_see() -> T:
            interrupts.sending = True
            made = await deferToThread(change)
            say("the change is made; waiting for the daemon to see it")
            try:
                seen = await until_seen(journal.doors, reactor, version)
            except (Transient, UnknownOutcome) as why:
                seen = False
                say(str(why))
            if not seen:
                say("the daemon has not seen the change yet; is it running?")
            return made

        drain = Drain(
            meter=journal.meter,
            backlog=journal.backlog,
            clock=reactor,
            say=say,
            limit_seconds=self.drain_seconds,
        )
        paused = PausedChange(
            pause=journal.pause,
            wait=drain.wait,
            say=say,
            run=self._run(since),
            take_over=self.take_over,
        )
        return await paused.carry_out(since, change_and_see)

    async def _warn(self, journal: Journal, now: int) -> None:
        mirror = await journal.doors.mirror()
        assert mirror is not None, "looked at when it was connected"
        age = now - mirror.value.updated_at
        if age > STALE_SECONDS:
            self.progress.say(
                f"the daemon has not followed the chain for {age} s: without it nothing drains"
            )

    def lift_leftover(self) -> bool:
        """
        End a pause that an earlier run has left behind.

        @return: Whether there was one.
        @raise Refused: Another run's stands, which may still go on.
        """

        async def work(reactor: Any) -> bool:
            async def with_journal(journal: Journal, keyspace: RedisKeyspace) -> bool:
                now = await server_now(keyspace)
                return await lift_leftover(journal.pause, now, take_over=self.take_over)

            return await over_journal(reactor, self.place, self.provider, with_journal)

        return run(work, Interrupts())


def left_now(place: RedisPlace, provider: Address, progress: Progress) -> Left:
    """
    What is not settled at this moment, of everything: for a provider that leaves.

    Looked at twice, for what moves while it is read may hide from one look.

    @raise click.Abort: It was interrupted.
    """

    async def work(reactor: Any) -> Left:
        async def look(journal: Journal, keyspace: RedisKeyspace) -> Left:
            left = await left_before(journal.meter, journal.backlog, await server_now(keyspace))
            if left.nothing:
                progress.say("nothing is left; looking once more")
                await deferLater(reactor, POLL_SECONDS)
                left = await left_before(journal.meter, journal.backlog, await server_now(keyspace))
            return left

        return await over_journal(reactor, place, provider, look)

    return run(work, Interrupts())

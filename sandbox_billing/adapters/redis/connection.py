"""
One connection to a Redis server: the only module that knows txredisapi.

txredisapi imports the global reactor, so it is imported when a connection is made,
never before.  Guessing is off: bytes go in and bytes come out.

Tests: C{tests.adapters.test_redis_keyspace}, and C{tests.beliefs.test_txredisapi} for
what we lean on.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.python.failure import Failure

from sandbox_billing.errors import BadInput, StoreDown, UnknownOutcome


@frozen(auto_exc=False)
class LostInFlight(UnknownOutcome):
    """The connection was lost between the command and its reply."""


class ServerError(Exception):
    """The server answered with an error; caught by the keyspace, which knows what was asked."""


@define(eq=False)
class RedisConnection:
    """
    Connects when told, reconnects by itself, and gives every call its own time-out.

    @ivar timeout_seconds: For a call, waiting for the connection included.
    """

    _endpoint: IStreamClientEndpoint
    _reactor: IReactorTime
    _password: str | None = field(repr=False)
    timeout_seconds: float
    _factory: Any = field(default=None, init=False)
    _waiting: list[Deferred[None]] = field(factory=list, init=False)
    _refused: str | None = field(default=None, init=False)

    async def connect(self) -> None:
        """
        Connect, or wait for the connection under way.

        @raise BadInput: The server refuses our password.
        @raise StoreDown: Not within the time-out; it goes on trying.
        """
        if self._factory is None or self._refused is not None:
            self._start()
        if not self._factory.pool:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            waiting.addTimeout(self.timeout_seconds, self._reactor)
            try:
                await waiting
            except TimeoutError as why:
                raise StoreDown("Redis does not answer; still trying to connect") from why
        try:
            await self.call("PING")
        except ServerError as why:
            raise BadInput(f"Redis refuses us: {why}; check REDIS_PASSWORD") from why

    def _start(self) -> None:
        from txredisapi import RedisFactory

        factory = RedisFactory(
            "journal", None, 1, charset=None, password=self._password, convertNumbers=False
        )
        factory.protocol = _fast_protocol()
        # A restart of the server takes tens of milliseconds.
        factory.initialDelay = 0.1
        self._factory, self._refused = factory, None
        factory.deferred.addCallbacks(self._connected, self._not_connected)
        factory.startConnecting(self._endpoint)

    def _connected(self, _handler: object) -> None:
        for waiting in self._take_waiting():
            waiting.callback(None)

    def _not_connected(self, failure: Failure) -> None:
        # txredisapi gives up for one reason only: AUTH was refused.
        self._refused = failure.getErrorMessage()
        for waiting in self._take_waiting():
            waiting.errback(BadInput(f"{self._refused}; check REDIS_PASSWORD"))

    def _take_waiting(self) -> list[Deferred[None]]:
        taken = [waiting for waiting in self._waiting if not waiting.called]
        self._waiting.clear()
        return taken

    async def disconnect(self) -> None:
        """Close the connection and stop trying; harmless when there is none."""
        factory, self._factory = self._factory, None
        if factory is not None:
            await factory.disconnect()

    async def call(self, *command: bytes | str | int) -> Any:
        """
        One command.

        @raise StoreDown: It was not sent.
        @raise UnknownOutcome: It was, and there is no answer.
        @raise LostInFlight: For this reason.
        @raise ServerError: The server's own words.
        """
        (answer,) = await self.calls(command)
        if isinstance(answer, ServerError):
            raise answer
        return answer

    async def calls(
        self, *commands: tuple[bytes | str | int, ...], seconds: float | None = None
    ) -> list[Any]:
        """
        Commands in a row on one and the same connection, so to one and the same server.

        @param seconds: Another time-out.
        @return: An answer for each; a L{ServerError} is an answer.
        """
        from txredisapi import ConnectionError, RedisError, ResponseError

        limit = self.timeout_seconds if seconds is None else seconds
        protocol = await self._usable(limit)
        replies = [protocol.execute_command(*command) for command in commands]
        for reply in replies:
            reply.addTimeout(limit, self._reactor)
        answers: list[Any] = []
        problem: Exception | None = None
        for reply in replies:
            try:
                answers.append(await reply)
            except ResponseError as why:
                answers.append(ServerError(str(why)))
            except TimeoutError:
                problem = problem or UnknownOutcome(f"no answer from Redis in {limit} s")
            except ConnectionError:
                problem = problem or LostInFlight("the connection to Redis was lost")
            except RedisError as why:
                problem = problem or UnknownOutcome(f"Redis sent something else: {why}")
        if problem is not None:
            raise problem
        return answers

    async def _usable(self, limit: float) -> Any:
        if self._factory is None:
            raise StoreDown("not connected to Redis")
        for protocol in self._factory.pool:
            if protocol.connected:
                return protocol
        from txredisapi import ConnectionError

        waiting = self._factory.getConnection(peek=True)
        waiting.addTimeout(limit, self._reactor)
        try:
            return await waiting
        except (TimeoutError, ConnectionError) as why:
            raise StoreDown("not connected to Redis") from why


def _fast_protocol() -> Any:
    """txredisapi's protocol with commands of bytes put together in one go."""
    from txredisapi import RedisProtocol

    class JournalProtocol(RedisProtocol):  # type: ignore[misc]
        def _build_command(self, *args: bytes | str | int, **_: object) -> bytes:
            parts = [b"*%d\r\n" % len(args)]
            for arg in args:
                raw = arg if isinstance(arg, bytes) else str(arg).encode()
                parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
            return b"".join(parts)

    return JournalProtocol

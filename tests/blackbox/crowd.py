"""
Users who go on whatever dies, and somebody who kills.

Everything that is left to chance comes from one seed; what the processes make of it does not.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from attrs import define, field, frozen
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, TimeoutError
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.client import RequestTransmissionFailed, ResponseFailed, ResponseNeverReceived

from sandbox_billing.devnet.redis import RedisServer
from sandbox_billing.devnet.wallet import Client, Wallet
from sandbox_billing.devnet.world import SIGNER
from sandbox_billing.signing.key import SigningKey
from tests.blackbox.scene import RECONCILE_SECONDS, RECOVERY_SECONDS, Scene


NO_ANSWER = (
    ResponseNeverReceived,
    ResponseFailed,
    RequestTransmissionFailed,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    TimeoutError,
    CancelledError,
)

EXPECTED = frozenset({200, 402, 404, 409, 429, 502, 503, 504})
"""
What a user may be told while things die, beside Daytona's own 400 for its state.  Not 500,
and never that it is another's.
"""

DAEMON, REDIS, BOTH = "daemon", "Redis", "both"


async def pause(seconds: float) -> None:
    """Let the world go on."""
    await deferLater(reactor, seconds)  # type: ignore[arg-type]


@frozen(kw_only=True)
class Window:
    """
    A time, unix seconds, in which nobody may have looked.

    @ivar since: The last sweep may be as old as a reconcile period at a kill.
    """

    since: float
    until: float


@define(eq=False, kw_only=True)
class Killer:
    """
    @ivar base: Where the daemon of the moment listens; None while nobody does.
    @ivar windows: When something was dead.
    @ivar done: What was killed, and how long after the last kill.
    @ivar accident: What the chain did to transactions, and how often.
    """

    scene: Scene
    redis: RedisServer
    chance: Random
    windows: list[Window] = field(factory=list)
    done: list[tuple[str, float]] = field(factory=list)
    accident: Counter[str] = field(factory=Counter)

    @property
    def base(self) -> str | None:
        daemon = self.scene.daemon
        port = daemon.port() if daemon is not None and daemon.status is None else None
        return None if port is None else f"http://127.0.0.1:{port}"

    async def kill(self, kills: int) -> None:
        """Kill so many times, at moments that nobody has chosen."""
        for _ in range(kills):
            victim = self.chance.choices([DAEMON, REDIS, BOTH], [6, 3, 1])[0]
            # Some die in their youth: while they start, or before they are the worker.
            young = self.chance.random() < 0.65
            wait = self.chance.uniform(0.2, 2.0) if young else self.chance.uniform(0.3, 3.0)
            if not young:
                # However slow the machine is: others have worked.
                await self.ready()
            await pause(wait)
            self.done.append((victim, round(wait, 2)))
            await self._kill(victim)
        await self.ready()

    async def _kill(self, victim: str) -> None:
        since = time.time() - RECONCILE_SECONDS
        self.scene.upheavals.append(time.time())
        daemon = self.scene.daemon
        assert daemon is not None
        if victim != DAEMON:
            self.redis.kill()
        if victim != REDIS:
            await daemon.kill()
        if victim != DAEMON:
            await pause(self.chance.uniform(0, 0.5))
            self.redis.start()
            self.scene.upheavals.append(time.time())
        if victim != REDIS:
            self.scene.start()
        # Until somebody has been seen to work again it is open.
        self.windows.append(Window(since=since, until=float("inf")))

    async def accidents(self, over: Callable[[], bool]) -> None:
        """
        The chain does what chains do: its node forgets what the daemon sent, or the newest
        block, which nobody has confirmed, is replaced by another.
        """
        chance, scene = Random(self.chance.random()), self.scene
        blocks = scene.world.blocks

        mine = bytes.fromhex(SigningKey.from_bytes(SIGNER).address.hex[2:])

        def happen(luck: float) -> str | None:
            pooled = [each.hash for each in blocks.pool if each.sender == mine]
            if pooled and luck < 0.2:
                blocks.drop_transaction(pooled[0])
                return "dropped"
            settled = [each.transaction.sender for each in blocks.head.receipts]
            if mine in settled and 0.2 < luck < 0.35:
                blocks.reorg(1, keep_transactions=True)
                return "taken back"
            return None

        while not over():
            await pause(0.3)
            happened = await scene.world.chain.run(happen, chance.random())
            if happened is not None:
                self.accident[happened] += 1

    async def ready(self) -> None:
        """Wait until somebody works again."""
        await self.scene.until("readiness", lambda: self._works(time.time()))

    async def watch(self, over: Callable[[], bool]) -> None:
        """Close the windows when somebody works again."""
        while not over():
            asked = time.time()
            count = len(self.windows)
            if any(w.until == float("inf") for w in self.windows) and await self._works(asked):
                # A kill meanwhile has opened one that this says nothing of.
                now = time.time() + RECONCILE_SECONDS
                for place, window in enumerate(self.windows[:count]):
                    if window.until == float("inf"):
                        until = max(now, window.since + RECOVERY_SECONDS + RECONCILE_SECONDS)
                        self.windows[place] = Window(since=window.since, until=until)
            await pause(0.2)

    async def _works(self, asked: float) -> bool:
        base = self.base
        if base is None:
            return False
        try:
            status, _shown = await self.scene.get(base, "/readyz")
        except NO_ANSWER:
            return False
        return status == 200


@define(eq=False, kw_only=True)
class User:
    """
    Somebody who creates, starts, stops, deletes and pays in, and asks again when cut off.

    @ivar paid_in: neuron, so far.
    @ivar told: Statuses heard, for the report; None for no answer.
    @ivar wrong: Answers that nobody may get.
    @ivar promised: Sandboxes that a create has answered with, and that it has not deleted.
    """

    wallet: Wallet
    killer: Killer
    chance: Random
    top_up: int
    paid_in: int
    told: Counter[int | None] = field(factory=Counter)
    wrong: list[str] = field(factory=list)
    promised: set[str] = field(factory=set)

    async def live(self, over: Callable[[], bool]) -> None:
        """Go on until it is over."""
        while not over():
            sandbox = await self._create(over)
            while sandbox is not None and not over():
                await pause(self.chance.uniform(0.3, 5.0))
                step = self.chance.choices(["stop", "delete", "deposit", "look"], [3, 2, 2, 2])[0]
                if step == "deposit":
                    await self.deposit()
                elif step == "delete":
                    await self._delete(sandbox)
                    sandbox = None
                elif step == "look":
                    sandbox = await self._act("show", sandbox)
                else:
                    sandbox = await self._stop_and_start(sandbox, over)

    async def _create(self, over: Callable[[], bool]) -> str | None:
        while not over():
            answer = await self.ask(lambda client: client.create())
            if answer is not None and answer[0] == 200:
                self.promised.add(str(answer[1]["id"]))
                return str(answer[1]["id"])
            if answer is not None and answer[0] == 402:
                await self.deposit()
            await pause(self.chance.uniform(0.2, 1.0))
            # Its answer was lost: perhaps it is there.
            found = await self._mine()
            if found:
                return found[0]
        return None

    async def _stop_and_start(self, sandbox: str, over: Callable[[], bool]) -> str | None:
        there = await self._act("stop", sandbox)
        while there is not None and not over():
            await pause(self.chance.uniform(0.1, 2.0))
            before = self.told[200]
            there = await self._act("start", sandbox)
            if self.told[200] > before:
                break
        return there

    async def _act(self, verb: str, sandbox: str) -> str | None:
        """@return: The sandbox; None when it is not there."""

        def call(client: Client) -> Awaitable[Any]:
            return client.show(sandbox) if verb == "show" else client.act(verb, sandbox)

        answer = await self.ask(call)
        if answer is not None and answer[0] == 404:
            if sandbox in self.promised:
                self.wrong.append(f"{sandbox} is gone, and was never deleted")
            return None
        if answer is not None and answer[0] == 402:
            await self.deposit()
        return sandbox

    async def _delete(self, sandbox: str) -> None:
        self.promised.discard(sandbox)
        await self.ask(lambda client: client.delete(sandbox))

    async def deposit(self) -> None:
        """Pay in; the chain never dies."""
        await deferToThread(self.wallet.deposit, self.top_up)
        self.paid_in += self.top_up

    async def _mine(self) -> list[str]:
        answer = await self.ask(lambda client: client.listed())
        if answer is None or answer[0] != 200:
            return []
        shown = answer[1]
        items = shown["items"] if isinstance(shown, dict) else shown
        return [str(item["id"]) for item in items]

    async def leave(self) -> None:
        """Delete everything, until nobody has anything: all leave at the same time."""

        async def gone() -> bool:
            answer = await self.ask(lambda client: client.listed())
            if answer is None or answer[0] != 200:
                return False
            for sandbox in await self._mine():
                await self._delete(sandbox)
            records = self.killer.scene.world.simulator.records.values()
            return not any(record.runs or record.pending for record in records)

        await self.killer.scene.until("the end of all sandboxes", gone)

    async def ask(self, what: Callable[[Client], Awaitable[Any]]) -> tuple[int, Any] | None:
        """
        Ask whoever listens.

        @return: None when there was no answer.
        """
        base = self.killer.base
        if base is None:
            await pause(0.2)
            return None
        try:
            status, shown = await what(self.killer.scene.client(base, self.wallet))
        except NO_ANSWER:
            self.told[None] += 1
            return None
        self.told[status] += 1
        refused = status == 400 and str(shown.get("error")).startswith("Sandbox is not")
        if status not in EXPECTED and not refused:
            self.wrong.append(f"{status} {shown}")
        return status, shown

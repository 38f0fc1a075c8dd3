"""Those who live in a world: users who do not give up, and operators."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.reconciliation import OWNER_LABEL
from sandbox_billing.ledger.token import Allowance
from sandbox_billing.services.intake import Intake
from sandbox_billing.web.answers import Answer
from sandbox_billing.web.idempotency import slot_of
from tests.simulation.checker import Quiet, why_not_quiet
from tests.simulation.lives import Daemon
from tests.simulation.world import World


PATIENCE = 12
ORDINARY = (BadInput, Refused, Transient, UnknownOutcome)


@define(eq=False)
class Story:
    """
    What happens in a world besides faults.

    @ivar rollback_gaps: Whether a machine died, so that a fee may be lost.
    """

    world: World
    asked: int = field(default=0)

    async def ask(self, call: Callable[[Intake], Awaitable[Any]]) -> Any:
        """A request of a user, as L{ask_daemon} has it."""

        async def asking(daemon: Daemon) -> Any:
            assert daemon.intake is not None
            return await call(daemon.intake)

        return await self.ask_daemon(asking)

    async def ask_daemon(self, call: Callable[[Daemon], Awaitable[Any]]) -> Any:
        """
        A request of a user to one that lives.

        @return: Its answer; the exception it was refused with; None when none came.
        """
        world, waited = self.world, 0.0
        while not world.living:
            await world.sleep(0.5)
            waited += 0.5
            if waited > 60:
                raise AssertionError("nobody lives")
        living = world.living
        daemon = living[0] if world.random is None else world.random.choice(living)
        answers: list[Any] = []
        self.asked += 1

        async def asking() -> Any:
            return await call(daemon)

        Deferred.fromCoroutine(asking()).addBoth(answers.append)
        waited = 0.0
        while not answers and not daemon.life.dead and waited < PATIENCE:
            await world.sleep(0.5)
            waited += 0.5
        if not answers:
            return None
        answer = answers[0]
        if isinstance(answer, Failure):
            if not isinstance(answer.value, ORDINARY):
                world.surprised(answer)
            return answer.value
        return answer

    def running(self, who: Address) -> list[SandboxId]:
        """What Daytona runs of somebody's."""
        return [
            SandboxId(record.id)
            for record in self.world.simulator.records.values()
            if record.labels.get(OWNER_LABEL) == who.hex and record.runs
        ]

    async def create(
        self, who: Address, tries: int = 4, allowance: Allowance | None = None
    ) -> SandboxId | None:
        """Ask for a sandbox until one runs, as a client with one wish would."""
        for _ in range(tries):
            answer = await self.ask(
                lambda i: i.create(who, {}, auto_stop_minutes=None, allowance=allowance)
            )
            for _ in range(4):
                found = self.running(who)
                if found:
                    return found[-1]
                if isinstance(answer, Exception):
                    break
                await self.world.sleep(1)
            await self.world.sleep(3)
        return None

    async def create_once(self, who: Address, key: str, tries: int = 250) -> SandboxId:
        """Ask for one sandbox under a key until it is named."""

        async def asking(daemon: Daemon) -> Any:
            intake = daemon.intake
            assert intake is not None and daemon.keys is not None

            async def create(reference: Reference) -> Answer:
                made = await intake.create(who, {}, auto_stop_minutes=None, reference=reference)
                return Answer(document={"id": made.id})

            async def found(sandbox: SandboxId) -> Answer:
                return Answer(document={"id": (await intake.owned(who, sandbox)).id})

            return await daemon.keys.run(who, slot_of("create", key), "digest", create, found)

        for _ in range(tries):
            answer = await self.ask_daemon(asking)
            if isinstance(answer, Answer):
                return SandboxId(answer.document["id"])
            await self.world.sleep(3)
        raise AssertionError(f"the key {key} leads nowhere: {answer!r}")

    async def start(self, who: Address, sandbox: SandboxId, tries: int = 6) -> bool:
        """Until it runs."""
        for _ in range(tries):
            await self.ask(lambda i: i.start(who, sandbox))
            await self.world.sleep(2)
            if sandbox in self.running(who):
                return True
            await self.world.sleep(3)
        return False

    async def recover(self, who: Address, sandbox: SandboxId, tries: int = 6) -> bool:
        """Until it runs."""
        for _ in range(tries):
            await self.ask(lambda i: i.recover(who, sandbox))
            await self.world.sleep(2)
            if sandbox in self.running(who):
                return True
            await self.world.sleep(3)
        return False

    async def end(self, who: Address, *, delete: bool = False, tries: int = 20) -> None:
        """Ask for a stop of everything until nothing runs."""
        for _ in range(tries):
            for sandbox in self.running(who):
                if delete:
                    await self.ask(lambda i, s=sandbox: i.delete(who, s))
                else:
                    await self.ask(lambda i, s=sandbox: i.stop(who, s))
            await self.world.sleep(2)
            if not self.running(who):
                return
        raise AssertionError(f"{who} cannot stop {self.running(who)}")

    async def fund(self, who: Address, amount: int) -> None:
        """Deposit and acknowledge."""
        self.world.deposit(who, amount)
        self.world.acknowledge(who)
        await self.world.sleep(4)

    async def quiet(self, wish: Quiet, limit: int = 240) -> None:
        """Until nothing is on its way (L11)."""
        why: str | None = None
        for _ in range(limit):
            why = why_not_quiet(self.world, wish)
            if why is None:
                return
            await self.world.sleep(1)
        raise AssertionError(f"L11: it does not become quiet: {why}")

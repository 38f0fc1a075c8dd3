"""
Tests for C{sandbox-billing provider leave --redis}: a process beside a running daemon.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.memory.contract import LOCK_SECONDS
from sandbox_billing.cli.provider_leave import words
from sandbox_billing.devnet.world import PROVIDER
from sandbox_billing.ledger.backlog import Left, Standing
from sandbox_billing.ledger.money import neuron
from tests.cli.stage import Told
from tests.cli.test_provider_drain import DrainCase


class WordsTests(SynchronousTestCase):
    """What is lost, in words."""

    def test_all(self) -> None:
        """Nothing that is left is passed over, also not what no drain would wait for."""
        nothing = Left(intents=0, sessions=0, charges=0, amount=neuron(0), excepted=(), damaged=0)
        self.assertEqual([], words(nothing))
        left = Left(
            intents=1,
            sessions=2,
            charges=3,
            amount=neuron(4),
            excepted=((Standing.PARKED, 5, neuron(6)), (Standing.DEBT, 7, neuron(8))),
            damaged=9,
        )
        told = "; ".join(words(left))
        for part in ("1 calls", "2 sandboxes", "3 charges of 4 neuron", "9 damaged charges"):
            self.assertIn(part, told)
        self.assertIn("5 charges of 6 neuron (0.000000000000000006 0G) parked", told)
        self.assertIn("7 charges of 8 neuron (0.000000000000000008 0G) debt", told)


class LeaveTests(DrainCase):
    """A provider leaves while a sandbox runs."""

    async def test_story(self) -> None:
        """Not while something would be lost; then, when all is settled, without a question."""
        await self.begin()
        announced = await self.leave()
        self.assertEqual("announced", announced.document["state"], announced.err)
        await self.scene.world.chain.run(
            lambda: self.scene.world.blocks.increase_time(LOCK_SECONDS + 60)
        )
        await self.scene.world.chain.run(self.scene.world.blocks.mine)

        told = await self.leave()
        self.assertEqual(1, told.status, f"{told.out}\n{told.err}")
        self.assertIn("leaving now loses for ever", told.document["error"])
        self.assertIn("1 sandboxes that run", told.document["error"])
        dry = await self.leave("--dry-run")
        self.assertEqual(0, dry.status, f"{dry.out}\n{dry.err}")
        self.assertIn("leaving now loses for ever", dry.err)

        status, shown = await self.client.act("stop", self.sandbox)
        self.assertEqual(status, 200, shown)
        await self.scene.until("its end", lambda: self.scene.stopped(self.sandbox))
        await self.scene.until("all to be settled", lambda: self.scene.all_settled(self.alice))
        told = await self.scene.until("nothing to be left", self._left)
        self.assertEqual(("left", []), (told["state"], told["left_behind"]))

    async def _left(self) -> Any:
        told = await self.leave()
        return told.document if told.status == 0 else None

    async def leave(self, *more: str) -> Told:
        """The command, as a script runs it."""
        deployment = self.scene.world.deployment
        assert deployment is not None
        process = self.desk.start(
            *("provider", "leave", "--json"),
            *more,
            SETTLEMENT_CONTRACT=deployment.proxy,
            PROVIDER_KEY="0x" + PROVIDER.hex(),
            REDIS_ADDR=f"127.0.0.1:{self.scene.world.redis.port}",
        )
        status, out, err = await self.ended(process)
        return Told(status=status, out=out, err=err)

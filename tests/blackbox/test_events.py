"""
Daytona's events, in processes: what ends by itself is seen within a second, though sweeps are an
hour apart; and where there are no events, sweeps do.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from sandbox_billing.devnet.world import ALICE, TOKEN
from tests.blackbox.scene import Scene, reasons


HOUR = {"RECONCILE_INTERVAL_SEC": "3600", "DEADMAN_MINUTES": "180"}


class EventTests(TestCase):
    """A daemon that listens."""

    timeout = 600

    async def metered(self, scene: Scene) -> tuple[str, Any]:
        """A sandbox that runs and is seen to, and its owner."""
        scene.start()
        alice = await scene.user("alice", ALICE, TOKEN)
        base = await scene.ready()
        sandbox = await scene.created(scene.client(base, alice))
        record = scene.world.simulator.records[sandbox]
        await scene.until("it to run", lambda: record.runs)
        return sandbox, base

    def metering(self, scene: Scene, sandbox: str) -> bool:
        """Whether a session is open."""
        return bool(scene.keys(f"billing:compute:{sandbox}"))

    async def test_within_a_second(self) -> None:
        """The start and the container's own end are seen at once, whatever the sweep's interval."""
        scene = await Scene.open(self, **HOUR)
        sandbox, base = await self.metered(scene)
        simulator = scene.world.simulator
        await scene.until(
            "its start to be seen",
            lambda: scene.keys("billing:seen:*") or None,
        )
        swept = len(scene.sweeps())
        simulator.stop_behind(sandbox)
        await scene.until("its end to be seen", lambda: not self.metering(scene, sandbox))
        self.assertEqual(len(scene.sweeps()), swept, "it was a sweep that saw it")
        _status, shown = await scene.get(base, "/readyz")
        self.assertNotIn("daytona events", shown.get("notices", {}))

    async def test_cut_and_off(self) -> None:
        """A connection that is cut is made again; one that is refused is no trouble, only told."""
        scene = await Scene.open(self, RECONCILE_INTERVAL_SEC="2")
        sandbox, base = await self.metered(scene)
        events = scene.world.simulator.events
        events.cut()
        await scene.until("it to listen again", lambda: not events.heard)
        await scene.until("it to listen again", lambda: events.heard)
        events.enabled = False
        events.cut()

        async def told() -> bool:
            status, shown = await scene.get(base, "/readyz")
            self.assertEqual(status, 200, shown)
            self.assertEqual(reasons(shown), {})
            return "answers 404" in shown.get("notices", {}).get("daytona events", "")

        await scene.until("it to be told", told)
        await deferLater(reactor, 0)
        scene.world.simulator.stop_behind(sandbox)
        await scene.until("the sweep to see it", lambda: not self.metering(scene, sandbox))

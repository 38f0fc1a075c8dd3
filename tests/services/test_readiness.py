"""
Tests of C{sandbox_billing.services.readiness}: what a process without turns can tell.
"""

from __future__ import annotations

from sandbox_billing.errors import StoreDown
from sandbox_billing.services._periodic import Periodic
from sandbox_billing.services.readiness import MirrorWatch, Readiness
from tests.fixtures import WorldCase


class MirrorWatchTests(WorldCase):
    """A web process beside a worker that keeps the mirror, or does not."""

    def setUp(self) -> None:
        super().setUp()
        self.max_age = self.world.policy.mirror_max_age
        self.watch = MirrorWatch(
            doors=self.world.eyes.doors, wall=self.world.wall, max_age_seconds=self.max_age
        )
        self.readiness = Readiness()
        self.readiness.asked["chain mirror"] = self.watch.trouble

    def test_before_the_first_look(self) -> None:
        """What nobody looked at is not known to be well."""
        self.assertEqual(
            self.readiness.reasons(), {"chain mirror": "the chain has not been read yet"}
        )

    def test_kept(self) -> None:
        """While the worker keeps it there is nothing to tell, however long that lasts."""
        for _ in range(5):
            self.world.advance(self.max_age)
            self.world.run(self.watch.turn())
            self.assertEqual(self.readiness.reasons(), {})

    def test_grows_old(self) -> None:
        """Too old for a create is too old here, at the very second, looked at or not."""
        world = self.world
        self.successResultOf(world.process.stop())
        world.run(self.watch.turn())
        stored = world.now(world.eyes.doors.mirror())
        left = stored.value.updated_at + self.max_age - world.wall.now()
        world.advance(left)
        self.assertEqual(self.readiness.reasons(), {})
        world.advance(1)
        self.assertEqual(
            self.readiness.reasons(),
            {
                "chain mirror": f"was last brought up to date {self.max_age + 1} s ago;"
                " is there a worker?"
            },
        )

    def test_store_away(self) -> None:
        """Who cannot look says why, under the store's own name."""

        class Away:
            """No server."""

            async def mirror(self) -> None:
                raise StoreDown("not connected to Redis")

        self.watch.doors = Away()
        periodic = Periodic("redis", self.watch.turn, 5, self.world.clock)
        periodic.startService()
        self.addCleanup(periodic.stopService)
        self.assertEqual(periodic.trouble, "not connected to Redis")

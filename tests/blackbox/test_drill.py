"""
Backup and restore for real: see C{docs/backup.rst} and C{bin/drill}, which prints the table.
"""

from __future__ import annotations

import os
import sys
import time

from twisted.trial.unittest import TestCase

from tests.blackbox import backup
from tests.blackbox.drill import INTERVAL_SECONDS, Copy, Drill
from tests.blackbox.scene import Scene
from tests.redis_server import new_server


LONG = bool(os.environ.get("DRILL"))
"""Set by C{bin/drill}: both ways, and more vouchers in each part."""

APPEND_ONLY = Copy(
    name="the append-only folder",
    take=backup.copy_append_only,
    bring=backup.restore_append_only,
)

SNAPSHOT = Copy(name="BGSAVE", take=backup.copy_snapshot, bring=backup.restore_snapshot)


class DrillTests(TestCase):
    """A copy under load, a crash, a restore that is older than the chain."""

    timeout = 240

    async def drill(self, copy: Copy, vouchers: int) -> None:
        """Play it, print what came of it, and fail unless the laws hold."""
        began = time.monotonic()
        scene = await Scene.open(
            self, VOUCHER_INTERVAL_SEC=str(INTERVAL_SECONDS), BATCH_WAIT_SEC="0"
        )
        scene.mining.interval = 0.3
        redis = new_server()
        self.addCleanup(redis.stop)
        scene.redis_port = redis.port
        scene.settings["REDIS_ADDR"] = f"127.0.0.1:{redis.port}"
        drill = Drill(
            case=self,
            scene=scene,
            redis=redis,
            copy=copy,
            vouchers=vouchers,
            whole=LONG,
            began=began,
        )
        await drill.play()
        lines, problems = await drill.result()
        told = "\n".join(lines)
        self.assertEqual(problems, [], told)
        if LONG:
            sys.stdout.write(f"\n{told}\n")

    async def test_append_only(self) -> None:
        """From a copied append-only folder: no second twice, no voucher lost, and all is told."""
        await self.drill(APPEND_ONLY, 3 if LONG else 1)

    async def test_snapshot(self) -> None:
        """From a snapshot, likewise."""
        if not LONG:
            return
        await self.drill(SNAPSHOT, 3)

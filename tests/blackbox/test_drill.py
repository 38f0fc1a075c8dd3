"""
Backup and restore for real: see C{docs/backup.rst} and C{bin/drill}, which prints the table.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase

from sandbox_billing.devnet.redis import RedisServer
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

    timeout = 600

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

    if LONG:

        async def test_snapshot(self) -> None:
            """From a snapshot, likewise."""
            await self.drill(SNAPSHOT, 3)


class CopyTests(SynchronousTestCase):
    """Copies of a server that goes on writing, and servers that begin with one."""

    def setUp(self) -> None:
        self.server = new_server()
        self.addCleanup(self.server.stop)
        self.place = Path(self.mktemp())
        self.place.mkdir(parents=True)
        for number in range(200):
            backup.asked(self.server, "SET", f"key:{number}", number)

    def again(self, bring: Callable[[RedisServer, Path], None], copied: Path) -> object:
        """@return: How many keys there are after a crash and a restore; it writes its file."""
        backup.asked(self.server, "SET", "late", 1)
        self.server.kill()
        bring(self.server, copied)
        self.assertEqual(backup.info(self.server, "persistence")["aof_enabled"], "1")
        found = backup.asked(self.server, "DBSIZE")
        # What it began with outlives the next start, too.
        self.server.stop()
        self.server.start()
        self.assertEqual(backup.asked(self.server, "DBSIZE"), found)
        return found

    def test_append_only(self) -> None:
        """The folder is enough; the server's setting is what it was."""
        setting = ("CONFIG", "GET", "auto-aof-rewrite-percentage")
        before = backup.asked(self.server, *setting)
        copied = backup.copy_append_only(self.server, self.place)
        self.assertEqual(backup.asked(self.server, *setting), before)
        self.assertEqual(self.again(backup.restore_append_only, copied), 200)

    def test_cut(self) -> None:
        """A command that was being written when it was copied is dropped, and only that one."""
        copied = backup.copy_append_only(self.server, self.place)
        (newest,) = copied.glob("*.incr.aof")
        with newest.open("r+b") as file:
            file.truncate(newest.stat().st_size - 5)
        self.assertEqual(self.again(backup.restore_append_only, copied), 199)

    def test_snapshot(self) -> None:
        """A snapshot is enough, with a start of its own; without it the server begins empty."""
        copied = backup.copy_snapshot(self.server, self.place)
        self.assertEqual(self.again(backup.restore_snapshot, copied), 200)
        self.server.stop()
        shutil.rmtree(self.server.options.directory / backup.APPEND_ONLY_FOLDER)
        shutil.copy2(copied, self.server.options.directory / backup.SNAPSHOT)
        self.server.start()
        self.assertEqual(backup.asked(self.server, "DBSIZE"), 0)

"""A worker, which has no other HTTP: what it shows of itself on its listener."""

from __future__ import annotations

import json
import re

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from sandbox_billing import __version__
from sandbox_billing.devnet.scraping import Figures, read_figures
from tests.blackbox.process import twistd, until
from tests.blackbox.scene import Scene


class WorkerTests(TestCase):
    """C{--role worker --metrics-addr}."""

    timeout = 600

    async def test_shown(self) -> None:
        """Alive at once, ready when it is, and figures of all that it does and depends on."""
        scene = await Scene.open(self)
        child = twistd(
            self,
            scene.environment(),
            *("--role", "worker", "--metrics-addr", "127.0.0.1:0"),
            endpoint=False,
        )

        def listening() -> int | None:
            found = re.search(rb'"message": "metrics at 127\.0\.0\.1:(\d+)"', child.out)
            return int(found.group(1)) if found else None

        port = await until(reactor, "the listener", listening)

        async def get(path: str) -> tuple[int, str]:
            response = await scene.http.get(f"http://127.0.0.1:{port}{path}")
            return response.code, await response.text()

        self.assertEqual((200, '{"ok":true}'), await get("/healthz"))
        _, text = await until(reactor, "readiness", lambda: self.when(200, get("/readyz")))
        shown = json.loads(text)
        self.assertEqual(
            {"redis", "chain", "daytona", "key service"},
            {name for name, one in shown["dependencies"].items() if one["ok"]},
        )
        self.assertLess(1_600_000_000, shown["services"]["settler"]["last_good_turn"])

        async def settled() -> Figures | None:
            figures = read_figures((await get("/metrics"))[1])
            # The last of a turn to be told is how long it took.
            wanted = {
                *(("sessions",), ("mirror_block",), ("turn_seconds_count", "watcher")),
                ("daytona_seconds_count", "GET /snapshots", "ok"),
                *(("clock_offset_seconds",), ("lease_held",)),
            }
            there = wanted <= figures.keys() and figures["reactor_lag_seconds_count",] > 0
            return figures if there else None

        figures = await until(reactor, "the worker's figures", settled)
        self.assertEqual(1, figures["build_info", "worker", __version__])
        self.assertEqual((1, 1), (figures["ready",], figures["lease_held",]))
        self.assertEqual(0, figures["sessions",])
        self.assertLess(abs(figures["clock_offset_seconds",]), 2)
        self.assertLess(0, figures["chain_seconds_count", "head", "ok"])
        self.assertLess(0, figures["daytona_seconds_count", "GET /snapshots", "ok"])
        self.assertLess(0, figures["turn_seconds_count", "watcher"])
        self.assertLess(0, figures["reactor_lag_seconds_count",])
        self.assertEqual((404, 404), ((await get("/"))[0], (await get("/info"))[0]))
        self.assertEqual(0, await child.terminate(), child.said()[-2000:])

    async def when(self, status: int, answer: object) -> tuple[int, str] | None:
        """An answer once it has this status."""
        got: tuple[int, str] = await answer  # type: ignore[misc]
        return got if got[0] == status else None

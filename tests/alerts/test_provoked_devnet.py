"""
Conditions that a daemon as it is deployed gets into: provoked, seen in its scrape, and ended.

One daemon in one devnet, with a port in front of chain and Daytona that can be closed. What
wants hours is provoked in L{tests.alerts.test_provoked_hours}.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.client import ResponseFailed, ResponseNeverReceived

from sandbox_billing.devnet.redis import free_port
from sandbox_billing.devnet.world import ALICE, TOKEN
from sandbox_billing.signing.eip55 import checksum
from tests.alerts import redis_cli
from tests.alerts.playbook import commands, sections
from tests.alerts.prometheus import Prometheus
from tests.blackbox.process import new_folder
from tests.blackbox.scene import Scene
from tests.blackbox.test_start import Bridge, port_of


INSTANCE = "127.0.0.1:9464"

ELSEWHERE = ("systemctl", "journalctl", "timedatectl")
"""What asks systemd, of which there is none here."""

SETTING_UP = ("set -a", "export", "alias")

LATER_SECONDS = 600
"""Past the longest range of a rule that is provoked here."""


class DevnetTests(TestCase):
    """Each alert's expression, on the real text of a real process."""

    timeout = 240

    async def test_provoked(self) -> None:
        """A process is provoked into each condition, and out of it as the playbook says."""
        self.prometheus = Prometheus()
        self.later = 0.0
        self.scene = scene = await Scene.open(self)
        self.chain = Bridge(free_port(), port_of(scene.world.chain.url))
        self.daytona = Bridge(free_port(), port_of(scene.world.daytona.url))
        for bridge in (self.chain, self.daytona):
            bridge.open()
            self.addCleanup(bridge.close)
        metrics = free_port()
        self.metrics = f"127.0.0.1:{metrics}"
        scene.settings |= {
            "METRICS_ADDR": self.metrics,
            "RPC_URL": f"http://127.0.0.1:{self.chain.port}",
            "DAYTONA_API_URL": f"http://127.0.0.1:{self.daytona.port}",
        }
        scene.start()
        self.base = await scene.ready()
        self.alice = await scene.user("alice", ALICE, 10 * TOKEN)
        self.client = scene.client(self.base, self.alice)
        self.sandbox = await scene.created(self.client)
        await self.seen("a first look at everything", lambda: self.has("gas_wallet_neuron"))
        await self.quiet()
        await self.by_the_book()
        await self.chain_away()
        await self.daytona_away()
        await self.stands_still()
        await self.dead_letter()
        await self.gone()

    # -- looking

    async def scrape(self) -> float:
        """Look once."""
        seconds: Any = reactor
        at: float = seconds.seconds() + self.later
        try:
            response = await self.scene.http.get(f"http://{self.metrics}/metrics", timeout=10)
            text = (await response.content()).decode()
        except (ConnectError, ResponseNeverReceived, ResponseFailed):
            text = None
        self.prometheus.scrape(INSTANCE, text, at)
        return at

    def has(self, name: str) -> bool:
        """Whether a metric is shown."""
        return f"sandbox_billing_{name}" in self.prometheus.store.series

    async def holding(self) -> set[str]:
        """Alerts whose expressions hold now."""
        at = await self.scrape()
        return {
            one.name
            for one in self.prometheus.watch.watched
            if one.holds(self.prometheus.store, at)
        }

    async def seen(self, what: str, happened: Callable[[], Any]) -> None:
        """Scrape until something shows."""

        async def look() -> bool:
            await self.scrape()
            found = happened()
            return bool(await found if isinstance(found, Awaitable) else found)

        await self.scene.until(what, look)

    async def raised(self, name: str) -> None:
        """Until its expression holds."""

        async def holds() -> bool:
            return name in await self.holding()

        await self.scene.until(f"{name} to hold", holds)

    async def over(self, *names: str) -> None:
        """Until they hold no more, for a Prometheus that comes back later."""
        self.later += LATER_SECONDS
        await self.scrape()

        async def none() -> bool:
            return not set(names) & await self.holding()

        await self.scene.until(f"{names} to be over", none)

    async def quiet(self) -> None:
        """A daemon that is well raises nothing."""
        self.assertEqual(await self.holding() - {"AdmissionsPausedLong"}, set())

    # -- the playbook

    async def shell(self, *typed: str) -> list[tuple[int, str]]:
        """What an operator gets who types these, with the daemon's settings in his shell."""
        environment = self.scene.environment()
        file = new_folder(self) / "environment"
        file.write_text("".join(f"{name}={value}\n" for name, value in environment.items()))
        lines = [f'redis() {{ "{sys.executable}" "{redis_cli.__file__}" "$REDIS_PORT" "$@"; }}']
        for command in typed:
            command = command.replace("/etc/sandbox-billing/environment", str(file))
            lines.append(f'{command}\nprintf "\\n@@ %s\\n" "$?"')
        script = new_folder(self) / "typed.sh"
        script.write_text("\n".join(lines))
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = await deferToThread(
            subprocess.run,
            ["bash", str(script)],
            capture_output=True,
            text=True,
            timeout=120,
            env={
                **environment,
                "PATH": path,
                "LC_ALL": "C.UTF-8",
                "METRICS": self.metrics,
                "PROVIDER": self.scene.world.provider.hex,
                "SANDBOX": self.sandbox,
                "REDIS_PORT": str(self.scene.world.redis.port),
            },
        )
        parts = done.stdout.split("\n@@ ")
        self.assertEqual(len(parts), len(typed) + 1, done.stdout + done.stderr)
        said = [parts[0], *(part.partition("\n")[2] for part in parts[1:])]
        codes = [int(part.partition("\n")[0]) for part in parts[1:]]
        return list(zip(codes, said, strict=False))

    async def by_the_book(self) -> None:
        """Every command of the playbook that needs no systemd works as it is written there."""
        typed = dict.fromkeys(
            command
            for name in sections()
            for command in commands(name)
            if not command.startswith(ELSEWHERE + SETTING_UP)
        )
        self.assertGreater(len(typed), 25)
        found = await self.shell(*typed)
        for command, (status, said) in zip(typed, found, strict=True):
            # 6: a difference stands, such as a charge that is being settled; 1: grep's nothing.
            fine = {0, 6} if "reconcile" in command else {0}
            if 'status="5' in command:
                fine = {1}
            self.assertIn(status, fine, f"{command}: {said}")
            if status == 0 and not command.startswith("redis"):
                self.assertTrue(said.strip(), command)
        told = dict(zip(typed, (said for _status, said in found), strict=True))
        self.assertIn("ref-", told["redis GET billing:lease:$PROVIDER"])
        self.assertIn(
            '"ready": true', told["curl -s http://$METRICS/readyz"].replace('":t', '": t')
        )
        self.assertIn(checksum(self.alice.address), told["sandbox-billing queue list"])

    # -- the conditions

    async def reasons(self) -> dict[str, str]:
        """The playbook's first look."""
        response = await self.scene.http.get(f"http://{self.metrics}/readyz", timeout=10)
        found: dict[str, str] = (await response.json())["reasons"]
        return found

    async def chain_away(self) -> None:
        """The node does not answer: ChainFailing and NotReady; it answers, and they are over."""
        await self.chain.close()
        await self.raised("ChainFailing")
        await self.raised("NotReady")
        self.assertIn("watcher", await self.reasons())
        self.chain.open()
        await self.over("ChainFailing", "NotReady")

    async def daytona_away(self) -> None:
        """Daytona does not answer: DaytonaFailing, and ErrorsHigh when users ask."""
        await self.daytona.close()
        for times in (2, 10):
            for _ in range(times):
                status, _shown = await self.client.listed()
                self.assertIn(status, (502, 503, 504))
            await self.scrape()
        await self.raised("ErrorsHigh")
        await self.raised("DaytonaFailing")
        self.assertIn("reconciler", await self.reasons())
        self.daytona.open()
        await self.over("DaytonaFailing", "ErrorsHigh", "NotReady")

    async def stands_still(self) -> None:
        """The process is not run for some seconds: ReactorLag."""
        daemon = self.scene.daemon
        assert daemon is not None
        await self.scrape()
        os.kill(daemon.pid, signal.SIGSTOP)
        # It is the fault itself, not a wait for something.
        await deferLater(reactor, 2.5)
        os.kill(daemon.pid, signal.SIGCONT)
        await self.raised("ReactorLag")
        await self.over("ReactorLag", "NoWorker", "NotReady")

    async def dead_letter(self) -> None:
        """A stored session that cannot be read: DeadLetters alone; struck by the commands."""
        await self.shell(
            "redis SET billing:compute:ghost nonsense",
            "redis SADD billing:sessions:$PROVIDER ghost",
        )
        await self.raised("DeadLetters")
        self.assertEqual(await self.reasons() and set(await self.reasons()), {"dead letters"})
        self.assertNotIn("NotReady", await self.holding())
        [(_, said), *rest] = await self.shell(
            "sandbox-billing queue dead",
            "redis DEL billing:compute:ghost",
            "redis SREM billing:sessions:$PROVIDER ghost",
            "sandbox-billing queue drop session:ghost --reason mended --by olga --yes",
        )
        self.assertIn("session:ghost", said)
        self.assertEqual([status for status, _ in rest], [0, 0, 0], rest)
        await self.over("DeadLetters")

    async def gone(self) -> None:
        """The process is killed: TargetDown, and nothing else is said of it."""
        daemon = self.scene.daemon
        assert daemon is not None
        await daemon.kill()
        await self.raised("TargetDown")

"""
Conditions that a daemon as it is deployed gets into: provoked, seen in its scrape, and ended.

One daemon in one devnet, with a port in front of chain and Daytona that can be closed. What
wants hours is provoked in L{tests.alerts.test_provoked_hours}.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from attrs import frozen
from prometheus_client import generate_latest
from twisted.internet import reactor
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.client import ResponseFailed, ResponseNeverReceived

from sandbox_billing.adapters.prometheus.registry import PrometheusMeasures
from sandbox_billing.adapters.redis.keyspace import RedisKeyspace
from sandbox_billing.devnet.redis import free_port
from sandbox_billing.devnet.world import ALICE, TOKEN
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.monitoring import make_dependency_watch
from sandbox_billing.services.readiness import Readiness
from tests.alerts import redis_cli
from tests.alerts.playbook import commands, sections
from tests.alerts.prometheus import Prometheus
from tests.blackbox.process import new_folder
from tests.blackbox.scene import ANSWER_SECONDS, Scene
from tests.blackbox.test_start import Bridge, port_of


INSTANCE = "127.0.0.1:9464"

ELSEWHERE = ("systemctl", "journalctl", "timedatectl")
"""What asks systemd, of which there is none here."""

SETTING_UP = ("for ", "export", "alias", "settings=", "while ")
"""These are typed in L{tests.systemd.test_pages}."""

STUCK = "TurnStuck"

LATER_SECONDS = 600
"""Past the longest range of a rule that is provoked here."""

PATIENCE_SECONDS = 120.0
"""For each condition, on a machine that has other things to do."""


@frozen
class Slow:
    """A wall clock that somebody set back."""

    seconds: int

    def now(self) -> UnixSeconds:
        """Whole seconds, as the daemon's own are."""
        return UnixSeconds(int(time.time()) - self.seconds)

    after = now


class DevnetTests(TestCase):
    """Each alert's expression, on the real text of a real process."""

    timeout = 1800

    async def test_provoked(self) -> None:
        """A process is provoked into each condition, and out of it as the playbook says."""
        self.prometheus = Prometheus()
        self.later = 0.0
        self.scene = scene = await Scene.open(self)
        self.chain = self.bridge(scene.world.chain.url)
        self.daytona = self.bridge(scene.world.daytona.url)
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
        await self.shows("lease_held")
        await self.quiet()
        await self.clock_off()
        await self.dead_letter()
        await self.chain_away()
        await self.daytona_away()
        await self.stands_still()
        # What the figures say of letters is read every fifteen seconds.
        await self.over("DeadLetters")
        await self.gone()

    def bridge(self, url: str) -> Bridge:
        """A way there that can be closed; open at once, so that nobody else has its port."""
        made = Bridge(free_port(), port_of(url))
        made.open()
        self.addCleanup(made.close)
        return made

    # -- looking

    async def scrape(self) -> float:
        """Look once."""
        seconds: Any = reactor
        at: float = seconds.seconds() + self.later
        try:
            response = await self.scene.http.get(
                f"http://{self.metrics}/metrics", timeout=ANSWER_SECONDS
            )
            text = (await response.content()).decode()
        except (ConnectError, ResponseNeverReceived, ResponseFailed):
            text = None
        self.prometheus.scrape(INSTANCE, text, at)
        return at

    async def afresh(self) -> None:
        """
        Let what was well until now lie before every range: how long it was depends on the machine.
        """
        self.later += LATER_SECONDS
        await self.scrape()

    async def holding(self, *names: str) -> set[str]:
        """Those of these alerts whose expressions hold now."""
        at = await self.scrape()
        return {name for name in names if self.prometheus.holds(name, at)}

    async def until(self, what: str, happened: Callable[[], Awaitable[object]]) -> None:
        """Look until something is so, twice a second: each look is a scrape."""

        async def look() -> object:
            return await happened() or await deferLater(reactor, 0.5)

        await self.scene.until(what, look, seconds=PATIENCE_SECONDS)

    async def shows(self, name: str) -> None:
        """Until a metric is shown."""

        async def shown() -> bool:
            await self.scrape()
            return f"sandbox_billing_{name}" in self.prometheus.store.series

        await self.until(f"{name} to be shown", shown)

    async def raised(self, name: str) -> None:
        """Until its expression holds."""

        async def holds() -> bool:
            return bool(await self.holding(name))

        await self.until(f"{name} to hold", holds)

    async def over(self, *names: str) -> None:
        """Until they hold no more, for a Prometheus that comes back later for each look."""
        left: set[str] = set()

        async def none() -> bool:
            await self.afresh()
            await deferLater(reactor, 0.5)
            left.clear()
            left.update(await self.holding(*names))
            return not left

        try:
            await self.until(f"{names} to be over", none)
        except AssertionError as why:
            raise AssertionError(f"{left} are not over: {await self.reasons()}; {why}") from why

    async def quiet(self) -> None:
        """A daemon that is well raises nothing; how long ago a turn was is moved with the time."""
        await self.over(*(one.name for one in self.prometheus.watch.watched if one.name != STUCK))

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
            timeout=900,
            env={
                **environment,
                "PATH": path,
                "LC_ALL": "C.UTF-8",
                "METRICS": self.metrics,
                "PROVIDER": self.scene.world.provider.hex,
                "DAYTONA": f"{environment['DAYTONA_API_URL']}/api",
                "SANDBOX": self.sandbox,
                "REDIS_PORT": str(self.scene.world.redis.port),
            },
        )
        parts = done.stdout.split("\n@@ ")
        self.assertEqual(len(parts), len(typed) + 1, done.stdout + done.stderr)
        said = [parts[0], *(part.partition("\n")[2] for part in parts[1:])]
        codes = [int(part.partition("\n")[0]) for part in parts[1:]]
        return list(zip(codes, said, strict=False))

    async def by_the_book(self) -> dict[str, str]:
        """
        Every command of the playbook that needs no systemd works as it is written there.

        @return: What each says.
        """
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
                fine = {0, 1}
            self.assertIn(status, fine, f"{command}: {said}")
            if status == 0 and not command.startswith("redis"):
                self.assertTrue(said.strip(), command)
        told = dict(zip(typed, (said for _status, said in found), strict=True))
        self.assertIn("ref-", told["redis GET billing:lease:$PROVIDER"])
        ready = json.loads(told["curl -s http://$METRICS/readyz"])
        self.assertIn("dead letters", ready["reasons"])
        return told

    # -- the conditions

    async def reasons(self) -> dict[str, str]:
        """The playbook's first look."""
        response = await self.scene.http.get(
            f"http://{self.metrics}/readyz", timeout=ANSWER_SECONDS
        )
        found: dict[str, str] = (await response.json())["reasons"]
        return found

    async def clock_off(self) -> None:
        """What asks Redis for its time, with a clock that is a minute slow: ClockOff."""
        measures = PrometheusMeasures()
        # As long as an answer takes nobody knows when it was read: a second or two prove nothing.
        for seconds, off in ((60, True), (0, False)):
            wall = Slow(seconds)
            keyspace = RedisKeyspace(
                host="127.0.0.1",
                port=self.scene.world.redis.port,
                password=None,
                clock=reactor,
                wall=wall,
            )
            await keyspace.connect()
            parts: Any = SimpleNamespace(
                journal=SimpleNamespace(store=SimpleNamespace(keyspace=keyspace)),
                chain=SimpleNamespace(head=keyspace.facts),
                runtime=SimpleNamespace(ping=keyspace.facts),
                clock=reactor,
                wall=wall,
                measures=measures,
            )
            await make_dependency_watch(parts, Readiness()).turn()
            await keyspace.close()
            text = generate_latest(measures.registry).decode()
            at = await self.scrape()
            self.prometheus.scrape("slow", text, at)
            self.assertEqual(bool(self.prometheus.holds("ClockOff", at)), off)

    async def chain_away(self) -> None:
        """The node does not answer: ChainFailing and NotReady; it answers, and they are over."""
        await self.afresh()
        await self.chain.close()
        await self.raised("ChainFailing")
        await self.raised("NotReady")
        self.assertIn("watcher", await self.reasons())
        self.chain.open()
        await self.over("ChainFailing", "NotReady")

    async def daytona_away(self) -> None:
        """Daytona does not answer: DaytonaFailing, and ErrorsHigh when users ask."""
        await self.afresh()
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
        await self.afresh()
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

        async def alone() -> bool:
            holding = await self.holding("NotReady")
            return set(await self.reasons()) == {"dead letters"} and not holding

        await self.until("readiness to tell of it, and of nothing else", alone)
        told = await self.by_the_book()
        self.assertIn("session:ghost", told["sandbox-billing queue dead"])
        done = await self.shell(
            "redis DEL billing:compute:ghost",
            "redis SREM billing:sessions:$PROVIDER ghost",
            "sandbox-billing queue drop session:ghost --reason mended --by olga --yes",
        )
        self.assertEqual([status for status, _ in done], [0, 0, 0], done)

    async def gone(self) -> None:
        """The process is killed: TargetDown, and nothing else is said of it."""
        daemon = self.scene.daemon
        assert daemon is not None
        await daemon.kill()
        await self.raised("TargetDown")

"""The daemon as operators meet it: options, roles, logs, the devnet to play with."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.error import ConnectionRefusedError
from twisted.trial.unittest import TestCase

from sandbox_billing.devnet.redis import free_port
from sandbox_billing.devnet.world import ADMIN_KEY, ALICE, BOB, MALLORY, SIGNER, TOKEN
from tests.blackbox.process import (
    PLUGIN_FOLDER,
    TWISTD,
    Child,
    new_file,
    new_folder,
    together,
    twistd,
    until,
)
from tests.blackbox.scene import INTERVAL_SECONDS, RECONCILE_SECONDS, Scene
from tests.redis_server import new_server


REDIS_PASSWORD = "the-redis-password"

SECRETS = (ADMIN_KEY, SIGNER.hex(), REDIS_PASSWORD)


class OptionTests(TestCase):
    """What the command line says before anything else is looked at."""

    timeout = 300

    async def test_wrong_options(self) -> None:
        """Wrong options are wrong settings: told on standard error; nothing is started."""
        wrong = ("--role", "boss", "--port", "http", "--endpoint", "tcp:1")
        for more in ((), ("--devnet",)):
            child = twistd(self, {}, *wrong, *more, endpoint=False)
            self.assertEqual(await child.end(), 78, child.said())
            self.assertEqual(
                child.err.decode().splitlines()[:4],
                [
                    "sandbox-billing: the settings are wrong:",
                    "  - --role must be one of all, web, worker",
                    "  - --port must be a whole number from 0 to 65535",
                    "  - --port and --endpoint exclude each other",
                ],
            )
            self.assertEqual("CHAIN_ID is required" in child.said(), not more)

    async def test_wrong_env_file(self) -> None:
        """A file that is not there, or has lines nobody reads, is a wrong setting."""
        child = twistd(self, {}, "--env-file", "nowhere.env", endpoint=False)
        self.assertEqual(await child.end(), 78)
        self.assertEqual(
            child.err,
            b"sandbox-billing: the settings are wrong:\n"
            b"  - --env-file nowhere.env: No such file or directory\n",
        )
        path = new_file(self, "CHAIN_ID=16602\nCHIAN_ID=1\n")
        child = twistd(self, {}, "--env-file", path, endpoint=False)
        self.assertEqual(await child.end(), 78)
        told = child.err.decode()
        self.assertIn("  - --env-file line 2: nobody reads CHIAN_ID\n", told)
        self.assertIn("  - RPC_URL is required: ", told)
        self.assertNotIn("CHAIN_ID is required", told)


class ProcessTests(TestCase):
    """Several processes, one set of books."""

    timeout = 600

    async def test_processes(self) -> None:
        """In two worlds at once: the roles apart, and the devnet in one."""
        await together(roles=self.roles(), devnet=self.devnet())

    async def roles(self) -> None:
        """
        A web process and two workers on one Redis: the second worker goes on where the first
        was killed; troubles are logged, and nothing that is logged gives a secret away.
        """
        scene = await Scene.open(self)
        server = new_server(password=REDIS_PASSWORD)
        self.addCleanup(server.stop)
        scene.redis_port, scene.redis_password = server.port, REDIS_PASSWORD
        settings = scene.environment(
            REDIS_ADDR=f"127.0.0.1:{server.port}", REDIS_PASSWORD=REDIS_PASSWORD
        )
        settings["PORT"] = "1"  # to be overruled by --port
        path = new_file(self, "".join(f"{name}={value!r}\n" for name, value in settings.items()))
        alice = await scene.user("alice", ALICE, TOKEN)
        mallory = await scene.user("mallory", MALLORY, 0)
        port = free_port()

        def start(*options: str, **more: str) -> Child:
            child = twistd(self, more, "--env-file", path, *options, endpoint=False)
            scene.daemons.append(child)
            scene.upheavals.append(time.time())
            return child

        first = start("--role", "worker")
        await until(reactor, "a worker", lambda: "is the worker now" in first.said())
        second = start("--role", "worker")
        web = start("--role", "web", "--port", str(port))
        base = await scene.ready(web)
        self.assertEqual(base, f"http://127.0.0.1:{port}")
        client = scene.client(base, alice)
        sandbox = await scene.created(client)
        await self.troubles(scene, scene.client(base, mallory), sandbox)
        await scene.until("a charge", lambda: self.charged(scene, alice))
        if "the lease is lost" not in first.said():
            # On a busy machine it may be, and then it is another's by right.
            self.assertNotIn("is the worker now", second.said())
        await first.kill()
        scene.upheavals.append(time.time())
        await scene.until("the second worker", lambda: "is the worker now" in second.said())
        status, shown = await client.act("stop", sandbox)
        self.assertEqual(status, 200, shown)
        seconds = await scene.books(
            alice, sandbox, paid_in=TOKEN, lost_seconds=2 * RECONCILE_SECONDS
        )
        self.assertGreaterEqual(seconds, INTERVAL_SECONDS - 1)
        for child in (web, second):
            self.assertEqual(await child.terminate(), 0, child.said()[-2000:])
        alone = start("--role", "web", "--port", str(port), MIRROR_MAX_AGE_SEC="3")
        await self.misses(scene, base, "chain mirror")
        server.stop()
        await self.misses(scene, base, "redis")
        self.assertEqual(await alone.terminate(), 0, alone.said()[-2000:])
        self.assertIsNone(first.port())
        self.assertIsNone(second.port())
        for child in (web, first, second, alone):
            self.well_logged(child)

    async def misses(self, scene: Scene, base: str, part: str) -> None:
        """A web process without workers is not ready, and says why (T6)."""

        async def says_so() -> bool:
            try:
                status, shown = await scene.get(base, "/readyz")
            except ConnectionRefusedError:
                return False
            why = shown["reasons"].get(part, "not reached yet")
            return status == 503 and why not in ("not reached yet", "has not run yet")

        await until(reactor, f"{part} to be missed", says_so)

    async def charged(self, scene: Scene, wallet: Any) -> bool:
        """Whether a period is charged."""
        return await scene.charged_seconds(wallet) > 0

    async def troubles(self, scene: Scene, stranger: Any, sandbox: str) -> None:
        """Things worth a warning, for the log."""
        scene.upheavals.append(time.time())
        scene.world.simulator.fail_next(502, route="list", count=2)
        scene.world.simulator.fail_next(500, route="get")
        self.assertEqual((await stranger.show(sandbox))[0], 502)
        self.assertEqual((await stranger.show(sandbox))[0], 403)
        status, shown = await stranger.ask("GET", "/api/sandbox", verb="create")
        self.assertEqual((status, shown["error"]), (401, "signature does not match request"))

    def well_logged(self, child: Child) -> None:
        """Every line is JSON with the fields all have, and none holds a secret."""
        self.assertTrue(child.out.endswith(b"\n"))
        lines = child.lines()
        self.assertGreater(len(lines), 5)
        for line in lines:
            self.assertLessEqual({"time", "level", "from", "message"}, line.keys())
        self.assertEqual(child.err, b"")
        for secret in SECRETS:
            self.assertNotIn(secret.lower(), child.said().lower())

    async def devnet(self) -> None:
        """The banner's three commands work as printed; SIGTERM leaves nothing behind."""
        command = [str(TWISTD), "-n", "--pidfile=", "sandbox-billing", "--devnet"]
        temporary = new_folder(self)
        environment = {"PYTHONPATH": str(PLUGIN_FOLDER), "TMPDIR": str(temporary)}
        child = Child.start(self, command, environment)
        await until(reactor, f"the banner; {child.pid_text}", lambda: b"or try:" in child.err)
        await until(reactor, "all of it", lambda: child.err.rstrip().endswith(b"'{}'"))
        banner = child.err.decode()
        self.assertIn("WELL-KNOWN DEVELOPMENT KEY", banner)
        for key in (ALICE, BOB):
            self.assertIn(f"key 0x{key.hex()} ", banner)
        ports = {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", banner)}
        self.assertEqual(len(ports), 4)
        commands = [line.strip() for line in banner.partition("or try:")[2].splitlines() if line]
        self.assertEqual(len(commands), 3)
        info, ready, created = [await self.shell(line) for line in commands]
        self.assertEqual(json.loads(info)["chain_id"], 16602)
        shown = json.loads(ready)
        self.assertEqual((shown["ready"], shown["reasons"]), (True, {}))
        status, _, shown = created.partition("\n")
        self.assertEqual(status, "200")
        self.assertTrue(json.loads(shown)["id"])
        started = descendants(child.pid)
        self.assertTrue(started, "no Redis?")
        self.assertEqual(await child.terminate(), 0, child.said()[-3000:])
        self.assertEqual([pid for pid in started if alive(pid)], [])
        self.assertEqual(os.listdir(temporary), [])

    async def shell(self, line: str) -> str:
        """Run a command as a user would, with the environment's Python first on the path."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        shell = Child.start(
            self, ["/bin/sh", "-c", line], {"PATH": path, "PYTHONPATH": str(PLUGIN_FOLDER)}
        )
        self.assertEqual(await shell.end(), 0, shell.said())
        return shell.out.decode()


def alive(pid: int) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid}").exists()


def descendants(pid: int) -> list[int]:
    """Of a process on this machine: its children and theirs."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
        except OSError:
            continue
        parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found.extend(child for child, parent in parents.items() if parent == one)
    return found[1:]

"""
The image and the compose file, without an engine: linted, and held to the rules that matter.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from sandbox_billing.configuration import SETTINGS, read_configuration
from sandbox_billing.devnet.redis import find_executable, free_port
from sandbox_billing.errors import ConfigurationError
from sandbox_billing.startup import redis_problems
from sandbox_billing.tap import Options
from tests.systemd.units import FOLDER, SERVICES, Unit


ROOT = FOLDER.parent
DOCKER = ROOT / "docker"

KNOWN = {setting.name for setting in SETTINGS}
OTHERS = {"PATH", "PYTHONDONTWRITEBYTECODE", "PIP_DISABLE_PIP_VERSION_CHECK", "PIP_NO_CACHE_DIR"}

SECRETS = {"DAYTONA_ADMIN_KEY", "REDIS_PASSWORD", "MOCK_APP_PRIVATE_KEY"}

FIXED = {"REDIS_ADDR", "PORT", "METRICS_ADDR"}
"""What image and file decide by themselves: their own containers and ports."""

SERVICE_KEYS = {
    "image",
    "build",
    "init",
    "stop_grace_period",
    "restart",
    "read_only",
    "tmpfs",
    "cap_drop",
    "security_opt",
    "pids_limit",
    "ulimits",
    "secrets",
    "networks",
    "extra_hosts",
    "depends_on",
    "command",
    "environment",
    "ports",
    "user",
    "configs",
    "healthcheck",
    "volumes",
}
"""Of the compose specification, those that we use: a word that is none is ignored by no engine."""

LITERAL = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


@frozen
class Stage:
    """
    @ivar base: What it is made from.
    @ivar steps: Instruction and its text, in order.
    """

    base: str
    steps: tuple[tuple[str, str], ...]

    def all(self, word: str) -> list[str]:
        """The texts of an instruction."""
        return [text for name, text in self.steps if name == word]


def stages() -> list[Stage]:
    """Of the Dockerfile."""
    lines = [line for line in (DOCKER / "Dockerfile").read_text().splitlines() if line[:1] != "#"]
    text = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found: list[Stage] = []
    for line in filter(str.strip, text.splitlines()):
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            found.append(Stage(rest, ()))
        else:
            found[-1] = Stage(found[-1].base, (*found[-1].steps, (word, rest.strip())))
    return found


class DockerfileTests(SynchronousTestCase):
    """C{docker/Dockerfile}."""

    def setUp(self) -> None:
        self.build, self.last = stages()

    def test_hadolint(self) -> None:
        """The linter finds nothing."""
        lint = Path(sys.executable).with_name("hadolint")
        if not lint.exists() and shutil.which("hadolint") is None:
            raise SkipTest("there is no hadolint: it comes with the extra test")
        command = [str(lint) if lint.exists() else "hadolint", str(DOCKER / "Dockerfile")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_base(self) -> None:
        """Both stages are made from one image, pinned to a release."""
        bases = {stage.base.partition(" AS ")[0] for stage in (self.build, self.last)}
        (base,) = bases
        self.assertRegex(base, r"^python:3\.11\.\d+-slim-\w+$")

    def test_user(self) -> None:
        """It runs as somebody without a name on the machine, and nothing comes after that."""
        self.assertEqual(self.last.all("USER"), ["10001:10001"])
        words = [word for word, _ in self.last.steps]
        after = words[words.index("USER") + 1 :]
        self.assertEqual(set(after) & {"RUN", "COPY", "ADD"}, set())

    def test_no_tools(self) -> None:
        """The last stage installs nothing and takes one folder of the first."""
        self.assertEqual(
            self.last.all("COPY"), ["--from=build /opt/sandbox-billing /opt/sandbox-billing"]
        )
        self.assertFalse(re.search(r"\b(pip|apt-get|curl|gcc)\b", " ".join(self.last.all("RUN"))))
        self.assertIn("pip uninstall --yes setuptools wheel pip", self.build.all("RUN")[-1])

    def test_environment(self) -> None:
        """What it sets is a setting, and no secret."""
        for stage in (self.build, self.last):
            names = set(re.findall(r"(\w+)=", " ".join([*stage.all("ENV"), *stage.all("ARG")])))
            self.assertEqual(names - KNOWN - OTHERS - {"VERSION"}, set())
            self.assertEqual(names & SECRETS, set())

    def test_copied(self) -> None:
        """All that is copied is there, and what is left out of the context is not copied."""
        left_in = {
            line[1:]
            for line in (ROOT / ".dockerignore").read_text().splitlines()
            if line[:1] == "!"
        }
        copied = {word for text in self.build.all("COPY") for word in text.split()[:-1]}
        self.assertEqual(copied, left_in)
        self.assertEqual([one for one in copied if not (ROOT / one).exists()], [])

    def test_command(self) -> None:
        """Its command line is one that we take, and the unit's beginning."""
        entry = json.loads(self.last.all("ENTRYPOINT")[0])
        unit = Unit.read(SERVICES[0]).command({"/opt/sandbox-billing/bin/": ""})
        self.assertEqual(entry, unit[: len(entry)])
        options = Options()
        options.parseOptions(json.loads(self.last.all("CMD")[0]))
        self.assertEqual(options.problems(), [])

    def test_health(self) -> None:
        """It asks with Python for what is served where METRICS_ADDR says."""
        (check,) = self.last.all("HEALTHCHECK")
        program = json.loads(check.partition("CMD ")[2])
        self.assertEqual(program[:2], ["python", "-c"])
        compile(program[2], "HEALTHCHECK", "exec")
        port = re.findall(r"METRICS_ADDR=\S+:(\d+)", self.last.all("ENV")[0])[0]
        self.assertIn(f"http://127.0.0.1:{port}/healthz", program[2])
        self.assertIn(port, self.last.all("EXPOSE")[0].split())


class ComposeTests(SynchronousTestCase):
    """C{docker/compose.yaml}."""

    def setUp(self) -> None:
        self.text = (DOCKER / "compose.yaml").read_text()
        self.compose: dict[str, Any] = yaml.safe_load(self.text)
        self.services: dict[str, Any] = self.compose["services"]
        self.daemons = {name: self.services[name] for name in ("worker", "web")}

    def test_words(self) -> None:
        """Every key is one of the specification's."""
        for service in self.services.values():
            self.assertEqual(set(service) - SERVICE_KEYS, set())
        known = {"name", "services", "configs", "secrets", "networks", "volumes"}
        self.assertEqual({key for key in self.compose if key[:2] != "x-"}, known)

    def test_locked_down(self) -> None:
        """Nobody can write, gain rights or use capabilities, and nobody is root."""
        for name, service in self.services.items():
            self.assertTrue(service["read_only"], name)
            self.assertEqual(service["cap_drop"], ["ALL"])
            self.assertEqual(service["security_opt"], ["no-new-privileges:true"])
            self.assertNotIn("privileged", service)
            if "build" not in service:
                self.assertRegex(service["user"], r"^[1-9]\d*:[1-9]\d*$")
                self.assertRegex(service["image"], r":\d+\.\d+\.\d+")

    def test_secrets(self) -> None:
        """They are files; no environment and no command has one."""
        declared = self.compose["secrets"]
        for service in self.services.values():
            self.assertLessEqual(set(service["secrets"]), set(declared))
            self.assertEqual(set(service.get("environment", {})) & SECRETS, set())
        self.assertTrue(all(set(one) == {"file"} for one in declared.values()))
        for ignored in (".dockerignore", ".gitignore"):
            self.assertTrue((ROOT / ignored).exists())
        self.assertIn("docker/secrets", (ROOT / ".gitignore").read_text())

    def test_roles(self) -> None:
        """A worker and a web process, by command lines that we take."""
        roles = []
        for service in self.daemons.values():
            options = Options()
            options.parseOptions(service["command"])
            self.assertEqual(options.problems(), [])
            self.assertEqual(options["secrets"], "/run/secrets")
            roles.append(options["role"])
        self.assertEqual(roles, ["worker", "web"])
        self.assertNotIn("ports", self.daemons["worker"])
        self.assertEqual(self.daemons["web"]["ports"], ["127.0.0.1:8080:8080"])

    def filled(self, environment: dict[str, str]) -> dict[str, str]:
        """What the daemon gets when only what must be said was said."""
        said = {
            "DAYTONA_API_URL": "http://daytona.test/api",
            "SETTLEMENT_CONTRACT": "0x" + "12" * 20,
            "RPC_URL": "https://rpc.test",
            "BACKEND_APP_NAME": "app",
        }

        def value(found: re.Match[str]) -> str:
            name, sign, rest = found.groups()
            self.assertIn(sign, ("-", "?"), name)
            self.assertEqual(sign == "?", name in said, name)
            return said[name] if sign == "?" else rest

        return {name: LITERAL.sub(value, given) for name, given in environment.items()}

    def test_settings(self) -> None:
        """Every variable is a setting, and with the secrets they are all that is needed."""
        for service in self.daemons.values():
            environment = self.filled(service["environment"])
            self.assertEqual(set(environment) - KNOWN, set())
            try:
                read_configuration({**environment, "DAYTONA_ADMIN_KEY": "from its file"})
            except ConfigurationError as why:
                self.fail(str(why))

    def test_every_setting(self) -> None:
        """What an operator writes into C{.env} reaches the daemon, whichever setting it is."""
        wanted = KNOWN - SECRETS - FIXED - {"MOCK_TEE"}
        for service in self.daemons.values():
            taken = set()
            for name, given in service["environment"].items():
                taken.update(found[0] for found in LITERAL.findall(given) if found[0] == name)
            self.assertEqual(wanted - taken, set())

    def test_redis(self) -> None:
        """Its Redis is one that the daemon starts on, and only the daemons reach it."""
        lines = (DOCKER / "valkey.conf").read_text().splitlines()
        settings = dict(line.split(" ", 1) for line in lines if line and line[0] != "#")
        self.assertEqual(settings["appendfsync"], "everysec")
        self.assertEqual(
            redis_problems(
                policy=settings["maxmemory-policy"],
                appendonly=settings["appendonly"] == "yes",
                volatile_allowed=False,
            ),
            (),
        )
        redis = self.services["redis"]
        self.assertNotIn("ports", redis)
        self.assertEqual(redis["networks"], ["store"])
        self.assertTrue(self.compose["networks"]["store"]["internal"])
        self.assertEqual(redis["volumes"], [f"journal:{settings['dir']}"])
        self.assertIn("healthcheck", redis)

    def test_redis_starts(self) -> None:
        """Its command, run here: it wants the password, and ends by itself when it is told to."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        (folder / "valkey-server").symlink_to(find_executable())
        (folder / "REDIS_PASSWORD").write_text("hunter2\n")
        port = free_port()
        text = (DOCKER / "valkey.conf").read_text().replace("dir /data", f"dir {folder}")
        (folder / "in.conf").write_text(f"{text}port {port}\nbind 127.0.0.1\n")
        shell, option, script = self.services["redis"]["command"]
        for was, now in (
            ("$$", "$"),
            ("/usr/local/etc/valkey.conf", f"{folder}/in.conf"),
            ("/run/secrets/", f"{folder}/"),
            ("/tmp/valkey.conf", f"{folder}/out.conf"),
        ):
            self.assertIn(was, script)
            script = script.replace(was, now)
        with subprocess.Popen(
            [shell, option, script],
            env={"PATH": f"{folder}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            text=True,
        ) as server:
            assert server.stdout is not None
            try:
                while "Ready to accept" not in server.stdout.readline():
                    self.assertIsNone(server.poll())
                with socket.create_connection(("127.0.0.1", port), timeout=120) as client:
                    client.sendall(b"PING\r\nAUTH hunter2\r\nPING\r\n")
                    told = b""
                    while told.count(b"\n") < 3:
                        told += client.recv(100)
            finally:
                server.terminate()
            rest = server.stdout.read()
        self.assertRegex(told, rb"^-NOAUTH [^\r]+\r\n\+OK\r\n\+PONG\r\n$")
        self.assertEqual(server.returncode, 0)
        self.assertIn("ready to exit", rest)
        self.assertEqual((folder / "out.conf").stat().st_mode & 0o777, 0o600)

    def test_stopping(self) -> None:
        """It is left the time that the unit leaves it."""
        seconds = Unit.read(SERVICES[0]).one("TimeoutStopSec")
        for service in self.daemons.values():
            self.assertEqual(service["stop_grace_period"], f"{seconds}s")

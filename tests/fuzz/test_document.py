"""
A daemon before a simulated Daytona, and schemathesis before the daemon, with a token.

Skipped but for C{bin/fuzz}, which makes schemathesis's environment and sets REQUIRE_FUZZ.
FUZZ_SECONDS and FUZZ_SEED bound and repeat a run.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from sandbox_billing.devnet.daytona.records import State
from sandbox_billing.devnet.daytona.simulator import Received
from sandbox_billing.devnet.world import ALICE, BOB, TOKEN
from sandbox_billing.web.openapi import document_of
from tests.blackbox.process import Child, new_folder
from tests.blackbox.scene import Scene
from tests.web.test_spellings import table_of
from tests.web.world import World as Stage


HERE = Path(__file__).resolve().parent
PLACE = HERE.parents[1] / "build" / "fuzz"

SECONDS = int(os.environ.get("FUZZ_SECONDS", "40"))
SEED = os.environ.get("FUZZ_SEED", "1")

NAME = "bobs-5f0c1d2e"
SECRET = "bobs-own-5f0c1d2e"

OWN = ("mine", "ours", "another", "fourth", "fifth")

SETTINGS = {
    "TRUSTED_PROXIES": "127.0.0.1",
    "LIFECYCLE_PER_HOUR": "100000",
    "MAX_SANDBOXES_PER_WALLET": "1000",
    "PEER_PER_SECOND": "100000",
    "WALLET_PER_SECOND": "100000",
    "ALLOW_RESIZE": "true",
}

NOT_ASKED = (
    # Not all that can be said can be done: names that are taken, snapshots that are not there.
    "positive_data_acceptance",
    # What is deleted is seen to go, and what is created may fail.
    "use_after_free",
    "ensure_resource_availability",
)

_ID = r"([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|sb-[0-9]+)"
"""Daytona's own, or those of a simulator that counts."""
_ANY = "(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)"
_PORT = r"[1-9][0-9]{0,4}"

UPSTREAM = tuple(
    re.compile(pattern + r"\Z")
    for pattern in (
        r"GET /api/(config|shared-regions|snapshots|sandbox|sandbox/paginated)",
        # Names become ids by Daytona's own answer; no look changes anything.
        r"GET /api/(sandbox|snapshots)/[^/]+",
        r"POST /api/sandbox",
        rf"DELETE /api/sandbox/{_ID}",
        rf"POST /api/sandbox/{_ID}/(start|stop|archive|recover|resize|network-settings)",
        rf"POST /api/sandbox/{_ID}/(last-activity|autostop/[0-9]+|public/(true|false))",
        rf"PUT /api/sandbox/{_ID}/labels",
        rf"(POST|DELETE) /api/sandbox/{_ID}/ssh-access",
        rf"GET /api/sandbox/{_ID}/ports/{_PORT}/signed-preview-url",
        rf"POST /api/sandbox/{_ID}/ports/{_PORT}/signed-preview-url/[0-9A-Za-z_.~-]+/expire",
        rf"GET /api/preview/[0-9A-Za-z_.~-]+/{_PORT}/sandbox-id",
        rf"GET /api/sandbox/{_ID}/telemetry/(logs|metrics|traces(/[0-9A-Za-z-]+)?)",
        rf"GET /api/sandbox/{_ID}/build-logs",
        rf"{_ANY} /api/toolbox/{_ID}/toolbox/.*",
        rf"{_ANY} /toolbox/{_ID}/.*",
        rf"GET /sandboxes/{_ID}/build-logs",
        r"GET /api/socket\.io/",
    )
)
"""All that the table names, as it is asked of Daytona: by ids, never by what was typed."""

_ONE = "/api/sandbox/{id}"
REACHED = frozenset(
    {
        "POST /api/sandbox",
        *(f"GET {_ONE}", f"DELETE {_ONE}", f"POST {_ONE}/stop", f"PUT {_ONE}/labels"),
        *(
            f"POST {_ONE}/ssh-access",
            f"POST {_ONE}/network-settings",
            "GET /sandboxes/{id}/build-logs",
        ),
    }
)
"""
Answered with 200 at least once.  The lists are not among them: they have so many filters that
a run may try wrong ones only.
"""


MOST_MISSING = 2


def tool(name: str) -> Path:
    """
    Of the environment that C{bin/fuzz} makes.

    @raise SkipTest: Nobody has asked for it.
    """
    if not os.environ.get("REQUIRE_FUZZ"):
        raise SkipTest("a minute's work, for bin/fuzz")
    found = PLACE / "bin" / name
    if not found.exists():
        raise AssertionError(f"no {name}: bin/fuzz --install")
    return found


def unnamed(received: Iterable[Received]) -> list[str]:
    """What arrived at Daytona and no row asks for."""
    asked = {f"{one.method} {one.target.partition('?')[0]}" for one in received}
    return sorted(one for one in asked if not any(row.match(one) for row in UPSTREAM))


def reached_for(received: Iterable[Received], id: str) -> list[str]:
    """What was asked of a sandbox that nobody asked for, but whose it is and our sign of life."""
    usual = {f"GET /api/sandbox/{id}", f"POST /api/sandbox/{id}/last-activity"}
    asked = [f"{one.method} {one.target}" for one in received if id in one.target]
    return [one for one in asked if one not in usual]


def possessions(record: Any) -> dict[str, Any]:
    """What somebody has in a sandbox, and that it runs."""
    names = ("name", "labels", "env", "public", "network_block_all", "cpu", "memory", "disk")
    return {name: getattr(record, name) for name in (*names, "raw", "desired", "ssh_tokens")}


def unexpected(lines: Iterable[dict[str, Any]]) -> list[str]:
    """Of a log, what nobody foresaw."""
    return [
        f"{line['message']} {line.get('failure', '')}"
        for line in lines
        if line["level"] == "critical" or "failure" in line
    ]


def unreached(answers: Iterable[str]) -> list[str]:
    """
    What a run must have come to, to have shown anything, and has not.

    How far it comes is a matter of time: on a busy machine one or two are missing.
    """
    missing = sorted(REACHED - {line.removesuffix(" 200") for line in answers})
    return missing if len(missing) > MOST_MISSING or "POST /api/sandbox" in missing else []


class LawTests(SynchronousTestCase):
    """
    What the run is held to can be broken.
    """

    def _asked(self, method: str, target: str) -> Received:
        return Received(method=method, target=target, headers={}, body=b"", at=0.0)

    def test_unnamed(self) -> None:
        """Names, other routes and other methods are found; ids and looks pass."""
        id = "0c6a3a0e-1111-4222-8333-444455556666"
        good = [("POST", f"/api/sandbox/{id}/stop?force=false"), ("GET", "/api/sandbox/a%20name")]
        bad = [
            ("POST", "/api/sandbox/name/stop"),
            ("POST", f"/api/sandbox/{id}/fork"),
            ("DELETE", "/api/sandbox"),
            ("GET", f"/api/sandbox/{id}/ports/80/preview-url"),
            ("GET", "/api/volumes"),
            ("GET", "/toolbox/name/files"),
        ]
        found = unnamed(self._asked(*one) for one in (*good, *bad))
        self.assertEqual(found, sorted(f"{method} {target}" for method, target in bad))

    def test_reached_for(self) -> None:
        """Whatever is more than a look at it, and no sign of life; a look inside, too."""
        usual = [("GET", "/api/sandbox/x"), ("POST", "/api/sandbox/x/last-activity")]
        odd = [("PUT", "/api/sandbox/x/labels"), ("GET", "/toolbox/x/files")]
        received = [self._asked(*one) for one in (*usual, *odd, ("DELETE", "/y"))]
        found = reached_for(received, "x")
        self.assertEqual(found, ["PUT /api/sandbox/x/labels", "GET /toolbox/x/files"])

    def test_unexpected(self) -> None:
        """A failure, and whatever is critical; no mere error."""
        lines = [
            {"level": "error", "message": "a"},
            {"level": "critical", "message": "b"},
            {"level": "warn", "message": "c", "failure": "Traceback"},
        ]
        self.assertEqual(unexpected(lines), ["b ", "c Traceback"])

    def test_unreached(self) -> None:
        """Refused is not reached."""
        answers = [f"{one} 200" for one in REACHED - {"POST /api/sandbox"}]
        self.assertEqual(unreached([*answers, "POST /api/sandbox 402"]), ["POST /api/sandbox"])


class FuzzTests(TestCase):
    """
    Whatever anybody sends, the laws hold.
    """

    timeout = 3600
    maxDiff = None

    async def test_valid(self) -> None:
        """The document is one: no client's generator stumbles over it."""
        command = tool("openapi-spec-validator")
        written = new_folder(self) / "openapi.json"
        written.write_text(json.dumps(document_of(table_of(Stage()).routes, "")))
        checking = Child.start(self, [str(command), str(written)], {})
        self.assertEqual(await checking.end(), 0, checking.said())

    async def test_document(self) -> None:
        """The daemon answers as its document says, and asks Daytona for nothing else."""
        command = tool("schemathesis")
        scene = await Scene.open(self, **SETTINGS)
        scene.start()
        alice = await scene.user("alice", ALICE, 1000 * TOKEN)
        bob = await scene.user("bob", BOB, 1000 * TOKEN)
        base = await scene.ready()
        at_alice, at_bob = scene.client(base, alice), scene.client(base, bob)
        theirs = await scene.created(
            at_bob, name=NAME, env={"SECRET": SECRET}, labels={"team": SECRET}
        )
        own = [await scene.created(at_alice, name=name) for name in OWN]
        token = await at_alice.login()
        find = scene.world.simulator.find
        await scene.until("it to run", lambda: find(theirs).raw is State.STARTED)
        before = possessions(find(theirs))
        told = new_folder(self) / "told"
        scene.world.simulator.received.clear()
        fuzzer = Child.start(
            self,
            [str(command), *self.options(base, token)],
            {
                "HOME": "/nonexistent",
                "FUZZ_OWN": ",".join([*OWN[:1], *own]),
                "FUZZ_FOREIGN": ",".join([theirs, NAME]),
                "FUZZ_SECRET": SECRET,
                "FUZZ_TOLD": str(told),
                "SCHEMATHESIS_HOOKS": "hooks",
                "PYTHONPATH": str(HERE),
                "COLUMNS": "100",
            },
        )
        await scene.until("the fuzzer to end", lambda: fuzzer.status is not None, seconds=3000)
        received = scene.world.simulator.received
        assert scene.daemon is not None
        self.assertEqual(
            {
                "unnamed": unnamed(received),
                "reached for": reached_for(received, theirs),
                "theirs": possessions(find(theirs)),
                "unexpected": unexpected(scene.daemon.lines()),
                "unreached": unreached(told.read_text().splitlines()),
            },
            {
                "unnamed": [],
                "reached for": [],
                "theirs": before,
                "unexpected": [],
                "unreached": [],
            },
            fuzzer.said()[-12_000:],
        )
        self.assertEqual(fuzzer.status, 0, fuzzer.said()[-12_000:])

    def options(self, base: str, token: str) -> list[str]:
        """Of schemathesis's command line."""
        return [
            "--no-color",
            f"--config-file={HERE / 'schemathesis.toml'}",
            "run",
            f"{base}/openapi.json",
            f"--url={base}",
            f"--header=Authorization: Bearer {token}",
            f"--exclude-checks={','.join(NOT_ASKED)}",
            "--generation-with-security-parameters=false",
            f"--max-time={SECONDS}",
            f"--seed={SEED}",
            "--request-timeout=30",
            "--suppress-health-check=all",
            "--continue-on-failure",
            "--generation-database=none",
        ]

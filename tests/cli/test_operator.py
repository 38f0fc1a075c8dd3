"""Tests for C{sandbox-billing operator}, C{audit export} and a provider's snapshots."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sandbox_billing.cli import operator_client
from sandbox_billing.client import Order
from sandbox_billing.client.errors import error_of
from sandbox_billing.devnet.world import ALICE, PROVIDER, TOKEN
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.order import order_named
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.key import SigningKey
from tests.blackbox.process import new_folder
from tests.blackbox.scene import Scene
from tests.cli.stage import COMMAND, SECONDS, Told, soon
from tests.cli.test_user import broken
from tests.cli.user_stage import Shell
from tests.client.local import Handler, Local


PROVIDER_KEY = "0x" + PROVIDER.hex()
"""A WELL-KNOWN DEVELOPMENT KEY: the number 2."""

ADDRESS = checksum(SigningKey.from_bytes(PROVIDER).address)


class StoryTests(TestCase):
    """One daemon, a user's sandbox, and an operator at his command line."""

    timeout = 600

    async def test_story(self) -> None:
        """Paused and resumed, stopped, made, removed, deleted; all of it in the audit."""
        self.scene = scene = await Scene.open(self)
        alice = await scene.user("alice", ALICE, TOKEN)
        scene.start()
        base = await scene.ready()
        self.box = await scene.created(scene.client(base, alice))
        self.folder = new_folder(self)
        environment = {
            "SANDBOX_BILLING_URL": base,
            "PROVIDER_KEY": PROVIDER_KEY,
            "XDG_STATE_HOME": str(self.folder),
        }
        self.operator = Shell(environment=environment, group="operator")
        self.provider = evolve(self.operator, group="provider")
        self.audit = evolve(self.operator, group="audit")
        for part in (self.stands, self.decides, self.snapshots, self.clears, self.keeps):
            await deferToThread(part)

    def refused(self, shell: Shell, status: int, said: str, *arguments: str, **more: str) -> None:
        """A command ends so, and says so."""
        told = shell.run(*arguments, **more)
        self.assertEqual(told.status, status, told.out + told.err)
        self.assertIn(said, told.err)

    def stands(self) -> None:
        """What an operator sees; who is none is told what to do."""
        found = soon("a session", lambda: self.operator.ok("sessions")["sessions"])
        self.assertEqual([one["sandbox"] for one in found], [self.box])
        told = self.operator.run("summary")
        self.assertRegex(told.out, r"(?s)\AWorks as it should.*admissions +open.*sessions +1\n")
        stranger = {"PROVIDER_KEY": "0x" + ALICE.hex()}
        self.refused(self.operator, 1, "ADMIN_ADDRESSES", "summary", **stranger)
        self.refused(self.operator, 2, "set PROVIDER_KEY", "sessions", PROVIDER_KEY="")

    def decides(self) -> None:
        """Each order is told with its end; one that comes to nothing says what stands."""
        order = self.operator.ok("pause", "--reason", "the node is changed")
        self.assertEqual((order["state"], order["by"]), ("done", ADDRESS))
        told = self.operator.run("summary")
        self.assertIn(f"paused by {ADDRESS}: the node is changed", told.out)
        self.assertEqual(self.operator.ok("resume")["result"]["lifted"]["by"], ADDRESS)
        once = ("stop", self.box, "--reason", "it mines", "--idempotency-key", "friday")
        first, again = self.operator.ok(*once), self.operator.ok(*once)
        self.assertEqual((first["id"], first["state"]), (again["id"], "done"))
        self.assertEqual(first["id"], order_named(Address(ADDRESS), "friday"))
        other = ("stop", self.box, "--reason", "else", "--idempotency-key", "friday")
        self.refused(self.operator, 1, "leave --idempotency-key out", *other)
        self.refused(self.operator, 1, "operator sessions", "stop", "none", "--reason", "why")
        self.assertEqual(self.operator.ok("orders", first["id"])["subject"], self.box)
        self.refused(self.operator, 1, "operator orders", "orders", "1" * 32)

    def snapshots(self) -> None:
        """Made and removed; a name that is taken is told as the order's end."""
        wish = ("snapshot", "slim", "--image", "python:3.12-slim", "--cpu", "1")
        self.assertEqual(self.provider.ok(*wish)["state"], "done")
        self.refused(self.provider, 1, "failed: ", *wish)
        self.assertEqual(self.provider.ok("delete-snapshot", "slim")["state"], "done")
        self.refused(self.provider, 2, "--image", "snapshot", "nothing")

    def clears(self) -> None:
        """Deleted for good, left to itself and looked at by its id."""
        left = self.operator.ok("force-delete", self.box, "--no-wait")
        told = self.operator.run("orders", left["id"], "--wait")
        self.assertEqual(told.status, 0, told.err)
        self.assertRegex(told.out, r"(?s)\ADone.*kind +force-delete")
        listed = self.operator.run("orders", "--limit", "2")
        self.assertRegex(listed.out, r"(?s)\A2 orders.*force-delete .*delete-snapshot ")

    def keeps(self) -> None:
        """The same copy by HTTP and from Redis; it holds together and is not written over."""
        file = self.folder / "audit.jsonl"
        found = self.audit.ok("export", "--output", str(file))
        kinds = [json.loads(line)["what"] for line in file.read_bytes().splitlines()]
        self.assertEqual(
            kinds,
            [
                *("pause", "resume", "stop", "snapshot", "snapshot", "delete-snapshot"),
                "force-delete",
            ],
        )
        self.assertEqual(self.audit.ok("verify", str(file))["last"], found["last"])
        self.refused(self.audit, 2, "is there already", "export", "--output", str(file))
        self.refused(self.audit, 2, "needs --output", "export", "--json")
        redis = f"127.0.0.1:{self.scene.world.redis.port}"
        done = subprocess.run(
            [*COMMAND, "audit", "export", "--provider", ADDRESS, "--redis", redis],
            env={"PATH": "/usr/bin:/bin", **self._password()},
            capture_output=True,
            check=False,
            timeout=SECONDS,
        )
        self.assertEqual((done.returncode, done.stdout), (0, file.read_bytes()), done.stderr)
        self.assertIn(found["last"].encode(), done.stderr)

    def _password(self) -> Mapping[str, str]:
        environment = self.scene.environment()
        return {key: environment[key] for key in ("REDIS_PASSWORD",) if key in environment}


ORDER = {
    "id": "1" * 32,
    "kind": "stop",
    "subject": "desk\x1b[2J",
    "by": ADDRESS,
    "reason": "why",
    "asked_at": 1_800_000_000,
    "state": "under_way",
    "ended_at": None,
    "result": None,
    "error": None,
}


class FollowTests(SynchronousTestCase):
    """What a command does while an order goes on, at a provider of few words."""

    def setUp(self) -> None:
        """A provider whose order ends when it is looked at for the second time."""
        self.end: dict[str, Any] = {"state": "done", "ended_at": 1_800_000_009, "result": {}}
        self.looks = 0
        self.local = Local.start(self, self.answer)
        self.shell = Shell(
            environment={
                "SANDBOX_BILLING_URL": self.local.url,
                "PROVIDER_KEY": PROVIDER_KEY,
                "XDG_STATE_HOME": str(Path(self.mktemp()).absolute()),
            },
            group="operator",
        )
        self.patch(operator_client, "POLL_SECONDS", 0.001)

    def answer(self, handler: Handler, body: bytes) -> None:
        """What the provider says."""
        path = handler.path.partition("?")[0]
        if path == "/info":
            told = {"provider_address": ADDRESS, "contract_address": ADDRESS, "chain_id": 1}
            handler.tell(told)
        elif path.startswith("/api/operator/orders/"):
            self.looks += 1
            handler.tell({**ORDER, **(self.end if self.looks > 1 else {})})
        elif handler.command == "GET":
            handler.tell({"drained": False, "left": {"charges": 3, "amount": "5"}})
        else:
            self.body = json.loads(body)
            handler.tell({**ORDER, "kind": path.rpartition("/")[2]}, 202)

    def stopped(self, *arguments: str) -> Told:
        """The command."""
        return self.shell.run("stop", "desk", "--reason", "why", *arguments)

    def test_followed(self) -> None:
        """Until it has ended; what somebody else named moves no cursor."""
        told = self.stopped()
        self.assertEqual((told.status, self.looks), (0, 2), told.err)
        self.assertIn("is under way", told.err)
        self.assertNotIn("\x1b", told.out + told.err)
        self.assertRegex(told.out, r"(?s)\ADone.*state +done")

    def test_nothing_paused(self) -> None:
        """A resume says so where no pause stood, and is done all the same; as JSON, as it was."""
        pause = {"by": "me", "since": 0, "reason": "moved"}
        for kind, result, said in (
            ("resume", {"lifted": None}, "Done: nothing was paused"),
            ("resume", {"lifted": pause}, "Done"),
            ("resume", {}, "Done"),
            ("stop", {"lifted": None}, "Done"),
        ):
            self.looks = 0
            self.end = {"kind": kind, "state": "done", "result": result}
            told = self.shell.run("resume")
            self.assertEqual((told.status, told.out.splitlines()[0]), (0, said), told.err)
        self.looks = 0
        self.end = {"kind": "resume", "state": "done", "result": {"lifted": None}}
        told = self.shell.run("resume", "--json")
        self.assertEqual((told.status, told.document["result"]), (0, {"lifted": None}))

    def test_failed(self) -> None:
        """One that came to nothing: status 1, why, and what to look at."""
        self.end = {"state": "failed", "error": "it is gone"}
        told = self.stopped("--json")
        self.assertEqual(told.status, 1)
        self.assertIn("failed: it is gone. See what is metered", told.document["error"])

    def test_left(self) -> None:
        """C{--no-wait} leaves it going: its id, and how to look."""
        told = self.stopped("--no-wait")
        self.assertEqual((told.status, self.looks), (0, 0), told.err)
        self.assertIn(f"operator orders {'1' * 32}", told.out)

    def test_interrupted(self) -> None:
        """Ctrl-C leaves it going, too, and says so; before its answer came, how to find out."""
        with self.interrupted("order"):
            told = self.stopped()
        self.assertEqual(told.status, 4)
        self.assertIn(f"orders {'1' * 32} --wait", told.err)
        with self.interrupted("order_stop"):
            told = self.stopped("--idempotency-key", "k")
        self.assertEqual(told.status, 4)
        self.assertIn("--idempotency-key k", told.err)
        self.assertIn(f"operator orders {order_named(Address(ADDRESS), 'k')}'", told.err)

    def test_slow(self) -> None:
        """Who has waited as long as he wished is told that it goes on."""
        self.end = {}
        self.patch(operator_client, "POLL_SECONDS", 0.3)
        told = self.stopped("--wait-seconds", "1")
        self.assertEqual(told.status, 4, told.err)
        self.assertIn("goes on", told.err)

    def test_archive_all(self) -> None:
        """A script has named what it wants, and is not asked."""
        told = self.shell.run("archive-all")
        self.assertEqual(told.status, 0, told.err)
        self.assertEqual(self.local.asked[1], "POST /api/archive-all")

    def test_dockerfile(self) -> None:
        """It goes as it stands in its file, for whom it is meant; a file that is none is told."""
        file = Path(self.mktemp())
        wish = ("snapshot", "mine", "--dockerfile", str(file), "--private")
        provider = evolve(self.shell, group="provider")
        told = provider.run(*wish)
        self.assertEqual((told.status, self.local.asked), (2, []), told.err)
        file.write_text("FROM x\n")
        told = provider.run(*wish, "--disk", "3", "--reason", "asked for")
        self.assertEqual(told.status, 0, told.err)
        built = {"dockerfileContent": "FROM x\n"}
        self.assertEqual(
            self.body,
            {"name": "mine", "general": False, "disk": 3, "reason": "asked for"}
            | {"buildInfo": built},
        )

    def test_drain(self) -> None:
        """While a drain goes on, what is left is told."""
        told = self.shell.run("drain", "--reason", "moved")
        self.assertEqual(told.status, 0, told.err)
        self.assertIn("3 charges", told.err)

    def test_reason(self) -> None:
        """One that says nothing is none, and nothing was asked."""
        told = self.shell.run("pause", "--reason", "  ")
        self.assertEqual((told.status, self.local.asked), (2, []), told.err)
        self.assertIn("--reason is empty", told.err)

    @contextmanager
    def interrupted(self, method: str) -> Iterator[None]:
        """Ctrl-C while the library does this."""
        from sandbox_billing.client import OperatorClient

        with broken(OperatorClient, method, KeyboardInterrupt()):
            yield


class TextTests(SynchronousTestCase):
    """What is said of refusals and orders."""

    def test_next(self) -> None:
        """Each refusal that operators meet leads on; others are told as users are."""
        for status, text, said in (
            (403, "admin only", "ADMIN_ADDRESSES"),
            (403, "this session has not the scope manage", "user logout"),
            (404, "no such sandbox", "operator sessions"),
            (404, "no such order", "operator orders"),
            (409, "this Idempotency-Key was used for another request", "leave --idempotency-key"),
            (429, "100 orders have not ended yet", "what does not end"),
            (500, "internal error", "may or may not"),
        ):
            step = operator_client.next_step(error_of(status, {"error": text}, {}), ADDRESS)
            assert step is not None, text
            self.assertIn(said, step)
        for status, text in ((404, "no such route"), (401, "x"), (429, "too many requests")):
            problem = error_of(status, {"error": text}, {})
            self.assertIsNone(operator_client.next_step(problem, ADDRESS))

    def test_rows(self) -> None:
        """An order with what came of it, in words."""
        pause = {"by": "me", "since": 0, "reason": "moved"}
        came = {"archived": 2, "failed": {}, "left": 0, "state": "stopped", "lifted": pause}
        rows = dict(operator_client.order_rows(Order({**ORDER, "state": "done", "result": came})))
        self.assertEqual((rows["archived"], rows["left"], "failed" in rows), ("2", "0", False))
        self.assertEqual((rows["state"], rows["is now"]), ("done", "stopped"))
        self.assertRegex(rows["lifted"], "by me since 1970.*: moved")

"""Tests for C{sandbox-billing user}: a user's story, with a daemon in a world."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from sandbox_billing.client import Client, NotConnected
from sandbox_billing.devnet.world import ALICE
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.key import SigningKey
from tests.blackbox.process import new_folder
from tests.blackbox.scene import Scene
from tests.cli.stage import COMMAND, SECONDS, soon
from tests.cli.user_stage import Shell


@contextmanager
def broken(owner: Any, name: str, problem: BaseException) -> Iterator[None]:
    """What happens to a command at a moment that cannot be had otherwise."""

    def fail(*_arguments: Any, **_more: Any) -> Any:
        raise problem

    before = getattr(owner, name)
    setattr(owner, name, fail)
    try:
        yield
    finally:
        setattr(owner, name, before)


ALICE_ADDRESS = checksum(SigningKey.from_bytes(ALICE).address)


class UserTests(TestCase):
    """One daemon, one wallet that has nothing yet, and nothing but the command line."""

    timeout = 600

    async def test_story(self) -> None:
        """Paid in, agreed, rented, used, looked at, ended, asked back; each step says the next."""
        scene = await Scene.open(self, allow_exec=True)
        scene.start()
        self.base = await scene.ready()
        self.state = new_folder(self)
        self.shell = Shell(
            environment={
                "SANDBOX_BILLING_URL": self.base,
                # A WELL-KNOWN DEVELOPMENT KEY: the number 4.
                "USER_KEY": "0x" + ALICE.hex(),
                "XDG_STATE_HOME": str(self.state),
                "CONFIRMATIONS": "0",
            }
        )
        await deferToThread(self.comes)
        await deferToThread(self.rents)
        await deferToThread(self.works)
        await deferToThread(self.looks)
        await deferToThread(self.leaves)

    def refused(self, status: int, said: str, *arguments: str, **more: str) -> None:
        """A command ends so, and says so."""
        told = self.shell.run(*arguments, **more)
        self.assertEqual(told.status, status, told.out + told.err)
        self.assertIn(said, told.err)

    def comes(self) -> None:
        """With nothing; the errors lead to a balance and an acknowledgement."""
        (one,) = self.shell.ok("providers", USER_KEY="")["providers"]
        self.assertEqual(one["signer_version"], 1)
        self.refused(2, "SANDBOX_BILLING_URL", "providers", SANDBOX_BILLING_URL="")
        self.refused(3, "--chain-id", "providers", "--chain-id", "1")
        self.refused(3, "nothing was sent", "deposit", "5", "--contract", ALICE_ADDRESS)
        self.refused(1, "sandbox-billing user acknowledge --version 1", "create")
        self.assertEqual(self.shell.ok("deposit", "1 0G")["deposited"], str(10**18))
        self.shell.ok("acknowledge", "--version", "1")

        def seen() -> bool:
            account = self.shell.ok("account")
            return bool(account["acknowledged"] and int(account["balance"]))

        soon("the daemon to see the deposit", seen)

    def rents(self) -> None:
        """One sandbox, under a session that needs no key."""
        self.refused(2, "set USER_KEY", "list", USER_KEY="")
        made = self.shell.ok("login", "--ttl", "900")
        self.assertEqual((made["wallet"], "token" in made), (ALICE_ADDRESS, False))
        self.assertEqual(self.shell.ok("list", USER_KEY="")["sandboxes"], [])
        told = self.shell.run("create", "--name", "desk", "--label", "project=demo", USER_KEY="")
        self.assertEqual(told.status, 0, told.err)
        self.assertIn("an hour", told.out)
        self.assertRegex(told.out, "the balance lasts +[0-9]+ min")
        (one,) = self.shell.ok("list")["sandboxes"]
        self.assertEqual((one["name"], one["state"]), ("desk", "started"))
        self.box = str(one["id"])

    def works(self) -> None:
        """Inside: the command's own output and status, and 125 for what is no command's."""
        done = subprocess.run(
            [*COMMAND, "user", "exec", self.box, "--", "sh", "-c", "echo 'a b'; exit 3"],
            env={"PATH": "/usr/bin:/bin", **self.shell.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        self.assertEqual((done.returncode, done.stdout), (3, "a b\n"), done.stderr)
        found = self.shell.run("exec", self.box, "--json", "--", "false")
        self.assertEqual((found.status, json.loads(found.out)["exit_code"]), (1, 1))
        for wrong in (("no-such-box", "--", "true"), ("--nonsense",), (self.box,)):
            self.assertEqual(self.shell.run("exec", *wrong).status, 125, wrong)
        told = self.shell.run("toolbox", self.box, "GET", "files?path=.")
        self.assertEqual(told.status, 0, told.err)
        self.assertIsInstance(json.loads(told.out), list)
        self.assertEqual(self.shell.run("toolbox", self.box, "GET", "nothing").status, 1)
        self.assertIn("ssh", self.shell.ok("ssh-access", self.box)["sshCommand"])
        with broken(Client, "exec", KeyboardInterrupt()):
            self.refused(125, "may run on", "exec", self.box, "--", "true")

    def looks(self) -> None:
        """What it cost, in every way in which that can be asked."""

        def settled() -> Any:
            found = self.shell.ok("usage")
            return found if int(found["totals"]["settled"]) else None

        found = soon("something to be settled", settled, pause=0.3)
        self.assertEqual([row["key"] for row in found["rows"]], [self.box])
        by_label = self.shell.ok("usage", "--by", "label", "--label", "project")
        self.assertEqual([row["key"] for row in by_label["rows"]], ["demo"])
        self.assertIn("together", self.shell.run("usage", "--by", "day").out)
        runs = self.shell.ok("usage", "--sandbox", "desk")["runs"]
        self.assertEqual([run["open"] for run in runs], [True])
        before = ("usage", "--sandbox", "desk", "--to", "1700000000")
        self.assertEqual(self.shell.ok(*before)["runs"], [])
        self.assertIn("0 0G in this time", self.shell.run(*before).out)
        self.refused(2, "leave out --csv", "usage", "--sandbox", "desk", "--csv")
        self.assertIn("an hour", self.shell.run("usage", "--sandbox", self.box).out)
        self.assertIn(f"\n{self.box},", self.shell.run("usage", "--csv").out)
        told = self.shell.run("account")
        self.assertIn("burn" if told.status else "an hour", told.out, told.err)
        self.proves()

    def proves(self) -> None:
        """Receipts hold against the chain; one that was touched does not, and only that one."""
        mine = {"XDG_STATE_HOME": str(self.state / "one")}
        self.shell.ok("login", "--ttl", "600", "--sandbox", "desk", **mine)
        told = self.shell.run("receipts", "verify", "--json", **mine)
        self.assertEqual(told.status, 0, told.out)
        self.assertIn(f"only what is of {self.box}", told.err)
        by_name = self.shell.ok("receipts", "--sandbox", "desk")["receipts"]
        self.assertEqual({one["sandbox"] for one in by_name}, {self.box})
        self.refused(1, "user list", "receipts", "--sandbox", "no-such-box")
        file = self.state / "receipts.json"
        file.write_text(self.shell.run("receipts", "--json").out)
        found = self.shell.ok("receipts", "verify")
        self.assertNotEqual(found["proof"], "refuted", found)
        forged = json.loads(file.read_text())
        paid = next(one for one in forged["receipts"] if one["status"] == "paid")
        paid["fee"] = str(int(paid["fee"]) - 1)
        file.write_text(json.dumps(forged))
        told = self.shell.run("receipts", "verify", "--file", str(file))
        self.assertEqual(told.status, 6, told.out + told.err)
        self.assertIn(f"{paid['id']}: signature refuted", told.out)

    def limits(self) -> None:
        """Set by name, kept by id, taken away; and a limit that is too low says how to raise it."""
        found = self.shell.ok("settings", "--sandbox", "desk=0.5 0G", "--per-day", "2")
        self.assertEqual(found["limits"]["per_day"], "2")
        self.assertEqual(found["limits"]["sandboxes"], {self.box: str(5 * 10**17)})
        self.refused(1, "user list", "settings", "--sandbox", "no-such-box=1")
        self.refused(1, "user settings --per-day AMOUNT", "create", "--no-wait")
        found = self.shell.ok("settings", "--per-day", "none", "--sandbox", "desk=none")
        self.assertEqual(found["limits"]["sandboxes"], {})
        self.assertEqual(self.shell.ok("resume")["failed"], {})

    def loses(self) -> None:
        """A create whose end is not seen has not failed: it is named, and can be found."""
        with broken(Client, "get", NotConnected(text="the cable is out")):
            told = self.shell.run("create", "--json")
        self.assertEqual(told.status, 4, told.out + told.err)
        (lost,) = {str(one["id"]) for one in self.shell.ok("list")["sandboxes"]} - {self.box}
        self.assertIn(f"the cable is out. {lost} was created", told.document["error"])
        self.shell.ok("delete", lost)

    def leaves(self) -> None:
        """Stopped, started, deleted; the session ended, and the money asked back."""
        self.shell.ok("stop", self.box)
        soon("the stop", lambda: self.shell.ok("list")["sandboxes"][0]["state"] == "stopped")
        # What runs would be stopped by a limit that is too low.
        self.limits()
        self.loses()
        self.assertEqual(self.shell.ok("start", "desk")["state"], "started")
        self.shell.ok("delete", self.box)
        self.refused(1, "user list", "stop", "no-such-box")
        self.assertEqual(self.shell.ok("logout")["revoked"], 1)
        self.assertTrue(self.shell.ok("logout")["nothing_to_do"])
        self.refused(2, "set USER_KEY", "list", USER_KEY="")
        asked = self.shell.ok("refund", "request", "1000")
        self.assertEqual(asked["pending_refund"], "1000")
        self.refused(1, "locked until", "refund", "withdraw")

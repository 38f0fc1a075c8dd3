"""Tests for L{sandbox_billing.cli.user_once}: what was asked for may have been done."""

from __future__ import annotations

import json
from typing import Any

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.client import Client, ConnectionLost, NotConnected
from tests.cli.test_user import broken
from tests.cli.user_stage import Shell
from tests.client.local import Handler, Local


INFO = {
    "contract_address": "0x" + "33" * 20,
    "provider_address": "0x" + "22" * 20,
    "chain_id": 7,
}
CHANGES = ("create", "start", "stop", "delete")


def words(change: str) -> tuple[str, ...]:
    """As they are typed."""
    return {"create": ("create",), "delete": ("delete", "--yes", "box")}.get(
        change, (change, "box")
    )


@define
class Provider:
    """
    @ivar keys: Under which something was changed.
    @ivar refusals: What is said before.
    """

    keys: list[str] = field(factory=list)
    refusals: list[str] = field(factory=list)

    def answer(self, handler: Handler, _body: bytes) -> None:
        """Everything starts, and never runs."""
        if handler.command == "GET":
            handler.tell(INFO)
            return
        if self.refusals:
            handler.tell({"error": self.refusals.pop()}, 503)
            return
        self.keys.append(str(handler.headers["Idempotency-Key"]))
        handler.tell({"id": "box", "state": "starting"})


class OnceTests(SynchronousTestCase):
    """The commands that change a sandbox."""

    def setUp(self) -> None:
        """A provider of few words."""
        self.provider = Provider()
        local = Local.start(self, self.provider.answer)
        self.shell = Shell(
            environment={
                "SANDBOX_BILLING_URL": local.url,
                # A WELL-KNOWN DEVELOPMENT KEY: 32 bytes of 0x11.
                "USER_KEY": "11" * 32,
                "XDG_STATE_HOME": self.mktemp(),
            }
        )

    def unknown(self, *typed: str) -> str:
        """What a command says that does not know its end."""
        told = self.shell.run(*typed, "--json")
        self.assertEqual(told.status, 4, told.err)
        return str(json.loads(told.out)["error"])

    def test_stopped_while_asking(self) -> None:
        """Ctrl-C before the answer: it may have been done, and the key of that request is told."""
        asked: dict[str, Any] = {}

        def stopped(*_arguments: Any, idempotency_key: str, **_more: Any) -> Any:
            asked["key"] = idempotency_key
            raise KeyboardInterrupt

        for change in CHANGES:
            self.patch(Client, change, stopped)
            told = self.unknown(*words(change))
            self.assertIn("may have been done", told)
            self.assertIn(f"--idempotency-key {asked['key']}:", told)
            self.assertNotIn("nothing", told)

    def test_lost(self) -> None:
        """The library's word for its argument becomes the option."""
        lost = ConnectionLost(text="no answer; idempotency_key='mine' finds out")
        with broken(Client, "create", lost):
            told = self.unknown("create", "--idempotency-key", "mine")
        self.assertIn("--idempotency-key mine:", told)
        self.assertNotIn("idempotency_key", told)

    def test_told_again(self) -> None:
        """With the key that was told, the same request; else each has its own."""
        for change in CHANGES:
            self.provider.keys.clear()
            wait = ("--no-wait",) if change in ("create", "start") else ()
            for more in (("--idempotency-key", "mine"), (), ()):
                self.shell.ok(*words(change), *wait, *more)
            mine, one, other = self.provider.keys
            self.assertEqual((mine, len({mine, one, other})), ("mine", 3))
        for wrong in ("", "a b", "k" * 256, "a\n"):
            self.assertEqual(self.shell.run("create", "--idempotency-key", wrong).status, 2, wrong)

    def test_paused(self) -> None:
        """What is asked again says why, in the provider's words: a pause lasts."""
        self.provider.refusals.append("admissions are paused: \x1b[2Jmaintenance")
        told = self.shell.run("create", "--no-wait")
        self.assertEqual(told.status, 0, told.err)
        self.assertIn("admissions are paused: ?[2Jmaintenance; asking again in 1 s", told.err)
        self.assertEqual(len(self.provider.keys), 1)

    def test_stopped_while_waiting(self) -> None:
        """Whoever stops waiting, or cannot see it any more, reads that it costs."""
        for change, done in (("create", "was created"), ("start", "was told to start")):
            for problem in (KeyboardInterrupt(), NotConnected(text="the cable is out")):
                with broken(Client, "get", problem):
                    self.assertIn(
                        f"box {done}, and costs once it runs", self.unknown(*words(change))
                    )

"""Tests for L{sandbox_billing.cli.user_errors}: each refusal names the next step."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import click
from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.cli.main import cli
from sandbox_billing.cli.user_client import SessionEnded, told_of
from sandbox_billing.cli.user_errors import next_step, not_resumed
from sandbox_billing.cli.user_login import NAME_PROVIDER
from sandbox_billing.client import Client
from sandbox_billing.client.calls import Answer
from sandbox_billing.client.core import refusal
from sandbox_billing.client.errors import Garbled, error_of
from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome


SHORT = {"error": "insufficient balance", "balance": "40", "required": "100", "exposure": "10"}
NOT_RESUMED = (
    "stop pending",
    "spend limit: your wallet has spent what it may in a day",
    "insufficient balance",
)
ANOTHER = "this message is for another address than https://s.example"


class NextStepTests(SynchronousTestCase):
    """What people read."""

    def test_not_acknowledged(self) -> None:
        """The version is named when it is known; an older provider sends no code."""
        for body in (
            {"error": "TEE signer not acknowledged", "code": "not_acknowledged"},
            {"error": "TEE signer not acknowledged"},
        ):
            self.assertEqual(
                next_step(402, body, version=3),
                "acknowledge signer version 3 first: sandbox-billing user acknowledge --version 3",
            )
            self.assertIn("user acknowledge", next_step(402, body))

    def test_too_little(self) -> None:
        """How much is missing, with what is set aside, as a command."""
        told = next_step(402, {**SHORT, "code": "insufficient_balance"})
        self.assertTrue(told.endswith("sandbox-billing user deposit 70"), told)
        self.assertIn("10 neuron", told)
        older = {"error": "insufficient balance", "balance": "40", "required": "100"}
        self.assertTrue(next_step(402, older).endswith("deposit 60"))
        self.assertIn("deposit AMOUNT", next_step(402, {"error": "insufficient balance"}))

    def test_debt(self) -> None:
        """What is owed beyond the balance; what the balance covers is only waited for."""
        body = {**SHORT, "code": "debt"}
        self.assertTrue(next_step(402, body, debt=55).endswith("user deposit 15"))
        self.assertIn("try again in a minute", next_step(402, body, debt=40))
        self.assertIn("user account", next_step(402, body))

    def test_limits(self) -> None:
        """Whose limit it is says how it is raised, and one of a day that it ends by itself."""
        limit = {"error": "spend limit", "code": "spend_limit", "limit": "7", "left": "2"}
        for which, more, said in (
            ("per_day", {"resets_at": 1_700_000_000}, "wait until 2023-11-14 22:13:20"),
            ("per_day", {}, "user settings --per-day AMOUNT"),
            ("total", {"resets_at": None}, "user settings --total AMOUNT"),
            ("sandbox", {}, "user settings --sandbox ID=AMOUNT"),
            ("token", {}, "user login --spend-limit AMOUNT"),
        ):
            told = next_step(402, {**limit, "which": which, **more})
            self.assertIn(said, told)
            self.assertIn("2 neuron (0.000000000000000002 0G) left", told)

    def test_others(self) -> None:
        """Blocked, limited, logged out, too often, gone."""
        for status, body, more, said in (
            (402, {**SHORT, "code": "blocked"}, {}, "user account"),
            (402, {"code": "spend_limit", "limit": "7"}, {}, "7 neuron"),
            (401, {"error": "invalid or expired token"}, {"with_token": True}, "user login"),
            (401, {"error": "request expired"}, {}, "clock"),
            (401, {"error": "invalid signature"}, {}, "--url"),
            (401, {"error": ANOTHER}, {}, "stop here"),
            (429, {"error": "too many requests"}, {"retry_after": 7.0}, "in 7 s"),
            (503, {"error": "paused"}, {"retry_after": 60.0}, "in 1 min"),
            (403, {"error": "this token has not the scope manage"}, {}, "user login"),
            (403, {"error": "this token is for one sandbox only: x"}, {}, "user login"),
            (404, {"error": "no such sandbox"}, {}, "user list"),
            (404, {"error": "no such route"}, {}, "--url"),
            (404, {"error": "there is no snapshot x"}, {}, "user snapshots"),
            # What answers inside a sandbox has no "error".
            (404, {"message": "not found: file /x not found"}, {}, "/x not found"),
            (400, {"message": "bad request: Is the Sandbox started?"}, {}, "user start"),
            (400, {"error": "Sandbox is not in a stoppable state"}, {}, "user list"),
            (400, {"message": ["not", "text"]}, {}, "HTTP 400"),
            (408, {"message": "command execution timeout"}, {}, "exec --timeout"),
            (409, {"error": "stop pending", "reason": "debt"}, {}, "(debt)"),
            (418, {}, {}, "HTTP 418"),
            (500, {"error": "it was logged"}, {}, "may or may not"),
            (504, {"error": "look before trying again"}, {}, "look before trying again"),
        ):
            self.assertIn(said, next_step(status, body, **more), (status, body))  # type: ignore[arg-type]

    def test_another_address(self) -> None:
        """A server's word for where else it is becomes no command, and no login of a typed one."""
        self.assertNotIn("--public-url https", next_step(401, {"error": ANOTHER}))
        arguments = ["user", "login", "--public-url", "https://s.example", "--url", "http://x"]
        unset = {"PROVIDER_ADDRESS": None}
        told = CliRunner().invoke(cli, [*arguments, "--key", "11" * 32], env=unset)
        self.assertEqual((told.exit_code, NAME_PROVIDER in told.stderr), (2, True), told.output)

    def test_families(self) -> None:
        """A refusal of the library ends a command as its family does, and moves no cursor."""
        for status, family in (
            (400, BadInput),
            (401, BadInput),
            (403, Refused),
            (429, Transient),
            (503, Transient),
            (502, UnknownOutcome),
        ):
            problem = error_of(status, {"error": "no\x1b[2J"}, {})
            told = told_of(problem, Client("http://127.0.0.1:1"), with_token=False)
            self.assertIsInstance(told, family)
            self.assertNotIn("\x1b", str(told))
        ended = told_of(error_of(401, {}, {}), Client("http://127.0.0.1:1"), with_token=True)
        self.assertIsInstance(ended, SessionEnded)

    def test_no_provider(self) -> None:
        """A redirect, or another server's page, is named and has no bare status in its place."""
        client = Client("http://127.0.0.1:1")
        moved = refusal(Answer(status=301))
        self.assertIn("give the address", str(told_of(moved, client, with_token=False)))
        page = self.assertRaises(Garbled, Answer(status=200, body=b"<html>").json)
        self.assertIn("billing proxy?", str(told_of(page, client, with_token=False)))

    def test_not_resumed(self) -> None:
        """What could not be started again says what to do; a reason unknown here stays as it is."""
        for text in NOT_RESUMED:
            self.assertIn("sandbox-billing user ", not_resumed(text))
            self.assertTrue(not_resumed(text).startswith(f"{text}: "))
        self.assertEqual(not_resumed("no runner"), "no runner")

    def test_commands(self) -> None:
        """Every command that is named is one, and has the options that are named with it."""
        said: list[str] = []
        bodies: list[Mapping[str, Any]] = [
            {**SHORT, "code": code}
            for code in ("not_acknowledged", "debt", "blocked", "spend_limit", None)
        ]
        for body in bodies:
            said += [next_step(402, body), next_step(402, body, version=3, debt=55)]
        said += [
            next_step(402, {"code": "spend_limit", "which": which})
            for which in ("per_day", "total", "sandbox", "token")
        ]
        said += [next_step(401, {}, with_token=True), next_step(404, {"error": "no such sandbox"})]
        said += [
            next_step(status, {"error": text})
            for status, text in (
                (404, "there is no snapshot x"),
                (400, "Is the Sandbox started?"),
                (400, "not in a stoppable state"),
                (408, "command execution timeout"),
            )
        ]
        said += [
            next_step(403, {"error": text})
            for text in ("has not the scope", "for one sandbox only")
        ]
        said += [not_resumed(text) for text in NOT_RESUMED]
        context = click.Context(cli)
        user: Any = cli.get_command(context, "user")
        found = 0
        for words in re.findall(
            r"sandbox-billing user ([a-z-]+)((?: --[a-z-]+)*)", "\n".join(said)
        ):
            command = user.get_command(context, words[0])
            self.assertIsNotNone(command, words)
            options = {name for one in command.params for name in one.opts}
            self.assertLessEqual(set(words[1].split()), options, words)
            found += 1
        self.assertGreater(found, 10)

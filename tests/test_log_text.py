"""What others choose stays within its line and within bounds, and secrets stay out."""

from __future__ import annotations

import atexit
import json
import sys
import time
from io import StringIO
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from requests import RequestException
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from web3.types import RPCEndpoint

from sandbox_billing import tap
from sandbox_billing.adapters.chain.transport import make_provider
from sandbox_billing.devnet.redis import free_port
from sandbox_billing.log_text import (
    HIDDEN,
    MOST_CHARACTERS,
    MOST_OF_TRACEBACK,
    Fence,
    cut,
    escaped,
    secrets_of,
)
from sandbox_billing.logs import json_line, text_line


RPC = "https://user:pass-word@node.example/v3/0123456789abcdef0123456789abcdef?key=abcdefgh1234"
ADMIN_KEY = "dtn_the-admin-key-of-daytona"
KEY = "0x" + "7c" * 32
FENCE = Fence(secrets_of([ADMIN_KEY, KEY, None, ""], [RPC]))
SECRETS = (ADMIN_KEY, KEY, "7c" * 32, "pass-word", "abcdefgh1234", "0123456789abcdef" * 2)

SIGNATURE = "0x" + "ab" * 65
TOKEN = "sbt_" + "A1-_" * 10 + "xyz"
HOOK = "whsec_" + "A1-_" * 10 + "xyz"
MESSAGE = "eyJhY3Rpb24iOiJjcmVhdGUiLCJleHBpcmVzX2F0IjoxLCJub25jZSI6IjEifQ=="
BY_FORM = (SIGNATURE, TOKEN, HOOK, MESSAGE)


def event(**fields: Any) -> dict[str, Any]:
    """An event as C{twisted.logger} makes it."""
    return {
        "log_time": 1_700_000_000.25,
        "log_level": LogLevel.info,
        "log_namespace": "sandbox_billing.tests",
        **fields,
    }


def failing(text: str) -> Failure:
    """A failure with a traceback."""
    try:
        raise ValueError(text)
    except ValueError:
        return Failure()


class FenceTests(SynchronousTestCase):
    """L{Fence}, and both forms of a line behind it."""

    def both(self, **fields: Any) -> tuple[str, str]:
        """As JSON and as text."""
        return json_line(event(**fields), FENCE), text_line(event(**fields), FENCE)

    def test_in_messages(self) -> None:
        """No secret in a message, nor in a field, whoever put it there."""
        for secret in (*SECRETS, *BY_FORM, f"Bearer {ADMIN_KEY}", RPC):
            for line in self.both(log_format="it said {why}", why=f"no: {secret}!"):
                self.assertNotIn(secret, line)
                self.assertIn(HIDDEN, line)

    def test_other_spellings(self) -> None:
        """A client decodes a password, sends a key in escapes of its own, writes digits small."""
        url = "https://me:p%40ss-w0rd%21x@node.example/v2/k%2dabcdefghijklmnop?key=ab%2Bcdefgh%2f"
        fence = Fence(secrets_of(["0xABCDEF" + "AB" * 29, "p@ss/word!x"], [url]))
        for secret in (
            "abcdef" + "ab" * 29,
            "p@ss-w0rd!x",
            "p%40ss-w0rd%21x",
            "k-abcdefghijklmnop",
            "k%2Dabcdefghijklmnop",
            "k%2dabcdefghijklmnop",
            "ab+cdefgh/",
            "ab%2Bcdefgh%2f",
            "ab%2Bcdefgh%2F",
            "p%40ss%2Fword%21x",
        ):
            self.assertEqual(f"it said {HIDDEN}.", fence.line(f"it said {secret}."), secret)

    def test_at_in_a_password(self) -> None:
        """The last one of them stands before the host; what has a path before it is no password."""
        self.assertEqual(f"redis://{HIDDEN}@h:1", FENCE.line("redis://:p@ss@word@h:1"))
        for plain in ("http://h/a@b", "http://h?x=a@b", "http://h and a@b"):
            self.assertEqual(plain, FENCE.line(plain))

    def test_in_tracebacks(self) -> None:
        """
        Nor in the text of an exception that nobody expected: a client of HTTP names the URL
        that it could not reach, with the key in its path.
        """
        for secret in (*SECRETS, *BY_FORM):
            text = f"Max retries exceeded with url: /v3/{secret} (Caused by {secret!r})"
            for line in self.both(log_format="it failed", log_failure=failing(text)):
                self.assertNotIn(secret, line)
                self.assertIn("Max retries exceeded", line)
                self.assertIn("Traceback", line)

    def test_real_client(self) -> None:
        """What requests says of a node that is not there has the key; the line has not."""
        url = f"http://user:pass-word@127.0.0.1:{free_port()}/v3/{'0123456789abcdef' * 2}"
        provider = make_provider(
            url + "?key=abcdefgh1234", connect_seconds=1, read_seconds=1, seconds=time.monotonic
        )
        try:
            provider.make_request(RPCEndpoint("eth_chainId"), [])
        except RequestException:
            failure = Failure()
        told = failure.getTraceback()
        self.assertIn("/v3/0123456789abcdef0123456789abcdef?key=abcdefgh1234", told)
        for line in self.both(log_format="{why}", why=str(failure.value), log_failure=failure):
            self.assertIn("Max retries exceeded", line)
            for secret in ("0123456789abcdef", "abcdefgh1234", "pass-word"):
                self.assertNotIn(secret, line)

    def test_cut_after(self) -> None:
        """What is hidden is hidden before a text is cut: no half of a secret stays."""
        for at in range(MOST_CHARACTERS - len(ADMIN_KEY), MOST_CHARACTERS):
            told = FENCE.line("x" * at + ADMIN_KEY + "y" * 100)
            self.assertNotIn(ADMIN_KEY[:8], told)

    def test_what_stays(self) -> None:
        """What an operator looks for stays: addresses, hashes, ids, hosts."""
        text = f"0x{'ab' * 32} of 0x{'cd' * 20} at https://node.example:8545/x, {'e' * 64}, sbt_9"
        self.assertEqual(text, FENCE.line(text))

    def test_short_ones(self) -> None:
        """A short password would be found in every other word; a longer one is hidden first."""
        self.assertEqual("the redis is away", Fence(("redis",)).line("the redis is away"))
        self.assertEqual(HIDDEN, Fence(("password", "password-2")).line("password-2"))

    def test_repr(self) -> None:
        """It does not show what it hides."""
        self.assertNotIn(ADMIN_KEY, repr(FENCE))


class BoundsTests(SynchronousTestCase):
    """A hostile name of a sandbox, and its like."""

    HOSTILE = (
        'x"}\n{"time": "never", "level": "critical", "message": "forged"}',
        "x\r2023-11-14T22:13:20+0000 [sandbox_billing#critical] forged",
        "x\u2028forged\u2029\x85\x0b\x0c\x1c",
        "\x1b[2J\x1b]0;title\x07",
        "\u202egnp.exe\u2066",
        "\ud800 alone",
        "\x00",
    )

    def test_one_line(self) -> None:
        """None begins a line, steers a terminal or turns text around; JSON keeps what it was."""
        for name in self.HOSTILE:
            told = json_line(event(log_format="created {sandbox}", sandbox=name))
            self.assertTrue(told.isprintable(), ascii(told))
            self.assertEqual(name, json.loads(told)["sandbox"])
            self.assertEqual("info", json.loads(told)["level"])
            told = text_line(event(log_format="created {sandbox}", sandbox=name))
            self.assertTrue(told.isprintable(), ascii(told))
            told.encode("utf-8")

    def test_of_failures(self) -> None:
        """A traceback has lines, each indented; what an exception says is none of its own."""
        for name in self.HOSTILE:
            told = text_line(event(log_format="failed", log_failure=failing(name)))
            first, *others = told.split("\n")
            self.assertTrue(first.endswith("] failed"))
            for line in others:
                self.assertTrue(line.startswith("\t"), ascii(line))
                self.assertTrue(line[1:].isprintable(), ascii(line))

    def test_long(self) -> None:
        """Nothing fills the disk: a value, a message and a traceback have their bounds."""
        name = "n" * 10**6
        fields = {"log_format": "{sandbox} {why}", "sandbox": name, "why": name}
        told = json_line(event(**fields, log_failure=failing(name)))
        self.assertLess(len(told), 3 * MOST_CHARACTERS + MOST_OF_TRACEBACK + 1_000)
        line = json.loads(told)
        more = 10**6 - MOST_CHARACTERS
        self.assertEqual("n" * MOST_CHARACTERS + f"[and {more} more characters]", line["sandbox"])
        self.assertIn("ValueError", line["failure"])
        told = text_line(event(**fields, log_failure=failing(name)))
        self.assertLess(len(told), MOST_CHARACTERS + MOST_OF_TRACEBACK + 1_000)

    def test_quick(self) -> None:
        """However it is made, a long text costs little: nobody holds the daemon by a name."""
        for piece in ("://a", "eyJ", "a@", "Bearer ", "0x" + "a" * 129 + "g", "\u2028"):
            began = time.process_time()
            json_line(event(log_format="{why}", why=piece * (200_000 // len(piece))), FENCE)
            self.assertLess(time.process_time() - began, 1.0, piece)

    def test_big_numbers(self) -> None:
        """A number that nobody can write is left out, and is no reason to lose the line."""
        line = json.loads(json_line(event(log_format="x", count=10**6000, block=2**256)))
        self.assertEqual({"block": 2**256}, {n: line[n] for n in ("count", "block") if n in line})

    @given(st.text())
    def test_any(self, text: str) -> None:
        """Whatever it is: one line that can be seen and written, never longer than it may be."""
        for told in (escaped(text), Fence().line(text)):
            self.assertTrue(told.isprintable())
        self.assertLess(len(cut(text, 10)), 10 + 40)
        told = json_line(event(log_format="{why}", why=text))
        self.assertTrue(told.isprintable())
        told.encode("utf-8")


class LastWordsTests(SynchronousTestCase):
    """L{exit_with}."""

    def test_secrets(self) -> None:
        """What goes past the log, to standard error, is behind the same fence."""
        said, left = StringIO(), list[object]()
        self.patch(sys, "__stderr__", said)
        self.patch(atexit, "register", left.append)
        reactor: Any = MemoryReactorClock()
        text = f"start-up failed: Max retries exceeded with url: {RPC}\nand {ADMIN_KEY}"
        tap.exit_with(reactor, text, FENCE.secrets)
        (logged,) = [one for one in self.logged if one["log_level"] is LogLevel.critical]
        self.assertEqual(text, logged["why"])
        self.assertEqual(1, len(left))
        self.assertIn("start-up failed: Max retries exceeded with url: https://", said.getvalue())
        self.assertEqual(2, len(said.getvalue().splitlines()))
        for secret in SECRETS:
            self.assertNotIn(secret, said.getvalue())

    def setUp(self) -> None:
        """Keep what is logged."""
        self.logged: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

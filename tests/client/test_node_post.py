"""Tests for L{sandbox_billing.client.node_post}: a node that answers for ever, or too much."""

from __future__ import annotations

import threading
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.client.node_post import Bounded, octets, post_to, quantity
from sandbox_billing.errors import Transient
from tests.client.local import Handler, Local


class PostTests(SynchronousTestCase):
    """Real answers of a bad node."""

    def refused(self, body: bytes, **more: Any) -> str:
        """Why this is no answer."""

        def answer(handler: Handler, asked: bytes) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)

        local = Local.start(self, answer)
        return str(self.assertRaises(Transient, post_to(local.url, **more), {}))

    def test_an_answer(self) -> None:
        """JSON goes there and comes back, time after time."""

        def answer(handler: Handler, asked: bytes) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(asked)))
            handler.end_headers()
            handler.wfile.write(asked)

        post = post_to(Local.start(self, answer).url)
        for document in ({"a": [1]}, [1, 2]):
            self.assertEqual(post(document), document)

    def test_bad_bodies(self) -> None:
        """No JSON, too deep, and too large: each is no answer, and none is a traceback."""
        self.assertIn("no answer", self.refused(b"{"))
        self.assertIn("RecursionError", self.refused(b"[" * 200_000))
        self.assertIn("more than 100 bytes", self.refused(b'"' + b"x" * 200 + b'"', most_bytes=100))

    def test_drip(self) -> None:
        """A byte now and then keeps no one waiting, neither in the headers nor in the body."""
        over = threading.Event()
        self.addCleanup(over.set)
        for start in (
            b"HTTP/1.1 200 OK\r\nX-A: ",
            b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n",
        ):

            def answer(handler: Handler, asked: bytes, start: bytes = start) -> None:
                handler.close_connection = True
                try:
                    handler.wfile.write(start)
                    while not over.wait(0.05):
                        handler.wfile.write(b"1")
                        handler.wfile.flush()
                except OSError:
                    pass

            # Where a busy machine keeps the dripping node itself from its turn, a socket's own
            # patience ends first, and nothing was tried.
            for seconds in (0.2, 1.0, 5.0, 25.0):
                post = post_to(Local.start(self, answer).url, seconds=seconds)
                told = str(self.assertRaises(Transient, post, {}))
                if "too long" in told:
                    break
            self.assertIn("too long", told)


class BoundedTests(SynchronousTestCase):
    """So many, and so long."""

    def test_requests(self) -> None:
        """After the last that is allowed nothing goes out any more."""
        asked: list[Any] = []
        post = Bounded(asked.append, most=2, clock=lambda: 0.0)
        post(1), post(2)
        self.assertRaises(Transient, post, 3)
        self.assertEqual(asked, [1, 2])

    def test_seconds(self) -> None:
        """Time runs from the first request on."""
        now = [50.0]
        post = Bounded(lambda document: document, seconds=10.0, clock=lambda: now[0])
        now[0] = 100.0
        self.assertEqual(post(1), 1)
        now[0] = 110.0
        self.assertEqual(post(1), 1)
        now[0] = 110.1
        self.assertRaises(Transient, post, 1)


class AnswerTests(SynchronousTestCase):
    """What is a number, and what are bytes."""

    def test_numbers(self) -> None:
        """Hex that 64 bits hold."""
        self.assertEqual(
            [quantity(one) for one in ("0x0", "0xA", hex(2**63 - 1))], [0, 10, 2**63 - 1]
        )
        for bad in (7, None, [], "7", "-0x5", "0x", "0x_1", hex(2**63), "0x" + "f" * 5000, "0x1\n"):
            self.assertRaises(Transient, quantity, bad)

    def test_octets(self) -> None:
        """Hex, with or without its mark."""
        self.assertEqual([octets(one) for one in ("0x", "0xab", "AB")], [b"", b"\xab", b"\xab"])
        for bad in (7, None, [], "0xzz", "0xa"):
            self.assertRaises(Transient, octets, bad)

"""Tests for C{sandbox_billing.cli.standing}: whose pause stands, and what is told of it."""

from __future__ import annotations

import socket

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.redis.draft import stored_form
from sandbox_billing.adapters.redis.keys import Keys
from sandbox_billing.cli.standing import BY, RedisPlace, Run, is_leftover, is_ours, telling
from sandbox_billing.errors import BadInput, Refused, Transient
from sandbox_billing.ledger.backlog import Pause
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds
from tests.redis_server import Respite, new_server


NOW = UnixSeconds(1_700_000_000)
RUN = Run(name="0a1b", until=UnixSeconds(NOW + 100))


def pause(by: str) -> Pause:
    """Somebody's."""
    return Pause(since=NOW, reason="x", by=by)


class WhoseTests(SynchronousTestCase):
    """By its name."""

    def test_ours(self) -> None:
        """Every run's is the command's, also one of before runs had names; nobody else's is."""
        for by in (str(RUN), BY):
            self.assertTrue(is_ours(pause(by)))
        for by in ("an operator", BY + "s", f"{BY} 0a1b", f"the {BY} 0a1b until 5", ""):
            self.assertFalse(is_ours(pause(by)), by)
            self.assertIsNone(Run.of(pause(by)))

    def test_leftover(self) -> None:
        """A run has ended when its time is up; one that has not said its time may go on."""
        self.assertFalse(is_leftover(pause(str(RUN)), RUN.until))
        self.assertTrue(is_leftover(pause(str(RUN)), UnixSeconds(RUN.until + 1)))
        self.assertFalse(is_leftover(pause(BY), UnixSeconds(NOW + 10**9)))

    @given(name=st.binary(min_size=1, max_size=8), until=st.integers(0, 2**40))
    def test_read_back(self, name: bytes, until: int) -> None:
        """What a run writes is read as that run."""
        run = Run(name=name.hex(), until=UnixSeconds(until))
        self.assertEqual(Run.of(pause(str(run))), run)


class TellingTests(SynchronousTestCase):
    """Before and after."""

    def setUp(self) -> None:
        """Hear."""
        self.said: list[str] = []

    def test_stands(self) -> None:
        """A pause that stands is told at the start and at every end, with what ends it."""
        for error in (None, Refused("no"), ZeroDivisionError(), KeyboardInterrupt()):
            self.said.clear()
            try:
                with telling(lambda: pause(str(RUN)), self.said.append):
                    self.assertEqual(len(self.said), 1)
                    if error is not None:
                        raise error
            except (Refused, ZeroDivisionError, KeyboardInterrupt) as caught:
                self.assertIs(caught, error)
            first, last = self.said
            self.assertIn(f"admissions are paused by {RUN} since {NOW}", first)
            self.assertIn(f"admissions stay paused by {RUN}", last)
            self.assertIn("--take-over", last)

    def test_somebody_else(self) -> None:
        """Of an operator's pause no flag of ours is promised to end it."""
        with telling(lambda: pause("an operator"), self.said.append):
            pass
        self.assertIn("stay paused by an operator", self.said[1])
        self.assertNotIn("--take-over", self.said[1])

    def test_comes_and_goes(self) -> None:
        """Each look counts for itself; where nothing stands nothing is said."""
        looks = [None, pause(str(RUN)), pause(str(RUN)), None, None, None]
        for expected in (["stay"], ["are"], []):
            self.said.clear()
            with telling(lambda: looks.pop(0), self.said.append):
                pass
            self.assertEqual([line.split()[1] for line in self.said], expected)

    def test_unseen(self) -> None:
        """What cannot be seen is told once at the start, or at the end if it was seen before."""

        def broken() -> None:
            raise Transient("no Redis")

        with telling(broken, self.said.append):
            pass
        (only,) = self.said
        self.assertIn("could not be seen: no Redis", only)
        self.said.clear()
        looks = [lambda: None, broken]
        with telling(lambda: looks.pop(0)(), self.said.append):
            pass
        (only,) = self.said
        self.assertIn("/readyz", only)


class LookTests(SynchronousTestCase):
    """At a real server."""

    def test_look(self) -> None:
        """What the journal stores is read; a wrong password's text has no password."""
        server = new_server(password="s3cret")
        self.addCleanup(server.stop)
        address = f"127.0.0.1:{server.options.port}"
        place = RedisPlace(address=address, password="s3cret")
        self.assertNotIn("s3cret", repr(place))
        self.assertIsNone(place.paused())
        client = Respite(server.options.port)
        self.addCleanup(client.close)
        client.call("AUTH", "s3cret")
        key = Keys(Address("0x" + "11" * 20), "").paused()
        client.call("SET", key, stored_form(pause(str(RUN))))
        self.assertEqual(place.paused(), pause(str(RUN)))
        client.call("SET", key, '{"v":2}')
        self.assertRaises(BadInput, place.paused)
        for password in (None, "wr0ng"):
            other = RedisPlace(address=address, password=password)
            why = str(self.assertRaises(Transient, other.paused))
            self.assertRegex(why, "Redis answers (NOAUTH|WRONGPASS)")
            self.assertNotIn("wr0ng", why)

    def test_nobody(self) -> None:
        """Nobody answers, or the address is none."""
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            place = RedisPlace(address=f"127.0.0.1:{bound.getsockname()[1]}", password=None)
            self.assertRaises(Transient, place.paused)
        place = RedisPlace(address="nowhere", password=None)
        self.assertIn("--redis", str(self.assertRaises(BadInput, place.paused)))

"""
A wallet's notices as they come: what is sent, to whom, and that nothing is lost or sent twice.
"""

from __future__ import annotations

import json
import random
import re
from functools import partial
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from sandbox_billing.adapters.memory import FaultyKeyspace
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import INotices, NotReady, Stored, TooMany
from sandbox_billing.ledger.account import Account
from sandbox_billing.ledger.identity import Address, Nonce, SandboxId
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.notice import KEPT_SECONDS, Kind, Notice
from sandbox_billing.web import notices as module
from sandbox_billing.web._router import Asked
from sandbox_billing.web.caller import Caller
from sandbox_billing.web.notices import (
    HEARTBEAT_SECONDS,
    LEAVING,
    MOST_OF_WALLET,
    PAGE,
    TOKEN_ENDED,
    TOKEN_TURNS,
)
from sandbox_billing.web.site import BillingSite
from tests.web.asking import AskingTestCase
from tests.web.test_pouring import unchunked
from tests.web.test_site import SocketTestCase, Wire
from tests.web.world import NOW, OWNER, PROVIDER, SANDBOX, STRANGER, World, token_for


SCOPED = SandboxId(SANDBOX)

INTERVAL_COST = (600 + 330) * 60
"""Of the smallest sandbox, by the prices of L{SERVICE<tests.web.world.SERVICE>}."""


def notice(number: int, *, wallet: Address = OWNER.address, only: str | None = None) -> Notice:
    """Something to be told of."""
    return Notice(
        kind=Kind.TOPPED_UP,
        at=UnixSeconds(NOW),
        wallet=wallet,
        sandbox=None if only is None else SandboxId(only),
        facts={"balance": str(number)},
    )


def numbers(said: bytes) -> list[int]:
    """What the events in some bytes of a stream are about."""
    datas = re.findall(rb"^data: (.*)$", said, re.MULTILINE)
    return [int(json.loads(data)["facts"]["balance"]) for data in datas]


class Reader:
    """One who takes what is sent, piece by piece."""

    def __init__(self, world: World, **asked: Any) -> None:
        caller = Caller(wallet=OWNER.address)
        self.chunks: Any = None
        self.taken: list[bytes] = []
        self.ended = False
        self._answer = Asked(**{"caller": caller, **asked})
        self._world = world
        self._next: Deferred[None] | None = None

    def open(self) -> Reader:
        """@raise Exception: It is refused."""
        answer = now(self._world.listeners.stream(self._answer))
        self.headers, self.chunks = answer.headers, answer.chunks
        self.go_on()
        return self

    def go_on(self) -> None:
        """Take all that is there, and wait for more."""
        self._next = Deferred.fromCoroutine(self._all())
        self._next.addErrback(lambda failure: self.taken.append(repr(failure.value).encode()))

    async def _all(self) -> None:
        async for chunk in self.chunks:
            self.taken.append(chunk)
        self.ended = True

    def hang_up(self) -> None:
        """As Klein does for a client that is gone."""
        assert self._next is not None
        self._next.cancel()

    @property
    def said(self) -> bytes:
        """All of it."""
        return b"".join(self.taken)


def now(work: Any) -> Any:
    """The result of what completes at once."""
    return SynchronousTestCase().successResultOf(Deferred.fromCoroutine(work))


class StreamTests(SynchronousTestCase):
    """One stream, by a clock."""

    def setUp(self) -> None:
        """Nothing was told yet."""
        self.world = World()
        self._told = 0

    def tell(self, *, wallet: Address = OWNER.address, only: str | None = None) -> int:
        """@return: What the notice is about."""
        self._told += 1
        number = self._told
        told = notice(number, wallet=wallet, only=only)
        self.assertTrue(now(self.world.journal.notices.tell(told, str(number))))
        return number

    def turn(self, times: int = 1) -> None:
        """Whoever looks for news does."""
        for _ in range(times):
            now(self.world.listeners.turn())

    def reader(self, **asked: Any) -> Reader:
        """One more, who is let in."""
        return Reader(self.world, **asked).open()

    def test_from_now_on(self) -> None:
        """What was told before is not sent, and what is told is, within a turn."""
        self.tell()
        reader = self.reader()
        self.assertRegex(reader.said, rb"\Aretry: 2000\nid: \d+\n\n\Z")
        later = self.tell()
        self.tell(wallet=STRANGER.address)
        self.assertEqual(numbers(reader.said), [])
        self.turn()
        self.assertEqual(numbers(reader.said), [later])

    def test_form(self) -> None:
        """An event as every client of such streams reads it."""
        reader = self.reader()
        self.tell(only=SANDBOX)
        self.turn()
        *_, event = reader.said.strip().split(b"\n\n")
        id, kind, data = event.split(b"\n")
        found = json.loads(data.removeprefix(b"data: "))
        self.assertEqual(id, b"id: " + found["id"].encode())
        self.assertEqual(kind, b"event: topped_up")
        self.assertEqual(
            {name: value for name, value in found.items() if name != "id"},
            {
                "kind": "topped_up",
                "at": NOW,
                "wallet": "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A",
                "sandbox": SANDBOX,
                "facts": {"balance": "1"},
            },
        )
        self.assertEqual(reader.headers["Content-Type"], "text/event-stream; charset=utf-8")

    def test_everything_kept(self) -> None:
        """From the beginning, however much there is, page by page."""
        told = [self.tell() for _ in range(2 * PAGE + 7)]
        reader = self.reader(query={"after": "0"})
        self.assertEqual(numbers(reader.said), told)

    def test_after_what_is_known(self) -> None:
        """From the last one that is known; the header counts for more than the query."""
        told = [self.tell() for _ in range(5)]
        found = now(self.world.journal.notices.after(OWNER.address, 0, 9))
        known = str(found[2].number)
        for asked in (
            {"query": {"after": known}},
            {"last_event_ids": (known,)},
            {"query": {"after": "0"}, "last_event_ids": (known,)},
        ):
            self.assertEqual(numbers(self.reader(**asked).said), told[3:])

    def test_behind_what_is_too_old(self) -> None:
        """Pages of what is not shown any more hide nothing that is."""
        for _ in range(2 * PAGE):
            self.tell()
        self.world.wall.moment = NOW + KEPT_SECONDS - 1
        self._told += 1
        late = evolve(notice(self._told), at=self.world.wall.now())
        self.assertTrue(now(self.world.journal.notices.tell(late, "late")))
        self.world.wall.moment = NOW + KEPT_SECONDS
        reader = self.reader(query={"after": "0"})
        self.assertEqual(numbers(reader.said), [self._told])

    def test_told_while_it_is_read(self) -> None:
        """What is told just after nothing was found is not passed over."""
        reader = self.reader()
        notices = self.world.listeners.notices
        told: list[int] = []

        class Meanwhile:
            """Others tell something at the worst moment."""

            async def after(inner, *asked: Any) -> Any:
                found = await notices.after(*asked)
                if not told:
                    told.append(self.tell())
                return found

            newest = staticmethod(notices.newest)

        directlyProvides(meanwhile := Meanwhile(), INotices)
        self.world.listeners.notices = meanwhile
        self.world.clock.advance(HEARTBEAT_SECONDS)
        self.turn()
        self.assertEqual(numbers(reader.said), told)

    def test_no_id(self) -> None:
        """What is no id of a notice is refused, and says so."""
        for told in ("-1", "x", "1.5", "9" * 16, "1 "):
            reader = Reader(self.world, query={"after": told})
            failure = SynchronousTestCase().failureResultOf(
                Deferred.fromCoroutine(self.world.listeners.stream(reader._answer)), BadInput
            )
            self.assertIn("Last-Event-ID", str(failure.value))

    def test_nothing_missed_before_the_first(self) -> None:
        """Whoever is cut before the first notice knows where to go on."""
        self.tell()
        reader = self.reader()
        (id,) = re.findall(rb"^id: (\d+)$", reader.said, re.MULTILINE)
        reader.hang_up()
        later = self.tell()
        self.assertEqual(numbers(self.reader(last_event_ids=(id.decode(),)).said), [later])

    def test_heartbeat(self) -> None:
        """A comment while there is nothing else, and what comes after it is sent."""
        reader = self.reader()
        for count in (1, 2):
            self.world.clock.advance(HEARTBEAT_SECONDS)
            self.assertEqual(reader.said.count(b": heartbeat\n\n"), count)
        told = self.tell()
        self.turn()
        self.assertEqual(numbers(reader.said), [told])

    def test_one_sandbox(self) -> None:
        """A token for one sandbox is told of that one; where to go on it is told for all."""
        caller = Caller(wallet=OWNER.address, only=SCOPED)
        reader = self.reader(caller=caller, query={"after": "0"})
        self.tell()
        own = self.tell(only=SANDBOX)
        self.tell(only="another")
        self.turn()
        self.assertEqual(numbers(reader.said), [own])
        (newest,) = now(self.world.journal.notices.newest([OWNER.address]))
        self.assertTrue(reader.said.endswith(b"id: %d\n\n" % newest))

    def test_token_ends(self) -> None:
        """A stream ends with its token, and says why; a signature's goes on."""
        token_for(self.world, OWNER.address, expires_at=NOW + 60)
        (id,) = self.world.tokens.kept
        caller = Caller(wallet=OWNER.address, token=id)
        with_token, signed = self.reader(caller=caller), self.reader()
        self.turn(2 * TOKEN_TURNS)
        self.assertFalse(with_token.ended)
        self.world.wall.moment = NOW + 60
        self.turn(TOKEN_TURNS)
        self.assertTrue(with_token.ended)
        self.assertTrue(with_token.said.endswith(b": " + TOKEN_ENDED.encode() + b"\n\n"))
        self.assertFalse(signed.ended)
        self.assertEqual(self.world.listeners.count, 1)

    def test_too_many(self) -> None:
        """A wallet has so many, and all together; whoever leaves makes room."""
        readers = [self.reader() for _ in range(MOST_OF_WALLET)]
        with self.assertRaises(TooMany):
            self.refused()
        other = Caller(wallet=STRANGER.address)
        self.reader(caller=other)
        self.world.listeners.most = self.world.listeners.count
        with self.assertRaises(TooMany):
            self.refused(caller=other)
        for reader in readers:
            reader.hang_up()
        self.assertEqual(self.world.listeners.count, 1)
        self.reader()

    def test_wallets_cost_nothing(self) -> None:
        """Whoever has made many of them keeps nobody out who could run something here."""
        self.patch(module, "MOST_WITHOUT_FUNDS", 2)
        for number in (1, 2):
            self.reader(caller=Caller(wallet=Address(f"0x{number:040x}")))
        with self.assertRaises(TooMany):
            self.refused(caller=Caller(wallet=Address(f"0x{3:040x}")))
        self.fund(OWNER.address, INTERVAL_COST - 1)
        with self.assertRaises(TooMany):
            self.refused()
        self.fund(OWNER.address, INTERVAL_COST)
        self.reader()

    def test_who_runs_something(self) -> None:
        """Places are kept for them: balances of many wallets, which can be had back, take none."""
        self.world.listeners.most = 8
        for number in range(6):
            self.fund(Address(f"0x{number + 1:040x}"), INTERVAL_COST)
            self.reader(caller=Caller(wallet=Address(f"0x{number + 1:040x}")))
        self.fund(OWNER.address, 10**18)
        with self.assertRaises(TooMany):
            self.refused()
        self.world.doors.exposures[OWNER.address] = {f"session:{SANDBOX}": "1:1:1"}
        for _ in range(2):
            self.reader()
        with self.assertRaises(TooMany):
            self.refused()

    def fund(self, wallet: Address, balance: int) -> None:
        """Mirror it."""
        paid = Account(
            wallet=wallet,
            balance=Neuron(balance),
            pending_refund=Neuron(0),
            refund_unlock_at=UnixSeconds(0),
            acknowledged=False,
            last_nonce=Nonce(0),
            block=1,
        )
        self.world.doors.accounts[wallet] = Stored(paid, b"")

    def refused(self, **asked: Any) -> None:
        """@raise Exception: What it is refused with."""
        asking = Reader(self.world, **asked)._answer
        work = Deferred.fromCoroutine(self.world.listeners.stream(asking))
        SynchronousTestCase().failureResultOf(work).raiseException()

    def test_stopping(self) -> None:
        """All end well when the server stops, and none begins."""
        readers = [self.reader() for _ in range(3)]
        self.world.listeners.close()
        for reader in readers:
            self.assertTrue(reader.ended)
            self.assertTrue(reader.said.endswith(b": " + LEAVING.encode() + b"\n\n"))
        self.assertEqual(self.world.listeners.count, 0)
        with self.assertRaises(NotReady):
            self.refused()

    def test_store_is_away(self) -> None:
        """What cannot be read is read later: nothing is lost with it, and nobody is cut."""
        faulty = FaultyKeyspace(self.world.keyspace, self.world.clock)
        journal = Journal.over(faulty, PROVIDER, self.world.wall, interval_seconds=3600)
        reader = self.reader()
        self.world.listeners.notices = journal.notices
        told = self.tell()
        turning = self.world.listeners
        (listener,) = turning._open[OWNER.address]
        faulty.connected = False
        listener.wake()
        self.assertEqual(numbers(reader.said), [])
        faulty.connected = True
        self.turn()
        self.assertEqual(numbers(reader.said), [told])

    def test_one_read(self) -> None:
        """A turn asks once, however many listen, and not at all where nobody does."""
        asked: list[int] = []
        notices = self.world.listeners.notices
        original = notices.store.keyspace.read

        class Counting:
            async def read(self, reads: Any) -> Any:
                asked.append(len(reads))
                return await original(reads)

        counted = evolve(notices, store=evolve(notices.store, keyspace=Counting()))
        for key in (OWNER, STRANGER):
            for _ in range(3):
                self.reader(caller=Caller(wallet=key.address))
        self.world.listeners.notices = counted
        self.turn()
        self.assertEqual(asked, [2])


class RouteTests(AskingTestCase):
    """The route, as others are."""

    def test_head(self) -> None:
        """A HEAD is told the form, and takes no place."""
        headers = self.world.signed("GET:/api/events/stream")
        reply = self.ask("HEAD", "/api/events/stream", headers)
        self.assertEqual(reply.status, 200)
        self.assertEqual(reply.header("Content-Type"), "text/event-stream; charset=utf-8")
        self.assertEqual(self.world.listeners.count, 0)

    def test_refused(self) -> None:
        """Unsigned 401, no id 400, too many 429 with a time to wait."""
        self.assertEqual(self.ask("GET", "/api/events/stream").status, 401)
        self.assertEqual(self.ask_by_path("GET", "/api/events/stream?after=x").status, 400)
        self.world.listeners.most = 0
        reply = self.ask_by_path("GET", "/api/events/stream")
        self.assertEqual((reply.status, reply.header("Retry-After")), (429, "5"))


class SocketTests(SocketTestCase):
    """Real clients, who come and go."""

    async def listen(self, **changes: Any) -> None:
        """As a daemon's, by real time."""
        self.world = World(clock=reactor)  # type: ignore[arg-type]
        self.site = BillingSite(
            self.world.root,
            reactor=reactor,  # type: ignore[arg-type]
            wall=self.world.wall,
            new_request_id=self.world.new_request_id,
        )
        self.port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self.site)
        self.addCleanup(self._stop)

    async def _stop(self) -> None:
        await maybeDeferred(self.port.stopListening)
        self.world.listeners.close()
        cut = await self.site.drain(60)
        self.assertEqual(cut, 0)

    async def begin(self, last: str | None = None) -> Wire:
        """A client, who knows the last one he took."""
        wire = await self.connect()
        told = self.world.signed("GET:/api/events/stream")
        if last is not None:
            told["Last-Event-ID"] = last
        lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        wire.send(f"GET /api/events/stream HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
        await self.until(lambda: b"retry:" in wire.taken)
        return wire

    async def test_come_and_go(self) -> None:
        """Cut off again and again, he takes every notice, each once, in their order."""
        await self.listen()
        chance = random.Random(7)
        told, taken, last = 0, [], None
        for _ in range(12):
            wire = await self.begin(last)
            for _ in range(chance.randrange(4)):
                told += 1
                await self.world.journal.notices.tell(notice(told), str(told))
            await self.world.listeners.turn()
            enough = min(chance.randrange(3), told - len(taken))
            await self.until(partial(_has, wire, enough))
            wire.transport.abortConnection()
            await wire.closed
            # He has what came whole, as every client of such streams.
            whole = body_of(wire).rpartition(b"\n\n")[0] + b"\n"
            taken += numbers(whole)
            ids = re.findall(rb"^id: (\d+)$", whole, re.MULTILINE)
            last = ids[-1].decode() if ids else last
            await self.until(lambda: self.world.listeners.count == 0)
        wire = await self.begin(last)
        await self.world.listeners.turn()
        await self.until(partial(_has, wire, told - len(taken)))
        taken += numbers(body_of(wire))
        self.assertEqual(taken, list(range(1, told + 1)))
        self.assertGreater(told, 10)

    async def test_stopped(self) -> None:
        """A server that stops ends the reply, which is whole, and cuts nobody."""
        await self.listen()
        wire = await self.begin()
        await self.port.stopListening()
        self.world.listeners.close()
        self.assertEqual(await self.site.drain(60), 0)
        await wire.closed
        _, is_whole = unchunked(bytes(wire.taken).partition(b"\r\n\r\n")[2])
        self.assertTrue(is_whole)
        self.assertIn(LEAVING.encode(), body_of(wire))


def _has(wire: Wire, enough: int) -> bool:
    return len(numbers(body_of(wire))) >= enough


def body_of(wire: Wire) -> bytes:
    """What was sent so far, without its chunks."""
    return unchunked(bytes(wire.taken).partition(b"\r\n\r\n")[2])[0]

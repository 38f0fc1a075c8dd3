"""The awaiting client: the same operations, whoever's event loop it is."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import (
    Agent,
    FileBodyProducer,
    HTTPConnectionPool,
    ResponseFailed,
    readBody,
)
from twisted.web.http_headers import Headers

from sandbox_billing.client import (
    Answer,
    AsyncClient,
    Call,
    Client,
    ConnectionLost,
    KeySigner,
    Unavailable,
)
from sandbox_billing.client.calls import Pause
from tests.client import example_async
from tests.client.local import Handler, Local


# A WELL-KNOWN DEVELOPMENT KEY: 32 bytes of 0x11 (wire.md §2).
SECRET = "11" * 32


def answer(handler: Handler, body: bytes) -> None:
    """A few sandboxes, one answer in passing, and files."""
    path = handler.path.partition("?")[0]
    asked = len([one for one in handler.world.asked if path in one])
    if path == "/info":
        handler.tell({"provider_address": "0x" + "22" * 20, "chain_id": 1})
    elif path == "/api/sandbox/a" and asked == 1:
        handler.tell({"error": "starting"}, 503)
    elif path == "/api/sandbox":
        handler.tell([{"id": "a"}, {"id": "b"}])
    elif path == "/toolbox/a/files/download":
        handler.give(b"bytes" * 100_000)
    elif path == "/api/events/stream":
        handler.give(b"id: 7\ndata: " + json.dumps({"kind": "stopped"}).encode() + b"\n\n")
    elif path == "/toolbox/gone/process/execute":
        handler.drop()
    else:
        handler.tell({"id": path.rpartition("/")[2], "name": f"named {len(body)}"})


async def story(client: AsyncClient) -> list[Any]:
    """What every transport must be able to do."""
    found: list[Any] = [[one.id async for one in client.list()]]
    found.append((await client.get("a")).name)
    file = io.BytesIO()
    found.append((await client.download("a", "x", file), file.getvalue()[:5]))
    await client.upload("a", b"content", "y")
    kinds: list[str] = []
    last = await client.follow_notices(lambda one: kinds.append(one.kind), after="3")
    found += [kinds, last]
    try:
        await client.exec("gone", "x")
    except ConnectionLost:
        found.append("lost")
    return found


TOLD = [["a", "b"], "named 0", (500_000, b"bytes"), ["stopped"], "7", "lost"]


class AsyncioTests(SynchronousTestCase):
    """With the example's transport."""

    def test_story(self) -> None:
        """Signed requests, files and notices; what failed in passing is asked again."""
        local = Local.start(self, answer)
        heard: list[Pause] = []
        client = AsyncClient(
            local.url,
            KeySigner.from_hex(SECRET),
            transport=example_async.transport,
            sleep=lambda _seconds: asyncio.sleep(0),
            on_pause=heard.append,
        )
        self.assertEqual(asyncio.run(story(client)), TOLD)
        self.assertEqual([one.why and one.why.status for one in heard], [503])
        self.assertEqual(local.asked.count("GET /api/sandbox/a"), 2)
        self.assertEqual(local.asked.count("GET /info"), 1)

    def test_example(self) -> None:
        """The page's program, as it stands there."""
        local = Local.start(self, answer)
        local.asked.append("GET /api/sandbox/a")
        names = asyncio.run(example_async.main(local.url, "sbt_x"))
        self.assertEqual(names, ["named 0", "named 0"])
        self.assertEqual(local.headers[-1]["authorization"], "Bearer sbt_x")

    def test_lost(self) -> None:
        """A connection that breaks is told, and nothing is sent twice that must not be."""
        local = Local.start(self, lambda handler, _body: handler.drop())
        client = AsyncClient(
            local.url, token="sbt_x", transport=example_async.transport, sleep=asyncio.sleep
        )
        with self.assertRaises(ConnectionLost):
            asyncio.run(client.exec("a", "b"))
        self.assertEqual(len(local.asked), 1)


class TwistedTests(TestCase):
    """With Deferreds: the library knows of neither loop."""

    async def test_story(self) -> None:
        """The same, over an C{Agent}."""
        local = Local.start(self, answer)
        pool: Any = HTTPConnectionPool(reactor, persistent=False)
        agent = Agent(reactor, pool=pool)

        async def transport(call: Call) -> Answer:
            content = call.content()
            headers = Headers({name: [value] for name, value in call.headers.items()})
            sent = agent.request(
                call.method.encode(),
                call.url.encode(),
                headers,
                FileBodyProducer(io.BytesIO(content)) if content else None,
            )
            try:
                response: Any = await sent
            except ResponseFailed as problem:
                raise ConnectionLost(text="no answer") from problem
            named = {
                name.decode(): values[-1].decode()
                for name, values in response.headers.getAllRawHeaders()
            }
            return Answer(status=response.code, headers=named, body=await readBody(response))

        def sleep(_seconds: float) -> Deferred[Any]:
            return deferLater(reactor, 0)

        client = AsyncClient(
            local.url, KeySigner.from_hex(SECRET), transport=transport, sleep=sleep
        )
        self.assertEqual(await story(client), TOLD)


class SameTests(SynchronousTestCase):
    """Neither client is forgotten when the other learns something."""

    def test_methods(self) -> None:
        """All that the one can, the other can; connections and streams apart."""

        def of(kind: type) -> set[str]:
            return {name for name in dir(kind) if not name.startswith("_")}

        self.assertEqual(of(Client) - of(AsyncClient), {"close", "notices"})
        self.assertEqual(of(AsyncClient) - of(Client), {"follow_notices"})

    def test_pages_that_turn_back(self) -> None:
        """A list that leads back to a page that was read ends there."""
        cursors = iter("ab" * 9)

        async def transport(call: Call) -> Answer:
            found = {"provider_address": "0x" + "22" * 20, "chain_id": 1}
            if not call.url.endswith("/info"):
                found = {"receipts": [{"id": "x"}], "next": next(cursors)}
            return Answer(status=200, headers={}, body=json.dumps(found).encode())

        async def read() -> int:
            client = AsyncClient("http://x", token="t", transport=transport, sleep=asyncio.sleep)
            return len([one async for one in client.receipts()])

        self.assertEqual(asyncio.run(read()), 3)

    def test_unavailable(self) -> None:
        """An error in words reaches who awaits."""

        async def transport(_call: Call) -> Answer:
            return Answer(status=503, headers={"Retry-After": "999"}, body=b"{}")

        client = AsyncClient("http://x", token="t", transport=transport, sleep=asyncio.sleep)
        with self.assertRaises(Unavailable):
            asyncio.run(client.get("a"))

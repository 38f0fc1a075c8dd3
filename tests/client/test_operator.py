"""What operators ask for and are told, at the daemon's own table and by hand."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from attrs import define
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.client import Answer, AsyncClient, Call, Client, Unclear
from sandbox_billing.client.async_operator import AsyncOperatorClient
from sandbox_billing.client.sync_operator import OperatorClient
from sandbox_billing.web._routes import Who
from tests.client.test_core import NOW, SIGNER, URL, Scripted, proven, told
from tests.web.test_spellings import table_of
from tests.web.world import World


ARGUMENTS: Mapping[str, Callable[[Any], Any]] = {
    "pause": lambda at: at.pause("why"),
    "lift_pause": lambda at: at.lift_pause(),
    "drain": lambda at: at.drain("why"),
    "order_stop": lambda at: at.order_stop("a b", "why"),
    "force_delete": lambda at: at.force_delete("x"),
    "archive_all": lambda at: at.archive_all(),
    "make_snapshot": lambda at: at.make_snapshot("s", imageName="i", general=False),
    "delete_snapshot": lambda at: at.delete_snapshot("s"),
    "orders": lambda at: at.orders(),
    "order": lambda at: at.order("1" * 32),
    "wait_order": lambda at: at.wait_order("1" * 32),
    "drain_standing": lambda at: at.drain_standing(),
    "open_sessions": lambda at: at.open_sessions(),
    "audit": lambda at: at.audit(),
    "summary": lambda at: at.summary(hours=168),
}

LISTS = ("orders", "sessions", "entries")
ANYTHING = told({"state": "done", **{name: [] for name in LISTS}})


@define
class Desk(Scripted):
    """An operator's provider."""

    def operator(self) -> OperatorClient:
        """A client that asks it."""
        return OperatorClient(URL, SIGNER, transport=self, now=lambda: NOW, sleep=self.slept.append)


class OperatorTests(SynchronousTestCase):
    """Each method, blocking and awaited."""

    def test_served(self) -> None:
        """Found, by a method that it takes, with queries that it knows, for operators alone."""
        table = table_of(World())
        for name, does in ARGUMENTS.items():
            world = Desk([ANYTHING])
            found = does(world.operator())
            if not hasattr(found, "raw") and not isinstance(found, dict):
                list(found)
            call = world.asked[-1]
            proven(call)
            path, _, query = call.url.removeprefix(URL).partition("?")
            route = table.find(call.method, path).route
            self.assertIs(route.who, Who.OPERATOR, name)
            self.assertLessEqual({key for key, _ in parse_qsl(query)}, route.query, name)
            self.assertEqual(route.takes_body, bool(call.content()), name)
            self.assertEqual(route.takes_body, "Idempotency-Key" in call.headers, name)

    def test_all(self) -> None:
        """No method is forgotten here, and both clients have the same."""
        for ours, theirs in ((OperatorClient, Client), (AsyncOperatorClient, AsyncClient)):
            methods = {one for one in set(dir(ours)) - set(dir(theirs)) if one[0] != "_"}
            self.assertEqual(set(ARGUMENTS), methods)
        for name in ARGUMENTS:
            one, other = getattr(OperatorClient, name), getattr(AsyncOperatorClient, name)
            self.assertEqual(
                inspect.signature(one).parameters, inspect.signature(other).parameters, name
            )

    def test_awaited(self) -> None:
        """The awaiting client asks for the very same."""

        async def sent(does: Callable[[Any], Any]) -> Call:
            world = Desk([ANYTHING])

            async def send(call: Call) -> Answer:
                return world.send(call)

            client = AsyncOperatorClient(
                URL, token="sbt_x", provider="0x" + "22" * 20, transport=send, sleep=asyncio.sleep
            )
            found = does(client)
            if inspect.isawaitable(found):
                await found
            else:
                self.assertEqual([one async for one in found], [])
            return world.asked[-1]

        for name, does in ARGUMENTS.items():
            world = Desk([ANYTHING])
            found = does(world.operator())
            if not hasattr(found, "raw") and not isinstance(found, dict):
                list(found)
            (blocking,), awaited = world.asked, asyncio.run(sent(does))
            for attribute in ("method", "url", "body"):
                self.assertEqual(getattr(blocking, attribute), getattr(awaited, attribute), name)

    def test_order(self) -> None:
        """One order, though its first answer is lost; then it is looked at until it has ended."""
        open_ = {"id": "1" * 32, "kind": "stop", "subject": "sb", "state": "under_way"}
        ended = {**open_, "state": "failed", "error": "gone", "result": None}
        world = Desk([OSError("cut"), told(open_, 202), told(open_), told(ended)])
        client = world.operator()
        order = client.order_stop("a/b", "it mines")
        self.assertEqual((order.id, order.has_ended, order.result), ("1" * 32, False, {}))
        first, second = world.asked[:2]
        self.assertEqual(first.headers["Idempotency-Key"], second.headers["Idempotency-Key"])
        self.assertEqual(json.loads(first.content()), {"reason": "it mines"})
        self.assertTrue(first.url.endswith("/api/operator/sandbox/a%2Fb/stop"))
        order = client.wait_order(order.id)
        self.assertEqual((order.has_ended, order.is_done, order.error), (True, False, "gone"))
        self.assertEqual(world.slept[-1], 1.0)

    def test_long(self) -> None:
        """Who has waited long enough is told that it goes on."""
        under_way = told({"id": "1" * 32, "state": "under_way"})
        world = Desk([under_way, under_way, under_way])
        with self.assertRaisesRegex(Unclear, "under_way still, and goes on"):
            world.operator().wait_order("1" * 32, timeout=2)

    def test_pages(self) -> None:
        """Lists are read to their end, by the cursor that each page names."""
        first = told({"entries": [{"number": 2, "form": "ü"}], "next": "1"})
        second = told({"entries": [{"number": 1, "form": "a"}], "next": None})
        world = Desk([first, second])
        found = [(one.number, one.form) for one in world.operator().audit()]
        self.assertEqual(found, [(2, "ü".encode()), (1, b"a")])
        self.assertTrue(world.asked[1].url.endswith("cursor=1"))

    def test_values(self) -> None:
        """What is missing is told as such, and not invented."""
        replies = [told({"paused": None, "left": {"charges": 3}, "drained": True}), told({})]
        world = Desk([*replies])
        client = world.operator()
        standing = client.drain_standing()
        self.assertEqual((standing.is_drained, standing.left), (True, {"charges": 3}))
        empty = client.drain_standing()
        self.assertEqual((empty.is_drained, empty.left), (False, {}))

"""Whatever the library asks for is served: its paths, methods and queries are the table's."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.client import Answer, Call, Client
from sandbox_billing.web._routes import Who
from tests.client.test_core import URL, Scripted, told
from tests.web.test_spellings import table_of
from tests.web.world import World


ARGUMENTS: Mapping[str, Callable[[Client], Any]] = {
    "create": lambda at: at.create(),
    "list": lambda at: list(at.list(labels={"a": "b"}, states=["started"])),
    "set_labels": lambda at: at.set_labels("x", {}),
    "exec": lambda at: at.exec("x", "ls"),
    "toolbox": lambda at: at.toolbox("x", "GET", "files"),
    "upload": lambda at: at.upload("x", b"", "a"),
    "download": lambda at: at.download("x", "a", io.BytesIO()),
    "logout": lambda at: at.logout("1" * 32),
    "usage": lambda at: at.usage(from_=1, to=2, group="label", label="a"),
    "usage_csv": lambda at: at.usage_csv(from_=1, to=2, group="day"),
    "sandbox_usage": lambda at: at.sandbox_usage("x", from_=1, to=2),
    "receipts": lambda at: list(at.receipts(from_=1, to=2, sandbox="x")),
    "events": lambda at: list(at.events(since=1)),
    "snapshots": lambda at: list(at.snapshots()),
    "set_settings": lambda at: at.set_settings({}),
    "add_webhook": lambda at: at.add_webhook("https://x.example"),
    **{
        name: lambda at, name=name: getattr(at, name)()
        for name in (
            *("info", "providers", "login", "sessions", "logout_all"),
            *("account", "settings", "resume", "webhooks"),
        )
    },
    **{
        name: lambda at, name=name: getattr(at, name)("x")
        for name in (
            *("get", "start", "stop", "archive", "delete", "wait", "ssh_access"),
            *("receipt", "delete_webhook", "test_webhook"),
        )
    },
}

ANYTHING = told(
    {
        "provider_address": "0x" + "22" * 20,
        "chain_id": 1,
        "state": "started",
        "exitCode": 0,
        **{name: [] for name in ("items", "tokens", "receipts", "events", "webhooks")},
    }
)


class Willing(Scripted):
    """Answers everything."""

    def send(self, call: Call) -> Answer:
        """An object, or a list where one is wanted."""
        self.asked.append(call)
        return told([]) if call.url.endswith("/api/providers") else ANYTHING


class RouteTests(SynchronousTestCase):
    """Each method of the client, at the daemon's own table."""

    def test_served(self) -> None:
        """Found, by a method that it takes, with queries that it knows, by whom it is for."""
        table = table_of(World())
        for name, does in ARGUMENTS.items():
            world = Willing([])
            does(world.client())
            call = world.asked[-1]
            path, _, query = call.url.removeprefix(URL).partition("?")
            route = table.find(call.method, path).route
            self.assertIsNot(route.who, Who.NOBODY, name)
            signed = "X-Signed-Message" in call.headers
            self.assertEqual(signed, route.who is not Who.PUBLIC, name)
            if not route.stream:
                known = route.query | route.several
                self.assertLessEqual({field for field, _value in parse_qsl(query)}, known, name)

    def test_all(self) -> None:
        """No method is forgotten here."""
        methods = {name for name in dir(Client) if not name.startswith("_")}
        self.assertEqual(set(ARGUMENTS), methods - {"close", "notices"})

    def test_stream(self) -> None:
        """Notices, too."""
        route = table_of(World()).find("GET", "/api/events/stream").route
        self.assertIs(route.who, Who.WALLET)

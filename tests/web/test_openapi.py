"""
Our OpenAPI document says what the table does, both ways.

That it is valid, and that a daemon keeps to it, is asked in an environment of its own:
C{bin/fuzz}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger.controls import Controls
from sandbox_billing.ledger.order import read_reason
from sandbox_billing.ledger.token import Scope
from sandbox_billing.signing.request import parse_strict_json
from sandbox_billing.web._denied import denied_routes
from sandbox_billing.web._descriptions import DESCRIBED, IDEMPOTENT, QUERIES
from sandbox_billing.web._routes import ANY, METHODS, Route, Who
from sandbox_billing.web._schemas import SCHEMAS
from sandbox_billing.web.access import read_network
from sandbox_billing.web.answers import _STATUS
from sandbox_billing.web.controls import read_settings
from sandbox_billing.web.openapi import PATH, document_of
from sandbox_billing.web.payloads import (
    _CREATE,
    read_create,
    read_labels,
    read_sizes,
    read_snapshot,
)
from sandbox_billing.web.webhooks import read_wish
from tests.web.asking import AskingTestCase
from tests.web.test_spellings import table_of
from tests.web.world import TERMS, World


def served(world: World) -> list[Route]:
    """Rows that are somebody's."""
    return [route for route in table_of(world).routes if route.who is not Who.NOBODY]


def spelt(route: Route) -> str:
    """Its path in the document."""
    return route.pattern.replace("**", "{path}")


def refs(document: Any) -> Iterator[str]:
    """Whatever is referred to."""
    if isinstance(document, dict):
        if isinstance(document.get("$ref"), str):
            yield document["$ref"]
        for value in document.values():
            yield from refs(value)
    elif isinstance(document, list):
        for value in document:
            yield from refs(value)


class DocumentTests(AskingTestCase):
    """
    What anybody is shown at C{/openapi.json}, beside the table.
    """

    def setUp(self) -> None:
        """As a client gets it."""
        super().setUp()
        self.reply = self.ask("GET", PATH)
        self.document = self.reply.json
        self.operations = {
            (method.upper(), path): operation
            for path, at in self.document["paths"].items()
            for method, operation in at.items()
        }

    def test_served_to_anybody(self) -> None:
        """Without a signature, with our address, and it may be kept for a while."""
        self.assertEqual(self.reply.status, 200)
        self.assertEqual(self.reply.header("Cache-Control"), "public, max-age=300")
        self.assertEqual(self.document["servers"], [{"url": TERMS.public_url}])

    def test_rows(self) -> None:
        """Every row that is served is an operation, and there is no other."""
        rows = {
            (method, spelt(route))
            for route in served(self.world)
            for method in (METHODS if route.method == ANY else {route.method})
        }
        self.assertEqual(set(self.operations), rows)

    def test_every_line_has_its_row(self) -> None:
        """What is described is served, and the other way round."""
        rows = {(route.method, route.pattern) for route in served(self.world)}
        self.assertEqual(set(DESCRIBED), rows)

    def _operation(self, route: Route) -> Any:
        method = "POST" if route.method == ANY else route.method
        return self.operations[method, spelt(route)]

    def test_queries(self) -> None:
        """The names that the table takes, and which of them may stand several times."""
        for route in served(self.world):
            told = self._operation(route).get("parameters", [])
            queries = {one["name"]: one["schema"] for one in told if one["in"] == "query"}
            self.assertEqual(set(queries), route.query | route.several, route.pattern)
            several = {name for name, schema in queries.items() if schema.get("type") == "array"}
            self.assertEqual(several, route.several, route.pattern)
        used = frozenset[str]().union(*(route.query | route.several for route in table_rows()))
        self.assertEqual(set(QUERIES) - used, set())

    def test_only_its_own_queries_are_described(self) -> None:
        """A line speaks of no query that its row does not take."""
        for route in served(self.world):
            line = DESCRIBED[route.method, route.pattern]
            self.assertLessEqual({*line.query, *line.required}, route.query | route.several)

    def test_bodies(self) -> None:
        """What takes a body says which; what takes none says none."""
        for route in served(self.world):
            self.assertEqual(
                "requestBody" in self._operation(route), route.takes_body and _posts(route)
            )

    def test_parts_of_paths(self) -> None:
        """Each name in braces is a parameter."""
        for (_method, path), operation in self.operations.items():
            told = [one for one in operation.get("parameters", []) if one["in"] == "path"]
            self.assertEqual([one["name"] for one in told], re.findall(r"\{(\w+)\}", path))
            self.assertTrue(all(one["required"] for one in told))

    def test_security(self) -> None:
        """Open where the table says so; else three headers, or a token of the row's scope."""
        for route in served(self.world):
            told = self._operation(route)["security"]
            if route.who is Who.PUBLIC:
                self.assertEqual(told, [])
                continue
            by_key, by_token = told
            self.assertEqual(set(by_key), {"wallet", "message", "signature"})
            wanted = [] if route.scope is None else [route.scope.value]
            self.assertEqual(by_token, {"token": wanted})
        headers = {
            one["name"]
            for one in self.document["components"]["securitySchemes"].values()
            if one["type"] == "apiKey"
        }
        self.assertEqual(headers, {"X-Wallet-Address", "X-Signed-Message", "X-Wallet-Signature"})

    def test_statuses(self) -> None:
        """What belongs to a kind of row is told for it; what we never say is not told."""
        known = {code for _kind, code in _STATUS} | {
            200,
            201,
            202,
            405,
            408,
            413,
            415,
            422,
            431,
            500,
        }
        for route in served(self.world):
            told = set(self._operation(route)["responses"])
            if route.stream:
                self.assertEqual(told, {"default"})
                continue
            self.assertLessEqual({int(code) for code in told}, known)
            wanted = {str(DESCRIBED[route.method, route.pattern].status), "400", "500", "503"}
            if route.who is not Who.PUBLIC:
                wanted |= {"401", "403", "429"}
            if route.who is Who.OWNER:
                wanted |= {"404", "502", "504"}
            if route.takes_body:
                wanted |= {"413", "415"}
            self.assertLessEqual(wanted, told, route.pattern)

    def test_idempotency(self) -> None:
        """The key is told for what changes whether a sandbox runs, for orders, and nothing else."""
        told = {
            (method, path)
            for (method, path), operation in self.operations.items()
            if any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", []))
        }
        rows = {
            (r.method, spelt(r))
            for r in served(self.world)
            if r.verb in IDEMPOTENT or (r.who is Who.OPERATOR and r.scope is Scope.MANAGE)
        }
        self.assertEqual(told, rows)
        self.assertEqual(len(told), 5 + 9)

    def test_names_resolve(self) -> None:
        """Whatever is referred to is there, and no named schema is there for nothing."""
        named = set(refs(self.document))
        for name in named:
            at = self.document
            for part in name.removeprefix("#/").split("/"):
                at = at[part]
        self.assertEqual({f"#/components/schemas/{name}" for name in SCHEMAS} - named, set())

    def test_operations_have_names_of_their_own(self) -> None:
        """Generators of clients make functions of them."""
        names = [operation["operationId"] for operation in self.operations.values()]
        self.assertEqual(len(set(names)), len(names))
        for name in names:
            self.assertRegex(name, r"^[a-zA-Z-]+$")

    def test_create_body(self) -> None:
        """Its fields are those that are read."""
        told = set(self.document["components"]["schemas"]["CreateSandbox"]["properties"])
        intervals = {name for name in told if "Interval" in name or name == "ttlMinutes"}
        self.assertEqual(told - intervals, set(_CREATE))
        self.assertEqual(len(intervals), 5)

    def test_examples(self) -> None:
        """Each is taken as it stands."""
        readers = {
            "CreateSandbox": lambda body: read_create(body, max_disk_gb=10),
            "ReplaceLabels": read_labels,
            "Resize": read_sizes,
            "NetworkSettings": read_network,
            "RegisterWebhook": read_wish,
            "ChangeSettings": lambda body: read_settings(body, Controls()),
            "Reason": lambda body: read_reason(body["reason"], required=True),
            "PerhapsReason": lambda body: read_reason(body["reason"], required=False),
            "CreateSnapshot": read_snapshot,
        }
        bodies = {line.body for line in DESCRIBED.values() if line.body}
        self.assertEqual(bodies - {"Login"}, set(readers))
        for line in DESCRIBED.values():
            if line.body in readers:
                readers[line.body](parse_strict_json(json.dumps(line.example).encode()))


class UndescribedTests(SynchronousTestCase):
    """
    A row that nobody has described.
    """

    def test_is_found(self) -> None:
        """It is no document at all, rather than one that leaves it out."""
        opened = evolve(denied_routes()[0], who=Who.OWNER)
        with self.assertRaises(KeyError):
            document_of((*table_rows(), opened), "")


def table_rows() -> tuple[Route, ...]:
    """All of them."""
    return table_of(World()).routes


def _posts(route: Route) -> bool:
    """Not what only looks, like a stream of logs."""
    return route.method != "GET"

"""
Daytona's JSON, read leniently and never wrongly.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from hypothesis import given, strategies
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.daytona.decoding import (
    Unreadable,
    parse_json,
    read_id,
    read_listing,
    read_lists_pages,
    read_numbered,
    read_object,
    read_objects,
    read_page,
    read_sandbox,
    read_snapshots,
)
from sandbox_billing.ledger.resources import Resources


SCALARS = (
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats()
    | strategies.text(max_size=8)
)
ANYTHING = strategies.recursive(
    SCALARS,
    lambda inner: (
        strategies.lists(inner, max_size=4)
        | strategies.dictionaries(strategies.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = ("name", "state", "desiredState", "labels", "autoStopInterval", "lastActivityAt", "new")


class SandboxTests(SynchronousTestCase):
    """L{read_sandbox}."""

    def test_no_state(self) -> None:
        """Very old servers send no state: it counts as started."""
        self.assertEqual(read_sandbox({"id": "a"}).state, "started")

    def test_odd_states(self) -> None:
        """A state nobody knows is kept; null or a number is unknown, and never started."""
        for sent, read in (("levitating", "levitating"), (None, "unknown"), (7, "unknown")):
            self.assertEqual(read_sandbox({"id": "a", "state": sent}).state, read)

    def test_defaults(self) -> None:
        """A bare row has Daytona's default sizes and its id for a name."""
        sandbox = read_sandbox({"id": "a"})
        self.assertEqual(sandbox.resources, Resources(cpu=1, memory_gib=1, disk_gib=3, gpu=0))
        self.assertEqual((sandbox.name, sandbox.labels), ("a", {}))
        self.assertIsNone(sandbox.auto_stop_minutes)

    def test_no_id(self) -> None:
        """Without an id that could be one, there is no sandbox."""
        for id in (None, "", 7, "a:b", "../a"):
            with self.assertRaises(Unreadable):
                read_sandbox({"id": id})

    def test_fractions(self) -> None:
        """Sizes written 2.0 are 2; 0.5 cannot be priced."""
        self.assertEqual(read_sandbox({"id": "a", "cpu": 2.0}).resources.cpu, 2)
        with self.assertRaises(Unreadable):
            read_sandbox({"id": "a", "cpu": 0.5})

    @given(strategies.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, ANYTHING)))
    def test_lenient(self, fields: dict[str, Any]) -> None:
        """Whatever the fields that price nothing hold, the sandbox can be read."""
        sandbox = read_sandbox({"id": "a", **fields})
        self.assertEqual(sandbox.document, {"id": "a", **fields})
        for key, value in sandbox.labels.items():
            self.assertEqual(fields["labels"][key], value)

    @given(ANYTHING)
    def test_total(self, document: Any) -> None:
        """Any JSON is read or unreadable; nothing else is raised."""
        for read in (read_object, read_sandbox, read_page, read_snapshots):
            try:
                read(document)
            except Unreadable:
                continue

    @given(strategies.binary(max_size=40) | ANYTHING.map(lambda it: json.dumps(it).encode()))
    def test_bytes(self, body: bytes) -> None:
        """Any bytes are JSON or unreadable."""
        try:
            found = parse_json(body)
        except Unreadable:
            return
        json.dumps(found, allow_nan=False, ensure_ascii=False).encode("utf-8")

    def test_odd_values(self) -> None:
        """
        What no JSON of ours can hold is kept as a text, so that one odd row of a list is no
        reason not to see, or to meter, all the others; and sizes of that kind stay unreadable.
        """
        for odd in ("NaN", "-Infinity", "1e400", "-1e999", "9" * 5000, r'"a\ud800z"', r'"\udfff"'):
            body = f'[{{"id":"a","x":{odd}}},{{"id":"b","cpu":{odd}}}]'.encode()
            rows = parse_json(body)
            json.dumps(rows, allow_nan=False, ensure_ascii=False).encode("utf-8")
            self.assertEqual(read_sandbox(rows[0]).id, "a")
            with self.assertRaises(Unreadable):
                read_sandbox(rows[1])
        self.assertEqual(parse_json(rb'{"\uD800":["\ud83d\ude00"]}'), {"\ufffd": ["\U0001f600"]})
        self.assertEqual(parse_json(b"[1.5,1e3,-7,2e-400]"), [1.5, 1000.0, -7, 0.0])

    def test_deep(self) -> None:
        """
        A body nested beyond reason is unreadable, not a crash, also where somebody has raised
        the recursion limit for the whole process.
        """
        self.addCleanup(sys.setrecursionlimit, sys.getrecursionlimit())
        sys.setrecursionlimit(100_000)
        for opened in (101, 200_000):
            for body in (b"[" * opened + b"]" * opened, b'{"a":' * opened + b"1" + b"}" * opened):
                self.assertRaises(Unreadable, parse_json, body)
        parse_json(b"[" * 100 + b"]" * 100)


class PageTests(SynchronousTestCase):
    """L{read_page} and L{read_snapshots}."""

    def test_shapes(self) -> None:
        """Both shapes are read; an empty or null cursor ends the list."""
        rows = [{"id": "a"}]
        for document, cursor in (
            (rows, None),
            ({"items": rows, "nextCursor": None}, None),
            ({"items": rows, "nextCursor": ""}, None),
            ({"items": rows, "nextCursor": "x"}, "x"),
        ):
            found, following = read_page(document)
            self.assertEqual(([one.id for one in found], following), (["a"], cursor))

    def test_not_a_page(self) -> None:
        """What might hide rows is unreadable: another shape, a row without an id."""
        for document in (
            None,
            {},
            {"items": []},
            {"items": None, "nextCursor": None},
            {"items": [], "nextCursor": 7},
            {"items": [], "total": 3, "page": 1, "totalPages": 2},
            [{"id": "a"}, {}],
        ):
            with self.assertRaises(Unreadable):
                read_page(document)

    def test_each_row_for_itself(self) -> None:
        """A row that cannot be read says whose it is, if it can, and hides no other."""
        good = {"id": "sb-1"}
        odd = {"id": "sb-2", "cpu": 0.5, "labels": {"daytona-billing-ref": "ref-2"}}
        for read, document in (
            (read_listing, [good, odd, 7, {"labels": []}]),
            (read_listing, {"items": [good, odd, 7, {"labels": []}], "nextCursor": None}),
            (read_numbered, {"items": [good, odd, 7, {"labels": []}], "totalPages": 1}),
        ):
            rows, _ = read(document)
            self.assertEqual([one.id for one in rows.sandboxes], ["sb-1"])
            told = [(one.sandbox, one.reference) for one in rows.unread]
            self.assertEqual(told, [("sb-2", "ref-2"), (None, None), (None, None)])

    def test_snapshots(self) -> None:
        """Snapshots come as an array or in pages that say how many there are."""
        self.assertEqual(read_snapshots([{"id": "s"}]), (({"id": "s"},), 1))
        page = {"items": [{"id": "s"}], "total": 9, "page": 1, "totalPages": 9}
        self.assertEqual(read_snapshots(page), (({"id": "s"},), 9))
        with self.assertRaises(Unreadable):
            read_snapshots({"items": []})

    def test_dialect(self) -> None:
        """Which list it is shows by its shape; any other shape says nothing."""
        self.assertIs(read_lists_pages([]), False)
        self.assertIs(read_lists_pages({"items": [], "nextCursor": None}), True)
        for document in ({}, None, {"items": []}, {"items": [], "total": 0}):
            with self.assertRaises(Unreadable):
                read_lists_pages(document)

    def test_objects(self) -> None:
        """An array of objects, and of nothing else."""
        self.assertEqual(read_objects([{"a": 1}]), ({"a": 1},))
        for document in ({}, [1], None):
            with self.assertRaises(Unreadable):
                read_objects(document)

    def test_id(self) -> None:
        """An id stands bare or in quotes; what could be no id is none."""
        for body in (b"abc-1", b'"abc-1"', b" abc-1\n"):
            self.assertEqual(read_id(body), "abc-1")
        for body in (b"", b'""', b"<html>", b"a/b", b"\xff", b'{"id": "a"}'):
            with self.assertRaises(Unreadable):
                read_id(body)

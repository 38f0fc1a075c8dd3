"""
The allow-list of create bodies.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.web.payloads import CreateWish, read_create, whole
from tests.signing.strategies import json_objects


ALLOWED = {
    "name": "box",
    "snapshot": "small",
    "user": "root",
    "env": {"A": "1"},
    "labels": {"a": "b"},
    "public": True,
    "networkBlockAll": False,
    "networkAllowList": "10.0.0.0/8",
    "target": "eu",
    "cpu": 2,
    "memory": 4,
    "disk": 10,
    "gpu": 0,
}


def read(body: Any) -> CreateWish:
    """With the default limit of disks."""
    return read_create(body, max_disk_gb=10)


class CreateTests(SynchronousTestCase):
    """
    C{read_create}.
    """

    def refused(self, body: Any, text: str) -> None:
        """It is, with this text."""
        problem = self.assertRaises(BadInput, read, body)
        self.assertEqual(problem.text, text)

    def test_allowed(self) -> None:
        """Everything that is named passes unchanged."""
        self.assertEqual(read(ALLOWED).body, ALLOWED)
        build = {"buildInfo": {"dockerfileContent": "FROM x", "contextHashes": ["a"]}}
        self.assertEqual(read(build).body, build)

    def test_null_is_absent(self) -> None:
        """Of allowed fields."""
        wish = read(dict.fromkeys([*ALLOWED, "autoStopInterval", "autoArchiveInterval"]))
        self.assertEqual((dict(wish.body), wish.auto_stop_minutes, wish.ignored), ({}, None, ()))

    def test_empty_strangers_are_dropped(self) -> None:
        """What official SDKs send without meaning anything."""
        for empty in (None, False, 0, "", [], {}, Decimal("0.0")):
            for key in ("volumes", "linkedSandbox", "unknown", "Name"):
                self.assertEqual(dict(read({key: empty}).body), {})

    def test_strangers_are_refused(self) -> None:
        """By name; another case is another key (P16)."""
        for key in ("volumes", "linkedSandbox", "class", "Labels", "autostopInterval", "CPU"):
            self.refused({key: "x"}, f"unknown or forbidden field: {key}")
        self.refused({"volumes": [{"volumeId": "v"}]}, "unknown or forbidden field: volumes")
        self.refused(
            {"buildInfo": {"dockerfileContent": "x", "snapshotRef": "y"}},
            "unknown or forbidden field: buildInfo.snapshotRef",
        )

    def test_types(self) -> None:
        """Each field has one."""
        for body, text in (
            ({"snapshot": 1}, "snapshot must be a string"),
            ({"env": {"A": 1}}, "env must be an object of strings"),
            ({"env": []}, "env must be an object of strings"),
            ({"labels": {"a": None}}, "labels must be an object of strings"),
            ({"public": 1}, "public must be true or false"),
            ({"public": "true"}, "public must be true or false"),
            ({"cpu": True}, "cpu must be a whole number from 0 to 4096"),
            ({"cpu": Decimal("1.5")}, "cpu must be a whole number from 0 to 4096"),
            ({"memory": -1}, "memory must be a whole number from 0 to 4096"),
            ({"cpu": 10**30}, "cpu must be a whole number from 0 to 4096"),
            ({"buildInfo": "FROM x"}, "buildInfo must be an object"),
            ({"buildInfo": {}}, "buildInfo.dockerfileContent must be a string"),
            (
                {"buildInfo": {"dockerfileContent": "x", "contextHashes": [1]}},
                "buildInfo.contextHashes must be a list of strings",
            ),
            (
                {"snapshot": "s", "buildInfo": {"dockerfileContent": "x"}},
                "snapshot and buildInfo exclude each other",
            ),
        ):
            self.refused(body, text)

    def test_unpriced(self) -> None:
        """A gpu has no price, and a disk has a limit (P9)."""
        self.refused({"gpu": 1}, "gpu must be 0: it has no price yet")
        self.refused({"disk": 11}, "disk must be at most 10")

    def test_names(self) -> None:
        """No id, no reserved prefix or word, nothing that means another path upstream."""
        bad = "name must be 1 to 128 characters without / \\ ? # % or a reserved word"
        for name in ("", "a/b", "..", "a?b", "a%2f", "x" * 129, " a", "a\n", "Paginated", "force"):
            self.refused({"name": name}, bad)
        for name in (
            "0c6a3a0e-1111-4222-8333-444455556666",
            "0C6A3A0E-1111-4222-8333-444455556666",
            "0c6a3a0e111142228333444455556666",
        ):
            self.refused({"name": name}, "name must not look like an id")
        for name in ("DESTROYED_x", "destroyed_x"):
            self.refused({"name": name}, "name must not begin with DESTROYED_")
        for name in ("box", "my box", "bücher", "a" * 128):
            self.assertEqual(read({"name": name}).body["name"], name)

    def test_reserved_labels(self) -> None:
        """Nobody writes an owner or a reference at a create."""
        for label in ("daytona-owner", "daytona-billing-ref"):
            self.refused({"labels": {label: "x"}}, f"label {label} is reserved")

    def test_intervals(self) -> None:
        """A wish for an auto-stop; the others are not the user's and never refused."""
        for given_minutes, minutes in ((None, None), (0, 0), (15, 15)):
            self.assertEqual(read({"autoStopInterval": given_minutes}).auto_stop_minutes, minutes)
        for odd in (-1, True, "5", Decimal("1.5")):
            self.refused(
                {"autoStopInterval": odd},
                "autoStopInterval must be a whole number of minutes, 0 for never",
            )
        for odd in (-1, "never", {}):
            wish = read({"autoArchiveInterval": odd, "autoDeleteInterval": odd})
            self.assertEqual(
                (dict(wish.body), wish.ignored), ({}, ("autoArchiveInterval", "autoDeleteInterval"))
            )

    @given(json_objects())
    def test_whatever_comes(self, body: dict[str, Any]) -> None:
        """Any JSON object is refused or leaves nothing but allowed keys."""
        try:
            wish = read(body)
        except BadInput:
            return
        self.assertLessEqual(wish.body.keys(), {*ALLOWED, "buildInfo"})

    @given(st.text())
    def test_any_name_round_trips(self, name: str) -> None:
        """A name is taken as it is or refused, never changed."""
        try:
            wish = read({"name": name})
        except BadInput:
            return
        self.assertEqual(wish.body["name"], name)
        self.assertNotIn("/", name)


class WholeTests(SynchronousTestCase):
    """
    Numbers in queries.
    """

    def test_reads(self) -> None:
        """Plain digits within bounds, or the default."""
        self.assertEqual(whole({}, "n", 7, least=1, most=9), 7)
        self.assertEqual(whole({"n": "9"}, "n", 7, least=1, most=9), 9)

    def test_refuses(self) -> None:
        """Everything that C{int()} would kindly understand."""
        for text in ("", "0", "10", "+5", " 5", "5 ", "1_0", "5.0", "٥", "0x5", "9" * 13):
            self.assertRaises(BadInput, whole, {"n": text}, "n", 7, least=1, most=9)

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
from sandbox_billing.web.payloads import CreateWish, read_create, read_labels, whole
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
    "domainAllowList": "example.com",
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
        """A wish for an auto-stop; the others are not the user's; none is ever refused."""
        for given_minutes, minutes in ((None, None), (0, 0), (15, 15), (Decimal("15.0"), 15)):
            wish = read({"autoStopInterval": given_minutes})
            self.assertEqual((wish.auto_stop_minutes, wish.ignored), (minutes, ()))
        for odd in (-1, True, "5", Decimal("1.5"), [], 10**30):
            wish = read({"autoStopInterval": odd})
            self.assertEqual((wish.auto_stop_minutes, wish.ignored), (None, ("autoStopInterval",)))
        others = ("autoArchiveInterval", "autoDeleteInterval", "autoPauseInterval", "ttlMinutes")
        for odd in (-1, 0, 60, "never", {}):
            wish = read(dict.fromkeys(others, odd))
            self.assertEqual((dict(wish.body), wish.ignored), ({}, others))

    def test_sizes(self) -> None:
        """What Daytona would show in every list is bounded, and nothing hides a NUL."""
        for key, most in (("env", 32), ("labels", 8)):
            full = {"a": "x" * (most * 1024 - 1)}
            self.assertEqual(read({key: full}).body[key], full)
            self.refused(
                {key: {**full, "b": ""}}, f"{key} is longer than {most * 1024} bytes as JSON"
            )
            self.refused({key: {"a": "\0"}}, f"{key} contains a NUL character")
            self.refused({key: {"\0": "a"}}, f"{key} contains a NUL character")
        self.refused({"snapshot": "é" * 2049}, "snapshot is longer than 4096 bytes as JSON")
        self.refused({"user": "a\0"}, "user contains a NUL character")
        recipe = {"dockerfileContent": "x" * (64 * 1024 + 1)}
        self.refused(
            {"buildInfo": recipe}, "buildInfo.dockerfileContent is longer than 65536 bytes as JSON"
        )
        for name in ("", "A=B"):
            self.refused({"env": {name: "x"}}, "env has a name that no variable can have")
        problem = self.assertRaises(BadInput, read_labels, {"labels": {"a": "x" * 8192}})
        self.assertEqual(problem.text, "labels is longer than 8192 bytes as JSON")

    def test_labels_at_both_levels(self) -> None:
        """Where the body ends and the labels begin is no way around the reserved ones (P3)."""
        problem = self.assertRaises(
            BadInput, read_labels, {"labels": {}, "daytona-owner": "0x" + "22" * 20}
        )
        self.assertEqual(problem.text, "unknown or forbidden field: daytona-owner")
        self.assertEqual(read_labels({"labels": {"daytona-owner": "x", "a": "b"}}), {"a": "b"})
        for bad in ({"labels": {"a": 1}}, {"labels": {"a": {"daytona-owner": "x"}}}):
            self.assertRaises(BadInput, read_labels, bad)

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


class SDKTests(SynchronousTestCase):
    """
    The bodies that the official Python SDK was seen to send (daytona.md §10).
    """

    def test_bodies(self) -> None:
        """Each is accepted, and of each only what means something goes on."""
        language = {"code-toolbox-language": "python"}
        resources = {"cpu": 1, "memory": 1, "disk": 3}
        recipe = {"buildInfo": {"dockerfileContent": "FROM debian:12"}}
        for sent, kept, minutes, ignored in (
            # 0.149: create(), without labels.
            ({"env": {}, "target": "eu", "volumes": []}, {"env": {}, "target": "eu"}, None, ()),
            # 0.190: create().
            (
                {"env": {}, "labels": language, "target": "eu", "volumes": []},
                {"env": {}, "labels": language, "target": "eu"},
                None,
                (),
            ),
            # 0.226: create(), with what its newer model may say of itself.
            (
                {
                    "env": {},
                    "labels": language,
                    "target": "eu",
                    "volumes": [],
                    "spot": False,
                    "kvm": None,
                    "secrets": {},
                    "gpuType": [],
                    "linkedSandbox": "",
                    "queueTimeout": 0,
                    "outboundProxyUrl": None,
                },
                {"env": {}, "labels": language, "target": "eu"},
                None,
                (),
            ),
            # create(snapshot), with all intervals.
            (
                {
                    "snapshot": "small",
                    "env": {"A": "1"},
                    "labels": language,
                    "autoStopInterval": 15,
                    "autoArchiveInterval": 60,
                    "autoDeleteInterval": -1,
                    "target": "eu",
                    "volumes": [],
                },
                {"snapshot": "small", "env": {"A": "1"}, "labels": language, "target": "eu"},
                15,
                ("autoArchiveInterval", "autoDeleteInterval"),
            ),
            # create(image, resources).
            (
                {"env": {}, "labels": language, "volumes": [], **resources, **recipe},
                {"env": {}, "labels": language, **resources, **recipe},
                None,
                (),
            ),
        ):
            wish = read(sent)
            self.assertEqual(
                (dict(wish.body), wish.auto_stop_minutes, wish.ignored), (kept, minutes, ignored)
            )


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

"""
N reads N-1, N-1 reads what N writes beside it, and nobody changes a form without saying so.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.redis.keys import Keys
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger._codec import decode, encode
from tests.forms.news import NEWS
from tests.forms.shapes import examples, named, shapes, stored_types, unread
from tests.forms.world import CURRENT, PREVIOUS, read


PAGE = Path(__file__).resolve().parents[2] / "docs" / "upgrading.rst"

HOW = (
    "a stored form has changed: see docs/upgrading.rst; then record it"
    " (python -m tests.forms.record tests/forms/current), say in tests/forms/news.py and on that"
    " page what the version before does not read, and add a fragment to changelog.d"
)


def found(name: str) -> type[Any]:
    """A type by its full name."""
    module, _, cls = name.rpartition(".")
    return getattr(import_module(module), cls)  # type: ignore[no-any-return]


def lost(before: Any, after: Any, where: str = "") -> list[str]:
    """What of a document is not the same in another, which may have more."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            why
            for key, value in before.items()
            for why in lost(value, after.get(key, "nothing"), f"{where}.{key}")
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [why for i, (one, two) in pairs for why in lost(one, two, f"{where}[{i}]")]
    same = type(before) is type(after) and before == after
    return [] if same else [f"{where}: {before!r} is {after!r}"]


class PreviousTests(SynchronousTestCase):
    """What the version before has stored."""

    def test_read(self) -> None:
        """Every form of it is read, means the same, and is written so that nothing is lost."""
        for name, forms in read(PREVIOUS, "examples.json").items():
            self.assertTrue(forms, name)
            for form in forms:
                value = decode(found(name), form)
                again = encode(value)
                self.assertEqual(lost(json.loads(form), json.loads(again)), [], name)
                self.assertEqual(decode(found(name), again), value)

    def test_keys(self) -> None:
        """Every key of it is of the same type still, or has gone; none means something else."""
        before = read(PREVIOUS, "shapes.json")["keys"]
        now = {name: kind for name, kind, _holds in Keys.names()}
        changed = {n: (k, now[n]) for n, k in before.items() if n in now and now[n] != k}
        self.assertEqual(changed, {})
        self.assertEqual(sorted(before.keys() - now.keys()), [], "who cleans these up?")

    def test_reads(self) -> None:
        """What it would not read of ours is in the news, and on the page; nothing else is."""
        types = read(PREVIOUS, "shapes.json")["types"]
        old = read(PREVIOUS, "examples.json").keys()
        refused = set()
        for name, cls in stored_types().items():
            # What is new as a whole stands under keys that the version before does not know.
            if name in old:
                for form in examples(cls, encode):
                    refused.update(unread(types, named(cls), json.loads(form)))
        owners = {owner(path) for path in refused}
        self.assertEqual(owners, set(NEWS), HOW)

    def test_news_are_told(self) -> None:
        """The page names each of them beside what writes it."""
        page = PAGE.read_text("utf-8")
        for name, writer in NEWS.items():
            lines = [line for line in page.splitlines() if f"``{name}``" in line]
            self.assertEqual(len(lines), 1, f"{name} is not on the page")
            self.assertIn(writer, lines[0])


def owner(path: str) -> str:
    """
    Which field or member it is that is not read.

    A path leads from what is stored through fields to it; shapes say what each of them holds.
    """
    types = shapes()
    way, _, member = path.partition(": ")
    room, cls, *steps = way.split(".")
    at = f"{room}.{cls}"
    for step in steps:
        fields = types[at].get("fields", {})
        if step not in fields:
            # The chosen alternative.
            at = next(n for n in types if n.rpartition(".")[2] == step)
            continue
        last = at, step
        options = fields[step][1].removeprefix("tuple of ").split(" | ")
        inside = [one for one in options if one in types]
        at = inside[0] if inside else at
    if member:
        return f"{at}.{member.strip(chr(39))}"
    return ".".join(last)


class CurrentTests(SynchronousTestCase):
    """What this version stores."""

    def test_unchanged(self) -> None:
        """Keys, fields and members are those that were recorded."""
        before = read(CURRENT, "shapes.json")
        now = {
            "keys": {name: kind for name, kind, _holds in Keys.names()},
            "types": json.loads(json.dumps(shapes())),
        }
        self.assertEqual(before["keys"], now["keys"], HOW)
        self.assertEqual(before["types"], now["types"], HOW)

    def test_same_forms(self) -> None:
        """Every recorded form is read, and is what is written of it."""
        recorded = read(CURRENT, "examples.json")
        self.assertEqual(recorded.keys(), stored_types().keys(), HOW)
        for name, forms in recorded.items():
            self.assertTrue(forms, name)
            for form in forms:
                self.assertEqual(encode(decode(found(name), form)), form, HOW)


class CheckerTests(SynchronousTestCase):
    """That the checks see something."""

    def test_unread(self) -> None:
        """The emulated reader refuses what the real one does: unknown, missing, another choice."""
        types = shapes()
        name = "sandbox_billing.ledger.voucher.ChargeRecord"
        tried = 0
        for form in read(CURRENT, "examples.json")[name]:
            document = json.loads(form)
            self.assertEqual(list(unread(types, "voucher.ChargeRecord", document)), [])
            for where, key, value in (
                (document, "novel", 1),
                (document["charge"], "novel", 1),
                (document["charge"], "kind", "novel"),
                (document["state"], "is", "Novel"),
                (document["charge"], "owner", None),
            ):
                before = dict(where)
                where.pop(key, None)
                if value is not None:
                    where[key] = value
                self.assertTrue(list(unread(types, "voucher.ChargeRecord", document)))
                self.assertRaises(BadInput, decode, found(name), json.dumps(document))
                where.clear()
                where.update(before)
                tried += 1
        self.assertGreater(tried, 50)

    def test_owner(self) -> None:
        """A path is told by the type and field at its end."""
        for path, told in (
            ("voucher.ChargeRecord.charge.usage_hash", "voucher.Charge.usage_hash"),
            ("voucher.ChargeRecord.charge.kind: 'imported'", "voucher.ChargeKind.imported"),
            ("voucher.ChargeRecord.state.Signed.seal.fee", "voucher.Seal.fee"),
        ):
            self.assertEqual(owner(path), told)

    def test_lost(self) -> None:
        """More is well; less or other is not."""
        self.assertEqual(lost({"a": [1]}, {"a": [1], "b": 2}), [])
        for other in ({"a": [2]}, {"a": []}, {"b": [1]}, {"a": [True]}, {"a": ["1"]}):
            self.assertTrue(lost({"a": [1]}, other), other)

"""The generated reference says all there is, and the index leads to each page once."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from docs import cli_reference, http_reference
from sandbox_billing.cli.main import cli
from sandbox_billing.tap import Options
from sandbox_billing.web._tags import TAGS


DOCS = Path(http_reference.__file__).parent

CAPTIONS = [
    "Tutorial",
    "How-to guides: use it",
    "How-to guides: run it",
    "Reference",
    "Explanation",
]


class IndexTests(SynchronousTestCase):
    """C{docs/index.rst}."""

    def test_once(self) -> None:
        """Four kinds of pages (https://diataxis.fr), and no page in two of them."""
        index = (DOCS / "index.rst").read_text("utf-8")
        self.assertEqual(CAPTIONS, re.findall(r"^   :caption: (.+)$", index, re.MULTILINE))
        entries = re.findall(r"^   (\w+)$", index, re.MULTILINE)
        self.assertEqual(sorted(set(entries)), sorted(entries))

    def test_directives(self) -> None:
        """Whatever is made stands on one page, and no page asks for what is not made."""
        known = set(
            re.findall(r'^    "([\w-]+)": "\w+\.\w+",$', (DOCS / "conf.py").read_text(), re.M)
        )
        self.assertIn("http-reference", known)
        pages = "".join(page.read_text("utf-8") for page in DOCS.glob("*.rst"))
        used = re.findall(r"^\.\. ([\w-]+)::$", pages, re.MULTILINE)
        self.assertEqual(sorted(known), sorted(one for one in used if one in known))


class HTTPTests(SynchronousTestCase):
    """C{docs/reference_http.rst}."""

    def setUp(self) -> None:
        """The document and what is made of it."""
        self.document = http_reference.document()
        self.lines = http_reference.as_rst()

    def test_all(self) -> None:
        """Every tag, route, status and form has its heading, and every link its aim."""
        text = "\n".join(self.lines)
        for tag in TAGS:
            self.assertIn(f"\n{tag.name}\n-", text)
        for path, methods in self.document["paths"].items():
            for method in methods:
                self.assertRegex(text, rf"``[A-Z, ]*{method.upper()}[A-Z, ]* {re.escape(path)}``")
        labels = set(re.findall(r"^\.\. _([\w-]+):$", text, re.MULTILINE))
        aims = set(re.findall(r":ref:`[^<`]+ <([^>]+)>`", text))
        self.assertLessEqual(aims, labels)
        for name in self.document["components"]["schemas"]:
            self.assertIn(http_reference.anchor("form", name), labels)

    def test_forms(self) -> None:
        """What is said of a schema."""
        for schema, told in (
            ({"type": "string", "minLength": 1, "maxLength": 128}, "text of 1 to 128 characters"),
            ({"type": "string", "pattern": "^(0|[1-9][0-9]*)$"}, "neuron, as text"),
            ({"type": "integer", "minimum": 1, "maximum": 200}, "a whole number from 1 to 200"),
            ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, "true or false or null"),
            ({"type": ["string", "null"]}, "text or null"),
            ({"enum": ["a", None]}, '``"a"`` or ``null``'),
            (
                {"type": "array", "items": {"$ref": "#/c/s/Error"}},
                f"a list: {http_reference.to('Error')}",
            ),
            (
                {"type": "object", "additionalProperties": {"type": "string"}},
                "an object: text by name",
            ),
        ):
            self.assertEqual(told, http_reference.form_of(schema))

    def test_fields(self) -> None:
        """Those of objects within, by dotted names; those of alternatives apart."""
        inner = {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]}
        schema = {"type": "object", "properties": {"a": inner}}
        self.assertEqual(
            [("``a``", "an object", " ", " "), ("``a.b``", "text", "yes", " ")],
            list(http_reference.fields_of(schema)),
        )
        self.assertEqual(2, len(list(http_reference.ways_of({"anyOf": [inner, schema]}))))


class CommandTests(SynchronousTestCase):
    """C{docs/reference_cli.rst}."""

    def test_all(self) -> None:
        """Every command and each of its options; every option of the daemon."""
        text = "\n".join(cli_reference.commands_as_rst())
        found = list(cli_reference.commands(cli, None, "sandbox-billing"))
        self.assertGreater(len(found), 30)
        for context in found:
            part = text.partition(f"\n\n{context.command_path}\n")[2].partition("\n.. _command")[0]
            for option in context.command.params:
                if option.param_type_name == "option" and option.name != "help":
                    self.assertIn(f"``{option.opts[0]}``", part, context.command_path)
        daemon = "\n".join(cli_reference.daemon_as_rst())
        for name, *_ in (*Options.optParameters, *Options.optFlags):
            self.assertIn(f"``--{name}", daemon)

    def test_plain(self) -> None:
        """Words of a help are no markup; what a reader copies is literal."""
        for text, told in (
            ("a*b `c` |d|", r"a\*b \`c\` \|d\|"),
            ("such as tcp:8080", r"such as tcp\:8080"),
            ("see --dry-run", "see ``--dry-run``"),
            ("wins over METRICS_ADDR.", "wins over ``METRICS_ADDR``."),
            ("a STAKE of 0.01", "a STAKE of 0.01"),
        ):
            self.assertEqual(told, cli_reference.plain(text))
        self.assertEqual(
            ["One line.", "", "::", "", "   kept", "   as it is", ""],
            cli_reference.paragraphs("One\nline.\n\n\b\nkept\nas it is"),
        )

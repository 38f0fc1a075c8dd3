"""Every route is in one group."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.web._routes import Route, Who
from sandbox_billing.web._tags import OPERATORS, TAGS, tag_of
from sandbox_billing.web.openapi import document_of
from tests.web.test_spellings import table_of
from tests.web.world import World


class TagTests(SynchronousTestCase):
    """L{tag_of}, over the real table."""

    def setUp(self) -> None:
        """The rows that somebody is served."""
        self.routes = [r for r in table_of(World()).routes if r.who is not Who.NOBODY]

    def test_every_route(self) -> None:
        """Each has one, and the document says which; no group is empty."""
        document = document_of(self.routes, "")
        told = {
            tag
            for methods in document["paths"].values()
            for operation in methods.values()
            for tag in operation["tags"]
        }
        self.assertEqual({tag.name for tag in TAGS}, told)
        self.assertEqual([tag.name for tag in TAGS], [tag["name"] for tag in document["tags"]])

    def test_longest(self) -> None:
        """The longest beginning decides, whole segments count, and operators' is operators'."""
        for pattern, name in (
            ("/api/sandbox/{id}/usage", "Money"),
            ("/api/sandbox/{id}/start", "Sandboxes"),
            ("/api/events/stream", "Notices"),
            ("/api/events", "Money"),
            ("/", "Pages"),
            ("/operator", "Pages"),
        ):
            (route, *_) = [one for one in self.routes if one.pattern == pattern]
            self.assertEqual(name, tag_of(route).name)
        shown = Route(method="GET", pattern="/api/snapshots", who=Who.PUBLIC)
        self.assertEqual("Public", tag_of(shown).name)
        self.assertIs(OPERATORS, tag_of(evolve(shown, who=Who.OPERATOR)))
        for nowhere in ("/api/snapshot", "/api", "/else"):
            self.assertRaises(LookupError, tag_of, evolve(shown, pattern=nowhere))

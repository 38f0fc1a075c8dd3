"""P1: a path is matched as it is written, and Daytona reads it otherwise."""

from __future__ import annotations

from typing import Any

from sandbox_billing.web._routes import ANY, Found, Route, Who
from sandbox_billing.web.answers import Answer, NotServed
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


SPELLINGS = "tests.web.test_spellings.SpellingTests."
ROUTES = "sandbox_billing.web._routes."


def forwarding() -> Patch:
    """What no route names goes on to Daytona."""

    async def forwarded(asked: Any) -> Answer:
        return Answer(document={})

    route = Route(method=ANY, pattern="/**", who=Who.PUBLIC, handler=forwarded, takes_body=True)

    def passing(original: Any) -> Any:
        def find(table: Any, method: str, path: str) -> Found:
            try:
                found: Found = original(table, method, path)
            except NotServed:
                return Found(route)
            return found

        return find

    return Patch(ROUTES + "Table.find", passing)


class WebTests(TrapCase):
    """What a path means to whom."""

    @noticed_by(
        SPELLINGS + "test_verbs_in_odd_spellings",
        "tests.web.test_router.TableTests.test_nothing_fits",
        "tests.web.test_every_route.Crossed.test_outcomes",
    )
    def test_all_else_goes_on(self) -> Patches:
        """Billing knows C{start}; whatever it does not know is Daytona's to answer."""
        return forwarding()

    @noticed_by(SPELLINGS + "test_verbs_in_odd_spellings")
    def test_as_daytona_reads(self) -> Patches:
        """Case, slashes and percent signs are no reason to refuse, nor to look again."""

        def lenient(original: Any) -> Any:
            def canonical(raw: bytes) -> str:
                return "/" + raw.decode("latin-1").lower().replace("%73", "s").strip("/")

            return canonical

        return Patch(ROUTES + "canonical_path", lenient)

    @noticed_by("tests.signing.test_canonical.PathTests.test_odd_spellings")
    def test_hidden_letters(self) -> Patches:
        """An escape hides a letter, a slash or a percent sign, and is left as it is."""
        return Patch(
            "sandbox_billing.signing.canonical._one_spelling", lambda _: lambda match: match[0]
        )

    @noticed_by(SPELLINGS + "test_words_that_are_routes_of_daytona")
    def test_any_name(self) -> Patches:
        """An id may be a word that is a route of Daytona's, in whatever letters."""
        return Patch("sandbox_billing.web._router.checked_name", lambda _: lambda text: text)

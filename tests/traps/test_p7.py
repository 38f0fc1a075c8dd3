"""P7: lists of another shape than Daytona's, or than is expected of it."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from sandbox_billing.errors import Transient
from sandbox_billing.web.answers import Answer
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


TESTS = "tests.web.test_listing."
LISTING = "sandbox_billing.web.listing."


class WebTests(TrapCase):
    """What a list shows."""

    @noticed_by(TESTS + "CursorTests.test_whole_rows")
    def test_three_fields(self) -> Patches:
        """Of each sandbox three fields are left."""

        def bare(original: Any) -> Any:
            def shown(document: Any, public_url: str) -> Any:
                return {name: document.get(name) for name in ("id", "name", "state")}

            return shown

        return Patch(LISTING + "shown", bare)

    @noticed_by(TESTS + "CursorTests.test_nothing")
    def test_null(self) -> Patches:
        """Where there are none, there is no list."""

        def null(original: Any) -> Any:
            async def by_cursor(lists: Any, asked: Any) -> Answer:
                answer: Answer = await original(lists, asked)
                return answer if answer.document["items"] else Answer(document=None)

            return by_cursor

        return Patch(LISTING + "Lists._by_cursor", null)

    @noticed_by(TESTS + "FilterTests.test_query_is_passed_on")
    def test_query(self) -> Patches:
        """Whatever is asked for, all are shown."""

        def deaf(original: Any) -> Any:
            return lambda wish, spelt, **page: original(evolve(wish, filters={}), spelt, **page)

        return Patch(LISTING + "_Wish.query", deaf)

    @noticed_by(TESTS + "CursorTests.test_foreign_rows")
    def test_others(self) -> Patches:
        """What Daytona's filter lets through is shown to whoever asks, and told to nobody."""
        return Patch(LISTING + "is_of", lambda _: lambda document, wallet: "id" in document)

    @noticed_by(TESTS + "CursorTests.test_unknown_shapes")
    def test_unknown_shape(self) -> Patches:
        """A shape that nobody knows is an empty list."""

        def lenient(original: Any) -> Any:
            async def at_cursor(*about: Any) -> Any:
                try:
                    return await original(*about)
                except Transient:
                    return [], 0, None

            return at_cursor

        return Patch(LISTING + "Lists._at_cursor", lenient)

    @noticed_by(TESTS + "ArrayTests.test_filters")
    def test_one_dialect(self) -> Patches:
        """Every Daytona is taken for one that answers with pages."""

        async def listed(lists: Any, asked: Any) -> Answer:
            answer: Answer = await lists._by_cursor(asked)
            return answer

        return Patch(LISTING + "Lists.list", lambda _: listed)

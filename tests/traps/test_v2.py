"""V2: one cheap call begins work without end."""

from __future__ import annotations

from typing import Any

from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


WEB = "sandbox_billing.web."


class WebTests(TrapCase):
    """What a call may cost."""

    @noticed_by(
        "tests.web.test_account.EventTests.test_bounds",
        "tests.web.test_listing.FilterTests.test_query_is_bounded",
        "tests.web.test_catalogue.SnapshotTests.test_bounds",
    )
    def test_pages(self) -> Patches:
        """A page is as long as who asks likes, and may begin before the beginning."""

        def boundless(original: Any) -> Any:
            def whole(query: Any, name: str, default: int, **ends: int) -> int:
                text = query.get(name, "")
                return int(text) if text.removeprefix("-").isdigit() else default

            return whole

        return [
            Patch(f"{WEB}{room}.whole", boundless) for room in ("account", "listing", "catalogue")
        ]

    @noticed_by("tests.web.test_catalogue.SnapshotTests.test_asked_for_once")
    def test_each_time(self) -> Patches:
        """Whatever anybody asks for, Daytona is asked for, each time."""

        async def get(kept: Any) -> Any:
            return await kept._fetch()

        return Patch(WEB + "_kept.Kept.get", lambda _: get)

    @noticed_by("tests.web.test_listing.ArrayTests.test_all_of_them")
    def test_all_at_once(self) -> Patches:
        """A list loads all that there is before it shows any."""

        def loading(original: Any) -> Any:
            async def numbered(
                lists: Any, wish: Any, spelt: str, number: int, size: int, **order: str
            ) -> Any:
                return await original(lists, wish, spelt, number, 10**6, **order)

            return numbered

        return Patch(WEB + "listing.Lists._numbered", loading)

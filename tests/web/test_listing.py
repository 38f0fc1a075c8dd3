"""
Lists: own sandboxes only, in every dialect, in full pages and bounded memory.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogLevel, capturedLogs

from sandbox_billing.errors import Transient
from sandbox_billing.ledger.token import Scope
from sandbox_billing.signing.eip55 import checksum
from tests.web.asking import AskingTestCase, Reply
from tests.web.world import FOREIGN, NOW, OWNER, SANDBOX, STRANGER, World, sandbox, token_for


def rows(count: int, *, others: int = 0, first: int = 0, **changes: Any) -> list[dict[str, Any]]:
    """
    Own rows in our spelling, then in checksum case, mixed with strangers'.

    @param count: With the wallet in lower case.
    @param others: With the wallet in checksum case.
    """
    mine = [f"id-{number:05}" for number in range(first, first + count + others)]
    found = []
    for number, id in enumerate(mine):
        labels = {"daytona-owner": checksum(OWNER.address)} if number >= count else {}
        found.append(dict(sandbox(id, OWNER.address, labels=labels, **changes).document))
        found.append(dict(sandbox(f"x-{id}", STRANGER.address).document))
    return found


def ids(items: list[dict[str, Any]]) -> list[str]:
    """Which rows."""
    return [item["id"] for item in items]


def expected(count: int) -> list[str]:
    """The ids that L{rows} makes."""
    return [f"id-{number:05}" for number in range(count)]


class ListTestCase(AskingTestCase):
    """
    Lists of the owner.
    """

    def list(self, query: str = "", tail: str = "", **headers: str) -> Reply:
        """A list, by signature."""
        target = f"/api/sandbox{tail}{query}"
        return self.ask("GET", target, headers or self.world.signed("list"))

    def pages(self) -> list[dict[str, Any]]:
        """Queries of lists that reached Daytona."""
        return [call[1] for call in self.world.calls.asked if call[0] == "page"]


class FilterTests(ListTestCase):
    """
    What reaches Daytona.
    """

    def test_owner_is_forced(self) -> None:
        """The user's filter is narrowed to his own, however he spells an owner."""
        mine = {"daytona-owner": OWNER.address.hex}
        stranger = json.dumps({"daytona-owner": STRANGER.address.hex, "a": "b"})
        for target, labels in (
            ("", mine),
            ("?labels=null", mine),
            ("?labels=%7B%7D", mine),
            ("?labels=" + stranger.replace('"', "%22"), {"a": "b", **mine}),
        ):
            target = target.replace(" ", "").replace("{", "%7B").replace("}", "%7D")
            for tail in ("", "/paginated"):
                self.world.calls.asked.clear()
                self.assertEqual(self.list(target, tail).status, 200)
                self.assertEqual(json.loads(self.pages()[0]["labels"]), labels)
                spelt = {**labels, "daytona-owner": checksum(OWNER.address)}
                self.assertEqual(json.loads(self.pages()[1]["labels"]), spelt)

    def test_bad_labels(self) -> None:
        """A filter that is no object of strings is refused here, in every dialect."""
        for pages in (True, False):
            self.world.runtime.pages = pages
            for text in ("x", "[]", "1", "%7B%22a%22:1%7D"):
                for tail in ("", "/paginated"):
                    self.assertEqual(self.list(f"?labels={text}", tail).status, 400)
        self.assertEqual(self.pages(), [])

    def test_query_is_bounded(self) -> None:
        """Unknown and repeated names and unreasonable numbers never reach Daytona."""
        for query, text in (
            ("x=1", "unknown query parameter: x"),
            ("limit=201", "limit must be a whole number from 1 to 200"),
            ("limit=0", "limit must be a whole number from 1 to 200"),
            ("page=1", "unknown query parameter: page"),
            ("limit=1&limit=2", "query parameter given twice: limit"),
        ):
            self.assertEqual(self.list(f"?{query}").error, (400, text))
        self.assertEqual(self.pages(), [])

    def test_query_is_passed_on(self) -> None:
        """Filters work as without us, those with several values too; C{verbose} says nothing."""
        self.list("?cursor=0&limit=5&states=started&states=stopped&verbose=true&minCpu=1")
        query = self.pages()[0]
        del query["labels"]
        self.assertEqual(
            query, {"cursor": "0", "limit": "5", "states": ("started", "stopped"), "minCpu": "1"}
        )

    def test_dialect_is_asked_once(self) -> None:
        """Which dialect there is, is kept for a minute."""
        for _ in range(3):
            self.list()
        asked = [call[0] for call in self.world.calls.asked]
        self.assertEqual(asked.count("lists_pages"), 1)
        self.world.clock.advance(60)
        self.list()
        asked = [call[0] for call in self.world.calls.asked]
        self.assertEqual(asked.count("lists_pages"), 2)


class CursorTests(ListTestCase):
    """
    C{{items, nextCursor}}.
    """

    def walked(self, limit: int) -> list[list[str]]:
        """Every page, by its cursor."""
        found, cursor = [], ""
        while len(found) < 1000:
            page = self.list(f"?limit={limit}{cursor}").json
            found.append(ids(page["items"]))
            if page["nextCursor"] is None:
                return found
            cursor = f"&cursor={page['nextCursor']}"
        raise self.failureException("the pages do not end")

    def test_every_page_is_full(self) -> None:
        """Both spellings, once each; every page but the last is full, and none is empty."""
        for count, others in ((0, 0), (5, 0), (0, 5), (4, 3), (6, 3), (3, 6), (1, 1), (7, 9)):
            for limit in (1, 2, 3, 200):
                self.world.runtime.rows = rows(count, others=others)
                pages = self.walked(limit)
                found = [id for page in pages for id in page]
                self.assertEqual(found, expected(count + others), (count, others, limit))
                self.assertTrue(all(len(page) == limit for page in pages[:-1]))
                self.assertTrue(pages[-1] or count + others == 0)

    def test_foreign_rows(self) -> None:
        """What a filter let through is not shown, and is reported."""
        own = sandbox(SANDBOX, OWNER.address).document
        foreign = sandbox(FOREIGN, STRANGER.address).document
        self.world.runtime.page_document = {"items": [foreign, own, {}], "nextCursor": "c"}
        with capturedLogs() as events:
            reply = self.list().json
        self.assertEqual((ids(reply["items"]), reply["nextCursor"]), ([SANDBOX], "c"))
        told = [event["count"] for event in events if event["log_level"] is LogLevel.error]
        self.assertEqual(told, [2])

    def test_unknown_shapes(self) -> None:
        """A page that cannot be read is Daytona's failure, not an empty list."""
        for page in (
            {"data": []},
            "x",
            [],
            {"items": []},
            {"items": {}, "nextCursor": None},
            {"items": [], "nextCursor": 7},
        ):
            self.world.runtime.page_document = page
            self.assertEqual(self.list().status, 502)

    def test_empty_cursor(self) -> None:
        """A cursor of no letters is none: the second list is asked for."""
        own = sandbox(SANDBOX, OWNER.address).document
        self.world.runtime.page_document = {"items": [own], "nextCursor": ""}
        self.assertEqual(self.list().json["nextCursor"], None)
        self.assertEqual(len(self.pages()), 2)

    def test_whole_rows(self) -> None:
        """With all that a look at each alone shows (P7)."""
        for tail in ("", "/paginated"):
            self.world.runtime.rows = [dict(sandbox(SANDBOX, OWNER.address).document)]
            alone = self.list(tail=f"/{SANDBOX}").json
            self.assertEqual(self.list(tail=tail).json["items"], [alone])
            self.assertIn("env", alone)

    def test_nothing(self) -> None:
        """Never null (P7)."""
        self.assertEqual(self.list().json, {"items": [], "nextCursor": None})

    def test_one_sandbox(self) -> None:
        """A token for one sandbox lists that one only."""
        self.world.runtime.rows = rows(5)
        bearer = token_for(self.world, OWNER.address, expires_at=NOW + 60, only="id-00003")
        self.assertEqual(ids(self.list(**bearer).json["items"]), ["id-00003"])
        page = self.list(tail="/paginated", **bearer).json
        self.assertEqual((ids(page["items"]), page["total"]), (["id-00003"], 1))
        self.world = World()
        self.world.runtime.rows, self.world.runtime.pages = rows(5), False
        bearer = token_for(self.world, OWNER.address, expires_at=NOW + 60, only="id-00003")
        self.assertEqual(ids(self.list(**bearer).json), ["id-00003"])


class NumberedTests(ListTestCase):
    """
    C{{items, total, page, totalPages}}.
    """

    def test_pages(self) -> None:
        """Both spellings as one list: full pages, and totals of own ones."""
        for count, others in ((0, 0), (5, 0), (0, 5), (4, 3), (5, 2), (7, 9), (6, 3)):
            for limit in (1, 2, 3, 4, 200):
                self.world.runtime.rows = rows(count, others=others)
                total = count + others
                for number in range(1, -(-total // limit) + 2):
                    page = self.list(f"?limit={limit}&page={number}", "/paginated").json
                    begin = (number - 1) * limit
                    self.assertEqual(
                        (ids(page["items"]), page["total"], page["page"], page["totalPages"]),
                        (
                            expected(total)[begin : begin + limit],
                            total,
                            number,
                            -(-total // limit),
                        ),
                        (count, others, limit),
                    )

    def test_unknown_shapes(self) -> None:
        """Without items and total it is no page."""
        for page in ([], {"items": []}, {"items": None, "total": 0}, {"items": [], "total": "1"}):
            self.world.runtime.page_document = page
            self.assertEqual(self.list(tail="/paginated").status, 502)


class ArrayTests(ListTestCase):
    """
    The bare array of servers before v0.180.
    """

    def setUp(self) -> None:
        """Such a server."""
        super().setUp()
        self.world.runtime.pages = False

    def test_all_of_them(self) -> None:
        """Every own one once, from pages that are small, written as one array."""
        for count, others in ((0, 0), (1, 0), (0, 1), (100, 0), (250, 130)):
            self.world.runtime.rows = rows(count, others=others)
            reply = self.list()
            self.assertEqual(ids(reply.json), expected(count + others))
            self.assertIsNone(reply.header("Content-Length"))
        self.assertLessEqual(self.world.runtime.largest, 100)

    def test_filters(self) -> None:
        """Filters go to the pages by their names there; page, limit and order are ours."""
        self.list("?limit=1&cursor=x&regionIds=us&states=started&sort=name&isPublic=true")
        query = self.pages()[0]
        del query["labels"]
        self.assertEqual(
            query,
            {
                "page": "1",
                "limit": "100",
                "sort": "createdAt",
                "order": "asc",
                "regions": ("us",),
                "states": ("started",),
            },
        )

    def test_deleted_meanwhile(self) -> None:
        """A row that slipped to an earlier page is found by going through once more."""
        self.world.runtime.rows = rows(250)
        original, world = self.world.runtime.page, self.world

        async def page(query: Any, *, paginated: bool) -> Any:
            answer = await original(query, paginated=paginated)
            if query.get("page") == "1" and len(world.runtime.rows) == 500:
                del world.runtime.rows[:20]
            return answer

        world.runtime.page = page  # type: ignore[method-assign]
        self.assertEqual(sorted(ids(self.list().json)), expected(250))

    def test_refused_at_once(self) -> None:
        """What is wrong from the beginning has a status and a text."""
        self.world.calls.failing["page"] = Transient("Daytona is away")
        self.assertEqual(self.list().status, 502)

    @given(st.integers(0, 220), st.integers(0, 220))
    def test_any_number(self, count: int, others: int) -> None:
        """However many there are, the array has each once."""
        world = World()
        world.runtime.pages, world.runtime.rows = False, rows(count, others=others)
        reply = self.ask("GET", "/api/sandbox", world.signed("list"), world=world)
        self.assertEqual(ids(reply.json), expected(count + others))


class ScopeTests(ListTestCase):
    """
    Tokens that may look and nothing else.
    """

    def secrets(self, scopes: tuple[Scope, ...]) -> set[str]:
        """What of a sandbox's secrets shows in any reply."""
        found = set()
        for pages in (True, False):
            world = self.world = World()
            world.runtime.pages = pages
            own = sandbox(
                SANDBOX, OWNER.address, env={"K": "s1"}, buildInfo={"contextHashes": ["s2"]}
            )
            world.runtime.rows = [dict(own.document)]
            world.intake.sandboxes[SANDBOX] = (OWNER.address, own)
            bearer = token_for(world, OWNER.address, expires_at=NOW + 60, scopes=scopes)
            for tail in ("", "/paginated", f"/{SANDBOX}"):
                text = json.dumps(self.list(tail=tail, **bearer).json)
                self.assertIn(SANDBOX, text)
                found |= {word for word in ("s1", "s2") if word in text}
        return found

    def test_secrets(self) -> None:
        """Who may only look sees neither environment nor recipe; who may do more, does."""
        self.assertEqual(self.secrets((Scope.READ,)), set())
        self.assertEqual(self.secrets((Scope.READ, Scope.TOOLBOX)), {"s1", "s2"})
        self.assertEqual(self.secrets((Scope.READ, Scope.MANAGE)), {"s1", "s2"})

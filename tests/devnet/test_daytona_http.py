"""
The simulator as any HTTP client meets it: paths, bodies, codes, lists.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.devnet.daytona import Dialect
from tests.devnet.daytona_bench import Bench


class PathTests(SynchronousTestCase):
    """How Express matches, and what is answered before any route runs."""

    def setUp(self) -> None:
        self.bench = Bench()

    def test_spellings(self) -> None:
        """Letter case and one trailing slash do not matter; parameters are decoded."""
        id = self.bench.started(name="box")
        for path in (
            f"/API/SandBox/{id}",
            f"/api/sandbox/{id}/",
            "/api/sandbox/%62ox",
            "/Api/SANDBOX/box/",
        ):
            self.assertEqual(self.bench.ask("GET", path).json["id"], id, path)
        self.assertEqual(self.bench.ask("POST", "/api/sandbox/box/STOP/").status, 200)

    def test_near_misses(self) -> None:
        """Two slashes, an encoded verb, an unknown route, a wrong method: 404 in JSON."""
        self.bench.started(name="box")
        for method, path in (
            ("GET", "/api/sandbox/box//"),
            ("POST", "/api/sandbox/box/%73top"),
            ("GET", "/api/nothing"),
            ("GET", "/api"),
            ("PATCH", "/api/sandbox/box"),
        ):
            reply = self.bench.ask(method, path)
            self.assertEqual((reply.status, reply.json["statusCode"]), (404, 404), path)
        self.assertEqual(self.bench.ask("GET", "/api/sandbox/%ff").status, 400)

    def test_outside(self) -> None:
        """Outside of C{/api} there is a page, with 200."""
        for path in ("/", "/dashboard", "/sandbox"):
            reply = self.bench.ask("GET", path)
            self.assertEqual((reply.status, reply.body[:9]), (200, b"<!doctype"))

    def test_key(self) -> None:
        """No key or a wrong one is 401, except for the configuration."""
        for key in (None, "", "wrong", "admin-key2"):
            self.assertEqual(self.bench.ask("GET", "/api/sandbox", key=key).status, 401)
        self.assertEqual(self.bench.ask("GET", "/api/config", key=None).status, 200)

    def test_error_body(self) -> None:
        """An error names path, time, status, reason and message, and the version is sent."""
        reply = self.bench.ask("GET", "/api/sandbox/none?verbose=true")
        self.assertEqual(
            reply.json,
            {
                "path": "/api/sandbox/none?verbose=true",
                "timestamp": "2025-06-15T15:06:40.000Z",
                "statusCode": 404,
                "error": "Not Found",
                "message": "Sandbox with ID or name none not found",
            },
        )
        self.assertEqual(reply.headers["x-daytona-api-version"], "0.190.0")

    def test_received(self) -> None:
        """Every header of every request is kept, so that a test can prove what was stripped."""
        self.bench.ask("GET", "/api/sandbox", headers={"X-Wallet-Address": "0xa"})
        self.assertEqual(self.bench.simulator.received[-1].headers["x-wallet-address"], ("0xa",))

    def test_success_codes(self) -> None:
        """Some POSTs answer 201 and the verbs of life 200; labels answer a Sandbox."""
        id = self.bench.started()
        base = f"/api/sandbox/{id}"
        for path in (
            "/autostop/7",
            "/autoarchive/7",
            "/autodelete/7",
            "/last-activity",
            "/public/true",
            "/backup",
        ):
            self.assertEqual(self.bench.ask("POST", base + path).status, 201, path)
        labels = self.bench.ask("PUT", base + "/labels", {"labels": {"a": "b"}})
        self.assertEqual((labels.status, labels.json["labels"]), (200, {"a": "b"}))
        self.assertEqual(labels.json["autoStopInterval"], 7)
        self.assertEqual(self.bench.ask("POST", base + "/ssh-access").status, 200)
        self.assertEqual(self.bench.ask("POST", base + "/stop?force=false").status, 200)

    def test_unsupported(self) -> None:
        """Containers cannot pause or fork; resize is behind a flag that is off."""
        id = self.bench.started()
        for verb, status in (("pause", 422), ("fork", 422), ("snapshot", 422), ("resize", 404)):
            self.assertEqual(self.bench.ask("POST", f"/api/sandbox/{id}/{verb}").status, status)


class CreateTests(SynchronousTestCase):
    """What a create body may say."""

    def setUp(self) -> None:
        self.bench = Bench()

    def create(self, **body: Any) -> Any:
        """The reply, once there is one."""
        return self.bench.ask("POST", "/api/sandbox", body)

    def test_sdk_fields(self) -> None:
        """Every key that the SDKs insist on is there, sizes as integers."""
        document = self.create().json
        needed = (
            "id organizationId name user env labels public networkBlockAll target cpu gpu "
            "memory disk toolboxProxyUrl"
        )
        self.assertLessEqual(set(needed.split()), set(document))
        for key in ("cpu", "gpu", "memory", "disk"):
            self.assertIs(type(document[key]), int)

    def test_defaults(self) -> None:
        """The id is the name, the first snapshot the size, 15 / 10080 / -1 the intervals."""
        document = self.create(autostopInterval=0, colour="red").json
        self.assertEqual(document["name"], document["id"])
        self.assertEqual((document["cpu"], document["memory"], document["disk"]), (1, 1, 3))
        intervals = [document[f"auto{kind}Interval"] for kind in ("Stop", "Archive", "Delete")]
        self.assertEqual(intervals, [15, 10_080, -1])
        self.assertNotIn("colour", document)

    def test_refusals(self) -> None:
        """Resources and build beside a snapshot, an unknown one, a kept GPU, bad types: 400."""
        build = {"dockerfileContent": "FROM scratch"}
        for body in (
            {"snapshot": "daytona-small", "cpu": 2},
            {"memory": 1},
            {"snapshot": "daytona-small", "buildInfo": build},
            {"snapshot": "nothing"},
            {"snapshot": "daytona-gpu"},
            {"autoStopInterval": -1},
            {"autoArchiveInterval": -1},
            {"labels": "x"},
            {"name": 7},
            {"cpu": True},
        ):
            self.assertEqual(self.create(**body).status, 400, body)
        self.assertEqual(self.bench.simulator.records, {})
        self.assertEqual(self.create(snapshot="daytona-gpu", autoDeleteInterval=0).status, 200)

    def test_labels_unchecked(self) -> None:
        """Label values that are no text are taken."""
        self.assertEqual(self.create(labels={"a": 1}).json["labels"], {"a": 1})

    def test_build(self) -> None:
        """A build answers at once, has the body's sizes, and 0 counts as omitted."""
        body = {"buildInfo": {"dockerfileContent": "FROM x"}, "cpu": 2, "memory": 0}
        reply = self.bench.ask("POST", "/api/sandbox", body, wait=False)
        self.assertEqual(reply.json["state"], "pending_build")
        self.assertEqual([reply.json[key] for key in ("cpu", "memory", "disk")], [2, 1, 3])

    def test_no_json(self) -> None:
        """A body that is no JSON object is 400."""
        for body in (b"{", b"[]", b"7"):
            self.assertEqual(self.bench.ask("POST", "/api/sandbox", body).status, 400)


class LabelTests(SynchronousTestCase):
    """Labels, written and asked for."""

    def setUp(self) -> None:
        self.bench = Bench()
        for labels in ({"o": "a"}, {"o": "A"}, {"o": "a", "x": "1"}, {}):
            self.bench.started(labels=labels)

    def count(self, labels: str) -> int:
        """How many match."""
        return len(self.bench.ask("GET", "/api/sandbox", query={"labels": labels}).json["items"])

    def test_containment(self) -> None:
        """Exact, case-sensitive and all pairs; null and {} filter nothing."""
        for labels, count in (
            ('{"o":"a"}', 2),
            ('{"o":"A"}', 1),
            ('{"o":"a","x":"1"}', 1),
            ('{"x":1}', 0),
            ("{}", 4),
            ("null", 4),
        ):
            self.assertEqual(self.count(labels), count, labels)

    def test_bad_json(self) -> None:
        """400 in the new dialect, 500 in the others."""
        for dialect, status in ((Dialect.NEW, 400), (Dialect.MIDDLE, 500), (Dialect.OLD, 500)):
            self.bench.simulator.dialect = dialect
            for path in ("/api/sandbox", "/api/sandbox/paginated"):
                reply = self.bench.ask("GET", path, query={"labels": "{"})
                self.assertEqual(reply.status, status)

    def test_put(self) -> None:
        """The body is nested and replaces all; without its key nothing changes."""
        (id, *_) = self.bench.simulator.records
        path = f"/api/sandbox/{id}/labels"
        self.assertEqual(self.bench.ask("PUT", path, {"k": "v"}).json["labels"], {"o": "a"})
        reply = self.bench.ask("PUT", path, {"labels": {"k": 1}})
        self.assertEqual(reply.json["labels"], {"k": 1})
        self.assertEqual(self.bench.ask("PUT", path, {"labels": "x"}).status, 400)


class ListTests(SynchronousTestCase):
    """The three shapes of a list."""

    def setUp(self) -> None:
        self.bench = Bench()
        self.bench.simulator.warm_pool = True

    def fill(self, count: int) -> list[str]:
        """Started sandboxes, a second apart."""
        ids = []
        for _ in range(count):
            ids.append(self.bench.ask("POST", "/api/sandbox", {}).json["id"])
            self.bench.clock.advance(1)
        return ids

    def list(self, **query: str) -> Any:
        """The JSON of one page."""
        return self.bench.ask("GET", "/api/sandbox", query=query).json

    def test_array(self) -> None:
        """Before v0.180: everything in one array of whole Sandboxes, no paging."""
        ids = self.fill(120)
        for dialect in (Dialect.OLD, Dialect.MIDDLE):
            self.bench.simulator.dialect = dialect
            rows = self.list(limit="1", cursor="?")
            self.assertEqual([row["id"] for row in rows], ids)
            self.assertIn("env", rows[0])

    def test_items(self) -> None:
        """From v0.180: 100 to a page by default, without env and networkBlockAll."""
        self.fill(120)
        page = self.list()
        self.assertEqual(set(page), {"items", "nextCursor"})
        self.assertEqual(len(page["items"]), 100)
        self.assertLessEqual({"id", "state", "labels", "cpu"}, set(page["items"][0]))
        self.assertFalse({"env", "networkBlockAll", "volumes"} & set(page["items"][0]))
        self.assertIsNone(self.list(cursor=page["nextCursor"])["nextCursor"])

    def test_limits(self) -> None:
        """0, 201 and words are 400, as is a cursor of somebody's own."""
        for query in ({"limit": "0"}, {"limit": "201"}, {"limit": "x"}, {"sort": "id"}):
            self.assertEqual(self.bench.ask("GET", "/api/sandbox", query=query).status, 400)
        for cursor in ("x", "e30=", "W10="):
            reply = self.bench.ask("GET", "/api/sandbox", query={"cursor": cursor})
            self.assertEqual(reply.status, 400)

    def pages(self, between: Any, **query: str) -> list[str]:
        """All ids, page by page, with something happening after each."""
        found, cursor = [], None
        while True:
            page = self.list(limit="3", **query, **({"cursor": cursor} if cursor else {}))
            found += [row["id"] for row in page["items"]]
            cursor = page["nextCursor"]
            if cursor is None:
                return found
            between(found)

    def test_order_of_creation(self) -> None:
        """By creation, pages stay whole whatever is active meanwhile."""
        ids = self.fill(10)
        found = self.pages(lambda _: self.touch(ids[8]), sort="createdAt", order="asc")
        self.assertEqual(found, ids)

    def test_order_of_activity(self) -> None:
        """By activity, the default, a row that is touched between two pages is missed."""
        ids = self.fill(10)
        found = self.pages(lambda _: self.touch(ids[1]))
        self.assertNotIn(ids[1], found)
        self.assertEqual(sorted([*found, ids[1]]), sorted(ids))

    def touch(self, id: str) -> None:
        """Activity."""
        self.bench.clock.advance(1)
        self.bench.ask("POST", f"/api/sandbox/{id}/last-activity")

    def test_paginated(self) -> None:
        """The deprecated pages have one shape in every dialect, newest first."""
        ids = self.fill(5)
        for dialect in Dialect:
            self.bench.simulator.dialect = dialect
            page = self.bench.ask(
                "GET", "/api/sandbox/paginated", query={"page": "2", "limit": "2"}
            ).json
            self.assertEqual([row["id"] for row in page["items"]], [ids[2], ids[1]])
            self.assertEqual((page["total"], page["page"], page["totalPages"]), (5, 2, 3))

    def test_states_are_raw(self) -> None:
        """C{states=started} returns what is shown stopping; C{restoring} shows in items only."""
        (id,) = self.fill(1)
        self.bench.ask("POST", f"/api/sandbox/{id}/stop")
        self.assertEqual(
            [row["state"] for row in self.list(states="started")["items"]], ["stopping"]
        )
        self.bench.until(id, "stopped")
        self.bench.ask("POST", f"/api/sandbox/{id}/archive")
        self.bench.until(id, "archived")
        self.bench.ask("POST", f"/api/sandbox/{id}/start")
        self.assertEqual(self.bench.ask("GET", f"/api/sandbox/{id}").json["state"], "archived")
        self.assertEqual(self.list()["items"][0]["state"], "restoring")

    def test_errored_deleted(self) -> None:
        """A failed and then deleted row is listed only when asked for."""
        (id,) = self.fill(1)
        self.bench.simulator.break_sandbox(id)
        self.bench.ask("DELETE", f"/api/sandbox/{id}")
        self.assertEqual(self.list()["items"], [])
        self.assertEqual(len(self.list(includeErroredDeleted="true")["items"]), 1)

    def test_json_is_compact(self) -> None:
        """An answer parses, whatever it holds."""
        self.bench.ask("POST", "/api/sandbox", {"labels": {"é": "\u2028"}})
        self.assertEqual(json.loads(json.dumps(self.list()))["items"][0]["labels"], {"é": "\u2028"})

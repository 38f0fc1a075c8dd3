"""
The simulator's lists: every filter and sort order of the pages, dialect by dialect.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.devnet.daytona import Dialect, Snapshot
from sandbox_billing.devnet.daytona.records import iso
from tests.devnet.daytona_bench import BASE, Bench


class FilterTests(SynchronousTestCase):
    """What is left of two sandboxes that differ in everything."""

    def setUp(self) -> None:
        self.bench = Bench()
        machine = Snapshot(id="5a-vm", name="vm", cpu=2, memory=4, disk=8, sandbox_class="linux-vm")
        self.bench.simulator.snapshots[machine.id] = machine
        self.small = self.bench.started(name="small", labels={"a": "b"})
        self.bench.clock.advance(100)
        self.large = self.bench.started(name="large", snapshot="vm", target="eu", public=True)
        self.bench.simulator.break_sandbox(self.large)

    def listed(self, path: str = "sandbox", **query: str) -> list[str]:
        """The ids, sorted by creation."""
        sort = {"sort": "createdAt", "order": "asc"} | query
        reply = self.bench.ask("GET", f"/api/{path}", query=sort)
        self.assertEqual(reply.status, 200, reply.body)
        return [item["id"] for item in reply.json["items"]]

    def test_filters(self) -> None:
        """Each filter alone, on both sides of it."""
        between = iso(BASE + 50)
        for query, found in (
            ({}, [self.small, self.large]),
            ({"id": self.small[:8]}, [self.small]),
            ({"name": "sm"}, [self.small]),
            ({"name": "mall"}, []),
            ({"states": "started"}, [self.small]),
            ({"states": "error,started"}, [self.small, self.large]),
            ({"snapshots": "vm"}, [self.large]),
            ({"regionIds": "eu"}, [self.large]),
            ({"sandboxClasses": "linux-vm"}, [self.large]),
            ({"sandboxClasses": "container,linux-vm"}, [self.small, self.large]),
            ({"minCpu": "2"}, [self.large]),
            ({"maxCpu": "1"}, [self.small]),
            ({"minMemoryGiB": "1", "maxMemoryGiB": "3"}, [self.small]),
            ({"minDiskGiB": "8"}, [self.large]),
            ({"isPublic": "true"}, [self.large]),
            ({"isPublic": "false"}, [self.small]),
            ({"isRecoverable": "true"}, [self.large]),
            ({"createdAtAfter": between}, [self.large]),
            ({"createdAtBefore": between}, [self.small]),
            ({"lastEventAfter": between}, [self.large]),
            ({"lastEventBefore": between}, [self.small]),
            ({"labels": '{"a":"b"}', "isPublic": "true"}, []),
        ):
            self.assertEqual(self.listed(**query), found, query)

    def test_filters_of_pages(self) -> None:
        """The deprecated pages call the region otherwise, and know fewer."""
        for query, found in (
            ({"regions": "eu"}, [self.large]),
            ({"regionIds": "eu"}, [self.small, self.large]),
            ({"isPublic": "true"}, [self.small, self.large]),
            ({"minCpu": "2"}, [self.large]),
            ({"states": "started"}, [self.small]),
        ):
            self.assertEqual(self.listed("sandbox/paginated", **query), found, query)

    def test_bad(self) -> None:
        """What cannot be is refused, not ignored."""
        for query in (
            {"states": "dancing"},
            {"sandboxClasses": "toaster"},
            {"minCpu": "few"},
            {"createdAtAfter": "yesterday"},
            {"sort": "colour"},
            {"order": "up"},
            {"cursor": "%%%"},
            {"limit": "201"},
            {"limit": "0"},
        ):
            reply = self.bench.ask("GET", "/api/sandbox", query=query)
            self.assertEqual(reply.status, 400, query)

    def test_arrays_know_labels_only(self) -> None:
        """Before v0.180 the list ignores all other filters, and has no pages."""
        for dialect in (Dialect.OLD, Dialect.MIDDLE):
            self.bench.simulator.dialect = dialect
            query = {"states": "started", "limit": "1", "name": "none"}
            reply = self.bench.ask("GET", "/api/sandbox", query=query)
            self.assertEqual(len(reply.json), 2)

    def test_list_items(self) -> None:
        """Only an item of the new list shows early that it is restored, and lacks eight fields."""
        id = self.bench.stopped(name="kept", domainAllowList="a.example")
        self.bench.verb(id, "archive")
        self.bench.until(id, "archived")
        self.bench.verb(id, "start")
        whole = self.bench.ask("GET", f"/api/sandbox/{id}").json
        query = {"name": "kept"}
        (item,) = self.bench.ask("GET", "/api/sandbox", query=query).json["items"]
        (paged,) = self.bench.ask("GET", "/api/sandbox/paginated", query=query).json["items"]
        self.assertEqual(
            (whole["state"], paged["state"], item["state"]), ("archived", "archived", "restoring")
        )
        self.assertEqual(
            set(whole) - set(item),
            {"env", "networkBlockAll", "domainAllowList", "volumes", "backupCreatedAt"},
        )

    def test_sorts(self) -> None:
        """Each order of each kind of list, forwards and backwards."""
        new = ("name", "cpu", "memoryGib", "diskGib", "lastActivityAt", "createdAt")
        paged = ("id", "name", "state", "snapshot", "region", "updatedAt", "createdAt")
        for path, sorts in (("sandbox", new), ("sandbox/paginated", paged)):
            for sort in sorts:
                up = self.listed(path, sort=sort, order="asc")
                self.assertEqual(self.listed(path, sort=sort, order="desc"), up[::-1])
            self.assertEqual(self.listed(path, sort="name"), [self.large, self.small])

    def test_errored_deleted_are_purged(self) -> None:
        """What failed and was deleted can be listed for a week."""
        self.bench.verb(self.large, "delete")
        everything = {"includeErroredDeleted": "true"}
        self.assertEqual(self.listed(**everything), [self.small, self.large])
        self.assertEqual(self.listed(), [self.small])
        self.bench.clock.advance(7 * 86_400)
        self.assertNotIn(self.large, self.listed(**everything))

    def test_walk(self) -> None:
        """Following the cursor by creation finds each one once, whatever is used meanwhile."""
        ids = [self.small, self.large, *(self.bench.started() for _ in range(5))]
        found: list[str] = []
        cursor: Any = ""
        while cursor is not None:
            query = {"limit": "2", "sort": "createdAt", "order": "asc"}
            reply = self.bench.ask(
                "GET", "/api/sandbox", query=query | ({"cursor": cursor} if cursor else {})
            )
            found += [item["id"] for item in reply.json["items"]]
            cursor = reply.json["nextCursor"]
            self.bench.simulator.touch(self.bench.simulator.records[ids[0]])
        self.assertEqual(found, ids)

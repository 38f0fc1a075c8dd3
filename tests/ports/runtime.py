"""
What every L{IRuntime} must do, whatever carries its requests.

L{runtime_port_suite} makes the suite for one world: a runtime in front of a
simulated Daytona, and a way to let that world run on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from sandbox_billing.devnet.daytona import DaytonaSimulator, Dialect, Fault, FaultKind
from sandbox_billing.errors import Transient, UnknownOutcome
from sandbox_billing.interfaces import DaytonaRefused, IRuntime, Sandbox
from sandbox_billing.ledger.identity import SandboxId


T = TypeVar("T")

NOWHERE = SandboxId("00000000-0000-4000-8000-000000000000")


class World(Protocol):
    """A runtime and the simulator behind it."""

    runtime: IRuntime
    simulator: DaytonaSimulator

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Let time and bytes flow until the work is done."""

    async def pause(self) -> None:
        """Let a little time pass."""


# Every method of the port as a call on a started sandbox, with its route in the simulator.
Method = Callable[[IRuntime, SandboxId], Awaitable[Any]]
READS: dict[str, tuple[str, Method]] = {
    "ping": ("snapshots", lambda runtime, _: runtime.ping()),
    "get": ("get", lambda runtime, id: runtime.get(id)),
    "sweep": ("list", lambda runtime, _: runtime.sweep()),
    "page": ("list", lambda runtime, _: runtime.page({}, paginated=False)),
    "page paginated": ("paginated", lambda runtime, _: runtime.page({}, paginated=True)),
    "look": ("paginated", lambda runtime, id: runtime.look(id)),
    "labelled": ("list", lambda runtime, _: runtime.labelled("daytona-billing-ref", "r1")),
    "lists_pages": ("list", lambda runtime, _: runtime.lists_pages()),
    "signed_preview": (
        "signed-preview-url",
        lambda runtime, id: runtime.signed_preview(id, 3000, 60),
    ),
    "preview_holder": ("preview-holder", lambda runtime, _: runtime.preview_holder("t", 3000)),
    "telemetry": (
        "telemetry-logs",
        lambda runtime, id: runtime.telemetry(id, ("logs",), {"from": "a", "to": "b"}),
    ),
    "config": ("config", lambda runtime, _: runtime.config()),
    "regions": ("shared-regions", lambda runtime, _: runtime.regions()),
    "snapshots": ("snapshots", lambda runtime, _: runtime.snapshots()),
}
CHANGES: dict[str, tuple[str, Method]] = {
    "create": ("create", lambda runtime, _: runtime.create({})),
    "start": ("start", lambda runtime, id: runtime.start(id)),
    "stop": ("stop", lambda runtime, id: runtime.stop(id)),
    "delete": ("delete", lambda runtime, id: runtime.delete(id)),
    "archive": ("archive", lambda runtime, id: runtime.archive(id)),
    "recover": ("recover", lambda runtime, id: runtime.recover(id, skip_start=False)),
    "resize": ("resize", lambda runtime, id: runtime.resize(id, {"cpu": 2})),
    "replace_labels": ("labels", lambda runtime, id: runtime.replace_labels(id, {})),
    "set_auto_stop": ("autostop", lambda runtime, id: runtime.set_auto_stop(id, 5)),
    "touch": ("last-activity", lambda runtime, id: runtime.touch(id)),
    "ssh_access": ("ssh-access", lambda runtime, id: runtime.ssh_access(id, 5)),
    "revoke_ssh": ("revoke-ssh", lambda runtime, id: runtime.revoke_ssh(id, None)),
    "expire_preview": ("expire", lambda runtime, id: runtime.expire_preview(id, 3000, "t")),
    "set_public": ("public", lambda runtime, id: runtime.set_public(id, False)),
    "create_snapshot": ("create-snapshot", lambda runtime, _: runtime.create_snapshot({})),
    "set_snapshot_general": (
        "general-snapshot",
        lambda runtime, _: runtime.set_snapshot_general("x", True),
    ),
    "delete_snapshot": ("delete-snapshot", lambda runtime, _: runtime.delete_snapshot("x")),
}
# These forward an answer's body to nobody, or pass through what they are given.
BODY_IGNORED = frozenset({"set_auto_stop", "touch", "delete_snapshot", "expire_preview"})


def _answers_nothing() -> tuple[Fault, ...]:
    """Every way in which an answer proves nothing, route left open."""
    return (
        Fault(kind=FaultKind.STATUS, status=500),
        Fault(kind=FaultKind.STATUS, status=503),
        Fault(kind=FaultKind.GATEWAY, status=502),
        Fault(kind=FaultKind.GATEWAY, status=404),
        Fault(kind=FaultKind.STATUS, status=408),
        Fault(kind=FaultKind.GATEWAY, status=302),
        Fault(kind=FaultKind.HANG),
        Fault(kind=FaultKind.LOSE_REPLY),
    )


def runtime_port_suite(
    make_world: Callable[[TestCase, Dialect], World], dialect: Dialect
) -> type[TestCase]:
    """
    @param make_world: Makes a world that ends with the test.
    @param dialect: What its Daytona speaks.
    """

    class RuntimeSuite(TestCase):
        """The contract of L{IRuntime}."""

        timeout = 600

        def setUp(self) -> None:
            self.world = make_world(self, dialect)
            self.simulator, self.runtime = self.world.simulator, self.world.runtime

        async def create(self, **body: Any) -> Sandbox:
            """A sandbox, on its way."""
            return await self.world.run(self.runtime.create(body))

        async def reach(self, id: SandboxId, state: str) -> Sandbox:
            """Wait until a lookup shows this state."""
            for _ in range(1000):
                shown = await self.world.run(self.runtime.get(id))
                if shown is not None and shown.state == state:
                    return shown
                await self.world.pause()
            raise self.failureException(f"{id} never showed {state}")

        async def started(self, **body: Any) -> SandboxId:
            """A running sandbox."""
            sandbox = await self.create(**body)
            await self.reach(sandbox.id, "started")
            return sandbox.id

        async def refused(self, work: Coroutine[Any, Any, Any]) -> DaytonaRefused:
            """The refusal that the work must meet."""
            return await self.ends_with(work, DaytonaRefused)

        async def ends_with(self, work: Coroutine[Any, Any, Any], kind: type[T]) -> T:
            """The exception that the work must end with."""
            try:
                result = await self.world.run(work)
            except kind as reason:  # type: ignore[misc]
                return reason
            raise self.failureException(f"{result!r} instead of {kind.__name__}")

        def test_interface(self) -> None:
            """It has every method, with the right arguments."""
            self.assertTrue(verifyObject(IRuntime, self.runtime))

        async def test_ping(self) -> None:
            """A well Daytona answers a ping."""
            self.assertIsNone(await self.world.run(self.runtime.ping()))

        async def test_create(self) -> None:
            """Create answers with the early state; a lookup shows when it runs."""
            body = {"name": "box", "snapshot": "daytona-medium", "labels": {"k": "v"}}
            sandbox = await self.create(**body, autoStopInterval=7)
            self.assertEqual(sandbox.state, "creating")
            shown = await self.reach(sandbox.id, "started")
            self.assertEqual((shown.id, shown.name), (sandbox.id, "box"))
            self.assertEqual(shown.desired_state, "started")
            self.assertEqual(shown.labels, {"k": "v"})
            sizes = (shown.resources.cpu, shown.resources.memory_gib, shown.resources.disk_gib)
            self.assertEqual(sizes, (2, 4, 8))
            self.assertEqual(shown.auto_stop_minutes, 7)
            self.assertEqual(shown.document["snapshot"], "daytona-medium")

        async def test_create_fails_with_a_row(self) -> None:
            """A create that is answered 400 leaves a row that a sweep shows."""
            self.simulator.fail_start_next()
            work = self.runtime.create({"labels": {"daytona-billing-ref": "r1"}})
            reason = await self.refused(work)
            self.assertEqual(reason.status, 400)
            self.assertIn("Sandbox failed to start", reason.text)
            (listing,) = await self.world.run(self.runtime.sweep())
            (row,) = listing.sandboxes
            self.assertEqual((row.state, row.labels["daytona-billing-ref"]), ("error", "r1"))

        async def test_create_refused(self) -> None:
            """A duplicate name is a refusal with Daytona's status and text."""
            await self.create(name="twin")
            reason = await self.refused(self.runtime.create({"name": "twin"}))
            self.assertEqual(reason.status, 409)
            self.assertIn("already exists", reason.text)

        async def test_lookup(self) -> None:
            """A lookup takes an id or a name; what is not there is None."""
            sandbox = await self.create(name="box")
            by_name = await self.world.run(self.runtime.get("box"))
            assert by_name is not None
            self.assertEqual(by_name.id, sandbox.id)
            self.assertIsNone(await self.world.run(self.runtime.get("other")))

        async def test_odd_names(self) -> None:
            """A name is one step of the path, whatever it contains."""
            for name in ("a/b", "ä ö", "100%", "%2e%2e", "x?y#z", "a;b=c", "+", "stop/", "%"):
                sandbox = await self.create(name=name)
                found = await self.world.run(self.runtime.get(name))
                assert found is not None, name
                self.assertEqual(found.id, sandbox.id)

        async def test_impossible_names(self) -> None:
            """What would be another route is the name of nothing."""
            await self.create(name="box")
            for name in ("", ".", "..", "paginated", "Paginated", "for-runner", "box/", "../box"):
                self.assertIsNone(await self.world.run(self.runtime.get(name)), name)

        async def test_stop(self) -> None:
            """Stop answers at acceptance; a second one is refused before and after the end."""
            # In real time it may have ended, now and then, before the second one gets there.
            for _ in range(20):
                id = await self.started()
                accepted = await self.world.run(self.runtime.stop(id))
                assert accepted is not None
                self.assertEqual((accepted.state, accepted.desired_state), ("stopping", "stopped"))
                early = await self.refused(self.runtime.stop(id))
                await self.reach(id, "stopped")
                if early.status != 400:
                    break
            late = await self.refused(self.runtime.stop(id))
            # Before v0.160 Daytona says 400: it is one answer, and it passes.
            self.assertEqual((early.status, late.status), (409, 400))
            self.assertGreater(early.retry_after, 0)
            self.assertEqual(late.retry_after, 0)

        async def test_start(self) -> None:
            """Start waits for C{started}; of a started one it changes nothing."""
            id = await self.started()
            await self.world.run(self.runtime.stop(id))
            await self.reach(id, "stopped")
            for _ in range(2):
                self.assertEqual((await self.world.run(self.runtime.start(id))).state, "started")
            self.assertEqual(len(self.simulator.records[id].shown.intervals), 2)

        async def test_delete(self) -> None:
            """Delete answers at acceptance; afterwards the sandbox and its name are gone."""
            id = await self.started(name="box")
            accepted = await self.world.run(self.runtime.delete(id))
            assert accepted is not None
            self.assertEqual(accepted.desired_state, "destroyed")
            self.assertIsNone(await self.world.run(self.runtime.get("box")))
            while await self.world.run(self.runtime.get(id)) is not None:
                await self.world.pause()
            self.assertIsNone(await self.world.run(self.runtime.delete(id)))

        async def test_nothing_there(self) -> None:
            """Stop and delete of nothing are None, other verbs are refused with 404."""
            self.assertIsNone(await self.world.run(self.runtime.stop(NOWHERE)))
            self.assertIsNone(await self.world.run(self.runtime.delete(NOWHERE)))
            for work in (
                self.runtime.start(NOWHERE),
                self.runtime.archive(NOWHERE),
                self.runtime.replace_labels(NOWHERE, {}),
                self.runtime.set_auto_stop(NOWHERE, 1),
                self.runtime.touch(NOWHERE),
                self.runtime.ssh_access(NOWHERE, 1),
                self.runtime.revoke_ssh(NOWHERE, None),
                self.runtime.signed_preview(NOWHERE, 3000, 1),
                self.runtime.expire_preview(NOWHERE, 3000, "t"),
                self.runtime.set_public(NOWHERE, True),
                self.runtime.set_network(NOWHERE, {"networkBlockAll": True}),
                self.runtime.telemetry(NOWHERE, ("traces", "t"), {}),
                self.runtime.delete_snapshot(NOWHERE),
            ):
                self.assertEqual((await self.refused(work)).status, 404)

        async def test_no_such_route(self) -> None:
            """A 404 of the router, or of one who shows it still, tells of no end."""
            id = await self.started()
            for route, call in (
                ("get", self.runtime.get),
                ("stop", self.runtime.stop),
                ("delete", self.runtime.delete),
            ):
                for message in ("Cannot POST /api/sandbox/x", "Sandbox not found"):
                    if (route, message) == ("get", "Sandbox not found"):
                        continue
                    self.simulator.faults.add(
                        Fault(kind=FaultKind.STATUS, status=404, message=message, route=route)
                    )
                    with self.assertRaises(Transient, msg=(route, message)):
                        await self.world.run(call(id))
            self.assertIsNotNone(await self.world.run(self.runtime.get(id)))

        async def test_archive(self) -> None:
            """Only what is stopped can be archived, and it can be started from there."""
            id = await self.started()
            self.assertEqual((await self.refused(self.runtime.archive(id))).status, 400)
            await self.world.run(self.runtime.stop(id))
            await self.reach(id, "stopped")
            accepted = await self.world.run(self.runtime.archive(id))
            self.assertEqual(accepted.state, "archiving")
            await self.reach(id, "archived")
            await self.world.run(self.runtime.start(id))
            await self.reach(id, "started")

        async def test_labelled(self) -> None:
            """What one label names, and nothing else: not even what differs by its case."""
            wanted = await self.create(labels={"ref": "r1", "other": "x"})
            await self.create(labels={"ref": "R1"})
            await self.create(labels={"other": "r1"})
            found = await self.world.run(self.runtime.labelled("ref", "r1"))
            self.assertEqual([wanted.id], [one.id for one in found])
            self.assertEqual((), await self.world.run(self.runtime.labelled("ref", "r2")))

        async def test_recover(self) -> None:
            """Mended and started; or left stopped, if that was asked for."""
            for skip_start, reached in ((False, "started"), (True, "stopped")):
                id = await self.started()
                self.simulator.break_sandbox(id)
                await self.world.run(self.runtime.recover(id, skip_start=skip_start))
                await self.reach(id, reached)
            self.assertEqual(
                (await self.refused(self.runtime.recover(id, skip_start=False))).status, 400
            )

        async def test_resize(self) -> None:
            """Behind Daytona's flag: refused, or shown in its new size when it runs again."""
            id = await self.started()
            self.assertEqual((await self.refused(self.runtime.resize(id, {"cpu": 2}))).status, 404)
            self.simulator.resizes = True
            await self.world.run(self.runtime.resize(id, {"cpu": 2, "memory": 4}))
            shown = await self.reach(id, "started")
            self.assertEqual((2, 4), (shown.resources.cpu, shown.resources.memory_gib))

        async def test_labels(self) -> None:
            """Labels are replaced as a whole."""
            sandbox = await self.create(labels={"a": "1", "b": "2"})
            shown = await self.world.run(self.runtime.replace_labels(sandbox.id, {"c": "3"}))
            self.assertEqual(shown.labels, {"c": "3"})

        async def test_foreign_labels(self) -> None:
            """Label values that are no text are left out; the sandbox can still be read."""
            sandbox = await self.create(labels={"a": 1, "b": "2", "c": None})
            self.assertEqual(sandbox.labels, {"b": "2"})

        async def test_auto_stop(self) -> None:
            """The interval arrives in minutes; 0 is never."""
            sandbox = await self.create()
            for minutes in (60, 0):
                await self.world.run(self.runtime.set_auto_stop(sandbox.id, minutes))
                shown = await self.world.run(self.runtime.get(sandbox.id))
                assert shown is not None
                self.assertEqual(shown.auto_stop_minutes, minutes)

        async def test_touch(self) -> None:
            """A touch moves the time of the last activity."""
            id = await self.started()
            record = self.simulator.records[id]
            before, shown = record.last_activity_at, await self.reach(id, "started")
            for _ in range(20):
                await self.world.pause()
            await self.world.run(self.runtime.touch(id))
            self.assertGreater(record.last_activity_at, before)
            if dialect is Dialect.OLD:
                # v0.149 keeps it to itself.
                self.assertIsNone(shown.last_activity_at)
                return
            after = (await self.reach(id, "started")).last_activity_at
            assert after is not None and shown.last_activity_at is not None
            self.assertGreater(after, shown.last_activity_at)

        async def test_ssh_access(self) -> None:
            """An access names its token and its command."""
            id = await self.started()
            access = await self.world.run(self.runtime.ssh_access(id, 30))
            self.assertEqual(access["sandboxId"], id)
            self.assertIn(access["token"], access["sshCommand"])

        async def test_revoke_ssh(self) -> None:
            """One token ends, or every one."""
            id = await self.started()
            tokens = self.simulator.records[id].ssh_tokens
            access = await self.world.run(self.runtime.ssh_access(id, 30))
            await self.world.run(self.runtime.revoke_ssh(id, "another"))
            self.assertEqual(tokens, [access["token"]])
            shown = await self.world.run(self.runtime.revoke_ssh(id, access["token"]))
            self.assertEqual((shown.id, tokens), (id, []))
            await self.world.run(self.runtime.ssh_access(id, 30))
            await self.world.run(self.runtime.revoke_ssh(id, None))
            self.assertEqual(tokens, [])

        async def test_previews(self) -> None:
            """A signed token is known for its sandbox and port until it is ended."""
            id = await self.started()
            preview = await self.world.run(self.runtime.signed_preview(id, 3000, 60))
            self.assertEqual((preview["sandboxId"], preview["port"]), (id, 3000))
            token = preview["token"]
            self.assertIn(token, preview["url"])

            async def holder(port: int, name: str = token) -> SandboxId | None:
                return await self.world.run(self.runtime.preview_holder(name, port))

            self.assertEqual(await holder(3000), id)
            self.assertIsNone(await holder(3001))
            for name in ("none", "", ".", "..", "a/b"):
                self.assertIsNone(await holder(3000, name), name)
            await self.world.run(self.runtime.expire_preview(id, 3000, token))
            self.assertIsNone(await holder(3000))

        async def test_public(self) -> None:
            """It is opened and closed."""
            id = await self.started()
            for flag in (True, False):
                shown = await self.world.run(self.runtime.set_public(id, flag))
                self.assertIs(shown.document["public"], flag)

        async def test_network(self) -> None:
            """Egress is set where Daytona knows of it."""
            id = await self.started()
            work = self.runtime.set_network(id, {"networkBlockAll": True})
            if dialect is Dialect.OLD:
                self.assertEqual((await self.refused(work)).status, 404)
            else:
                shown = await self.world.run(work)
                self.assertIs(shown.document["networkBlockAll"], True)

        async def test_telemetry(self) -> None:
            """Each kind answers as Daytona does; a trace's name is one step of the path."""
            id = await self.started()
            for kind in (("logs",), ("traces",), ("metrics",), ("traces", "a/b")):
                query = {"from": "a", "to": "b"}
                found = await self.world.run(self.runtime.telemetry(id, kind, query))
                self.assertIsInstance(found, dict | list)
            reason = await self.refused(self.runtime.telemetry(id, ("logs",), {}))
            self.assertEqual(reason.status, 400)

        async def test_catalogue(self) -> None:
            """What Daytona tells anybody."""
            config = await self.world.run(self.runtime.config())
            self.assertEqual(config["version"], dialect.value)
            regions = await self.world.run(self.runtime.regions())
            self.assertEqual([one["id"] for one in regions], ["us"])

        async def test_snapshots(self) -> None:
            """Snapshots of every page are listed, made and removed."""
            made = []
            for index in range(120):
                body = {"name": f"s{index}", "cpu": 3}
                made.append(await self.world.run(self.runtime.create_snapshot(body)))
            names = {one["name"] for one in await self.world.run(self.runtime.snapshots())}
            self.assertLess({f"s{index}" for index in range(120)}, names)
            self.assertEqual(made[7]["cpu"], 3)
            for general in (True, False):
                setting = self.runtime.set_snapshot_general(made[9]["id"], general)
                self.assertIs((await self.world.run(setting))["general"], general)
            missing = self.runtime.set_snapshot_general(NOWHERE, True)
            self.assertEqual((await self.refused(missing)).status, 404)
            await self.world.run(self.runtime.delete_snapshot(made[7]["id"]))
            left = {one["name"] for one in await self.world.run(self.runtime.snapshots())}
            self.assertEqual(names - left, {"s7"})

        async def test_sweep(self) -> None:
            """A sweep shows every sandbox once, stamped before its page was asked for."""
            ids = [await self._quick(index) for index in range(401)]
            before = int(self.simulator.wall())
            listings = await self.world.run(self.runtime.sweep())
            found = [row.id for listing in listings for row in listing.sandboxes]
            self.assertEqual(sorted(found), sorted(ids))
            self.assertEqual(len(listings), 3 if dialect is Dialect.NEW else 5)
            for listing in listings:
                self.assertGreaterEqual(listing.sent_at, before)
                self.assertLessEqual(listing.sent_at, self.simulator.wall())
                self.assertGreaterEqual(listing.answered_at, listing.sent_at)
                self.assertLess(listing.answered_at - 1, self.simulator.wall())

        async def test_look(self) -> None:
            """A look shows one sandbox as it is now, whatever lookups still say, or none."""
            ids = [await self._quick(index) for index in range(3)]
            before = int(self.simulator.wall())
            for id in ids:
                listing = await self.world.run(self.runtime.look(SandboxId(id)))
                self.assertEqual([row.id for row in listing.sandboxes], [id])
                self.assertTrue(before <= listing.sent_at <= listing.answered_at)
            self.simulator.stop_behind(ids[1])
            (row,) = (await self.world.run(self.runtime.look(SandboxId(ids[1])))).sandboxes
            self.assertNotEqual(row.state, "started")
            for nobody in (NOWHERE, SandboxId(ids[0][:-1])):
                listing = await self.world.run(self.runtime.look(nobody))
                self.assertEqual(listing.sandboxes, ())

        async def test_look_without_pages(self) -> None:
            """A server that has given up the deprecated pages is asked for its list."""
            id = SandboxId(await self._quick(0))
            self.simulator.fail_next(404, route="paginated")
            listing = await self.world.run(self.runtime.look(id))
            self.assertEqual([row.id for row in listing.sandboxes], [id])

        async def test_sweep_under_activity(self) -> None:
            """Activity between two pages neither hides a row nor shows it twice."""
            ids = [await self._quick(index) for index in range(401)]
            records = self.simulator.records

            def touch_the_idlest(route: str) -> None:
                for id in sorted(ids, key=lambda id: (records[id].last_activity_at, id))[:150]:
                    records[id].last_activity_at = self.simulator.wall() + 60

            self.simulator.before = touch_the_idlest
            listings = await self.world.run(self.runtime.sweep())
            found = [row.id for listing in listings for row in listing.sandboxes]
            self.assertEqual(sorted(found), sorted(ids))

        async def test_sweep_with_deletions(self) -> None:
            """What is deleted between two pages hides none of the others, in whatever dialect."""
            ids = [await self._quick(index) for index in range(250)]
            gone: list[str] = []

            def remove_the_oldest(route: str) -> None:
                if route in ("list", "paginated") and len(gone) < 4:
                    gone.append(ids[len(gone)])
                    self.simulator.remove_behind(gone[-1])

            self.simulator.before = remove_the_oldest
            listings = await self.world.run(self.runtime.sweep())
            found = {row.id for listing in listings for row in listing.sandboxes}
            self.assertFalse(set(ids[4:]) - found)
            self.assertEqual(sum(len(listing.sandboxes) for listing in listings), len(found))

        async def test_sweep_without_pages(self) -> None:
            """A server without the deprecated pages is asked for its list, as one answer."""
            ids = [await self._quick(index) for index in range(3)]
            self.simulator.fail_next(404, route="paginated")
            listings = await self.world.run(self.runtime.sweep())
            found = [row.id for listing in listings for row in listing.sandboxes]
            self.assertEqual(sorted(found), sorted(ids))
            self.simulator.faults.clear()

        async def _quick(self, index: int) -> str:
            self.simulator.warm_pool = True
            return str((await self.simulator.create({"labels": {"i": str(index)}}))["id"])

        async def test_sweep_is_whole_or_nothing(self) -> None:
            """A page that cannot be read fails the sweep: no part of it is an answer."""
            for index in range(401):
                await self._quick(index)
            route = "list" if dialect is Dialect.NEW else "paginated"
            for kind in (FaultKind.GATEWAY, FaultKind.HTML, FaultKind.CUT, FaultKind.HANG):
                fault = Fault(kind=kind, status=502, route=route, skip=2)
                self.simulator.faults.add(fault)
                await self.ends_with(self.runtime.sweep(), Transient)

        async def test_page(self) -> None:
            """A user's list comes in the upstream's own shape, filtered as asked."""
            mine = await self.create(labels={"daytona-owner": "0xa"})
            await self.create(labels={"daytona-owner": "0xA"})
            query = {"labels": '{"daytona-owner":"0xa"}'}
            page = await self.world.run(self.runtime.page(query, paginated=False))
            rows = page["items"] if dialect is Dialect.NEW else page
            self.assertEqual([row["id"] for row in rows], [mine.id])
            page = await self.world.run(self.runtime.page(query, paginated=True))
            self.assertEqual(set(page), {"items", "total", "page", "totalPages"})
            self.assertEqual([row["id"] for row in page["items"]], [mine.id])

        async def test_dialect(self) -> None:
            """Which list there is shows by its shape, however many sandboxes there are."""
            for _ in range(3):
                self.assertIs(
                    await self.world.run(self.runtime.lists_pages()), dialect is Dialect.NEW
                )
                await self.create()

        async def test_page_with_several_values(self) -> None:
            """A filter with several values is several pairs, as Daytona reads them."""
            id = await self.started()
            self.simulator.fail_start_next()
            await self.refused(self.runtime.create({}))
            for states, found in ((("error",), 1), (("error", "started"), 2), (("stopped",), 0)):
                query = {"states": states}
                page = await self.world.run(self.runtime.page(query, paginated=True))
                self.assertEqual((page["total"], len(page["items"])), (found, found), states)
            self.assertEqual(self.simulator.records[id].raw, "started")

        async def test_page_refused(self) -> None:
            """A limit that Daytona refuses is a refusal, not trouble."""
            work = self.runtime.page({"limit": "0"}, paginated=True)
            self.assertEqual((await self.refused(work)).status, 400)

        async def test_reads_without_an_answer(self) -> None:
            """A read that got no usable answer is transient, for each read and each way."""
            id = await self.started()
            bad_bodies = (Fault(kind=FaultKind.HTML), Fault(kind=FaultKind.CUT))
            for name, (route, call) in READS.items():
                for fault in (*_answers_nothing(), *bad_bodies):
                    await self._expect(name, call, route, id, fault, Transient)
                await self._expect(
                    name, call, route, id, Fault(kind=FaultKind.STATUS, status=429), Transient
                )

        async def test_changes_without_an_answer(self) -> None:
            """A change without a usable answer is unknown, for each change and each way."""
            id = await self.started()
            for name, (route, call) in CHANGES.items():
                for fault in _answers_nothing():
                    await self._expect(name, call, route, id, fault, UnknownOutcome)
                if name not in BODY_IGNORED:
                    html = Fault(kind=FaultKind.HTML)
                    await self._expect(name, call, route, id, html, UnknownOutcome)
                limited = Fault(kind=FaultKind.STATUS, status=429)
                await self._expect(name, call, route, id, limited, Transient)
            self.assertEqual(self.simulator.records[id].raw, "started")

        async def test_refusals(self) -> None:
            """Every 4xx of Daytona's own is a refusal with its status, for each method."""
            id = await self.started()
            for name, (route, call) in (READS | CHANGES).items():
                for status in (400, 401, 403, 409, 422):
                    fault = Fault(kind=FaultKind.STATUS, status=status, message="no")
                    reason = await self._expect(name, call, route, id, fault, DaytonaRefused)
                    self.assertEqual((reason.status, reason.text), (status, "no"), name)

        async def _expect(
            self, name: str, call: Method, route: str, id: SandboxId, fault: Fault, kind: type[T]
        ) -> T:
            self.simulator.faults.clear()
            fault = Fault(kind=fault.kind, status=fault.status, message=fault.message, route=route)
            self.simulator.faults.add(fault)
            try:
                result = await self.world.run(_awaited(call(self.runtime, id)))
            except kind as reason:  # type: ignore[misc]
                self.assertNotIn("admin-key", str(reason))
                return reason
            raise self.failureException(
                f"{name} under {fault}: {result!r} instead of {kind.__name__}"
            )

        async def test_reply_lost_after_the_effect(self) -> None:
            """An unknown outcome may be an effect: the stop and the row are there."""
            id = await self.started()
            self.simulator.lose_reply_next(route="stop")
            await self.ends_with(self.runtime.stop(id), UnknownOutcome)
            await self.reach(id, "stopped")
            self.simulator.lose_reply_next(route="create")
            await self.ends_with(self.runtime.create({"name": "left"}), UnknownOutcome)
            self.assertIsNotNone(await self.world.run(self.runtime.get("left")))

        async def test_reply_cut_after_the_effect(self) -> None:
            """Half an answer to a change is no answer."""
            self.simulator.faults.add(Fault(kind=FaultKind.CUT, route="create"))
            await self.ends_with(self.runtime.create({"name": "left"}), UnknownOutcome)
            self.assertIsNotNone(await self.world.run(self.runtime.get("left")))

        async def test_lookup_of_deleted_error(self) -> None:
            """A failed sandbox that was deleted is gone at once."""
            id = await self.started()
            self.simulator.break_sandbox(id)
            self.assertIsNotNone(await self.world.run(self.runtime.delete(id)))
            self.assertIsNone(await self.world.run(self.runtime.get(id)))

        async def test_key(self) -> None:
            """Every request carries the admin key as a bearer, and no repr shows it."""
            await self.create()
            await self.world.run(self.runtime.sweep())
            sent = {one.headers["authorization"] for one in self.simulator.received}
            self.assertEqual(sent, {("Bearer admin-key",)})
            self.assertNotIn("admin-key", repr(self.runtime))

    return RuntimeSuite


async def _awaited(work: Awaitable[T]) -> T:
    return await work

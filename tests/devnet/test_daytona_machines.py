"""
The simulator's verbs of machines: pause, resume, fork, snapshot and resize.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.devnet.daytona import Dialect, Snapshot, Timings
from tests.devnet.daytona_bench import Bench


SLOW = Timings(
    start_seconds=20,
    stop_seconds=20,
    delete_seconds=20,
    archive_seconds=20,
    pause_seconds=20,
    resize_seconds=20,
    snapshot_seconds=20,
    wait_seconds=0.5,
)

MACHINE = Snapshot(id="5a000000-0000-4000-8000-0000000000aa", name="vm", sandbox_class="linux-vm")


def _bench(dialect: Dialect = Dialect.NEW, timings: Timings | None = None) -> Bench:
    bench = Bench(dialect, timings)
    bench.simulator.resizes = True
    bench.simulator.snapshots[MACHINE.id] = MACHINE
    return bench


def _machine(bench: Bench) -> str:
    return bench.started(snapshot="vm")


def _stopped(bench: Bench) -> str:
    return bench.stopped(snapshot="vm")


def _paused(bench: Bench) -> str:
    id = _machine(bench)
    bench.verb(id, "pause")
    bench.until(id, "paused")
    return id


def _error(bench: Bench) -> str:
    id = _machine(bench)
    bench.simulator.break_sandbox(id)
    return id


def _while(make: Callable[[Bench], str], verb: str, body: Any = None) -> Callable[[Bench], str]:
    def reach(bench: Bench) -> str:
        id = make(bench)
        bench.ask("POST", f"/api/sandbox/{id}/{verb}", body)
        return id

    return reach


BODIES = {"snapshot": {"name": "mine"}, "fork": {}, "resize": {"cpu": 2}}

PLACES: dict[str, Callable[[Bench], str]] = {
    "started": _machine,
    "stopped": _stopped,
    "paused": _paused,
    "pausing": _while(_machine, "pause"),
    "resuming": _while(_paused, "start"),
    "stopping": _while(_machine, "stop"),
    "snapshotting": _while(_machine, "snapshot", {"name": "other"}),
    "forking": _while(_machine, "fork", {}),
    "resizing": _while(_machine, "resize", {"cpu": 2}),
    "error": _error,
}

TABLE: dict[str, dict[str, int | str]] = {
    "pause": {
        "started": 200,
        "stopped": 400,
        "paused": 400,
        "stopping": "IP",
        "snapshotting": 400,
        "error": 400,
    },
    "start": {"paused": 200, "pausing": "IP", "resuming": "IP", "snapshotting": "IP"},
    "stop": {
        "paused": 200,
        "pausing": "IP",
        "resuming": "IP",
        "snapshotting": "IP",
        "forking": "IP",
        "resizing": "IP",
    },
    "delete": {"paused": 200, "pausing": "IP", "snapshotting": "IP", "resizing": "IP"},
    "archive": {"paused": 400, "pausing": "IP", "snapshotting": "IP"},
    "resize": {
        "started": 200,
        "stopped": 200,
        "paused": 400,
        "stopping": "IP",
        "resizing": 400,
        "snapshotting": 400,
        "error": 400,
    },
    "snapshot": {"started": 200, "stopped": 200, "paused": 400, "stopping": "IP", "error": 400},
    "fork": {"started": 200, "stopped": 200, "snapshotting": "IP", "error": 400},
    "recover": {"paused": 400, "started": 400, "error": 200},
}


class TableTests(SynchronousTestCase):
    """These verbs, and those of every sandbox in the states that these bring."""

    def test_table(self) -> None:
        """Verbs against states, as the table of Daytona's behaviour says."""
        for verb, row in TABLE.items():
            for place, expected in row.items():
                bench = _bench(timings=SLOW)
                id = PLACES[place](bench)
                shown = bench.state(id)
                self.assertEqual(shown, place)
                if verb == "delete":
                    status = bench.verb(id, verb).status
                else:
                    path = f"/api/sandbox/{id}/{verb}"
                    status = bench.ask("POST", path, BODIES.get(verb)).status
                self.assertEqual(status, 409 if expected == "IP" else expected, (verb, place))
                bench.simulator.close()

    def test_classes(self) -> None:
        """A container can be resized, but 422 is all that it hears of the rest."""
        bench = _bench()
        id = bench.started()
        for verb in ("pause", "fork", "snapshot"):
            reply = bench.ask("POST", f"/api/sandbox/{id}/{verb}", BODIES.get(verb))
            self.assertEqual(reply.status, 422)
        self.assertEqual(bench.ask("POST", f"/api/sandbox/{id}/resize", {"cpu": 2}).status, 200)

    def test_flag(self) -> None:
        """Resize is no route while its flag is off."""
        bench = Bench()
        id = bench.started()
        self.assertEqual(bench.ask("POST", f"/api/sandbox/{id}/resize", {"cpu": 2}).status, 404)

    def test_since(self) -> None:
        """v0.149 knows none of them but resize, and pause came last."""
        for dialect, missing in (
            (Dialect.OLD, {"pause", "fork", "snapshot", "network-settings"}),
            (Dialect.MIDDLE, {"pause"}),
            (Dialect.NEW, set[str]()),
        ):
            bench = _bench(dialect)
            id = _machine(bench)
            for verb in ("pause", "fork", "snapshot", "network-settings"):
                status = bench.ask("POST", f"/api/sandbox/{id}/{verb}").status
                self.assertEqual(status == 404, verb in missing, (dialect, verb, status))
            bench.simulator.close()


class PauseTests(SynchronousTestCase):
    """Pause and what follows it."""

    def setUp(self) -> None:
        self.bench = _bench()

    def test_waits_for_the_runner(self) -> None:
        """The answer shows it under way; then it is paused, and a start resumes it."""
        id = _machine(self.bench)
        before = self.bench.clock.seconds()
        reply = self.bench.verb(id, "pause")
        self.assertEqual((reply.status, reply.json["state"]), (200, "pausing"))
        self.assertGreater(self.bench.clock.seconds(), before)
        self.bench.until(id, "paused")
        self.assertEqual(self.bench.verb(id, "start").status, 200)
        self.bench.until(id, "started")

    def test_runner_refuses(self) -> None:
        """Where the runner's call fails it is started again."""
        id = _machine(self.bench)
        self.bench.simulator.pause_failures = 1
        self.assertEqual(self.bench.verb(id, "pause").status, 500)
        self.assertEqual(self.bench.state(id), "started")

    def test_delete_shows_paused(self) -> None:
        """A paused one that is being deleted shows it in its goal only."""
        id = _paused(self.bench)
        reply = self.bench.verb(id, "delete").json
        self.assertEqual((reply["state"], reply["desiredState"]), ("paused", "destroyed"))

    def test_truth(self) -> None:
        """The container does not run while it is paused."""
        id = _paused(self.bench)
        ran = self.bench.simulator.running_seconds(id)
        self.bench.clock.advance(100)
        self.assertEqual(self.bench.simulator.running_seconds(id), ran)
        self.bench.simulator.close()


class ResizeTests(SynchronousTestCase):
    """Resize."""

    def setUp(self) -> None:
        self.bench = _bench()

    def resize(self, id: str, **body: Any) -> int:
        """The status."""
        return self.bench.ask("POST", f"/api/sandbox/{id}/resize", body).status

    def test_started(self) -> None:
        """It grows while it runs, without an interruption, and its disk stays."""
        id = _machine(self.bench)
        self.assertEqual(self.resize(id, cpu=1), 400)
        self.assertEqual(self.resize(id, disk=9), 400)
        self.assertEqual(self.resize(id, cpu=0), 400)
        self.assertEqual(self.resize(id), 400)
        self.assertEqual(self.resize(id, cpu=2, memory=4), 200)
        self.assertEqual(self.bench.state(id), "resizing")
        self.bench.until(id, "started")
        shown = self.bench.ask("GET", f"/api/sandbox/{id}").json
        self.assertEqual((shown["cpu"], shown["memory"]), (2, 4))
        self.assertEqual(self.resize(id, cpu=1), 400)
        self.assertEqual(len(self.bench.simulator.records[id].truth.intervals), 1)

    def test_stopped(self) -> None:
        """Stopped, it may shrink, except for its disk."""
        id = _stopped(self.bench)
        self.assertEqual(self.resize(id, cpu=2, disk=9), 200)
        self.bench.until(id, "stopped")
        self.assertEqual(self.resize(id, disk=3), 400)
        self.assertEqual(self.resize(id, cpu=1), 200)


class ForkTests(SynchronousTestCase):
    """Fork and snapshot: compute and prices that nobody asked us for."""

    def setUp(self) -> None:
        self.bench = _bench()

    def test_fork(self) -> None:
        """The child copies labels and size and starts by itself; its parent outlives it."""
        id = self.bench.started(snapshot="vm", labels={"daytona-owner": "0xa"})
        child = self.bench.ask("POST", f"/api/sandbox/{id}/fork", {"name": "twin"}).json
        self.assertEqual((child["name"], child["labels"]), ("twin", {"daytona-owner": "0xa"}))
        self.bench.until(child["id"], "started")
        self.bench.until(id, "started")
        for path, ids in (
            (f"{id}/forks", [child["id"]]),
            (f"{child['id']}/ancestors", [id]),
            (f"{id}/ancestors", []),
        ):
            found = self.bench.ask("GET", f"/api/sandbox/{path}").json
            self.assertEqual([each["id"] for each in found], ids)
        parent = self.bench.ask("GET", f"/api/sandbox/{child['id']}/parent").json
        self.assertEqual(parent["id"], id)
        self.assertEqual(self.bench.verb(id, "delete").status, 400)
        self.bench.verb(child["id"], "delete")
        self.bench.until(child["id"], None)
        self.assertEqual(self.bench.verb(id, "delete").status, 200)

    def test_fork_name(self) -> None:
        """A name that is taken is refused."""
        id = self.bench.started(snapshot="vm", name="one")
        self.assertEqual(
            self.bench.ask("POST", f"/api/sandbox/{id}/fork", {"name": "one"}).status, 409
        )

    def test_snapshot(self) -> None:
        """It is everybody's, and active once it is made; a name twice is refused."""
        id = _machine(self.bench)
        path = f"/api/sandbox/{id}/snapshot"
        self.assertEqual(self.bench.ask("POST", path, {}).status, 400)
        made = self.bench.ask("POST", path, {"name": "mine"})
        self.assertEqual((made.status, made.json["state"]), (200, "snapshotting"))
        self.assertEqual(self.bench.ask("GET", "/api/snapshots/mine").json["state"], "building")
        self.bench.until(id, "started")
        self.assertEqual(self.bench.ask("GET", "/api/snapshots/mine").json["state"], "active")
        self.assertEqual(self.bench.ask("POST", path, {"name": "mine"}).status, 409)

    def test_linked(self) -> None:
        """Whoever was linked to a sandbox dies with it, and anybody's can be linked to."""
        leader = self.bench.started(name="leader", labels={"daytona-owner": "0xa"})
        follower = self.bench.started(linkedSandbox="leader")
        shown = self.bench.ask("GET", f"/api/sandbox/{follower}").json
        self.assertEqual(shown["linkedSandboxId"], leader)
        self.bench.verb(leader, "delete")
        self.bench.until(follower, None)

    def test_gpu(self) -> None:
        """A GPU sandbox keeps its auto-delete interval."""
        gpu = next(each for each in self.bench.simulator.snapshots.values() if each.gpu)
        self.bench.simulator.snapshots[gpu.id] = evolve(gpu, gpu_type="H100")
        id = self.bench.started(snapshot=gpu.name, autoDeleteInterval=0)
        self.assertEqual(self.bench.ask("POST", f"/api/sandbox/{id}/autodelete/-1").status, 400)
        self.assertEqual(self.bench.ask("GET", f"/api/sandbox/{id}").json["gpuType"], "H100")


class FailureTests(SynchronousTestCase):
    """What ends in error."""

    def test_backups_fail(self) -> None:
        """Three failed backups and an archiving ends in error; a recover brings it back."""
        bench = Bench()
        id = bench.stopped()
        bench.simulator.fail_archive_next(id)
        self.assertEqual(bench.verb(id, "archive").status, 200)
        bench.until(id, "error")
        shown = bench.ask("GET", f"/api/sandbox/{id}").json
        self.assertEqual(shown["backupState"], "Error")

    def test_restored_twice(self) -> None:
        """Restoring from the backup again within the hour is refused."""
        bench = Bench()
        id = bench.started(autoStopInterval=0)
        self.assertEqual(bench.verb(id, "backup").status, 201)
        bench.clock.pump([1.0] * 10)
        backed_up = bench.ask("GET", f"/api/sandbox/{id}").json
        self.assertEqual(backed_up["backupState"], "Completed")
        self.assertIn("backupCreatedAt", backed_up)
        statuses = []
        for seconds in (0, 0, 3600):
            bench.simulator.break_sandbox(id)
            bench.clock.advance(seconds)
            statuses.append(bench.verb(id, "recover").status)
        self.assertEqual(statuses, [200, 409, 200])

    def test_not_recoverable(self) -> None:
        """v0.149 recovers whatever is in error, v0.190 what is said to be recoverable."""
        for dialect, status in ((Dialect.OLD, 200), (Dialect.NEW, 400)):
            bench = Bench(dialect)
            id = bench.started()
            bench.simulator.break_sandbox(id, recoverable=False)
            self.assertEqual(bench.verb(id, "recover").status, status)

    def test_edits_in_any_state(self) -> None:
        """Labels and intervals are accepted whatever is under way."""
        for place in ("stopping", "snapshotting", "resizing", "paused", "error"):
            bench = _bench(timings=SLOW)
            id = PLACES[place](bench)
            base = f"/api/sandbox/{id}"
            self.assertEqual(bench.ask("PUT", base + "/labels", {"labels": {}}).status, 200)
            for kind in ("autostop/0", "autoarchive/0", "autodelete/5"):
                self.assertEqual(bench.ask("POST", f"{base}/{kind}").status, 201, (place, kind))
            bench.simulator.close()

    def test_limits(self) -> None:
        """A transition that does not end is an error after its limit."""
        for timings, way, minutes in (
            (Timings(create_seconds=1e9), (), 15),
            (Timings(start_seconds=1e9), ("stopped",), 5),
            (Timings(restore_seconds=1e9), ("stopped", "archived"), 30),
        ):
            bench = Bench(timings=timings)
            id = str(bench.ask("POST", "/api/sandbox", {}).json["id"])
            if way:
                bench.until(id, "started")
            for state in way:
                bench.verb(id, "stop" if state == "stopped" else "archive")
                bench.until(id, state)
            if way:
                bench.verb(id, "start")
            bench.clock.pump([30.0] * (2 * minutes - 3))
            self.assertNotEqual(bench.state(id), "error")
            bench.clock.pump([30.0] * 5)
            self.assertEqual(bench.state(id), "error")

    def test_suspended(self) -> None:
        """A suspended organization neither creates nor starts; it still stops."""
        bench = Bench()
        stopped, running = bench.stopped(), bench.started()
        bench.simulator.suspended = True
        self.assertEqual(bench.ask("POST", "/api/sandbox", {}).status, 403)
        self.assertEqual(bench.verb(stopped, "start").status, 403)
        self.assertEqual(bench.verb(running, "stop").status, 200)

    def test_pulling(self) -> None:
        """A snapshot that no runner has is fetched first."""
        bench = Bench(timings=Timings(pull_seconds=5, wait_seconds=0.5))
        id = str(bench.ask("POST", "/api/sandbox", {}).json["id"])
        self.assertEqual(bench.state(id), "pulling_snapshot")
        bench.until(id, "creating")
        bench.until(id, "started")

    def test_unknown(self) -> None:
        """What no runner answers for is shown as being created, and is raw unknown in lists."""
        bench = Bench()
        id = bench.started()
        bench.simulator.lose_sight(id)
        self.assertEqual(bench.state(id), "creating")
        query = {"states": "unknown"}
        self.assertEqual(len(bench.ask("GET", "/api/sandbox", query=query).json["items"]), 1)

    def test_exit_codes(self) -> None:
        """Only v0.190 reports 255; others than the clean ones nobody reports."""
        for dialect, code, shown in (
            (Dialect.OLD, 255, "started"),
            (Dialect.NEW, 255, "stopped"),
            (Dialect.OLD, 143, "stopped"),
            (Dialect.NEW, 1, "started"),
        ):
            bench = Bench(dialect)
            id = bench.started()
            bench.simulator.exit_container(id, code)
            bench.clock.advance(10)
            self.assertEqual(bench.state(id), shown, (dialect, code))

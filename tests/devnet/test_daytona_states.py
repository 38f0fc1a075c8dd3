"""
The simulator's life of a sandbox: verbs against states, what moves by itself, the truth.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.devnet.daytona import Dialect, Timings
from sandbox_billing.devnet.daytona.records import Meter, State, shown_state
from tests.devnet.daytona_bench import Bench


SLOW = Timings(
    create_seconds=20,
    start_seconds=20,
    stop_seconds=20,
    restore_seconds=20,
    archive_seconds=20,
    delete_seconds=20,
    wait_seconds=0.5,
    build_seconds=40,
)


def _creating(bench: Bench) -> str:
    return str(bench.ask("POST", "/api/sandbox", {}).json["id"])


def _building(bench: Bench) -> str:
    body = {"buildInfo": {"dockerfileContent": "FROM x"}}
    return str(bench.ask("POST", "/api/sandbox", body).json["id"])


def _after(make: Callable[[Bench], str], *verbs: str) -> Callable[[Bench], str]:
    def reach(bench: Bench) -> str:
        id = make(bench)
        for verb in verbs:
            bench.verb(id, verb)
        return id

    return reach


def _archived(bench: Bench) -> str:
    id = bench.stopped()
    bench.verb(id, "archive")
    bench.until(id, "archived")
    return id


def _error(bench: Bench) -> str:
    id = bench.started()
    bench.simulator.break_sandbox(id)
    return id


PLACES: dict[str, Callable[[Bench], str]] = {
    "creating": _creating,
    "pending_build": _building,
    "started": lambda bench: bench.started(),
    "stopping": _after(lambda bench: bench.started(), "stop"),
    "stopped": lambda bench: bench.stopped(),
    "starting": _after(lambda bench: bench.stopped(), "start"),
    "destroying": _after(lambda bench: bench.started(), "delete"),
    "archiving": _after(lambda bench: bench.stopped(), "archive"),
    "archived": _archived,
    "error": _error,
}

# "IP" is 409, and 400 before v0.160.
TABLE: dict[str, dict[str, int | str]] = {
    "start": {
        "creating": "IP",
        "pending_build": "IP",
        "started": 200,
        "stopping": "IP",
        "stopped": 200,
        "starting": "IP",
        "destroying": "IP",
        "archiving": 200,
        "archived": 200,
        "error": 400,
    },
    "stop": {
        "creating": "IP",
        "pending_build": "IP",
        "started": 200,
        "stopping": "IP",
        "stopped": 400,
        "starting": "IP",
        "destroying": "IP",
        "archiving": "IP",
        "archived": 400,
        "error": 400,
    },
    "delete": {
        "creating": "IP",
        "pending_build": 200,
        "started": 200,
        "stopping": "IP",
        "stopped": 200,
        "starting": "IP",
        "destroying": "IP",
        "archiving": 200,
        "archived": 200,
        "error": 200,
    },
    "archive": {
        "creating": "IP",
        "started": 400,
        "stopping": "IP",
        "stopped": 200,
        "starting": "IP",
        "archived": 400,
        "error": 400,
    },
    "recover": {
        "creating": "IP",
        "started": 400,
        "stopping": "IP",
        "stopped": 400,
        "starting": "IP",
        "destroying": "IP",
        "archived": 400,
        "error": 200,
    },
}


class TableTests(SynchronousTestCase):
    """Every verb against every state, in every dialect."""

    def check(self, verb: str) -> None:
        """One row of the table."""
        for dialect in Dialect:
            in_progress = 400 if dialect is Dialect.OLD else 409
            for place, expected in TABLE[verb].items():
                bench = Bench(dialect, SLOW)
                id = PLACES[place](bench)
                self.assertEqual(bench.state(id), place)
                status = bench.verb(id, verb).status
                wanted = in_progress if expected == "IP" else expected
                self.assertEqual(status, wanted, (dialect, verb, place))
                bench.simulator.close()

    def test_start(self) -> None:
        """Start is idempotent and accepted while archiving."""
        self.check("start")

    def test_stop(self) -> None:
        """Stop is neither idempotent nor accepted in a transition."""
        self.check("stop")

    def test_delete(self) -> None:
        """Delete is accepted wherever nothing is under way, while archiving, before a build."""
        self.check("delete")

    def test_archive(self) -> None:
        """Archive takes what is stopped."""
        self.check("archive")

    def test_recover(self) -> None:
        """Recover takes what is in error."""
        self.check("recover")

    def test_derived(self) -> None:
        """What is shown follows from what is and what is wanted."""
        for raw, desired, shown in (
            ("started", "stopped", "stopping"),
            ("started", "destroyed", "destroying"),
            ("stopped", "destroyed", "destroying"),
            ("stopped", "started", "starting"),
            ("stopped", "archived", "archiving"),
            ("unknown", "started", "creating"),
            ("archived", "destroyed", "archived"),
            ("error", "destroyed", "error"),
            ("archived", "started", "archived"),
        ):
            self.assertEqual(shown_state(State(raw), State(desired)), shown)


class LifeTests(SynchronousTestCase):
    """Creates that fail, deletes that rename, intervals that fire."""

    def setUp(self) -> None:
        self.bench = Bench()
        self.simulator = self.bench.simulator
        self.addCleanup(self.simulator.close)

    def test_create_waits(self) -> None:
        """Create is held until it runs, and then answers with how it looked before."""
        pending = self.bench.send("POST", "/api/sandbox", {})
        self.bench.clock.advance(1.5)
        self.bench.flush()
        self.assertNoResult(pending)
        self.bench.clock.advance(1)
        self.bench.flush()
        self.assertEqual(self.successResultOf(pending).json["state"], "creating")

    def test_create_waits_thirty_seconds(self) -> None:
        """After 30 s create answers although nothing runs yet."""
        self.simulator.engine.timings = Timings(create_seconds=100)
        self.simulator.timings = self.simulator.engine.timings
        pending = self.bench.send("POST", "/api/sandbox", {})
        self.bench.clock.advance(29)
        self.bench.flush()
        self.assertNoResult(pending)
        self.bench.clock.advance(2)
        self.bench.flush()
        id = self.successResultOf(pending).json["id"]
        self.assertEqual(self.bench.state(id), "creating")

    def test_client_gone(self) -> None:
        """A client that hangs up leaves a sandbox that runs."""
        pending = self.bench.send("POST", "/api/sandbox", {"name": "left"})
        self.bench.flush()
        pending.addErrback(lambda _: None)
        pending.cancel()
        self.bench.flush()
        self.bench.until("left", "started")

    def test_warm_pool(self) -> None:
        """A warm-pool sandbox is started at once."""
        self.simulator.warm_pool = True
        reply = self.bench.ask("POST", "/api/sandbox", {}, wait=False)
        self.assertEqual(reply.json["state"], "started")

    def test_failed_create(self) -> None:
        """400 without an id, a row in error, and recover starts it."""
        self.simulator.fail_start_next("no space")
        reply = self.bench.ask("POST", "/api/sandbox", {"name": "box"})
        self.assertEqual(reply.status, 400)
        self.assertEqual(reply.json["message"], "Sandbox failed to start: no space")
        shown = self.bench.ask("GET", "/api/sandbox/box").json
        self.assertEqual((shown["state"], shown["errorReason"]), ("error", "no space"))
        self.assertEqual(self.bench.verb("box", "recover").json["state"], "started")

    def test_failed_start(self) -> None:
        """A start that fails is 400 too; one that cannot be recovered stays."""
        id = self.bench.stopped()
        self.simulator.fail_start_next(recoverable=False)
        self.assertEqual(self.bench.verb(id, "start").status, 400)
        self.assertEqual(self.bench.verb(id, "recover").status, 400)

    def test_recover_without_start(self) -> None:
        """C{skipStart} ends in stopped."""
        id = self.bench.started()
        self.simulator.break_sandbox(id)
        self.bench.ask("POST", f"/api/sandbox/{id}/recover?skipStart=true")
        self.bench.until(id, "stopped")

    def test_delete_frees_the_name(self) -> None:
        """At acceptance the name is changed and free; the id is 404 when it is done."""
        id = self.bench.started(name="box")
        shown = self.bench.verb(id, "delete").json
        self.assertEqual(shown["state"], "destroying")
        self.assertTrue(shown["name"].startswith("DESTROYED_box_"))
        self.assertIsNone(self.bench.state("box"))
        self.assertNotEqual(self.bench.started(name="box"), id)
        self.bench.until(id, None)

    def test_ephemeral(self) -> None:
        """With autoDeleteInterval 0 a stop deletes, and nothing can be archived."""
        id = self.bench.started(autoDeleteInterval=0)
        self.assertEqual(self.bench.verb(id, "stop").json["state"], "destroying")
        self.bench.until(id, None)
        other = self.bench.stopped()
        self.bench.ask("POST", f"/api/sandbox/{other}/autodelete/0")
        self.assertEqual(self.bench.verb(other, "archive").status, 400)

    def test_intervals(self) -> None:
        """Negative is refused for stop and archive, archive 0 is the maximum, it is capped."""
        id = self.bench.started()
        for path, status in (("autostop/-1", 400), ("autoarchive/-1", 400), ("autodelete/-9", 201)):
            self.assertEqual(self.bench.verb(id, path).status, status)
        for minutes in ("0", "99999"):
            shown = self.bench.verb(id, f"autoarchive/{minutes}").json
            self.assertEqual(shown["autoArchiveInterval"], 43_200)
        self.assertEqual(self.bench.verb(id, "autostop/x").status, 400)

    def test_auto_stop(self) -> None:
        """An idle sandbox stops by itself; a touch postpones that; 0 is never."""
        idle = self.bench.started(autoStopInterval=2)
        touched = self.bench.started(autoStopInterval=2)
        never = self.bench.started(autoStopInterval=0)
        for _ in range(10):
            self.bench.clock.advance(15)
            self.bench.verb(touched, "last-activity")
        states = [self.bench.state(id) for id in (idle, touched, never)]
        self.assertEqual(states, ["stopped", "started", "started"])

    def test_auto_archive_and_delete(self) -> None:
        """What is stopped for long enough is archived, or deleted."""
        archived = self.bench.stopped(autoArchiveInterval=1)
        deleted = self.bench.stopped(autoDeleteInterval=1)
        for _ in range(12):
            self.bench.clock.advance(10)
        self.assertEqual(self.bench.state(archived), "archived")
        self.assertIsNone(self.bench.state(deleted))

    def test_stale_lookup(self) -> None:
        """With the cache on, a lookup may be ten seconds old; a list never is."""
        self.simulator.timings = Timings(lookup_cache_seconds=10)
        id = self.bench.started()
        self.bench.verb(id, "stop")
        self.assertEqual(self.bench.state(id), "started")
        listed = self.bench.ask("GET", "/api/sandbox").json["items"][0]["state"]
        self.assertEqual(listed, "stopping")
        self.bench.clock.advance(10)
        self.assertEqual(self.bench.state(id), "stopped")


class TruthTests(SynchronousTestCase):
    """When containers really ran, and when they were shown to."""

    def setUp(self) -> None:
        self.bench = Bench()
        self.simulator = self.bench.simulator
        self.addCleanup(self.simulator.close)

    def test_stop(self) -> None:
        """A run counts from its start to the accepted stop, over several runs."""
        id = self.bench.started()
        before = self.simulator.running_seconds(id)
        self.bench.clock.advance(100)
        self.bench.verb(id, "stop")
        self.bench.clock.advance(50)
        self.assertEqual(self.simulator.running_seconds(id) - before, 100)
        self.bench.verb(id, "start")
        again = self.simulator.running_seconds(id)
        self.bench.clock.advance(7)
        self.bench.verb(id, "delete")
        self.bench.clock.advance(50)
        self.assertEqual(self.simulator.running_seconds(id) - again, 7)
        self.assertEqual(self.simulator.running_seconds(id), self.simulator.shown_seconds(id))

    def test_nothing_before_started(self) -> None:
        """Creation is free."""
        pending = self.bench.send("POST", "/api/sandbox", {"name": "box"})
        self.bench.clock.advance(1.9)
        (id,) = self.simulator.records
        self.assertEqual(self.simulator.running_seconds(id), 0)
        self.bench.clock.advance(0.1)
        self.bench.clock.advance(5)
        self.assertEqual(self.simulator.running_seconds(id), 5)
        self.bench.flush()
        self.successResultOf(pending)

    def test_self_stop(self) -> None:
        """A clean exit shows within ten seconds, without a stopping in between."""
        for code in (0, 137, 143):
            id = self.bench.started()
            self.simulator.exit_container(id, code)
            seen = []
            for _ in range(11):
                seen.append(self.bench.state(id))
                self.bench.clock.advance(1)
            self.assertEqual(set(seen), {"started", "stopped"})
            shown = self.bench.ask("GET", f"/api/sandbox/{id}").json
            self.assertEqual((shown["state"], shown["desiredState"]), ("stopped", "stopped"))
            late = self.simulator.shown_seconds(id) - self.simulator.running_seconds(id)
            self.assertGreater(late, 0)
            self.assertLessEqual(late, 10)

    def test_unreported(self) -> None:
        """Another exit code and a vanished container stay started for ever."""
        crashed, vanished = self.bench.started(), self.bench.started()
        for id in (crashed, vanished):
            self.bench.verb(id, "autostop/0")
        self.simulator.exit_container(crashed, 1)
        self.simulator.vanish_container(vanished)
        ran = [self.simulator.running_seconds(id) for id in (crashed, vanished)]
        self.bench.clock.advance(3600)
        for id, seconds in zip((crashed, vanished), ran, strict=True):
            self.assertEqual(self.bench.state(id), "started")
            self.assertEqual(self.simulator.running_seconds(id), seconds)

    def test_behind_our_back(self) -> None:
        """What others do past us shows at once and ends or begins a run."""
        id = self.bench.started(name="box")
        self.simulator.stop_behind(id)
        self.assertEqual(self.bench.state(id), "stopped")
        ran = self.simulator.running_seconds(id)
        self.bench.clock.advance(10)
        self.simulator.start_behind(id)
        self.bench.clock.advance(10)
        self.simulator.remove_behind(id)
        self.bench.clock.advance(10)
        self.assertIsNone(self.bench.state(id))
        self.assertIsNone(self.bench.state("box"))
        self.assertEqual(self.simulator.running_seconds(id), ran + 10)

    def test_meter(self) -> None:
        """Observing the same again changes nothing; an open interval counts up to now."""
        meter = Meter()
        for on, at in ((False, 0), (True, 1), (True, 2), (False, 4), (False, 5), (True, 8)):
            meter.observe(on, at)
        self.assertEqual(meter.intervals, [(1, 4), (8, None)])
        self.assertEqual(meter.seconds(10), 5)

"""
Laws of the simulated Daytona that hold whatever is asked of it and whatever happens to it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.devnet.daytona import Dialect, Snapshot, Timings
from tests.devnet.daytona_bench import Bench


VERBS = ("start", "stop", "archive", "recover", "pause", "resize", "fork", "snapshot", "delete")
ACCIDENTS = ("exit", "vanish", "break", "lose_sight", "fail_start", "stop_behind", "start_behind")

# What is done, to which of the sandboxes, and how many seconds pass then.
STEPS = st.lists(
    st.tuples(
        st.sampled_from((*VERBS, *ACCIDENTS, "create", "wait")),
        st.integers(0, 3),
        st.sampled_from((0.0, 0.5, 1.5, 11.0, 400.0)),
    ),
    max_size=25,
)

# As of the oldest dialect until the newest; "IP" is another status in the first.
STATUSES = {200, 201, 400, 404, 409, 422}


class _Story:
    """What a sequence of steps did."""

    def __init__(self, dialect: Dialect) -> None:
        timings = Timings(wait_seconds=0.5, snapshot_seconds=2, pull_seconds=1)
        self.bench = Bench(dialect, timings)
        self.simulator = self.bench.simulator
        self.simulator.resizes = True
        machine = Snapshot(id="5a-vm", name="vm", sandbox_class="linux-vm")
        self.simulator.snapshots[machine.id] = machine
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.simulator.events.subscribe(lambda *event: self.told.append(event))
        self.statuses: set[int] = set()
        self._names = 0

    def live(self, steps: list[tuple[str, int, float]]) -> None:
        """Do it all, beginning with one that runs."""
        self._ask("POST", "sandbox", {"snapshot": "vm"})
        self.bench.clock.pump([0.5] * 8)
        for what, which, seconds in steps:
            ids = list(self.simulator.records)
            if what == "create":
                self._ask("POST", "sandbox", {"snapshot": "vm", "autoStopInterval": 5})
            elif what != "wait" and ids:
                self._do(what, ids[which % len(ids)])
            self.bench.clock.pump([0.5] * int(seconds * 2))

    def _do(self, what: str, id: str) -> None:
        if what in VERBS:
            if what == "delete":
                self._ask("DELETE", f"sandbox/{id}")
                return
            self._names += 1
            bodies = {"resize": {"cpu": self._names + 1}, "snapshot": {"name": str(self._names)}}
            self._ask("POST", f"sandbox/{id}/{what}", bodies.get(what, {}))
            return
        if not self.simulator.records[id].visible:
            return
        match what:
            case "exit":
                self.simulator.exit_container(id)
            case "vanish":
                self.simulator.vanish_container(id)
            case "break":
                self.simulator.break_sandbox(id)
            case "fail_start":
                self.simulator.fail_start_next()
            case _:
                getattr(self.simulator, what)(id)

    def _ask(self, method: str, path: str, body: Any = None) -> None:
        self.statuses.add(self.bench.ask(method, f"/api/{path}", body).status)


class LawTests(SynchronousTestCase):
    """Whatever happens."""

    def story(self, dialect: Dialect, steps: list[tuple[str, int, float]]) -> _Story:
        """A story that has been lived."""
        story = _Story(dialect)
        self.addCleanup(story.simulator.close)
        story.live(steps)
        return story

    @settings(max_examples=100, deadline=None)
    @given(dialect=st.sampled_from(Dialect), steps=STEPS)
    def test_statuses(self, dialect: Dialect, steps: list[tuple[str, int, float]]) -> None:
        """No verb is answered with a status that Daytona does not have for it."""
        story = self.story(dialect, steps)
        self.assertLessEqual(story.statuses, STATUSES)

    @settings(max_examples=100, deadline=None)
    @given(dialect=st.sampled_from(Dialect), steps=STEPS)
    def test_truth(self, dialect: Dialect, steps: list[tuple[str, int, float]]) -> None:
        """
        The log of a sandbox's running has no overlap, and ends with the sandbox.
        """
        simulator = self.story(dialect, steps).simulator
        for record in simulator.records.values():
            for meter in (record.truth, record.shown):
                spans = meter.intervals
                for (_, ended), (began, _until) in pairwise(spans):
                    assert ended is not None
                    self.assertLessEqual(ended, began)
                self.assertTrue(all(until is None or since <= until for since, until in spans))
            is_open = bool(record.truth.intervals) and record.truth.intervals[-1][1] is None
            self.assertEqual(is_open, record.runs)

    @settings(max_examples=100, deadline=None)
    @given(dialect=st.sampled_from(Dialect), steps=STEPS)
    def test_events(self, dialect: Dialect, steps: list[tuple[str, int, float]]) -> None:
        """
        Whoever has heard every event knows the state of every sandbox: each event begins where
        the one before it ended.
        """
        story = self.story(dialect, steps)
        known: dict[str, dict[str, str]] = {}
        for name, payload in story.told:
            if name == "sandbox.created":
                self.assertNotIn(payload["id"], known)
                known[payload["id"]] = {"DesiredState": payload["desiredState"]}
                continue
            kind = "State" if name == "sandbox.state.updated" else "DesiredState"
            state = known[payload["sandbox"]["id"]]
            self.assertEqual(state.setdefault(kind, payload[f"old{kind}"]), payload[f"old{kind}"])
            state[kind] = payload[f"new{kind}"]
        self.assertEqual(set(known), set(story.simulator.records))
        for id, state in known.items():
            record = story.simulator.records[id]
            self.assertEqual(state["DesiredState"], str(record.desired))
            self.assertEqual(state.get("State", str(record.raw)), str(record.raw))

    @settings(max_examples=30, deadline=None)
    @given(dialect=st.sampled_from(Dialect), steps=STEPS)
    def test_lists_and_lookups_agree(
        self, dialect: Dialect, steps: list[tuple[str, int, float]]
    ) -> None:
        """The pages hold exactly what a lookup finds, as it shows it."""
        bench = self.story(dialect, steps).bench
        listed = bench.ask("GET", "/api/sandbox/paginated", query={"limit": "200"}).json
        found = {
            id: reply.json
            for id in bench.simulator.records
            if (reply := bench.ask("GET", f"/api/sandbox/{id}")).status == 200
        }
        self.assertEqual({each["id"]: each for each in listed["items"]}, found)

"""LIFECYCLE_PER_HOUR: what counts, and what never does."""

from __future__ import annotations

from attrs import evolve
from treq.testing import RequestTraversalAgent

from sandbox_billing.adapters.memory import FaultyKeyspace
from sandbox_billing.adapters.redis.commit import Commit, Committed
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import DaytonaRefused, NotReady, TooSlow
from sandbox_billing.web.root import make_root
from tests.web.asking import AskingTestCase, Reply
from tests.web.world import NOW, PROVIDER, SANDBOX, TERMS, World


TEXT = "too many creates, starts and recovers of this wallet within an hour"


class LifecycleTests(AskingTestCase):
    """Two an hour."""

    def setUp(self) -> None:
        """Nothing happened yet."""
        self.world = World(evolve(TERMS, lifecycle_per_hour=2))

    def call(self, verb: str, key: str | None = None) -> Reply:
        """One of them, signed now."""
        expires_at = self.world.wall.moment + 300
        if verb == "create":
            target, id, method = "/api/sandbox", "", "POST"
        else:
            target, id, method = f"/api/sandbox/{SANDBOX}/{verb}", SANDBOX, "POST"
        if verb == "delete":
            target, method = f"/api/sandbox/{SANDBOX}", "DELETE"
        said = f"POST:{target}" if verb == "recover" else verb
        headers = self.world.signed(said, "" if verb == "recover" else id, expires_at=expires_at)
        if key is not None:
            headers["Idempotency-Key"] = key
        return self.ask(method, target, headers)

    def test_hour(self) -> None:
        """Creates and starts count together, over an hour that slides; stop and delete never."""
        self.assertEqual(self.call("create").status, 200)
        self.world.wall.moment += 600
        self.assertEqual(self.call("start").status, 200)
        for verb in ("create", "start"):
            reply = self.call(verb)
            self.assertEqual((reply.status, reply.json.get("error")), (429, TEXT))
            self.assertEqual(reply.header("Retry-After"), "3000")
        for verb in ("stop", "stop", "stop", "delete", "delete"):
            self.assertEqual(self.call(verb).status, 200)
        self.world.wall.moment = NOW + 3600
        self.assertEqual(self.call("create").status, 200)
        self.assertEqual(self.call("create").status, 429)

    def test_accepted_only(self) -> None:
        """What was refused, or certainly did not happen, does not count."""
        for error in (BadInput("no"), DaytonaRefused("no", 422), NotReady("not now")):
            self.world.calls.failing["create"] = error
            for _ in range(3):
                self.assertNotEqual(self.call("create").status, 429)
        self.world.calls.failing["create"] = TooSlow("no answer")
        self.assertEqual([self.call("create").status for _ in range(3)], [504, 504, 429])

    def test_nothing_forwarded(self) -> None:
        """A start or recovery of what runs changes nothing, and counts as nothing."""
        holder, shown = self.world.intake.sandboxes[SANDBOX]
        self.world.intake.sandboxes[SANDBOX] = holder, evolve(shown, as_found=True)
        for verb in ("start", "recover"):
            self.assertEqual([self.call(verb).status for _ in range(3)], [200, 200, 200])
        self.assertEqual([self.call("create").status for _ in range(3)], [200, 200, 429])

    def test_giving_back_fails(self) -> None:
        """What is told is why it was refused, not that it could not be uncounted."""
        keyspace = self.world.keyspace

        class Forgetful(FaultyKeyspace):
            """Takes, and gives nothing back."""

            async def commit(self, commit: Commit) -> Committed:
                self.connected = "no more" not in commit.name
                return await FaultyKeyspace.commit(self, commit)

        faults = Forgetful(keyspace, self.world.clock)
        journal = Journal.over(faults, PROVIDER, self.world.wall, interval_seconds=3600)
        desk = evolve(self.world.desk, lifecycle=journal.lifecycle)
        self.world.agent = RequestTraversalAgent(make_root(desk))
        self.world.calls.failing["create"] = DaytonaRefused("no", 422)
        self.assertEqual([self.call("create").status for _ in range(2)], [422, 422])

    def test_replays(self) -> None:
        """What is told again does not count again; what was too much may be asked later."""
        for _ in range(5):
            self.assertEqual(self.call("create", "one").status, 200)
        self.assertEqual(self.call("start", "one").status, 200)
        self.assertEqual(self.call("create", "two").status, 429)
        self.world.wall.moment += 3600
        reply = self.call("create", "two")
        self.assertEqual((reply.status, reply.header("Idempotency-Replayed")), (200, None))

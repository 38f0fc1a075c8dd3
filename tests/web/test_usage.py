"""
What a wallet has, what it was charged, and what one sandbox ran.
"""

from __future__ import annotations

import csv
from io import StringIO
from typing import Any

import treq
from attrs import evolve
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers
from zope.interface import alsoProvides

from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import IHistory, Sandbox
from sandbox_billing.ledger.account import Account
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.metering import begin, close, resized, tick_now
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.signing.key import SigningKey
from sandbox_billing.web import usage as usage_module
from sandbox_billing.web.root import make_root
from tests.ports.journal import (
    FEE,
    RATE,
    account,
    block,
    intent,
    mirror,
    rulings,
    running,
    session,
    signed,
)
from tests.ports.journal_queue import half
from tests.web.asking import AskingTestCase, Reply
from tests.web.world import NOW, OWNER, STRANGER, TERMS, StandInIntake, sandbox


SB = "sb-1"
DAY = 86_400


class MoneyCase(AskingTestCase):
    """A front desk on the facts of a real journal, in memory."""

    def setUp(self) -> None:
        """A mirrored owner, and nothing else."""
        super().setUp()
        world: Any = self.world
        world.desk = evolve(world.desk, history=world.journal.history, doors=world.journal.doors)
        world.root = make_root(world.desk)
        world.agent = RequestTraversalAgent(world.root)
        self.journal = world.journal
        self.now(self.journal.lease.acquire())
        self.mirrored(account(OWNER.address, balance=Neuron(10**21)))

    def now(self, work: Any) -> Any:
        """What comes of a coroutine that waits for nobody."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def mirrored(self, *accounts: Any) -> None:
        """The watcher's first step."""
        head = evolve(mirror(77), updated_at=UnixSeconds(NOW))
        self.now(self.journal.mirror.step(None, head, accounts, (), ()))

    def runs(self, name: str = SB, **changes: Any) -> Any:
        """A sandbox that begins to run now."""
        at = UnixSeconds(self.world.wall.moment)
        made = {"opened_at": at, "charged_until": at, "changed_at": at, **changes}
        owner: Address = made.pop("owner", OWNER.address)
        return self.now(running(self.world, name, owner=owner, **made))  # type: ignore[arg-type]

    def ran(self, name: str, seconds: int) -> Any:
        """So much later, seen running, and charged."""
        self.world.wall.moment += seconds
        stored = self.now(self.journal.doors.session(SandboxId(name)))
        self.now(self.journal.meter.seen({stored.value.sandbox: self.world.wall.now()}))
        step = tick_now(stored.value, seen_at=self.world.wall.moment, now=self.world.wall.now())
        assert step is not None
        return self.now(self.journal.meter.charge(stored, step))

    def stops(self, name: str = SB, *, destroyed: bool = False) -> None:
        """Its owner stops it now, or deletes it."""
        stored = self.now(self.journal.doors.session(SandboxId(name)))
        moment = self.world.wall.now()
        closing = close(stored.value, until=moment, now=moment)
        self.now(
            self.journal.doors.close_session(
                stored, closing, destroyed=destroyed, forgive_create=False
            )
        )

    def headers(self, target: str, key: SigningKey = OWNER) -> dict[str, str]:
        """Of a request that is signed by its path, now."""
        soon = self.world.wall.moment + 300
        return self.world.signed(f"GET:{target}", "", key=key, expires_at=soon)

    def get(self, target: str, *, key: SigningKey = OWNER) -> Reply:
        """What comes back as JSON."""
        return self.ask("GET", target, self.headers(target, key))

    def text(self, target: str, **headers: str) -> tuple[int, str, str]:
        """Status, media type and body of what is no JSON."""
        fields = Headers(
            {name: [value] for name, value in {**self.headers(target), **headers}.items()}
        )
        url = b"https://front.example" + target.encode("ascii")
        response = self.successResultOf(self.world.agent.request(b"GET", url, fields, None))
        media = response.headers.getRawHeaders("content-type")[0]
        return response.code, media, self.successResultOf(treq.content(response)).decode()


class AccountTests(MoneyCase):
    """C{/api/account}."""

    def test_nothing_runs(self) -> None:
        """Balance and terms; nothing burns, so nothing runs dry."""
        told = self.get("/api/account").json
        self.assertEqual(told["balance"], str(10**21))
        self.assertEqual(told["available"], str(10**21))
        self.assertEqual(told["exposure"]["total"], "0")
        for name, value in (
            ("wallet", "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"),
            ("chain_id", 16602),
            ("block", 77),
            ("as_of", NOW),
            ("pending_refund", "0"),
            ("refund_unlock_at", None),
            ("acknowledged", True),
            ("signer_version", 1),
            ("burn_rate_per_minute", "0"),
            ("runs_dry_at", None),
            ("blocked", None),
            ("running", 0),
            ("provider_leaving_at", None),
        ):
            self.assertEqual(told[name], value, name)

    def test_as_admission_and_treasurer_count(self) -> None:
        """The parts are the total, and what is left is by the sums that admit and stop."""
        self.runs()
        self.world.wall.moment += 90
        told = self.get("/api/account").json
        funds = self.now(self.journal.doors.funds(OWNER.address))
        exposure, now = funds.exposure, self.world.wall.moment
        parts = {name: int(amount) for name, amount in told["exposure"].items()}
        self.assertEqual(parts.pop("total"), exposure.total(now))
        self.assertEqual(sum(parts.values()), exposure.total(now))
        self.assertEqual(parts["accrued"], RATE * 90 // 60)
        self.assertEqual(parts["charges"], FEE)
        self.assertEqual(parts["accrued"] + parts["charges"], exposure.owed(now))
        self.assertEqual(int(told["available"]), 10**21 - exposure.total(now))
        self.assertEqual((told["burn_rate_per_minute"], told["running"]), (str(RATE), 1))
        left = 10**21 - exposure.owed(now) - -(-RATE * TERMS.stop_delay_seconds // 60)
        self.assertAlmostEqual(told["runs_dry_at"], now + left * 60 // RATE, delta=1)

    def test_overdrawn(self) -> None:
        """Nothing is available below zero; it ran dry in the past; and the flag says why."""
        self.mirrored_again(balance=Neuron(1))
        self.runs()
        self.world.wall.moment += 3600
        told = self.get("/api/account").json
        self.assertEqual(told["available"], "0")
        self.assertLess(told["runs_dry_at"], self.world.wall.moment)

    def mirrored_again(self, **changes: Any) -> None:
        """The account in another state, a block later."""
        head = self.now(self.journal.mirror.mirror())
        news = [account(OWNER.address, block=78, **changes)]
        after = evolve(mirror(78), updated_at=UnixSeconds(NOW))
        known = self.now(self.journal.mirror.wallets())
        self.now(self.journal.mirror.step(head, after, news, (), (), known=known))

    def test_flawed_contract(self) -> None:
        """Where a refund can take what was used, it is left out of what is available (D1)."""
        self.mirrored_again(
            balance=Neuron(100), pending_refund=Neuron(30), refund_unlock_at=UnixSeconds(NOW + 9)
        )
        told = self.get("/api/account").json
        self.assertEqual((told["balance"], told["available"]), ("100", "70"))
        self.assertEqual((told["pending_refund"], told["refund_unlock_at"]), ("30", NOW + 9))

    def test_newcomer(self) -> None:
        """A wallet that is not mirrored is read as a create would read it, once."""
        head = self.now(self.journal.doors.mirror())

        doors = self.journal.doors

        class Meeting(StandInIntake):
            """Knows newcomers from then on."""

            async def meet(self, owner: Address) -> Account:
                await super().meet(owner)
                met = account(owner, balance=Neuron(5))
                await doors.add_account(head, met)
                return met

        desk = evolve(self.world.desk, intake=Meeting(self.world.calls))
        self.world.agent = RequestTraversalAgent(make_root(desk))
        for _ in range(2):
            told = self.get("/api/account", key=STRANGER).json
            self.assertEqual((told["balance"], told["block"]), ("5", 77))
        met = [call for call in self.world.calls.asked if call[0] == "meet"]
        self.assertEqual(met, [("meet", STRANGER.address)])

    def test_stranger(self) -> None:
        """A wallet that never had anything here is shown as it is, and nothing is stored."""
        before = self.now(self.journal.mirror.wallets())
        told = self.get("/api/account", key=STRANGER).json
        self.assertEqual(
            (told["balance"], told["available"], told["acknowledged"], told["block"]),
            ("0", "0", False, 77),
        )
        self.assertEqual(self.now(self.journal.mirror.wallets()), before)

    def test_before_the_first_step(self) -> None:
        """Nobody knows what anybody has."""
        self.world.keyspace.__init__(self.world.clock)  # type: ignore[misc]
        self.assertEqual(self.get("/api/account").error, (503, "the chain has not been read yet"))


class UsageTests(MoneyCase):
    """C{/api/usage}."""

    def lived(self) -> None:
        """An hour of one, half of it before midnight; ten seconds of another, in debt."""
        self.world.wall.moment = NOW // DAY * DAY + DAY - 1800
        self.runs()
        self.ran(SB, 3600)
        self.runs("sb-2")
        self.ran("sb-2", 10)

    def test_by_sandbox(self) -> None:
        """A row for each, with what became of it; totals are their sums."""
        self.lived()
        batch = self.now(signed(self.world, OWNER.address))  # type: ignore[arg-type]
        made = self.now(rulings(self.world, batch, half))  # type: ignore[arg-type]
        self.now(self.journal.queue.resolve(batch, block(), made, (), ()))
        told = self.get("/api/usage").json
        self.assertEqual(
            (told["group"], [row["key"] for row in told["rows"]]), ("sandbox", [SB, "sb-2"])
        )
        first = told["rows"][0]
        self.assertEqual(first["seconds"], 3600)
        self.assertEqual(first["compute"], str(RATE * 60))
        self.assertEqual(first["create_fees"], str(FEE))
        # A neuron of each of the two vouchers moved.
        self.assertEqual((first["settled"], first["pending"]), ("2", "0"))
        for row in (told["totals"], *told["rows"]):
            parts = [int(row[name]) for name in ("settled", "owed", "pending", "forgiven")]
            self.assertEqual(int(row["charged"]), sum(parts))
        for name in told["totals"]:
            self.assertEqual(
                int(told["totals"][name]), sum(int(row[name]) for row in told["rows"]), name
            )

    def test_by_day(self) -> None:
        """What spans midnight is divided there by its rate, and nothing is lost."""
        self.lived()
        rows = self.get("/api/usage?group=day").json["rows"]
        self.assertEqual([row["key"] for row in rows], ["2023-11-14", "2023-11-15"])
        self.assertEqual([row["seconds"] for row in rows], [1800, 1810])
        self.assertEqual(int(rows[0]["compute"]), RATE * 30)
        whole = RATE * 60 + RATE * 10 // 60
        self.assertEqual(sum(int(row["compute"]) for row in rows), whole)

    def test_span(self) -> None:
        """Only what ran within it is told; what begins at its end is not."""
        self.lived()
        midnight = NOW // DAY * DAY + DAY
        target = f"/api/usage?from={midnight}&to={midnight + 60}"
        told = self.get(target).json
        self.assertEqual((told["from"], told["to"]), (midnight, midnight + 60))
        self.assertEqual((told["totals"]["seconds"], told["totals"]["create_fees"]), (60, "0"))
        self.assertEqual(told["totals"]["compute"], str(RATE))

    def test_by_label(self) -> None:
        """Living ones by what Daytona shows, those that are gone by what they had."""
        self.lived()
        for name in (SB, "sb-2"):
            self.now(self.journal.doors.label(SandboxId(name), {"team": "red"}))
        living = sandbox(SB, OWNER.address, labels={"team": "blue"})

        async def labelled(label: str, value: str) -> tuple[Sandbox, ...]:
            self.assertEqual((label, value), ("daytona-owner", OWNER.address.hex))
            return (living,)

        self.world.runtime.labelled = labelled  # type: ignore[attr-defined]
        rows = self.get("/api/usage?group=label&label=team").json["rows"]
        self.assertEqual(
            [(row["key"], row["seconds"]) for row in rows], [("blue", 3600), ("red", 10)]
        )
        rows = self.get("/api/usage?group=label&label=else").json["rows"]
        self.assertEqual([(row["key"], row["seconds"]) for row in rows], [("", 3610)])

        async def silent(label: str, value: str) -> tuple[Sandbox, ...]:
            raise Transient("no answer")

        self.world.runtime.labelled = silent  # type: ignore[attr-defined]
        rows = self.get("/api/usage?group=label&label=team").json["rows"]
        self.assertEqual([(row["key"], row["seconds"]) for row in rows], [("red", 3610)])

    def test_owner_label_is_ours(self) -> None:
        """What we labelled a sandbox is no label of its owner's."""
        self.lived()

        async def labelled(label: str, value: str) -> tuple[Sandbox, ...]:
            return (sandbox(SB, OWNER.address),)

        self.world.runtime.labelled = labelled  # type: ignore[attr-defined]
        rows = self.get("/api/usage?group=label&label=daytona-owner").json["rows"]
        self.assertEqual([row["key"] for row in rows], [""])

    def test_csv(self) -> None:
        """A line of names, then one for each row, asked for in either way."""
        self.lived()
        asked = self.text("/api/usage?format=csv")
        self.assertEqual(asked, self.text("/api/usage", Accept="text/csv"))
        self.assertEqual(asked[:2], (200, "text/csv; charset=utf-8; header=present"))
        rows = list(csv.DictReader(StringIO(asked[2])))
        self.assertEqual([row["sandbox"] for row in rows], [SB, "sb-2"])
        told = self.get("/api/usage").json["rows"]
        for row, same in zip(rows, told, strict=True):
            self.assertEqual(row["charged"], same["charged"])
            self.assertEqual(int(row["seconds"]), same["seconds"])
        self.assertEqual(self.get("/api/usage?format=json").json["rows"], told)

    def test_no_formulas(self) -> None:
        """No label of a user's is carried out by a spreadsheet; commas and quotes stay inside."""
        self.lived()
        for at, evil in enumerate(("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", 'a,"b"\r\n=1')):
            self.now(self.journal.doors.label(SandboxId(SB), {"team": evil}))

            async def labelled(label: str, value: str) -> tuple[Sandbox, ...]:
                return ()

            self.world.runtime.labelled = labelled  # type: ignore[attr-defined]
            _, _, text = self.text("/api/usage?group=label&label=team&format=csv")
            keys = [row[0] for row in csv.reader(StringIO(text, newline=""))][1:]
            self.assertEqual(len(keys), 2, text)
            self.assertIn(evil if at == 5 else f"'{evil}", keys)

    def test_own_only(self) -> None:
        """Nobody sees what another wallet was charged (L9)."""
        self.lived()
        told = self.get("/api/usage", key=STRANGER).json
        self.assertEqual((told["rows"], told["totals"]["charged"]), ([], "0"))

    def test_bounds(self) -> None:
        """No span without end, no unknown group, and a label only to group by."""
        for query, text in (
            ("from=5&to=4", "from must not be after to, nor more than 366 days before it"),
            (
                f"from=0&to={367 * DAY}",
                "from must not be after to, nor more than 366 days before it",
            ),
            ("from=x", "from must be a whole number from 0 to 100000000000"),
            ("group=hour", "group must be sandbox, day or label"),
            ("group=label", "label names the label to group by: with group=label, and only there"),
            ("label=a", "label names the label to group by: with group=label, and only there"),
            ("format=xml", "format must be json or csv"),
        ):
            self.assertEqual(self.get(f"/api/usage?{query}").error, (400, text))

    def test_one_at_a_time(self) -> None:
        """A wallet cannot have the daemon read its books many times at once."""
        history: Any = self.journal.history
        waiting: Deferred[None] = Deferred()
        real = type(history).entries

        class Slow:
            """Reads when it is told to."""

            def __getattr__(self, name: str) -> Any:
                return getattr(history, name)

            async def entries(self, wallet: Address, **span: Any) -> Any:
                await waiting
                async for some in real(history, wallet, **span):
                    yield some

        slow = Slow()
        alsoProvides(slow, IHistory)
        world: Any = self.world
        world.agent = RequestTraversalAgent(make_root(evolve(world.desk, history=slow)))
        headers = Headers({name: [v] for name, v in self.headers("/api/usage").items()})
        first = world.agent.request(b"GET", b"https://front.example/api/usage", headers, None)
        self.assertNoResult(first)
        self.assertEqual(self.get("/api/usage").status, 429)
        waiting.callback(None)
        world.agent.flush()
        self.assertEqual(self.successResultOf(first).code, 200)
        self.assertEqual(self.get("/api/usage").status, 200)


class SandboxUsageTests(MoneyCase):
    """C{/api/sandbox/{id}/usage}."""

    def test_a_life(self) -> None:
        """Opened, started, resized, stopped and deleted: runs, costs and transitions."""
        self.runs()
        self.ran(SB, 60)
        stored = self.now(self.journal.doors.session(SandboxId(SB)))
        bigger = Resources(cpu=2, memory_gib=4, disk_gib=5, gpu=0)
        after = resized(stored.value, bigger, NeuronPerMinute(2 * RATE), stored.value.hold)
        self.now(self.journal.meter.begin(stored, after))
        self.world.wall.moment += 30
        self.stops(destroyed=True)
        told = self.get(f"/api/sandbox/{SB}/usage").json
        self.assertEqual((told["sandbox"], told["totals"]["seconds"]), (SB, 90))
        small, big = told["runs"]
        self.assertEqual(
            (small["started_at"], small["ended_at"], small["cpu"], small["cost"]),
            (NOW, NOW + 60, 1, str(RATE)),
        )
        self.assertEqual((big["cpu"], big["memory_gib"], big["disk_gib"]), (2, 4, 5))
        self.assertEqual((big["seconds"], big["cost"], big["open"]), (30, str(RATE), False))
        self.assertEqual(small["reference"], big["reference"])
        costs = sum(int(run["cost"]) for run in told["runs"])
        self.assertEqual(str(costs), told["totals"]["compute"])
        self.assertEqual(
            told["transitions"],
            [
                {"at": NOW, "state": "opened", "why": None},
                {"at": NOW, "state": "started", "why": None},
                {"at": NOW + 60, "state": "resized", "why": None},
                {"at": NOW + 90, "state": "stopped", "why": "owner"},
                {"at": NOW + 90, "state": "deleted", "why": None},
            ],
        )
        # It is gone: no question of Daytona is needed to see it.
        self.assertEqual(self.world.calls.asked, [])

    def test_what_goes_on(self) -> None:
        """A run without its end, with what is charged so far."""
        self.runs()
        self.ran(SB, 60)
        self.world.wall.moment += 7
        (run,) = self.get(f"/api/sandbox/{SB}/usage").json["runs"]
        self.assertEqual((run["ended_at"], run["open"]), (None, True))
        self.assertEqual((run["seconds"], run["cost"]), (60, str(RATE)))

    def test_stopped_by_order(self) -> None:
        """The reason of the order is told."""
        self.runs()
        self.world.wall.moment += 60
        self.now(
            self.journal.stops.order(SandboxId(SB), "insufficient_balance", self.world.wall.now())
        )
        self.stops()
        told = self.get(f"/api/sandbox/{SB}/usage").json["transitions"][-1]
        self.assertEqual((told["state"], told["why"]), ("stopped", "insufficient_balance"))

    def test_started_again(self) -> None:
        """A second start is a run of its own, and the sandbox is not gone."""
        self.runs()
        self.ran(SB, 60)
        self.stops(destroyed=True)
        self.world.wall.moment += 100
        self.starts_again("again")
        told = self.get(f"/api/sandbox/{SB}/usage").json
        states = [one["state"] for one in told["transitions"]]
        self.assertEqual(states, ["opened", "started", "stopped", "opened", "started"])
        self.assertEqual([run["open"] for run in told["runs"]], [False, True])

    def starts_again(self, reference: str) -> None:
        """The next run of the same sandbox."""
        doors, moment = self.journal.doors, self.world.wall.now()
        wanted = intent(reference, owner=OWNER.address, sandbox=SandboxId(SB))
        self.now(doors.reserve(wanted, self.now(doors.funds(OWNER.address))))
        again = evolve(
            self.session_of(reference), opened_at=moment, charged_until=moment, changed_at=moment
        )
        self.now(doors.open_session(wanted, begin(again, moment), None))

    def session_of(self, reference: str) -> Any:
        """One that has not begun."""
        return session(SB, owner=OWNER.address, reference=reference)

    def test_from_before(self) -> None:
        """Charges that no run tells of are told as runs that were made out of them."""
        self.runs()
        self.ran(SB, 60)
        self.ran(SB, 60)
        self.stops()
        runs = self.journal.store.keys.runs(SandboxId(SB))
        del self.world.keyspace._values[runs]
        told = self.get(f"/api/sandbox/{SB}/usage").json
        (run,) = told["runs"]
        self.assertEqual((run["derived"], run["reference"], run["cpu"]), (True, None, None))
        self.assertEqual((run["seconds"], run["cost"]), (120, told["totals"]["compute"]))

    def lived_with_gaps(self) -> None:
        """Two runs whose charges alone tell of them, and one that is written down."""
        keys = self.journal.store.keys
        for number in range(3):
            if number:
                self.starts_again(f"again-{number}")
            self.ran(SB, 60)
            self.stops()
            if number == 1:
                del self.world.keyspace._values[keys.runs(SandboxId(SB))]
            self.world.wall.moment += 100

    def test_most_runs(self) -> None:
        """No more runs than that in one answer, those that were made out among them."""
        self.runs()
        self.lived_with_gaps()
        told = self.get(f"/api/sandbox/{SB}/usage").json["runs"]
        self.assertEqual([run.get("derived", False) for run in told], [True, True, False])
        self.patch(usage_module, "MOST_RUNS", 3)
        self.assertEqual(self.get(f"/api/sandbox/{SB}/usage").json["runs"], told)
        self.patch(usage_module, "MOST_RUNS", 2)
        self.assertEqual(
            self.get(f"/api/sandbox/{SB}/usage").error,
            (400, "more than 2 runs: ask for a later beginning"),
        )

    def test_others_have_their_turn(self) -> None:
        """Many runs are told in several steps."""
        self.runs()
        self.lived_with_gaps()
        told = self.get(f"/api/sandbox/{SB}/usage").json
        self.patch(usage_module, "_RUNS_AT_ONCE", 2)
        world: Any = self.world
        target = f"/api/sandbox/{SB}/usage"
        headers = Headers({name: [v] for name, v in self.headers(target).items()})
        url = b"https://front.example" + target.encode("ascii")
        asked = world.agent.request(b"GET", url, headers, None)
        self.assertNoResult(asked)
        for _ in range(9):
            world.clock.advance(0)
        world.agent.flush()
        reply = self.successResultOf(treq.json_content(self.successResultOf(asked)))
        self.assertEqual(reply, told)

    def test_strangers(self) -> None:
        """An id is 403 for another wallet, before and after its end; a token of another, too."""
        self.runs()
        for _ in range(2):
            reply = self.get(f"/api/sandbox/{SB}/usage", key=STRANGER)
            self.assertEqual(reply.error, (403, "this sandbox belongs to another wallet"))
            if self.now(self.journal.doors.session(SandboxId(SB))) is not None:
                self.stops(destroyed=True)
        self.assertEqual(self.world.calls.asked, [])

    def test_by_name(self) -> None:
        """A name is resolved as everywhere: a stranger's is none."""
        self.world.intake.sandboxes[SB] = (OWNER.address, sandbox(SB, OWNER.address, name="mine"))
        self.runs()
        self.ran(SB, 60)
        told = self.get("/api/sandbox/mine/usage").json
        self.assertEqual((told["sandbox"], told["totals"]["seconds"]), (SB, 60))
        self.assertEqual(self.get("/api/sandbox/mine/usage", key=STRANGER).status, 404)
        self.assertEqual(self.get("/api/sandbox/nothing/usage").status, 404)

    def test_never_charged(self) -> None:
        """Of one that has no record nothing ran."""
        self.world.intake.sandboxes[SB] = (OWNER.address, sandbox(SB, OWNER.address))
        told = self.get(f"/api/sandbox/{SB}/usage").json
        self.assertEqual((told["runs"], told["transitions"]), ([], []))
